"""Invoices: what TIMS has shipped of Channel Advisor's orders -> TIMS's receivables, one invoice a shipment.

What makes it special: an order is divided over its shipments so that the parts add up to it to the cent, whatever the
order in which they come (rules/invoicing.py). In: TIMS's shipments, its sales orders, invoices and periods. Never: a
second invoice of a shipment by itself; a change of one that is posted; an invoice of what TIMS posts by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import Transient
from crossdock.flow import SOURCE, Flow, Resource
from crossdock.flows import documents, invoices_documents
from crossdock.flows.invoices_documents import ENTITY, VOIDED
from crossdock.reference import tims
from crossdock.steps.load import Document, Kind, create, reasons, record_outcomes
from crossdock.store import batches, deliveries
from crossdock.store.tables import (
    INVOICE_MONEY,
    INVOICE_TEXT,
    ops_link,
    raw_invoices,
    ref_invoice,
    stage_invoice,
    stage_invoice_line,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ADVICE = (
    "Put the order, the shipment or the period right in TIMS, then replay this; dismiss it if it is invoiced there."
)


def _pairs(names: Sequence[str], form: str) -> str:
    return ", ".join(f"'{name}', " + form.format(name=name) for name in names)


# The body of InvoiceCreate, built where the rows are; what is null is absent, as the contract takes it on POST.
_BODY = f"""
SELECT s.key, s.version, s.content_hash, s."ExternalReference" AS reference,
       json_strip_nulls(json_build_object(
         {_pairs((*INVOICE_TEXT, "PricesIncludeTax"), 's."{name}"')},
         {_pairs(INVOICE_MONEY, 'round(s."{name}", 2)::text')},
         'Lines', l.lines
       ))::text AS body
FROM stage.invoice s
JOIN LATERAL (
  SELECT json_agg(json_build_object(
           {_pairs(("SalesOrderLineNo", "SKU", "Quantity", "TaxRemittedBy"), 'i."{name}"')},
           'UnitPrice', i."UnitPrice"::text,
           {_pairs(("DiscountAmount", "TaxAmount"), 'round(i."{name}", 2)::text')}
         ) ORDER BY i.position) AS lines
  FROM stage.invoice_line i WHERE i.key = s.key
) l ON true
WHERE s.batch_id = :batch AND s.state = 'ready'
ORDER BY s.key
"""


def load(runtime: Runtime, batch_id: int) -> None:
    """Posts what is ready. What TIMS refuses is dead; what it did not decide is tried again with the same key."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(connection.execute(sa.text(_BODY), {"batch": batch_id}))
    shipments = {row.reference: row.key for row in rows}
    references = {row.key: row.reference for row in rows}

    def find(runtime: Runtime, keys: Sequence[str]) -> dict[str, str]:
        wanted = [references[key] for key in keys]
        found = runtime.tims.find("ar/invoices", ExternalReference=wanted, Source=SOURCE)
        return {shipments[one["ExternalReference"]]: one["InvoiceID"] for one in found}

    kind = Kind(ENTITY, "ar/invoices", "InvoiceID", find)
    problem: Transient | None = None
    created = None
    try:
        created = create(
            runtime,
            INVOICES,
            batch_id,
            kind,
            [
                Document(row.key, row.body.encode(), row.reference, row.content_hash, {"version": row.version})
                for row in rows
            ],
        )
    except Transient as error:  # what did go through is linked: settle it, then let the task be tried again
        problem = error
    with runtime.engine.begin() as connection:
        links = deliveries.links(connection, ENTITY, list(references))
        record_outcomes(
            connection,
            INVOICES,
            batch,
            delivered=[key for key, link in links.items() if link.batch_id == batch_id],
            refused={key: reasons(error, do=ADVICE) for key, error in created.refused.items()} if created else {},
        )
    if problem:
        raise problem


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Shipments whose sales order has arrived; and those whose invoice somebody has voided, so that a person hears."""
    voided = connection.scalars(
        sa.select(stage_invoice.c.key)
        .join(ops_link, sa.and_(ops_link.c.entity == ENTITY, ops_link.c.source_key == stage_invoice.c.key))
        .join(ref_invoice, ref_invoice.c.id == ops_link.c.target_id)
        .where(ref_invoice.c.status == VOIDED, stage_invoice.c.state.in_(("delivered", "unchanged")))
        .order_by(stage_invoice.c.key)
    ).all()
    return [*documents.arrived(connection, stage_invoice, "SalesOrderID"), *voided]


INVOICES = Flow(
    name="invoices",
    title="Invoices",
    entity=ENTITY,
    source=Resource(
        "tims", "shipments", raw_invoices, tims.read_key_of("ShipmentID"), "Shipment",
        overlap=timedelta(minutes=1), lag=timedelta(seconds=2), ids=("ShipmentID",),
    ),
    reference=(tims.PERIODS, tims.INVOICES, tims.SALES_ORDERS),
    lines_path="Lines",
    stage=stage_invoice,
    stage_lines=stage_invoice_line,
    mappings=("invoice",),
    transform=invoices_documents.transform,
    suite="invoice",
    enrich_for_checks=invoices_documents.enrich_for_checks,
    load=load,
    confirm=documents.nothing_to_tell,
    requeue=requeue,
)  # fmt: skip
