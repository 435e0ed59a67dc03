"""Reconciliation: the last comparison with its trend and differences; the kept report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from console.access import Asks
from console.database import transaction
from console.html import refusal, render
from crossdock.services import reconciliation
from crossdock.services.reconciliation import Point

TITLE, PATH, PLACE = "Reconciliation", "/reconciliation", 80
router = APIRouter()

Text = Annotated[str, Query(max_length=1_000)]
WIDTH, HEIGHT, MOST_WIDE = 180, 34, 12  # of a trend


@dataclass(frozen=True)
class Bar:
    """One run in a trend: explained below, unexplained on top, both as heights."""

    x: float
    width: float
    explained: float
    unexplained: float
    point: Point


def trend(history: Sequence[Point]) -> list[Bar]:
    """The bars of a subject's trend: the tallest is the run with the most differences; what differs at all is seen."""
    most = max((one.explained + one.unexplained for one in history), default=0) or 1
    wide = min(WIDTH / max(len(history), 1), MOST_WIDE)

    def tall(number: int) -> float:
        return round(max(number / most * HEIGHT, 2), 2) if number else 0.0

    return [
        Bar(round(place * wide, 2), round(wide * 0.8, 2), tall(one.explained), tall(one.unexplained), one)
        for place, one in enumerate(history)
    ]


@router.get("/reconciliation")
def last_run(request: Request, person: Asks) -> HTMLResponse:
    """The last comparison."""
    return _page(request, None)


@router.get("/reconciliation/differences")
def differences(
    request: Request, person: Asks, run: int, subject: Text | None = None, cause: Text | None = None,
    after: Text | None = None,
) -> HTMLResponse:  # fmt: skip
    """More of what differs."""
    with transaction(person) as connection:
        found = reconciliation.differences(
            connection, person, run, subject=subject or None, cause=cause or None, after=after
        )
    return render(
        request, "reconciliation_rows.html", number=run, subject=subject, cause=cause, differences=found, more=True
    )


@router.get("/reconciliation/orphans")
def orphans(request: Request, person: Asks, q: Text | None = None, after: Text | None = None) -> HTMLResponse:
    """Products of the channel that are no item of TIMS."""
    wanted = (q or "").strip() or None
    with transaction(person) as connection:
        found = reconciliation.orphans(connection, person, q=wanted, after=after)
    template = "reconciliation_orphans_rows.html" if after else "reconciliation_orphans.html"
    return render(request, template, title="Products without an item", orphans=found, wanted=wanted)


@router.get("/reconciliation/{number}")
def one_run(
    request: Request, person: Asks, number: int, subject: Text | None = None, cause: Text | None = None
) -> HTMLResponse:
    """A comparison, with the differences of a subject or a cause."""
    return _page(request, number, subject or None, cause or None)


def _page(request: Request, number: int | None, subject: str | None = None, cause: str | None = None) -> HTMLResponse:
    person = request.state.person
    with transaction(person) as connection:
        page = reconciliation.page(connection, person, number)
        found = None
        if page.run is not None:
            found = reconciliation.differences(connection, person, page.run.id, subject=subject, cause=cause)
    return render(
        request, "reconciliation.html", title="Reconciliation", page=page, differences=found, subject=subject,
        cause=cause, trend=trend, meaning=reconciliation.meaning, newest=page.runs[0].id if page.runs else None,
        number=page.run.id if page.run else None, more=False, height=HEIGHT, width=WIDTH,
    )  # fmt: skip


@router.get("/reconcile")
def to_last() -> RedirectResponse:
    """Redirects to the last report, where relative links work."""
    return RedirectResponse("reconcile/")


@router.get("/reconcile/")
def last(request: Request, person: Asks) -> Response:
    """The last report."""
    return _shown(request, None, "Nothing has been reconciled yet.", "Trigger the DAG reconcile.")


@router.get("/reconcile/{number}")
def one(request: Request, person: Asks, number: int) -> Response:
    """The report of a run."""
    return _shown(request, number, f"There is no report of run {number}.", "Old ones are not kept.")


def _shown(request: Request, number: int | None, otherwise: str, do: str) -> Response:
    person = request.state.person
    with transaction(person) as connection:
        found = reconciliation.report(connection, person, number)
    if found is None:
        return refusal(request, 404, otherwise, do)
    run, report = found
    return render(
        request, "reconciliation_report.html", title=f"Reconciliation {run}", run=run,
        report=Markup(report),  # noqa: S704
    )  # fmt: skip
