"""Suggestions for the mapping canvas and the lookups: where a field may come from, which values a lookup misses, the
draft of a whole mapping.

In: a connection, the person who asks, a mapping or two documents. Out: ranked suggestions with confidence and reasons.
Never: a change: a person takes a suggestion over or leaves it; a suggestion for a field that somebody has mapped,
unless it is asked for; a personal value shown to somebody who may not see it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from crossdock.config import did_you_mean, ended
from crossdock.errors import ConfigError
from crossdock.mapping import contracts, language, lookups
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.registry import named_rules
from crossdock.mapping.suggest import draft as drafts
from crossdock.mapping.suggest import evidence, neighbours, sample, words
from crossdock.mapping.suggest.neighbours import Missing, Neighbour
from crossdock.mapping.suggest.ranking import Question, Suggestion, suggest
from crossdock.mapping.suggest.sample import Sample
from crossdock.mapping.table import OF_HEAD, Table, target_field
from crossdock.services import both_sides, letters
from crossdock.services.people import Person, Right
from crossdock.services.personal import is_plain
from crossdock.store.tables import ops_dead_letter, ref_company
from crossdock.systems import redaction
from crossdock.systems.connections import Connection
from crossdock.systems.language_model import LanguageModel, connected

log = logging.getLogger(__name__)

ZONES = ("UTC",)
OPEN = ("open", "edited")
MOST_LETTERS = 20_000
MOST_KEYS = 4  # columns of a lookup's key


@dataclass(frozen=True)
class ForField:
    """The suggestions for one target field. `children`: the target's list that it is in, "" for the head. `mapped`:
    somebody has mapped it or said that it is not sent; then there are none, unless they were asked for. `records`: how
    many the evidence looks at."""

    mapping: str
    target: str
    children: str
    mapped: bool
    records: int
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True)
class ForLookup:
    """The values that records have brought and the lookup does not know. `columns`: its keys first."""

    lookup: str
    columns: tuple[str, ...]
    missing: tuple[Missing, ...]


# ---- fields ----------------------------------------------------------------------------------------------------------


def model_of(read: Callable[[str], Connection]) -> LanguageModel | None:
    """The language model that a connection names; None where nobody has made one. `read`: a connection by its name."""
    return connected(read)


def for_field(
    connection: sa.Connection,
    person: Person,
    mapping: str,
    target: str,
    children: str = "",
    *,
    although_mapped: bool = False,
    model: LanguageModel | None = None,
) -> ForField:
    """Where a field of a mapping's target may come from. `although_mapped`: also where somebody has mapped it."""
    person.require(Right.SEE)
    table = _mapping(mapping)
    _check_target(table, target, children)
    if not although_mapped and target in _mapped(table, children):
        return ForField(mapping, target, children, True, 0, ())
    both = both_sides.sample(connection, table.source, table.target)
    return _for_fields(connection, person, table, both, [(target, children)], model)[0]


def unmapped(
    connection: sa.Connection, person: Person, mapping: str, model: LanguageModel | None = None
) -> tuple[ForField, ...]:
    """The same for all fields of the target that nobody has mapped, those of the list of lines among them."""
    person.require(Right.SEE)
    table = _mapping(mapping)
    document = table.target_document
    wanted = [(path, "") for path in document.leaves if path not in _mapped(table, "")]
    if table.children:
        items = document.fields[table.children.target].items
        inside = table.children.target
        wanted += [(path, inside) for path in (items.leaves if items else ()) if path not in _mapped(table, inside)]
    both = both_sides.sample(connection, table.source, table.target)
    return tuple(_for_fields(connection, person, table, both, wanted, model))


def in_words(one: Suggestion) -> str:
    """Where a suggestion takes its value from, as a line of a mapping would say it."""
    if one.source is None and one.rule is None:
        return f"always {one.constant}"
    steps = [one.source or one.target] if one.source or not one.rule else []
    steps += [f"rule {one.rule}"] if one.rule else []
    steps += [name if argument is None else f"{name} {argument}" for name, argument in one.convert]
    steps += [f"lookup {one.lookup}"] if one.lookup else []
    steps += ["(a lookup is to be written)"] if one.table else ["(in part)"] if not one.complete else []
    return ", ".join(steps)


