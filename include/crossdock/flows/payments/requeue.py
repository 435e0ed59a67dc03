"""Finds records to be worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows.payments.transform import newest_of, why
from crossdock.store import sql
from crossdock.store.tables import ops_link, ref_sales_order, stage_payment
from crossdock.systems import settlement_ledger

_part, _link, _order = stage_payment.c, ops_link.c, ref_sales_order.c
_references = (_part.order_ref, _part.merchant_order_ref)
_has_come = (
    sa.exists()
    .where(_link.entity == "sales_order", _order.id == _link.target_id)
    .where(sa.or_(_link.other_key.in_(_references), _link.source_key.in_(_references)))
)
_REQUEUE = (
    sa.select(_part.key)
    .where(_part.state == "waiting")
    .where(
        sa.or_(
            sa.and_(_part.sales_order_id.is_(None), _has_come),
            sa.and_(
                _part.sales_order_id.is_not(None),
                newest_of(_part.sales_order_id).is_distinct_from(_part.documents_at),
            ),
        )
    )
    .order_by(_part.key)
)


_AWAITED = sql.statement(__package__, "awaited")


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds waiting parts whose order, or a document of it, has arrived, and those whose order has another state, so
    that their reason is up to date. Also sets apart the money of orders that are left out: it makes no payment, the
    ledger posts it."""
    settlement_ledger.set_apart(connection)
    arrived = connection.scalars(_REQUEUE).all()
    stays_true: dict[str, bool] = {}
    for order in connection.execute(_AWAITED):
        stays_true[order.part] = stays_true.get(order.part, False) or order.stated == why(order)
    return [*arrived, *(part for part, is_true in stays_true.items() if not is_true and part not in set(arrived))]
