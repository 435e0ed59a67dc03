"""Which records are worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows.returns.transform import PARENTS


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Waiting returns of whose order anything is new: the order itself, a shipment, an invoice."""
    waiting = connection.execute(
        sa.text("SELECT key, order_key, parents FROM stage.credit_memo WHERE state = 'waiting' AND parents IS NOT NULL")
    ).all()
    rows = connection.execute(sa.text(PARENTS), {"keys": sorted({row.order_key for row in waiting})})
    now = {row.order_key: row.parents for row in rows}
    return [row.key for row in waiting if now.get(row.order_key, "") != row.parents]
