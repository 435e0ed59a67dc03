"""Events that the systems have sent us: which record to read now, and whether that was done.

In: events as received. Out: rows of `ops.webhook_event`, and a NOTIFY that wakes whoever waits. Never: an event of one
system and flow twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.store.database import insert_all
from crossdock.store.tables import ops_webhook_event as table

CHANNEL = "crossdock_events"  # of NOTIFY: something came
RECEIVER_ROLE = "crossdock_receiver"  # may add events and nothing else


class Event(NamedTuple):
    """One notice for one flow. `flow`: "" where none reads such records. `occurred_at`: by the system's clock."""

    system: str
    event_id: str
    flow: str
    event_type: str
    key: str
    profile: int | None = None
    occurred_at: datetime | None = None


def add(connection: sa.Connection, events: Sequence[Event]) -> int:
    """Writes the events that are new, in one statement, and tells whoever waits for them once this is committed. How
    many were new. Needs no right but to insert."""
    now = datetime.now(UTC)
    rows = [event._asdict() | {"worked_at": None if event.flow else now} for event in events]
    new = connection.execute(insert_all(table, rows).on_conflict_do_nothing()).rowcount
    if new:
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
    return new


def require(connection: sa.Connection) -> None:
    """Raises ConfigError where events cannot be added, or where more than that could be done."""
    is_there = sa.func.has_table_privilege(sa.func.to_regclass(table.fullname), "INSERT")
    role, may_add = connection.execute(sa.select(sa.literal_column("current_user"), is_there)).one()
    if not may_add:
        raise ConfigError(
            "The Crossdock database has no table for events that this login may write to.",
            do="Run `crossdock db migrate` with a login that may change tables, then this again.",
        )
    if role != RECEIVER_ROLE:
        raise ConfigError(
            f"The database's login may not act as {RECEIVER_ROLE}, which may add events and nothing else.",
            do=f"Make the role with `crossdock db migrate`, and GRANT {RECEIVER_ROLE} to the login.",
        )


def flows_waiting(connection: sa.Connection) -> set[str]:
    """The flows for which events wait."""
    return set(connection.scalars(sa.select(table.c.flow).distinct().where(table.c.worked_at.is_(None))))


def take(connection: sa.Connection, flow: str, run_id: str) -> tuple[int, list[str]]:
    """Notes that a run works all events that wait for a flow: how many, and their records, the oldest event first.
    What comes meanwhile waits for the next one."""
    taken = connection.execute(
        sa.update(table)
        .where(table.c.flow == flow, table.c.worked_at.is_(None))
        .values(run_id=run_id, times=table.c.times + 1)
        .returning(table.c.key, table.c.received_at)
    ).all()
    return len(taken), list(dict.fromkeys(row.key for row in sorted(taken, key=lambda row: row.received_at)))


def note_worked(connection: sa.Connection, flow: str, run_id: str) -> None:
    """Notes that what the run has taken is worked."""
    connection.execute(
        sa.update(table)
        .where(table.c.flow == flow, table.c.worked_at.is_(None), table.c.run_id == run_id, table.c.times > 0)
        .values(worked_at=sa.func.now())
    )
