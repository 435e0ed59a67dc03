"""What the contract says about an order: status rules, shipping, totals, vanished personal data.

In: documents as the contract's read schema has them, amounts exact. Out: changed copies, or a refusal that names the
rule. Never: a read, a write, the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from sandbox.channel_advisor.values import ZERO, Refused, field_error

Document = dict[str, Any]

# What a PUT may set ("Status rules" of the contract). Statuses that are not named allow nothing.
ALLOWED = {
    "Pending": ("Cancelled",),
    "New": ("OnHold", "Processing", "Shipped", "Cancelled"),
    "OnHold": ("New", "Processing", "Cancelled"),
    "Processing": ("OnHold", "Shipped", "Cancelled"),
    "PartiallyShipped": ("Shipped", "Cancelled"),
}
NOT_SHIPPABLE = ("Pending", "OnHold", "Cancelled")
FULFILLMENT = {
    "PartiallyShipped": "PartiallyShipped",
    "Shipped": "Shipped",
    "Returned": "Shipped",
    "Cancelled": "Canceled",
}
LINE_MONEY = ("UnitPrice", "TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount", "GiftWrapAmount")
ORDER_MONEY = ("TotalShippingPrice", "TotalShippingTaxPrice", "TotalTaxPrice", "TotalDiscount", "TotalPrice")
TAX_TYPES = ("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType")
INSIDE = "InclusiveVat"  # of TAX_TYPES: the amounts hold their tax
PERSONAL = {
    "CustomerInfo": ("FirstName", "LastName", "Email", "Phone"),
    "ShippingAddress": ("Name", "Line1", "Line2"),
    "BillingAddress": ("Name", "Line1", "Line2"),
}


class Conflict(Exception):
    """The order's present state forbids it."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


# ---- status ----
def allowed(order: Document) -> list[str]:
    """Statuses that a PUT may set now, besides the present one."""
    external = order["DistributionCenterTypeRollup"] == "ExternallyManaged"
    return [] if external else list(ALLOWED.get(order["OrderStatus"], ()))


def moved(order: Document, status: str) -> Document:
    """The order after a PUT of this status. Conflict when the rules do not allow it."""
    present = order["OrderStatus"]
    if status == present:
        return order
    if status not in allowed(order):
        article = "An" if present == "OnHold" else "A"
        raise Conflict(
            "IllegalStatusTransition",
            f"{article} {present} order cannot become {status}.",
            From=present,
            AllowedStatuses=allowed(order),
        )
    if status == "Cancelled":
        return cancelled(order)
    if status == "Shipped":
        return with_status(shipped(order, unshipped(order)), "Shipped")
    return with_status(order, status)


def with_status(order: Document, status: str) -> Document:
    """The order in a status, its FulfillmentStatus in step unless the marketplace ships."""
    fulfillment = order["FulfillmentStatus"]
    if fulfillment != "ThirdPartyManaged":
        fulfillment = FULFILLMENT.get(status, fulfillment)
    return order | {"OrderStatus": status, "FulfillmentStatus": fulfillment}


def cancelled(order: Document) -> Document:
    """All unshipped units cancelled; what has shipped in part then reads Shipped."""
    items = [item | {"QuantityCancelled": item["QuantityCancelled"] + open_units(item)} for item in order["OrderItems"]]
    any_shipped = any(item["QuantityShipped"] for item in items)
    return with_status(order | {"OrderItems": items}, "Shipped" if any_shipped else "Cancelled")


# ---- shipping ----
def open_units(item: Document) -> int:
    """Units neither shipped nor cancelled."""
    return item["Quantity"] - item["QuantityShipped"] - item["QuantityCancelled"]


def unshipped(order: Document) -> dict[int, int]:
    """OrderItemID -> open units, of the lines that have some."""
    return {item["OrderItemID"]: open_units(item) for item in order["OrderItems"] if open_units(item) > 0}


def shipped(order: Document, units: Mapping[int, int]) -> Document:
    """The order after so many units of its lines have left: PartiallyShipped or Shipped."""
    items = [
        item | {"QuantityShipped": item["QuantityShipped"] + units.get(item["OrderItemID"], 0)}
        for item in order["OrderItems"]
    ]
    after = order | {"OrderItems": items}
    return with_status(after, "PartiallyShipped" if unshipped(after) else "Shipped")


def check_shippable(order: Document) -> None:
    """Conflict OrderNotShippable or NothingToShip."""
    number, status = order["ChannelAdvisorOrderID"], order["OrderStatus"]
    if order["DistributionCenterTypeRollup"] == "ExternallyManaged":
        raise Conflict("OrderNotShippable", f"The marketplace ships order {number}.")
    if status in NOT_SHIPPABLE:
        raise Conflict("OrderNotShippable", f"Order {number} is {status}.")
    if not unshipped(order):
        raise Conflict("NothingToShip", f"Order {number} has no unshipped units.")


