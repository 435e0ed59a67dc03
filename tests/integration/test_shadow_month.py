"""The month of real trade with every flow in shadow mode: each order that would be loaded is reported as would be made,
each that would be refused is a dead letter, and neither system is written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from crossdock import flows
from crossdock.services import go_live
from crossdock.systems import writes
from integration.environment import Environment, found_environment, own_config
from sandbox.control import SYSTEMS, Control

pytestmark = pytest.mark.slow
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def month(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with (
        found_environment(postgres_url, "shadow_month", tmp_path_factory.mktemp("environment")) as environment,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        environment.inbox = tmp_path_factory.mktemp("inbox")
        config = tmp_path_factory.mktemp("config") / "config"
        in_shadow(monkeypatch, config)
        yield environment


def in_shadow(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Puts a configuration of its own in force, in which every flow is in shadow mode."""
    own_config(folder)
    file = folder / "flows.yaml"
    whole = yaml.safe_load(file.read_text())
    for settings in whole.values():
        settings.pop("mode", None)
    whole["defaults"]["mode"] = "shadow"
    file.write_text(yaml.safe_dump(whole))
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(folder))


def test_a_month_in_shadow_reports_every_order_as_would_be_made_and_writes_nothing(month: Environment) -> None:
    world = month.world
    last = max(invoice.at for invoice in world.invoices)
    ends = [month.now + DAY * days for days in range(6, (last - month.now).days + 7, 6)]
    controls = {"channel_advisor": month.channel_advisor, "tims": month.tims_control}
    requested = {system: set[str]() for system in SYSTEMS}
    reads = []
    for end in ends:
        month.tick(end)
        before = {system: written(control) for system, control in controls.items()}
        for control in controls.values():
            control.call("DELETE", "requests")
        reads.append(end)
        with writes.permitted(writes.nobody):
            for flow in flows.all_flows():
                month.sync(flow=flow, run_id=f"{flow}:{end:%d}")
        for system, control in controls.items():
            requested[system] |= set(control.call("GET", "requests"))
            assert written(control) == before[system], f"{system} holds something else at {end}"
    for system, made in requested.items():
        assert {one for one in made if not one.startswith("GET ")} <= {"POST /oauth2/token"}, system

    expected = world.expectations(end=reads[-1], reads=reads)
    loadable = {str(key) for key, each in expected.items() if each.verdict == "loadable"}
    dead = {str(key) for key, each in expected.items() if each.verdict == "dead"}
    kept = keys(month, "SELECT key FROM ops.would_be WHERE flow = 'orders' AND position('sales-orders' IN path) > 0")
    refused = keys(month, "SELECT key FROM ops.dead_letter WHERE flow = 'orders' AND state = 'open'")
    would_be = keys(month, "SELECT key FROM stage.sales_order WHERE state = 'would_be'")
    assert len(loadable) > 950
    assert kept == would_be == loadable
    assert refused == dead
    # Of a few the channel has cancelled the order since, or removed the buyer's data: they stay, and that is told.
    later = {
        row.later: row.n
        for row in month.query("SELECT later, count(*) AS n FROM ops.would_be WHERE flow = 'orders' GROUP BY later")
    }
    assert set(later) - {None} == set(flows.get("orders").later.values())
    with month.runtime() as runtime, runtime.engine.begin() as connection:
        mode = go_live.mode_of(connection, "orders")
    assert mode.held == len(loadable)
    for words, number in mode.later.items():
        assert f"{words} ({number})" in mode.sentence


def keys(month: Environment, statement: str) -> set[str]:
    return {row.key for row in month.query(statement)}


def written(control: Control) -> dict[str, int]:
    """How many documents the server holds of each kind."""
    return control.call("GET", "counts")
