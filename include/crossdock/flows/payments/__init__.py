"""Payments: what settlements say of orders -> TIMS payments, applied to invoices and credit memos.

What makes it special: the source is our own settlement ledger. An order's part of a settlement is matched with the open
documents in TIMS, exactly or within a cent a line. A part that is not invoiced yet waits; one that does not match is a
dead letter with the candidates, in which a person may correct the order or say what is paid. A payment in TIMS is never
matched again: if its settlement is corrected afterwards, that is a dead letter.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.payments import confirm, load, requeue, transform
from crossdock.reference import tims
from crossdock.store.tables import (
    raw_settlement_orders,
    stage_payment,
    stage_payment_application,
)


class _Slots(msgspec.Struct):
    """The fields that extract reads."""

    Key: str
    BookedAt: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """Reads the key source:settlement:order, and when it was booked."""
    slots = _slots.decode(record)
    return RecordKey(slots.Key, slots.BookedAt)


PAYMENTS = Flow(
    name="payments",
    title="Payments",
    entity="payment",
    source=Resource(
        "settlement_ledger",
        "settlement_orders",
        raw_settlement_orders,
        read_key,
        "SettlementOrder",
        # A settlement is stamped when its transaction begins, and visible when it ends.
        overlap=timedelta(hours=1),
        lag=timedelta(0),
        ids=("Key",),
    ),
    # Orders before their invoices: the invoices of an order that reads as invoiced are here then. Payments last: a
    # balance read before its payment would count as open.
    reference=(
        tims.COMPANY, tims.PERIODS, tims.SALES_ORDERS, tims.INVOICES, tims.CREDIT_MEMOS,
        tims.PAYMENTS,
    ),
    lines_path="ApplyTo",
    stage=stage_payment,
    dated_by="PostingDate",
    stage_lines=stage_payment_application,
    mappings=("payment",),
    transform=transform.transform,
    suite="payment",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    confirm=confirm.confirm,
    requeue=requeue.requeue,
    follows=("payouts",),
)  # fmt: skip

FLOWS = (PAYMENTS,)
