"""Payouts: settlement files of the inbox -> our own settlement ledger (ref.settlement and its lines).

What makes it special: the target is our own database, and a file is taken whole or not at all. One whose total is not
the sum of its lines, that leaves a gap to its neighbour or overlaps with it, that was seen before, or that cannot be
read is a dead letter, and nothing of it is booked. A line that no lookup knows is booked as `unknown` and alerts.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.payouts import confirm, load, transform
from crossdock.store.tables import (
    raw_settlements,
    stage_settlement,
    stage_settlement_line,
)


class _Slots(msgspec.Struct):
    """The fields that extract reads."""

    Source: str
    File: str
    FileModifiedAt: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """Reads the key source/file name, and when the file was last written."""
    slots = _slots.decode(record)
    return RecordKey(f"{slots.Source}/{slots.File}", slots.FileModifiedAt)


PAYOUTS = Flow(
    name=transform.NAME,
    title="Payouts",
    entity="settlement",
    source=Resource(
        "inbox",
        confirm.INBOX,
        raw_settlements,
        read_key,
        "Settlement",
        overlap=timedelta(0),
        lag=timedelta(0),
        at_once=1,
        ids=("Source", "File"),
    ),
    target="settlement_ledger",
    reference=(),
    lines_path="Lines",
    stage=stage_settlement,
    stage_lines=stage_settlement_line,
    mappings=(),
    transform=transform.transform,
    suite="settlement",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    confirm=confirm.confirm,
    follows=("returns", "stock_adjustments"),
)
FLOWS = (PAYOUTS,)
