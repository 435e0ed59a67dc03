"""Rules and lookups: files as grids, forms and texts, drafts held against everything, and what people publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.access import Analyst, Asks
from console.api.letters import start
from console.bodies import body
from console.database import transaction
from crossdock import flows
from crossdock.config.grid import RowChange
from crossdock.errors import CrossdockError
from crossdock.services import configuration, letters, previews, rule_files, unknown_values
from crossdock.services.configuration import Version
from crossdock.services.letters import Outcome
from crossdock.services.people import Person
from crossdock.services.previews import Preview, Seen
from crossdock.services.rule_files import Checked, Draft, Group, Opened, ValueChange
from crossdock.services.unknown_values import Lacking

router = APIRouter()

Path = Annotated[str, Query(max_length=200)]


@body
class GivenRow:
    """A change of one row; see `crossdock.config.grid.RowChange`."""

    line: int = 0
    cells: list[str] | None = None
    after: int = 0


@body
class GivenValue:
    place: list[str | int]
    value: str | list[str] | None = None


@body
class Given:
    """A draft of a file: its text in force (or `text`), with changes of rows or words."""

    path: str
    text: str | None = None
    rows: list[GivenRow] = field(default_factory=list)
    values: list[GivenValue] = field(default_factory=list)

    def draft(self) -> Draft:
        return Draft(
            self.path,
            self.text,
            tuple(RowChange(one.line, None if one.cells is None else tuple(one.cells), one.after) for one in self.rows),
            tuple(
                ValueChange(tuple(one.place), tuple(one.value) if isinstance(one.value, list) else one.value)
                for one in self.values
            ),
        )


@body
class Look(Given):
    """`parent`: the version that the person has seen. `preview`: the number of one that has not compared everything;
    it goes on from there."""

    parent: int | None = None
    preview: int | None = None


@body
class Publication(Given):
    """`parent`: the version that the person has seen. `preview`: the number of what `effects` has shown of this very
    draft; `confirm`: of a large change the number of its changes, written once more. `replay`: values whose waiting
    letters are replayed then."""

    message: str = ""
    parent: int | None = None
    preview: int | None = None
    confirm: str = ""
    replay: list[str] = field(default_factory=list)


@body
class Agreement:
    """`preview`, `confirm`: as in a publication."""

    preview: int | None = None
    confirm: str = ""


@body
class GoesOn:
    preview: int | None = None


@body
class Replay:
    path: str
    values: list[str]


@body
class Back:
    path: str
    number: int


@dataclass(frozen=True)
class Published:
    """What became of a publication, in words. `waits_for`: files that a second person must agree to first. `page`: as
    of `console.api.letters.Done`."""

    number: int
    message: str
    waits_for: tuple[str, ...] = ()
    count: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    page: str = ""


@router.get("/rules/files")
def files(person: Asks) -> list[Group]:
    """Every file, by what it is about."""
    with transaction(person) as connection:
        return list(rule_files.listed(connection, person))


@router.get("/rules/file")
def file(person: Asks, path: Path, version: int | None = None) -> Opened:
    """A file as it is in force, or as a version has it."""
    with transaction(person) as connection:
        text = configuration.text(connection, path, version) if version is not None else None
        return rule_files.opened(connection, person, path, text)


@router.get("/rules/unknown")
def unknown(person: Asks) -> list[Lacking]:
    """The values that lookups lack and that records wait for."""
    with transaction(person) as connection:
        return list(unknown_values.of_all(connection, person))


@router.post("/rules/open")
def opened(person: Analyst, given: Given) -> Opened:
    """A draft as a grid, as a form and as text. Nothing is written."""
    with transaction(person) as connection:
        return rule_files.opened(connection, person, given.path, rule_files.text_of(connection, person, given.draft()))


@router.post("/rules/check")
def check(person: Analyst, given: Given) -> Checked:
    """What is wrong with a draft. Nothing is written."""
    with transaction(person) as connection:
        return rule_files.examined(connection, person, given.draft())


@router.post("/rules/effects")
def would_change(person: Analyst, given: Look) -> Preview:
    """What would change if a draft were published. Kept is only how many, and that the person has seen it."""
    with transaction(person) as connection:
        return rule_files.preview(connection, person, given.draft(), given.parent, given.preview)


@router.post("/rules/versions/{number}/effects")
def proposal_would_change(person: Analyst, number: int, given: GoesOn) -> Preview:
    """What would change if a proposal came into force."""
    with transaction(person) as connection:
        return previews.of_proposal(connection, person, number, given.preview)


@router.post("/rules/publish")
async def publish(request: Request, person: Analyst, given: Publication) -> Published:
    """Publishes a draft whose effects the person has seen, and has the letters worked again that waited for it."""
    version = await run_in_threadpool(_publish, person, given)
    if version.waits_for:
        return Published(
            version.number, f"Version {version.number} waits for a second person's consent.", version.waits_for
        )
    words = await _in_force(request, version)
    if not given.replay:
        return Published(version.number, words)
    try:
        done = await _work_again(request, person, given.path, given.replay)
    except CrossdockError as error:
        error.message = f"{words} What waited was not worked again: {error.message}"
        raise
    return replace(done, number=version.number, message=f"{words} {done.message}")


@router.post("/rules/replay")
async def replay(request: Request, person: Analyst, given: Replay) -> Published:
    """Has the letters worked again that waited for values which a lookup knows now."""
    return await _work_again(request, person, given.path, given.values)


@router.post("/rules/versions/{number}/consent")
async def consent(request: Request, person: Analyst, number: int, given: Agreement) -> Published:
    """A second person, who has seen the effects too, agrees to a proposal, which comes into force."""
    version = await run_in_threadpool(_bring_into_force, previews.consent, person, number, given)
    return Published(version.number, await _in_force(request, version))


@router.post("/rules/versions/{number}/publish")
async def publish_proposal(request: Request, person: Analyst, number: int, given: Agreement) -> Published:
    """Brings a proposal into force that needs nobody's consent, and whose effects the person has seen."""
    version = await run_in_threadpool(_bring_into_force, previews.publish, person, number, given)
    if version.waits_for:
        return Published(number, f"Version {number} waits for a second person's consent.", version.waits_for)
    return Published(number, await _in_force(request, version))


