"""The reconciliation over lists with records that no contract allows: each is passed over, counted and named; its key,
where it can be read, differs; all others are compared."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock.comparison.subject import DEAD, UNEXPLAINED
from crossdock.steps.extract import Window
from crossdock.watch.reconcile import Outcome, reconcile, results, run
from crossdock.watch.reconcile.subjects import SUBJECTS
from integration.builders import OTHER, forward, line, order, place, sales_order, ship
from integration.environment import Environment, found_environment
from integration.foreign import DEEP, LONG, Front, Spoil, changed, few, fronted, paths

pytestmark = pytest.mark.slow

FLOWS = ("orders", "shipments", "orders", "invoices")


@pytest.fixture(scope="module")
def environment(postgres_url: str, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A day of trade, with orders that have left and orders that are open; nobody is patient."""
    with found_environment(postgres_url, "reconcile_malformed", tmp_path_factory.mktemp("environment")) as environment:
        environment.part = 50
        environment.tick("2011-01-06")
        sync(environment)
        for _ in range(2):
            key = order(environment, line(quantity=2, price="12.5000"), line(OTHER, price="3.3333"))
            ship(
                environment,
                key,
                {each["LineNo"]: each["Quantity"] for each in sales_order(environment, key)["LineItems"]},
            )
        sync(environment)
        yield environment


CATALOGUE = ("/items", "/quantities", "/v2/products", "/v2/inventory", "/v2/prices")


@pytest.fixture
def fronts(environment: Environment) -> Iterator[dict[str, Front]]:
    """Systems with a small catalogue."""
    with fronted(environment) as fronts:
        yield fronts


