"""Money by month, for an accountant: trial balance, the ledger's lines, payouts, profit, export.

In: the person, a month (YYYY-MM). Out: amounts as the entries of TIMS have them (`ref.gl_entry_line`, and the sums that
the database keeps of its lines), to the cent and per currency. Never: a posting; a sum over several currencies that no
rate was given for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.ledger.close import LEDGER_FILES, figures, last_day, ledger_file, span
from crossdock.rules import accounts as account_names
from crossdock.rules import price_settings
from crossdock.services import closing
from crossdock.services.people import Person, Right
from crossdock.store import audit, sql
from crossdock.store.tables import (
    ref_account,
    ref_company,
    ref_gl_entry,
    ref_gl_entry_line,
    ref_ledger_day,
    ref_ledger_sku_day,
)

PAGE = 100
ALL = 2**31 - 1  # rows of a page that is everything
PORTION = 2_000  # rows of a file that are read together
MEMORY = "64MB"  # for the sums of a month's SKUs
# What profit is made of, by the names of config/accounts.yaml. Other accounts of revenue and expense are OTHER.
GROUPS: dict[str, tuple[str, ...]] = {
    "revenue": ("Revenue", "ShippingRevenue", "GiftWrap"),
    "discounts": ("Promotions",),
    "refunds": ("Returns",),
    "cost": ("COGS", "Shrinkage"),
    "fees": ("Commission", "Fulfilment", "Advertising", "Subscription", "ChargebackLoss"),
    "tax": ("SalesTax", "FacilitatorTax"),
}
OTHER = "other"
TAKES = ("discounts", "refunds", "cost", "fees")  # what takes from the profit
PROFIT = ("Revenue", "Expense")  # types of accounts that make a profit
NO_VALUE = ""  # an entry's line without a channel, or a SKU


# ---- trial balance and lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """One account in one currency: debit less credit before the month, what moved in it, and at its end."""

    currency_code: str
    account: str
    name: str
    type: str
    before: Decimal
    debit: Decimal
    credit: Decimal
    after: Decimal


@dataclass(frozen=True)
class Line:
    """One line of an entry. `document`: what to look for to see the whole life of what it belongs to."""

    entry: str
    line_no: int
    posting_date: date
    original_event_date: date | None
    document_type: str
    document: str
    description: str
    status: str
    currency_code: str
    account: str
    name: str
    debit: Decimal
    credit: Decimal
    channel: str | None
    sku: str | None
    order_id: str | None


@dataclass(frozen=True)
class Lines:
    """A page of lines by day and entry. `after`: what to ask for the next page with."""

    rows: tuple[Line, ...]
    after: str | None


@dataclass(frozen=True)
class LineFilter:
    """Which lines of a month. "" as channel or SKU: those without one; `group`: one of GROUPS, or OTHER; `document`:
    the number of an entry, of its document or of the channel's order; `text`: a part of what stands in description or
    memo; `since`: of entries that are new or changed since, by the clock of TIMS."""

    account: str | None = None
    currency: str | None = None
    channel: str | None = None
    sku: str | None = None
    group: str | None = None
    document: str | None = None
    text: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class LineSum:
    """The lines of a filter in one currency, added up."""

    currency_code: str
    lines: int
    debit: Decimal
    credit: Decimal


def trial_balance(connection: sa.Connection, person: Person, period: str) -> list[Balance]:
    """Every account with its balance before the month, its movement, and its balance at the end, per currency."""
    person.require(Right.SEE)
    until = last_day(period)
    kept = ref_ledger_day.c
    within = kept.posting_date >= until.replace(day=1)
    zero = sa.literal(Decimal("0.00"))

    def total(amount: Any, where: Any) -> Any:
        return sa.func.coalesce(sa.func.round(sa.func.sum(amount).filter(where), 2), zero)

    sums = (
        sa.select(
            kept.currency_code,
            kept.account_code,
            total(kept.debit - kept.credit, ~within).label("before"),
            total(kept.debit, within).label("debit"),
            total(kept.credit, within).label("credit"),
        )
        .where(kept.posting_date <= until)
        .group_by(kept.currency_code, kept.account_code)
        .subquery()
    )
    rows = connection.execute(
        sa.select(sums, ref_account.c.name, ref_account.c.type)
        .join(ref_account, ref_account.c.id == sums.c.account_code, isouter=True)
        .order_by(sums.c.currency_code, sums.c.account_code)
    )
    return [
        Balance(
            row.currency_code, row.account_code, row.name or "", row.type or "", row.before, row.debit, row.credit,
            row.before + row.debit - row.credit,
        )
        for row in rows
    ]  # fmt: skip


def lines(
    connection: sa.Connection, person: Person, period: str, wanted: LineFilter, *, after: str | None = None,
    limit: int = PAGE,
) -> Lines:  # fmt: skip
    """Lines of a month's entries, by day."""
    person.require(Right.SEE)
    until = last_day(period)
    entry, line = ref_gl_entry, ref_gl_entry_line
    order = (entry.c.posting_date, entry.c.id, line.c.line_no)
    where = _where(connection, until, wanted)
    if after:
        where.append(sa.tuple_(*order) > _place(after))
    rows = connection.execute(
        sa.select(
            entry, line.c.line_no, line.c.account_code, line.c.debit, line.c.credit, line.c.channel, line.c.sku,
            line.c.order_id, ref_account.c.name, entry.c.payload["Description"].astext.label("description"),
        )
        .join(line, line.c.entry_id == entry.c.id)
        .join(ref_account, ref_account.c.id == line.c.account_code, isouter=True)
        .where(*where)
        .order_by(*order)
        .limit(limit + 1)
    ).all()  # fmt: skip
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return Lines(tuple(_line(row) for row in shown), f"{last.posting_date}~{last.line_no}~{last.id}" if last else None)


