"""Invoices, the documents: TIMS's shipment as frames -> TIMS's invoice as staged rows.

In: parsed shipments, their sales orders, periods and invoices in `ref`, our own invoices that are not there yet. Out:
`Staged`. Never: a call to a system; another content for a shipment that is invoiced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import SOURCE, Staged
from crossdock.flows import documents, unreadable
from crossdock.flows.orders import transform as orders_transform
from crossdock.mapping import language, problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, count_by_header, sum_by_header
from crossdock.mapping.parse import Parsed
from crossdock.rules import invoicing
from crossdock.rules.invoicing import Account, Order, Part, Share, Terms
from crossdock.rules.money import round_cents
from crossdock.store import database, deliveries, raw
from crossdock.store.tables import (
    INVOICE_LINE_MONEY,
    INVOICE_MONEY,
    INVOICE_TEXT,
    ops_batch,
    raw_shipments,
    ref_invoice,
    ref_period,
    stage_invoice,
    stage_invoice_line,
)

ENTITY = "invoice"
HEAD = (*INVOICE_TEXT, "PricesIncludeTax", *INVOICE_MONEY)
LINES = ("SalesOrderLineNo", "SKU", "Quantity", *INVOICE_LINE_MONEY, "TaxRemittedBy")
VOIDED = "Voided"
NEVER_REPEAT = timedelta(days=3650)  # of a void a person is told once
READ_LAG = timedelta(seconds=2)  # the contract: within so long what TIMS has written in one go shows


class _Verdict(NamedTuple):
    state: str
    reason: str = ""
    reference: str = ""  # ExternalReference of the invoice to make
    voided: str = ""  # InvoiceID of an invoice that somebody has voided


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged invoices of a batch; those that are posted as they were."""
    frames = parsed.frames
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    numbers = frames.header["SalesOrderID"].dropna().unique().tolist()
    sales_orders = documents.sales_orders(connection, numbers)
    invoices = _invoices(connection, numbers)
    rows = frames.header.to_dict("records")
    verdicts = _verdicts(connection, kept, rows, frames.header["CreatedAt"], sales_orders, invoices)
    staged = [n for n, verdict in enumerate(verdicts) if verdict.state == "staged"]

    terms = {n: _terms(sales_orders[rows[n]["SalesOrderID"]]) for n in staged}
    references = pd.Series([verdict.reference or np.nan for verdict in verdicts], dtype="str")
    header, closed = invoicing.with_terms(frames.header, references, terms, _periods(connection))
    accounts = _accounts(connection, {n: (kept[n], rows[n]["SalesOrderID"]) for n in staged}, sales_orders, invoices)
    sequence = sorted(staged, key=lambda n: (str(rows[n]["ShippedAt"]), kept[n]))
    divided, found = invoicing.divide(Frames(header, frames.lines), sequence, accounts, terms)
    found = problems.concat([closed, found])
    target, mapping_errors = language.load("invoice").apply(divided, explained=found)
    found = problems.concat([found, mapping_errors])

    made = pd.DataFrame(
        {
            "key": kept,
            "state": pd.Series([verdict.state for verdict in verdicts], dtype="str"),
            "reason": pd.Series([verdict.reason or np.nan for verdict in verdicts], dtype="str"),
            **{name: target.header[name] for name in HEAD},
            "order_version": documents.versions(frames.header["SalesOrderID"], sales_orders),
        }
    )
    lines = target.lines.assign(key=kept.array.take(target.lines[ROW].to_numpy()), position=target.lines[LINE])
    loads = (made["state"] == "staged").to_numpy()
    lines = lines[loads[lines[ROW].to_numpy()]]
    made["content_hash"] = _content(made, lines)
    made, lines = _as_posted(connection, made, lines[["key", "position", *LINES]])
    found = found[loads[found[ROW].to_numpy()]].reset_index(drop=True)
    made, found = unreadable.joined(made, found, parsed, keys)
    return Staged(made, lines, found, _voids(kept, verdicts))


def _invoices(connection: sa.Connection, orders_: Sequence[str]) -> list[sa.Row]:
    return list(
        connection.execute(
            sa.select(ref_invoice)
            .where(documents.among(ref_invoice.c.sales_order_id, orders_))
            .order_by(ref_invoice.c.id)
        )
    )


def _periods(connection: sa.Connection) -> pd.DataFrame:
    return database.copy_out(
        connection,
        sa.select(ref_period.c.id, ref_period.c.start_date.cast(sa.Text).label("start_date"), ref_period.c.status),
    )


def _terms(order: sa.Row) -> Terms:
    document = order.payload
    return Terms(document["CurrencyCode"], document["PricesIncludeTax"], document["ShippingTaxRemittedBy"])


# ---- which shipments are to be invoiced ----------------------------------------------------------------------------


