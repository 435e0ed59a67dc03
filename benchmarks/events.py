"""Events through a running Airflow: how soon an order is in TIMS, what a storm with kills costs and loses, what waiting
for events costs.

In: an empty run folder. Out: seconds and counts. Never: another installation's ports or processes; a process left
behind.

Postgres, both sandbox systems with the limits of requests that their contracts have, Airflow and the receiver run as on
any single machine. Orders are those of the shipped January under new numbers, placed by the sandbox's controls, so the
systems themselves send the events. Kills are SIGKILL.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import requests
import sqlalchemy as sa

from benchmarks import paced, scheduler
from benchmarks.place import Place
from benchmarks.results import Grid, Measured, Unfit, mark
from crossdock.dev import local, standalone
from crossdock.runtime import Runtime
from crossdock.settings import PROJECT, run_dir
from crossdock.store import database
from crossdock.watch.reconcile import reconcile
from sandbox import demo, processes, world
from sandbox.control import Control
from sandbox.world import CHANNEL_ADVISOR, TIMS

DAG = "events"
PATHS = {CHANNEL_ADVISOR: "/hooks/channel-advisor", TIMS: "/hooks/tims"}
WANTED = {
    CHANNEL_ADVISOR: ["OrderCreated", "OrderUpdated", "OrderPaymentCleared", "OrderCancelled", "ReturnCreated",
                      "ReturnUpdated"],
    TIMS: ["inventory.changed", "shipment.created", "salesorder.updated", "item.updated"],
}  # fmt: skip
FIRST = 800_000_000  # number of the first order that is placed
LINES = 1_700_000_000  # number of its first line
TOGETHER = 200  # changes that the systems are told of at once
FAULTS = {"event_twice": {}, "event_shuffled": {"seconds": 5}, "event_late": {"seconds": 30}, "event_forged": {},
          "event_cut": {}, "event_never": {}}  # fmt: skip
SHARE = 0.02  # of the events that each fault hits
INTERVALS = {"orders": 300, "inventory": 300, "holds": 600, "shipments": 600}  # seconds, of the flows that poll
SECRET = secrets.token_hex(32)


@dataclass(frozen=True)
class Sizes:
    """How much of each. `dags`: those that run besides `events`; None: all of them."""

    minute: float = 60  # seconds of it
    per_second: float = 5
    seconds: float = 300
    events: int = 50_000
    orders: int = 2_000  # that are placed in the storm
    paced: float = 30  # seconds of deliveries to the receiver alone
    patience: float = 900  # longest wait until nothing waits any more
    kills: int = 4
    dags: tuple[str, ...] | None = None
    subjects: tuple[str, ...] = ()  # of the reconciliation at the end; none: all


FULL = Sizes()
QUICK = Sizes(
    minute=5, seconds=8, events=400, orders=40, paced=3, patience=60, kills=2, dags=("orders",), subjects=("orders",)
)
PACE = 300  # deliveries a second to the receiver alone


# ---- the receiver alone ----------------------------------------------------------------------------------------------


def measure_receiver(here: Place, found: Measured, sizes: Sizes) -> None:
    """Milliseconds to its answer, and how many were not taken."""
    with found.part(f"the receiver at {PACE} deliveries a second"):
        url = here.migrated("received")
        with Receiver(url) as receiver:
            paced.deliver(receiver.url, SECRET, PACE, PACE)  # the first second is not counted
            answers = paced.deliver(receiver.url, SECRET, int(PACE * sizes.paced), PACE)
            found.add("receiver", _spread("", [each.seconds * 1000 for each in answers]) | {
                "refused": sum(each.status != 202 for each in answers), "count": len(answers),
                "megabytes": receiver.megabytes,
            })  # fmt: skip
        here.drop("received")


@dataclass
class Receiver:
    """`crossdock receive` in a process of its own, on one port from start to start."""

    database: str
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def megabytes(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20 if self.process else 0.0

    def __enter__(self) -> Receiver:
        keep = {name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")}
        names = (f"CROSSDOCK_WEBHOOK_SECRET_{system.upper()}" for system in PATHS)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from crossdock.cli import main; main()", "receive", "--port", str(self.port)],
            cwd=PROJECT, stdout=subprocess.PIPE, text=True,
            env=keep | dict.fromkeys(names, SECRET) | {
                "AIRFLOW_CONN_CROSSDOCK": self.database, "PYTHONPATH": str(PROJECT / "include")},
        )  # fmt: skip
        assert self.process.stdout
        first = self.process.stdout.readline()
        _, is_there, rest = first.partition("http://127.0.0.1:")
        if not is_there:
            raise RuntimeError(f"The receiver did not start: {first!r}")
        self.port = int(rest.partition("/")[0])
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def kill(self) -> None:
        """Ends it as a lost machine would, and starts it again."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.__enter__()


