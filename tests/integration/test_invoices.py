"""The invoices flow, on TIMS over HTTP and a real Postgres: each shipment invoiced once, each order to the cent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from crossdock import flows
from crossdock.steps.extract import extract
from crossdock.steps.load import load
from crossdock.steps.run_batches import run_batches
from crossdock.store import deliveries, runs
from integration.builders import (
    KIT,
    OTHER,
    forward,
    line,
    order,
    persist,
    place,
    sales_order,
    send,
    ship,
    states,
)
from integration.environment import Environment

STAGE = "stage.invoice"
AMOUNTS = (
    "ShippingAmount",
    "ShippingDiscountAmount",
    "ShippingTaxAmount",
    "GiftWrapAmount",
    "DiscountTotal",
    "TaxTotal",
)


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    forward(long_lived_environment, long_lived_environment.now + timedelta(days=1, hours=10))
    return long_lived_environment


@pytest.fixture(scope="module")
def waiting(shop: Environment) -> Iterator[str]:
    """Orders of three units at a price that no third of a cent divides, one for each test that wants no other."""
    one = line(quantity=3, price="3.3333", TaxAmount="1.0000", DiscountAmount="0.5000", ShippingAmount="2.0000")
    keys = [place(shop, one) for _ in range(12)]
    shop.sync()
    return iter(keys)


def invoices(environment: Environment, key: str, status: str = "") -> list[dict[str, Any]]:
    number = sales_order(environment, key)["SalesOrderID"]
    with environment.runtime() as runtime:
        found = {one["InvoiceID"]: one for one in runtime.tims.find("ar/invoices", SalesOrderID=[number])}
    return [one for one in found.values() if one["Status"] != "Voided" or status == "Voided"]


def add_up(environment: Environment, key: str) -> None:
    """All invoices of an order are the order, amount by amount and line by line."""
    whole, parts = sales_order(environment, key), invoices(environment, key)
    for name in AMOUNTS:
        assert sum(Decimal(part[name]) for part in parts) == Decimal(whole[name]), name
    by_seller = whole["ShippingTaxRemittedBy"] == "Seller"
    total = Decimal(whole["TotalAmount"]) - (0 if by_seller else Decimal(whole["TaxTotal"]))
    assert sum(Decimal(part["Total"]) for part in parts) == total
    units: Counter[int] = Counter()
    for part in parts:
        units.update({each["SalesOrderLineNo"]: each["Quantity"] for each in part["Lines"]})
    assert units == {each["LineNo"]: each["Quantity"] for each in whole["LineItems"]}
    assert all(each["QuantityInvoiced"] == each["Quantity"] for each in whole["LineItems"])


@pytest.mark.slow
def test_a_shipment_becomes_one_invoice_with_the_orders_amounts_and_the_shipments_day(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    number = ship(shop, key, {1: 3})
    counts = shop.sync(flow="invoices")
    assert (counts.read, counts.delivered) == (1, 1)
    (invoice,) = invoices(shop, key)
    assert (invoice["ExternalReference"], invoice["Source"], invoice["ShipmentID"]) == (
        f"inv:{number}",
        "Crossdock",
        number,
    )
    assert (invoice["InvoiceDate"], invoice["PostingDate"]) == ("2011-01-05", "2011-01-05")
    assert (invoice["SubTotal"], invoice["Total"]) == ("10.00", "12.50")
    add_up(shop, key)
    send(shop, "tims", "shipment_correction", {"ShipmentID": number, "TrackingNumber": "GB999"})
    counts = shop.sync(flow="invoices")
    assert (counts.unchanged, counts.delivered) == (1, 0)
    assert invoices(shop, key) == [invoice]


@pytest.mark.slow
def test_parts_add_up_in_one_batch_in_several_and_in_reverse_order(shop: Environment, waiting: Iterator[str]):
    together, apart, reverse = (next(waiting) for _ in range(3))
    for key in (together, apart):
        ship(shop, key, {1: 1})
    for _ in range(2):
        ship(shop, together, {1: 1})
    shop.sync(flow="invoices")
    for _ in range(2):
        ship(shop, apart, {1: 1})
        shop.sync(flow="invoices")
    first, second = ship(shop, reverse, {1: 2}), ship(shop, reverse, {1: 1})
    shop.sync(flow="invoices", kind="key", keys=[second])
    shop.sync(flow="invoices", kind="key", keys=[first])
    for key, count in ((together, 3), (apart, 3), (reverse, 2)):
        assert len(invoices(shop, key)) == count
        add_up(shop, key)
    assert shop.sync(flow="invoices").delivered == 0


@pytest.mark.slow
def test_two_batches_that_are_under_way_at_once_count_each_other(shop: Environment, waiting: Iterator[str]):
    from crossdock.steps.check import check
    from crossdock.steps.transform import transform

    key, flow = next(waiting), flows.get("invoices")
    # Both runs live: neither takes over the other's batch.
    with shop.runtime() as runtime, runs.at_work(runtime.engine, "of 1"), runs.at_work(runtime.engine, "of 2"):
        batches = []
        for units in (1, 2):
            ship(shop, key, {1: units})
            (batch_id,) = extract(runtime, flow, run_id=f"of {units}")
            transform(runtime, flow, batch_id)
            check(runtime, flow, batch_id)
            batches.append(batch_id)
        for batch_id in reversed(batches):
            load(runtime, flow, batch_id)
        run_batches(runtime, flow, batches)
    assert len(invoices(shop, key)) == 2
    add_up(shop, key)


@pytest.mark.slow
def test_tax_of_the_marketplace_gift_wrap_discounts_and_kits_are_divided_too(shop: Environment):
    key = order(
        shop,
        line(KIT, 2, "30.0100", TaxAmount="7.3500", GiftWrapAmount="1.0100"),
        line(OTHER, 3, "1.0600", DiscountAmount="0.1000"),
        TaxRemittedBy="Marketplace", TotalShippingPrice=Decimal("8.0000"), TotalShippingTaxPrice=Decimal("0.6100"),
        TotalDiscount=Decimal("5.0000"), TotalTaxPrice=Decimal("7.3500"),
    )  # fmt: skip
    lines = sales_order(shop, key)["LineItems"]
    ship(shop, key, {lines[0]["LineNo"]: 1, lines[-1]["LineNo"]: 2})
    ship(shop, key, {each["LineNo"]: each["Quantity"] for each in lines[1:-1]} | {lines[-1]["LineNo"]: 1})
    ship(shop, key, {lines[0]["LineNo"]: lines[0]["Quantity"] - 1})
    shop.sync(flow="invoices")
    made = invoices(shop, key)
    assert len(made) == 3
    add_up(shop, key)
    assert all(one["MarketplaceRemittedTax"] == one["TaxTotal"] for one in made)


@pytest.mark.slow
def test_cancelled_units_are_never_invoiced_nor_what_belongs_to_them(shop: Environment, waiting: Iterator[str]):
    key = next(waiting)
    ship(shop, key, {1: 2})
    number = sales_order(shop, key)["SalesOrderID"]
    with shop.runtime() as runtime:
        runtime.tims.post(
            f"/sales-orders/{number}/lines/1/cancel", {"Quantity": 1, "Reason": "Out of stock"}, key=f"cancel:{number}"
        ).document()
    shop.sync(flow="invoices")
    (invoice,) = invoices(shop, key)
    assert [invoice[name] for name in ("SubTotal", "DiscountTotal", "TaxTotal", "ShippingAmount")] == [
        "6.67", "0.33", "0.67", "1.33",
    ]  # fmt: skip
    assert sales_order(shop, key)["OrderStatus"] == "Closed"


@pytest.mark.slow
def test_a_free_order_is_invoiced_with_nothing_to_pay(shop: Environment):
    key = order(shop, line(price="0.0000"))
    ship(shop, key, {1: 1})
    shop.sync(flow="invoices")
    assert [(one["Total"], one["Status"]) for one in invoices(shop, key)] == [("0.00", "Paid")]


@pytest.mark.slow
def test_a_shipment_whose_order_has_not_been_read_waits_and_wakes(shop: Environment, waiting: Iterator[str]):
    key, flow = next(waiting), flows.get("invoices")
    with shop.runtime() as runtime:
        number = ship(shop, key, {1: 3})
        ids = extract(runtime, flow)
        with runtime.engine.begin() as connection:  # as if it had been read a moment before the shipment was made
            connection.exec_driver_sql(
                f"UPDATE ref.sales_order SET version = version - interval '1 hour' WHERE external_order_id = '{key}'"
            )
        counts = run_batches(runtime, flow, ids)
        assert (counts.waiting, states(shop, STAGE, [number])) == (1, ["waiting"])
        with runtime.engine.begin() as connection:
            connection.exec_driver_sql(
                f"UPDATE ref.sales_order SET version = version + interval '1 hour' WHERE external_order_id = '{key}'"
            )
    assert shop.sync(flow="invoices").delivered == 1
    add_up(shop, key)


@pytest.mark.slow
def test_a_voided_invoice_is_noticed_once_and_made_again_only_when_a_person_asks(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    number = ship(shop, key, {1: 3})
    shop.sync(flow="invoices")
    (invoice,) = invoices(shop, key)
    void = f"/ar/invoices/{invoice['InvoiceID']}/void"
    with shop.runtime() as runtime:
        runtime.tims.post(void, {"PostingDate": "2011-01-05", "Reason": "Wrong"}, key=f"void:{number}").document()
    forward(shop, shop.now + timedelta(minutes=5))
    for _ in range(2):
        shop.sync(flow="invoices")
        assert invoices(shop, key) == []
        assert states(shop, STAGE, [number]) == ["left_out"]
    (notice,) = shop.query("SELECT * FROM ops.alert WHERE kind = 'invoice_voided'")
    assert (notice.key, notice.times) == (invoice["InvoiceID"], 1)
    assert f"--key {number}" in notice.body
    for _ in range(2):
        shop.sync(flow="invoices", kind="key", keys=[number])
        (again,) = invoices(shop, key)
        assert again["ExternalReference"] == f"inv:{number}:2"
        add_up(shop, key)


@pytest.mark.slow
def test_what_somebody_has_invoiced_in_tims_is_left_out(shop: Environment, waiting: Iterator[str]):
    key = next(waiting)
    number = ship(shop, key, {1: 3})
    body = {
        "ExternalReference": "by-hand", "Source": "clerk", "SalesOrderID": sales_order(shop, key)["SalesOrderID"],
        "ShipmentID": number, "InvoiceDate": "2011-01-05", "PostingDate": "2011-01-05", "CurrencyCode": "GBP",
        "Lines": [{"SalesOrderLineNo": 1, "SKU": "22423", "Quantity": 3, "UnitPrice": "3.3333", "TaxAmount": "0.00"}],
        "ShippingAmount": "0.00", "SubTotal": "10.00", "DiscountTotal": "0.00", "TaxTotal": "0.00",
        "MarketplaceRemittedTax": "0.00", "Total": "10.00",
    }  # fmt: skip
    with shop.runtime() as runtime:
        runtime.tims.post("/ar/invoices", body, key="by-hand").document()
    assert shop.sync(flow="invoices").skipped == 1
    assert [one["ExternalReference"] for one in invoices(shop, key)] == ["by-hand"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("error_after", {"times": 6}),
        ("cut_body", {"times": 2}),
        ("bulk_partial", {"times": 1, "every": 2, "effect": True}),
    ],
)
def test_a_fault_that_passes_invoices_every_shipment_once(shop: Environment, kind: str, rule: dict):
    one = line(quantity=3, price="3.3333", TaxAmount="1.0000", ShippingAmount="2.0000")
    key = order(shop, one)
    for _ in range(3):
        ship(shop, key, {1: 1})
    shop.fault("tims", kind, path="bulk", **rule)
    persist(shop, "invoices", f"{kind}:{key}")
    shop.clear_faults()
    assert len(invoices(shop, key)) == 3
    add_up(shop, key)
    assert shop.query("SELECT 1 FROM ops.delivery WHERE outcome IN ('sent', 'unknown')") == []
    assert shop.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


@pytest.mark.slow
@pytest.mark.parametrize("again", ["load", "everything"])
def test_a_crash_after_the_posting_leaves_no_second_invoice(
    shop: Environment, waiting: Iterator[str], monkeypatch, again: str
):
    key, flow = next(waiting), flows.get("invoices")
    number = ship(shop, key, {1: 3})

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with shop.runtime() as runtime:
        ids = extract(runtime, flow)
        with monkeypatch.context() as patch:
            patch.setattr(deliveries, "link", crash)
            with pytest.raises(KeyboardInterrupt):
                run_batches(runtime, flow, ids)
        assert len(invoices(shop, key)) == 1
        if again == "load":
            for batch_id in ids:
                load(runtime, flow, batch_id)
        else:
            extract(runtime, flow)
            run_batches(runtime, flow, ids)
    assert states(shop, STAGE, [number]) == ["delivered"]
    add_up(shop, key)
    assert shop.query("SELECT 1 FROM ops.delivery WHERE outcome IN ('sent', 'unknown')") == []


@pytest.mark.slow
def test_a_month_that_is_closed_moves_the_posting_to_the_first_open_day(shop: Environment, waiting: Iterator[str]):
    key = next(waiting)
    ship(shop, key, {1: 3})
    send(shop, "tims", "period", {"Period": "2011-01", "Status": "Closed"})
    shop.sync(flow="invoices")
    assert [(one["InvoiceDate"], one["PostingDate"]) for one in invoices(shop, key)] == [("2011-01-05", "2011-02-01")]


@pytest.mark.slow
def test_replaying_everything_posts_nothing_new_even_in_a_closed_month(shop: Environment):
    before = shop.in_tims("ar/invoices")
    assert len(before) > 15
    counts = shop.sync(flow="invoices", kind="backfill", reprocess=True)
    assert counts.delivered == 0
    assert shop.in_tims("ar/invoices") == before
