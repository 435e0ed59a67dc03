"""Load: ready documents of a batch -> the target system, each effect once.

In: a batch id. Out: a delivery before each call and its outcome after it, links, states. Rerun: sends only what has no
confirmed outcome, with the same idempotency key, and asks the target first where an answer was lost.
Never: a second effect; a record that dies of a transient error.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import OutcomeUnknown, RecordRejected, Refusal, Transient
from crossdock.flow import Flow
from crossdock.steps import portions
from crossdock.steps.at_work import at_work
from crossdock.steps.check import dead_letter
from crossdock.store import batches, dead_letters, deliveries, leases
from crossdock.store.batches import Counts
from crossdock.store.deliveries import Effect
from crossdock.store.runs import Over
from crossdock.systems.tims import Operation

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)

BULK = 100  # operations a request, the contract's limit
AT_ONCE = 4  # bulks under way; the budget of the system bounds them besides


def load(runtime: Runtime, flow: Flow, batch_id: int, *, run_id: str = "", over: Over | None = None) -> Counts:
    """Delivers what is ready; the counts afterwards. Raises the transient error that left something undelivered."""
    started = time.monotonic()
    with at_work(runtime, flow, batch_id, "load", run_id, over):
        try:
            with runtime.low_priority() if flow.low_priority else nullcontext():
                flow.load(runtime, flow, batch_id)
        finally:
            with runtime.engine.begin() as connection:
                counts = batches.recount(connection, batch_id, flow.stage, "load", time.monotonic() - started)
    log.info("load of batch %s: %s", batch_id, counts)
    return counts


@dataclass(frozen=True, slots=True)
class Document:
    """One document to create. `key`: of its stage row."""

    key: str
    body: bytes
    idempotency_key: str
    content_hash: str | None
    facts: Mapping[str, Any]  # what else its link should keep
    path: str | None = None  # where it is posted, when not at the path of its kind: an action on another document


@dataclass(frozen=True)
class Kind:
    """How documents of one kind are created and found again."""

    entity: str  # of ops.link and ops.delivery
    path: str  # below /api/v1
    id_field: str
    find: Callable[[Runtime, Sequence[str]], dict[str, str]]  # keys -> {key: target id} of those that exist


@dataclass(frozen=True)
class Created:
    """What came of `create`: target ids by key, those of them that existed before, and the refused."""

    ids: dict[str, str]
    existed: set[str]
    refused: dict[str, RecordRejected]


def create(runtime: Runtime, flow: Flow, batch_id: int, kind: Kind, documents: Sequence[Document]) -> Created:
    """Creates documents in bulk, several bulks at once. Links are written with each outcome.

    Raises OutcomeUnknown at the end when calls failed in a way that passes; all others have gone through by then.
    """
    with runtime.engine.begin() as connection:
        lost = deliveries.open_keys(connection, kind.entity, "create", [d.key for d in documents])
    existing = kind.find(runtime, sorted(lost)) if lost else {}
    result = Created(dict(existing), set(existing), {})
    if existing:
        linked = [d for d in documents if d.key in existing]
        with runtime.engine.begin() as connection:
            deliveries.end(connection, flow.name, [_outcome(d, "confirmed", None, existing[d.key]) for d in linked])
            deliveries.link(connection, [_link(kind, d, existing[d.key], batch_id, existed=True) for d in linked])
    undelivered: list[str] = []

    def mark(connection: sa.Connection, following: Sequence[Sequence[Document]]) -> None:
        effects = [
            Effect(kind.entity, "create", d.key, d.idempotency_key, d.content_hash) for p in following for d in p
        ]
        deliveries.begin(connection, flow.name, batch_id, effects)

    def keep(connection: sa.Connection, answered: Sequence[tuple[Any, Sequence[_Answer]]]) -> None:
        every = [answer for _, answers in answered for answer in answers]
        deliveries.end(
            connection, flow.name, [_outcome(a.document, a.outcome, a.status, a.target, a.message) for a in every]
        )
        links = [_link(kind, a.document, a.target, batch_id, existed=a.existed) for a in every if a.target is not None]
        deliveries.link(connection, links)
        for answer in every:
            key = answer.document.key
            if answer.target is not None:
                result.ids[key] = answer.target
                result.existed.update([key] if answer.existed else ())
            elif answer.refused:
                result.refused[key] = answer.refused
            else:
                undelivered.append(key)

    portions.send_all(
        runtime.engine,
        flow.name,
        list(chunked([d for d in documents if d.key not in existing])),
        at_once=AT_ONCE,
        mark=mark,
        send=lambda portion: _post(runtime, kind, portion),
        keep=keep,
    )
    if undelivered:
        raise OutcomeUnknown(
            f"{len(undelivered)} of {len(documents)} {kind.path} were not taken by TIMS (busy, or failing).",
            do="Nothing to do: the task is tried again and asks TIMS first what it has taken.",
            system="tims",
        )
    return result


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of one document."""

    document: Document
    outcome: str  # confirmed, rejected or unknown
    status: int | None
    target: str | None = None
    existed: bool = False  # before this request
    refused: RecordRejected | None = None
    message: str | None = None  # why it is not confirmed


