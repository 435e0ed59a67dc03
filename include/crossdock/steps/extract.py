"""Extract: a window of a list -> raw rows by COPY and the watermark, in one transaction.

In: a flow and a window. Out: batch ids; an unchanged record (same hash) makes no work downstream.
Never: parses a record beyond its key, version and whether it is whole; moves the watermark on anything but a
scheduled read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec
import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.errors import BadResponse, ConfigError, RecordRejected
from crossdock.flows.base import Flow, Resource
from crossdock.store import batches, database, dead_letters, raw, watermarks
from crossdock.store.raw import Record
from crossdock.systems import limits, times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

T = TypeVar("T")
AHEAD = "read ahead"  # run of batches that another flow has read
KINDS = ("scheduled", "sweep", "compare", "backfill", "key", "replay")


@dataclass(frozen=True)
class Window:
    """[start, end) by the source's clock. A scheduled window has neither: it goes from the watermark (less the
    overlap) to the source's own time, which the first page tells before any row of it is looked at."""

    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.start and self.end and self.start >= self.end:
            raise ConfigError(
                f"The window starts at {self.start:%Y-%m-%dT%H:%M:%SZ}, which is not before its end "
                f"{self.end:%Y-%m-%dT%H:%M:%SZ}.",
                do="Give a --from that is earlier than --to.",
            )


@dataclass
class _Reading:
    """What one read has met so far."""

    flow: str
    resource: Resource
    kind: str
    run_id: str
    window: Window
    reprocess: bool
    open: list[int] = field(default_factory=list)  # batches with new records
    mine: list[int] = field(default_factory=list)  # batches of this read
    current: int | None = None
    read: int = 0  # of the current batch
    known: int = 0
    newest: datetime | None = None
    server_time: datetime | None = None
    seconds: float = 0.0


def extract(
    runtime: Runtime,
    flow: Flow,
    window: Window = Window(),
    *,
    kind: str = "scheduled",
    run_id: str = "",
    keys: Sequence[str] = (),
    reprocess: bool = False,
) -> list[int]:
    """Reads the flow's masters and its window; the ids of the batches that have work to do.

    `keys` (kind "key" or "replay") names records instead of a window. `reprocess` works unchanged records again, for
    a window that is to be redone after a mapping was mended; a record asked for by its key always is. Kind "compare"
    reads source and target whole, and works again what is not in the target as it should be. Batches whose run died are
    adopted. Raises ConfigError, before anything is read, when the flow's configuration is broken.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no kind of run {kind!r}.", do=f"The kinds are: {', '.join(KINDS)}.")
    _configured(flow)
    for master in flow.masters:
        if master.wanted is None or master.wanted():
            read_master(runtime, master, run_id)
    for name in flow.ahead:
        _read_ahead(runtime, flows.get(name))
    if kind == "compare":
        if not flow.look:
            raise ConfigError(f"{flow.title} has no full compare.", do="Use a sweep or a backfill.")
        flow.look(runtime)
    with database.lock(runtime.engine, f"extract:{flow.source.name}"):
        reading = _Reading(flow.name, flow.source, kind, run_id, window, reprocess or kind == "key")
        if kind == "replay":
            _replay(runtime, reading, keys)
        else:
            _read(runtime, reading, flow=flow, keys=keys)
        with runtime.engine.begin() as connection:
            old = batches.unfinished(connection, flow.name, run_id) + batches.adopt(connection, flow.name)
            old += batches.take_over(connection, flow.name, AHEAD, run_id)
    return sorted({*reading.open, *old})


def _read_ahead(runtime: Runtime, flow: Flow) -> None:
    """Reads what is new for another flow; its own next run takes the batches over."""
    with database.lock(runtime.engine, f"extract:{flow.source.name}"):
        _read(runtime, _Reading(flow.name, flow.source, "scheduled", AHEAD, Window(), reprocess=False), flow=flow)


def read_master(runtime: Runtime, master: Resource, run_id: str = "", *, afresh: bool = False) -> None:
    """Brings a master up to date; `afresh` reads all of it once more, whatever was read before."""
    kind = "backfill" if afresh else "scheduled"
    with database.lock(runtime.engine, f"extract:{master.name}"):
        _read(runtime, _Reading("masters", master, kind, run_id, Window(), reprocess=False))


def _configured(flow: Flow) -> None:
    """Reads the flow's mappings and checks: a broken file stops a run before it has read anything."""
    from crossdock.mapping import language
    from crossdock.rules import settings as rule_settings
    from crossdock.steps import suites

    for name in flow.mappings:
        language.load(name)
    suites.load(flow.suite)
    rule_settings.load()
    if flow.configured:
        flow.configured()


