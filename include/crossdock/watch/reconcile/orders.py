"""Orders, their totals and their payment: Channel Advisor's orders against TIMS's sales orders.

An order's key is its ChannelAdvisorOrderID, which is the ExternalOrderID of its sales order. TIMS works out the
status from lines, stock and invoices, so statuses are compared by how far the order has come, after the status map.
What a rule keeps out of TIMS (cancelled before it was loaded, pending, not paid, left to the marketplace) needs no
sales order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa

from crossdock.comparison.explain import FOUND, at_work, because, dead_letter, dismissed, not_read, on_its_way
from crossdock.comparison.subject import (
    BY_RULE,
    CHANNEL_ADVISOR,
    IN_FLIGHT,
    ORDERS,
    SALES_ORDERS,
    TIMS,
    WAITING,
    Excuse,
    Explanation,
    Row,
    Rules,
    Side,
    Subject,
)
from crossdock.rules.order_changes import OURS, PERSON
from crossdock.rules.statuses import CANCELLED_FIRST, LEFT_OUT
from crossdock.store.tables import (
    ops_link,
    raw_orders,
    raw_shipments,
    stage_channel_shipment,
    stage_sales_order,
)

SOURCE = "ChannelAdvisor"
COME_TO = {
    "Open": "open", "Allocated": "open", "OnHold": "on hold", "PartiallyFulfilled": "shipped in part",
    "Fulfilled": "shipped", "Closed": "shipped", "Cancelled": "cancelled",
}  # fmt: skip
FINISHED = ("Shipped", "Cancelled", "Returned")
CENT = Decimal("0.01")
Document = Mapping[str, Any]


def amount(value: Any) -> Decimal:
    """The amount with 2 places, or with more where they are not 0."""
    exact = Decimal(value)
    short = exact.quantize(CENT)
    return short if short == exact else exact


def key_of(order: Document) -> str:
    return str(order["ChannelAdvisorOrderID"])


def is_ours(sale: Document) -> bool:
    return sale["Source"] == SOURCE


def key_of_sale(sale: Document) -> str | None:
    return sale["ExternalOrderID"] if is_ours(sale) else None


def sold_lines(order: Document, rules: Rules) -> list[Document]:
    """The lines that are lines in TIMS too."""
    return [line for line in order["OrderItems"] if rules.is_sold(line)]


def shipped_units(order: Document, line: Document) -> int:
    """Units of a line that have left. Of a shipped order these are all that are not cancelled."""
    shipped = line["QuantityShipped"] or 0
    if order["OrderStatus"] in ("Shipped", "Returned"):
        return max(shipped, line["Quantity"] - (line["QuantityCancelled"] or 0))
    return shipped


def fact_of(line_id: Any) -> str:
    """The name of the fact about a line; a part of a kit has the kit's."""
    return f"line {str(line_id).partition(':')[0]}"


# ---- orders ----------------------------------------------------------------------------------------------------------


