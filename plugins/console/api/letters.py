"""Dead letters: lists for programs, verdicts, and what people do with them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.access import Asks, Clerk
from console.bodies import body
from console.database import transaction
from console.html import place
from console.marks import taken_back
from crossdock import flows
from crossdock.errors import ConfigError, CrossdockError
from crossdock.services import letters, replays
from crossdock.services.letters import Cause, Group, Letter, Listed, Outcome
from crossdock.services.people import Person
from crossdock.services.replays import Replay as Replayed
from crossdock.steps.dry_run import Verdict

FRESH = 60  # seconds for which a look at the causes is good enough
router = APIRouter(dependencies=[Depends(taken_back)])


@body
class Chosen:
    """Letters: by their numbers, or all of a cause."""

    numbers: list[int] = field(default_factory=list)
    flow: str | None = None
    rule: str | None = None
    value: str | None = None

    def cause(self) -> Cause | None:
        """The cause; None where there are numbers, or nothing. ConfigError for half a cause."""
        if self.numbers or (self.flow is None and self.rule is None):
            return None
        if self.flow is None or self.rule is None:
            raise ConfigError("A group has a flow and a rule.", do="Name both, or the numbers of letters.")
        return Cause(self.flow, self.rule, self.value)


@body
class Replay(Chosen):
    """`all`: every open letter. `seen`: of a single letter, what it was when somebody looked (`Letter.seen`)."""

    all: bool = False
    only_gone: bool = False
    seen: str | None = None


@body
class Assignment(Chosen):
    to: str | None = None


@body
class Dismissal(Chosen):
    note: str = ""


@body
class Replacement(Chosen):
    by: str = ""


@body
class Changes:
    """New values by the path of a field. `seen`: what the letter was when somebody looked (`Letter.seen`)."""

    changes: dict[str, Any] = field(default_factory=dict)
    seen: str | None = None


@body
class Note:
    note: str = ""


@dataclass(frozen=True)
class Done:
    """What was done: how many letters, in words, and the runs that were started. `page`: where to see what comes of
    it, below the console's root; empty: where one is. `seen`: of an edit, what the letter is now."""

    count: int
    message: str
    runs: dict[str, str] = field(default_factory=dict)
    page: str = ""
    seen: str = ""


@router.get("/letters/groups")
def groups(person: Asks) -> list[Group]:
    """Open letters by flow and rule."""
    with transaction(person) as connection:
        return letters.groups(connection, person)


@dataclass(frozen=True)
class Gone:
    """Of how many letters of a group the cause is gone, among those looked at. `place`: the element that shows it."""

    flow: str
    rule: str
    place: str
    passing: int
    looked: int


@router.get("/letters/gone")
def gone(person: Asks) -> list[Gone]:
    """Of how many letters of each group the cause is gone."""
    found = _gone(person, int(time.monotonic() / FRESH))
    return [Gone(flow, rule, place(f"{flow} {rule}"), *numbers) for (flow, rule), numbers in found.items()]


@lru_cache(maxsize=16)
def _gone(person: Person, moment: int) -> dict[tuple[str, str], tuple[int, int]]:
    """The same answer for a while, however often the table is loaded. `moment`: the number of that while."""
    with transaction(person) as connection:
        return letters.gone_by_cause(connection, person)


