"""The returns flow, its promises one by one, on both systems over HTTP and a real Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock import flows
from crossdock.errors import Transient
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from integration.environment import Environment

SKU, OTHER, KIT, PART_1, PART_2 = "22386", "21499", "22139", "22380", "21789"
BUYER = {"FirstName": "Ana", "LastName": "Ortiz", "Email": "ana.ortiz@example.com"}
ADDRESS = {"Name": "Ana Ortiz", "Line1": "12 Elm St", "City": "Leeds", "PostalCode": "LS1 4AP", "Country": "GB"}


class Shop:
    """One order at a time, from sale to return, by hand."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.number = 7_000_000
        self.order = 0

    def _send(self, kind: str, document: dict[str, Any]) -> None:
        self.environment.tick(self.environment.now + timedelta(seconds=1))
        at = self.environment.now.isoformat().replace("+00:00", "Z")
        self.number += 1
        self.environment.channel_advisor.apply([
            {"id": f"{kind}-{self.number}", "at": at, "system": "channel_advisor", "kind": kind, "document": document,
             "dirty": True}])  # fmt: skip

    def sell(self, *lines: dict[str, Any], **amounts: Any) -> int:
        """An order of the worked example's shape; its number."""
        self.number += 1
        self.order = self.number
        items = [{"OrderItemID": self.number * 10 + n, "SKU": SKU, "Title": "A thing", "Quantity": 2,
                  "UnitPrice": Decimal("50.00"), "DiscountAmount": Decimal("10.00"), "TaxAmount": Decimal("6.75"),
                  **line} for n, line in enumerate(lines or ({},), 1)]  # fmt: skip
        header = {"TotalShippingPrice": Decimal("8.00"), "TotalShippingTaxPrice": Decimal("0.60"), **amounts}
        goods = sum(i["Quantity"] * i["UnitPrice"] - i["DiscountAmount"] + i["TaxAmount"] for i in items)
        self._send("order", {
            "ChannelAdvisorOrderID": self.order, "SiteID": 641, "SiteName": "Amazon UK", "Currency": "GBP",
            "PaymentStatus": "Cleared", "CustomerInfo": BUYER, "ShippingAddress": ADDRESS, **header,
            "TaxRemittedBy": "Marketplace", "OrderItems": items,
            "TotalTaxPrice": sum(i["TaxAmount"] for i in items),
            "TotalDiscount": sum(i["DiscountAmount"] for i in items),
            "TotalPrice": goods + sum(header.values()),
        })  # fmt: skip
        return self.order

    def line(self, number: int = 1) -> int:
        return self.order * 10 + number

    def in_tims(self) -> dict[str, Any]:
        with self.environment.runtime() as runtime:
            (order,) = runtime.tims.find("sales-orders", ExternalOrderID=str(self.order))
        return order

    def ship(self, units: Sequence[int] | None = None) -> dict[str, Any]:
        """Ships everything, or so many of each line; the shipment."""
        self.number += 1
        order = self.in_tims()
        wanted = units or [line["Quantity"] for line in order["LineItems"]]
        body = {
            "ExternalReference": f"WMS-{self.number}", "Source": "warehouse", "LocationID": "MAIN",
            "ShippedAt": self.environment.now.isoformat().replace("+00:00", "Z"),
            "Lines": [{"SalesOrderLineNo": line["LineNo"], "Quantity": quantity}
                      for line, quantity in zip(order["LineItems"], wanted, strict=True) if quantity],
        }  # fmt: skip
        return self._post(f"/sales-orders/{order['SalesOrderID']}/shipments", body)

    def invoice(self, shipment: dict[str, Any], shipping: str = "8.00", tax: str = "0.60") -> dict[str, Any]:
        """The shipment's invoice: its lines' share, and so much shipping."""
        order = self.in_tims()
        of = {line["LineNo"]: line for line in order["LineItems"]}
        lines, goods, discounts, taxes = [], Decimal(0), Decimal(0), Decimal(tax)
        for sent in shipment["Lines"]:
            line, share = of[sent["SalesOrderLineNo"]], Decimal(sent["Quantity"])
            parts = {name: (Decimal(line[name]) * share / line["Quantity"]).quantize(Decimal("0.01"))
                     for name in ("DiscountAmount", "TaxAmount")}  # fmt: skip
            lines.append({"SalesOrderLineNo": line["LineNo"], "SKU": line["SKU"], "Quantity": sent["Quantity"],
                          "UnitPrice": line["Price"], "TaxRemittedBy": line["TaxRemittedBy"],
                          **{name: str(part) for name, part in parts.items()}})  # fmt: skip
            goods += (share * Decimal(line["Price"])).quantize(Decimal("0.01"))
            discounts, taxes = discounts + parts["DiscountAmount"], taxes + parts["TaxAmount"]
        body = {
            "ExternalReference": f"inv:{shipment['ShipmentID']}", "Source": "Crossdock", "CurrencyCode": "GBP",
            "SalesOrderID": order["SalesOrderID"], "ShipmentID": shipment["ShipmentID"], "Lines": lines,
            "InvoiceDate": shipment["PostingDate"], "PostingDate": shipment["PostingDate"],
            "ShippingAmount": shipping, "ShippingTaxAmount": tax, "ShippingTaxRemittedBy": "Marketplace",
            "SubTotal": str(goods), "DiscountTotal": str(discounts), "TaxTotal": str(taxes),
            "MarketplaceRemittedTax": str(taxes), "Total": str(goods - discounts + Decimal(shipping)),
        }  # fmt: skip
        return self._post("/ar/invoices", body)

    def sold(self, *lines: dict[str, Any], **amounts: Any) -> dict[str, Any]:
        """An order that is in TIMS, shipped and invoiced; the invoice."""
        self.sell(*lines, **amounts)
        self.environment.sync()
        return self.invoice(self.ship())

    def give_back(self, *items: dict[str, Any], **more: Any) -> str:
        """A return of this order; its id."""
        self.number += 1
        key = self.number
        usual = {
            "OrderItemID": self.line(), "SKU": SKU, "Quantity": 1, "RefundAmount": Decimal("45.00"),
            "TaxRefund": Decimal("3.38"), "ShippingRefund": Decimal(0), "Restock": True, "Condition": "Sellable",
        }  # fmt: skip
        whole = [usual | item for item in items or ({},)]
        self._send("return", {
            "ReturnID": key, "ChannelAdvisorOrderID": self.order, "Status": "Received", "Currency": "GBP",
            "Reason": "CustomerReturnedItem", "Items": whole, **more,
        })  # fmt: skip
        return str(key)

    def change(self, key: str, **changes: Any) -> None:
        self._send("return_change", {"ReturnID": int(key), "changes": changes})

    def at_the_channel(self, key: str) -> dict[str, Any]:
        with self.environment.runtime() as runtime:
            return msgspec.json.decode(runtime.channel_advisor.record("returns", key))

    def documents(self, key: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(credit memos, stock adjustments) of a return in TIMS."""
        found = [
            [each for each in self.environment.in_tims(path) if each["ExternalReference"].startswith(f"{begin}:{key}:")]
            for path, begin in (("ar/credit-memos", "cm"), ("inventory/adjustments", "ret"))
        ]
        return found[0], found[1]

    def reasons(self, key: str) -> set[str]:
        letter = self.environment.letters().get(key)
        return {reason["rule"] for reason in letter.reasons} if letter else set()

    def state(self, key: str) -> str:
        ((state,),) = self.environment.query(f"SELECT state FROM stage.credit_memo WHERE key = '{key}'")
        return state

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.environment.runtime() as runtime:
            return runtime.tims.post(path, body, key=body["ExternalReference"]).document()


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Shop:
    """An environment in which nothing happens but what a test does."""
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-05")
    return Shop(long_lived_environment)


def sync(shop: Shop) -> Any:
    shop.environment.tick(shop.environment.now + timedelta(seconds=5))
    return shop.environment.sync(flow="returns")


@pytest.mark.slow
def test_one_unit_refunded_in_full_and_restocked_is_credited_restocked_and_resolved(shop: Shop):
    invoice = shop.sold()
    key = shop.give_back()
    sync(shop)
    (memo,), (stock,) = shop.documents(key)
    assert (memo["InvoiceID"], memo["Total"], memo["DiscountTotal"], memo["TaxTotal"]) == (
        invoice["InvoiceID"], "45.00", "5.00", "3.38",
    )  # fmt: skip
    assert (memo["Lines"][0]["Amount"], memo["Lines"][0]["DiscountAmount"], memo["Lines"][0]["Quantity"]) == (
        "50.00", "5.00", 1,
    )  # fmt: skip
    assert (stock["SKU"], stock["QuantityDelta"], stock["ReasonCode"], stock["LocationID"]) == (
        SKU, 1, "ReturnRestock", "MAIN",
    )  # fmt: skip
    assert stock["UnitCost"] == memo["Lines"][0]["UnitCost"]
    assert shop.at_the_channel(key)["Status"] == "Refunded"
    assert shop.state(key) == "delivered"


@pytest.mark.slow
def test_money_without_goods_goods_without_money_and_damaged_goods(shop: Shop):
    shop.sold({"Quantity": 6, "DiscountAmount": Decimal("0.00")})
    money = shop.give_back({"Quantity": 0, "RefundAmount": Decimal("5.00"), "TaxRefund": Decimal(0)})
    goods = shop.give_back({"RefundAmount": Decimal(0), "TaxRefund": Decimal(0)})
    damaged = shop.give_back({"Condition": "Damaged", "Restock": False, "RefundAmount": Decimal("50.00")})
    missing = shop.give_back({"Condition": "Missing", "RefundAmount": Decimal("50.00")})
    sync(shop)
    (memo,), stock = shop.documents(money)
    assert (memo["Total"], memo["Lines"][0]["Quantity"], stock) == ("5.00", 0, [])
    memos, (back,) = shop.documents(goods)
    assert (memos, back["QuantityDelta"]) == ([], 1)
    (memo,), both = shop.documents(damaged)
    assert sorted((a["ExternalReference"], a["QuantityDelta"], a["ReasonCode"]) for a in both) == [
        (f"ret:{damaged}:{shop.line()}", 1, "ReturnRestock"),
        (f"ret:{damaged}:{shop.line()}:discard", -1, "ReturnDiscard"),
    ]
    assert memo["Total"] == "50.00"
    assert [len(each) for each in shop.documents(missing)] == [1, 0]
    assert {shop.at_the_channel(key)["Status"] for key in (money, goods, damaged, missing)} == {"Refunded"}


@pytest.mark.slow
def test_returns_of_one_order_end_at_what_was_invoiced_and_one_more_is_a_dead_letter_with_both_numbers(shop: Shop):
    shop.sold()
    first = shop.give_back({"ShippingRefund": Decimal("4.00")})
    second = shop.give_back({"ShippingRefund": Decimal("4.00"), "TaxRefund": Decimal("3.37")})
    third = shop.give_back({"TaxRefund": Decimal(0)})
    sync(shop)
    assert [memo["Total"] for key in (first, second) for memo in shop.documents(key)[0]] == ["49.00", "49.00"]
    assert shop.reasons(third) == {"returned_more_than_invoiced", "returned_more_than_shipped"}
    message = shop.environment.letters()[third].reasons[0]["says"]
    assert "1 units" in message
    assert "only 0" in message
    assert shop.documents(third) == ([], [])
    fourth = shop.give_back({"TaxRefund": Decimal(0), "Quantity": 0, "RefundAmount": Decimal("0.01")})
    sync(shop)  # in a run of its own
    assert shop.reasons(fourth) == {"refund_above_invoice"}


@pytest.mark.slow
def test_a_return_waits_for_its_order_and_its_invoice_and_is_worked_when_they_arrive(shop: Shop):
    shop.sell()
    key = shop.give_back()
    sync(shop)
    assert shop.state(key) == "waiting"
    shop.environment.sync()
    shipment = shop.ship()
    sync(shop)
    assert shop.state(key) == "waiting"
    assert shop.documents(key) == ([], [])
    assert sync(shop).read == 0  # nothing new: it sleeps on
    shop.invoice(shipment)
    sync(shop)
    assert [len(each) for each in shop.documents(key)] == [1, 1]
    assert shop.state(key) == "delivered"
    assert shop.environment.letters().get(key) is None


@pytest.mark.slow
def test_units_of_two_shipments_are_credited_against_both_invoices_the_oldest_first(shop: Shop):
    shop.sell({"TaxAmount": Decimal("6.74")})
    shop.environment.sync()
    invoices = [shop.invoice(shop.ship([1]), *charges) for charges in (("8.00", "0.60"), ("0.00", "0.00"))]
    both = {"Quantity": 2, "RefundAmount": Decimal("90.00"), "TaxRefund": Decimal("6.74")}
    key = shop.give_back(both)
    sync(shop)
    memos, stock = shop.documents(key)
    assert [memo["InvoiceID"] for memo in memos] == [invoice["InvoiceID"] for invoice in invoices]
    assert [memo["Total"] for memo in memos] == ["45.00", "45.00"]
    assert sum(each["QuantityDelta"] for each in stock) == 2


@pytest.mark.slow
def test_a_kit_comes_back_as_its_parts(shop: Shop):
    shop.sold({"SKU": KIT})
    key = shop.give_back({"SKU": KIT})
    sync(shop)
    (memo,), stock = shop.documents(key)
    assert memo["Total"] == "45.00"
    assert {line["SKU"]: line["Quantity"] for line in memo["Lines"]} == {PART_1: 1, PART_2: 1}
    assert {each["SKU"]: each["QuantityDelta"] for each in stock} == {PART_1: 1, PART_2: 1}


@pytest.mark.slow
def test_a_return_that_changes_after_it_was_posted_is_a_dead_letter_and_nothing_moves(shop: Shop):
    shop.sold()
    key = shop.give_back()
    sync(shop)
    before = shop.documents(key)
    shop.change(key, Items=[{"OrderItemID": shop.line(), "RefundAmount": Decimal("40.00")}])
    sync(shop)
    assert shop.reasons(key) == {"changed_after_posting"}
    assert "43.38" in shop.environment.letters()[key].reasons[0]["says"]
    assert "48.38" in shop.environment.letters()[key].reasons[0]["says"]
    assert shop.documents(key) == before
    shop.change(key, Items=[{"OrderItemID": shop.line(), "RefundAmount": Decimal("45.00")}])
    sync(shop)
    assert shop.reasons(key) == set()
    assert shop.documents(key) == before


@pytest.mark.slow
def test_what_is_not_decided_waits_and_what_is_rejected_is_left_out(shop: Shop):
    shop.sold()
    requested = shop.give_back(Status="NewRma")
    rejected = shop.give_back(Status="Rejected")
    closed = shop.give_back(Status="Closed")
    sync(shop)
    assert [shop.state(key) for key in (requested, rejected, closed)] == ["waiting", "left_out", "left_out"]
    assert [shop.documents(key) for key in (requested, rejected, closed)] == [([], [])] * 3
    shop.change(requested, Status="Received")
    sync(shop)
    assert shop.state(requested) == "delivered"
    assert shop.at_the_channel(requested)["Status"] == "Refunded"


@pytest.mark.slow
def test_a_return_that_cannot_be_read_as_money_is_a_dead_letter_and_replay_sends_it_once(shop: Shop):
    shop.sold()
    key = shop.give_back({"RefundAmount": Decimal("45.001")})
    sync(shop)
    assert shop.reasons(key) == {"third_decimal"}
    letter = shop.environment.letters()[key]
    payload = dict(letter.payload)
    payload["Items"] = [payload["Items"][0] | {"RefundAmount": Decimal("45.00")}]
    payload["RefundTotal"] = Decimal("48.38")
    with shop.environment.runtime() as runtime:
        with runtime.engine.begin() as connection:
            dead_letters.edit(connection, letter.id, payload, who="clerk")
        for _ in range(2):
            flow = flows.get("returns")
            run_batches(runtime, flow, extract(runtime, flow, kind="replay", keys=[key]))
    assert shop.reasons(key) == set()
    assert [len(each) for each in shop.documents(key)] == [1, 1]


@pytest.mark.slow
def test_a_return_that_the_channel_rejects_after_it_was_posted_is_a_dead_letter_of_confirm(shop: Shop):
    from crossdock.steps.check import check
    from crossdock.steps.confirm import confirm
    from crossdock.steps.load import load
    from crossdock.steps.transform import transform

    shop.sold()
    key = shop.give_back()
    flow = flows.get("returns")
    shop.environment.tick(shop.environment.now + timedelta(seconds=5))
    with shop.environment.runtime() as runtime:
        (batch_id,) = extract(runtime, flow)
        for step in (transform, check, load):
            step(runtime, flow, batch_id)
        shop.change(key, Status="Rejected")
        confirm(runtime, flow, batch_id)
    assert shop.reasons(key) == {"confirm_refused"}
    assert shop.environment.letters()[key].step == "confirm"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "kind", "rule"),
    [
        ("tims", "error_after", {"path": "bulk", "times": 2}),
        ("tims", "bulk_partial", {"path": "bulk", "times": 1, "every": 2, "effect": True}),
        ("channel_advisor", "error_after", {"path": "resolveReturn", "times": 3}),
        ("channel_advisor", "truncated_json", {"path": "listReturns", "times": 1}),
    ],
    ids=lambda part: part if isinstance(part, str) else part["path"],
)
def test_a_fault_that_passes_loses_nothing_and_posts_nothing_twice(shop: Shop, system: str, kind: str, rule: dict):
    shop.sold()
    keys = [shop.give_back(), shop.give_back({"Condition": "Damaged", "TaxRefund": Decimal("3.37")})]
    shop.environment.tick(shop.environment.now + timedelta(seconds=5))
    shop.environment.fault(system, kind, **rule)
    for _ in range(4):
        try:
            shop.environment.sync(flow="returns", run_id=f"{system}:{kind}")
            break
        except Transient:
            continue
    shop.environment.clear_faults()
    shop.environment.sync(flow="returns", run_id=f"{system}:{kind}")
    assert [[len(each) for each in shop.documents(key)] for key in keys] == [[1, 1], [1, 2]]
    assert {shop.at_the_channel(key)["Status"] for key in keys} == {"Refunded"}
    assert {shop.state(key) for key in keys} <= {"delivered", "unchanged"}
    assert [shop.reasons(key) for key in keys] == [set(), set()]
