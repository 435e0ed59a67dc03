"""The adaptation to a TIMS that speaks otherwise: its file, documents both ways, lists that are paged by numbers."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.errors import ConfigError, RecordRejected
from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document, Field
from crossdock.systems import times
from crossdock.systems.tims import adaptation, contract
from crossdock.systems.tims.adaptation import Abilities, Adaptation, Errors, Forms, Lists
from crossdock.systems.tims.numbered import Numbered, Row
from crossdock.systems.tims.translation import UNREADABLE, Translation

GERMAN = Adaptation(
    names="snake_case",
    forms=Forms(
        moment="%Y-%m-%d %H:%M:%S", utc_offset="+01:00", day="%d.%m.%Y", decimal_mark=",", integers="text",
        true_as="J", false_as="N",
    ),
    fields={"ModifiedAt": "changed_on", "RowVersion": "revision", "CountryCode": "land"},
    documents={"SalesOrder": {"SalesOrderID": "order_no", "LineItems": "positions", "LineItems.SKU": "article"}},
    codes={"OrderStatus": {"OnHold": "HELD", "Open": "NEW"}, "TaxRemittedBy": {"Marketplace": 2, "Seller": 1}},
)  # fmt: skip
NUMBERS = Adaptation(names="camelCase", forms=Forms(amounts="number"))
SCHEMAS = sorted(schema for schemas in map(contract.documents().get, contract.documents()) for schema in schemas or ())
START = datetime(2011, 1, 4, tzinfo=UTC)
encode = msgspec.json.Encoder(decimal_format="number").encode
decode = msgspec.json.Decoder(float_hook=Decimal).decode


# ---- documents -------------------------------------------------------------------------------------------------------


def values(one: Field) -> st.SearchStrategy[Any]:
    """Values of a field by the contract; moments to the second, for the forms here have no parts of one."""
    if one.type == "array" and one.items is not None:
        return st.lists(documents(one.items), max_size=2)
    if one.type == "array":
        return st.lists(st.text(max_size=5), max_size=2)
    if one.codes:
        return st.sampled_from(one.codes)
    if one.type == "text" and (places := re.search(r"\\\.\[0-9\]\{(?:\d,)?(\d)\}", one.pattern or "")):
        return st.integers(0, 10**9).map(lambda units: f"{Decimal(units).scaleb(-int(places[1])):f}")
    return {
        "moment": st.integers(0, 10**9).map(lambda seconds: times.write(START + timedelta(seconds=seconds % 10**9))),
        "date": st.dates(START.date()).map(str),
        "integer": st.integers(-(10**9), 10**9),
        "boolean": st.booleans(),
        "object": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    }.get(one.type, st.text(max_size=12))


def documents(whole: Document, prefix: str = "") -> st.SearchStrategy[dict[str, Any]]:
    """Documents of a schema, each field there or not, and null where it may be."""
    fields = {}
    for path, one in whole.fields.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or "." in name:
            continue
        inner = any(other.startswith(f"{path}.") for other in whole.fields)
        value = documents(whole, f"{path}.") if inner else values(one)
        fields[name] = st.none() | value if one.nullable else value
    return st.fixed_dictionaries({}, optional=fields)


@pytest.mark.parametrize("adapted", [GERMAN, NUMBERS, Adaptation()], ids=["names and forms", "numbers", "as shipped"])
@given(data=st.data())
@settings(max_examples=150)
def test_a_document_that_goes_both_ways_is_itself(adapted: Adaptation, data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(SCHEMAS))
    document = data.draw(documents(contracts.document("tims", schema)), label=schema)
    shape = Translation(adapted).shape(schema)
    there = encode(shape.to_here(document))
    assert shape.to_contract(decode(there)) == document


def test_names_and_forms_are_those_of_the_installation() -> None:
    line = {"SKU": "A 1", "Quantity": 2, "Price": "1234.5000", "TaxRemittedBy": "Marketplace"}
    order = {
        "SalesOrderID": "SO-1", "OrderStatus": "OnHold", "PricesIncludeTax": True, "TotalAmount": "12.50",
        "OrderDate": "2011-01-31T23:30:00Z", "ShippingAddress": {"Line1": "Weg 1", "CountryCode": "DE"},
        "LineItems": [line],
    }  # fmt: skip
    assert Translation(GERMAN).shape("SalesOrder").to_here(order) == {
        "order_no": "SO-1", "order_status": "HELD", "prices_include_tax": "J", "total_amount": "12,50",
        "order_date": "2011-02-01 00:30:00", "shipping_address": {"line1": "Weg 1", "land": "DE"},
        "positions": [{"article": "A 1", "quantity": "2", "price": "1234,5000", "tax_remitted_by": 2}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("total_amount", "1.234"), ("total_amount", "1.234,50"), ("total_amount", "12.50"),
     ("order_date", "2011-01-31T23:30:00Z"), ("prices_include_tax", True), ("prices_include_tax", "ja")],
)  # fmt: skip
def test_a_value_of_another_form_is_never_taken_for_one_of_the_contract(field: str, value: Any) -> None:
    made = Translation(GERMAN).shape("SalesOrder").to_contract({field: value})
    ((name, found),) = made.items()
    assert found == f"{UNREADABLE}{value}"
    assert contracts.refusals("tims", "SalesOrder", made), name


def test_a_row_version_that_is_not_there_is_the_time_of_the_last_change() -> None:
    shape = Translation(Adaptation(fields={"RowVersion": ""})).shape("SalesOrder")
    first, second = (
        shape.to_contract({"ModifiedAt": f"2011-01-04T10:00:0{second}Z"})["RowVersion"] for second in (1, 2)
    )
    assert first < second


def test_the_later_of_two_changes_within_a_second_is_the_newer_version() -> None:
    translation = Translation(GERMAN)
    shape = translation.shape("SalesOrder")
    first, second = (
        translation.dated(shape.to_contract({"changed_on": "2011-01-04 11:00:00", "revision": str(version)}))
        for version in (9, 10)
    )
    assert times.read(first["ModifiedAt"]) < times.read(second["ModifiedAt"])
    assert times.read(second["ModifiedAt"]).replace(microsecond=0) == datetime(2011, 1, 4, 10, tzinfo=UTC)


def test_a_value_without_a_field_there_is_refused_and_not_lost() -> None:
    shape = Translation(Adaptation(documents={"SalesOrder": {"LineItems.KitParentSKU": ""}})).shape("SalesOrderCreate")
    assert shape.to_here({"LineItems": [{"SKU": "A", "KitParentSKU": None}]}) == {"LineItems": [{"SKU": "A"}]}
    with pytest.raises(RecordRejected, match="no field for /LineItems/KitParentSKU"):
        shape.to_here({"LineItems": [{"SKU": "A", "KitParentSKU": "KIT"}]})


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        ("positions[0].article", "/LineItems/0/SKU"),
        ("/positions/1/price", "/LineItems/1/Price"),
        ("order_no", "/SalesOrderID"),
    ],
)
def test_a_refusal_names_fields_by_the_contract(place: str, pointer: str) -> None:
    assert Translation(GERMAN).shape("SalesOrder").pointer(place) == pointer


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_shipped_file_says_the_contract() -> None:
    assert adaptation.load() == Adaptation()
    assert adaptation.load().is_contract


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("operations:\n  listSalesOrder: GET /orders", r":2: .*'listSalesOrder'; did you mean 'listSalesOrders'"),
        ("operations:\n  getSalesOrder: GET /orders", r"tims.yaml:2: .*its places are \{id\}"),
        ("operations:\n  getSalesOrder: LIST /orders/{id}", r"tims.yaml:2: .*write a method and a path"),
        ("fields:\n  ModifiedOn: changed", r"tims.yaml:2: .*'ModifiedOn'; did you mean 'ModifiedAt'"),
        ("documents:\n  SalesOrder:\n    LineItem: lines", r"tims.yaml:3: .*'LineItem'; did you mean 'LineItems'"),
        ("documents:\n  SalesOrder:\n    Notes: x\n    Channel: x", r":2: .*Channel and Notes have one name, 'x'"),
        ("codes:\n  OrderStatus:\n    Onhold: H", r"tims.yaml:3: .*'Onhold'; did you mean 'OnHold'"),
        ("codes:\n  OrderStatus: {OnHold: H, Open: H}", r"tims.yaml:2: .*two codes of OrderStatus are 'H'"),
        ("forms:\n  moment: '%Y-%m-%d'", r"tims.yaml:2: .*does not hold a moment to the second"),
        ("forms:\n  day: '%d.%m.'", r"tims.yaml:2: .*does not hold year, month and day"),
        ("errors:\n  codes: {4711: DUPLICATE}", r"tims.yaml:2: .*no error code 'DUPLICATE'"),
        ("lists: {paging: page}\nparameters: {Cursor: ''}", r"tims.yaml:2: .*paging by page needs a name for Cursor"),
    ],
)  # fmt: skip
def test_a_wrong_adaptation_names_file_line_and_what_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path))
    (tmp_path / "tims.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        adaptation.load()


@pytest.mark.parametrize(
    "changed",
    [
        {"abilities": Abilities(etag=False)},
        {"lists": Lists(paging="page")},
        {"errors": Errors(code="no")},
        {"base": "/x"},
    ],
)
def test_anything_that_is_adapted_is_no_contract(changed: dict[str, Any]) -> None:
    assert not Adaptation(**changed).is_contract


def test_paths_lead_to_the_operation_with_the_texts_of_its_places() -> None:
    found = contract.find("POST", "/sales-orders/SO%2F1/lines/3/cancel")
    assert found is not None
    assert (found[0].id, found[1]) == ("cancelSalesOrderLine", {"id": "SO%2F1", "LineNo": "3"})
    assert contract.find("POST", "/api/v1/ar/invoices")[0].id == "createInvoice"  # type: ignore[index]
    assert contract.find("DELETE", "customers") is None


# ---- lists by numbers ------------------------------------------------------------------------------------------------


class Moving:
    """A list by last change, whose rows change while it is read."""

    def __init__(self, rows: int, moments: int, changes: random.Random) -> None:
        self.rows = {n: START + timedelta(seconds=n * moments // rows) for n in range(rows)}
        self.now, self.changes, self.asked_for = START + timedelta(days=1), changes, 0

    def page(self, since: datetime | None, number: int, size: int) -> tuple[list[Row], datetime]:
        self.asked_for += 1
        listed = sorted((at, n) for n, at in self.rows.items() if since is None or at >= since)
        found = listed[number * size : (number + 1) * size]
        if self.asked_for < 40:
            for n in self.changes.sample(sorted(self.rows), 2):
                self.now += timedelta(seconds=1)
                self.rows[n] = self.now
        rows = [Row(msgspec.Raw(b"%d" % n), b"", f"{n} {at}", at) for at, n in found]
        return rows, self.now


@given(rows=st.integers(0, 60), moments=st.integers(1, 60), size=st.integers(1, 9), seed=st.integers(0, 10**6))
@settings(max_examples=1_000)
def test_no_row_is_passed_over_while_rows_change(rows: int, moments: int, size: int, seed: int) -> None:
    moving = Moving(rows + 2, moments, random.Random(seed))
    reading = Numbered(lambda since, number: moving.page(since, number, size), None, size)
    found: set[int] = set()
    place: str | None = None
    for _ in range(2_000):
        split = reading.fetch(place)
        found |= {int(bytes(record)) for record in split.records}
        place = split.next
        if place is None:
            break
    assert place is None
    assert found == set(moving.rows)


def test_rows_of_a_list_that_rests_come_once() -> None:
    at = [START] * 25 + [START + timedelta(seconds=n) for n in range(25)]

    def page(since: datetime | None, number: int) -> tuple[list[Row], datetime]:
        listed = [(moment, n) for n, moment in enumerate(at) if since is None or moment >= since]
        rows = [
            Row(msgspec.Raw(b"%d" % n), b"", str(n), moment) for moment, n in listed[number * 10 : number * 10 + 10]
        ]
        return rows, START

    reading, found, place = Numbered(page, None, 10), [], "first"
    while place is not None:
        split = reading.fetch(place)
        found += [int(bytes(record)) for record in split.records]
        place = split.next
    assert found == list(range(50))
