"""The ledger's documents: looks up what the posting table needs of each, in `ref` and in our own tables.

In: parsed documents of one kind. Out: `Facts`: headers and parts with the fields of `posting_table.DOCUMENTS`, and what
a document waits for. Never: an account; a call to a system; an amount that is not in a document.
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
from crossdock.mapping.frames import CENT, ROW, Frames, amounts, sum_by_header
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
    """The company: documents are dated in its time zone, costs are in its base currency."""

    zone: str
    base_currency: str


@dataclass
class Facts:
    """The facts of a batch of documents. `waits`: what a document waits for, missing for most."""

    header: pd.DataFrame
    parts: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    waits: pd.Series | None = None
    orders: pd.Series | None = None  # SalesOrderID
    shipments: pd.Series | None = None  # ShipmentID


Finder = Callable[[sa.Connection, Frames, Company], Facts]


# ---- sales and refunds ---------------------------------------------------------------------------------------------


def invoices(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Invoices, with the channel of their order and the cost of their shipment's units."""
    header, lines = _read(frames, "Invoice")
    ordered = header["SalesOrderID"]
    orders = _orders(connection, ordered)
    parcels, goods_sent = _shipments(connection, header["ShipmentID"])
    _place(header, ordered, orders, company)
    header["ShipDate"] = header["ShipmentID"].map(parcels).astype("str").fillna(header["PostingDate"])
    paid = _paid_before_shipment(connection, orders)
    header["Prepaid"] = pd.Series(ordered.isin(paid.index).to_numpy(), dtype="boolean")
    _split_tax(header, lines, _cents(_whole(lines["Quantity"]) * _whole(lines["UnitPrice"])))
    no_order = ~ordered.isin(orders.index)
    no_parcel = header["ShipmentID"].notna() & ~header["ShipmentID"].isin(parcels.index)
    waits = pd.Series(np.nan, index=header.index, dtype="str")
    waits = waits.mask(no_parcel, "its shipment has not been read yet").mask(
        no_order, "its order has not been read yet"
    )
    costs = _costs(header["ShipmentID"], lines, goods_sent)
    return Facts(header, {"Lines": lines, "Costs": costs}, waits, ordered, header["ShipmentID"])


