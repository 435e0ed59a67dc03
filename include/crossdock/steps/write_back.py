"""Write back: writes to a record whose list we also read, so that our own change does not come back as a new one.

In: keys, the fields to set, calls that set them. Out: the records as stored; a version in which only our change is new
counts as known and makes no work for the readers of the list. A change of somebody else in between makes work as
always. Never: another's unworked change kept as known; a write that waits for the database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2.errors
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient
from crossdock.flow import Flow, Resource
from crossdock.pool import Pool
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
    """One write. `fields`: the values that the record has afterwards. `write` makes the call and returns the stored
    record as received, b"" where the answer does not hold it, None where nothing was to be written. It may be called
    again after a crash."""

    key: str
    fields: Mapping[str, Any]
    write: Callable[[], bytes | None]


def raise_refusal(connection: sa.Connection, written: Sequence[str], refused: Mapping[str, RecordRejected]) -> None:
    """Keeps nothing; raises what was refused first."""
    for error in refused.values():
        raise error


def write_back(
    runtime: Runtime,
    readers: Sequence[Flow],
    batch_id: int,
    changes: Sequence[Change],
    keep: Callable[[sa.Connection, Sequence[str], Mapping[str, RecordRejected]], None] = raise_refusal,
) -> None:
    """Writes to records of the list that the flows `readers` read, as many at once as their system allows. `keep` notes
    the written and the refused keys before the versions are stored as known: a crash in between only costs work."""
    resource = readers[0].source

    def write(change: Change) -> RecordRejected | records.Item | None:
        try:
            stored = change.write()
            return _read_again(runtime, resource, change.key) if stored == b"" else stored
        except RecordRejected as error:
            return error

    with Pool(limits.load(resource.system).at_once, "write-back") as pool:
        for portion in chunked(changes):
            answers = list(zip(portion, pool.map(write, portion), strict=True))
            refused = {one.key: answer for one, answer in answers if isinstance(answer, RecordRejected)}
            with runtime.engine.begin() as connection:
                keep(connection, [one.key for one in portion if one.key not in refused], refused)
            stored = [(one, answer) for one, answer in answers if answer and not isinstance(answer, RecordRejected)]
            for reader in readers:
                _remember(runtime, reader, batch_id, stored)


def _read_again(runtime: Runtime, resource: Resource, key: str) -> records.Item | None:
    """Reads a record whose write was answered without it. Only logs a failure: the write has succeeded."""
    try:
        return records.read_one(runtime, resource, key)
    except (RecordRejected, Transient) as error:
        log.warning("%s was written, and its new version cannot be read: %s", resource.name, type(error).__name__)
        return None


def _remember(runtime: Runtime, reader: Flow, batch_id: int, stored: Sequence[tuple[Change, records.Item]]) -> None:
    resource, queue = reader.source, records.queue_of(reader.name, reader.source)
    with runtime.engine.begin() as connection:
        worked = raw.worked(connection, resource.raw, queue, [one.key for one, _ in stored], batch_id)
        own = [
            version
            for one, record in stored
            if one.key in worked and (version := own_version(resource, one, record, worked[one.key])) is not None
        ]
        # A read that stores the same version at this moment holds its row and works it: this one then gives way.
        connection.execute(sa.text("SET LOCAL lock_timeout = '300ms'"))
        try:
            with connection.begin_nested():
                raw.remember(connection, resource.raw, queue, own, batch_id)
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise


def own_version(resource: Resource, change: Change, record: records.Item, worked: Mapping[str, Any]) -> Record | None:
    """The stored record as its list will give it; None where it differs from the worked version in more than what we
    have set and what changes along with it."""
    one = records.read(resource, record)
    if isinstance(one, records.Refused) or one[0].key != change.key:
        return None
    try:
        after = database.from_json(one[0].payload)
    except ValueError:
        return None
    different = {name for name in after.keys() | worked.keys() if after.get(name) != worked.get(name)}
    ours = {name for name, value in change.fields.items() if after.get(name) == value}
    return None if different - ours - {*resource.own} else one[0]
