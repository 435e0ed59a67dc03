"""Reports delivered records to the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from crossdock.errors import RecordRejected
from crossdock.flow import Flow
from crossdock.flows.returns.load import RETURN
from crossdock.steps.check import dead_letter
from crossdock.steps.write_back import Change, write_back
from crossdock.store.tables import (
    ops_link,
    stage_credit_memo,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


APPROVED, REFUNDED = "Approved", "Refunded"
DECISIONS = {"NewRma": "Approve", "PendingReturn": "Approve", "Received": "Approve", APPROVED: "MarkRefunded"}
RESOLVED = (REFUNDED, "Closed")


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Approves the returns that the batch delivered, and marks them as refunded."""
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

    def keep(connection: sa.Connection, written: Sequence[str], refused: Mapping[str, RecordRejected]) -> None:
        connection.execute(
            sa.update(ops_link)
            .where(ops_link.c.entity == RETURN, ops_link.c.source_key.in_(written))
            .values(confirmed_at=sa.func.now())
        )
        dead_letter(connection, flow, batch_id, "confirm", {key: [_reason(why)] for key, why in refused.items()})

    changes = [Change(key, {"Status": REFUNDED}, partial(_resolve, runtime, key, status)) for key, status in rows]
    write_back(runtime, (flow,), batch_id, changes, keep)


def _resolve(runtime: Runtime, key: str, status: str) -> bytes | None:
    """Takes a return from its status to Refunded, or to Approved where the channel goes on by itself. Returns it as
    stored, None where nothing was to be done. Raises the channel's refusal. A repeated decision has no further
    effect."""
    refused: RecordRejected | None = None
    stored: bytes | None = None
    finished = RESOLVED if runtime.can.mark_refunded else (APPROVED, *RESOLVED)
    while status not in finished:
        decision = DECISIONS.get(status)
        if decision is None:
            raise refused or RecordRejected(f"it is {status} there by now", status=409)
        try:
            stored = runtime.channel_advisor.resolve_return(key, decision)
            stored = stored or runtime.channel_advisor.record("returns", key)
        except RecordRejected as error:
            if error.code != "IllegalDecision" or refused:
                raise
            refused = error  # somebody else decided in between: go on from the present status
            stored = runtime.channel_advisor.record("returns", key)
        status = msgspec.json.decode(stored)["Status"]
    return stored


def _reason(refusal: RecordRejected) -> dict[str, str]:
    return {
        "field": "Status",
        "rule": "confirm_refused",
        "value": "",
        "line": "",
        "says": f"Its documents are in TIMS, but Channel Advisor does not take it as refunded: {refusal.message}",
        "do": "Look at the return on the channel. Dismiss this if it is settled there.",
    }
