"""Returns: Channel Advisor's returns -> TIMS credit memos and stock adjustments; then the return is resolved there.

What makes it special: one return becomes several documents, a credit memo for each of its invoices and a stock
adjustment for what comes back of each shipment. It is delivered when all of them are in TIMS. What was posted stays: a
return that changes afterwards is a dead letter.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.returns import confirm, load, requeue, transform
from crossdock.reference import tims
from crossdock.store.tables import (
    raw_returns,
    stage_credit_memo,
    stage_credit_memo_line,
)


class _Slots(msgspec.Struct):
    ReturnID: int
    UpdatedDate: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """Reads key and version of a return."""
    slots = _slots.decode(record)
    return RecordKey(str(slots.ReturnID), slots.UpdatedDate)


RETURNS = Flow(
    name="returns",
    title="Returns",
    entity=transform.CREDIT_MEMO,
    source=Resource(
        "channel_advisor",
        "returns",
        raw_returns,
        read_key,
        "Return",
        # The contract asks for an overlap of 5 minutes or more; rows are visible at once.
        overlap=timedelta(minutes=5),
        lag=timedelta(0),
        ids=("ReturnID",),
        own=("UpdatedDate", "RefundDate"),
    ),
    # Children before parents: the shipments and invoices that an order refers to are read first.
    reference=(
        tims.COMPANY,
        tims.PERIODS,
        tims.ITEMS,
        tims.CREDIT_MEMOS,
        tims.INVOICES,
        tims.SHIPMENTS,
        tims.SALES_ORDERS,
    ),
    lines_path="Items",
    stage=stage_credit_memo,
    dated_by="PostingDate",
    stage_lines=stage_credit_memo_line,
    mappings=("credit_memo",),
    transform=transform.transform,
    suite="credit_memo",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    confirm=confirm.confirm,
    requeue=requeue.requeue,
    follows=("invoices",),
)
FLOWS = (RETURNS,)