def _read(runtime: Runtime, reading: _Reading, *, flow: Flow | None = None, keys: Sequence[str] = ()) -> None:
    """One transaction: what the pages bring, and the watermark. Reading and writing overlap on two threads."""
    started = time.monotonic()
    resource = reading.resource
    with runtime.engine.begin() as connection, ThreadPoolExecutor(1, "copy") as writer:
        since = _since(connection, runtime, reading)
        received = _by_key(runtime, resource, keys) if keys else _pages(runtime, reading, since)
        pending: Future | None = None
        for chunk in _chunks(received, resource.at_once):
            records, cut = _newest(resource, chunk)  # here, for the writer is busy waiting for the database
            if pending:
                pending.result()
            pending = writer.submit(_store, runtime, connection, reading, flow, records, cut)
        if pending:
            pending.result()
        if flow and flow.wake:
            _wake(connection, reading, flow.wake(connection))
        if flow and flow.amiss and reading.kind == "compare":
            _wake(connection, reading, flow.amiss(connection))
        reading.seconds = time.monotonic() - started
        _close(connection, reading)
        if reading.kind == "scheduled" and reading.server_time:
            watermarks.move(connection, reading.flow, resource.name, reading.server_time - resource.lag, reading.newest)


def _since(connection: sa.Connection, runtime: Runtime, reading: _Reading) -> datetime | None:
    """Where the read begins. A scheduled one overlaps what the last one read; a first one takes all there is."""
    if reading.kind == "scheduled":
        position = watermarks.position(connection, reading.flow, reading.resource.name)
        return position - reading.resource.overlap if position else settings.flow(reading.flow).start
    if reading.kind == "sweep" and reading.window.start is None:
        return runtime.system(reading.resource.system).server_time() - settings.flow(reading.flow).sweep
    return reading.window.start


def _pages(runtime: Runtime, reading: _Reading, since: datetime | None) -> Iterator[msgspec.Raw]:
    if reading.resource.single:
        yield msgspec.Raw(runtime.tims.document(reading.resource.path))
        return
    system = runtime.system(reading.resource.system)
    # A backfill of our own records asks when things happened; a scheduled read, when we came to know them.
    how: dict[str, Any] = (
        {"happened": True} if reading.resource.system == "books" and reading.kind == "backfill" else {}
    )
    for page in system.pages(reading.resource.path, since=since, before=reading.window.end, **how):
        if reading.server_time is None:
            reading.server_time = page.server_time
        yield from page.records


def _by_key(runtime: Runtime, resource: Resource, keys: Sequence[str]) -> Iterator[msgspec.Raw]:
    for key in keys:
        try:
            yield msgspec.Raw(_record(runtime, resource, key))
        except RecordRejected as error:
            if error.status != 404:
                raise
            raise ConfigError(
                f"{resource.system} has no record {key} in {resource.path}.", do="Check the id; nothing was changed."
            ) from error


def _record(runtime: Runtime, resource: Resource, key: str) -> bytes:
    if resource.one:
        return runtime.tims.document(resource.one.format(key=quote(key, safe="")))
    return runtime.system(resource.system).record(resource.path, key)


