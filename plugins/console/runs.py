"""Runs of DAGs, as the person who asks: through Airflow's own API in this process, which checks the person's rights.

In: a request with a login, a DAG, what its run should do. Out: the id of the run. Never: a login of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import Request

from crossdock.errors import ConfigError, NotAllowed, Transient

AIRFLOW = "crossdock.airflow"  # where the scope has Airflow's app
PASSED_ON = ("authorization", "cookie")


async def trigger(request: Request, dag: str, conf: Mapping[str, Any], note: str) -> str:
    """Starts a run of `dag` by hand. Raises NotAllowed where Airflow does not let the person, ConfigError where it
    does not know the DAG or has paused it, Transient for any other refusal."""
    answer = await _ask(request, "GET", f"/api/v2/dags/{dag}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise ConfigError(f"Airflow has no DAG {dag}.", do="Look at its import errors; nothing was started.")
    _allowed(answer, dag)
    if answer.json().get("is_paused"):
        raise ConfigError(f"The DAG {dag} is paused.", do="Switch it on in Airflow's list of DAGs, then do this again.")
    made = await _ask(
        request, "POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": dict(conf), "note": note}
    )
    _allowed(made, dag)
    return str(made.json()["dag_run_id"])


def _allowed(answer: httpx.Response, dag: str) -> None:
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise NotAllowed(
            f"Airflow does not let you run the DAG {dag}.", do="Ask for a role of Airflow that may trigger it."
        )
    if answer.is_error:
        raise Transient(
            f"Airflow did not start a run of {dag} (HTTP {answer.status_code}).", do="Do it again in a moment."
        )


async def _ask(request: Request, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    transport = httpx.ASGITransport(app=request.scope[AIRFLOW], raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url.replace(path=""))) as client:
        return await client.request(method, path, headers=headers, json=body)