def line_sums(connection: sa.Connection, person: Person, period: str, wanted: LineFilter) -> list[LineSum]:
    """All lines of a filter, added up by currency: from the sums of days where they can tell."""
    person.require(Right.SEE)
    until = last_day(period)
    if wanted.document is None and wanted.text is None and wanted.since is None:
        kept = (ref_ledger_day if wanted.sku is None else ref_ledger_sku_day).c
        source = sa.select(kept.currency_code, kept.lines, kept.debit, kept.credit)
        found = source.where(*_where_kept(connection, until, wanted)).subquery().c
        lines: sa.ColumnElement[int] = sa.cast(sa.func.sum(found.lines), sa.BigInteger)
    else:
        entry, line = ref_gl_entry.c, ref_gl_entry_line.c
        source = sa.select(entry.currency_code, line.debit, line.credit).join(
            ref_gl_entry_line, line.entry_id == entry.id
        )
        found = source.where(*_where(connection, until, wanted)).subquery().c
        lines = sa.func.count()
    rows = connection.execute(
        sa.select(
            found.currency_code, lines, sa.func.round(sa.func.sum(found.debit), 2),
            sa.func.round(sa.func.sum(found.credit), 2),
        )
        .group_by(found.currency_code)
        .order_by(found.currency_code)
    )  # fmt: skip
    return [LineSum(*row) for row in rows]


def _where_kept(connection: sa.Connection, until: date, wanted: LineFilter) -> list[sa.ColumnElement[bool]]:
    """The same as `_where`, of the sums that are kept."""
    kept = (ref_ledger_day if wanted.sku is None else ref_ledger_sku_day).c
    where: list[sa.ColumnElement[bool]] = [kept.posting_date.between(until.replace(day=1), until)]
    if wanted.sku is not None:
        where += [kept.month == until.replace(day=1), kept.sku == sa.func.ref.brief(wanted.sku)]
    for column, value in ((kept.account_code, wanted.account), (kept.currency_code, wanted.currency)):
        if value is not None:
            where.append(column == value)
    if wanted.channel is not None:
        where.append(kept.channel == sa.func.ref.brief(wanted.channel))
    if wanted.group is not None:
        where.append(kept.account_code == sa.any_(_accounts_of(connection, wanted.group)))
    return where


