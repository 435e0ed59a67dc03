"""Sends the batch, and records the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from crossdock.errors import RecordRejected
from crossdock.flow import Flow
from crossdock.flows.shipments.transform import ENTITY
from crossdock.steps.load import Answer, chunked, not_taken, put_each, read_ready, reasons, record_outcomes
from crossdock.store import batches, deliveries
from crossdock.store.deliveries import Effect
from crossdock.systems.channel_advisor import Reported

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


ADVICE = "Correct the order on the channel or the shipment in TIMS, then replay it; dismiss it if the channel knows it."

FACTS = ("version", "content_hash", "ChannelAdvisorOrderID", "SellerFulfillmentID")
_Row = tuple[dict[str, Any], bytes]  # key and FACTS of stage.channel_shipment, and its body


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Reports the ready shipments, a hundred per request. A report whose answer was lost is simply sent again: the
    channel answers a repeat with the first one."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        ready = read_ready(connection, batch_id, flow.mappings[0], flow.stage, flow.stage_lines, facts=FACTS)
        rows = list(ready.rows())
    pending: list[str] = []

    def keep(connection: sa.Connection, answered: Sequence[tuple[_Row, Answer]]) -> None:
        taken = [(row, answer) for (row, _), answer in answered if answer.taken]
        deliveries.link(connection, [_link(batch, row, answer) for row, answer in taken])
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=[row["key"] for row, _ in taken],
            refused={row["key"]: answer.refused for (row, _), answer in answered if answer.refused},
        )
        pending.extend(row["key"] for (row, _), answer in answered if answer.error)

    put_each(
        runtime, flow.name, batch_id, list(chunked(rows)), effect=_effect,
        send=lambda portion: _report(runtime, portion), keep=keep,
    )  # fmt: skip
    if pending:
        raise not_taken(len(pending), len(rows), "shipments")


def _effect(one: _Row) -> Effect:
    row = one[0]
    name = f"fulfil:{row['ChannelAdvisorOrderID']}:{row['SellerFulfillmentID']}"
    return Effect(ENTITY, "create", row["key"], name, row["content_hash"])


def _report(runtime: Runtime, portion: Sequence[_Row]) -> list[Answer]:
    results = runtime.channel_advisor.report_shipments([msgspec.Raw(body) for _, body in portion])
    return [_answer(row, body, one) for (row, body), one in zip(portion, results, strict=True)]


def _answer(row: Mapping[str, Any], body: bytes, one: Reported) -> Answer:
    """Makes the outcome of a report: taken, refused, or not decided yet."""
    target = None if one.shipment is None else str(one.shipment["ShipmentID"])
    if isinstance(one.error, RecordRejected):
        return Answer(one.status, target, reasons(one.error, do=ADVICE, target="Channel Advisor"))
    if one.shipment is None:
        return Answer(one.status, error=one.error or not_taken(1, 1, "shipments"))
    if _units(one.shipment["Items"]) == _units(msgspec.json.decode(body)["Items"]):
        return Answer(one.status, target)
    reason = {
        "field": "SellerFulfillmentID", "rule": "reported_differently", "line": "",
        "value": row["SellerFulfillmentID"],
        "says": "Channel Advisor has another shipment of this order under the same number, with other units.",
        "do": "Compare both shipments; report this one on the channel by hand, then dismiss it.",
    }  # fmt: skip
    return Answer(one.status, target, [reason])


def _units(items: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    return {int(item["OrderItemID"]): int(item["Quantity"]) for item in items}


def _link(batch: sa.Row, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    return {
        "entity": ENTITY,
        "source_key": row["key"],
        "target_id": answer.target,
        "content_hash": row["content_hash"],
        "version": row["version"],
        "batch_id": batch.id,
    }
