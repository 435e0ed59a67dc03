"""Runs that die: another one knows it at once and takes over what they have left; what a living run has is left to it,
and no command keeps silent about it. Real processes, killed and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from crossdock import cli, flows
from crossdock.errors import Elsewhere, LeaseLost, Transient
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.steps.transform import transform
from crossdock.store import batches, database, deliveries, leases, runs, watermarks
from crossdock.store.deliveries import Effect, Outcome
from crossdock.systems.channel_advisor import Facade
from integration import stock_oracle
from integration.builders import forward
from integration.environment import ORDERS, Environment

NIGHTLY = "nightly_close/manual__2011"  # as Airflow names a run
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with pytest.MonkeyPatch.context() as patch:
        stock_oracle.configure(patch, tmp_path_factory.mktemp("takeover"))
        yield long_lived_environment


def until(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


class Process:
    """A command in a process of its own."""

    def __init__(self, environment: Environment, *words: str, before: Callable[[], None] = lambda: None) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                before()
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(1, 2)
                cli.context.runtime, sys.argv = environment.runtime, ["crossdock", *words]
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                os._exit(code)
        self.code: int | None = None

    def signal(self, number: int) -> None:
        if self.ended() is None:
            os.kill(self.pid, number)

    def freeze(self, environment: Environment) -> None:
        """Stops it between two transactions: in one it would hold up who asks for the same rows."""
        owner = database.engine(environment.database_url, role=None)
        under_way = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE :process AND xact_start IS NOT NULL"
        )

        def stopped_outside() -> bool:
            self.signal(signal.SIGSTOP)
            until(lambda: self.code is not None or psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
            with owner.begin() as connection:
                if not connection.scalar(under_way, {"process": f"%/{self.pid}"}):
                    return True
            self.signal(signal.SIGCONT)
            time.sleep(0.05)  # on a busy machine it needs a moment to get on at all before it is stopped again
            return False

        until(stopped_outside)
        owner.dispose()

    def ended(self) -> int | None:
        """Its exit code once it has ended."""
        if self.code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if done else None
        return self.code

    def wait(self) -> int | None:
        until(lambda: self.ended() is not None)
        return self.code


def command(environment: Environment, *words: str) -> str:
    """What a command says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.context, "runtime", environment.runtime)
        result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(environment: Environment, *words: str) -> dict[str, Any]:
    """What a command says to programs."""
    return json.loads(command(environment, *words, "--json"))


READ: list[str] = []  # moments up to which the world was read


def next_day(environment: Environment) -> None:
    environment.tick(environment.now + timedelta(days=1))
    READ.append(environment.now.isoformat())


def unfinished(environment: Environment, flow: str = "orders") -> list[sa.Row]:
    return environment.query(f"SELECT * FROM ops.batch WHERE flow = '{flow}' AND finished_at IS NULL ORDER BY id")


@contextlib.contextmanager
def stuck_in_load(environment: Environment, *words: str) -> Iterator[Process]:
    """A command that waits for TIMS in the load of its batch."""
    environment.fault("tims", "slow", path="/api/v1/bulk", seconds=2, id="stuck")
    process = Process(environment, *words)
    try:
        until(lambda: process.ended() is None and any(row.step == "check" for row in unfinished(environment)))
        yield process
    finally:
        environment.clear_faults()
        process.signal(signal.SIGKILL)
        process.wait()


def end_sessions(environment: Environment, pid: int) -> None:
    """What a database does to a process that it has lost."""
    owner = database.engine(environment.database_url, role=None)
    with owner.begin() as connection:
        found = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE :process"
        connection.execute(sa.text(found), {"process": f"%/{pid}"})
    owner.dispose()


def gone(environment: Environment, run_id: str) -> bool:
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        return not runs.holders(connection, [run_id])


