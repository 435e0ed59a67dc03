"""The Airflow plugin: writes what became of a run's records onto the run itself, as its note.

In: a run of one of our DAGs that has just ended, in the scheduler's process. Out: a note such as "read 43, delivered
41, dead 2", shown in the run's page and list. Never: holds the scheduler up or breaks it; notes stay what they are when
a person has written one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    import sqlalchemy as sa
    from airflow.models.dagrun import DagRun

# DAGs whose runs work records of a flow.
DAGS = frozenset(
    {
        "orders", "orders_sweep", "shipments", "invoices", "returns", "stock_adjustments", "payouts", "payments",
        "ledger", "nightly_close", "catalog", "catalog_compare", "prices", "prices_compare", "inventory",
        "inventory_compare",
    }
)  # fmt: skip
MARK = "Records: "
log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """All went well."""
    _note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Something did not: the note says how far it came."""
    _note(dag_run)


def _note(dag_run: DagRun) -> None:
    says = NOTES.get(dag_run.dag_id)
    if says is None:
        return
    try:
        if not dag_run.note or dag_run.note.startswith(MARK):
            dag_run.note = MARK + says(dag_run.dag_id, dag_run.run_id)
    except Exception as error:  # a note is never worth a scheduler
        log.warning("No note for %s %s: %s", dag_run.dag_id, dag_run.run_id, type(error).__name__)


def counts(dag_id: str, run_id: str) -> str:
    """What became of the records that the run read, in words."""
    import sqlalchemy as sa

    from crossdock.store import accuracy, batches
    from crossdock.store.tables import ops_batch
    from crossdock_airflow.tasks import run_name

    with _engine().connect() as connection:
        wanted = sa.select(ops_batch.c.id).where(
            ops_batch.c.run_id == run_name(dag_id, run_id), ops_batch.c.flow != "masters"
        )
        told = str(batches.counts(connection, list(connection.scalars(wanted))))
        found = accuracy.last(connection, dag_id.removesuffix("_compare")) if dag_id.endswith("_compare") else None
        return told if found is None else f"{told}; before the repair {accuracy.said(found.compared, found.equal)}"


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


NOTES: dict[str, Callable[[str, str], str]] = {**dict.fromkeys(DAGS, counts), "reconcile": reconciled}


@cache
def _engine() -> sa.Engine:
    from crossdock.store import database
    from crossdock_airflow.connections import database_url

    return database.engine(database_url())


class CrossdockPlugin(AirflowPlugin):
    """Run notes."""

    name = "crossdock"
    listeners = [sys.modules[__name__]]  # noqa: RUF012
