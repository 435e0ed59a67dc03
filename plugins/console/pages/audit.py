"""Audit log: who did what, when, from which address; and the same as a file."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
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


def _filter(who: Text = "", action: Text = "", subject: Text = "", since: Text = "", until: Text = "") -> Filter:
    return Filter(
        who or None, action or None, subject.strip() or None, audit.day(since, "From"), audit.day(until, "To")
    )


@router.get("/audit")
def page(
    request: Request, person: Asks, who: Text = "", action: Text = "", subject: Text = "", since: Text = "",
    until: Text = "",
) -> HTMLResponse:  # fmt: skip
    """The newest rows of a filter."""
    wanted = _filter(who, action, subject, since, until)
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
    )


@router.get("/audit/rows")
def rows(
    request: Request, person: Asks, after: int, who: Text = "", action: Text = "", subject: Text = "",
    since: Text = "", until: Text = "",
) -> HTMLResponse:  # fmt: skip
    """More rows."""
    wanted = _filter(who, action, subject, since, until)
    with transaction(person) as connection:
        deeds = audit.deeds(connection, person, wanted, after=after)
    return render(request, "audit_rows.html", wanted=wanted, deeds=deeds)


@router.get("/audit/audit.csv")
def file(
    person: Asks, who: Text = "", action: Text = "", subject: Text = "", since: Text = "", until: Text = ""
) -> Response:
    """All rows of a filter as CSV."""
    wanted = _filter(who, action, subject, since, until)
    return download(
        person, "audit.csv", "text/csv; charset=utf-8", partial(audit.as_csv, person=person, wanted=wanted)
    )  # fmt: skip
