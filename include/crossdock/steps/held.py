"""Records that would have been made: what of their newer versions changes nothing in that, in shadow mode.

In: a batch, with what transform and the checks say of its rows. Out: rows that are `would_be` all the same, with what
has come later. Never: a live flow's row; a record of which nothing would have been made before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.store import database, dead_letters, leases, would_be

STAYS = "It would have been sent: the flow {flow} is in shadow mode. Later, {later}."


def later(
    connection: sa.Connection, flow: Flow, batch_id: int, reasons: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, str]:
    """Finds the rows of a batch that a live flow would have sent before, and would not stumble over now: they are left
    out, or refused for these `reasons`, only for what the flow's `later` names. Returns what that means, by key."""
    if not flow.later:
        return {}
    stage = flow.stage
    skipped = sa.select(stage.c.key, stage.c.reason).where(
        stage.c.batch_id == batch_id, stage.c.state == "left_out", stage.c.reason.in_(flow.later)
    )
    found = {row.key: flow.later[row.reason] for row in connection.execute(skipped)}
    for key, why in reasons.items():
        rules = {one["rule"] for one in why}
        if rules and rules <= flow.later.keys():
            found[key] = flow.later[min(rules)]
    made = would_be.made(connection, flow.name, flow.entity, list(found))
    return {key: words for key, words in found.items() if key in made}


def stay(connection: sa.Connection, flow: Flow, batch_id: int, found: Mapping[str, str]) -> None:
    """Leaves what `later` has found as it would have been made, and notes what has come. Open dead letters of it are
    resolved."""
    if not found:
        return
    leases.require(connection, flow.name)
    stage = flow.stage
    rows = [{"key": key, "reason": STAYS.format(flow=flow.name, later=words)} for key, words in found.items()]
    given = database.given(stage, rows)
    connection.execute(
        sa.update(stage)
        .where(stage.c.key == given.c.key, stage.c.batch_id == batch_id, stage.c.state.in_(("left_out", "staged")))
        .values(state="would_be", reason=given.c.reason)
    )
    would_be.note(connection, flow.name, found)
    dead_letters.close_resolved(connection, flow.name, list(found), replay=False)
