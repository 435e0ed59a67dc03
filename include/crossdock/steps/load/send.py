"""Sending: each item of a batch to its target, with a delivery before the request and its outcome after it.

In: items in portions, one request each. Out: deliveries, and what the flow keeps of each answer in the same
transaction; in shadow mode, what would have been sent (`shadow`). Never: a request without its mark in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from crossdock.errors import CrossdockError, RecordRejected, Transient, WriteRefused
from crossdock.steps import portions
from crossdock.steps.load import shadow
from crossdock.steps.load.outcomes import Answer, reasons
from crossdock.store import deliveries
from crossdock.store.deliveries import Effect

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

T = TypeVar("T")
A = TypeVar("A")


def put_each(
    runtime: Runtime,
    flow: str,
    batch_id: int,
    items: Sequence[Sequence[T]],
    *,
    effect: Callable[[T], Effect],
    send: Callable[[Sequence[T]], Sequence[Answer]],
    keep: Callable[[sa.Connection, Sequence[tuple[T, Answer]]], None],
    at_once: int = 1,
    before: Callable[[sa.Connection, Sequence[T]], None] | None = None,
    made: Callable[[T], shadow.Made] | None = None,
) -> None:
    """Sends portions of items, `at_once` at a time; `send` gives one answer for each item of its portion, in their
    order. `before` and `keep` run in the transactions of the marks and of the outcomes. `made`: what is known of a new
    document.

    When a `send` raises, nothing more is begun; what is under way is kept, then the first error is raised. What the
    HTTP layer refuses, for the flow is in shadow mode, is an item that is not decided.
    """
    if within := shadow.at_work():
        every = [item for portion in items for item in portion]
        within.each(runtime, every, effect=effect, send=send, keep=keep, at_once=at_once, made=made)
        return

    def mark(connection: sa.Connection, following: Sequence[Sequence[T]]) -> None:
        every = [item for portion in following for item in portion]
        deliveries.begin(connection, flow, batch_id, [effect(item) for item in every])
        if before:
            before(connection, every)

    def keep_answers(connection: sa.Connection, answered: Sequence[tuple[Sequence[T], Sequence[Answer]]]) -> None:
        pairs = [pair for portion, answers in answered for pair in zip(portion, answers, strict=True)]
        deliveries.end(connection, flow, [answer.outcome(effect(item).idempotency_key) for item, answer in pairs])
        keep(connection, pairs)

    def guarded(portion: Sequence[T]) -> Sequence[Answer]:
        try:
            return send(portion)
        except WriteRefused as refused:  # a person has put the flow into shadow mode a moment ago
            return [Answer(error=refused)] * len(portion)

    portions.send_all(runtime.engine, flow, items, at_once=at_once, mark=mark, send=guarded, keep=keep_answers)


def deliver(
    runtime: Runtime, flow: str, batch_id: int, effect: Effect, call: Callable[[], A], made: shadow.Made | None = None
) -> A:
    """One call with its delivery before and its outcome after. Raises what the call raises; WriteRefused in shadow
    mode, where what would have been sent is kept. `made`: what is known of a new document."""
    if within := shadow.at_work():
        try:
            return call()
        except WriteRefused as refused:
            with runtime.engine.begin() as connection:
                within.keep(connection, [within.row(effect, refused, made)])
            raise
    with runtime.engine.begin() as connection:
        deliveries.begin(connection, flow, batch_id, [effect])
    answer: Answer | None = None
    try:
        result = call()
        answer = Answer()
        return result
    except (RecordRejected, Transient, WriteRefused) as error:
        answer = answer_of(error)
        raise
    finally:
        if answer:
            with runtime.engine.begin() as connection:
                deliveries.end(connection, flow, [answer.outcome(effect.idempotency_key)])


def answer_of(error: CrossdockError, *, do: str = "", prefix: str = "", target: str = "TIMS") -> Answer:
    """A refusal with its dead-letter reasons, or what is not decided yet."""
    if isinstance(error, RecordRejected):
        return Answer(error.status, refused=reasons(error, do=do, prefix=prefix, target=target))
    return Answer(error=error)
