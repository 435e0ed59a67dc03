"""Deliveries and links: what was to happen at a target, what came of it, and whose id is whose.

A delivery is written before its call and completed after it, so that a crash in between leaves a trace: an effect
whose answer nobody saw. `open_keys` finds those; the caller asks the target before it sends again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from crossdock.store import database
from crossdock.store.tables import ops_delivery, ops_link


@dataclass(frozen=True, slots=True)
class Effect:
    """One intended effect. The idempotency key names it for ever; `key` is that of the source record."""

    entity: str
    operation: str
    key: str
    idempotency_key: str
    content_hash: str | None = None


def begin(connection: sa.Connection, flow: str, batch_id: int, effects: Sequence[Effect]) -> None:
    """Writes the deliveries before the call; one sent before counts another attempt."""
    if not effects:
        return
    row = database.insert_all(
        ops_delivery,
        [
            {
                "flow": flow,
                "batch_id": batch_id,
                "entity": effect.entity,
                "operation": effect.operation,
                "key": effect.key,
                "content_hash": effect.content_hash,
                "idempotency_key": effect.idempotency_key,
            }
            for effect in effects
        ],
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[ops_delivery.c.idempotency_key],
            set_={
                "attempts": ops_delivery.c.attempts + 1,
                "outcome": "sent",
                "batch_id": row.excluded.batch_id,
                "content_hash": row.excluded.content_hash,
                "done_at": None,
            },
        )
    )


def end(connection: sa.Connection, outcomes: Iterable[Mapping[str, Any]]) -> None:
    """Completes deliveries: mappings of idempotency_key, outcome, status, response_id, error."""
    rows = list(outcomes)
    if not rows:
        return
    names = ("idempotency_key", "outcome", "status", "response_id", "error")
    given = database.given(ops_delivery, [{name: row.get(name) for name in names} for row in rows])
    connection.execute(
        sa.update(ops_delivery)
        .where(ops_delivery.c.idempotency_key == given.c.idempotency_key)
        .values(
            outcome=given.c.outcome,
            status=given.c.status,
            response_id=given.c.response_id,
            error=given.c.error,
            done_at=sa.func.now(),
        )
    )


def open_keys(connection: sa.Connection, entity: str, operation: str, keys: Sequence[str]) -> set[str]:
    """Of `keys`, those with a call whose outcome nobody knows."""
    return set(
        connection.scalars(
            sa.select(ops_delivery.c.key).where(
                ops_delivery.c.entity == entity,
                ops_delivery.c.operation == operation,
                ops_delivery.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
                ops_delivery.c.outcome.in_(("sent", "unknown")),
            )
        )
    )


def agreed(connection: sa.Connection, flow: str, key: str) -> None:
    """The target has been read and holds what it should: calls for this record whose answer was lost are settled."""
    connection.execute(
        sa.update(ops_delivery)
        .where(
            ops_delivery.c.flow == flow,
            ops_delivery.c.key == key,
            ops_delivery.c.outcome.in_(("sent", "unknown")),
        )
        .values(outcome="confirmed", done_at=sa.func.now())
    )


def link(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes links: entity, source_key, target_id, and what else is known, the same columns for each. A known link
    takes the new values."""
    if not rows:
        return
    statement = database.insert_all(ops_link, rows)
    changed = rows[0].keys() - {"entity", "source_key"}
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[ops_link.c.entity, ops_link.c.source_key],
            set_={name: statement.excluded[name] for name in changed} | {"updated_at": sa.func.now()},
        )
    )


def links(connection: sa.Connection, entity: str, source_keys: Sequence[str]) -> dict[str, sa.Row]:
    """The links of `source_keys`, by source key."""
    rows = connection.execute(
        sa.select(ops_link).where(
            ops_link.c.entity == entity,
            ops_link.c.source_key == sa.any_(sa.bindparam("keys", list(source_keys), type_=sa.ARRAY(sa.Text))),
        )
    )
    return {row.source_key: row for row in rows}
