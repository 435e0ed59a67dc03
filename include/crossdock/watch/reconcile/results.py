"""Reads what runs have found.

In: a connection that may read `ops.reconcile_run` and `ops.reconcile_difference`. Out: rows as dictionaries, subjects
and causes in their order. Never: a write.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from crossdock.comparison.subject import CAUSES
from crossdock.store.tables import ops_reconcile_difference as difference
from crossdock.store.tables import ops_reconcile_run as table
from crossdock.watch.reconcile.subjects import SUBJECTS

LONGEST = timedelta(hours=2)  # that a run may take
_RUN = (table.c.id, table.c.run_id, table.c.started_at, table.c.finished_at, table.c.counts, table.c.unexplained)


def run(connection: sa.Connection, number: int) -> dict[str, Any] | None:
    """One run without its report; None where there is none."""
    row = connection.execute(sa.select(*_RUN).where(table.c.id == number)).one_or_none()
    return None if row is None else _ordered(row)


def runs(
    connection: sa.Connection, *, until: int | None = None, subjects: Collection[str] = (), limit: int = 60
) -> list[dict[str, Any]]:
    """The last finished runs, newest first, without their reports. `subjects`: only runs of exactly these, for their
    numbers can be compared."""
    wanted = sa.select(*_RUN).where(table.c.finished_at.is_not(None)).order_by(table.c.id.desc()).limit(limit)
    if until is not None:
        wanted = wanted.where(table.c.id <= until)
    if subjects:
        names = sa.cast(sorted(subjects), ARRAY(sa.Text))
        others = table.c.counts.op("-", return_type=JSONB)(names)
        wanted = wanted.where(table.c.counts.has_all(names), others == sa.text("'{}'::jsonb"))
    return [_ordered(row) for row in connection.execute(wanted)]


def under_way(connection: sa.Connection) -> datetime | None:
    """Since when a run is comparing; None where none is, or the last one has died."""
    last = connection.execute(
        sa.select(table.c.finished_at, table.c.started_at, (sa.func.now() - table.c.started_at).label("age"))
        .order_by(table.c.id.desc())
        .limit(1)
    ).one_or_none()
    return last.started_at if last and last.finished_at is None and last.age < LONGEST else None


def words(run: dict[str, Any]) -> str:
    """A run in one line: keys compared, equal, and different by cause."""
    each = run["counts"].values()
    named = ((cause, sum(counts["causes"].get(cause, 0) for counts in each)) for cause in CAUSES)
    rest = "".join(f", {number:,} {cause}" for cause, number in named if number)
    compared, equal = (sum(counts[name] for counts in each) for name in ("compared", "equal"))
    return f"compared {compared:,}, equal {equal:,}{rest}"


def page(connection: sa.Connection, number: int | None = None) -> str | None:
    """The report of a run, or the latest report."""
    wanted = sa.select(table.c.report).where(table.c.report.is_not(None)).order_by(table.c.id.desc()).limit(1)
    return connection.scalar(wanted if number is None else wanted.where(table.c.id == number))


def differences(
    connection: sa.Connection, number: int, *, causes: Sequence[str] = CAUSES, limit: int = 100
) -> list[dict[str, Any]]:
    """A run's differences by subject, at most `limit` of each: worst causes first, then the oldest."""
    severity = sa.func.array_position(sa.cast(list(CAUSES), sa.ARRAY(sa.Text)), difference.c.cause)
    place = sa.func.row_number().over(
        partition_by=difference.c.subject, order_by=(severity, difference.c.since, difference.c.key, difference.c.field)
    )
    ranked = (
        sa.select(*difference.c, place.label("place"), (sa.func.now() - difference.c.since).label("age"))
        .where(difference.c.run == number, difference.c.cause.in_(causes))
        .subquery()
    )
    rows = connection.execute(sa.select(ranked).where(ranked.c.place <= limit))
    order = list(SUBJECTS)
    return [dict(row._mapping) for row in sorted(rows, key=lambda row: (order.index(row.subject), row.place))]


def ages(connection: sa.Connection, number: int) -> list[tuple[str, float]]:
    """(cause, age in days) of each key that differed in a run, without those by rule."""
    days = sa.func.extract("epoch", sa.func.now() - sa.func.min(difference.c.since)) / 86400
    rows = connection.execute(
        sa.select(difference.c.cause, days)
        .where(difference.c.run == number, difference.c.cause != "by rule")
        .group_by(difference.c.subject, difference.c.key, difference.c.cause)
    )
    return [(cause, float(age)) for cause, age in rows]


def _ordered(row: sa.Row) -> dict[str, Any]:
    found = dict(row._mapping)
    found["counts"] = {name: row.counts[name] for name in SUBJECTS if name in row.counts}
    return found
