"""Runs of DAGs, as the person who asks: through Airflow's own API in this process, which checks the person's rights.

In: a request with a login, a DAG, what its run should do. Out: the id of the run. Never: a login of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import Request

from crossdock import flows
from crossdock.errors import ConfigError, NotAllowed, Transient
from crossdock.services import effects

AIRFLOW = "crossdock.airflow"  # where the scope has Airflow's app
PASSED_ON = ("authorization", "cookie")


async def trigger(request: Request, dag: str, conf: Mapping[str, Any], note: str) -> str:
    """Starts a run of `dag` by hand. Raises NotAllowed where Airflow does not let the person, ConfigError where it
    does not know the DAG or has paused it, Transient for any other refusal."""
    answer = await ask(request, "GET", f"/api/v2/dags/{dag}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise ConfigError(f"Airflow has no DAG {dag}.", do="Look at its import errors; nothing was started.")
    _allowed(answer, dag)
    if answer.json().get("is_paused"):
        raise ConfigError(f"The DAG {dag} is paused.", do="Switch it on in Airflow's list of DAGs, then do this again.")
    made = await ask(
        request, "POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": dict(conf), "note": note}
    )
    _allowed(made, dag)
    return str(made.json()["dag_run_id"])


async def under_way(request: Request, dag: str) -> tuple[str, str] | None:
    """The run of `dag` that is queued or running, and which of both; None where there is none. Raises NotAllowed where
    Airflow does not show the person its runs, Transient for any other refusal."""
    path = f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running&limit=1&order_by=-run_after"
    answer = await ask(request, "GET", path)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    _shown(answer)
    row = next(iter(answer.json()["dag_runs"]), None)
    return (str(row["dag_run_id"]), str(row["state"])) if row else None


@dataclass(frozen=True)
class Schedule:
    """A DAG of ours: when it runs next by its timetable, if it does."""

    dag: str
    description: str
    timetable: str
    paused: bool
    next_at: datetime | None

    @property
    def due(self) -> bool:
        """Whether it should have begun: it runs, or waits for a free place."""
        return self.next_at is not None and self.next_at <= datetime.now(UTC)


async def schedules(request: Request) -> list[Schedule]:
    """The DAGs of the project, the next one first. Raises NotAllowed where Airflow does not show them to the person,
    Transient for any other refusal."""
    answer = await ask(request, "GET", "/api/v2/dags?tags=crossdock&limit=100&exclude_stale=true")
    _shown(answer)
    found = [_schedule(row) for row in answer.json()["dags"]]
    return sorted(found, key=lambda one: (one.paused, one.next_at is None, one.next_at or datetime.max, one.dag))


async def schedule(request: Request, dag: str) -> Schedule | None:
    """When a DAG runs next; None where Airflow does not have it. Raises as `schedules` does."""
    answer = await ask(request, "GET", f"/api/v2/dags/{dag}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    _shown(answer)
    return _schedule(answer.json())


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(
        str(row["dag_id"]), str(row.get("description") or ""), str(row.get("timetable_description") or ""),
        bool(row.get("is_paused")), _moment(row.get("next_dagrun_run_after")),
    )  # fmt: skip


def _shown(answer: httpx.Response) -> None:
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise NotAllowed("Airflow does not show you its DAGs.", do="Ask for a role of Airflow that may see them.")
    if answer.is_error:
        raise Transient(f"Airflow does not say what runs next (HTTP {answer.status_code}).", do="Look again later.")


async def next_readers(request: Request, *paths: str) -> list[Schedule]:
    """The DAGs that read one of these files of rules, the next one first; raises as `schedules` does."""
    dags = {flows.packages()[flow] for path in paths for flow in effects.read_by(path)}
    return [one for one in await schedules(request) if one.dag in dags] if dags else []


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


async def state(request: Request, dag: str, run: str) -> str:
    """What Airflow says of a run: queued, running, success, failed; gone for one that it does not have; unknown where
    it does not tell."""
    answer = await ask(request, "GET", f"/api/v2/dags/{quote(dag, safe='')}/dagRuns/{quote(run, safe='')}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return "gone"
    return "unknown" if answer.is_error else str(answer.json().get("state") or "unknown")


def _allowed(answer: httpx.Response, dag: str) -> None:
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise NotAllowed(
            f"Airflow does not let you run the DAG {dag}.", do="Ask for a role of Airflow that may trigger it."
        )
    if answer.is_error:
        raise Transient(
            f"Airflow did not start a run of {dag} (HTTP {answer.status_code}).", do="Do it again in a moment."
        )


async def ask(request: Request, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
    """Asks Airflow's API with the person's own login."""
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    transport = httpx.ASGITransport(app=request.scope[AIRFLOW], raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url.replace(path=""))) as client:
        return await client.request(method, path, headers=headers, json=body)
