"""Extract: a window of a list -> raw rows by COPY and work by queue, chunk by chunk, and the watermark.

In: a flow and a window. Out: batch ids. An unchanged record (same hash) makes no work downstream, unless it comes back
after another version that was no newer. A scheduled read also serves the list's other readers whose watermarks reach
its start: what is new to them waits in their queues, and their watermarks move along.
Never: parses a record beyond its key, version and whether it is whole; moves a watermark by any but a scheduled read;
serves other readers after a record that it refuses, for each reader has dead letters of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import sqlalchemy as sa

from crossdock import settings
from crossdock.errors import BadResponse, ConfigError, RecordRejected
from crossdock.flow import Flow, Resource
from crossdock.keys import segment
from crossdock.pool import Pool
from crossdock.steps import files, modes, records
from crossdock.steps.load import launching
from crossdock.store import abilities, batches, bookmarks, database, dead_letters, raw, runs, watermarks
from crossdock.store.raw import Record
from crossdock.store.runs import Over
from crossdock.systems import limits, writes

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)
T = TypeVar("T")
DAY = timedelta(days=1)  # a bookmark older than this is ignored when a window is read again
AHEAD = "read ahead"  # the run id of batches that another flow has read
KINDS = ("scheduled", "sweep", "compare", "backfill", "key", "event", "replay")
NAMED = ("key", "event")  # kinds whose records are named, by a person or by an event


@dataclass(frozen=True)
class Window:
    """[start, end) by the source's clock. A scheduled window has neither: it goes from the watermark, less the overlap,
    to the source's own time as its first page gives it."""

    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if early := next((edge for edge in (self.start, self.end) if edge and edge < watermarks.FIRST), None):
            raise ConfigError(
                f"{early:%Y-%m-%d} is before anything that can be read.", do=f"Give {watermarks.FIRST:%Y} or later."
            )
        if self.start and self.end and self.start >= self.end:
            raise ConfigError(
                f"The window starts at {self.start:%Y-%m-%dT%H:%M:%SZ}, which is not before its end "
                f"{self.end:%Y-%m-%dT%H:%M:%SZ}.",
                do="Give a --from that is earlier than --to.",
            )

    def days(self) -> list[Window]:
        """Splits the window into UTC days. Raises ConfigError for one without a start or an end."""
        if not (self.start and self.end):
            raise ConfigError("Day by day needs a window with a start and an end.", do="Give From and To.")
        cuts = [self.start]
        while cuts[-1] < self.end:
            midnight = cuts[-1].astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            cuts.append(min(midnight + timedelta(days=1), self.end))
        return [Window(*pair) for pair in pairwise(cuts)]


@dataclass
class _Reading:
    """The state of one read."""

    flow: str
    resource: Resource
    kind: str
    run_id: str
    window: Window
    reprocess: bool
    full_refresh: bool = False
    was_read: bool = False  # this run has read the list just now: only the queue is worked, nothing is requested
    reader: str = ""  # of reference data: the flow of this run, if the list is its source too
    since: datetime | None = None  # where it began
    others: list[str] = field(default_factory=list)  # other readers that this read serves
    open: list[int] = field(default_factory=list)  # batches with new records
    mine: list[int] = field(default_factory=list)  # batches of this read
    again: list[tuple[str, str]] = field(default_factory=list)  # of the inbox: records read before, by key and hash
    current: int | None = None
    read: int = 0  # of the current batch
    already_stored: int = 0
    dead: int = 0
    newest: datetime | None = None
    complete_to: datetime | None = None  # of a list that is not sorted by change
    server_time: datetime | None = None  # of the first page
    clock: datetime | None = None  # of the last page
    seconds: float = 0.0

    @property
    def resumes(self) -> bool:
        """Whether a read that breaks off resumes there: of a list that is read by last change, unless all of it is
        wanted."""
        sorted_list = self.resource.system in ("channel_advisor", "tims") and not self.resource.single
        return sorted_list and self.kind in ("scheduled", "sweep", "backfill") and not self.full_refresh

    @property
    def queue(self) -> str:
        return records.queue_of(self.flow, self.resource)

    @property
    def looked_up(self) -> bool:
        """Whether it is read as reference data: its batches are only merged into `ref`."""
        return self.flow == records.REFERENCE

    @property
    def name(self) -> str:
        """The name of the window, under which its bookmark is kept."""
        edges = (edge.isoformat() if edge else "" for edge in (self.window.start, self.window.end))
        return " ".join((self.kind, *edges, "reprocess" if self.reprocess else "")).strip()


