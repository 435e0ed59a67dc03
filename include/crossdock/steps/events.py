"""Works events: reads the records that they name now, and takes them through the five steps, flow by flow.

In: open rows of `ops.webhook_event`, a NOTIFY for each that comes. Out: counts by flow, and rows that are worked.
Never: the content of an event taken for true; an event noted as worked before its record was; a record read for each
of its events, where they wait together.

A pass is one flow with all that waits for it. Where few records are named each is read by its key. Where many are, in
a storm, the flow's list is read from its watermark, as the schedule does: that is one request for a hundred records,
and has all that changed before it began.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import BatchStopped, CrossdockError
from crossdock.flow import Flow
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import batches, database, faults, versions, webhook_events
from crossdock.store.batches import Counts
from crossdock.store.runs import Over

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)

TOGETHER = 0.1  # seconds that an event waits for others
SWEEP = 30.0  # seconds between two looks at the table: for a NOTIFY that was lost
MANY = 100  # records from which on the list is read
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds after a pass that failed, doubled each time


@dataclass
class Worked:
    """What one worker has done: events, and the counts of their batches by flow."""

    events: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)

    def add(self, flow: str, events: int, counts: Counts) -> None:
        """Counts a pass."""
        self.events += events
        self.counts[flow] = self.counts[flow] + counts if flow in self.counts else counts


@dataclass(frozen=True)
class _Failed:
    """Why a flow's pass failed, and when (by the monotonic clock) it is tried again."""

    error: CrossdockError
    pause: float
    again: float


def work(
    runtime: Runtime,
    flows: Mapping[str, Flow],
    done: Worked,
    *,
    seconds: float,
    run_id: str = "",
    over: Over | None = None,
) -> None:
    """Works what comes for so many seconds, with 0 what is there now, and counts it in `done`. `flows`: all of them, in
    the order in which data travels. One worker at a time: another one waits.

    A flow whose pass fails is tried again after a growing pause, while the others and its polling go on. Raises the
    error of such a pass at the end, and Transient where the database is lost."""
    until, failed = time.monotonic() + seconds, dict[str, _Failed]()
    with database.lock(runtime.engine, "events"), _listening(runtime.engine) as notified:
        while True:
            for name in _waiting(runtime.engine, flows):
                if name in failed and failed[name].again > time.monotonic():
                    continue
                try:
                    done.add(name, *one_pass(runtime, flows[name], run_id=run_id, over=over))
                    failed.pop(name, None)
                except CrossdockError as error:
                    pause = min(failed[name].pause * 2, LONGEST_PAUSE) if name in failed else PAUSE
                    failed[name] = _Failed(error, pause, time.monotonic() + pause)
                    log.warning("%s: its events are tried again in %.0f s. %s", name, pause, error)
            now = time.monotonic()
            if now >= until:
                break
            if notified(min(until - now, SWEEP, *(max(one.again - now, 0.0) for one in failed.values()))):
                time.sleep(TOGETHER)
    if failed:
        raise next(iter(failed.values())).error


def one_pass(runtime: Runtime, flow: Flow, *, run_id: str = "", over: Over | None = None) -> tuple[int, Counts]:
    """Works the events that wait for a flow at this moment: how many, and the counts of their batches."""
    with versions.in_force(runtime.engine):
        with runtime.engine.begin() as connection:
            events, keys = webhook_events.take(connection, flow.name, run_id)
        if len(keys) < MANY:
            ids = extract(runtime, flow, kind="event", keys=keys, run_id=run_id, over=over)
        else:
            ids = extract(runtime, flow, run_id=run_id, over=over)
        try:
            counts = run_batches(runtime, flow, ids, run_id=run_id, over=over)
        except BatchStopped as error:  # it waits for a person, who has the alert
            log.warning("%s", error)
            with runtime.engine.begin() as connection:
                counts = batches.counts(connection, ids)
        with runtime.engine.begin() as connection:
            webhook_events.note_worked(connection, flow.name, run_id)
    return events, counts


def _waiting(engine: sa.Engine, flows: Mapping[str, Flow]) -> list[str]:
    """The flows for which events wait, in the order in which data travels."""
    with engine.connect() as connection:
        names = webhook_events.flows_waiting(connection)
    return [name for name in flows if name in names]


@contextmanager
def _listening(engine: sa.Engine) -> Iterator[Callable[[float], bool]]:
    """Gives a function that waits so many seconds for an event and says whether one came."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"LISTEN {webhook_events.CHANNEL}"))
        driver: Any = connection.connection.driver_connection

        def notified(seconds: float) -> bool:
            with faults.typed_errors():
                if not driver.notifies:
                    select.select([driver], [], [], seconds)
                driver.poll()
                came = bool(driver.notifies)
                driver.notifies.clear()
            return came

        try:
            yield notified
        finally:
            connection.invalidate()  # a pooled session would go on listening
