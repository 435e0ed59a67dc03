"""The TIMS sandbox behaves as its contract says, seen over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from contract.tims_calls import (
    NOW,
    Caller,
    customer,
    errors,
    event,
    item,
    kit,
    line,
    new_key,
    on_hand,
    order,
    parcel,
    plain,
    running,
)
from sandbox.kernel.serve import serve
from sandbox.tims.server import CLIENT, SECRET, Tims


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Tims]]:
    with running(tmp_path_factory.mktemp("tims"), per_minute=100_000) as both:
        yield both


@pytest.fixture
def tims(served: tuple[str, Tims]) -> Caller:
    """A TIMS with a lamp, a shade, a kit of both, a service and a blocked item."""
    requests.post(f"{served[0]}/_sandbox/reset", timeout=10)
    requests.put(f"{served[0]}/_sandbox/clock", json={"now": NOW}, timeout=10)
    caller = Caller(served[0])
    caller.apply(
        item("LAMP", AlternateSKUs=["AMZ-LAMP"]),
        item("SHADE"),
        kit("SET", LAMP=1, SHADE=2),
        item("WRAP", Type="Service"),
        item("GONE", Status="Blocked"),
        on_hand("LAMP", MAIN=10, WEST=3),
        on_hand("SHADE", MAIN=9),
    )
    return caller


def sale(tims: Caller, **fields: Any) -> dict[str, Any]:
    return tims.order(CustomerID=tims.customer(), **fields)


def figures(tims: Caller, sku: str) -> list[tuple[str, int, int, int]]:
    doc = tims.get(f"/inventory/items/{sku}/quantity")
    return [(p["LocationID"], p["OnHand"], p["Allocated"], p["Available"]) for p in doc["Locations"]]


# ---- idempotency and references ----
def test_the_same_request_again_gets_the_stored_answer_and_no_second_order(tims: Caller) -> None:
    body, key = order(CustomerID=tims.customer()), new_key()
    first = tims.post("/sales-orders", body, key=key)
    again = tims.post("/sales-orders", dict(reversed(body.items())), key=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert (again.headers["ETag"], again.headers["Location"]) == (first.headers["ETag"], first.headers["Location"])
    assert tims.control("GET", "counts")["order"] == 1


def test_a_key_with_another_payload_or_another_path_is_refused(tims: Caller) -> None:
    key, so = new_key(), sale(tims)["SalesOrderID"]
    assert tims.post(f"/sales-orders/{so}/hold", {"Reason": "Address"}, key=key).status_code == 200
    for path, reason in (("hold", "Other"), ("cancel", "Address")):
        answer = tims.post(f"/sales-orders/{so}/{path}", {"Reason": reason}, key=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_a_refused_request_leaves_its_key_free_for_a_corrected_one(tims: Caller) -> None:
    body, key = order(CustomerID="C-1"), new_key()
    assert tims.post("/sales-orders", body, key=key).json()["code"] == "UNKNOWN_CUSTOMER"
    assert tims.post("/sales-orders", body | {"CustomerID": tims.customer()}, key=key).status_code == 201


def test_a_key_expires_after_a_day_but_its_reference_never(tims: Caller) -> None:
    body, key = order(CustomerID=tims.customer()), new_key()
    made = tims.post("/sales-orders", body, key=key).json()
    tims.advance(24 * 3600 + 60)
    tims.renew()
    answer = tims.post("/sales-orders", body, key=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "DUPLICATE_EXTERNAL_REFERENCE")
    assert answer.json()["ExistingID"] == made["SalesOrderID"]


def test_a_key_whose_first_request_still_runs_is_refused_with_retry_after(
    tims: Caller, served: tuple[str, Tims]
) -> None:
    body, key = order(CustomerID=tims.customer()), new_key()
    with ThreadPoolExecutor() as pool:
        with served[1].store.write():  # the first request waits for its turn to write
            first = pool.submit(tims.post, "/sales-orders", body, key=key)
            time.sleep(0.3)
            second = tims.post("/sales-orders", body, key=key)
            assert (second.status_code, second.json()["code"]) == (409, "IDEMPOTENCY_IN_PROGRESS")
            assert int(second.headers["Retry-After"]) >= 1
        assert first.result().status_code == 201


def test_a_post_without_a_key_or_with_an_unprintable_one_is_refused(tims: Caller) -> None:
    missing = tims.call("POST", "/customers", json=customer())
    assert (missing.status_code, missing.json()["code"]) == (400, "IDEMPOTENCY_KEY_MISSING")
    for bad in ("a b", "x" * 129):
        answer = tims.post("/customers", customer(), key=bad)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")


def test_the_key_is_looked_at_before_the_reference_and_the_reference_before_the_content(tims: Caller) -> None:
    body, key = order(CustomerID=tims.customer()), new_key()
    tims.post("/sales-orders", body, key=key)
    assert tims.post("/sales-orders", body | {"Channel": "eBay"}, key=key).json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert tims.post("/sales-orders", body | {"Channel": ""}).json()["code"] == "DUPLICATE_EXTERNAL_REFERENCE"


def test_an_external_id_of_a_customer_is_never_given_to_another_one(tims: Caller) -> None:
    body = customer()
    first = tims.post("/customers", body)
    id = first.json()["CustomerID"]
    assert tims.patch(f"/customers/{id}", {"ExternalIDs": []}, first.headers["ETag"]).status_code == 200
    answer = tims.post("/customers", body)
    assert (answer.status_code, answer.json()["ExistingID"]) == (409, id)


# ---- versions ----
def test_a_patch_needs_the_version_that_was_read(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    read = tims.call("GET", f"/sales-orders/{so}")
    path = f"/sales-orders/{so}"
    assert tims.patch(path, {"Notes": "x"}, None).json()["code"] == "IF_MATCH_REQUIRED"
    stale = tims.patch(path, {"Notes": "x"}, '"99"')
    assert (stale.status_code, stale.json()["code"]) == (412, "STALE_VERSION")
    assert stale.json()["CurrentRowVersion"] == read.json()["RowVersion"]
    done = tims.patch(path, {"Notes": "x"}, read.headers["ETag"])
    assert done.json()["RowVersion"] == read.json()["RowVersion"] + 1
    assert done.headers["ETag"] == f'"{done.json()["RowVersion"]}"'
    assert tims.patch(path, {"Notes": "y"}, read.headers["ETag"]).status_code == 412


def test_an_action_checks_if_match_when_it_is_sent(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    stale = tims.post(f"/sales-orders/{so}/hold", {"Reason": "x"}, **{"If-Match": '"99"'})
    assert stale.json()["code"] == "STALE_VERSION"
    assert tims.post(f"/sales-orders/{so}/hold", {"Reason": "x"}).status_code == 200


def test_a_patch_that_changes_nothing_keeps_the_version(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    read = tims.call("GET", f"/sales-orders/{so}")
    same = tims.patch(f"/sales-orders/{so}", {"PaymentStatus": "Paid"}, read.headers["ETag"])
    assert same.json() == read.json()


# ---- content ----
def test_every_error_of_a_document_is_reported_together(tims: Caller) -> None:
    lines = [
        line("1", sku="lamp", quantity=0, TaxAmount="1.001"),
        line("1", sku="GONE", price="50", extra=1, TaxAmount="-1.00"),
        line("3", DiscountAmount="100.01"),
        line("4", quantity="2"),
    ]
    address = {"Name": "n" * 61, "Line1": "", "City": "Ö" * 40, "CountryCode": "UK", "Zip": "1"}
    answer = tims.post(
        "/sales-orders",
        order(
            CustomerID="C-1", LineItems=lines, ShippingAddress=address, CurrencyCode="ZZZ", OrderDate="2011-01-04",
            ShippingMethod=None, PaymentStatus="Cleared", ShippingAmount=8, Zoo={},
        ),
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED")
    assert errors(answer) == {
        ("/LineItems/0/SKU", "UNKNOWN_SKU"),
        ("/LineItems/0/Quantity", "INVALID_QUANTITY"),
        ("/LineItems/0/TaxAmount", "INVALID_AMOUNT"),
        ("/LineItems/1/SKU", "ITEM_BLOCKED"),
        ("/LineItems/1/Price", "INVALID_FORMAT"),
        ("/LineItems/1/TaxAmount", "INVALID_AMOUNT"),
        ("/LineItems/1/extra", "UNKNOWN_FIELD"),
        ("/LineItems/1/ExternalLineID", "DUPLICATE_EXTERNAL_LINE_ID"),
        ("/LineItems/2/DiscountAmount", "INVALID_AMOUNT"),
        ("/LineItems/3/Quantity", "INVALID_TYPE"),
        ("/ShippingAddress/Name", "FIELD_TOO_LONG"),
        ("/ShippingAddress/Line1", "MISSING_FIELD"),
        ("/ShippingAddress/CountryCode", "INVALID_COUNTRY"),
        ("/ShippingAddress/Zip", "UNKNOWN_FIELD"),
        ("/CustomerID", "UNKNOWN_CUSTOMER"),
        ("/CurrencyCode", "INVALID_CURRENCY"),
        ("/OrderDate", "INVALID_FORMAT"),
        ("/ShippingMethod", "MISSING_FIELD"),
        ("/ShippingAmount", "INVALID_TYPE"),
        ("/PaymentStatus", "INVALID_VALUE"),
        ("/Zoo", "UNKNOWN_FIELD"),
    }
    assert tims.control("GET", "counts").get("order", 0) == 0


def test_one_kind_of_error_gives_its_own_code(tims: Caller) -> None:
    answer = tims.post("/sales-orders", order(CustomerID=tims.customer(), LineItems=[line(sku="lamp")]))
    assert answer.json()["code"] == "VALIDATION_FAILED"  # the totals are off too
    answer = tims.post("/customers", customer(Phone="0151", Email="no", BillingAddress=None))
    assert answer.json()["code"] == "INVALID_FORMAT"
    assert errors(answer) == {("/Phone", "INVALID_FORMAT"), ("/Email", "INVALID_FORMAT")}


@pytest.mark.parametrize(
    ("field", "value"),
    [("DiscountTotal", "10.01"), ("TaxTotal", "7.34"), ("TotalAmount", "105.34"), ("TotalAmount", "1053.50")],
)
def test_a_total_that_is_off_is_refused_at_its_field(tims: Caller, field: str, value: str) -> None:
    answer = tims.post("/sales-orders", order(CustomerID=tims.customer(), **{field: value}))
    assert answer.status_code == 422
    assert (f"/{field}", "TOTAL_MISMATCH") in errors(answer)


def test_a_line_is_rounded_once_half_away_from_zero_and_inclusive_tax_is_not_added(tims: Caller) -> None:
    lines = [line("1", quantity=1, price="0.1250"), line("2", quantity=3, price="0.3350", TaxAmount="0.20")]
    included = plain(*lines, total="1.14") | {"TaxTotal": "0.20", "PricesIncludeTax": True}
    assert sale(tims, **included)["TotalAmount"] == "1.14"  # 0.13 + 1.01, not 1.13
    excluded = order(CustomerID=tims.customer(), **included | {"PricesIncludeTax": False})
    assert errors(tims.post("/sales-orders", excluded)) == {("/TotalAmount", "TOTAL_MISMATCH")}


def test_an_inactive_customer_takes_no_order(tims: Caller) -> None:
    id = tims.customer()
    assert tims.patch(f"/customers/{id}", {"Status": "Inactive"}, '"1"').status_code == 200
    assert tims.post("/sales-orders", order(CustomerID=id)).json()["code"] == "CUSTOMER_INACTIVE"


def test_a_patch_merges_and_null_clears(tims: Caller) -> None:
    id = tims.customer(Company="Lantern", Phone="+15185550100")
    changed = tims.patch(f"/customers/{id}", {"Company": None, "FirstName": "Ada"}, '"1"').json()
    assert (changed["Company"], changed["FirstName"], changed["Phone"]) == (None, "Ada", "+15185550100")
    refused = tims.patch(f"/customers/{id}", {"Name": None, "CustomerID": "C-1"}, '"2"')
    assert errors(refused) == {("/Name", "MISSING_FIELD"), ("/CustomerID", "UNKNOWN_FIELD")}


def test_customers_are_found_by_external_id_with_its_source_and_by_e_mail_without_case(tims: Caller) -> None:
    one = tims.customer(ExternalIDs=[{"Source": "A", "ID": "1"}, {"Source": "B", "ID": "2"}], Email="Ada@Example.com")
    two = tims.customer(ExternalIDs=[{"Source": "A", "ID": "2"}])

    def found(**query: Any) -> set[str]:
        return {each["CustomerID"] for each in tims.get("/customers", **query)["Items"]}

    assert found(ExternalID="2") == {one, two}
    assert found(ExternalID="2", Source="B") == {one}
    assert found(ExternalID=["1", "9"], Source="B") == set()
    assert found(Email="ada@EXAMPLE.com") == {one}


def test_erasure_takes_the_person_out_of_customer_and_orders(tims: Caller) -> None:
    so = sale(tims, Notes="call Ada")
    path = f"/customers/{so['CustomerID']}/erase"
    assert tims.post(path, {"RequestReference": "DSR-1"}).json()["code"] == "INVALID_STATE"  # the order is open
    tims.post(f"/sales-orders/{so['SalesOrderID']}/cancel", {"Reason": "Buyer"})
    erased = tims.post(path, {"RequestReference": "DSR-1"}).json()
    assert (erased["Status"], erased["Name"], erased["ExternalIDs"]) == ("Erased", "Erased", [])
    kept = tims.get(f"/sales-orders/{so['SalesOrderID']}")
    assert (kept["ShippingAddress"]["Name"], kept["ShippingAddress"]["Region"], kept["Notes"]) == ("Erased", "NY", None)
    assert "Ada" not in str(kept)


# ---- orders: status, stock, lines ----
def test_tims_answers_open_and_allocates_by_itself_afterwards(tims: Caller) -> None:
    made = sale(tims)
    assert made["OrderStatus"] == "Open"
    read = tims.get(f"/sales-orders/{made['SalesOrderID']}")
    assert (read["OrderStatus"], read["RowVersion"]) == ("Allocated", 2)
    assert figures(tims, "LAMP") == [("MAIN", 10, 2, 8), ("WEST", 3, 0, 3)]


def test_a_kit_is_computed_from_its_parts_and_is_listed_when_a_part_changes(tims: Caller) -> None:
    before = tims.get("/inventory/items/SET/quantity")
    assert (before["TotalAvailable"], [p["LocationID"] for p in before["Locations"]]) == (4, ["MAIN"])
    sale(tims, **plain(line(sku="SET", quantity=3), total="150.00"))
    since = tims.get("/inventory/quantities")["ServerTime"]
    assert figures(tims, "LAMP")[0] == ("MAIN", 10, 3, 7)
    assert figures(tims, "SHADE") == [("MAIN", 9, 6, 3)]
    assert figures(tims, "SET") == [("MAIN", 1, 0, 1)]
    tims.advance(10)
    tims.apply(on_hand("SHADE", at="2011-01-04T11:00:00Z", MAIN=10))
    changed = tims.get("/inventory/quantities", ModifiedSince=since)["Items"]
    assert {row["SKU"]: row["TotalAvailable"] for row in changed} == {"SHADE": 4, "SET": 2}


def test_an_order_that_lacks_stock_stays_open_until_stock_arrives(tims: Caller) -> None:
    so = sale(tims, **plain(line(quantity=20), total="1000.00"))["SalesOrderID"]
    assert tims.get(f"/sales-orders/{so}")["OrderStatus"] == "Open"
    assert tims.get("/inventory/items/LAMP/quantity")["TotalAvailable"] == 0
    tims.apply(on_hand("LAMP", MAIN=30))
    assert tims.get(f"/sales-orders/{so}")["OrderStatus"] == "Allocated"
    assert sum(row[2] for row in figures(tims, "LAMP")) == 20


def test_a_held_order_keeps_its_stock_and_returns_to_the_status_of_its_lines(tims: Caller) -> None:
    so = sale(tims, OrderStatus="OnHold")
    path = f"/sales-orders/{so['SalesOrderID']}"
    assert tims.get(path)["OrderStatus"] == "OnHold"
    again = tims.post(f"{path}/hold", {"Reason": "x"})
    assert (again.status_code, again.json()["CurrentStatus"]) == (409, "OnHold")
    assert again.json()["AllowedActions"] == ["patch", "cancel", "cancelLine", "release"]
    shipment = tims.post(f"{path}/shipments", parcel(1, 1))
    assert (shipment.status_code, shipment.json()["code"]) == (409, "INVALID_STATE")
    assert tims.call("POST", f"{path}/release", headers={"Idempotency-Key": new_key()}).json()["OrderStatus"] in (
        "Open",
        "Allocated",
    )
    assert tims.get(path)["OrderStatus"] == "Allocated"


def test_a_release_takes_no_fields(tims: Caller) -> None:
    path = f"/sales-orders/{sale(tims, OrderStatus='OnHold')['SalesOrderID']}/release"
    assert errors(tims.post(path, {"Reason": "x"})) == {("/Reason", "UNKNOWN_FIELD")}
    assert tims.post(path, {}).status_code == 200


def test_cancelling_gives_the_stock_back_and_keeps_the_totals(tims: Caller) -> None:
    so = sale(tims)
    tims.get("/company")
    cancelled = tims.post(f"/sales-orders/{so['SalesOrderID']}/cancel", {"Reason": "Buyer"}).json()
    assert (cancelled["OrderStatus"], cancelled["TotalAmount"]) == ("Cancelled", so["TotalAmount"])
    assert cancelled["LineItems"][0]["QuantityCancelled"] == 2
    assert figures(tims, "LAMP")[0] == ("MAIN", 10, 0, 10)
    again = tims.post(f"/sales-orders/{so['SalesOrderID']}/cancel", {"Reason": "Buyer"})
    assert (again.status_code, again.json()["AllowedActions"]) == (409, [])


def test_units_of_a_line_are_cancelled_up_to_what_is_open(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    path = f"/sales-orders/{so}/lines/1/cancel"
    assert tims.post(path, {"Quantity": 3, "Reason": "x"}).json()["code"] == "OVER_CANCELLED"
    assert tims.post(path, {"Quantity": 1, "Reason": "x"}).json()["LineItems"][0]["QuantityCancelled"] == 1
    assert tims.post(path, {"Quantity": 1, "Reason": "x"}).json()["OrderStatus"] == "Cancelled"
    assert tims.post(f"/sales-orders/{so}/lines/2/cancel", {"Quantity": 1, "Reason": "x"}).status_code == 404


def test_a_shipment_moves_stock_status_and_is_dated_in_the_company_zone(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    tims.get("/company")
    made = tims.post(f"/sales-orders/{so}/shipments", parcel(1, 1))
    assert made.status_code == 201
    shipment = tims.get(f"/shipments/{made.json()['ShipmentID']}")
    assert (shipment["PostingDate"], shipment["PostingMode"]) == ("2011-01-04", "external")
    assert shipment["Lines"][0]["UnitCost"] == "22.0000"
    assert tims.get(f"/sales-orders/{so}")["OrderStatus"] == "PartiallyFulfilled"
    assert figures(tims, "LAMP")[0] == ("MAIN", 9, 1, 8)
    assert tims.post(f"/sales-orders/{so}/cancel", {"Reason": "x"}).json()["code"] == "INVALID_STATE"
    over = tims.post(f"/sales-orders/{so}/shipments", parcel(1, 2))
    assert errors(over) == {("/Lines/0/Quantity", "OVER_SHIPPED")}
    tims.post(f"/sales-orders/{so}/shipments", parcel(1, 1))
    assert tims.get(f"/sales-orders/{so}")["OrderStatus"] == "Fulfilled"
    assert len(tims.get("/shipments", SalesOrderID=so)["Items"]) == 2


def test_a_shipment_is_a_fact_that_lack_of_stock_does_not_stop(tims: Caller) -> None:
    so = sale(tims, **plain(line(quantity=20), total="1000.00"))["SalesOrderID"]
    assert tims.post(f"/sales-orders/{so}/shipments", parcel(1, 20)).status_code == 201
    assert figures(tims, "LAMP")[0] == ("MAIN", -10, 0, -10)


def test_a_shipment_names_known_lines_locations_and_open_periods(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    tims.apply(event("period", {"Period": "2011-01", "Status": "Closed"}))
    answer = tims.post(f"/sales-orders/{so}/shipments", parcel(7, 1, LocationID="MOON"))
    assert errors(answer) == {
        ("/Lines/0/SalesOrderLineNo", "UNKNOWN_REFERENCE"),
        ("/LocationID", "UNKNOWN_REFERENCE"),
        ("/ShippedAt", "PERIOD_CLOSED"),
    }
    assert answer.json()["NextOpenDate"] == "2011-02-01"


def test_a_shipment_reference_is_used_once(tims: Caller) -> None:
    so, body = sale(tims)["SalesOrderID"], parcel(1, 1)
    first = tims.post(f"/sales-orders/{so}/shipments", body).json()["ShipmentID"]
    assert tims.post(f"/sales-orders/{so}/shipments", body).json()["ExistingID"] == first


def test_new_lines_are_matched_by_external_line_id_and_a_line_no_is_never_used_twice(tims: Caller) -> None:
    so = sale(tims, **plain(line("a"), line("b", sku="SHADE"), total="200.00"))["SalesOrderID"]
    path = f"/sales-orders/{so}"

    def put(*lines: dict[str, Any], total: str) -> requests.Response:
        tag = tims.call("GET", path).headers["ETag"]
        return tims.patch(path, {"LineItems": list(lines), "TotalAmount": total}, tag)

    changed = put(line("c", quantity=1), line("a", quantity=3), total="200.00").json()
    numbers = {each["ExternalLineID"]: (each["LineNo"], each["Quantity"]) for each in changed["LineItems"]}
    assert numbers == {"a": (1, 3), "c": (3, 1)}
    assert [each["LineNo"] for each in changed["LineItems"]] == [1, 3]
    again = put(line("a", quantity=3), line("b", quantity=1), total="200.00").json()
    assert {each["ExternalLineID"]: each["LineNo"] for each in again["LineItems"]} == {"a": 1, "b": 4}
    tims.get("/company")
    assert figures(tims, "LAMP")[0] == ("MAIN", 10, 4, 6)
    assert figures(tims, "SHADE") == [("MAIN", 9, 0, 9)]
    assert errors(put(line("a", quantity=3), total="200.00")) == {("/TotalAmount", "TOTAL_MISMATCH")}


def test_a_line_cannot_fall_below_what_is_shipped_or_cancelled(tims: Caller) -> None:
    so = sale(tims, **plain(line("a", quantity=3), line("b", sku="SHADE"), total="250.00"))["SalesOrderID"]
    path = f"/sales-orders/{so}"
    tims.post(f"{path}/shipments", parcel(1, 1))
    tims.post(f"{path}/lines/1/cancel", {"Quantity": 1, "Reason": "x"})
    tag = tims.call("GET", path).headers["ETag"]
    for lines, total in (([line("a", quantity=1)], "50.00"), ([line("b", sku="SHADE")], "100.00")):
        answer = tims.patch(path, {"LineItems": lines, "TotalAmount": total}, tag)
        assert (answer.status_code, answer.json()["code"]) == (409, "QTY_BELOW_SHIPPED")
    done = tims.patch(path, {"LineItems": [line("a", quantity=2)], "TotalAmount": "100.00"}, tag)
    assert done.json()["OrderStatus"] == "Fulfilled"


def test_a_finished_order_accepts_payment_status_and_notes_only(tims: Caller) -> None:
    so = sale(tims)["SalesOrderID"]
    path = f"/sales-orders/{so}"
    tag = tims.post(f"{path}/cancel", {"Reason": "x"}).headers["ETag"]
    refused = tims.patch(path, {"ShippingMethod": "DHL", "Notes": "x"}, tag)
    assert (refused.status_code, refused.json()["CurrentStatus"]) == (409, "Cancelled")
    assert tims.patch(path, {"PaymentStatus": "Refunded", "Notes": "x"}, tag).json()["PaymentStatus"] == "Refunded"


def test_a_service_keeps_no_stock(tims: Caller) -> None:
    answer = tims.call("GET", "/inventory/items/WRAP/quantity")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_STOCKED")
    so = sale(tims, **plain(line(sku="WRAP"), total="100.00"))["SalesOrderID"]
    assert tims.get(f"/sales-orders/{so}")["OrderStatus"] == "Allocated"


def test_items_are_listed_by_alternate_sku_but_read_and_sold_by_their_own(tims: Caller) -> None:
    assert [row["SKU"] for row in tims.get("/inventory/items", SKU=["AMZ-LAMP", "nothing"])["Items"]] == ["LAMP"]
    assert tims.call("GET", "/inventory/items/AMZ-LAMP").status_code == 404
    answer = tims.post("/sales-orders", order(CustomerID=tims.customer(), LineItems=[line(sku="AMZ-LAMP")]))
    assert ("/LineItems/0/SKU", "UNKNOWN_SKU") in errors(answer)


def test_a_sku_in_a_path_may_hold_an_encoded_slash(tims: Caller) -> None:
    tims.apply(item("KIT/77 #2"))
    assert tims.get("/inventory/items/KIT%2F77%20%232")["SKU"] == "KIT/77 #2"


def test_the_chart_and_the_periods_of_the_contract_are_there(tims: Caller) -> None:
    assert len(tims.get("/gl/accounts")["Items"]) == 27
    assert [p["StartDate"] for p in tims.get("/gl/periods", Date="2011-01-31")["Items"]] == ["2011-01-01"]


# ---- bulk ----
def test_a_bulk_runs_each_operation_alone_and_in_order(tims: Caller) -> None:
    good, bad = order(CustomerID=tims.customer()), order(CustomerID="C-1")
    answer = tims.bulk(("/sales-orders", good), ("/sales-orders", bad), ("/sales-orders", good), ("/nothing", {}))
    results = answer.json()["Results"]
    assert answer.status_code == 207
    assert [(r["OperationID"], r["Status"]) for r in results] == [("0", 201), ("1", 422), ("2", 409), ("3", 404)]
    assert results[2]["Body"]["ExistingID"] == results[0]["Body"]["SalesOrderID"]
    assert results[0]["Headers"]["ETag"] == '"1"'


def test_keys_inside_a_bulk_and_of_single_posts_are_one_key_space(tims: Caller) -> None:
    body, key = order(CustomerID=tims.customer()), new_key()
    first = tims.post("/sales-orders", body, key=key).json()
    (result,) = tims.bulk(("/sales-orders", body), keys=[key]).json()["Results"]
    assert (result["Status"], result["Body"]) == (201, first)
    assert result["Headers"]["Idempotency-Replayed"] == "true"


def test_a_bulk_that_is_repeated_is_replayed_as_a_whole(tims: Caller) -> None:
    body, key, keys = order(CustomerID=tims.customer()), new_key(), [new_key()]
    first = tims.bulk(("/sales-orders", body), key=key, keys=keys)
    again = tims.bulk(("/sales-orders", body), key=key, keys=keys)
    assert (again.status_code, again.json()) == (207, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_bulk_of_101_operations_runs_nothing(tims: Caller) -> None:
    answer = tims.bulk(*[("/customers", customer())] * 101)
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_MANY_OPERATIONS")
    assert "customer" not in tims.control("GET", "counts")


def test_a_bulk_whose_envelope_is_wrong_runs_nothing(tims: Caller) -> None:
    one = {"OperationID": "a", "Method": "POST", "Path": "/customers", "IdempotencyKey": "k", "Body": customer()}
    answer = tims.post("/bulk", {"Operations": [one, one | {"Path": "/bulk"}]})
    assert errors(answer) == {("/Operations/1/OperationID", "INVALID_VALUE"), ("/Operations/1/Path", "INVALID_VALUE")}
    assert "customer" not in tims.control("GET", "counts")


def test_a_key_inside_a_bulk_is_printable_as_one_in_a_header_is(tims: Caller) -> None:
    one = {"OperationID": "a", "Method": "POST", "Path": "/customers", "Body": customer()}
    for bad in ("a b", "\u00fc", "x\n", "", "x" * 129):
        answer = tims.post("/bulk", {"Operations": [one | {"IdempotencyKey": bad}]})
        assert {pointer for pointer, _ in errors(answer)} == {"/Operations/0/IdempotencyKey"}, bad
    assert "customer" not in tims.control("GET", "counts")


def test_each_operation_of_a_bulk_needs_its_own_scope(tims: Caller) -> None:
    narrow = Caller(tims.base, "customers.write")
    results = narrow.bulk(("/customers", customer()), ("/sales-orders", order(CustomerID="C-1"))).json()["Results"]
    assert [(r["Status"], r["Body"].get("code")) for r in results] == [(201, None), (403, "INSUFFICIENT_SCOPE")]


# ---- lists ----
def test_a_list_is_sorted_and_its_window_takes_its_start_and_leaves_its_end(tims: Caller) -> None:
    for day in (1, 2, 3):
        tims.apply(event("item", item(f"D{day}")["document"], f"2011-02-0{day}T00:00:00Z"))
    window = {"ModifiedSince": "2011-02-01T00:00:00Z", "ModifiedBefore": "2011-02-03T00:00:00Z"}
    assert [row["SKU"] for row in tims.get("/inventory/items", **window)["Items"]] == ["D1", "D2"]


def test_a_cursor_walks_all_rows_once_and_null_ends_it(tims: Caller) -> None:
    tims.apply(*[item(f"I{n:03d}") for n in range(250)])
    seen, cursor = [], None
    while True:
        page = tims.get("/inventory/items", Limit=100, **({"Cursor": cursor} if cursor else {}))
        seen += [row["SKU"] for row in page["Items"]]
        cursor = page["NextCursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 255


def test_rows_that_change_while_being_paged_are_seen_again_and_none_is_missed(tims: Caller) -> None:
    tims.apply(*[item(f"I{n:03d}") for n in range(30)])
    tims.fault("shift_rows", "listItems", times=3, rows=2)
    seen, cursor = [], None
    while True:
        page = tims.get("/inventory/items", Limit=10, **({"Cursor": cursor} if cursor else {}))
        seen += [row["SKU"] for row in page["Items"]]
        cursor = page["NextCursor"]
        if cursor is None:
            break
    assert len(set(seen)) == 35
    assert len(seen) > 35


def test_a_cursor_belongs_to_its_query_and_dies_after_a_day(tims: Caller) -> None:
    cursor = tims.get("/inventory/items", Limit=1, Status="Active")["NextCursor"]
    assert tims.get("/inventory/items", Limit=2, Status="Active", Cursor=cursor)["Items"]
    for query in ({"Cursor": cursor}, {"Cursor": "nonsense", "Status": "Active"}, {"Cursor": cursor[:-2]}):
        answer = tims.call("GET", "/inventory/items", params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_CURSOR")
    tims.advance(24 * 3600 + 60)
    tims.renew()
    answer = tims.call("GET", "/inventory/items", params={"Status": "Active", "Cursor": cursor})
    assert answer.json()["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize(
    "query",
    ["limit=1", "Limit=0", "Limit=501", "Limit=x", "Limit=1&Limit=2", "ModifiedSince=2011-01-04", "Status=Open",
     "ChannelEligible=yes", "&".join(["SKU=a"] * 101)],
)  # fmt: skip
def test_a_parameter_that_is_bad_unknown_or_too_often_given_is_refused(tims: Caller, query: str) -> None:
    answer = tims.call("GET", f"/inventory/items?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")
    assert answer.json()["errors"][0]["pointer"] == "?" + query.split("=")[0]


# ---- tokens, order of checks, limits ----
def test_a_token_dies_after_an_hour_and_a_new_one_works(tims: Caller) -> None:
    tims.advance(3601)
    answer = tims.call("GET", "/company")
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tims", error="invalid_token"'
    tims.renew()
    assert tims.get("/company")["BaseCurrency"] == "USD"


def test_a_token_has_the_scopes_that_were_asked_for(tims: Caller) -> None:
    narrow = Caller(tims.base, "orders.write")
    assert narrow.call("GET", "/company").status_code == 200
    answer = narrow.call("GET", "/sales-orders")
    assert (answer.status_code, answer.json()["code"]) == (403, "INSUFFICIENT_SCOPE")


@pytest.mark.parametrize(
    ("auth", "form", "status", "error"),
    [
        ((CLIENT, "wrong"), {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (None, {"grant_type": "client_credentials"}, 401, "invalid_client"),
        ((CLIENT, SECRET), {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ((CLIENT, SECRET), {"scope": "orders.read"}, 400, "invalid_request"),
        ((CLIENT, SECRET), {"grant_type": "client_credentials", "scope": "all"}, 400, "invalid_scope"),
    ],
)
def test_the_token_endpoint_refuses_as_oauth_says(
    tims: Caller, auth: Any, form: dict[str, str], status: int, error: str
) -> None:
    answer = requests.post(f"{tims.base}/oauth2/token", data=form, auth=auth, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_the_checks_come_in_the_order_of_the_contract(tims: Caller) -> None:
    nobody = {"Authorization": "Bearer no"}
    huge, json = "x" * (5 * 1024 * 1024 + 1), {"Content-Type": "application/json"}

    def code(method: str, path: str, **options: Any) -> tuple[int, str]:
        answer = tims.send(method, path, **options)
        return answer.status_code, answer.json()["code"]

    assert code("GET", "/api/v1/nothing", headers=nobody) == (401, "INVALID_TOKEN")
    assert code("GET", "/api/v1/nothing") == (404, "NOT_FOUND")
    assert code("GET", "/api/v1/webhooks/subscriptions/WH-1") == (404, "NOT_FOUND")
    assert code("DELETE", "/api/v1/customers") == (405, "METHOD_NOT_ALLOWED")
    assert code("POST", "/api/v1/customers", data=huge, headers=json) == (413, "PAYLOAD_TOO_LARGE")
    assert code("POST", "/api/v1/customers", data="a=b") == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert code("POST", "/api/v1/customers", data="{", headers=json) == (400, "MALFORMED_BODY")
    assert code("POST", "/api/v1/customers", data="[]", headers=json) == (400, "IDEMPOTENCY_KEY_MISSING")
    keyed = json | {"Idempotency-Key": new_key()}
    assert code("POST", "/api/v1/customers", data="[]", headers=keyed) == (422, "INVALID_TYPE")


def test_the_601st_request_of_a_minute_is_told_to_wait(tmp_path: Path) -> None:
    with running(tmp_path) as (base, _):
        tims = Caller(base)
        answers = [tims.send("GET", "/api/v1/company") for _ in range(601)]
    assert [a.status_code for a in answers] == [200] * 600 + [429]
    assert [int(a.headers["X-RateLimit-Remaining"]) for a in answers[:2]] == [599, 598]
    last = answers[-1]
    assert last.json()["code"] == "RATE_LIMITED"
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert {last.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining")} == {"600", "0"}


def test_the_eleventh_request_at_once_is_told_to_wait(tims: Caller) -> None:
    tims.fault("slow", "getCompany", times=10, seconds=1)
    with ThreadPoolExecutor(11) as pool:
        statuses = list(pool.map(lambda _: tims.send("GET", "/api/v1/company").status_code, range(11)))
    assert sorted(statuses) == [200] * 10 + [429]
    assert tims.get("/company")


# ---- restart and command ----
def test_a_restart_keeps_documents_keys_tokens_and_the_clock(tmp_path: Path) -> None:
    with running(tmp_path) as (base, _):
        tims = Caller(base)
        tims.clock(NOW)
        tims.apply(item("LAMP"), on_hand("LAMP", MAIN=5))
        body, key = order(CustomerID=tims.customer()), new_key()
        made = tims.post("/sales-orders", body, key=key)
        header = tims.http.headers["Authorization"]
    with running(tmp_path) as (base, _):
        again = Caller(base)
        again.http.headers["Authorization"] = header
        replayed = again.post("/sales-orders", body, key=key)
        assert (replayed.json(), replayed.headers["Idempotency-Replayed"]) == (made.json(), "true")
        assert again.get(f"/sales-orders/{made.json()['SalesOrderID']}")["OrderStatus"] == "Allocated"
        assert again.control("GET", "clock")["now"].startswith("2011-01-04T10:0")


def test_a_port_that_is_taken_is_said_in_one_sentence(
    served: tuple[str, Tims], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = int(served[0].rpartition(":")[2])
    assert serve(Tims(tmp_path), port) == 1
    assert capsys.readouterr().err.startswith(f"Port {port} of 127.0.0.1 cannot be used: another program listens")


def test_the_command_serves_and_ends_at_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox.tims", "--port", "0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base = process.stdout.readline().split(", ")[0].rpartition(" ")[2]
        assert requests.get(f"{base}/_sandbox/health", timeout=10).json()["system"] == "tims"
        process.send_signal(2)
        assert process.wait(timeout=10) == 0


def test_the_world_is_taken_in_whole_or_not_at_all(tims: Caller) -> None:
    bad = item("SECOND", GTIN="12")
    answer = requests.post(f"{tims.base}/_sandbox/apply", json={"events": [item("FIRST"), bad]}, timeout=10)
    assert answer.status_code == 422
    assert "Event 1 (item)" in answer.json()["error"]
    assert tims.call("GET", "/inventory/items/FIRST").status_code == 404


def test_requests_are_counted_by_path_template(tims: Caller) -> None:
    tims.control("DELETE", "requests")
    tims.get("/company")
    tims.call("GET", "/inventory/items/LAMP")
    tims.call("GET", "/inventory/items/SHADE")
    counted = tims.control("GET", "requests")
    assert counted == {"GET /api/v1/company": 1, "GET /api/v1/inventory/items/{sku}": 2}


# ---- faults ----
def test_429_comes_with_and_without_retry_after(tims: Caller) -> None:
    tims.fault("rate_limited", "getCompany", seconds=7)
    tims.fault("rate_limited_bare", "/api/v1/inventory/*")
    assert tims.send("GET", "/api/v1/company").headers["Retry-After"] == "7"
    bare = tims.send("GET", "/api/v1/inventory/items")
    assert (bare.status_code, "Retry-After" in bare.headers) == (429, False)
    assert tims.get("/company")


@pytest.mark.parametrize(("kind", "made"), [("error_before", 0), ("error_after", 1)])
def test_a_500_comes_before_or_after_the_effect(tims: Caller, kind: str, made: int) -> None:
    tims.fault(kind, "createCustomer")
    body, key = customer(), new_key()
    answer = tims.post("/customers", body, key=key)
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert tims.control("GET", "counts").get("customer", 0) == made
    again = tims.post("/customers", body, key=key)
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, bool(made))


def test_a_502_is_html(tims: Caller) -> None:
    tims.fault("bad_gateway_html", "getCompany")
    answer = tims.send("GET", "/api/v1/company")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")


def test_a_denial_comes_with_200_in_three_shapes(tims: Caller) -> None:
    tims.fault("denied_200", "getCompany", times=3)
    bodies = [tims.send("GET", "/api/v1/company").text for _ in range(3)]
    assert all("Authorization has been denied for this request." in body for body in bodies)
    assert len(set(bodies)) == 3


def test_the_token_endpoint_may_answer_in_plain_text(tims: Caller) -> None:
    tims.fault("token_plain_400", "/oauth2/token")
    form = {"grant_type": "client_credentials"}
    answer = requests.post(f"{tims.base}/oauth2/token", data=form, auth=(CLIENT, SECRET), timeout=10)
    assert (answer.status_code, answer.text) == (400, "Bad Request")


def test_a_token_may_die_while_paging(tims: Caller) -> None:
    tims.fault("expire_token", "listItems", after=1)
    cursor = tims.get("/inventory/items", Limit=2)["NextCursor"]
    path = f"/api/v1/inventory/items?Limit=2&Cursor={cursor}"
    assert [tims.send("GET", path).status_code for _ in range(2)] == [401, 401]
    tims.renew()
    assert tims.send("GET", path).status_code == 200


def test_a_slow_answer_waits(tims: Caller) -> None:
    tims.fault("slow", "getCompany", seconds=0.5)
    start = time.monotonic()
    tims.get("/company")
    assert time.monotonic() - start >= 0.5


def test_a_connection_may_break_in_mid_body(tims: Caller) -> None:
    tims.fault("cut_body", "listItems")
    with pytest.raises(requests.exceptions.RequestException):
        tims.send("GET", "/api/v1/inventory/items")
    assert tims.get("/inventory/items")


def test_json_may_stop_in_the_middle_of_a_valid_answer(tims: Caller) -> None:
    tims.fault("truncated_json", "listItems")
    answer = tims.send("GET", "/api/v1/inventory/items")
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_a_cursor_may_repeat(tims: Caller) -> None:
    tims.fault("repeat_cursor", "listItems", times=None)
    first = tims.get("/inventory/items", Limit=2)["NextCursor"]
    assert tims.get("/inventory/items", Limit=2, Cursor=first)["NextCursor"] == first


def test_an_answer_may_never_come_though_the_effect_happened(tims: Caller) -> None:
    tims.fault("hang_after", "createCustomer", seconds=5)
    body, key = customer(), new_key()
    with pytest.raises(requests.exceptions.ReadTimeout):
        tims.send("POST", "/api/v1/customers", json=body, headers={"Idempotency-Key": key}, timeout=0.5)
    assert tims.post("/customers", body, key=key).headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(("effect", "made"), [(False, 2), (True, 3)])
def test_some_operations_of_a_bulk_may_fail(tims: Caller, effect: bool, made: int) -> None:
    tims.fault("bulk_partial", "bulk", every=3, effect=effect)
    bulk = tims.bulk(*[("/customers", customer()) for _ in range(3)])
    assert [r["Status"] for r in bulk.json()["Results"]] == [500, 201, 201]
    assert tims.control("GET", "counts")["customer"] == made


def test_writes_may_be_refused_alone_and_in_a_bulk_and_nothing_happens(tims: Caller) -> None:
    tims.fault("refused", "*", times=2)
    alone, bulk = tims.post("/customers", customer()), tims.bulk(("/customers", customer()), ("/customers", customer()))
    assert (alone.status_code, alone.json()["code"]) == (409, "INVALID_STATE")
    assert [(r["Status"], r["Body"]["code"]) for r in bulk.json()["Results"]] == [(409, "INVALID_STATE")] * 2
    assert tims.control("GET", "counts").get("customer", 0) == 0


def test_a_fault_that_cannot_be_read_is_refused_in_a_sentence(tims: Caller) -> None:
    answer = requests.post(f"{tims.base}/_sandbox/faults", json={"kind": "earthquake"}, timeout=10)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("A fault needs a kind; one of: rate_limited")
