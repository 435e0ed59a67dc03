"""What is sent, and what becomes of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.rules import settlements as rules
from crossdock.steps.load import record_outcomes
from crossdock.store import batches
from crossdock.store.tables import (
    ref_settlement,
)
from crossdock.systems import settlement_ledger

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


_READY = sa.text("""
SELECT key, content_hash, "Source" AS source, "SettlementID" AS settlement_id, "File" AS file
FROM stage.settlement WHERE batch_id = :batch AND state = 'ready' ORDER BY "Source", "StartDate", key
""")

_BOOK = sa.text("""
INSERT INTO ref.settlement (source, settlement_id, channel, format, file, currency_code, "group", start_at, end_at,
                            deposit_at, total, content_hash)
SELECT "Source", "SettlementID", "Channel", "Format", "File", "CurrencyCode", coalesce("SettlementGroup", ''),
       "StartDate"::timestamptz,
       "EndDate"::timestamptz, "DepositDate"::timestamptz, "TotalAmount", content_hash
FROM stage.settlement WHERE key = :key
""")

# An order is known by the marketplace's number of its own channel; two orders of one number are none.
_BOOK_LINES = sa.text("""
WITH known AS (
  SELECT l.ref, min(k.target_id) AS sales_order_id
  FROM (SELECT DISTINCT unnest(ARRAY["OrderRef", "MerchantOrderRef"]) AS ref
        FROM stage.settlement_line WHERE key = :key) AS l
  JOIN ops.link k ON k.entity = 'sales_order' AND l.ref IN (k.other_key, k.source_key)
  JOIN stage.sales_order o ON o.key = k.source_key
  JOIN stage.settlement s ON s.key = :key AND s."Channel" = o."Channel"
  GROUP BY l.ref HAVING count(DISTINCT k.target_id) = 1
)
INSERT INTO ref.settlement_line (source, settlement_id, line_no, position, kind, transaction_type, amount_type,
  amount_description, order_ref, merchant_order_ref, sku, amount, currency_code, posted_at, sales_order_id)
SELECT s."Source", s."SettlementID", l."LineNo", l.position, l."Kind", l."TransactionType", l."AmountType",
       l."AmountDescription", l."OrderRef", l."MerchantOrderRef", l."SKU", l."Amount", s."CurrencyCode",
       l."PostedAt"::timestamptz, coalesce(a.sales_order_id, b.sales_order_id)
FROM stage.settlement s JOIN stage.settlement_line l USING (key)
LEFT JOIN known a ON a.ref = l."OrderRef"
LEFT JOIN known b ON b.ref = l."MerchantOrderRef"
WHERE s.key = :key
""")

_RENAME_KINDS = sa.text("""
UPDATE ref.settlement_line b SET former_kind = b.kind, kind = l."Kind", booked_at = now()
FROM stage.settlement_line l
WHERE l.key = :key AND b.source = :source AND b.settlement_id = :settlement_id AND b.line_no = l."LineNo"
  AND b.kind <> l."Kind" AND NOT (b.kind = :apart AND b.former_kind = l."Kind")
""")


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Books each settlement in a transaction of its own, in the order of their periods."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(connection.execute(_READY, {"batch": batch_id}))
    for row in rows:
        with runtime.engine.begin() as connection:
            outcome = _book(connection, row)
            record_outcomes(connection, flow, batch, **outcome)
    with runtime.engine.begin() as connection:
        settlement_ledger.set_apart(connection)


def _book(connection: sa.Connection, row: sa.Row) -> dict[str, Any]:
    """The arguments of `record_outcomes` for one settlement, after it was booked if it was new."""
    facts = {"key": row.key, "source": row.source, "settlement_id": row.settlement_id}
    held = connection.execute(
        sa.select(ref_settlement)
        .where(ref_settlement.c.source == row.source, ref_settlement.c.settlement_id == row.settlement_id)
        .with_for_update()
    ).one_or_none()
    if held is None:
        connection.execute(_BOOK, facts)
        connection.execute(_BOOK_LINES, facts)
        return {"delivered": [row.key]}
    if (held.file, held.content_hash) != (row.file, row.content_hash):  # booked while this one was being checked
        return {
            "refused": {
                row.key: [
                    {
                        "field": "SettlementID", "rule": "seen_before", "value": row.settlement_id, "line": "",
                        "says": f"This settlement was seen before: it is in the books from {held.file}.",
                        "do": "Take the file out of the inbox and dismiss this.",
                    }
                ]
            }
        }  # fmt: skip
    changed = connection.execute(_RENAME_KINDS, {**facts, "apart": rules.LEFT_OUT}).rowcount
    return {"delivered": [row.key]} if changed else {"unchanged": [row.key]}
