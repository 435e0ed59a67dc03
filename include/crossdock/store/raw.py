"""Records as received: what is known already, what is new, and how it comes back.

In: JSON bytes with key and version. Out: rows of a raw table by binary COPY; payload bytes of a batch.
Never: parses a payload. A record whose bytes are known makes no work downstream.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import psycopg2
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock.store import database

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # Postgres counts microseconds from here
# An escaped U+0000, not an escaped backslash followed by "u0000": jsonb cannot hold the former.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as received. `hash` is of what makes it the same again: the bytes that the list gave, or the part of
    them that counts; `payload` is what is kept (of an order that a list cuts, the whole order)."""

    key: str
    version: datetime
    hash: str
    payload: bytes


def digest(received: bytes) -> str:
    """The hash by which a record is known again (128 bits of SHA-256, which processors have instructions for)."""
    return sha256(received).hexdigest()[:32]


def already_stored(connection: sa.Connection, table: sa.Table, records: Sequence[Record]) -> set[tuple[str, str]]:
    """Which (key, hash) of `records` the table holds already. The payloads stay here: only the hashes travel."""
    if not records:
        return set()
    wanted = (
        sa.func.unnest(
            sa.bindparam("keys", [r.key for r in records], type_=sa.ARRAY(sa.Text)),
            sa.bindparam("hashes", [r.hash for r in records], type_=sa.ARRAY(sa.Text)),
        )
        .table_valued("key", "hash")
        .render_derived()
    )
    matched = sa.select(table.c.key, table.c.hash).join(
        wanted, sa.and_(table.c.key == wanted.c.key, table.c.hash == wanted.c.hash)
    )
    return {(key, hashed) for key, hashed in connection.execute(matched)}


def came_back(connection: sa.Connection, table: sa.Table, records: Sequence[Record]) -> set[tuple[str, str]]:
    """(key, hash) of known records that their source tells again, after it has told another one that is no newer: a
    setting that was put back, a list that was wrong for a while."""
    if not records:
        return set()
    newest = {
        key: (hashed, version) for key, hashed, version in connection.execute(_newest(table, [r.key for r in records]))
    }
    return {(r.key, r.hash) for r in records if newest[r.key][0] != r.hash and newest[r.key][1] <= r.version}


def take_back(
    connection: sa.Connection, table: sa.Table, already_stored: Collection[tuple[str, str]], batch_id: int
) -> None:
    """Makes these (key, hash) the newest of their keys again, for `batch_id` to work."""
    if already_stored:
        wanted = sa.tuple_(table.c.key, table.c.hash).in_(sorted(already_stored))
        connection.execute(sa.update(table).where(wanted).values(batch_id=batch_id, received_at=sa.func.now()))


def insert(
    connection: sa.Connection, table: sa.Table, records: Sequence[Record], batch_id: int
) -> list[tuple[Record, str]]:
    """Appends `records` by COPY and returns those that Postgres cannot hold, each with the reason in its words.

    A poison record is found by halving, so that it never stops the others.
    """
    if not records:
        return []
    savepoint = connection.begin_nested()
    try:
        cursor = connection.connection.cursor()
        cursor.copy_expert(
            f"COPY {table.fullname} (key, version, hash, payload, altered, batch_id) FROM STDIN (FORMAT binary)",
            io.BytesIO(b"".join(_rows(records, batch_id))),
            size=1 << 20,
        )
        savepoint.commit()
        return []
    except psycopg2.Error as error:
        savepoint.rollback()
        if not database.is_about_data(error):
            raise
        if len(records) == 1:
            return [(records[0], database.explain(error))]
        half = len(records) // 2
        return insert(connection, table, records[:half], batch_id) + insert(connection, table, records[half:], batch_id)


