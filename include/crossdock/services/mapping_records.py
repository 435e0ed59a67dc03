"""Stored records on their way through a mapping: which there are, how often each field is given, and every value of one
of them from the source through converter and lookup to the target.

In: the name of a mapping, or a draft of its text; a record's key. Out: values as texts, by the paths of the canvas.
Never: anything written but the audit log; a value about a person for somebody who may not see it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.mapping import language, watch
from crossdock.mapping.contracts import Document
from crossdock.mapping.frames import LINE, ROW, Frames, written
from crossdock.mapping.parse import read_documents
from crossdock.mapping.registry import LINES, MADE
from crossdock.mapping.table import Table, target_field
from crossdock.services import mappings, personal
from crossdock.services.people import Person, Right
from crossdock.steps.dry_run import Verdict, dry_run
from crossdock.steps.transform import with_edits
from crossdock.store import audit, database, raw
from crossdock.store.tables import ops_batch, ops_work

MOST = 500  # records of which shares are counted and on which drafts are tried
_ALIKE = 4  # characters from which one of the record's personal values is looked for within others


@dataclass(frozen=True)
class Stored:
    """The newest version of a record. `state`: what became of it, as staged."""

    key: str
    version: datetime
    batch: int
    state: str | None


@dataclass(frozen=True)
class Share:
    """How often a source field is given: in `given` of `of` records (of their lines, for a field of lines)."""

    path: str
    given: int
    of: int


@dataclass(frozen=True)
class Stop:
    """A stop of values on their way, one for each document or line. `kind`: source, convert, lookup, default,
    constant, target; `name`: of the source path, the converter, the lookup. None: not given."""

    kind: str
    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class RuleValues:
    """What a rule read and wrote for the record, by its columns."""

    name: str
    inputs: dict[str, tuple[str | None, ...]]
    outputs: dict[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class Trace:
    """A record on its way. `source`: its values by path; `ways`: the stops of each line by its path in the target
    tree. `state`, `why` and `reasons`: what would become of it now. `posted`: the document was delivered and is left
    as it is, so the mapping does not run for it. `masked`: values about people are hidden."""

    key: str
    version: datetime
    state: str
    why: str
    reasons: tuple[dict[str, Any], ...]
    source: dict[str, tuple[str | None, ...]]
    ways: dict[str, tuple[Stop, ...]]
    rules: tuple[RuleValues, ...]
    posted: bool
    masked: bool


Version = tuple[str, datetime, bytes]  # key, version, payload as it is worked: with what people have edited


def newest(
    connection: sa.Connection, person: Person, name: str, *, after: str = "", limit: int = 20
) -> tuple[Stored, ...]:
    """The records that the mapping's flow has read last, the newest batch first. `after`: a key of the list so far,
    written `batch:key`."""
    person.require(Right.SEE)
    flow = mappings.flow_using(name)
    batch, _, key = after.partition(":")
    place = (int(batch), key) if batch.isdecimal() else None
    rows = connection.execute(_newest(flow, limit, place)).all()
    states = _states(connection, flow, [row.key for row in rows])
    return tuple(Stored(row.key, row.version, row.batch_id, states.get(row.key)) for row in rows)


def last(connection: sa.Connection, flow: Flow, most: int = MOST) -> list[Version]:
    """The newest versions of the records that a flow has read last."""
    found = _newest(flow, most).subquery()
    table = flow.source.raw
    rows = connection.execute(
        sa.select(table.c.key, table.c.version, table.c.payload.cast(sa.Text)).join(
            found, sa.and_(found.c.key == table.c.key, found.c.hash == table.c.hash)
        )
    )
    return _as_worked(connection, flow, [(key, version, payload.encode()) for key, version, payload in rows])


def some(connection: sa.Connection, flow: Flow, keys: Sequence[str]) -> list[Version]:
    """The newest versions of these records; one that is not there is left out."""
    found = raw.newest(raw.history(flow.source.raw, flow.name), list(keys)).subquery()
    rows = connection.execute(sa.select(found.c.key, found.c.version, found.c.payload.cast(sa.Text)))
    return _as_worked(connection, flow, [(key, version, payload.encode()) for key, version, payload in rows])


def _as_worked(connection: sa.Connection, flow: Flow, records: list[Version]) -> list[Version]:
    """The records with what people have edited in their dead letters, as the flow's transform works them."""
    payloads = with_edits(connection, flow.name, [key for key, _, _ in records], [one for *_, one in records])
    return [(key, version, payload) for (key, version, _), payload in zip(records, payloads, strict=True)]