def accounts(connection: sa.Connection, person: Person) -> list[tuple[str, str]]:
    """(code, name) of every account."""
    person.require(Right.SEE)
    rows = connection.execute(sa.select(ref_account.c.id, ref_account.c.name).order_by(ref_account.c.id))
    return [(row.id, row.name) for row in rows]


LETTERS = 3  # that an index of texts needs
FEW = 1_000  # entries that are asked for by number
_TEXTS = (ref_gl_entry.c.payload["Description"].astext, ref_gl_entry_line.c.memo)


def _where(connection: sa.Connection, until: date, wanted: LineFilter) -> list[sa.ColumnElement[bool]]:
    entry, line = ref_gl_entry, ref_gl_entry_line
    where: list[sa.ColumnElement[bool]] = [entry.c.posting_date.between(until.replace(day=1), until)]
    for column, value in (
        (line.c.account_code, wanted.account), (entry.c.currency_code, wanted.currency),
        (line.c.channel, wanted.channel), (line.c.sku, wanted.sku),
    ):  # fmt: skip
        if value is not None:
            where.append(sa.func.coalesce(column, NO_VALUE) == value if value == NO_VALUE else column == value)
    if wanted.group is not None:
        where.append(line.c.account_code == sa.any_(_accounts_of(connection, wanted.group)))
    if wanted.document is not None:
        numbers = (entry.c.document_id, entry.c.id, entry.c.external_reference)
        named = [sa.select(entry.c.id).where(column == wanted.document) for column in numbers]
        ordered = sa.select(line.c.entry_id).where(line.c.order_id == wanted.document)
        where.append(entry.c.id.in_(sa.union(*named, ordered).subquery().select()))
        numbers_of_line = (*numbers, line.c.order_id)
        where.append(sa.or_(*(column == wanted.document for column in numbers_of_line)))
    if wanted.text is not None:
        where.append(sa.or_(*(column.icontains(wanted.text, autoescape=True) for column in _TEXTS)))
        if (few := _few_with(connection, wanted.text)) is not None:
            where.append(entry.c.id == sa.any_(sa.cast(few, sa.ARRAY(sa.Text))))
    if wanted.since is not None:
        where.append(entry.c.version > wanted.since)
    return where


def _few_with(connection: sa.Connection, words: str) -> list[str] | None:
    """The entries that have these words, found by the indexes of texts. None where there are many, or no such index
    can tell: then the lines of a month are read by day, and the first page of many is soon full."""
    indexed = sa.func.to_regclass("ref.ix_gl_entry_line_memo").is_not(None)
    if len(words) < LETTERS or not connection.scalar(sa.select(indexed)):
        return None
    found: set[str] = set()
    for column, number in zip(_TEXTS, (ref_gl_entry.c.id, ref_gl_entry_line.c.entry_id), strict=True):
        some = sa.select(number).where(column.icontains(words, autoescape=True)).limit(FEW + 1)
        found.update(connection.scalars(some))
    return sorted(found) if len(found) <= FEW else None


def _accounts_of(connection: sa.Connection, wanted: str) -> sa.ColumnElement[Any]:
    if wanted not in (names := (*GROUPS, OTHER)):
        raise ConfigError(f"There is no group {wanted[:60]!r}.", do=f"Take one of {', '.join(names)}.")
    codes = [code for code, group in _groups(connection).items() if group == wanted]
    return sa.cast(codes, sa.ARRAY(sa.Text))


def _line(row: sa.Row) -> Line:
    return Line(
        row.id, row.line_no, row.posting_date, row.original_event_date, row.document_type, row.document_id,
        row.description or "", row.status, row.currency_code, row.account_code, row.name or "", row.debit, row.credit,
        row.channel, row.sku, row.order_id,
    )  # fmt: skip


def _place(after: str) -> tuple[date, str, int]:
    try:
        day, number, entry = after.split("~", 2)
        return date.fromisoformat(day), entry, int(number)
    except ValueError as error:
        raise ConfigError(f"{after[:60]!r} is no place in the list.", do="Begin at the top of the list.") from error


