"""Invoices, the documents: TIMS's shipment as frames -> TIMS's invoice as staged rows.

In: parsed shipments; their sales orders, periods and invoices in `ref`; our own invoices that are not in `ref` yet.
Out: `Staged`. Never: a call to a system; another content for a shipment that is invoiced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import SOURCE, Staged
from crossdock.flows import documents, unreadable
from crossdock.flows.orders import transform as orders_transform
from crossdock.mapping import language, problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, count_by_header, sum_by_header
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.rules import invoicing
from crossdock.rules.invoicing import Invoice, InvoiceContext, OnTheWay, Part, SalesOrder, Share
from crossdock.rules.money import round_cents
from crossdock.steps import modes
from crossdock.store import database, deliveries, raw, registry
from crossdock.store.tables import (
    ops_batch,
    raw_shipments,
    ref_invoice,
    ref_period,
    stage_invoice,
    stage_invoice_line,
)

NAME, ENTITY = "invoices", "invoice"
HEAD = registry.fields(stage_invoice)
LINES = registry.fields(stage_invoice_line)
NEVER_REPEAT = timedelta(days=3650)  # a voided invoice raises one notice


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged invoices of a batch. Posted ones stay as they were."""
    frames = documents.keyed(parsed, keys)
    kept = frames.header[KEY]
    context = load_context(connection, kept.tolist(), frames.header["SalesOrderID"].dropna().unique().tolist())
    done = language.load("invoice").apply(frames, context, also=("state", "reason", "voided"))
    header, target = done.source.header, done.target
    found = problems.concat([done.problems, done.errors])

    made = pd.DataFrame(
        {
            "key": kept,
            "state": header["state"],
            "reason": header["reason"],
            **{name: target.header[name] for name in HEAD},
            "order_version": documents.versions(header["SalesOrderID"], context.orders),
        }
    )
    lines = target.lines.assign(key=kept.array.take(target.lines[ROW].to_numpy()), position=target.lines[LINE])
    loads = (made["state"] == "staged").to_numpy()
    lines = lines[loads[lines[ROW].to_numpy()]]
    made["content_hash"] = _content(made, lines)
    made, lines = _as_posted(connection, made, lines[["key", "position", *LINES]])
    found = found[loads[found[ROW].to_numpy()]].reset_index(drop=True)
    made, found = unreadable.joined(made, found, parsed, keys)
    return Staged(made, lines, found, _voids(kept, header["voided"]))


def load_context(connection: sa.Connection, keys: Sequence[str], numbers: Sequence[str]) -> InvoiceContext:
    """Reads what the rules need besides the shipments `keys` of the sales orders `numbers`."""
    orders = documents.sales_orders(connection, numbers)
    in_place = documents.in_place(connection, numbers) if modes.of(NAME).shadow else {}
    invoices = [
        Invoice(
            row.id, row.source, row.status, row.external_reference, row.shipment_id, row.sales_order_id, row.payload
        )
        for row in connection.execute(
            sa.select(ref_invoice)
            .where(documents.among(ref_invoice.c.sales_order_id, numbers))
            .order_by(ref_invoice.c.id)
        )
        if row.source == SOURCE or row.sales_order_id not in in_place  # else a person's, which ours is compared with
    ]
    existing = {invoice.external_reference for invoice in invoices if invoice.source == SOURCE}
    links = deliveries.links(connection, ENTITY, keys)
    return InvoiceContext(
        {number: SalesOrder(row.source, row.version, row.payload) for number, row in orders.items()},
        invoices,
        list(_on_the_way(connection, numbers, existing)),
        {key: link.target_id for key, link in links.items()},
        _asked_for(connection, keys),
        _periods(connection),
        SOURCE,
        orders_transform.SOURCE,
        in_place.keys(),
    )


def _periods(connection: sa.Connection) -> pd.DataFrame:
    return database.copy_out(
        connection,
        sa.select(ref_period.c.id, ref_period.c.start_date.cast(sa.Text).label("start_date"), ref_period.c.status),
    )


def _asked_for(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    """Finds the records that a person asks for just now: their newest version is in a batch by key or a replay."""
    newest = raw.newest(raw.history(raw_shipments, "invoices"), keys).subquery()
    return set(
        connection.scalars(
            sa.select(newest.c.key)
            .join(ops_batch, ops_batch.c.id == newest.c.batch_id)
            .where(ops_batch.c.kind.in_(("key", "replay")))
        )
    )


def _on_the_way(connection: sa.Connection, numbers: Sequence[str], existing: Iterable[str]) -> Iterable[OnTheWay]:
    """Reads our invoices, staged or posted, that have not been read back from TIMS yet."""
    stage, lines = stage_invoice, stage_invoice_line
    heads = connection.execute(
        sa.select(stage)
        .where(
            documents.among(stage.c.SalesOrderID, numbers),
            stage.c.state.in_(("staged", "ready", "would_be", "delivered", "unchanged")),
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
        charges = {name: int(values[name].scaleb(2)) for name in invoicing.CHARGES}
        yield OnTheWay(header.key, header.SalesOrderID, parts.get(header.key, []), charges)


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
    """Puts posted invoices back as they were staged: a corrected carrier or tracking number does not concern them."""
    posted = header.loc[header["state"] == "unchanged", "key"].tolist()
    if not posted:
        return header, lines
    old, body = documents.as_staged(connection, stage_invoice, stage_invoice_line, posted)
    old["state"], old["reason"] = "unchanged", pd.Series(np.nan, index=old.index, dtype="str")
    whole = pd.concat([header[~header["key"].isin(old["key"])], old[header.columns]], ignore_index=True)
    whole = whole.set_index("key").loc[header["key"]].reset_index()  # in their old places: problems refer to them
    return whole, pd.concat([lines, body[lines.columns]], ignore_index=True)


def _voids(keys: pd.Series, voided: pd.Series) -> list[dict]:
    return [
        {
            "kind": "invoice_voided",
            "key": invoice,
            "title": f"Invoice {invoice} of shipment {key} was voided in TIMS",
            "body": f"It is not made again by itself. If the shipment is to be invoiced after all: "
            f"`crossdock sync invoices --key {key}`.",
            "severity": "notice",
            "window": NEVER_REPEAT,
        }
        for key, invoice in zip(keys[voided.notna()], voided.dropna(), strict=True)
    ]


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds the differences in TIMS's equations, computed from the documents themselves, for the checks."""
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
