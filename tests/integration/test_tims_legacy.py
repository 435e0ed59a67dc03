"""The flows on an older TIMS: other words, pages by number, no bulk, no idempotency header, no ETag, and a second
document under one reference is taken. Once is enough there too, whatever is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crossdock import flows
from crossdock.errors import Transient
from crossdock.steps.extract import Window
from crossdock.store import database
from integration import test_battery as battery
from integration.battery import Shop, opened
from integration.environment import Environment, adapt, found_environment, own_config

pytestmark = pytest.mark.slow
TO_TIMS = [name for name, flow in flows.all_flows().items() if flow.target == "tims"]
LOST = [
    ("createSalesOrder", {"kind": "error_after", "probability": 0.4, "seed": 3, "times": 6}),
    ("createSalesOrder", {"kind": "hang_after", "times": 2, "seconds": 6}),
    ("createCustomer", {"kind": "cut_body", "times": 3}),
    ("createSalesOrder", {"kind": "truncated_json", "probability": 0.3, "seed": 5, "times": 6}),
    ("createCustomer", {"kind": "rate_limited_bare", "times": 5}),
    ("createSalesOrder", {"kind": "error_before", "probability": 0.4, "seed": 1, "times": 6}),
    ("listSalesOrders", {"kind": "bad_gateway_html", "times": 1}),
    ("listItems", {"kind": "truncated_json", "times": 1}),
]
reads: list[str] = []


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = own_config(tmp_path_factory.mktemp("adapted") / "config")
    adapt(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_CONFIG_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def environment(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, adapted: Path) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("environment")
    with found_environment(postgres_url, "tims_legacy", folder, legacy=True) as environment:
        environment.part = 5
        yield environment


def twice(environment: Environment) -> dict[str, int]:
    """References of the channel that stand in TIMS more than once: it would take them."""
    orders = Counter(one["ExternalOrderID"] for one in environment.tims_control.documents("order"))
    buyers = Counter(
        one["ID"]
        for each in environment.tims_control.documents("customer")
        for one in each["ExternalIDs"]
        if one["Source"] == "ChannelAdvisor"
    )
    return {key: count for key, count in (orders | buyers).items() if count > 1}


@pytest.mark.parametrize(("path", "rule"), LOST, ids=[f"{path}-{rule['kind']}" for path, rule in LOST])
def test_orders_among_faults_are_there_once_and_whole(environment: Environment, path: str, rule: dict) -> None:
    day = environment.now + timedelta(days=1)
    environment.tick(day)
    reads.append(day.isoformat())
    environment.fault("tims", path=path, **rule)
    for _ in range(6):
        try:
            environment.sync(run_id=f"{path}:{day}")  # the same run, as a task's retry is
            break
        except Transient:
            continue
    environment.clear_faults()
    environment.sync(run_id=f"{path}:{day}")
    assert environment.differences([each.removesuffix("+00:00") for each in reads]) == []
    assert twice(environment) == {}
    assert environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


def test_a_lost_database_of_links_makes_no_second_order(environment: Environment) -> None:
    """Nothing tells what was delivered: TIMS is asked, for it would take every document again."""
    before = environment.tims_control.call("GET", "counts")
    for table in ("ops.link", "ops.delivery"):
        environment.query(f"DELETE FROM {table} RETURNING 1")
    window = Window(environment.now - timedelta(days=3), environment.now)
    environment.sync(window, kind="backfill", reprocess=True)
    assert environment.tims_control.call("GET", "counts") == before
    assert twice(environment) == {}


def test_only_one_process_may_post_a_reference_at_a_time(environment: Environment) -> None:
    with environment.runtime() as first, environment.runtime() as second:
        with database.locks(first.engine, ["tims:customers:CA:1", "tims:customers:CA:2"]):
            overlapping = database.locks(second.engine, ["tims:customers:CA:2", "tims:customers:CA:3"], wait=0.1)
            with pytest.raises(Transient, match="tims:customers:CA:2"), overlapping:
                raise AssertionError("two have it")
            with database.locks(second.engine, ["tims:customers:CA:3"], wait=0.1):
                pass
        with database.locks(second.engine, ["tims:customers:CA:1", "tims:customers:CA:2"], wait=0.1):
            pass


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(postgres_url, tmp_path_factory, "battery_legacy", legacy=True) as found:
        yield found


@pytest.mark.parametrize("flow", TO_TIMS)
def test_every_flow_that_writes_to_tims_stands_the_battery(shop: Shop, flow: str) -> None:
    battery.test_once_is_enough_and_nothing_echoes(shop, flow)
    battery.test_a_death_after_the_request_and_answers_that_are_lost_leave_one_effect(shop, flow)
    battery.test_what_is_refused_is_a_dead_letter_with_advice_and_goes_through_by_replay(shop, flow)
