"""Orders: Channel Advisor orders -> TIMS customers and sales orders; then the exported mark and SellerOrderID back.

What makes it special: customers come first; a change after import is applied to the sales order line by line; of an
order that was shipped before its first read the shipments are recorded; a new order's buyer data update the customer
that TIMS has.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.orders import confirm, load, transform
from crossdock.flows.orders.source import MARK, order_decoder, same_record
from crossdock.reference import tims
from crossdock.rules.statuses import CANCELLED_FIRST, DATA_GONE
from crossdock.store.tables import (
    raw_orders,
    stage_sales_order,
    stage_sales_order_line,
)
from crossdock.systems.channel_advisor import LINES_IN_A_LIST


def read_key(record: msgspec.Raw) -> RecordKey:
    """Reads key, version, whether the list truncated the order's lines, and the part by which it is recognised."""
    slots = order_decoder.decode(record)
    truncated = slots.OrderItemCount > len(slots.OrderItems)
    same = same_record(record, slots.OrderItems[:LINES_IN_A_LIST])
    return RecordKey(str(slots.ChannelAdvisorOrderID), slots.UpdatedDate, truncated, same)


ORDERS = Flow(
    name=load.NAME,
    title="Orders",
    entity="sales_order",
    source=Resource(
        "channel_advisor",
        "orders",
        raw_orders,
        read_key,
        "Order",
        # The contract asks for an overlap of 5 minutes or more; rows are visible at once.
        overlap=timedelta(minutes=5),
        lag=timedelta(0),
        ids=("ChannelAdvisorOrderID",),
        own=(MARK, "SellerOrderID", "UpdatedDate"),
    ),
    reference=(tims.ITEMS, tims.CUSTOMERS),
    also_reads=("channel_advisor.shipping", "tims.shipments"),
    lines_path="OrderItems",
    stage=stage_sales_order,
    dated_by="OrderDate",
    stage_lines=stage_sales_order_line,
    mappings=("customer", "sales_order"),
    transform=transform.transform,
    suite="sales_order",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    confirm=confirm.confirm,
    later={CANCELLED_FIRST: "the channel has cancelled it", DATA_GONE: "the channel has removed its buyer's data"},
)
FLOWS = (ORDERS,)
