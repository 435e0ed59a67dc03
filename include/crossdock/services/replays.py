"""Replays: what a person has asked for at once, and what has come of each letter.

In: letters that are marked; the number of a replay. Out: for each letter what it has become, with the document that
came out, the rule that refuses it again or what it waits for. Never: personal data; a letter that is in no count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.services.people import Person, Right
from crossdock.services.wording import in_words
from crossdock.store import audit
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import ops_audit, ops_batch, ops_link, ops_work
from crossdock.store.tables import ops_dead_letter as table

# Actions in the audit log: once, for each letter, and for each run that was started.
ACTION, EACH, RUN = "replay", "dead-letter replay", "replay run"
PAGE = 50
BEGINS = timedelta(minutes=5)  # until its run is noted; a replay without one was lost
# What may come of a letter, in the order in which a person wants to hear of it.
ENDS = ("refused", "stopped", "late", "waiting", "not_sent", "running", "delivered", "dismissed")
_LIGHT = [table.c[name] for name in ("id", "flow", "entity", "key", "state", "rule", "reasons", "times", "updated_at",
                                     "replay_asked_at", "changed_by", "note")]  # fmt: skip


@dataclass(frozen=True)
class Came:
    """What came of a letter, one of ENDS. `why`: the rule that refuses it again, or what it waits for; `documents`: ids
    of what came out in the target."""

    letter: int
    flow: str
    title: str
    dag: str
    key: str
    end: str
    why: str = ""
    do: str = ""
    documents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """What was asked for at once. `counts`: letters by what came of them; `rows`: the first of each."""

    id: int
    at: datetime
    who: str
    count: int
    counts: dict[str, int]
    rows: dict[str, tuple[Came, ...]]

    @property
    def running(self) -> bool:
        return self.counts.get("running", 0) > 0


@dataclass(frozen=True)
class Begun:
    """A replay in a list."""

    id: int
    at: datetime
    who: str
    count: int


@dataclass(frozen=True)
class Loose:
    """Marked letters of one replay and flow that no batch has in its hands: their run has not begun, or has ended
    without them. `run`: its DAG and name, empty where none is noted; `lost`: none will be."""

    flow: str
    asked_at: datetime
    run: str
    lost: bool


def loose(connection: sa.Connection) -> list[Loose]:
    """Marked letters that no batch has. Whether their run is over, its scheduler knows."""
    run = ops_audit.alias("run")
    begun = ops_audit.alias("begun")
    marked = (
        sa.select(table.c.flow, table.c.replay_asked_at.label("at"))
        .where(table.c.state.in_(OPEN), table.c.replay_asked_at.is_not(None), ~_in_a_batch())
        .distinct()
        .subquery()
    )
    its_run = (
        sa.select(run.c.detail["run"].astext)
        .join(begun, sa.cast(begun.c.id, sa.Text) == run.c.subject)
        .where(begun.c.action == ACTION, begun.c.at == marked.c.at, run.c.action == RUN)
        .where(run.c.detail["flow"].astext == marked.c.flow)
        .order_by(run.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(sa.select(marked, its_run.label("run"), (sa.func.now() - marked.c.at).label("age")))
    return [Loose(row.flow, row.at, row.run or "", row.run is None and row.age > BEGINS) for row in rows]


def end(connection: sa.Connection, ended: Loose) -> int:
    """Takes the marks of a replay back whose run is over; how many. What a batch has, the next run takes over."""
    of_it = (table.c.flow == ended.flow, table.c.replay_asked_at == ended.asked_at, table.c.state.in_(OPEN))
    taken = connection.execute(sa.update(table).where(*of_it, ~_in_a_batch()).values(replay_asked_at=None))
    return taken.rowcount


def _in_a_batch() -> sa.ColumnElement[bool]:
    return sa.exists().where(
        ops_work.c.queue == table.c.flow, ops_work.c.key == table.c.key, ops_batch.c.id == ops_work.c.batch_id,
        ops_batch.c.finished_at.is_(None),
    )  # fmt: skip


def started(connection: sa.Connection, person: Person, number: int, flow: str, run: str) -> None:
    """Notes the run that works the letters of a flow of a replay."""
    audit.record(connection, person.name, RUN, str(number), {"flow": flow, "run": run})


def at_work(connection: sa.Connection, letter: sa.ColumnElement[bool]) -> int | None:
    """The number of the newest replay that has letters in its hands; None where none has."""
    newest = sa.select(sa.func.max(table.c.replay_asked_at)).where(letter, table.c.state.in_(OPEN)).scalar_subquery()
    return connection.scalar(
        sa.select(ops_audit.c.id)
        .where(ops_audit.c.action == ACTION, ops_audit.c.at == newest)
        .order_by(ops_audit.c.id.desc())
        .limit(1)
    )


def stopped_in(connection: sa.Connection, flow: str, keys: Iterable[str]) -> dict[str, int]:
    """{key: batch} of records that stand in a batch which check has stopped."""
    rows = connection.execute(
        sa.select(ops_work.c.key, ops_batch.c.id)
        .join(ops_batch, ops_batch.c.id == ops_work.c.batch_id)
        .where(ops_work.c.queue == flow, ops_batch.c.finished_at.is_(None), ops_batch.c.stopped)
        .where(ops_work.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))))
        .order_by(ops_batch.c.id)
    )
    return {row.key: row.id for row in rows}


def keep(connection: sa.Connection, person: Person, rows: Sequence[sa.Row]) -> int:
    """Puts on record that these letters (id, flow, key) are replayed together; the number of the replay."""
    subject = "1 dead letter" if len(rows) == 1 else f"{len(rows)} dead letters"
    first = sa.insert(ops_audit).values(who=person.name, action=ACTION, subject=subject, detail={"letters": len(rows)})
    number = connection.scalar(first.returning(ops_audit.c.id))
    same = {"replay": int(number or 0)}
    each = {str(row.id): {"flow": row.flow, "key": row.key, **same} for row in rows}
    audit.record_each(connection, person.name, EACH, each)
    return int(number or 0)


def latest(connection: sa.Connection, person: Person, limit: int) -> list[Begun]:
    """The last replays, the newest first."""
    person.require(Right.SEE)
    log = ops_audit.c
    rows = connection.execute(
        sa.select(log.id, log.at, log.who, log.detail).where(log.action == ACTION).order_by(log.id.desc()).limit(limit)
    )
    return [Begun(row.id, row.at, row.who, int(row.detail.get("letters", 0))) for row in rows]


def replay(connection: sa.Connection, person: Person, number: int, *, end: str | None = None, after: int = 0) -> Replay:
    """What came of a replay. `end`: only letters of which this came, from the letter `after` on. ConfigError where
    there is none of this number."""
    person.require(Right.SEE)
    log = ops_audit.c
    begun = connection.execute(sa.select(ops_audit).where(log.id == number, log.action == ACTION)).one_or_none()
    if begun is None:
        raise ConfigError(f"There is no replay {number}.", do="The last ones are named below the list of dead letters.")
    of_it = sa.select(sa.cast(log.subject, sa.BigInteger)).where(
        log.at == begun.at, log.action == EACH, log.who == begun.who
    )
    letters = connection.execute(sa.select(*_LIGHT).where(table.c.id.in_(of_it)).order_by(table.c.id)).all()
    found = came(connection, letters, begun.at)
    counts: dict[str, int] = {}
    rows: dict[str, list[Came]] = {}
    for one in found:
        counts[one.end] = counts.get(one.end, 0) + 1
        if one.letter > after and end in (None, one.end):
            rows.setdefault(one.end, []).append(one)
    return Replay(
        begun.id, begun.at, begun.who, len(found), {each: counts[each] for each in ENDS if each in counts},
        {each: tuple(rows[each][: PAGE + 1]) for each in ENDS if each in rows},
    )  # fmt: skip


def of_letter(connection: sa.Connection, number: int) -> Came | None:
    """What came of the last replay of a letter; None where nobody has asked for one."""
    log = ops_audit.c
    begun = connection.scalar(
        sa.select(log.at).where(log.subject == str(number), log.action == EACH).order_by(log.id.desc()).limit(1)
    )
    if begun is None:
        return None
    rows = connection.execute(sa.select(*_LIGHT).where(table.c.id == number)).all()
    return next(iter(came(connection, rows, begun)), None)


def came(connection: sa.Connection, letters: Sequence[sa.Row], begun: datetime) -> list[Came]:
    """What came of these letters since a replay of them was asked for."""
    every, dags = flows.all_flows(), flows.packages()
    by_flow: dict[str, list[sa.Row]] = {}
    for row in letters:
        by_flow.setdefault(row.flow, []).append(row)
    now: datetime = connection.scalar(sa.select(sa.func.now())) or begun
    found: list[Came] = []
    for name, rows in by_flow.items():
        flow = every.get(name)
        if flow is None:
            found += [Came(row.id, name, name, name, row.key, "refused") for row in rows]
            continue
        staged = _staged(connection, flow, [row.key for row in rows])
        documents = _documents(connection, flow, [row.key for row in rows])
        stopped = stopped_in(connection, name, [row.key for row in rows])
        late = now - begun > timedelta(minutes=settings.flow(name).undelivered_minutes)
        one = partial(_one, flow, dags[name], begun, late)
        found += [one(row, staged.get(row.key), documents.get(row.key, ()), stopped.get(row.key)) for row in rows]
    return sorted(found, key=lambda one: one.letter)


GO_ON = "Look among the stopped batches which rule; mend its cause, or go on with the rest there."


def stopped_words(batch_id: int) -> str:
    return f"It is stopped in batch {batch_id}: too many of its records break a rule."


def _one(
    flow: Flow,
    dag: str,
    begun: datetime,
    late: bool,
    row: sa.Row,
    staged: sa.Row | None,
    documents: tuple[str, ...],
    stopped: int | None,
) -> Came:
    def made(end: str, why: str = "", do: str = "") -> Came:
        shown = documents if end == "delivered" else ()
        return Came(row.id, flow.name, flow.title, dag, row.key, end, why, do, shown)

    worked = staged is not None and staged.created_at is not None and staged.created_at >= begun
    reason = (staged.reason or "") if staged is not None else ""
    if row.state == "dismissed":
        return made("dismissed", f"by {row.changed_by or 'somebody'}: {row.note or ''}")
    if row.state in OPEN and row.replay_asked_at is None:
        if row.updated_at < begun:
            return made("late", "Its run was not started, or has ended without it.", "Replay it again.")
        first: dict[str, str] = next(iter(row.reasons or []), {})
        return made("refused", in_words(row.rule or ""), str(first.get("do") or ""))
    if worked and staged is not None and staged.state == "waiting":
        return made("waiting", reason, "It goes on by itself once that is there.")
    if worked and staged is not None and staged.state == "left_out":
        return made("not_sent", reason)
    if row.state in OPEN and stopped is not None:
        return made("stopped", stopped_words(stopped), GO_ON)
    if row.state in OPEN:
        hint = f"Look at the run of {dag} in Airflow." if late else ""
        return made("late" if late else "running", "Its run has not ended." if late else "", hint)
    return made("delivered", "" if row.state == "replayed" else "A newer version of it has gone through by itself.")


def _staged(connection: sa.Connection, flow: Flow, keys: Iterable[str]) -> dict[str, sa.Row]:
    """Where the flow has staged these records, and when their batch was made; without those that are at work."""
    stage = flow.stage.c
    rows = connection.execute(
        sa.select(stage.key, stage.state, stage.reason, ops_batch.c.created_at)
        .join(ops_batch, ops_batch.c.id == stage.batch_id)
        .where(stage.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))))
        .where(ops_batch.c.flow == flow.name)
    )
    return {row.key: row for row in rows}


def _documents(connection: sa.Connection, flow: Flow, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What the target has of these records."""
    wanted = ops_link.c.source_key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text)))
    rows = connection.execute(
        sa.select(ops_link.c.source_key, ops_link.c.target_id).where(ops_link.c.entity == flow.entity, wanted)
    )
    return {row.source_key: (row.target_id,) for row in rows}
