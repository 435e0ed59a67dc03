"""Approvals: price changes for programs, and decisions on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from console import required_actions, runs
from console.access import Asks, Decider
from console.bodies import body
from console.database import transaction
from crossdock.services import approvals
from crossdock.services.approvals import Changes, Filter
from crossdock.services.people import Person

router = APIRouter()


@body
class Choice:
    """Changes by their numbers, or all open ones of a filter up to the number `newest`."""

    numbers: list[int] = field(default_factory=list)
    everything: bool = False
    q: str | None = None
    kind: str | None = None
    newest: int = 0
    note: str = ""

    def filter(self) -> Filter | None:
        return Filter("open", self.q or None, self.kind or None) if self.everything else None


@dataclass(frozen=True)
class Decision:
    """What was decided, in words. `required_actions`: those of Airflow that have ended with it; `own`: changes that
    come from the person's own price rule, and stay open."""

    numbers: list[int]
    late: int
    message: str
    required_actions: int = 0
    own: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Started:
    run: str
    message: str


@router.get("/approvals")
def listed(
    person: Asks,
    state: str = "open",
    q: str | None = None,
    kind: str | None = None,
    after: int | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Changes:
    """Price changes, a page at a time."""
    with transaction(person) as connection:
        return approvals.changes(connection, person, Filter(state, q or None, kind or None), after=after, limit=limit)


@router.post("/approvals/approve")
async def approve(request: Request, person: Decider, given: Choice) -> Decision:
    """Lets prices go to the channel with the next run, exactly as they were asked for."""
    return await _decide(request, person, given, approved=True)


@router.post("/approvals/refuse")
async def refuse(request: Request, person: Decider, given: Choice) -> Decision:
    """Keeps prices from the channel until the rule makes other ones."""
    return await _decide(request, person, given, approved=False)


@router.post("/approvals/send")
async def send(request: Request, person: Decider) -> Started:
    """Starts a run of the DAG prices, which sends what is approved; not a second one beside a run that is under way."""
    if found := await runs.under_way(request, approvals.FLOW):
        run, state = found
        return Started(
            run,
            f"A run of prices is {state} already, so no second one was started. What was approved before it began goes "
            "with it; look here again when it has ended.",
        )
    run = await runs.trigger(request, approvals.FLOW, {}, f"Approved prices, asked for by {person.name}")
    await run_in_threadpool(_note, person, run)
    return Started(run, "The run has started: what is approved goes to the channel now.")


def _note(person: Person, run: str) -> None:
    with transaction(person) as connection:
        approvals.note_send(connection, person, run)


async def _decide(request: Request, person: Person, given: Choice, *, approved: bool) -> Decision:
    decided = await run_in_threadpool(_write, person, given, approved)
    ended = await required_actions.end(request, person) if decided.numbers else 0
    word = "Approved" if approved else "Refused"
    message = f"{word} {len(decided.numbers):,}."
    if decided.late:
        message += f" {decided.late:,} had been decided or withdrawn before."
    if decided.own:
        message += f" {len(decided.own):,} come from a price rule of your own and stay open for somebody else."
    if approved and decided.numbers:
        message += " The next run of prices sends them."
    return Decision(list(decided.numbers), decided.late, message, ended, list(decided.own))


def _write(person: Person, given: Choice, approved: bool) -> approvals.Decided:
    with transaction(person) as connection:
        decided = approvals.decide(
            connection, person, approved=approved, note=given.note, numbers=given.numbers, wanted=given.filter(),
            newest=given.newest,
        )  # fmt: skip
    decided.require_some()
    return decided
