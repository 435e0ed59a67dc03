"""The close of a period: trial balance, controls, open items by age, and the ledger as files.

In: a period. Out: a `Closing`; its ledger as CSV and as a plain-text journal that beancount takes, if a folder is
given; an alert for each control that does not hold. Never: a posting; a period closed in TIMS (a person does that, once
all controls hold).
"""

from __future__ import annotations

import csv
import io
import re
import time
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.errors import ConfigError
from crossdock.ledger import controls
from crossdock.ledger.controls import Control
from crossdock.rules.settlements import ORDERS_OWN
from crossdock.safe import cell, safe
from crossdock.store import alerts, database, raw, sql
from crossdock.store.tables import ops_closing, ops_open_item, ref_account, ref_gl_entry

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

READ_LAG = 2.5  # seconds after which TIMS shows what was posted last (two, by its contract)
AGES = ((30, "0-30"), (60, "31-60"), (90, "61-90"))
OLDER = "over 90"
PORTION = 2_000  # lines of a file that are read together
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
    """Open items of one kind, currency and age: how many, and their sum."""

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
    """The last day of a period. Raises ConfigError where the text is not a period."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", period) or period < "0001":
        raise ConfigError(f"{period!r} is no period.", do="Write a month as YYYY-MM, for example 2011-01.")
    year, month = int(period[:4]), int(period[5:])
    return date(year, month, monthrange(year, month)[1])


class Span(NamedTuple):
    """The months that are there. `first`: the first one with an entry or a settlement, or the one before `present`
    where there is none; `last`: `present`, or the month of an entry that lies ahead of it."""

    first: str
    present: str
    last: str

    def require(self, period: str, *, later: bool = False) -> None:
        """Raises ConfigError for a month before the first and for one that has not begun; `later`: for one after the
        last."""
        until = self.last if later else self.present
        if period < self.first:
            why = f"The books begin in {self.first}"
        elif period > until:
            why = f"It is {self.present} now"
        else:
            return
        months = f"{self.first} to {until}" if self.first < until else until
        raise ConfigError(f"There is no month {period} to look at or to close. {why}.", do=f"Take {months}.")


_SPAN = sql.statement(__package__, "span")


def span(connection: sa.Connection, now: datetime | None = None) -> Span:
    """The months that are there. `now`: what TIMS's clock says; without it, what it must say by the last read of it."""
    found = connection.execute(_SPAN, {"now": now}).one()
    return Span(found.first, found.present, found.last)


