"""The audit log for programs."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from console.access import Asks
from console.database import transaction
from crossdock.services import audit
from crossdock.services.audit import Deeds, Filter

router = APIRouter()


@router.get("/audit")
def deeds(
    person: Asks,
    who: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: date | None = None,
    until: date | None = None,
    kind: str | None = None,
    after: int | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> Deeds:
    """Who did what, the newest first, a page at a time."""
    with transaction(person) as connection:
        wanted = Filter(who, action, subject, since, until, kind)
        return audit.deeds(connection, person, wanted, after=after, limit=limit)