def test_after_a_kill_the_next_command_works_what_was_left_at_once(shop: Environment) -> None:
    next_day(shop)
    with stuck_in_load(shop, "sync", "orders") as process:
        (batch,) = unfinished(shop)
        assert batch.in_flight > 5
        process.signal(signal.SIGKILL)
    until(lambda: gone(shop, batch.run_id))
    output = as_json(shop, "sync", "orders")
    assert output["batches"] == [batch.id]
    assert output["delivered"] > 5
    assert output["in_other_hands"] == []
    assert unfinished(shop) == []
    assert shop.differences(READ) == []


def open_deliveries(environment: Environment) -> dict[str, str]:
    """Keys of calls whose outcome nobody knows, with their entity."""
    rows = environment.query("SELECT key, entity FROM ops.delivery WHERE outcome IN ('sent', 'unknown')")
    return {row.key: row.entity for row in rows}


def test_customers_that_a_dead_run_has_created_and_the_next_finds_in_the_master_are_settled(shop: Environment) -> None:
    next_day(shop)
    process = Process(shop, "sync", "orders", before=lambda: setattr(deliveries, "end", lambda *_: os._exit(9)))
    assert process.wait() == 9
    lost = open_deliveries(shop)
    assert set(lost.values()) == {"customer"}
    forward(shop, shop.now + timedelta(minutes=1))
    assert as_json(shop, "sync", "orders")["delivered"] > 5
    assert open_deliveries(shop) == {}
    ids = {
        external["ID"]: customer["CustomerID"]
        for customer in shop.in_tims("customers")
        for external in customer["ExternalIDs"]
    }
    links = {row.source_key: row.target_id for row in shop.query("SELECT * FROM ops.link WHERE entity = 'customer'")}
    assert {key: links[key] for key in lost} == {key: ids[key] for key in lost}
    assert shop.differences(READ) == []


@pytest.mark.parametrize("flow", ["orders", "inventory", "shipments", "ledger_invoices"])
def test_every_flow_takes_over_by_the_same_rule(shop: Environment, flow: str) -> None:
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        batch = batches.open_batch(connection, flow, "scheduled", run_id="cli:20110104T100000:1")
        batches.extracted(connection, batch, read=3, already_stored=0, seconds=0.1)
    with shop.runtime() as runtime:
        ids = extract(runtime, flows.get(flow), run_id="cli:20110104T110000:2")
        assert batch in ids
        run_batches(runtime, flows.get(flow), ids, run_id="cli:20110104T110000:2")
    assert unfinished(shop, flow) == []


def test_while_a_run_lives_nobody_takes_its_batches_and_every_command_says_who_has_them(shop: Environment) -> None:
    next_day(shop)
    with stuck_in_load(shop, "sync", "orders") as process:
        process.freeze(shop)
        (batch,) = unfinished(shop)
        held = as_json(shop, "extract", "orders")["in_other_hands"]
        assert [(one["run_id"], one["batches"], one["step"]) for one in held] == [(batch.run_id, [batch.id], "check")]
        assert held[0]["records"] == batch.in_flight
        assert held[0]["holder"].endswith(f"/{process.pid}")
        assert held[0]["age"] > 0
        for words in (["status"], ["extract", "orders"], ["transform", "orders"]):
            output = " ".join(command(shop, *words).split())
            assert f"Unfinished: {batch.in_flight} records of orders in 1 batch" in output
            assert f"/{process.pid}" in output
        with shop.runtime() as runtime, pytest.raises(Elsewhere, match=f"Batch {batch.id} of orders is in the hands"):
            # The holder has the lock of the flow's steps too: it is asked before anything waits for it.
            transform(runtime, ORDERS, batch.id, run_id="cli:another")
        process.signal(signal.SIGCONT)
        shop.clear_faults()
        assert process.wait() == 0
    assert unfinished(shop) == []
    assert shop.differences(READ) == []


