"""Values that records have brought and that a lookup does not know: who waits for them, and the row that they need.

In: open dead letters; settlement lines that are booked as unknown. Out: each value with what waits for it, the known
values most like it, and a row for the lookup, filled in as far as the nearest known value says. Never: a row that
nobody has looked at; a value about a person shown to somebody who may not see it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from rapidfuzz import fuzz, utils

from crossdock import flows
from crossdock.config import BESIDE, grid
from crossdock.mapping.suggest import neighbours
from crossdock.rules import items, movements, settlements
from crossdock.services import letters, rule_files, suggestions
from crossdock.services.people import Person, Right
from crossdock.settings import config_dir
from crossdock.store import sql
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import ops_dead_letter as table

# The rules that find a value which a lookup lacks. Which lookup: their advice names its file; of states, BY_RULE.
RULES = (
    "not_in_lookup", "unknown_carrier", "unknown_reason", "unknown_sku", "unknown_status", "unknown_payment_status",
    "country_unknown", "unknown_country", "unknown_billing_country", "no_exchange_rate", "unknown_words",
)  # fmt: skip
BY_RULE = {"unknown_status": "order_status", "unknown_payment_status": "payment_status"}
DECIDED = frozenset({"action"})  # columns that nobody guesses
KINDS = "lookups/settlement_kinds.csv"  # a value of it: the words of a line, and the format beside them
BESIDE_ITS_KEY = ("adjustment_reasons", "listing_categories")  # the value is the second column of the key
LIKE, SURE = 70, 85  # how like a value must be for its row to be offered, and for that to be meant probably
WEIGHTS, WORDS_LIKE = (1, 1, 3), 60  # of a settlement line's words: type, type of amount, description
FIRST, FIRST_LIKE = 3, 70  # weight of the first part of a key, and how like it must be in any case
WAITS = table.c.state.in_(OPEN)  # until it is delivered, also while a replay is under way
MOST = 500  # values of one lookup
NEAREST = 3  # known values that are named for each
COMPARED = 50_000  # pairs of an unknown and a known value
_FILE = re.compile(r"\b([a-z0-9_]+)\.csv\b")
_WILD = re.compile(r"[*?]")
_SITE = re.compile(r"\bsite (\d+)\b")
_DAY = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


@dataclass(frozen=True)
class Waiting:
    """Open letters that name the value. `title`: their flow's, in words; `value`: of the group that they are in;
    `replaying`: those of them that are in replay."""

    flow: str
    title: str
    rule: str
    field: str
    value: str | None
    letters: int
    replaying: int = 0


@dataclass(frozen=True)
class Booked:
    """Lines of a settlement that are booked as unknown, on the account Suspense. `file`: the key that its file is
    worked once more by."""

    source: str
    settlement_id: str
    file: str
    lines: int


@dataclass(frozen=True)
class Near:
    """A known value that is like an unknown one, and why it is named."""

    value: str
    why: str


@dataclass(frozen=True)
class Unknown:
    """One value. `row`: cells for the lookup, empty where a person must decide. `nearest`: the known values most like
    it, the one that `row` is filled from first; `sure`: that one is so like it that it is probably meant. `now_known`:
    the lookup has it meanwhile, and what waits needs only be worked once more."""

    path: str
    value: str
    row: tuple[str, ...]
    nearest: tuple[Near, ...]
    sure: bool
    waiting: tuple[Waiting, ...]
    now_known: bool
    booked: tuple[Booked, ...] = ()

    @property
    def letters(self) -> int:
        return sum(one.letters for one in self.waiting)

    @property
    def replaying(self) -> int:
        return sum(one.replaying for one in self.waiting)

    @property
    def lines(self) -> int:
        return sum(one.lines for one in self.booked)


@dataclass(frozen=True)
class Lacking:
    """What one lookup lacks. `records`: how many letters wait, by the title of their flow."""

    path: str
    name: str
    columns: tuple[rule_files.Column, ...]
    values: tuple[Unknown, ...]
    records: Mapping[str, int]

    @property
    def letters(self) -> int:
        return sum(self.records.values())

    @property
    def lines(self) -> int:
        """Settlement lines on Suspense."""
        return sum(one.lines for one in self.values)


def of_all(connection: sa.Connection, person: Person) -> tuple[Lacking, ...]:
    """What every lookup lacks, the one that most letters wait for first."""
    person.require(Right.SEE)
    return _lacking(connection, person, None)


def of(connection: sa.Connection, person: Person, path: str, first: str = "") -> Lacking | None:
    """What one lookup lacks; None where nothing waits for it. `first`: a value that stands first and is not left out,
    however many there are."""
    person.require(Right.SEE)
    return next(iter(_lacking(connection, person, path, first)), None)


def letters_of(connection: sa.Connection, person: Person, path: str, values: Sequence[str]) -> list[int]:
    """The numbers of the open letters that wait for these values of a lookup and are not in replay yet."""
    person.require(Right.SEE)
    if path == KINDS:
        wanted = set(values)
        return list(
            dict.fromkeys(
                number
                for words in _unknown_words(connection)
                if words.value in wanted
                for number in words.ids
                if number not in words.replaying
            )
        )
    reason = _reasons()
    found = connection.execute(
        sa.select(table.c.id, *(reason.c[name] for name in ("rule", "do")))
        .select_from(table.join(reason, sa.true()))
        .where(WAITS, table.c.replay_asked_at.is_(None), reason.c.rule.in_(RULES), reason.c.value.in_(list(values)))
        .order_by(table.c.id)
    )
    return list(dict.fromkeys(row.id for row in found if _lookup(row.rule, row.do) == path))


def files_of(connection: sa.Connection, person: Person, path: str, values: Sequence[str]) -> list[str]:
    """The keys of the settlement files to be worked once more, whose booked lines have these values."""
    person.require(Right.PUBLISH)
    wanted = set(values) if path == KINDS else set()
    found = _booked(connection) if wanted else {}
    return sorted({one.file for value in wanted & found.keys() for one in found[value][1]})


def _lacking(connection: sa.Connection, person: Person, only: str | None, first: str = "") -> tuple[Lacking, ...]:
    by_path: dict[str, dict[tuple[str, ...], list[tuple[Waiting, str]]]] = {}
    every = flows.all_flows()
    for row in _refused(connection):
        path = _lookup(row.rule, row.do)
        if not path or path == KINDS or (only and path != only):
            continue
        flow = every.get(row.flow)
        if not person.may(Right.SEE_PERSONAL) and letters.about_people(row.flow, {"field": row.field}):
            continue
        waiting = Waiting(
            row.flow, flow.title if flow else row.flow, row.rule, row.field, row.value, row.letters, row.replaying
        )  # fmt: skip
        key = (row.value, *(_SITE.findall(row.message)[:1] if path.endswith("listing_categories.csv") else ()))
        by_path.setdefault(path, {}).setdefault(key, []).append((waiting, row.message))
    made = []
    for path, values in by_path.items():
        name = path.removeprefix("lookups/").removesuffix(".csv")
        file = config_dir() / path
        if not file.is_file():
            continue
        held = grid.read(file.read_bytes().decode("utf-8", "replace"))
        columns = rule_files.columns(path, held.columns, connection)
        keys = sum(one.key for one in columns)
        rows = [one.cells for one in held.rows if not one.broken]
        found = [
            _unknown(path, name, held.columns, keys, rows, key[0], [one for one, _ in waiting], waiting[0][1])
            for key, waiting in values.items()
        ]
        lacks = _lacks(path, columns, found, first)
        made.append(replace(lacks, values=_with_nearest(name, lacks.values, len(rows))))
    if only in (None, KINDS):
        made += _kinds(connection, first)
    return tuple(sorted(made, key=lambda one: (-one.letters, -one.lines, one.path)))


def _lacks(path: str, columns: tuple[rule_files.Column, ...], found: Sequence[Unknown], first: str = "") -> Lacking:
    records: dict[str, int] = {}
    for one in found:
        for each in one.waiting:
            records[each.title] = records.get(each.title, 0) + each.letters
    shown = sorted(found, key=lambda one: (one.value != first, -one.letters, -one.lines, one.value))[:MOST]
    return Lacking(path, rule_files.name_of(path), columns, tuple(shown), records)


def _with_nearest(name: str, found: tuple[Unknown, ...], rows: int) -> tuple[Unknown, ...]:
    """Names the values of the lookup that are like each, the one that its row is filled from first. Of many values only
    for those that most letters wait for."""
    first = found[: max(5, COMPARED // max(rows, 1))]
    like = suggestions.nearest(name, [one.value for one in first])
    made = []
    for one in first:
        named = [near.value for near in one.nearest]
        more = [
            Near(near.key, f"{near.likeness:.0%} alike") for near in like.get(one.value, ()) if near.key not in named
        ]
        made.append(replace(one, nearest=(*one.nearest, *more)[:NEAREST]))
    return (*made, *found[len(first) :])


# ---- kinds of settlement lines -------------------------------------------------------------------------------------


Words = tuple[str, str, str, str]  # of a line: the format of its file, type, type of amount, description


@dataclass(frozen=True)
class _Words:
    """Words of a marketplace for a line, in one format, that no row of the lookup takes."""

    words: Words
    ids: tuple[int, ...]  # open letters
    replaying: tuple[int, ...]  # those of them that are in replay

    @property
    def value(self) -> str:
        return BESIDE.join(self.words)


_UNKNOWN_WORDS = sql.statement(__package__, "unknown_words")
_UNKNOWN_LINES = sql.statement(__package__, "unknown_lines")


def _unknown_words(connection: sa.Connection) -> list[_Words]:
    """The words of the lines of files that are dead letters for their words."""
    rows = connection.execute(_UNKNOWN_WORDS)
    return [
        _Words((row.format, row.transaction, row.kind, row.description), tuple(row.ids), tuple(row.replaying))
        for row in rows
    ]


def _booked(connection: sa.Connection) -> dict[str, tuple[Words, list[Booked]]]:
    """Lines that are booked as unknown, by value: their words, and the settlements that have them."""
    found: dict[str, tuple[Words, list[Booked]]] = {}
    for row in connection.execute(_UNKNOWN_LINES):
        words = (row.format, row.transaction, row.kind, row.description)
        _, settlements = found.setdefault(BESIDE.join(words), (words, []))
        settlements.append(Booked(row.source, row.settlement_id, f"{row.source}/{row.file}", row.lines))
    return found


def _kinds(connection: sa.Connection, first: str = "") -> list[Lacking]:
    """What the lookup of settlement kinds lacks; [] where nothing waits for it."""
    letters_ = {one.value: one for one in _unknown_words(connection)}
    booked = _booked(connection)
    if not letters_ and not booked:
        return []
    held = grid.read((config_dir() / KINDS).read_bytes().decode("utf-8", "replace"))
    columns = tuple(
        replace(one, choices=settlements.ORDERS_OWN + settlements.OTHERS) if one.name == "kind" else one
        for one in rule_files.columns(KINDS, held.columns, connection)
    )
    rows = [one.cells for one in held.rows if not one.broken]
    words_of = {value: one.words for value, one in letters_.items()} | {value: one[0] for value, one in booked.items()}
    understood = settlements.understood(list(words_of.values()))
    title = flows.get("payouts").title
    made = []
    for value, words in words_of.items():
        letter = letters_.get(value)
        waiting = (
            (Waiting("payouts", title, "unknown_words", "File", None, len(letter.ids), len(letter.replaying)),)
            if letter
            else ()
        )
        made.append(
            Unknown(
                KINDS, value, (*words, "", "")[: len(columns)],
                _like_words(words[1:], rows),
                False, waiting, words in understood, tuple(booked[value][1]) if value in booked else (),
            )
        )  # fmt: skip
    waits = {number for one in letters_.values() for number in one.ids}
    return [replace(_lacks(KINDS, columns, made, first), records={title: len(waits)} if waits else {})]


def _reasons() -> sa.TableValuedAlias:
    return (
        sa.func.jsonb_to_recordset(table.c.reasons)
        .table_valued(*(sa.column(name, sa.Text) for name in ("rule", "field", "value", "says", "do")))
        .render_derived(name="reason", with_types=True)
    )


def _refused(connection: sa.Connection) -> Sequence[sa.Row]:
    reason = _reasons()
    by = (table.c.flow, reason.c.rule, reason.c.field, reason.c.value, reason.c.do)
    return connection.execute(
        sa.select(
            *by,
            sa.func.min(reason.c["says"]).label("message"),
            sa.func.count(sa.distinct(table.c.id)).label("letters"),
            sa.func.count(sa.distinct(table.c.id)).filter(table.c.replay_asked_at.is_not(None)).label("replaying"),
        )
        .select_from(table.join(reason, sa.true()))
        .where(WAITS, reason.c.rule.in_(RULES), sa.func.coalesce(reason.c.value, "") != "")
        .group_by(*by)
        .order_by(sa.desc("letters"), reason.c.value)
    ).all()


def lookup_of(reason: Mapping[str, Any]) -> str:
    """The path of the lookup whose value a letter's reason waits for; "" where it waits for none."""
    path = _lookup(str(reason.get("rule")), str(reason.get("do") or "")) if reason.get("rule") in RULES else ""
    return path if path and (config_dir() / path).is_file() else ""


