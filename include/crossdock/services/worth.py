"""What is held up, in money: of dead letters and of records that wait, in the smallest unit of each currency.

In: a connection. Out: amounts by currency. Each record's amount is rounded before they are added, so that every sum is
that of the rows behind it. Never: a sum of two currencies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

import sqlalchemy as sa
from babel.numbers import list_currencies

from crossdock.rules import currencies
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import ops_dead_letter

Worth = dict[str, Decimal]  # by currency


def of_letters(connection: sa.Connection) -> dict[tuple[str, str], Worth]:
    """What the records of open dead letters state that they are worth, by flow and rule."""
    table = ops_dead_letter.c
    rows = connection.execute(
        sa.select(table.flow, table.rule, table.currency_code,
                  sa.func.sum(in_cents(table.amount, table.currency_code)).label("amount"))
        .where(table.state.in_(OPEN), table.amount.is_not(None), table.currency_code.is_not(None))
        .group_by(table.flow, table.rule, table.currency_code)
        .order_by(table.currency_code)
    )  # fmt: skip
    found: dict[tuple[str, str], Worth] = {}
    for row in rows:
        found.setdefault((row.flow, row.rule or ""), {})[row.currency_code] = row.amount
    return found


def added(worths: Iterable[Mapping[str, Decimal]]) -> Worth:
    """Their sum, currency by currency, in the order of their codes."""
    total: Worth = {}
    for worth in worths:
        for currency, amount in worth.items():
            total[currency] = total.get(currency, Decimal()) + amount
    return dict(sorted(total.items()))


def cents(amount: Decimal | None, currency: str | None) -> Decimal | None:
    """An amount as people pay it."""
    if amount is None:
        return None
    return amount.quantize(Decimal(1).scaleb(-currencies.places(currency)), ROUND_HALF_UP)


def in_cents(amount: sa.ColumnElement[Decimal], currency: sa.ColumnElement[str]) -> sa.ColumnElement[Decimal]:
    """The same within a statement."""
    return sa.func.round(amount, sa.case(_others(), value=currency, else_=currencies.PLACES), type_=sa.Numeric)


@cache
def _others() -> dict[str, int]:
    """Decimals of the currencies that have not two."""
    every = {code: currencies.places(code) for code in sorted(list_currencies())}
    return {code: places for code, places in every.items() if places != currencies.PLACES}
