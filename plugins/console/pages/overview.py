"""Overview: is all well, and if not, what is to be done; the records behind its numbers; what runs next; events."""

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
from crossdock.services import events, overview
from crossdock.store.webhook_events import SYSTEMS, Filter

TITLE, PATH, PLACE = "Overview", "/", 10
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]
TITLES = {
    "in_flight": "in flight", "waiting": "waiting", "dead": "dead letters",
    "dead_new": "dead letters new in the last 24 hours", "dead_closed": "dead letters closed in the last 24 hours",
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
    after: Text | None = None,
) -> HTMLResponse:
    """The records that a number counts."""
    with transaction(person) as connection:
        listed = overview.records_behind(connection, person, flow, state, after=after)
    return render(
        request, "overview_rows.html" if after else "overview_records.html",
        title=f"{flows.get(flow).title}: {TITLES[state]}", listed=listed, flow=flow, state=state,
        more=after is not None,
    )  # fmt: skip


@router.get("/overview/events")
def event_by_event(
    request: Request,
    person: Asks,
    system: Text = "",
    flow: Text = "",
    state: Text = "",
    q: Text = "",
    after: Text | None = None,
) -> HTMLResponse:
    """What the systems have rung for, event by event."""
    wanted = Filter(system, flow, state, text=q.strip())
    with transaction(person) as connection:
        listed = events.listed(connection, person, wanted, after=after)
    return render(
        request, "overview_events_rows.html" if after else "overview_events.html", title="Events", listed=listed,
        wanted=wanted, states=events.STATES, systems={name: overview.TITLES[name] for name in SYSTEMS},
        titles=overview.TITLES, flows=flows.all_flows(), text=wanted.text,
    )  # fmt: skip


@router.get("/overview/alerts")
def kept_alerts(request: Request, person: Asks) -> HTMLResponse:
    """Alerts that were noted, and those that are silenced."""
    with transaction(person) as connection:
        noted, silenced = overview.noted(connection, person), overview.silenced(connection)
    return render(request, "overview_alerts.html", title="Noted and silenced alerts", noted=noted, silenced=silenced)


@router.get("/overview/system/{name}")
def system(request: Request, person: Asks, name: str) -> HTMLResponse:
    """What was asked of a system lately."""
    with transaction(person) as connection:
        found = overview.calls(connection, person, name)
    return render(request, "overview_system.html", title=found.system.title, found=found)
