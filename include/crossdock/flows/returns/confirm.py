"""What goes back once the target has it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from crossdock.errors import RecordRejected
from crossdock.flow import Flow
from crossdock.flows.returns.load import RETURN
from crossdock.steps.check import dead_letter
from crossdock.steps.load import chunked
from crossdock.store.tables import (
    ops_link,
    stage_credit_memo,
)
from crossdock.systems import limits

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


DECISIONS = {"NewRma": "Approve", "PendingReturn": "Approve", "Received": "Approve", "Approved": "MarkRefunded"}
RESOLVED = ("Refunded", "Closed")


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
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
                dead_letter(connection, flow, batch_id, "confirm", refused)


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
