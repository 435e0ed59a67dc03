"""Payloads as people look at them and edit them, and personal data that stays out of sight."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.mapping import contracts
from crossdock.services import payloads, personal
from crossdock.services.payloads import changed, faults_of, parts

ORDER: dict[str, Any] = {
    "ChannelAdvisorOrderID": 7,
    "SiteName": "Amazon",
    "TotalPrice": Decimal("10.0000"),
    "CustomerInfo": {"CustomerID": "buyer-ada", "FirstName": "Ada", "Email": None},
    "ShippingAddress": {"Name": "Ada Miller", "PostalCode": "01234", "Country": "GB"},
    "OrderItems": [{"OrderItemID": 71, "SKU": "A", "Title": "Ada's bottle"}, {"OrderItemID": 72, "SKU": "B"}],
    "Sneaked": {"In": "Ada Miller"},
}


def test_a_document_is_its_parts_from_top_to_bottom() -> None:
    found = [(part.path, part.kind, part.value) for part in parts(ORDER)]
    assert found[:3] == [
        ("ChannelAdvisorOrderID", "number", "7"), ("SiteName", "text", "Amazon"), ("TotalPrice", "number", "10.0000"),
    ]  # fmt: skip
    assert ("OrderItems[1].SKU", "text", "B") in found
    assert ("CustomerInfo.Email", "null", "") in found


def test_a_change_keeps_the_kind_of_a_value_and_leaves_the_given_document_alone() -> None:
    made = changed(ORDER, {"ShippingAddress.PostalCode": "00999", "OrderItems[1].SKU": "1E5", "TotalPrice": "11.50",
                           "CustomerInfo.Email": "a@b.example"})  # fmt: skip
    assert made["ShippingAddress"]["PostalCode"] == "00999"
    assert made["OrderItems"][1]["SKU"] == "1E5"
    assert made["TotalPrice"] == Decimal("11.50")
    assert made["CustomerInfo"]["Email"] == "a@b.example"
    assert ORDER["ShippingAddress"]["PostalCode"] == "01234"


@pytest.mark.parametrize(
    "path", ["", ".", "OrderItems[9].SKU", "OrderItems.SKU", "SiteName.X", "A[", "a..b", "[x]", "OrderItems[0]SKU x["]
)
def test_a_path_that_is_not_there_is_refused_in_words(path: str) -> None:
    with pytest.raises(ConfigError):
        changed(ORDER, {path: "x"})


names = st.text(st.characters(exclude_characters=".[]", exclude_categories=("Cs",)), min_size=1, max_size=8)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=10))
documents = st.dictionaries(
    names, st.recursive(leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(documents)
def test_every_value_can_be_changed_by_its_path_and_put_back(document: dict[str, Any]) -> None:
    for part in parts(document):
        if part.kind == "text":
            there = changed(document, {part.path: "other"})
            assert changed(there, {part.path: part.value}) == document


def test_what_is_wrong_is_found_by_path_by_value_and_within_its_line() -> None:
    def faults(**reason: str) -> frozenset[str]:
        return faults_of(ORDER, [{"field": "", "value": "", "line": "", **reason}], "OrderItemID")

    assert faults(field="ShippingAddress.Country") == {"ShippingAddress.Country"}
    assert faults(field="OrderItems.SKU", value="B", line="72") == {"OrderItems[1].SKU"}
    assert faults(field="CountryCode", value="GB") == {"ShippingAddress.Country"}
    assert faults(field="nothing of the kind") == frozenset()


def test_personal_data_and_what_the_contract_does_not_name_are_masked() -> None:
    shown = str(personal.masked(ORDER, "channel_advisor", "Order"))
    for secret in ("Miller", "'Ada'", "buyer-ada", "01234"):
        assert secret not in shown
    for plain in ("Amazon", "'SKU': 'A'", "10.0000", "'GB'"):
        assert plain in shown


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("Currency", True), ("OrderItems.SKU", True), ("OrderItems[0].SKU", True), ("ShippingAddress.Country", True),
        ("ShippingAddress.Name", False), ("CustomerInfo", False), ("CustomerInfo.CustomerID", False), ("", False),
        ("Sneaked", False), ("SpecialInstructions", False), ("OrderItems", False),
    ],
)  # fmt: skip
def test_what_is_said_of_a_field_is_shown_only_where_it_holds_nothing_of_a_person(path: str, plain: bool) -> None:
    assert personal.is_plain([contracts.document("channel_advisor", "Order")], path) is plain


def test_fields_stand_in_the_order_of_the_contract() -> None:
    mixed = {"TotalPrice": 1, "Zzz": 2, "ChannelAdvisorOrderID": 3, "OrderItems": [{"SKU": "A", "OrderItemID": 1}]}
    made = payloads.ordered(mixed, contracts.document("channel_advisor", "Order"))
    assert list(made)[-1] == "Zzz"
    assert next(iter(made)) == "ChannelAdvisorOrderID"
    assert list(made["OrderItems"][0]) == ["SKU", "OrderItemID"]
