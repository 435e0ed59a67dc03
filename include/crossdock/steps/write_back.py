"""Write back: a change of ours on a record that is also read, so that it does not come back as somebody else's wish.

In: keys, what is to be set, calls that set it. Out: the records as stored; those in which nothing but our change is
new are known from now on and make no work for whoever reads their list. A change of somebody else in between makes
work as always. Never: a version that nobody has worked kept as known; a write that waits for the database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2.errors
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient
from crossdock.flow import Flow, Resource
from crossdock.steps import records
from crossdock.steps.load import chunked
from crossdock.store import database, raw
from crossdock.store.raw import Record
from crossdock.systems import limits

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `fields`: as the record has them afterwards. `write` makes it and gives the record as stored, as
    received, b"" where the answer does not hold it; None where nothing was to be written. It may be called again after
    a crash."""

    key: str
    fields: Mapping[str, Any]
    write: Callable[[], bytes | None]


def write_back(
    runtime: Runtime,
    readers: Sequence[Flow],
    batch_id: int,
    changes: Sequence[Change],
    keep: Callable[[sa.Connection, Sequence[str], Mapping[str, RecordRejected]], None],
) -> None:
    """Writes to records of the list that the flows `readers` read, as many at once as their system allows. `keep` notes
    which keys are written and which are refused, before anything is known: a crash in between costs work, nothing
    else."""
    resource = readers[0].source

    def write(change: Change) -> RecordRejected | bytes | None:
        try:
            stored = change.write()
            return _read_again(runtime, resource, change.key) if stored == b"" else stored
        except RecordRejected as error:
            return error

    with ThreadPoolExecutor(limits.load(resource.system).at_once, "write-back") as pool:
        for portion in chunked(changes):
            answers = list(zip(portion, pool.map(write, portion), strict=True))
            refused = {one.key: answer for one, answer in answers if isinstance(answer, RecordRejected)}
            with runtime.engine.begin() as connection:
                keep(connection, [one.key for one in portion if one.key not in refused], refused)
            stored = [(one, answer) for one, answer in answers if isinstance(answer, bytes) and answer]
            for reader in readers:
                _remember(runtime, reader, batch_id, stored)


def _read_again(runtime: Runtime, resource: Resource, key: str) -> bytes:
    """A record whose write was answered without it. That it is written counts, not that it can be read."""
    try:
        return runtime.system(resource.system).record(resource.path, key)
    except (RecordRejected, Transient) as error:
        log.warning("%s was written, and its new version cannot be read: %s", resource.name, type(error).__name__)
        return b""


def _remember(runtime: Runtime, reader: Flow, batch_id: int, stored: Sequence[tuple[Change, bytes]]) -> None:
    resource, queue = reader.source, records.queue_of(reader.name, reader.source)
    with runtime.engine.begin() as connection:
        worked = raw.worked(connection, resource.raw, queue, [one.key for one, _ in stored], batch_id)
        own = [
            version
            for one, record in stored
            if one.key in worked and (version := own_version(resource, one, record, worked[one.key])) is not None
        ]
        # A read that has met the same version at this moment holds it until it ends, and works it: let it.
        connection.execute(sa.text("SET LOCAL lock_timeout = '300ms'"))
        try:
            with connection.begin_nested():
                raw.remember(connection, resource.raw, queue, own, batch_id)
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise


def own_version(resource: Resource, change: Change, record: bytes, worked: Mapping[str, Any]) -> Record | None:
    """The record as stored, as its list will give it; None where more differs from what was worked than what we have
    set and what moves with it."""
    one = records.identify(resource, record)
    if isinstance(one, records.Refused) or one[0].key != change.key:
        return None
    try:
        after = database.from_json(record)
    except ValueError:
        return None
    different = {name for name in after.keys() | worked.keys() if after.get(name) != worked.get(name)}
    ours = {name for name, value in change.fields.items() if after.get(name) == value}
    return None if different - ours - {*resource.own} else one[0]