def _for_fields(
    connection: sa.Connection,
    person: Person,
    table: Table,
    both: Sample,
    wanted: list[tuple[str, str]],
    model: LanguageModel | None,
) -> list[ForField]:
    # What this mapping joins teaches as well, but for the fields that are asked for.
    others = [_mapping(name) for name in language.names() if name != table.name] + [_without(table, wanted)]
    vocabulary = words.vocabulary(both.source_document, both.target_document, others)
    tables, zones, rules = lookup_tables(), time_zones(connection), tuple(named_rules().values())
    hints = model.candidates(both, wanted) if model else {}
    made = []
    for target, children in wanted:
        used = frozenset(
            path for one in _fields(table, children) if not one.rule and one.target != target for path in one.sources
        )
        source_list = table.children.source if table.children and children == table.children.target else ""
        question = Question(target, children, source_list, used, hints.get((target, children), ()), zones)
        found = suggest(question, both, vocabulary, tables, rules)
        shown = tuple(_shown(one, person) for one in found)
        made.append(ForField(table.name, target, children, target in _mapped(table, children), len(both), shown))
    return made


def _without(table: Table, wanted: list[tuple[str, str]]) -> Table:
    dropped = set(wanted)
    children = table.children
    if children:
        inside = children.target
        children = replace(
            children, fields=tuple(one for one in children.fields if (one.target, inside) not in dropped)
        )
    fields = tuple(one for one in table.fields if (one.target, "") not in dropped)
    return Table(
        table.name, table.file, table.title, table.source, table.target, fields, children, table.not_sent, table.lines,
        table.rules, table.after,
    )  # fmt: skip


def _shown(one: Suggestion, person: Person) -> Suggestion:
    """Without values that may be somebody's, for a person who may not see them."""
    names = [words.leaf(path.removeprefix(OF_HEAD)) for path in (one.target, one.source or "") if path]
    personal = any(redaction.clean({name: "x"}) != {name: "x"} for name in names)
    if not personal or person.may(Right.SEE_PERSONAL):
        return one
    hidden = one.constant is not None and isinstance(one.constant, str)
    return replace(one, table=(), constant=redaction.MASK if hidden else one.constant)


def _mapping(name: str) -> Table:
    """A mapping as it is written: one that is being worked on may have mistakes."""
    folder = language.mappings_folder()
    if name not in language.names(folder):
        raise ConfigError(
            ended(f"There is no mapping {name!r}{did_you_mean(name, language.names(folder))}"),
            do="Choose one of those in include/config/mappings, or ask for a draft.",
        )
    try:
        table: Table = language.load(name)  # kept, while its file does not change
    except ConfigError:
        table = language.read(folder / f"{name}.yaml")
    if not all(table.source) or not all(table.target):
        raise ConfigError(
            f"{table.file.name} does not say which documents it maps.",
            do="Write `source` and `target` as a system and a schema of its contract, e.g. `tims Item`.",
        )
    return table


def _fields(table: Table, children: str) -> tuple:
    if not children:
        return table.fields
    return table.children.fields if table.children and table.children.target == children else ()


def _mapped(table: Table, children: str) -> set[str]:
    return {one.target for one in _fields(table, children)} | (set() if children else set(table.not_sent))


def _check_target(table: Table, target: str, children: str) -> None:
    document = table.target_document
    if children:
        field = document.fields.get(children)
        if field is None or field.items is None:
            choices = did_you_mean(children, sample.lists(document))
            raise ConfigError(
                ended(f"{document.name} has no list {children!r}{choices}"), do="Name a list of the target."
            )
        document = field.items
    if target_field(document, target) is None:
        choices = did_you_mean(target, document.leaves)
        raise ConfigError(ended(f"{document.name} has no field {target!r}{choices}"), do="Name a field of the target.")


# ---- lookups ---------------------------------------------------------------------------------------------------------


def lookup_tables() -> dict[str, Lookup]:
    """The lookups of one key column: those that a line of a mapping may name."""
    found = {}
    for name in lookups.names():
        try:
            found[name] = lookups.read(name)
        except ConfigError:  # its key has several columns, or it has a mistake, which `mapping check` says
            continue
    return found


