"""Records that no contract allows, from real servers, in every flow and every list that is looked up: each is a dead
letter or is delivered, the others go on, the counts add up, nothing is raised."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock import flows
from crossdock.errors import RecordRejected
from crossdock.flow import Flow, Resource
from crossdock.reference import channel, tims
from crossdock.runtime import Runtime
from crossdock.steps.check import check
from crossdock.steps.extract import Window, extract, refresh_reference
from crossdock.steps.records import UNKNOWN
from crossdock.steps.transform import transform
from crossdock.store import batches
from crossdock.store.batches import Counts
from crossdock.systems.paging import Page
from integration.builders import persist, place
from integration.bustle import ALL
from integration.environment import Environment, found_environment
from integration.foreign import DEEP, LONG, Front, changed, fronted, spoilt
from integration.stock_oracle import dismiss, item, listed

ORDERS, ITEMS = "/v2/orders", "/api/v1/inventory/items"


@pytest.fixture
def fronts(environment: Environment) -> Iterator[dict[str, Front]]:
    with fronted(environment) as fronts:
        yield fronts


def added_up(environment: Environment) -> None:
    for batch in environment.query("SELECT * FROM ops.batch"):
        reported = ("unchanged", "delivered", "waiting", "dead", "skipped", "superseded", "in_flight")
        assert batch.read == sum(getattr(batch, name) for name in reported), batch
        assert batch.finished_at is not None, batch


def alerts(environment: Environment, kind: str = "unreadable_records") -> list[Any]:
    return environment.query(f"SELECT * FROM ops.alert WHERE kind = '{kind}'")


SPOILT = {
    "no count": changed(OrderItemCount=...),
    "no lines": changed(OrderItems=None),
    "id as text": lambda record: changed(ChannelAdvisorOrderID=str(json.loads(record)["ChannelAdvisorOrderID"]))(
        record
    ),
    "moment in words": changed(UpdatedDate="yesterday"),
    "null byte in its moment": changed(UpdatedDate="2011-01-04\0T10:00:00Z"),
    "moment beyond the calendar": changed(UpdatedDate="9999-12-31T23:59:59-14:00"),
    "too deep": lambda record: record[:-1] + b', "Deep": ' + DEEP + b"}",
    "no JSON": lambda record: record[:-1] + b', "Rate": NaN}',
    "half a character": changed(SellerOrderID="\ud800"),
    "too large": changed(SpecialInstructions="x" * 5_000_000),
}
WITHOUT_ID = {
    "null": lambda _: b"null",
    "a number": lambda _: b"7",
    "no id": changed(ChannelAdvisorOrderID=...),
    "backslash and null byte in its id": changed(ChannelAdvisorOrderID="7\\\0\\u0000"),
    "id beyond all numbers": lambda record: record.replace(b'OrderID":', b'OrderID":1e999,"x":', 1),
}


def test_malformed_orders_are_dead_letters_with_their_ids_until_a_good_version_comes(
    environment: Environment, fronts: dict[str, Front]
):
    keys = [place(environment, {"SKU": "22423", **LINE}) for _ in range(len(SPOILT) + len(WITHOUT_ID) + 3)]
    spoils = dict(zip(keys, [*SPOILT.values(), *WITHOUT_ID.values()], strict=False))
    named, nameless, good = keys[: len(SPOILT)], keys[len(SPOILT) : -3], keys[-3:]

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        if path != ORDERS:
            return rows
        return [spoils.get(str(json.loads(row)["ChannelAdvisorOrderID"]), bytes)(row) for row in rows]

    fronts["channel_advisor"].spoil = spoil
    counts = environment.sync()
    assert (counts.read, counts.delivered, counts.dead) == (len(keys), 3, len(keys) - 3), counts
    letters = environment.letters()
    assert set(letters) >= set(named)
    assert len(letters) == len(named) + len(nameless)
    assert not set(letters) & {*nameless, *good}
    assert all(reason["says"] and reason["do"] for letter in letters.values() for reason in letter.reasons)
    assert {letters[key].reasons[0]["rule"] for key in named} >= {"unreadable_version", "too_deep", "too_large"}
    (alert,) = alerts(environment)
    assert f"{len(letters)} records" in alert.title
    added_up(environment)

    again = environment.sync()  # what lies among the dead letters as it is makes no work
    assert (again.read, again.unchanged) == (0, 0) or again.read == again.unchanged
    assert {letter.times for letter in environment.letters().values()} == {1}
    assert len(alerts(environment)) == 1

    fronts["channel_advisor"].spoil = None
    environment.sync(Window(environment.now - timedelta(days=1)), kind="sweep")
    assert set(environment.letters()) == set(letters) - set(named), "a good version closes the letter of its record"
    assert {each["ExternalOrderID"] for each in environment.in_tims()} == set(keys)
    added_up(environment)


def test_an_order_with_a_value_of_another_kind_names_the_field(environment: Environment, fronts: dict[str, Front]):
    """Beside a good order, whose row has numbers that this one cannot have."""
    text, large, _ = keys = [place(environment, {"SKU": "22423", **LINE}) for _ in range(3)]
    spoils = {text: changed(ShippingAddress="12 Elm Street"), large: changed(SiteID=2**64)}

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        if path != ORDERS:
            return rows
        return [spoils.get(str(json.loads(row)["ChannelAdvisorOrderID"]), bytes)(row) for row in rows]

    fronts["channel_advisor"].spoil = spoil
    counts = environment.sync()
    assert (counts.read, counts.delivered, counts.dead) == (len(keys), 1, 2)
    letters = environment.letters()
    assert [each["field"] for each in letters[text].reasons] == ["ShippingAddress"]
    assert letters[text].reasons[0]["says"].startswith("ShippingAddress should be an object")
    assert [each["field"] for each in letters[large].reasons] == ["SiteID"]


LINE = {"Title": "x", "Quantity": 1, "UnitPrice": 10, "TaxAmount": 0, "DiscountAmount": 0, "ShippingAmount": 0,
        "ShippingTaxAmount": 0, "GiftWrapAmount": 0, "QuantityShipped": 0, "QuantityCancelled": 0,
        "QuantityReturned": 0, "BundleComponents": []}  # fmt: skip


def test_a_dismissed_record_stays_dismissed_and_another_version_of_it_is_looked_at(
    environment: Environment, fronts: dict[str, Front]
):
    key = place(environment, {"SKU": "22423", **LINE})
    fronts["channel_advisor"].spoil = lambda path, rows: rows if path != ORDERS else [changed(OrderItems=None)(rows[0])]
    environment.sync()
    dismiss(environment, key)
    environment.sync(Window(environment.now - timedelta(days=1)), kind="sweep")
    assert environment.letters() == {}
    fronts["channel_advisor"].spoil = lambda path, rows: rows if path != ORDERS else [changed(OrderItems=7)(rows[0])]
    environment.sync(Window(environment.now - timedelta(days=1)), kind="sweep")
    assert set(environment.letters()) == {key}
    assert environment.letters()[key].version == UNKNOWN


POISON: dict[str, dict[str, Any]] = {
    "a SKU too long for an index": {"SKU": LONG},
    "no SKU": {"SKU": ...},
    "a cost in words": {"Cost": "cheap"},
    "a cost without end": {"Cost": "9" * 40},
    "no list of names": {"AlternateSKUs": None},
    "names too long for an index": {"AlternateSKUs": [LONG]},
    "parts that are no list": {"KitComponents": {"a": 1}},
    "a flag in words": {"ChannelEligible": "perhaps"},
    "a null byte": {"Title": "a\0b"},
    "a moment in words": {"ModifiedAt": "soon"},
    "a null byte in its SKU": {"SKU": "POISON\0"},
    "a null byte in its moment": {"ModifiedAt": "so\0on"},
}


@pytest.fixture
def small(postgres_url: str, tmp_path: Path) -> Iterator[tuple[Environment, Front]]:
    """An environment with a small catalogue, and what TIMS tells."""
    with found_environment(postgres_url, "small", tmp_path, skus=ALL) as environment, fronted(environment) as fronts:
        yield environment, fronts["tims"]


def test_a_malformed_item_stops_neither_stock_nor_catalogue_nor_prices(small: tuple[Environment, Front]):
    environment, tims = small
    names = [f"POISON-{n}" for n in range(len(POISON))]
    for name in [*names, "WELL-1"]:
        item(environment, name)
    spoils = dict(zip(names, POISON.values(), strict=True))

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        if not path.startswith("/api/v1/inventory/"):
            return rows
        return [changed(**spoils.get(json.loads(row).get("SKU", ""), {}))(row) for row in rows]

    tims.spoil = spoil
    for flow in ("catalog", "prices", "inventory"):
        counts = persist(environment, flow, f"spoilt {flow}")
        assert counts.delivered + counts.unchanged + counts.waiting >= len(ALL), (flow, counts)
        assert counts.in_flight == 0
    assert any(row["SKU"] == "WELL-1" for row in listed(environment, "channel_advisor", "products"))
    letters = environment.letters()
    assert {"reference", "catalog", "prices"} <= {letter.flow for letter in letters.values()}
    assert any(key.startswith("tims.inventory/items:SSSS") for key in letters)
    assert "tims.inventory/items:POISON-2" in letters
    added_up(environment)
    tims.spoil = None
    for name in names:
        item(environment, name, Title="Mended")
    for flow in ("catalog", "prices", "inventory"):
        persist(environment, flow, f"mended {flow}")
    left = [key for key, letter in environment.letters().items() if letter.flow == "reference"]
    assert all("~" in key for key in left), "only what never had an id of its own is left for a person"
    added_up(environment)


# ---- anything, anywhere --------------------------------------------------------------------------------------------

FLOWS = ("orders", "inventory", "prices", "catalog", "ledger_captures")
LOOKED_UP = {
    "orders": (tims.ITEMS, tims.CUSTOMERS),
    "inventory": (channel.PRODUCTS,),
    "ledger_captures": (tims.SALES_ORDERS, tims.ACCOUNTS, tims.PERIODS),
}
FEW = settings(deadline=None, max_examples=2, suppress_health_check=list(HealthCheck), derandomize=True)


class Told:
    """A system whose lists hold what a test says, behind the database of the environment."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.rows = runtime, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runtime, name)

    def system(self, name: str) -> Any:
        return self

    def pages(self, path: str, **_: Any) -> Iterator[Page]:
        yield Page([msgspec.Raw(row) for row in self.rows[path]], datetime(2011, 1, 6, tzinfo=UTC), 1)

    def record(self, path: str, key: str) -> bytes:
        raise RecordRejected("gone", 404)

    def server_time(self) -> datetime:
        return datetime(2011, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def reported(long_lived_environment: Environment) -> Iterator[Told]:
    """An environment after a day, and of every list up to fifty records as they came."""
    environment = long_lived_environment
    environment.tick(environment.now + timedelta(days=1))
    environment.sync()
    environment.sync(flow="ledger_captures")
    lists = [flows.get(name).source for name in FLOWS] + [one for some in LOOKED_UP.values() for one in some]
    with environment.runtime() as runtime:
        made = Told(runtime)
        for each in lists:
            page = next(runtime.system(each.system).pages(each.path))
            made.rows[each.name] = [bytes(row) for row in page.records[:50]]
        yield made


def again(reported: Told, flow: Flow) -> Counts:
    """Extract, transform and check of what is told now."""
    reported.rows[flow.source.path] = reported.rows[flow.source.name]
    window = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC))
    batch_ids = extract(reported, flow, window, kind="backfill", reprocess=True)
    for batch_id in batch_ids:
        transform(reported, flow, batch_id)
        check(reported, flow, batch_id, accept_rejects=True)
    with reported.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ops.batch SET finished_at = now() WHERE finished_at IS NULL")
        return batches.counts(connection, batch_ids)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
