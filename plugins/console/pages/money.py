"""Money: months, a month with its checklist, trial balance, lines, open items, payouts, profit, export."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from console import runs
from console.access import Asks
from console.database import transaction
from console.download import download
from console.html import render
from crossdock.errors import ConfigError
from crossdock.ledger.close import last_day
from crossdock.services import closing, money, money_files
from crossdock.services import open_items as items
from crossdock.services.closing import Month
from crossdock.services.money import LineFilter
from crossdock.services.open_items import OpenFilter
from crossdock.services.people import Person

TITLE, PATH, PLACE = "Money", "/money", 70
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]
CSV = "text/csv; charset=utf-8"
KINDS = {"csv": CSV, "beancount": "text/plain; charset=utf-8"}


@router.get("/money")
def months(request: Request, person: Asks, before: Text | None = None, month: Text | None = None) -> Response:
    """The months; or one that is named, whether it has entries or not."""
    if month:
        last_day(month)
        return RedirectResponse(f"money/{month}", status_code=303)
    with transaction(person) as connection:
        rows, more = closing.months(connection, person, before)
    return render(
        request, "money.html", title="Money", rows=rows, more=more, steps=len(closing.STEPS),
        tims=closing.tims_words,
    )  # fmt: skip


@router.get("/money/payout")
def payout(
    request: Request, person: Asks, source: Text, id: Text, kind: Text | None = None, after: int | None = None
) -> HTMLResponse:
    """A payout with its lines."""
    with transaction(person) as connection:
        page = money.payout(connection, person, source, id, kind=kind or None, after=after)
        period = f"{page.payout.day:%Y-%m}" if page.payout.day else None
        days = closing.days(connection, person, period) if period else None
    template = "money_payout_rows.html" if after is not None else "money_payout.html"
    return render(request, template, title=f"Payout {id}", page=page, kind=kind or None, period=period, days=days)


@router.get("/money/payout.csv")
def payout_file(person: Asks, source: Text, id: Text, kind: Text | None = None) -> Response:
    """The lines of a payout as CSV."""
    wanted = kind or None
    with transaction(person) as connection:
        name = money_files.payout_taken(connection, person, source, id, wanted)
    make = partial(money_files.payout_lines, person=person, source=source, settlement_id=id, kind=wanted)
    return download(person, name, CSV, make)


@router.get("/money/{period}")
def month(request: Request, person: Asks, period: str) -> HTMLResponse:
    """A month: controls, open items, the checklist."""
    with transaction(person) as connection:
        found = closing.month(connection, person, period)
        days = closing.days(connection, person, period)
    return render(
        request, "money_month.html", title=f"Money {period}", period=period, month=found, tab="month",
        tims=closing.tims_words(found.tims_status), days=days,
    )  # fmt: skip


@router.get("/money/{period}/state")
async def state(request: Request, person: Asks, period: str) -> Response:
    """Whether its close is still under way; when it has found something, the page is loaded again."""
    found = await run_in_threadpool(_month, person, period)
    if found.running is None:
        return Response(status_code=204, headers={"HX-Refresh": "true"})
    dag, _, run = found.running.run_id.partition("/")
    of_airflow = await runs.state(request, dag, run)
    return render(
        request, "money_running.html", period=period, running=found.running, state=of_airflow, run=run, dag=dag,
        over=of_airflow in ("success", "failed", "gone"),
    )  # fmt: skip


def _month(person: Person, period: str) -> Month:
    with transaction(person) as connection:
        return closing.month(connection, person, period)


@router.get("/money/{period}/balance")
def balance(request: Request, person: Asks, period: str) -> HTMLResponse:
    """Its trial balance."""
    with transaction(person) as connection:
        rows = money.trial_balance(connection, person, period)
        clearing = [code for code, _ in items.clearing(connection)]
    currencies = list(dict.fromkeys(row.currency_code for row in rows))
    return render(
        request, "money_balance.html", title=f"Trial balance {period}", period=period, rows=rows,
        currencies=currencies, tab="balance", clearing=clearing,
    )  # fmt: skip


@router.get("/money/{period}/balance.csv")
def balance_file(person: Asks, period: str) -> Response:
    """The same as CSV."""
    with transaction(person) as connection:
        name = money_files.taken(connection, person, period, "trial-balance")
    return download(person, name, CSV, partial(money_files.trial_balance, person=person, period=period))


def _wanted(
    account: Text | None = None, currency: Text | None = None, channel: Text | None = None, sku: Text | None = None,
    group: Text | None = None, document: Text | None = None, text: Text | None = None, since: datetime | None = None,
) -> LineFilter:  # fmt: skip
    """The filter of lines. A link may ask for lines without channel or SKU; the form's empty fields ask for nothing,
    and are not sent."""
    return LineFilter(
        account or None, currency or None, channel if channel is None else channel.strip(),
        sku if sku is None else sku.strip(), group or None,
        (document or "").strip() or None, (text or "").strip() or None, since,
    )  # fmt: skip


Wanted = Annotated[LineFilter, Depends(_wanted)]


@router.get("/money/{period}/lines")
def lines(
    request: Request, person: Asks, period: str, wanted: Wanted, after: Text | None = None
) -> HTMLResponse:  # fmt: skip
    """Lines of its entries."""
    with transaction(person) as connection:
        found = money.lines(connection, person, period, wanted, after=after)
        accounts = [] if after else money.accounts(connection, person)
        days = closing.days(connection, person, period)
    template = "money_lines_rows.html" if after else "money_lines.html"
    return render(
        request, template, title=f"Ledger {period}", period=period, lines=found, tab="lines", wanted=vars(wanted),
        accounts=accounts, days=days,
    )  # fmt: skip


@router.get("/money/{period}/lines/sums")
def line_sums(request: Request, person: Asks, period: str, wanted: Wanted) -> HTMLResponse:
    """All lines of a filter, added up."""
    with transaction(person) as connection:
        sums = money.line_sums(connection, person, period, wanted)
    return render(request, "money_lines_sums.html", sums=sums)


def _open(
    kind: Text | None = None, currency: Text | None = None, age: Text | None = None, text: Text | None = None
) -> OpenFilter:
    """The filter of open items; what is empty asks for nothing."""
    return OpenFilter(kind or None, currency or None, age or None, (text or "").strip() or None)


Open = Annotated[OpenFilter, Depends(_open)]


@router.get("/money/{period}/open-items")
def open_items(
    request: Request, person: Asks, period: str, wanted: Open, sort: Text = "", after: Text | None = None
) -> HTMLResponse:  # fmt: skip
    """Its open items, added up and one by one."""
    with transaction(person) as connection:
        found = items.items(connection, person, period, wanted, sort=sort, after=after)
        sums = None if after else items.sums(connection, person, period, wanted)
        if after is None and wanted.is_all:
            closing.note_open_items(connection, person, period)
        days = closing.days(connection, person, period)
    return render(
        request, "money_open_rows.html" if after else "money_open.html", title=f"Open items {period}", period=period,
        items=found, sums=sums, tab="open", wanted=vars(wanted), sort=sort, ages=items.ALL_AGES, days=days,
    )  # fmt: skip


@router.get("/money/{period}/open-items.csv")
def open_items_file(person: Asks, period: str, wanted: Open, sort: Text = "") -> Response:
    """The same as CSV, all of the filter."""
    with transaction(person) as connection:
        items.items(connection, person, period, wanted, sort=sort, limit=1)
        only = vars(wanted) | {"text": wanted.text is not None}  # which text is nobody's business
        name = money_files.taken(connection, person, period, "open-items", only)
    make = partial(money_files.items, person=person, period=period, wanted=wanted, sort=sort)
    return download(person, name, CSV, make)


def _chosen(name: str, value: str, *choices: str) -> str:
    if value not in choices:
        raise ConfigError(f"There is no {name} {value[:60]!r}.", do=f"Take {' or '.join(choices)}.")
    return value


@router.get("/money/{period}/payouts")
def payouts(
    request: Request, person: Asks, period: str, by: Text = "payout", source: Text | None = None
) -> HTMLResponse:
    """Its payouts: the settlements that were paid out in it, or those that end in it; or all of one source until its
    end."""
    by_end = _chosen("by", by, "payout", "end") == "end"
    with transaction(person) as connection:
        rows = money.payouts(connection, person, period, by_end=by_end, source=source or None)
        files = closing.files(connection, person, period)
        days = closing.days(connection, person, period)
    return render(
        request, "money_payouts.html", title=f"Payouts {period}", period=period, rows=rows, files=files, by_end=by_end,
        tab="payouts", source=source or None, days=days,
    )  # fmt: skip


@router.get("/money/{period}/payouts.csv")
def payouts_file(person: Asks, period: str, by: Text = "payout", source: Text | None = None) -> Response:
    """The same as CSV."""
    by_end = _chosen("by", by, "payout", "end") == "end"
    with transaction(person) as connection:
        name = money_files.taken(connection, person, period, "payouts", {"source": source, "by end": by_end})
    make = partial(money_files.payouts, person=person, period=period, by_end=by_end, source=source or None)
    return download(person, name, CSV, make)


@router.get("/money/{period}/profit")
def profit(
    request: Request, person: Asks, period: str, by: Text = "channel", channel: Text | None = None,
    amounts: Text = "own", after: Text | None = None,
) -> HTMLResponse:  # fmt: skip
    """Its profit by channel, or by SKU; each currency apart, or all in the base currency."""
    by_sku = _chosen("by", by, "channel", "sku") == "sku"
    in_base = _chosen("amounts", amounts, "own", "base") == "base"
    with transaction(person) as connection:
        found = money.profit(connection, person, period, by_sku=by_sku, channel=channel, in_base=in_base, after=after)
    template = "money_profit_rows.html" if after else "money_profit.html"
    return render(
        request, template, title=f"Profit {period}", period=period, found=found, tab="profit",
        wanted={"by": "sku" if by_sku else "channel", "channel": channel, "amounts": "base" if in_base else "own"},
    )  # fmt: skip


@router.get("/money/{period}/profit.csv")
def profit_file(
    person: Asks, period: str, by: Text = "channel", channel: Text | None = None, amounts: Text = "own"
) -> Response:
    """The same as CSV, all rows."""
    by_sku = _chosen("by", by, "channel", "sku") == "sku"
    in_base = _chosen("amounts", amounts, "own", "base") == "base"
    with transaction(person) as connection:
        only = {"by": by, "channel": channel, "amounts": amounts}
        name = money_files.taken(connection, person, period, f"profit-by-{by}", only)
    make = partial(money_files.profit, person=person, period=period, by_sku=by_sku, channel=channel, in_base=in_base)
    return download(person, name, CSV, make)


@router.get("/money/{period}/export/{kind}")
def export(person: Asks, period: str, kind: str) -> Response:
    """Its ledger as a file."""
    with transaction(person) as connection:
        name = money.exported(connection, person, period, kind)
    return download(person, name, KINDS[kind], partial(money.export, person=person, period=period, kind=kind))
