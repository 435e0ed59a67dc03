"""Overview: is all well, and if not, what is to be done; the records behind its numbers; what runs next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from console import runs
from console.access import Asks
from console.database import transaction
from console.html import render
from console.sparkline import spark
from crossdock import flows
from crossdock.errors import CrossdockError
from crossdock.services import overview

TITLE, PATH, PLACE = "Overview", "/", 10
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]
TITLES = {
    "in_flight": "in flight", "waiting": "waiting", "dead": "dead letters",
    "delivered": "delivered in the last 24 hours",
}  # fmt: skip


@router.get("/")
def page(request: Request, person: Asks) -> HTMLResponse:
    """The page."""
    return _overview(request, "overview.html")


@router.get("/overview/now")
def now(request: Request, person: Asks) -> HTMLResponse:
    """What it shows, as it is now."""
    return _overview(request, "overview_now.html")


def _overview(request: Request, template: str) -> HTMLResponse:
    with transaction(request.state.person) as connection:
        found = overview.overview(connection, request.state.person)
    directions = {
        "Channel Advisor → TIMS": [lane for lane in found.lanes if lane.source == "channel_advisor"],
        "TIMS → Channel Advisor": [lane for lane in found.lanes if lane.target == "channel_advisor"],
        "Files and documents → TIMS": [
            lane for lane in found.lanes if "channel_advisor" not in (lane.source, lane.target)
        ],
    }
    return render(
        request, template, title="Overview", overview=found, directions=directions, titles=overview.TITLES, spark=spark
    )  # fmt: skip


@router.get("/overview/next")
async def following(request: Request, person: Asks) -> HTMLResponse:
    """What runs next, as Airflow says."""
    try:
        found, problem = await runs.schedules(request), ""
    except CrossdockError as error:
        found, problem = [], error.message
    return render(request, "overview_next.html", schedules=found, problem=problem)


@router.get("/overview/records")
def records(
    request: Request,
    person: Asks,
    flow: Text,
    state: Text,
    days_ago: Annotated[int | None, Query(ge=0, le=1)] = None,
    after: Text | None = None,
) -> HTMLResponse:
    """The records that a number counts."""
    with transaction(person) as connection:
        listed = overview.records_behind(connection, person, flow, state, days_ago=days_ago, after=after)
    when = {None: "", 0: " of the last 24 hours", 1: " of the 24 hours before"}[days_ago]
    return render(
        request, "overview_rows.html" if after else "overview_records.html",
        title=f"{flows.get(flow).title}: {TITLES[state]}{when}", listed=listed, flow=flow, state=state,
        days_ago=days_ago, more=after is not None,
    )  # fmt: skip
