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
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from crossdock.dev import local, standalone
from crossdock.runtime import Runtime, database_url
from crossdock.settings import PROJECT, run_dir
from crossdock.store import database
from crossdock.store.tables import ops_link
from sandbox import demo, processes, world
from sandbox.control import SYSTEMS, Control, port
from sandbox.world import CHANNEL_ADVISOR

DAG = "orders"
DEMO_SECONDS = 480
START_SECONDS = 120
ALONE_SECONDS = 180


def tick(folder: Path, count: int) -> dict[str, float]:
    """Seconds from the trigger to the last of `count` orders' links, and to the end of the run."""
    with (
        on_ports_of_its_own(folder),
        _installation() as port,
        Runtime(database_url() or local.database_url("crossdock")) as runtime,
        runtime.engine.connect() as connection,
    ):
        airflow = demo.Airflow(port)
        _alone(airflow)
        until = processes.world_state().until
        orders = sorted(order.document["ImportDate"] for order in world.load().orders(until))
        before = connection.execute(_sales(0)).one().last
        connection.rollback()
        # The run shall find them, not the worker of events.
        Control.of(CHANNEL_ADVISOR).call("POST", "faults", {"kind": "event_never", "path": "*", "times": None})
        with database.lock(runtime.engine, "extract:channel_advisor.orders"):  # no other run reads half of them
            processes.tick(demo.datetime.fromisoformat(orders[count - 1]) + timedelta(milliseconds=1))
            triggered = time.time()
        begun = time.perf_counter()
        airflow.run(DAG)
        run = time.perf_counter() - begun
        airflow.wait_until_idle(DAG)  # a run of the timetable may have been first
        links, last = connection.execute(_sales(float(before or 0))).one()
        if not links:
            raise RuntimeError(f"None of {count} orders after {until:%Y-%m-%d %H:%M} has reached TIMS")
        return {"seconds": float(last) - triggered, "run": run, "orders": links}


def _alone(airflow: demo.Airflow) -> None:
    """No other DAG is at work, and none begins: orders_sweep and others read the same orders, in their own time."""
    until = time.monotonic() + ALONE_SECONDS
    while True:
        airflow.wait_until_idle()
        awake = [dag["dag_id"] for dag in airflow.call("GET", "dags?paused=false")["dags"] if dag["dag_id"] != DAG]
        for dag in awake:
            airflow.call("PATCH", f"dags/{dag}", {"is_paused": True})
        if airflow.is_idle():
            return
        for dag in awake:  # one had just begun, and a run of a paused DAG never ends
            airflow.unpause(dag)
        if time.monotonic() > until:
            raise RuntimeError(f"After {ALONE_SECONDS} s other DAGs were still at work")


def _sales(after: float) -> sa.Select:
    """How many sales orders were linked after a moment, and when the last one was."""
    moment = sa.func.extract("epoch", ops_link.c.created_at)
    return sa.select(sa.func.count().label("links"), sa.func.max(moment).label("last")).where(
        ops_link.c.entity == "sales_order", moment > after
    )


@contextmanager
def on_ports_of_its_own(folder: Path) -> Iterator[None]:
    """This process, and what it starts, sees `folder` as its installation and the sandbox on free ports."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("AIRFLOW", "CROSSDOCK"))]:
        del os.environ[name]
    os.environ.update(
        {"CROSSDOCK_RUN_DIR": str(folder), "CROSSDOCK_CA_PORT": str(free_port()),
         "CROSSDOCK_TIMS_PORT": str(free_port()), standalone.RECEIVER_PORT: str(free_port())}
    )  # fmt: skip
    os.environ.update(demo.connections())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def sandbox() -> Iterator[None]:
    """Both servers of the sandbox without their limits of requests: what is measured is the program."""
    with ExitStack() as stack:
        for system in SYSTEMS:
            command = [sys.executable, "-m", processes.MODULES[system][processes.CONTRACT], "--port", str(port(system))]
            server = subprocess.Popen(
                [*command, "--data", str(run_dir() / "sandbox"), "--per-minute", "1000000"], cwd=PROJECT,
                env=os.environ | {"PYTHONPATH": str(PROJECT / "include")}, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(server.wait)
            stack.callback(server.terminate)
        until = time.monotonic() + START_SECONDS
        while not all(Control.of(system).is_healthy() for system in SYSTEMS):
            if time.monotonic() > until:
                raise RuntimeError(f"The sandbox does not answer after {START_SECONDS} s")
            time.sleep(0.1)
        yield


@contextmanager
def _installation() -> Iterator[int]:
    """The demo after its first day; the port of its Airflow."""
    port = free_port()
    try:
        _demo("up", "--days", "1", "--port", str(port))
        yield port
    finally:
        with suppress(subprocess.SubprocessError):
            _demo("down")


def _demo(*arguments: str) -> None:
    """Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", *arguments], cwd=PROJECT, capture_output=True, text=True,
        timeout=DEMO_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"The demo failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
