"""Documents: ready rows of a batch -> documents in TIMS, each created once for ever.

In: stage rows that are ready, with their lines; the mapping that says what a document has. Out: documents in bulk,
links, outcomes. What an answer was lost of is asked for first. Never: a second document of one reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient, WriteRefused
from crossdock.flow import SOURCE, Flow
from crossdock.mapping import bodies, language
from crossdock.mapping.frames import ROW
from crossdock.mapping.table import FieldMap
from crossdock.steps.load import shadow
from crossdock.steps.load.outcomes import Answer, chunked, not_taken, reasons, record_outcomes
from crossdock.steps.load.send import put_each
from crossdock.store import batches, database, deliveries
from crossdock.store.deliveries import Effect
from crossdock.systems.tims import Operation, Result

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

BULK = 100  # operations a request, the contract's limit
AT_ONCE = 4  # bulks under way; the budget of the system bounds them besides


# ---- bodies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """What is ready of a batch: key and facts of each row, their lines (`_row` points to the row), a body for each."""

    header: pd.DataFrame
    lines: pd.DataFrame
    bodies: list[bytes]

    def rows(self) -> Iterable[tuple[dict[str, Any], bytes]]:
        """Key and facts of each row by name, None where there is no value; and its body."""
        names = list(self.header)
        plain = [values.astype(object).where(values.notna(), None).tolist() for _, values in self.header.items()]
        if "version" in names:
            at = names.index("version")
            plain[at] = [datetime.fromisoformat(version) for version in plain[at]]
        facts = (dict(zip(names, row, strict=True)) for row in zip(*plain, strict=True))
        return zip(facts, self.bodies, strict=True)


def read_ready(
    connection: sa.Connection,
    batch_id: int,
    mapping: str,
    stage: sa.Table,
    lines: sa.Table | None = None,
    *,
    facts: Sequence[str] = ("version", "content_hash"),
    line_facts: Sequence[str] = (),
    change: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> Ready:
    """The ready rows of a batch with `facts`, and the bodies that they become: the target paths of `mapping`.
    `change`: last word on what is sent of the rows."""
    table = language.load(mapping)
    ready = sa.and_(stage.c.batch_id == batch_id, stage.c.state == "ready")
    heads = targets(table.fields, stage)
    header = database.copy_out(
        connection, sa.select(*columns(stage, ("key", *facts, *heads))).where(ready).order_by(stage.c.key)
    )
    sent = header[heads] if change is None else change(header[heads])
    header = header[list(dict.fromkeys(("key", *facts)))]
    if lines is None or table.children is None:
        return Ready(header, pd.DataFrame(), write_bodies(mapping, sent))
    parts = targets(table.children.fields, lines)
    below = database.copy_out(
        connection,
        sa.select(*columns(lines, ("key", *line_facts, *parts)))
        .where(lines.c.key.in_(sa.select(stage.c.key).where(ready)))
        .order_by(lines.c.key, lines.c.position),
    )
    below.insert(0, ROW, pd.Index(header["key"]).get_indexer(below["key"]))
    return Ready(header, below, write_bodies(mapping, sent, below[[ROW, *parts]]))


def write_bodies(mapping: str, header: pd.DataFrame, lines: pd.DataFrame | None = None) -> list[bytes]:
    """Bodies of a mapping's target documents; columns are target paths. To Channel Advisor, whose writes set the fields
    that they name, what is missing goes as null."""
    table = language.load(mapping)
    children = table.children.target if table.children and lines is not None else ""
    nulls = table.target_document.system == "channel_advisor"
    return bodies.bodies(table.target_document, header, lines, children, nulls=nulls)


def targets(fields: Sequence[FieldMap], table: sa.Table) -> list[str]:
    """The target paths that `table` has, in the mapping's order."""
    return [one.target for one in fields if one.target in table.c]


def columns(table: sa.Table, names: Iterable[str]) -> list[sa.Column]:
    """Columns by name, each once."""
    return [table.c[name] for name in dict.fromkeys(names)]


# ---- documents -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Document:
    """One document to create. `key`: of its link and its deliveries."""

    key: str
    body: bytes
    idempotency_key: str
    content_hash: str | None
    facts: Mapping[str, Any]  # what else its link should keep
    reference: str = ""  # what TIMS finds it by, where that is not the key
    row: str = ""  # key of its stage row, where that is another one
    path: str | None = None  # where it is posted, when not at the path of its kind: an action on another document
    after: Sequence[tuple[str, str]] = ()  # what it names that is not in TIMS yet, as (entity, key)
    prefix: str = ""  # of what is said of its refusal


