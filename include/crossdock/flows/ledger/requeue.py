"""Finds records to be worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.store.tables import (
    ref_sales_order,
    ref_shipment,
    stage_posting,
)


def waiting(connection: sa.Connection, *, need_shipment: bool) -> Sequence[str]:
    """Finds keys of waiting documents whose order, and shipment where they have one, have arrived."""
    table = stage_posting
    have_order = sa.exists().where(ref_sales_order.c.id == table.c.sales_order_id)
    have_parcel = sa.or_(table.c.shipment_id.is_(None), sa.exists().where(ref_shipment.c.id == table.c.shipment_id))
    here = sa.and_(have_order, have_parcel) if need_shipment else have_order
    kind = "Invoice" if need_shipment else "CreditMemo"
    return connection.scalars(
        sa.select(table.c.key)
        .where(table.c.state == "waiting", table.c.DocumentType == kind, here)
        .order_by(table.c.key)
    ).all()


def waiting_captures(connection: sa.Connection) -> Sequence[str]:
    table = stage_posting
    return connection.scalars(
        sa.select(table.c.key).where(table.c.state == "waiting", table.c.DocumentType == "SalesOrder")
    ).all()
