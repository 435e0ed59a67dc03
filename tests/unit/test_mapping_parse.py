"""Reading documents: exact, and never stopped by one of them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping import contracts
from crossdock.mapping.frames import LINE, ROW, written
from crossdock.mapping.parse import Parsed, read_documents
from examples import examples

ORDER = contracts.document("channel_advisor", "Order")
LINES = ORDER.fields["OrderItems"].items
assert LINES


def order(**changes: Any) -> dict[str, Any]:
    """A plain order with one line; `item` merges into the line."""
    item = {"OrderItemID": 11, "SKU": "LAMP", "Quantity": 2, "UnitPrice": 12.5, **changes.pop("item", {})}
    return {"ChannelAdvisorOrderID": 1, "OrderID": "A-1", "Currency": "GBP", "OrderItems": [item], **changes}


def read(*documents: Any) -> Parsed:
    payloads = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in documents]
    return read_documents(payloads, "channel_advisor", "Order")


def raw(text: str) -> bytes:
    """The order with `text` put in as its first member."""
    return json.dumps(order()).replace("{", "{" + text + ",", 1).encode()


def test_a_document_becomes_a_head_row_and_its_lines():
    parsed = read(order(), order(ChannelAdvisorOrderID=2, OrderItems=[{"SKU": "A"}, {"SKU": "B"}, {"SKU": "C"}]))
    assert parsed.frames.header["ChannelAdvisorOrderID"].tolist() == [1, 2]
    assert parsed.frames.lines[[ROW, LINE, "SKU"]].values.tolist() == [
        [0, 0, "LAMP"], [1, 0, "A"], [1, 1, "B"], [1, 2, "C"],
    ]  # fmt: skip
    assert parsed.frames.lines["UnitPrice"].iloc[0] == 125_000
    assert len(parsed.problems) == 0
    assert parsed.kept.tolist() == [0, 1]


def test_types_of_columns_are_those_that_the_frames_promise():
    parsed = read(order(Exported=True))
    header, lines = parsed.frames.header, parsed.frames.lines
    assert header["ChannelAdvisorOrderID"].dtype == "Int64"
    assert header["TotalPrice"].dtype == "Int64"
    assert header["Exported"].dtype == "boolean"
    assert header["OrderID"].dtype == "str"
    assert lines[ROW].dtype == lines[LINE].dtype == np.int64
    assert set(ORDER.leaves) == set(header.columns)
    assert set(LINES.leaves) | {ROW, LINE} == set(lines.columns)


def test_null_zero_and_empty_text_stay_three_values():
    parsed = read(order(TotalDiscount=None), order(TotalDiscount=0), order(SellerOrderID=""), order())
    assert parsed.frames.header["TotalDiscount"].isna().tolist() == [True, False, True, True]
    assert parsed.frames.header["TotalDiscount"].iloc[1] == 0
    assert parsed.frames.header["SellerOrderID"].iloc[2] == ""
    assert parsed.frames.header["SellerOrderID"].isna().tolist() == [True, True, False, True]


def test_fields_of_a_null_object_are_missing():
    parsed = read(order(CustomerInfo=None), order(CustomerInfo={"Email": "a@example.com"}))
    assert parsed.frames.header["CustomerInfo.Email"].isna().tolist() == [True, False]


def test_orders_without_lines_keep_their_head_row():
    parsed = read(order(OrderItems=[]), order(OrderItems=None), order())
    assert len(parsed.frames.header) == 3
    assert parsed.frames.lines[ROW].tolist() == [2]


def test_no_documents_are_empty_frames_with_all_columns():
    parsed = read()
    assert len(parsed.frames.header) == len(parsed.frames.lines) == 0
    assert "ShippingAddress.City" in parsed.frames.header
    assert "SKU" in parsed.frames.lines


@pytest.mark.parametrize(
    ("text", "amount"),
    [("12.99", 129_900), ("1e3", 10_000_000), ("1.5E-1", 1_500), ("1.000000000", 10_000), ("-0.0001", -1),

     ("12345678901234.5678", 123_456_789_012_345_678), ("0e999999999", 0),
     ("1." + "0" * 5_000, 10_000), ("0.0000000000000000000000000000", 0)],
)  # fmt: skip
def test_every_way_to_write_an_amount_reads_exactly(text: str, amount: int):
    parsed = read(raw(f'"TotalPrice": {text}'))
    assert parsed.problems["says"].tolist() == []
    assert parsed.frames.header["TotalPrice"].tolist() == [amount]


@pytest.mark.parametrize("text", ["5", "5.0", "50e-1", "5.00000000000000000000000"])
def test_a_whole_number_may_be_written_with_a_point(text: str):
    assert read(raw(f'"SiteID": {text}')).frames.header["SiteID"].tolist() == [5]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('"TotalPrice": 1.00001', "too_many_decimals"),
        ('"TotalPrice": 1e-5', "too_many_decimals"),
        ('"TotalPrice": 1.' + "0" * 40 + "1", "too_many_decimals"),
        ('"TotalPrice": ' + "9" * 5_000, "too_large"),
        ('"TotalPrice": 1e-999999999', "too_many_decimals"),
        ('"TotalPrice" : \t-1.5E-999999999', "too_many_decimals"),
        ('"TotalPrice": 0.' + "1" * 500 + "e-999999999", "too_many_decimals"),
        ('"TotalPrice": 123456789012345.1', "too_large"),
        ('"TotalPrice": 1e14', "too_large"),
        ('"TotalPrice": 1e400', "too_large"),
        ('"TotalPrice": -1e999999999', "too_large"),
        ('"TotalPrice": NaN', "not_json"),
        ('"TotalPrice": -Infinity', "not_json"),
        ('"TotalPrice": 01', "not_json"),
        ('"TotalPrice": true', "wrong_type"),
        ('"TotalPrice": "abc"', "wrong_type"),
        ('"TotalPrice": ""', "wrong_type"),
        ('"TotalPrice": [1]', "wrong_type"),
        ('"SiteID": 5.5', "wrong_type"),
        ('"SiteID": "5"', "wrong_type"),
        ('"SiteID": 9223372036854775808', "too_large"),
        ('"Exported": 1', "wrong_type"),
        ('"OrderStatus": 5', "wrong_type"),
        ('"OrderStatus": {"a": 1}', "wrong_type"),
        ('"CustomerInfo": "Ada"', "wrong_type"),
        ('"CustomerInfo": {"Email": 5}', "wrong_type"),
        ('"SiteID": 5, "SiteID": 6', "given_twice"),
        ('"CustomerInfo": {"Email": "a", "Email": "b"}', "given_twice"),
        ('"OrderStatus": "\\ud800"', "not_unicode"),
        ('"OrderStatus": "a\nb"', "not_json"),
    ],
)
def test_what_no_frame_can_hold_is_a_problem_and_the_others_go_on(text: str, rule: str):
    parsed = read(order(), raw(text), order(ChannelAdvisorOrderID=3))
    assert parsed.problems["rule"].tolist() == [rule]
    assert parsed.problems[ROW].tolist() == [1]
    assert parsed.frames.header["ChannelAdvisorOrderID"].tolist() == [1, 3]
    assert parsed.frames.lines[ROW].tolist() == [0, 1]
    assert parsed.kept.tolist() == [0, 2]


@pytest.mark.parametrize(
    "payload",
    [b"", b" ", b"[]", b"5", b"null", b'{"a": ', b"{}{}", b'{"OrderID": "a"} x', b'{"OrderID": "\xff"}',
     b"\xef\xbb\xbf{}", b'{"OrderItems": {"SKU": "A"}}', b'{"OrderItems": [null]}', b'{"OrderItems": ["A"]}',
     b"[" * 100_000,
     b'{"a":' * 100_000 + b"1" + b"}" * 100_000],
)  # fmt: skip
def test_what_is_no_order_at_all_never_stops_the_batch(payload: bytes):
    parsed = read(order(), payload, order())
    assert parsed.frames.lines[ROW].tolist() == [
        number for number in range(len(parsed.kept)) if parsed.kept[number] != 1
    ]
    assert parsed.kept.tolist() in ([0, 2], [0, 1, 2])
    assert (len(parsed.problems) > 0) == (parsed.kept.tolist() == [0, 2])
    assert payload.startswith(b'{"a":{') or len(parsed.problems)


def test_text_that_looks_like_an_exponent_is_text():
    note = "ratio: 5e-999, half-price e-mail; ref:12E-7"
    parsed = read(order(SpecialInstructions=note), order())
    assert parsed.frames.header["SpecialInstructions"].tolist()[0] == note
    assert len(parsed.problems) == 0


def test_two_documents_in_one_payload_do_not_shift_the_others():
    parsed = read(order(), b'{"OrderID": "x"}{"OrderID": "y"}', b" ", order(ChannelAdvisorOrderID=4))
    assert parsed.kept.tolist() == [0, 3]
    assert parsed.frames.header["ChannelAdvisorOrderID"].tolist() == [1, 4]


def test_all_reasons_of_a_document_come_together():
    bad = order(TotalPrice=1.00001, item={"Quantity": "two", "UnitPrice": 1e30})
    parsed = read(bad)
    assert parsed.problems["field"].tolist() == ["OrderItems[0].Quantity", "OrderItems[0].UnitPrice", "TotalPrice"]
    assert parsed.problems["says"].iloc[0] == 'OrderItems[0].Quantity should be a whole number, it is "two".'


def test_many_bad_documents_leave_all_good_ones():
    documents = [order(ChannelAdvisorOrderID=n) if n % 3 else raw('"SiteID": "x"') for n in range(300)]
    parsed = read(*documents)
    assert parsed.frames.header["ChannelAdvisorOrderID"].tolist() == [n for n in range(300) if n % 3]
    assert parsed.problems[ROW].tolist() == list(range(0, 300, 3))


def test_a_document_over_several_lines_is_one_document():
    pretty = json.dumps(order(), indent=2).replace("\n", "\r\n").encode()
    parsed = read_documents([pretty, pretty], "channel_advisor", "Order")
    assert len(parsed.frames.header) == 2
    assert len(parsed.problems) == 0


def test_a_document_larger_than_a_block_is_read():
    items = [{"OrderItemID": n, "SKU": "S" * 80, "Title": "T" * 2_000} for n in range(1_500)]
    parsed = read(order(), order(OrderItems=items), order())
    assert parsed.frames.lines[ROW].value_counts().to_dict() == {0: 1, 1: 1_500, 2: 1}


def test_unknown_fields_are_left_out_and_named():
    parsed = read(
        order(Giraffe=1, CustomerInfo={"Twitter": "@a"}, item={"Colour": ["red"]}), order(Giraffe={"neck": 2})
    )
    assert parsed.unknown == {"Giraffe", "CustomerInfo.Twitter", "OrderItems[].Colour"}
    assert len(parsed.problems) == 0
    assert "Giraffe" not in parsed.frames.header


def test_an_unknown_code_stays_text_for_a_later_rule():
    assert read(order(OrderStatus="Teleported")).frames.header["OrderStatus"].tolist() == ["Teleported"]


def test_a_number_in_quotes_reads_as_that_number_wherever_it_stands_for_an_amount():
    assert read(order(TotalPrice="12.50")).frames.header["TotalPrice"].tolist() == [125_000]


# ---- any valid document --------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
amounts = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda units: Decimal(units).scaleb(-4))
numbers = st.one_of(amounts, amounts.map(lambda value: value.normalize()))
whole = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(10**6), 10**6).map(lambda n: Decimal(n).scaleb(0)))


def values(kind: str) -> st.SearchStrategy[Any]:
    return {"integer": whole, "number": numbers, "boolean": st.booleans()}.get(kind, texts)


def objects(document: contracts.Document, prefix: str = "") -> st.SearchStrategy[dict[str, Any]]:
    """Any object of the contract's types: each field given, null or absent."""
    optional = {}
    for path, field in document.fields.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or "." in name:
            continue
        if field.type == "object":
            inner = objects(document, path + ".")
        elif field.type == "array":
            inner = st.lists(objects(field.items), max_size=3) if field.items else st.just([])
        else:
            inner = values(field.type)
        optional[name] = st.none() | inner
    return st.fixed_dictionaries({}, optional=optional)


