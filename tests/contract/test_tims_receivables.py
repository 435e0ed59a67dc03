"""Receivables of the TIMS sandbox: invoices, seen over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from contract.tims_calls import (
    NOW,
    Caller,
    errors,
    event,
    invoice,
    item,
    line,
    new_key,
    on_hand,
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
    said = answer.json()
    return answer.status_code, said["code"], said["CurrentStatus"], said["AllowedActions"]


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