def extract(
    runtime: Runtime,
    flow: Flow,
    window: Window = Window(),
    *,
    kind: str = "scheduled",
    run_id: str = "",
    keys: Sequence[str] = (),
    reprocess: bool = False,
    over: Over | None = None,
) -> list[int]:
    """Reads the flow's reference data and its window. Returns the ids of the batches that have work to do: its own,
    then those of dead runs, which it takes over. `over`: what the caller knows of other runs.

    `keys` (kind "key", "event" or "replay") names records instead of a window; those of events may be gone by now.
    `reprocess` works unchanged records again, for a window that is to be redone after a mapping was mended; a record
    that a person names by its key always is. Kind "compare" reads source and target whole, and works again what differs
    in the target. Raises ConfigError, before anything is read, when the flow's configuration is broken.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no kind of run {kind!r}.", do=f"The kinds are: {', '.join(KINDS)}.")
    if kind == "compare" and not flow.snapshot_target:
        raise ConfigError(f"{flow.title} has no full compare.", do="Use a sweep or a backfill.")
    for key in keys if kind == "key" else ():
        if odd := records.unfit(key):
            raise ConfigError(f"A key {odd}.", do="Give the record's id; nothing was read.")
    validate_config(flow)
    with runs.at_work(runtime.engine, run_id), writes.permitted(writes.none):
        if abilities.CHANNEL_ADVISOR in (flow.source.system, flow.target):
            with runtime.engine.begin() as connection:
                abilities.note(connection, runtime.can.missing)
        was_read = False
        for resource in flow.reference:
            if resource.wanted is None or resource.wanted(runtime.can):
                own = kind == "scheduled" and resource.name == flow.source.name
                was_read |= refresh_reference(runtime, resource, run_id, reader=flow.name if own else "")
        for other in flow.prefetch:
            _prefetch(runtime, other)
        if kind == "compare" and flow.snapshot_target:
            flow.snapshot_target(runtime)
        reading = _Reading(flow.name, flow.source, kind, run_id, window, reprocess or kind == "key", was_read=was_read)
        left = _read_and_take_over(runtime, flow, reading, keys, over)
    # The newest first: a record in several batches is worked once, in its newest version.
    return sorted(reading.open) + sorted(left - set(reading.open), reverse=True)


def _read_and_take_over(
    runtime: Runtime, flow: Flow, reading: _Reading, keys: Sequence[str], over: Over | None
) -> set[int]:
    """Reads the flow's own source. Returns the batches left by an earlier try of this run and by dead runs."""
    with database.lock(runtime.engine, f"extract:{flow.source.name}"):
        if reading.kind == "replay":
            with runtime.engine.begin() as connection:
                unread = dead_letters.refused_as_received(connection, flow.name, keys)
            _replay(runtime, reading, [key for key in keys if key not in unread])
            if unread:  # nothing of these is stored: they are read again, as they are now
                by_key = replace(reading, kind="key", reprocess=True, current=None, read=0, already_stored=0, dead=0)
                _read(runtime, by_key, flow=flow, keys=unread, gone_ok=True)
        else:
            _read(runtime, reading, flow=flow, keys=keys)
            _put_back(runtime, flow, reading)
        with runtime.engine.begin() as connection:
            left = batches.unfinished(connection, flow.name, reading.run_id)
            return {*left, *batches.reclaim_stale(connection, flow.name, reading.run_id, over)}


