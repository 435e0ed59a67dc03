"""The audit log as an auditor reads it: who did what to which thing, when, from which address.

In: the person who reads, filters. Out: rows as sentences, the newest first, a page at a time; the same rows as they are
kept as a CSV file. Never: a change; a value of a record (there is none in the log).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.safe import cell
from crossdock.services import closing
from crossdock.services.people import Person, Right
from crossdock.store import database
from crossdock.store.tables import ops_audit as table

PAGE = 50
PORTION = 2_000  # rows of a file that are read together
COLUMNS = ("id", "at", "who", "action", "subject", "detail", "address")
NAMES = 200  # people and actions that the filters offer

# What a deed is about: one of them, any of them, the page of one.
_LETTER = ("dead letter {}", "a dead letter", "/letters/{}")
_RECORD = ("record {}", "a record", "/record?q={}")
_VERSION = ("{}", "a version of the configuration", "/rules/versions/{}")
_MONTH = ("{}", "a month", "/money/{}")
_ALERT = ("alert {}", "an alert", "")
_PRICE = ("price change {}", "a price change", "")
_BATCH = ("batch {}", "a batch", "")
_FLOW = ("{}", "a flow", "")
# What is said of each action, around what it is about.
SENTENCES: dict[str, tuple[str, tuple[str, str, str]]] = {
    "dead-letter open": ("opened {}, personal data included", _LETTER),
    "dead-letter edit": ("edited {}", _LETTER),
    "dead-letter replay": ("had {} replayed", _LETTER),
    "dead-letter dismiss": ("dismissed {}", _LETTER),
    "dead-letter reopen": ("opened {} again", _LETTER),
    "replay": ("had {} replayed together", ("{}", "dead letters", "")),
    "replay run": ("had a run started for {}", ("replay {}", "a replay", "/letters/replays/{}")),
    "dead-letter assign": ("assigned {}", _LETTER),
    "dead-letter note": ("wrote a note on {}", _LETTER),
    "record open": ("opened {}, personal data included", _RECORD),
    "record read": ("had {} read once more", _RECORD),
    "record search by e-mail": ("searched by e-mail and found {}", _RECORD),
    "configuration propose": ("proposed {}", _VERSION),
    "configuration publish": ("published {}", _VERSION),
    "configuration consent": ("agreed to {}, which came into force", _VERSION),
    "configuration withdraw": ("withdrew {}", _VERSION),
    "configuration rollback": ("went back, by {}", _VERSION),
    "configuration export": ("exported {}", _VERSION),
    "configuration merge": ("merged {} with newly shipped files", _VERSION),
    "configuration conflict": ("could not merge {} with newly shipped files", _VERSION),
    "month close": ("had the month {} checked", _MONTH),
    "month export": ("downloaded the ledger of {}", _MONTH),
    "month open items": ("looked at the open items of {}", _MONTH),
    **{f"month {step}": (f"ticked “{title}” of {{}}", _MONTH) for step, title in closing.STEPS.items()},
    **{
        f"month {step} taken back": (f"took back the tick “{title}” of {{}}", _MONTH)
        for step, title in closing.STEPS.items()
    },
    "alert acknowledge": ("acknowledged {}", _ALERT),
    "alert take back": ("made {} open again", _ALERT),
    "alert silence": ("silenced {}", _ALERT),
    "alert silence end": ("ended the silence of {}", _ALERT),
    "batch accept rejects": ("let {} go on without the records that it refused", _BATCH),
    "prices approved": ("approved {}", _PRICE),
    "prices refused": ("refused {}", _PRICE),
    "watermark set": ("moved the watermark of {}", _FLOW),
}
# Details in words; of the others the name stands before the value. Those that nobody reads are in the file only.
_DETAILS = {
    "message": "“{}”", "note": "“{}”", "files": "changes {}", "file": "{}", "author": "made by {}",
    "although": "although {}", "ticked by": "{} had ticked it", "to": "to version {}", "flow": "{}",
    "fields": "in {}",
}  # fmt: skip
_UNREAD = frozenset({"figures", "letters", "items", "preview", "version", "key", "would change", "of", "run", "replay"})


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
    """What somebody did. `before`, `thing`, `after`: the sentence, with what it is about in the middle, whose page is
    `page` ("" where it has none); `details`: more about it, in words; `key`: of the record that it is about."""

    id: int
    at: datetime
    who: str
    action: str
    subject: str
    before: str
    thing: str
    after: str
    page: str
    details: tuple[str, ...]
    key: str
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
    sentence, (one, _, page) = SENTENCES.get(row.action, (f"{row.action} {{}}", ("{}", "", "")))
    before, _, after = sentence.rpartition("{}") if row.action not in SENTENCES else sentence.partition("{}")
    detail: Mapping[str, Any] = row.detail if isinstance(row.detail, dict) else {"detail": row.detail}
    number = row.subject.removeprefix("version ") if page == _VERSION[2] else row.subject
    has_page = bool(page) and (number.isdigit() or page in (_MONTH[2], _RECORD[2])) and number != "0"
    return Deed(
        row.id, row.at, row.who, row.action, row.subject, before.strip(), one.format(row.subject), after.strip(),
        page.format(quote(number, safe="")) if has_page else "", tuple(_details(detail)), str(detail.get("key") or ""),
        row.address,
    )  # fmt: skip


def _details(detail: Mapping[str, Any]) -> Iterator[str]:
    if "would change" in detail:
        of = _words(detail.get("of"))
        yield f"had been shown that {_words(detail['would change'])}{f' of {of}' if of else ''} would change"
    for name, value in detail.items():
        if value in (None, "", [], {}) or name in _UNREAD:
            continue
        words = _words(value)
        yield _DETAILS[name].replace("{}", words) if name in _DETAILS else f"{name.replace('_', ' ')}: {words}"


def _words(value: Any) -> str:
    """A value of a detail for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_words(one)}" for name, one in value.items())
    return "" if value is None else str(value)


def in_words(action: str) -> str:
    """An action as people say it, for a filter."""
    sentence, (_, any_of_them, _) = SENTENCES.get(action, (action.replace("{", "{{").replace("}", "}}"), ("", "", "")))
    return sentence.format(any_of_them)


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
