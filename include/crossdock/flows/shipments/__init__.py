"""Shipments: TIMS's shipments -> Channel Advisor, with carrier and tracking; the order's status follows there.

What makes it special: parts of a kit are folded back to the kit that was sold, also over several parcels. In: TIMS's
shipments, its sales orders. Never: a shipment that the channel itself made; a second report of one shipment.
"""

from __future__ import annotations

from crossdock.flow import Flow
from crossdock.flows import documents
from crossdock.flows.shipments import load, transform
from crossdock.reference import tims
from crossdock.store.tables import stage_channel_shipment, stage_channel_shipment_line

SHIPMENTS = Flow(
    name="shipments",
    title="Shipments",
    entity=transform.ENTITY,
    source=tims.SHIPMENTS,
    target="channel_advisor",
    reference=(tims.SALES_ORDERS,),
    lines_path="Lines",
    stage=stage_channel_shipment,
    dated_by="ShippedDate",
    stage_lines=stage_channel_shipment_line,
    mappings=("shipment",),
    transform=transform.transform,
    suite="shipment",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    requeue=lambda connection: documents.arrived(connection, stage_channel_shipment, "sales_order_id"),
    follows=("orders",),
)  # fmt: skip

FLOWS = (SHIPMENTS,)