def test_a_holder_that_comes_back_after_it_was_given_up_works_nothing_twice(shop: Environment) -> None:
    next_day(shop)
    with stuck_in_load(shop, "sync", "orders") as process:
        process.freeze(shop)
        (batch,) = unfinished(shop)
        end_sessions(shop, process.pid)
        until(lambda: gone(shop, batch.run_id))
        shop.clear_faults()
        assert as_json(shop, "sync", "orders")["batches"] == [batch.id]
        process.signal(signal.SIGCONT)
        process.wait()
    assert unfinished(shop) == []
    assert shop.differences(READ) == []


def left_by(environment: Environment, run_id: str, silent: timedelta = timedelta()) -> int:
    """A batch that a run without a session has left unfinished."""
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        batch = batches.open_batch(connection, "orders", "scheduled", run_id=run_id)
        batches.extracted(connection, batch, read=1, already_stored=0, seconds=0.1)
        connection.execute(
            sa.text("UPDATE ops.batch SET touched_at = now() - :silent WHERE id = :id"), {"silent": silent, "id": batch}
        )
        return batch


def adopted(environment: Environment, over: runs.Over | None = None) -> list[int]:
    with environment.runtime() as runtime:
        ids = extract(runtime, ORDERS, run_id="cli:taker", over=over)
        run_batches(runtime, ORDERS, ids, run_id="cli:taker", over=over)
        return ids


def test_a_run_of_airflow_between_two_tasks_is_alive_until_it_has_been_silent_or_airflow_says_that_it_is_over(
    shop: Environment,
) -> None:
    batch = left_by(shop, NIGHTLY)
    assert adopted(shop) == []
    assert adopted(shop, over=lambda run: False) == []
    requested: list[str] = []
    assert adopted(shop, over=lambda run: requested.append(run) or True) == [batch]
    assert requested == [NIGHTLY]
    silent = left_by(shop, NIGHTLY, runs.PAUSE + timedelta(seconds=1))
    assert adopted(shop, over=lambda run: False) == []  # a long pause between two tries
    assert adopted(shop) == [silent]
    with shop.runtime() as runtime, runs.at_work(runtime.engine, NIGHTLY):
        at_work = left_by(shop, NIGHTLY, timedelta(hours=3))
        assert adopted(shop, over=lambda run: True) == []
    assert adopted(shop) == [at_work]


def test_two_tasks_of_one_run_hold_it_together_and_the_second_end_is_its_end(shop: Environment) -> None:
    with shop.runtime() as one, shop.runtime() as other:
        with runs.at_work(one.engine, "cli:both"):
            with runs.at_work(other.engine, "cli:both"):
                pass
            with one.engine.begin() as connection:
                assert not runs.dead(connection, "cli:both", timedelta(hours=1))
                assert database.machine_and_process() == runs.holders(connection, ["cli:both"])["cli:both"]
        with one.engine.begin() as connection:
            assert runs.dead(connection, "cli:both", timedelta())


def test_a_step_takes_back_the_batch_of_a_run_that_took_it_and_died(shop: Environment) -> None:
    batch = left_by(shop, "cli:died")
    with shop.runtime() as runtime:
        transform(runtime, ORDERS, batch, run_id=NIGHTLY)
    assert shop.query(f"SELECT run_id FROM ops.batch WHERE id = {batch}")[0].run_id == NIGHTLY


def test_a_batch_that_check_stopped_is_left_to_a_person_for_a_while_and_named(shop: Environment) -> None:
    batch = left_by(shop, "cli:stopped")
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        batches.stop(connection, batch, stopped=True)
        assert batches.reclaim_stale(connection, "orders", "cli:taker") == []
        (held,) = batches.held(connection, "orders", "cli:taker")
        assert "was stopped by check" in str(held)
        connection.execute(sa.text("UPDATE ops.batch SET touched_at = now() - interval '16 minutes' WHERE id = :id"),
                           {"id": batch})  # fmt: skip
    assert adopted(shop) == [batch]


def test_ages_are_said_as_people_say_them() -> None:
    spans = {5: "5 s", 119: "119 s", 120: "2 min", 7_199: "119 min", 7_200: "2 h", 172_800: "2 days"}
    assert {batches.words(timedelta(seconds=seconds)) for seconds in spans} == set(spans.values())


