"""Finds records to be worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows import documents
from crossdock.flows.invoices.transform import ENTITY
from crossdock.rules.invoicing import VOIDED
from crossdock.store.tables import (
    ops_link,
    ref_invoice,
    stage_invoice,
)


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds shipments whose sales order has arrived, and those whose invoice was voided, so that a notice is raised."""
    voided = connection.scalars(
        sa.select(stage_invoice.c.key)
        .join(ops_link, sa.and_(ops_link.c.entity == ENTITY, ops_link.c.source_key == stage_invoice.c.key))
        .join(ref_invoice, ref_invoice.c.id == ops_link.c.target_id)
        .where(ref_invoice.c.status == VOIDED, stage_invoice.c.state.in_(("delivered", "unchanged")))
        .order_by(stage_invoice.c.key)
    ).all()
    return [*documents.arrived(connection, stage_invoice, "SalesOrderID"), *voided]
