"""Sends the batch, and records the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.flows import documents
from crossdock.flows.invoices.transform import ENTITY
from crossdock.steps.load import Kind, post_documents
from crossdock.store.tables import stage_invoice

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

INVOICE = Kind(ENTITY, "ar/invoices", "InvoiceID", remade=True)
ORDER = "sales_order"  # entity of what an invoice belongs to
ADVICE = (
    "Put the order, the shipment or the period right in TIMS, then replay this; dismiss it if it is invoiced there."
)


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Posts the ready invoices of the batch."""
    post_documents(runtime, flow, batch_id, INVOICE, ADVICE, after=_orders)


def _orders(connection: sa.Connection, batch_id: int) -> dict[str, list[tuple[str, str]]]:
    """The orders that would be made before the ready invoices, in whose place people have entered theirs."""
    stage = stage_invoice.c
    ready = sa.select(stage.key, stage.SalesOrderID).where(stage.batch_id == batch_id, stage.state == "ready")
    orders = dict(connection.execute(ready).all())
    in_place = documents.in_place(connection, sorted(set(orders.values())))
    return {key: [(ORDER, in_place[order])] for key, order in orders.items() if order in in_place}