def _verdicts(
    connection: sa.Connection,
    keys: pd.Series,
    rows: Sequence[Mapping[str, Any]],
    created: pd.Series,
    sales_orders: Mapping[str, sa.Row],
    invoices: Sequence[sa.Row],
) -> list[_Verdict]:
    links = deliveries.links(connection, ENTITY, keys.tolist())
    requested = _asked_for(connection, keys.tolist())
    of_shipment: dict[str, list[sa.Row]] = {}
    for invoice in invoices:
        of_shipment.setdefault(invoice.shipment_id, []).append(invoice)
    verdicts = []
    for key, row, made_at in zip(keys, rows, documents.moments(created), strict=True):
        order = sales_orders.get(row["SalesOrderID"])
        held = of_shipment.get(key, [])
        verdict = (
            _posted(key, links.get(key), [one for one in held if one.source == SOURCE], requested=key in requested)
            or _refused(row, order, [one for one in held if one.source != SOURCE and one.status != VOIDED])
            or _early(row, order, made_at)
            or _Verdict("staged", reference=f"inv:{key}")
        )
        verdicts.append(verdict)
    return verdicts


def _posted(key: str, link: sa.Row | None, ours: Sequence[sa.Row], *, requested: bool) -> _Verdict | None:
    """What becomes of a shipment that has been invoiced before; None of one that has not.

    An invoice that somebody voided in TIMS is not made again by itself, for the void had a reason; it is when a person
    asks for the shipment by its key. Its reference is new then: TIMS keeps one for ever.
    """
    live = [one for one in ours if one.status != VOIDED]
    if link and link.target_id not in {one.id for one in ours if one.status == VOIDED}:
        return _Verdict("unchanged")
    if live:  # posted, but its answer was lost: load finds it by its reference
        return _Verdict("staged", reference=live[-1].external_reference)
    if ours and requested:
        return _Verdict("staged", reference=f"inv:{key}:{len(ours) + 1}")
    if ours:
        voided = ours[-1].id
        reason = f"Its invoice {voided} was voided in TIMS; `crossdock sync invoices --key {key}` makes a new one."
        return _Verdict("left_out", reason, voided=voided)
    return None


