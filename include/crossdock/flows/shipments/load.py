"""What is sent, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import OutcomeUnknown, RecordRejected
from crossdock.flow import Flow
from crossdock.flows.shipments.transform import ENTITY
from crossdock.steps.load import chunked, reasons, record_outcomes
from crossdock.store import batches, deliveries
from crossdock.store.deliveries import Effect
from crossdock.systems.channel_advisor import Reported

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


ADVICE = "Correct the order on the channel or the shipment in TIMS, then replay it; dismiss it if the channel knows it."

_BODY = """
SELECT s.key, s.version, s.content_hash, s."ChannelAdvisorOrderID", s."SellerFulfillmentID",
       json_build_object('ChannelAdvisorOrderID', s."ChannelAdvisorOrderID",
         'SellerFulfillmentID', s."SellerFulfillmentID", 'ShippedDate', s."ShippedDate", 'Carrier', s."Carrier",
         'ServiceClass', s."ServiceClass", 'TrackingNumber', s."TrackingNumber", 'Items', l.items) AS body
FROM stage.channel_shipment s
JOIN LATERAL (
  SELECT json_agg(json_build_object('OrderItemID', i."OrderItemID", 'SKU', i."SKU", 'Quantity', i."Quantity")
                  ORDER BY i.position) AS items
  FROM stage.channel_shipment_line i WHERE i.key = s.key
) l ON true
WHERE s.batch_id = :batch AND s.state = 'ready'
ORDER BY s.key
"""


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Reports what is ready, a hundred at a time. A report whose answer was lost is simply sent again: the channel
    answers a repeat with the first."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(connection.execute(sa.text(_BODY), {"batch": batch_id}))
    pending = sum(_report(runtime, flow, batch, portion) for portion in chunked(rows))
    if pending:
        raise OutcomeUnknown(
            f"{pending} of {len(rows)} shipments were not taken by Channel Advisor (busy, or failing).",
            do="Nothing to do: the task is tried again, and what was taken is not taken twice.",
            system="channel_advisor",
        )


def _report(runtime: Runtime, flow: Flow, batch: sa.Row, portion: Sequence[sa.Row]) -> int:
    """One request, with its deliveries before and their outcomes after. Returns how many are still to be decided."""
    names = {row.key: f"fulfil:{row.ChannelAdvisorOrderID}:{row.SellerFulfillmentID}" for row in portion}
    with runtime.engine.begin() as connection:
        deliveries.begin(
            connection,
            flow.name,
            batch.id,
            [Effect(ENTITY, "create", row.key, names[row.key], row.content_hash) for row in portion],
        )
    results = runtime.channel_advisor.report_shipments([row.body for row in portion])
    judged = [(row, one, _refusal(row, one)) for row, one in zip(portion, results, strict=True)]
    taken = [(row, one) for row, one, refusal in judged if one.shipment is not None and not refusal]
    with runtime.engine.begin() as connection:
        deliveries.end(connection, flow.name, [_outcome(names[row.key], one, refusal) for row, one, refusal in judged])
        deliveries.link(
            connection,
            [
                {
                    "entity": ENTITY,
                    "source_key": row.key,
                    "target_id": str(one.shipment["ShipmentID"]),
                    "content_hash": row.content_hash,
                    "version": row.version,
                    "batch_id": batch.id,
                }
                for row, one in taken
                if one.shipment is not None
            ],
        )
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=[row.key for row, _ in taken],
            refused={row.key: refusal for row, _, refusal in judged if refusal},
        )
    return sum(one.shipment is None and not refusal for _, one, refusal in judged)


def _refusal(row: sa.Row, one: Reported) -> list[dict]:
    """Why a shipment was not taken for good; nothing when it was, or may yet be."""
    if isinstance(one.error, RecordRejected):
        return reasons(one.error, do=ADVICE, target="Channel Advisor")
    if one.shipment is None or _units(one.shipment["Items"]) == _units(row.body["Items"]):
        return []
    return [
        {
            "field": "SellerFulfillmentID", "rule": "reported_differently", "line": "",
            "value": row.SellerFulfillmentID,
            "says": "Channel Advisor has another shipment of this order under the same number, with other units.",
            "do": "Compare both shipments; report this one on the channel by hand, then dismiss it.",
        }
    ]  # fmt: skip


def _units(items: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    return {int(item["OrderItemID"]): int(item["Quantity"]) for item in items}


def _outcome(name: str, one: Reported, refusal: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    outcome = "rejected" if refusal else "confirmed" if one.shipment is not None else "unknown"
    return {
        "idempotency_key": name,
        "outcome": outcome,
        "status": one.status,
        "response_id": str(one.shipment["ShipmentID"]) if one.shipment is not None else None,
        "error": ", ".join(f"{each['field']} {each['rule']}".strip() for each in refusal) or None,
    }
