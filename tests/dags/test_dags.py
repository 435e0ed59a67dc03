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

from crossdock_airflow import describe
from crossdock_airflow.retry import TypedErrors
from dags.conftest import PROJECT

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
ONE_FLOW = (
    "orders", "orders_sweep", "shipments", "invoices", "returns", "stock_adjustments", "payouts", "payments",
    "catalog", "catalog_compare", "prices", "prices_compare", "inventory", "inventory_compare",
)  # fmt: skip
SECOND_DAGS = {
    "orders_sweep",
    "catalog_compare",
    "prices_compare",
    "inventory_compare",
}  # of a flow that has one of its own name
THE_DAY = ("orders", "shipments", "invoices", "returns", "stock_adjustments", "payouts", "payments")
POSTED = {f"ledger_{flow}" for flow in LEDGER}
STRUCTURE = {
    **dict.fromkeys(ONE_FLOW, FIVE_STEPS),
    "ledger": {
        f"{flow}.{task}": {f"{flow}.{name}" for name in then} for flow in LEDGER for task, then in FIVE_STEPS.items()
    },
    "nightly_close": {
        **{task: {then} for task, then in pairwise(THE_DAY)},
        THE_DAY[-1]: POSTED,
        **{task: {"controls"} for task in POSTED},
        "controls": set(),
    },
    "price_approvals": {"open_changes": {"decide", "answered"}, "decide": {"answered"}, "answered": set()},
    "watch": {"check_freshness": set()},
    "reconcile": {"compare": set()},
}
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


def test_every_dag_file_can_be_read_and_no_dag_is_missing_or_new(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == set(STRUCTURE)


@pytest.mark.parametrize("name", STRUCTURE)
def test_tasks_follow_each_other_as_planned(bag: DagBag, name: str) -> None:
    assert {task.task_id: set(task.downstream_task_ids) for task in bag.dags[name].tasks} == STRUCTURE[name]


def test_the_nightly_close_runs_every_flow_of_the_money_in_the_order_in_which_data_travels() -> None:
    from crossdock import flows

    assert list(flows.order_to_cash()) == [*THE_DAY, *(f"ledger_{flow}" for flow in LEDGER)]


def test_a_close_that_is_late_raises_an_alert(bag: DagBag) -> None:
    alert = bag.dags["nightly_close"].deadline[0]
    assert alert.interval == timedelta(hours=2)
    assert alert.callback.path == "crossdock_airflow.notifier.late"
    assert type(alert.callback).__name__ == "AsyncCallback", "the executor's callbacks may not look connections up"


@pytest.mark.parametrize("name", STRUCTURE)
def test_what_one_flow_loads_starts_the_next_one(bag: DagBag, name: str) -> None:
    condition = getattr(bag.dags[name].timetable, "asset_condition", None)
    assets = {asset.name for asset in condition.objects} if condition else set()
    assert assets == {f"{flow} loaded" for flow in STARTED_BY.get(name, ())}


@pytest.mark.parametrize("name", ONE_FLOW)
def test_the_steps_after_extract_are_mapped_over_its_batches(bag: DagBag, name: str) -> None:
    group = bag.dags[name].get_task("batch.load").task_group
    assert type(group).__name__ == "MappedTaskGroup"
    assert [task.task_id for task in group.iter_mapped_dependencies()] == ["extract"]


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_dag_says_what_it_reads_and_writes_and_what_to_do_when_it_fails(bag: DagBag, name: str) -> None:
    doc = bag.dags[name].doc_md
    for words in ("**Reads**", "**Writes**", "**When "):
        assert words in doc
    assert ("**A month once more:**" in doc) == ("by" in bag.dags[name].params)


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_dag_runs_one_at_a_time_without_catching_up_and_has_owner_and_tags(bag: DagBag, name: str) -> None:
    dag = bag.dags[name]
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.owner == "crossdock"
    assert {"crossdock"} < set(dag.tags)


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_run_has_an_interval_that_a_backfill_can_take(bag: DagBag, name: str) -> None:
    from airflow.timetables.base import TimeRestriction

    timetable = _serialized(bag, name).timetable
    run = timetable.next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=pendulum.datetime(2011, 1, 4), latest=None, catchup=True),
    )
    assert run.data_interval.end - run.data_interval.start == INTERVAL[name]
    assert bag.dags[name].start_date <= datetime(2010, 12, 1, tzinfo=UTC)  # the oldest record there is


def _serialized(bag: DagBag, name: str) -> Any:
    return DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[name]))


@pytest.mark.parametrize("name", STRUCTURE)
def test_every_task_ends_some_day_and_is_tried_again_by_the_type_of_its_error(bag: DagBag, name: str) -> None:
    for task in bag.dags[name].tasks:
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=2), task.task_id
        assert 1 <= task.retries <= 5, task.task_id
        assert isinstance(task.retry_policy, TypedErrors), task.task_id
        assert task.on_failure_callback, task.task_id
    assert all(task.has_retry_policy for task in _serialized(bag, name).tasks)


def test_tasks_that_speak_to_a_system_use_its_pool_and_every_pool_is_made_at_the_start(bag: DagBag) -> None:
    made = json.loads((PROJECT / "include/config/pools.json").read_text())
    pools = {task.task_id: task.pool for task in bag.dags["orders"].tasks}
    assert (pools["extract"], pools["batch.load"], pools["batch.confirm"]) == (
        "channel_advisor",
        "tims",
        "channel_advisor",
    )
    assert {task.pool for dag in bag.dags.values() for task in dag.tasks} <= {*made, "default_pool"}


@pytest.mark.parametrize("name", sorted(set(ONE_FLOW) - SECOND_DAGS))
def test_load_tells_other_dags_which_batch_it_has_loaded(bag: DagBag, name: str) -> None:
    assert [asset.name for asset in bag.dags[name].get_task("batch.load").outlets] == [f"{name} loaded"]


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
