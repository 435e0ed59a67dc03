"""Stores documents: under which id, found by which terms, unique by which keys.

In: whole documents and the moment of their change. Out: stored documents. Never: a document without UpdatedDate, or a
rule.
"""

from __future__ import annotations

from typing import Any

from sandbox.channel_advisor import account
from sandbox.channel_advisor.rules import Document
from sandbox.kernel import clock
from sandbox.kernel.store import Row, Terms, Transaction


def _order_terms(order: Document) -> list[tuple[str, Any]]:
    marks = [(f"exported/{name}", int(name in order["Exported"])) for name in account.APPLICATIONS]
    has_cancelled = any(line["QuantityCancelled"] for line in order["OrderItems"])
    return [
        ("profile", order["ProfileID"]),
        ("site", order["SiteID"]),
        ("status", order["OrderStatus"]),
        ("cancelled", 1 if has_cancelled else None),
        *marks,
    ]


TERMS: dict[str, Terms] = {
    "order": _order_terms,
    "shipment": lambda doc: [("profile", doc["ProfileID"]), ("order", doc["ChannelAdvisorOrderID"])],
    "return": lambda doc: [
        ("profile", doc["ProfileID"]),
        ("order", doc["ChannelAdvisorOrderID"]),
        ("status", doc["Status"]),
    ],
    "product": lambda doc: [
        ("profile", doc["ProfileID"]),
        ("sku", doc["SKU"].casefold()),
        ("number", doc.get("ProductID")),
        ("parent", doc["ParentSku"].casefold() if doc.get("ParentSku") else None),
    ],
    "inventory": lambda doc: [("profile", doc["ProfileID"]), ("sku", doc["SKU"].casefold())],
    "price": lambda doc: [("profile", doc["ProfileID"]), ("sku", doc["SKU"].casefold())],
    "promotion": lambda doc: [("profile", doc["ProfileID"]), ("status", doc["Status"])],
    "listing": lambda doc: [
        ("profile", doc["ProfileID"]),
        ("sku", doc["SKU"].casefold()),
        ("site", doc["SiteID"]),
        ("status", doc["Status"]),
    ],
    "distribution_center": lambda doc: [("profile", doc["ProfileID"])],
    "webhook": lambda doc: [("application", doc["Application"]), ("url", doc["Url"])],
}


def put_order(tx: Transaction, order: Document, at: int) -> Document:
    """Write an order as changed at this moment. Beside it stand when units of its lines were cancelled last, and when
    anything else changed last, if that was before. Answers it as stored."""
    key = order["ChannelAdvisorOrderID"]
    order = order | {"UpdatedDate": clock.text(at)}
    row = tx.get("order", key)
    before = {line["OrderItemID"]: line["QuantityCancelled"] for line in row.doc["OrderItems"]} if row else {}
    moments = row.extra.get("Cancelled", {}) if row else {}
    for line in order["OrderItems"]:
        if line["QuantityCancelled"] > before.get(line["OrderItemID"], 0):
            moments[str(line["OrderItemID"])] = order["UpdatedDate"]
    extra: Document = {"Cancelled": moments} if moments else {}
    if row and _without_losses(row.doc, order) == _without_losses(order, order):
        extra["Own"] = row.extra.get("Own", row.doc["UpdatedDate"])
    tx.put("order", key, order, modified=at, extra=extra)
    return order


def _without_losses(order: Document, after: Document) -> Document:
    """An order as it is without its cancelled and returned units, and the status that these lead to."""
    units = ("QuantityCancelled", "QuantityReturned")
    lines = [{name: value for name, value in line.items() if name not in units} for line in order["OrderItems"]]
    rest = {name: value for name, value in order.items() if name not in ("UpdatedDate", "Exported")}
    is_end = after["OrderStatus"] in ("Cancelled", "Returned")
    return rest | {"OrderItems": lines} | ({"OrderStatus": "", "FulfillmentStatus": ""} if is_end else {})


def reserve_order(tx: Transaction, order: Document, number: int) -> int:
    """Take a site's own order number for an order. Answers the order that has it."""
    return int(tx.reserve("OrderID", f"{order['ProfileID']}/{order['SiteID']}/{order['OrderID']}", number))


