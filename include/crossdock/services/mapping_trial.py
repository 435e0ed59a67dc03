"""A draft of a mapping on the records that were read last: which documents would change, and what would become of them.

In: a draft's text. Out: counts, the fields that differ with examples, records that die or recover. Never: anything
written; a value about a person.
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
from crossdock.mapping.table import Table, target_field
from crossdock.services import mapping_records, mappings
from crossdock.services.mapping_records import MOST, Version
from crossdock.services.people import Person, Right
from crossdock.steps.dry_run import Verdict, dry_run
from crossdock.store import deliveries

EXAMPLES = 3  # of a field
SHOWN = 20  # records that die, or recover


@dataclass(frozen=True)
class Example:
    """A field of a document before and after. Of lines: one value for each."""

    key: str
    before: tuple[str | None, ...]
    after: tuple[str | None, ...]


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
    delivered and stay as they are. `not_run`: records that are delivered and of which the mapping makes nothing more.
    `died`, `recovered`: dead letters that were not, or no longer are. `moved`: any other change, such as to waiting."""

    records: int
    changed: int
    kept: int
    not_run: int
    died: int
    recovered: int
    moved: int
    dead: int
    fields: tuple[FieldChange, ...]
    fates: tuple[Fate, ...]
    seconds: float


Fields = dict[str, tuple[str | None, ...]]  # a record's documents: the values of each target field


def tried(connection: sa.Connection, person: Person, name: str, text: str, most: int = MOST) -> Trial:
    """The draft on the last records, beside the mapping in force. Raises ConfigError for a draft with mistakes."""
    person.require(Right.SEE)
    started = time.monotonic()
    flow = mappings.flow_using(name)
    records = mapping_records.last(connection, flow, most)
    before, made = _judged(connection, flow, name, records)
    with mappings.drafted(name, text):
        mappings.refuse(name)
        lines = tuple(mappings.lines_of(language.load(name)))
        after, remade = _judged(connection, flow, name, records)
    sent = deliveries.links(connection, flow.entity, [key for key, _, _ in records])
    own = flow.stage.info.get("mapping") in (name, None)  # the staged document is what this mapping makes
    fields: dict[str, list[Example]] = {}
    fates: list[Fate] = []
    changed = kept = not_run = 0
    for key, _, _ in records:
        was, is_ = before[key], after[key]
        if was.state != is_.state:
            fates.append(_fate(key, was, is_))
        elif is_.state == "ready":
            if key not in made and key not in remade:
                not_run += 1
                continue
            differing = _differing(made.get(key, {}), remade.get(key, {}))
            for path, one in differing.items():
                fields.setdefault(path, []).append(Example(key, *one))
            changed += bool(differing)
            kept += bool(differing) and own and key in sent and was.content_hash == is_.content_hash
    payloads = {key: payload for key, _, payload in records}

    def hidden(path: str, one: Example) -> Example:
        sources = [source for line in lines if line.path == path for source in line.sources]
        hide = mapping_records.Hide(flow, payloads[one.key], open_=False)
        return Example(one.key, hide.all((path, *sources), one.before), hide.all((path, *sources), one.after))

    count = {
        "died": sum(one.after == "dead" for one in fates), "recovered": sum(one.before == "dead" for one in fates),
    }  # fmt: skip
    return Trial(
        len(records), changed, kept, not_run, count["died"], count["recovered"], len(fates) - sum(count.values()),
        sum(one.state == "dead" for one in after.values()),
        tuple(
            FieldChange(path, len(found), tuple(hidden(path, one) for one in found[:EXAMPLES]))
            for path, found in sorted(fields.items(), key=lambda pair: -len(pair[1]))
        ),
        tuple(sorted(fates, key=lambda one: one.after != "dead")[:SHOWN]),
        round(time.monotonic() - started, 3),
    )  # fmt: skip


def _judged(
    connection: sa.Connection, flow: Flow, name: str, records: Sequence[Version]
) -> tuple[Mapping[str, Verdict], Mapping[str, Fields]]:
    """The verdict on each record, and what the mapping makes of it."""
    table = language.load(name)
    with watch.watching() as seen:
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


def _fate(key: str, was: Verdict, is_: Verdict) -> Fate:
    reasons = is_.reasons or was.reasons
    shown = tuple({word: str(one.get(word, "")) for word in ("rule", "field", "do")} for one in reasons)
    return Fate(key, was.state, is_.state, shown)