def shares(connection: sa.Connection, person: Person, name: str) -> tuple[Share, ...]:
    """How often each source field is given in the last records."""
    person.require(Right.SEE)
    flow = mappings.flow_using(name)
    document = language.read(mappings.path_of(name)).source_document
    counts: dict[str, list[int]] = {}
    for _, _, payload in last(connection, flow):
        content = msgspec.json.decode(payload)
        if isinstance(content, dict):
            _count(content, document, "", "", counts)
    return tuple(Share(path, given, of) for path, (given, of) in counts.items())


def trace(connection: sa.Connection, person: Person, name: str, key: str, text: str | None = None) -> Trace:
    """The record `key` on its way through the mapping, or through a draft of it. Opening a record that may hold
    personal data is on record."""
    person.require(Right.SEE)
    flow = mappings.flow_using(name)
    record = _record(connection, flow, key)
    open_ = person.may(Right.SEE_PERSONAL)
    if open_ and flow.source.document not in personal.OF_NOBODY:
        audit.record(connection, person.name, "record open", f"{flow.name} {key}", {"where": "mapping", "name": name})
    with nullcontext() if text is None else mappings.drafted(name, text):
        mappings.refuse(name)
        table = language.load(name)
        with watch.watching() as seen:
            verdict = dry_run(connection, flow, [record], documents=False)[key]
            found = runs(table, seen)
    rules = next((one.rules for one in seen if one.mapping == (table.after or name)), [])
    return _traced(table, flow, record, verdict, found[-1] if found else None, rules, open_=open_)


def runs(table: language.Mapping, seen: Sequence[watch.Seen]) -> list[watch.Seen]:
    """The runs of a mapping that have made something. One whose columns another mapping's rules make is run on all
    records of that one, also on those of which the flow makes no such document any more."""
    if not table.after:
        return [one for one in seen if one.mapping == table.name and one.has_records]
    with watch.watching() as again:
        for one in seen:
            if one.mapping == table.after and one.source is not None and one.has_records:
                table.turn(Frames(one.source.header, one.source.lines.iloc[:0]))
    return again


def _record(connection: sa.Connection, flow: Flow, key: str) -> Version:
    found = some(connection, flow, [key])
    if not found:
        raise ConfigError(f"{flow.title} has no record {key!r}.", do="Choose one of the list, or read it first.")
    return found[0]


def _newest(flow: Flow, limit: int, after: tuple[int, str] | None = None) -> sa.Select:
    """Key, hash, version and batch of the records in the flow's last batches: each record once, in its last batch."""
    table, work = flow.source.raw, ops_work
    new = ops_batch.c.read - ops_batch.c.already_stored
    batches = sa.select(
        ops_batch.c.id,
        sa.func.sum(new).over(order_by=ops_batch.c.id.desc(), rows=(None, -1)).label("before"),
    ).where(ops_batch.c.flow == flow.name, new > 0)
    if after:
        batches = batches.where(ops_batch.c.id <= after[0])
    counted = batches.subquery()
    enough = sa.func.coalesce(counted.c.before, 0) <= 2 * limit  # some of their records have newer versions
    recent = sa.func.array(sa.select(counted.c.id).where(enough).scalar_subquery())
    inner = work.alias("later")
    newer = sa.exists().where(
        inner.c.queue == flow.name, inner.c.key == work.c.key, inner.c.hash != work.c.hash,
        sa.or_(
            inner.c.batch_id > work.c.batch_id,
            sa.and_(inner.c.batch_id == work.c.batch_id, inner.c.queued_at > work.c.queued_at),
        ),
    )  # fmt: skip
    rows = (
        sa.select(work.c.key, work.c.hash, table.c.version, work.c.batch_id)
        .join(table, sa.and_(table.c.key == work.c.key, table.c.hash == work.c.hash))
        .where(work.c.queue == flow.name, work.c.batch_id == sa.any_(recent), ~newer)
        .order_by(work.c.batch_id.desc(), work.c.key)
        .limit(limit)
    )
    if after:
        batch, key = after
        rows = rows.where(sa.or_(work.c.batch_id < batch, sa.and_(work.c.batch_id == batch, work.c.key > key)))
    return rows


