"""Dead letters: the desk by cause, a group, a letter."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from console.access import Asks
from console.database import transaction
from console.html import render
from console.marks import taken_back
from crossdock import flows
from crossdock.services import letters, replays, unknown_values, worth
from crossdock.services.letters import Cause

TITLE, PATH, PLACE = "Dead letters", "/letters", 20
router = APIRouter(dependencies=[Depends(taken_back)])

Text = Annotated[str, Query(max_length=1_000)]
LISTS = {
    "open": "Open", "dismissed": "Dismissed", "mended": "Delivered after an edit", "replayed": "Replayed",
    "resolved": "Closed by a newer version",
}  # fmt: skip
ENDS = {
    "refused": "Refused again", "stopped": "Stopped", "late": "Not ended", "waiting": "Waiting",
    "not_sent": "Left out by a rule", "running": "Still at work", "delivered": "Delivered", "dismissed": "Dismissed",
}  # fmt: skip


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
        begun = replays.latest(connection, request.state.person, letters.LATEST)
    held_up = worth.added(group.worth for group in groups)
    total = sum(group.count for group in groups)
    return render(
        request, template, title=f"Dead letters ({total})", groups=groups, total=total, worth=held_up, begun=begun,
        state="open", lists=LISTS,
    )  # fmt: skip


@router.get("/letters/closed")
def closed(request: Request, person: Asks, state: Text = "dismissed", after: Text | None = None) -> HTMLResponse:
    """Letters that are open no more, by what became of them."""
    with transaction(person) as connection:
        listed = letters.letters(connection, person, state=state, after=after)
    template = "letters_closed_rows.html" if after else "letters_closed.html"
    titles = {name: flow.title for name, flow in flows.all_flows().items()}
    return render(
        request, template, title="Dead letters", state=state, lists=LISTS, listed=listed, titles=titles,
        more=after is not None,
    )  # fmt: skip


@router.get("/letters/replays/{number}")
def replayed(request: Request, person: Asks, number: int) -> HTMLResponse:
    """What came of a replay; while its run is on, the page refreshes itself."""
    with transaction(person) as connection:
        found = replays.replay(connection, person, number)
    return render(request, "letters_replay.html", title="Replay", replay=found, ends=ENDS, size=replays.PAGE)


@router.get("/letters/replays/{number}/rows")
def replayed_rows(
    request: Request, person: Asks, number: int, end: Text, after: Annotated[int, Query(ge=0)] = 0
) -> HTMLResponse:
    """More letters of one end."""
    with transaction(person) as connection:
        found = replays.replay(connection, person, number, end=end, after=after)
    return render(
        request, "letters_replay_rows.html", replay=found, end=end, rows=found.rows.get(end, ()), size=replays.PAGE
    )


@router.get("/letters/group")
def group(request: Request, person: Asks, flow: Text, rule: Text, value: Text | None = None) -> HTMLResponse:
    """The letters of one cause."""
    cause = Cause(flow, rule, value)
    with transaction(person) as connection:
        found = next((one for one in letters.groups(connection, person) if (one.flow, one.rule) == (flow, rule)), None)
        listed = letters.letters(connection, person, cause=cause)
        only = letters.only_value(found) if found else None
        wrong = letters.replaceable(connection, person, Cause(flow, rule, only if value is None else value))
        lookup = unknown_values.lookup_of({"rule": rule, "do": found.do}) if found else ""
    found_flow = flows.all_flows().get(flow)
    title = found_flow.title if found_flow else flow
    return render(
        request, "letters_group.html", title=title, cause=cause, group=found, listed=listed, wrong=wrong, more=False,
        lookup=lookup,
        message=listed.rows[0].message if value and listed.rows else found.message if found else "",
    )  # fmt: skip


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
        lookups = [unknown_values.lookup_of(reason) for reason in letter.reasons]
    title = f"{letter.title} {letter.key}"
    return render(request, "letter.html", title=title, letter=letter, lookups=lookups, ends=ENDS)


@router.get("/letters/{number}/state")
def state(request: Request, person: Asks, number: int) -> Response:
    """Whether its replay is still under way; when it has ended, the page is loaded again."""
    with transaction(person) as connection:
        waits = letters.is_replaying(connection, person, number)
    return HTMLResponse("in replay") if waits else Response(status_code=204, headers={"HX-Refresh": "true"})
