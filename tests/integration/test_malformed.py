"""Records that no contract allows, from real servers, in every flow and every list that is looked up: each is a dead
letter or is delivered, the others go on, the counts add up, nothing is raised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock import flows
from crossdock.steps.extract import Window
from crossdock.steps.records import UNKNOWN
from integration.foreign import Front, fronted
from integration.shelf import dismiss, item, listed
from integration.town import Town
from integration.trade import persist, place

DEEP = b"[" * 20_000 + b"]" * 20_000
LONG = "S" * 12_000
ORDERS, ITEMS = "/v2/orders", "/api/v1/inventory/items"


@pytest.fixture
def fronts(town: Town) -> Iterator[dict[str, Front]]:
    with fronted(town) as fronts:
        yield fronts


def changed(**fields: Any) -> Callable[[bytes], bytes]:
    """A record with other values; `...` takes a field out."""

    def change(record: bytes) -> bytes:
        document = json.loads(record) | fields
        return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()

    return change


def added_up(town: Town) -> None:
    for batch in town.query("SELECT * FROM ops.batch"):
        told = ("unchanged", "delivered", "waiting", "dead", "left_out", "superseded", "in_flight")
        assert batch.read == sum(getattr(batch, name) for name in told), batch
        assert batch.finished_at is not None, batch


def alerts(town: Town, kind: str = "unreadable_records") -> list[Any]:
    return town.query(f"SELECT * FROM ops.alert WHERE kind = '{kind}'")


SPOILT = {
    "no count": changed(OrderItemCount=...),
    "no lines": changed(OrderItems=None),
    "id as text": lambda record: changed(ChannelAdvisorOrderID=str(json.loads(record)["ChannelAdvisorOrderID"]))(
        record
    ),
    "moment in words": changed(UpdatedDate="yesterday"),
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
    "id beyond all numbers": lambda record: record.replace(b'OrderID":', b'OrderID":1e999,"x":', 1),
}


def test_malformed_orders_are_dead_letters_with_their_ids_until_a_good_version_comes(
    town: Town, fronts: dict[str, Front]
):
    keys = [place(town, {"SKU": "22423", **LINE}) for _ in range(len(SPOILT) + len(WITHOUT_ID) + 3)]
    spoils = dict(zip(keys, [*SPOILT.values(), *WITHOUT_ID.values()], strict=False))
    named, nameless, good = keys[: len(SPOILT)], keys[len(SPOILT) : -3], keys[-3:]

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        if path != ORDERS:
            return rows
        return [spoils.get(str(json.loads(row)["ChannelAdvisorOrderID"]), bytes)(row) for row in rows]

    fronts["channel_advisor"].spoil = spoil
    counts = town.sync()
    assert (counts.read, counts.delivered, counts.dead) == (len(keys), 3, len(keys) - 3), counts
    letters = town.letters()
    assert set(letters) >= set(named)
    assert len(letters) == len(named) + len(nameless)
    assert not set(letters) & {*nameless, *good}
    assert all(reason["says"] and reason["do"] for letter in letters.values() for reason in letter.reasons)
    assert {letters[key].reasons[0]["rule"] for key in named} >= {"unreadable_version", "too_deep", "too_large"}
    (alert,) = alerts(town)
    assert f"{len(letters)} records" in alert.title
    added_up(town)

    again = town.sync()  # what lies among the dead letters as it is makes no work
    assert (again.read, again.unchanged) == (0, 0) or again.read == again.unchanged
    assert {letter.times for letter in town.letters().values()} == {1}
    assert len(alerts(town)) == 1

    fronts["channel_advisor"].spoil = None
    town.sync(Window(town.now - timedelta(days=1)), kind="sweep")
    assert set(town.letters()) == set(letters) - set(named), "a good version closes the letter of its record"
    assert {each["ExternalOrderID"] for each in town.in_tims()} == set(keys)
    added_up(town)


LINE = {"Title": "x", "Quantity": 1, "UnitPrice": 10, "TaxAmount": 0, "DiscountAmount": 0, "ShippingAmount": 0,
        "ShippingTaxAmount": 0, "GiftWrapAmount": 0, "QuantityShipped": 0, "QuantityCancelled": 0,
        "QuantityReturned": 0, "BundleComponents": []}  # fmt: skip


def test_a_dismissed_record_stays_dismissed_and_another_version_of_it_is_looked_at(
    town: Town, fronts: dict[str, Front]
):
    key = place(town, {"SKU": "22423", **LINE})
    fronts["channel_advisor"].spoil = lambda path, rows: rows if path != ORDERS else [changed(OrderItems=None)(rows[0])]
    town.sync()
    dismiss(town, key)
    town.sync(Window(town.now - timedelta(days=1)), kind="sweep")
    assert town.letters() == {}
    fronts["channel_advisor"].spoil = lambda path, rows: rows if path != ORDERS else [changed(OrderItems=7)(rows[0])]
    town.sync(Window(town.now - timedelta(days=1)), kind="sweep")
    assert set(town.letters()) == {key}
    assert town.letters()[key].version == UNKNOWN


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
}


def test_a_malformed_item_stops_neither_stock_nor_catalogue_nor_prices(town: Town, fronts: dict[str, Front]):
    names = [f"POISON-{n}" for n in range(len(POISON))]
    for name in [*names, "WELL-1"]:
        item(town, name)
    spoils = dict(zip(names, POISON.values(), strict=True))

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        if not path.startswith("/api/v1/inventory/"):
            return rows
        return [changed(**spoils.get(json.loads(row).get("SKU", ""), {}))(row) for row in rows]

    fronts["tims"].spoil = spoil
    for flow in ("catalog", "prices", "inventory"):
        counts = persist(town, flow, f"spoilt {flow}")
        assert counts.delivered + counts.unchanged + counts.waiting > 100, (flow, counts)
        assert counts.in_flight == 0
    assert any(row["SKU"] == "WELL-1" for row in listed(town, "channel_advisor", "products"))
    letters = town.letters()
    assert {"masters", "catalog", "prices"} <= {letter.flow for letter in letters.values()}
    assert any(key.startswith("tims.inventory/items:SSSS") for key in letters)
    assert "tims.inventory/items:POISON-2" in letters
    added_up(town)
    fronts["tims"].spoil = None
    for name in names:
        item(town, name, Title="Mended")
    for flow in ("catalog", "prices", "inventory"):
        persist(town, flow, f"mended {flow}")
    left = [key for key, letter in town.letters().items() if letter.flow == "masters"]
    assert all("~" in key for key in left), "only what never had an id of its own is left for a person"
    added_up(town)


# ---- anything, anywhere --------------------------------------------------------------------------------------------

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.floats(allow_nan=False),
    st.sampled_from(["9999-12-31T23:59:59Z", "2099-01-01T00:00:00Z"]),
    st.text(max_size=8), st.just(LONG), st.just([]), st.just([None]), st.just({}), st.just([{"a": None}]), st.just(...),
    st.sampled_from(["-1", "1e9", "0001-01-01T00:00:00Z", "yesterday", "NaN", "P%1", "';--"]),
)  # fmt: skip


def paths(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a document but the whole."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in members:
        yield (*path, name)
        yield from paths(inner, (*path, name))


def spoilt(record: bytes, data: st.DataObject) -> bytes:
    document = json.loads(record)
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(st.sampled_from(sorted(paths(document), key=str)))
        inner = document
        for name in where[:-1]:
            inner = inner[name]
        junk = data.draw(JUNK)
        if junk is ...:
            del inner[where[-1]]
        else:
            inner[where[-1]] = junk
        if not document:
            break
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def lived(long_lived_town: Town) -> Iterator[tuple[Town, dict[str, Front]]]:
    """A town in which every flow has some fifty records."""
    town = long_lived_town
    town.part = 1
    with fronted(town) as fronts:
        town.tick(town.now + timedelta(days=1))
        for _ in range(3):
            for name in ("orders", "shipments", "invoices", "returns", "ledger_invoices", "ledger_credit_memos",
                         "ledger_adjustments", "ledger_payments", "ledger_captures"):  # fmt: skip
                town.sync(flow=name)
        yield town, fronts


SOURCES = {
    "orders": ("channel_advisor", "/v2/orders"),
    "returns": ("channel_advisor", "/v2/returns"),
    "shipments": ("tims", "/api/v1/shipments"),
    "invoices": ("tims", "/api/v1/shipments"),
    "inventory": ("tims", "/api/v1/inventory/quantities"),
    "prices": ("tims", ITEMS),
    "catalog": ("tims", ITEMS),
    "ledger_invoices": ("tims", "/api/v1/ar/invoices"),
    "ledger_credit_memos": ("tims", "/api/v1/ar/credit-memos"),
    "ledger_adjustments": ("tims", "/api/v1/inventory/adjustments"),
    "ledger_payments": ("tims", "/api/v1/ar/payments"),
    "ledger_captures": ("tims", "/api/v1/sales-orders"),
}
LOOKED_UP = {
    ("tims", "/api/v1/sales-orders"): "shipments",
    ("tims", "/api/v1/ar/invoices"): "invoices",
    ("tims", "/api/v1/customers"): "orders",
    ("tims", "/api/v1/shipments"): "ledger_invoices",
    ("tims", "/api/v1/gl/periods"): "invoices",
    ("tims", "/api/v1/gl/accounts"): "ledger_invoices",
    ("channel_advisor", "/v2/products"): "inventory",
    ("channel_advisor", "/v2/listings"): "prices",
    ("channel_advisor", "/v2/sites"): "catalog",
    ("channel_advisor", "/v2/distribution-centers"): "inventory",
}
FEW = settings(
    max_examples=4, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def read_all_again(town: Town, flow: str) -> Any:
    window = Window(datetime(2000, 1, 1, tzinfo=town.now.tzinfo), town.now + timedelta(minutes=1))
    return town.sync(window, flow=flow, kind="backfill", reprocess=True)


@pytest.mark.parametrize("flow", SOURCES)
@FEW
@given(data=st.data())
def test_one_spoilt_record_never_stops_a_flow(lived: tuple[Town, dict[str, Front]], flow: str, data: st.DataObject):
    town, fronts = lived
    system, path = SOURCES[flow]
    told = spoil_one(fronts[system], path, data)
    try:
        counts = read_all_again(town, flow)
    finally:
        fronts[system].spoil = None
    assert counts.in_flight == 0
    assert counts.dead <= len(told) + dead_before(town, flow), (told, counts)
    added_up(town)


def dead_before(town: Town, flow: str) -> int:
    """How many records of a flow are dead when nothing is spoilt."""
    key = (town.database_url, flow)
    if key not in _dead:
        _dead[key] = 10**6  # the first example only learns
        _dead[key] = read_all_again(town, flow).dead
    return _dead[key]


_dead: dict[Any, int] = {}


def spoil_one(front: Front, path: str, data: st.DataObject) -> list[bytes]:
    """From now on one record of the list is another, in lists and alone; which, as it comes."""
    told: list[bytes] = []

    def spoil(asked: str, rows: list[bytes]) -> list[bytes]:
        if asked != path or not rows or told:
            return rows
        which = data.draw(st.integers(0, len(rows) - 1))
        told.append(spoilt(rows[which], data))
        return [*rows[:which], told[0], *rows[which + 1 :]]

    front.spoil = spoil
    return told


@pytest.mark.parametrize(("system", "path"), LOOKED_UP)
@FEW
@given(data=st.data())
def test_one_spoilt_record_that_is_looked_up_never_stops_a_flow(
    lived: tuple[Town, dict[str, Front]], system: str, path: str, data: st.DataObject
):
    town, fronts = lived
    flow = LOOKED_UP[system, path]
    (master,) = [each for each in flows.get(flow).masters if path.endswith(f"/{each.path}")]
    town.query("SELECT 1")
    with town.runtime() as runtime, runtime.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM ops.watermark WHERE resource = '{master.name}'")
    told = spoil_one(fronts[system], path, data)
    try:
        counts = read_all_again(town, flow)
    finally:
        fronts[system].spoil = None
    assert told
    assert counts.in_flight == 0
    added_up(town)