def _put_back(runtime: Runtime, flow: Flow, reading: _Reading) -> None:
    """Moves unchanged files that came into the inbox again: they make no work, so no batch would move them."""
    if not reading.again:
        return
    with runtime.engine.begin() as connection:
        found = files.put_back(connection, flow.stage, flow.source.raw, reading.again)
    for source, file, read in found:
        runtime.inbox.finish(flow.source.path, source, file, read)


def _prefetch(runtime: Runtime, flow: Flow) -> None:
    """Reads what is new for another flow. Its own next run takes these batches over like those of a dead run."""
    lock = database.lock(runtime.engine, f"extract:{flow.source.name}")
    with lock, runs.at_work(runtime.engine, AHEAD):  # nobody takes a batch while it is being filled
        _read(runtime, _Reading(flow.name, flow.source, "scheduled", AHEAD, Window(), reprocess=False), flow=flow)


def refresh_reference(
    runtime: Runtime, resource: Resource, run_id: str = "", *, full_refresh: bool = False, reader: str = ""
) -> bool:
    """Brings reference data up to date; `full_refresh` reads the whole list again. `reader`: the flow of this run, if
    the list is its source too. Returns whether this read has served it."""
    kind = "backfill" if full_refresh else "scheduled"
    reading = _Reading(
        records.REFERENCE, resource, kind, run_id, Window(), reprocess=False, full_refresh=full_refresh, reader=reader
    )
    with database.lock(runtime.engine, f"extract:{resource.name}"), writes.permitted(writes.none):
        return reader in _read(runtime, reading)


def validate_config(flow: Flow) -> None:
    """Reads the flow's mappings and checks: a broken file stops a run before it has read anything. Raises
    ConfigError."""
    from crossdock.mapping import language
    from crossdock.rules import settings as rule_settings
    from crossdock.steps import suites

    for name in flow.mappings:
        language.load(name)
    suites.load(flow.suite)
    rule_settings.load()
    if flow.validate_config:
        flow.validate_config()


def _read(
    runtime: Runtime,
    reading: _Reading,
    *,
    flow: Flow | None = None,
    keys: Sequence[str] = (),
    gone_ok: bool = False,
) -> list[str]:
    """Stores the pages, each chunk in a transaction of its own with its bookmark; then takes what waits in the queue;
    moves the watermarks last. Reading and writing overlap on two threads. Returns the other readers that it served.

    Only the last transaction waits for the disk, which then holds all earlier ones, too. All are of one session: if the
    database crashes in between and loses a chunk, the session ends, and the read fails before the watermark moves."""
    started = time.monotonic()
    resource = reading.resource
    reading.since = None if keys or reading.was_read else _since(runtime, reading)
    named = _by_key(runtime, resource, keys, gone_ok or reading.kind == "event") if keys else None
    received = named or _pages(runtime, reading, reading.since, flow)
    with runtime.engine.connect() as connection:
        with connection.begin():
            reading.others = _others(connection, reading)
        with Pool(1, "copy") as writer:
            pending: Future | None = None
            for chunk in _chunks(received, resource.at_once):
                judged = records.judge(resource, chunk, reading.clock)  # in this thread: the writer waits for Postgres
                if pending:
                    pending.result()
                reading.seconds = time.monotonic() - started
                pending = writer.submit(_store, connection, runtime, reading, flow, judged)
            if pending:
                pending.result()
        if reading.kind not in NAMED:  # these records are asked for, and no others
            _take(connection, reading)
        with connection.begin():
            if flow and flow.requeue:
                _requeue(connection, reading, flow.requeue(connection))
            if flow and reading.kind not in NAMED:
                _requeue(connection, reading, launching.launchable(connection, flow, modes.of(flow.name)))
            if flow and flow.find_drift and reading.kind == "compare":
                _requeue(connection, reading, flow.find_drift(connection))
            reading.seconds = time.monotonic() - started
            _close(connection, reading)
            served = _still(connection, reading)
            if reading.kind == "scheduled" and reading.server_time:
                to = reading.server_time - resource.lag
                if stated := watermarks.move(connection, reading.flow, resource.name, to, reading.newest):
                    records.report_clock(connection, resource, stated)
                for name in served:
                    note = watermarks.move if name == reading.reader else watermarks.follow
                    note(connection, name, resource.name, to, reading.newest)
            if reading.resumes and not reading.was_read:
                for name in (reading.flow, *served):
                    bookmarks.remove(connection, name, resource.name, reading.name)
    return served


