"""Shipments, invoices and returns: what the channel knows to have left and come back, against TIMS's documents.

A parcel of TIMS is told to the channel under the digits of its ShipmentID; one that the channel made itself is in TIMS
under the channel's ShipmentID. Units are compared line by line; of a kit, whose parts may leave in several parcels,
only that the line is there. What invoices are worth is compared once all units of their order have left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crossdock.comparison.explain import FOUND, at_work, because, dead_letter, dismissed, not_read, on_its_way
from crossdock.comparison.subject import (
    BY_RULE,
    CHANNEL_ADVISOR,
    NAMES,
    TIMS,
    Excuse,
    Explanation,
    Lists,
    Row,
    Rules,
    Side,
    Subject,
)
from crossdock.flow import SOURCE as OURS
from crossdock.rules.shipping import fulfillment_id
from crossdock.store.tables import (
    ops_link,
    raw_orders,
    raw_returns,
    raw_shipments,
    stage_channel_shipment,
    stage_credit_memo,
    stage_credit_memo_line,
    stage_invoice,
    stage_sales_order,
)
from crossdock.watch.reconcile.orders import (
    OF_THE_ORDER,
    ORDERS,
    SALES_ORDERS,
    SOURCE,
    amount,
    fact_of,
    is_ours,
    key_of,
    key_of_sale,
    rounded_total,
    shipped_units,
    sold_lines,
)

REPORTS = Lists(CHANNEL_ADVISOR, "shipping", ("ShipmentID",))
PARCELS = Lists(TIMS, "shipments", ("ShipmentID",))
INVOICES_LIST = Lists(TIMS, "ar/invoices", ("InvoiceID",))
RETURNS_LIST = Lists(CHANNEL_ADVISOR, "returns", ("ReturnID",))
CREDIT_MEMOS = Lists(TIMS, "ar/credit-memos", ("CreditMemoID",))


# ---- shipments -------------------------------------------------------------------------------------------------------


def _report_key(report: dict[str, Any]) -> str:
    number = report.get("SellerFulfillmentID") or f"channel {report['ShipmentID']}"
    return f"{report['ChannelAdvisorOrderID']}:{number}"


def _report(report: dict[str, Any], rules: Rules) -> Iterable[Row]:
    units: Counter[str] = Counter()
    for item in report["Items"]:
        if rules.is_sold(item | {"UnitPrice": 1}):
            units[fact_of(item["OrderItemID"])] += item["Quantity"]
    if units:
        yield Row(_report_key(report), dict(units), report["UpdatedDate"])


def _report_name(report: dict[str, Any], rules: Rules) -> Iterable[Row]:
    yield Row(_report_key(report), {}, report["UpdatedDate"], part=str(report["ShipmentID"]))


def _is_external(parcel: dict[str, Any]) -> bool:
    return parcel["PostingMode"] == "external"  # all others belong to orders that people typed into TIMS


def _parcel_units(parcel: dict[str, Any]) -> dict[str, Any]:
    """Units by line sold; None for a kit, whose parts have the line's id with their SKU behind it."""
    units: dict[str, Any] = {}
    for line in parcel["Lines"]:
        name = fact_of(line["ExternalLineID"])
        units[name] = None if ":" in line["ExternalLineID"] else (units.get(name) or 0) + line["Quantity"]
    return units


def _parcel_key(parcel: dict[str, Any]) -> str | None:
    if not _is_external(parcel) or parcel["Source"] == SOURCE:
        return None
    return f"{parcel['ExternalOrderID']}:{fulfillment_id(parcel['ShipmentID'])}"


def _recorded_key(parcel: dict[str, Any]) -> str | None:
    return parcel["ExternalReference"] if _is_external(parcel) and parcel["Source"] == SOURCE else None


def _parcel(parcel: dict[str, Any], rules: Rules) -> Iterable[Row]:
    key = _parcel_key(parcel)
    if key and parcel["LocationID"] not in rules.elsewhere:
        yield Row(key, _parcel_units(parcel), parcel["ModifiedAt"])


def _recorded_parcel(parcel: dict[str, Any], rules: Rules) -> Iterable[Row]:
    reference = _recorded_key(parcel)
    if reference is not None:
        excuse = None
        if reference.startswith("order-"):
            excuse = Excuse(BY_RULE, "the channel reads the order as shipped and lists no shipment of it")
        yield Row(reference, _parcel_units(parcel), parcel["ModifiedAt"], excuse=excuse)


