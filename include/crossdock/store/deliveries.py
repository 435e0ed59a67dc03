"""Deliveries and links: what was to happen at a target, what came of it, and whose id is whose.

A delivery is written before its call and completed after it, so that a crash in between leaves a trace: an effect
whose answer nobody saw. `open_keys` finds those; the caller asks the target before it sends again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from crossdock.store import database, leases, sql
from crossdock.store.tables import ops_delivery, ops_link

_OPEN = ops_delivery.c.outcome.in_(("sent", "unknown"))


class Effect(NamedTuple):
    """One intended effect. The idempotency key names it for ever; `key` is that of the source record."""

    entity: str
    operation: str
    key: str
    idempotency_key: str
    content_hash: str | None = None


class Outcome(NamedTuple):
    """What came of the effect of an idempotency key. `error`: in words, without personal data."""

    idempotency_key: str
    outcome: str  # confirmed, rejected or unknown
    status: int | None = None  # HTTP
    response_id: str | None = None  # given by the target
    error: str | None = None


def begin(connection: sa.Connection, flow: str, batch_id: int, effects: Sequence[Effect]) -> None:
    """Writes the deliveries before the call; one sent before counts another attempt. Raises LeaseLost where another
    worker has taken over the flow."""
    leases.require(connection, flow)
    if not effects:
        return
    row = database.insert_all(
        ops_delivery,
        [{"flow": flow, "batch_id": batch_id, **effect._asdict()} for effect in effects],
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[ops_delivery.c.idempotency_key],
            set_={
                "attempts": ops_delivery.c.attempts + 1,
                "outcome": "sent",
                "batch_id": row.excluded.batch_id,
                "content_hash": row.excluded.content_hash,
                "sent_at": sa.func.now(),
                "unsure_at": sa.case((_OPEN, ops_delivery.c.sent_at), else_=ops_delivery.c.unsure_at),
                "done_at": None,
            },
        )
    )


def end(connection: sa.Connection, flow: str, outcomes: Iterable[Outcome]) -> None:
    """Completes deliveries.

    Raises LeaseLost where another worker has taken over the flow since they were begun; then nothing of the caller's
    transaction is kept, but that these calls have reached the target when others may have gone before.
    """
    rows = list(outcomes)
    if not leases.holds(connection, flow):
        _too_late(connection.engine, flow, [row.idempotency_key for row in rows])
        raise leases.lost(connection, flow)
    if not rows:
        return
    given = database.given(ops_delivery, [row._asdict() for row in rows])
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


def _too_late(made: sa.Engine, flow: str, names: Sequence[str]) -> None:
    with made.begin() as connection:
        connection.execute(
            sa.update(ops_delivery)
            .where(ops_delivery.c.flow == flow, ops_delivery.c.idempotency_key.in_(names))
            .values(unsure_at=sa.func.clock_timestamp())
        )


# ---- values that are absolute: what a late write may have put in the place of a newer one ---------------------------

LANDS_WITHIN = timedelta(minutes=10)  # a call whose answer nobody saw may still reach the target for so long

_DOUBTFUL = sql.statement(__package__, "doubtful")


def doubtful(connection: sa.Connection, flow: str, entity: str, *, linked: str = "") -> set[str]:
    """Keys at whose target an older value may stand in the place of the last one. `linked`: entity of the links that
    say what was delivered last, where it is another one."""
    names = {"flow": flow, "entity": entity, "linked": linked or entity, "within": LANDS_WITHIN}
    return set(connection.scalars(_DOUBTFUL, names))


def written_over(connection: sa.Connection, flow: str, entity: str, reported: Mapping[str, str]) -> None:
    """The target holds what it should, `reported` by key: calls for it whose answers were lost are settled. Those of
    other content may still land."""
    if not reported:
        return
    given = database.given(ops_delivery, [{"key": key, "content_hash": stated} for key, stated in reported.items()])
    same = ops_delivery.c.content_hash == given.c.content_hash
    connection.execute(
        sa.update(ops_delivery)
        .where(
            ops_delivery.c.flow == flow,
            ops_delivery.c.entity == entity,
            ops_delivery.c.key == given.c.key,
            _OPEN,
        )
        .values(
            outcome=sa.case((same, "confirmed"), else_="superseded"),
            unsure_at=sa.case((same, ops_delivery.c.unsure_at), else_=ops_delivery.c.sent_at),
            done_at=sa.func.now(),
        )
    )


def lost(connection: sa.Connection, entity: str, operation: str) -> dict[str, str]:
    """All calls whose outcome nobody knows: their idempotency keys by key. Whoever asks is the one at work."""
    rows = connection.execute(
        sa.select(ops_delivery.c.key, ops_delivery.c.idempotency_key).where(
            ops_delivery.c.entity == entity, ops_delivery.c.operation == operation, _OPEN
        )
    )
    return dict(rows.all())


def open_keys(connection: sa.Connection, entity: str, operation: str, keys: Sequence[str]) -> set[str]:
    """Of `keys`, those with a call whose outcome nobody knows."""
    return set(
        connection.scalars(
            sa.select(ops_delivery.c.key).where(
                ops_delivery.c.entity == entity,
                ops_delivery.c.operation == operation,
                ops_delivery.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
                _OPEN,
            )
        )
    )


def in_sync(connection: sa.Connection, flow: str, key: str) -> None:
    """The target has been read and holds what it should: calls for this record whose answer was lost are settled."""
    connection.execute(
        sa.update(ops_delivery)
        .where(
            ops_delivery.c.flow == flow,
            ops_delivery.c.key == key,
            _OPEN,
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
