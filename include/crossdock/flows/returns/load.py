"""What is sent, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import Transient
from crossdock.flow import SOURCE, Flow
from crossdock.flows.returns.transform import ADJUSTMENT, CREDIT_MEMO
from crossdock.steps.load import Document, Kind, create, reasons, record_outcomes
from crossdock.store import batches, deliveries
from crossdock.store.tables import (
    CREDIT_AMOUNTS,
    stage_credit_memo,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


RETURN = "return"  # entity of the link that says that a return's documents are all there
ADVICE = "Compare the return with the order's invoices and credit memos in TIMS; edit the payload, then replay it."


# ---- load ----------------------------------------------------------------------------------------------------------


def _amounts(alias: str, names: Sequence[str]) -> str:
    return ", ".join(f"'{name}', round({alias}.\"{name}\", 2)::text" for name in names)


_CREDIT_MEMOS = f"""
SELECT s.key, l.document, s.content_hash, json_strip_nulls(json_build_object(
         'ExternalReference', l.document, 'Source', '{SOURCE}', 'InvoiceID', l."InvoiceID",
         'CreditDate', s."CreditDate", 'PostingDate', s."PostingDate", 'CurrencyCode', s."CurrencyCode",
         'Reason', s."Reason", 'Restock', false, 'Memo', s."Memo", {_amounts("l", CREDIT_AMOUNTS)},
         'ShippingTaxRemittedBy', l."ShippingTaxRemittedBy", 'PricesIncludeTax', l."PricesIncludeTax",
         'Lines', coalesce(i.lines, '[]'::json)
       ))::text AS body
FROM stage.credit_memo s
JOIN stage.credit_memo_line l ON l.key = s.key AND l.entity = '{CREDIT_MEMO}' AND l."InvoiceLineNo" IS NULL
JOIN LATERAL (
  SELECT json_agg(json_build_object(
           'InvoiceLineNo', i."InvoiceLineNo", 'Quantity', i."Quantity",
           {_amounts("i", ("Amount", "DiscountAmount", "TaxAmount"))}, 'TaxRemittedBy', i."TaxRemittedBy"
         ) ORDER BY i.position) AS lines
  FROM stage.credit_memo_line i
  WHERE i.key = s.key AND i.document = l.document AND i."InvoiceLineNo" IS NOT NULL
) i ON true
WHERE s.batch_id = :batch AND s.state = 'ready'
ORDER BY l.key, l.position
"""

_ADJUSTMENTS = f"""
SELECT s.key, l.document, s.content_hash, json_build_object(
         'ExternalReference', l.document, 'Source', '{SOURCE}', 'SKU', l."SKU", 'LocationID', l."LocationID",
         'QuantityDelta', l."QuantityDelta", 'ReasonCode', l."ReasonCode", 'UnitCost', l."UnitCost"::text,
         'PostingDate', s."PostingDate", 'Memo', 'Return ' || s.key
       )::text AS body
FROM stage.credit_memo s JOIN stage.credit_memo_line l ON l.key = s.key AND l.entity = '{ADJUSTMENT}'
WHERE s.batch_id = :batch AND s.state = 'ready'
ORDER BY l.key, l.position
"""


def _finder(path: str, id_field: str) -> Any:
    def find(runtime: Runtime, references: Sequence[str]) -> dict[str, str]:
        found = runtime.tims.find(path, ExternalReference=list(references), Source=SOURCE)
        return {document["ExternalReference"]: document[id_field] for document in found}

    return find


MEMO = Kind(CREDIT_MEMO, "ar/credit-memos", "CreditMemoID", _finder("ar/credit-memos", "CreditMemoID"))
STOCK = Kind(ADJUSTMENT, "inventory/adjustments", "AdjustmentID", _finder("inventory/adjustments", "AdjustmentID"))


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Credit memos in bulk, then the stock adjustments of the returns whose credit memos are all there."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        ready = stage_credit_memo.c.batch_id == batch_id, stage_credit_memo.c.state == "ready"
        returns = list(connection.execute(sa.select(stage_credit_memo).where(*ready)))
        wanted = {kind: list(connection.execute(sa.text(statement), {"batch": batch_id}))
                  for kind, statement in ((MEMO, _CREDIT_MEMOS), (STOCK, _ADJUSTMENTS))}  # fmt: skip
    problem: Transient | None = None
    refused: dict[str, list[dict]] = {}
    missing: set[str] = set()
    for kind, rows in wanted.items():
        try:
            refused |= _create(
                runtime, flow, batch_id, kind, [row for row in rows if row.key not in missing | refused.keys()]
            )
        except Transient as error:  # what did go through is linked; the rest is tried again
            problem = error
        with runtime.engine.begin() as connection:
            made = deliveries.links(connection, kind.entity, [row.document for row in rows])
        missing |= {row.key for row in rows if row.document not in made}
    done = [row for row in returns if row.key not in missing | refused.keys()]
    with runtime.engine.begin() as connection:
        before = deliveries.links(connection, RETURN, [row.key for row in done])
        keys = {"known": [r.key for r in done if r.key in before], "new": [r.key for r in done if r.key not in before]}
        deliveries.link(connection, [_link(row, batch_id) for row in done if row.key not in before])
        record_outcomes(connection, flow, batch, delivered=keys["new"], unchanged=keys["known"], refused=refused)
    if problem:
        raise problem


def _create(runtime: Runtime, flow: Flow, batch_id: int, kind: Kind, rows: Sequence[sa.Row]) -> dict[str, list[dict]]:
    """Creates what is not linked yet; the reasons of returns of which a document was refused."""
    with runtime.engine.begin() as connection:
        existing = deliveries.links(connection, kind.entity, [row.document for row in rows])
    return_of = {row.document: row.key for row in rows}
    documents = [
        Document(row.document, row.body.encode(), row.document, row.content_hash, {"other_key": row.key})
        for row in rows
        if row.document not in existing
    ]
    refused: dict[str, list[dict]] = {}
    if documents:
        created = create(runtime, flow, batch_id, kind, documents)
        for document, error in created.refused.items():
            refused.setdefault(return_of[document], []).extend(reasons(error, do=ADVICE, prefix=f"{document}: "))
    return refused


def _link(row: sa.Row, batch_id: int) -> dict[str, Any]:
    return {
        "entity": RETURN,
        "source_key": row.key,
        "target_id": row.sales_order_id,
        "content_hash": row.content_hash,
        "version": row.version,
        "batch_id": batch_id,
    }
