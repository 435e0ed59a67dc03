"""Bodies of target documents, written a column at a time: the same as written one by one."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping import contracts
from crossdock.mapping.bodies import bodies
from crossdock.mapping.frames import ROW, SCALE

ORDER = contracts.document("tims", "SalesOrderCreate")
HEAD = {
    "ExternalOrderID": "str", "Notes": "str", "PricesIncludeTax": "boolean", "ShippingAddress.Name": "str",
    "ShippingAddress.City": "str", "ShippingAmount": "Int64", "TotalAmount": "Int64",
}  # fmt: skip
LINE = {"SKU": "str", "Quantity": "Int64", "Price": "Int64", "TaxAmount": "Int64"}
VALUES = {
    "str": st.none()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(['"', "\\", "\n"]),
    "boolean": st.none() | st.booleans(),
    "Int64": st.none() | st.integers(-(10**15), 10**15),
}


def rows(columns: dict[str, str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: VALUES[kind] for name, kind in columns.items()})


def frame(columns: dict[str, str], given: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[name] for row in given], dtype=kind) for name, kind in columns.items()})


def written(path: str, value: Any, document: contracts.Document) -> Any:
    """A value as the contract writes it."""
    places = document.fields[path].places
    if places is None:
        return value
    return str((Decimal(value) / SCALE).quantize(Decimal(10) ** -places, ROUND_HALF_UP))


def one_by_one(row: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in row.items():
        if value is not None:
            name, _, part = path.partition(".")
            place = made.setdefault(name, {}) if part else made
            place[part or name] = written(path, value, ORDER)
    below = ORDER.fields["LineItems"].items
    assert below
    if lines:
        made["LineItems"] = [{p: written(p, v, below) for p, v in one.items() if v is not None} for one in lines]
    return made


@given(st.lists(st.tuples(rows(HEAD), st.lists(rows(LINE), max_size=3)), max_size=5))
def test_bodies_are_what_would_be_written_one_by_one(orders: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    lines = frame(LINE, [line for _, below in orders for line in below])
    lines.insert(0, ROW, [number for number, (_, below) in enumerate(orders) for _ in below])
    made = bodies(ORDER, frame(HEAD, [row for row, _ in orders]), lines, "LineItems")
    assert [json.loads(body) for body in made] == [one_by_one(row, below) for row, below in orders]


def test_the_fields_stand_in_the_order_of_the_columns_and_nothing_is_written_for_what_is_missing() -> None:
    header = frame(HEAD, [dict.fromkeys(HEAD) | {"Notes": "a", "TotalAmount": 123_450, "ShippingAddress.City": "Bath"}])
    assert bodies(ORDER, header) == [b'{"Notes":"a","ShippingAddress":{"City":"Bath"},"TotalAmount":"12.35"}']
    assert bodies(ORDER, frame(HEAD, [dict.fromkeys(HEAD)])) == [b"{}"]


@given(st.lists(st.tuples(rows(HEAD), st.lists(rows(LINE), max_size=2)), max_size=4))
def test_what_is_missing_is_null_where_null_takes_a_value_away(
    orders: list[tuple[dict[str, Any], list[dict[str, Any]]]],
) -> None:
    lines = frame(LINE, [line for _, below in orders for line in below])
    lines.insert(0, ROW, [number for number, (_, below) in enumerate(orders) for _ in below])
    made = bodies(ORDER, frame(HEAD, [row for row, _ in orders]), lines, "LineItems", nulls=True)
    for body, (row, below) in zip(map(json.loads, made), orders, strict=True):
        given = one_by_one(row, below)
        address = given.get("ShippingAddress")
        names = ["ExternalOrderID", "Notes", "PricesIncludeTax", "ShippingAmount", "TotalAmount"]
        expected = {name: given.get(name) for name in names}
        expected["ShippingAddress"] = address and {name: address.get(name) for name in ("Name", "City")}
        expected["LineItems"] = [{name: one.get(name) for name in LINE} for one in given.get("LineItems", [])] or None
        assert body == expected


def test_a_list_that_must_be_there_stands_empty() -> None:
    memo = contracts.document("tims", "CreditMemoCreate")
    header = pd.DataFrame({"Memo": pd.Series(["a", "b"], dtype="str")})
    lines = pd.DataFrame({ROW: [1], "Quantity": pd.Series([2], dtype="Int64")})
    assert bodies(memo, header, lines, "Lines") == [
        b'{"Memo":"a","Lines":[]}',
        b'{"Memo":"b","Lines":[{"Quantity":2}]}',
    ]
    assert bodies(memo, header, lines[:0], "Lines")[1] == b'{"Memo":"b","Lines":[]}'
