"""Stages each sales order: the mapping makes the status, `judge` decides whether it is sent to the channel."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from crossdock.flows import documents, plain
from crossdock.flows.holds.tables import STAGE
from crossdock.rules.order_changes import OURS
from crossdock.store import deliveries
from crossdock.store.tables import ops_link, stage_sales_order, stage_sales_order_line

ORDER, LINE = stage_sales_order.c, stage_sales_order_line.c


def judge(connection: sa.Connection, source: pd.DataFrame) -> pd.DataFrame:
    """Judges by who has held, released or cancelled the order, as its link keeps it."""
    keys = source["ExternalOrderID"].astype("str")
    links = deliveries.links(connection, "sales_order", keys.tolist())
    left = sa.exists().where(LINE.key == ORDER.key, LINE["Quantity"] > LINE.quantity_cancelled)
    cancelled = sa.select(ORDER.key).where(documents.among(ORDER.key, keys.tolist()), ORDER.cancelled | ~left)
    gone = set(connection.scalars(cancelled))
    rows = zip(source["Source"], source["OrderStatus"], keys, strict=True)
    verdicts = [_verdict(by, status, links.get(key), key in gone) for by, status, key in rows]
    return pd.DataFrame(verdicts, source.index, ["state", "reason"], dtype="str").assign(target_key=keys)


def _verdict(source: str, status: str, link: sa.Row | None, gone: bool) -> tuple[str, str | None]:
    if source != "ChannelAdvisor":
        return "left_out", "No channel knows this order."
    if link is None:
        return "waiting", "Whose hold it is will be known when the flow orders has written its link."
    if status == "OnHold" and link.held_by in OURS:
        return "left_out", "The channel, or a rule, holds it."
    if status == "Cancelled" and gone:
        return "left_out", "The channel itself has cancelled it."
    released = link.hold_sent_at is not None and status not in ("Fulfilled", "Closed")
    return ("staged", None) if status in ("OnHold", "Cancelled") or released else ("left_out", "Nobody holds it.")


transform = plain.by_mapping(STAGE, judge)


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds waiting orders whose link has arrived."""
    mine = sa.and_(ops_link.c.entity == "sales_order", ops_link.c.source_key == STAGE.c.target_key)
    return connection.scalars(sa.select(STAGE.c.key).join(ops_link, mine).where(STAGE.c.state == "waiting")).all()
