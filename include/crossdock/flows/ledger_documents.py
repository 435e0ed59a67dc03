"""The ledger's documents: what the posting table needs to know of each, looked up in `ref` and in our own tables.

In: parsed documents of one kind. Out: `Facts`: heads and parts with the fields of `posting_table.DOCUMENTS`, and what a
document waits for. Never: an account; a call to a system; an amount that is not in a document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import SOURCE
from crossdock.flows.documents import among
from crossdock.mapping import contracts
from crossdock.mapping.frames import CENT, ROW, Frames, amounts, sum_by_head
from crossdock.rules import currencies, taxes
from crossdock.rules import settings as rule_settings
from crossdock.rules.dates import company_days
from crossdock.rules.money import round_cents
from crossdock.store import database
from crossdock.store.tables import (
    raw_orders,
    ref_adjustment,
    ref_invoice,
    ref_sales_order,
    ref_shipment,
    stage_credit_memo_line,
    stage_payment,
)

PAID = ("Cleared", "Deposited")  # payment states of the channel in which the money is ours


@dataclass(frozen=True)
class Company:
    """The company's time zone decides dates, its base currency is that of costs."""

    zone: str
    base_currency: str


@dataclass
class Facts:
    """What is known of a batch of documents. `waits`: what a document waits for, missing for most."""

    head: pd.DataFrame
    parts: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    waits: pd.Series | None = None
    orders: pd.Series | None = None  # SalesOrderID
    shipments: pd.Series | None = None  # ShipmentID


Finder = Callable[[sa.Connection, Frames, Company], Facts]


# ---- sales and refunds ---------------------------------------------------------------------------------------------


