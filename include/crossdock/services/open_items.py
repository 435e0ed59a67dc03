"""Open items of a month: what a balance is made of, one by one, by a filter, added up and sorted.

In: the person, a month (YYYY-MM), a filter. Out: the items that the month's last close found, a page at a time by key,
their sums, and the balance of Clearing that all of them together make. Never: an item that no close has found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.ledger.close import AGES, OLDER, figures, last_day, same_books
from crossdock.services.people import Person, Right
from crossdock.store.tables import ops_closing, ref_account, ref_account_name, ref_ledger_day
from crossdock.store.tables import ops_open_item as table

PAGE = 100
LARGEST, MOST_MONEY = 2**31 - 1, 10**15  # numbers that the database can hold
PORTION = 2_000  # items of a file that are read together
ALL_AGES = (*(name for _, name in AGES), OLDER)
CARRIED = "carried to the next settlement"  # the kind (ledger/open_items.sql) whose document is a source
# What a list is sorted by: the column, and whether it falls. Items that are equal in it stand by their position.
SORTS: dict[str, tuple[sa.Column[Any], bool]] = {
    "": (table.c.position, False),
    "amount": (table.c.amount, False),
    "-amount": (table.c.amount, True),
    "days": (table.c.days, False),
    "-days": (table.c.days, True),
}


@dataclass(frozen=True)
class OpenItem:
    """One open item. `party`: the channel that owes it; `order_id`: the number of its order at the
    channel or the marketplace."""

    position: int
    kind: str
    currency_code: str
    document: str
    days: int
    age: str
    amount: Decimal
    party: str = ""
    order_id: str = ""

    @property
    def source(self) -> str:
        """The source whose settlements the item is about as a whole; "" where it is about a document."""
        return self.document if self.kind == CARRIED else ""


@dataclass(frozen=True)
class Items:
    """A page of open items. `after`: what to ask for the next page with; `was_checked`: whether a close has looked for
    them."""

    rows: tuple[OpenItem, ...]
    after: str | None
    was_checked: bool


@dataclass(frozen=True)
class OpenFilter:
    """Which items. `text`: a part of the document, of the order's number or of the party."""

    kind: str | None = None
    currency: str | None = None
    age: str | None = None
    text: str | None = None

    @property
    def is_all(self) -> bool:
        return not any(value is not None for value in vars(self).values())

    def where(self, period: str) -> list[sa.ColumnElement[bool]]:
        """Raises ConfigError for an age that is none."""
        if self.age is not None and self.age not in ALL_AGES:
            raise ConfigError(f"There is no age {self.age[:60]!r}.", do=f"Take one of {', '.join(ALL_AGES)}.")
        found = [table.c.period == period]
        columns = ((table.c.kind, self.kind), (table.c.currency_code, self.currency), (table.c.age, self.age))
        found += [column == value for column, value in columns if value is not None]
        if self.text is not None:
            texts = table.c.document + "\n" + table.c.order_id + "\n" + table.c.party
            found.append(texts.icontains(self.text, autoescape=True))
        return found


@dataclass(frozen=True)
class OpenItems:
    """Open items of a kind and currency: (age, count, amount) and their sum."""

    kind: str
    currency_code: str
    ages: tuple[tuple[str, int, Decimal], ...]
    count: int
    amount: Decimal


@dataclass(frozen=True)
class CurrencySum:
    """The items of a filter in one currency, added up. `items`: all that is open in the currency, and `balance`: what
    Clearing is at the end of the month; what the two differ by are entries by hand."""

    currency_code: str
    count: int
    amount: Decimal
    items: Decimal
    balance: Decimal

    @property
    def by_hand(self) -> Decimal:
        return self.balance - self.items


@dataclass(frozen=True)
class Sums:
    """What a filter adds up to: by currency (those with an amount), and by kind and age. `clearing`: the codes of the
    accounts that the items make the balance of, with their names; `kinds`, `all_currencies`: that the month has;
    `checked_at`: when its last close looked; `outdated`: whether the books have changed since."""

    currencies: tuple[CurrencySum, ...]
    by_age: tuple[OpenItems, ...]
    clearing: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    all_currencies: tuple[str, ...]
    checked_at: datetime | None
    outdated: bool


def items(
    connection: sa.Connection, person: Person, period: str, wanted: OpenFilter | None = None, *, sort: str = "",
    after: str | None = None, limit: int = PAGE,
) -> Items:  # fmt: skip
    """The open items of a filter, one by one: by kind and currency, the oldest first, or as one of SORTS says. Raises
    ConfigError for an age or an order that is none."""
    person.require(Right.SEE)
    last_day(period)
    found = connection.execute(_sorted(period, wanted or OpenFilter(), sort, after).limit(limit + 1)).all()
    shown = [_item(row) for row in found[:limit]]
    more = None
    if len(found) > limit:
        value = getattr(shown[-1], SORTS[sort][0].name)
        more = f"{value}~{shown[-1].position}"
    return Items(tuple(shown), more, _last_close(connection, period) is not None)


def every_item(
    connection: sa.Connection, person: Person, period: str, wanted: OpenFilter, sort: str = ""
) -> Iterator[OpenItem]:
    """All open items of a filter, however many, read a portion at a time."""
    person.require(Right.SEE)
    last_day(period)
    query = _sorted(period, wanted, sort, None)
    for row in connection.execute(query, execution_options={"yield_per": PORTION}):
        yield _item(row)


