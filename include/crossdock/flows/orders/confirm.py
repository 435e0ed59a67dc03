"""What goes back once the target has it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg2.errors
import sqlalchemy as sa

from crossdock.errors import RecordRejected
from crossdock.flow import Flow
from crossdock.flows.orders.load import ORDER
from crossdock.flows.orders.source import MARK, order_decoder, same_record
from crossdock.steps.check import dead_letter
from crossdock.steps.load import chunked
from crossdock.store import database, raw
from crossdock.store.raw import Record
from crossdock.store.tables import (
    ops_link,
    raw_orders,
    stage_sales_order,
)
from crossdock.systems import limits, times
from crossdock.systems.channel_advisor import LINES_IN_A_LIST

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


OURS = (MARK, "SellerOrderID", "UpdatedDate")


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Exported mark and SellerOrderID for what the batch delivered, as many at once as the system allows."""
    with runtime.engine.begin() as connection:
        rows = list(
            connection.execute(
                sa.select(ops_link)
                .join(stage_sales_order, stage_sales_order.c.key == ops_link.c.source_key)
                .where(
                    ops_link.c.entity == ORDER.entity,
                    ops_link.c.confirmed_at.is_(None),
                    stage_sales_order.c.batch_id == batch_id,
                    stage_sales_order.c.state.in_(("delivered", "unchanged")),
                )
            )
        )

    def send_mark(link: sa.Row) -> tuple[str, RecordRejected | bytes]:
        try:
            runtime.channel_advisor.mark_exported(link.source_key)
            stored = runtime.channel_advisor.update_order(link.source_key, {"SellerOrderID": link.target_id})
        except RecordRejected as error:
            return link.source_key, error
        return link.source_key, stored

    with ThreadPoolExecutor(limits.load("channel_advisor").at_once, "confirm") as pool:
        for portion in chunked(rows):
            sent = list(pool.map(send_mark, portion))
            with runtime.engine.begin() as connection:
                connection.execute(
                    sa.update(ops_link)
                    .where(
                        ops_link.c.entity == ORDER.entity,
                        ops_link.c.source_key.in_([key for key, stated in sent if isinstance(stated, bytes)]),
                    )
                    .values(confirmed_at=sa.func.now())
                )
                refused = {
                    key: [
                        {
                            "field": "", "rule": "confirm_refused", "value": "", "line": "",
                            "says": f"It is in TIMS, but Channel Advisor refuses its exported mark: {stated.message}",
                            "do": "Look at the order on the channel. Dismiss this if it is gone there.",
                        }
                    ]
                    for key, stated in sent
                    if isinstance(stated, RecordRejected)
                }  # fmt: skip
                dead_letter(connection, flow, batch_id, "confirm", refused)
            _remember(runtime, flow, batch_id, {key: stated for key, stated in sent if isinstance(stated, bytes)})


def _remember(runtime: Runtime, flow: Flow, batch_id: int, stored: Mapping[str, bytes]) -> None:
    """Our number made a new version of each order. Where it changed nothing else, the version is known from now on and
    makes no work; where somebody else has changed the order meanwhile, the next read brings it."""
    with runtime.engine.begin() as connection:
        worked = {key: payload for key, _, payload in raw.documents(connection, raw_orders, batch_id, list(stored))}
        own = [
            version
            for key, record in stored.items()
            if key in worked and (version := _own_version(record, worked[key])) is not None
        ]
        # A read that has met the same version at this moment holds it until it ends, and works it: let it.
        connection.execute(sa.text("SET LOCAL lock_timeout = '300ms'"))
        try:
            with connection.begin_nested():
                raw.remember(connection, raw_orders, flow.name, own, batch_id)
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise


def _own_version(record: bytes, worked: Mapping[str, Any]) -> Record | None:
    """The order as stored, as a list will give it; None where more than our own fields differs from what was worked."""
    try:
        slots = order_decoder.decode(record)
        version = times.read(slots.UpdatedDate)
        after = database.from_json(record)
    except (msgspec.MsgspecError, ValueError):
        return None  # not a whole order
    if any(after.get(name) != worked.get(name) for name in after.keys() | worked.keys() if name not in OURS):
        return None
    same = same_record(record, slots.OrderItems[:LINES_IN_A_LIST])
    return Record(str(slots.ChannelAdvisorOrderID), version, raw.digest(same), record)
