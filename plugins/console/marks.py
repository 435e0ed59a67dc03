"""Marks of replays whose run is over: taken back before anybody looks at a letter or changes one.

A letter that a replay has is left alone until it comes back. It comes back when its run refuses it or delivers it;
that a run has ended without either, only Airflow knows.

In: a request with a login. Out: nothing. Never: a mark taken back whose run is queued or at work, or whose record a
batch has in its hands.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.access import Asks
from console.database import transaction
from crossdock.services import replays
from crossdock.services.people import Person
from crossdock.services.replays import Loose

OVER = ("success", "failed", "gone")


async def taken_back(request: Request, person: Asks) -> None:
    """Frees the letters of replays whose run has ended without them, or was never started."""
    for each in await run_in_threadpool(_loose, person):
        dag, _, run = each.run.partition("/")
        if each.lost or (run and await runs.state(request, dag, run) in OVER):
            await run_in_threadpool(_end, person, each)


def _loose(person: Person) -> list[Loose]:
    with transaction(person) as connection:
        return replays.loose(connection)


def _end(person: Person, ended: Loose) -> None:
    with transaction(person) as connection:
        replays.end(connection, ended)
