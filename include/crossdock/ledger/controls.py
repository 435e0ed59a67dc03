"""Controls of the ledger: each compares an expected with an actual value and names the documents that differ.

In: TIMS's documents and entries as they are now (read into `ref`), the settlement ledger. Out: `Control`s, kept in
ops.control. Most are queries (config/controls/*.sql) that anyone can run:

    psql -v period_end="date '2011-01-31'" -f include/config/controls/clearing.sql

Two need more than a query: every entry is worked out again from its document by the posting table and compared line by
line, and the balances of our copy are compared with TIMS's own trial balance.
Never: a correction; a control that cannot be run taken as held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.flow import SOURCE, Flow
from crossdock.flows import ledger
from crossdock.flows.ledger import DOCUMENTS
from crossdock.flows.ledger import transform as ledger_transform
from crossdock.flows.ledger.load import REVERSAL_SUFFIX, VERSION
from crossdock.mapping.frames import ROW, written
from crossdock.mapping.parse import read_documents
from crossdock.reference import tims
from crossdock.rules import accounts as account_names
from crossdock.rules import posting, posting_table
from crossdock.settings import config_dir
from crossdock.steps.extract import refresh_reference
from crossdock.store.tables import (
    ops_control,
    ref_account_name,
    ref_adjustment,
    ref_credit_memo,
    ref_gl_entry,
    ref_gl_entry_line,
    ref_invoice,
    ref_payment,
    ref_sales_order,
    stage_posting,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

NAMED = 50  # documents that one row names; the difference counts all
CHUNK = 2_000  # documents worked out at once
REFERENCE = (
    tims.COMPANY, tims.ACCOUNTS, tims.PERIODS, tims.SHIPMENTS, tims.INVOICES,
    tims.CREDIT_MEMOS, tims.ADJUSTMENTS, tims.PAYMENTS, tims.ENTRIES, tims.SALES_ORDERS,
)  # fmt: skip


COPIES = {
    "ar/invoices": ref_invoice, "ar/credit-memos": ref_credit_memo, "inventory/adjustments": ref_adjustment,
    "ar/payments": ref_payment, "sales-orders": ref_sales_order,
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """The result of one control for one subject: a currency, a source, a document."""

    name: str
    message: str
    do: str
    subject: str
    expected: str
    actual: str
    difference: Decimal | None
    documents: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> bool:
        return self.expected == self.actual and not self.documents


@dataclass(frozen=True)
class Query:
    """One file of config/controls: what must be true, what to do where it is not, and the question."""

    name: str
    message: str
    do: str
    sql: str


def refresh(runtime: Runtime, run_id: str = "", *, full_refresh: bool = False) -> None:
    """Reads what changed in TIMS since the last look (`full_refresh`: everything once more), and the names of
    accounts."""
    for master in REFERENCE:
        refresh_reference(runtime, master, run_id, full_refresh=full_refresh)
    names = account_names.load()
    with runtime.engine.begin() as connection:
        connection.execute(sa.delete(ref_account_name))
        connection.execute(
            sa.insert(ref_account_name),
            [{"name": name, "code": code} for name in names.named for code in sorted(names.codes_of(name))],
        )


def run(runtime: Runtime, period_end: date, run_id: str) -> list[Control]:
    """Runs all controls up to the last day of a period and stores them under `run_id`. Needs `refresh` first."""
    with runtime.engine.begin() as connection:
        found = [control for query in queries() for control in _ask(connection, query, period_end)]
        found += list(entries_of_documents(runtime, connection, period_end))
        found += list(_trial_balances(runtime, connection, period_end))
        _keep(connection, found, period_end, run_id)
    return found


def _keep(connection: sa.Connection, found: Sequence[Control], period_end: date, run_id: str) -> None:
    rows = [
        {
            "run_id": run_id,
            "period": f"{period_end:%Y-%m}",
            "control": one.name,
            "subject": one.subject,
            "expected": one.expected,
            "actual": one.actual,
            "difference": one.difference,
            "holds": one.holds,
            "documents": list(one.documents),
            "message": one.message,
            "do": one.do,
        }
        for one in found
    ]
    if rows:
        connection.execute(sa.insert(ops_control), rows)


# ---- queries -------------------------------------------------------------------------------------------------------


def queries(folder: Path | None = None) -> list[Query]:
    """Reads the files of config/controls. Raises ConfigError for one without its two comment lines."""
    return [_query(path) for path in sorted((folder or config_dir() / "controls").glob("*.sql"))]


def _query(path: Path) -> Query:
    text = path.read_text("utf-8")
    first, _, rest = text.partition("\n")
    second, _, sql = rest.partition("\n")
    if not first.startswith("-- ") or not second.startswith("-- do: "):
        raise ConfigError(
            f"{path}:1: a control begins with `-- what must be true` and `-- do: what a person should do`.",
            do="Write both lines.",
        )
    return Query(path.stem, first.removeprefix("-- "), second.removeprefix("-- do: "), sql)


def _ask(connection: sa.Connection, query: Query, period_end: date) -> Iterator[Control]:
    sql = query.sql.replace(":period_end", f"date '{period_end}'")  # as psql does
    for row in connection.exec_driver_sql(sql, execution_options={"no_parameters": True}):
        difference = row.actual - row.expected
        documents = tuple(row.documents or ())
        yield Control(
            query.name, query.message, query.do, str(row.subject), _number(row.expected), _number(row.actual),
            Decimal(difference), documents[:NAMED],
        )  # fmt: skip


def _number(value: Any) -> str:
    """An amount with two places, a count as it is."""
    return f"{value:.2f}" if isinstance(value, Decimal) else str(value)


# ---- entries worked out again --------------------------------------------------------------------------------------

_ENTRIES = ("entries_of_documents", "Every posted document has exactly its entries, with the right amounts.")
_LINE = ("AccountCode", "Debit", "Credit", "Channel", "SKU", "Order")


def entries_of_documents(runtime: Runtime, connection: sa.Connection, period_end: date) -> Iterator[Control]:
    """Compares every entry with its document: one row for each that is wrong, one in all where none is."""
    expected = _expected(runtime, connection)
    actual = _actual(connection)
    states = dict(connection.execute(sa.select(stage_posting.c.key, stage_posting.c.state)).all())
    right = 0
    wrong: list[Control] = []
    for key in sorted(expected.keys() | actual.keys()):
        wanted, held = expected.get(key), actual.get(key)
        if _day(wanted, held) > period_end.isoformat():
            continue
        if wanted and held and wanted.lines == held.lines and wanted.event_day == held.event_day:
            right += 1
            continue
        wrong.append(_mismatch(key, wanted, held, states))
    if right or not wrong:
        yield Control(*_ENTRIES, "", "entries", str(right), str(right), Decimal(0))
    yield from wrong


@dataclass(frozen=True)
class _Entry:
    """An entry as it should be, or as TIMS has it. `document`: key of its stage row, or id of the entry."""

    document: str
    id: str
    day: str
    event_day: str
    lines: tuple[tuple, ...]

    @property
    def size(self) -> int:
        return sum(line[2] for line in self.lines)

    def __str__(self) -> str:
        return "; ".join(
            f"{currency} {'debit' if debit else 'credit'} {code} {written(debit or credit)}"
            for currency, code, debit, credit, *_ in self.lines
        )


def _day(wanted: _Entry | None, held: _Entry | None) -> str:
    """The day that puts the entry into a period: its own, or its document's where it is missing. Where both differ, the
    earlier one, so that no period is closed over it."""
    if held and wanted and held.event_day != wanted.event_day:
        return min(held.day, wanted.event_day)
    return held.day if held else wanted.day if wanted else ""


def _mismatch(key: str, wanted: _Entry | None, held: _Entry | None, states: Mapping[str, str]) -> Control:
    if wanted is None and held is not None:
        do = "No document has this entry. Reverse it in TIMS."
        documents: tuple[str, ...] = (held.id,)
    elif held is None and wanted is not None:
        state = states.get(wanted.document, "not read")
        do = f"Its document is {state} in the ledger: see `crossdock dead-letters list`, or sync the flow."
        documents = (wanted.id,)
    else:
        do = "Work its document again (`crossdock sync ledger_... --key`): it is mirrored and the right one posted."
        documents = tuple(one.id for one in (wanted, held) if one)
    expected, actual = str(wanted or "no entry"), str(held or "no entry")
    if expected == actual:  # the amounts are equal: a dimension or the day differs
        expected, actual = (f"{one} on {one.event_day}, {one.lines}" for one in (wanted, held) if one)
    difference = Decimal((held.size if held else 0) - (wanted.size if wanted else 0)).scaleb(-4)
    return Control(*_ENTRIES, do, key, expected, actual, difference, documents)


def _expected(runtime: Runtime, connection: sa.Connection) -> dict[str, _Entry]:
    """Works out every expected entry from the documents, by key."""
    names = account_names.load()
    table = posting_table.load(names)
    company = ledger_transform.company(connection)
    found: dict[str, _Entry] = {}
    for flow in ledger.FLOWS:
        kind, find = DOCUMENTS[flow.name]
        for payloads in _documents(runtime, connection, flow):
            parsed = read_documents(payloads, flow.source.contract, flow.source.document, lines=flow.lines_path)
            facts = find(connection, parsed.frames, company)
            posted = posting.apply(table, names, kind, facts.header, facts.parts)
            keys = [flow.source.read_key(msgspec.Raw(payloads[position])).key for position in parsed.kept]
            ids = posting.fill(table.kinds[kind].id, facts.header, np.arange(len(keys))).tolist()
            found |= _grouped(posted.lines, keys, ids)
    return found


def _grouped(lines: pd.DataFrame, keys: Sequence[str], ids: Sequence[str]) -> dict[str, _Entry]:
    entries: dict[str, list[tuple]] = {}
    facts: dict[str, tuple[str, str, str, str]] = {}
    columns = [ROW, "EntryKey", "PostingDate", "EventDate", "CurrencyCode", *_LINE]
    for row, key, day, event_day, *line in lines[columns].astype(object).itertuples(index=False):
        entries.setdefault(key, []).append(_line(line))
        facts[key] = (keys[row], ids[row], day, event_day)
    return {key: _Entry(*facts[key], tuple(sorted(each))) for key, each in entries.items()}


def _line(values: Sequence[Any]) -> tuple:
    """(currency, account, debit, credit, channel, SKU, order); "" where a dimension is missing."""
    currency, code, debit, credit, *dimensions = values
    return (currency, code, int(debit), int(credit), *("" if one is None or one != one else one for one in dimensions))


def _documents(runtime: Runtime, connection: sa.Connection, flow: Flow) -> Iterator[list[bytes]]:
    """Reads the documents of a flow from TIMS (or our settlement ledger), in portions."""
    if flow.source.system == "settlement_ledger":
        rows = (bytes(record) for page in runtime.settlement_ledger.pages(flow.source.path) for record in page.records)
    else:
        table = COPIES[flow.source.path]
        query = sa.select(sa.cast(table.c.payload, sa.Text)).order_by(table.c.id)
        rows = (text.encode() for text in connection.scalars(query))
    portion: list[bytes] = []
    for row in rows:
        portion.append(row)
        if len(portion) == CHUNK:
            yield portion
            portion = []
    if portion:
        yield portion


def _actual(connection: sa.Connection) -> dict[str, _Entry]:
    """Reads every entry of ours that stands in TIMS, by the key under which it was first posted."""
    entry, line = ref_gl_entry, ref_gl_entry_line
    rows = connection.execute(
        sa.select(
            entry.c.id, entry.c.external_reference, sa.cast(entry.c.posting_date, sa.Text),
            sa.cast(sa.func.coalesce(entry.c.original_event_date, entry.c.posting_date), sa.Text),
            entry.c.currency_code, line.c.account_code, line.c.debit, line.c.credit, line.c.channel, line.c.sku,
            line.c.order_id,
        )
        .join(line, line.c.entry_id == entry.c.id)
        .where(entry.c.source == SOURCE, entry.c.status == "Posted", entry.c.reversal_of.is_(None))
    )  # fmt: skip
    lines: dict[str, list[tuple]] = {}
    facts: dict[str, tuple[str, str, str, str]] = {}
    for id, external, day, event_day, currency, code, debit, credit, *dimensions in rows:
        key = VERSION.sub("", external.removesuffix(REVERSAL_SUFFIX))
        facts[key] = (id, id, day, event_day)
        lines.setdefault(key, []).append(_line([currency, code, debit.scaleb(4), credit.scaleb(4), *dimensions]))
    return {key: _Entry(*facts[key], tuple(sorted(each))) for key, each in lines.items()}


# ---- TIMS's own trial balance --------------------------------------------------------------------------------------


def _trial_balances(runtime: Runtime, connection: sa.Connection, period_end: date) -> Iterator[Control]:
    """Compares the balances of our copy with TIMS's own, account by account; one row per currency where they agree."""
    for currency, ours in balances(connection, period_end).items():
        stated = runtime.tims.get("gl/trial-balance", AsOf=period_end.isoformat(), CurrencyCode=currency)
        theirs = {row["AccountCode"]: Decimal(row["Debit"]) - Decimal(row["Credit"]) for row in stated["Lines"]}
        off = [code for code in sorted(ours.keys() | theirs.keys()) if ours.get(code, 0) != theirs.get(code, 0)]
        do = "Entries are missing in our copy, or TIMS changed one: read all of them again, then ask TIMS's support."
        names = ("tims_trial_balance", "Our copy of the ledger has the balances of TIMS's own trial balance.", do)
        total = sum((amount for amount in ours.values() if amount > 0), Decimal("0.00"))
        if not off:
            yield Control(*names, currency, f"{total:.2f}", f"{total:.2f}", Decimal(0))
        for code in off:
            expected, actual = theirs.get(code, Decimal(0)), ours.get(code, Decimal(0))
            yield Control(*names, f"{currency} {code}", f"{expected:.2f}", f"{actual:.2f}", actual - expected, (code,))


def balances(connection: sa.Connection, period_end: date) -> dict[str, dict[str, Decimal]]:
    """{currency: {account: debit less credit}} of all entries up to a day."""
    entry, line = ref_gl_entry, ref_gl_entry_line
    rows = connection.execute(
        sa.select(
            entry.c.currency_code, line.c.account_code, sa.func.round(sa.func.sum(line.c.debit - line.c.credit), 2)
        )
        .join(line, line.c.entry_id == entry.c.id)
        .where(entry.c.posting_date <= period_end)
        .group_by(entry.c.currency_code, line.c.account_code)
        .order_by(entry.c.currency_code, line.c.account_code)
    )
    found: dict[str, dict[str, Decimal]] = {}
    for currency, code, amount in rows:
        found.setdefault(currency, {})[code] = amount
    return found
