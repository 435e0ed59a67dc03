"""The contracts as data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from crossdock.errors import ConfigError
from crossdock.mapping import contracts

SCHEMAS = [
    (system, name) for system in ("channel_advisor", "tims") for name in contracts.load(system)["components"]["schemas"]
]


@pytest.mark.parametrize(("system", "name"), SCHEMAS, ids=[f"{system} {name}" for system, name in SCHEMAS])
def test_every_schema_of_both_contracts_can_be_read(system: str, name: str):
    document = contracts.document(system, name)
    assert document.name == name
    for path, field in document.fields.items():
        assert field.type in (*contracts.ARROW, "object", "array"), path
        assert field.written_type
        document.must_have(path)


def test_a_field_carries_what_its_contract_says():
    order = contracts.document("tims", "SalesOrderCreate")
    name = order.fields["ShippingAddress.Name"]
    assert (name.type, name.min_length, name.max_length, name.nullable, name.required) == ("text", 1, 60, False, True)
    assert order.fields["Notes"].nullable
    assert order.fields["PaymentStatus"].codes[0] == "Unpaid"
    assert order.fields["OrderStatus"].codes == ("Open", "OnHold")
    assert order.fields["OrderDate"].type == "moment"
    assert (order.fields["LineItems"].min_items, order.fields["LineItems"].max_items) == (1, 500)
    assert contracts.document("tims", "SalesOrder").fields["OrderStatus"].codes[-1] == "Closed"


def test_money_is_told_from_text_and_its_places_are_known():
    lines = contracts.document("tims", "SalesOrderCreate").fields["LineItems"].items
    assert lines
    assert (lines.fields["Price"].places, lines.fields["TaxAmount"].places) == (4, 2)
    assert lines.fields["SKU"].places is None
    assert contracts.document("channel_advisor", "Order").fields["TotalPrice"].money


def test_what_every_document_has_is_told_from_what_an_optional_part_needs():
    order = contracts.document("tims", "SalesOrderCreate")
    assert order.must_have("ShippingAddress.City")
    assert not order.must_have("BillingAddress.City")
    assert order.fields["BillingAddress.City"].required


def test_amounts_are_read_as_exact_decimals():
    schema = contracts.arrow_schema("channel_advisor", "Order")
    assert schema.field("TotalPrice").type == pa.decimal128(18, 4)
    assert schema.field("OrderItems").type.value_type.field("UnitPrice").type == pa.decimal128(18, 4)
    assert schema.field("ShippingAddress").type.field("City").type == pa.string()


def test_a_document_against_its_contract_is_refused_field_by_field():
    found = contracts.refusals("tims", "LineItemWrite", {"ExternalLineID": "", "SKU": "A", "Quantity": 0, "Price": "1"})
    assert {(one.field, one.code) for one in found} == {
        ("ExternalLineID", "minLength"), ("Quantity", "minimum"), ("Price", "pattern"), ("", "required"),
    }  # fmt: skip
    line = {"ExternalLineID": "1", "SKU": "A", "Quantity": 1, "Price": "1.00", "TaxAmount": "0.00"}
    assert contracts.refusals("tims", "LineItemWrite", line) == []
    assert [one.code for one in contracts.refusals("tims", "LineItemWrite", {**line, "Colour": "red"})] == [
        "unevaluatedProperties"
    ]


def test_an_unknown_schema_or_system_names_the_right_ones():
    with pytest.raises(ConfigError, match="Did you mean SalesOrderCreate"):
        contracts.document("tims", "SalesOrderCreat")
    with pytest.raises(ConfigError, match="Known systems: channel_advisor, crossdock, tims"):
        contracts.document("sap", "Order")


def test_a_list_of_texts_is_no_list_of_objects():
    item = contracts.document("tims", "Item")
    assert item.fields["Images"].items is None
    assert set(item.fields["KitComponents"].items.fields) == {"SKU", "Quantity"}