def as_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {as_json(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def seen(frame: pd.DataFrame, row: int, path: str, field: contracts.Field) -> Any:
    value = frame[path].iloc[row]
    if value is pd.NA or value != value:
        return None
    if field.type == "number":
        return Decimal(written(int(value)))
    return bool(value) if field.type == "boolean" else value


def at(content: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        content = (content or {}).get(name)  # type: ignore[assignment]
    return content


@examples(40)
@given(st.lists(objects(ORDER), max_size=4))
def test_any_valid_document_reads_as_pythons_own_decimal_parser_reads_it(documents: list[dict[str, Any]]):
    payloads = [as_json(one).encode() for one in documents]
    parsed = read_documents(payloads, "channel_advisor", "Order")
    assert parsed.problems["says"].tolist() == []
    plain = [json.loads(payload, parse_float=Decimal) for payload in payloads]
    line = 0
    for row, content in enumerate(plain):
        for path, field in ORDER.leaves.items():
            assert seen(parsed.frames.header, row, path, field) == at(content, path), path
        for number, item in enumerate(content.get("OrderItems") or []):
            assert parsed.frames.lines[[ROW, LINE]].iloc[line].tolist() == [row, number]
            for path, field in LINES.leaves.items():
                assert seen(parsed.frames.lines, line, path, field) == at(item, path), path
            line += 1
    assert line == len(parsed.frames.lines)
