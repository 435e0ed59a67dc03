"""Audit log: who did what, when, from which address; and the same as a file."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from console.access import Asks
from console.database import transaction
from console.download import download
from console.html import render
from crossdock.services import audit
from crossdock.services.audit import Filter

TITLE, PATH, PLACE = "Audit log", "/audit", 90
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]


def _filter(
    who: Text = "", action: Text = "", subject: Text = "", since: Text = "", until: Text = "", kind: Text = ""
) -> Filter:
    return Filter(
        who or None, action or None, subject.strip() or None, audit.day(since, "From"), audit.day(until, "To"),
        kind or None,
    )  # fmt: skip


Wanted = Annotated[Filter, Depends(_filter)]


@router.get("/audit")
def page(request: Request, person: Asks, wanted: Wanted) -> HTMLResponse:
    """The newest rows of a filter."""
    with transaction(person) as connection:
        deeds = audit.deeds(connection, person, wanted)
        people, actions = audit.people(connection, person), audit.actions(connection, person)
    return render(
        request,
        "audit.html",
        title="Audit log",
        wanted=wanted,
        deeds=deeds,
        people=people,
        actions=actions,
        in_words=audit.in_words,
        kinds=audit.KINDS,
    )


@router.get("/audit/rows")
def rows(request: Request, person: Asks, after: int, wanted: Wanted) -> HTMLResponse:
    """More rows."""
    with transaction(person) as connection:
        deeds = audit.deeds(connection, person, wanted, after=after)
    return render(request, "audit_rows.html", wanted=wanted, deeds=deeds)


@router.get("/audit/audit.csv")
def file(person: Asks, wanted: Wanted) -> Response:
    """All rows of a filter as CSV."""
    with transaction(person) as connection:
        name = audit.exported(connection, person, wanted)
    return download(person, name, "text/csv; charset=utf-8", partial(audit.as_csv, person=person, wanted=wanted))
