"""Values that records have brought and that a lookup does not know: who waits for them, and the row that they need.

In: open dead letters. Out: each value with the letters that wait for it and a row for the lookup, filled in as far as
the nearest known value says. Never: a row that nobody has looked at; a value about a person shown to somebody who may
not see it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import sqlalchemy as sa
from rapidfuzz import fuzz, utils

from crossdock import flows
from crossdock.config import BESIDE, grid
from crossdock.rules import movements
from crossdock.services import letters, rule_files
from crossdock.services.people import Person, Right
from crossdock.settings import config_dir
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import ops_dead_letter as table

# The rules that find a value which a lookup lacks. Which lookup: their advice names its file; of states, BY_RULE.
RULES = (
    "not_in_lookup", "unknown_carrier", "unknown_reason", "unknown_sku", "unknown_status", "unknown_payment_status",
    "country_unknown", "unknown_country", "unknown_billing_country", "no_exchange_rate",
)  # fmt: skip
BY_RULE = {"unknown_status": "order_status", "unknown_payment_status": "payment_status"}
REMARKS = frozenset({"note", "reason", "effect", "source"})  # columns for people: the nearest row's say nothing here
DECIDED = frozenset({"action"})  # columns that nobody guesses
BESIDE_ITS_KEY = ("adjustment_reasons", "listing_categories")  # the value is the second column of the key
LIKE, SURE = 70, 85  # how like a value must be for its row to be offered, and for that to be meant probably
FIRST, FIRST_LIKE = 3, 70  # weight of the first part of a key, and how like it must be in any case
WAITS = (table.c.state.in_(OPEN), table.c.replay_asked_at.is_(None))  # a replay may be under way
MOST = 500  # values of one lookup
_FILE = re.compile(r"\b([a-z0-9_]+)\.csv\b")
_SITE = re.compile(r"\bsite (\d+)\b")
_DAY = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


@dataclass(frozen=True)
class Waiting:
    """Open letters that name the value. `title`: their flow's, in words."""

    flow: str
    title: str
    rule: str
    field: str
    value: str
    letters: int


@dataclass(frozen=True)
class Unknown:
    """One value. `row`: cells for the lookup, empty where a person must decide. `nearest`: the value of the lookup most
    like it, "" where none is; `sure`: so like that it is probably meant. `now_known`: the lookup has it meanwhile, and
    the letters wait for a replay."""

    path: str
    value: str
    row: tuple[str, ...]
    nearest: str
    sure: bool
    waiting: tuple[Waiting, ...]
    now_known: bool

    @property
    def letters(self) -> int:
        return sum(one.letters for one in self.waiting)


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


def of_all(connection: sa.Connection, person: Person) -> tuple[Lacking, ...]:
    """What every lookup lacks, the one that most letters wait for first."""
    person.require(Right.SEE)
    return _lacking(connection, person, None)


def of(connection: sa.Connection, person: Person, path: str) -> Lacking | None:
    """What one lookup lacks; None where nothing waits for it."""
    person.require(Right.SEE)
    return next(iter(_lacking(connection, person, path)), None)


def letters_of(connection: sa.Connection, person: Person, path: str, values: Sequence[str]) -> list[int]:
    """The numbers of the open letters that wait for these values of a lookup."""
    person.require(Right.SEE)
    reason = _reasons()
    found = connection.execute(
        sa.select(table.c.id, *(reason.c[name] for name in ("rule", "do")))
        .select_from(table.join(reason, sa.true()))
        .where(*WAITS, reason.c.rule.in_(RULES), reason.c.value.in_(list(values)))
        .order_by(table.c.id)
    )
    return list(dict.fromkeys(row.id for row in found if _lookup(row.rule, row.do) == path))


def _lacking(connection: sa.Connection, person: Person, only: str | None) -> tuple[Lacking, ...]:
    by_path: dict[str, dict[tuple[str, ...], list[tuple[Waiting, str]]]] = {}
    every = flows.all_flows()
    for row in _refused(connection):
        path = _lookup(row.rule, row.do)
        if not path or (only and path != only):
            continue
        flow = every.get(row.flow)
        if not person.may(Right.SEE_PERSONAL) and letters.about_people(row.flow, {"field": row.field}):
            continue
        waiting = Waiting(row.flow, flow.title if flow else row.flow, row.rule, row.field, row.value, row.letters)
        key = (row.value, *(_SITE.findall(row.message)[:1] if path.endswith("listing_categories.csv") else ()))
        by_path.setdefault(path, {}).setdefault(key, []).append((waiting, row.message))
    made = []
    for path, values in by_path.items():
        name = path.removeprefix("lookups/").removesuffix(".csv")
        file = config_dir() / path
        if not file.is_file():
            continue
        held = grid.read(file.read_bytes().decode("utf-8", "replace"))
        columns = rule_files.columns(path, held.columns)
        keys = sum(one.key for one in columns)
        rows = [one.cells for one in held.rows if not one.broken]
        found = [
            _unknown(path, name, held.columns, keys, rows, key[0], [one for one, _ in waiting], waiting[0][1])
            for key, waiting in values.items()
        ]
        records: dict[str, int] = {}
        for one in found:
            for each in one.waiting:
                records[each.title] = records.get(each.title, 0) + each.letters
        shown = sorted(found, key=lambda one: (-one.letters, one.value))[:MOST]
        made.append(Lacking(path, rule_files.name_of(path), columns, tuple(shown), records))
    return tuple(sorted(made, key=lambda one: (-one.letters, one.path)))


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
            *by, sa.func.min(reason.c["says"]).label("message"), sa.func.count(sa.distinct(table.c.id)).label("letters")
        )
        .select_from(table.join(reason, sa.true()))
        .where(*WAITS, reason.c.rule.in_(RULES), sa.func.coalesce(reason.c.value, "") != "")
        .group_by(*by)
        .order_by(sa.desc("letters"), reason.c.value)
    ).all()


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
            if columns[place] not in REMARKS | DECIDED:
                cells[place] = rows[at][place]
    near = BESIDE.join(compared[at]) if like >= LIKE else ""
    has = _has(own, [BESIDE.join(row[:keys]) for row in answers])
    return Unknown(path, value, tuple(cells), near, like >= SURE, tuple(waiting), has)


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
