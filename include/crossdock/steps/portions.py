"""Portions: many requests of one kind, several at once, in as few transactions as "one effect per key" allows.

In: what is to be sent, in portions. Out: a mark in the database before each request, and its outcome after it. One
transaction keeps all answers that have arrived and marks what is sent next: a fast system costs one transaction for
several portions, a slow one a transaction each. Never: more than `2 * at_once` portions whose outcome is not kept.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import sqlalchemy as sa

from crossdock.pool import Pool
from crossdock.store import leases

P = TypeVar("P")
A = TypeVar("A")

STALE_SECONDS = 1.0  # a portion that has waited longer than this after its mark checks the lease again
GATHER_SECONDS = 0.02  # how long an answer waits for others, to be kept with them


def send_all(
    engine: sa.Engine,
    flow: str,
    portions: Sequence[P],
    *,
    at_once: int,
    mark: Callable[[sa.Connection, Sequence[P]], None],
    send: Callable[[P], A],
    keep: Callable[[sa.Connection, Sequence[tuple[P, A]]], None],
) -> None:
    """Marks, sends and keeps all portions. `mark` and `keep` run in the caller's thread, `send` in others.

    When a `send` raises, no further one begins; the answers under way are kept, then the first error is raised.
    """

    def guarded(portion: P, marked: float) -> A:
        if time.monotonic() - marked > STALE_SECONDS:
            with engine.begin() as connection:
                leases.require(connection, flow)
        return send(portion)

    waiting, under_way = deque(portions), dict[Future[A], P]()
    done: queue.SimpleQueue[Future[A]] = queue.SimpleQueue()
    answered: list[tuple[P, A]] = []
    problem: BaseException | None = None
    pool = Pool(min(at_once, len(portions)) or 1, "load")
    try:
        while waiting or under_way or answered:
            room = 0 if problem else 2 * at_once - len(under_way)
            following = [waiting.popleft() for _ in range(min(room, len(waiting)))]
            if answered or following:
                with engine.begin() as connection:
                    if answered:
                        keep(connection, answered)
                    if following:
                        mark(connection, following)
            now = time.monotonic()
            for portion in following:
                future = pool.submit(guarded, portion, now)
                under_way[future] = portion
                future.add_done_callback(done.put)
            answered = []
            for future in _gathered(done, min(at_once, len(under_way))):
                portion = under_way.pop(future)
                if future.cancelled():
                    continue
                if (error := future.exception()) is None:
                    answered.append((portion, future.result()))
                elif problem is None:
                    problem = error
                    waiting.clear()
                    for other in under_way:
                        other.cancel()
    finally:
        pool.shutdown(cancel_futures=True)
    if problem:
        raise problem


def _gathered(done: queue.SimpleQueue[Future[A]], most: int) -> list[Future[A]]:
    """Waits for one answer, then a moment for others. Returns them."""
    found: list[Future[A]] = [done.get()] if most else []
    until = time.monotonic() + GATHER_SECONDS
    while len(found) < most:
        try:
            found.append(done.get(timeout=max(0, until - time.monotonic())))
        except queue.Empty:
            break
    return found