# ---- an installation -------------------------------------------------------------------------------------------------


@dataclass
class Installation:
    """A running one, subscribed to its sandbox's events."""

    airflow: demo.Airflow
    runtime: Runtime
    receiver: Receiver
    others: list[str]
    shop: Control = field(default_factory=lambda: Control.of(CHANNEL_ADVISOR))
    tims: Control = field(default_factory=lambda: Control.of(TIMS))
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST))
    lines: Iterator[int] = field(default_factory=lambda: itertools.count(LINES))
    patterns: Iterator[dict[str, Any]] = field(default_factory=lambda: itertools.cycle(_loadable()))

    def query(self, statement: str, **values: Any) -> list[sa.Row]:
        with self.runtime.engine.begin() as connection:
            return list(connection.execute(sa.text(statement), values))

    def place(self, count: int) -> list[str]:
        """Places orders at the channel, all of this moment; their numbers."""
        placed = [self._order() for _ in range(count)]
        self.shop.apply({"kind": "order", "document": document} for document in placed)
        return [str(document["ChannelAdvisorOrderID"]) for document in placed]

    def _order(self) -> dict[str, Any]:
        like, number = next(self.patterns), next(self.numbers)
        at = world.text(datetime.now(UTC) + self._offset)
        items = [line | {"OrderItemID": next(self.lines)} for line in like["OrderItems"]]
        return like | {"ChannelAdvisorOrderID": number, "OrderID": f"B-{number}", "OrderDate": at, "ImportDate": at,
                       "PaymentDate": at, "OrderItems": items}  # fmt: skip

    def __post_init__(self) -> None:
        self._offset = self.shop.now() - datetime.now(UTC)  # the world's clock goes as fast as ours

    def waiting(self) -> int:
        """Events that are not worked, and deliveries that are still to come."""
        (row,) = self.query("SELECT count(*) AS count FROM ops.webhook_event WHERE worked_at IS NULL")
        return row.count + self.sent()["waiting"]

    def sent(self) -> Counter[str]:
        """What both systems count of their deliveries."""
        counted: Counter[str] = Counter()
        for control in (self.shop, self.tims):
            shown = control.call("GET", "webhooks")
            counted.update({name: count for name, count in shown.items() if type(count) is int})
        return counted

    def started(self, dag: str) -> None:
        """Unpauses a DAG and waits until a task of it is at work."""
        self.airflow.unpause(dag)
        _until(lambda: self.worker() is not None, 120, f"{dag} does not start")

    def worker(self) -> int | None:
        """Process of the task that works events."""
        runs = self.airflow.call("GET", f"dags/{DAG}/dagRuns?state=running&limit=1")["dag_runs"]
        path = f"dags/{DAG}/dagRuns/{runs[0]['dag_run_id']}/taskInstances" if runs else ""
        tasks = self.airflow.call("GET", path)["task_instances"] if path else []
        return next((task["pid"] for task in tasks if task["state"] == "running" and task["pid"]), None)