def _others(connection: sa.Connection, reading: _Reading) -> list[str]:
    """The other readers that this read can serve: their watermarks reach its start. Its own `reader` also where it has
    never read the list and would begin there. Only a scheduled read serves others."""
    if reading.kind != "scheduled" or reading.was_read:
        return []
    name, overlap, since, reader = reading.resource.name, reading.resource.overlap, reading.since, reading.reader
    found = watermarks.at_or_beyond(connection, name, since, overlap)
    if reader and watermarks.position(connection, reader, name) is None and settings.flow(reader).start == since:
        found.add(reader)
    return sorted(found - {reading.flow})


def _still(connection: sa.Connection, reading: _Reading) -> list[str]:
    """The readers that this read still serves: without those whose watermark a person has set back meanwhile."""
    return sorted({*reading.others}.intersection(_others(connection, reading))) if reading.others else []


def _take(connection: sa.Connection, reading: _Reading) -> None:
    """Moves what others have read for this reader from its queue into batches, each in a transaction of its own."""
    while True:
        with connection.begin():
            if not raw.is_waiting(connection, reading.queue):
                return
            batch_id = reading.current or _open(connection, reading)
            room = batches.SIZE - (reading.read - reading.already_stored)
            taken = raw.take(connection, reading.queue, batch_id, room)
            reading.read += len(taken)
            if reading.looked_up:
                _refuse_mistyped(connection, reading, batch_id, taken)
            if reading.looked_up or len(taken) == room:
                _close(connection, reading)
            else:
                _count(connection, reading)


def _refuse_mistyped(connection: sa.Connection, reading: _Reading, batch_id: int, taken: Sequence[raw.Pair]) -> None:
    """Makes dead letters of reference records of a wrong type that another flow has read."""
    found = raw.records(connection, reading.resource.raw, batch_id, [key for key, _ in taken])
    _, refused = records.typed(reading.resource, found)
    if refused:
        raw.dequeue(connection, reading.queue, [one.record.pair for one in refused])
        _dead_letter(connection, reading, None, batch_id, refused)


def _since(runtime: Runtime, reading: _Reading) -> datetime | None:
    """The moment at which the read begins: the bookmark of an earlier read of the window that broke off, else the
    window's start. A scheduled read overlaps the last one; a first one begins where the flow's settings say."""
    start, resource = reading.window.start, reading.resource
    if reading.kind == "sweep" and start is None:
        start = runtime.system(resource.system).server_time() - settings.flow(reading.flow).sweep
    with runtime.engine.begin() as connection:
        if reading.kind == "scheduled":
            position = watermarks.position(connection, reading.flow, resource.name)
            start = position - resource.overlap if position else settings.flow(reading.flow).start
        if not reading.resumes:
            return start
        reached = bookmarks.reached(
            connection, reading.flow, resource.name, reading.name, within=None if reading.kind == "scheduled" else DAY
        )
    return max((at for at in (start, reached) if at), default=None)


def _reached(reading: _Reading) -> datetime | None:
    """The bookmark: all rows changed before it are stored, for lists are sorted by last change, or say how far they are
    complete. Lag and overlap are taken off as for a watermark, for rows that were not visible yet."""
    reached = reading.complete_to or reading.newest
    if reached is None or reading.server_time is None:
        return None
    resource = reading.resource
    return max(min(reached, reading.server_time - resource.lag) - resource.overlap, watermarks.FIRST)


