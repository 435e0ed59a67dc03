"""Rules and lookups: the list with what records wait for, a file in its editor, its history, a proposal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from console import runs
from console.access import Asks
from console.database import transaction
from console.html import render
from crossdock.errors import CrossdockError
from crossdock.services import configuration, rule_files, unknown_values

TITLE, PATH, PLACE = "Rules and lookups", "/rules", 50
router = APIRouter()

Path = Annotated[str, Query(max_length=200)]
Value = Annotated[str, Query(max_length=2_000)]


@router.get("/rules")
def listed(request: Request, person: Asks) -> HTMLResponse:
    """All files, what they lack, and what waits for a second person."""
    with transaction(person) as connection:
        status = configuration.status(connection)
        groups = rule_files.listed(connection, person)
        lacking = unknown_values.of_all(connection, person)
    waiting = [one for one in status.proposals if one.waits_for]
    ready = [one for one in status.proposals if not one.waits_for]
    return render(
        request, "rules.html", title=TITLE, groups=groups, lacking=lacking, now=status, waiting=waiting, ready=ready,
        lacks={one.path: one for one in lacking},
    )  # fmt: skip


@router.get("/rules/file")
def file(
    request: Request, person: Asks, path: Path, version: int | None = None, value: Value = ""
) -> HTMLResponse:  # fmt: skip
    """A file in its editor. `value`: one that records wait for; its row is the one to fill in."""
    with transaction(person) as connection:
        facts = rule_files.facts(connection, person, path)
        lacking = unknown_values.of(connection, person, path, value)
    return render(
        request, "rules_file.html", title=facts.name, file=facts, lacking=lacking, version=version, wanted=value,
    )  # fmt: skip


@router.get("/rules/next")
async def following(request: Request, person: Asks, path: Path) -> HTMLResponse:
    """Which DAGs read a file, and when they run next."""
    try:
        found, problem = await runs.next_readers(request, path), ""
    except CrossdockError as error:
        found, problem = [], error.message
    return render(request, "rules_next.html", schedules=found, problem=problem)


@router.get("/rules/history")
def history(request: Request, person: Asks, path: Path) -> HTMLResponse:
    """Who changed a file when, and why."""
    with transaction(person) as connection:
        past = rule_files.history(connection, person, path)
    return render(request, "rules_history.html", path=path, past=past)


@router.get("/rules/change")
def change(request: Request, person: Asks, path: Path, number: int) -> HTMLResponse:
    """What a version did to a file."""
    with transaction(person) as connection:
        found = rule_files.change(connection, person, path, number)
    return render(request, "rules_change.html", change=found)


@router.get("/rules/versions/{number}")
def version(request: Request, person: Asks, number: int) -> HTMLResponse:
    """A version, or a proposal that waits for consent."""
    with transaction(person) as connection:
        found = configuration.show(connection, number)
        changes = configuration.diff(connection, number)
    return render(request, "rules_version.html", title=f"Version {number}", version=found, changes=changes)
