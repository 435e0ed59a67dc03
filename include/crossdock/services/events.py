"""Events: what the systems have rung for, how far each is on its way, and how long each leg of it takes.

In: a connection, the person who looks. Out: what waits and since when, by flow; the times of the last hour, leg by leg;
the events, the newest first, a page at a time. Never: a time that nobody has measured; the source's clock held against
ours where they are far apart; a count that grows slower with the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.services.people import Person, Right
from crossdock.services.timeline import far_clocks
from crossdock.store.tables import ops_batch, ops_delivery
from crossdock.store.tables import ops_webhook_event as table
from crossdock.store.webhook_events import STATES as WANTED
from crossdock.store.webhook_events import SYSTEMS, Filter
from crossdock.systems.failures import NAMES

HOUR = timedelta(hours=1)
PAGE = 50
MEASURED = 300  # events of a flow by which its times are measured
COUNTED = 20_000  # a count goes no further: in a storm it would only cost time
STATES = {"waiting": "waits", "taken": "is at work", "worked": "is worked", "unread": "is read by no flow"}
LEGS = ("sent", "taken", "written", "confirmed", "whole")  # whole: from received until the document was written


@dataclass(frozen=True)
class Leg:
    """How long half of the events of a flow took on this leg, and 95 in 100, in seconds, of so many measured. `sent` is
    below 0 where the source's clock is ahead of ours."""

    usual_seconds: float
    slow_seconds: float
    measured: int


@dataclass(frozen=True)
class FlowEvents:
    """The events of a flow: how many have come in the last hour and how many wait, COUNTED at most; `since`: when the
    oldest of those came; `legs`: those of LEGS that were measured; `other_clock`: the source's clock is not ours, so
    that nobody knows when they were sent."""

    flow: str
    title: str
    target: str
    received: int
    waiting: int
    since: datetime | None
    age_seconds: float | None
    legs: dict[str, Leg]
    other_clock: bool


@dataclass(frozen=True)
class Sender:
    """A system, and when its last event came; None: none has come."""

    system: str
    title: str
    last_at: datetime | None


@dataclass(frozen=True)
class Events:
    """The panel of the overview. `flows`: those for which events have come in the last hour, or wait."""

    senders: tuple[Sender, ...]
    flows: tuple[FlowEvents, ...]

    @property
    def are_on(self) -> bool:
        """Whether any event has come at all."""
        return any(sender.last_at for sender in self.senders)


@dataclass(frozen=True)
class EventRow:
    """One event for one flow. `state`: one of STATES; `legs`: seconds by LEGS, of those that are known; `other_clock`:
    `occurred_at` is by a clock that is not ours."""

    system: str
    system_title: str
    event_id: str
    event_type: str
    key: str
    flow: str
    title: str
    target: str
    state: str
    times: int
    run_id: str
    occurred_at: datetime | None
    other_clock: bool
    received_at: datetime
    legs: dict[str, float]


@dataclass(frozen=True)
class EventRows:
    """A page of events, the newest first. `after`: what to ask for the next page with; None on the last one."""

    rows: tuple[EventRow, ...]
    after: str | None


# ---- the panel -----------------------------------------------------------------------------------------------------


def panel(connection: sa.Connection, person: Person) -> Events:
    """How events are at this moment."""
    person.require(Right.SEE)
    senders = tuple(Sender(name, NAMES[name], _last(connection, name)) for name in SYSTEMS)
    if not any(sender.last_at for sender in senders):
        return Events(senders, ())
    far, every = far_clocks(connection), flows.all_flows()
    counted = {row.flow: row for row in connection.execute(sa.union_all(*map(_counts, every)))}
    active = [flow for name, flow in every.items() if counted[name].waiting or counted[name].received]
    measured = connection.execute(sa.union_all(*map(_times, active))).all() if active else ()
    times = {row.flow: row for row in measured}
    return Events(senders, tuple(_made(flow, counted[flow.name], times[flow.name], far) for flow in active))


def _made(flow: Flow, counts: sa.Row, times: sa.Row, far: Collection[str]) -> FlowEvents:
    other_clock = flow.source.system in far
    legs = {}
    for name in LEGS:
        several, measured = getattr(times, name), getattr(times, f"{name}_measured")
        if measured and not (name == "sent" and other_clock):
            legs[name] = Leg(float(several[0]), float(several[1]), measured)
    age = None if counts.age is None else float(counts.age)
    return FlowEvents(
        flow.name, flow.title, flow.target, counts.received, counts.waiting, counts.since, age, legs, other_clock
    )


def _last(connection: sa.Connection, system: str) -> datetime | None:
    newest = sa.select(table.c.received_at).where(table.c.system == system).order_by(table.c.received_at.desc())
    return connection.scalar(newest.limit(1))


def _counts(flow: str) -> sa.Select[Any]:
    """How many events of a flow wait, since when, for how many seconds; how many have come in the last hour."""
    mine = sa.select(table.c.received_at).where(table.c.flow == flow)
    waiting = mine.where(table.c.worked_at.is_(None)).order_by(table.c.received_at).limit(COUNTED).subquery()
    lately = mine.where(_LATELY).limit(COUNTED).subquery()
    since = sa.func.min(waiting.c.received_at)
    return sa.select(
        sa.literal(flow).label("flow"), sa.func.count().label("waiting"), since.label("since"),
        sa.func.extract("epoch", sa.func.now() - since).label("age"),
        sa.select(sa.func.count()).select_from(lately).scalar_subquery().label("received"),
    ).select_from(waiting)  # fmt: skip


