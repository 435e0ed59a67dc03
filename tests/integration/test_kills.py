"""kill -9 of the load task at random moments, each followed by a retry: no order missing, none doubled."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from crossdock.steps.check import check
from crossdock.steps.confirm import confirm
from crossdock.steps.extract import extract
from crossdock.steps.load import load
from crossdock.steps.transform import transform
from integration.environment import ORDERS, Environment

KILLS = 30
SEED = 20110104  # the moments of the kills; change it to try others


def load_and_die(environment: Environment, batch_id: int, after: float) -> bool:
    """Runs the load step in a process of its own and kills it `after` seconds; True if the kill came first."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with environment.runtime() as runtime:
                load(runtime, ORDERS, batch_id)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_thirty_kills_of_the_load_task_leave_every_order_in_tims_once(environment: Environment):
    chance = random.Random(SEED)
    kills = completed = 0
    longest = 1.5  # seconds; shrinks to what a load really takes, so that kills fall anywhere in it
    days = (f"2011-01-{day:02}" for day in range(5, 32))  # as many as it needs
    reads = []
    while kills < KILLS:
        reads.append(next(days))
        environment.tick(reads[-1])
        with environment.runtime() as runtime:
            (batch_id,) = extract(runtime, ORDERS)
            transform(runtime, ORDERS, batch_id)
            check(runtime, ORDERS, batch_id)
        for _ in range(8):
            began = time.monotonic()
            if not load_and_die(environment, batch_id, chance.uniform(0.0, longest)):
                longest = min(longest, time.monotonic() - began)
                completed += 1
                break
            kills += 1
        with environment.runtime() as runtime:
            load(runtime, ORDERS, batch_id)
            counts = confirm(runtime, ORDERS, batch_id)
        assert counts.in_flight == 0
        assert environment.differences(reads) == []
    assert kills >= KILLS
    customers = environment.in_tims("customers")
    ids = [(each["Source"], each["ID"]) for customer in customers for each in customer["ExternalIDs"]]
    assert len(ids) == len(set(ids))
    assert environment.query("SELECT 1 FROM ops.delivery WHERE outcome IN ('sent', 'unknown')") == []
