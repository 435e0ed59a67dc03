"""Stock adjustments: write-offs and movements of marketplace-held stock, from files of the inbox -> TIMS.

What makes it special: a movement is posted once under its source's own number, even if another file repeats it; one
that changes afterwards is a dead letter. A file moves to done/ once it is worked; one that cannot be read stays.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.returns.load import STOCK
from crossdock.flows.stock_adjustments import confirm, load, transform
from crossdock.reference import tims
from crossdock.store.tables import raw_movements, stage_stock_adjustment


class _Slots(msgspec.Struct):
    Source: str
    Reference: str
    FileModifiedAt: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """Reads the key source/reference, and when its file was last written."""
    slots = _slots.decode(record)
    return RecordKey(f"{slots.Source}/{slots.Reference}", slots.FileModifiedAt)


STOCK_ADJUSTMENTS = Flow(
    name=transform.NAME,
    title="Stock adjustments",
    entity=STOCK.entity,
    source=Resource(
        "inbox",
        confirm.INBOX,
        raw_movements,
        read_key,
        "StockMovement",
        overlap=timedelta(0),
        lag=timedelta(0),
        ids=("Source", "Reference"),
    ),
    reference=(tims.COMPANY, tims.PERIODS, tims.ITEMS),
    lines_path="",
    stage=stage_stock_adjustment,
    dated_by="PostingDate",
    stage_lines=None,
    mappings=("stock_adjustment",),
    transform=transform.transform,
    suite="stock_adjustment",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    confirm=confirm.confirm,
    follows=("invoices",),
)
FLOWS = (STOCK_ADJUSTMENTS,)
