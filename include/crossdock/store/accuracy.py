"""Accuracy: how many records a full compare found equal on both sides, before it repaired the others.

In: counts. Out: a row for each compare, and the last one in words. Never: a share rounded up.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

import sqlalchemy as sa

from crossdock.store.tables import ops_accuracy as table


def note(connection: sa.Connection, flow: str, *, compared: int, equal: int) -> None:
    """Stores the counts of a compare."""
    connection.execute(sa.insert(table).values(flow=flow, compared=compared, equal=equal))


def last(connection: sa.Connection, flow: str) -> sa.Row | None:
    """The newest compare of a flow: at, compared, equal."""
    return connection.execute(
        sa.select(table).where(table.c.flow == flow).order_by(table.c.id.desc()).limit(1)
    ).one_or_none()


def percentage_text(compared: int, equal: int) -> str:
    """In words: "99.9 % equal (2,997 of 3,000)"."""
    if not compared:
        return "nothing to compare"
    percent = (Decimal(100 * equal) / compared).quantize(Decimal("0.01"), ROUND_FLOOR)
    return f"{percent} % equal ({equal:,} of {compared:,})"
