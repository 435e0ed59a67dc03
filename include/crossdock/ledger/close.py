"""The close of a period: trial balance, controls, open items by age, and the ledger as files.

In: a period. Out: a `Closing`; its ledger as CSV and as a plain-text journal that beancount takes, if a folder is
given; an alert for each control that does not hold. Never: a posting; a period closed in TIMS (a person does that, once
all controls hold).
"""

from __future__ import annotations

import csv
import re
import time
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.ledger import controls
from crossdock.ledger.controls import Control
from crossdock.rules.settlements import ORDERS_OWN
from crossdock.safe import cell, safe
from crossdock.store import alerts
from crossdock.store.tables import ref_account

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

READ_LAG = 2.5  # seconds after which TIMS shows what was posted last (two, by its contract)
AGES = ((30, "0-30"), (60, "31-60"), (90, "61-90"))
OLDER = "over 90"
TYPES = {"Asset": "Assets", "Liability": "Liabilities", "Equity": "Equity", "Revenue": "Income", "Expense": "Expenses"}


@dataclass(frozen=True)
class Balance:
    """One line of the trial balance."""

    currency: str
    account: str
    name: str
    debit: Decimal
    credit: Decimal


@dataclass(frozen=True)
class OpenItem:
    """What is open of one kind, by currency and age."""

    kind: str
    currency: str
    age: str
    count: int
    amount: Decimal


@dataclass
class Closing:
    """What a close has found."""

    period: str
    balances: list[Balance]
    controls: list[Control]
    open_items: list[OpenItem]
    files: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Control]:
        return [one for one in self.controls if not one.holds]

    def as_dict(self) -> dict[str, Any]:
        """For programs: everything, `holds` on each control."""
        return {
            "period": self.period,
            "holds": not self.failed,
            "trial_balance": [vars(one) for one in self.balances],
            "controls": [{**vars(one), "holds": one.holds} for one in self.controls],
            "open_items": [vars(one) for one in self.open_items],
            "files": self.files,
        }


