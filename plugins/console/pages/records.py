"""Record: one search for every number, the whole life of a record, one version of it as it came."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from console.access import Asks
from console.database import transaction
from console.html import render
from console.marks import taken_back
from crossdock import flows
from crossdock.services import records, search, standing, timeline
from crossdock.services.search import Hit

TITLE, PATH, PLACE = "Record", "/record", 30
router = APIRouter()

Text = Annotated[str, Query(max_length=2_500)]


@router.get("/record")
def found(request: Request, person: Asks, q: Text = "", at: Text = "") -> Response:
    """One hit leads to its page, and there to the part `at`, e.g. the ledger entry that one comes from; several are
    listed; none says what was searched."""
    with transaction(person) as connection:
        results = search.search(connection, person, q)
        reads = standing.reads(connection, flows.get("orders")) if results.text and not results.hits else ""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    if len(results.hits) == 1 and not results.begins:
        hit = results.hits[0]
        return RedirectResponse(root + address(replace(hit, at=at) if at else hit), status_code=303)
    return render(
        request, "record_search.html", title="Record", q=results.text, found=results, address=address, reads=reads,
        readable=records.readable(results.text),
    )  # fmt: skip


def address(hit: Hit) -> str:
    """The page of a hit below the console's root."""
    if hit.kind == "letter":
        return f"/letters/{hit.id}"
    names = {"id": hit.id} | ({"at": hit.at} if hit.at else {})
    return f"/record/{hit.kind}?{urlencode(names)}{'#meant' if hit.at else ''}"


@router.get("/record/version")
def version(request: Request, person: Asks, flow: Text, key: Text, hash: Text, whole: bool = False) -> HTMLResponse:
    """One version of a record as it came."""
    with transaction(person) as connection:
        one = records.version(connection, person, flow, key, hash, whole=whole)
    return render(request, "record_version.html", title=one.title, version=one)


@router.get("/record/{kind}", dependencies=[Depends(taken_back)])
def life(
    request: Request, person: Asks, kind: str, id: Text, at: Text = "", after: Text | None = None
) -> HTMLResponse:  # fmt: skip
    """The whole life of a record."""
    with transaction(person) as connection:
        one = records.life(connection, person, kind, id, after=after)
    of_timeline = any(event.anchor == at for event in one.events)
    going_on = kind != "customer" and any(each.state in ("warn", "bad") for each in one.standings)
    return render(
        request, "record.html", title=one.title, life=one, at=at, of_timeline=of_timeline, going_on=going_on,
        clocks=timeline.CLOCKS,
    )  # fmt: skip
