"""The overview for programs; alerts that people take note of or silence, and stopped batches that they go on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.access import Asks, Clerk
from console.bodies import body
from console.database import transaction
from crossdock.services import events, overview
from crossdock.services.events import EventRows
from crossdock.services.overview import Overview, RecordRows, StoppedBatch
from crossdock.services.people import Person
from crossdock.store.webhook_events import Filter

router = APIRouter()


@body
class Silence:
    """Why nobody has to hear of an alert, and for how many hours."""

    reason: str = ""
    hours: float = 0


@body
class Kind:
    """Open alerts of a kind, up to the newest that the person has seen."""

    kind: str = ""
    newest: int = 0


@body
class SilenceKind:
    """Why nobody has to hear of the open alerts of a kind, and for how many hours."""

    kind: str = ""
    newest: int = 0
    reason: str = ""
    hours: float = 0


@body
class Numbers:
    """Alerts by their numbers."""

    numbers: list[int]


@dataclass(frozen=True)
class Done:
    """What was done, in words; the run that was started, if one was."""

    message: str
    run: str | None = None


@router.get("/overview")
def everything(person: Asks) -> Overview:
    """How everything is at this moment."""
    with transaction(person) as connection:
        return overview.overview(connection, person)


@router.get("/overview/records")
def records(
    person: Asks,
    flow: str,
    state: str,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RecordRows:
    """The records that a number of the overview counts."""
    with transaction(person) as connection:
        return overview.records_behind(connection, person, flow, state, after=after, limit=limit)


@router.get("/overview/events")
def event_by_event(
    person: Asks,
    system: str = "",
    flow: str = "",
    state: str = "",
    q: str = "",
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> EventRows:
    """What the systems have rung for, event by event, the newest first."""
    with transaction(person) as connection:
        return events.listed(connection, person, Filter(system, flow, state, text=q), after=after, limit=limit)


@router.post("/alerts/acknowledge")
def acknowledge_all(person: Clerk, given: Kind) -> Done:
    """Takes note of all open alerts of a kind."""
    with transaction(person) as connection:
        count = overview.acknowledge_all(connection, person, given.kind, given.newest)
    return Done(f"{_alerts(count)} noted.")


@router.post("/alerts/silence")
def silence_all(person: Clerk, given: SilenceKind) -> Done:
    """Holds the messages of all open alerts of a kind back for some hours."""
    with transaction(person) as connection:
        count, until = overview.silence_all(
            connection, person, given.kind, given.newest, given.reason, hours=given.hours
        )
    return Done(f"{_alerts(count)} silent until {until:%Y-%m-%d %H:%M} UTC.")


@router.post("/alerts/speak")
def speak_all(person: Clerk, given: Numbers) -> Done:
    """Ends the silence of these alerts now."""
    with transaction(person) as connection:
        overview.end_silence(connection, person, *given.numbers)
    return Done("Their silence has ended.")


def _alerts(count: int) -> str:
    return "One alert" if count == 1 else f"{count:,} alerts"


@router.post("/alerts/{number}/acknowledge")
def acknowledge(person: Clerk, number: int) -> Done:
    """Takes note of an alert."""
    with transaction(person) as connection:
        overview.acknowledge(connection, person, number)
    return Done("Noted.")


@router.post("/alerts/{number}/take-back")
def take_back(person: Clerk, number: int) -> Done:
    """Makes a noted alert open again."""
    with transaction(person) as connection:
        overview.take_back(connection, person, number)
    return Done("It is open again.")


@router.post("/alerts/{number}/silence")
def silence(person: Clerk, number: int, given: Silence) -> Done:
    """Holds its messages back for some hours."""
    with transaction(person) as connection:
        until = overview.silence(connection, person, number, given.reason, hours=given.hours)
    return Done(f"Silent until {until:%Y-%m-%d %H:%M} UTC.")


@router.post("/alerts/{number}/speak")
def speak(person: Clerk, number: int) -> Done:
    """Ends its silence now."""
    with transaction(person) as connection:
        overview.end_silence(connection, person, number)
    return Done("Its silence has ended.")


@router.post("/batches/{number}/accept-rejects")
async def accept_rejects(request: Request, person: Clerk, number: int) -> Done:
    """Goes on with a stopped batch: a run of the flow's DAG makes dead letters of its rejects and delivers the rest."""
    batch = await run_in_threadpool(_stopped, person, number)
    words = f"Batch {batch.id} goes on without its rejects, asked for by {person.name}"
    run = await runs.trigger(request, batch.dag, {"accept_rejects": [batch.id]}, words)
    await run_in_threadpool(_accepted, person, number)
    return Done(f"Batch {batch.id} goes on: its rejects become dead letters, the rest is delivered.", run)


def _stopped(person: Person, number: int) -> StoppedBatch:
    with transaction(person) as connection:
        return overview.stopped_batch(connection, person, number)


def _accepted(person: Person, number: int) -> None:
    with transaction(person) as connection:
        overview.accepted_rejects(connection, person, number)