@FEW
@given(data=st.data())
def test_one_spoilt_record_among_fifty_stops_none_of_the_others(reported: Told, name: str, data: st.DataObject):
    flow = dataclasses.replace(flows.get(name), reference=(), prefetch=(), requeue=None)
    whole = reported.rows[flow.source.name]
    assert len(whole) > 5
    well = again(reported, flow)
    which = data.draw(st.integers(0, len(whole) - 1))
    try:
        reported.rows[flow.source.name] = [*whole[:which], spoilt(whole[which], data), *whole[which + 1 :]]
        counts = again(reported, flow)
    finally:
        reported.rows[flow.source.name] = whole
    assert counts.read == len(whole)
    assert counts.dead <= well.dead + 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "master"), [(name, one) for name, some in LOOKED_UP.items() for one in some])
@FEW
@given(data=st.data())
def test_one_spoilt_record_that_is_looked_up_stops_nothing(
    reported: Told, name: str, master: Resource, data: st.DataObject
):
    flow = dataclasses.replace(flows.get(name), reference=(), prefetch=(), requeue=None)
    whole = reported.rows[master.name]
    which = data.draw(st.integers(0, len(whole) - 1))
    reported.rows[master.path] = [*whole[:which], spoilt(whole[which], data), *whole[which + 1 :]]
    refresh_reference(reported, master, full_refresh=True)
    counts = again(reported, flow)
    assert counts.read == len(reported.rows[flow.source.name])
    reported.rows[master.path] = whole
    with reported.engine.begin() as connection:  # whatever is there is read anew
        connection.execute(sa.delete(master.raw))
    refresh_reference(reported, master, full_refresh=True)
