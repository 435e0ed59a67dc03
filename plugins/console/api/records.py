"""Records for programs: search, the whole life of one, one version of it; and reading one now by its number."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.access import Asks, Clerk
from console.bodies import body
from console.database import transaction
from crossdock.services import records, search
from crossdock.services.people import Person
from crossdock.services.records import Life, Version
from crossdock.services.search import Found

router = APIRouter()


@body
class Wanted:
    """A record by the flow that reads it, and its number in its system."""

    flow: str = ""
    key: str = ""


@dataclass(frozen=True)
class Started:
    """The run that reads it, in words and by its id."""

    message: str
    run: str


@router.get("/records")
def found(person: Asks, q: str) -> Found:
    """What any number that people have in their hands leads to."""
    with transaction(person) as connection:
        return search.search(connection, person, q)


@router.get("/records/version")
def version(person: Asks, flow: str, key: str, hash: str, whole: bool = False) -> Version:
    """One version as it came; with `whole` also its personal data."""
    with transaction(person) as connection:
        return records.version(connection, person, flow, key, hash, whole=whole)


@router.get("/records/{kind}")
def life(person: Asks, kind: str, id: str, after: str | None = None) -> Life:
    """The whole life of a record."""
    with transaction(person) as connection:
        return records.life(connection, person, kind, id, after=after)


@router.post("/records/read")
async def read(request: Request, person: Clerk, given: Wanted) -> Started:
    """Has a record read from its system now, by its number, and taken through all steps."""
    key = search.tidy(given.key)
    dag = await run_in_threadpool(_noted, person, given.flow, key)
    run = await runs.trigger(request, dag, {"keys": [key]}, f"Record {key}, asked for by {person.name}")
    return Started(f"A run of {dag} reads it and takes it through all steps. Look again in a moment.", run)


def _noted(person: Person, flow: str, key: str) -> str:
    with transaction(person) as connection:
        return records.read_now(connection, person, flow, key)
