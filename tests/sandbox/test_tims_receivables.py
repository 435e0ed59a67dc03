"""Receivables of the TIMS sandbox: invoices, credit memos, payments, and what people type in; seen over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import requests

from contract.tims_calls import (
    NOW,
    Caller,
    adjustment,
    credit,
    entry,
    errors,
    event,
    invoice,
    item,
    kit,
    line,
    new_key,
    on_hand,
    payment,
    plain,
    plain_invoice,
    running,
)

VOID = {"PostingDate": "2011-01-05", "Reason": "Posted under the wrong order"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("tims"), per_minute=100_000) as (base, _):
        yield base


@pytest.fixture
def tims(served: str) -> Caller:
    requests.post(f"{served}/_sandbox/reset", timeout=10)
    requests.put(f"{served}/_sandbox/clock", json={"now": NOW}, timeout=10)
    caller = Caller(served)
    caller.apply(item("LAMP"), item("SHADE", Cost="3.3333"), on_hand("LAMP", MAIN=10), on_hand("SHADE", MAIN=10))
    return caller


def state(answer: requests.Response) -> tuple[int, str, str, list[str]]:
    output = answer.json()
    return answer.status_code, output["code"], output["CurrentStatus"], output["AllowedActions"]


def order_of(tims: Caller, document: dict[str, Any]) -> dict[str, Any]:
    return tims.get(f"/sales-orders/{document['SalesOrderID']}")


# ---- invoices ----
def test_an_invoice_takes_the_totals_of_the_contracts_example_and_closes_its_order(tims: Caller) -> None:
    shipment = tims.shipped()
    before = order_of(tims, shipment)
    answer = tims.post("/ar/invoices", invoice(shipment))
    made = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/api/v1/ar/invoices/{made['InvoiceID']}")
    assert tims.get(f"/ar/invoices/{made['InvoiceID']}") == made
    assert {name: made[name] for name in ("Total", "AmountPaid", "Balance", "Status", "PostingMode", "DueDate")} == {
        "Total": "98.00", "AmountPaid": "0.00", "Balance": "98.00", "Status": "Posted", "PostingMode": "external",
        "DueDate": "2011-01-04",
    }  # fmt: skip
    assert (made["GiftWrapAmount"], made["PricesIncludeTax"], made["Lines"][0]["LineNo"]) == ("0.00", False, 1)
    after = order_of(tims, shipment)
    assert (before["OrderStatus"], after["OrderStatus"]) == ("Fulfilled", "Closed")
    assert after["LineItems"][0]["QuantityInvoiced"] == 2
    assert after["RowVersion"] == before["RowVersion"] + 1
    assert made["CustomerID"] == after["CustomerID"]


def test_a_closed_order_ships_nothing_and_keeps_the_price_that_was_invoiced(tims: Caller) -> None:
    shipment = tims.shipped(1)
    so = f"/sales-orders/{shipment['SalesOrderID']}"
    part = plain_invoice(shipment, 1, "50.00")
    tims.made("/ar/invoices", part)
    row = tims.call("GET", so)
    dearer = line(price="60.00", DiscountAmount="10.00", TaxAmount="6.75")
    changed = tims.patch(so, {"LineItems": [dearer], "TotalAmount": "125.35"}, row.headers["ETag"])
    assert errors(changed) == {("/LineItems/0/Price", "INVALID_VALUE")}
    assert row.json()["OrderStatus"] == "PartiallyFulfilled"
    tims.post(f"{so}/lines/1/cancel", {"Quantity": 1, "Reason": "x"})
    assert tims.get(so)["OrderStatus"] == "Closed"
    again = tims.post(f"{so}/shipments", {})
    assert state(again) == (409, "INVALID_STATE", "Closed", [])


def test_more_than_is_shipped_or_than_the_order_charges_is_not_invoiced(tims: Caller) -> None:
    shipment = tims.shipped(1)
    over = tims.post("/ar/invoices", invoice(shipment))
    assert errors(over) == {("/Lines/0/Quantity", "OVER_INVOICED")}
    first = plain_invoice(shipment, 1, "50.00") | {"ShippingAmount": "5.00", "Total": "55.00"}
    tims.made("/ar/invoices", first)
    second = tims.ship(shipment["SalesOrderID"], 1)
    lamp = plain_invoice(second, 1, "50.00")["Lines"][0] | {"TaxAmount": "7.00"}
    body = plain_invoice(second, 1, "50.00", Lines=[lamp], ShippingAmount="3.01", GiftWrapAmount="0.01")
    body |= {"ShippingTaxAmount": "0.36", "ShippingTaxRemittedBy": "Seller", "TaxTotal": "7.36", "Total": "60.38"}
    answer = tims.post("/ar/invoices", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "OVER_INVOICED")
    assert {pointer for pointer, _ in errors(answer)} == {"/ShippingAmount", "/GiftWrapAmount", "/TaxTotal"}


def test_one_order_line_on_two_invoice_lines_is_counted_together(tims: Caller) -> None:
    shipment = tims.shipped(**plain(line(quantity=2), total="100.00"))
    one = plain_invoice(shipment, 2, "100.00")["Lines"][0]
    body = plain_invoice(shipment, 2, "150.00", Lines=[one, one | {"Quantity": 1}])
    assert errors(tims.post("/ar/invoices", body)) == {("/Lines/1/Quantity", "OVER_INVOICED")}


@pytest.mark.parametrize("field", ["SubTotal", "DiscountTotal", "TaxTotal", "MarketplaceRemittedTax", "Total"])
def test_an_invoice_whose_total_is_off_by_a_cent_is_refused_at_its_field(tims: Caller, field: str) -> None:
    body = invoice(tims.shipped())
    body[field] = f"{float(body[field]) - 0.01:.2f}"
    answer = tims.post("/ar/invoices", body)
    assert (f"/{field}", "TOTAL_MISMATCH") in errors(answer)
    assert answer.json()["code"] == "TOTAL_MISMATCH"


def test_every_error_of_an_invoice_is_reported_together(tims: Caller) -> None:
    shipment, other = tims.shipped(), tims.shipped()
    tims.apply(event("period", {"Period": "2011-01", "Status": "SoftClosed"}))
    lines = invoice(shipment)["Lines"]
    body = invoice(shipment, CurrencyCode="EUR", PricesIncludeTax=True, ShipmentID=other["ShipmentID"], Balance="1.00")
    body["Lines"] = [lines[0] | {"SKU": "SHADE"}, lines[0] | {"SalesOrderLineNo": 7, "UnitPrice": 50}]
    answer = tims.post("/ar/invoices", body)
    assert errors(answer) == {
        ("/CurrencyCode", "CURRENCY_MISMATCH"), ("/PricesIncludeTax", "INVALID_VALUE"),
        ("/ShipmentID", "UNKNOWN_REFERENCE"), ("/PostingDate", "PERIOD_CLOSED"), ("/Balance", "UNKNOWN_FIELD"),
        ("/Lines/0/SKU", "INVALID_VALUE"), ("/Lines/1/SalesOrderLineNo", "UNKNOWN_REFERENCE"),
        ("/Lines/1/UnitPrice", "INVALID_TYPE"),
    }  # fmt: skip
    assert (answer.json()["code"], answer.json()["NextOpenDate"]) == ("VALIDATION_FAILED", "2011-02-01")


def test_an_invoice_of_an_unknown_order_names_the_reference(tims: Caller) -> None:
    nowhere = {"ShipmentID": "SH-1", "SalesOrderID": "SO-1"}
    assert errors(tims.post("/ar/invoices", invoice(nowhere))) == {("/SalesOrderID", "UNKNOWN_REFERENCE")}


def test_a_discount_above_its_line_is_refused(tims: Caller) -> None:
    lamp = invoice(shipment := tims.shipped())["Lines"][0] | {"DiscountAmount": "100.01"}
    body = invoice(shipment, Lines=[lamp], DiscountTotal="100.01", Total="7.99")
    assert ("/Lines/0/DiscountAmount", "INVALID_AMOUNT") in errors(tims.post("/ar/invoices", body))


def test_an_invoice_of_nothing_to_pay_is_paid(tims: Caller) -> None:
    free = {"DiscountAmount": "100.00"}
    shipment = tims.shipped(**plain(line(**free), total="0.00", DiscountTotal="100.00"))
    lamp = plain_invoice(shipment, 2, "0.00")["Lines"][0] | free
    body = plain_invoice(shipment, 2, "0.00", Lines=[lamp], SubTotal="100.00", DiscountTotal="100.00")
    assert tims.made("/ar/invoices", body)["Status"] == "Paid"


def test_an_invoice_reference_is_used_once_and_for_ever(tims: Caller) -> None:
    body = invoice(tims.shipped())
    made = tims.made("/ar/invoices", body)
    tims.post(f"/ar/invoices/{made['InvoiceID']}/void", VOID)
    answer = tims.post("/ar/invoices", body)
    assert (answer.status_code, answer.json()["ExistingID"]) == (409, made["InvoiceID"])
    assert tims.post("/ar/invoices", body | {"Source": "crossdock"}).status_code == 201


def test_a_voided_invoice_gives_its_units_back_once(tims: Caller) -> None:
    shipment = tims.shipped()
    id = tims.made("/ar/invoices", invoice(shipment))["InvoiceID"]
    stale = tims.post(f"/ar/invoices/{id}/void", VOID, **{"If-Match": '"9"'})
    assert (stale.status_code, stale.json()["CurrentRowVersion"]) == (412, 1)
    answer = tims.post(f"/ar/invoices/{id}/void", VOID, **{"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    assert (answer.json()["Status"], answer.json()["Balance"]) == ("Voided", "0.00")
    order = order_of(tims, shipment)
    assert (order["OrderStatus"], order["LineItems"][0]["QuantityInvoiced"]) == ("Fulfilled", 0)
    assert state(tims.post(f"/ar/invoices/{id}/void", VOID)) == (409, "INVALID_STATE", "Voided", [])
    assert tims.made("/ar/invoices", invoice(shipment, ExternalReference="again"))["Status"] == "Posted"


def test_a_void_is_dated_on_an_open_day_not_before_the_invoice(tims: Caller) -> None:
    id = tims.made("/ar/invoices", invoice(tims.shipped()))["InvoiceID"]
    early = tims.post(f"/ar/invoices/{id}/void", VOID | {"PostingDate": "2011-01-03"})
    assert errors(early) == {("/PostingDate", "INVALID_VALUE")}
    tims.apply(event("period", {"Period": "2011-02", "Status": "Closed"}))
    closed = tims.post(f"/ar/invoices/{id}/void", VOID | {"PostingDate": "2011-02-03"})
    assert (errors(closed), closed.json()["NextOpenDate"]) == ({("/PostingDate", "PERIOD_CLOSED")}, "2011-03-01")
    assert errors(tims.post(f"/ar/invoices/{id}/void", {})) == {
        ("/PostingDate", "MISSING_FIELD"), ("/Reason", "MISSING_FIELD"),
    }  # fmt: skip


def test_invoices_are_found_by_order_shipment_status_and_reference(tims: Caller) -> None:
    shipments = [tims.shipped() for _ in range(3)]
    ids = [tims.made("/ar/invoices", invoice(shipment))["InvoiceID"] for shipment in shipments]
    tims.post(f"/ar/invoices/{ids[0]}/void", VOID)

    def listed(**query: Any) -> list[str]:
        return [row["InvoiceID"] for row in tims.get("/ar/invoices", **query)["Items"]]

    assert listed() == [ids[1], ids[2], ids[0]]
    assert listed(Status="Voided") == [ids[0]]
    assert listed(ShipmentID=shipments[1]["ShipmentID"]) == [ids[1]]
    assert listed(SalesOrderID=[each["SalesOrderID"] for each in shipments[1:]]) == ids[1:]
    assert listed(ExternalReference=[f"inv:{shipments[2]['ShipmentID']}", "no"], Source="Crossdock") == [ids[2]]
    assert listed(Source="nobody") == []


def test_posted_documents_are_neither_patched_nor_deleted(tims: Caller) -> None:
    id = tims.made("/ar/invoices", invoice(tims.shipped()))["InvoiceID"]
    for method in ("PATCH", "DELETE", "PUT"):
        answer = tims.send(method, f"/api/v1/ar/invoices/{id}", json={}, headers={"Idempotency-Key": new_key()})
        assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


# ---- credit memos ----
def sold(tims: Caller) -> dict[str, Any]:
    return tims.made("/ar/invoices", invoice(tims.shipped()))


def on_hand_of(tims: Caller, sku: str) -> int:
    return tims.get(f"/inventory/items/{sku}/quantity")["Locations"][0]["OnHand"]


def test_a_credit_memo_leaves_the_balance_of_its_invoice_and_counts_what_came_back(tims: Caller) -> None:
    bill = sold(tims)
    answer = tims.post("/ar/credit-memos", credit(bill))
    made = answer.json()
    assert answer.status_code == 201, answer.text
    assert tims.get(answer.headers["Location"].removeprefix("/api/v1")) == made
    assert (made["Balance"], made["AmountSettled"], made["Status"], made["AdjustmentIDs"]) == (
        "45.00", "0.00", "Posted", [],
    )  # fmt: skip
    line = made["Lines"][0]
    assert (line["SKU"], line["UnitCost"], line["TaxRemittedBy"]) == ("LAMP", "22.0000", "Marketplace")
    assert tims.get(f"/ar/invoices/{bill['InvoiceID']}") == bill
    order = order_of(tims, bill)
    assert (order["LineItems"][0]["QuantityReturned"], order["OrderStatus"]) == (1, "Closed")
    assert on_hand_of(tims, "LAMP") == 8


def test_restocked_goods_come_back_at_the_cost_of_their_shipment(tims: Caller) -> None:
    bill = sold(tims)
    tims.apply(item("LAMP", Cost="31.0000"))
    made = tims.made("/ar/credit-memos", credit(bill, Restock=True, LocationID="MAIN"))
    (id,) = made["AdjustmentIDs"]
    back = tims.get(f"/inventory/adjustments/{id}")
    wanted = {
        "SKU": "LAMP", "LocationID": "MAIN", "QuantityDelta": 1, "UnitCost": "22.0000", "PostingDate": "2011-01-09",
        "ReasonCode": "ReturnRestock", "ExternalReference": id, "Source": "TIMS", "PostingMode": "external",
    }  # fmt: skip
    assert {name: back[name] for name in wanted} == wanted
    assert on_hand_of(tims, "LAMP") == 9


def test_the_cost_of_a_part_shipment_is_its_own(tims: Caller) -> None:
    first = tims.shipped(1, **plain(line(), total="100.00"))
    tims.apply(item("LAMP", Cost="31.0000"))
    second = tims.ship(first["SalesOrderID"], 1)
    none = {"TaxAmount": "0.00", "DiscountAmount": "0.00"}
    costs = []
    for shipment in (second, first):
        bill = tims.made("/ar/invoices", plain_invoice(shipment, 1, "50.00"))
        lines = [credit(bill)["Lines"][0] | none]
        body = credit(bill, Lines=lines, DiscountTotal="0.00", TaxTotal="0.00", MarketplaceRemittedTax="0.00")
        costs.append(tims.made("/ar/credit-memos", body | {"Total": "50.00"})["Lines"][0]["UnitCost"])
    assert costs == ["31.0000", "22.0000"]


def test_restocking_needs_a_known_place(tims: Caller) -> None:
    bill = sold(tims)
    for place, code in ((None, "MISSING_FIELD"), ("MOON", "UNKNOWN_REFERENCE")):
        answer = tims.post("/ar/credit-memos", credit(bill, Restock=True, LocationID=place))
        assert errors(answer) == {("/LocationID", code)}


def test_a_kit_is_restocked_as_its_parts_and_a_service_not_at_all(tims: Caller) -> None:
    tims.apply(kit("SET", LAMP=1, SHADE=2), item("WRAP", Type="Service"))
    lines = [line("a", "SET", 1), line("b", "WRAP", 1)]
    so = tims.order(CustomerID=tims.customer(), **plain(*lines, total="100.00"))["SalesOrderID"]
    parcel = [{"SalesOrderLineNo": number, "Quantity": 1} for number in (1, 2)]
    shipment = tims.ship(so, 1, Lines=parcel)
    body = plain_invoice(shipment, 1, "100.00")
    body["Lines"] = [body["Lines"][0] | {"SalesOrderLineNo": n, "SKU": sku} for n, sku in ((1, "SET"), (2, "WRAP"))]
    bill = tims.made("/ar/invoices", body)
    back = [{"InvoiceLineNo": n, "Quantity": 1, "Amount": "50.00", "TaxAmount": "0.00"} for n in (1, 2)]
    nothing = dict.fromkeys(("DiscountTotal", "TaxTotal", "MarketplaceRemittedTax"), "0.00")
    whole = credit(bill, Lines=back, SubTotal="100.00", Total="100.00", Restock=True, LocationID="MAIN") | nothing
    tims.made("/ar/credit-memos", whole)
    moved = {row["SKU"]: (row["QuantityDelta"], row["UnitCost"]) for row in tims.get("/inventory/adjustments")["Items"]}
    assert moved == {"LAMP": (1, "22.0000"), "SHADE": (2, "3.3333")}


def test_no_more_is_credited_than_invoiced_over_all_credit_memos(tims: Caller) -> None:
    bill = sold(tims)
    tims.made("/ar/credit-memos", credit(bill))
    lines = [credit(bill)["Lines"][0] | {"Quantity": 2, "Amount": "50.01", "DiscountAmount": "5.01"}]
    amounts = {"ShippingAmount": "8.01", "SubTotal": "50.01", "DiscountTotal": "5.01", "Total": "53.01"}
    answer = tims.post("/ar/credit-memos", credit(bill, Lines=lines, **amounts))
    assert errors(answer) == {
        ("/Lines/0/Quantity", "OVER_CREDITED"), ("/Lines/0/Amount", "OVER_CREDITED"),
        ("/Lines/0/DiscountAmount", "OVER_CREDITED"), ("/Lines/0/TaxAmount", "OVER_CREDITED"),
        ("/ShippingAmount", "OVER_CREDITED"), ("/Total", "OVER_CREDITED"),
    }  # fmt: skip


def test_shipping_alone_is_refunded_without_lines_but_nothing_is_not(tims: Caller) -> None:
    bill = sold(tims)
    only: dict[str, Any] = dict.fromkeys(
        ("SubTotal", "DiscountTotal", "TaxTotal", "MarketplaceRemittedTax"), "0.00"
    ) | {"Lines": []}
    made = tims.made("/ar/credit-memos", credit(bill, ShippingAmount="8.00", Total="8.00", **only))
    assert (made["Lines"], made["Total"]) == ([], "8.00")
    assert errors(tims.post("/ar/credit-memos", credit(bill, Total="0.00", **only))) == {("/Total", "INVALID_AMOUNT")}


def test_a_voided_invoice_is_not_credited_and_a_credited_one_not_voided(tims: Caller) -> None:
    void, bill = sold(tims), sold(tims)
    tims.post(f"/ar/invoices/{void['InvoiceID']}/void", VOID)
    assert state(tims.post("/ar/credit-memos", credit(void))) == (409, "INVALID_STATE", "Voided", [])
    tims.made("/ar/credit-memos", credit(bill))
    assert state(tims.post(f"/ar/invoices/{bill['InvoiceID']}/void", VOID)) == (409, "INVALID_STATE", "Posted", [])


def test_every_error_of_a_credit_memo_is_reported_together(tims: Caller) -> None:
    bill = sold(tims)
    tims.apply(event("period", {"Period": "2011-01", "Status": "Closed"}))
    lines = [credit(bill)["Lines"][0] | {"InvoiceLineNo": 4}]
    answer = tims.post(
        "/ar/credit-memos", credit(bill, Lines=lines, CurrencyCode="EUR", Reason="Mood", SubTotal="49.99")
    )
    assert errors(answer) >= {
        ("/CurrencyCode", "CURRENCY_MISMATCH"), ("/PostingDate", "PERIOD_CLOSED"), ("/Reason", "INVALID_VALUE"),
        ("/Lines/0/InvoiceLineNo", "UNKNOWN_REFERENCE"), ("/SubTotal", "TOTAL_MISMATCH"),
    }  # fmt: skip
    nowhere = tims.post("/ar/credit-memos", credit({"InvoiceID": "INV-1"}, PostingDate="2011-02-01"))
    assert ("/InvoiceID", "UNKNOWN_REFERENCE") in errors(nowhere)


def test_credit_memos_are_found_by_invoice_and_reference_which_is_used_once(tims: Caller) -> None:
    bills = [sold(tims), sold(tims)]
    made = [tims.made("/ar/credit-memos", credit(bill)) for bill in bills]
    found = tims.get("/ar/credit-memos", InvoiceID=[bills[1]["InvoiceID"], "INV-1"])["Items"]
    assert found == [made[1]]
    assert tims.get("/ar/credit-memos", ExternalReference=made[0]["ExternalReference"])["Items"] == [made[0]]
    again = tims.post("/ar/credit-memos", credit(bills[0], ExternalReference=made[0]["ExternalReference"]))
    assert again.json()["ExistingID"] == made[0]["CreditMemoID"]


# ---- payments ----
def test_a_payment_settles_invoice_and_credit_memo_and_its_reversal_opens_them_again(tims: Caller) -> None:
    bill = sold(tims)
    memo = tims.made("/ar/credit-memos", credit(bill))
    invoice_path, memo_path = f"/ar/invoices/{bill['InvoiceID']}", f"/ar/credit-memos/{memo['CreditMemoID']}"
    body = payment("53.00", ("InvoiceID", bill["InvoiceID"], "98.00"), ("CreditMemoID", memo["CreditMemoID"], "-45.00"))
    made = tims.made("/ar/payments", body)
    assert (made["UnappliedAmount"], made["Status"], made["ExchangeRate"], made["ReversalPostingDate"]) == (
        "0.00", "Applied", "1.0", None,
    )  # fmt: skip
    paid, settled = tims.get(invoice_path), tims.get(memo_path)
    assert (paid["AmountPaid"], paid["Balance"], paid["Status"], paid["RowVersion"]) == ("98.00", "0.00", "Paid", 2)
    assert (settled["AmountSettled"], settled["Balance"], settled["Status"]) == ("45.00", "0.00", "Applied")
    assert state(tims.post(f"{invoice_path}/void", VOID)) == (409, "INVALID_STATE", "Paid", [])
    path = f"/ar/payments/{made['PaymentID']}"
    early = tims.post(f"{path}/reverse", VOID | {"PostingDate": "2011-01-09"})
    assert errors(early) == {("/PostingDate", "INVALID_VALUE")}
    undone = tims.post(f"{path}/reverse", VOID | {"PostingDate": "2011-01-12"}, **{"If-Match": '"1"'}).json()
    assert (undone["Status"], undone["ReversalPostingDate"], undone["RowVersion"]) == ("Reversed", "2011-01-12", 2)
    assert tims.get(path) == undone
    again = [tims.get(each) for each in (invoice_path, memo_path)]
    assert [(each["Balance"], each["Status"]) for each in again] == [("98.00", "Posted"), ("45.00", "Posted")]
    assert state(tims.post(f"{path}/reverse", VOID)) == (409, "INVALID_STATE", "Reversed", [])


def test_part_payments_add_up(tims: Caller) -> None:
    bill = sold(tims)
    for amount, balance, status in (("40.00", "58.00", "PartiallyPaid"), ("58.00", "0.00", "Paid")):
        tims.made("/ar/payments", payment(amount, ("InvoiceID", bill["InvoiceID"], amount)))
        now = tims.get(f"/ar/invoices/{bill['InvoiceID']}")
        assert (now["Balance"], now["Status"]) == (balance, status)
    assert len(tims.get("/ar/payments", InvoiceID=bill["InvoiceID"], Status="Applied")["Items"]) == 2


def test_a_rest_of_a_payment_stays_unapplied(tims: Caller) -> None:
    bill = sold(tims)
    made = tims.made("/ar/payments", payment("100.00", ("InvoiceID", bill["InvoiceID"], "98.00")))
    assert (made["UnappliedAmount"], made["Status"]) == ("2.00", "Posted")
    assert tims.made("/ar/payments", payment("-3.00"))["UnappliedAmount"] == "-3.00"
    assert [row["PaymentID"] for row in tims.get("/ar/payments", InvoiceID=bill["InvoiceID"])["Items"]] == [
        made["PaymentID"]
    ]


def test_a_payment_of_nothing_offsets_invoice_and_credit_memo(tims: Caller) -> None:
    bill = sold(tims)
    memo = tims.made("/ar/credit-memos", credit(bill))
    parts = (("InvoiceID", bill["InvoiceID"], "45.00"), ("CreditMemoID", memo["CreditMemoID"], "-45.00"))
    assert tims.made("/ar/payments", payment("0.00", *parts))["Status"] == "Applied"
    assert tims.get(f"/ar/invoices/{bill['InvoiceID']}")["Balance"] == "53.00"


def test_no_more_is_applied_than_a_balance_or_the_payment_holds(tims: Caller) -> None:
    bill = sold(tims)
    memo = tims.made("/ar/credit-memos", credit(bill))
    paid, refunded = ("InvoiceID", bill["InvoiceID"]), ("CreditMemoID", memo["CreditMemoID"])

    def refused(amount: str, *parts: tuple[str, str, str]) -> set[tuple[str, str]]:
        answer = tims.post("/ar/payments", payment(amount, *parts))
        assert answer.status_code == 422
        return errors(answer)

    assert refused("98.01", (*paid, "98.01")) == {("/Applications/0/Amount", "OVERAPPLIED")}
    assert refused("-45.01", (*refunded, "-45.01")) == {("/Applications/0/Amount", "OVERAPPLIED")}
    assert refused("97.99", (*paid, "98.00")) == {("/Applications", "OVERAPPLIED")}
    assert refused("-44.99", (*refunded, "-45.00")) == {("/Applications", "OVERAPPLIED")}
    assert refused("0.00", (*refunded, "-45.00")) == {("/Applications", "OVERAPPLIED")}
    tims.made("/ar/payments", payment("98.00", (*paid, "98.00")))
    assert refused("0.01", (*paid, "0.01")) == {("/Applications/0/Amount", "OVERAPPLIED")}


def test_every_error_of_a_payment_is_reported_together(tims: Caller) -> None:
    bill = sold(tims)
    tims.apply(
        event("period", {"Period": "2011-01", "Status": "Closed"}),
        event("account", {"AccountCode": "1000", "Blocked": True}),
    )
    parts = [
        ("InvoiceID", bill["InvoiceID"], "-1.00"),
        ("InvoiceID", bill["InvoiceID"], "1.00"),
        ("CreditMemoID", "CM-1", "-1.00"),
    ]
    answer = tims.post("/ar/payments", payment("9.00", *parts, CurrencyCode="EUR", BankAccountCode="1000"))
    assert errors(answer) == {
        ("/PostingDate", "PERIOD_CLOSED"), ("/BankAccountCode", "ACCOUNT_BLOCKED"), ("/ExchangeRate", "MISSING_FIELD"),
        ("/Applications/0/Amount", "INVALID_AMOUNT"), ("/Applications/0/InvoiceID", "CURRENCY_MISMATCH"),
        ("/Applications/1/InvoiceID", "INVALID_VALUE"), ("/Applications/1/InvoiceID", "CURRENCY_MISMATCH"),
        ("/Applications/2/CreditMemoID", "UNKNOWN_REFERENCE"),
    }  # fmt: skip
    both = {"InvoiceID": bill["InvoiceID"], "CreditMemoID": "CM-1", "Amount": "1.00"}
    mixed = payment("9.00", BankAccountCode="9999", Applications=[both, {"Amount": "1.00"}], PostingDate="2011-02-01")
    found = errors(tims.post("/ar/payments", mixed))
    assert {("/BankAccountCode", "UNKNOWN_ACCOUNT"), ("/Applications/0", "INVALID_VALUE")} <= found
    assert ("/Applications/1", "INVALID_VALUE") in found


def test_a_payment_in_another_currency_keeps_its_rate(tims: Caller) -> None:
    made = tims.made("/ar/payments", payment("9.00", CurrencyCode="EUR", ExchangeRate="1.3372"))
    assert made["ExchangeRate"] == "1.3372"


# ---- what people type into TIMS ----
def test_an_invoice_typed_into_tims_is_posted_by_tims(tims: Caller) -> None:
    shipment = tims.shipped()
    body = invoice(shipment)
    del body["ExternalReference"], body["Source"]
    tims.apply(event("invoice", body, "2011-01-04T11:00:00Z"))
    (made,) = tims.get("/ar/invoices", SalesOrderID=shipment["SalesOrderID"])["Items"]
    assert (made["PostingMode"], made["Source"], made["ExternalReference"]) == ("automatic", "TIMS", made["InvoiceID"])
    assert order_of(tims, shipment)["OrderStatus"] == "Closed"
    balance = {row["AccountCode"]: (row["Debit"], row["Credit"]) for row in tims.get("/gl/trial-balance")["Lines"]}
    assert balance == {
        "1100": ("98.00", "0.00"), "1200": ("0.00", "44.00"), "4000": ("0.00", "100.00"), "4010": ("0.00", "8.00"),
        "4100": ("10.00", "0.00"), "5000": ("44.00", "0.00"),
    }  # fmt: skip
    tims.apply(event("void", {"InvoiceID": made["InvoiceID"], "PostingDate": "2011-01-04", "Reason": "Twice"}))
    assert {(row["Debit"], row["Credit"]) for row in tims.get("/gl/trial-balance")["Lines"]} == {("0.00", "0.00")}


def test_a_person_voids_an_invoice_that_came_through_the_api(tims: Caller) -> None:
    made = sold(tims)
    key = {name: made[name] for name in ("ExternalReference", "Source")}
    tims.apply(event("void", key | {"PostingDate": "2011-01-05", "Reason": "Posted twice"}, "2011-01-05T12:00:00Z"))
    now = tims.get(f"/ar/invoices/{made['InvoiceID']}")
    assert (now["Status"], now["ModifiedAt"]) == ("Voided", "2011-01-05T12:00:00Z")
    assert tims.get("/gl/entries")["Items"] == []


def test_an_adjustment_typed_into_tims_is_posted_by_tims(tims: Caller) -> None:
    what = {
        "SKU": "SHADE",
        "LocationID": "MAIN",
        "QuantityDelta": -3,
        "ReasonCode": "Loss",
        "PostingDate": "2011-01-04",
    }
    tims.apply(event("adjustment", what, "2011-01-04T11:00:00Z"))
    (made,) = tims.get("/inventory/adjustments")["Items"]
    assert (made["PostingMode"], made["Source"], on_hand_of(tims, "SHADE")) == ("automatic", "TIMS", 7)
    (posted,) = tims.get("/gl/entries", SourceDocumentID=made["AdjustmentID"])["Items"]
    assert [(each["AccountCode"], each["Debit"], each["Credit"]) for each in posted["Lines"]] == [
        ("1200", "0.00", "10.00"), ("5100", "10.00", "0.00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "document", "reason"),
    [
        ("account", {"AccountCode": "9999", "Blocked": True}, "Name is required"),
        ("adjustment", {"SKU": "NONE", "LocationID": "MAIN", "QuantityDelta": 1, "ReasonCode": "Found"}, "No item has"),
        ("void", {"InvoiceID": "INV-1", "PostingDate": "2011-01-05", "Reason": "x"}, "there is no invoice INV-1"),
    ],
)
def test_what_cannot_be_typed_into_tims_is_said_in_a_sentence(
    tims: Caller, kind: str, document: dict[str, Any], reason: str
) -> None:
    answer = requests.post(f"{tims.base}/_sandbox/apply", json={"events": [event(kind, document)]}, timeout=10)
    assert answer.status_code == 422
    assert reason in answer.json()["error"]


# ---- in bulk ----
def test_receivables_and_entries_go_in_one_bulk_and_see_each_other(tims: Caller) -> None:
    shipment = tims.shipped()
    pay = payment("98.00", ("InvoiceID", "INV-30001", "98.00"))
    posted = entry(("1000", "98.00", "0.00"), ("1100", "0.00", "98.00"))
    bad = entry(("1000", "98.00", "0.00"), ("1100", "0.00", "98.01"))
    answer = tims.bulk(
        ("/ar/invoices", invoice(shipment)), ("/ar/payments", pay), ("/gl/entries", bad), ("/gl/entries", posted),
        ("/ar/invoices/INV-30001/void", VOID), ("/inventory/adjustments", adjustment(-1)),
    )  # fmt: skip
    assert [result["Status"] for result in answer.json()["Results"]] == [201, 201, 422, 201, 409, 201]
    assert answer.json()["Results"][2]["Body"]["code"] == "UNBALANCED"


# ---- all of it together ----
def test_whatever_is_tried_in_whatever_order_the_sums_of_an_order_hold(tims: Caller) -> None:
    """Random tries, most of them refused: quantities stay in their order, balances are what was not applied."""
    dice = Random(20110104)
    shipments = [tims.shipped(1, **plain(line(quantity=3), total="150.00"))]
    so = shipments[0]["SalesOrderID"]
    shipments.append(tims.ship(so, 2))
    paths = {"Invoice": "/ar/invoices", "CreditMemo": "/ar/credit-memos", "Payment": "/ar/payments"}
    answered: set[int] = set()

    def some(kind: str) -> str:
        return dice.choice(tims.get(paths[kind])["Items"] or [{f"{kind}ID": "NO-1"}])[f"{kind}ID"]

    def bill() -> requests.Response:
        units = dice.randint(1, 3)
        body = plain_invoice(dice.choice(shipments), units, f"{50 * units}.00", ExternalReference=new_key())
        return tims.post("/ar/invoices", body)

    def refund() -> requests.Response:
        units = dice.randint(1, 2)
        lines = [{"InvoiceLineNo": 1, "Quantity": units, "Amount": f"{50 * units}.00", "TaxAmount": "0.00"}]
        nothing = dict.fromkeys(("DiscountTotal", "TaxTotal", "MarketplaceRemittedTax"), "0.00")
        amounts = dict.fromkeys(("SubTotal", "Total"), f"{50 * units}.00")
        back = {"Lines": lines, "Restock": True, "LocationID": "MAIN"}
        return tims.post("/ar/credit-memos", credit({"InvoiceID": some("Invoice")}, **back, **nothing, **amounts))

    def pay() -> requests.Response:
        part = f"{dice.choice((20, 50, 100))}.00"
        if dice.random() < 0.5:
            return tims.post("/ar/payments", payment(part, ("InvoiceID", some("Invoice"), part)))
        return tims.post("/ar/payments", payment(f"-{part}", ("CreditMemoID", some("CreditMemo"), f"-{part}")))

    def undo() -> requests.Response:
        kind, action = dice.choice((("Invoice", "void"), ("Payment", "reverse")))
        return tims.post(f"{paths[kind]}/{some(kind)}/{action}", VOID | {"PostingDate": "2011-01-20"})

    for _ in range(70):
        answered.add(dice.choice((bill, refund, pay, pay, undo))().status_code)
        _check_sums(tims, so)
    assert answered >= {200, 201, 409, 422}


def _check_sums(tims: Caller, so: str) -> None:
    bills, memos, payments = (
        tims.get(f"/ar/{kind}", Limit=500)["Items"] for kind in ("invoices", "credit-memos", "payments")
    )
    applied: dict[str, Decimal] = defaultdict(Decimal)
    for each in (part for made in payments if made["Status"] != "Reversed" for part in made["Applications"]):
        applied[each.get("InvoiceID") or each["CreditMemoID"]] += abs(Decimal(each["Amount"]))
    valid = [bill for bill in bills if bill["Status"] != "Voided"]
    for bill in valid:
        assert Decimal(bill["Balance"]) == Decimal(bill["Total"]) - applied[bill["InvoiceID"]] >= 0
    for memo in memos:
        assert Decimal(memo["Balance"]) == Decimal(memo["Total"]) - applied[memo["CreditMemoID"]] >= 0
    order = tims.get(f"/sales-orders/{so}")
    sold = order["LineItems"][0]
    units = [sum(line["Quantity"] for document in made for line in document["Lines"]) for made in (memos, valid)]
    assert [sold["QuantityReturned"], sold["QuantityInvoiced"]] == units
    assert units[0] <= units[1] <= sold["QuantityShipped"]
    assert order["OrderStatus"] == ("Closed" if units[1] == 3 else "Fulfilled")
    assert on_hand_of(tims, "LAMP") == 7 + units[0]
