"""Returns: Channel Advisor's returns -> TIMS credit memos and stock adjustments; then the return is resolved there.

What makes it special: one return becomes several documents, a credit memo for each invoice that it touches and a stock
adjustment for what comes back of each shipment. It is delivered when all of them are there. What was posted stays:
a return that is another one afterwards is a dead letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient
from crossdock.flow import SOURCE, Flow, RecordKey, Resource
from crossdock.flows import returns_documents
from crossdock.flows.returns_documents import ADJUSTMENT, CREDIT_MEMO, PARENTS
from crossdock.reference import tims
from crossdock.steps.check import dead_letter
from crossdock.steps.load import Document, Kind, chunked, create, reasons, record_outcomes
from crossdock.store import batches, deliveries
from crossdock.store.tables import (
    CREDIT_AMOUNTS,
    ops_link,
    raw_returns,
    stage_credit_memo,
    stage_credit_memo_line,
)
from crossdock.systems import limits

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

RETURN = "return"  # entity of the link that says that a return's documents are all there
ADVICE = "Compare the return with the order's invoices and credit memos in TIMS; edit the payload, then replay it."
DECISIONS = {"NewRma": "Approve", "PendingReturn": "Approve", "Received": "Approve", "Approved": "MarkRefunded"}
RESOLVED = ("Refunded", "Closed")


class _Slots(msgspec.Struct):
    ReturnID: int
    UpdatedDate: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """Key and version of a return."""
    slots = _slots.decode(record)
    return RecordKey(str(slots.ReturnID), slots.UpdatedDate)


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Waiting returns of whose order anything is new: the order itself, a shipment, an invoice."""
    waiting = connection.execute(
        sa.text("SELECT key, order_key, parents FROM stage.credit_memo WHERE state = 'waiting' AND parents IS NOT NULL")
    ).all()
    rows = connection.execute(sa.text(PARENTS), {"keys": sorted({row.order_key for row in waiting})})
    now = {row.order_key: row.parents for row in rows}
    return [row.key for row in waiting if now.get(row.order_key, "") != row.parents]


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


def load(runtime: Runtime, batch_id: int) -> None:
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
                runtime, batch_id, kind, [row for row in rows if row.key not in missing | refused.keys()]
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
        record_outcomes(connection, RETURNS, batch, delivered=keys["new"], unchanged=keys["known"], refused=refused)
    if problem:
        raise problem


def _create(runtime: Runtime, batch_id: int, kind: Kind, rows: Sequence[sa.Row]) -> dict[str, list[dict]]:
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
        created = create(runtime, RETURNS, batch_id, kind, documents)
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


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, batch_id: int) -> None:
    """Approves and marks as refunded what the batch delivered, as many at once as the system allows."""
    table = stage_credit_memo
    with runtime.engine.begin() as connection:
        rows = list(
            connection.execute(
                sa.select(table.c.key, table.c.status)
                .join(ops_link, sa.and_(ops_link.c.entity == RETURN, ops_link.c.source_key == table.c.key))
                .where(
                    ops_link.c.confirmed_at.is_(None),
                    table.c.batch_id == batch_id,
                    table.c.state.in_(("delivered", "unchanged")),
                )
                .order_by(table.c.key)
            )
        )
    with ThreadPoolExecutor(limits.load("channel_advisor").at_once, "confirm") as pool:
        for portion in chunked(rows):
            sent = list(pool.map(lambda row: (row.key, _resolve(runtime, row.key, row.status)), portion))
            with runtime.engine.begin() as connection:
                connection.execute(
                    sa.update(ops_link)
                    .where(
                        ops_link.c.entity == RETURN,
                        ops_link.c.source_key.in_([key for key, refusal in sent if not refusal]),
                    )
                    .values(confirmed_at=sa.func.now())
                )
                refused = {key: [_reason(refusal)] for key, refusal in sent if refusal}
                dead_letter(connection, RETURNS, batch_id, "confirm", refused)


def _resolve(runtime: Runtime, key: str, status: str) -> str:
    """Takes a return from its status to Refunded; why the channel refuses it, else "". Said twice, it is said once."""
    refused = ""
    while status not in RESOLVED:
        decision = DECISIONS.get(status)
        if decision is None:
            return refused or f"it is {status} there by now"
        try:
            body = {"Decision": decision}
            answer = runtime.channel_advisor.call("POST", f"/v2/returns/{key}/resolve", body, repeatable=True)
            status = answer["Status"]
        except RecordRejected as error:
            if error.code != "IllegalDecision" or refused:
                return error.message
            refused = error.message  # somebody else decided in between: what does it say now?
            status = msgspec.json.decode(runtime.channel_advisor.record("returns", key))["Status"]
    return ""


def _reason(refusal: str) -> dict[str, str]:
    return {
        "field": "Status",
        "rule": "confirm_refused",
        "value": "",
        "line": "",
        "says": f"Its documents are in TIMS, but Channel Advisor does not take it as refunded: {refusal}",
        "do": "Look at the return on the channel. Dismiss this if it is settled there.",
    }


RETURNS = Flow(
    name="returns",
    title="Returns",
    entity=CREDIT_MEMO,
    source=Resource(
        "channel_advisor",
        "returns",
        raw_returns,
        read_key,
        "Return",
        # The contract asks for an overlap of 5 minutes or more; rows are visible at once.
        overlap=timedelta(minutes=5),
        lag=timedelta(0),
        ids=("ReturnID",),
    ),
    # Children before parents: whatever an order says of its shipments and invoices, they are there.
    reference=(
        tims.COMPANY,
        tims.PERIODS,
        tims.ITEMS,
        tims.CREDIT_MEMOS,
        tims.INVOICES,
        tims.SHIPMENTS,
        tims.SALES_ORDERS,
    ),
    lines_path="Items",
    stage=stage_credit_memo,
    stage_lines=stage_credit_memo_line,
    mappings=("credit_memo",),
    transform=returns_documents.transform,
    suite="credit_memo",
    enrich_for_checks=returns_documents.enrich_for_checks,
    load=load,
    confirm=confirm,
    requeue=requeue,
)