@contextmanager
def installation(folder: Path, sizes: Sizes) -> Iterator[Installation]:
    """Postgres, the sandbox, Airflow with all DAGs but `events` at work, and a receiver that both systems send to."""
    with scheduler.on_ports_of_its_own(folder):
        try:
            url = local.start()
            database.migrate(url)
            processes.up()
            processes.seed()
            port = scheduler.free_port()
            standalone.up(port, lambda _: None)
            airflow = demo.Airflow(port)
            every = sorted({DAG, *demo.DAGS, *demo.LATER})
            airflow.wait_for_dags(every)
            others = [dag for dag in every if dag != DAG and (sizes.dags is None or dag in sizes.dags)]
            for dag in others:
                airflow.unpause(dag)
            with Receiver(url) as receiver, Runtime(url) as runtime:
                here = Installation(airflow, runtime, receiver, others)
                subscribe(receiver.url)
                _until_idle(here)
                yield here
        finally:
            with suppress(subprocess.SubprocessError):
                demo.down(quiet=True)


def subscribe(url: str) -> None:
    """Has both systems send their events to a receiver."""
    login = demo.SANDBOX_LOGIN["login"], demo.SANDBOX_LOGIN["password"]
    for system, path, form, body in (
        (CHANNEL_ADVISOR, "/v2/webhooks", {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"},
         {"Url": url + PATHS[CHANNEL_ADVISOR], "Events": WANTED[CHANNEL_ADVISOR], "SigningSecret": SECRET}),
        (TIMS, "/api/v1/webhooks/subscriptions", {"grant_type": "client_credentials"},
         {"TargetURL": url + PATHS[TIMS], "EventTypes": WANTED[TIMS], "Secret": SECRET}),
    ):  # fmt: skip
        control = Control.of(system)
        token = requests.post(f"{control.url}/oauth2/token", data=form, auth=login, timeout=30).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(8)}
        requests.post(control.url + path, json=body, headers=headers, timeout=30).raise_for_status()
        control.call("PUT", "webhooks", {"first_pause_seconds": 1, "longest_pause_seconds": 4})


def _loadable() -> list[dict[str, Any]]:
    """Paid orders of the shipped January that nothing is wrong with."""
    whole = world.load()
    sound = {number for number, each in whole.expectations().items() if each.verdict == "loadable"}
    documents = [order.document for order in whole.orders() if order.document["ChannelAdvisorOrderID"] in sound]
    return [document for document in documents if document["PaymentStatus"] in ("Cleared", "Deposited")]


def _until(holds: Callable[[], Any], seconds: float, otherwise: str, pause: float = 0.5) -> None:
    """Waits. Raises Unfit."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise Unfit(f"{otherwise} within {seconds:.0f} s")
        time.sleep(pause)


def _until_idle(here: Installation) -> None:
    """No DAG but `events` is at work: twice in a row, for one starts another."""
    for _ in range(2):
        here.airflow.wait_until_idle(*(dag for dag in here.others if dag != demo.APPROVALS))
        time.sleep(2)


# ---- what is measured ------------------------------------------------------------------------------------------------


def measure(folder: Path, found: Measured, sizes: Sizes) -> None:
    """An idle minute without `events` and with it, orders one by one, the storm."""
    with found.part("events: an installation"), installation(folder, sizes) as here:
        with found.part(f"events: {sizes.minute:.0f} idle seconds, without and with"):
            _measure_idle(here, found, sizes)
        with found.part(f"events: {sizes.per_second:.0f} orders a second for {sizes.seconds:.0f} s"):
            found.add("events", _orders(here, sizes))
        with found.part(f"events: a storm of {sizes.events:,}"):
            found.add("storm", _storm(here, sizes, found.say))


def _measure_idle(here: Installation, found: Measured, sizes: Sizes) -> None:
    """Percent of a core that all of Airflow's processes take; other DAGs are paused meanwhile."""
    for dag in here.others:
        here.airflow.call("PATCH", f"dags/{dag}", {"is_paused": True})
    found.add("idle without", _cpu(sizes.minute))
    here.started(DAG)
    time.sleep(min(sizes.minute, 5))
    found.add("idle with", _cpu(sizes.minute))
    for dag in here.others:
        here.airflow.unpause(dag)
    _until_idle(here)