# ---- payouts -------------------------------------------------------------------------------------------------------

_PAYOUTS = sql.statement(__package__, "payouts")
_PAYOUT_LINES = sql.statement(__package__, "payout_lines")
_PAYOUT_KINDS = sql.statement(__package__, "payout_kinds")


@dataclass(frozen=True)
class Payout:
    """One settlement: what the file says (`total`), what its lines add up to, what was booked on the bank account
    (`deposited`, its own currency where the bank received another one), and how many lines, orders and entries it has.
    `ties`: it all agrees."""

    source: str
    settlement_id: str
    channel: str
    file: str
    currency_code: str
    start_at: datetime | None
    end_at: datetime | None
    deposit_at: datetime | None
    day: date | None
    total: Decimal
    lines: int
    lines_total: Decimal
    orders: int
    entries: int
    deposit_entry: str | None
    deposited: Decimal | None
    deposit_currency: str | None

    @property
    def state(self) -> str:
        """ties, waits (its entry is not posted yet) or differs."""
        if self.lines_total != self.total:
            return "differs"
        if self.total <= 0:
            return "ties" if self.deposited is None else "differs"
        if self.deposited is None:
            return "waits"
        return "ties" if self.deposit_currency != self.currency_code or self.deposited == self.total else "differs"


@dataclass(frozen=True)
class PayoutKind:
    """Lines of one kind in a settlement."""

    kind: str
    lines: int
    amount: Decimal


@dataclass(frozen=True)
class PayoutLine:
    """One line of a settlement. `entry`: the journal entry that it made; `payment`: the payment of TIMS by which an
    order's own money was applied."""

    position: int
    line_no: str
    kind: str
    order_ref: str | None
    sku: str | None
    posted_at: datetime
    amount: Decimal
    currency_code: str
    entry: str | None
    payment: str | None


@dataclass(frozen=True)
class PayoutPage:
    payout: Payout
    kinds: tuple[PayoutKind, ...]
    rows: tuple[PayoutLine, ...]
    after: int | None


def payouts(
    connection: sa.Connection, person: Person, period: str, *, by_end: bool = False, source: str | None = None
) -> list[Payout]:
    """The settlements of a month: those paid out in it, or that ended in it where nothing was paid. `by_end`: those
    that ended in it, whenever they were paid out. Of one `source`: all until the end of the month, the newest first,
    for what it owes is carried from one to the next."""
    person.require(Right.SEE)
    until = last_day(period)
    first = date.min if source else until.replace(day=1)
    found = _payouts(connection, first=first, until=until, by_end=by_end, source=source)
    return found[::-1] if source else found


def payout(
    connection: sa.Connection, person: Person, source: str, settlement_id: str, *, kind: str | None = None,
    after: int | None = None, limit: int = PAGE,
) -> PayoutPage:  # fmt: skip
    """One settlement with its lines. Raises ConfigError where there is none."""
    person.require(Right.SEE)
    given = {"source": source, "settlement_id": settlement_id}
    found = _payouts(connection, **given)
    if not found:
        raise ConfigError("There is no such settlement.", do="Choose one from the payouts of a month.")
    kinds = tuple(PayoutKind(*row) for row in connection.execute(_PAYOUT_KINDS, given))
    facts = {**given, "kind": kind, "after": -1 if after is None else after, "most": limit + 1}
    rows = connection.execute(_PAYOUT_LINES, facts).all()
    shown = tuple(PayoutLine(*row) for row in rows[:limit])
    return PayoutPage(found[0], kinds, shown, shown[-1].position if len(rows) > limit else None)


def payout_lines(
    connection: sa.Connection, person: Person, source: str, settlement_id: str, kind: str | None = None
) -> Iterator[PayoutLine]:
    """All lines of a settlement, however many, read a portion at a time."""
    person.require(Right.SEE)
    facts = {"source": source, "settlement_id": settlement_id, "kind": kind, "after": -1, "most": ALL}
    for row in connection.execute(_PAYOUT_LINES, facts, execution_options={"yield_per": PORTION}):
        yield PayoutLine(*row)