def credit_memos(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Credit memos, with the channel of their order and the rounding amount of their return."""
    header, lines = _read(frames, "CreditMemo")
    orders = _orders(connection, header["SalesOrderID"])
    _place(header, header["SalesOrderID"], orders, company)
    _split_tax(header, lines, _whole(lines["Amount"]))
    mine = header["ExternalReference"].where(header["Source"] == SOURCE)
    header["RoundingAmount"] = mine.map(_roundings(connection, mine)).astype("Int64").fillna(0)
    waits = pd.Series(np.nan, index=header.index, dtype="str")
    waits = waits.mask(~header["SalesOrderID"].isin(orders.index), "its order has not been read yet")
    return Facts(header, {"Lines": lines}, waits, header["SalesOrderID"])


def _roundings(connection: sa.Connection, references: pd.Series) -> pd.Series:
    """Reads RoundingAmount of our credit memos that have one, by ExternalReference."""
    table = stage_credit_memo_line
    query = sa.select(table.c.document, table.c.RoundingAmount).where(
        among(table.c.document, references.dropna().tolist()), table.c.RoundingAmount != 0
    )
    return database.copy_out(connection, query).set_index("document")["RoundingAmount"]


def _split_tax(header: pd.DataFrame, lines: pd.DataFrame, gross: np.ndarray) -> None:
    """Adds SellerTax, Shipping and the lines' Goods. Where prices include tax, takes it out of Shipping, Goods,
    DiscountTotal and GiftWrapAmount, in the document's unit, so that revenue less discounts plus tax is the total."""
    header["Shipping"] = _whole(header["ShippingAmount"])
    header["SellerTax"] = _whole(header["TaxTotal"]) - _whole(header["MarketplaceRemittedTax"])
    lines["Goods"] = gross
    inclusive = header["PricesIncludeTax"].fillna(False).to_numpy(dtype=bool)
    if not inclusive.any():
        return
    row = lines[ROW].to_numpy()
    unit = _units(header, lines.assign(Goods=gross))
    discount, tax = (_whole(lines[name]) // unit[row] for name in ("DiscountAmount", "TaxAmount"))
    wrap = np.where(inclusive, _whole(header["GiftWrapAmount"]) // unit, 0)
    of_wrap = taxes.of_wrap(gross // unit[row] - discount, tax, row, wrap)
    goods, off = taxes.without(gross // unit[row], discount, tax - of_wrap)
    shipping, off_shipping = taxes.without(*(_whole(header[name]) // unit for name in _CHARGES[:3]))
    whole = Frames(header, lines)
    lines["Goods"] = np.where(inclusive[row], goods * unit[row], gross)
    for name, without in (
        ("Shipping", shipping),
        ("DiscountTotal", sum_by_header(whole, off) + off_shipping),
        ("GiftWrapAmount", wrap - sum_by_header(whole, of_wrap)),
    ):
        header[name] = np.where(inclusive, without * unit, _whole(header[name]))


_CHARGES = ("ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount")


def _units(header: pd.DataFrame, lines: pd.DataFrame) -> np.ndarray:
    """The unit of each document's currency, x 10,000; a cent where an amount is no whole multiple of the unit."""
    own = currencies.units(header["CurrencyCode"]) * CENT
    broken = sum((_whole(header[name]) % own != 0 for name in _CHARGES), np.zeros(len(header), dtype=np.int64))
    row = lines[ROW].to_numpy()
    for name in ("Goods", "DiscountAmount", "TaxAmount"):
        np.add.at(broken, row, (_whole(lines[name]) % own[row] != 0).astype(np.int64))
    return np.where(broken > 0, CENT, own)


def _costs(shipments: pd.Series, lines: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """Cost of the units that each invoice takes of its shipment's lines. It takes the first lines first, so that no
    unit counts twice where a shipment has several lines of one order line."""
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
    header, _ = _read(frames, "Adjustment")
    _place(header, pd.Series(np.nan, index=header.index, dtype="str"), _orders(connection, []), company)
    header["Value"] = _cents(_whole(header["QuantityDelta"]) * _whole(header["UnitCost"]))
    undone = header["ReversalOf"].dropna().unique().tolist()
    mirrored = set(
        connection.scalars(
            sa.select(ref_adjustment.c.id).where(
                among(ref_adjustment.c.id, undone), ref_adjustment.c.posting_mode == "external"
            )
        )
    )
    header["Mirrored"] = pd.Series(header["ReversalOf"].isin(mirrored).to_numpy(), dtype="boolean")
    return Facts(header)


def settlement_lines(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Lines of settlements, dated in the company's time zone."""
    header = frames.header.copy()
    header["Order"] = header["SalesOrderID"]
    header["BaseCurrency"] = pd.Series(company.base_currency, index=header.index, dtype="str")
    header["PostedOn"] = company_days(header["PostedAt"], company.zone)
    return Facts(header, orders=header["SalesOrderID"])


def payments(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Payments, with the rounding difference of their match."""
    header, _ = _read(frames, "Payment")
    mine = header["ExternalReference"].where(header["Source"] == SOURCE)
    matches = mine.str.removeprefix("pay:").where(mine.str.startswith("pay:", na=False))
    staged = database.copy_out(
        connection,
        sa.select(
            stage_payment.c.key, stage_payment.c.sales_order_id, stage_payment.c.rounding, stage_payment.c.original_date
        ).where(among(stage_payment.c.key, matches.dropna().tolist())),
    ).set_index("key")
    ordered = matches.map(staged["sales_order_id"]).astype("str")
    _place(header, ordered, _orders(connection, ordered), company)
    header["Match"] = matches.astype("str")
    header["RoundingAmount"] = matches.map(staged["rounding"]).astype("Int64").fillna(0)
    header["ValueDate"] = matches.map(staged["original_date"]).astype("str").fillna(header["PaymentDate"])
    return Facts(header, orders=ordered)


# ---- money before shipment -----------------------------------------------------------------------------------------


def captures(connection: sa.Connection, frames: Frames, company: Company) -> Facts:
    """Sales orders: whether the buyer paid us before the shipment, when, how much, and how much no shipment uses."""
    header, lines = _read(frames, "SalesOrder", "LineItems")
    ids = header["SalesOrderID"]
    orders = pd.DataFrame(
        {"channel": header["Channel"].array, "external_order_id": header["ExternalOrderID"].array}, ids
    )
    paid = _paid_before_shipment(connection, orders)
    header["Order"] = ids
    header["BaseCurrency"] = pd.Series(company.base_currency, index=header.index, dtype="str")
    header["Prepaid"] = pd.Series(ids.isin(paid.index).to_numpy(), dtype="boolean")
    header["PaidOn"] = company_days(ids.map(paid).astype("str"), company.zone)
    line_tax = np.where(lines["TaxRemittedBy"] == "Marketplace", _whole(lines["TaxAmount"]), 0)
    remitted = sum_by_header(Frames(header, lines), line_tax)
    remitted += np.where(header["ShippingTaxRemittedBy"] == "Marketplace", _whole(header["ShippingTaxAmount"]), 0)
    header["Due"] = _whole(header["TotalAmount"]) - remitted
    left, day, unread = _left_of_deposits(connection, header, lines)
    header["CancelledDue"], header["CancelledOn"] = left, day
    waits = pd.Series(np.nan, index=header.index, dtype="str")
    return Facts(header, waits=waits.mask(unread, "its last invoice has not been read yet"), orders=ids)


def _left_of_deposits(
    connection: sa.Connection, header: pd.DataFrame, lines: pd.DataFrame
) -> tuple[np.ndarray, pd.Series, np.ndarray]:
    """Of orders that are completely shipped and invoiced: the part of Due that no invoice uses, the day of the last
    invoice, and whether that invoice has not been read yet."""
    frames = Frames(header, lines)
    units = {
        name: sum_by_header(frames, lines[name])
        for name in ("Quantity", "QuantityShipped", "QuantityCancelled", "QuantityInvoiced")
    }
    done = (
        header["Prepaid"].to_numpy(dtype=bool)
        & (units["QuantityCancelled"] > 0)
        & (units["QuantityShipped"] > 0)
        & (units["QuantityShipped"] + units["QuantityCancelled"] == units["Quantity"])
        & (units["QuantityShipped"] == units["QuantityInvoiced"])
    )
    day = pd.Series(np.nan, index=header.index, dtype="str")
    if not done.any():
        return np.zeros(len(header), dtype=np.int64), day, done
    table = ref_invoice
    quantity = sa.func.jsonb_path_query(table.c.payload, sa.text("'$.Lines[*].Quantity'")).cast(sa.Text)
    each = sa.select(
        table.c.sales_order_id, table.c.id, table.c.total, table.c.posting_date,
        quantity.cast(sa.BigInteger).label("units"),
    ).where(
        among(table.c.sales_order_id, header.loc[done, "SalesOrderID"].tolist()), table.c.status != "Voided"
    )  # fmt: skip
    found = database.copy_out(connection, each)
    invoiced = found.groupby("sales_order_id")["units"].sum()
    whole = found.drop_duplicates("id").groupby("sales_order_id").agg({"total": "sum", "posting_date": "max"})
    ids = header["SalesOrderID"]
    existing = ids.map(invoiced).fillna(0).to_numpy(dtype=np.int64) == units["QuantityInvoiced"]
    left = np.where(done & existing, _whole(header["Due"]) - _whole(ids.map(whole["total"])), 0)
    return left, ids.map(whole["posting_date"]).astype("str"), done & ~existing


def _paid_before_shipment(connection: sa.Connection, orders: pd.DataFrame) -> pd.Series:
    """Reads SalesOrderID -> moment of payment (RFC 3339) of orders that were paid before their shipment, on sites that
    take the money first."""
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
    """Copies both frames, with TIMS's amounts converted from text."""
    document = contracts.document("tims", schema)
    inner = document.fields[lines].items if lines in document.fields else None
    return amounts(frames.header, document), amounts(frames.lines, inner) if inner else frames.lines


def _whole(values: pd.Series) -> np.ndarray:
    """Converts to int64, missing values to 0."""
    return values.fillna(0).to_numpy(dtype=np.int64)


def _cents(values: np.ndarray) -> np.ndarray:
    """Rounds amounts x 10,000 to two places, half away from zero."""
    return round_cents(values) * CENT


def _orders(connection: sa.Connection, ids: Sequence[str] | pd.Series) -> pd.DataFrame:
    """Reads channel and external id of the orders in `ref`, by SalesOrderID."""
    table = ref_sales_order
    wanted = pd.Series(ids, dtype="str").dropna().unique().tolist()
    query = sa.select(table.c.id, table.c.channel, table.c.external_order_id).where(among(table.c.id, wanted))
    return database.copy_out(connection, query).set_index("id")


def _place(header: pd.DataFrame, ids: pd.Series, orders: pd.DataFrame, company: Company) -> None:
    header["Order"] = ids.astype("str")
    header["Channel"] = ids.map(orders["channel"]).astype("str")
    header["BaseCurrency"] = pd.Series(company.base_currency, index=header.index, dtype="str")


def _shipments(connection: sa.Connection, ids: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """Reads the posting dates of shipments by id, and their lines with the cost of a unit."""
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