def _lookup(rule: str, advice: str) -> str:
    """The path of the lookup that lacks a value; "" where the advice names none."""
    name = BY_RULE.get(rule) or next(iter(_FILE.findall(advice or "")), "")
    return f"lookups/{name}.csv" if name else ""


def _unknown(
    path: str,
    name: str,
    columns: tuple[str, ...],
    keys: int,
    rows: Sequence[tuple[str, ...]],
    value: str,
    waiting: Sequence[Waiting],
    message: str,
) -> Unknown:
    own = _key(name, value, keys, message)
    # A code that is a product, or refused, is no answer to a code that TIMS does not know.
    answers = [row for row in rows if name != "item_codes" or row[1] not in ("product", "reject")]
    compared = [row[1:2] if name in BESIDE_ITS_KEY else row[:keys] for row in rows]
    like, at = _nearest(own[1:] if name in BESIDE_ITS_KEY else own, compared)
    cells = list(own) + [""] * (len(columns) - len(own))
    if like >= LIKE:
        for place in range(len(own), len(columns)):
            if columns[place] not in neighbours.REMARKS | DECIDED:
                cells[place] = rows[at][place]
    near = [Near(BESIDE.join(compared[at]), f"{like:.0f}% alike; the row is filled in from it")] if like >= LIKE else []
    near += [Near(sku, "an item of TIMS") for sku in items.nearest_named(message)]
    has = _has(own, [BESIDE.join(row[:keys]) for row in answers])
    return Unknown(path, value, tuple(cells), tuple(near), like >= SURE, tuple(waiting), has)


