"""Books the settlements of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.rules import settlements as rules
from crossdock.steps.load import record_outcomes
from crossdock.store import batches, sql
from crossdock.store.tables import (
    ref_settlement,
)
from crossdock.systems import settlement_ledger

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


_READY = sql.statement(__package__, "ready")

_BOOK = sql.statement(__package__, "book")

_BOOK_LINES = sql.statement(__package__, "book_lines")

_RENAME_KINDS = sql.statement(__package__, "rename_kinds")


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Books the settlements in the order of their periods, each in a transaction of its own."""
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
    """Books a settlement if it is new. Returns the arguments of `record_outcomes` for it."""
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
    if (held.file, held.content_hash) != (row.file, row.content_hash):  # another file was booked in between
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