# ---- a worker that comes back --------------------------------------------------------------------------------------


def holding(method: str, folder: Path, *, comes_back: bool) -> Callable[[], None]:
    """Keeps the requests of a client's method on their way until the file `go` is there; without `comes_back` their
    answers never arrive."""
    real = getattr(Facade, method)

    def held(self: Facade, *words: Any) -> Any:
        (folder / "on its way").touch()
        until((folder / "go").exists, 120)
        answer = real(self, *words)
        (folder / "landed").touch()
        while not comes_back:
            time.sleep(1)
        return answer

    return lambda: setattr(Facade, method, held)


@dataclass(frozen=True)
class Value:
    """Something that a flow tells the channel, as TIMS has it and as the channel shows it."""

    flow: str
    method: str
    change: Callable[[Environment, int], None]
    there: Callable[[Environment], Any]


SKU = "COMES-BACK-1"


def quantity(environment: Environment, number: int) -> None:
    units = {1: 939, 2: 46}[number]
    if difference := units - stock_oracle.free(environment, SKU):
        stock_oracle.adjust(environment, SKU, difference)


def cost(environment: Environment, number: int) -> None:
    stock_oracle.item(environment, SKU, Cost={1: "6.00", 2: "6.60"}[number], ListPrice="20.00")


def title(environment: Environment, number: int) -> None:
    stock_oracle.item(
        environment, SKU, Title=f"Title {number} {'of many words ' * 6}", Category="Toys"
    )  # a listing's is shortened


def price(environment: Environment) -> Decimal:
    with environment.runtime() as runtime:
        return Decimal(runtime.channel_advisor.of_skus("prices", [SKU])[0]["Price"])


def shown(environment: Environment, resource: str) -> str:
    with environment.runtime() as runtime:
        return runtime.channel_advisor.of_skus(resource, [SKU])[0]["Title"]


VALUES = {
    "quantity": Value(
        "inventory", "write_quantities", quantity, lambda environment: stock_oracle.level(environment, SKU)
    ),
    "price": Value("prices", "write_prices", cost, price),
    "product": Value("catalog", "update_product", title, lambda environment: shown(environment, "products")),
    "listing": Value("catalog", "update_listing", title, lambda environment: shown(environment, "listings")),
}


@pytest.fixture(scope="module")
def lamp(shop: Environment) -> Environment:
    """An item on sale; all that was there before counts as read, so that the flows have this one alone to do."""
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        for name in ("inventory", "prices", "catalog"):
            watermarks.move(connection, name, flows.get(name).source.name, shop.now, None)
    stock_oracle.product(shop, SKU)
    stock_oracle.item(shop, SKU, Cost="6.30", ListPrice="20.00", Title="Title", Category="Toys", MinMarginPercent=None)
    stock_oracle.adjust(shop, SKU, 5)
    for flow in ("inventory", "prices", "catalog"):
        shop.sync(flow=flow)
    forward(shop, shop.now + timedelta(minutes=6))
    shop.sync(flow="catalog")
    return shop