@router.get("/letters")
def listed(
    person: Asks,
    flow: str | None = None,
    rule: str | None = None,
    value: str | None = None,
    state: str = "open",
    assigned_to: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Listed:
    """Letters a page at a time: open ones oldest first, closed ones (dismissed, mended, replayed, resolved) newest
    first."""
    cause = Cause(flow, rule, value) if flow and rule else None
    with transaction(person) as connection:
        return letters.letters(
            connection, person, cause=cause, flow=flow, state=state, assigned_to=assigned_to, after=after, limit=limit
        )


@router.get("/letters/{number}")
def one(person: Asks, number: int) -> Letter:
    """A letter whole."""
    with transaction(person) as connection:
        return letters.letter(connection, person, number)


@router.post("/letters/{number}/verdict")
def verdict(person: Clerk, number: int, given: Changes) -> Verdict:
    """What would become of its record with these changes. Nothing is written."""
    with transaction(person) as connection:
        return letters.verdict(connection, person, number, given.changes)


@router.post("/letters/{number}/edit")
def edit(person: Clerk, number: int, given: Changes) -> Done:
    """Keeps other values of its record, to be replayed."""
    with transaction(person) as connection:
        seen = letters.edit(connection, person, number, given.changes, seen=given.seen)
    return Done(1, "Kept. Replay it now.", seen=seen)


@router.post("/letters/{number}/note")
def note(person: Clerk, number: int, given: Note) -> Done:
    """Keeps a remark with it."""
    with transaction(person) as connection:
        letters.add_note(connection, person, number, given.note)
    return Done(1, "The note is kept.")


@router.post("/letters/replace")
def replace(person: Clerk, given: Replacement) -> Done:
    """Writes another value in place of the wrong one into every record of a group."""
    cause = given.cause()
    if cause is None:
        raise ConfigError("No group was named.", do="Give a flow, a rule and the value to replace.")
    with transaction(person) as connection:
        done = letters.replace_value(connection, person, cause, given.by)
    left = f" In {done.left} the value was not found: edit those by hand." if done.left else ""
    return Done(done.count, f"Edited {done.count}.{left}{_in_replay(done)}{' Replay them now.' if done.count else ''}")


@router.post("/letters/dismiss")
def dismiss(person: Clerk, given: Dismissal) -> Done:
    """Decides that records need not be delivered, and why."""
    with transaction(person) as connection:
        done = letters.dismiss(connection, person, given.note, numbers=given.numbers, cause=_chosen(given))
    return Done(done.count, f"Dismissed {done.count}.{_in_replay(done)}")


@router.post("/letters/reopen")
def reopen(person: Clerk, given: Chosen) -> Done:
    """Takes dismissals back."""
    with transaction(person) as connection:
        done = letters.reopen(connection, person, given.numbers)
    return Done(done.count, f"Open again: {done.count}.")


@router.get("/replays/{number}")
def replayed(person: Asks, number: int) -> Replayed:
    """What came of a replay."""
    with transaction(person) as connection:
        return replays.replay(connection, person, number)


@router.post("/letters/assign")
def assign(person: Clerk, given: Assignment) -> Done:
    """Says who works on letters."""
    with transaction(person) as connection:
        done = letters.assign(connection, person, given.to, numbers=given.numbers, cause=_chosen(given))
    return Done(done.count, f"{given.to or 'Nobody'} works on {done.count}.")


@router.post("/letters/replay")
async def replay(request: Request, person: Clerk, given: Replay) -> Done:
    """Has letters worked again: a run of each flow's DAG takes them through all steps, with what was edited. Those that
    are in a replay stay there."""
    marked = await run_in_threadpool(_ask_replay, person, given)
    started = await start(request, person, marked)
    if not marked.count and marked.busy:
        page = "" if len(given.numbers) == 1 or marked.at_work is None else f"/letters/replays/{marked.at_work}"
        return Done(0, f"Nothing was started.{_in_replay(marked)}", {}, page)
    if not marked.count:
        return Done(
            0, "No cause is gone yet: every record would be refused again." if given.only_gone else "Nothing to replay."
        )
    left_over = f" {marked.left} would be refused again and were left." if marked.left else ""
    alone = len(given.numbers) == 1  # its own page tells what comes of it
    page = "" if alone or marked.replay is None else f"/letters/replays/{marked.replay}"
    return Done(marked.count, f"{marked.count} in replay.{left_over}{_in_replay(marked)}", started, page)


def _in_replay(done: Outcome) -> str:
    """How many letters were left to the replay that they are in."""
    if not done.busy:
        return ""
    which = f" {done.at_work}" if done.at_work else ""
    return f" {done.busy} {'is' if done.busy == 1 else 'are'} in replay{which} already and stayed there."


async def start(request: Request, person: Person, marked: Outcome) -> dict[str, str]:
    """Starts a run of each flow's DAG for the letters that are marked; the runs by flow. Where one cannot be started,
    its marks are taken back."""
    started: dict[str, str] = {}
    for flow, keys in marked.keys.items():
        dag = flows.packages()[flow]
        try:
            words = f"Replay of {len(keys)} dead letters, asked for by {person.name}"
            run = await runs.trigger(request, dag, {"replay": keys}, words)
        except CrossdockError:
            left = {name: own for name, own in marked.keys.items() if name not in started}
            await run_in_threadpool(_forget, person, left)
            raise
        started[flow] = run
        if marked.replay is not None:
            await run_in_threadpool(_started, person, marked.replay, flow, f"{dag}/{run}")
    return started


def _started(person: Person, number: int, flow: str, run: str) -> None:
    with transaction(person) as connection:
        replays.started(connection, person, number, flow, run)


def _ask_replay(person: Person, given: Replay) -> Outcome:
    with transaction(person) as connection:
        return letters.ask_replay(
            connection, person, numbers=given.numbers, cause=given.cause(), every=given.all, only_gone=given.only_gone,
            seen=given.seen,
        )  # fmt: skip


def _forget(person: Person, keys: dict[str, list[str]]) -> None:
    with transaction(person) as connection:
        for flow, own in keys.items():
            letters.forget_replay(connection, flow, own)


def _chosen(given: Chosen) -> Cause | None:
    """The cause of a choice; None: numbers. ConfigError where nothing was chosen."""
    cause = given.cause()
    if cause is None and not given.numbers:
        raise ConfigError("No dead letters were chosen.", do="Choose letters, or a group.")
    return cause