_parcel_row, _link, _invoice_row = stage_channel_shipment.c, ops_link.c, stage_invoice.c
_memo, _memo_line = stage_credit_memo.c, stage_credit_memo_line.c
_PARCELS_ORDER = sa.cast(_parcel_row["ChannelAdvisorOrderID"], sa.Text)
_ORDER, _NUMBER = (sa.func.split_part(FOUND.c.key, ":", place) for place in (1, 2))
_PARCEL = (
    stage_channel_shipment,
    sa.and_(_PARCELS_ORDER == _ORDER, _parcel_row["SellerFulfillmentID"] == _NUMBER),
)


def _order_of(table: sa.Table) -> sa.ColumnElement[str]:
    """The order of a raw shipment."""
    return table.c.payload["ExternalOrderID"].astext


SHIPMENTS = Subject(
    "shipments", "Shipments", "shipment (order:number)",
    (
        Side(CHANNEL_ADVISOR, REPORTS, _report, key=_report_key),
        Side(NAMES, REPORTS, _report_name),
        Side(TIMS, PARCELS, _parcel, key=_parcel_key),
        Side(TIMS, PARCELS, _recorded_parcel, alias=True, key=_recorded_key),
    ),
    (
        dead_letter("shipments", _parcel_row.key, _PARCEL), dismissed("orders", _ORDER),
        on_its_way(stage_channel_shipment, _parcel_row.key, _PARCEL),
        dead_letter("orders", _ORDER), on_its_way(stage_sales_order, _ORDER),
        at_work("shipments", raw_shipments, _order_of(raw_shipments) == _ORDER),
        at_work("orders", raw_orders, raw_orders.c.key == _ORDER),
        not_read("shipments", "tims.shipments", TIMS),
        not_read("orders", "channel_advisor.orders", CHANNEL_ADVISOR),
    ),
    do="The number is made of the digits of TIMS's ShipmentID. Report the parcel on the channel by hand, or correct "
    "the wrong side.",
)  # fmt: skip


# ---- invoices --------------------------------------------------------------------------------------------------------


