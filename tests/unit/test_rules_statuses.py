"""The status maps, value by value."""

from __future__ import annotations

import pytest

from rules_examples import line, order, reasons, run


@pytest.mark.parametrize(
    ("channel", "final", "create"),
    [
        ("New", "Open", "Open"),
        ("OnHold", "OnHold", "OnHold"),
        ("Processing", "Allocated", "Open"),
        ("PartiallyShipped", "PartiallyFulfilled", "Open"),
        ("Shipped", "Fulfilled", "Open"),
        ("Returned", "Closed", "Open"),
    ],
)
def test_order_statuses_map_and_tims_creates_open_or_on_hold_only(channel, final, create):
    header = run(order(OrderStatus=channel)).header.iloc[0]
    assert (header["verdict"], header["FinalStatus"], header["TimsOrderStatus"]) == ("load", final, create)


def test_a_pending_order_will_be_open_and_waits():
    header = run(order(OrderStatus="Pending")).header.iloc[0]
    assert (header["verdict"], header["FinalStatus"]) == ("wait", "Open")


@pytest.mark.parametrize(
    ("payment", "status", "hold", "reason"),
    [
        ("NotYetSubmitted", "Unpaid", True, "payment is not cleared"),
        ("Submitted", "Unpaid", True, "payment is not cleared"),
        ("Cleared", "Paid", False, ""),
        ("Deposited", "Paid", False, ""),
        ("Failed", "Unpaid", True, "payment failed"),
    ],
)
def test_payment_statuses_map_and_hold_or_release(payment, status, hold, reason):
    result = run(order(PaymentStatus=payment))
    header = result.header.iloc[0]
    assert (header["TimsPaymentStatus"], header["hold"], header["hold_reason"]) == (status, hold, reason)
    assert list(result.warnings["rule"]) == (["payment_failed"] if payment == "Failed" else [])


def test_an_order_paid_after_its_load_is_released():
    assert not run(order(), linked=(1001,)).header["hold"][0]


def test_an_order_on_hold_at_the_channel_is_held_though_paid():
    header = run(order(OrderStatus="OnHold")).header.iloc[0]
    assert (header["hold"], header["hold_reason"]) == (True, "on hold at the channel")


def test_an_order_with_shipped_units_is_created_open_for_a_held_one_takes_no_shipment():
    part = order(OrderStatus="PartiallyShipped", PaymentStatus="Submitted", OrderItems=[line(QuantityShipped=1)])
    header = run(part).header.iloc[0]
    assert (header["TimsOrderStatus"], header["hold"]) == ("Open", True)
    done = order(OrderStatus="Shipped", PaymentStatus="Submitted", OrderItems=[line(QuantityShipped=2)])
    assert not run(done).header["hold"][0]


def test_a_shipped_order_has_every_unit_shipped_that_is_not_cancelled():
    lines = [line(1, Quantity=3, QuantityShipped=0, QuantityCancelled=1), line(2, QuantityShipped=2)]
    result = run(order(OrderStatus="Shipped", OrderItems=lines, TotalPrice="25.00"))
    assert list(result.lines["QuantityShipped"]) == [2, 2]
    assert list(result.lines["QuantityCancelled"]) == [1, 0]


def test_a_cancelled_order_that_was_shipped_in_part_is_not_forgotten():
    half = order(OrderStatus="Cancelled", OrderItems=[line(QuantityShipped=1)])
    result = run(half)
    assert (result.header["verdict"][0], reasons(result)) == ("load", [])
    assert list(result.lines["QuantityCancelled"]) == [1]


@pytest.mark.parametrize("field", ["OrderStatus", "PaymentStatus"])
@pytest.mark.parametrize("value", ["new", "", None])
def test_a_status_that_no_table_knows_is_never_a_default(field, value):
    assert len(reasons(run(order(**{field: value})))) == 1


def test_a_mixed_order_is_held_until_the_marketplace_has_shipped_its_part():
    mixed = {"DistributionCenterTypeRollup": "Mixed"}
    header = run(order(**mixed)).header.iloc[0]
    assert (header["verdict"], header["TimsOrderStatus"], header["marketplace_fulfilled"]) == ("load", "OnHold", False)
    assert "has not said which" in header["hold_reason"]
    lines = [line(1, QuantityShipped=2), line(2)]
    part = order(**mixed, OrderStatus="PartiallyShipped", OrderItems=lines, TotalPrice="20.0000")
    header = run(part).header.iloc[0]
    assert (header["TimsOrderStatus"], header["location"]) == ("Open", "MARKETPLACE")
