"""Money: figures for programs, the checklist, and the close of a month as a run of Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.access import Accountant, Asks
from console.bodies import body
from console.database import transaction
from crossdock.services import closing, money
from crossdock.services import open_items as items
from crossdock.services.closing import Month, MonthRow
from crossdock.services.money import Balance, LineFilter, Lines, Payout, PayoutPage, Profits
from crossdock.services.open_items import Items, OpenFilter, Sums
from crossdock.services.people import Person

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=1_000)]


@body
class Tick:
    """A step of the checklist. `note`: needed to take a tick back, and to tick what something speaks against."""

    step: str
    note: str = ""


@dataclass(frozen=True)
class Done:
    """What was done, in words. `run`: of Airflow, where one was started."""

    message: str
    run: str = ""


@router.get("/money")
def months(person: Asks, before: str | None = None) -> list[MonthRow]:
    """Months, the newest first."""
    with transaction(person) as connection:
        return closing.months(connection, person, before)[0]


@router.get("/money/{period}")
def month(person: Asks, period: str) -> Month:
    """A month: controls and open items of its last close, the checklist."""
    with transaction(person) as connection:
        return closing.month(connection, person, period)


@router.get("/money/{period}/balance")
def balance(person: Asks, period: str) -> list[Balance]:
    """Its trial balance."""
    with transaction(person) as connection:
        return money.trial_balance(connection, person, period)


@router.get("/money/{period}/lines")
def lines(
    person: Asks,
    period: str,
    account: str | None = None,
    currency: str | None = None,
    channel: str | None = None,
    sku: str | None = None,
    document: str | None = None,
    text: str | None = None,
    after: str | None = None,
    limit: Limit = 100,
) -> Lines:
    """Lines of its entries, a page at a time."""
    wanted = LineFilter(account, currency, channel, sku, None, document, text)
    with transaction(person) as connection:
        return money.lines(connection, person, period, wanted, after=after, limit=limit)


@router.get("/money/{period}/open-items")
def open_items(
    person: Asks,
    period: str,
    kind: str | None = None,
    currency: str | None = None,
    age: str | None = None,
    text: str | None = None,
    sort: str = "",
    after: str | None = None,
    limit: Limit = 100,
) -> Items:
    """Its open items one by one; `sort`: amount, -amount, days or -days."""
    wanted = OpenFilter(kind, currency, age, text)
    with transaction(person) as connection:
        return items.items(connection, person, period, wanted, sort=sort, after=after, limit=limit)


@router.get("/money/{period}/open-items/sums")
def open_sums(
    person: Asks,
    period: str,
    kind: str | None = None,
    currency: str | None = None,
    age: str | None = None,
    text: str | None = None,
) -> Sums:
    """What its open items add up to, beside the balance of Clearing."""
    with transaction(person) as connection:
        return items.sums(connection, person, period, OpenFilter(kind, currency, age, text))


@router.get("/money/{period}/payouts")
def payouts(person: Asks, period: str, by_end: bool = False) -> list[Payout]:
    """Its payouts; or the settlements that end in it."""
    with transaction(person) as connection:
        return money.payouts(connection, person, period, by_end=by_end)


@router.get("/money/payouts/{source}/{settlement_id}")
def payout(person: Asks, source: str, settlement_id: str, after: int | None = None, limit: Limit = 100) -> PayoutPage:
    """A payout with its lines."""
    with transaction(person) as connection:
        return money.payout(connection, person, source, settlement_id, after=after, limit=limit)


@router.get("/money/{period}/profit")
def profit(
    person: Asks,
    period: str,
    by_sku: bool = False,
    channel: str | None = None,
    in_base: bool = False,
    after: str | None = None,
    limit: Limit = 100,
) -> Profits:
    """Its profit by channel, or by SKU."""
    with transaction(person) as connection:
        return money.profit(
            connection, person, period, by_sku=by_sku, channel=channel, in_base=in_base, after=after, limit=limit
        )


@router.post("/money/{period}/close")
async def close(request: Request, person: Accountant, period: str) -> Done:
    """Has a run of Airflow check a month: reads what is new, then the controls; what `crossdock close` does."""
    await run_in_threadpool(_may_close, person, period)
    run = await runs.trigger(request, closing.DAG, {"period": period}, f"Check of {period}, asked for by {person.name}")
    await run_in_threadpool(_note, person, period, f"{closing.DAG}/{run}")
    return Done(f"The check of {period} has begun.", run)


@router.post("/money/{period}/tick")
def tick(person: Accountant, period: str, given: Tick) -> Done:
    """Ticks a step of the checklist."""
    with transaction(person) as connection:
        closing.tick(connection, person, period, given.step, given.note)
    return Done("Ticked.")


@router.post("/money/{period}/untick")
def untick(person: Accountant, period: str, given: Tick) -> Done:
    """Takes a tick back, with a reason."""
    with transaction(person) as connection:
        closing.untick(connection, person, period, given.step, given.note)
    return Done("Taken back.")


def _may_close(person: Person, period: str) -> None:
    with transaction(person) as connection:
        closing.may_close(connection, person, period)


def _note(person: Person, period: str, run_id: str) -> None:
    with transaction(person) as connection:
        closing.close_asked(connection, person, period, run_id)
