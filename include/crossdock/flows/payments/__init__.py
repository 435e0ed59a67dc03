"""Payments: what settlements say of orders -> TIMS payments, applied to invoices and credit memos.

What makes it special: the source is our own books. An order's part of a settlement is matched with what is open in
TIMS, exactly or within a cent a line; what is not invoiced yet waits and wakes; what does not match is a dead letter
with the candidates, in which a person may correct the order or say what is paid. Once a payment is in TIMS it is never
matched again: a settlement that says something else afterwards is a dead letter.
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
    """What extract looks at."""

    Key: str
    BookedAt: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """source:settlement:order, and when it was booked."""
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
        # A settlement is stamped when its transaction begins and seen when it ends.
        overlap=timedelta(hours=1),
        lag=timedelta(0),
        ids=("Key",),
    ),
    # Orders before their invoices: an order that counts as invoiced has its invoices here. Payments last: a balance
    # that is older than its payment would be taken as open.
    reference=(
        tims.COMPANY, tims.PERIODS, tims.SALES_ORDERS, tims.INVOICES, tims.CREDIT_MEMOS,
        tims.PAYMENTS,
    ),
    lines_path="ApplyTo",
    stage=stage_payment,
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