def last_day(period: str) -> date:
    """The last day of a period. Raises ConfigError where it is none."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", period) or period < "0001":
        raise ConfigError(f"{period!r} is no period.", do="Write a month as YYYY-MM, for example 2011-01.")
    year, month = int(period[:4]), int(period[5:])
    return date(year, month, monthrange(year, month)[1])


def yesterdays_period(runtime: Runtime) -> str:
    """The month of the day that has just ended, by TIMS's own clock and in the company's time zone."""
    now = runtime.tims.server_time().astimezone(ZoneInfo(runtime.tims.company()["TimeZone"]))
    return f"{now - timedelta(days=1):%Y-%m}"


def close(
    runtime: Runtime,
    period: str,
    *,
    export: Path | None = None,
    full_refresh: bool = False,
    run_id: str = "",
    wait: float | None = None,
) -> Closing:
    """Looks at a period: reads what is new in TIMS (`full_refresh`: all of it), runs the controls, raises alerts.

    `export` is a folder for the ledger of the period. Raises ConfigError for a period that is none.
    """
    until = last_day(period)
    run = run_id or f"close:{period}:{time.time_ns()}"
    time.sleep(READ_LAG if wait is None else wait)  # TIMS shows what was posted last a moment later
    controls.refresh(runtime, run, full_refresh=full_refresh)
    held = controls.run(runtime, until, run)
    with runtime.engine.begin() as connection:
        closing = Closing(period, _trial_balance(connection, until), held, _open_items(connection, until))
        if export:
            closing.files = [str(path) for path in _export(connection, period, until, export)]
        for one in closing.failed:
            alerts.raise_alert(
                connection,
                kind="control_failed",
                key=f"{period}:{one.name}:{one.subject}",
                title=f"Close of {period}: {one.name.replace('_', ' ')} does not hold ({one.subject})",
                body=f"{one.message} Expected {one.expected}, it is {one.actual}. {_named(one.documents)}{one.do}",
            )
    return closing


def _named(documents: Sequence[str]) -> str:
    return f"Look at {', '.join(documents[:10])}{' and more' if len(documents) > 10 else ''}. " if documents else ""


# ---- trial balance and open items ----------------------------------------------------------------------------------


def _trial_balance(connection: sa.Connection, until: date) -> list[Balance]:
    names = dict(connection.execute(sa.select(ref_account.c.id, ref_account.c.name)).all())
    zero = Decimal("0.00")
    return [
        Balance(currency, code, names.get(code, ""), max(amount, zero), max(-amount, zero))
        for currency, accounts in controls.balances(connection, until).items()
        for code, amount in accounts.items()
    ]


# As they were on the last day of the period: what was posted later is not looked at. All of them together are what
# Clearing is, but for entries by hand.
_OPEN_ITEMS = """
WITH payment AS (
  SELECT * FROM ref.payment WHERE posting_date <= :until
    AND (status <> 'Reversed' OR (payload->>'ReversalPostingDate')::date > :until)
), applied AS (
  SELECT coalesce(a->>'InvoiceID', a->>'CreditMemoID') AS id, sum(abs((a->>'Amount')::numeric)) AS amount
  FROM payment p CROSS JOIN LATERAL jsonb_array_elements(p.payload->'Applications') a GROUP BY 1
), posted AS (  -- the day of an entry that stands, by its key as first posted
  SELECT regexp_replace(external_reference, '[:]v[0-9]+$', '') AS key, min(posting_date) AS day
  FROM ref.gl_entry WHERE source = 'Crossdock' AND status = 'Posted' AND reversal_of IS NULL
    AND document_type = 'Settlement' GROUP BY 1
), settlement AS (
  SELECT s.*, coalesce(p.day, (coalesce(deposit_at, end_at) AT TIME ZONE c.time_zone)::date) AS day
  FROM ref.settlement s CROSS JOIN ref.company c
  LEFT JOIN posted p ON p.key = 'transfer:' || s.source || ':' || s.settlement_id
), line AS (
  SELECT l.*, coalesce(p.day, (l.posted_at AT TIME ZONE c.time_zone)::date) AS day, s.day AS paid_on,
         l.kind = ANY(:own) AS own
  FROM ref.settlement_line l JOIN settlement s USING (source, settlement_id) CROSS JOIN ref.company c
  LEFT JOIN posted p ON p.key = 'fee:' || l.source || ':' || l.settlement_id || ':' || l.line_no
), item AS (
  SELECT 'invoices' AS kind, i.currency_code, i.posting_date AS day, i.total - coalesce(a.amount, 0) AS amount
  FROM ref.invoice i LEFT JOIN applied a USING (id)
  WHERE i.status <> 'Voided' OR EXISTS (  -- voided since: its mirror went to a later period
    SELECT FROM ref.gl_entry old JOIN ref.gl_entry mirror ON mirror.reversal_of = old.id
    WHERE old.document_type = 'Invoice' AND old.document_id = i.id AND mirror.posting_date > :until)
  UNION ALL
  SELECT 'credit memos', c.currency_code, c.posting_date, coalesce(a.amount, 0) - c.total
  FROM ref.credit_memo c LEFT JOIN applied a USING (id)
  UNION ALL
  SELECT 'unapplied payments', currency_code, posting_date, -unapplied_amount FROM payment
  UNION ALL
  SELECT 'paid before shipment', e.currency_code, min(e.posting_date), sum(l.debit - l.credit)
  FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id
  JOIN ref.account_name n ON n.code = l.account_code AND n.name = 'Clearing'
  WHERE e.source = 'Crossdock' AND e.external_reference ~ '^(capture|dep):' AND e.posting_date <= :until
  GROUP BY l.order_id, e.currency_code
  UNION ALL
  SELECT 'settled, not applied yet', l.currency_code, l.paid_on, -l.amount FROM line l
  WHERE l.own AND NOT EXISTS (
    SELECT FROM payment p WHERE p.external_reference =
      'pay:' || l.source || ':' || l.settlement_id || ':' || coalesce(l.order_ref, '#' || l.line_no))
  UNION ALL
  SELECT 'settled, not paid out yet', currency_code, day, amount FROM line
  WHERE NOT own AND kind <> 'carried_forward' AND paid_on > :until
  UNION ALL
  SELECT 'carried to the next settlement', currency_code, max(day), sum(least(total, 0) - coalesce(carried.amount, 0))
  FROM settlement LEFT JOIN (
    SELECT source, settlement_id, sum(amount) AS amount FROM line WHERE kind = 'carried_forward' GROUP BY 1, 2
  ) carried USING (source, settlement_id)
  WHERE day <= :until GROUP BY source, currency_code
)
SELECT kind, currency_code, :until - day AS days, round(amount, 2) AS amount FROM item
WHERE amount <> 0 AND day <= :until
"""

_EXCEPTIONS = """
SELECT 'dead letters of ' || flow AS kind, current_date - created_at::date AS days
FROM ops.dead_letter WHERE state IN ('open', 'edited')
UNION ALL
SELECT 'waiting for the ledger', current_date - version::date FROM stage.posting WHERE state = 'waiting'
"""


def _open_items(connection: sa.Connection, until: date) -> list[OpenItem]:
    found: dict[tuple[str, str, str], tuple[int, Decimal]] = {}
    rows = [tuple(row) for row in connection.execute(sa.text(_OPEN_ITEMS), {"until": until, "own": list(ORDERS_OWN)})]
    rows += [(row.kind, "", row.days, Decimal(0)) for row in connection.execute(sa.text(_EXCEPTIONS))]
    for kind, currency, days, amount in rows:
        count, total = found.get((kind, currency, _age(days)), (0, Decimal(0)))
        found[kind, currency, _age(days)] = count + 1, total + amount
    return [OpenItem(*key, *found[key]) for key in sorted(found)]


def _age(days: int) -> str:
    return next((name for most, name in AGES if days <= most), OLDER)


# ---- the ledger as files -------------------------------------------------------------------------------------------

_LINES = """
SELECT e.id AS entry, e.external_reference AS key, e.posting_date, e.original_event_date, e.period, e.document_type,
       e.document_id, e.status, e.reversal_of, e.payload->>'Description' AS description, e.currency_code, l.line_no,
       l.account_code, a.name AS account, a.type, l.debit, l.credit, l.channel, l.sku, l.order_id
FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id LEFT JOIN ref.account a ON a.id = l.account_code
WHERE e.posting_date BETWEEN :first AND :until ORDER BY e.posting_date, e.id, l.line_no
"""
_CSV = (
    "entry", "key", "posting_date", "original_event_date", "period", "document_type", "document_id", "status",
    "reversal_of", "description", "currency_code", "line_no", "account_code", "account", "debit", "credit", "channel",
    "sku", "order_id",
)  # fmt: skip


def _export(connection: sa.Connection, period: str, until: date, folder: Path) -> Iterator[Path]:
    """The entries of the period: a row per line, and a journal."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = connection.execute(sa.text(_LINES), {"first": until.replace(day=1), "until": until}).all()
    table = folder / f"ledger-{period}.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_CSV)
        for line in lines:
            facts = line._mapping
            writer.writerow([f"{value:.2f}" if isinstance(value := facts[n], Decimal) else cell(value) for n in _CSV])
    yield table
    journal = folder / f"ledger-{period}.beancount"
    journal.write_text("\n".join(_journal(connection, period, until, lines)) + "\n", encoding="utf-8")
    yield journal


def _journal(connection: sa.Connection, period: str, until: date, lines: Sequence[sa.Row]) -> Iterator[str]:
    """The journal, with the balances before the period as its first entries and those at its end to be verified."""
    first = until.replace(day=1)
    chart = {row.id: row for row in connection.execute(sa.select(ref_account).order_by(ref_account.c.id))}
    names = {code: _account(code, row.name, row.type) for code, row in chart.items()}
    yield f'option "title" "Ledger of {period}"'
    for currency in sorted({row.currency_code for row in lines} or {"USD"}):
        yield f'option "operating_currency" "{currency}"'
    yield ""
    for name in names.values():
        yield f"{first} open {name}"
    for currency, amounts in controls.balances(connection, _day_before(first)).items():
        yield f'\n{first} * "Balances before {period}"'
        yield from (f"  {names[code]}  {amount:.2f} {currency}" for code, amount in amounts.items() if amount)
    entry = None
    for line in lines:
        if line.entry != entry:
            entry = line.entry
            yield f'\n{line.posting_date} * "{_quoted(line.description)}"'
            yield f'  entry: "{line.entry}"'
            yield f'  key: "{_quoted(line.key)}"'
            yield f'  document: "{line.document_type} {_quoted(line.document_id)}"'
        yield f"  {names[line.account_code]}  {line.debit - line.credit:.2f} {line.currency_code}"
        for name, value in (("channel", line.channel), ("sku", line.sku), ("order", line.order_id)):
            if value:
                yield f'    {name}: "{_quoted(value)}"'
    yield ""
    for currency, amounts in controls.balances(connection, until).items():
        for code, amount in amounts.items():
            yield f"{_day_after(until)} balance {names[code]}  {amount:.2f} {currency}"


def _account(code: str, name: str, kind: str) -> str:
    """An account as beancount names it: Assets:1100-Marketplace-clearing-AR."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    return f"{TYPES[kind]}:{re.sub(r'[^A-Za-z0-9-]', '-', code)}-{words}"


def _quoted(text: str) -> str:
    return safe(" ".join(text.split())).replace("\\", "\\\\").replace('"', '\\"')


def _day_before(day: date) -> date:
    return date.fromordinal(day.toordinal() - 1)


def _day_after(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)