def _pages(runtime: Runtime, reading: _Reading, since: datetime | None, flow: Flow | None) -> Iterator[records.Item]:
    if reading.was_read:
        return
    if reading.resource.single:
        yield msgspec.Raw(runtime.tims.document(reading.resource.path))
        return
    system = runtime.system(reading.resource.system)
    # A backfill of our own records goes by when things happened; a scheduled read by when they were recorded.
    how: dict[str, Any] = (
        {"happened": True} if reading.resource.system == "settlement_ledger" and reading.kind == "backfill" else {}
    )
    for page in system.pages(reading.resource.path, since=since, before=reading.window.end, **how):
        back = _set_back(runtime, reading, since, page.server_time)
        if back:  # the source's clock was set back: each reader handles that by itself
            reading.others = []
            yield from _pages(runtime, reading, back, flow)
            return
        reading.server_time = reading.server_time or page.server_time
        reading.clock = page.server_time
        yield from records.items_of(page)
    if flow and reading.kind in ("scheduled", "sweep"):
        yield from _undated(runtime, reading, flow)


def _undated(runtime: Runtime, reading: _Reading, flow: Flow) -> Iterator[records.Item]:
    """The records that wait in a flow whose list has no date that moves when their state does."""
    if reading.resource.system != "channel_advisor" or reading.resource.path not in runtime.channel_advisor.can.undated:
        return
    waiting = sa.select(flow.stage.c.key).where(flow.stage.c.state == "waiting")
    with runtime.engine.begin() as connection:
        keys = list(connection.scalars(waiting))
    if keys:
        for page in runtime.channel_advisor.pages(reading.resource.path, key=keys):
            yield from records.items_of(page)


def _set_back(runtime: Runtime, reading: _Reading, since: datetime | None, server_time: datetime) -> datetime | None:
    """The new start of a scheduled read where the source's clock is behind the end of the last read: as long ago by
    that clock as the last read is by ours. None where the clock is right."""
    if reading.kind != "scheduled" or reading.server_time or not since or server_time >= since:
        return None
    with runtime.engine.begin() as connection:
        last = watermarks.read_at(connection, reading.flow, reading.resource.name)
        if last is None:  # a first read: it begins where the flow's settings say
            return None
        gone = database.now(connection) - last
    reading.server_time = server_time
    return server_time - gone - max(reading.resource.overlap, settings.intake().clock)


def _by_key(runtime: Runtime, resource: Resource, keys: Sequence[str], gone_ok: bool) -> Iterator[records.Item]:
    """Reads records by their keys, several at a time. ConfigError for one that is not there; with `gone_ok` it is left
    out, and so is one whose key the system does not take."""

    def one(key: str) -> records.Item | None:
        try:
            return records.read_one(runtime, resource, key)
        except RecordRejected as error:
            if gone_ok and error.status in (400, 404):
                log.warning("%s has no record %s in %s any more.", resource.system, segment(key), resource.path)
                return None
            if error.status != 404:
                raise
            raise ConfigError(
                f"{resource.system} has no record {key} in {resource.path}.", do="Check the id; nothing was changed."
            ) from error

    at_once = 1 if resource.contract == "crossdock" else limits.load(resource.system).at_once
    with Pool(at_once, "by key") as pool:
        for some in _chunks(keys, at_once):
            yield from (item for item in pool.map(one, some) if item is not None)