def spoil_in(front: Front, change: Spoil) -> None:
    front.spoil = lambda path, rows: change(path, few(rows, ()) if path.endswith(CATALOGUE) else rows)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs beside these comparisons, so nothing has to be waited for."""
    monkeypatch.setattr(run, "PAUSE", 0.0)
    monkeypatch.setattr(run, "JUST_NOW", timedelta(0))


def sync(environment: Environment) -> None:
    for flow in FLOWS:
        forward(environment, environment.now + timedelta(seconds=30))
        environment.sync(flow=flow)
    forward(environment, environment.now + timedelta(minutes=1))


def run_reconcile(environment: Environment, *names: str) -> Outcome:
    with environment.runtime() as runtime:
        return reconcile(runtime, names)


def found(environment: Environment, outcome: Outcome) -> dict[tuple[str, str], sa.Row]:
    """Records that could not be read, by subject and key."""
    rows = environment.query(f"SELECT * FROM ops.reconcile_difference WHERE run = {outcome.id} AND field = 'record'")
    return {(row.subject, row.key): row for row in rows}


def page(environment: Environment, outcome: Outcome) -> str:
    with environment.runtime() as runtime, runtime.engine.connect() as connection:
        return results.page(connection, outcome.id) or ""


UNREADABLE = {
    "no lines": changed(OrderItems=None, OrderItemCount=0),
    "lines that are none": changed(OrderItems=[None]),
    "a moment in words": changed(UpdatedDate="yesterday"),
    "no status": changed(OrderStatus=...),
    "too deep": lambda record: record[:-1] + b', "Deep": ' + DEEP + b"}",
    "not Unicode": lambda record: record[:-1] + b', "Rate": "\xff"}',
}
ODD = {  # what says all that is compared
    "id as text": lambda record: changed(ChannelAdvisorOrderID=str(json.loads(record)["ChannelAdvisorOrderID"]))(
        record
    ),
    "no count": changed(OrderItemCount=...),
}


def test_malformed_orders_are_told_with_their_keys_and_all_others_are_compared(
    environment: Environment, fronts: dict[str, Front]
) -> None:
    keys = [place(environment, line()) for _ in range(len(UNREADABLE) + len(ODD) + 1)]
    sync(environment)
    well = run_reconcile(environment, "orders", "payments")
    assert well.unexplained == 0
    assert [counts.passed for counts in well.counts.values()] == [0, 0]
    spoils = dict(zip(keys, [*UNREADABLE.values(), *ODD.values()], strict=False))

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        if path.removesuffix("#one") != "/v2/orders":
            return rows
        reported = [spoils.get(str(json.loads(row)["ChannelAdvisorOrderID"]), bytes)(row) for row in rows]
        return reported if path.endswith("#one") else [*reported, b"null", b"7", b"{}"]

    spoil_in(fronts["channel_advisor"], spoil)
    outcome = run_reconcile(environment)
    unread = set(keys[: len(UNREADABLE)])
    rows = found(environment, outcome)
    assert {key for subject, key in rows if subject == "orders"} == unread
    assert {row.cause for (subject, _), row in rows.items() if subject == "orders"} == {UNEXPLAINED}
    counts = outcome.counts["orders"]
    assert counts.causes[UNEXPLAINED] == len(unread), "nothing else differs"
    assert counts.equal == well.counts["orders"].equal - len(unread)
    assert counts.passed == len(unread) + 3
    text = page(environment, outcome)
    assert all(key in text for key in unread)
    assert "unreadable~" in text, "a record without an id has a name of its own"
    (alert,) = environment.query("SELECT * FROM ops.alert WHERE kind = 'unreadable_records' AND key = 'reconcile'")
    assert f"{counts.passed} records" in alert.title
    assert "Channel Advisor, orders, " in alert.body

    environment.sync(Window(environment.now - timedelta(days=1)), kind="sweep")
    letters = {key for key, letter in environment.letters().items() if letter.flow == "orders"} & unread
    assert letters
    again = found(environment, run_reconcile(environment, "orders"))
    assert {again["orders", key].cause for key in letters} == {DEAD}

    fronts["channel_advisor"].spoil = None
    environment.sync(Window(environment.now - timedelta(days=1)), kind="sweep")
    mended = run_reconcile(environment, "orders")
    assert (mended.unexplained, mended.counts["orders"].passed) == (0, 0)


def test_an_order_that_cannot_be_read_whole_stops_no_other(environment: Environment, fronts: dict[str, Front]) -> None:
    key = place(environment, *[line(price="1.0000") for _ in range(25)])
    sync(environment)

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        return [b'{"cut": [' if path == f"/v2/orders/{key}#one" else row for row in rows]

    spoil_in(fronts["channel_advisor"], spoil)
    outcome = run_reconcile(environment, "orders")
    assert set(found(environment, outcome)) == {("orders", key)}
    assert outcome.counts["orders"].equal > 0


ONE_VALUE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a sales order": ("tims", "/api/v1/sales-orders", {"LineItems": 7}),
    "an amount in words": ("tims", "/api/v1/sales-orders", {"TotalAmount": "NaN"}),
    "a customer": ("tims", "/api/v1/customers", {"Email": {"a": 1}}),
    "a parcel": ("tims", "/api/v1/shipments", {"Lines": None}),
    "an invoice": ("tims", "/api/v1/ar/invoices", {"Total": "much"}),
    "stock of TIMS": ("tims", "/api/v1/inventory/quantities", {"Locations": [{}]}),
    "half an item": ("tims", "/api/v1/inventory/items", {"AlternateSKUs": None}),
    "stock of the channel": ("channel_advisor", "/v2/inventory", {"AvailableQuantity": "many"}),
    "a price": ("channel_advisor", "/v2/prices", {"UpdatedDate": None}),
    "a product": ("channel_advisor", "/v2/products", {"Title": ..., "Images": [{}]}),
    "a parcel told": ("channel_advisor", "/v2/shipping", {"Items": "none"}),
    "a center": ("channel_advisor", "/v2/distribution-centers", {"IsDeleted": ...}),
}


def test_malformed_records_of_each_list_are_counted_by_its_subjects(
    environment: Environment, fronts: dict[str, Front], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SHOWN", 10_000)

    def spoiling(system: str) -> Spoil:
        def spoil(path: str, rows: list[bytes]) -> list[bytes]:
            for of, where, fields in ONE_VALUE.values():
                if (of, where) == (system, path):
                    rows = rows or [b'{"SKU": "84946"}']  # no price has been sent yet
                    spared = rows[: -1 if "centers" in path else -3]
                    rows = spared + [changed(**fields)(row) for row in rows[len(spared) :]]
            return rows

        return spoil

    for system, front in fronts.items():
        spoil_in(front, spoiling(system))
    outcome = run_reconcile(environment)
    assert list(outcome.counts) == list(SUBJECTS)
    named = " ".join(" ".join(counts.such_as) for counts in outcome.counts.values())
    for _, path, _ in ONE_VALUE.values():
        assert path.removeprefix("/v2/").removeprefix("/api/v1/") + ", " in named, named
    shipments = outcome.counts["shipments"]
    assert (shipments.equal, shipments.causes) == (0, {UNEXPLAINED: 2}), "two that cannot be read are not equal"
    assert all(counts.compared for name, counts in outcome.counts.items() if name != "returns")


VALUES = (None, True, -1, 10**25, 1.5, 1e300, "", "x", "yesterday", "9999-12-31T23:59:59Z", "NaN", "-1", "a\0b",
          "\ud800", LONG, [], [None], {}, [{"a": None}], "é'%(x)s")  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_some_spoilt_records_in_every_list_never_stop_it(
    environment: Environment, fronts: dict[str, Front], seed: int
) -> None:
    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        dice = random.Random(f"{seed} {path} {len(rows)}")
        reported = list(rows)
        for which in dice.sample(range(len(rows)), min(len(rows), 5)) if "#" not in path else ():
            document = json.loads(rows[which])
            where = dice.choice(sorted(paths(document), key=str))
            inner = document
            for name in where[:-1]:
                inner = inner[name]
            inner[where[-1]] = dice.choice(VALUES)
            reported[which] = json.dumps(document).encode()
        return reported

    for front in fronts.values():
        spoil_in(front, spoil)
    outcome = run_reconcile(environment)
    assert list(outcome.counts) == list(SUBJECTS)
    assert sum(counts.passed for counts in outcome.counts.values()) > 0
    assert page(environment, outcome)
