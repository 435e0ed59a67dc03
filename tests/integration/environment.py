"""Both systems as real servers over HTTP, a real Postgres database, and the world between them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.runtime import Runtime
from crossdock.settings import PROJECT
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import database, dead_letters
from crossdock.store.batches import Counts
from crossdock.systems.connections import Connection, parse
from sandbox import world
from sandbox.control import SYSTEMS, Control
from sandbox.tims_legacy import server as tims_legacy
from sandbox.world import TIMS
from sandbox_servers import serving

ORDERS = flows.get("orders")
LEGACY = {"conn_type": "http", "login": tims_legacy.LOGIN, "password": tims_legacy.PASSWORD}
PLENTY = 1_000_000  # requests a minute
PAUSE = 0.02  # seconds until a request that failed is sent again; doubles with each try


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class KeptRuntime(Runtime):
    """A runtime with an engine of its own over sessions of the database that outlive it: to begin one costs Postgres
    more than many a run does."""

    def __init__(self, kept: sa.Engine, *more: Any) -> None:
        super().__init__(kept.url.render_as_string(hide_password=False), *more)
        options = kept.get_execution_options()
        self._own = sa.Engine(kept.pool, kept.dialect, kept.url, hide_parameters=True, execution_options=options)

    @property
    def engine(self) -> sa.Engine:
        return self._own


@dataclass
class Environment:
    """What a test needs: the controls, the connections, the world, a database of its own."""

    channel_advisor: Control
    tims_control: Control
    connections: dict[str, Connection]
    database_url: str
    world: world.World
    now: datetime
    part: int = 1  # of the world's orders, only every `part`-th takes place: for tests that need many days
    inbox: Path | None = None
    engines: dict[tuple[str, int, int], sa.Engine] = field(default_factory=dict)  # by URL, process and thread

    @property
    def engine(self) -> sa.Engine:
        """The database's, with sessions that are kept. A forked process and a thread have their own."""
        place = self.database_url, os.getpid(), threading.get_ident()
        if place not in self.engines:
            self.engines[place] = database.engine(self.database_url)
        return self.engines[place]

    def disconnect(self) -> None:
        """Ends the sessions of its databases that no runtime uses."""
        for (_, process, _), engine in self.engines.items():
            if process == os.getpid():
                engine.dispose()

    def runtime(self) -> Runtime:
        return KeptRuntime(self.engine, self.connections.__getitem__, self.inbox)

    def takes_place(self, order_id: int | None) -> bool:
        return order_id is None or order_id % self.part == 0

    def tick(self, to: str | datetime) -> int:
        """Advances both clocks to `to` and sends the systems the world's events until then."""
        until = moment(to) if isinstance(to, str) else to
        events = [
            event.as_dict()
            for event in self.world.events(self.now, until)
            if self.takes_place(event.document.get("ChannelAdvisorOrderID"))
        ]
        for control in (self.channel_advisor, self.tims_control):
            control.apply(event for event in events if event["system"] == control.system)
            control.set_clock(until)
            control.call("POST", "expire-tokens")  # as they would be if the time had passed
        self.now = until
        return len(events)

    def sync(self, window: Window | None = None, flow: str = "orders", **more: Any) -> Counts:
        with self.runtime() as runtime:
            ids = extract(runtime, flows.get(flow), window or Window(), **more)
            return run_batches(runtime, flows.get(flow), ids)

    def fault(self, system: str, kind: str, **rule: Any) -> None:
        control = self.channel_advisor if system == "channel_advisor" else self.tims_control
        control.call("POST", "faults", {"kind": kind, **rule})

    def clear_faults(self) -> None:
        for control in (self.channel_advisor, self.tims_control):
            control.call("DELETE", "faults")

    def in_tims(self, resource: str = "sales-orders") -> list[dict[str, Any]]:
        with self.runtime() as runtime:
            return [msgspec.json.decode(row) for page in runtime.tims.pages(resource, since=None, before=None)
                    for row in page.records]  # fmt: skip

    def letters(self) -> dict[str, sa.Row]:
        with self.runtime() as runtime, runtime.engine.begin() as connection:
            return {row.key: row for row in dead_letters.listed(connection, limit=100_000)}

    def query(self, statement: str) -> list[sa.Row]:
        with self.engine.begin() as connection:
            return list(connection.exec_driver_sql(statement))

    def differences(self, reads: Iterable[str] = ()) -> list[str]:
        """The disagreements with the world: missing, doubled, wrong amounts, wrong reasons. [] is good.

        Independent of Crossdock's own records, but for the dead letters.
        """
        moments = [moment(each) for each in reads] or [self.now]
        everything = self.world.expectations(end=max(moments), reads=moments)
        expected = {number: expectation for number, expectation in everything.items() if self.takes_place(number)}
        orders = self.in_tims()
        counted = Counter(order["ExternalOrderID"] for order in orders)
        found = [f"{key} stands {count} times in TIMS" for key, count in counted.items() if count > 1]
        held = {order["ExternalOrderID"]: order for order in orders}
        letters = self.letters()
        for number, expectation in expected.items():
            key = str(number)
            order, letter = held.pop(key, None), letters.get(key)
            reasons = {reason["rule"] for reason in letter.reasons} if letter else set()
            if expectation.verdict == "loadable":
                if order is None:
                    found.append(f"{key} is missing in TIMS: {reasons}")
                elif (Decimal(order["TotalAmount"]), order["CurrencyCode"]) != (
                    expectation.total,
                    expectation.currency,
                ):
                    found.append(f"{key} is {order['TotalAmount']} in TIMS instead of {expectation.total}")
                elif letter:
                    found.append(f"{key} is in TIMS and a dead letter: {reasons}")
            elif order is not None:
                found.append(f"{key} is in TIMS, but should be {expectation.verdict}")
            elif expectation.verdict == "dead" and reasons != set(expectation.rules):
                found.append(f"{key} is dead for {reasons} instead of {set(expectation.rules)}")
            elif expectation.verdict != "dead" and letter:
                found.append(f"{key} is a dead letter, but should be {expectation.verdict}")
        found += [f"{key} is in TIMS, but nobody ordered it" for key in held]
        return found


