"""One run of the reconciliation: read, compare, explain, look again at what moves, keep, alert, report.

In: the runtime, names of subjects. Out: an `Outcome`, kept in ops.reconcile_run. Never: two runs at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.comparison.subject import UNEXPLAINED, PassedOver, Rules, Subject
from crossdock.store import alerts, database
from crossdock.store.tables import ops_reconcile_difference as difference
from crossdock.store.tables import ops_reconcile_run as table
from crossdock.watch.reconcile import report
from crossdock.watch.reconcile.compare import Counts, causes, compare, doubt, is_moving
from crossdock.watch.reconcile.read import clocks, forget, read
from crossdock.watch.reconcile.subjects import chosen

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ATTEMPTS = 4  # looks at what moves, at most
PAUSE = 2.0  # seconds before the next look, until every list shows what has changed
JUST_NOW = timedelta(seconds=3)  # seconds in which a change may be visible on one side only
KEPT = 60  # runs whose differences are kept; counts stay
NAMED = 5  # keys that an alert names
SHOWN = 20  # records passed over that a report names, by subject


@dataclass
class Outcome:
    """What a run found, by subject."""

    id: int
    counts: dict[str, Counts] = field(default_factory=dict)

    @property
    def unexplained(self) -> int:
        """Keys that differ without an explanation."""
        return sum(each.causes.get(UNEXPLAINED, 0) for each in self.counts.values())


def reconcile(
    runtime: Runtime,
    names: Sequence[str] = (),
    *,
    run_id: str = "",
    say: Callable[[str], None] = lambda _: None,
    wait: float = 600.0,
) -> Outcome:
    """Compares both systems on the subjects `names` (all for none). `say` hears of the progress. Raises ConfigError
    for an unknown subject, Transient while another run holds the lock after `wait` seconds."""
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
        moving = subjects
        for attempt in range(1, ATTEMPTS + 1):
            looked = clocks(runtime, moving)
            with runtime.engine.begin() as connection:
                moment = database.now(connection) - JUST_NOW
            read(runtime, moving, rules, say, since=began)
            for subject in moving:
                say(f"comparing {subject.title.lower()}")
            last = attempt == ATTEMPTS
            moving = [each for each in moving if _compare(runtime, each, outcome, rules, looked, moment, last=last)]
            if not moving:
                break
            if attempt < ATTEMPTS:
                say(f"looking again at what has only just changed: {', '.join(each.name for each in moving)}")
                time.sleep(PAUSE)
    finally:
        with runtime.engine.begin() as connection:
            forget(connection)
    with runtime.engine.begin() as connection:
        _finish(connection, outcome)
        for subject in subjects:
            _alert(connection, subject, outcome)
        _tell_of_passed(connection, rules.passed)
    say("drawing the report")
    with runtime.engine.begin() as connection:
        page = report.page(connection, run)
        connection.execute(sa.update(table).where(table.c.id == run).values(report=page))
    return outcome


def _compare(
    runtime: Runtime,
    subject: Subject,
    outcome: Outcome,
    rules: Rules,
    looked: dict[str, datetime],
    moment: datetime,
    *,
    last: bool,
) -> bool:
    """Compares a subject with our own records as of one moment: what moves between two of them would be in neither.
    Whether another look may help."""
    started, run = time.monotonic(), outcome.id
    before = outcome.counts[subject.name].seconds if subject.name in outcome.counts else 0.0
    one_moment = runtime.engine.execution_options(isolation_level="REPEATABLE READ")
    with one_moment.begin() as connection:
        counts = compare(connection, subject, run, _previous(connection, subject.name, run), looked, moment)
        if last:
            doubt(connection, subject, run)
            counts.causes = causes(connection, subject, run)
        moving = is_moving(connection, subject, run)
    passed = rules.passed.of[subject.name]
    counts.passed, counts.such_as = len(passed), [f"{name}: {why}" for name, why in islice(passed.items(), SHOWN)]
    counts.seconds = round(before + time.monotonic() - started, 3)
    outcome.counts[subject.name] = counts
    return moving


def _previous(connection: sa.Connection, subject: str, run: int) -> int | None:
    """The last run before this one that finished the subject."""
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


def _tell_of_passed(connection: sa.Connection, passed: PassedOver) -> None:
    """Raises one alert for all records that could not be compared."""
    found = sorted({name for names in passed.of.values() for name in names})
    if not found:
        return
    more = " and more" if len(found) > NAMED else ""
    alerts.raise_alert(
        connection,
        kind="unreadable_records",
        key="reconcile",
        flow="reconcile",
        title=f"Reconciliation: {len(found):,} records could not be compared",
        body=f"{'; '.join(found[:NAMED])}{more}. All others were compared. `crossdock reconcile` and the report in "
        "Airflow say why; ask the operator of the system to mend the records.",
    )


def _alert(connection: sa.Connection, subject: Subject, outcome: Outcome) -> None:
    """Raises an alert for a subject with unexplained differences."""
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