def _post(runtime: Runtime, kind: Kind, portion: Sequence[Document]) -> list[_Answer]:
    """Posts a bulk. A refusal that proves a document to exist already counts as taken."""
    operations = [
        Operation(id=str(n), path=f"/{d.path or kind.path}", key=d.idempotency_key, body=d.body)
        for n, d in enumerate(portion)
    ]
    made = []
    for document, answer in zip(portion, runtime.tims.bulk(operations), strict=True):
        error = answer.error
        if error is None and answer.body:
            made.append(_Answer(document, "confirmed", answer.status, answer.body[kind.id_field]))
        elif isinstance(error, RecordRejected) and (target := _existing(runtime, kind, document, error)):
            made.append(_Answer(document, "confirmed", answer.status, target, existed=True))
        elif isinstance(error, RecordRejected):
            message = f"{error.code}: {codes(error)}"
            made.append(_Answer(document, "rejected", answer.status, refused=error, message=message))
        else:
            made.append(_Answer(document, "unknown", answer.status, message=str(error)))
    return made


def deliver(runtime: Runtime, flow: str, batch_id: int, effect: Effect, call: Any) -> Any:
    """One call with its delivery before and its outcome after. Raises what the call raises."""
    with runtime.engine.begin() as connection:
        deliveries.begin(connection, flow, batch_id, [effect])
    outcome: dict[str, Any] = {"idempotency_key": effect.idempotency_key}
    try:
        answer = call()
        outcome |= {"outcome": "confirmed"}
        return answer
    except RecordRejected as error:
        outcome |= {"outcome": "rejected", "status": error.status, "error": error.code}
        raise
    except Transient as error:
        outcome |= {"outcome": "unknown", "error": str(error)}
        raise
    finally:
        if "outcome" in outcome:
            with runtime.engine.begin() as connection:
                deliveries.end(connection, flow, [outcome])


def _existing(runtime: Runtime, kind: Kind, document: Document, error: RecordRejected) -> str | None:
    """The id of the document that a refusal proves to exist already, if it does."""
    if error.code == "DUPLICATE_EXTERNAL_REFERENCE" and error.existing_id:
        return error.existing_id
    if error.code in ("DUPLICATE_EXTERNAL_REFERENCE", "IDEMPOTENCY_KEY_REUSED"):
        return kind.find(runtime, [document.key]).get(document.key)
    return None


def _outcome(
    document: Document, outcome: str, status: int | None, target: str | None, error: str | None = None
) -> dict[str, Any]:
    return {
        "idempotency_key": document.idempotency_key,
        "outcome": outcome,
        "status": status,
        "response_id": target,
        "error": error,
    }


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


def codes(error: RecordRejected) -> str:
    """What was refused, by field and code alone: messages may quote personal data."""
    return ", ".join(f"{refusal.field} {refusal.code}" for refusal in error.refusals[:10])


def reasons(error: RecordRejected, *, do: str, prefix: str = "", target: str = "TIMS") -> list[dict]:
    """A target's refusal as dead-letter reasons, one per field."""
    refusals = error.refusals or [Refusal("", error.code or str(error.status), error.message)]
    return [
        {
            "field": refusal.field,
            "rule": _snake(refusal.code),
            "value": "",
            "line": "",
            "says": f"{prefix}{target} refuses it: {refusal.message}",
            "do": do,
        }
        for refusal in refusals
    ]


def _snake(code: str) -> str:
    """A system's code as rules are named: OrderNotShippable and ORDER_NOT_SHIPPABLE are order_not_shippable."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", code).lower()


def record_outcomes(
    connection: sa.Connection,
    flow: Flow,
    batch: sa.Row,
    *,
    delivered: Sequence[str] = (),
    unchanged: Sequence[str] = (),
    refused: Mapping[str, list[dict]] | None = None,
) -> None:
    """Writes the outcome of load onto stage rows: delivered, unchanged, or dead letters with their reasons."""
    leases.require(connection, flow.name)
    stage = flow.stage
    for state, keys in (("delivered", delivered), ("unchanged", unchanged)):
        if keys:
            connection.execute(
                sa.update(stage)
                .where(
                    stage.c.batch_id == batch.id,
                    stage.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
                )
                .values(state=state)
            )
    dead_letters.close_resolved(connection, flow.name, [*delivered, *unchanged], replay=batch.kind == "replay")
    dead_letter(connection, flow, batch.id, "load", dict(refused or {}))


def chunked(items: Sequence[Any], size: int = BULK) -> Iterator[tuple[Any, ...]]:
    """Portions of `size` (itertools.batched, which Python 3.11 does not have)."""
    iterator = iter(items)
    while portion := tuple(islice(iterator, size)):
        yield portion
