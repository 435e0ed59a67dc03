"""The plan that brings a sales order in TIMS to what the channel says."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.rules.order_changes import Desired, is_late, plan, uncancelled, waits_for_the_marketplace

ADDRESS = {"Name": "Ana Ortiz", "Line1": "12 Elm St", "City": "Albany", "CountryCode": "US"}


def line(number: int, quantity: int = 3, shipped: int = 0, cancelled: int = 0) -> dict:
    return {
        "LineNo": number,
        "ExternalLineID": f"5{number}",
        "SKU": f"SKU-{number}",
        "Quantity": quantity,
        "Price": "2.50",
        "DiscountAmount": "0.00",
        "TaxAmount": "0.40",
        "TaxRemittedBy": "Seller",
        "KitParentSKU": None,
        "QuantityShipped": shipped,
        "QuantityCancelled": cancelled,
        "QuantityInvoiced": 0,
        "QuantityReturned": 0,
    }


def order(*lines: dict, status: str = "Allocated", **more: object) -> dict:
    lines = lines or (line(1), line(2))
    return {
        "SalesOrderID": "SO-1",
        "OrderStatus": status,
        "RowVersion": 1,
        "ShippingMethod": "UPS Ground",
        "ShippingAddress": {**ADDRESS, "Line2": None},
        "BillingAddress": None,
        "PaymentStatus": "Paid",
        "Notes": "Order 1.",
        "ShippingAmount": "8.00",
        "ShippingDiscountAmount": "0.00",
        "ShippingTaxAmount": "0.00",
        "ShippingTaxRemittedBy": "Seller",
        "GiftWrapAmount": "0.00",
        "DiscountTotal": "0.00",
        "TaxTotal": "0.80",
        "TotalAmount": "23.80",
        "LineItems": [copy.deepcopy(each) for each in lines],
        **more,
    }


WRITTEN = ("ExternalLineID", "SKU", "Quantity", "Price", "DiscountAmount", "TaxAmount", "TaxRemittedBy")


def document(current: dict, **changes: object) -> dict:
    """What would be sent to create `current`, prices with four places as the store writes them."""
    made = {name: value for name, value in current.items() if name not in ("SalesOrderID", "RowVersion", "OrderStatus")}
    made["ShippingAddress"] = ADDRESS
    made["LineItems"] = [{**{n: each[n] for n in WRITTEN}, "Price": "2.5000"} for each in current["LineItems"]]
    return {**made, "OrderStatus": "Open", **changes}


def test_an_order_that_agrees_needs_nothing():
    current = order()
    assert plan(current, Desired(document(current), {}), may_release=True) == ([], [])


def test_a_new_address_is_patched_alone():
    current = order()
    moved = {**ADDRESS, "Line1": "9 Oak Ave"}
    actions, refusals = plan(current, Desired(document(current, ShippingAddress=moved), {}), may_release=True)
    assert not refusals
    assert [(a.operation, dict(a.body)) for a in actions] == [("update", {"ShippingAddress": moved})]


def test_personal_data_that_vanished_do_not_overwrite_what_tims_has():
    current = order()
    gone = document(current)
    del gone["ShippingAddress"]
    assert plan(current, Desired(gone, {}), may_release=True) == ([], [])


def test_changed_lines_go_with_all_totals():
    current = order()
    wanted = document(current, TotalAmount="26.30")
    wanted["LineItems"][0]["Quantity"] = 4
    (action,), _ = plan(current, Desired(wanted, {}), may_release=True)
    assert set(action.body) >= {"LineItems", "TotalAmount", "TaxTotal", "DiscountTotal", "ShippingAmount"}


def test_a_whole_cancellation_of_an_untouched_order_is_one_call():
    current = order()
    (action,), _ = plan(current, Desired(document(current), {}, cancel_all=True), may_release=True)
    assert (action.operation, action.path) == ("cancel", "/cancel")


def test_a_whole_cancellation_of_a_shipped_order_cancels_only_what_is_open():
    current = order(line(1, shipped=2), line(2, shipped=3), status="PartiallyFulfilled")
    actions, refusals = plan(current, Desired(document(current), {}, cancel_all=True), may_release=True)
    assert not refusals
    assert [(a.path, a.body["Quantity"]) for a in actions] == [("/lines/1/cancel", 1)]


def test_cancelled_units_are_cancelled_once():
    current = order(line(1, cancelled=1), line(2))
    (action,), _ = plan(current, Desired(document(current), {"51": 2}), may_release=True)
    assert action.body["Quantity"] == 1
    done = order(line(1, cancelled=2), line(2))
    assert plan(done, Desired(document(current), {"51": 2}), may_release=True) == ([], [])


def test_units_cancelled_on_the_channel_after_they_were_shipped_are_refused_in_words():
    current = order(line(1, shipped=3), line(2), status="PartiallyFulfilled")
    actions, (refusal,) = plan(current, Desired(document(current), {"51": 1}), may_release=True)
    assert actions == []
    assert refusal.code == "cancel_too_late"
    assert "SKU-1" in refusal.message


def test_a_change_of_a_fulfilled_order_is_refused_but_its_payment_state_is_not():
    current = order(line(1, shipped=3), line(2, shipped=3), status="Fulfilled")
    paid = document(current, PaymentStatus="Refunded")
    assert [a.operation for a in plan(current, Desired(paid, {}), may_release=True)[0]] == ["update"]
    moved = document(current, ShippingMethod="DHL Express")
    assert plan(current, Desired(moved, {}), may_release=True)[1][0].code == "change_too_late"


def test_a_field_is_late_where_a_fulfilled_order_refuses_another_value_of_it():
    current = order(line(1, shipped=3), line(2, shipped=3), status="Fulfilled")
    fields = {
        "ShippingMethod": "DHL Express", "ShippingAddress": {**ADDRESS, "City": "Leeds"}, "BillingAddress": ADDRESS,
        "PaymentStatus": "Refunded", "Notes": "Other.", "TotalAmount": "24.80", "GiftWrapAmount": "1.00", "Source": "X",
        "OrderDate": "2011-01-05T10:00:00Z",
    }  # fmt: skip
    for name, value in fields.items():
        refused = plan(current, Desired(document(current, **{name: value}), {}), may_release=True)[1]
        paths = [f"{name}.{part}" for part in value] if isinstance(value, dict) else [name]
        assert is_late(paths) == bool(refused), name
    for name, value in {"SKU": "SKU-9", "Price": "9.0000", "UnitCost": "1.00"}.items():
        lines = [{**each, name: value} for each in document(current)["LineItems"]]
        refused = plan(current, Desired(document(current, LineItems=lines), {}), may_release=True)[1]
        assert is_late([f"LineItems.{name}"]) == bool(refused), name


def test_a_hold_that_a_person_set_in_tims_stays():
    current = order(status="OnHold")
    assert plan(current, Desired(document(current), {}), may_release=False) == ([], [])
    assert [a.operation for a in plan(current, Desired(document(current), {}), may_release=True)[0]] == ["release"]


def test_an_unpaid_order_is_held():
    current = order()
    wanted = document(current, OrderStatus="OnHold", PaymentStatus="Unpaid")
    assert [a.operation for a in plan(current, Desired(wanted, {}), may_release=True)[0]] == ["update", "hold"]


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5
    ),
    st.booleans(),
)
def test_a_plan_never_cancels_more_than_is_open_and_its_repeat_does_nothing(rows, cancel_all):
    lines = []
    for number, (quantity, shipped, cancelled, _) in enumerate(rows, 1):
        shipped = min(shipped, quantity)
        lines.append(line(number, quantity, shipped, min(cancelled, quantity - shipped)))
    current = order(*lines, status="PartiallyFulfilled" if any(x["QuantityShipped"] for x in lines) else "Allocated")
    wanted = {each["ExternalLineID"]: min(row[3], row[0]) for each, row in zip(lines, rows, strict=True)}
    desired = Desired(document(current), wanted, cancel_all)
    actions, refusals = plan(current, desired, may_release=True)
    if refusals:
        assert actions == []
        return
    for action in actions:
        for each in current["LineItems"]:
            if action.operation == "cancel" or action.path == f"/lines/{each['LineNo']}/cancel":
                open_units = each["Quantity"] - each["QuantityShipped"] - each["QuantityCancelled"]
                units = open_units if action.operation == "cancel" else action.body["Quantity"]
                assert 0 <= units <= open_units
                each["QuantityCancelled"] += units
    again, refused = plan(current, desired, may_release=True)
    assert not refused
    if all(x["QuantityShipped"] + x["QuantityCancelled"] == x["Quantity"] for x in current["LineItems"]):
        current["OrderStatus"] = "Cancelled"
        again, refused = plan(current, desired, may_release=True)
    assert [a for a in again if a.operation in ("cancel", "cancel_line")] == []


@pytest.mark.parametrize(
    ("theirs", "shipped", "cancelled", "waits"),
    [
        ([], 0, {}, True),  # nobody knows whose a line is
        (["51"], 3, {}, False),  # its line is complete, the other is ours
        (["51"], 1, {}, True),
        (["51"], 1, {"51": 2}, False),  # the rest will not come
        ([], 0, {"51": 3, "52": 3}, False),
    ],
)
def test_units_that_may_be_the_marketplaces_are_waited_for(theirs, shipped, cancelled, waits):
    current = order(line(1, shipped=shipped), line(2))
    assert waits_for_the_marketplace(current, Desired(document(current), cancelled), theirs) is waits
    assert not waits_for_the_marketplace(current, Desired(document(current), cancelled, cancel_all=True), theirs)


def test_a_kit_of_which_one_part_has_left_is_waited_for_as_a_whole():
    parts = [{**line(n, shipped=3 * (n == 1)), "ExternalLineID": f"51:PART-{n}"} for n in (1, 2)]
    current = order(*parts, line(3))
    assert waits_for_the_marketplace(current, Desired(document(current), {}), ["51:PART-1"])


def test_what_the_channel_has_no_longer_cancelled_is_named_by_its_line():
    current = order(line(1, cancelled=2), line(2, cancelled=1))
    found = uncancelled(current, Desired(document(current), {"51": 1, "52": 1}))
    assert {number: refusal.code for number, refusal in found.items()} == {1: "cancel_taken_back"}
    assert "1 units of SKU-1" in found[1].message
    assert uncancelled(current, Desired(document(current), {}, cancel_all=True)) == {}
