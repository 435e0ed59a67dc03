"""Finds records to be worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows.returns.transform import PARENTS
from crossdock.store.tables import stage_credit_memo


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds waiting returns whose order, or a shipment or invoice of it, has changed."""
    memo = stage_credit_memo.c
    waiting = connection.execute(
        sa.select(memo.key, memo.order_key, memo.parents).where(memo.state == "waiting", memo.parents.is_not(None))
    ).all()
    rows = connection.execute(PARENTS, {"keys": sorted({row.order_key for row in waiting})})
    now = {row.order_key: row.parents for row in rows}
    return [row.key for row in waiting if now.get(row.order_key, "") != row.parents]