def by_reference(runtime: Runtime, kind: Kind, references: Sequence[str]) -> dict[str, str]:
    """Ids of our documents by ExternalReference."""
    found = runtime.tims.find(kind.path, ExternalReference=list(references), Source=SOURCE)
    return {one["ExternalReference"]: one[kind.id_field] for one in found}


@dataclass(frozen=True)
class Kind:
    """How documents of one kind are created, named and found again."""

    entity: str  # of ops.link and ops.delivery
    path: str  # below /api/v1
    id_field: str
    find: Callable[[Runtime, Kind, Sequence[str]], dict[str, str]] = by_reference  # references -> ids of those there
    linked_by: str = "key"  # column of the stage row that is the key of its link
    remade: bool = False  # of a key with a link another one may be asked for, under a reference of its own


# Of a batch: what must be there before the document of a stage row, as (entity, key), by the row's key.
Before = Callable[[sa.Connection, int], Mapping[str, Sequence[tuple[str, str]]]]


def post_documents(
    runtime: Runtime, flow: Flow, batch_id: int, kind: Kind, advice: str, *, after: Before | None = None
) -> None:
    """Creates what is ready of a batch and not linked yet. What TIMS refuses is dead, with the flow's `advice`; what it
    did not decide is tried again with the same key. `after`: in shadow mode, what is not there yet that a document
    needs. Raises the transient error last."""
    with runtime.engine.begin() as connection:
        before = after(connection, batch_id) if after and shadow.at_work() else {}
        ready = read_ready(
            connection, batch_id, flow.mappings[0], flow.stage, flow.stage_lines,
            facts=("version", "content_hash", "ExternalReference", kind.linked_by),
        )  # fmt: skip
    documents = [
        Document(
            row[kind.linked_by], body, row["ExternalReference"], row["content_hash"],
            {"version": row["version"], "other_key": None if kind.linked_by == "key" else row["key"]},
            reference=row["ExternalReference"], row=row["key"], after=before.get(row["key"], ()),
        )
        for row, body in ready.rows()
    ]  # fmt: skip
    posted = post(runtime, flow, batch_id, kind, documents, advice)
    with runtime.engine.begin() as connection:
        record_outcomes(
            connection,
            flow,
            batches.get(connection, batch_id),
            delivered=posted.mine,
            unchanged=posted.existing,
            refused=posted.refused,
        )
    posted.raise_problem()


@dataclass
class Posted:
    """What became of documents. Rows: keys of stage rows."""

    links: dict[str, sa.Row]  # of documents that are there, by their key
    mine: list[str]  # rows whose documents are all there, one of them by this batch
    existing: list[str]  # rows whose documents were all there before
    refused: dict[str, list[dict]] = field(default_factory=dict)  # dead-letter reasons by row
    problem: Transient | None = None
    would_be: frozenset[str] = frozenset()  # rows of which a document would be made: the flow is in shadow mode

    def raise_problem(self) -> None:
        if self.problem:
            raise self.problem


def post(runtime: Runtime, flow: Flow, batch_id: int, kind: Kind, documents: Sequence[Document], advice: str) -> Posted:
    """Creates the documents that have no link yet, in bulk, several bulks at once; links are written with each outcome.
    All that can go through has, whatever fails beside it: a transient error is handed back."""
    existing = _links(runtime, kind, documents, batch_id)
    new = [document for document in documents if document.key not in existing]
    refused: dict[str, list[dict]] = {}
    problem: Transient | None = None
    if new:
        try:
            _create(runtime, flow, batch_id, kind, new, advice, refused)
        except Transient as error:
            problem = error
    links = _links(runtime, kind, documents, batch_id) if new else existing
    rows: dict[str, list[sa.Row | None]] = {}
    for document in documents:
        rows.setdefault(document.row or document.key, []).append(links.get(document.key))
    whole = {
        row: any(link.batch_id == batch_id for link in some if link is not None)
        for row, some in rows.items()
        if row not in refused and all(link is not None for link in some)
    }
    only = rows.keys() - whole.keys() - refused.keys() if shadow.at_work() and problem is None else ()
    return Posted(
        links, [row for row, mine in whole.items() if mine], [row for row, mine in whole.items() if not mine],
        refused, problem, frozenset(only),
    )  # fmt: skip


def _links(runtime: Runtime, kind: Kind, documents: Sequence[Document], batch_id: int) -> dict[str, sa.Row]:
    """The links of documents that are there; where another one may be asked for, of those that this batch has made."""
    with runtime.engine.begin() as connection:
        links = deliveries.links(connection, kind.entity, [document.key for document in documents])
    return {key: link for key, link in links.items() if not kind.remade or link.batch_id == batch_id}


