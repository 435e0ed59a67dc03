"""What the processes of test_systems_shared do; a module of its own, so that a fresh process can import it."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import sqlalchemy as sa

from crossdock.errors import RateLimited, Transient
from crossdock.systems import shared
from crossdock.systems.budget import Budget, PostgresLedger
from crossdock.systems.limits import Limits


def connect(url: str) -> sa.Engine:
    return sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"))


def spend(url: str, limits: Limits, most: int, answers: Any) -> None:
    """Takes slots until the budget refuses; returns their number."""
    budget = Budget("tims", connect(url), limits=limits)
    done = 0
    try:
        for _ in range(most):
            with budget.slot(wait=1):
                done += 1
    except RateLimited:
        pass
    answers.put(done)


def work(url: str, limits: Limits, seconds: float, answers: Any) -> None:
    """Two threads that keep taking places; answers the spans during which they held one."""
    budget = Budget("tims", connect(url), limits=limits)
    spans: list[tuple[float, float]] = []

    def hold() -> None:
        until = time.time() + seconds
        while time.time() < until:
            with budget.slot():
                start = time.time()
                time.sleep(0.005)
                spans.append((start, time.time()))

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put(spans)


def hold_for_ever(url: str, limits: Limits, ready: Any) -> None:
    budget = Budget("tims", connect(url), limits=limits)
    with budget.slot():
        ready.put(True)
        time.sleep(600)


def freeze(url: str, seconds: float, answers: Any) -> None:
    """Stops itself in the middle of a lease, as a paused machine does; answers what it meets when it goes on."""
    shared.FROZEN_SECONDS = seconds
    ledger = PostgresLedger(connect(url), "tims", 40)
    try:
        with ledger._locked():
            answers.put(os.getpid())
            time.sleep(0.2)  # until the queue's thread has put it
            os.kill(os.getpid(), signal.SIGSTOP)
        answers.put("went on")
    except Transient as error:
        answers.put(str(error))
