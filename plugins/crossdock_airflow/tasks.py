"""The five steps as Airflow tasks, and what every DAG of the project has in common.

In: a flow's name, a run, batch ids. Out: calls of `crossdock.steps`, whose counts are the tasks' return values.
Never: a rule of a flow; an import of pandas when a DAG file is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param, get_current_context, task

from crossdock_airflow.connections import runtime
from crossdock_airflow.notifier import Alert
from crossdock_airflow.retry import TypedErrors

if TYPE_CHECKING:
    from crossdock.steps.extract import Window

OWNER = "crossdock"
START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

# What a person may ask of a run by hand. Without any of it the run does what the next scheduled one would do.
ASK = {
    "from": Param(None, type=["null", "string"], format="date-time", title="From", description="Read changes since"),
    "to": Param(None, type=["null", "string"], format="date-time", title="To", description="Read changes before"),
    "keys": Param([], type="array", items={"type": "string"}, title="Keys", description="Read these records only"),
    "reprocess": Param(
        False, type="boolean", title="Work unchanged records again", description="After a mended mapping"
    ),
}


def common(doc: str | None, *tags: str) -> dict[str, Any]:
    """What every DAG of the project is given: its docstring as its page, one run at a time, no catching up."""
    return {
        "start_date": START,
        "catchup": False,
        "max_active_runs": 1,
        "doc_md": doc,
        "tags": ["crossdock", *tags],
        "default_args": {
            "owner": OWNER,
            "retries": 4,
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=15),
            "retry_policy": TypedErrors(),
            "execution_timeout": timedelta(minutes=30),
            "on_failure_callback": [Alert()],
        },
    }


@task(execution_timeout=timedelta(hours=2))
def extract(flow: str, sweep: bool = False) -> list[int]:
    """Reads the window; the ids of the batches that have work. None: the rest of the run is skipped."""
    from crossdock import flows
    from crossdock.steps import extract as step

    context = get_current_context()
    params = context["params"]
    kind, window = asked(context["dag_run"], params, sweep)
    with runtime() as opened:
        return step.extract(
            opened, flows.get(flow), window,
            kind=kind, run_id=context["run_id"], keys=params["keys"], reprocess=params["reprocess"],
        )  # fmt: skip


def asked(run: Any, params: Any, sweep: bool = False) -> tuple[str, Window]:
    """The kind of run and its window: a backfill's is its data interval; a person may name one, or keys; a scheduled
    run's is decided by the library, from the watermark to the source's own clock."""
    from crossdock.steps.extract import Window

    if params["keys"]:
        return "key", Window()
    if params["from"] or params["to"]:
        return "backfill", Window(*(datetime.fromisoformat(params[p]) if params[p] else None for p in ("from", "to")))
    if run.run_type == "backfill":
        return "backfill", Window(run.data_interval_start, run.data_interval_end)
    return ("sweep" if sweep else "scheduled"), Window()


def _step(name: str) -> Callable[[str, int], dict[str, int]]:
    """A step's function, imported when it runs."""
    import importlib

    step = getattr(importlib.import_module(f"crossdock.steps.{name}"), name)

    def run(flow: str, batch_id: int) -> dict[str, int]:
        from crossdock import flows

        with runtime() as opened:
            return asdict(step(opened, flows.get(flow), batch_id))

    return run


@task
def transform(flow: str, batch_id: int) -> dict[str, int]:
    """Raw records of the batch -> staged documents."""
    return _step("transform")(flow, batch_id)


@task
def check(flow: str, batch_id: int) -> dict[str, int]:
    """Staged documents -> ready, or dead letters with their reasons."""
    return _step("check")(flow, batch_id)


@task(execution_timeout=timedelta(hours=1))
def load(flow: str, batch_id: int) -> dict[str, int]:
    """Ready documents -> the target system, each once."""
    context = get_current_context()
    counts = _step("load")(flow, batch_id)
    for asset in context["outlets"]:
        context["outlet_events"][asset].extra = {"batch_ids": [batch_id]}
    return counts


@task(execution_timeout=timedelta(hours=1))
def confirm(flow: str, batch_id: int) -> dict[str, int]:
    """What was delivered -> back to the source."""
    return _step("confirm")(flow, batch_id)


def loaded(flow: str) -> Asset:
    """The asset that says a flow has loaded a batch; its events carry `batch_ids`."""
    return Asset(f"{flow} loaded", uri=f"crossdock://{flow}/loaded")