def _chunks(records: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _store(
    connection: sa.Connection, runtime: Runtime, reading: _Reading, flow: Flow | None, judged: records.Judged
) -> None:
    """Writes the new records of a chunk, the queues that they are work of, and the counts of the batch. Runs on the
    writer thread; no transaction is open while truncated records are fetched."""
    resource, given = reading.resource, judged.records
    reading.newest = max((at for at in (reading.newest, judged.newest) if at), default=None)
    reading.complete_to = judged.complete_to or reading.complete_to
    with connection.begin():
        queues = {name: records.queue_of(name, resource) for name in (reading.flow, *reading.others)}
        stored = raw.already_stored(connection, resource.raw, given, queues.values())
        work = {name: _work(connection, name, queue, resource, given, stored) for name, queue in queues.items()}
    new, refused = _completed(runtime, resource, [r for r in given if r.pair not in stored], judged.truncated)
    mistyped: list[records.Refused] = []
    if reading.looked_up:
        fresh = {pair for pair in work[reading.flow] if reading.queue not in stored.get(pair, ())}
        mistyped = records.typed(resource, [r for r in given if r.pair in fresh])[1]

    with connection.begin():
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        batch_id = reading.current or _open(connection, reading)
        reading.read += len(given) + len(judged.refused)
        refused += records.unstorable(raw.insert(connection, resource.raw, new))
        # After a refused record the other readers read for themselves.
        reading.others = [] if refused or judged.refused else _still(connection, reading)
        cannot = {one.record.key for one in refused}
        cannot_here = cannot | {one.record.key for one in mistyped}
        for name in (reading.flow, *reading.others):
            mine = name == reading.flow
            fit = [pair for pair in work[name] if pair[0] not in (cannot_here if mine else cannot)]
            raw.enqueue(connection, queues[name], fit, batch_id if mine else None)
        seen = {r.pair for r in given} - set(work[reading.flow])
        if reading.reprocess:
            again = [key for key, _ in seen]
            moved = raw.reassign(connection, resource.raw, reading.queue, again, batch_id)
            reading.already_stored += len(again) - len(moved)
        else:
            reading.already_stored += len(seen)
            reading.again += seen if resource.system == "inbox" else ()
        _dead_letter(connection, reading, flow, batch_id, judged.refused + refused + mistyped)
        # A known record of reference data counts as merged, so every commit merges its new ones.
        unknown = reading.read - reading.already_stored
        if unknown >= batches.SIZE or (reading.looked_up and unknown):
            _close(connection, reading)
        else:
            _count(connection, reading)
        if reading.resumes and (reached := _reached(reading)):
            for name in (reading.flow, *reading.others):
                bookmarks.put(connection, name, resource.name, reading.name, reached)


def _work(
    connection: sa.Connection,
    reader: str,
    queue: str,
    resource: Resource,
    given: Sequence[Record],
    stored: Mapping[raw.Pair, Collection[str]],
) -> list[raw.Pair]:
    """The records of a chunk that are work of a reader: those new to it, and those that came back."""
    had = [record for record in given if queue in stored.get(record.pair, ())]
    back = records.came_back(connection, reader, resource, had)
    worked = {record.pair for record in had} - back
    return [record.pair for record in given if record.pair not in worked]


def _dead_letter(
    connection: sa.Connection, reading: _Reading, flow: Flow | None, batch_id: int, refused: list[records.Refused]
) -> None:
    """Makes dead letters of refused records; one that is a dead letter already, unchanged, makes no work."""
    if not refused:
        return
    old = set() if reading.reprocess else records.already_stored(connection, flow, reading.resource, refused)
    fresh = [one for one in refused if (one.record.key, one.record.hash) not in old]
    reading.already_stored += len(refused) - len(fresh)
    reading.dead += len(fresh)
    records.dead_letter(connection, flow, reading.resource, batch_id, fresh)


def _completed(
    runtime: Runtime, resource: Resource, given: list[Record], truncated: set[str]
) -> tuple[list[Record], list[records.Refused]]:
    """Reads truncated records whole, one by one, as many at once as the system allows. Returns (records, refused)."""
    whole = [r for r in given if r.key not in truncated]
    if len(whole) == len(given):
        return given, []
    system = runtime.system(resource.system)

    def complete(record: Record) -> Record | records.Refused:
        try:
            data = system.record(resource.path, record.key)
        except RecordRejected as error:
            if error.status == 404:
                return record  # deleted meanwhile: transform finds the lines missing and reports it
            return records.Refused(record, "unreadable_record", f"It cannot be read whole: {error.message}")
        one = records.identify(resource, data)
        if isinstance(one, records.Refused):
            return replace(one, record=replace(one.record, key=record.key))
        return replace(record, payload=data, version=max(one[0].version, record.version))

    with Pool(limits.load(resource.system).at_once, "whole") as pool:
        completed = list(pool.map(complete, (r for r in given if r.key in truncated)))
    refused = [one for one in completed if isinstance(one, records.Refused)]
    return whole + [one for one in completed if isinstance(one, Record)], refused


def _requeue(connection: sa.Connection, reading: _Reading, keys: Sequence[str]) -> None:
    """Adds the records of `keys` to the current batch, but for those that it has just read."""
    for portion in _chunks(keys, batches.SIZE):
        batch_id = reading.current or _open(connection, reading)
        fresh = raw.reassign(connection, reading.resource.raw, reading.queue, portion, batch_id, unless_in=reading.mine)
        reading.read += len(fresh)
        if reading.read - reading.already_stored >= batches.SIZE:
            _close(connection, reading)


def _open(connection: sa.Connection, reading: _Reading) -> int:
    reading.current = batches.open_batch(
        connection,
        reading.flow,
        reading.kind,
        run_id=reading.run_id,
        start=reading.window.start,
        end=reading.window.end,
    )
    reading.mine.append(reading.current)
    return reading.current


def _count(connection: sa.Connection, reading: _Reading) -> None:
    """Notes the counts of the current batch so far: if its reader dies, it is a batch like any other."""
    if reading.current is not None:
        batches.extracted(
            connection,
            reading.current,
            read=reading.read,
            already_stored=reading.already_stored,
            seconds=reading.seconds,
        )


def _close(connection: sa.Connection, reading: _Reading) -> None:
    """Ends the current batch; reference data are merged into `ref` here and need no further step."""
    batch_id = reading.current
    if batch_id is None:
        return
    _count(connection, reading)
    if reading.looked_up:
        if reading.read > reading.already_stored:
            reading.dead += records.merge(connection, reading.resource, batch_id)
        batches.finish_reference_batch(connection, batch_id, dead=reading.dead)
    elif reading.read > reading.already_stored:
        reading.open.append(batch_id)
    reading.current, reading.read, reading.already_stored, reading.dead = None, 0, 0, 0


def _replay(runtime: Runtime, reading: _Reading, keys: Sequence[str]) -> None:
    """Works dead letters (or any records read before) again, with the edits of a person in their payloads."""
    resource, flow_name = reading.resource, reading.flow
    with runtime.engine.begin() as connection:
        batch_id = batches.open_batch(connection, flow_name, "replay", run_id=reading.run_id)
        edited = dead_letters.edited(connection, flow_name, keys)
        mended = []
        for key, (payload, version) in edited.items():
            data = database.to_json(payload).encode()
            mended.append(Record(key, version, raw.digest(data), data))
        stored = raw.already_stored(connection, resource.raw, mended, [reading.queue])
        refused = raw.insert(connection, resource.raw, [r for r in mended if r.pair not in stored])
        if refused:
            raise BadResponse(
                f"The edited payload of {refused[0][0].key} cannot be stored: {refused[0][1]}",
                do="Edit it again: `crossdock dead-letters edit`.",
            )
        fresh = [r.pair for r in mended if reading.queue not in stored.get(r.pair, ())]
        raw.enqueue(connection, reading.queue, fresh, batch_id)
        new = {key for key, _ in fresh}
        again = [key for key in keys if key not in new]
        claimed = raw.reassign(connection, resource.raw, reading.queue, again, batch_id)
        found = len(new) + len(claimed)
        batches.extracted(connection, batch_id, read=found, already_stored=0, seconds=0.0)
        if found:
            reading.open.append(batch_id)