def _states(connection: sa.Connection, flow: Flow, keys: Sequence[str]) -> dict[str, str]:
    stage = flow.stage
    return dict(
        connection.execute(
            sa.select(stage.c.key, stage.c.state).where(
                stage.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text)))
            )
        ).all()
    )


def _count(content: Mapping[str, Any], document: Document, prefix: str, shown: str, counts: dict) -> None:
    """Counts each field of a document below `prefix`; in an object or list that is missing nothing is given."""
    for path, field in document.fields.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or "." in name:
            continue
        value = content.get(name)
        count = counts.setdefault(shown + path, [0, 0])
        count[0] += value not in (None, "", [], {})
        count[1] += 1
        if field.type == "object":
            _count(value if isinstance(value, dict) else {}, document, f"{path}.", shown, counts)
        elif field.items and not shown:
            for entry in value if isinstance(value, list) else ():
                if isinstance(entry, dict):
                    _count(entry, field.items, "", f"{path}.", counts)


# ---- values --------------------------------------------------------------------------------------------------------


def _traced(
    table: language.Mapping,
    flow: Flow,
    record: Version,
    verdict: Verdict,
    run: watch.Seen | None,
    rules: Sequence[watch.RuleSeen],
    *,
    open_: bool,
) -> Trace:
    key, version, payload = record
    hide = Hide(flow, payload, open_=open_)
    source = {path: hide.all(path, values) for path, values in _source(flow, payload).items()}
    reasons = [
        {**one, "value": hide.one(str(one.get("field", "")), str(one.get("value", ""))),
         "says": hide.words(str(one.get("says", "")))}
        for one in verdict.reasons
    ]  # fmt: skip
    return Trace(
        key,
        version,
        verdict.state,
        hide.words(verdict.why),
        tuple(reasons),
        source,
        _ways(table, run, hide) if run else {},
        tuple(_rule(table, one, hide) for one in rules),
        run is None and verdict.passes,
        hide.hidden,
    )


def _ways(table: language.Mapping, run: watch.Seen, hide: Hide) -> dict[str, tuple[Stop, ...]]:
    children = table.children
    below = table.target_document.fields[children.target].items if children else None
    found: dict[str, list[Stop]] = {}
    lines = {line.path: line for line in mappings.lines_of(table)}
    for station in run.stations:
        document = below if station.of_lines else table.target_document
        field = target_field(document, station.target) if document else None
        money = bool(field and field.money)
        path = f"{children.target}.{station.target}" if children and station.of_lines else station.target
        if station.kind == watch.SOURCE:
            money = _is_money(table, station.name, station.of_lines, otherwise=money)
        names = (*judged_by(lines.get(path), path), *([station.name] if station.kind == watch.SOURCE else []))
        shown = hide.all(names, texts(station.values, money))
        found.setdefault(path, []).append(Stop(station.kind, station.name, shown))
    assert run.target is not None
    for part, frame, document in (
        ("", run.target.header, table.target_document),
        (f"{children.target}." if children else "", run.target.lines, below),
    ):
        for name in frame.columns:
            field = target_field(document, str(name)) if document and name not in (ROW, LINE) else None
            if field is not None and part + str(name) in found:
                path = part + str(name)
                shown = hide.all(judged_by(lines.get(path), path), texts(frame[name], field.money))
                found[path].append(Stop(watch.TARGET, path, shown))
    return {path: tuple(stops) for path, stops in found.items()}


def _rule(table: Table, one: watch.RuleSeen, hide: Hide) -> RuleValues:
    def shown(frame: pd.DataFrame | None, prefix: str) -> Iterator[tuple[str, tuple[str | None, ...]]]:
        for name in frame.columns if frame is not None else ():
            if name not in (ROW, LINE):
                money = _is_money(table, str(name), bool(prefix), otherwise=False)
                yield prefix + str(name), hide.all(str(name), texts(frame[name], money))  # type: ignore[index]

    read = one.read
    inputs = {**dict(shown(read.header, "")), **dict(shown(read.lines, LINES)), **dict(shown(read.made, MADE))}
    made = {**dict(shown(one.header, "")), **dict(shown(one.lines, LINES)), **dict(shown(one.made, MADE))}
    return RuleValues(one.name, inputs, made)