def chosen_units(order: Document, items: Iterable[Document] | None) -> dict[int, int]:
    """OrderItemID -> units in the items of a shipment; None means everything unshipped.

    An SKU on several lines fills them in order. Refused with UnknownItem or QuantityExceedsUnshipped.
    """
    left = unshipped(order)
    if items is None:
        return left
    chosen: dict[int, int] = {}
    errors = []
    for index, item in enumerate(items):
        wanted = item["Quantity"]
        lines = [line for line in order["OrderItems"] if means(item, line)]
        field = f"Items[{index}].{'OrderItemID' if 'OrderItemID' in item else 'SKU'}"
        if not lines:
            shown = item.get("OrderItemID", item.get("SKU"))
            errors.append(field_error(field, "UnknownItem", f"The order has no line {shown}."))
            continue
        for line in lines:
            key = line["OrderItemID"]
            taken = min(wanted, left.get(key, 0))
            if taken:
                left[key] -= taken
                chosen[key] = chosen.get(key, 0) + taken
                wanted -= taken
        if wanted:
            message = f"{item['Quantity']} units are {wanted} more than are unshipped."
            errors.append(field_error(f"Items[{index}].Quantity", "QuantityExceedsUnshipped", message))
    if errors:
        raise Refused(errors)
    return chosen


def means(item: Document, line: Document) -> bool:
    """Whether a shipment's item means this line; OrderItemID wins over SKU, SKUs match case-insensitively."""
    if "OrderItemID" in item:
        return item["OrderItemID"] == line["OrderItemID"]
    return item["SKU"].casefold() == line["SKU"].casefold()


def shipment_items(order: Document, units: Mapping[int, int]) -> list[Document]:
    """Items of a stored shipment: both ids given, in the order's sequence."""
    return [
        {"OrderItemID": line["OrderItemID"], "SKU": line["SKU"], "Quantity": units[line["OrderItemID"]]}
        for line in order["OrderItems"]
        if units.get(line["OrderItemID"])
    ]


def uncounted(order: Document, shipments: Iterable[Document]) -> dict[int, int]:
    """OrderItemID -> units that the shipments of an order hold beyond what its lines count as shipped."""
    units: dict[int, int] = {}
    for shipment in shipments:
        for item in shipment["Items"]:
            units[item["OrderItemID"]] = units.get(item["OrderItemID"], 0) + item["Quantity"]
    counted = {line["OrderItemID"]: line["QuantityShipped"] for line in order["OrderItems"]}
    return {key: total - counted.get(key, 0) for key, total in units.items() if total > counted.get(key, 0)}


# ---- amounts ----
TAXES = {"TotalTaxPrice": "OrderTaxType", "TotalShippingTaxPrice": "ShippingTaxType"}


def total_price(order: Document) -> Decimal:
    """sum(UnitPrice * Quantity) - TotalDiscount + TotalTaxPrice + TotalShippingPrice + TotalShippingTaxPrice
    + sum(GiftWrapAmount), null terms as 0; a tax that is inside its amounts is not added (contract, Order.TotalPrice).
    TotalTaxPrice includes the tax of gift wrap, which is treated as the goods' tax."""
    goods = sum(
        ((item.get("UnitPrice") or ZERO) * item["Quantity"] + (item.get("GiftWrapAmount") or ZERO))
        for item in order["OrderItems"]
    )
    added = ["TotalShippingPrice", *(name for name, type in TAXES.items() if order.get(type) != INSIDE)]
    plus = sum(order.get(name) or ZERO for name in added)
    return ZERO + goods + plus - (order.get("TotalDiscount") or ZERO)


def summed(order: Document) -> Document:
    """The totals of an order whose lines carry every amount."""
    names = {
        "TotalShippingPrice": "ShippingAmount",
        "TotalShippingTaxPrice": "ShippingTaxAmount",
        "TotalTaxPrice": "TaxAmount",
        "TotalDiscount": "DiscountAmount",
    }
    totals = {total: sum((item[name] for item in order["OrderItems"]), ZERO) for total, name in names.items()}
    order = order | totals | {"OrderItemCount": len(order["OrderItems"])}
    return order | {"TotalPrice": total_price(order)}


def inconsistencies(order: Document) -> list[str]:
    """Contradictions to the contract's equations, in sentences."""
    found = []
    pending = order["OrderStatus"] == "Pending"
    total = order.get("TotalPrice")
    if total is None and not pending:
        found.append("TotalPrice is null although the order is not Pending.")
    if total is not None and total != total_price(order):
        found.append(f"TotalPrice is {total}, its parts add up to {total_price(order)}.")
    if order.get("Currency") is None and not pending:
        found.append("Currency is null although the order is not Pending.")
    if order["OrderItemCount"] != len(order["OrderItems"]):
        found.append(f"OrderItemCount is {order['OrderItemCount']}, there are {len(order['OrderItems'])} lines.")
    for item in order["OrderItems"]:
        if open_units(item) < 0:
            found.append(f"Line {item['OrderItemID']}: more units are shipped and cancelled than ordered.")
        if item["QuantityReturned"] > item["QuantityShipped"]:
            found.append(f"Line {item['OrderItemID']}: more units are returned than shipped.")
    return found


# ---- personal data ----
def forgotten(order: Document) -> Document:
    """Names, e-mail, phone and street lines null, UserDataPresent false; everything else stays."""
    gone = {
        part: order[part] | dict.fromkeys(names)
        for part, names in PERSONAL.items()
        if isinstance(order.get(part), dict)
    }
    return order | gone | {"UserDataPresent": False}
