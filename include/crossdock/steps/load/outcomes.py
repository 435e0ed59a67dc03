"""Outcomes: what came of what load sent, for the stage rows and in words.

In: answers of a target. Out: states of stage rows, dead letters with a flow's advice. Never: a value of a record in the
words that deliveries keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import sqlalchemy as sa

from crossdock.errors import CrossdockError, OutcomeUnknown, RecordRejected, Refusal, WriteRefused
from crossdock.flow import Flow
from crossdock.steps.check import dead_letter
from crossdock.store import dead_letters, leases
from crossdock.store.deliveries import Outcome

TITLES = {"tims": "TIMS", "channel_advisor": "Channel Advisor"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a target answered about one item. Without `refused` and `error` it was taken."""

    status: int | None = None
    target: str | None = None  # id given by the target
    refused: list[dict] = field(default_factory=list)  # dead-letter reasons: it is refused for good
    error: CrossdockError | None = None  # not decided: it may be sent again
    result: Any = None  # what else the flow keeps of it

    @property
    def taken(self) -> bool:
        return not self.refused and self.error is None

    def outcome(self, idempotency_key: str) -> Outcome:
        """As its delivery keeps it: of a refusal fields and rules alone, for messages may quote personal data."""
        if self.refused:
            why = ", ".join(f"{one['field']} {one['rule']}".strip() for one in self.refused[:10])
            return Outcome(idempotency_key, "rejected", self.status, self.target, why)
        if isinstance(self.error, WriteRefused):  # it was not sent, so nothing is to be asked for
            return Outcome(idempotency_key, "rejected", self.status, self.target, self.error.message[:500])
        if self.error is not None:
            return Outcome(idempotency_key, "unknown", self.status, self.target, str(self.error)[:500])
        return Outcome(idempotency_key, "confirmed", self.status, self.target)


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


def not_taken(count: int, total: int, what: str, system: str = "channel_advisor") -> OutcomeUnknown:
    """The error that ends a load of which something is still to be decided."""
    return OutcomeUnknown(
        f"{count} of {total} {what} were not taken by {TITLES[system]} (busy, or failing).",
        do="Nothing to do: the task is tried again, looks first at what was taken, and sends what was not.",
        system=system,
    )


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


def chunked(items: Sequence[Any], size: int = 100) -> Iterator[tuple[Any, ...]]:
    """Portions of `size` (itertools.batched, which Python 3.11 does not have)."""
    iterator = iter(items)
    while portion := tuple(islice(iterator, size)):
        yield portion
