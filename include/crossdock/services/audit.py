"""The audit log as an auditor reads it: who did what to which thing, when, from which address.

In: the person who reads, filters. Out: rows, the newest first, a page at a time; the same as a CSV file. Never: a
change; a value of a record (there is none in the log).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.safe import cell
from crossdock.services.people import Person, Right
from crossdock.store import database
from crossdock.store.tables import ops_audit as table

PAGE = 50
PORTION = 2_000  # rows of a file that are read together
COLUMNS = ("id", "at", "who", "action", "subject", "detail", "address")
NAMES = 200  # people and actions that the filters offer


@dataclass(frozen=True)
class Filter:
    """Which rows: of a person, an action, a subject; days in UTC, both within."""

    who: str | None = None
    action: str | None = None
    subject: str | None = None
    since: date | None = None
    until: date | None = None

    def where(self) -> list[sa.ColumnElement[bool]]:
        wanted: list[sa.ColumnElement[bool]] = []
        if self.who:
            wanted.append(table.c.who == self.who)
        if self.action:
            wanted.append(table.c.action == self.action)
        if self.subject:
            wanted.append(table.c.subject == self.subject)
        if self.since:
            wanted.append(table.c.at >= datetime.combine(self.since, time(), UTC))
        if self.until:
            wanted.append(table.c.at < datetime.combine(self.until, time(), UTC) + timedelta(days=1))
        return wanted


@dataclass(frozen=True)
class Deed:
    """What somebody did. `details`: (name, value) in words."""

    id: int
    at: datetime
    who: str
    action: str
    subject: str
    details: tuple[tuple[str, str], ...]
    address: str


@dataclass(frozen=True)
class Deeds:
    """A page of deeds, the newest first. `after`: what to ask for the next page with; None on the last one."""

    rows: tuple[Deed, ...]
    after: int | None


def deeds(
    connection: sa.Connection, person: Person, wanted: Filter, *, after: int | None = None, limit: int = PAGE
) -> Deeds:
    """Who did what, the newest first."""
    person.require(Right.SEE)
    rows = _rows(connection, wanted, after, limit + 1)
    shown = rows[:limit]
    return Deeds(tuple(_deed(row) for row in shown), shown[-1].id if len(rows) > limit else None)


def people(connection: sa.Connection, person: Person) -> tuple[str, ...]:
    """Whoever did something, by name; the first of them where there are many."""
    return _distinct(connection, person, table.c.who)


def actions(connection: sa.Connection, person: Person) -> tuple[str, ...]:
    """What was done at all."""
    return _distinct(connection, person, table.c.action)


def as_csv(connection: sa.Connection, person: Person, wanted: Filter) -> Iterator[str]:
    """All rows of a filter as lines of a CSV file, the newest first; no cell is a formula."""
    person.require(Right.SEE)
    yield _line(COLUMNS)
    after: int | None = None
    while rows := _rows(connection, wanted, after, PORTION):
        for row in rows:
            yield _line(
                (row.id, row.at.astimezone(UTC).isoformat(), row.who, row.action, row.subject,
                 database.to_json(row.detail), row.address)
            )  # fmt: skip
        after = rows[-1].id


def _rows(connection: sa.Connection, wanted: Filter, after: int | None, limit: int) -> Sequence[sa.Row]:
    where = wanted.where()
    if after is not None:
        where.append(table.c.id < after)
    return connection.execute(sa.select(table).where(*where).order_by(table.c.id.desc()).limit(limit)).all()


def _distinct(connection: sa.Connection, person: Person, column: sa.Column[Any]) -> tuple[str, ...]:
    """The distinct values of an indexed column: from each to the next, never over all rows."""
    person.require(Right.SEE)
    first = sa.select(sa.func.min(column).label("value")).cte("found", recursive=True)
    following = sa.select(sa.func.min(column)).where(column > first.c.value).scalar_subquery()
    steps = first.union_all(sa.select(following).where(first.c.value.is_not(None)))
    return tuple(connection.scalars(sa.select(steps.c.value).where(steps.c.value.is_not(None)).limit(NAMES)))


def _deed(row: sa.Row) -> Deed:
    detail: Mapping[str, Any] = row.detail if isinstance(row.detail, dict) else {"detail": row.detail}
    details = tuple(
        (name, value if isinstance(value, str) else database.to_json(value))
        for name, value in detail.items()
        if value not in (None, "", [], {})
    )
    return Deed(row.id, row.at, row.who, row.action, row.subject, details, row.address)


def _line(values: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([cell(value) for value in values])
    return line.getvalue()


def day(text: str | None, name: str) -> date | None:
    """A day as a form gives it. Raises ConfigError for something else."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text[:40]!r} is no day.", do="Write it as YYYY-MM-DD.") from error
