"""Events that the systems have sent us: which record to read now, and whether that was done.

In: events as received. Out: rows of `ops.webhook_event`, and a NOTIFY that wakes whoever waits. Never: an event of one
system and flow twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.store.database import insert_all
from crossdock.store.tables import ops_webhook_event as table

CHANNEL = "crossdock_events"  # of NOTIFY: something came
RECEIVER_ROLE = "crossdock_receiver"  # may add events and nothing else
PORTION = 5_000  # rows that one transaction deletes
SYSTEMS = ("channel_advisor", "tims")
STATES = ("waiting", "worked", "unread")  # waiting: at work, too; unread: no flow reads such records


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
        .values(run_id=run_id, times=table.c.times + 1, taken_at=sa.func.now())
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


# ---- what people ask for -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter:
    """Which events. `state`: one of STATES, or "" for all; `since`: received then or later; `ids`: those alone; `text`:
    with this id, or of the record that has this key."""

    system: str = ""
    flow: str = ""
    state: str = ""
    since: datetime | None = None
    ids: Collection[str] = ()
    text: str = ""

    def where(self) -> list[sa.ColumnElement[bool]]:
        """The conditions; none for all events."""
        wanted: list[sa.ColumnElement[bool]] = []
        if self.system:
            wanted.append(table.c.system == self.system)
        if self.flow:
            wanted.append(table.c.flow == self.flow)
        if self.state == "waiting":
            wanted.append(table.c.worked_at.is_(None))
        elif self.state:
            wanted.append(table.c.flow == "" if self.state == "unread" else table.c.flow != "")
            wanted.append(table.c.worked_at.is_not(None))
        if self.since:
            wanted.append(table.c.received_at >= self.since)
        if self.ids:
            wanted.append(table.c.event_id == sa.any_(sa.bindparam("ids", list(self.ids), type_=sa.ARRAY(sa.Text))))
        if self.text:
            of_either = sa.and_(table.c.system.in_(SYSTEMS), table.c.event_id == self.text)  # the key begins so
            wanted.append(sa.or_(table.c.key == self.text, of_either))
        return wanted


def listed(connection: sa.Connection, wanted: Filter, limit: int) -> Sequence[sa.Row]:
    """Events, the newest first; `seconds`: how long each has waited, or waited until it was worked."""
    seconds = sa.extract("epoch", sa.func.coalesce(table.c.worked_at, sa.func.now()) - table.c.received_at)
    newest = (table.c.received_at.desc(), table.c.event_id, table.c.flow)
    statement = sa.select(table, seconds.label("seconds")).where(*wanted.where()).order_by(*newest).limit(limit)
    return connection.execute(statement).all()


def count(connection: sa.Connection, wanted: Filter) -> int:
    """How many events a flow reads there are of these."""
    return connection.execute(_of_flows(sa.select(sa.func.count()).select_from(table), wanted)).scalar_one()


def replay(connection: sa.Connection, wanted: Filter) -> int:
    """Lets events that a flow reads wait again, and wakes the worker once this is committed. How many."""
    # Without a run: the one that has worked them may be at work now, and notes as worked what it has taken.
    again = sa.update(table).values(worked_at=None, taken_at=None, run_id="")
    changed = connection.execute(_of_flows(again, wanted)).rowcount
    if changed:
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
    return changed


def _of_flows(statement: Any, wanted: Filter) -> Any:
    return statement.where(table.c.flow != "", *wanted.where())


def age(engine: sa.Engine, older: timedelta) -> int:
    """Deletes events that were worked so long ago, in portions; those that wait stay. How many."""
    return sum(_portions(engine, older))


def _portions(engine: sa.Engine, older: timedelta) -> Iterator[int]:
    keys = (table.c.system, table.c.event_id, table.c.flow)
    old = (table.c.worked_at < sa.func.now() - older, table.c.received_at < sa.func.now() - older)
    some = sa.select(*keys).where(*old).limit(PORTION).with_for_update(skip_locked=True)
    while True:
        with engine.begin() as connection:
            deleted = connection.execute(sa.delete(table).where(sa.tuple_(*keys).in_(some))).rowcount
        yield deleted
        if deleted < PORTION:
            return