def _asked_for(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    """The records that a person asks for by name just now: their newest version is in a batch of that kind."""
    newest = raw.newest(raw.history(raw_shipments, "invoices"), keys).subquery()
    return set(
        connection.scalars(
            sa.select(newest.c.key)
            .join(ops_batch, ops_batch.c.id == newest.c.batch_id)
            .where(ops_batch.c.kind.in_(("key", "replay")))
        )
    )


def _refused(row: Mapping[str, Any], order: sa.Row | None, theirs: Sequence[sa.Row]) -> _Verdict | None:
    """Why a shipment is not ours to invoice, if it is not."""
    if row["PostingMode"] == "automatic":
        return _Verdict("left_out", "TIMS posts this shipment by itself (PostingMode automatic).")
    if order is not None and order.source != orders_transform.SOURCE:
        return _Verdict("left_out", f"Its order is not from Channel Advisor but from {order.source}.")
    if theirs:
        return _Verdict("left_out", f"It has been invoiced in TIMS: {theirs[0].id}.")
    return None


def _early(row: Mapping[str, Any], order: sa.Row | None, made_at: pd.Timestamp) -> _Verdict | None:
    """Whether the order has not been read since the shipment was made, which changes it: its amounts may be old."""
    number = row["SalesOrderID"]
    if order is None:
        return _Verdict("waiting", f"Its sales order {number} has not been read yet.")
    if order.version < made_at - READ_LAG:
        return _Verdict("waiting", f"Its sales order {number} has changed and is to be read again.")
    return None


# ---- what has been invoiced of an order ----------------------------------------------------------------------------


def _accounts(
    connection: sa.Connection,
    staged: Mapping[int, tuple[str, str]],
    sales_orders: Mapping[str, sa.Row],
    invoices: Sequence[sa.Row],
) -> dict[int, Account]:
    """The account of each shipment to invoice, one for all shipments of an order: with what TIMS has of it, and what
    is on its way there. The shipments themselves do not count, even where a lost answer left their invoice there."""
    mine = {key for key, _ in staged.values()}
    accounts = {number: Account(Order.read(sales_orders[number].payload)) for _, number in staged.values()}
    for invoice in invoices:
        own = invoice.source == SOURCE and invoice.shipment_id in mine
        if invoice.status != VOIDED and not own and invoice.sales_order_id in accounts:
            accounts[invoice.sales_order_id].add(*invoicing.parts_of(invoice.payload))
    existing = {invoice.external_reference for invoice in invoices if invoice.source == SOURCE}
    for number, parts, charges in _on_the_way(connection, list(accounts), mine, existing):
        accounts[number].add(parts, charges)
    return {row: accounts[number] for row, (_, number) in staged.items()}


def _on_the_way(
    connection: sa.Connection, numbers: Sequence[str], mine: Iterable[str], existing: Iterable[str]
) -> Iterable[tuple[str, list[Part], dict[str, int]]]:
    """Invoices that we have made, or are about to, and that have not been read back from TIMS yet."""
    stage, lines = stage_invoice, stage_invoice_line
    heads = connection.execute(
        sa.select(stage)
        .where(
            documents.among(stage.c.SalesOrderID, numbers),
            stage.c.state.in_(("staged", "ready", "delivered", "unchanged")),
            ~documents.among(stage.c.key, list(mine)),
            ~documents.among(stage.c.ExternalReference, list(existing)),
        )
        .order_by(stage.c.key)
    ).all()
    parts: dict[str, list[Part]] = {}
    for line in connection.execute(
        sa.select(lines).where(documents.among(lines.c.key, [header.key for header in heads]))
    ):
        price = int(line.UnitPrice.scaleb(4))
        share = Share(
            invoicing.goods(line.Quantity, price), int(line.DiscountAmount.scaleb(2)), int(line.TaxAmount.scaleb(2))
        )
        parts.setdefault(line.key, []).append(Part(line.SalesOrderLineNo, line.Quantity, price, share))
    for header in heads:
        values = header._mapping
        yield header.SalesOrderID, parts.get(header.key, []), {n: int(values[n].scaleb(2)) for n in invoicing.CHARGES}


# ---- staged rows ---------------------------------------------------------------------------------------------------


def _content(header: pd.DataFrame, lines: pd.DataFrame) -> pd.Series:
    """A hash of each invoice."""
    of_key: dict[str, list] = {}
    for key, *line in lines[["key", *LINES]].astype("str").itertuples(index=False, name=None):
        of_key.setdefault(key, []).append(line)
    texts = header[list(HEAD)].astype("str").itertuples(index=False, name=None)
    return pd.Series(
        [
            raw.digest(database.to_json([*map(str, fields), of_key.get(key, [])]).encode())
            for key, fields in zip(header["key"], texts, strict=True)
        ],
        dtype="str",
    )


def _as_posted(
    connection: sa.Connection, header: pd.DataFrame, lines: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Invoices that are posted keep their content: a corrected carrier or tracking number is none of their business."""
    posted = header.loc[header["state"] == "unchanged", "key"].tolist()
    if not posted:
        return header, lines
    old, body = documents.as_staged(connection, stage_invoice, stage_invoice_line, posted)
    old["state"], old["reason"] = "unchanged", pd.Series(np.nan, index=old.index, dtype="str")
    whole = pd.concat([header[~header["key"].isin(old["key"])], old[header.columns]], ignore_index=True)
    whole = whole.set_index("key").loc[header["key"]].reset_index()  # in their places: problems name rows by them
    return whole, pd.concat([lines, body[lines.columns]], ignore_index=True)


def _voids(keys: pd.Series, verdicts: Sequence[_Verdict]) -> list[dict]:
    return [
        {
            "kind": "invoice_voided",
            "key": verdict.voided,
            "title": f"Invoice {verdict.voided} of shipment {key} was voided in TIMS",
            "body": f"It is not made again by itself. If the shipment is to be invoiced after all: "
            f"`crossdock sync invoices --key {key}`.",
            "severity": "notice",
            "window": NEVER_REPEAT,
        }
        for key, verdict in zip(keys, verdicts, strict=True)
        if verdict.voided
    ]


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged invoices with TIMS's equations as differences, made anew from the documents themselves."""
    header, lines = frames.header.copy(), frames.lines.copy()

    def amount(frame: pd.DataFrame, name: str) -> np.ndarray:
        return frame[name].fillna(0).to_numpy(dtype=np.int64)

    def summed(values: np.ndarray) -> np.ndarray:
        return sum_by_header(Frames(header, lines), values)

    gross = round_cents(amount(lines, "Quantity") * amount(lines, "UnitPrice")) * CENT
    tax = amount(lines, "TaxAmount")
    remitted = summed(np.where(lines["TaxRemittedBy"] == "Marketplace", tax, 0))
    shipping_tax = amount(header, "ShippingTaxAmount")
    remitted += np.where(header["ShippingTaxRemittedBy"] == "Marketplace", shipping_tax, 0)
    added = np.where(header["PricesIncludeTax"].fillna(False).to_numpy(dtype=bool), 0, amount(header, "TaxTotal"))
    charges = amount(header, "ShippingAmount") + amount(header, "GiftWrapAmount")
    total = amount(header, "SubTotal") - amount(header, "DiscountTotal") + charges + added
    discount = summed(amount(lines, "DiscountAmount")) + amount(header, "ShippingDiscountAmount")
    header["subtotal_off"] = amount(header, "SubTotal") - summed(gross)
    header["discount_off"] = amount(header, "DiscountTotal") - discount
    header["tax_off"] = amount(header, "TaxTotal") - summed(tax) - shipping_tax
    header["marketplace_tax_off"] = amount(header, "MarketplaceRemittedTax") - remitted
    header["total_off"] = amount(header, "Total") - (total - amount(header, "MarketplaceRemittedTax"))
    header["lines"] = count_by_header(frames)
    lines["discount_above"] = amount(lines, "DiscountAmount") - gross
    return Frames(header, lines)