def _create(
    runtime: Runtime,
    flow: Flow,
    batch_id: int,
    kind: Kind,
    documents: Sequence[Document],
    advice: str,
    refused: dict[str, list[dict]],
) -> None:
    """Asks TIMS for those whose answer was lost, and posts the others. Raises when something is not decided."""
    found = _found_again(runtime, flow, batch_id, kind, documents)
    within = shadow.at_work()
    pending: list[str] = []

    def keep(connection: sa.Connection, answered: Sequence[tuple[Document, Answer]]) -> None:
        deliveries.link(
            connection,
            [_link(kind, one, answer.target, batch_id, existed=bool(answer.result))
             for one, answer in answered if answer.target is not None],
        )  # fmt: skip
        for document, answer in answered:
            if answer.refused:
                refused.setdefault(document.row or document.key, []).extend(answer.refused)
            elif answer.error is not None and not (within and isinstance(answer.error, WriteRefused)):
                pending.append(document.key)

    put_each(
        runtime,
        flow.name,
        batch_id,
        list(chunked([one for one in documents if one.key not in found], BULK)),
        effect=lambda one: Effect(kind.entity, "create", one.key, one.idempotency_key, one.content_hash),
        send=lambda portion: _post(runtime, kind, portion, advice),
        keep=keep,
        at_once=AT_ONCE,
        made=lambda one: one,
    )
    if pending:
        raise not_taken(len(pending), len(documents), kind.path, "tims")


def _found_again(
    runtime: Runtime, flow: Flow, batch_id: int, kind: Kind, documents: Sequence[Document]
) -> dict[str, str]:
    """Ids of those documents whose answer was lost and that TIMS has, by key. They are linked."""
    with runtime.engine.begin() as connection:
        lost = deliveries.open_keys(connection, kind.entity, "create", [one.key for one in documents])
    unsure = {one.reference or one.key: one for one in documents if one.key in lost}
    if not unsure:
        return {}
    there = kind.find(runtime, kind, sorted(unsure))
    found = [(unsure[name], target) for name, target in there.items() if name in unsure]
    with runtime.engine.begin() as connection:
        ended = [Answer(target=target).outcome(one.idempotency_key) for one, target in found]
        deliveries.end(connection, flow.name, ended)
        deliveries.link(connection, [_link(kind, one, target, batch_id, existed=True) for one, target in found])
    return {one.key: target for one, target in found}


def _post(runtime: Runtime, kind: Kind, portion: Sequence[Document], advice: str) -> list[Answer]:
    """Posts a bulk. A refusal that proves a document to exist already counts as taken."""
    operations = [
        Operation(id=str(n), path=f"/{d.path or kind.path}", key=d.idempotency_key, body=d.body)
        for n, d in enumerate(portion)
    ]
    results = runtime.tims.bulk(operations)
    return [_answer(runtime, kind, one, result, advice) for one, result in zip(portion, results, strict=True)]


def _answer(runtime: Runtime, kind: Kind, document: Document, result: Result, advice: str) -> Answer:
    error = result.error
    if error is None and result.body:
        return Answer(result.status, result.body[kind.id_field])
    if isinstance(error, RecordRejected):
        if target := _existing(runtime, kind, document, error):
            return Answer(result.status, target, result="existed")
        return Answer(result.status, refused=reasons(error, do=advice, prefix=document.prefix))
    return Answer(result.status, error=error or not_taken(1, 1, kind.path, "tims"))


def _existing(runtime: Runtime, kind: Kind, document: Document, error: RecordRejected) -> str | None:
    """The id of the document that a refusal proves to exist already, if it does."""
    if error.code == "DUPLICATE_EXTERNAL_REFERENCE" and error.existing_id:
        return error.existing_id
    if error.code in ("DUPLICATE_EXTERNAL_REFERENCE", "IDEMPOTENCY_KEY_REUSED"):
        name = document.reference or document.key
        return kind.find(runtime, kind, [name]).get(name)
    return None


def _link(kind: Kind, document: Document, target: str, batch_id: int, *, existed: bool) -> dict[str, Any]:
    """A link. Of a document that existed before, nobody knows the content: no hash, so that it is compared."""
    return {
        "entity": kind.entity,
        "source_key": document.key,
        "target_id": target,
        "content_hash": None if existed else document.content_hash,
        "batch_id": batch_id,
        **document.facts,
    }
