"""Going live for programs; launches, releases and returns to shadow mode."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from console.access import Analyst, Asks, Launcher, Returner
from console.bodies import body
from console.database import transaction
from crossdock.services import go_live, readiness
from crossdock.services.readiness import Backlog, Launch, Readiness

router = APIRouter()

KEPT = "What was sent stays; what comes from now on is kept, and goes with the next launch."


@body
class Start:
    """A launch: its first day, and how many records may go before a person is asked (None: all). `reason`: needed past
    a gate that is not green."""

    since: date
    cap: int | None = None
    reason: str = ""


@body
class Reason:
    """Why something is done."""

    reason: str = ""


@body
class Named:
    """Something that map has found."""

    name: str


@body
class Decision:
    """Why something that map has found stays as it is."""

    name: str
    reason: str = ""


@dataclass(frozen=True)
class Done:
    """What was done, in words."""

    message: str


@router.get("/go-live")
def everything(person: Asks) -> Readiness:
    """All systems and flows, with their gates."""
    with transaction(person) as connection:
        return readiness.page(connection, person)


@router.get("/go-live/{flow}")
def held(person: Asks, flow: str) -> Backlog:
    """What a flow holds back."""
    with transaction(person) as connection:
        return readiness.held(connection, person, flow)


@router.get("/go-live/{flow}/effect")
def preview(person: Asks, flow: str, since: date, cap: Annotated[int | None, Query(ge=1)] = None) -> Launch:
    """What a launch would do, in numbers."""
    with transaction(person) as connection:
        return readiness.preview(connection, person, flow, since, cap)


@router.post("/go-live/decide")
def decide(person: Analyst, given: Decision) -> Done:
    """Keeps that something that map has found stays as it is."""
    with transaction(person) as connection:
        readiness.decide(connection, person, given.name, given.reason)
    return Done("Decided: it stays as it is.")


@router.post("/go-live/reopen")
def reopen(person: Analyst, given: Named) -> Done:
    """Takes such a decision back."""
    with transaction(person) as connection:
        readiness.reopen(connection, person, given.name)
    return Done("It is open again.")


@router.post("/go-live/back")
def all_back(person: Returner, given: Reason) -> Done:
    """Puts every live flow into shadow mode."""
    with transaction(person) as connection:
        readiness.back(connection, person, (), given.reason)
    return Done(f"Every flow is in shadow mode. {KEPT}")


@router.post("/go-live/{flow}/launch")
def launch(person: Launcher, flow: str, given: Start) -> Done:
    """Launches a flow."""
    with transaction(person) as connection:
        would = readiness.launch(connection, person, flow, given.since, given.cap, given.reason)
    return Done(f"It is live from {given.since:%d %b %Y} on: its next run sends {would.first:,}.")


@router.post("/go-live/{flow}/release")
def release(person: Launcher, flow: str) -> Done:
    """Lets a launched flow go on without its cap."""
    with transaction(person) as connection:
        go_live.release(connection, person, flow)
    return Done("It goes on without the cap, with its next run.")


@router.post("/go-live/{flow}/back")
def back(person: Returner, flow: str, given: Reason) -> Done:
    """Puts a flow into shadow mode."""
    with transaction(person) as connection:
        readiness.back(connection, person, (flow,), given.reason)
    return Done(f"It is in shadow mode. {KEPT}")
