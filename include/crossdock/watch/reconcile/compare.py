"""Compares what was read of one subject, side against side, in the database.

In: `ops.reading`, our own records as of one moment. Out: a row of `ops.reconcile_difference` for each fact that
differs, with its cause, and counts.
Never: a record in Python's memory; a value of personal data in a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

from crossdock.comparison.explain import FOUND, because
from crossdock.comparison.subject import (
    CAUSES,
    CHANGED,
    CHANNEL_ADVISOR,
    EXPECTED,
    RECORD,
    TIMS,
    UNEXPLAINED,
    Subject,
)
from crossdock.store import database, sql
from crossdock.store.tables import ops_reading, ops_reconcile_difference

LONGEST = 300  # characters of a value that are kept


@dataclass
class Counts:
    """The numbers of one subject: keys on each side, compared, equal, and different by cause; seconds; records passed
    over, and a few of their names with the reason."""

    channel_advisor: int = 0
    tims: int = 0
    compared: int = 0
    equal: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    passed: int = 0
    such_as: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        return sum(self.causes.values())


_COMPARE = sql.statement(__package__, "compare")
_CAUSES = sql.statement(__package__, "causes")
_difference = ops_reconcile_difference.c
# What the look before could not explain: for this transaction only.
_BEFORE = sa.Table(
    "before", sa.MetaData(),
    *(sa.Column(name, sa.Text) for name in ("key", "field", "missing", "channel_advisor", "tims")),
    prefixes=["TEMPORARY"], postgresql_on_commit="DROP",
)  # fmt: skip


def compare(
    connection: sa.Connection,
    subject: Subject,
    run: int,
    previous: int | None,
    clocks: Mapping[str, datetime],
    moment: datetime | None = None,
) -> Counts:
    """Compares what was read of `subject` and explains what differs, in place of what an earlier look of the run found.
    `previous`: the run whose differences hand on their age. `clocks`: when this look began, by each system's clock;
    `moment`: the same by the database's, less some seconds (now, if not said)."""
    _set_aside(connection, subject, run)
    _expect(connection, subject)
    given = {
        "subject": subject.name, "run": run, "previous": previous, "shown": not subject.private, "longest": LONGEST,
        "unexplained": UNEXPLAINED, "record": RECORD, "keys": subject.keys, "last_only": subject.last_only,
        "adds_up": bool(subject.summed), "summed": sorted(subject.summed),
    }  # fmt: skip
    # ops.reading has no statistics: the planner would expect a handful of rows and choose nested loops.
    connection.execute(sa.select(sa.func.set_config("enable_nestloop", "off", True)))
    found = connection.execute(_COMPARE, given).one()
    connection.execute(sa.select(sa.func.set_config("enable_nestloop", "on", True)))
    _explain(connection, subject, run, clocks, moment)
    return Counts(
        found.channel_advisor, found.tims, found.compared, found.compared - found.different,
        causes(connection, subject, run),
    )  # fmt: skip


def _set_aside(connection: sa.Connection, subject: Subject, run: int) -> None:
    """Moves what the last look could not explain to `before`, and deletes all that it found."""
    _BEFORE.drop(connection, checkfirst=True)
    _BEFORE.create(connection, checkfirst=False)
    mine = sa.and_(_difference.run == run, _difference.subject == subject.name)
    kept = sa.select(*(_difference[column.name] for column in _BEFORE.c)).where(mine, _difference.cause == UNEXPLAINED)
    connection.execute(sa.insert(_BEFORE).from_select(list(_BEFORE.c.keys()), kept))
    connection.execute(sa.delete(ops_reconcile_difference).where(mine))


def _expect(connection: sa.Connection, subject: Subject) -> None:
    """Writes the expected values beside what was read, in place of those of the last look."""
    if subject.expected is None:
        return
    reading = ops_reading.c
    connection.execute(sa.delete(ops_reading).where(reading.subject == subject.name, reading.side == EXPECTED))
    made = subject.expected.columns(sa.column("key", sa.Text), sa.column("facts", JSONB)).subquery("made")
    facts = {"subject": subject.name, "side": EXPECTED, "part": "", "alias": False, "version": sa.func.now()}
    rows = sa.select(
        made.c.key, made.c.facts, *(sa.literal(v) if not isinstance(v, sa.ColumnElement) else v for v in facts.values())
    )
    connection.execute(sa.insert(ops_reading).from_select(["key", "facts", *facts], rows))


def _is_new(subject: Subject, run: int) -> sa.ColumnElement[bool]:
    """Unexplained now, and not already unexplained with the same values at the last look."""
    same = (
        _BEFORE.c[column].is_not_distinct_from(_difference[column])
        for column in ("key", "field", "missing", "channel_advisor", "tims")
    )
    return sa.and_(
        _difference.run == run,
        _difference.subject == subject.name,
        _difference.cause == UNEXPLAINED,
        ~sa.exists().where(*same),
    )


def is_moving(connection: sa.Connection, subject: Subject, run: int) -> bool:
    """Whether another look may help: something has just changed, or was found for the first time."""
    changed = sa.and_(_difference.run == run, _difference.subject == subject.name, _difference.cause == CHANGED)
    moving = (sa.select(ops_reconcile_difference.c.id).where(one).exists() for one in (_is_new(subject, run), changed))
    return bool(connection.scalar(sa.select(sa.or_(*moving))))


def doubt(connection: sa.Connection, subject: Subject, run: int) -> None:
    """Marks what was not the same at two looks as changed: this was the last look."""
    connection.execute(
        sa.update(ops_reconcile_difference)
        .where(_is_new(subject, run))
        .values(cause=CHANGED, why="not the same at two looks")
    )


def _explain(
    connection: sa.Connection, subject: Subject, run: int, clocks: Mapping[str, datetime], moment: datetime | None
) -> None:
    """Sets the causes of differences: first what changed while it was read, then what our own records explain."""
    since = (FOUND.c[f"{system}_version"] >= clocks[system] for system in (CHANNEL_ADVISOR, TIMS) if clocks.get(system))
    changed = because(CHANGED, "changed while both systems were read").where(sa.or_(sa.false(), *since))
    given = {"of_run": run, "of_subject": subject.name, "moment": moment or database.now(connection)}
    _apply(connection, changed, given)
    for explanation in subject.explained:
        _apply(connection, explanation.query, {**given, **explanation.given(connection)})


def _apply(connection: sa.Connection, query: sa.Select | sa.TextClause, given: Mapping[str, object]) -> None:
    """Sets the cause of the differences that `query` explains."""
    if isinstance(query, sa.TextClause):
        names = sa.column("id", sa.BigInteger), sa.column("cause", sa.Text), sa.column("why", sa.Text)
        found = query.columns(*names).subquery("found_cause")
    else:
        found = query.subquery("found_cause")
    columns = found.c.id, found.c.cause, found.c.why
    first = sa.select(*columns).ext(distinct_on(found.c.id)).order_by(*columns).subquery("first_cause")
    connection.execute(
        sa.update(ops_reconcile_difference)
        .where(_difference.id == first.c.id)
        .values(cause=first.c.cause, why=first.c.why)
        .add_cte(FOUND),
        dict(given),
    )


def causes(connection: sa.Connection, subject: Subject, run: int) -> dict[str, int]:
    """Counts keys by cause. A key with several differences counts for its worst cause."""
    rows = connection.execute(_CAUSES, {"causes": list(CAUSES), "run": run, "subject": subject.name})
    return {CAUSES[row.rank - 1]: row.n for row in rows}
