"""The compose file's services on one machine: connections in Airflow's database, a worker killed, another stopped.

The tests follow one another on one cluster, as their order in the file says. `make cluster` runs them; they need
`redis-server` and take about six minutes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from cluster.cluster import LASTING, PASSWORD, PROJECT, Api, Cluster, cluster, free_port, wait_for
from sandbox import processes
from sandbox.control import Control

AIM = 90  # seconds from the death of a worker until its task runs again
IMAGE = Path(os.environ.get("IMAGE_PYTHON", PROJECT / ".venv-image" / "bin" / "python"))
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed here"),
    pytest.mark.skipif(not IMAGE.exists(), reason=f"there is no {IMAGE}: `make cluster` makes it"),
]


@pytest.fixture(scope="module")
def here() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CROSSDOCK_RUN_DIR", str(folder / "run"))
            patch.setenv("CROSSDOCK_CA_PORT", str(free_port()))
            patch.setenv("CROSSDOCK_TIMS_PORT", str(free_port()))
            with cluster(folder, IMAGE) as made:
                processes.seed()
                yield made


@pytest.fixture(scope="module")
def api(here: Cluster) -> Api:
    made = Api(here.ports["api"])
    made.wait_for_dags(["orders", "tried_once", "late_at_once"])
    return made


def query(here: Cluster, statement: str) -> list[Any]:
    engine = sa.create_engine(
        f"postgresql+psycopg2://crossdock:{PASSWORD}@127.0.0.1:{here.ports['postgres']}/crossdock"
    )
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(statement)))
    finally:
        engine.dispose()


def running(api: Api, dag: str, run: str, task: str) -> dict[str, Any] | None:
    """The task once a process works on it."""
    found = api.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
    return next((one for one in found if one["task_id"] == task and one["state"] == "running" and one["pid"]), None)


def worker_of(here: Cluster, pid: int) -> str:
    """Which worker the process belongs to."""
    keys = [key for key in here.processes if key.startswith("airflow-worker")]
    (key,) = [key for key in keys if pid in {process.pid for process in here.tree(key)}]
    return key


def trigger(api: Api, dag: str) -> str:
    return api.call("POST", f"dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"]


def test_every_service_says_that_it_is_healthy_and_the_question_is_cheap(here: Cluster) -> None:
    for name in (*LASTING, "airflow-worker"):
        code, seconds = min(here.check(name) for _ in range(3))
        print(f"{name}: {seconds:.2f} s of the processor for a health check")
        assert code == 0, name
        assert seconds < 0.5, name


def test_flows_run_with_their_connections_in_airflows_database_and_the_scheduler_writes_their_notes(
    here: Cluster, api: Api
) -> None:
    scheduler = here.processes["airflow-scheduler-1"]
    processes.tick(by=timedelta(days=2))
    begun = time.monotonic()
    api.unpause("orders")
    run = api.run("orders")
    print(f"orders: {time.monotonic() - begun:.1f} s for the first run of the cluster")
    note = wait_for(
        lambda: api.call("GET", f"dags/orders/dagRuns/{run['dag_run_id']}")["note"], 30, here.log("airflow-scheduler")
    )
    assert note.startswith("Records: read ")
    assert scheduler.poll() is None, here.log("airflow-scheduler")
    assert query(here, "SELECT count(*) FROM ops.link WHERE entity = 'sales_order'")[0][0] > 0


def test_a_late_run_is_noted_with_the_connection_in_airflows_database(here: Cluster, api: Api) -> None:
    api.unpause("late_at_once")
    trigger(api, "late_at_once")
    rows = wait_for(
        lambda: query(here, "SELECT title FROM ops.alert WHERE kind = 'late'"), 90, here.log("airflow-triggerer")
    )
    assert [row.title for row in rows] == ["late_at_once has not ended 0 h after its start"]


def test_whoever_is_logged_in_sees_the_reconciliation(here: Cluster) -> None:
    here.run(
        "airflow-scheduler", "airflow", "users", "create", "--username", "viewer", "--firstname", "A", "--lastname",
        "Viewer", "--email", "viewer@example.com", "--role", "Viewer", "--password", PASSWORD,
    )  # fmt: skip
    viewer = Api(here.ports["api"], "viewer")
    answer = viewer.session.get(f"{viewer.url}/crossdock/reconcile/", timeout=60)
    assert answer.status_code == 404
    assert "Nothing has been reconciled yet" in answer.text


def test_the_task_of_a_killed_worker_is_taken_over_soon_and_nothing_is_doubled(here: Cluster, api: Api) -> None:
    processes.tick(by=timedelta(days=1))
    held = Control.of("tims").call("POST", "faults", {"kind": "slow", "path": "/api/v1/bulk", "seconds": 20})
    run = trigger(api, "orders")
    task = wait_for(lambda: running(api, "orders", run, "batch.load"), 120, "the load is at work")
    killed = worker_of(here, task["pid"])
    time.sleep(2)  # in the middle of its request
    here.kill(killed)
    died = time.monotonic()
    Control.of("tims").call("DELETE", f"faults/{held['id']}")

    def again() -> bool:
        found = running(api, "orders", run, "batch.load")
        ended = api.call("GET", f"dags/orders/dagRuns/{run}")["state"] == "success"
        return ended or (found is not None and found["try_number"] > task["try_number"])

    wait_for(again, 400, "the task runs again")
    taken = time.monotonic() - died
    state = wait_for(
        lambda: (s := api.call("GET", f"dags/orders/dagRuns/{run}")["state"]) in ("success", "failed") and s, 300
    )
    print(f"killed {killed}: its task runs again after {taken:.0f} s, the flow is through after "
          f"{time.monotonic() - died:.0f} s")  # fmt: skip
    assert state == "success"
    assert taken <= AIM
    orders = Counter(row["ExternalOrderID"] for row in Control.of("tims").documents("order"))
    assert len(orders) == query(here, "SELECT count(*) FROM ops.link WHERE entity = 'sales_order'")[0][0]
    assert max(orders.values()) == 1


def test_a_task_that_dies_with_its_worker_for_good_is_an_alert(here: Cluster, api: Api) -> None:
    api.unpause("tried_once")
    run = trigger(api, "tried_once")
    task = wait_for(lambda: running(api, "tried_once", run, "wait"), 120, "the task is at work")
    here.kill(worker_of(here, task["pid"]))
    noted = "SELECT title FROM ops.alert WHERE kind = 'task_failed' AND key = 'tried_once.wait'"
    rows = wait_for(lambda: query(here, noted), AIM + 30, here.log("airflow-dag-processor"))
    assert [row.title for row in rows] == ["tried_once.wait failed after its last try"]


def test_a_worker_that_is_told_to_stop_ends_within_its_grace_period(here: Cluster) -> None:
    here.start("airflow-worker", 3)
    here.wait_until_healthy("airflow-worker", 3)
    members = here.tree("airflow-worker-3")
    seconds = here.stop("airflow-worker-3")
    print(f"a worker with nothing to do stops in {seconds:.1f} s")
    assert here.services["airflow-worker"]["stop_grace_period"] == "5m"
    assert seconds < 60
    assert not [process for process in members if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_no_lasting_process_has_ended(here: Cluster) -> None:
    assert {name: here.processes[f"{name}-1"].poll() for name in LASTING} == dict.fromkeys(LASTING)
