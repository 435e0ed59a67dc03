"""Reconciliation: the kept report of a run."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from console.access import Asks
from console.database import transaction
from console.html import refusal

router = APIRouter()

# A report is a page of its own, made by the library with its styles within.
OWN_STYLE = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


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
    from crossdock.watch.reconcile import results

    with transaction(request.state.person) as connection:
        page = results.page(connection, number)
    if page is None:
        return refusal(request, 404, otherwise, do)
    return HTMLResponse(page, headers={"Content-Security-Policy": OWN_STYLE})
