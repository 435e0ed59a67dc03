"""Imports that tasks need, done once in the process that tasks are forked from.

In: the command line of this process, the executor. Out: loaded modules; with LocalExecutor (scheduler) and Celery's
prefork pool (worker) a task then starts without importing anything. Never: loads them where no task runs (the
api-server, the dag-processor, a scheduler that sends its tasks elsewhere), opens a connection (a fork would share its
socket).
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

MODULES = (
    "pandas",
    "pyarrow.json",
    "pyarrow.csv",
    "great_expectations",
    "great_expectations.expectations.core",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "airflow.providers.http.hooks.http",
    "airflow.sdk.execution_time.task_runner",
    "crossdock.steps.extract",
    "crossdock.steps.run_batches",
    "crossdock.watch.freshness",
    "crossdock.watch.reconcile",
)

log = logging.getLogger(__name__)


def when_tasks_start_here(arguments: list[str] | None = None) -> bool:
    """Loads the modules if this is a process that tasks are forked from; whether it is."""
    words = set(sys.argv[1:] if arguments is None else arguments)
    if not ({"celery", "worker"} <= words or ("scheduler" in words and _runs_tasks_itself())):
        return False
    load()
    return True


def _runs_tasks_itself() -> bool:
    """Whether the scheduler's executor forks tasks from it."""
    from airflow.configuration import conf

    return "LocalExecutor" in conf.get("core", "executor")


@contextmanager
def _survived(what: str) -> Iterator[None]:
    """Keeps the scheduler alive after a broken import or mapping."""
    try:
        yield
    except Exception as error:
        log.warning("%s: not loaded ahead of the tasks: %s", what, error)


def load() -> None:
    """Imports all modules and reads the mappings. What fails is left to the task, whose log then says why."""
    started = time.monotonic()
    for name in MODULES:
        with _survived(name):
            importlib.import_module(name)
    with _survived("flows"):
        from crossdock import flows

        flows.all_flows()
    with _survived("mappings and checks"):
        from crossdock.mapping import language
        from crossdock.steps import suites

        for name in language.names():  # read again by a task when their files have changed
            language.load(name)
        for name in suites.names():
            suites.load(name)
    log.info("Imported what tasks need in %.1f s", time.monotonic() - started)
