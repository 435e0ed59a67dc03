"""The audit log as an auditor reads it: who did what to which thing, when, from which address.

In: the person who reads, filters. Out: rows as sentences, the newest first, a page at a time; the same rows as they are
kept as a CSV file. Never: a change; a value of a record (there is none in the log).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.safe import cell
from crossdock.services import closing, wording
from crossdock.services.advice import heading
from crossdock.services.people import Person, Right
from crossdock.store import audit, database
from crossdock.store.tables import ops_audit as table

PAGE = 50
PORTION = 2_000  # rows of a file that are read together
COLUMNS = ("id", "at", "who", "action", "subject", "detail", "address")
FILE = "audit.csv"
EXPORTED = "audit export"  # a deed itself
NAMES = 200  # people and actions that the filters offer


class About(NamedTuple):
    """What a deed is about: one of them, any of them, the page of one ("" for none), and the kind by which the deeds
    about one of them are found ("" where there is no such thing to find)."""

    one: str
    any: str
    page: str = ""
    kind: str = ""


_LETTER = About("dead letter {}", "a dead letter", "/letters/{}", "letter")
_RECORD = About("record {}", "a record", "/record?q={}", "record")
_VERSION = About("{}", "a version of the configuration", "/rules/versions/{}", "version")
_MONTH = About("{}", "a month", "/money/{}", "month")
_ALERT = About("alert {}", "an alert", kind="alert")
_ALERTS = About("{}", "all alerts of a kind")
_PRICE = About("price change {}", "a price change", kind="price")
_BATCH = About("batch {}", "a batch", kind="batch")
_FLOW = About("{}", "a flow", kind="flow")
# What is said of each action, around what it is about.
SENTENCES: dict[str, tuple[str, About]] = {
    "dead-letter open": ("opened {}, personal data included", _LETTER),
    "dead-letter edit": ("edited {}", _LETTER),
    "dead-letter replay": ("had {} replayed", _LETTER),
    "dead-letter dismiss": ("dismissed {}", _LETTER),
    "dead-letter reopen": ("opened {} again", _LETTER),
    "replay": ("had {} replayed", About("{}", "dead letters")),
    "replay run": ("had a run started for {}", About("replay {}", "a replay", "/letters/replays/{}")),
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
    "month close": ("had {} checked", _MONTH._replace(one="the month {}")),
    "month export": ("downloaded the ledger of {}", _MONTH),
    "month file": ("downloaded a file of {}", _MONTH),
    "payout file": ("downloaded the lines of {}", About("the payout {}", "a payout")),
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
    "alerts acknowledge": ("acknowledged {}", _ALERTS),
    "alerts silence": ("silenced {}", _ALERTS),
    "alerts silence end": ("ended the silence of {}", _ALERTS),
    "batch accept rejects": ("let {} go on without the records that it refused", _BATCH),
    "prices approved": ("approved {}", _PRICE),
    "prices refused": ("refused {}", _PRICE),
    "prices own rule": ("was kept from approving {}, which comes from a rule of their own", _PRICE),
    "prices send": ("had approved prices sent at once, by {}", About("the run {}", "a run")),
    "audit export": ("downloaded the audit log, {}", About("{}", "as a file")),
    "watermark set": ("moved the watermark of {}", _FLOW),
    "go-live launch": ("launched {}", _FLOW),
    "go-live release": ("let {} go on after the cap of its launch", _FLOW),
    "go-live shadow": ("put {} into shadow mode", _FLOW),
    "map decide": ("decided that {} stays as it is", About("{}", "what map has found")),
    "map reopen": ("took back the decision on {}", About("{}", "what map has found")),
    "shadow file": ("downloaded what {} would have made, beside what people made", _FLOW),
}
KINDS = tuple(dict.fromkeys(about.kind for _, about in SENTENCES.values() if about.kind))
_NOTHING = About("{}", "")
# Details in words; of the others the name stands before the value. Those that nobody reads are in the file only.
_DETAILS = {
    "message": "“{}”", "note": "“{}”", "files": "changes {}", "file": "{}", "author": "made by {}",
    "although": "although {}", "ticked by": "{} had ticked it", "to": "to version {}", "flow": "{}",
    "fields": "in {}", "kind": "{}", "until": "until {}",
}  # fmt: skip
_OWN_WORDS = frozenset({"message", "note", "although"})  # of a person: as they were written
_NAMES_OF: dict[str, Callable[[Any], str]] = {
    "kind": lambda kind: heading(str(kind)), "flow": lambda flow: wording.in_words(str(flow)),
}  # fmt: skip
_SNAKE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+")
_UNREAD = frozenset({"figures", "letters", "items", "preview", "version", "key", "would change", "of", "run", "replay"})


@dataclass(frozen=True)
class Filter:
    """Which rows: of a person, an action, a subject (with a * at its end: all that begin so), things of one of KINDS;
    days in UTC, both within."""

    who: str | None = None
    action: str | None = None
    subject: str | None = None
    since: date | None = None
    until: date | None = None
    kind: str | None = None

    def where(self) -> list[sa.ColumnElement[bool]]:
        """Raises ConfigError for a kind that there is not."""
        wanted: list[sa.ColumnElement[bool]] = []
        if self.who:
            wanted.append(table.c.who == self.who)
        if self.action:
            wanted.append(table.c.action == self.action)
        if self.subject and self.subject.endswith("*"):
            wanted.append(table.c.subject.startswith(self.subject[:-1], autoescape=True))
        elif self.subject:
            wanted.append(table.c.subject == self.subject)
        if self.kind:
            if self.kind not in KINDS:
                raise ConfigError(f"There is no kind {self.kind[:60]!r}.", do=f"There are {', '.join(KINDS)}.")
            wanted.append(table.c.action.in_([name for name, (_, of) in SENTENCES.items() if of.kind == self.kind]))
        if self.since:
            wanted.append(table.c.at >= datetime.combine(self.since, time(), UTC))
        if self.until:
            wanted.append(table.c.at < datetime.combine(self.until, time(), UTC) + timedelta(days=1))
        return wanted


@dataclass(frozen=True)
class Deed:
    """What somebody did. `before`, `thing`, `after`: the sentence, with what it is about in the middle, whose page is
    `page` ("" where it has none); `kind`: of it, by which all about it is found; `details`: more about it, in words;
    `key`: of the record that it is about."""

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
    kind: str = ""


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


def exported(connection: sa.Connection, person: Person, wanted: Filter) -> str:
    """Puts on record that the rows of a filter are taken as a file, and names it."""
    person.require(Right.SEE)
    chosen = {name: str(value) for name, value in vars(wanted).items() if value}
    audit.record(connection, person.name, EXPORTED, FILE, {"only": chosen} if chosen else None)
    return FILE


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
    sentence, about = SENTENCES.get(row.action, (f"{row.action} {{}}", _NOTHING))
    before, _, after = sentence.rpartition("{}") if row.action not in SENTENCES else sentence.partition("{}")
    detail: Mapping[str, Any] = row.detail if isinstance(row.detail, dict) else {"detail": row.detail}
    number = row.subject.removeprefix("version ") if about.kind == _VERSION.kind else row.subject
    has_page = bool(about.page) and (number.isdigit() or about.kind in (_MONTH.kind, _RECORD.kind)) and number != "0"
    thing = re.sub(r"^1 (dead letter)s$", r"1 \1", about.one.format(_subject(row.subject)))  # as older rows have it
    return Deed(
        row.id, row.at, row.who, row.action, row.subject, before.strip(), thing, after.strip(),
        about.page.format(quote(number, safe="")) if has_page else "", tuple(_details(detail)),
        str(detail.get("key") or ""), row.address, about.kind,
    )  # fmt: skip


def _subject(subject: str) -> str:
    return wording.in_words(subject) if _SNAKE.fullmatch(subject) else subject


def _details(detail: Mapping[str, Any]) -> Iterator[str]:
    if "would change" in detail:
        of = _words(detail.get("of"))
        yield f"had been shown that {_words(detail['would change'])}{f' of {of}' if of else ''} would change"
    for name, value in detail.items():
        if value in (None, "", [], {}) or name in _UNREAD:
            continue
        words = value if name in _OWN_WORDS else _NAMES_OF[name](value) if name in _NAMES_OF else _words(value)
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
    if value is None:
        return ""
    return wording.in_words(value) if _SNAKE.fullmatch(str(value)) else wording.moment(str(value))


def in_words(action: str) -> str:
    """An action as people say it, for a filter."""
    sentence, about = SENTENCES.get(action, (action.replace("{", "{{").replace("}", "}}"), _NOTHING))
    return sentence.format(about.any)


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