def invoices(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Invoices, with the channel of their order and the cost of their shipment's units."""
    head, lines = _read(frames, "Invoice")
    ordered = head["SalesOrderID"]
    orders = _orders(connection, ordered)
    parcels, goods_sent = _shipments(connection, head["ShipmentID"])
    _place(head, ordered, orders, company)
    head["ShipDate"] = head["ShipmentID"].map(parcels).astype("str").fillna(head["PostingDate"])
    paid = _paid_before_shipment(connection, orders)
    head["Prepaid"] = pd.Series(ordered.isin(paid.index).to_numpy(), dtype="boolean")
    _split_tax(head, lines, _cents(_whole(lines["Quantity"]) * _whole(lines["UnitPrice"])))
    no_order = ~ordered.isin(orders.index)
    no_parcel = head["ShipmentID"].notna() & ~head["ShipmentID"].isin(parcels.index)
    waits = pd.Series(np.nan, index=head.index, dtype="str")
    waits = waits.mask(no_parcel, "its shipment has not been read yet").mask(
        no_order, "its order has not been read yet"
    )
    costs = _costs(head["ShipmentID"], lines, goods_sent)
    return Facts(head, {"Lines": lines, "Costs": costs}, waits, ordered, head["ShipmentID"])


def credit_memos(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Credit memos, with the channel of their order and what their return gave back beyond them."""
    head, lines = _read(frames, "CreditMemo")
    orders = _orders(connection, head["SalesOrderID"])
    _place(head, head["SalesOrderID"], orders, company)
    _split_tax(head, lines, _whole(lines["Amount"]))
    mine = head["ExternalReference"].where(head["Source"] == SOURCE)
    head["RoundingAmount"] = mine.map(_roundings(connection, mine)).astype("Int64").fillna(0)
    waits = pd.Series(np.nan, index=head.index, dtype="str")
    waits = waits.mask(~head["SalesOrderID"].isin(orders.index), "its order has not been read yet")
    return Facts(head, {"Lines": lines}, waits, head["SalesOrderID"])


def _roundings(connection: sa.Connection, references: pd.Series) -> pd.Series:
    """RoundingAmount of our credit memos that have one, by ExternalReference."""
    table = stage_credit_memo_line
    query = sa.select(table.c.document, table.c.RoundingAmount).where(
        among(table.c.document, references.dropna().tolist()), table.c.RoundingAmount != 0
    )
    return database.copy_out(connection, query).set_index("document")["RoundingAmount"]


def _split_tax(head: pd.DataFrame, lines: pd.DataFrame, gross: np.ndarray) -> None:
    """Adds SellerTax, Shipping and the lines' Goods. Where prices include tax, takes it out of both, of DiscountTotal
    and of GiftWrapAmount: revenue, what comes off it and tax add up to the total. All of it in the document's unit."""
    head["Shipping"] = _whole(head["ShippingAmount"])
    head["SellerTax"] = _whole(head["TaxTotal"]) - _whole(head["MarketplaceRemittedTax"])
    lines["Goods"] = gross
    inclusive = head["PricesIncludeTax"].fillna(False).to_numpy(dtype=bool)
    if not inclusive.any():
        return
    row = lines[ROW].to_numpy()
    unit = _units(head, lines.assign(Goods=gross))
    discount, tax = (_whole(lines[name]) // unit[row] for name in ("DiscountAmount", "TaxAmount"))
    wrap = np.where(inclusive, _whole(head["GiftWrapAmount"]) // unit, 0)
    of_wrap = taxes.of_wrap(gross // unit[row] - discount, tax, row, wrap)
    goods, off = taxes.without(gross // unit[row], discount, tax - of_wrap)
    shipping, off_shipping = taxes.without(*(_whole(head[name]) // unit for name in _CHARGES[:3]))
    whole = Frames(head, lines)
    lines["Goods"] = np.where(inclusive[row], goods * unit[row], gross)
    for name, without in (
        ("Shipping", shipping),
        ("DiscountTotal", sum_by_head(whole, off) + off_shipping),
        ("GiftWrapAmount", wrap - sum_by_head(whole, of_wrap)),
    ):
        head[name] = np.where(inclusive, without * unit, _whole(head[name]))


_CHARGES = ("ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount")


def _units(head: pd.DataFrame, lines: pd.DataFrame) -> np.ndarray:
    """The unit of each document's currency, x 10,000; a cent where an amount of it is no whole number of it."""
    own = currencies.units(head["CurrencyCode"]) * CENT
    broken = sum((_whole(head[name]) % own != 0 for name in _CHARGES), np.zeros(len(head), dtype=np.int64))
    row = lines[ROW].to_numpy()
    for name in ("Goods", "DiscountAmount", "TaxAmount"):
        np.add.at(broken, row, (_whole(lines[name]) % own[row] != 0).astype(np.int64))
    return np.where(broken > 0, CENT, own)


def _costs(shipments: pd.Series, lines: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """Cost of the units that each invoice takes of its shipment's lines: the first lines first, so that no unit is
    counted twice where a shipment holds one order line in several lines of its own."""
    taken = pd.DataFrame(
        {
            ROW: lines[ROW].to_numpy(),
            "ShipmentID": shipments.array.take(lines[ROW].to_numpy()),
            "SalesOrderLineNo": lines["SalesOrderLineNo"].array,
            "Quantity": _whole(lines["Quantity"]),
        }
    )
    taken = taken.groupby([ROW, "ShipmentID", "SalesOrderLineNo"], as_index=False)["Quantity"].sum()
    both = taken.merge(sent, on=["ShipmentID", "SalesOrderLineNo"], suffixes=("", "Sent")).sort_values(
        [ROW, "LineNo"], kind="stable", ignore_index=True
    )
    before = both.groupby([ROW, "SalesOrderLineNo"])["QuantitySent"].cumsum() - both["QuantitySent"]
    units = np.clip(both["Quantity"] - before, 0, both["QuantitySent"]).to_numpy(dtype=np.int64)
    cost = _cents(units * both["UnitCost"].to_numpy(dtype=np.int64))
    return pd.DataFrame({ROW: both[ROW].to_numpy(dtype=np.int64), "SKU": both["SKU"].astype("str"), "Cost": cost})


# ---- stock, settlements, payments ----------------------------------------------------------------------------------


def adjustments(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Stock adjustments at their own cost."""
    head, _ = _read(frames, "Adjustment")
    _place(head, pd.Series(np.nan, index=head.index, dtype="str"), _orders(connection, []), company)
    head["Value"] = _cents(_whole(head["QuantityDelta"]) * _whole(head["UnitCost"]))
    undone = head["ReversalOf"].dropna().unique().tolist()
    mirrored = set(
        connection.scalars(
            sa.select(ref_adjustment.c.id).where(
                among(ref_adjustment.c.id, undone), ref_adjustment.c.posting_mode == "external"
            )
        )
    )
    head["Mirrored"] = pd.Series(head["ReversalOf"].isin(mirrored).to_numpy(), dtype="boolean")
    return Facts(head)


def settlement_lines(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Lines of settlements on the company's day."""
    head = frames.head.copy()
    head["Order"] = head["SalesOrderID"]
    head["BaseCurrency"] = pd.Series(company.base_currency, index=head.index, dtype="str")
    head["PostedOn"] = company_days(head["PostedAt"], company.zone)
    return Facts(head, orders=head["SalesOrderID"])


def payments(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Payments, with the difference that was rounded away when they were matched."""
    head, _ = _read(frames, "Payment")
    mine = head["ExternalReference"].where(head["Source"] == SOURCE)
    matches = mine.str.removeprefix("pay:").where(mine.str.startswith("pay:", na=False))
    staged = database.copy_out(
        connection,
        sa.select(
            stage_payment.c.key, stage_payment.c.sales_order_id, stage_payment.c.rounding, stage_payment.c.original_date
        ).where(among(stage_payment.c.key, matches.dropna().tolist())),
    ).set_index("key")
    ordered = matches.map(staged["sales_order_id"]).astype("str")
    _place(head, ordered, _orders(connection, ordered), company)
    head["Match"] = matches.astype("str")
    head["RoundingAmount"] = matches.map(staged["rounding"]).astype("Int64").fillna(0)
    head["ValueDate"] = matches.map(staged["original_date"]).astype("str").fillna(head["PaymentDate"])
    return Facts(head, orders=ordered)


# ---- money before shipment -----------------------------------------------------------------------------------------


def captures(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Sales orders: whether the buyer paid us before the shipment, when, how much, and what of it no shipment uses."""
    head, lines = _read(frames, "SalesOrder", "LineItems")
    ids = head["SalesOrderID"]
    orders = pd.DataFrame({"channel": head["Channel"].array, "external_order_id": head["ExternalOrderID"].array}, ids)
    paid = _paid_before_shipment(connection, orders)
    head["Order"] = ids
    head["BaseCurrency"] = pd.Series(company.base_currency, index=head.index, dtype="str")
    head["Prepaid"] = pd.Series(ids.isin(paid.index).to_numpy(), dtype="boolean")
    head["PaidOn"] = company_days(ids.map(paid).astype("str"), company.zone)
    line_tax = np.where(lines["TaxRemittedBy"] == "Marketplace", _whole(lines["TaxAmount"]), 0)
    remitted = sum_by_head(Frames(head, lines), line_tax)
    remitted += np.where(head["ShippingTaxRemittedBy"] == "Marketplace", _whole(head["ShippingTaxAmount"]), 0)
    head["Due"] = _whole(head["TotalAmount"]) - remitted
    left, day, unread = _left_of_deposits(connection, head, lines)
    head["CancelledDue"], head["CancelledOn"] = left, day
    waits = pd.Series(np.nan, index=head.index, dtype="str")
    return Facts(head, waits=waits.mask(unread, "its last invoice has not been read yet"), orders=ids)


def _left_of_deposits(
    connection: sa.Connection, head: pd.DataFrame, lines: pd.DataFrame
) -> tuple[np.ndarray, pd.Series, np.ndarray]:
    """What of Due no invoice will use, once all that will be sent has been sent and invoiced; the day of the last
    invoice; and where that invoice is not known here yet."""
    frames = Frames(head, lines)
    units = {
        name: sum_by_head(frames, lines[name])
        for name in ("Quantity", "QuantityShipped", "QuantityCancelled", "QuantityInvoiced")
    }
    done = (
        head["Prepaid"].to_numpy(dtype=bool)
        & (units["QuantityCancelled"] > 0)
        & (units["QuantityShipped"] > 0)
        & (units["QuantityShipped"] + units["QuantityCancelled"] == units["Quantity"])
        & (units["QuantityShipped"] == units["QuantityInvoiced"])
    )
    day = pd.Series(np.nan, index=head.index, dtype="str")
    if not done.any():
        return np.zeros(len(head), dtype=np.int64), day, done
    table = ref_invoice
    quantity = sa.func.jsonb_path_query(table.c.payload, sa.text("'$.Lines[*].Quantity'")).cast(sa.Text)
    each = sa.select(
        table.c.sales_order_id, table.c.id, table.c.total, table.c.posting_date,
        quantity.cast(sa.BigInteger).label("units"),
    ).where(
        among(table.c.sales_order_id, head.loc[done, "SalesOrderID"].tolist()), table.c.status != "Voided"
    )  # fmt: skip
    found = database.copy_out(connection, each)
    invoiced = found.groupby("sales_order_id")["units"].sum()
    whole = found.drop_duplicates("id").groupby("sales_order_id").agg({"total": "sum", "posting_date": "max"})
    ids = head["SalesOrderID"]
    known = ids.map(invoiced).fillna(0).to_numpy(dtype=np.int64) == units["QuantityInvoiced"]
    left = np.where(done & known, _whole(head["Due"]) - _whole(ids.map(whole["total"])), 0)
    return left, ids.map(whole["posting_date"]).astype("str"), done & ~known


def _paid_before_shipment(connection: sa.Connection, orders: pd.DataFrame) -> pd.Series:
    """SalesOrderID -> moment of payment (RFC 3339), of orders whose site takes money before it ships, and did."""
    settings = rule_settings.load()
    sites = {site.channel: site.prepaid for site in settings.sites.values() if site.channel}
    wanted = orders[[sites.get(channel, settings.default.prepaid) for channel in orders["channel"]]]
    if wanted.empty:
        return pd.Series(dtype="str")
    payload = raw_orders.c.payload
    paid_at = sa.func.min(payload["PaymentDate"].astext)
    paid = dict(
        connection.execute(
            sa.select(raw_orders.c.key, paid_at)
            .where(
                among(raw_orders.c.key, wanted["external_order_id"].tolist()),
                payload["PaymentStatus"].astext.in_(PAID),
            )
            .group_by(raw_orders.c.key)
        ).all()
    )
    sent = dict(
        connection.execute(
            sa.select(ref_shipment.c.sales_order_id, sa.func.min(ref_shipment.c.payload["ShippedAt"].astext))
            .where(among(ref_shipment.c.sales_order_id, wanted.index.tolist()))
            .group_by(ref_shipment.c.sales_order_id)
        ).all()
    )
    moments = wanted["external_order_id"].map(paid).dropna().astype("str")
    shipped = pd.to_datetime(moments.index.to_series().map(sent), utc=True, format="ISO8601")
    before = shipped.isna() | (pd.to_datetime(moments, utc=True, format="ISO8601") <= shipped)
    return moments[before]


# ---- look-ups ------------------------------------------------------------------------------------------------------


def _read(frames: Frames, schema: str, lines: str = "Lines") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Copies of both frames, TIMS's amounts (text there) as amounts."""
    document = contracts.document("tims", schema)
    inner = document.fields[lines].items if lines in document.fields else None
    return amounts(frames.head, document), amounts(frames.lines, inner) if inner else frames.lines


def _whole(values: pd.Series) -> np.ndarray:
    """int64, missing as 0."""
    return values.fillna(0).to_numpy(dtype=np.int64)


def _cents(values: np.ndarray) -> np.ndarray:
    """x 10,000, rounded to two places, half away from zero."""
    return round_cents(values) * CENT


def _orders(connection: sa.Connection, ids: Sequence[str] | pd.Series) -> pd.DataFrame:
    """Channel and external id of orders that `ref` knows, by SalesOrderID."""
    table = ref_sales_order
    wanted = pd.Series(ids, dtype="str").dropna().unique().tolist()
    query = sa.select(table.c.id, table.c.channel, table.c.external_order_id).where(among(table.c.id, wanted))
    return database.copy_out(connection, query).set_index("id")


def _place(head: pd.DataFrame, ids: pd.Series, orders: pd.DataFrame, company: Company) -> None:
    head["Order"] = ids.astype("str")
    head["Channel"] = ids.map(orders["channel"]).astype("str")
    head["BaseCurrency"] = pd.Series(company.base_currency, index=head.index, dtype="str")


def _shipments(connection: sa.Connection, ids: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """Posting dates of shipments by id, and their lines with what each unit cost."""
    wanted = among(ref_shipment.c.id, ids.dropna().unique().tolist())
    dates = database.copy_out(connection, sa.select(ref_shipment.c.id, ref_shipment.c.posting_date).where(wanted))
    line = (
        sa.func.jsonb_to_recordset(ref_shipment.c.payload["Lines"])
        .table_valued(
            sa.column("LineNo", sa.BigInteger), sa.column("SalesOrderLineNo", sa.BigInteger), sa.column("SKU", sa.Text),
            sa.column("Quantity", sa.BigInteger), sa.column("UnitCost", sa.Numeric(19, 4)),
        )
        .render_derived(name="line", with_types=True)
    )  # fmt: skip
    lines = database.copy_out(
        connection, sa.select(ref_shipment.c.id.label("ShipmentID"), *line.c).join(line, sa.true()).where(wanted)
    )
    return dates.set_index("id")["posting_date"], lines