def remember(connection: sa.Connection, table: sa.Table, records: Sequence[Record], batch_id: int) -> None:
    """Adds versions that need no work, for what they change is our own; one that is there already stays as it is."""
    if not records:
        return
    rows = [
        {"key": r.key, "version": r.version, "hash": r.hash, "payload": r.payload.decode(), "batch_id": batch_id}
        for r in records
    ]
    payload = sa.bindparam("payload", type_=sa.Text).cast(table.c.payload.type)
    connection.execute(postgresql.insert(table).values(payload=payload).on_conflict_do_nothing(), rows)


def _rows(records: Sequence[Record], batch_id: int) -> Iterator[bytes]:
    yield _HEADER
    batch = struct.pack("!iq", 8, batch_id)
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
        yield (struct.pack("!i", -1) if altered is None else struct.pack("!i", len(altered)) + altered) + batch
    yield _TRAILER


def reassign(
    connection: sa.Connection, table: sa.Table, keys: Sequence[str], batch_id: int, *, unless_in: Sequence[int] = ()
) -> list[str]:
    """Hands the newest version of each key to `batch_id`, to be worked again; returns the keys found. What a batch of
    `unless_in` has is left to it."""
    if not keys:
        return []
    newest = _newest(table, keys).subquery()
    moved = (
        sa.update(table)
        .where(table.c.key == newest.c.key, table.c.hash == newest.c.hash, table.c.batch_id.not_in(unless_in))
        .values(batch_id=batch_id)
        .returning(table.c.key)
    )
    return list(connection.scalars(moved))


def _newest(table: sa.Table, keys: Sequence[str]) -> sa.Select:
    """Key, hash and version of the newest row of each key."""
    return (
        sa.select(table.c.key, table.c.hash, table.c.version)
        .ext(distinct_on(table.c.key))
        .where(table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))))
        .order_by(table.c.key, table.c.version.desc(), table.c.received_at.desc())
    )


def keys(connection: sa.Connection, table: sa.Table, batch_id: int) -> list[str]:
    """The keys of a batch, sorted."""
    return list(
        connection.scalars(sa.select(table.c.key).distinct().where(table.c.batch_id == batch_id).order_by("key"))
    )


def payloads(
    connection: sa.Connection, table: sa.Table, batch_id: int, only: Sequence[str] | None = None
) -> list[tuple[str, str, str | None, bytes]]:
    """(key, version, altered, payload) of a batch, or of its records `only`: of each key the newest version that the
    batch holds.

    COPY in text form: jsonb holds neither tab nor line feed, so only the backslash has to be undone.
    """
    newest = (  # its rows are sorted while the payloads are still compressed
        sa.select(table.c.key, table.c.version, table.c.altered, table.c.payload)
        .ext(distinct_on(table.c.key))
        .where(table.c.batch_id == batch_id, sa.true() if only is None else table.c.key.in_(only))
        .order_by(table.c.key, table.c.version.desc(), table.c.received_at.desc())
        .subquery()
    )
    texts = sa.select(
        newest.c.key,
        sa.func.to_char(sa.func.timezone("UTC", newest.c.version), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        newest.c.altered,
        newest.c.payload.cast(sa.Text),
    )
    rows: list[tuple[str, str, str | None, bytes]] = []

    class Reader:
        """Takes a row as it comes, so that no batch lies here twice."""

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


def _unescape(text: bytes) -> bytes:
    """COPY's text escapes, undone."""
    pairs = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
    return re.sub(rb"\\(.)", lambda match: pairs.get(match[1], match[1]), text)


def documents(
    connection: sa.Connection, table: sa.Table, batch_id: int, keys: Sequence[str]
) -> list[tuple[str, datetime, dict]]:
    """(key, version, payload) of some records of a batch, parsed: for the few that become dead letters."""
    newest = (
        sa.select(table.c.key, table.c.version, table.c.payload)
        .ext(distinct_on(table.c.key))
        .where(
            table.c.batch_id == batch_id,
            table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
        .order_by(table.c.key, table.c.version.desc(), table.c.received_at.desc())
    )
    return [tuple(row) for row in connection.execute(newest)]
