"""The pages: reports of the reconciliation, as they are kept in the Crossdock database.

In: a number of a run, or none for the last one. Out: HTML. Never: a route without `may_see_pages`, which the app itself
asks for; a script or a frame of another site.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse

from console.access import may_see_pages

if TYPE_CHECKING:
    import sqlalchemy as sa

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}
NOTHING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Reconciliation</title>
<p style="font: 16px sans-serif; margin: 40px">{}</p></html>"""


@cache
def app() -> FastAPI:
    """The app. It has no description of itself, for that would be a route without a login."""
    made = FastAPI(dependencies=[Depends(may_see_pages)], openapi_url=None, docs_url=None, redoc_url=None)
    made.get("/reconcile")(to_last)
    made.get("/reconcile/")(last)
    made.get("/reconcile/{number}")(one)
    return made


def to_last() -> RedirectResponse:
    """Redirects to the last report, where relative links work."""
    return RedirectResponse("reconcile/")


def last() -> HTMLResponse:
    """The last report."""
    return _shown(None, "Nothing has been reconciled yet: trigger the DAG reconcile, or run `crossdock reconcile`.")


def one(number: int) -> HTMLResponse:
    """The report of a run."""
    return _shown(number, f"There is no report of run {number}; old ones are not kept.")


def _shown(number: int | None, otherwise: str) -> HTMLResponse:
    from crossdock.watch.reconcile import results

    with _engine().connect() as connection:
        page = results.page(connection, number)
    if page is None:
        return HTMLResponse(NOTHING.format(otherwise), status_code=404, headers=HEADERS)
    return HTMLResponse(page, headers=HEADERS)


@cache
def _engine() -> sa.Engine:
    from crossdock.store import database
    from crossdock_airflow.connections import database_url

    return database.engine(database_url())
