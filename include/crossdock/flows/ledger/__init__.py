"""Ledger: posted documents -> journal entries in TIMS, by the posting table (config/posting.yaml).

What makes it special: one document has several entries, posted means final, and the table may be corrected. A wrong
entry gets its exact mirror (its key + ":rev"), and the right one follows under a key with a version. A right entry
stays, so replaying a month posts nothing new.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.ledger import documents, load, requeue, transform
from crossdock.flows.ledger.documents import Finder
from crossdock.reference import tims
from crossdock.store.tables import (
    raw_settlement_lines,
    stage_posting,
    stage_posting_line,
)


class _Line(msgspec.Struct):
    Source: str
    SettlementID: str
    LineNo: str
    BookedAt: str


_line = msgspec.json.Decoder(_Line)


def _read_line_key(record: msgspec.Raw) -> RecordKey:
    line = _line.decode(record)
    return RecordKey(f"{line.Source}:{line.SettlementID}:{line.LineNo}", line.BookedAt)


SETTLEMENT_LINES = Resource(
    "settlement_ledger", "settlement_lines", raw_settlement_lines, _read_line_key, "SettlementLine",
    overlap=timedelta(minutes=1), lag=timedelta(seconds=2), ids=("Source", "SettlementID", "LineNo"),
)  # fmt: skip
_BASE = (tims.COMPANY, tims.ACCOUNTS, tims.PERIODS)
# Children before parents: documents that others refer to are read first.
_SOLD = (*_BASE, tims.SHIPMENTS, tims.SALES_ORDERS)


# Of each flow: the posting table's name of its documents, and the function that looks up their facts.
DOCUMENTS: dict[str, tuple[str, Finder]] = {
    "ledger_invoices": ("invoice", documents.invoices),
    "ledger_credit_memos": ("credit_memo", documents.credit_memos),
    "ledger_adjustments": ("adjustment", documents.adjustments),
    "ledger_settlements": ("settlement_line", documents.settlement_lines),
    "ledger_payments": ("payment", documents.payments),
    "ledger_captures": ("sales_order", documents.captures),
}


def _flow(
    name: str, title: str, source: Resource, needs: tuple[Resource, ...], lines: str = "", requeue: Any = None
) -> Flow:
    return Flow(
        name=name,
        title=title,
        entity="posting",
        source=source,
        reference=needs,
        also_reads=("tims.gl/entries",),
        lines_path=lines,
        stage=stage_posting,
        stage_lines=stage_posting_line,
        mappings=(),
        transform=partial(transform.transform, name, *DOCUMENTS[name]),
        suite="posting",
        enrich_for_checks=transform.enrich_for_checks,
        load=load.load,
        requeue=requeue,
        follows=("invoices", "returns", "stock_adjustments", "payouts", "payments"),
    )


INVOICES = _flow(
    "ledger_invoices", "Ledger of invoices", tims.INVOICES, _SOLD, "Lines",
    partial(requeue.waiting, need_shipment=True),
)  # fmt: skip
CREDIT_MEMOS = _flow(
    "ledger_credit_memos", "Ledger of credit memos", tims.CREDIT_MEMOS, _SOLD, "Lines",
    partial(requeue.waiting, need_shipment=False),
)  # fmt: skip
ADJUSTMENTS = _flow(
    "ledger_adjustments", "Ledger of stock adjustments", tims.ADJUSTMENTS, (*_BASE, tims.ADJUSTMENTS),
)  # fmt: skip
SETTLEMENTS = _flow("ledger_settlements", "Ledger of settlements", SETTLEMENT_LINES, _BASE)
PAYMENTS = _flow(
    "ledger_payments", "Ledger of payments", tims.PAYMENTS, (*_BASE, tims.SALES_ORDERS),
)  # fmt: skip
CAPTURES = _flow(
    "ledger_captures", "Ledger of prepaid orders", tims.SALES_ORDERS,
    (*_BASE, tims.SHIPMENTS, tims.INVOICES), "LineItems", requeue.waiting_captures,
)  # fmt: skip

FLOWS = (INVOICES, CREDIT_MEMOS, ADJUSTMENTS, SETTLEMENTS, PAYMENTS, CAPTURES)