def _is_money(table: Table, name: str, of_lines: bool, *, otherwise: bool) -> bool:
    """Whether a column of whole numbers counts ten-thousandths: as the contracts say of a field of its name."""
    plain = name.removeprefix("head.")
    children = table.children
    documents: list[Document | None] = [table.source_document, table.target_document]
    if of_lines and plain == name and children:
        documents = [
            table.source_document.fields[children.source].items, table.target_document.fields[children.target].items,
        ]  # fmt: skip
    for document in documents:
        if document and plain in document.fields:
            return document.fields[plain].money
    ends = [
        field.money
        for document in documents
        if document
        for path, field in document.fields.items()
        if path.rpartition(".")[2] == plain.rpartition(".")[2]
    ]
    return all(ends) if ends else otherwise


def texts(values: Iterable[Any], money: bool) -> tuple[str | None, ...]:
    return tuple(_text(value, money) for value in values)


def _text(value: Any, money: bool) -> str | None:
    if value is None or value is pd.NA or (not isinstance(value, (str, list, dict, tuple)) and value != value):
        return None
    if pd.api.types.is_bool(value):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if money and pd.api.types.is_integer(value):
        return written(int(value))
    return str(value) if not isinstance(value, (list, dict)) else database.to_json(value)


def _source(flow: Flow, payload: bytes) -> dict[str, tuple[str | None, ...]]:
    """The record's values by path, as the contract reads them; of lines one for each."""
    parsed = read_documents([payload], flow.source.contract, flow.source.document, lines=flow.lines_path)
    document = language.contracts.document(flow.source.contract, flow.source.document)
    found: dict[str, tuple[str | None, ...]] = {}
    for name in parsed.frames.header.columns:
        field = document.fields.get(str(name))
        found[str(name)] = texts(parsed.frames.header[name], bool(field and field.type == "number"))
    list_ = document.fields.get(flow.lines_path)
    if list_ is None or list_.items is None:
        return found
    for name in parsed.frames.lines.columns:
        if name not in (ROW, LINE):
            field = list_.items.fields.get(str(name))
            values = texts(parsed.frames.lines[name], bool(field and field.type == "number"))
            found[f"{flow.lines_path}.{name}"] = values
    return found


class Hide:
    """Hides values about people: by the names of the fields that they come from, and wherever a value of such a field
    is told again."""

    def __init__(
        self, flow: Flow, payload: bytes, *, open_: bool, mask: Callable[[str], str] = lambda _: personal.MASK
    ) -> None:
        self.mask = mask
        self.document = flow.source.document
        self.open = open_ or self.document in personal.OF_NOBODY
        self.hidden = False
        self.personal_values: set[str] = set()
        if not self.open:
            for path, values in _source(flow, payload).items():
                if _is_of_a_person(path):
                    self.personal_values |= {_folded(value) for value in values if value}

    def all(self, names: str | Sequence[str], values: Sequence[str | None]) -> tuple[str | None, ...]:
        return tuple(self.one(names, value) for value in values)

    def one(self, names: str | Sequence[str], value: str | None) -> str | None:
        if self.open or not value:
            return value
        some = (names,) if isinstance(names, str) else names
        if any(map(_is_of_a_person, some)) or self.tells(value):
            self.hidden = True
            return self.mask(value)
        return value

    def words(self, text: str) -> str:
        """A sentence, or MASK in its place where it tells something about a person."""
        if self.open or not self.tells(text):
            return text
        self.hidden = True
        return personal.MASK

    def tells(self, text: str) -> bool:
        plain = _folded(text)
        return "@" in text or any(
            one in plain if len(one) >= _ALIKE else one == plain and not one.isdigit()
            for one in self.personal_values
            if one
        )


def judged_by(line: mappings.Line | None, path: str) -> tuple[str, ...]:
    """The names by which the values of a line are about people or not: of what it reads, and of the target `path` where
    a rule, or nobody, makes them. A constant is about nobody."""
    if line is not None and line.constant is not None:
        return ()
    read = (*line.sources, *line.columns) if line is not None else ()
    return read if read and line is not None and not line.rule else (path, *read)


def _is_of_a_person(path: str) -> bool:
    return path in personal.PERSONAL or path.rpartition(".")[2] in personal.PERSONAL


def _folded(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())