def put_shipment(tx: Transaction, shipment: Document, at: int) -> Document:
    """Write a shipment as changed at this moment and take its key. Answers it as stored."""
    stamp = clock.text(at)
    shipment = {"CreatedDate": stamp, **shipment, "UpdatedDate": stamp}
    number, order = shipment["ShipmentID"], shipment["ChannelAdvisorOrderID"]
    tx.put("shipment", number, shipment, modified=at)
    tx.reserve(_shipments_of(order), shipment["SellerFulfillmentID"], number)
    return shipment


def first_shipment(tx: Transaction, order: int, key: str) -> Document | None:
    """The shipment of an order that has this SellerFulfillmentID."""
    number = tx.owner(_shipments_of(order), key)
    row = None if number is None else tx.get("shipment", number)
    return row.doc if row else None


def _shipments_of(order: int) -> str:
    return f"shipment/{order}"


def put_return(tx: Transaction, returned: Document, at: int) -> Document:
    """Write a return as changed at this moment and take the seller's key. Answers it as stored."""
    stamp = clock.text(at)
    returned = {"CreatedDate": stamp, **returned, "UpdatedDate": stamp}
    number = returned["ReturnID"]
    tx.put("return", number, returned, modified=at)
    if returned["SellerAdjustmentID"] is not None:
        tx.reserve(_returns_of(returned["ChannelAdvisorOrderID"]), returned["SellerAdjustmentID"], number)
    return returned


def first_return(tx: Transaction, order: int, key: str) -> Document | None:
    """The return of an order that has this SellerAdjustmentID."""
    number = tx.owner(_returns_of(order), key)
    row = None if number is None else tx.get("return", number)
    return row.doc if row else None


def _returns_of(order: int) -> str:
    return f"return/{order}"


def sku_id(profile: int, sku: str) -> str:
    """The id of a product and of its price."""
    return f"{sku}\t{profile}"


def put_product(tx: Transaction, product: Document, at: int, instead: Row | None = None) -> Document:
    """Write a product as changed at this moment. Rows sort by SKU; two profiles may have the same one."""
    product = product | {"UpdatedDate": clock.text(at)}
    tx.put("product", sku_id(product["ProfileID"], product["SKU"]), product, modified=at, instead=instead)
    return product


def product(tx: Transaction, profile: int, sku: str) -> Row | None:
    """The product of a profile with this SKU, in whatever case."""
    found = tx.found("product", "sku", sku.casefold())
    return next((row for row in found if row.doc["ProfileID"] == profile), None)


def level_id(profile: int, sku: str, center: int) -> str:
    """Rows sort by SKU and center."""
    return f"{sku}\t{center}\t{profile}"


def put_level(tx: Transaction, level: Document, kept: Document, at: int, instead: Row | None = None) -> None:
    """Write the stock of a product in a center as changed at this moment; `kept` is not shown."""
    id = level_id(level["ProfileID"], level["SKU"], level["DistributionCenterID"])
    tx.put("inventory", id, level | {"UpdatedDate": clock.text(at)}, modified=at, extra=kept, instead=instead)


def levels(tx: Transaction, profile: int, sku: str) -> list[Row]:
    """The stock of a product, a row for each center."""
    return [row for row in tx.found("inventory", "sku", sku.casefold()) if row.doc["ProfileID"] == profile]


def put_price(tx: Transaction, price: Document, at: int) -> None:
    """Write a price as changed at this moment."""
    tx.put("price", sku_id(price["ProfileID"], price["SKU"]), price | {"UpdatedDate": clock.text(at)}, modified=at)


def price(tx: Transaction, profile: int, sku: str) -> Document | None:
    """The price of a product, its SKU as stored."""
    row = tx.get("price", sku_id(profile, sku))
    return row.doc if row else None


def put_promotion(tx: Transaction, promotion: Document, kept: Document, at: int) -> None:
    """Write a promotion as changed at this moment; `kept` is not shown."""
    id = f"{promotion['PromotionID']}\t{promotion['ProfileID']}"
    tx.put("promotion", id, promotion | {"UpdatedDate": clock.text(at)}, modified=at, extra=kept)


def promotion(tx: Transaction, profile: int, name: str) -> Row | None:
    return tx.get("promotion", f"{name}\t{profile}")


def put_listing(tx: Transaction, listing: Document, at: int) -> Document:
    """Write a listing as changed at this moment. Answers it as stored."""
    stamp = clock.text(at)
    listing = {"CreatedDate": stamp, **listing, "UpdatedDate": stamp}
    tx.put("listing", listing["ListingID"], listing, modified=at)
    return listing