def _nearest(own: tuple[str, ...], compared: Sequence[tuple[str, ...]]) -> tuple[float, int]:
    """How like the most similar key is, in percent, and where it stands. The first part of a key counts most: a carrier
    of another name is not like one because both have a service `Next Day`."""
    best, at = 0.0, -1
    for place, parts in enumerate(compared):
        ratios = [fuzz.ratio(*pair, processor=utils.default_process) for pair in zip(own, parts, strict=False)]
        weights = [FIRST, *[1] * (len(ratios) - 1)]
        like = sum(map(operator.mul, ratios, weights)) / sum(weights) if ratios and ratios[0] >= FIRST_LIKE else 0.0
        if like > best:
            best, at = like, place
    return best, at


def _key(name: str, value: str, keys: int, message: str) -> tuple[str, ...]:
    """The key of the row that a value needs."""
    if name == "adjustment_reasons":
        return (movements.ANY, value)
    if name == "listing_categories":
        return (next(iter(_SITE.findall(message)), ""), value)
    if name == "exchange_rates":
        return (value, next(iter(_DAY.findall(message)), ""))
    parts = value.split(BESIDE)
    return tuple(parts) if len(parts) == keys else (value,)


def _has(own: tuple[str, ...], keys: Sequence[str]) -> bool:
    """Whether the lookup has a row for the value, letter case aside; a wildcard of the lookup takes it, too."""
    wanted = " ".join(BESIDE.join(own).split()).casefold()
    return any(fnmatchcase(wanted, " ".join(key.split()).casefold()) for key in keys)


def _like_words(words: Sequence[str], rows: Sequence[tuple[str, ...]]) -> tuple[Near, ...]:
    """The rows whose words are most like those of a line; the last word says most, a wildcard nothing."""
    found: dict[str, float] = {}
    for row in rows:
        likes, weights = 0.0, 0
        for word, pattern, weight in zip(words, row[1:4], WEIGHTS, strict=True):
            if _WILD.sub("", pattern):
                likes += fuzz.ratio(word.lower(), pattern.lower()) * weight
                weights += weight
        if weights:
            name = f"{' / '.join(row[1:4])}: {row[4]}"
            found[name] = max(likes / weights, found.get(name, 0))
    best = sorted(found.items(), key=lambda one: (-one[1], one[0]))[:NEAREST]
    return tuple(Near(name, f"{like:.0f}% alike") for name, like in best if like >= WORDS_LIKE)
