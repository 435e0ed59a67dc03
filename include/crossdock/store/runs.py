"""Runs: which of them are alive, and on which machine.

A run holds an advisory lock of its own for as long as one of its processes is at work; the lock dies with the session,
and the session with its process or machine. So another run knows at once whether it is dead. A run of Airflow is at
work in tasks with pauses between them: without a session it is dead once Airflow says that it has ended or, where
nobody can ask Airflow, once it has been silent for `PAUSE`.

In: names of runs (`ops.batch.run_id`). Out: locks; holders. Never: a living run taken for dead while it holds its lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

import sqlalchemy as sa

from crossdock.store import sql

Over = Callable[[str], bool | None]  # whether a run is over, as a caller knows; None: it does not know

PAUSE = timedelta(minutes=2)  # between two tasks of a run of Airflow that lives
_HOLDERS = sql.statement(__package__, "run_holders")


def _key(run_id: str) -> sa.ColumnElement[int]:
    """The number of the run's lock; run_holders.sql makes the same."""
    return sa.func.hashtextextended(f"crossdock:run:{run_id}", 0)


@contextlib.contextmanager
def at_work(made: sa.Engine, run_id: str) -> Iterator[None]:
    """Holds the run's lock while the block runs. Several processes of one run may hold it at once. A run without a name
    has none."""
    if not run_id:
        yield
        return
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.select(sa.func.pg_advisory_lock_shared(_key(run_id))))
        try:
            yield
        finally:
            try:
                connection.execute(sa.select(sa.func.pg_advisory_unlock_shared(_key(run_id))))
            except sa.exc.DBAPIError:  # a session that has ended holds no lock
                connection.invalidate()


def dead(connection: sa.Connection, run_id: str, silent: timedelta, over: Over | None = None) -> bool:
    """Whether a run that has touched nothing for `silent` is dead. If it is, none of its processes can start work
    before this transaction ends."""
    if _of_airflow(run_id):
        stated = over(run_id) if over else None
        if stated is False or (stated is None and silent < PAUSE):
            return False
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_key(run_id)))))


def _of_airflow(run_id: str) -> bool:
    """A run of Airflow is known by DAG and run: orders/scheduled__2026-11-01T00:00:00+00:00."""
    return "/" in run_id and not run_id.startswith("cli:")


def holders(connection: sa.Connection, run_ids: Iterable[str]) -> dict[str, str]:
    """{run: machine and process} of the runs that are at work at this moment."""
    rows = connection.execute(_HOLDERS, {"runs": list(run_ids)})
    return {row.run_id: row.application_name.removeprefix("crossdock ") for row in rows}
