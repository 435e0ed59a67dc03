"""Compares both sides: an order that is open, on hold or cancelled in TIMS is so at the channel."""

from __future__ import annotations

from crossdock.comparison import explain
from crossdock.comparison.subject import (
    CHANNEL_ADVISOR,
    ORDERS,
    SALES_ORDERS,
    TIMS,
    Explanation,
    Side,
    Subject,
    stating,
)
from crossdock.flows.holds.tables import STAGE
from crossdock.store.tables import raw_orders, raw_sales_orders, stage_sales_order

CHANNEL_SAYS = {"New": "open", "Processing": "open", "OnHold": "on hold", "Cancelled": "cancelled"}
TIMS_SAYS = {"Open": "open", "Allocated": "open", "OnHold": "on hold", "Cancelled": "cancelled"}
FOUND = explain.FOUND.c
_LEFT_OUT = explain.because(explain.BY_RULE, STAGE.c.reason, (STAGE, STAGE.c.target_key == FOUND.key))
_SOLD = raw_sales_orders.c.payload["ExternalOrderID"].astext == FOUND.key
CARRIED = explain.of_flow("holds", TIMS, "tims.sales-orders", raw_sales_orders, STAGE, by="target_key", matches=_SOLD)
READ = explain.of_flow("orders", CHANNEL_ADVISOR, "channel_advisor.orders", raw_orders, stage_sales_order)
EXPLAINS = {"orders": explain.of_fact("status", CARRIED)}
HOLDS = Subject(
    "holds", "Holds", "order",
    (
        Side(CHANNEL_ADVISOR, ORDERS, stating("ChannelAdvisorOrderID", "OrderStatus", CHANNEL_SAYS)),
        Side(TIMS, SALES_ORDERS, stating("ExternalOrderID", "OrderStatus", TIMS_SAYS, Source="ChannelAdvisor")),
    ),
    (*CARRIED, *READ, Explanation(_LEFT_OUT.where(STAGE.c.state == "left_out", FOUND.tims != "open"))),
    keys="both",
    do="`crossdock sync holds --key SALESORDERID` tells the channel once more what TIMS says.",
)  # fmt: skip
SUBJECTS = (HOLDS,)
