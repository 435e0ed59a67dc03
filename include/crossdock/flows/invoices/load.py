"""Sends the batch, and records the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.flows.invoices.transform import ENTITY
from crossdock.steps.load import Kind, post_documents

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

INVOICE = Kind(ENTITY, "ar/invoices", "InvoiceID", remade=True)
ADVICE = (
    "Put the order, the shipment or the period right in TIMS, then replay this; dismiss it if it is invoiced there."
)


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Posts the ready invoices of the batch."""
    post_documents(runtime, flow, batch_id, INVOICE, ADVICE)