def _payouts(connection: sa.Connection, **given: Any) -> list[Payout]:
    bank = _codes("Bank")
    facts = {"first": None, "until": None, "by_end": False, "source": None, "settlement_id": None, "bank": bank}
    return [Payout(*row) for row in connection.execute(_PAYOUTS, {**facts, **given})]


def _codes(*names: str) -> list[str]:
    """The codes that accounts may have, by their names in the posting table."""
    read = account_names.load()
    return sorted(code for name in names if name in read.named for code in read.codes_of(name))


# ---- profit --------------------------------------------------------------------------------------------------------

_PROFIT = sql.statement(__package__, "profit")
_PROFIT_OF_SKUS = sql.statement(__package__, "profit_of_skus")
_WITHOUT_RATE = sql.statement(__package__, "without_rate")


@dataclass(frozen=True)
class Profit:
    """What a channel, or a SKU of it, has earned, in one currency. Discounts, refunds, cost and fees are above 0 where
    they take from it; `other`: all further accounts of revenue and expense. `tax` is no part of `profit`."""

    currency_code: str
    channel: str
    sku: str
    revenue: Decimal
    discounts: Decimal
    refunds: Decimal
    cost: Decimal
    fees: Decimal
    other: Decimal
    profit: Decimal
    tax: Decimal

    @property
    def margin(self) -> Decimal | None:
        """Profit in percent of what was sold after discounts and refunds."""
        sold = self.revenue - self.discounts - self.refunds
        return (self.profit / sold * 100).quantize(Decimal("0.1")) if sold > 0 else None


@dataclass(frozen=True)
class Profits:
    """A page of profits, the highest first, with totals by currency: sums of channels, also where rows are of SKUs, so
    that both say the same of a month. `without_rate`: (currency, lines) left out for want of a rate; `base`: the
    company's currency."""

    rows: tuple[Profit, ...]
    totals: tuple[Profit, ...]
    after: str | None
    base: str
    in_base: bool
    without_rate: tuple[tuple[str, int], ...]


def profit(
    connection: sa.Connection,
    person: Person,
    period: str,
    *,
    by_sku: bool = False,
    channel: str | None = None,
    in_base: bool = False,
    after: str | None = None,
    limit: int = PAGE,
) -> Profits:
    """Profit of a month by channel, or by channel and SKU, from the sums of its lines: each currency apart, or all in
    the base currency by `lookups/exchange_rates.csv` and the day of each entry, rounded where a row is added up."""
    person.require(Right.SEE)
    facts = _profit_facts(connection, period, channel, in_base)
    page = {"most": limit + 1, "beyond": after is not None, **_profit_place(after)}
    by_channel = connection.execute(_PROFIT, {**facts, **page}).all()
    totals = tuple(_profit(row) for row in by_channel if row.is_total)
    found = [row for row in by_channel if not row.is_total]
    if by_sku:
        connection.execute(sa.select(sa.func.set_config("work_mem", MEMORY, True)))
        found = list(connection.execute(_PROFIT_OF_SKUS, {**facts, **page}))
    shown, more = found[:limit], None
    if len(found) > limit:
        more = "~".join((str(shown[-1].place), shown[-1].currency_code, shown[-1].sku, shown[-1].channel))
    missing = connection.execute(_WITHOUT_RATE, facts) if in_base else ()
    return Profits(
        tuple(_profit(row) for row in shown), totals, more, facts["base"], in_base,
        tuple((row.currency_code, row.lines) for row in missing),
    )  # fmt: skip


def every_profit(
    connection: sa.Connection, person: Person, period: str, *, by_sku: bool, channel: str | None, in_base: bool
) -> Iterator[Profit]:
    """All rows of `profit`, however many, read a portion at a time."""
    person.require(Right.SEE)
    facts = _profit_facts(connection, period, channel, in_base)
    facts |= {"most": ALL, "beyond": False, **_profit_place(None)}
    if by_sku:
        connection.execute(sa.select(sa.func.set_config("work_mem", MEMORY, True)))
        found = connection.execute(_PROFIT_OF_SKUS, facts, execution_options={"yield_per": PORTION})
        yield from map(_profit, found)
    else:
        yield from (_profit(row) for row in connection.execute(_PROFIT, facts) if not row.is_total)


