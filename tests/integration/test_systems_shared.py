"""Budgets and circuits that several processes share through Postgres."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from contract.shared_tables import create
from crossdock.errors import CircuitOpen, RateLimited, Transient
from crossdock.systems import breaker as breakers
from crossdock.systems import budget as budgets
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget, PostgresLedger
from crossdock.systems.limits import Limits
from integration.sharing import connect, freeze, hold_for_ever, spend, work

processes = multiprocessing.get_context("spawn")
PLENTY = Limits(requests_per_minute=1_000_000, at_once=3)


@pytest.fixture
def url(postgres_url: str) -> str:
    engine = connect(postgres_url)
    create(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE ops.rate_lease, ops.circuit"))
    engine.dispose()
    return postgres_url


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = connect(url)
    yield engine
    engine.dispose()


def run(target: Any, count: int, *arguments: Any) -> list[Any]:
    answers = processes.Queue()
    workers = [processes.Process(target=target, args=(*arguments, answers)) for _ in range(count)]
    for worker in workers:
        worker.start()
    got = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    return got


def test_four_processes_together_spend_no_more_than_the_minute_holds_and_nearly_all_of_it(url: str) -> None:
    spent = run(spend, 4, url, Limits(requests_per_minute=500, at_once=8), 400)
    assert 500 - 4 * 20 <= sum(spent) <= 500


def test_a_batch_of_one_process_waits_until_the_others_leave_it_the_whole_room(engine: sa.Engine) -> None:
    ledger = PostgresLedger(engine, "channel_advisor", 50)
    others = ledger.lease(30)
    held = ledger.lease(30)
    assert held.tokens == 20
    held = ledger.lease(30, instead_of=held)
    assert held.tokens == 20  # its own are not counted twice
    ledger.give_back(others, 20)
    held = ledger.lease(30, instead_of=held)
    assert held.tokens == 30
    assert ledger.lease(50).tokens == 10
    ledger.give_back(held, 30)
    assert ledger.lease(50).tokens == 30


def test_a_bulk_leaves_a_part_of_the_minute_to_other_processes(engine: sa.Engine) -> None:
    limits = Limits(requests_per_minute=40, at_once=3, bulk_share=0.75)
    low_priority, other = Budget("tims", engine, limits=limits), Budget("tims", engine, limits=limits)

    def spent(budget: Budget) -> int:
        for count in range(100):
            try:
                with budget.slot(wait=1):
                    pass
            except RateLimited:
                return count
        return 100

    with low_priority.low_priority():
        for _ in range(8):
            assert spent(low_priority) == 3
            with engine.begin() as database:  # time passes, but not a minute
                database.execute(sa.text("UPDATE ops.rate_lease SET at = at - interval '6.31 s'"))
    assert spent(other) == 40 - 8 * 3
    with low_priority.low_priority():
        assert spent(low_priority) == 0
    low_priority.close()
    other.close()


@pytest.mark.parametrize(("others", "low_priority"), [(10, 20), (25, 5), (35, 4), (38, 2), (40, 0)])
def test_a_bulk_makes_room_for_other_processes_but_always_gets_on(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, others: int, low_priority: int
) -> None:
    monkeypatch.setattr(budgets, "BULK_PACE", 1.0)
    limits = Limits(requests_per_minute=40, at_once=3, bulk_share=0.75)
    ledger = PostgresLedger(engine, "tims", limits.requests_per_minute, limits.bulk_share)
    assert ledger.lease(others).tokens == others
    assert ledger.lease(40, low_priority=True).tokens == low_priority
    assert ledger.lease(40, low_priority=True).tokens == 0


def test_a_bulk_too_waits_out_a_pause_that_the_system_asked_for(engine: sa.Engine) -> None:
    ledger = PostgresLedger(engine, "tims", 40, 0.75)
    ledger.pause(30)
    assert 29 < ledger.lease(1, low_priority=True).wait <= 30


def test_three_processes_never_hold_more_places_than_there_are_and_none_is_starved(url: str) -> None:
    spans = run(work, 3, url, Limits(requests_per_minute=1_000_000, at_once=2), 4.0)
    changes = sorted(
        [(start, 1) for held in spans for start, _ in held] + [(end, -1) for held in spans for _, end in held]
    )
    at_once = most = 0
    for _, change in changes:
        at_once += change
        most = max(most, at_once)
    assert most == 2
    longest = max(len(held) for held in spans)
    assert min(len(held) for held in spans) > longest / 10


def test_a_killed_process_frees_its_places(url: str, engine: sa.Engine) -> None:
    limits = Limits(requests_per_minute=1_000_000, at_once=1)
    ready = processes.Queue()
    holder = processes.Process(target=hold_for_ever, args=(url, limits, ready))
    holder.start()
    ready.get(timeout=30)
    budget = Budget("tims", engine, limits=limits)
    with pytest.raises(RateLimited, match="used up"), budget.slot(wait=0.5):
        pass
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    with budget.slot(wait=5):
        pass
    budget.close()


def test_a_process_that_freezes_in_the_middle_of_a_lease_holds_nobody_up(url: str, engine: sa.Engine) -> None:
    answers = processes.Queue()
    frozen = processes.Process(target=freeze, args=(url, 1.0, answers))
    frozen.start()
    pid = answers.get(timeout=30)
    try:
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        assert PostgresLedger(engine, "tims", 40).lease(40).tokens == 40  # it would wait for ever
        os.kill(pid, signal.SIGCONT)
        assert "The Crossdock database" in answers.get(timeout=30)
    finally:
        frozen.kill()
        frozen.join()


def test_an_idle_process_gives_its_place_to_another_soon(engine: sa.Engine) -> None:
    limits = Limits(requests_per_minute=1_000_000, at_once=1)
    first, second = Budget("tims", engine, limits=limits), Budget("tims", engine, limits=limits)
    with first.slot():
        pass
    start = time.monotonic()
    with second.slot(wait=5):
        pass
    assert time.monotonic() - start < 1
    first.close()
    second.close()


def test_threads_of_one_process_share_places_without_waiting_for_the_database(engine: sa.Engine) -> None:
    budget = Budget("tims", engine, limits=PLENTY)
    held = most = 0
    lock = threading.Lock()

    def use(_: int) -> None:
        nonlocal held, most
        with budget.slot():
            with lock:
                held += 1
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= 1

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(use, range(500)))
    assert most == 3
    budget.close()


def test_an_acquire_costs_well_under_a_millisecond_while_there_is_room(engine: sa.Engine) -> None:
    budget = Budget("tims", engine, limits=PLENTY)
    start = time.perf_counter()
    for _ in range(2000):
        with budget.slot():
            pass
    assert (time.perf_counter() - start) / 2000 < 0.001
    budget.close()


def test_a_connection_that_was_killed_is_opened_anew(engine: sa.Engine) -> None:
    budget = Budget("tims", engine, limits=PLENTY)
    with budget.slot():
        pass
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'crossdock-budget'"
    with engine.begin() as connection:
        assert connection.execute(sa.text(kill)).rowcount >= 1
    time.sleep(0.3)
    for _ in range(3):
        with budget.slot(wait=5):
            pass
    budget.close()


def test_a_pause_that_one_process_learned_of_holds_for_all(engine: sa.Engine) -> None:
    first, second = Budget("tims", engine, limits=PLENTY), Budget("tims", engine, limits=PLENTY)
    first.paused(30)
    with pytest.raises(RateLimited) as raised, second.slot(wait=1):
        pass
    assert 25 < (raised.value.retry_after or 0) <= 30


def test_a_forked_child_leaves_its_parents_places_alone(engine: sa.Engine, url: str) -> None:
    limits = Limits(requests_per_minute=1_000_000, at_once=1)
    budget = Budget("tims", engine, limits=limits)
    with budget.slot():
        child = os.fork()
        if child == 0:
            engine.dispose(close=False)
            code = 1
            try:
                with budget.slot(wait=0.5):
                    code = 2  # the parent holds the only place
            except RateLimited:
                code = 0
            finally:
                budget.close()
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        other = Budget("tims", engine, limits=limits)
        with pytest.raises(RateLimited), other.slot(wait=0.5):
            pass
        other.close()
    budget.close()


def test_a_database_that_is_away_is_said_in_one_sentence() -> None:
    nowhere = sa.create_engine("postgresql+psycopg2://x@127.0.0.1:1/x")
    with pytest.raises(Transient, match="The Crossdock database does not answer"), Budget("tims", nowhere).slot():
        pass
    with pytest.raises(Transient, match="The Crossdock database does not answer"):
        Breaker("tims", nowhere).before()


def test_a_circuit_that_one_process_opened_is_open_for_all_and_one_of_them_tries(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "REFRESH_SECONDS", 0.0)
    limits = Limits(failures_to_open=3, open_seconds=0.4)
    first, second, third = (Breaker("tims", engine, limits=limits) for _ in range(3))
    first.failed()
    second.failed()
    third.before()
    first.failed()
    for breaker in (first, second, third):
        with pytest.raises(CircuitOpen, match="3 times"):
            breaker.before()
    time.sleep(0.45)
    tried = [allowed(breaker) for breaker in (second, third, first)]
    assert tried == [True, False, False]
    second.succeeded()
    assert all(allowed(breaker) for breaker in (first, second, third))


def test_a_failed_trial_opens_the_circuit_for_another_pause(engine: sa.Engine) -> None:
    limits = Limits(failures_to_open=1, open_seconds=0.4)
    breaker = Breaker("tims", engine, limits=limits)
    breaker.failed()
    time.sleep(0.45)
    assert allowed(breaker)
    breaker.failed()
    assert not allowed(breaker)
    time.sleep(0.45)
    assert allowed(breaker)
    breaker.succeeded()
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT state, failures, opened_at FROM ops.circuit")).one()
    assert tuple(row) == ("closed", 0, None)


def test_one_success_anywhere_forgets_the_failures_of_all(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakers, "REFRESH_SECONDS", 0.0)
    limits = Limits(failures_to_open=3)
    failing, working = Breaker("tims", engine, limits=limits), Breaker("tims", engine, limits=limits)
    for _ in range(6):
        failing.failed()
        working.before()
        working.succeeded()
        failing.before()


def allowed(breaker: Breaker) -> bool:
    try:
        breaker.before()
    except CircuitOpen:
        return False
    return True
