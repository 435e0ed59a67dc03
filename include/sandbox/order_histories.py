"""Plays what happens to an order: it arrives, is paid, changes, is cancelled, ships, or loses its buyer's data.

In: the complete order. Out: its states in time; the first is what the channel shows at import, each later one a change.
Never: a change (except a payment) sooner than a day after the import, so that a daily reader sees the same as one that
reads every five minutes; or later than LONGEST after the transaction.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sandbox import chance
from sandbox.catalogue import Catalogue
from sandbox.orders import (
    CENT,
    MOST_LINES,
    Order,
    cents,
    goods_and_shipping,
    line_id,
    money,
    stamp,
    ten_thousandths,
    total,
    vanish,
)
from sandbox.sites import PROFILE

# Per mille of the orders; None: arrives complete and paid, and nothing happens.
FATES = (
    ("late", 20), ("pending", 45), ("pending_for_ever", 6), ("unpaid", 15), ("failed", 8), ("failed_and_cancelled", 6),
    ("on_hold", 6), ("held_and_released", 10), ("new_address", 12), ("new_quantity", 12), ("line_added", 8),
    ("line_removed", 8), ("cancelled_before", 10), ("part_cancelled_before", 7), ("cancelled_after", 12),
    ("part_cancelled_after", 12), ("shipped", 15), ("partly_shipped", 5), ("marketplace", 45), ("vanishes", 6),
    (None, 732),
)  # fmt: skip
LONGEST = timedelta(days=12)
HEADER_AMOUNTS = ("TotalTaxPrice", "TotalDiscount", "TotalShippingPrice", "TotalShippingTaxPrice", "TotalPrice")
LINE_AMOUNTS = ("UnitPrice", "TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount", "GiftWrapAmount")


class State(NamedTuple):
    """The order as it stands from `at` on; `shipments` are those that the channel shows besides it."""

    at: datetime
    document: dict[str, Any]
    shipments: tuple[dict[str, Any], ...] = ()


def life(order: Order, catalogue: Catalogue) -> list[State]:
    """The states of the order, oldest first; at least one."""
    fate = fate_of(order)
    arrival = imported(order)
    if fate is None:
        return [State(arrival, order.document)]
    return _STORIES[fate](order, arrival, catalogue)


def fate_of(order: Order) -> str | None:
    """The story of an order; None if it is wrong on purpose, or nothing happens to it."""
    if order.defect or not order.document["OrderItems"]:
        return None
    fate = chance.weighted(FATES, "fate", order.invoice.number)
    return None if fate == "marketplace" and not order.site.fulfils else fate


def imported(order: Order) -> datetime:
    return _moment(order.document["ImportDate"])


def _moment(text: str) -> datetime:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC, microsecond=int(fraction[:6].ljust(6, "0") or 0))


def _later(order: Order, after: datetime, first_hours: int, last_hours: int, what: str) -> datetime:
    return after + timedelta(seconds=chance.between(first_hours * 3600, last_hours * 3600, what, order.id))


def _change_at(order: Order, after: datetime) -> datetime:
    return _later(order, after, 26, 70, "change")


def _copy(document: dict[str, Any]) -> dict[str, Any]:
    return deepcopy(document)


def _steps(order: Order, arrival: datetime, *changes: tuple[datetime, dict[str, Any]]) -> list[State]:
    return [State(arrival, order.document), *(State(at, document) for at, document in changes)]


# ---- stories ----


def _late(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    return [_arrives_late(order, arrival, order.document, 24, 9 * 24)]


def _arrives_late(order: Order, arrival: datetime, document: dict[str, Any], first: int, last: int) -> State:
    at = _later(order, arrival, first, last, "late")
    document["ImportDate"] = stamp(at, "late", order.id)
    return State(_moment(document["ImportDate"]), document)


def _incomplete(order: Order) -> dict[str, Any]:
    """Pending: what the marketplace shows before the payment clears."""
    pending = _copy(order.document)
    pending |= {
        "OrderStatus": "Pending",
        "PaymentStatus": chance.pick(("NotYetSubmitted", "Submitted"), "pending", order.id),
        "PaymentDate": None,
        "CustomerInfo": None,
        "ShippingAddress": None,
        "BillingAddress": None,
        "UserDataPresent": True,
    }
    if chance.share("no amounts", order.id) < 0.7:
        pending["Currency"] = None
        for name in HEADER_AMOUNTS:
            pending[name] = None
        for item in pending["OrderItems"]:
            item |= dict.fromkeys(LINE_AMOUNTS)
    return pending


def _pending(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    cleared = _later(order, arrival, 1, 20, "cleared")
    order.document["PaymentDate"] = stamp(cleared, "cleared", order.id)
    return [State(arrival, _incomplete(order)), State(cleared, order.document)]


def _pending_for_ever(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    return [State(arrival, _incomplete(order))]


def _unpaid_document(order: Order) -> dict[str, Any]:
    payment = chance.pick(("Submitted", "NotYetSubmitted"), "unpaid", order.id)
    return _copy(order.document) | {"PaymentStatus": payment, "PaymentDate": None}


def _unpaid(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    cleared = _change_at(order, arrival)
    order.document["PaymentDate"] = stamp(cleared, "cleared", order.id)
    return [State(arrival, _unpaid_document(order)), State(cleared, order.document)]


def _failed(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    order.document["PaymentStatus"] = "Failed"
    return [State(arrival, order.document)]


def _failed_and_cancelled(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    failed_at = _change_at(order, arrival)
    failed = _copy(order.document) | {"PaymentStatus": "Failed", "PaymentDate": stamp(failed_at, "failed", order.id)}
    cancelled_at = _later(order, failed_at, 26, 50, "cancelled")
    return [
        State(arrival, _unpaid_document(order)),
        State(failed_at, failed),
        State(cancelled_at, _cancelled(failed)),
    ]


def _cancelled(document: dict[str, Any]) -> dict[str, Any]:
    gone = _copy(document) | {"OrderStatus": "Cancelled", "FulfillmentStatus": "Canceled"}
    for item in gone["OrderItems"]:
        item["QuantityCancelled"] = item["Quantity"]
    return gone


def _on_hold(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    order.document["OrderStatus"] = "OnHold"
    return [State(arrival, order.document)]


def _held_and_released(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    held = _copy(order.document) | {"OrderStatus": "OnHold"}
    return [State(arrival, held), State(_change_at(order, arrival), order.document)]


def _new_address(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    moved = _copy(order.document)
    number = chance.between(1, 99, "moved", order.id)
    moved["ShippingAddress"] |= {"Line1": f"{number} {order.buyer.last} House", "Line2": "Second Floor"}
    return _steps(order, arrival, (_change_at(order, arrival), moved))


def _new_quantity(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    changed = _copy(order.document)
    item = chance.pick(changed["OrderItems"], "which line", order.id)
    old, price = item["Quantity"], ten_thousandths(item["UnitPrice"])
    wish = old + chance.between(1, 6, "more", order.id) if chance.share("more?", order.id) < 0.6 else max(1, old // 2)
    quantity = next(q for q in range(wish, wish + 99) if q != old and price * q % CENT != CENT // 2)
    _scale(changed, item, old, quantity)
    item["Quantity"] = quantity
    for part in item["BundleComponents"]:
        part["Quantity"] = part["Quantity"] // old * quantity
    return _if_sound(order, arrival, changed)


def _scale(document: dict[str, Any], item: dict[str, Any], old: int, new: int) -> None:
    """A line's tax and discount follow its quantity, and the header follows the line."""
    for name, header in (("TaxAmount", "TotalTaxPrice"), ("DiscountAmount", "TotalDiscount")):
        amount = ten_thousandths(item[name])
        if amount:
            scaled = cents(amount * new // old)
            item[name] = money(scaled)
            document[header] = money(ten_thousandths(document[header]) + scaled - amount)


def _if_sound(order: Order, arrival: datetime, changed: dict[str, Any]) -> list[State]:
    """The change, unless the header's discount would then be more than the goods."""
    total(changed)
    goods, _ = goods_and_shipping(changed, order.actions)
    if ten_thousandths(changed["TotalDiscount"]) * 2 > goods or ten_thousandths(changed["TotalPrice"]) <= 0:
        return [State(arrival, order.document)]
    return _steps(order, arrival, (_change_at(order, arrival), changed))


def _line_added(order: Order, arrival: datetime, catalogue: Catalogue) -> list[State]:
    plain = [code for code in catalogue.spellings if code not in catalogue.roles and code.isdigit()]
    if not plain:
        return [State(arrival, order.document)]
    changed = _copy(order.document)
    like = changed["OrderItems"][0]
    changed["OrderItems"].append(
        like
        | dict.fromkeys((name for name in LINE_AMOUNTS if like[name] is not None), money(0))
        | {
            "OrderItemID": line_id(order.id, MOST_LINES - 1),
            "SKU": chance.pick(plain, "added", order.id),
            "Title": "Added on request",
            "Quantity": chance.between(1, 4, "added", order.id),
            "UnitPrice": money(chance.pick((12_500, 29_500, 42_500), "added", order.id)),
            "BundleComponents": [],
        }
    )
    changed["OrderItemCount"] += 1
    order.actions.append("product")
    total(changed)
    return _steps(order, arrival, (_change_at(order, arrival), changed))


def _line_removed(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    """The last line goes, if it is not the only product."""
    products = [n for n, action in enumerate(order.actions) if action == "product"]
    if len(products) < 2 or products[-1] != len(order.actions) - 1:
        return [State(arrival, order.document)]
    changed = _copy(order.document)
    item = changed["OrderItems"].pop()
    changed["OrderItemCount"] -= 1
    for name, header in (("TaxAmount", "TotalTaxPrice"), ("DiscountAmount", "TotalDiscount")):
        if ten_thousandths(item[name]):
            changed[header] = money(ten_thousandths(changed[header]) - ten_thousandths(item[name]))
    return _if_sound(order, arrival, changed)


def _cancelled_before(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    return [State(arrival, _cancelled(order.document))]


def _cancelled_after(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    return _steps(order, arrival, (_change_at(order, arrival), _cancelled(order.document)))


def _part_cancelled(order: Order) -> dict[str, Any] | None:
    """Some units of one line are cancelled; None if that would be the whole order."""
    part = _copy(order.document)
    item = chance.pick(part["OrderItems"], "cancelled line", order.id)
    whole = len(part["OrderItems"]) > 1 and chance.share("whole line", order.id) < 0.5
    units = item["Quantity"] if whole else item["Quantity"] // 2
    if units == 0:
        return None
    item["QuantityCancelled"] = units
    return part


def _part_cancelled_before(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    return [State(arrival, _part_cancelled(order) or order.document)]


def _part_cancelled_after(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    part = _part_cancelled(order)
    return _steps(order, arrival, (_change_at(order, arrival), part)) if part else [State(arrival, order.document)]


def _shipped(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    state = _arrives_late(order, arrival, order.document, 30, 80)
    state.document.update(OrderStatus="Shipped", FulfillmentStatus="Shipped")
    return [state._replace(shipments=(_shipment(order, state, order.document["OrderItems"]),))]


def _partly_shipped(order: Order, arrival: datetime, catalogue: Catalogue) -> list[State]:
    items = order.document["OrderItems"]
    if len(items) < 2:
        return _shipped(order, arrival, catalogue)
    state = _arrives_late(order, arrival, order.document, 30, 80)
    state.document.update(OrderStatus="PartiallyShipped", FulfillmentStatus="PartiallyShipped")
    return [state._replace(shipments=(_shipment(order, state, items[: len(items) // 2]),))]


def _marketplace(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    state = _arrives_late(order, arrival, order.document, 14, 60)
    state.document.update(
        OrderStatus="Shipped", FulfillmentStatus="ThirdPartyManaged", DistributionCenterTypeRollup="ExternallyManaged"
    )
    return [state._replace(shipments=(_shipment(order, state, order.document["OrderItems"]),))]


def _shipment(order: Order, state: State, items: list[dict[str, Any]]) -> dict[str, Any]:
    """All units of these lines on one shipment, half way between order and import."""
    at = order.invoice.at + (state.at - order.invoice.at) / 2
    rows = []
    for item in items:
        item["QuantityShipped"] = item["Quantity"]
        rows.append({"OrderItemID": item["OrderItemID"], "SKU": item["SKU"], "Quantity": item["Quantity"]})
    return {
        "ShipmentID": order.id * 10 + 1,
        "ProfileID": PROFILE,
        "ChannelAdvisorOrderID": order.id,
        "SellerFulfillmentID": str(order.id * 10 + 1),
        "ShippedDate": stamp(at, "shipped", order.id),
        "Carrier": "UPS",
        "ServiceClass": "Ground",
        "TrackingNumber": f"1Z{chance.below(10**16, 'tracking', order.id):016d}",
        "Items": rows,
        "MarketplaceStatus": "Complete",
        "CreatedDate": stamp(at + timedelta(minutes=7), "created", order.id),
    }


def _vanishes(order: Order, arrival: datetime, _: Catalogue) -> list[State]:
    gone = _copy(order.document)
    vanish(gone)
    return _steps(order, arrival, (_later(order, arrival, 72, 200, "vanish"), gone))


_STORIES = {
    "late": _late,
    "pending": _pending,
    "pending_for_ever": _pending_for_ever,
    "unpaid": _unpaid,
    "failed": _failed,
    "failed_and_cancelled": _failed_and_cancelled,
    "on_hold": _on_hold,
    "held_and_released": _held_and_released,
    "new_address": _new_address,
    "new_quantity": _new_quantity,
    "line_added": _line_added,
    "line_removed": _line_removed,
    "cancelled_before": _cancelled_before,
    "part_cancelled_before": _part_cancelled_before,
    "cancelled_after": _cancelled_after,
    "part_cancelled_after": _part_cancelled_after,
    "shipped": _shipped,
    "partly_shipped": _partly_shipped,
    "marketplace": _marketplace,
    "vanishes": _vanishes,
}


def patch(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What changed between two states, as a merge patch; lines are named by OrderItemID, one that went is marked so."""
    changes = {
        name: _nested(before.get(name), value)
        for name, value in after.items()
        if name != "OrderItems" and before.get(name) != value
    }
    old = {item["OrderItemID"]: item for item in before["OrderItems"]}
    items: list[dict[str, Any]] = []
    for item in after["OrderItems"]:
        existing = old.pop(item["OrderItemID"], None)
        if existing is None:
            items.append(item)
        elif existing != item:
            changed = {name: value for name, value in item.items() if existing.get(name) != value}
            items.append({"OrderItemID": item["OrderItemID"]} | changed)
    items += [{"OrderItemID": gone, "_remove": True} for gone in old]
    return changes | ({"OrderItems": items} if items else {})


def _nested(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        return {name: value for name, value in after.items() if before.get(name) != value}
    return after
