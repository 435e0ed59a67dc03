"""What is sent, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import Transient
from crossdock.flow import SOURCE, Flow
from crossdock.flows.invoices.transform import ENTITY
from crossdock.steps.load import Document, Kind, create, reasons, record_outcomes
from crossdock.store import batches, deliveries
from crossdock.store.tables import (
    INVOICE_MONEY,
    INVOICE_TEXT,
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


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
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
            flow,
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
            flow,
            batch,
            delivered=[key for key, link in links.items() if link.batch_id == batch_id],
            refused={key: reasons(error, do=ADVICE) for key, error in created.refused.items()} if created else {},
        )
    if problem:
        raise problem
