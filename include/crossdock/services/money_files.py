"""What the pages of a month show, as CSV files: trial balance, open items, payouts, the lines of one, profit.

In: the person, the month, the filter of the page. Out: the text of the file, line by line, however long it is; amounts
as plain decimals, moments in UTC; that it was taken stands in the audit log. Never: a cell that a spreadsheet executes;
another figure than the page has.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crossdock.ledger.close import span
from crossdock.safe import cell
from crossdock.services import money, open_items
from crossdock.services.open_items import OpenFilter
from crossdock.services.people import Person, Right
from crossdock.store import audit

TAKEN, PAYOUT_TAKEN = "month file", "payout file"  # as the audit log names them
BALANCE = ("currency_code", "account", "name", "type", "before", "debit", "credit", "after")
OPEN = ("kind", "document", "order_id", "party", "days", "age", "amount", "currency_code")
PAYOUTS = (
    "source", "settlement_id", "channel", "file", "start_at", "end_at", "deposit_at", "day", "total", "lines_total",
    "currency_code", "deposit_entry", "deposited", "deposit_currency", "state", "lines", "orders", "entries",
)  # fmt: skip
LINES = ("line_no", "kind", "order_ref", "sku", "posted_at", "amount", "currency_code", "entry", "payment")
PROFIT = (
    "currency_code", "channel", "sku", "revenue", "discounts", "refunds", "cost", "fees", "other", "profit", "margin",
    "tax",
)  # fmt: skip


def taken(
    connection: sa.Connection, person: Person, period: str, what: str, only: Mapping[str, Any] | None = None
) -> str:
    """Puts on record that a file of a month is taken, and by which filter, and names it. Raises ConfigError where there
    is no such month."""
    person.require(Right.SEE)
    money.last_day(period)
    span(connection).require(period, later=True)
    name = f"{what}-{period}.csv"
    chosen = {key: value for key, value in (only or {}).items() if value}
    audit.record(connection, person.name, TAKEN, period, {"file": name, **({"only": chosen} if chosen else {})})
    return name


def payout_taken(connection: sa.Connection, person: Person, source: str, settlement_id: str, kind: str | None) -> str:
    """The same of the lines of a payout. Raises ConfigError where there is none."""
    money.payout(connection, person, source, settlement_id, limit=1)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"payout-{source}-{settlement_id}"[:120]) + ".csv"
    detail = {"file": name, **({"only": {"kind": kind}} if kind else {})}
    audit.record(connection, person.name, PAYOUT_TAKEN, f"{source}/{settlement_id}", detail)
    return name


def trial_balance(connection: sa.Connection, *, person: Person, period: str) -> Iterator[str]:
    """Debit is above 0, as on the page."""
    yield from _file(BALANCE, money.trial_balance(connection, person, period))


def items(connection: sa.Connection, *, person: Person, period: str, wanted: OpenFilter, sort: str) -> Iterator[str]:
    """The open items of a filter."""
    yield from _file(OPEN, open_items.every_item(connection, person, period, wanted, sort))


def payouts(
    connection: sa.Connection, *, person: Person, period: str, by_end: bool, source: str | None
) -> Iterator[str]:
    """The payouts that the page lists."""
    yield from _file(PAYOUTS, money.payouts(connection, person, period, by_end=by_end, source=source))


def payout_lines(
    connection: sa.Connection, *, person: Person, source: str, settlement_id: str, kind: str | None
) -> Iterator[str]:
    """The lines of a payout; of one kind, or all."""
    yield from _file(LINES, money.payout_lines(connection, person, source, settlement_id, kind))


def profit(
    connection: sa.Connection, *, person: Person, period: str, by_sku: bool, channel: str | None, in_base: bool
) -> Iterator[str]:
    """A row per channel, or per channel and SKU, the highest profit first. What takes from the profit is below 0, so
    that a row adds up from left to right, as on the page."""
    found = money.every_profit(connection, person, period, by_sku=by_sku, channel=channel, in_base=in_base)
    columns = PROFIT if by_sku else tuple(name for name in PROFIT if name != "sku")
    yield _line(columns)
    for row in found:
        yield _line([-getattr(row, name) if name in money.TAKES else getattr(row, name) for name in columns])


def _file(columns: Sequence[str], rows: Iterable[Any]) -> Iterator[str]:
    yield _line(columns)
    for row in rows:
        yield _line([getattr(row, name) for name in columns])


def _line(values: Sequence[Any]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow([_written(value) for value in values])
    return written.getvalue()


def _written(value: Any) -> Any:
    if isinstance(value, Decimal):
        places = max(2, -int(value.normalize().as_tuple().exponent)) if value else 2
        return f"{value:.{places}f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return cell(value)
