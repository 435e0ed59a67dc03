"""Sends the batch, and records the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from crossdock.flow import SOURCE, Flow
from crossdock.flows.returns.transform import ADJUSTMENT, CREDIT_MEMO
from crossdock.mapping import language
from crossdock.mapping.frames import ROW
from crossdock.steps.load import Document, Kind, columns, post, record_outcomes, targets, write_bodies
from crossdock.store import batches, database, deliveries
from crossdock.store.tables import stage_credit_memo, stage_credit_memo_line

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


RETURN = "return"  # entity of the link that shows that all documents of a return are in TIMS
ADVICE = "Compare the return with the order's invoices and credit memos in TIMS; edit the payload, then replay it."
MEMO = Kind(CREDIT_MEMO, "ar/credit-memos", "CreditMemoID")
STOCK = Kind(ADJUSTMENT, "inventory/adjustments", "AdjustmentID", linked_by="ExternalReference")


# ---- bodies --------------------------------------------------------------------------------------------------------

_OF_RETURN = ("CreditDate", "PostingDate", "CurrencyCode", "Reason", "Memo")


def _ready(connection: sa.Connection, batch_id: int) -> dict[Kind, list[Document]]:
    """Reads the documents of the ready returns of a batch."""
    heads, lines = stage_credit_memo, stage_credit_memo_line
    table = language.load("credit_memo")
    assert table.children
    parts = targets(table.children.fields, lines)
    amounts = [name for name in targets(table.fields, lines) if name not in parts]
    stock = [name for name in targets(language.load("stock_adjustment").fields, lines) if name not in amounts]
    stock.append("UnitCost")
    own = [heads.c[name] for name in _OF_RETURN]
    found = database.copy_out(
        connection,
        sa.select(*columns(lines, ("key", "entity", "document", *amounts, *parts, *stock)), heads.c.content_hash, *own)
        .join(heads, heads.c.key == lines.c.key)
        .where(heads.c.batch_id == batch_id, heads.c.state == "ready")
        .order_by(lines.c.key, lines.c.position),
    )
    found = found.rename(columns={"document": "ExternalReference"})
    found.insert(1, "Source", SOURCE)
    is_memo, is_line = found["entity"] == CREDIT_MEMO, found["InvoiceLineNo"].notna()
    memos = found[is_memo & ~is_line].assign(Restock=False)
    below = found[is_memo & is_line]
    below.insert(0, ROW, pd.Index(memos["ExternalReference"]).get_indexer(below["ExternalReference"]))
    below = below.sort_values(ROW, kind="stable")
    memo = [one.target for one in table.fields if one.target in memos]
    adjusted = found[found["entity"] == ADJUSTMENT]
    adjusted = adjusted.assign(Memo="Return " + adjusted["key"])
    adjustment = ["ExternalReference", "Source", *stock, "PostingDate", "Memo"]
    return {
        MEMO: _documents(memos, write_bodies("credit_memo", memos[memo], below[[ROW, *parts]])),
        STOCK: _documents(adjusted, write_bodies("stock_adjustment", adjusted[adjustment])),
    }


def _documents(rows: pd.DataFrame, written: Sequence[bytes]) -> list[Document]:
    columns = (rows[name].tolist() for name in ("ExternalReference", "key", "content_hash"))
    return [
        Document(reference, body, reference, content, {"other_key": key}, row=key, prefix=f"{reference}: ")
        for reference, key, content, body in zip(*columns, written, strict=True)
    ]


# ---- load ----------------------------------------------------------------------------------------------------------


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Posts credit memos in bulk, then the stock adjustments of returns whose credit memos are all in TIMS."""
    table = stage_credit_memo
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        returns = list(
            connection.execute(
                sa.select(table.c.key, table.c.sales_order_id, table.c.content_hash, table.c.version).where(
                    table.c.batch_id == batch_id, table.c.state == "ready"
                )
            )
        )
        documents = _ready(connection, batch_id)
    refused: dict[str, list[dict]] = {}
    missing: set[str] = set()
    would_be: set[str] = set()
    problem = None
    for kind, some in documents.items():
        wanted = [one for one in some if one.row not in missing or one.row in would_be]
        posted = post(runtime, flow, batch_id, kind, wanted, ADVICE)
        would_be |= posted.would_be
        refused |= posted.refused
        missing |= {one.row for one in some} - {*posted.mine, *posted.existing}
        problem = posted.problem or problem
    done = [row for row in returns if row.key not in missing]
    with runtime.engine.begin() as connection:
        before = deliveries.links(connection, RETURN, [row.key for row in done])
        keys = {"known": [r.key for r in done if r.key in before], "new": [r.key for r in done if r.key not in before]}
        deliveries.link(connection, [_link(row, batch_id) for row in done if row.key not in before])
        record_outcomes(connection, flow, batch, delivered=keys["new"], unchanged=keys["known"], refused=refused)
    if problem:
        raise problem


def _link(row: sa.Row, batch_id: int) -> dict[str, Any]:
    return {
        "entity": RETURN,
        "source_key": row.key,
        "target_id": row.sales_order_id,
        "content_hash": row.content_hash,
        "version": row.version,
        "batch_id": batch_id,
    }
