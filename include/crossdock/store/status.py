"""Reads the status of all flows: what is read, at work, waiting, dead; what was changed, found and checked.

In: the tables of `ops` and `stage`. Out: rows as mappings, for whoever shows them. Never: a change; a payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import (
    ops_alert,
    ops_batch,
    ops_check_result,
    ops_circuit,
    ops_conflict,
    ops_customer_change,
    ops_dead_letter,
    ops_missing_ability,
    ops_orphan,
    ops_watermark,
)

Rows = list[dict[str, Any]]


def watermarks(connection: sa.Connection, flow: str | None = None) -> Rows:
    """How far each list has been read."""
    query = sa.select(ops_watermark).order_by(ops_watermark.c.flow, ops_watermark.c.resource)
    return _rows(connection, query if flow is None else query.where(ops_watermark.c.flow == flow))


def unfinished(connection: sa.Connection) -> Rows:
    """Batches that have not ended, oldest first."""
    return _rows(connection, sa.select(ops_batch).where(ops_batch.c.finished_at.is_(None)).order_by(ops_batch.c.id))


def states(connection: sa.Connection, stages: Mapping[str, sa.Table]) -> dict[str, dict[str, int]]:
    """How many records of each flow are in which state. `stages`: each flow's stage table of documents."""
    return {
        flow: _counts(
            connection,
            sa.select(stage.c.state, sa.func.count())
            .join(ops_batch, ops_batch.c.id == stage.c.batch_id)  # flows of the ledger share a table
            .where(ops_batch.c.flow == flow)
            .group_by(stage.c.state),
        )
        for flow, stage in stages.items()
    }


def dead(connection: sa.Connection) -> dict[str, int]:
    """Open dead letters by flow."""
    query = (
        sa.select(ops_dead_letter.c.flow, sa.func.count())
        .where(ops_dead_letter.c.state.in_(OPEN))
        .group_by(ops_dead_letter.c.flow)
    )
    return _counts(connection, query)


def alerts(connection: sa.Connection, last: int = 10) -> Rows:
    """The last alerts, newest first."""
    return _rows(connection, sa.select(ops_alert).order_by(ops_alert.c.last_at.desc()).limit(last))


def circuits(connection: sa.Connection) -> Rows:
    """Systems whose circuit is not closed: they failed too often."""
    return _rows(connection, sa.select(ops_circuit).where(ops_circuit.c.state != "closed"))


def missing_abilities(connection: sa.Connection) -> Rows:
    """What is switched off because the API of a system cannot do it."""
    return _rows(connection, sa.select(ops_missing_ability).order_by(ops_missing_ability.c.ability))


def customer_changes(
    connection: sa.Connection, columns: Iterable[str], *, customer: str | None = None, last: int
) -> Rows:
    """These columns of the last changes of customers, newest first."""
    table = ops_customer_change
    query = sa.select(*(table.c[name] for name in columns)).order_by(table.c.at.desc(), *table.primary_key).limit(last)
    return _rows(connection, query if customer is None else query.where(table.c.customer_id == customer))


def conflicts(connection: sa.Connection, days: int) -> Rows:
    """Fields of TIMS that somebody has changed at the channel within so many days, newest first."""
    seen = ops_conflict.c.seen_at > sa.func.now() - sa.func.make_interval(0, 0, 0, days)
    return _rows(connection, sa.select(ops_conflict).where(seen).order_by(ops_conflict.c.id.desc()))


def orphans(connection: sa.Connection) -> Rows:
    """Products of the channel that are no item of TIMS."""
    return _rows(connection, sa.select(ops_orphan).order_by(ops_orphan.c.product_sku))


def check_results(connection: sa.Connection, last: int) -> Rows:
    """The last results of checks, newest first."""
    return _rows(connection, sa.select(ops_check_result).order_by(ops_check_result.c.id.desc()).limit(last))


def _rows(connection: sa.Connection, query: sa.Select) -> Rows:
    return [dict(row._mapping) for row in connection.execute(query)]


def _counts(connection: sa.Connection, query: sa.Select) -> dict[str, int]:
    return {name: count for name, count in connection.execute(query)}  # noqa: C416 (dict() loses the types)
