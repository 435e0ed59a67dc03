"""Reconciliation for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request

from console import runs
from console.access import Asks, Clerk
from console.database import transaction
from crossdock.services import reconciliation
from crossdock.services.reconciliation import Differences, Orphans, Page

router = APIRouter()


@dataclass(frozen=True)
class Started:
    run: str
    message: str


@router.get("/reconciliation")
def page(person: Asks, run: int | None = None) -> Page:
    """A comparison (the last one where none is named), its trend by subject, and those before it."""
    with transaction(person) as connection:
        return reconciliation.page(connection, person, run)


@router.get("/reconciliation/orphans")
def orphans(
    person: Asks,
    q: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> Orphans:
    """Products of the channel that are no item of TIMS, each with the nearest items, a page at a time."""
    with transaction(person) as connection:
        return reconciliation.orphans(connection, person, q=q or None, after=after, limit=limit)


@router.get("/reconciliation/{number}/differences")
def differences(
    person: Asks,
    number: int,
    subject: str | None = None,
    cause: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> Differences:
    """What differs in a run, a page at a time."""
    with transaction(person) as connection:
        return reconciliation.differences(
            connection, person, number, subject=subject, cause=cause, after=after, limit=limit
        )


@router.post("/reconciliation/start")
async def start(request: Request, person: Clerk) -> Started:
    """Starts a run of the DAG reconcile."""
    run = await runs.trigger(request, "reconcile", {}, f"Asked for by {person.name}")
    return Started(run, "The comparison has begun: both systems are read whole.")