def _chunks(records: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _newest(resource: Resource, received: list[msgspec.Raw]) -> tuple[list[Record], set[str]]:
    """The records of a chunk, of each key its newest version, and the keys of those that the list cut."""
    newest: dict[str, Record] = {}
    cut: set[str] = set()
    for item in received:
        head = resource.head(item)
        version = _moment(head.version)
        if head.key in newest and newest[head.key].version >= version:
            continue
        data = bytes(item)
        newest[head.key] = Record(head.key, version, raw.digest(data if head.same is None else head.same), data)
        (cut.add if head.cut else cut.discard)(head.key)
    return list(newest.values()), cut


def _store(
    runtime: Runtime,
    connection: sa.Connection,
    reading: _Reading,
    flow: Flow | None,
    records: list[Record],
    cut: set[str],
) -> None:
    """Writes what of a chunk is new. Runs on the writer thread, which alone uses the connection meanwhile."""
    resource = reading.resource
    reading.newest = max([r.version for r in records] + ([reading.newest] if reading.newest else []))
    seen = raw.known(connection, resource.raw, records)
    new = [r for r in records if (r.key, r.hash) not in seen]
    new = _completed(runtime, resource, new, cut)

    batch_id = reading.current or _open(connection, reading)
    reading.read += len(records)
    if reading.reprocess:
        again = [r.key for r in records if (r.key, r.hash) in seen]
        reading.known += len(again) - len(raw.claim(connection, resource.raw, again, batch_id))
    else:
        reading.known += len(records) - len(new)
    refused = raw.insert(connection, resource.raw, new, batch_id)
    if refused and flow:
        _bury_unreadable(connection, flow, batch_id, refused)
    if reading.read - reading.known >= batches.SIZE:
        _close(connection, reading)


def _completed(runtime: Runtime, resource: Resource, records: list[Record], cut: set[str]) -> list[Record]:
    """Records that the list cut, read whole one by one, as many at once as the system allows."""
    whole = [r for r in records if r.key not in cut]
    if len(whole) == len(records):
        return records
    system = runtime.system(resource.system)

    def complete(record: Record) -> Record:
        try:
            data = system.record(resource.path, record.key)
        except RecordRejected as error:
            if error.status != 404:
                raise
            return record  # gone meanwhile: transform finds the lines missing and says so
        version = _moment(resource.head(msgspec.Raw(data)).version)
        return replace(record, payload=data, version=max(version, record.version))

    with ThreadPoolExecutor(limits.load(resource.system).at_once, "whole") as pool:
        return whole + list(pool.map(complete, (r for r in records if r.key in cut)))


def _wake(connection: sa.Connection, reading: _Reading, keys: Sequence[str]) -> None:
    """Gives waiting records whose parent has arrived to the current batch; what it read just now is in it already."""
    for portion in _chunks(keys, batches.SIZE):
        batch_id = reading.current or _open(connection, reading)
        fresh = raw.claim(connection, reading.resource.raw, portion, batch_id, unless_in=reading.mine)
        reading.read += len(fresh)
        if reading.read - reading.known >= batches.SIZE:
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


def _close(connection: sa.Connection, reading: _Reading) -> None:
    """Ends the current batch; a master is merged into `ref` here and needs no further step."""
    batch_id = reading.current
    if batch_id is None:
        return
    batches.extracted(connection, batch_id, read=reading.read, known=reading.known, seconds=reading.seconds)
    if reading.resource.merge:
        if reading.read > reading.known:
            reading.resource.merge(connection, batch_id)
        batches.merged(connection, batch_id)
    elif reading.read > reading.known:
        reading.open.append(batch_id)
    reading.current, reading.read, reading.known = None, 0, 0


def _bury_unreadable(connection: sa.Connection, flow: Flow, batch_id: int, refused: list[tuple[Record, str]]) -> None:
    """Records whose bytes Postgres cannot hold: dead letters that keep the bytes as text."""
    for record, _why in refused:
        dead_letters.dead_row(connection, flow.stage, record.key, batch_id, record.version)
    dead_letters.bury(
        connection,
        [
            {
                "flow": flow.name,
                "entity": flow.entity,
                "key": record.key,
                "batch_id": batch_id,
                "step": "extract",
                "version": record.version,
                "payload": {"unreadable": record.payload.decode("utf-8", "backslashreplace").replace("\0", "")},
                "reasons": [
                    {
                        "field": "",
                        "rule": "unreadable_record",
                        "value": "",
                        "line": "",
                        "says": f"The record cannot be stored as JSON: {why}",
                        "do": "Ask the system's support to mend the record; its next version is read by itself.",
                    }
                ],
            }
            for record, why in refused
        ],
    )


def _replay(runtime: Runtime, reading: _Reading, keys: Sequence[str]) -> None:
    """Dead letters (or any records read before) worked again, with what a person made of their payloads."""
    resource, flow_name = reading.resource, reading.flow
    with runtime.engine.begin() as connection:
        batch_id = batches.open_batch(connection, flow_name, "replay", run_id=reading.run_id)
        edited = dead_letters.edited(connection, flow_name, keys)
        records = []
        for key, (payload, version) in edited.items():
            data = database.to_json(payload).encode()
            records.append(Record(key, version, raw.digest(data), data))
        seen = raw.known(connection, resource.raw, records)
        refused = raw.insert(connection, resource.raw, [r for r in records if (r.key, r.hash) not in seen], batch_id)
        if refused:
            raise BadResponse(
                f"The edited payload of {refused[0][0].key} cannot be stored: {refused[0][1]}",
                do="Edit it again: `crossdock dead-letters edit`.",
            )
        new = {r.key for r in records if (r.key, r.hash) not in seen}
        claimed = raw.claim(connection, resource.raw, [key for key in keys if key not in new], batch_id)
        found = len(new) + len(claimed)
        batches.extracted(connection, batch_id, read=found, known=0, seconds=0.0)
        if found:
            reading.open.append(batch_id)


def _moment(text: str) -> datetime:
    """A version as an aware UTC datetime. Raises BadResponse when it is none by the contract."""
    try:
        return times.read(text)
    except ValueError as error:
        raise BadResponse(f"{error}, as the contract wants it.", do="Report it to the system's support.") from error
