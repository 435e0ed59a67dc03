"""A tick inside a real Airflow: from the trigger to the last sales order in TIMS.

In: an empty run folder. Out: seconds. Never: another installation's ports or processes; a process left behind.

The demo's first day makes the installation, and warms it as a running one is warm. Then a few orders happen, and a run
is triggered by Airflow's API as a person or a webhook does it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from crossdock.runtime import Runtime
from crossdock.settings import PROJECT
from crossdock.store.tables import ops_link
from sandbox import demo, stage, world

DAG = "orders"
DEMO_SECONDS = 600


def tick(folder: Path, count: int) -> dict[str, float]:
    """Seconds from the trigger to the last of `count` orders' links, and to the end of the run."""
    with _installation(folder) as port:
        whole = world.load()
        opening = min(invoice.at for invoice in whole.invoices).replace(hour=0, minute=0) + timedelta(days=1)
        orders = sorted(order.document["ImportDate"] for order in whole.orders(opening))
        airflow = demo.Airflow(port)
        stage.tick(demo.datetime.fromisoformat(orders[count - 1]) + timedelta(milliseconds=1))
        triggered = time.time()
        begun = time.perf_counter()
        airflow.run(DAG)
        run = time.perf_counter() - begun
        with Runtime.from_environment() as runtime, runtime.engine.connect() as connection:
            made = sa.select(sa.func.count(), sa.func.extract("epoch", sa.func.max(ops_link.c.created_at))).where(
                ops_link.c.entity == "sales_order", sa.func.extract("epoch", ops_link.c.created_at) > triggered
            )
            links, last = connection.execute(made).one()
        return {"seconds": float(last) - triggered, "run": run, "orders": links}


@contextmanager
def _installation(folder: Path) -> Iterator[int]:
    """The demo after its first day, on ports of its own; the port of its Airflow. This process sees it as its own."""
    port = _free_port()
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("AIRFLOW", "CROSSDOCK"))]:
        del os.environ[name]
    os.environ.update(
        {"CROSSDOCK_RUN_DIR": str(folder), "CROSSDOCK_CA_PORT": str(_free_port()),
         "CROSSDOCK_TIMS_PORT": str(_free_port())}
    )  # fmt: skip
    os.environ.update(demo.connections())
    try:
        _demo("up", "--days", "1", "--port", str(port))
        yield port
    finally:
        with suppress(subprocess.SubprocessError):
            _demo("down")
        os.environ.clear()
        os.environ.update(before)


def _demo(*arguments: str) -> None:
    """Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", *arguments], cwd=PROJECT, capture_output=True, text=True,
        timeout=DEMO_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"The demo failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
