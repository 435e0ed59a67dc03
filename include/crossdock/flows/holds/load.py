"""Sends each row by a single call."""

from __future__ import annotations

from functools import partial
from typing import Any

from crossdock.flows import plain
from crossdock.flows.orders import ORDERS, holds
from crossdock.runtime import Runtime
from crossdock.steps.write_back import Change, write_back
from crossdock.store import database

ADVICE = (
    "Look at the order on the channel: it has gone further there. Do there by hand what is left, then dismiss this."
)


def send(runtime: Runtime, row: dict[str, Any], body: bytes) -> str:
    """Sets the order's status where it differs, and what the mapping says besides. A release is sent only if the
    channel has the order on hold."""
    key, change = row["target_key"], database.from_json(body)
    if row["OrderStatus"] == "OnHold":
        with runtime.engine.begin() as connection:
            holds.send(connection, [key])
    there = database.from_json(runtime.channel_advisor.record("orders", key))["OrderStatus"]
    if there == "OnHold" if row["OrderStatus"] == "New" else there != row["OrderStatus"]:
        write = partial(runtime.channel_advisor.update_order, key, change)
        write_back(runtime, (ORDERS,), row["batch_id"], [Change(key, change, write)])
    if row["OrderStatus"] == "New":
        with runtime.engine.begin() as connection:
            holds.end(connection, [key])
    return key


load = plain.one_by_one(ADVICE, send)
