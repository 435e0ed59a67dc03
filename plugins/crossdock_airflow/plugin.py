"""The Airflow plugin: writes what became of a run's records onto the run itself, as its note.

In: a run of one of our DAGs that has just ended, in the scheduler's process. Out: a note such as "read 43, delivered
41, dead 2", shown in the run's page and list. Never: holds the scheduler up or breaks it; notes stay what they are when
a person has written one.
"""

from __future__ import annotations

import logging
import sys
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
        "ledger", "nightly_close", "catalog", "catalog_compare",
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
    if dag_run.dag_id not in DAGS:
        return
    try:
        if not dag_run.note or dag_run.note.startswith(MARK):
            dag_run.note = MARK + counts(dag_run.dag_id, dag_run.run_id)
    except Exception as error:  # a note is never worth a scheduler
        log.warning("No note for %s %s: %s", dag_run.dag_id, dag_run.run_id, type(error).__name__)


def counts(dag_id: str, run_id: str) -> str:
    """What became of the records that the run read, in words."""
    import sqlalchemy as sa

    from crossdock.store import batches
    from crossdock.store.tables import ops_batch
    from crossdock_airflow.tasks import run_name

    with _engine().connect() as connection:
        wanted = sa.select(ops_batch.c.id).where(
            ops_batch.c.run_id == run_name(dag_id, run_id), ops_batch.c.flow != "masters"
        )
        return str(batches.counts(connection, list(connection.scalars(wanted))))


@cache
def _engine() -> sa.Engine:
    from crossdock.store import database
    from crossdock_airflow.connections import database_url

    return database.engine(database_url())


class CrossdockPlugin(AirflowPlugin):
    """Run notes."""

    name = "crossdock"
    listeners = [sys.modules[__name__]]  # noqa: RUF012