def _times(flow: Flow) -> sa.Select[Any]:
    """What half of the last events of a flow took on each leg, and 95 in 100, and how many were measured."""
    newest = table.c.received_at.desc()
    last = sa.select(table).where(table.c.flow == flow.name, _LATELY).order_by(newest).limit(MEASURED).subquery()
    timed = _with_legs(last, [flow]).subquery()
    columns: list[sa.ColumnElement[Any]] = [sa.literal(flow.name).label("flow")]
    for name in LEGS:
        leg = timed.c[name]
        columns.append(
            sa.func.percentile_cont(sa.literal([0.5, 0.95], sa.ARRAY(sa.Float))).within_group(leg).label(name)
        )
        columns.append(sa.func.count(leg).label(f"{name}_measured"))
    return sa.select(*columns).select_from(timed)


_LATELY = table.c.received_at > sa.func.now() - HOUR


def _with_legs(events: sa.Subquery, of: Iterable[Flow]) -> sa.Select[Any]:
    """The events with their legs in seconds; of one that is not known it is NULL. Written for an event is what was
    delivered of its record while the run worked it; that is confirmed when its batch has ended."""
    sent, event = ops_delivery.c, events.c
    entity = sa.case({flow.name: flow.entity for flow in of}, value=event.flow)
    written = (
        sa.select(sa.func.max(sent.done_at).label("done_at"), sa.func.max(sent.batch_id).label("batch_id"))
        .where(sent.entity == entity, sent.key == event.key, sent.flow == event.flow)
        .where(sent.operation != "confirm", sent.outcome.in_(("confirmed", "superseded")))
        .where(sent.done_at >= event.taken_at, sent.done_at <= sa.func.coalesce(event.worked_at, sa.func.now()))
        .lateral()
    )
    between = {
        "sent": (event.occurred_at, event.received_at),
        "taken": (event.received_at, event.taken_at),
        "written": (event.taken_at, written.c.done_at),
        "confirmed": (written.c.done_at, ops_batch.c.finished_at),
        "whole": (event.received_at, written.c.done_at),
    }
    legs = [sa.func.extract("epoch", end - begin).label(name) for name, (begin, end) in between.items()]
    joined = events.outerjoin(written, sa.true()).outerjoin(ops_batch, ops_batch.c.id == written.c.batch_id)
    return sa.select(events, *legs).select_from(joined)


# ---- event by event ------------------------------------------------------------------------------------------------


def listed(
    connection: sa.Connection, person: Person, wanted: Filter, *, after: str | None = None, limit: int = PAGE
) -> EventRows:
    """The events of a filter, the newest first. Raises ConfigError for a state or a place that there is not."""
    person.require(Right.SEE)
    if wanted.state and wanted.state not in WANTED:
        raise ConfigError(f"There is no state {wanted.state[:60]!r}.", do=f"There are {', '.join(WANTED)}.")
    place = (table.c.received_at, table.c.event_id, table.c.system, table.c.flow)
    query = sa.select(table).where(*wanted.where())
    if after is not None:
        at, rest = _place(after)
        query = query.where(table.c.received_at <= at, sa.tuple_(*place) < sa.tuple_(at, *rest))
    page = query.order_by(*(column.desc() for column in place)).limit(limit + 1).subquery()
    order = (page.c[column.name].desc() for column in place)
    rows = connection.execute(_with_legs(page, flows.all_flows().values()).order_by(*order)).all()
    far, every, shown = far_clocks(connection), flows.all_flows(), rows[:limit]
    made = tuple(_row(row, every.get(row.flow), row.system in far) for row in shown)
    return EventRows(made, _place_of(shown[-1]) if len(rows) > limit else None)


def _row(row: sa.Row, flow: Flow | None, other_clock: bool) -> EventRow:
    legs = {name: float(getattr(row, name)) for name in LEGS if getattr(row, name) is not None}
    if other_clock:
        legs.pop("sent", None)
    state = "unread" if not row.flow else "worked" if row.worked_at else "taken" if row.taken_at else "waiting"
    return EventRow(
        row.system, NAMES.get(row.system, row.system), row.event_id, row.event_type, row.key, row.flow,
        flow.title if flow else row.flow, flow.target if flow else "", state, row.times, row.run_id, row.occurred_at,
        other_clock, row.received_at, legs,
    )  # fmt: skip


def _place_of(row: sa.Row) -> str:
    return "~".join((row.received_at.isoformat(), row.system, row.flow, row.event_id))


def _place(after: str) -> tuple[datetime, tuple[str, str, str]]:
    """The moment, and event, system and flow, after which a page begins."""
    try:
        moment, system, flow, event = after.split("~", 3)
        at = datetime.fromisoformat(moment)
        return at.replace(tzinfo=at.tzinfo or UTC), (event, system, flow)
    except ValueError:
        raise ConfigError(f"{after[:60]!r} is no place in the list.", do="Begin at the top of the list.") from None