def _shipped(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    lines = sold_lines(order, rules)
    units = {line["OrderItemID"]: shipped_units(order, line) for line in lines}
    if any(units.values()):
        whole = all(units[line["OrderItemID"]] == line["Quantity"] for line in lines)
        facts: dict[str, Any] = {fact_of(line): number for line, number in units.items()}
        yield Row(key_of(order), facts | {"worth": rounded_total(order) if whole else None}, order["UpdatedDate"])


def _invoiced_units(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        facts = {
            fact_of(line["ExternalLineID"]): None if line.get("KitParentSKU") else line["QuantityInvoiced"]
            for line in sale["LineItems"]
        }
        yield Row(sale["ExternalOrderID"], facts, sale["ModifiedAt"])


def _order_name(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        yield Row(sale["ExternalOrderID"], {}, sale["ModifiedAt"], part=sale["SalesOrderID"])


def _invoice(invoice: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """What the buyer paid: Total, and the tax that the marketplace keeps, which is not in Total."""
    worth = Decimal(0)
    if invoice["Status"] != "Voided":
        worth = Decimal(invoice["Total"]) + Decimal(invoice["MarketplaceRemittedTax"])
    yield Row(invoice["SalesOrderID"], {"worth": worth}, invoice["ModifiedAt"], part=invoice["InvoiceID"])


_INVOICE = (
    sa.join(ops_link, stage_invoice, _invoice_row["SalesOrderID"] == _link.target_id),
    sa.and_(_link.entity == "sales_order", _link.source_key == FOUND.c.key),
)
_PARCEL_OF_ORDER = (stage_channel_shipment, FOUND.c.key == _PARCELS_ORDER)
INVOICES = Subject(
    "invoices", "Invoices", "order",
    (
        Side(CHANNEL_ADVISOR, ORDERS, _shipped, key=key_of),
        Side(NAMES, SALES_ORDERS, _order_name),
        Side(TIMS, SALES_ORDERS, _invoiced_units, key=key_of_sale),
        Side(TIMS, INVOICES_LIST, _invoice, alias=True, key=lambda one: one["SalesOrderID"]),
    ),
    (
        dead_letter("invoices", _invoice_row.key, _INVOICE), on_its_way(stage_invoice, _invoice_row.key, _INVOICE),
        dead_letter("shipments", _parcel_row.key, _PARCEL_OF_ORDER),
        on_its_way(stage_channel_shipment, _parcel_row.key, _PARCEL_OF_ORDER),
        at_work("invoices", raw_shipments, _order_of(raw_shipments) == FOUND.c.key),
        at_work("shipments", raw_shipments, _order_of(raw_shipments) == FOUND.c.key),
        *OF_THE_ORDER,
        not_read("invoices", "tims.shipments", TIMS), not_read("shipments", "tims.shipments", TIMS),
    ),
    keys="both",
    summed=frozenset({"worth"}),
    do="Compare the order's shipments and invoices in TIMS with what the channel has shipped; "
    "`crossdock sync invoices --key SHIPMENT` works one again.",
)  # fmt: skip


# ---- returns ---------------------------------------------------------------------------------------------------------


def _return(given: dict[str, Any], rules: Rules) -> Iterable[Row]:
    decided = given["Status"] not in ("NewRma", "PendingReturn", "Rejected")
    if decided and given["Status"] == "Closed" and given.get("RefundDate") is None:
        decided = False
    if decided and given["RefundTotal"]:
        facts = {"refund": amount(given["RefundTotal"]), "currency": given["Currency"]}
        yield Row(str(given["ReturnID"]), facts, given["UpdatedDate"])


def _memo_key(memo: dict[str, Any]) -> str | None:
    prefix, _, rest = memo["ExternalReference"].partition(":")
    return rest.partition(":")[0] if memo["Source"] == OURS and prefix == "cm" else None


def _credit_memo(memo: dict[str, Any], rules: Rules) -> Iterable[Row]:
    key = _memo_key(memo)
    if key is not None:
        given_back = Decimal(memo["Total"]) + Decimal(memo["MarketplaceRemittedTax"])
        facts = {"refund": given_back, "currency": memo["CurrencyCode"]}
        yield Row(key, facts, memo["ModifiedAt"], part=memo["CreditMemoID"])


_RETURNED = (stage_credit_memo, _memo.key == FOUND.c.key)
_OF_REFUND = FOUND.c.field == "refund"
_refunds_differ_by = sa.cast(FOUND.c.channel_advisor, sa.Numeric) - sa.cast(FOUND.c.tims, sa.Numeric)
_UNCREDITED = Explanation(
    because(BY_RULE, "tax that the marketplace gives back, with nothing else to credit", _RETURNED).where(
        _memo.uncredited != 0,
        sa.or_(
            sa.and_(_OF_REFUND, _refunds_differ_by == _memo.uncredited),
            sa.and_(FOUND.c.field == "", FOUND.c.missing == TIMS, _memo.refund_total == _memo.uncredited),
        ),
    )
)
_rounded_by = (
    sa.select(sa.func.sum(_memo_line["RoundingAmount"]))
    .where(_memo_line.key == _memo.key)
    .correlate(stage_credit_memo)
    .scalar_subquery()
)
_ROUNDED = Explanation(
    because(BY_RULE, "the marketplace rounded its refunds; the rest is in Rounding", _RETURNED).where(
        _OF_REFUND,
        _rounded_by != 0,
        _refunds_differ_by == _rounded_by + sa.func.coalesce(_memo.uncredited, 0),
    )
)
RETURNS = Subject(
    "returns", "Returns", "return",
    (
        Side(CHANNEL_ADVISOR, RETURNS_LIST, _return, key=lambda one: str(one["ReturnID"])),
        Side(TIMS, CREDIT_MEMOS, _credit_memo, key=_memo_key),
    ),
    (
        dead_letter("returns"), dismissed("returns"), on_its_way(stage_credit_memo), _UNCREDITED, _ROUNDED,
        at_work("returns", raw_returns),
        dead_letter("orders", _memo.order_key, _RETURNED),
        not_read("returns", "channel_advisor.returns", CHANNEL_ADVISOR),
    ),
    summed=frozenset({"refund"}),
    do="Compare the refund on the channel with the order's credit memos in TIMS; `crossdock sync returns --key KEY` "
    "works it again.",
)  # fmt: skip
