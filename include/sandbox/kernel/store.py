"""Documents, the terms they are found by, references, counters, and notices on their way: one SQLite file a system.

In: documents as plain data (exact decimals). Out: rows sorted by (modified, id). Never: a change outside a transaction,
a write beside another one (one writer at a time), a float.

    with store.write() as tx:
        tx.put("order", 19918546, document, modified=clock.now())
        tx.claim("order", "ChannelAdvisor/18245671", "SO-100045")

A kind's terms are declared once (`Store(path, terms={"order": lambda doc: [("SiteID", doc["SiteID"])]})`) and kept up
by `put`; `page` and `rows` filter by them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

Id = str | int
Terms = Callable[[dict], Iterable[tuple[str, Any]]]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    kind TEXT NOT NULL, id NOT NULL, modified INTEGER NOT NULL, doc BLOB NOT NULL, extra BLOB, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS document_modified ON document (kind, modified, id);
CREATE TABLE IF NOT EXISTS term (
    kind TEXT NOT NULL, name TEXT NOT NULL, value, id NOT NULL, PRIMARY KEY (kind, name, value, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS term_id ON term (kind, id, name, value);
CREATE TABLE IF NOT EXISTS reference (
    scope TEXT NOT NULL, key TEXT NOT NULL, id NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notice (
    number INTEGER PRIMARY KEY, subscription NOT NULL, event BLOB NOT NULL, due INTEGER NOT NULL,
    until INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS notice_due ON notice (due, number);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "cache_size=-65536",
    "temp_store=MEMORY",
    "wal_autocheckpoint=16000",  # pages: a batch over a large catalogue touches so many that each would wait for one
)
_FEW = 2_000  # rows of a term up to which it is cheaper to sort them than to read all rows in order

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
decode = _decoder.decode
encode = _encoder.encode


class Row:
    """One stored document. `raw` are its bytes, `extra` what the server keeps beside it and never shows."""

    def __init__(self, kind: str, id: Id, modified: int, raw: bytes, extra: bytes | None) -> None:
        self.kind, self.id, self.modified, self.raw, self._extra = kind, id, modified, raw, extra

    @cached_property
    def doc(self) -> dict[str, Any]:
        return decode(self.raw)

    @cached_property
    def extra(self) -> dict[str, Any]:
        return decode(self._extra) if self._extra else {}


@dataclass(frozen=True)
class Change:
    """A document of a watched kind that was written; `before` is None for a new one."""

    kind: str
    id: Id
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True)
class Notice:
    """An event on its way to a subscriber. `due` and `until` are ticks of passed time (`Clock.passed`)."""

    number: int
    subscription: Id
    event: bytes = field(repr=False)
    due: int
    until: int
    attempts: int


class Transaction:
    """Reads and writes that happen together or not at all. `changes` holds what was put of the watched kinds."""

    def __init__(
        self, connection: sqlite3.Connection, terms: Mapping[str, Terms], watched: frozenset[str] = frozenset()
    ) -> None:
        self._sql = connection.execute
        self._many = connection.executemany
        self._terms = terms
        self._watched = watched
        self.changes: list[Change] = []

    # ---- documents ----
    def get(self, kind: str, id: Id) -> Row | None:
        row = self._sql(
            "SELECT kind, id, modified, doc, extra FROM document WHERE kind = ? AND id = ?", (kind, id)
        ).fetchone()
        return Row(*row) if row else None

    def put(
        self, kind: str, id: Id, doc: dict, *, modified: int, extra: dict | None = None, instead: Row | None = None
    ) -> None:
        """Insert or replace. `extra` replaces what was kept beside the document; None keeps nothing. `instead`, the
        row as it is stored, spares reading its terms again."""
        if kind in self._watched:
            before = self.get(kind, id)
            self.changes.append(Change(kind, id, before.doc if before else None, doc))
        self._sql(
            "INSERT INTO document (kind, id, modified, doc, extra) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id)"
            " DO UPDATE SET modified = excluded.modified, doc = excluded.doc, extra = excluded.extra",
            (kind, id, modified, encode(doc), encode(extra) if extra else None),
        )
        terms = self._terms.get(kind)
        if terms and (instead is None or terms(instead.doc) != terms(doc)):
            self._index(kind, id, {(name, value) for name, value in terms(doc) if value is not None})

    def _index(self, kind: str, id: Id, terms: set[tuple[str, Any]]) -> None:
        existing = set(self._sql("SELECT name, value FROM term WHERE kind = ? AND id = ?", (kind, id)))
        if gone := existing - terms:
            self._many(
                "DELETE FROM term WHERE kind = ? AND id = ? AND name = ? AND value = ?",
                [(kind, id, name, value) for name, value in gone],
            )
        if new := terms - existing:
            self._many("INSERT INTO term (kind, id, name, value) VALUES (?, ?, ?, ?)", [(kind, id, *t) for t in new])

    def delete(self, kind: str, id: Id) -> bool:
        self._sql("DELETE FROM term WHERE kind = ? AND id = ?", (kind, id))
        return self._sql("DELETE FROM document WHERE kind = ? AND id = ?", (kind, id)).rowcount > 0

    def delete_before(self, kind: str, modified: int) -> None:
        """Forget the documents of a kind without terms that were written before a moment."""
        self._sql("DELETE FROM document WHERE kind = ? AND modified < ?", (kind, modified))

    def page(
        self,
        kind: str,
        *,
        limit: int,
        since: int | None = None,
        before: int | None = None,
        after: tuple[int, Id] | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[Row]:
        """Rows sorted by (modified, id): since <= modified < before, behind `after`, each term one of its values."""
        where = where or {}
        driver = next((name for name in where if self._few(kind, name, where[name])), None)
        plus = "" if driver is None else "+"  # keeps the planner from reading the index over all rows
        clauses = ["d.kind = ?"]
        values: list[Any] = [kind]
        for name, wanted in where.items():
            has = f"FROM term t WHERE t.kind = ? AND t.name = ? AND t.value IN ({_marks(wanted)})"
            one_by_one = f"EXISTS (SELECT 1 {has} AND t.id = d.id)"  # a list of all ids would cost more than the page
            clauses.append(f"d.id IN (SELECT t.id {has})" if name == driver else one_by_one)
            values += [kind, name, *wanted]
        if since is not None:
            clauses.append(f"{plus}d.modified >= ?")
            values.append(since)
        if before is not None:
            clauses.append(f"{plus}d.modified < ?")
            values.append(before)
        if after is not None:
            clauses.append(f"({plus}d.modified, {plus}d.id) > (?, ?)")
            values += after
        found = self._sql(
            f"SELECT d.kind, d.id, d.modified, d.doc, d.extra FROM document d WHERE {' AND '.join(clauses)}"
            f" ORDER BY {plus}d.modified, {plus}d.id LIMIT ?",
            [*values, limit],
        )
        return [Row(*row) for row in found]

    def _few(self, kind: str, name: str, wanted: Sequence[Any]) -> bool:
        (count,) = self._sql(
            "SELECT count(*) FROM (SELECT 1 FROM term WHERE kind = ? AND name = ?"
            f" AND value IN ({_marks(wanted)}) LIMIT ?)",
            (kind, name, *wanted, _FEW),
        ).fetchone()
        return count < _FEW

    def ids(
        self,
        kind: str,
        *,
        since: int | None = None,
        before: int | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[tuple[Id, int]]:
        """(id, modified) of rows, sorted by id: since <= modified < before, each term one of its values. Reads no
        document."""
        clauses = ["d.kind = ?"]
        values: list[Any] = [kind]
        for clause, value in (("d.modified >= ?", since), ("d.modified < ?", before)):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        for name, wanted in (where or {}).items():
            clauses.append(
                "EXISTS (SELECT 1 FROM term t WHERE t.kind = d.kind AND t.id = d.id AND t.name = ?"
                f" AND t.value IN ({_marks(wanted)}))"
            )
            values += [name, *wanted]
        return list(
            self._sql(f"SELECT d.id, d.modified FROM document d WHERE {' AND '.join(clauses)} ORDER BY d.id", values)
        )

    def values(self, kind: str, term: str) -> list[tuple[Any, Id]]:
        """(value, id) of every row that has a term, sorted by the value. Reads no document."""
        return list(self._sql("SELECT value, id FROM term WHERE kind = ? AND name = ? ORDER BY value", (kind, term)))

    def rows(self, kind: str, **terms: Any) -> list[Row]:
        """All rows with these terms (one value each), oldest change first."""
        return self.page(kind, limit=-1, where={name: [value] for name, value in terms.items()})

    def found(self, kind: str, term: str, value: Any) -> list[Row]:
        """All rows with one term, in no order: the shortest way to the few rows of a rare value."""
        rows = self._sql(
            "SELECT d.kind, d.id, d.modified, d.doc, d.extra FROM term t"
            " JOIN document d ON d.kind = t.kind AND d.id = t.id WHERE t.kind = ? AND t.name = ? AND t.value = ?",
            (kind, term, value),
        )
        return [Row(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Documents by kind; a kind that begins with "_" is the server's own affair."""
        found = self._sql("SELECT kind, count(*) FROM document WHERE kind NOT LIKE '\\_%' ESCAPE '\\' GROUP BY kind")
        return dict(sorted(found))

    def term_names(self, kind: str) -> set[str]:
        """The terms by which documents of a kind are found."""
        return {name for (name,) in self._sql("SELECT DISTINCT name FROM term WHERE kind = ?", (kind,))}

    # ---- references and numbers ----
    def owner(self, scope: str, key: str) -> Id | None:
        """Who holds a reference."""
        row = self._sql("SELECT id FROM reference WHERE scope = ? AND key = ?", (scope, key)).fetchone()
        return row[0] if row else None

    def reserve(self, scope: str, key: str, id: Id) -> Id:
        """Take a reference for ever. Answers who holds it: `id`, or the one that was first."""
        self._sql("INSERT INTO reference (scope, key, id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (scope, key, id))
        return self._sql("SELECT id FROM reference WHERE scope = ? AND key = ?", (scope, key)).fetchone()[0]

    def next_number(self, name: str, first: int = 1) -> int:
        return self._sql(
            "INSERT INTO counter (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (name, first),
        ).fetchone()[0]

    # ---- notices ----
    def add_notices(self, notices: Iterable[tuple[Id, bytes, int, int]]) -> None:
        """(subscription, event, due, until) of each."""
        self._many("INSERT INTO notice (subscription, event, due, until) VALUES (?, ?, ?, ?)", notices)

    def due_notices(self, now: int, limit: int) -> list[Notice]:
        """Those that are due, the longest waiting first."""
        found = self._sql(
            "SELECT number, subscription, event, due, until, attempts FROM notice WHERE due <= ?"
            " ORDER BY due, number LIMIT ?",
            (now, limit),
        )
        return [Notice(*row) for row in found]

    def next_due(self) -> int | None:
        return self._sql("SELECT min(due) FROM notice").fetchone()[0]

    def waiting_notices(self) -> int:
        return self._sql("SELECT count(*) FROM notice").fetchone()[0]

    def postpone_notice(self, number: int, due: int) -> None:
        """After an attempt that failed."""
        self._sql("UPDATE notice SET due = ?, attempts = attempts + 1 WHERE number = ?", (due, number))

    def remove_notice(self, number: int) -> None:
        self._sql("DELETE FROM notice WHERE number = ?", (number,))

    def remove_notices_of(self, subscription: Id) -> int:
        """Answers how many waited."""
        return self._sql("DELETE FROM notice WHERE subscription = ?", (subscription,)).rowcount

    def clear(self) -> None:
        for table in ("document", "term", "reference", "notice", "counter", "setting"):
            self._sql(f"DELETE FROM {table}")


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


class Watcher(Protocol):
    """Sees what is written."""

    def kinds(self) -> frozenset[str]:
        """Of the documents whose changes it wants to see."""

    def record(self, tx: Transaction, changes: Sequence[Change]) -> None:
        """Writes more into the transaction of the changes, before it is committed."""

    def committed(self) -> None:
        """What `record` wrote is there for all. Called by the only writer: it must not write."""


class Store:
    """One SQLite file: readers each on their own connection, writers one after another."""

    def __init__(self, path: Path, terms: Mapping[str, Terms] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._terms = terms or {}
        self._local = threading.local()
        self._writing = threading.Lock()
        self.version = 0  # counts what was committed
        self.watcher: Watcher | None = None
        self._writer = self._connect()
        self._writer.executescript(_SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=30, cached_statements=512
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A snapshot: it does not see what is written meanwhile."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        connection.execute("BEGIN")
        try:
            yield Transaction(connection, self._terms)
        finally:
            connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction: committed at the end, undone by any exception."""
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            watcher = self.watcher
            try:
                tx = Transaction(self._writer, self._terms, watcher.kinds() if watcher else frozenset())
                yield tx
                if watcher and tx.changes:
                    watcher.record(tx, tx.changes)
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
            self.version += 1
            if watcher and tx.changes:
                watcher.committed()

    def setting(self, name: str) -> str | None:
        with self._writing:
            row = self._writer.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def set_setting(self, name: str, value: str) -> None:
        with self._writing:
            self._writer.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, value))

    def close(self) -> None:
        with self._writing:
            self._writer.close()
