"""Works events: reads the records that they name now, and takes them through the five steps, flow by flow.

In: open rows of `ops.webhook_event`, a NOTIFY for each that comes. Out: counts by flow, and rows that are worked.
Never: the content of an event taken for true; an event noted as worked before its record was; a record read for each
of its events, where they wait together.

A pass is one flow with all that waits for it. Where few records are named each is read by its key. Where many are, in
a storm, the flow's list is read from its watermark, as the schedule does: that is one request for a hundred records,
and has all that changed before it began. So events leave the minute's requests to the flows' own runs.
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import BatchStopped, CrossdockError
from crossdock.flow import Flow
from crossdock.steps import suites
from crossdock.steps.extract import extract, validate_config
from crossdock.steps.run_batches import run_batches
from crossdock.store import batches, database, faults, versions, webhook_events
from crossdock.store.batches import Counts
from crossdock.store.runs import Over
from crossdock.systems import limits

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)

TOGETHER = 0.1  # seconds that an event waits for others
SWEEP = 30.0  # seconds between two looks at the table: for a NOTIFY that was lost
ECHOES = 2.0  # least seconds between two passes of a flow whose events are mostly echoes,
REST = 5.0  # and how many times as long as a pass it rests after it
MANY = 100  # records from which on the list is read
BY_KEY = 1 / 40  # of a minute's requests that a pass may take for its records; above it reads the list too
TAKE_OVER = "take over"  # in the text of a notice, with a system: another worker stands ready
LONGEST_PASS = 3600.0  # seconds that a worker waits for the pass of the one before it
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


class _Turns:
    """Whose pass is next. The first flow that waits, in the order in which data travels, has every second pass, for
    whoever waits for the others waits for it too; the others take turns. A flow whose pass failed pauses, and so does
    one that reads what Crossdock itself writes, in step with what its passes cost: its events are mostly echoes, and go
    together."""

    def __init__(self, flows: Mapping[str, Flow]) -> None:
        self._flows = flows
        self._worked: list[str] = []  # the last one at the end
        self._again: dict[str, float] = {}  # by the monotonic clock
        self._failed: dict[str, tuple[Exception, float]] = {}  # with the pause

    def next(self, waiting: Sequence[str]) -> str | None:
        """One of those that wait; None where none does, or all pause."""
        now = time.monotonic()
        ready = [name for name in waiting if self._again.get(name, now) <= now]
        if not ready:
            return None
        first, *others = ready
        if not others or self._worked[-1:] != [first]:
            return first
        return min(others, key=lambda name: self._worked.index(name) if name in self._worked else -1)

    def note(self, name: str, error: Exception | None, seconds: float = 0.0) -> None:
        """Notes a pass, and how long it took."""
        self._worked = [*(each for each in self._worked if each != name), name]
        _, before = self._failed.pop(name, (None, 0.0))
        pause = max(ECHOES, REST * seconds) if self._flows[name].source.system == "tims" else 0.0
        if error:
            pause = min(max(before * 2, PAUSE), LONGEST_PAUSE)
            self._failed[name] = (error, pause)
            ours = isinstance(error, CrossdockError)  # of another kind is a fault of the program
            log.warning("%s: its events are tried again in %.0f s. %s", name, pause, error, exc_info=not ours)
        self._again[name] = time.monotonic() + pause

    @property
    def error(self) -> Exception | None:
        """Of a flow that failed and is to be tried again."""
        return next((error for error, _ in self._failed.values()), None)

    def pause(self, waiting: Sequence[str]) -> float:
        """Seconds until one of those that wait is next."""
        return min((max(self._again.get(name, 0.0) - time.monotonic(), 0.0) for name in waiting), default=SWEEP)


def work(
    runtime: Runtime,
    flows: Mapping[str, Flow],
    done: Worked,
    *,
    seconds: float,
    run_id: str = "",
    over: Over | None = None,
) -> None:
    """Works what comes, and counts it in `done`: until another worker stands ready, but at most so many seconds; with 0
    what is there now. `flows`: all that read a system, in the order in which data travels, or those of both systems.

    One worker at a time for a system. The newest one takes over: it prepares itself, and the one at work ends after its
    pass.

    A flow whose pass fails, however it does, is tried again after a growing pause, while the others and its polling go
    on. Raises the error of such a pass when the time is over, and Transient where the database is lost."""
    until, turns = time.monotonic() + seconds, _Turns(flows)
    systems = {flow.source.system for flow in flows.values()}
    leave = {f"{TAKE_OVER} {system}" for system in systems}
    prepare(flows)
    with (
        _listening(runtime.engine, leave if seconds > 0 else ()) as notices,
        database.locks(runtime.engine, (f"events:{system}" for system in systems), wait=LONGEST_PASS),
    ):
        while True:
            waiting = _waiting(runtime.engine, flows)
            name = turns.next(waiting)
            if name:
                error, begun = None, time.monotonic()
                try:
                    done.add(name, *one_pass(runtime, flows[name], run_id=run_id, over=over))
                except Exception as raised:
                    error = raised
                turns.note(name, error, time.monotonic() - begun)
            left = until - time.monotonic()
            if not name and left <= 0:
                break
            came = notices(0.0 if name else min(left, SWEEP, turns.pause(waiting)))
            if leave & came:
                return
            if came and not name:
                time.sleep(TOGETHER)
    if turns.error:
        raise turns.error


def prepare(flows: Mapping[str, Flow]) -> None:
    """Imports and reads what a pass needs, which costs seconds, ahead of the first one. A flow whose configuration is
    broken says so when it is worked."""
    suites.prepare()
    for flow in flows.values():
        with contextlib.suppress(CrossdockError):
            validate_config(flow)


def one_pass(runtime: Runtime, flow: Flow, *, run_id: str = "", over: Over | None = None) -> tuple[int, Counts]:
    """Works the events that wait for a flow at this moment: how many, and the counts of their batches."""
    with versions.in_force(runtime.engine):
        with runtime.engine.begin() as connection:
            events, keys = webhook_events.take(connection, flow.name, run_id)
        if len(keys) < min(MANY, limits.load(flow.source.system).requests_per_minute * BY_KEY):
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
def _listening(engine: sa.Engine, first: Iterable[str]) -> Iterator[Callable[[float], set[str]]]:
    """Sends the first notices, to other workers. Gives a function that waits so many seconds for notices and returns
    their texts: "" for an event."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"LISTEN {webhook_events.CHANNEL}"))
        for text in first:
            connection.execute(sa.select(sa.func.pg_notify(webhook_events.CHANNEL, text)))
        driver: Any = connection.connection.driver_connection

        def notices(seconds: float) -> set[str]:
            with faults.typed_errors():
                if not driver.notifies:
                    select.select([driver], [], [], seconds)
                driver.poll()
                came = {notice.payload for notice in driver.notifies if notice.pid != driver.info.backend_pid}
                driver.notifies.clear()
            return came

        try:
            yield notices
        finally:
            connection.invalidate()  # a pooled session would go on listening