def require_month(runtime: Runtime, period: str) -> None:
    """Raises ConfigError where `period` is none, has not begun by TIMS's clock, or lies before all books: the last only
    where books were read before, for a close reads them."""
    last_day(period)
    now = runtime.tims.server_time()
    with runtime.engine.connect() as connection:
        found = span(connection, now)
        read = connection.scalar(sa.select(sa.exists().select_from(ref_gl_entry)))
    (found if read else found._replace(first=min(period, found.first))).require(period)


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

    `export` is a folder for the ledger of the period. Raises ConfigError where `period` is not one.
    """
    until = last_day(period)
    run = run_id or f"close:{period}:{time.time_ns()}"
    time.sleep(READ_LAG if wait is None else wait)  # until TIMS shows what was posted last
    controls.refresh(runtime, run, full_refresh=full_refresh)
    held = controls.run(runtime, until, run)
    with runtime.engine.begin() as connection:
        items = _items(connection, until)
        closing = Closing(period, _trial_balance(connection, until), held, _by_age(items))
        _keep(connection, run, closing, items)
        if export:
            closing.files = [str(path) for path in _export(connection, period, export)]
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


_OPEN_ITEMS = sql.statement(__package__, "open_items")
_EXCEPTIONS = sql.statement(__package__, "exceptions")


class _Item(NamedTuple):
    """One open item. `days`: its age on the last day of the period."""

    kind: str
    currency: str
    days: int
    amount: Decimal
    document: str
    party: str = ""
    order_id: str = ""

    @property
    def age(self) -> str:
        return next((name for most, name in AGES if self.days <= most), OLDER)


def _items(connection: sa.Connection, until: date) -> list[_Item]:
    """The open items by kind and currency, the oldest first."""
    found = [_Item(*row) for row in connection.execute(_OPEN_ITEMS, {"until": until, "own": list(ORDERS_OWN)})]
    found += [_Item(row.kind, "", row.days, Decimal(0), row.document) for row in connection.execute(_EXCEPTIONS)]
    return sorted(found, key=lambda one: (one.kind, one.currency, -one.days, one.document))


def _digest(items: Sequence[_Item]) -> str:
    """All open items as a digest; "" where nothing is open."""
    text = "\n".join(f"{one.kind}|{one.currency}|{one.document}|{one.amount}" for one in items)
    return raw.digest(text.encode()) if items else ""


def _by_age(items: Sequence[_Item]) -> list[OpenItem]:
    found: dict[tuple[str, str, str], tuple[int, Decimal]] = {}
    for one in items:
        count, total = found.get((one.kind, one.currency, one.age), (0, Decimal(0)))
        found[one.kind, one.currency, one.age] = count + 1, total + one.amount
    return [OpenItem(*key, *found[key]) for key in sorted(found)]


_FIGURES = sql.statement(__package__, "figures")
# Of what a digest is made of; it stands before each. Raise it with every change of figures.sql: then what was kept
# before is told apart from books that have changed. Those of before it was kept have none.
FIGURES_VERSION = "2"


def figures(connection: sa.Connection, periods: Sequence[str]) -> dict[str, str]:
    """The books up to the end of each month as a digest, which changes with every posting into that month or one before
    it, behind its version; "" where there are no lines yet."""
    rows = connection.execute(_FIGURES, {"periods": list(periods)})
    found = {row.period: f"{FIGURES_VERSION}:{row.digest}" for row in rows}
    return {period: found.get(period, "") for period in periods}


def same_books(kept: str | None, now: str) -> bool:
    """Whether a digest that was kept is that of the books as they are now."""
    return kept == now or (bool(kept) and now == f"{FIGURES_VERSION}:{kept}")


def figures_version(kept: str) -> str:
    """The version of a digest; "" of one of before it was kept."""
    return kept.partition(":")[0] if ":" in kept else ""


def _keep(connection: sa.Connection, run: str, closing: Closing, items: Sequence[_Item]) -> None:
    """Keeps that the period was looked at, and its open items in place of those of the close before."""
    found = {
        "finished_at": sa.func.now(),
        "controls": len(closing.controls),
        "failed": len(closing.failed),
        "figures": figures(connection, [closing.period])[closing.period],
        "items": _digest(items),
    }
    connection.execute(
        insert(ops_closing)
        .values(period=closing.period, run_id=run, **found)
        .on_conflict_do_update(index_elements=["run_id", "period"], set_=found)
    )
    connection.execute(sa.delete(ops_open_item).where(ops_open_item.c.period == closing.period))
    rows = [
        {"period": closing.period, "position": position, "kind": one.kind, "currency_code": one.currency,
         "document": one.document, "days": one.days, "age": one.age, "amount": one.amount, "party": one.party,
         "order_id": one.order_id}
        for position, one in enumerate(items)
    ]  # fmt: skip
    if rows:
        connection.execute(database.insert_all(ops_open_item, rows))


# ---- the ledger as files -------------------------------------------------------------------------------------------

_LINES = sql.statement(__package__, "entry_lines")
_CSV = (
    "entry", "key", "posting_date", "original_event_date", "period", "document_type", "document_id", "status",
    "reversal_of", "description", "currency_code", "line_no", "account_code", "account", "debit", "credit", "channel",
    "sku", "order_id",
)  # fmt: skip


def _export(connection: sa.Connection, period: str, folder: Path) -> Iterator[Path]:
    """The entries of the period: a row per line, and a journal."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in LEDGER_FILES:
        path = folder / f"ledger-{period}.{kind}"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(ledger_file(connection, period, kind))
        yield path


def ledger_file(connection: sa.Connection, period: str, kind: str) -> Iterator[str]:
    """The entries of the period as the text of a file, piece by piece, however many there are: `csv`, a row per line,
    or `beancount`, a journal. Within a transaction."""
    until = last_day(period)
    return LEDGER_FILES[kind](connection, period, until)


def _lines(connection: sa.Connection, until: date) -> Iterator[sa.Row]:
    """The lines of a period's entries, by day and entry, read a portion at a time."""
    given = {"first": until.replace(day=1), "until": until}
    yield from connection.execute(_LINES, given, execution_options={"yield_per": PORTION})


def _table(connection: sa.Connection, period: str, until: date) -> Iterator[str]:
    yield _row(_CSV)
    for line in _lines(connection, until):
        facts = line._mapping
        yield _row([f"{value:.2f}" if isinstance(value := facts[n], Decimal) else cell(value) for n in _CSV])


def _row(values: Sequence[str]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(values)
    return written.getvalue()


def _journal(connection: sa.Connection, period: str, until: date) -> Iterator[str]:
    for line in _journal_lines(connection, period, until):
        yield line + "\n"


def _journal_lines(connection: sa.Connection, period: str, until: date) -> Iterator[str]:
    """The journal. It begins with the balances before the period and ends with assertions of those at its end."""
    first = until.replace(day=1)
    chart = {row.id: row for row in connection.execute(sa.select(ref_account).order_by(ref_account.c.id))}
    names = {code: _account(code, row.name, row.type) for code, row in chart.items()}
    day = ref_gl_entry.c
    traded = sa.select(day.currency_code).where(day.posting_date.between(first, until)).distinct()
    yield f'option "title" "Ledger of {period}"'
    for currency in sorted(connection.scalars(traded)) or ["USD"]:
        yield f'option "operating_currency" "{currency}"'
    yield ""
    for name in names.values():
        yield f"{first} open {name}"
    for currency, amounts in controls.balances(connection, _day_before(first)).items():
        yield f'\n{first} * "Balances before {period}"'
        yield from (f"  {names[code]}  {amount:.2f} {currency}" for code, amount in amounts.items() if amount)
    entry = None
    for line in _lines(connection, until):
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


LEDGER_FILES: dict[str, Callable[[sa.Connection, str, date], Iterator[str]]] = {"csv": _table, "beancount": _journal}


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
