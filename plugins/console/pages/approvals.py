"""Approvals: price changes that wait for a person, and those that were decided."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from console import runs
from console.access import Asks
from console.database import transaction
from console.html import render
from crossdock.errors import CrossdockError
from crossdock.services import approvals
from crossdock.services.approvals import FLOW, KINDS, STATES, Filter

TITLE, PATH, PLACE = "Approvals", "/approvals", 60
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]


@router.get("/approvals")
def page(
    request: Request, person: Asks, state: Text = "open", q: Text | None = None, kind: Text | None = None
) -> HTMLResponse:
    """The changes of a state."""
    return _shown(request, "approvals.html", Filter(state, q or None, kind or None), None)


@router.get("/approvals/list")
def part(
    request: Request, person: Asks, state: Text = "open", q: Text | None = None, kind: Text | None = None
) -> HTMLResponse:
    """The list as it is now."""
    return _shown(request, "approvals_part.html", Filter(state, q or None, kind or None), None)


@router.get("/approvals/rows")
def rows(
    request: Request, person: Asks, state: Text = "open", q: Text | None = None, kind: Text | None = None,
    after: int | None = None,
) -> HTMLResponse:  # fmt: skip
    """More rows of the list."""
    return _shown(request, "approvals_rows.html", Filter(state, q or None, kind or None), after)


@router.get("/approvals/next")
async def next_run(request: Request, person: Asks) -> HTMLResponse:
    """When the next run of prices sends what is approved, by Airflow's schedule."""
    try:
        found, under_way = await runs.schedule(request, FLOW), await runs.under_way(request, FLOW)
    except CrossdockError:
        found, under_way = None, None  # Airflow does not tell this person; the list stands without it
    return render(request, "approvals_next.html", schedule=found, under_way=under_way)


def _shown(request: Request, template: str, wanted: Filter, after: int | None) -> HTMLResponse:
    person = request.state.person
    with transaction(person) as connection:
        listed = approvals.changes(connection, person, wanted, after=after)
        counts = approvals.counts(connection, person)
        matching = approvals.matching(connection, person, wanted) if after is None else 0
    return render(
        request, template, title=f"Approvals ({counts.open})", wanted=wanted, listed=listed, counts=counts,
        matching=matching, kinds=KINDS, states=STATES,
    )  # fmt: skip
