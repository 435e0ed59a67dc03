"""Builds what a test needs: an order on the channel, a parcel from TIMS's warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec

from crossdock.errors import Transient
from crossdock.store.batches import Counts
from integration.environment import Environment

_numbers = count(1)
KIT, KIT_PARTS = "84997C", {"21402": 1, "21368": 3, "22726": 2}
ITEM, OTHER = "22423", "84946"
ADDRESS = {"Name": "Ada Miller", "Company": None, "Line1": "12 Elm Street", "Line2": None, "City": "Leeds",
           "Region": None, "PostalCode": "LS1 4AP", "Country": "GB"}  # fmt: skip


def line(sku: str = ITEM, quantity: int = 1, price: str = "10.0000", **amounts: str) -> dict[str, Any]:
    """A line of a Channel Advisor order; amounts not given are 0."""
    money = dict.fromkeys(("TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount", "GiftWrapAmount"))
    return {"SKU": sku, "Title": sku, "Quantity": quantity, "UnitPrice": Decimal(price), **money, "QuantityShipped": 0,
            "QuantityCancelled": 0, "QuantityReturned": 0, "BundleComponents": [],
            **{name: Decimal(amount) for name, amount in amounts.items()}}  # fmt: skip


def order(environment: Environment, *lines: dict[str, Any], **more: Any) -> str:
    """Places an order at the channel and brings it into TIMS; its ChannelAdvisorOrderID."""
    key = place(environment, *lines, **more)
    environment.sync()
    assert key not in environment.letters(), environment.letters()[key].reasons
    return key


def place(environment: Environment, *lines: dict[str, Any], **more: Any) -> str:
    """Places an order at the channel alone."""
    number = 7_700_000 + next(_numbers)  # a hundred times as much, of its lines, still fits 32 bits
    placed = (environment.now + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    items = [{"OrderItemID": number * 100 + n, **each} for n, each in enumerate(lines, 1)]
    document = {
        "ChannelAdvisorOrderID": number, "OrderID": f"T-{number}", "ProfileID": 12345678, "SiteID": 641,
        "SiteName": "Amazon Seller Central - UK", "SellerOrderID": None, "OrderStatus": "New",
        "PaymentStatus": "Cleared", "FulfillmentStatus": "Unshipped", "OrderDate": placed, "ImportDate": placed,
        "PaymentDate": placed, "Currency": "GBP",
        "CustomerInfo": {"CustomerID": "buyer-ada", "FirstName": "Ada", "LastName": "Miller", "Email": None,
                         "Phone": None, "Company": None},
        "ShippingAddress": ADDRESS, "BillingAddress": None, "RequestedShippingCarrier": None,
        "RequestedShippingClass": None, "TaxRemittedBy": "Seller", "SpecialInstructions": "", "Exported": False,
        "DistributionCenterTypeRollup": "SellerManaged", "Flag": "NoFlag", "UserDataPresent": True,
        "OrderItems": items, "OrderItemCount": len(items), **more,
    }  # fmt: skip
    document |= _totals(items, more)
    send(environment, "channel_advisor", "order", document)
    return str(number)


PAIRS = {"TotalTaxPrice": "TaxAmount", "TotalShippingPrice": "ShippingAmount",
         "TotalShippingTaxPrice": "ShippingTaxAmount", "TotalDiscount": "DiscountAmount"}  # fmt: skip


def _totals(lines: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Decimal]:
    """The order's totals: as given, else the sums of the lines."""

    def summed(name: str) -> Decimal:
        return sum((each[name] or Decimal() for each in lines), Decimal())

    totals = {total: given.get(total, summed(name)) for total, name in PAIRS.items()}
    goods = sum((each["UnitPrice"] * each["Quantity"] for each in lines), Decimal()) + summed("GiftWrapAmount")
    inside = (("OrderTaxType", "TotalTaxPrice"), ("ShippingTaxType", "TotalShippingTaxPrice"))
    goods -= sum(totals[total] for kind, total in inside if given.get(kind) == "InclusiveVat")
    return totals | {"TotalPrice": goods + sum(totals.values()) - 2 * totals["TotalDiscount"]}


def send(environment: Environment, system: str, kind: str, document: dict[str, Any], **more: Any) -> None:
    """An event of the world, one minute from now; both clocks move past it."""
    later = environment.now + timedelta(minutes=2)
    at = (environment.now + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    control = environment.channel_advisor if system == "channel_advisor" else environment.tims_control
    event = {"id": f"{kind}-{next(_numbers)}", "at": at, "system": system, "kind": kind, "document": document}
    control.apply([event | more])
    forward(environment, later)


def forward(environment: Environment, to: Any) -> None:
    """Moves both clocks; the world itself stands still."""
    for control in (environment.channel_advisor, environment.tims_control):
        control.set_clock(to)
    environment.now = to


def sales_order(environment: Environment, key: str) -> dict[str, Any]:
    with environment.runtime() as runtime:
        (found,) = runtime.tims.find("sales-orders", ExternalOrderID=[key], Source="ChannelAdvisor")
        return found


def ship(environment: Environment, key: str, units: dict[int, int], **more: Any) -> str:
    """A parcel with so many units by LineNo; its ShipmentID."""
    body = {
        "ExternalReference": f"WMS-{next(_numbers)}", "Source": "warehouse", "LocationID": "MAIN",
        "ShippedAt": environment.now.isoformat().replace("+00:00", "Z"), "Carrier": "Royal Mail",
        "ServiceLevel": "Tracked 48", "TrackingNumber": "GB123",
        "Lines": [{"SalesOrderLineNo": number, "Quantity": each} for number, each in units.items()], **more,
    }  # fmt: skip
    with environment.runtime() as runtime:
        result = runtime.tims.post(
            f"/sales-orders/{sales_order(environment, key)['SalesOrderID']}/shipments",
            body,
            key=body["ExternalReference"],
        )
    assert result.status == 201, result.error
    forward(environment, environment.now + timedelta(minutes=5))
    return result.document()["ShipmentID"]


def at_the_channel(environment: Environment, key: str) -> list[dict[str, Any]]:
    """The shipments of an order that the channel knows."""
    with environment.runtime() as runtime:
        return [
            msgspec.json.decode(record)
            for page in runtime.channel_advisor.pages("shipping", channelAdvisorOrderId=key)
            for record in page.records
        ]


def units(shipments: Iterable[dict[str, Any]]) -> list[dict[str, int]]:
    return [{item["SKU"]: item["Quantity"] for item in each["Items"]} for each in shipments]


def persist(environment: Environment, flow: str, run_id: str, tries: int = 4, **more: Any) -> Counts:
    """Runs a flow, and tries again as a task does until its transient failures have passed."""
    for _ in range(tries):
        try:
            return environment.sync(flow=flow, run_id=run_id, **more)
        except Transient:
            continue
    environment.clear_faults()
    return environment.sync(flow=flow, run_id=run_id, **more)


def states(environment: Environment, table: str, keys: Sequence[str]) -> list[str]:
    found = {row.key: row.state for row in environment.query(f"SELECT key, state FROM {table}")}
    return [found[key] for key in keys]
