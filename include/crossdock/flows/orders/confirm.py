"""Reports delivered records to the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import RecordRejected
from crossdock.flow import Flow
from crossdock.flows.orders.load import ORDER
from crossdock.flows.orders.source import MARK
from crossdock.steps.check import dead_letter
from crossdock.steps.write_back import Change, write_back
from crossdock.store.tables import ops_link, stage_sales_order

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Writes the exported mark and SellerOrderID of the orders that the batch delivered."""
    with runtime.engine.begin() as connection:
        rows = list(
            connection.execute(
                sa.select(ops_link.c.source_key, ops_link.c.target_id)
                .join(stage_sales_order, stage_sales_order.c.key == ops_link.c.source_key)
                .where(
                    ops_link.c.entity == ORDER.entity,
                    ops_link.c.confirmed_at.is_(None),
                    stage_sales_order.c.batch_id == batch_id,
                    stage_sales_order.c.state.in_(("delivered", "unchanged")),
                )
            )
        )

    def keep(connection: sa.Connection, written: Sequence[str], refused: Mapping[str, RecordRejected]) -> None:
        connection.execute(
            sa.update(ops_link)
            .where(ops_link.c.entity == ORDER.entity, ops_link.c.source_key.in_(written))
            .values(confirmed_at=sa.func.now())
        )
        dead_letter(connection, flow, batch_id, "confirm", {key: [_reason(why)] for key, why in refused.items()})

    changes = [
        Change(key, {MARK: True, "SellerOrderID": number}, partial(_mark, runtime, key, number)) for key, number in rows
    ]
    write_back(runtime, (flow,), batch_id, changes, keep)


def _mark(runtime: Runtime, key: str, number: str) -> bytes:
    runtime.channel_advisor.mark_exported(key)
    return runtime.channel_advisor.update_order(key, {"SellerOrderID": number})


def _reason(refusal: RecordRejected) -> dict[str, str]:
    return {
        "field": "", "rule": "confirm_refused", "value": "", "line": "",
        "says": f"It is in TIMS, but Channel Advisor refuses its exported mark: {refusal.message}",
        "do": "Look at the order on the channel. Dismiss this if it is gone there.",
    }  # fmt: skip
