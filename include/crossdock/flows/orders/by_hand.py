"""Sales orders that people have entered by hand: how they are compared with ours, and how a launch takes them over.

In: sales orders of TIMS whose source is not ours. Out: what makes two of them one; links. Never: a second sales order
of a sale; a change of what people have entered, but for what changes at the channel later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.comparison.by_hand import ByHand
from crossdock.flow import Flow
from crossdock.flows.orders.transform import SOURCE
from crossdock.reference import tims
from crossdock.store import database, deliveries, would_be
from crossdock.store.tables import ops_link, ref_sales_order, stage_sales_order

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ENTITY = "sales_order"
BY_HAND = (
    ByHand(
        flow="orders",
        entity=ENTITY,
        what="orders",
        resource=tims.SALES_ORDERS,
        table=ref_sales_order,
        source=SOURCE,
        names=("ExternalOrderID",),
        alike=("ShippingAddress.Name", "ShippingAddress.PostalCode", "OrderDate", "TotalAmount", "CurrencyCode"),
        alike_words="buyer, date and amount",
        day="OrderDate",
        lines="LineItems",
        line_key=("SKU",),
        # What people write as they like, what tells whose document it is, and what TIMS moves on by itself.
        ignored=("Source", "ExternalOrderID", "CustomerID", "Notes", "Channel", "ExternalLineID", "OrderStatus"),
        personal=("ShippingAddress", "BillingAddress"),
    ),
)


def link(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Links the ready orders of a batch that people have entered by hand: TIMS has them under another source, or the
    daily comparison has found them alike. Nothing of them is sent."""
    stage = stage_sales_order
    names = ("key", "version", "content_hash", "marketplace_order_id", "held_by", "record_shipments")
    linked = sa.exists().where(ops_link.c.entity == ENTITY, ops_link.c.source_key == stage.c.key)
    with runtime.engine.begin() as connection:
        rows = connection.execute(
            sa.select(*(stage.c[name] for name in names)).where(
                stage.c.batch_id == batch_id, stage.c.state == "ready", ~linked
            )
        ).all()
        alike = would_be.their_ids(connection, flow.name, [row.key for row in rows])
    found = _theirs(runtime, [row.key for row in rows])
    theirs = {row.key: found.get(row.key) or {"SalesOrderID": alike[row.key]} for row in rows
              if row.key in found or row.key in alike}  # fmt: skip
    if not theirs:
        return
    links = [_link(row, theirs[row.key]["SalesOrderID"]) for row in rows if row.key in theirs]
    buyers = [
        {"key": key, "CustomerID": document["CustomerID"]}
        for key, document in theirs.items()
        if document.get("CustomerID")
    ]
    with runtime.engine.begin() as connection:
        deliveries.link(connection, links)
        if buyers:  # so that no customer is created for them
            given = database.given(stage, buyers)
            connection.execute(
                sa.update(stage).where(stage.c.key == given.c.key, stage.c.batch_id == batch_id)
                .values({stage.c["CustomerID"]: given.c["CustomerID"], stage.c.customer_key: None})
            )  # fmt: skip


def _theirs(runtime: Runtime, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Orders of these numbers that TIMS has under another source than ours, asked now: by number, the oldest."""
    if not keys:
        return {}
    found = runtime.tims.find("sales-orders", ExternalOrderID=list(keys))
    others = [one for one in found if one["Source"] != SOURCE and one["OrderStatus"] != "Cancelled"]
    return {one["ExternalOrderID"]: one for one in sorted(others, key=lambda one: one["SalesOrderID"], reverse=True)}


def _link(row: sa.Row, target: str) -> dict[str, Any]:
    """With the content that we would have sent: what people have entered stands until the channel changes it."""
    return {
        "entity": ENTITY, "source_key": row.key, "target_id": target, "version": row.version,
        "content_hash": row.content_hash, "other_key": row.marketplace_order_id, "held_by": row.held_by,
        "record_shipments": row.record_shipments, "batch_id": None,
    }  # fmt: skip