@router.post("/rules/versions/{number}/withdraw")
def withdraw(person: Analyst, number: int) -> Published:
    """Takes a proposal back."""
    with transaction(person) as connection:
        configuration.withdraw(connection, person, number)
    return Published(number, f"The proposal {number} is withdrawn.")


@router.post("/rules/take-back")
async def take_back(request: Request, person: Analyst, given: Back) -> Published:
    """Makes a file what it was before a version changed it."""
    version = await run_in_threadpool(_take_back, person, given)
    if version.waits_for:
        return Published(
            version.number, f"Version {version.number} waits for a second person's consent.", version.waits_for
        )
    return Published(version.number, f"Taken back: {await _in_force(request, version)}")


async def _in_force(request: Request, version: Version) -> str:
    """That a version is in force, and which DAG reads its files next, where Airflow says so."""
    words = f"Version {version.number} is in force with the next task"
    try:
        found = await runs.next_readers(request, *version.files)
    except CrossdockError:
        found = []
    readers = [one for one in found if one.next_at and not one.paused]
    if not readers:
        return f"{words}."
    first = readers[0]
    return f"{words}: {first.dag} {'is due' if first.due else f'runs next at {first.next_at:%H:%M} UTC'}."


def _bring_into_force(
    how: Callable[[sa.Connection, Person, int, Seen], Version], person: Person, number: int, given: Agreement
) -> Version:
    with transaction(person) as connection:
        return how(connection, person, number, Seen(given.preview, given.confirm))


def _take_back(person: Person, given: Back) -> Version:
    with transaction(person) as connection:
        return rule_files.take_back(connection, person, given.path, given.number)


def _publish(person: Person, given: Publication) -> Version:
    with transaction(person) as connection:
        seen = Seen(given.preview, given.confirm)
        return rule_files.publish(connection, person, given.draft(), given.message, given.parent, seen)


async def _work_again(request: Request, person: Person, path: str, values: list[str]) -> Published:
    """Has everything worked again that waited for values of a lookup: letters, and booked settlement files."""
    marked, files = await run_in_threadpool(_ask_replay, person, path, values)
    started = await start(request, person, marked)
    if files:
        note = f"{len(files)} settlement files once more, asked for by {person.name}"
        started["payouts"] = await runs.trigger(request, flows.packages()["payouts"], {"keys": files}, note)
    page = "" if marked.replay is None else f"/letters/replays/{marked.replay}"
    return Published(0, _replayed(marked, files), (), marked.count + len(files), started, page)


def _ask_replay(person: Person, path: str, values: list[str]) -> tuple[Outcome, list[str]]:
    with transaction(person) as connection:
        files = unknown_values.files_of(connection, person, path, values)
        numbers = unknown_values.letters_of(connection, person, path, values)
        if not numbers:
            return Outcome(0), files
        return letters.ask_replay(connection, person, numbers=numbers, only_gone=True), files


def _replayed(marked: Outcome, files: list[str]) -> str:
    left = f" {marked.left} would be refused again for another reason." if marked.left else ""
    read = f" {len(files)} settlement {'file is' if len(files) == 1 else 'files are'} read once more; the ledger then"
    read = f"{read} moves the lines from Suspense to where they belong." if files else ""
    if not marked.count and not marked.left and not files:
        return "Nothing waits for it any more."
    return f"{f'{marked.count} in replay.{left}' if marked.count or marked.left else ''}{read}".strip()
