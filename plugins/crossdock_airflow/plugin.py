"""The Airflow plugin: writes what became of a run's records onto the run itself, as its note.

In: a run of one of our DAGs that has just ended, in the scheduler's process. Out: a note such as "read 43, delivered
41, dead 2", shown in the run's page and list. Never: holds the scheduler up or breaks it, touches its session (a
connection that is looked up in the scheduler's thread closes that session); a note that a person has written.
"""

from __future__ import annotations

import ast
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from crossdock.settings import PROJECT

if TYPE_CHECKING:
    import sqlalchemy as sa
    from airflow.models.dagrun import DagRun

MARK = "Records: "
PATIENCE = 10  # seconds that a note may take
log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Writes the note of a run that went well."""
    _note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Writes the note of a failed run: how far it came."""
    _note(dag_run)


def _note(dag_run: DagRun) -> None:
    name = "a run"
    try:
        dag_id, run_id = dag_run.dag_id, dag_run.run_id
        name = f"{dag_id} {run_id}"
        note = NOTES.get(dag_id)
        if note and (not dag_run.note or dag_run.note.startswith(MARK)):
            dag_run.note = MARK + _apart(note, dag_id, run_id)
    except Exception as error:  # a failed note does not stop the scheduler
        log.warning("No note for %s: %s", name, type(error).__name__)


def _apart(note: Callable[[str, str], str], dag_id: str, run_id: str) -> str:
    """What `note` returns, asked in a thread of its own: Airflow's sessions belong to a thread. Raises what it raises,
    and TimeoutError."""
    reported: Future[str] = Future()

    def ask() -> None:
        try:
            reported.set_result(note(dag_id, run_id))
        except BaseException as error:  # also SystemExit, which ends the thread only
            reported.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    threading.Thread(target=ask, name="crossdock-note", daemon=True).start()
    return reported.result(PATIENCE)


def counts(dag_id: str, run_id: str) -> str:
    """What became of the records that the run read, in words."""
    import sqlalchemy as sa

    from crossdock.store import accuracy, batches
    from crossdock.store.tables import ops_batch
    from crossdock_airflow.tasks import run_name

    with _engine().connect() as connection:
        wanted = sa.select(ops_batch.c.id).where(
            ops_batch.c.run_id == run_name(dag_id, run_id), ops_batch.c.flow != "reference"
        )
        ids = list(connection.scalars(wanted))
        reported = str(batches.counts(connection, ids)) + _shadow(connection, ids)
        found = accuracy.last(connection, dag_id.removesuffix("_compare")) if dag_id.endswith("_compare") else None
        return (
            reported
            if found is None
            else f"{reported}; before the repair {accuracy.percentage_text(found.compared, found.equal)}"
        )


def _shadow(connection: sa.Connection, ids: list[int]) -> str:
    """That flows of these batches are in shadow mode, in words; "" where they are live."""
    import sqlalchemy as sa

    from crossdock.services import go_live
    from crossdock.store import versions
    from crossdock.store.tables import ops_batch

    with versions.in_force(_engine()):
        within = go_live.in_shadow()
    if not within or not ids:
        return ""
    worked = set(connection.scalars(sa.select(ops_batch.c.flow).where(ops_batch.c.id.in_(ids)).distinct()))
    found = [name for name in within if name in worked]
    return f"; shadow mode ({', '.join(found)}): nothing is written" if found else ""


def compared(dag_id: str, run_id: str) -> str:
    """The days that the run has compared, in a sentence each."""
    from crossdock.services import shadow
    from crossdock_airflow.tasks import run_name

    with _engine().connect() as connection:
        days = shadow.of_run(connection, run_name(dag_id, run_id))
    return " ".join(day.sentence for day in days) or "no flow that can be compared is in shadow mode"


def reconciled(dag_id: str, run_id: str) -> str:
    """What a reconciliation has found, and where its report is."""
    import sqlalchemy as sa
    from airflow.configuration import conf

    from crossdock.store.tables import ops_reconcile_run as table
    from crossdock.watch.reconcile import results
    from crossdock_airflow.tasks import run_name

    with _engine().connect() as connection:
        name = run_name(dag_id, run_id)
        number = connection.scalar(sa.select(sa.func.max(table.c.id)).where(table.c.run_id == name))
        run = results.run(connection, number) if number else None
    if run is None:
        return "nothing was compared"
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{results.words(run)}. [Report]({base}/crossdock/reconcile/{number})"


# What the note of a DAG says, by what its file imports of `crossdock_airflow.tasks`.
SAYS: dict[str, Callable[[str, str], str]] = {
    "five_steps": counts, "run_batches": counts, "work_events": counts,
    "compare": reconciled, "compare_shadow": compared,
}  # fmt: skip


def notes(folder: Path) -> dict[str, Callable[[str, str], str]]:
    """What notes say, by DAG. A DAG has the name of its file; the file is read, not run."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ImportFrom) and node.module == "crossdock_airflow.tasks":
                for words in (SAYS[name.name] for name in node.names if name.name in SAYS):
                    found[path.stem] = words
    return found


NOTES = notes(PROJECT / "dags")


@cache
def _engine() -> sa.Engine:
    from crossdock.store import database
    from crossdock_airflow.connections import database_url

    return database.engine(database_url())


class CrossdockPlugin(AirflowPlugin):
    """Run notes."""

    name = "crossdock"
    listeners = [sys.modules[__name__]]  # noqa: RUF012