@pytest.mark.parametrize(("name", "comes_back"), [*((name, True) for name in VALUES), ("quantity", False)])
def test_what_a_worker_that_was_given_up_writes_late_is_written_over_by_the_next_run(
    lamp: Environment, tmp_path: Path, name: str, comes_back: bool
) -> None:
    one, shop = VALUES[name], lamp
    one.change(shop, 2)
    shop.sync(flow=one.flow)
    newest = one.there(shop)
    one.change(shop, 1)
    process = Process(shop, "sync", one.flow, before=holding(one.method, tmp_path, comes_back=comes_back))
    try:
        until((tmp_path / "on its way").exists)
        (batch,) = unfinished(shop, one.flow)
        end_sessions(shop, process.pid)
        until(lambda: gone(shop, batch.run_id))
        one.change(shop, 2)
        shop.sync(flow=one.flow)
        assert one.there(shop) == newest
        (tmp_path / "go").touch()
        until((tmp_path / "landed").exists)
        assert one.there(shop) != newest  # the old one stands in the place of the new one
        if comes_back:
            assert process.wait() == cli.EXIT_CODES[Transient]
    finally:
        process.signal(signal.SIGKILL)
        process.wait()
    forward(shop, shop.now + timedelta(minutes=6))
    shop.sync(flow=one.flow)
    assert one.there(shop) == newest
    # Once the old one cannot land any more, it is left alone.
    for moment in ("sent_at", "unsure_at"):
        shop.query(f"UPDATE ops.delivery SET {moment} = {moment} - interval '1 hour' RETURNING 1")
    shop.sync(flow=one.flow)
    sent = shop.query("SELECT sum(attempts) AS n FROM ops.delivery")
    assert shop.sync(flow=one.flow).delivered == 0
    assert shop.query("SELECT sum(attempts) AS n FROM ops.delivery") == sent
    opened = f"SELECT key FROM ops.delivery WHERE flow = '{one.flow}' AND outcome IN ('sent', 'unknown')"
    assert shop.query(opened) == []


def test_numbers_of_a_lease_only_grow_and_only_the_last_holder_writes(shop: Environment) -> None:
    effect = Effect("channel_quantity", "update", "X", "qty:X:late", "hash")
    with shop.runtime() as old, shop.runtime() as new:
        numbers = []
        for runtime in (old, new, new):
            with runtime.engine.begin() as connection:
                leases.take(connection, "returns", "test")
                numbers.append(leases.number(connection, "returns"))
        assert numbers == sorted(set(numbers))
        with pytest.raises(LeaseLost, match="has taken over returns"), old.engine.begin() as connection:
            deliveries.begin(connection, "returns", 1, [effect])
        with new.engine.begin() as connection:
            deliveries.begin(connection, "returns", 1, [effect])

        def answered() -> None:
            with old.engine.begin() as connection:
                deliveries.link(connection, [{"entity": "channel_quantity", "source_key": "X", "target_id": "X"}])
                deliveries.end(connection, "returns", [Outcome("qty:X:late", "confirmed")])

        with pytest.raises(LeaseLost):
            answered()
        assert shop.query("SELECT 1 FROM ops.link WHERE source_key = 'X'") == []
        (row,) = shop.query("SELECT outcome, unsure_at FROM ops.delivery WHERE key = 'X'")
        assert (row.outcome, row.unsure_at is not None) == ("sent", True)


def test_a_worker_that_lost_the_lease_leaves_the_counts_of_the_batch_as_the_taker_has_left_them(
    shop: Environment,
) -> None:
    with shop.runtime() as old, shop.runtime() as new:
        with old.engine.begin() as connection:
            batch = batches.open_batch(connection, "orders", "scheduled", run_id="cli:old")
            leases.take(connection, "orders", "test")
        with new.engine.begin() as connection:
            leases.take(connection, "orders", "test")
            batches.recount(connection, batch, ORDERS.stage, "confirm", 0.1)
        with pytest.raises(LeaseLost), old.engine.begin() as connection:
            batches.recount(connection, batch, ORDERS.stage, "load", 0.1)
        (row,) = shop.query(f"SELECT step, finished_at IS NOT NULL AS finished FROM ops.batch WHERE id = {batch}")
        assert (row.step, row.finished) == ("confirm", True)


def test_a_taker_waits_for_the_transaction_that_has_checked(shop: Environment) -> None:
    with shop.runtime() as old, shop.runtime() as new, ThreadPoolExecutor(1) as pool:
        with old.engine.begin() as connection:
            leases.take(connection, "returns", "test")
        with old.engine.begin() as connection:
            leases.require(connection, "returns")

            def take() -> None:
                with new.engine.begin() as other:
                    leases.take(other, "returns", "test")

            taking = pool.submit(take)
            until(lambda: shop.query("SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"))
            assert not taking.done()
        taking.result(10)
