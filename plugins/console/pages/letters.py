"""Dead letters: the desk by cause, a group, a letter."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from console.access import Asks
from console.database import transaction
from console.html import render
from crossdock import flows
from crossdock.services import letters
from crossdock.services.letters import Cause

TITLE, PATH, PLACE = "Dead letters", "/letters", 20
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]


@router.get("/letters")
def causes(request: Request, person: Asks) -> HTMLResponse:
    """The desk."""
    return _causes(request, "letters.html")


@router.get("/letters/desk")
def causes_part(request: Request, person: Asks) -> HTMLResponse:
    """Its table, as it is now."""
    return _causes(request, "letters_desk.html")


def _causes(request: Request, template: str) -> HTMLResponse:
    with transaction(request.state.person) as connection:
        groups = letters.groups(connection, request.state.person)
    worth: dict[str, Decimal] = {}
    for group in groups:
        for currency, amount in group.worth.items():
            worth[currency] = worth.get(currency, Decimal()) + amount
    total = sum(group.count for group in groups)
    return render(request, template, title=f"Dead letters ({total})", groups=groups, total=total, worth=worth)


@router.get("/letters/group")
def group(request: Request, person: Asks, flow: Text, rule: Text, value: Text | None = None) -> HTMLResponse:
    """The letters of one cause."""
    cause = Cause(flow, rule, value)
    with transaction(person) as connection:
        found = next((one for one in letters.groups(connection, person) if (one.flow, one.rule) == (flow, rule)), None)
        listed = letters.letters(connection, person, cause=cause)
    found_flow = flows.all_flows().get(flow)
    title = found_flow.title if found_flow else flow
    return render(request, "letters_group.html", title=title, cause=cause, group=found, listed=listed, more=False)


@router.get("/letters/rows")
def rows(
    request: Request, person: Asks, flow: Text, rule: Text, value: Text | None = None, after: Text | None = None
) -> HTMLResponse:
    """A page of the letters of one cause."""
    cause = Cause(flow, rule, value)
    with transaction(person) as connection:
        listed = letters.letters(connection, person, cause=cause, after=after)
    return render(request, "letters_rows.html", cause=cause, listed=listed, more=after is not None)


@router.get("/letters/{number}")
def one(request: Request, person: Asks, number: int) -> HTMLResponse:
    """A letter whole."""
    with transaction(person) as connection:
        letter = letters.letter(connection, person, number)
    return render(request, "letter.html", title=f"{letter.title} {letter.key}", letter=letter)


@router.get("/letters/{number}/state")
def state(request: Request, person: Asks, number: int) -> Response:
    """Whether its replay is still under way; when it has ended, the page is loaded again."""
    with transaction(person) as connection:
        waits = letters.is_replaying(connection, person, number)
    return HTMLResponse("in replay") if waits else Response(status_code=204, headers={"HX-Refresh": "true"})
