"""A draft of a mapping on the records that were read last: which documents would change, and what would become of them.

In: a draft's text. Out: counts, the fields that differ with examples, records that die or recover; or what becomes of
each of some records. Never: anything written; a value about a person, but its shape.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.mapping import language, watch
from crossdock.mapping.contracts import Document
from crossdock.mapping.frames import LINE, ROW
from crossdock.mapping.registry import KEY
from crossdock.mapping.suggest.masks import mask
from crossdock.mapping.table import Table, target_field
from crossdock.reference.lookups import without_advice
from crossdock.rules import order_changes
from crossdock.services import mapping_records, mappings
from crossdock.services.mapping_records import MOST, Hide, Version
from crossdock.services.mappings import Line
from crossdock.services.people import Person, Right
from crossdock.steps.dry_run import Verdict, dry_run
from crossdock.store import deliveries
from crossdock.store.tables import ref_sales_order

EXAMPLES = 3  # of a field
SHOWN = 20  # records that die, or recover


@dataclass(frozen=True)
class Example:
    """A field of a document before and after. Of lines: one value for each. `personal`: some are about a person; of
    these only the shape is told, such as `A 9`."""

    key: str
    before: tuple[str | None, ...]
    after: tuple[str | None, ...]
    personal: bool


@dataclass(frozen=True)
class FieldChange:
    """In how many documents a target field would differ."""

    path: str
    count: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Fate:
    """A record of which something else would become. `reasons`: why it dies, or died: rule, field and what to do."""

    key: str
    before: str
    after: str
    reasons: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Trial:
    """What the draft would do to `records` records. `changed`: documents that it makes otherwise; of these `kept` are
    delivered and stay as they are, `delivered` go by the draft once they are read again, and are refused then where
    TIMS has `closed` their order. `not_run`: records that are delivered and of which the mapping makes nothing more.
    `died`, `recovered`: dead letters that were not, or no longer are. `moved`: any other change, such as to waiting."""

    records: int
    changed: int
    kept: int
    delivered: int
    closed: int
    not_run: int
    died: int
    recovered: int
    moved: int
    dead: int
    fields: tuple[FieldChange, ...]
    fates: tuple[Fate, ...]
    seconds: float


@dataclass(frozen=True)
class Compared:
    """What a draft does to one record. `before`, `after`: what becomes of it by the mapping in force, and by the draft.
    `fields`: what would differ in its document, by target path. `kept`: the document is delivered and stays as it is.
    `runs`: whether the mapping makes something of it at all."""

    key: str
    before: str
    after: str
    fields: dict[str, Example]
    kept: bool
    runs: bool


Fields = dict[str, tuple[str | None, ...]]  # a record's documents: the values of each target field


def tried(connection: sa.Connection, person: Person, name: str, text: str, most: int = MOST) -> Trial:
    """The draft on the last records, beside the mapping in force. Raises ConfigError for a draft with mistakes."""
    person.require(Right.SEE)
    started = time.monotonic()
    flow = mappings.flow_using(name)
    both = _both(connection, flow, name, text, mapping_records.last(connection, flow, most))
    fates = [_fate(one.was, one.is_) for one in both.pairs if one.was.state != one.is_.state]
    changed = [one for one in both.pairs if one.changed]
    fields: dict[str, list[_Pair]] = {}
    for one in changed:
        for path in one.differing:
            fields.setdefault(path, []).append(one)
    count = {
        "died": sum(one.after == "dead" for one in fates), "recovered": sum(one.before == "dead" for one in fates),
    }  # fmt: skip
    return Trial(
        len(both.pairs), len(changed), sum(one.kept for one in changed), sum(one.delivered for one in changed),
        sum(one.closed for one in changed), sum(one.not_run for one in both.pairs),
        count["died"], count["recovered"], len(fates) - sum(count.values()),
        sum(one.is_.state == "dead" for one in both.pairs),
        tuple(
            FieldChange(path, len(found), tuple(both.example(one, path) for one in found[:EXAMPLES]))
            for path, found in sorted(fields.items(), key=lambda pair: -len(pair[1]))
        ),
        tuple(sorted(fates, key=lambda one: one.after != "dead")[:SHOWN]),
        round(time.monotonic() - started, 3),
    )  # fmt: skip


def compared(
    connection: sa.Connection, person: Person, name: str, text: str, keys: Sequence[str]
) -> tuple[Compared, ...]:
    """What the draft does to each of these records: its document by the draft, beside the one by the mapping in force.
    Raises ConfigError for a draft with mistakes."""
    person.require(Right.SEE)
    flow = mappings.flow_using(name)
    both = _both(connection, flow, name, text, mapping_records.some(connection, flow, keys[:MOST]))
    return tuple(
        Compared(
            one.key,
            one.was.state,
            one.is_.state,
            {path: both.example(one, path) for path in one.differing} if one.changed else {},
            one.kept,
            not one.not_run,
        )
        for one in both.pairs
    )


@dataclass(frozen=True)
class _Pair:
    """A record by the mapping in force and by a draft."""

    key: str
    payload: bytes
    was: Verdict
    is_: Verdict
    differing: dict[str, tuple[tuple[str | None, ...], tuple[str | None, ...]]]
    kept: bool
    not_run: bool
    delivered: bool
    closed: bool

    @property
    def changed(self) -> bool:
        """Whether the record passes in both ways, with another document."""
        return self.was.state == self.is_.state == "ready" and bool(self.differing)


@dataclass(frozen=True)
class _Both:
    """Records in both ways. `lines`: those of the mapping in force, and those of the draft, by target path."""

    flow: Flow
    pairs: tuple[_Pair, ...]
    lines: tuple[dict[str, Line], dict[str, Line]]

    def example(self, one: _Pair, path: str) -> Example:
        """A field of a record before and after, the shape alone of what is about a person."""
        hide = Hide(self.flow, one.payload, open_=False, mask=mask)
        before, after = (
            hide.all(mapping_records.judged_by(lines.get(path), path), values)
            for lines, values in zip(self.lines, one.differing[path], strict=True)
        )
        return Example(one.key, before, after, hide.hidden)


def _both(connection: sa.Connection, flow: Flow, name: str, text: str, records: Sequence[Version]) -> _Both:
    before, made = _judged(connection, flow, name, records)
    lines = _lines(name)
    with mappings.drafted(name, text):
        mappings.refuse(name)
        lines_then = _lines(name)
        after, remade = _judged(connection, flow, name, records)
    sent = deliveries.links(connection, flow.entity, [key for key, _, _ in records])
    ended = _ended(connection, flow, [link.target_id for link in sent.values()])
    own = flow.stage.info.get("mapping") in (name, None)  # the staged document is what this mapping makes
    pairs = []
    for key, _, payload in records:
        was, is_ = before[key], after[key]
        differing = _differing(made.get(key, {}), remade.get(key, {}))
        kept = bool(differing) and own and key in sent and was.content_hash == is_.content_hash
        not_run = was.state == is_.state == "ready" and key not in made and key not in remade
        delivered = bool(differing) and key in sent and not kept
        given = [path for path, (_, then) in differing.items() if any(value is not None for value in then)]
        closed = delivered and sent[key].target_id in ended and order_changes.is_late(given)
        pairs.append(_Pair(key, payload, was, is_, differing, kept, not_run, delivered, closed))
    return _Both(flow, tuple(pairs), (lines, lines_then))


def _ended(connection: sa.Connection, flow: Flow, numbers: Sequence[str]) -> frozenset[str]:
    """The sales orders that take no more changes but of a few fields."""
    if flow.entity != ref_sales_order.name:
        return frozenset()
    chosen = ref_sales_order.c.id == sa.any_(sa.bindparam("numbers", list(numbers), type_=sa.ARRAY(sa.Text)))
    ended = sa.select(ref_sales_order.c.id).where(chosen, ref_sales_order.c.status.in_(order_changes.ENDED))
    return frozenset(connection.scalars(ended))


def _lines(name: str) -> dict[str, Line]:
    return {line.path: line for line in mappings.lines_of(language.load(name))}


def _judged(
    connection: sa.Connection, flow: Flow, name: str, records: Sequence[Version]
) -> tuple[Mapping[str, Verdict], Mapping[str, Fields]]:
    """The verdict on each record, and what the mapping makes of it."""
    table = language.load(name)
    with watch.watching() as seen, without_advice():  # nobody is shown the words of a verdict
        verdicts = dry_run(connection, flow, records, documents=False)
        runs = mapping_records.runs(table, seen)
    made: dict[str, Fields] = {}
    for run in runs:
        made |= _made(table, flow, run)
    return verdicts, made


def _made(table: Table, flow: Flow, run: watch.Seen) -> dict[str, Fields]:
    assert run.source is not None
    assert run.target is not None
    header = run.source.header
    keys = [str(key) for key in header[KEY if KEY in header else flow.source.ids[0]].tolist()]
    found: dict[str, dict[str, list[str | None]]] = {key: {} for key in keys}
    children = table.children
    below = table.target_document.fields[children.target].items if children else None
    for prefix, frame, document in (
        ("", run.target.header, table.target_document),
        (f"{children.target}." if children else "", run.target.lines, below),
    ):
        of = [keys[row] for row in frame[ROW].tolist()] if ROW in frame else keys
        for name in [str(name) for name in frame.columns if name not in (ROW, LINE)] if document else ():
            for key, value in zip(of, _texts(document, name, frame[name]), strict=True):
                found[key].setdefault(prefix + name, []).append(value)
    return {key: {path: tuple(values) for path, values in fields.items()} for key, fields in found.items()}


def _texts(document: Document | None, name: str, values: Any) -> tuple[str | None, ...]:
    field = target_field(document, name) if document else None
    return mapping_records.texts(values, bool(field and field.money))


def _differing(before: Fields, after: Fields) -> dict[str, tuple[tuple[str | None, ...], tuple[str | None, ...]]]:
    found = {}
    for path in dict.fromkeys((*before, *after)):
        was, is_ = before.get(path, ()), after.get(path, ())
        if was != is_ and any(value is not None for value in (*was, *is_)):
            found[path] = (was, is_)
    return found


def _fate(was: Verdict, is_: Verdict) -> Fate:
    reasons = is_.reasons or was.reasons
    shown = tuple({word: str(one.get(word, "")) for word in ("rule", "field", "do")} for one in reasons)
    return Fate(is_.key, was.state, is_.state, shown)
