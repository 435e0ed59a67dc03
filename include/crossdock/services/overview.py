"""The first page: is all well, and if not, what is to be done?

In: a connection, the person who looks. Out: a lane per flow, the systems, alerts, stopped batches, and the records
behind every number. Never: a payload; a count that grows slower with the database (each is of an index, or of a bounded
number of rows, and then says so).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.services import events, remarks, worth
from crossdock.services.advice import Advice, advice, heading, spoken
from crossdock.services.events import Events
from crossdock.services.people import Person, Right
from crossdock.services.timeline import is_far
from crossdock.services.wording import in_words
from crossdock.services.worth import Worth
from crossdock.steps.records import REFERENCE
from crossdock.store import abilities, alerts, audit
from crossdock.store.dead_letters import CLOSED, OPEN
from crossdock.store.tables import (
    ops_alert,
    ops_batch,
    ops_circuit,
    ops_dead_letter,
    ops_delivery,
    ops_rate_lease,
    ops_silence,
    ops_watermark,
    ops_work,
)
from crossdock.systems import limits
from crossdock.systems.failures import NAMES

DAY = timedelta(days=1)
HOURS = 24
MEASURED = 500  # deliveries of a flow by which its time is measured
SHOWN_ALERTS = 50  # silenced ones, and open ones of one kind
KEPT_NOTED = timedelta(days=14)  # how long a noted alert stands in its list
MOST_NOTED = 500
CALLS = 50  # of a system, on its page
LONGEST_SILENCE = timedelta(days=30)
TITLES = {**NAMES, "inbox": "Files", "settlement_ledger": "Settlement ledger"}
SYSTEMS = ("channel_advisor", "tims")  # with a budget and a circuit
LIST_STATES = ("in_flight", "waiting", "delivered", "dead", "dead_new", "dead_closed")


@dataclass(frozen=True)
class Lane:
    """One flow. `hours`: records delivered in each of the last 24 hours, the oldest first; `dead_new`: open letters
    that came up in the last 24 hours; `dead_closed`: letters that were closed in them; `usual_seconds` and
    `slow_seconds`: from the change in the source until it was delivered (of half of the records, of 95 in 100), or
    `since_read`, where the source's clock is not ours; `held_dead` and `held_waiting`: what its dead letters, and its
    waiting records, are worth."""

    flow: str
    title: str
    dag: str
    source: str
    target: str
    read_at: datetime | None
    age_seconds: float | None
    stale_minutes: int
    stale: bool
    in_flight: int
    waiting: int
    dead: int
    dead_new: int
    dead_closed: int
    delivered: int
    hours: tuple[int, ...]
    usual_seconds: float | None = None
    slow_seconds: float | None = None
    measured: int = 0
    since_read: bool = False
    held_dead: Worth = field(default_factory=dict)
    held_waiting: Worth = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """A system that is asked over the network: requests of the last minute against what it allows, and whether it is
    left alone because it has failed too often."""

    name: str
    title: str
    used: int
    per_minute: int
    paused_until: datetime | None
    circuit: str  # closed, half_open or open
    failures: int
    since: datetime | None
    switched_off: tuple[str, ...] = ()  # what its API cannot do, in sentences


@dataclass(frozen=True)
class Alert:
    """Alerts of one kind and key: open, noted by somebody, or silenced. `id`: the newest of them; `times`: how often
    it came up, from `first_at` to `last_at`; `advice`: what to do about it in the browser; `together`: of how many keys
    of its kind they are that were noted at once."""

    id: int
    kind: str
    key: str
    severity: str
    title: str
    body: str
    flow: str | None
    times: int
    first_at: datetime
    last_at: datetime
    advice: Advice
    silenced_until: datetime | None = None
    silence_reason: str = ""
    silenced_by: str = ""
    noted_at: datetime | None = None
    noted_by: str = ""
    together: int = 1


@dataclass(frozen=True)
class AlertGroup:
    """Alerts of one kind, about `count` things; `newest`: the newest of them all, which whoever notes or silences them
    has seen; `alerts`: the newest of each thing, the last first, SHOWN_ALERTS of them at most."""

    kind: str
    title: str
    severity: str
    count: int
    newest: int
    first_at: datetime
    last_at: datetime
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class Silenced:
    """Alerts of one kind that somebody has silenced at once, with the same end."""

    kind: str
    title: str
    until: datetime
    reason: str
    who: str
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class StoppedBatch:
    """A batch that check has stopped: too many of its records break a rule."""

    id: int
    flow: str
    title: str
    dag: str
    records: int
    stopped_at: datetime
    message: str
    do: str


@dataclass(frozen=True)
class Overview:
    """The page. `groups`: open alerts by kind, the last first; `held_dead` and `held_waiting`: amounts by currency of
    all open dead letters, and of all records that wait; `noted`: alerts that somebody has taken note of in the last
    days; `events`: what the systems have rung for."""

    at: datetime
    lanes: tuple[Lane, ...]
    systems: tuple[System, ...]
    groups: tuple[AlertGroup, ...]
    silenced: tuple[Silenced, ...]
    stopped: tuple[StoppedBatch, ...]
    held_dead: Worth
    held_waiting: Worth
    noted: int
    events: Events

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The open alerts, the last first."""
        every = [alert for group in self.groups for alert in group.alerts]
        return tuple(sorted(every, key=lambda alert: (alert.last_at, alert.id), reverse=True))

    @property
    def open_alerts(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def stale(self) -> tuple[Lane, ...]:
        return tuple(lane for lane in self.lanes if lane.stale)

    @property
    def dead(self) -> int:
        return sum(lane.dead for lane in self.lanes)

    @property
    def down(self) -> tuple[System, ...]:
        return tuple(system for system in self.systems if system.circuit != "closed")

    @property
    def well(self) -> bool:
        return not (self.stale or self.dead or self.down or self.stopped or self.groups)


@dataclass(frozen=True)
class RecordRow:
    """One record behind a number. `letter`: number of its dead letter."""

    key: str
    state: str
    reason: str
    version: datetime | None
    batch_id: int
    at: datetime
    letter: int | None = None


@dataclass(frozen=True)
class RecordRows:
    """A page of records. `after`: what to ask for the next page with; None on the last one."""

    rows: tuple[RecordRow, ...]
    after: str | None


# ---- the page ------------------------------------------------------------------------------------------------------


def overview(connection: sa.Connection, person: Person) -> Overview:
    """How everything is at this moment."""
    person.require(Right.SEE)
    every = flows.all_flows()
    now: datetime = connection.scalar(sa.select(sa.func.now())) or datetime.max
    waiting, held_waiting = _waiting(connection, every)
    held_dead: dict[str, Worth] = {}
    for (name, _), amounts in worth.of_letters(connection).items():
        held_dead[name] = worth.added((held_dead.get(name, {}), amounts))
    counts = _Counts(
        marks=_marks(connection),
        in_flight=_in_flight(connection),
        waiting=waiting,
        dead=_dead(connection),
        delivered=_delivered(connection),
        held_dead=held_dead,
        held_waiting=held_waiting,
    )
    dags = flows.packages()
    lanes = tuple(_lane(connection, flow, dags[flow.name], counts, now) for flow in every.values())
    return Overview(
        now, lanes, _systems(connection), _groups(connection), tuple(silenced(connection)), stopped_batches(connection),
        worth.added(held_dead.values()), worth.added(held_waiting.values()), _count_noted(connection),
        events.panel(connection, person),
    )  # fmt: skip


@dataclass(frozen=True)
class _Counts:
    """What is counted for all flows at once."""

    marks: dict[tuple[str, str], sa.Row]
    in_flight: dict[str, int]
    waiting: dict[str, int]
    dead: dict[str, tuple[int, int, int]]  # open, of them new in the last 24 hours; closed in the last 24 hours
    delivered: dict[str, dict[int, int]]  # by hours ago
    held_dead: dict[str, Worth]
    held_waiting: dict[str, Worth]


def _lane(connection: sa.Connection, flow: Flow, dag: str, counts: _Counts, now: datetime) -> Lane:
    mark = counts.marks.get((flow.name, flow.source.name))
    allowed = settings.flow(flow.name).stale_minutes
    age = (now - mark.read_at).total_seconds() if mark else None
    dead, new, closed = counts.dead.get(flow.name, (0, 0, 0))
    hours = counts.delivered.get(flow.name, {})
    other_clock = mark is not None and is_far(mark)
    usual, slow, measured = _times(connection, flow, other_clock) if hours else (None, None, 0)
    return Lane(
        flow.name, flow.title, dag, flow.source.system, flow.target,
        mark.read_at if mark else None, age, allowed, age is not None and age > allowed * 60,
        counts.in_flight.get(flow.name, 0), counts.waiting.get(flow.name, 0), dead, new, closed,
        sum(hours.values()), tuple(hours.get(ago, 0) for ago in reversed(range(HOURS))), usual, slow, measured,
        other_clock, counts.held_dead.get(flow.name, {}), counts.held_waiting.get(flow.name, {}),
    )  # fmt: skip


def _marks(connection: sa.Connection) -> dict[tuple[str, str], sa.Row]:
    return {(row.flow, row.resource): row for row in connection.execute(sa.select(ops_watermark))}


def _in_flight(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(ops_batch.c.flow, sa.func.sum(ops_batch.c.in_flight)).where(ops_batch.c.finished_at.is_(None))
    return {name: int(count) for name, count in connection.execute(query.group_by(ops_batch.c.flow))}


def _waiting(connection: sa.Connection, every: dict[str, Flow]) -> tuple[dict[str, int], dict[str, Worth]]:
    """Records that wait, by flow, and what they are worth where their documents state it."""
    parts = []
    for flow in every.values():
        stage = flow.stage.c
        priced = "TotalAmount" in stage and "CurrencyCode" in stage
        currency = stage.CurrencyCode if priced else sa.literal(None, sa.Text)
        rounded = worth.in_cents(stage.TotalAmount, stage.CurrencyCode) if priced else None
        amount = sa.func.sum(rounded) if priced else sa.literal(None, sa.Numeric)
        query = sa.select(sa.literal(flow.name).label("flow"), currency.label("currency"), sa.func.count().label("n"),
                          amount.label("amount")).where(stage.state == "waiting")  # fmt: skip
        if sum(other.stage is flow.stage for other in every.values()) > 1:  # flows that share a table
            query = query.join(ops_batch, ops_batch.c.id == stage.batch_id).where(ops_batch.c.flow == flow.name)
        parts.append(query.group_by(currency) if priced else query)
    counted: dict[str, int] = {}
    held: dict[str, Worth] = {}
    for row in connection.execute(sa.union_all(*parts)):
        counted[row.flow] = counted.get(row.flow, 0) + row.n
        if row.currency and row.amount is not None:
            held[row.flow] = worth.added((held.get(row.flow, {}), {row.currency: row.amount}))
    return counted, held


def _dead(connection: sa.Connection) -> dict[str, tuple[int, int, int]]:
    """(open, of them new, closed) by flow; new and closed: in the last 24 hours."""
    table, lately = ops_dead_letter.c, sa.func.now() - DAY
    new = sa.func.count().filter(table.created_at > lately)
    still = sa.select(table.flow, sa.func.count(), new).where(table.state.in_(OPEN)).group_by(table.flow)
    found = {name: (count, fresh, 0) for name, count, fresh in connection.execute(still)}
    closed = sa.select(table.flow, sa.func.count()).where(table.state.in_(CLOSED), table.updated_at > lately)
    for name, count in connection.execute(closed.group_by(table.flow)):
        found[name] = (*found.get(name, (0, 0))[:2], count)
    return found


def _delivered(connection: sa.Connection) -> dict[str, dict[int, int]]:
    """Records delivered by flow and hours ago."""
    ended = sa.func.extract("epoch", sa.func.now() - ops_batch.c.finished_at) / 3600
    ago = sa.cast(sa.func.floor(ended), sa.Integer).label("ago")
    query = (
        sa.select(ops_batch.c.flow, ago, sa.func.sum(ops_batch.c.delivered).label("records"))
        .where(ops_batch.c.finished_at > sa.func.now() - DAY, ops_batch.c.delivered > 0, ops_batch.c.flow != REFERENCE)
        .group_by(ops_batch.c.flow, ago)
    )
    found: dict[str, dict[int, int]] = {}
    for row in connection.execute(query):
        hours = found.setdefault(row.flow, {})
        hour = min(max(row.ago, 0), HOURS - 1)
        hours[hour] = hours.get(hour, 0) + int(row.records)
    return found


def _times(connection: sa.Connection, flow: Flow, other_clock: bool) -> tuple[float | None, float | None, int]:
    """(half of them within, 95 in 100 within, how many) of the last deliveries of a day, in seconds."""
    table, stage = ops_delivery.c, flow.stage.c
    last = (
        sa.select(table.key, table.batch_id, table.done_at)
        .where(table.flow == flow.name, table.outcome == "confirmed", table.done_at > sa.func.now() - DAY)
        .where(table.operation != "confirm")
        .order_by(table.done_at.desc())
        .limit(MEASURED)
        .subquery()
    )
    begun = ops_batch.c.created_at if other_clock else stage.version
    taken = sa.func.extract("epoch", last.c.done_at - begun)
    query = sa.select(
        sa.func.percentile_cont(0.5).within_group(taken), sa.func.percentile_cont(0.95).within_group(taken),
        sa.func.count(),
    )  # fmt: skip
    query = query.join_from(last, flow.stage, sa.and_(stage.key == last.c.key, stage.batch_id == last.c.batch_id))
    if other_clock:
        query = query.join(ops_batch, ops_batch.c.id == last.c.batch_id)
    usual, slow, measured = connection.execute(query).one()
    return (None, None, 0) if not measured else (max(float(usual), 0.0), max(float(slow), 0.0), measured)


def _systems(connection: sa.Connection) -> tuple[System, ...]:
    lease, now = ops_rate_lease.c, sa.func.now()
    used = dict(
        connection.execute(
            sa.select(lease.system, sa.func.sum(lease.tokens))
            .where(lease.at > now - timedelta(minutes=1), lease.at <= now)
            .group_by(lease.system)
        ).all()
    )
    pauses = connection.execute(
        sa.select(lease.system, sa.func.max(lease.at)).where(lease.tokens == 0, lease.at > now).group_by(lease.system)
    ).all()
    paused = dict(pauses)
    circuits = {row.system: row for row in connection.execute(sa.select(ops_circuit))}
    found = []
    for name in SYSTEMS:
        circuit = circuits.get(name)
        found.append(
            System(
                name, TITLES[name], int(used.get(name, 0)), limits.load(name).requests_per_minute, paused.get(name),
                circuit.state if circuit else "closed", circuit.failures if circuit else 0,
                circuit.opened_at if circuit else None, tuple(abilities.lacking(connection, name).values()),
            )
        )  # fmt: skip
    return tuple(found)


@dataclass(frozen=True)
class Call:
    """One call that was to change something in a system."""

    at: datetime
    flow: str
    title: str
    what: str
    key: str
    outcome: str
    status: int | None
    error: str


@dataclass(frozen=True)
class Calls:
    """A system's page: requests in each of the last ten minutes (minutes ago: requests), the last first, and the
    last calls that were to change something there."""

    system: System
    minutes: tuple[tuple[int, int], ...]
    calls: tuple[Call, ...]


def calls(connection: sa.Connection, person: Person, name: str) -> Calls:
    """What was asked of a system lately. ConfigError for one that has no budget."""
    person.require(Right.SEE)
    if name not in SYSTEMS:
        raise ConfigError(f"There is no system {name!r}.", do=f"The systems are: {', '.join(SYSTEMS)}.")
    lease, ago = ops_rate_lease.c, sa.func.extract("epoch", sa.func.now() - ops_rate_lease.c.at) / 60
    minute = sa.cast(sa.func.floor(ago), sa.Integer)
    counted: dict[int, int] = dict(
        connection.execute(
            sa.select(minute, sa.func.sum(lease.tokens))
            .where(lease.system == name, lease.at > sa.func.now() - timedelta(minutes=10), lease.at <= sa.func.now())
            .group_by(minute)
        ).all()
    )
    every, table = flows.all_flows(), ops_delivery.c
    own = [flow.name for flow in every.values() if flow.target == name]
    rows = [
        row
        for flow in own
        for row in connection.execute(
            sa.select(ops_delivery)
            .where(table.flow == flow, table.outcome == "confirmed")
            .order_by(table.done_at.desc())
            .limit(CALLS)
        )
    ]
    unsure = sa.select(ops_delivery).where(table.flow.in_(own), table.outcome.in_(("sent", "unknown"))).limit(CALLS)
    rows += connection.execute(unsure).all()
    rows.sort(key=lambda row: row.done_at or row.sent_at or row.created_at, reverse=True)
    return Calls(
        next(one for one in _systems(connection) if one.name == name),
        tuple((number, int(counted.get(number, 0))) for number in range(10)),
        tuple(
            Call(row.done_at or row.sent_at or row.created_at, row.flow, every[row.flow].title,
                 f"{in_words(row.operation)} {in_words(row.entity)}", _named(row), row.outcome, row.status,
                 row.error or "")
            for row in rows[:CALLS]
        ),
    )  # fmt: skip


def _named(row: sa.Row) -> str:
    """The record of a call. Our key of a new customer is the buyer's id, which is personal data: its number in TIMS."""
    return row.response_id or "" if row.entity == "customer" else row.key


def stopped_batches(connection: sa.Connection) -> tuple[StoppedBatch, ...]:
    """Batches that check has stopped and nobody has gone on with, the oldest first."""
    every = flows.all_flows()
    words = sa.func.concat(ops_batch.c.flow, ":", sa.cast(ops_batch.c.id, sa.Text))
    alert = (
        sa.select(ops_alert.c.body)
        .where(ops_alert.c.kind == "batch_stopped", ops_alert.c.key == words)
        .order_by(ops_alert.c.last_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        sa.select(ops_batch, alert.label("body"))
        .where(ops_batch.c.finished_at.is_(None), ops_batch.c.stopped)
        .order_by(ops_batch.c.id)
    )
    return tuple(_stopped(row, every.get(row.flow)) for row in rows)


def _stopped(row: sa.Row, flow: Flow | None) -> StoppedBatch:
    message, _, do = str(row.body or "").partition("\n")
    message, shell = spoken(message)
    return StoppedBatch(
        row.id, row.flow, flow.title if flow else row.flow, flows.packages().get(row.flow, row.flow), row.in_flight,
        row.touched_at, message or "Too many of its records break a rule.", " ".join(filter(None, (do, shell))),
    )  # fmt: skip


def _groups(connection: sa.Connection) -> tuple[AlertGroup, ...]:
    """Alerts that nobody has taken note of or silenced, by kind: those of one kind and key are one, with the words of
    the newest."""
    table = ops_alert.c
    silent = sa.exists().where(alerts.silenced_with(), ops_silence.c.until > sa.func.now())
    one = (
        sa.select(
            table.kind, sa.func.max(table.id).label("newest"), sa.func.sum(table.times).label("often"),
            sa.func.min(table.first_at).label("since"), sa.func.max(table.last_at).label("until"),
        )
        .where(table.acknowledged_at.is_(None), ~silent)
        .group_by(table.kind, table.key)
        .subquery()
    )  # fmt: skip
    last = (one.c.until.desc(), one.c.newest.desc())
    placed = sa.select(
        *one.c, sa.func.row_number().over(partition_by=one.c.kind, order_by=last).label("place"),
        sa.func.count().over(partition_by=one.c.kind).label("things"),
        sa.func.max(one.c.newest).over(partition_by=one.c.kind).label("last"),
        sa.func.min(one.c.since).over(partition_by=one.c.kind).label("first"),
    ).subquery()  # fmt: skip
    rows = connection.execute(
        sa.select(ops_alert, *(placed.c[name] for name in ("often", "since", "until", "things", "last", "first")))
        .join(placed, placed.c.newest == table.id)
        .where(placed.c.place <= SHOWN_ALERTS)
        .order_by(placed.c.until.desc(), table.id.desc())
    )
    kinds: dict[str, list[sa.Row]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    return tuple(
        AlertGroup(
            kind, heading(kind), "alert" if any(row.severity == "alert" for row in own) else "notice", own[0].things,
            own[0].last, own[0].first, own[0].until, tuple(_made(row) for row in own),
        )
        for kind, own in kinds.items()
    )  # fmt: skip


def _made(row: sa.Row, **more: Any) -> Alert:
    return Alert(
        row.id, row.kind, row.key, row.severity, row.title, row.body, row.flow, int(row.often), row.since, row.until,
        advice(row.kind, row.key, row.flow, row.body), **more,
    )  # fmt: skip


def silenced(connection: sa.Connection) -> list[Silenced]:
    """Alerts of which no message is sent for now, the one whose silence ends first, first; each with its newest; those
    of one kind that were silenced at once together."""
    table = ops_alert.c
    newest = (
        sa.select(sa.func.max(table.id).label("id"), sa.func.sum(table.times).label("often"),
                  sa.func.min(table.first_at).label("since"), sa.func.max(table.last_at).label("until"))
        .where(alerts.silenced_with())
        .correlate(ops_silence)
        .lateral()
    )  # fmt: skip
    rows = connection.execute(
        sa.select(ops_silence.c.until.label("ends"), ops_silence.c.reason, ops_silence.c.silenced_by, newest.c.often,
                  newest.c.since, newest.c.until, *(column for column in table))
        .select_from(ops_silence)
        .join(newest, sa.true())
        .join(ops_alert, table.id == newest.c.id)
        .where(ops_silence.c.until > sa.func.now())
        .order_by(ops_silence.c.until, ops_silence.c.kind, ops_silence.c.key)
        .limit(SHOWN_ALERTS)
    )  # fmt: skip
    found: dict[tuple[str, datetime, str, str], list[Alert]] = {}
    for row in rows:
        made = _made(row, silenced_until=row.ends, silence_reason=row.reason, silenced_by=row.silenced_by)
        found.setdefault((row.kind, row.ends, row.reason, row.silenced_by), []).append(made)
    return [
        Silenced(kind, heading(kind), until, reason, who, tuple(own))
        for (kind, until, reason, who), own in found.items()
    ]


def noted(connection: sa.Connection, person: Person) -> list[Alert]:
    """Alerts that somebody has taken note of in the last days, the last first. Those of one kind that were noted at
    once are one."""
    person.require(Right.SEE)
    table = ops_alert.c
    rows = connection.execute(
        sa.select(ops_alert, table.times.label("often"), table.first_at.label("since"), table.last_at.label("until"))
        .where(_NOTED)
        .order_by(table.acknowledged_at.desc(), table.id.desc())
        .limit(MOST_NOTED)
    )
    found: dict[tuple[str, datetime], Alert] = {}
    keys: dict[tuple[str, datetime], set[str]] = {}
    for row in rows:
        same = (row.kind, row.acknowledged_at)
        keys.setdefault(same, set()).add(row.key)
        one = _made(row, noted_at=row.acknowledged_at, noted_by=row.acknowledged_by or "")
        if same in found:
            first = found[same]
            one = replace(
                first, times=first.times + one.times, first_at=min(first.first_at, one.first_at),
                last_at=max(first.last_at, one.last_at), together=len(keys[same]),
            )  # fmt: skip
        found[same] = one
    return list(found.values())


_NOTED = ops_alert.c.acknowledged_at > sa.func.now() - KEPT_NOTED


def _count_noted(connection: sa.Connection) -> int:
    named = sa.select(ops_alert.c.kind, ops_alert.c.key).where(_NOTED).distinct()
    return int(connection.scalar(sa.select(sa.func.count()).select_from(named.subquery())) or 0)


# ---- the records behind a number -----------------------------------------------------------------------------------


def records_behind(
    connection: sa.Connection,
    person: Person,
    flow_name: str,
    state: str,
    *,
    after: str | None = None,
    limit: int = 50,
) -> RecordRows:
    """The records of a flow that a number of the overview counts. `state`: one of LIST_STATES."""
    person.require(Right.SEE)
    flow = flows.get(flow_name)
    if state not in LIST_STATES:
        raise ConfigError(f"There is no list of {state!r}.", do=f"The lists are: {', '.join(LIST_STATES)}.")
    list_of = {"in_flight": _list_in_flight, "waiting": _list_waiting, "delivered": _list_delivered}
    if state.startswith("dead"):
        return _list_dead(connection, flow, state, after, limit)
    return list_of[state](connection, flow, after, limit)


def _list_waiting(connection: sa.Connection, flow: Flow, after: str | None, limit: int) -> RecordRows:
    stage = flow.stage.c
    query = _staged(flow).where(stage.state == "waiting").order_by(stage.key).limit(limit + 1)
    rows = connection.execute(query if after is None else query.where(stage.key > after)).all()
    return _page(rows, limit, lambda row: str(row.key))


def _list_in_flight(connection: sa.Connection, flow: Flow, after: str | None, limit: int) -> RecordRows:
    """Of batches at work: what has not come to an end in them."""
    stage = flow.stage.c
    query = (
        sa.select(
            ops_work.c.key, sa.func.coalesce(stage.state, "read").label("state"), stage.reason, stage.version,
            ops_work.c.batch_id, ops_work.c.queued_at.label("at"),
        )
        .join(ops_batch, ops_batch.c.id == ops_work.c.batch_id)
        .outerjoin(flow.stage, sa.and_(stage.key == ops_work.c.key, stage.batch_id == ops_work.c.batch_id))
        .where(ops_batch.c.flow == flow.name, ops_batch.c.finished_at.is_(None), ops_work.c.queue == flow.name)
        .where(sa.or_(stage.state.is_(None), stage.state.in_(("staged", "ready"))))
        .order_by(ops_work.c.key)
        .limit(limit + 1)
    )  # fmt: skip
    rows = connection.execute(query if after is None else query.where(ops_work.c.key > after)).all()
    return _page(rows, limit, lambda row: str(row.key))


def _list_delivered(connection: sa.Connection, flow: Flow, after: str | None, limit: int) -> RecordRows:
    """By batches that have ended in the last 24 hours, the newest first. What a newer version has taken over since is
    with that one."""
    stage = flow.stage.c
    ended = (
        sa.select(ops_batch.c.id)
        .where(ops_batch.c.flow == flow.name, ops_batch.c.delivered > 0, ops_batch.c.finished_at > sa.func.now() - DAY)
        .order_by(ops_batch.c.id.desc())
    )
    batch, key = _place(after)
    ids = list(connection.scalars(ended if batch is None else ended.where(ops_batch.c.id <= batch)))
    rows: list[sa.Row] = []
    for number in ids:  # a batch has at most 2,000 records
        query = _staged(flow).where(stage.batch_id == number, stage.state == "delivered")
        query = query.where(stage.key > key) if number == batch and key is not None else query
        rows += connection.execute(query.order_by(stage.key).limit(limit + 1 - len(rows))).all()
        if len(rows) > limit:
            break
    return _page(rows, limit, lambda row: f"{row.batch_id}~{row.key}")


def _list_dead(connection: sa.Connection, flow: Flow, state: str, after: str | None, limit: int) -> RecordRows:
    table, lately = ops_dead_letter.c, sa.func.now() - DAY
    wanted: list[sa.ColumnElement[bool]] = [table.flow == flow.name]
    if state == "dead_closed":
        wanted += [table.state.in_(CLOSED), table.updated_at > lately]
    else:
        wanted.append(table.state.in_(OPEN))
    if state == "dead_new":
        wanted.append(table.created_at > lately)
    number, _ = _place(f"{after}~" if after else None)
    if number is not None:
        wanted.append(table.id < number)
    query = sa.select(
        table.key, table.state, sa.func.coalesce(table.rule, "").label("reason"), table.version, table.batch_id,
        table.created_at.label("at"), table.id.label("letter"),
    )  # fmt: skip
    rows = connection.execute(query.where(*wanted).order_by(table.id.desc()).limit(limit + 1)).all()
    return _page(rows, limit, lambda row: str(row.letter))


def _staged(flow: Flow) -> sa.Select[Any]:
    """Selects staged records of a flow with the moment at which their batch was last worked."""
    stage = flow.stage.c
    return (
        sa.select(
            stage.key, stage.state, stage.reason, stage.version, stage.batch_id, ops_batch.c.touched_at.label("at")
        )
        .join(ops_batch, ops_batch.c.id == stage.batch_id)
        .where(ops_batch.c.flow == flow.name)
    )


def _place(after: str | None) -> tuple[int | None, str | None]:
    """The batch and the key after which a page begins."""
    if after is None:
        return None, None
    number, tilde, key = after.partition("~")
    if not (tilde and number.isascii() and number.isdigit() and len(number) < 19):
        raise ConfigError(f"{after!r} is no place in the list.", do="Begin at the top of the list.")
    return int(number), key


def _page(rows: Sequence[sa.Row], limit: int, place: Any) -> RecordRows:
    shown = rows[:limit]
    made = tuple(
        RecordRow(row.key, row.state, row.reason or "", row.version, row.batch_id, row.at, getattr(row, "letter", None))
        for row in shown
    )
    return RecordRows(made, place(shown[-1]) if len(rows) > limit else None)


# ---- what a person does --------------------------------------------------------------------------------------------


def acknowledge(connection: sa.Connection, person: Person, number: int) -> None:
    """Takes note of an alert and of all open ones of its kind and key: they are not shown as open any more. The same
    alert comes up again as a new one, once it has been quiet for some hours."""
    person.require(Right.WORK)
    row = _alert(connection, number)
    same = (ops_alert.c.kind == row.kind, ops_alert.c.key == row.key, ops_alert.c.acknowledged_at.is_(None))
    done = sa.update(ops_alert).where(*same)
    connection.execute(done.values(acknowledged_at=sa.func.now(), acknowledged_by=person.name))
    audit.record(connection, person.name, "alert acknowledge", str(number), {"kind": row.kind})


def acknowledge_all(connection: sa.Connection, person: Person, kind: str, newest: int) -> int:
    """Takes note of all open alerts of a kind that the person has seen: up to `newest`. How many things they are
    about."""
    person.require(Right.WORK)
    keys = _open_keys(connection, kind, newest)
    same = (ops_alert.c.kind == kind, ops_alert.c.key.in_(keys), ops_alert.c.acknowledged_at.is_(None))
    done = sa.update(ops_alert).where(*same, ops_alert.c.id <= newest)
    connection.execute(done.values(acknowledged_at=sa.func.now(), acknowledged_by=person.name))
    audit.record(connection, person.name, "alerts acknowledge", _many(kind, keys), {"kind": kind})
    return len(keys)


def _many(kind: str, keys: Collection[str]) -> str:
    return f"{len(keys):,} {'alert' if len(keys) == 1 else 'alerts'} “{heading(kind)}”"


def _open_keys(connection: sa.Connection, kind: str, newest: int) -> list[str]:
    """What the open alerts of a kind are about, up to the newest that somebody has seen. ConfigError for none."""
    silent = sa.exists().where(alerts.silenced_with(), ops_silence.c.until > sa.func.now())
    still_open = (ops_alert.c.kind == kind, ops_alert.c.id <= newest, ops_alert.c.acknowledged_at.is_(None), ~silent)
    keys = list(connection.scalars(sa.select(ops_alert.c.key).where(*still_open).distinct()))
    if not keys:
        raise ConfigError("None of these alerts is open any more.", do="Load the page again.")
    return keys


def take_back(connection: sa.Connection, person: Person, number: int) -> None:
    """Makes an alert that somebody has taken note of open again, with those of its kind that were noted at once with
    it."""
    person.require(Right.WORK)
    row = _alert(connection, number)
    if row.acknowledged_at is None:
        raise ConfigError("This alert is open already.", do="Load the page again.")
    at_once = (ops_alert.c.kind == row.kind, ops_alert.c.acknowledged_at == row.acknowledged_at)
    connection.execute(sa.update(ops_alert).where(*at_once).values(acknowledged_at=None, acknowledged_by=None))
    detail = {"kind": row.kind, "note": f"{row.acknowledged_by or 'somebody'} had taken note of it"}
    audit.record(connection, person.name, "alert take back", str(number), detail)


def silence(connection: sa.Connection, person: Person, number: int, reason: str, *, hours: float) -> datetime:
    """Holds alerts of this one's kind and key back for some hours: no message is sent. Its end."""
    person.require(Right.WORK)
    reason = _reason_of(reason, hours)
    row = _alert(connection, number)
    until = _hold(connection, person, row.kind, [row.key], reason, hours)
    detail = {"kind": row.kind, "until": until.isoformat(), "note": reason}
    audit.record(connection, person.name, "alert silence", str(number), detail)
    return until


def silence_all(
    connection: sa.Connection, person: Person, kind: str, newest: int, reason: str, *, hours: float
) -> tuple[int, datetime]:
    """Holds all alerts of a kind back that are open and that the person has seen: up to `newest`. What is about
    another thing is told of. How many things they are about, and the end."""
    person.require(Right.WORK)
    reason = _reason_of(reason, hours)
    keys = _open_keys(connection, kind, newest)
    until = _hold(connection, person, kind, keys, reason, hours)
    detail = {"kind": kind, "until": until.isoformat(), "note": reason}
    audit.record(connection, person.name, "alerts silence", _many(kind, keys), detail)
    return len(keys), until


def _reason_of(reason: str, hours: float) -> str:
    """The reason of a silence as it is kept. ConfigError for one without a reason, or that is none."""
    why = "Write why nobody has to hear of it for a while."
    reason = remarks.tidy(reason, missing="A silence needs a reason.", do=why)
    if not 0 < hours <= LONGEST_SILENCE.total_seconds() / 3600:
        raise ConfigError(f"A silence of {hours:g} hours is none.", do=f"Give up to {LONGEST_SILENCE.days} days.")
    return reason


def _hold(
    connection: sa.Connection, person: Person, kind: str, keys: Sequence[str], reason: str, hours: float
) -> datetime:  # fmt: skip
    now: datetime | None = connection.scalar(sa.select(sa.func.now()))
    assert now is not None
    until = now + timedelta(hours=hours)
    alerts.silence(connection, kind, keys, until=until, reason=reason, who=person.name)
    return until


def end_silence(connection: sa.Connection, person: Person, *numbers: int) -> None:
    """Ends the silence of these alerts before its time. ConfigError where none of them is silenced."""
    person.require(Right.WORK)
    rows = [_alert(connection, number) for number in numbers]
    ended = [row for row in rows if alerts.end_silence(connection, row.kind, row.key)]
    if not ended:
        raise ConfigError("This alert is not silenced any more.", do="Load the page again.")
    if len(numbers) == 1:
        audit.record(connection, person.name, "alert silence end", str(ended[0].id), {"kind": ended[0].kind})
        return
    for kind in dict.fromkeys(row.kind for row in ended):
        keys = {row.key for row in ended if row.kind == kind}
        audit.record(connection, person.name, "alerts silence end", _many(kind, keys), {"kind": kind})


def _alert(connection: sa.Connection, number: int) -> sa.Row:
    row = connection.execute(sa.select(ops_alert).where(ops_alert.c.id == number)).one_or_none()
    if row is None:
        raise ConfigError(f"There is no alert {number}.", do="Load the page again.")
    return row


def stopped_batch(connection: sa.Connection, person: Person, batch_id: int) -> StoppedBatch:
    """A batch that the person may go on with: a run of its flow's DAG makes dead letters of its rejects and delivers
    the rest. ConfigError where it is not stopped any more."""
    person.require(Right.WORK)
    found = next((one for one in stopped_batches(connection) if one.id == batch_id), None)
    if found is None:
        raise ConfigError(f"Batch {batch_id} is not stopped any more.", do="Load the page again.")
    return found


def accepted_rejects(connection: sa.Connection, person: Person, batch_id: int) -> None:
    """Notes who goes on with a stopped batch, and that its alert is seen to. A run that does it has been started."""
    person.require(Right.WORK)
    own = sa.select(ops_batch.c.flow).where(ops_batch.c.id == batch_id).scalar_subquery()
    connection.execute(
        sa.update(ops_alert)
        .where(ops_alert.c.kind == "batch_stopped", ops_alert.c.key == sa.func.concat(own, f":{batch_id}"))
        .where(ops_alert.c.acknowledged_at.is_(None))
        .values(acknowledged_at=sa.func.now(), acknowledged_by=person.name)
    )
    audit.record(connection, person.name, "batch accept rejects", str(batch_id))
