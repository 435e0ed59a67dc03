"""Go live: the four gates of every flow, what is red, and the way from shadow mode to live and back."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from console.access import Asks
from console.database import transaction
from console.download import download
from console.html import render
from crossdock import flows
from crossdock.services import overview, readiness

TITLE, PATH, PLACE = "Go live", "/go-live", 85
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]
SHOWN_OPEN = 8  # of what map leaves to decide, before one asks for the rest
SHOWN_RECORDS = 200  # of a day; the file has all


@router.get("/go-live")
def page(request: Request, person: Asks) -> HTMLResponse:
    """All systems and flows."""
    with transaction(person) as connection:
        found = readiness.page(connection, person)
    return render(request, "go_live.html", title="Go live", found=found, shown_open=SHOWN_OPEN)


@router.get("/go-live/{flow}/held")
def kept(
    request: Request,
    person: Asks,
    flow: str,
    key: Text | None = None,
    after: Text | None = None,
) -> HTMLResponse:
    """The records of a flow whose requests were not sent; of one of them the documents."""
    with transaction(person) as connection:
        found = readiness.requests(connection, person, flow, key) if key else ()
        listed = None if key else readiness.kept(connection, person, flow, after)
    return render(
        request, "go_live_held_rows.html" if after else "go_live_held.html",
        title=f"{flows.get(flow).title}: what would be sent", flow=flow, key=key, found=found, listed=listed,
    )  # fmt: skip


@router.get("/go-live/{flow}/{day}.csv")
def day_file(person: Asks, flow: str, day: date) -> Response:
    """The documents of a day as CSV."""
    with transaction(person) as connection:
        name = readiness.file(connection, person, flow, day)
    return download(person, name, "text/csv; charset=utf-8", partial(readiness.as_csv, name=flow, day=day))


@router.get("/go-live/{flow}/{day}")
def one_day(request: Request, person: Asks, flow: str, day: date, same: bool = False) -> HTMLResponse:
    """What a flow would have made on a day, beside what people have made."""
    with transaction(person) as connection:
        found = readiness.compared(connection, person, flow, day, same=same)
    return render(
        request, "go_live_day.html", title=f"{flows.get(flow).title}, {day:%d %b %Y}", found=found, flow=flow,
        shown=SHOWN_RECORDS,
    )  # fmt: skip


@router.get("/go-live/{flow}")
def flow(
    request: Request,
    person: Asks,
    flow: str,
    since: date | None = None,
    cap: Annotated[int | None, Query(ge=1)] = None,
) -> HTMLResponse:
    """A flow: its gates, what it holds back, and what a launch from a day on would do."""
    with transaction(person) as connection:
        row = readiness.row(connection, person, flow)
        held = readiness.held(connection, person, flow)
        reports = readiness.reports(connection, person, flow)
        launch = readiness.preview(connection, person, flow, since, cap) if since and row.mode.shadow else None
    return render(
        request, "go_live_flow.html", title=f"{row.title}: go live", row=row, held=held, reports=reports, launch=launch,
        since=since, cap=cap, title_of_target=overview.TITLES.get(row.mode.target, row.mode.target),
    )  # fmt: skip
