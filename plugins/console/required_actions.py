"""Airflow's required actions on prices, once their changes are decided in the console: they end, answered *Later*.

One that stays (the person may not answer it, Airflow is busy) does no harm: only what is still open is decided by it.
In: a request with a login. Out: how many ended. Never: an answer that decides anything; a refusal of the person's own
decision, which stands.
"""

from __future__ import annotations

import logging
from typing import Any

import httpx
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from console import runs
from console.database import transaction
from crossdock.services import approvals
from crossdock.services.people import Person

DAG, TASK = "price_approvals", "decide"
log = logging.getLogger(__name__)


async def end(request: Request, person: Person) -> int:
    """Ends those required actions all of whose changes are decided."""
    from crossdock_airflow.approvals import LATER, numbers

    ended = 0
    for waiting in await _waiting(request):
        if await run_in_threadpool(_still_open, person, numbers(str(waiting.get("body") or ""))):
            continue
        task = waiting["task_instance"]
        path = f"/api/v2/dags/{DAG}/dagRuns/{task['dag_run_id']}/taskInstances/{TASK}/{task['map_index']}/hitlDetails"
        body = {"chosen_options": [LATER], "params_input": {"only": "", "note": "Decided in the console"}}
        ended += (await _ask(request, "PATCH", path, body)) is not None
    return ended


async def _waiting(request: Request) -> list[dict[str, Any]]:
    """The required actions that nobody has answered yet."""
    path = f"/api/v2/dags/{DAG}/dagRuns/~/hitlDetails?task_id={TASK}&response_received=false&limit=20"
    answer = await _ask(request, "GET", path)
    return list(answer["hitl_details"]) if answer else []


async def _ask(request: Request, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """What Airflow answers; None for a refusal."""
    try:
        answer = await runs.ask(request, method, path, body)
    except httpx.HTTPError as error:
        log.warning("Airflow's required actions could not be asked for: %s", type(error).__name__)
        return None
    if answer.is_error:
        log.info(
            "Airflow answers %s to %s of a required action: it stays, and does no harm", answer.status_code, method
        )
        return None
    return answer.json()


def _still_open(person: Person, changes: list[int]) -> bool:
    with transaction(person) as connection:
        return approvals.still_open(connection, changes)
