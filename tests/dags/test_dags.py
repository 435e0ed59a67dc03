"""The DAG files: which there are, what shape they have, and what every one of them owes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.serialization.serialized_objects import DagSerialization

from airflow_home import PROJECT
from crossdock_airflow import describe, plugin
from crossdock_airflow.retry import TypedErrors
from crossdock_airflow.tasks import BY_EVENTS

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

FIVE_STEPS = {
    "extract": {"batch.transform", "batch.check", "batch.load", "batch.confirm"},
    "batch.transform": {"batch.check"},
    "batch.check": {"batch.load"},
    "batch.load": {"batch.confirm"},
    "batch.confirm": set(),
}
LEDGER = ("invoices", "credit_memos", "adjustments", "settlements", "payments", "captures")
THE_DAY = ("orders", "shipments", "invoices", "returns", "stock_adjustments", "payouts", "payments")
# The files are the DAGs; all but these work one flow, by its five steps.
NAMES = sorted(path.stem for path in (PROJECT / "dags").glob("*.py"))
SPECIAL: dict[str, dict[str, set[str]]] = {
    "ledger": {
        f"{flow}.{task}": {f"{flow}.{name}" for name in then} for flow in LEDGER for task, then in FIVE_STEPS.items()
    },
    "price_approvals": {"open_changes": {"decide", "answered"}, "decide": {"answered"}, "answered": set()},
    "watch": {"check_freshness": set()},
    "reconcile": {"compare": set()},
    "shadow_report": {"compare_shadow": set()},
    "events": {"work_channel_advisor": set(), "work_tims": set()},
    "subscriptions": {"keep_subscriptions": set()},
}
ONE_FLOW = [name for name in NAMES if name not in (*SPECIAL, "nightly_close")]
# What is expected of these DAGs; another one states its own times.
INTERVAL = {
    "orders": timedelta(minutes=5),
    "orders_sweep": timedelta(days=1),
    "shipments": timedelta(minutes=10),
    "invoices": timedelta(hours=1),
    "returns": timedelta(minutes=15),
    "stock_adjustments": timedelta(days=1),
    "payouts": timedelta(minutes=10),
    "payments": timedelta(hours=1),
    "ledger": timedelta(days=1),
    "catalog": timedelta(hours=1),
    "catalog_compare": timedelta(days=1),
    "nightly_close": timedelta(days=1),
    "prices": timedelta(hours=1),
    "prices_compare": timedelta(days=1),
    "price_approvals": timedelta(hours=1),
    "inventory": timedelta(minutes=5),
    "inventory_compare": timedelta(days=1),
    "watch": timedelta(minutes=10),
    "reconcile": timedelta(days=1),
    "shadow_report": timedelta(days=1),
    "events": timedelta(minutes=15),
    "subscriptions": timedelta(hours=1),
}
# Which loads start a run besides the timetable: the way of the data.
STARTED_BY = {
    "shipments": {"orders"},
    "invoices": {"shipments"},
    "payments": {"payouts", "invoices", "returns"},
    "ledger": {"invoices", "returns", "stock_adjustments", "payouts", "payments"},
    "price_approvals": {"prices"},
    "inventory": {"orders", "shipments", "returns"},
}


def test_every_dag_file_can_be_read_and_holds_the_dag_of_its_name(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == NAMES
    assert set(INTERVAL) <= set(NAMES), "a DAG is missing"


@pytest.mark.parametrize("name", [*ONE_FLOW, *SPECIAL])
def test_tasks_follow_each_other_as_planned(bag: DagBag, name: str) -> None:
    planned = SPECIAL.get(name, FIVE_STEPS)
    assert {task.task_id: set(task.downstream_task_ids) for task in bag.dags[name].tasks} == planned


def test_every_flow_has_a_dag_that_works_it(bag: DagBag) -> None:
    from crossdock import flows

    worked = {
        task.op_args[0]: task.dag.dag_id
        for name in NAMES
        if name != "nightly_close"
        for task in bag.dags[name].tasks
        if task.task_id.endswith("extract")
    }
    assert set(worked) == set(flows.all_flows())
    for flow in flows.all_flows():
        assert flow in NAMES or worked[flow] == "ledger"


def test_the_nightly_close_runs_every_flow_of_the_money_in_the_order_in_which_data_travels(bag: DagBag) -> None:
    from crossdock import flows

    order = list(flows.order_to_cash())
    planned = [*THE_DAY, *(f"ledger_{flow}" for flow in LEDGER)]
    assert [name for name in order if name in planned] == planned
    assert describe.CLOSE.read_text() == describe.close(flows.side_by_side()), "Run `make docs`."
    tasks = bag.dags["nightly_close"].task_dict
    assert {*tasks} == {*order, "controls"}
    day, ledger = [name for name in order if not name.startswith("ledger_")], {f"ledger_{flow}" for flow in LEDGER}
    for before, after in pairwise(day):
        assert tasks[before].downstream_task_ids == {after}
    assert tasks[day[-1]].downstream_task_ids == ledger
    assert all(tasks[name].downstream_task_ids == {"controls"} for name in ledger)


def test_what_notes_say_is_found_in_the_dag_files() -> None:
    found = {name: note.__name__ for name, note in plugin.NOTES.items()}
    assert {name: found.get(name) for name in ("orders", "orders_sweep", "ledger", "nightly_close")} == dict.fromkeys(
        ("orders", "orders_sweep", "ledger", "nightly_close"), "counts"
    )
    assert found["reconcile"] == "reconciled"
    assert set(NAMES) - set(found) == {"watch", "price_approvals", "subscriptions"}


def test_a_close_that_is_late_raises_an_alert(bag: DagBag) -> None:
    alert = bag.dags["nightly_close"].deadline[0]
    assert alert.interval == timedelta(hours=2)
    assert alert.callback.path == "crossdock_airflow.notifier.late"
    assert type(alert.callback).__name__ == "AsyncCallback", "the executor's callbacks may not look connections up"


@pytest.mark.parametrize("name", NAMES)
def test_what_one_flow_loads_starts_the_next_one(bag: DagBag, name: str) -> None:
    from crossdock import flows

    condition = getattr(bag.dags[name].timetable, "asset_condition", None)
    assets = {asset.name for asset in condition.objects} if condition else set()
    if name in INTERVAL:
        assert assets == {f"{flow} loaded" for flow in STARTED_BY.get(name, ())}
    outlets = {asset for dag in bag.dags.values() for task in dag.tasks for asset in task.outlets}
    made = {asset.name for asset in outlets if asset != BY_EVENTS}
    assert assets <= made <= {f"{flow} loaded" for flow in flows.all_flows()}


@pytest.mark.parametrize("name", ONE_FLOW)
def test_the_steps_after_extract_are_mapped_over_its_batches(bag: DagBag, name: str) -> None:
    group = bag.dags[name].get_task("batch.load").task_group
    assert type(group).__name__ == "MappedTaskGroup"
    assert [task.task_id for task in group.iter_mapped_dependencies()] == ["extract"]


@pytest.mark.parametrize("name", NAMES)
def test_a_dag_says_what_it_reads_and_writes_and_what_to_do_when_it_fails(bag: DagBag, name: str) -> None:
    doc = bag.dags[name].doc_md
    assert bag.dags[name].description
    for words in ("**Reads**", "**Writes**", "**When "):
        assert words in doc
    assert ("**A month once more:**" in doc) == ("by" in bag.dags[name].params)


@pytest.mark.parametrize("name", NAMES)
def test_a_dag_runs_one_at_a_time_without_catching_up_and_has_owner_and_tags(bag: DagBag, name: str) -> None:
    dag = bag.dags[name]
    assert dag.catchup is False
    assert dag.max_active_runs == (2 if name == "events" else 1), "the next worker of events prepares itself beside"
    assert dag.owner == "crossdock"
    assert {"crossdock"} < set(dag.tags)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_an_interval_that_a_backfill_can_take(bag: DagBag, name: str) -> None:
    from airflow.timetables.base import TimeRestriction

    timetable = _serialized(bag, name).timetable
    run = timetable.next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=pendulum.datetime(2011, 1, 4), latest=None, catchup=True),
    )
    interval = run.data_interval.end - run.data_interval.start
    assert interval == INTERVAL.get(name, interval) > timedelta(0)
    assert bag.dags[name].start_date <= datetime(2010, 12, 1, tzinfo=UTC)  # the oldest record there is


def _serialized(bag: DagBag, name: str) -> Any:
    return DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[name]))


@pytest.mark.parametrize("name", NAMES)
def test_every_task_ends_some_day_and_is_tried_again_by_the_type_of_its_error(bag: DagBag, name: str) -> None:
    for task in bag.dags[name].tasks:
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=2), task.task_id
        assert 1 <= task.retries <= 5, task.task_id
        assert isinstance(task.retry_policy, TypedErrors), task.task_id
        assert task.on_failure_callback, task.task_id
    assert all(task.has_retry_policy for task in _serialized(bag, name).tasks)


def test_all_tasks_give_way_to_the_one_that_works_the_channels_events(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {(name, task.task_id) for name in NAMES for task in bag.dags[name].tasks if task._pre_execute_hook is None}
    assert first == {("events", "work_channel_advisor")}
    (hook,) = {task._pre_execute_hook for task in bag.dags["orders"].tasks}
    given: list[int] = []
    monkeypatch.setattr("crossdock_airflow.tasks.BEHIND", 10)
    monkeypatch.setattr("os.setpriority", lambda _which, _who, priority: given.append(priority))
    for now in (0, 15):
        monkeypatch.setattr("os.getpriority", lambda _which, _who, now=now: now)
        hook(None)
    assert given == [10, 15]


def test_tasks_that_speak_to_a_system_use_its_pool_and_every_pool_is_made_at_the_start(bag: DagBag) -> None:
    made = json.loads((PROJECT / "include/config/pools.json").read_text())
    pools = {task.task_id: task.pool for task in bag.dags["orders"].tasks}
    assert (pools["extract"], pools["batch.load"], pools["batch.confirm"]) == (
        "channel_advisor",
        "tims",
        "channel_advisor",
    )
    assert {task.pool for dag in bag.dags.values() for task in dag.tasks} <= {*made, "default_pool"}


@pytest.mark.parametrize("name", ONE_FLOW)
def test_load_tells_other_dags_which_batch_it_has_loaded(bag: DagBag, name: str) -> None:
    flow = bag.dags[name].get_task("extract").op_args[0]
    assert name in (flow, f"{flow}_sweep", f"{flow}_compare")
    assert [asset.name for asset in bag.dags[name].get_task("batch.load").outlets] == [f"{flow} loaded"]


def test_reading_the_dag_files_imports_nothing_heavy() -> None:
    """The dag-processor reads them all the time."""
    code = (
        "import sys; sys.path[:0] = ['include', 'plugins']\n"
        "import runpy; [runpy.run_path(str(p)) for p in __import__('pathlib').Path('dags').glob('*.py')]\n"
        "print([m for m in ('pandas', 'pyarrow', 'great_expectations', 'crossdock.flows.orders') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_the_page_of_all_dags_is_up_to_date(bag: DagBag) -> None:
    assert describe.PAGE.read_text() == describe.page(bag.dags), "Run `make docs`."


def test_the_table_of_what_runs_when_is_up_to_date(bag: DagBag) -> None:
    from crossdock import flows

    text = describe.README.read_text()
    assert text == describe.readme(text, bag.dags, list(flows.all_flows())), "Run `make docs`."
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert "| `invoices` | hourly at :05, and after `shipments` | one invoice a shipment" in "\n".join(rows)
    assert "| `nightly_close` | 02:00 | " in "\n".join(rows)
    assert "| `payouts` | every 10 min | " in "\n".join(rows)
