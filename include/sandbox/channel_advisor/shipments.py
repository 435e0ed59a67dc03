"""Shipments: what has left, reported by the seller.

In: a batch, or an order that a PUT made Shipped. Out: stored shipments, the order's units and status in step. Never: a
second shipment for one (order, SellerFulfillmentID).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.channel_advisor import account, batches, lists, repository, rules, stock
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import Refused, field_error, utc
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Request
from sandbox.kernel.store import Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

FIRST_SHIPMENT = 900_000_001


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listShipments": partial(list_shipments, system),
        "createShipments": partial(create_shipments, system),
    }


def list_shipments(system: System, request: Request) -> Answer:
    where = {"profile": lists.profiles(request)}
    if "channelAdvisorOrderId" in request.query:
        where["order"] = [request.query["channelAdvisorOrderId"]]
    return lists.page(system, request, "shipment", where)


def create_shipments(system: System, request: Request) -> Answer:
    with system.store.write() as tx:
        apply = partial(create_shipment, tx, request, system.clock.now())
        return batches.answer(system, request, "Shipments", "ShipmentCreate", echo, apply)


def echo(sent: Any) -> Document:
    """The keys of an item as they were sent, if an answer can hold them."""
    number, key = sent.get("ChannelAdvisorOrderID"), sent.get("SellerFulfillmentID")
    return {
        "ChannelAdvisorOrderID": number if isinstance(number, int) and not isinstance(number, bool) else None,
        "SellerFulfillmentID": key if isinstance(key, str) else None,
    }


def create_shipment(tx: Transaction, request: Request, at: int, sent: Document) -> tuple[int, Document]:
    """Store one shipment, or answer the first one of its key. Conflict, Refused."""
    number, key = sent["ChannelAdvisorOrderID"], sent["SellerFulfillmentID"]
    row = tx.get("order", number)
    if row is None or row.doc["ProfileID"] not in lists.profiles(request):
        error = field_error("ChannelAdvisorOrderID", "UnknownOrder", f"There is no order {number}.")
        raise Refused([error], status=404)
    if first := repository.first_shipment(tx, number, key):
        return 200, {"Shipment": first}
    order = row.doc
    rules.check_shippable(order)
    carrier, service = known_service(sent["Carrier"], sent["ServiceClass"])
    if is_amazon(order) and not (key.isascii() and key.isdigit()):
        raise Refused([field_error("SellerFulfillmentID", "DigitsOnly", "Amazon sites take digits only.")])
    try:
        shipped_date = utc(sent["ShippedDate"])
    except ValueError as error:
        raise Refused([field_error("ShippedDate", "InvalidValue", str(error))]) from None
    units = rules.chosen_units(order, sent.get("Items"))
    details = {"Carrier": carrier, "ServiceClass": service, "TrackingNumber": sent.get("TrackingNumber")}
    shipment = record(tx, order, units, max(at, row.modified + 1), key, {"ShippedDate": shipped_date} | details)
    return 201, {"Shipment": shipment}


def known_service(carrier: str | None, service: str | None) -> tuple[str, str]:
    """Carrier and service class as the account spells them. Refused with UnknownCarrier or UnknownServiceClass."""
    existing = _same(carrier, account.CARRIERS)
    if existing is None:
        raise Refused([field_error("Carrier", "UnknownCarrier", _one_of(carrier, account.CARRIERS))])
    classes = account.CARRIERS[existing]
    known_class = _same(service, classes)
    if known_class is None:
        raise Refused([field_error("ServiceClass", "UnknownServiceClass", _one_of(service, classes))])
    return existing, known_class


def _same(text: str | None, existing: Any) -> str | None:
    return next((each for each in existing if text is not None and each.casefold() == text.casefold()), None)


def _one_of(text: str | None, existing: Any) -> str:
    return f"{'Nothing' if text is None else text} is not one of {', '.join(existing)}."


def is_amazon(order: Document) -> bool:
    return (order.get("SiteName") or "").startswith("Amazon")


def record_untracked(tx: Transaction, before: Document, at: int) -> None:
    """The shipment of an order that a PUT made Shipped: everything unshipped, without carrier and tracking."""
    units = rules.unshipped(before)
    if units and before["OrderStatus"] != "Shipped":
        details = {"ShippedDate": clock.text(at), "Carrier": None, "ServiceClass": None, "TrackingNumber": None}
        repository.put_shipment(tx, shipment_of(tx, before, units, None, details), at)


def record(tx: Transaction, order: Document, units: dict[int, int], at: int, key: str, details: Document) -> Document:
    """Store a shipment and what it makes of its order."""
    shipment = repository.put_shipment(tx, shipment_of(tx, order, units, key, details), at)
    stock.follow(tx, repository.put_order(tx, rules.shipped(order, units), at), at)
    return shipment


def shipment_of(
    tx: Transaction, order: Document, units: dict[int, int], key: str | None, details: Document
) -> Document:
    """A new shipment; without a key of the seller it gets its own number as key."""
    number = tx.next_number("ShipmentID", FIRST_SHIPMENT)
    return {
        "ShipmentID": number,
        "ProfileID": order["ProfileID"],
        "ChannelAdvisorOrderID": order["ChannelAdvisorOrderID"],
        "SellerFulfillmentID": str(number) if key is None else key,
        "Items": rules.shipment_items(order, units),
        "MarketplaceStatus": "Pending",
        **details,
    }