def _cpu(seconds: float) -> dict[str, float]:
    """Percent of one core: Airflow's processes, and Postgres's."""
    begun, before = time.monotonic(), _cpu_seconds()
    time.sleep(seconds)
    after, passed = _cpu_seconds(), time.monotonic() - begun
    return {name: 100 * (after[name] - before[name]) / passed for name in after}


def _session() -> int:
    """Airflow's processes are one session; its number."""
    return int(json.loads((run_dir() / "airflow.json").read_text())["session"])


def _cpu_seconds() -> dict[str, float]:
    """CPU seconds until now, with those of children that have ended."""
    session = _session()
    postmaster = int((local.data_dir() / "postmaster.pid").read_text().split()[0])
    used = {"airflow": 0.0, "postgres": 0.0}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            of = "airflow" if os.getsid(process.pid) == session else "postgres"
            if of == "airflow" or postmaster in (process.pid, process.ppid()):
                used[of] += sum(process.cpu_times()[:4])
    return used


def _orders(here: Installation, sizes: Sizes) -> dict[str, float]:
    """Orders at a steady pace: seconds from the receipt of the event to each leg's end, and from the order itself."""
    placed: dict[str, float] = {}
    begun, every = time.time(), 1 / sizes.per_second
    for number in range(int(sizes.per_second * sizes.seconds)):
        time.sleep(max(0.0, begun + number * every - time.time()))
        at = time.time()
        placed |= dict.fromkeys(here.place(1), at)
    done = f"SELECT count(*) AS count FROM ops.link WHERE {_ORDERS} AND confirmed_at IS NOT NULL"
    with suppress(Unfit):  # what is not there by then is counted
        _until(lambda: here.query(done, first=FIRST)[0].count >= len(placed), max(30, sizes.patience / 10), "")
    rows = {row.key: row for row in here.query(LEGS, first=FIRST)}
    legs: dict[str, list[float]] = {name: [] for name in ("received", "taken", "in_tims", "confirmed", "whole")}
    for key, at in placed.items():
        if (row := rows.get(key)) and row.received:
            legs["received"].append(row.received - at)
            legs["in_tims"].append(row.in_tims - row.received)
            legs["confirmed"].append((row.confirmed or time.time()) - row.received)
            legs["whole"].append(row.in_tims - at)
            if row.kind == "event":  # the others were read with the list
                legs["taken"].append(row.taken - row.received)
    if not legs["taken"]:
        raise Unfit(f"no order of {len(placed)} has come to TIMS by its event")
    spread = {name: value for leg, seconds in legs.items() for name, value in _spread(f"{leg}_", seconds).items()}
    missing = [key for key in placed if key not in rows]
    listed = len(placed) - len(missing) - len(legs["taken"])
    return spread | {"orders": len(placed), "missing": len(missing), "listed": listed}


