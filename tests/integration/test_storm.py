"""A storm of events, in which the receiver, the worker and the database are killed again and again: both systems, a
receiver and a worker in processes of their own, a Postgres of its own.

What was answered with 202 is worked, once; what was not is sent again; what nobody sent is found by polling.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

import pytest

from crossdock import flows
from crossdock.dev import local
from crossdock.errors import Transient
from crossdock.steps import events
from crossdock.store import database
from crossdock.watch.reconcile import reconcile
from integration import builders
from integration.environment import Environment, found_environment
from integration.receivers import Process, started, subscribe
from sandbox import world

pytestmark = pytest.mark.slow
TURNS = int(os.environ.get("STORM_TURNS", "20"))  # more than a hundred events each
PATIENCE = 120 + TURNS  # seconds
GOODS, ORDERS = 40, 60
FAULTS = {"event_twice": {}, "event_shuffled": {"seconds": 2}, "event_late": {"seconds": 4}, "event_forged": {},
          "event_cut": {}, "event_never": {}}  # fmt: skip
SHARE = 0.03  # of the events that each fault hits


@pytest.fixture
def shop(postgres_url: str, tmp_path: Path) -> Iterator[Environment]:
    """A shop whose database may be killed, with goods that are offered."""
    skus = sorted({line["SKU"] for order in islice(world.load().orders(), 20) for line in order.document["OrderItems"]})
    goods = frozenset((builders.ITEM, builders.OTHER, *skus[:GOODS]))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("CROSSDOCK_RUN_DIR", str(folder))
        stack.callback(local.stop)
        url = local.start()
        database.migrate(url)
        found = stack.enter_context(found_environment(postgres_url, "t_storm", tmp_path / "systems", goods))
        made = dataclasses.replace(found, database_url=url, part=10**9)
        made.tick("2011-01-05")
        poll(made)
        yield made


def poll(shop: Environment) -> None:
    """A run of each flow that reads one of the systems, as the schedule has them."""
    builders.forward(shop, shop.now + timedelta(minutes=10))
    for name in ("prices", "catalog", "orders", "holds", "shipments", "inventory", "orders"):
        shop.sync(flow=name)


@dataclasses.dataclass
class Worker:
    """The process that works events, as the task does it."""

    shop: Environment
    pid: int = 0

    def start(self) -> None:
        self.pid = os.fork()
        if self.pid:
            return
        try:
            while True:
                try:
                    with self.shop.runtime() as runtime:
                        events.work(runtime, flows.all_flows(), events.Worked(), seconds=900.0, run_id="storm")
                except Transient:
                    time.sleep(events.PAUSE)
        finally:
            os._exit(1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@contextmanager
def working(shop: Environment) -> Iterator[Worker]:
    worker = Worker(shop)
    worker.start()
    try:
        yield worker
    finally:
        worker.kill()


def counts(shop: Environment) -> Counter[str]:
    """What both systems count of their deliveries."""
    found: Counter[str] = Counter()
    for control in (shop.channel_advisor, shop.tims_control):
        shown = control.call("GET", "webhooks")
        found.update({name: count for name, count in shown.items() if type(count) is int})
    return found


def kill_postgres(shop: Environment) -> None:
    os.kill(int((local.data_dir() / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    while local.is_alive():
        time.sleep(0.05)
    local.start()


def change(shop: Environment, keys: list[str], turn: int) -> None:
    """What happens at both systems in a moment: orders, changes of orders, counts of stock."""
    if len(keys) < ORDERS:
        keys += [builders.place(shop, builders.line(), builders.line(builders.OTHER)) for _ in range(4)]
    held = [each["SKU"] for each in shop.tims_control.documents("quantity")]
    for flag, more in (("RedFlag", 0), ("BlueFlag", 1)):
        shop.channel_advisor.apply(
            {"kind": "order_change", "document": {"ChannelAdvisorOrderID": int(key), "changes": {"Flag": flag}}}
            for key in dict.fromkeys(islice(cycle(keys), 4 * turn, 4 * turn + 40))
        )
        counted = [{"LocationID": "MAIN", "OnHand": 5_000 + 2 * turn + more}]
        shop.tims_control.apply({"kind": "quantity", "document": {"SKU": sku, "Locations": counted}} for sku in held)


def until(holds: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_nothing_is_lost_and_nothing_comes_twice_whoever_is_killed_in_a_storm(shop: Environment) -> None:
    keys: list[str] = []
    begun = time.monotonic()
    with ExitStack() as stack:
        receiver: Process = stack.enter_context(started(shop.database_url))
        port = int(receiver.url.rpartition(":")[2])
        subscribe(shop.channel_advisor, shop.tims_control, receiver.url)
        for number, (kind, options) in enumerate(FAULTS.items()):
            for system in ("channel_advisor", "tims"):
                shop.fault(system, kind, path="*", times=None, probability=SHARE, seed=number, **options)
        worker = stack.enter_context(working(shop))
        for turn in range(TURNS):
            change(shop, keys, turn)
            if turn % 8 == 2:
                worker.kill()
                worker.start()
            elif turn % 8 == 4:
                receiver.kill()
                receiver = stack.enter_context(started(shop.database_url, port))
            elif turn % 8 == 6:
                kill_postgres(shop)
        shop.clear_faults()
        until(lambda: not counts(shop)["waiting"], PATIENCE)
        waiting = "SELECT 1 FROM ops.webhook_event WHERE worked_at IS NULL LIMIT 1"
        until(lambda: not shop.query(waiting), PATIENCE)

        sent, seconds = counts(shop), time.monotonic() - begun
        assert sent["raised"] > 100 * TURNS
        assert sent["never"] > 0
        ((received,),) = shop.query("SELECT count(DISTINCT (system, event_id)) FROM ops.webhook_event")
        assert received == sent["raised"] - sent["never"]  # each was repeated until it was taken, and is there once
        assert {what for what in sent if what.startswith("answered 5")} <= {"answered 503"}

        shop.fault("channel_advisor", "event_never", path="*", times=None)
        unheard = [builders.place(shop, builders.line()) for _ in range(3)]
        poll(shop)
        until(lambda: not counts(shop)["waiting"] and not shop.query(waiting), 60)
    held = Counter(order["ExternalOrderID"] for order in shop.in_tims())
    assert held == dict.fromkeys([*keys, *unheard], 1)
    poll(shop)
    assert shop.query("SELECT id, flow, step FROM ops.batch WHERE finished_at IS NULL") == []
    assert shop.letters() == {}
    with shop.runtime() as runtime:
        assert reconcile(runtime, ["orders", "order_totals", "quantities"]).unexplained == 0
    print(f"STORM {sent['raised']:,} events in {seconds:.0f} s, {sent['never']:,} never sent, none lost, none twice")
