"""One run of the reconciliation: read, compare, explain, keep, alert, report.

In: the runtime, names of subjects. Out: an `Outcome`, kept in ops.reconcile_run. Never: two runs at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.store import database
from crossdock.store.tables import ops_reconcile_difference as difference
from crossdock.store.tables import ops_reconcile_run as table
from crossdock.watch import alerts
from crossdock.watch.reconcile import report
from crossdock.watch.reconcile.base import UNEXPLAINED, Rules, Subject
from crossdock.watch.reconcile.compare import Counts, compare
from crossdock.watch.reconcile.read import clocks, forget, read
from crossdock.watch.reconcile.subjects import chosen

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

KEPT = 60  # runs whose differences are kept; counts stay
NAMED = 5  # keys that an alert names


@dataclass
class Outcome:
    """What a run found, by subject."""

    id: int
    counts: dict[str, Counts] = field(default_factory=dict)

    @property
    def unexplained(self) -> int:
        """Keys in which both systems differ and nobody knows why."""
        return sum(each.causes.get(UNEXPLAINED, 0) for each in self.counts.values())


def reconcile(
    runtime: Runtime,
    names: Sequence[str] = (),
    *,
    run_id: str = "",
    say: Callable[[str], None] = lambda _: None,
    wait: float = 600.0,
) -> Outcome:
    """Compares both systems on the subjects `names` (all for none). `say` is told how far it has come. Raises
    ConfigError for a subject that is none, Transient while another run is still at it after `wait` seconds."""
    subjects = chosen(names)
    with database.lock(runtime.engine, "reconcile", wait=wait):
        return _run(runtime, subjects, run_id, say)


def _run(runtime: Runtime, subjects: Sequence[Subject], run_id: str, say: Callable[[str], None]) -> Outcome:
    rules = Rules(runtime)
    with runtime.engine.begin() as connection:
        forget(connection)
        run = connection.scalar(sa.insert(table).values(run_id=run_id).returning(table.c.id))
    outcome = Outcome(run)
    try:
        began = clocks(runtime, subjects)
        read(runtime, subjects, rules, say)
        read(runtime, subjects, rules, say, since=began)
        for subject in subjects:
            say(f"comparing {subject.title.lower()}")
            outcome.counts[subject.name] = _compare(runtime, subject, run, began)
    finally:
        with runtime.engine.begin() as connection:
            forget(connection)
    with runtime.engine.begin() as connection:
        _finish(connection, outcome)
        for subject in subjects:
            _alert(connection, subject, outcome)
    say("drawing the report")
    with runtime.engine.begin() as connection:
        page = report.page(connection, run)
        connection.execute(sa.update(table).where(table.c.id == run).values(report=page))
    return outcome


def _compare(runtime: Runtime, subject: Subject, run: int, began: dict[str, datetime]) -> Counts:
    started = time.monotonic()
    with runtime.engine.begin() as connection:
        counts = compare(connection, subject, run, _previous(connection, subject.name, run), began)
    counts.seconds = round(time.monotonic() - started, 3)
    return counts


def _previous(connection: sa.Connection, subject: str, run: int) -> int | None:
    """The last run before this one that looked at the subject to the end."""
    return connection.scalar(
        sa.select(sa.func.max(table.c.id)).where(
            table.c.id < run, table.c.finished_at.is_not(None), table.c.counts.has_key(subject)
        )
    )


def _finish(connection: sa.Connection, outcome: Outcome) -> None:
    connection.execute(
        sa.update(table)
        .where(table.c.id == outcome.id)
        .values(
            finished_at=sa.func.now(),
            counts={name: asdict(each) for name, each in outcome.counts.items()},
            unexplained=outcome.unexplained,
        )
    )
    connection.execute(sa.delete(difference).where(difference.c.run <= outcome.id - KEPT))
    connection.execute(sa.update(table).where(table.c.id <= outcome.id - KEPT).values(report=None))


def _alert(connection: sa.Connection, subject: Subject, outcome: Outcome) -> None:
    """One alert per subject with differences that nothing explains."""
    number = outcome.counts[subject.name].causes.get(UNEXPLAINED, 0)
    if not number:
        return
    keys = connection.scalars(
        sa.select(difference.c.key)
        .where(difference.c.run == outcome.id, difference.c.subject == subject.name, difference.c.cause == UNEXPLAINED)
        .group_by(difference.c.key)
        .order_by(sa.func.min(difference.c.since), difference.c.key)
        .limit(NAMED)
    ).all()
    alerts.raise_alert(
        connection,
        kind="unexplained",
        key=subject.name,
        flow="reconcile",
        title=f"{subject.title}: both systems differ in {number:,}, and nothing says why",
        body=f"First {subject.one}: {', '.join(keys)}{' and more' if number > len(keys) else ''}. {subject.do} All of "
        f"them: `crossdock reconcile --subject {subject.name}`, or the report in Airflow.",
    )
