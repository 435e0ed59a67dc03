"""Mappings: all of them, and the canvas of one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.access import Asks
from console.database import transaction
from console.html import render
from crossdock.services import mappings

TITLE, PATH, PLACE = "Mappings", "/mappings", 40
router = APIRouter()


@router.get("/mappings")
def all_of_them(request: Request, person: Asks) -> HTMLResponse:
    """All mappings."""
    with transaction(person):
        found = mappings.listed(person)
        dialects = mappings.of_dialects(person)
    return render(request, "mappings.html", title=TITLE, mappings=found, dialects=dialects)


@router.get("/mappings/{folder}/{name}")
def of_dialect(request: Request, person: Asks, folder: str, name: str) -> HTMLResponse:
    """A mapping by which records of another API are taken in, to read."""
    with transaction(person):
        found = mappings.of_dialect(person, f"{folder}/{name}")
    return render(request, "mapping_of_dialect.html", title=found.title, mapping=found)


@router.get("/mappings/{name}")
def one(request: Request, person: Asks, name: str) -> HTMLResponse:
    """The canvas of a mapping."""
    with transaction(person):
        found = mappings.summary(person, name)
    return render(request, "mapping.html", title=found.title, mapping=found)