def _order(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    facts: dict[str, Any] = {fact_of(line["OrderItemID"]): line["Quantity"] for line in sold_lines(order, rules)}
    facts["status"] = come_to(order, rules)
    yield Row(key_of(order), facts, order["UpdatedDate"], excuse=_excuse(order, rules))


def _sales_order(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        facts: dict[str, Any] = {
            fact_of(line["ExternalLineID"]): None if line.get("KitParentSKU") else line["Quantity"]
            for line in sale["LineItems"]
        }
        facts["status"] = COME_TO.get(sale["OrderStatus"], sale["OrderStatus"])
        yield Row(sale["ExternalOrderID"], facts, sale["ModifiedAt"])


def come_to(order: Document, rules: Rules) -> str | None:
    """How far the sales order should have come; None for a status that no lookup knows (its order is a dead letter)."""
    status = rules.statuses.get(order["OrderStatus"])
    if status is None:
        return None
    shipped = any(line["QuantityShipped"] for line in order["OrderItems"])
    if shipped and (order["OrderStatus"] == "Cancelled" or not _open_units(order, rules)):
        return "shipped"
    if not shipped and sold_lines(order, rules) and not _open_units(order, rules):
        return "cancelled" if order["OrderStatus"] not in ("Shipped", "Returned") else COME_TO[status]
    return "on hold" if not shipped and _held(order, rules) else COME_TO[status]


def _open_units(order: Document, rules: Rules) -> int:
    """Units that may still leave. Postage never does: an order that has some may read as shipped in part for ever, or
    as new where all its goods are cancelled."""
    return sum(
        line["Quantity"] - (line["QuantityShipped"] or 0) - (line["QuantityCancelled"] or 0)
        for line in sold_lines(order, rules)
    )


def _held(order: Document, rules: Rules) -> bool:
    """Whether the sales order is on hold by rule: on hold at the channel, payment failed, not paid, or mixed and nobody
    knows yet which lines are the marketplace's."""
    if order["OrderStatus"] in FINISHED:
        return False
    if order["OrderStatus"] == "OnHold" or order["PaymentStatus"] == "Failed":
        return True
    if order["DistributionCenterTypeRollup"] == "Mixed" and not is_marketplaces(order):
        return True  # nothing of the order has left yet
    return _unpaid(order, rules) and rules.settings.site(order["SiteID"]).import_rule != "always"


def _unpaid(order: Document, rules: Rules) -> bool:
    return rules.payments.get(order["PaymentStatus"]) == "Unpaid"


def _excuse(order: Document, rules: Rules) -> Excuse | None:
    """The rule by which TIMS may lack the order."""
    shipped = any(line["QuantityShipped"] for line in order["OrderItems"])
    site = rules.settings.site(order["SiteID"])
    if order["OrderStatus"] == "Cancelled" and not shipped:
        return Excuse(BY_RULE, CANCELLED_FIRST)
    if order["OrderStatus"] == "Pending":
        return Excuse(WAITING, "pending at the channel")
    if is_marketplaces(order) and site.marketplace_fulfilled == "leave_out":
        return Excuse(BY_RULE, LEFT_OUT)
    if site.import_rule == "only_paid" and _unpaid(order, rules) and not shipped:
        return Excuse(WAITING, "not paid: the site takes in paid orders only")
    return None


def is_marketplaces(order: Document) -> bool:
    """Whether the marketplace ships the order."""
    return (
        order["DistributionCenterTypeRollup"] == "ExternallyManaged"
        or order["FulfillmentStatus"] == "ThirdPartyManaged"
    )


# A parcel that TIMS has sent moves its order on there at once; the channel hears of it by the flow shipments.
_OF_STATUS = FOUND.c.field == "status"
_parcel, _link, _order_row = stage_channel_shipment.c, ops_link.c, stage_sales_order.c
_PARCELS = (
    stage_channel_shipment,
    sa.and_(sa.cast(_parcel["ChannelAdvisorOrderID"], sa.Text) == FOUND.c.key, _OF_STATUS),
)
_PARCEL_ON_ITS_WAY = Explanation(
    because(
        sa.case({"waiting": WAITING, "would_be": WAITING, "left_out": BY_RULE}, value=_parcel.state, else_=IN_FLIGHT),
        sa.func.format("its parcel %s: %s", _parcel.key, sa.func.coalesce(_parcel.reason, "on its way")),
        _PARCELS,
    ).where(_parcel.state.in_(("waiting", "would_be", "left_out", "staged", "ready")))
)
_SHIPMENT_OF_ORDER = sa.and_(raw_shipments.c.payload["ExternalOrderID"].astext == FOUND.c.key, _OF_STATUS)
_LINK = (ops_link, sa.and_(_link.entity == "sales_order", _link.source_key == FOUND.c.key))
_ON_HOLD = sa.and_(_OF_STATUS, FOUND.c.tims == "on hold")
_HELD_BY_A_PERSON = Explanation(
    because(BY_RULE, "a person has put it on hold in TIMS, and that stays", _LINK).where(
        sa.func.coalesce(_link.held_by, PERSON) == PERSON, _ON_HOLD
    )
)
_HELD_FOR_THE_MARKETPLACE = Explanation(
    because(
        WAITING,
        "mixed: the marketplace has shipped only a part of its lines",
        _LINK,
        (stage_sales_order, _order_row.key == FOUND.c.key),
    ).where(_link.held_by.in_(OURS), _order_row.own_location_id.is_not(None), _ON_HOLD)
)
# What explains a difference in every subject about orders.
OF_THE_ORDER = (
    dead_letter("orders"), dismissed("orders"), on_its_way(stage_sales_order),
    at_work("orders", raw_orders), not_read("orders", "channel_advisor.orders", CHANNEL_ADVISOR),
)  # fmt: skip

ORDERS_SUBJECT = Subject(
    "orders", "Orders", "order",
    (Side(CHANNEL_ADVISOR, ORDERS, _order, key=key_of), Side(TIMS, SALES_ORDERS, _sales_order, key=key_of_sale)),
    (
        *OF_THE_ORDER, dead_letter("shipments", _parcel.key, _PARCELS), _PARCEL_ON_ITS_WAY,
        at_work("shipments", raw_shipments, _SHIPMENT_OF_ORDER),
        not_read("shipments", "tims.shipments", TIMS, _OF_STATUS), _HELD_BY_A_PERSON,
        _HELD_FOR_THE_MARKETPLACE,
    ),
    do="`crossdock sync orders --key KEY` brings the sales order to what the channel says, unless a person has changed "
    "it in TIMS: then decide there which is right.",
)  # fmt: skip


# ---- totals ----------------------------------------------------------------------------------------------------------


def rounded_total(order: Document) -> Decimal | None:
    """TotalPrice as TIMS must have it: Quantity x UnitPrice rounded once per line, half away from zero, all else as
    given."""
    if order.get("TotalPrice") is None:
        return None
    total = Decimal(order["TotalPrice"])
    for line in order["OrderItems"]:
        exact = Decimal(line.get("UnitPrice") or 0) * line["Quantity"]
        total += exact.quantize(CENT, ROUND_HALF_UP) - exact
    return total.quantize(CENT, ROUND_HALF_UP)


def _total(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    facts = {"total": rounded_total(order), "currency": order.get("Currency")}
    yield Row(key_of(order), facts, order["UpdatedDate"])


def _sales_total(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        facts = {"total": Decimal(sale["TotalAmount"]), "currency": sale["CurrencyCode"]}
        yield Row(sale["ExternalOrderID"], facts, sale["ModifiedAt"])


_ROUNDED = Explanation(
    because(
        BY_RULE,
        "unit prices of four places: TIMS rounds each line, the channel rounded the total",
        (stage_sales_order, _order_row.key == FOUND.c.key),
    ).where(
        FOUND.c.field == "total",
        sa.cast(FOUND.c.tims, sa.Numeric) - sa.cast(FOUND.c.channel_advisor, sa.Numeric)
        == _order_row.rounding_difference,
    )
)
ORDER_TOTALS = Subject(
    "order_totals", "Order totals", "order",
    (Side(CHANNEL_ADVISOR, ORDERS, _total, key=key_of), Side(TIMS, SALES_ORDERS, _sales_total, key=key_of_sale)),
    (*OF_THE_ORDER, _ROUNDED),
    keys="both",
    do="Compare the lines of both. `crossdock sync orders --key KEY` applies what the channel says, as long as nothing "
    "has been shipped.",
)  # fmt: skip


# ---- payments --------------------------------------------------------------------------------------------------------


def _payment(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    facts = {"payment": rules.payments.get(order["PaymentStatus"])}
    yield Row(key_of(order), facts, order["UpdatedDate"])


def _sales_payment(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        yield Row(sale["ExternalOrderID"], {"payment": sale["PaymentStatus"]}, sale["ModifiedAt"])


PAYMENTS = Subject(
    "payments", "Payment states", "order",
    (Side(CHANNEL_ADVISOR, ORDERS, _payment, key=key_of), Side(TIMS, SALES_ORDERS, _sales_payment, key=key_of_sale)),
    OF_THE_ORDER,
    keys="both",
    do="`crossdock sync orders --key KEY` sets what the channel says.",
)  # fmt: skip
