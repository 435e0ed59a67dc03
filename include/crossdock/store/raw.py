"""Records as received, and the queues of work: stores new records, finds known ones, reads payloads of batches.

In: JSON bytes with key and version. Out: rows of a list's raw table by binary COPY, unchanged ever after; rows of
`ops.work` by queue (a flow's name, or the list's name for reference data); payload bytes of a batch. A record whose
bytes a queue knows makes no work there. Never: parses a payload.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from zlib import compress, decompress

import psycopg2
import psycopg2.errors
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock.store import database
from crossdock.store.tables import ops_batch
from crossdock.store.tables import ops_work as work

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # Postgres counts microseconds from here
# An escaped U+0000, which jsonb cannot hold; not an escaped backslash followed by "u0000".
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")

Pair = tuple[str, str]  # key and hash of a record: one version of it


@dataclass(frozen=True, slots=True)
class Record:
    """One record as received. `hash`: by it an unchanged record is recognised; of the list's bytes, or of the part that
    counts. `payload`: what is stored (of an order that a list truncates, the whole order). `received`: what a dialect
    of the system made the payload of; None where the payload is what was received."""

    key: str
    version: datetime
    hash: str
    payload: bytes
    received: bytes | None = None

    @property
    def pair(self) -> Pair:
        return self.key, self.hash


def digest(received: bytes) -> str:
    """The hash by which an unchanged record is recognised: 128 bits of SHA-256, which processors compute fast."""
    return sha256(received).hexdigest()[:32]


def already_stored(
    connection: sa.Connection, table: sa.Table, records: Sequence[Record], queues: Collection[str]
) -> Mapping[Pair, Collection[str]]:
    """Finds which of `records` the table holds already, and in which of `queues` each has been. Sends only the hashes
    to the database, not the payloads."""
    if not records:
        return {}
    wanted = _given([record.pair for record in records])
    matched = (
        sa.select(table.c.key, table.c.hash, sa.func.array_agg(work.c.queue))
        .join(wanted, sa.and_(table.c.key == wanted.c.key, table.c.hash == wanted.c.hash))
        .outerjoin(work, sa.and_(_of(table), work.c.queue == sa.any_(_texts("queues", queues))))
        .group_by(table.c.key, table.c.hash)
    )
    return {(key, hashed): found for key, hashed, found in connection.execute(matched)}


def came_back(connection: sa.Connection, table: sa.Table, queue: str, records: Sequence[Record]) -> set[Pair]:
    """Finds known records of a queue that the source gives again after another version that was no newer: a setting was
    put back, or the list was wrong for a while."""
    if not records:
        return set()
    newest = {row.key: row for row in connection.execute(_newest(table, queue, [r.key for r in records]))}
    return {r.pair for r in records if newest[r.key].hash != r.hash and newest[r.key].version <= r.version}


def insert(connection: sa.Connection, table: sa.Table, records: Sequence[Record]) -> list[tuple[Record, str]]:
    """Appends `records` by COPY and returns those that Postgres cannot hold, each with the reason in its words.

    A poison record is found by halving, so that it does not stop the others.
    """
    if not records:
        return []
    savepoint = connection.begin_nested()
    try:
        cursor = connection.connection.cursor()
        cursor.copy_expert(
            f"COPY {table.fullname} (key, version, hash, payload, altered, received) FROM STDIN (FORMAT binary)",
            io.BytesIO(b"".join(_rows(records))),
            size=1 << 20,
        )
        savepoint.commit()
        return []
    except psycopg2.Error as error:
        savepoint.rollback()
        if not database.is_about_data(error):
            raise
        if len(records) == 1:  # another reader may have stored it just now
            there = isinstance(error, psycopg2.errors.UniqueViolation)
            return [] if there else [(records[0], database.explain(error))]
        half = len(records) // 2
        return insert(connection, table, records[:half]) + insert(connection, table, records[half:])


def _rows(records: Sequence[Record]) -> Iterator[bytes]:
    yield _HEADER
    for record in records:
        payload, altered = record.payload, None
        if b"\\u0000" in payload:
            payload, count = _NUL.subn(rb"\1", payload)
            altered = f"{count} x U+0000".encode() if count else None
        key, hashed = record.key.encode(), record.hash.encode()
        since = record.version - _EPOCH
        yield struct.pack("!hi", 6, len(key)) + key
        yield struct.pack("!iqi", 8, (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds, len(hashed))
        yield hashed + struct.pack("!ib", len(payload) + 1, 1)
        yield payload
        yield struct.pack("!i", -1) if altered is None else struct.pack("!i", len(altered)) + altered
        received = None if record.received is None else compress(record.received, 1)
        yield struct.pack("!i", -1) if received is None else struct.pack("!i", len(received)) + received
    yield _TRAILER


def received(connection: sa.Connection, table: sa.Table, key: str, hashed: str) -> bytes | None:
    """What the payload of a version was made of, as received; None where the payload is that, or the row is gone."""
    packed = connection.scalar(sa.select(table.c.received).where(table.c.key == key, table.c.hash == hashed))
    return None if packed is None else decompress(packed)


# ---- queues --------------------------------------------------------------------------------------------------------


def enqueue(connection: sa.Connection, queue: str, pairs: Collection[Pair], batch_id: int | None) -> None:
    """Adds these versions to a queue: as work of a batch, or (None) of the next batch that takes. Among versions of one
    moment they count as the newest of their keys."""
    if not pairs:
        return
    given = _given(pairs)
    row = postgresql.insert(work).from_select(
        ["queue", "key", "hash", "batch_id"],
        sa.select(sa.literal(queue), given.c.key, given.c.hash, sa.literal(batch_id, sa.BigInteger)),
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[work.c.queue, work.c.key, work.c.hash],
            set_={"batch_id": row.excluded.batch_id, "queued_at": sa.func.now()},
        )
    )


def dequeue(connection: sa.Connection, queue: str, pairs: Collection[Pair]) -> None:
    """Removes these versions from a queue, as if it had not had them."""
    given = _given(pairs)
    connection.execute(
        sa.delete(work).where(work.c.queue == queue, work.c.key == given.c.key, work.c.hash == given.c.hash)
    )


def is_waiting(connection: sa.Connection, queue: str) -> bool:
    """Whether a queue has versions that no batch has taken."""
    waiting = sa.exists().where(work.c.queue == queue, work.c.batch_id.is_(None))
    return bool(connection.scalar(sa.select(waiting)))


def take(connection: sa.Connection, queue: str, batch_id: int, most: int) -> list[Pair]:
    """Moves up to `most` waiting versions of a queue into a batch, the oldest first. Returns them."""
    first = (
        sa.select(work.c.key, work.c.hash)
        .where(work.c.queue == queue, work.c.batch_id.is_(None))
        .order_by(work.c.queued_at, work.c.key)
        .limit(most)
        .with_for_update()
        .cte("first")  # a subquery may be executed several times
    )
    taken = (
        sa.update(work)
        .where(work.c.queue == queue, work.c.key == first.c.key, work.c.hash == first.c.hash)
        .values(batch_id=batch_id)
        .returning(work.c.key, work.c.hash)
    )
    return [(key, hashed) for key, hashed in connection.execute(taken)]


def remember(connection: sa.Connection, table: sa.Table, queue: str, records: Sequence[Record], batch_id: int) -> None:
    """Stores versions that are our own writes as known to this queue, so that they make no work there. A version that
    it has already stays as it is. Other queues work them like any new one."""
    if not records:
        return
    rows = [
        {
            "key": r.key, "version": r.version, "hash": r.hash, "payload": r.payload.decode(),
            "received": r.received and compress(r.received, 1),
        }
        for r in records
    ]  # fmt: skip
    payload = sa.bindparam("payload", type_=sa.Text).cast(table.c.payload.type)
    connection.execute(postgresql.insert(table).values(payload=payload).on_conflict_do_nothing(), rows)
    own = [{"queue": queue, "key": r.key, "hash": r.hash, "batch_id": batch_id} for r in records]
    connection.execute(postgresql.insert(work).on_conflict_do_nothing(), own)


def worked(
    connection: sa.Connection, table: sa.Table, queue: str, keys: Sequence[str], batch_id: int
) -> dict[str, dict[str, Any]]:
    """Reads the newest worked version of each key: one of `batch_id`, or of a finished batch of the queue."""
    finished = sa.select(ops_batch.c.id).where(ops_batch.c.finished_at.is_not(None))
    done = history(table, queue).where(sa.or_(work.c.batch_id == batch_id, work.c.batch_id.in_(finished)))
    found = newest(done, keys).subquery()
    return dict(connection.execute(sa.select(found.c.key, found.c.payload)).all())


def reassign(
    connection: sa.Connection,
    table: sa.Table,
    queue: str,
    keys: Sequence[str],
    batch_id: int,
    *,
    unless_in: Sequence[int] = (),
) -> list[str]:
    """Moves the newest known version of each key to `batch_id`, to be worked again. Returns the keys found. Versions in
    the batches `unless_in` stay there."""
    if not keys:
        return []
    newest = _newest(table, queue, keys).subquery()
    moved = (
        sa.update(work)
        .where(
            work.c.queue == queue,
            work.c.key == newest.c.key,
            work.c.hash == newest.c.hash,
            sa.or_(work.c.batch_id.is_(None), work.c.batch_id.not_in(unless_in)),
        )
        .values(batch_id=batch_id)
        .returning(work.c.key)
    )
    return list(connection.scalars(moved))


def keys(connection: sa.Connection, table: sa.Table, batch_id: int | None) -> list[str]:
    """The keys of a batch, sorted."""
    rows = versions(table, batch_id).subquery()
    return list(connection.scalars(sa.select(rows.c.key).distinct().order_by(rows.c.key)))


# ---- payloads ------------------------------------------------------------------------------------------------------


def versions(table: sa.Table, batch_id: int | None) -> sa.Select:
    """Selects the versions of a batch: key, version, hash, altered, payload and when it was queued. None: all rows of
    the table, for a snapshot, which has no queue."""
    columns = (table.c.version, table.c.hash, table.c.altered, table.c.payload)
    if batch_id is None:
        return sa.select(table.c.key, *columns, table.c.received_at.label("queued_at"))
    # The key of the queue's row: a list of keys then limits the queue, and not each row that the join finds.
    rows = sa.select(work.c.key, *columns, work.c.queued_at).select_from(table)
    return rows.join(work, _of(table)).where(work.c.batch_id == batch_id)


def history(table: sa.Table, queue: str) -> sa.Select:
    """Selects all versions that a queue has had of a list, with the same columns and the batch."""
    columns = (work.c.key, table.c.version, table.c.hash, table.c.altered, table.c.payload)
    rows = sa.select(*columns, work.c.queued_at, work.c.batch_id).select_from(table)
    return rows.join(work, _of(table)).where(work.c.queue == queue)


def newest(rows: sa.Select, only: Sequence[str] | None = None) -> sa.Select:
    """Selects the newest version of each key, or of each of `only`, from `versions` or `history`."""
    found = rows.selected_columns
    if only is not None:
        rows = rows.where(found.key == sa.any_(_texts("keys", only)))
    return rows.ext(distinct_on(found.key)).order_by(found.key, found.version.desc(), found.queued_at.desc())


def payloads(
    connection: sa.Connection, table: sa.Table, batch_id: int | None, only: Sequence[str] | None = None
) -> list[tuple[str, str, str | None, bytes]]:
    """Reads (key, version, altered, payload) of a batch, or of its keys `only`: the newest version of each key.

    Uses COPY in text form: the text of jsonb has neither tab nor line feed, so only backslashes have to be unescaped.
    """
    found = newest(versions(table, batch_id), only).subquery()  # sorted while the payloads are still compressed
    texts = sa.select(
        found.c.key,
        sa.func.to_char(sa.func.timezone("UTC", found.c.version), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        found.c.altered,
        found.c.payload.cast(sa.Text),
    )
    rows: list[tuple[str, str, str | None, bytes]] = []

    class Reader:
        """Parses each row as it arrives, so that a batch is in memory only once."""

        def write(self, line: bytes, /) -> None:
            key, version, altered, payload = line[:-1].split(b"\t")
            if b"\\" in key:
                key = _unescape(key)
            rows.append(
                (
                    key.decode(),
                    version.decode(),
                    None if altered == b"\\N" else altered.decode(),
                    payload.replace(b"\\\\", b"\\"),
                )
            )

    database.copy_to(connection, texts, Reader())
    return rows


def records(
    connection: sa.Connection, table: sa.Table, batch_id: int | None, only: Sequence[str] | None = None
) -> list[Record]:
    """Reads the same rows as records with their hashes."""
    found = newest(versions(table, batch_id), only).subquery()
    columns = (found.c.key, found.c.version, found.c.hash, found.c.payload.cast(sa.Text))
    return [
        Record(key, version, hashed, payload.encode())
        for key, version, hashed, payload in connection.execute(sa.select(*columns))
    ]


def documents(
    connection: sa.Connection, table: sa.Table, batch_id: int | None, keys: Sequence[str]
) -> list[tuple[str, datetime, dict]]:
    """Reads (key, version, parsed payload) of some records of a batch: the few that become dead letters."""
    found = newest(versions(table, batch_id), keys).subquery()
    return [tuple(row) for row in connection.execute(sa.select(found.c.key, found.c.version, found.c.payload))]


def _newest(table: sa.Table, queue: str, keys: Sequence[str]) -> sa.Select:
    """Key, hash and version of the newest version of each key that the queue knows."""
    columns = (work.c.key, table.c.hash, table.c.version, work.c.queued_at)
    return newest(history(table, queue).with_only_columns(*columns), keys)


def _of(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(work.c.key == table.c.key, work.c.hash == table.c.hash)


def _given(pairs: Collection[Pair]) -> sa.TableValuedAlias:
    """Makes rows of keys and hashes."""
    return (
        sa.func.unnest(_texts("given_keys", [key for key, _ in pairs]), _texts("hashes", [each for _, each in pairs]))
        .table_valued("key", "hash")
        .render_derived()
    )


def _texts(name: str, values: Collection[str]) -> sa.BindParameter:
    return sa.bindparam(name, list(values), type_=sa.ARRAY(sa.Text), unique=True)


def _unescape(text: bytes) -> bytes:
    """Removes the escapes of COPY's text form."""
    pairs = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
    return re.sub(rb"\\(.)", lambda match: pairs.get(match[1], match[1]), text)