def _profit_facts(connection: sa.Connection, period: str, channel: str | None, in_base: bool) -> dict[str, Any]:
    """What the statements of profit are given."""
    until = last_day(period)
    base = connection.scalar(sa.select(ref_company.c.base_currency).limit(1)) or ""
    groups = _groups(connection)
    rates = _rates(base) if in_base else []
    return {
        "first": until.replace(day=1), "until": until, "codes": list(groups), "groups": list(groups.values()),
        "channel": channel, "in_base": in_base, "base": base,
        "currencies": [one[0] for one in rates], "starts": [one[1] for one in rates],
        "ends": [one[2] for one in rates], "rates": [one[3] for one in rates],
    }  # fmt: skip


def _profit(row: sa.Row) -> Profit:
    return Profit(
        row.currency_code, row.channel, row.sku, row.revenue, row.discounts, row.refunds, row.cost, row.fees, row.other,
        row.profit, row.tax,
    )  # fmt: skip


def _profit_place(after: str | None) -> dict[str, Any]:
    try:
        amount, currency, sku, channel = (after or "0~~~").split("~", 3)
        return {"last": Decimal(amount), "last_currency": currency, "last_sku": sku, "last_channel": channel}
    except (ValueError, ArithmeticError) as error:
        raise ConfigError("This is no place in the list.", do="Begin at the top of the list.") from error


def _groups(connection: sa.Connection) -> dict[str, str]:
    """{code: group} of all accounts that are looked at: by name, and the other ones of revenue and expense."""
    chart = connection.execute(sa.select(ref_account.c.id).where(ref_account.c.type.in_(PROFIT)))
    found = dict.fromkeys(chart.scalars(), OTHER)
    for group, names in GROUPS.items():
        found |= dict.fromkeys(_codes(*names), group)
    return found


def _rates(base: str) -> list[tuple[str, date, date, Decimal]]:
    """(currency, first day, last day, worth of one unit) of every row of the lookup, and of the base currency."""
    found = [(base, date.min, date.max, Decimal(1))]
    by_currency: dict[str, list[tuple[date, Decimal]]] = {}
    for row in price_settings.read_rates().rows.values():
        day = date.fromisoformat(row["from"])
        by_currency.setdefault(row["currency"], []).append((day, Decimal(row["rate"])))
    for currency, rows in by_currency.items():
        rows.sort()
        ends = [date.fromordinal(start.toordinal() - 1) for start, _ in rows[1:]] + [date.max]
        found += [(currency, start, end, rate) for (start, rate), end in zip(rows, ends, strict=True)]
    return found


# ---- export --------------------------------------------------------------------------------------------------------


def exported(connection: sa.Connection, person: Person, period: str, kind: str) -> str:
    """Puts on record that the ledger of a month is taken as a file, and names it."""
    person.require(Right.SEE)
    last_day(period)
    if kind not in LEDGER_FILES:
        raise ConfigError(f"There is no file {kind[:20]!r}.", do="Take csv or beancount.")
    span(connection).require(period, later=True)
    name = f"ledger-{period}.{kind}"
    note_export(connection, person.name, period, name)
    return name


def note_export(connection: sa.Connection, who: str, period: str, file: str) -> None:
    """Puts on record that somebody took the ledger of a month, and which books it holds."""
    detail = {"file": file, "figures": figures(connection, [period])[period]}
    audit.record(connection, who, closing.EXPORTED, period, detail)


def export(connection: sa.Connection, person: Person, period: str, kind: str) -> Iterator[str]:
    """The text of that file, piece by piece: `csv`, a row per line, safe for spreadsheets; `beancount`, a journal."""
    person.require(Right.SEE)
    return ledger_file(connection, period, kind)
