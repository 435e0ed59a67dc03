"""`make demo` and `make down` as a person uses them, on own ports: real scheduler, kills, backfill, both sides.

The tests of this file follow one another on one installation, as their order in the file says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import sqlalchemy as sa
from playwright.sync_api import expect, sync_playwright

from crossdock.dev import standalone
from crossdock.ledger import close
from crossdock.store import database
from sandbox import demo, processes, verify, world

PROJECT = Path(__file__).resolve().parents[2]
DAYS = 2
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@dataclass
class Installation:
    """One installation: its folder, its ports, its environment."""

    folder: Path
    port: int
    environment: dict[str, str]

    def demo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=600
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "sandbox.demo", *arguments]

    def processes(self) -> list[psutil.Process]:
        """Every process of this installation: by its folder in the command line, or by the session of its Airflow."""
        state = self.folder / "airflow.json"
        session = json.loads(state.read_text())["session"] if state.exists() else None
        found = []
        for process in psutil.process_iter():
            try:
                mine = str(self.folder) in " ".join(process.cmdline()) or os.getsid(process.pid) == session
                if mine and process.status() != psutil.STATUS_ZOMBIE:  # ended; its parent has only not looked yet
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_installation(folder: Path) -> Installation:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CROSSDOCK"))}
    environment |= {
        "CROSSDOCK_RUN_DIR": str(folder),
        "CROSSDOCK_CA_PORT": str(free_port()),
        "CROSSDOCK_TIMS_PORT": str(free_port()),
        standalone.RECEIVER_PORT: str(free_port()),
        "PORT": str(port),
    }
    return Installation(folder, port, environment)


@pytest.fixture(scope="module")
def here() -> Iterator[Installation]:
    """The installation that all tests share. This process sees it as the demo does."""
    with tempfile.TemporaryDirectory(prefix="crossdock-", ignore_cleanup_errors=True) as name:
        installation = new_installation(Path(name).resolve())
        before = dict(os.environ)
        os.environ.update(installation.environment)
        os.environ.update(demo.connections())
        try:
            yield installation
        finally:
            installation.demo("down")
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture
def airflow(here: Installation) -> demo.Airflow:
    return demo.Airflow(here.port)


@pytest.fixture(scope="module")
def reads() -> list[datetime]:
    """The moments at which was read so far, by the sandbox's clock."""
    days = sorted({invoice.at.date() for invoice in world.load().invoices})[:DAYS]
    return [datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(days=1) for day in days]


def runtime_of_the_demo() -> demo.Runtime:
    return demo.Runtime(demo.database_url() or demo.local.database_url("crossdock"))


def disagreements(reads: list[datetime]) -> list[str]:
    with runtime_of_the_demo() as runtime:
        held = demo.Control.of("channel_advisor").documents("order")
        dead = demo.dead_letters(runtime.engine)
        return verify.verify(world.load(), reads, runtime.channel_advisor, runtime.tims, dead, held).disagreements


def query(statement: str) -> list[Any]:
    with runtime_of_the_demo() as runtime, runtime.engine.connect() as connection:
        return list(connection.execute(sa.text(statement)))


def wait_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.3)
    return found


# ---- the demo --------------------------------------------------------------------------------------------------------


def test_a_taken_port_is_named_and_nothing_is_started(here: Installation) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", here.port))
        other.listen()
        done = here.demo("up")
    assert done.returncode == 1
    assert f"Port {here.port}, which Airflow needs, is taken" in done.stderr
    assert here.processes() == []


def test_a_taken_sandbox_port_is_named_and_everything_is_stopped_again(here: Installation) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(here.environment["CROSSDOCK_TIMS_PORT"])))
        other.listen()
        done = here.demo("up")
    assert done.returncode == 1
    assert "CROSSDOCK_TIMS_PORT" in done.stderr
    assert here.processes() == []


