"""Invoices: what TIMS has shipped of Channel Advisor's orders -> TIMS's receivables, one invoice a shipment.

What makes it special: an order is divided over its shipments so that the parts add up to it to the cent, in whatever
sequence they come (rules/invoicing.py). In: TIMS's shipments, its sales orders, invoices and periods. Never: a second
invoice of a shipment unless a person asks; a change of a posted one; an invoice of what TIMS posts by itself.
"""

from __future__ import annotations

from crossdock.flow import Flow
from crossdock.flows.invoices import load, requeue, transform
from crossdock.reference import tims
from crossdock.store.tables import (
    stage_invoice,
    stage_invoice_line,
)

INVOICES = Flow(
    name=transform.NAME,
    title="Invoices",
    entity=transform.ENTITY,
    source=tims.SHIPMENTS,
    reference=(tims.PERIODS, tims.INVOICES, tims.SALES_ORDERS),
    lines_path="Lines",
    stage=stage_invoice,
    dated_by="PostingDate",
    stage_lines=stage_invoice_line,
    mappings=("invoice",),
    transform=transform.transform,
    suite="invoice",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    requeue=requeue.requeue,
    follows=("shipments",),
)  # fmt: skip

FLOWS = (INVOICES,)
