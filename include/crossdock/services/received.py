"""What became of an event: for each flow, who worked it, in which batch, and where its record stands now.

In: the id of an event. Out: its rows with what is known of the record. Never: the record itself, which may hold
personal data.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.store import dead_letters, webhook_events
from crossdock.store.tables import ops_batch, ops_dead_letter, ops_work
from crossdock.store.webhook_events import Filter

WORDS = {
    "staged": "at work", "ready": "at work", "delivered": "delivered", "unchanged": "as delivered before",
    "waiting": "waits for another record", "dead": "a dead letter", "left_out": "skipped: a rule sends nothing",
    "would_be": "made, but for the last write: the flow is in shadow mode",
}  # fmt: skip
MOST = 100  # flows and systems of one id


@dataclass(frozen=True)
class Received:
    """One event for one flow. `batch`: of the record's newest version that the flow has worked; `letter`: the number of
    its open dead letter; `outcome`: a sentence."""

    event: sa.Row
    batch: int | None
    batch_kind: str
    batch_run: str
    letter: int | None
    outcome: str


def find(connection: sa.Connection, event_id: str) -> list[Received]:
    """What is known of an event. Raises ConfigError where there is none."""
    rows = webhook_events.listed(connection, Filter(ids=[event_id]), MOST)
    if not rows:
        raise ConfigError(
            f"There is no event {event_id[:100]!r}.",
            do="`crossdock events list` has the ids; events that were worked long ago are deleted.",
        )
    return [_received(connection, row) for row in rows]


def _received(connection: sa.Connection, row: sa.Row) -> Received:
    flow = flows.all_flows().get(row.flow)
    if flow is None:
        return Received(row, None, "", "", None, "no flow reads such records")
    worked = (
        sa.select(ops_batch.c.id, ops_batch.c.kind, ops_batch.c.run_id)
        .join(ops_work, ops_work.c.batch_id == ops_batch.c.id)
        .where(ops_work.c.queue == row.flow, ops_work.c.key == row.key)
        .order_by(ops_batch.c.id.desc())
    )
    batch = connection.execute(worked.limit(1)).first()
    letter = connection.scalar(
        sa.select(ops_dead_letter.c.id)
        .where(ops_dead_letter.c.flow == row.flow, ops_dead_letter.c.key == row.key)
        .where(ops_dead_letter.c.state.in_(dead_letters.OPEN))
    )
    states = connection.scalars(sa.select(flow.stage.c.state).where(flow.stage.c.key == row.key).distinct())
    outcome = ", ".join(sorted({WORDS.get(state, state) for state in states}))
    if not outcome:
        outcome = "not read yet" if row.worked_at is None else "nothing was to be done: it is gone, or not ours"
    if batch is None:
        return Received(row, None, "", "", letter, outcome)
    return Received(row, batch.id, batch.kind, batch.run_id, letter, outcome)