def test_the_demo_brings_real_orders_to_tims_and_both_sides_agree(here: Installation, reads: list[datetime]) -> None:
    done = here.demo("up", "--days", str(DAYS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Both sides agree to the cent" in done.stdout
    assert len(re.findall(r"^\w{3} \d\d Jan 2011 +read", done.stdout, re.MULTILINE)) == DAYS
    assert re.search(rf"http://127\.0\.0\.1:{here.port} +user: admin +password: \S+", done.stdout)
    assert disagreements(reads) == []


def test_both_connections_can_be_tested_in_airflow(here: Installation, airflow: demo.Airflow) -> None:
    for system in ("channel_advisor", "tims"):
        given = json.loads(os.environ[f"AIRFLOW_CONN_{system.upper()}"])
        body = {**given, "connection_id": system, "extra": json.dumps(given.get("extra", {}))}
        answer = airflow.call("POST", "connections/test", body)
        assert answer["status"] is True, answer
        answer = airflow.call("POST", "connections/test", {**body, "password": "wrong-secret"})
        assert answer["status"] is False
        assert "wrong-secret" not in answer["message"]


# ---- to the channels -------------------------------------------------------------------------------------------------


def test_what_the_channels_offer_has_gone_there_and_the_runs_say_so(airflow: demo.Airflow) -> None:
    for dag in demo.OFFERS:
        runs = airflow.call("GET", f"dags/{dag}/dagRuns?order_by=run_after&limit=5")["dag_runs"]
        assert re.match(r"Records: read \d+, .*delivered \d+", runs[0]["note"] or ""), (dag, runs[0]["note"])
    airflow.wait_until_idle()
    for dag in ("catalog_compare", "prices_compare", "inventory_compare", "reconcile"):
        runs = airflow.call("GET", f"dags/{dag}/dagRuns?limit=5")["dag_runs"]
        assert [run["state"] for run in runs] == ["success"], dag
    shares = query("SELECT compared, equal FROM ops.accuracy WHERE flow = 'inventory'")
    assert shares
    assert all(row.equal / row.compared > 0.99 for row in shares), shares


def test_the_reconciliation_opens_in_airflow_for_those_who_are_logged_in(airflow: demo.Airflow) -> None:
    number = query("SELECT max(id) FROM ops.reconcile_run WHERE unexplained = 0")[0][0]
    page = f"{airflow.url}/crossdock/reconcile/{number}"
    assert requests.get(page, timeout=60).status_code == 401
    answer = airflow.session.get(page, timeout=60)
    assert answer.status_code == 200
    assert "Do both systems agree?" in answer.text


# ---- order to cash ---------------------------------------------------------------------------------------------------


def test_the_nightly_close_shows_its_counts_and_has_run_every_control(airflow: demo.Airflow) -> None:
    runs = airflow.call("GET", "dags/nightly_close/dagRuns?order_by=-run_after&limit=20")["dag_runs"]
    assert {run["state"] for run in runs} == {"success"}
    assert any("delivered" in (run["note"] or "") for run in runs), runs
    assert {row[0] for row in query("SELECT DISTINCT control FROM ops.control")} >= {"clearing", "suspense", "balances"}


def test_what_one_flow_loads_starts_the_next_until_it_is_in_the_ledger(
    airflow: demo.Airflow, reads: list[datetime]
) -> None:
    airflow.wait_until_idle()
    reads.append(reads[-1] + timedelta(days=1))
    with runtime_of_the_demo() as runtime:
        with database.lock(runtime.engine, "extract:channel_advisor.orders"):
            processes.tick(reads[-1])
        demo.wait_until_worked(runtime.engine, demo.Spoken())
        airflow.start("events")  # takes over; the run before it ends and tells what it has loaded
        by_asset = "dagRuns?run_type=asset_triggered&state=success"
        for dag in ("shipments", "invoices", "ledger"):
            wait_for(lambda dag=dag: airflow.call("GET", f"dags/{dag}/{by_asset}")["total_entries"], 300)
        airflow.wait_until_idle()
        assert disagreements(reads) == []
        closing = close.close(runtime, f"{reads[-1]:%Y-%m}")
    assert closing.failed == []
    assert len({one.name for one in closing.controls}) > 10


def test_a_backfill_of_invoices_over_days_that_are_done_posts_nothing_new(
    here: Installation, airflow: demo.Airflow
) -> None:
    counts = demo.Control.of("tims").call("GET", "counts")
    command = ["backfill", "create", "--dag-id", "invoices", "--from-date", "2011-01-05T08:05:00", "--to-date",
               "2011-01-05T09:05:00", "--max-active-runs", "1"]  # fmt: skip
    standalone.run_airflow(standalone.environment(here.port), *command)

    def ended() -> bool:
        runs = airflow.call("GET", "dags/invoices/dagRuns?run_type=backfill")["dag_runs"]
        return len(runs) == 2 and all(run["state"] == "success" for run in runs)

    wait_for(ended)
    airflow.wait_until_idle()
    after = demo.Control.of("tims").call("GET", "counts")
    assert {name: after[name] for name in ("invoice", "entry")} == {name: counts[name] for name in ("invoice", "entry")}


# ---- a backfill ------------------------------------------------------------------------------------------------------


def test_a_backfill_reads_past_intervals_and_leaves_the_watermark(
    here: Installation, airflow: demo.Airflow, reads: list[datetime]
) -> None:
    # Between two runs of the timetable, which move the watermark as they should, as do those who read orders first.
    others = (*demo.LATER, demo.CLOSE, *demo.OFFERS)
    pause(airflow, others)
    wait_for(lambda: 30 < time.time() % 300 < 220, 150)
    airflow.wait_until_idle()
    position = "SELECT position FROM ops.watermark WHERE flow = 'orders'"
    before, last = query(position), query("SELECT max(id) FROM ops.batch")[0][0]
    command = ["backfill", "create", "--dag-id", "orders", "--from-date", "2011-01-04T12:00:00", "--to-date",
               "2011-01-04T12:10:00", "--max-active-runs", "2"]  # fmt: skip
    standalone.run_airflow(standalone.environment(here.port), *command)
    windows = "SELECT window_start, window_end FROM ops.batch WHERE kind = 'backfill' AND id > " + str(last)

    def ended() -> bool:
        runs = airflow.call("GET", "dags/orders/dagRuns?run_type=backfill")["dag_runs"]
        return len(runs) == 3 and all(run["state"] == "success" for run in runs)

    wait_for(ended)
    for start, end in query(windows):
        assert end - start == timedelta(minutes=5)
    assert query(position) == before
    for dag in others:
        airflow.unpause(dag)
    assert disagreements(reads) == []


# ---- kills -----------------------------------------------------------------------------------------------------------


SLOW = {"kind": "slow", "path": "/api/v1/bulk", "seconds": 20, "times": 1, "after": 1}


def pause(airflow: demo.Airflow, dags: Sequence[str]) -> None:
    """Pauses DAGs while none is at work: a run of a paused one would never end."""
    for _ in range(20):
        airflow.wait_until_idle()
        for dag in dags:
            airflow.call("PATCH", f"dags/{dag}", {"is_paused": True})
        if airflow.is_idle():
            return
        for dag in dags:
            airflow.unpause(dag)
    raise AssertionError("there is always one at work")


def test_a_load_task_that_is_killed_is_tried_again_and_nothing_is_lost_or_doubled(
    here: Installation, airflow: demo.Airflow, reads: list[datetime]
) -> None:
    pause(airflow, (*demo.LATER, demo.CLOSE, *demo.OFFERS))  # they would take the fault that is meant for the orders
    channel, tims = demo.Control.of("channel_advisor"), demo.Control.of("tims")
    channel.call("POST", "faults", {"kind": "event_never", "path": "*", "times": None})  # the schedule finds them
    reads.append(reads[-1] + timedelta(days=1))
    processes.tick(reads[-1])
    tims.call("POST", "faults", SLOW)
    run = airflow.call("POST", "dags/orders/dagRuns", {"logical_date": None})
    path = f"dags/orders/dagRuns/{run['dag_run_id']}"

    def load() -> dict[str, Any] | None:
        tasks = airflow.call("GET", f"{path}/taskInstances")["task_instances"]
        return next((task for task in tasks if task["task_id"] == "batch.load" and task["state"] == "running"), None)

    victim = wait_for(lambda: (load() or {}).get("pid"))
    wait_for(lambda: any(rule["hits"] for rule in tims.call("GET", "faults")["rules"]))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: airflow.call("GET", path)["state"] in ("success", "failed"), 300)
    tries = [
        task["try_number"]
        for task in airflow.call("GET", f"{path}/taskInstances")["task_instances"]
        if task["task_id"] == "batch.load"
    ]
    assert airflow.call("GET", path)["state"] == "success"
    assert max(tries) == 2
    channel.call("DELETE", "faults")
    tims.call("DELETE", "faults")
    assert disagreements(reads) == []


def test_a_run_shows_its_counts_as_a_note_and_as_the_tasks_results(airflow: demo.Airflow) -> None:
    runs = airflow.call("GET", "dags/orders/dagRuns?order_by=-run_after&limit=20")["dag_runs"]
    assert any(re.match(r"Records: read \d+, .*delivered \d+", run["note"] or "") for run in runs), runs
    run = next(run for run in runs if "delivered" in (run["note"] or ""))
    entry = f"dags/orders/dagRuns/{run['dag_run_id']}/taskInstances/batch.confirm/xcomEntries/return_value?map_index=0"
    counts = airflow.call("GET", entry)["value"]
    assert counts["read"] == sum(value for name, value in counts.items() if name != "read") > 0


def test_a_loaded_batch_is_an_asset_event_that_names_it(airflow: demo.Airflow) -> None:
    asset = airflow.call("GET", "assets?uri_pattern=crossdock://orders/loaded")["assets"][0]["id"]

    def named() -> set[int]:
        events = airflow.call("GET", f"assets/events?asset_id={asset}&order_by=-timestamp&limit=100")["asset_events"]
        return {number for event in events for number in event["extra"].get("batch_ids", ())}

    def worked() -> set[int]:
        batches = "SELECT id FROM ops.batch WHERE flow = 'orders' AND read > already_stored AND run_id LIKE 'orders%'"
        return {row[0] for row in query(batches)}

    assert worked()
    wait_for(lambda: worked() == named())  # a run of the timetable may be on its way just now


def test_a_worker_of_events_that_is_killed_is_replaced_and_nothing_is_lost_or_doubled(
    here: Installation, airflow: demo.Airflow, reads: list[datetime]
) -> None:
    tims = demo.Control.of("tims")
    reads.append(reads[-1] + timedelta(days=1))
    tims.call("POST", "faults", SLOW)
    processes.tick(reads[-1])
    wait_for(lambda: any(rule["hits"] for rule in tims.call("GET", "faults")["rules"]))
    tasks = airflow.call("GET", "dags/events/dagRuns/~/taskInstances?state=running")["task_instances"]
    os.kill(next(task["pid"] for task in tasks if task["task_id"] == "work_channel_advisor"), signal.SIGKILL)
    tims.call("DELETE", "faults")
    with runtime_of_the_demo() as runtime:
        demo.wait_until_worked(runtime.engine, demo.Spoken())
    assert disagreements(reads) == []


# ---- again, and down -------------------------------------------------------------------------------------------------


def test_the_demo_runs_again_without_having_been_stopped(here: Installation, reads: list[datetime]) -> None:
    done = here.demo("up", "--days", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert disagreements(reads[:1]) == []


def test_a_clerk_logs_in_and_brings_a_refused_order_into_tims(here: Installation, airflow: demo.Airflow) -> None:
    """From Airflow's login page to the sales order, by clicks alone; a real scheduler does the work."""
    if not shutil.which("chromium"):
        pytest.skip("There is no chromium: apt install chromium")
    key = order_of_an_unknown_item()
    airflow.wait_until_idle()
    airflow.run("orders")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{airflow.url}/crossdock/")
        page.get_by_label("Username").fill(standalone.USER)
        page.get_by_label("Password").fill(standalone.password())
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/crossdock/", timeout=60_000)
        page.get_by_label("Find a record").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Open its dead letter").first.click(timeout=60_000)
        page.get_by_label("SKU", exact=True).fill("22423")
        expect(page.locator("#verdict")).to_contain_text("It would be sent.", timeout=60_000)
        page.get_by_role("button", name="Replay").click()
        expect(page.locator("#message")).to_contain_text("1 in replay", timeout=60_000)
        expect(page.get_by_text("replayed", exact=True)).to_be_visible(timeout=120_000)
        browser.close()
    with runtime_of_the_demo() as runtime:
        (order,) = runtime.tims.find("sales-orders", ExternalOrderID=[key], Source="ChannelAdvisor")
    assert {line["SKU"] for line in order["LineItems"]} == {"22423"}
    who = query(
        f"SELECT DISTINCT who FROM ops.audit WHERE action = 'dead-letter replay' AND detail ->> 'key' = '{key}'"
    )
    assert [row[0] for row in who] == [standalone.USER]


def order_of_an_unknown_item() -> str:
    """Places an order like one that is there, but of an item that nobody knows; its key."""
    channel = demo.Control.of("channel_advisor")
    like = next(one for one in channel.documents("order") if len(one["OrderItems"]) == 1 and one["Exported"])
    number, at = 990_000_001, (channel.now() + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    item = {**like["OrderItems"][0], "OrderItemID": number * 10, "SKU": "NOBODY-KNOWS", "BundleComponents": []}
    fresh = {"SellerOrderID": None, "Exported": False, "OrderDate": at, "ImportDate": at, "PaymentDate": at}
    document = {**like, **fresh, "ChannelAdvisorOrderID": number, "OrderID": f"T-{number}", "OrderItems": [item]}
    document.pop("UpdatedDate", None)
    event = {"id": f"order-{number}", "at": at, "system": "channel_advisor", "kind": "order", "document": document}
    channel.apply([event])
    channel.set_clock(channel.now() + timedelta(minutes=10))
    return str(number)


def test_down_leaves_no_process_and_no_port_behind(here: Installation) -> None:
    running = here.processes()
    assert len(running) > 8
    done = here.demo("down")
    assert done.returncode == 0, done.stderr
    alive = [p for p in running if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert alive == here.processes() == []
    for name in ("PORT", "CROSSDOCK_CA_PORT", "CROSSDOCK_TIMS_PORT"):
        standalone.require_free_port(int(here.environment[name]), "this test", name)


def test_down_again_says_that_nothing_ran(here: Installation) -> None:
    done = here.demo("down")
    assert done.returncode == 0
    assert done.stdout.count("not running") == 4


def test_ctrl_c_in_the_middle_leaves_no_process_behind(here: Installation) -> None:
    process = subprocess.Popen(
        here.command("up"),
        cwd=PROJECT,
        env=here.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Of a test run in the background: a shell has such a one, and all it starts, ignore the key.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Airflow: up"):
            break
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert here.processes() == []


def test_the_demo_does_not_empty_a_database_that_it_has_not_made(here: Installation) -> None:
    demo.local.start()
    engine = sa.create_engine(demo.local.database_url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("COMMENT ON DATABASE crossdock IS 'ours'"))
    engine.dispose()
    with runtime_of_the_demo() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO ops.batch (flow, kind, step) VALUES ('orders', 'scheduled', 'extract')")
        )
    held = query("SELECT count(*) FROM ops.batch")
    done = here.demo("up", "--days", "1")
    assert done.returncode == 1
    assert "holds records that the demo has not made" in done.stderr
    assert query("SELECT count(*) FROM ops.batch") == held  # and what ran still runs
    here.demo("down")