_ORDERS = "entity = 'sales_order' AND source_key ~ '^[0-9]+$' AND source_key::bigint >= :first"
LEGS = f"""
SELECT source_key AS key, batch.kind, extract(epoch FROM received_at)::float AS received,
  extract(epoch FROM batch.created_at)::float - coalesce((batch.seconds ->> 'extract')::float, 0) AS taken,
  extract(epoch FROM link.created_at)::float AS in_tims, extract(epoch FROM link.confirmed_at)::float AS confirmed
FROM ops.link
LEFT JOIN (
  SELECT key, min(received_at) AS received_at FROM ops.webhook_event WHERE flow = 'orders' GROUP BY key
) event ON key = source_key
JOIN ops.batch ON batch.id = link.batch_id
WHERE {_ORDERS}
"""


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest."""
    ordered = sorted(values)
    late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {f"{name}p50": statistics.median(ordered), f"{name}p95": late, f"{name}most": ordered[-1]}


# ---- the storm -------------------------------------------------------------------------------------------------------


def _storm(here: Installation, sizes: Sizes, say: Callable[[str], None]) -> dict[str, float]:
    """Changes at both systems until they have raised so many events, with kills on the way."""
    before, began_at = here.sent(), datetime.now(UTC)
    begun = time.monotonic()
    for kind, options in FAULTS.items():
        for number, control in enumerate((here.shop, here.tims)):
            rule = {"kind": kind, "path": "*", "probability": SHARE, "seed": number, "times": None}
            control.call("POST", "faults", rule | options)
    keys: list[str] = []
    changes, kills = _changes(here, keys, sizes), [*_kills(here).items()][: sizes.kills]
    for number in range(1, len(kills) + 2):
        while (raised := here.sent()["raised"] - before["raised"]) < sizes.events * number / (len(kills) + 1):
            next(changes)
        if number <= len(kills):
            name, kill = kills[number - 1]
            say(f"  {raised:,} events raised after {time.monotonic() - begun:.0f} s; {name} is killed")
            kill()
    fed = time.monotonic() - begun
    for control in (here.shop, here.tims):
        control.call("DELETE", "faults")
    say(f"  {raised:,} events raised after {fed:.0f} s; waiting until all are worked")
    _until(lambda: not here.waiting(), sizes.patience, "not all events were worked", pause=1)
    worked, later = time.monotonic() - begun, _lateness(here, began_at)
    for dag in sorted({"orders", "inventory", "shipments", "holds"} & {*here.others}):  # what nobody has rung for
        here.airflow.run(dag)
    _until_idle(here)
    _until(lambda: not here.waiting(), sizes.patience, "not all events were worked", pause=1)
    sent = here.sent() - before
    held = Counter(order["ExternalOrderID"] for order in here.tims.documents("order"))
    return {
        "events": raised, "fed": fed, "seconds": worked, "orders": len(keys), "never": sent["never"],
        "lost": sum(not held[key] for key in keys), "twice": sum(held[key] > 1 for key in keys),
        "unexplained": reconcile(here.runtime, sizes.subjects, run_id="bench").unexplained,
        "errors": sum(sent[name] for name in sent if name.startswith("answered 5") and name != "answered 503"),
        "unavailable": sent["answered 503"], "unanswered": sent["unanswered"], "later": later,
    }  # fmt: skip


def _changes(here: Installation, keys: list[str], sizes: Sizes) -> Iterator[None]:
    """Orders are placed and then flagged again and again; stock is counted anew. One call after another."""
    skus = sorted(quantity["SKU"] for quantity in here.tims.documents("quantity") if _is_counted(quantity))
    counted = itertools.cycle(skus)
    flags = itertools.cycle(("RedFlag", "BlueFlag", "GreenFlag", "NoFlag"))
    each = min(TOGETHER, max(sizes.orders // 5, 1))
    for turn in itertools.count():
        if len(keys) < sizes.orders:
            keys += here.place(each)
        flag = next(flags)
        changed = itertools.islice(itertools.cycle(keys), turn * each, (turn + 1) * each)
        here.shop.apply(
            {"kind": "order_change", "document": {"ChannelAdvisorOrderID": int(key), "changes": {"Flag": flag}}}
            for key in dict.fromkeys(changed)
        )
        stock = [{"LocationID": "MAIN", "OnHand": 5_000 + turn}]
        here.tims.apply(
            {"kind": "quantity", "document": {"SKU": next(counted), "Locations": stock}} for _ in range(each)
        )
        yield


def _is_counted(quantity: Mapping[str, Any]) -> bool:
    return any(place["LocationID"] == "MAIN" for place in quantity["Locations"])


def _kills(here: Installation) -> dict[str, Callable[[], None]]:
    """What is ended, in this order. Airflow's supervisor starts its parts and Postgres again."""

    def scheduler_of() -> None:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                words = process.cmdline()
                if os.getsid(process.pid) == _session() and words[-2:] == ["scheduler", "--skip-serve-logs"]:
                    process.kill()

    def worker() -> None:
        if pid := here.worker():
            os.kill(pid, signal.SIGKILL)

    def postgres() -> None:
        os.kill(int((local.data_dir() / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        _until(local.is_running, 120, "Postgres does not come back", pause=0.2)

    return {
        "the receiver": here.receiver.kill,
        "the worker": worker,
        "Postgres": postgres,
        "the scheduler": scheduler_of,
    }


def _lateness(here: Installation, since: datetime) -> float:
    """The longest that a flow that polls has gone without a run that ended well, in its own intervals."""
    longest = 0.0
    for dag, interval in INTERVALS.items():
        if dag not in here.others:
            continue
        runs = here.airflow.call("GET", f"dags/{dag}/dagRuns?state=success&order_by=-end_date&limit=100")["dag_runs"]
        ends = sorted(datetime.fromisoformat(run["end_date"]) for run in runs)
        before = [end for end in ends if end < since][-1:]
        moments = [*before, *(end for end in ends if end >= since), datetime.now(UTC)]
        gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments)]
        longest = max([longest, *(gap / interval for gap in gaps)])
    return longest


# ---- rows ------------------------------------------------------------------------------------------------------------


def rows(found: Measured, grid: Grid) -> None:
    """Of the receiver, an idle minute, orders one by one, the storm."""
    with grid.group("an order's event to the sales order"):
        half, most = found["events.in_tims_p50"], found["events.in_tims_p95"]
        grid.row("an order's event to the sales order", f"p95 {most:.2f} s", "half of them", f"{half:.2f} s", "",
                 mark(half <= 1.2 and most <= 2.0, "p50 ≤ 1.2 s, p95 ≤ 2 s"))  # fmt: skip
        for leg, words in (("received", "placed to received"), ("taken", "received to taken"),
                           ("confirmed", "received to marked at the channel"),
                           ("whole", "placed to the sales order")):  # fmt: skip
            grid.row(f"  {words}", f"p95 {found[f'events.{leg}_p95']:.2f} s", "half of them",
                     f"{found[f'events.{leg}_p50']:.2f} s")  # fmt: skip
        grid.row("  of so many orders", f"{found['events.orders']:,.0f}", "read with the list; not there",
                 f"{found['events.listed']:.0f}; {found['events.missing']:.0f}", "",
                 mark(not found["events.missing"], "all there"))  # fmt: skip
    with grid.group("a storm of events, with kills"):
        grid.row("a storm of events, with kills", f"{found['storm.seconds']:.0f} s", "until all were raised",
                 f"{found['storm.fed']:.0f} s of {found['storm.events']:,.0f}")  # fmt: skip
        lost, twice = found["storm.lost"], found["storm.twice"]
        grid.row("  orders lost; twice", f"{lost:.0f}; {twice:.0f}", "of", f"{found['storm.orders']:,.0f}", "",
                 mark(not (lost or twice), "0; 0"))  # fmt: skip
        grid.row("  differences that nothing explains", f"{found['storm.unexplained']:.0f}", "events never sent",
                 f"{found['storm.never']:,.0f}", "", mark(not found["storm.unexplained"], "0"))  # fmt: skip
        grid.row("  answers of 5xx but 503", f"{found['storm.errors']:.0f}", "503",
                 f"{found['storm.unavailable']:,.0f}", "", mark(not found["storm.errors"], "0"))  # fmt: skip
        later = found["storm.later"]
        grid.row("  longest without a poll", f"{later:.2f} intervals", "", "", "", mark(later <= 2, "≤ 2"))
    with grid.group("the receiver alone"):
        most = found["receiver.p95"]
        grid.row(f"the receiver at {PACE} deliveries/s", f"p95 {most:.1f} ms", "half of them; memory",
                 f"{found['receiver.p50']:.1f} ms; {found['receiver.megabytes']:.0f} MB", "",
                 mark(most <= 50 and not found["receiver.refused"], "≤ 50 ms"))  # fmt: skip
    with grid.group("waiting for events"):
        costs = found["idle with.airflow"] - found["idle without.airflow"]
        grid.row("waiting for events, of a core", f"{costs:.1f} %", "all of Airflow, with; without",
                 f"{found['idle with.airflow']:.1f} %; {found['idle without.airflow']:.1f} %", "",
                 mark(costs <= 2, "≤ 2 %"))  # fmt: skip
