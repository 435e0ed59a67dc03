"""The parts of the battery that every flow must pass; `test_battery.py` puts them together.

In: a flow, and from `made/<package>.py` how a test makes one source record that the flow works. Out: runs with faults
and killed processes, and what both systems and our own book hold afterwards. Never: a flow named here.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from crossdock import flows
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters, deliveries
from crossdock.store.batches import Counts
from integration import builders, stock_oracle
from integration.builders import ITEM, forward, line
from integration.bustle import ALL
from integration.environment import adapt, found_environment
from integration.test_order_to_cash import Killed, Market
from sandbox.control import SYSTEMS

# Paths of each system, but for its tokens.
WRITES = {"tims": ("/api/v1/*", "/erp/v3/*"), "channel_advisor": ("/v1/*", "/v2/*")}
STOCKED = 60  # orders that are in TIMS before the first test
OWN_BOOK = ("ref.settlement",)
STAMPS = ("UpdatedDate", "ModifiedAt", "RowVersion")


@dataclass(frozen=True)
class Made:
    """How a test makes one source record that a flow works.

    `make` changes the world: afterwards one read of the flow finds something to deliver. `parent`: the table of `ref`
    whose row it waits for, where it can wait; `waits`: the test that shows its waiting otherwise.
    """

    make: Callable[[Shop], object]
    parent: str = ""
    waits: str = ""
    refusable: bool = True  # its load sends requests that a system may refuse
    backfills: bool = True  # a window over the last days has it


@dataclass
class Shop(Market):
    """An environment with orders on stock, in which all flows have ended."""

    stock: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Places orders and brings them into TIMS, and offers what there is."""
        events: list[tuple[Any, ...]] = []
        goods = line(ITEM, 1, "10.0000", TaxAmount="2.00")
        with patch.object(builders, "send", lambda *event: events.append(event)):
            self.stock = [builders.place(self.environment, goods) for _ in range(STOCKED)]
        for key in self.stock:
            self.orders[key] = [{**goods, "OrderItemID": int(key) * 100 + 1}]
        at = (self.environment.now + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
        self.environment.channel_advisor.apply(
            {"id": f"stock-{n}", "at": at, "system": system, "kind": kind, "document": document}
            for n, (_, system, kind, document) in enumerate(events)
        )
        forward(self.environment, self.environment.now + timedelta(minutes=2))
        for flow in flows.all_flows():
            self.run(flow)

    def order_on_stock(self) -> str:
        """An order that is in TIMS, of which nothing has been sent."""
        return self.stock.pop()

    def sold(self, *after: str) -> str:
        """An order that has shipped completely; then the flows `after` have run."""
        key = self.order_on_stock()
        self.send(key, 9)
        for flow in after:
            self.run(flow)
        return key

    # ---- what there is afterwards ----

    def held(self) -> dict[str, Any]:
        """All that both systems and our own book hold, once TIMS has allocated what it can."""
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        self.environment.in_tims("sales-orders")
        found: dict[str, Any] = {}
        for system in SYSTEMS:
            control = self.control(system)
            for kind in control.call("GET", "counts"):
                found[f"{system} {kind}"] = sorted(map(_text, control.documents(kind)))
        for table in OWN_BOOK:
            found[table] = [str(tuple(row)) for row in self.environment.query(f"SELECT * FROM {table} ORDER BY 1, 2")]
        return found

    def counts(self) -> Counter[str]:
        """How many documents there are of each kind."""
        own = {table: self.environment.query(f"SELECT count(*) AS n FROM {table}")[0].n for table in OWN_BOOK}
        systems = (self.control(system).call("GET", "counts").items() for system in SYSTEMS)
        return Counter(own | {f"{n} {kind}": number for n, items in enumerate(systems) for kind, number in items})

    def control(self, system: str) -> Any:
        return self.environment.channel_advisor if system == "channel_advisor" else self.environment.tims_control

    def letters(self, flow: str) -> list[Any]:
        """The open dead letters of a flow."""
        with self.environment.runtime() as runtime, runtime.engine.begin() as connection:
            return list(dead_letters.listed(connection, flow=flow, limit=1_000))

    def why(self, flow: str) -> list[Any]:
        """What became of the flow's records, for a test that finds nothing delivered."""
        table = flows.get(flow).stage.fullname
        states = self.environment.query(f"SELECT state, reason, count(*) FROM {table} GROUP BY 1, 2 ORDER BY 1, 2")
        return [*map(tuple, states), *(letter.reasons for letter in self.letters(flow))]

    # ---- faults ----

    @contextmanager
    def failing(self, kind: str, *methods: str, **rule: Any) -> Iterator[None]:
        """Makes both systems fail writes in one way until the block ends."""
        for system, paths in WRITES.items():
            for path in paths:
                for method in methods or ("POST", "PUT", "PATCH"):
                    self.environment.fault(system, kind, path=path, method=method, **rule)
        try:
            yield
        finally:
            self.environment.clear_faults()

    def killed(self, flow: str, run_id: str) -> Counts | None:
        """A run that dies between a request and the note of its answer; its counts, where it sent no request."""
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        with patch.object(deliveries, "end", side_effect=Killed):
            try:
                return self.environment.sync(flow=flow, run_id=run_id)
            except Killed:
                return None

    def read_without(self, flow: str, table: str) -> Counts:
        """A run for which the rows of `table` are not there yet between its read and its work."""
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        with self.environment.runtime() as runtime:
            chosen = flows.get(flow)
            ids = extract(runtime, chosen)
            for before, after in (("id", "'not ' || id"), ("id", "substr(id, 5)")):
                with runtime.engine.begin() as connection:
                    connection.exec_driver_sql(f"UPDATE {table} SET {before} = {after}")
                if after.startswith("'not"):
                    counts = run_batches(runtime, chosen, ids)
        return counts

    def backfill(self, flow: str, **more: Any) -> Counts:
        """A run over the last two days."""
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        window = Window(self.environment.now - timedelta(days=2), self.environment.now)
        return self.environment.sync(window, flow=flow, kind="backfill", **more)


@contextmanager
def opened(
    postgres_url: str, folders: pytest.TempPathFactory, name: str, *, api: str = "v2", legacy: bool = False
) -> Iterator[Shop]:
    """A shop that is open, with a configuration of its own. `api`: of the channel; `legacy`: its TIMS is the older
    installation."""
    with (
        found_environment(
            postgres_url, name, folders.mktemp("environment"), skus=ALL, api=api, legacy=legacy
        ) as environment,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        environment.inbox = folders.mktemp("inbox")
        config = folders.mktemp("config")
        # Without a margin: units that are held until a minute of real time has gone would be offered between two runs.
        stock_oracle.configure(monkeypatch, config, margin_seconds=0)
        sites = config / "config" / "sites.yaml"
        sites.write_text(sites.read_text().replace("channel: Web Shop\n", "channel: Web Shop\n    prepaid: yes\n"))
        if legacy:
            adapt(config / "config")
        forward(environment, environment.now + timedelta(days=1, hours=10))
        shop = Shop(environment)
        shop.open()
        yield shop


def made(shop: Shop, flow: str) -> Made:
    """How a record of the flow is made: `MADE[flow]` of `made/<its package>.py`. All that came before is worked."""
    shop.run(flow)
    package = flows.packages()[flow]
    try:
        return importlib.import_module(f"integration.made.{package}").MADE[flow]
    except (ModuleNotFoundError, KeyError) as missing:
        raise AssertionError(f"Say in tests/integration/made/{package}.py how a record of {flow} is made.") from missing


def _text(document: Any) -> str:
    """A document without the stamps that a server gives it."""
    return msgspec.json.encode({k: v for k, v in document.items() if k not in STAMPS}, order="sorted").decode()