def for_lookup(connection: sa.Connection, person: Person, name: str) -> ForLookup:
    """The values that a lookup misses: those that open dead letters name, and those of the newest records whose
    field it is to translate."""
    person.require(Right.SEE)
    if name not in lookups.names():
        raise ConfigError(
            ended(f"There is no lookup {name!r}{did_you_mean(name, lookups.names())}"), do="Name one of config/lookups."
        )
    table = _table(name)
    values: Counter[str] = Counter()
    open_ = person.may(Right.SEE_PERSONAL)
    for flow, field, given, records in _refused(connection, name):
        if open_ or not letters.about_people(flow, {"field": field}):
            values[given] += records
    for given, records in _brought(connection, name, personal_too=open_).items():
        values[given] = max(values[given], records)
    return ForLookup(name, table.columns, tuple(neighbours.missing(values, table, remarks=neighbours.REMARKS)))


def nearest(name: str, values: Iterable[str]) -> dict[str, tuple[Neighbour, ...]]:
    """For values that a lookup does not know: the ones that it knows and that are most like them."""
    return {one.value: one.nearest for one in neighbours.missing(dict.fromkeys(values, 1), _table(name))}


def _table(name: str) -> Lookup:
    """A lookup whose key is as many columns as are needed to tell its rows apart."""
    for keys in range(1, MOST_KEYS):
        try:
            return lookups.read(name, keys=keys)
        except ConfigError:
            continue
    return lookups.read(name, keys=MOST_KEYS)


def _refused(connection: sa.Connection, name: str) -> Iterable[tuple[str, str, str, int]]:
    """The values of open dead letters whose reason tells to add them to the lookup: flow, field, value, and how many
    records."""
    newest = (
        sa.select(ops_dead_letter.c.flow, ops_dead_letter.c.reasons)
        .where(ops_dead_letter.c.state.in_(OPEN))
        .order_by(ops_dead_letter.c.id.desc())
        .limit(MOST_LETTERS)
        .subquery()
    )
    reason = sa.func.jsonb_array_elements(newest.c.reasons).table_valued("value").lateral("reason")
    value, do = reason.c.value.op("->>")("value"), reason.c.value.op("->>")("do")
    message = reason.c.value.op("->>")("says")
    names_it = sa.or_(do.op("~")(sa.bindparam("file")), message.op("~")(sa.bindparam("file")))
    by = (newest.c.flow, sa.func.coalesce(reason.c.value.op("->>")("field"), "").label("field"), value.label("given"))
    rows = connection.execute(
        sa.select(*by, sa.func.count())
        .select_from(newest.join(reason, sa.true()))
        .where(names_it, value != "")
        .group_by(*by),
        {"file": rf"\y{re.escape(name)}\.csv"},
    )
    return [(flow, field, given, records) for flow, field, given, records in rows]


def _brought(connection: sa.Connection, name: str, *, personal_too: bool) -> Counter[str]:
    """The values of the newest records in the fields that the lookup translates, which it does not know."""
    found: Counter[str] = Counter()
    tables = lookup_tables()
    for mapping in map(_mapping, language.names()):
        for one in mapping.every_field:
            if (one.lookup or "").partition(".")[0] != name or one.rule or name not in tables or one.convert:
                continue
            records = both_sides.newest_records(connection, mapping.source)
            document = contracts.document(*mapping.source)
            columns = Sample(document, document, tuple(records), tuple(records)).source
            for path in one.sources:
                if not (personal_too or is_plain([document], path.removeprefix(OF_HEAD))):
                    continue
                texts = evidence.written(columns[path]) if path in columns else []
                found += Counter(text for text in texts if text is not None and text not in tables[name].rows)
    return found


# ---- drafts ----------------------------------------------------------------------------------------------------------


def draft(connection: sa.Connection, person: Person, source: tuple[str, str], target: tuple[str, str]) -> drafts.Draft:
    """A mapping between two documents that nobody has mapped. `source`, `target`: system and schema."""
    person.require(Right.SEE)
    both = both_sides.sample(connection, source, target)
    mappings = [_mapping(name) for name in language.names()]
    others = [one for one in mappings if (one.source, one.target) != (source, target)]
    vocabulary = words.vocabulary(both.source_document, both.target_document, others)
    return drafts.draft(both, vocabulary, lookup_tables(), time_zones(connection))


def time_zones(connection: sa.Connection) -> tuple[str, ...]:
    """The company's time zone, and UTC: in which a moment may become a date."""
    own = connection.scalar(sa.select(ref_company.c.time_zone).limit(1))
    return tuple(dict.fromkeys([*([own] if own else []), *ZONES]))
