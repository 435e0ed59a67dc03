"""Checks whether one of Airflow's processes is alive, without importing Airflow, in a tenth of a second.

In: the name of a process; Airflow's database, to which dag-processor and triggerer tell every few seconds that they
live; a file that a Celery worker touches with each heartbeat that it sends. Out: exit code 0, or 1 and a sentence.
Never: an import of Airflow or of the library.

    python -m crossdock_airflow.healthy dag-processor|triggerer|worker
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

JOBS = {"dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
WORKER = "worker"
SECONDS = 60  # without a sign of life
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


def pulse() -> Path:
    """The file that a worker of this machine touches."""
    return Path(tempfile.gettempdir()) / "crossdock-worker-pulse"


def beat_where_celery_works(arguments: list[str] | None = None) -> bool:
    """In a Celery worker: every heartbeat that it sends to its broker touches the file; whether this is one."""
    if not {"celery", "worker"} <= set(sys.argv[1:] if arguments is None else arguments):
        return False
    from celery.signals import heartbeat_sent

    heartbeat_sent.connect(_beat, weak=False)
    return True


def _beat(**_: Any) -> None:
    pulse().touch()


def silence(name: str) -> float | None:
    """Seconds since the last sign of life of the process; None where there was none."""
    if name == WORKER:
        return time.time() - pulse().stat().st_mtime if pulse().exists() else None
    import psycopg2

    address = os.environ[DATABASE].replace("postgresql+psycopg2://", "postgresql://", 1)
    hosts = [socket.gethostname(), socket.getfqdn()]
    connection = psycopg2.connect(address, connect_timeout=5)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job "
                "WHERE job_type = %s AND hostname = ANY(%s) AND state = 'running'",
                (JOBS[name], hosts),
            )
            (seconds,) = cursor.fetchone()
    finally:
        connection.close()
    return None if seconds is None else float(seconds)


def main(arguments: list[str] | None = None) -> int:
    """The command line: one name."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    try:
        seconds = silence(name)
    except Exception as error:
        print(f"{name}: cannot be asked: {type(error).__name__}")
        return 1
    if seconds is None or seconds > SECONDS:
        print(f"{name}: " + ("no sign of life yet" if seconds is None else f"silent for {seconds:.0f} s"))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