def own_config(folder: Path) -> Path:
    """The shipped configuration in a folder of a test's own, without budgets of requests and with short pauses between
    tries, so that tests do not wait for them."""
    made = shutil.copytree(PROJECT / "include" / "config", folder)
    systems = made / "systems.yaml"
    text = re.sub(r"(requests_per_minute): \d+", rf"\1: {PLENTY}", systems.read_text())
    systems.write_text(re.sub(r"(first_pause_seconds): [\d.]+", rf"\1: {PAUSE}", text))
    return made


def adapt(folder: Path) -> None:
    """Makes a configuration one for the older TIMS."""
    shutil.copyfile(Path(tims_legacy.__file__).with_name("tims.yaml"), folder / "tims.yaml")


@contextmanager
def unhurried(folder: Path) -> Iterator[None]:
    """Uses such a configuration until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_CONFIG_DIR", str(own_config(folder / "config")))
        yield


@contextmanager
def server(system: str, folder: Path) -> Iterator[str]:
    """One sandbox server on a free port that takes any number of requests a minute; its URL."""
    with serving(system, folder, per_minute=PLENTY) as output:
        found = re.search(r"http://\S+?:\d+", output)
        assert found, output
        yield found[0]


TEMPLATE = "migrated"


@contextmanager
def fresh_database(server_url: str, name: str) -> Iterator[str]:
    """A migrated database of its own on the test session's Postgres server: a copy of one that is migrated once."""
    url = sa.make_url(server_url)
    admin = database.engine(server_url, role=None)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": TEMPLATE}):
            connection.exec_driver_sql(f"CREATE DATABASE {TEMPLATE}")
            database.migrate(url.set(database=TEMPLATE).render_as_string(hide_password=False))
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    admin.dispose()


@cache
def _world() -> world.World:
    return world.load()


def goods_until(end: str, part: int) -> frozenset[str]:
    """The goods of the orders that take place until `end`, the parts of their kits with them: no more than a test of
    these days needs. `part`: see `Environment.part`."""
    kits = {
        event.document["SKU"]: event.document["KitComponents"]
        for event in _world().reference_events()
        if event.document.get("KitComponents")
    }
    ordered = {
        line["SKU"]
        for event in _world().events(_world().start, moment(end))
        if (event.document.get("ChannelAdvisorOrderID") or 0) % part == 0
        for line in event.document.get("OrderItems", ())
    }
    return frozenset(ordered | {each["SKU"] for sku in ordered & kits.keys() for each in kits[sku]})


@cache
def _reference_folder(skus: frozenset[str] = frozenset()) -> TemporaryDirectory[str]:
    """The folder of two systems with the reference data and nothing else: filled once, copied for every environment.
    `skus`: of the goods only these."""
    reported = TemporaryDirectory(prefix="reference-")
    reference = [
        event.as_dict()
        for event in _world().reference_events()
        if not skus or event.document.get("SKU", min(skus)) in skus
    ]
    for system in SYSTEMS:
        with server(system, Path(reported.name)) as url:
            control = Control(system, url)
            control.set_clock(_world().start)
            control.apply(event for event in reference if event["system"] == system)
    for file in Path(reported.name).glob("*.db"):  # a server that is ended leaves a log that each copy would work in
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return reported


@contextmanager
def found_environment(
    postgres_url: str,
    name: str,
    folder: Path,
    skus: frozenset[str] = frozenset(),
    api: str = "v2",
    *,
    legacy: bool = False,
) -> Iterator[Environment]:
    """An environment on the evening before the first day of trade: reference data are there, no order yet. Its systems
    let any number of requests through. `skus`: its only goods; `api`: which of its APIs the channel is spoken to by;
    `legacy`: TIMS is the older installation, which the test's configuration has to be adapted to."""
    shutil.copytree(_reference_folder(skus).name, folder, dirs_exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(postgres_url, name))
        served = {system: f"{system}_legacy" if legacy and system == TIMS else system for system in SYSTEMS}
        urls = {system: stack.enter_context(server(what, folder)) for system, what in served.items()}
        controls = {system: Control(system, at) for system, at in urls.items()}
        login = {"conn_type": "http", "login": "crossdock-sandbox", "password": "sandbox-secret"}
        extra = {
            "channel_advisor": {"api": api, "refresh_token": "sandbox-refresh", "read_seconds": 3},
            "tims": {"read_seconds": 3},
        }
        connections = {
            system: parse(
                system,
                json.dumps({**(LEGACY if served[system] != system else login), "host": at, "extra": extra[system]}),
            )
            for system, at in urls.items()
        }
        for control in controls.values():
            control.set_clock(_world().start)
        found = Environment(controls["channel_advisor"], controls["tims"], connections, url, _world(), _world().start)
        yield found
        found.disconnect()