def sums(connection: sa.Connection, person: Person, period: str, wanted: OpenFilter) -> Sums:
    """What the open items of a filter add up to, beside the balance of Clearing at the end of the month."""
    person.require(Right.SEE)
    until = last_day(period)
    close = _last_close(connection, period)
    groups = _groups(connection, period, wanted)
    whole = _added_up((row.kind, row.currency_code, row.age, row.items, row.amount) for row in groups)
    chosen = _added_up((row.kind, row.currency_code, row.age, row.chosen, row.chosen_amount) for row in groups)
    accounts = clearing(connection)
    day = ref_ledger_day.c
    balances = dict(
        connection.execute(
            sa.select(day.currency_code, sa.func.round(sa.func.sum(day.debit - day.credit), 2))
            .where(day.posting_date <= until, day.account_code.in_([code for code, _ in accounts]))
            .group_by(day.currency_code)
        ).all()
    )
    zero = Decimal("0.00")
    of = {code: sum((one.amount for one in whole if one.currency_code == code), zero) for code in _currencies(whole)}
    found = {code: [one for one in chosen if one.currency_code == code] for code in _currencies(chosen)}
    shown = sorted(found.keys() | {code for code, amount in balances.items() if amount and wanted.is_all})
    return Sums(
        tuple(
            CurrencySum(
                code, sum(one.count for one in found.get(code, ())),
                sum((one.amount for one in found.get(code, ())), zero), of.get(code, zero), balances.get(code, zero),
            )
            for code in shown
        ),
        chosen, accounts, tuple(dict.fromkeys(one.kind for one in whole)),
        tuple(_currencies(whole)), None if close is None else close.finished_at,
        close is not None and not same_books(close.figures, figures(connection, [period])[period]),
    )  # fmt: skip


def clearing(connection: sa.Connection) -> tuple[tuple[str, str], ...]:
    """(code, name) of the accounts that open items make the balance of."""
    rows = connection.execute(
        sa.select(ref_account_name.c.code, sa.func.coalesce(ref_account.c.name, "").label("name"))
        .join(ref_account, ref_account.c.id == ref_account_name.c.code)
        .where(ref_account_name.c.name == "Clearing")
        .order_by(ref_account_name.c.code)
    )
    return tuple((row.code, row.name) for row in rows)


def by_age(connection: sa.Connection, period: str) -> tuple[OpenItems, ...]:
    """The open items of a month by kind, currency and age."""
    return _added_up(
        (row.kind, row.currency_code, row.age, row.items, row.amount) for row in _groups(connection, period)
    )


def _groups(connection: sa.Connection, period: str, wanted: OpenFilter | None = None) -> Sequence[sa.Row]:
    """The open items of a month by kind, currency and age: all of them, and those of a filter, in one go."""
    chosen = sa.and_(*(wanted or OpenFilter()).where(period))
    return connection.execute(
        sa.select(
            table.c.kind, table.c.currency_code, table.c.age, sa.func.count().label("items"),
            sa.func.sum(table.c.amount).label("amount"), sa.func.count().filter(chosen).label("chosen"),
            sa.func.sum(table.c.amount).filter(chosen).label("chosen_amount"), sa.func.min(table.c.days).label("days"),
        )
        .where(table.c.period == period)
        .group_by(table.c.kind, table.c.currency_code, table.c.age)
        .order_by(table.c.kind, table.c.currency_code, sa.text("days"))
    ).all()  # fmt: skip


def _added_up(rows: Iterable[tuple[str, str, str, int, Decimal]]) -> tuple[OpenItems, ...]:
    """(kind, currency, age, number, amount) as rows of a table by age, without those that have none."""
    found: dict[tuple[str, str], list[tuple[str, int, Decimal]]] = {}
    for kind, currency, age, number, amount in rows:
        if number:
            found.setdefault((kind, currency), []).append((age, number, amount))
    return tuple(
        OpenItems(kind, currency, tuple(ages), sum(one[1] for one in ages), sum((one[2] for one in ages), Decimal(0)))
        for (kind, currency), ages in found.items()
    )


def _currencies(found: tuple[OpenItems, ...]) -> list[str]:
    return sorted({one.currency_code for one in found if one.currency_code})


def _sorted(period: str, wanted: OpenFilter, sort: str, after: str | None) -> sa.Select:
    if sort not in SORTS:
        raise ConfigError(
            f"There is no order {sort[:60]!r}.", do=f"Take one of {', '.join(name for name in SORTS if name)}."
        )
    column, falls = SORTS[sort]
    place = (column, table.c.position)
    where = wanted.where(period)
    if after is not None:
        beyond = sa.tuple_(*(sa.literal(value) for value in _place(after, column)))
        where.append(sa.tuple_(*place) < beyond if falls else sa.tuple_(*place) > beyond)
    return sa.select(table).where(*where).order_by(*(one.desc() if falls else one for one in place))


def _place(after: str, column: sa.Column[Any]) -> tuple[Decimal | int, int]:
    """Where a page ends: the value of the column that it is sorted by, and the position."""
    value, _, position = after.partition("~")
    of_money = column is table.c.amount
    try:
        at, number = Decimal(value if of_money else int(value)), int(position)
        if abs(at) > (MOST_MONEY if of_money else LARGEST) or abs(number) > LARGEST:
            raise ValueError("no number of the list")
        return at if of_money else int(at), number
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"{after[:60]!r} is no place in the list.", do="Begin at the top of the list.") from error


def _item(row: sa.Row) -> OpenItem:
    return OpenItem(
        row.position, row.kind, row.currency_code, row.document, row.days, row.age, row.amount, row.party, row.order_id
    )


def _last_close(connection: sa.Connection, period: str) -> sa.Row | None:
    return connection.execute(
        sa.select(ops_closing.c.finished_at, ops_closing.c.figures)
        .where(ops_closing.c.period == period, ops_closing.c.finished_at.is_not(None))
        .order_by(ops_closing.c.id.desc())
        .limit(1)
    ).one_or_none()
