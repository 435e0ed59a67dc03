"""The command line of the sandbox, with both servers as real processes: up, seed, tick, down."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
import requests
from typer.testing import CliRunner

from sandbox import processes, world
from sandbox.cli import app
from sandbox.control import SYSTEMS, Control, SandboxError

pytestmark = pytest.mark.slow
FIRST, THIRD = datetime(2011, 1, 4, tzinfo=UTC), datetime(2011, 1, 6, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run folder and two ports of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("run")
        patch.setenv("CROSSDOCK_RUN_DIR", str(folder))
        patch.setenv("CROSSDOCK_CA_PORT", str(free_port()))
        patch.setenv("CROSSDOCK_TIMS_PORT", str(free_port()))
        yield folder
        processes.down()


@pytest.fixture
def servers(place):
    processes.up()
    return {system: Control.of(system) for system in SYSTEMS}


@pytest.fixture
def seeded(servers):
    processes.seed()
    return servers


def run(*words: str) -> dict:
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def orders(control: Control) -> dict[int, dict]:
    """All orders as a client reads them, by following nextLink."""
    token = requests.post(
        f"{control.url}/oauth2/token",
        data={"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"},
        auth=("crossdock-sandbox", "sandbox-secret"),
        timeout=10,
    ).json()["access_token"]
    link, found = f"{control.url}/v2/orders?limit=100", {}
    while link:
        page = requests.get(link, headers={"Authorization": f"Bearer {token}"}, timeout=10).json()
        found |= {row["ChannelAdvisorOrderID"]: row for row in page["value"]}
        link = page.get("nextLink")
    return found


def test_up_starts_both_servers_and_a_second_up_finds_them_running(place):
    processes.down()
    assert {fact["state"] for fact in run("up").values()} == {"started"}
    assert {fact["state"] for fact in run("up").values()} == {"runs"}
    assert all((place / f"sandbox-{system}.pid").exists() for system in SYSTEMS)


def test_down_stops_what_up_started_and_says_when_there_was_nothing(servers):
    assert set(run("down").values()) == {"stopped"}
    assert set(run("down").values()) == {"was not running"}
    with pytest.raises(SandboxError, match="does not answer"):
        servers["tims"].now()


def test_a_taken_port_is_named_and_nothing_is_left_running(place, monkeypatch):
    processes.down()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("CROSSDOCK_TIMS_PORT", str(other.getsockname()[1]))
        with pytest.raises(SandboxError, match=r"Port \d+ for the tims sandbox is taken") as caught:
            processes.up()
    assert "CROSSDOCK_TIMS_PORT" in caught.value.do
    assert all(processes.running(system) is None for system in SYSTEMS)


def test_seed_fills_the_masters_and_sets_both_clocks_before_the_first_day(servers):
    facts = run("seed")
    assert facts["orders_to_come"] == 1120
    for control in servers.values():
        assert timedelta(0) <= control.now() - (FIRST - timedelta(hours=1)) < timedelta(minutes=5)
    assert servers["channel_advisor"].call("GET", "counts").get("order", 0) == 0
    assert servers["tims"].call("GET", "counts")["item"] == facts["told"]["item"]


def test_a_tick_tells_what_happened_until_then_and_the_next_goes_on(seeded):
    """The clock may be a little ahead of what was told, for what people do comes after it; nothing falls between."""
    first, second, third = run("tick", "--to", "2011-01-05"), run("tick", "--by", "1d"), run("tick", "--by", "1s")
    assert second["from"] == "2011-01-05T00:00:00Z"
    assert timedelta(0) <= moment(first["now"]) - moment(second["from"]) < processes.AHEAD + timedelta(minutes=1)
    until = moment(third["from"])
    assert timedelta(0) <= until - THIRD < processes.AHEAD + timedelta(minutes=2)
    due = list(world.load().events(FIRST, until))
    assert sum(sum(facts["told"].values()) for facts in (first, second)) == len(due)
    held = orders(seeded["channel_advisor"])
    assert set(held) == {event.document["ChannelAdvisorOrderID"] for event in due if event.kind == "order"}
    for event in due:
        if event.kind == "order_change":
            assert held[event.document["ChannelAdvisorOrderID"]]["UpdatedDate"] == world.text(event.at)
    assert third["told"] == {}


def test_what_happened_while_nobody_ticked_does_not_appear_in_the_past(seeded):
    """The clock runs on by itself; a reader may already have read up to it."""
    for control in seeded.values():
        control.set_clock(THIRD)
    facts = run("tick", "--to", "2011-01-07")
    assert facts["told"]["order"] > 50
    assert min(row["UpdatedDate"] for row in orders(seeded["channel_advisor"]).values()) > "2011-01-06T00:00:00"


def test_time_does_not_go_back(seeded):
    run("clock", "--set", "2011-02-01")
    with pytest.raises(SandboxError, match="does not go back"):
        processes.tick(FIRST)


def test_a_fault_strikes_is_listed_and_is_cleared(seeded):
    rule = run("fault", "add", "ca", "denied_200", "--path", "/v2/orders", "--times", "1", "--option", "shape=text")
    assert rule["shape"] == "text"
    assert [row["kind"] for row in run("fault", "list")["channel_advisor"]] == ["denied_200"]
    assert run("fault", "clear") == {"channel_advisor": 1, "tims": 0}
    with pytest.raises(SandboxError, match="A fault needs a kind"):
        CliRunner().invoke(app, ["fault", "add", "tims", "nonsense"], catch_exceptions=False)


def test_documents_are_not_asked_for_by_what_they_are_not_found_by(seeded):
    assert seeded["tims"].documents("item", Status=["Imaginary"]) == []
    with pytest.raises(SandboxError, match=r"No item is found by Colour; known: .*Status"):
        seeded["tims"].documents("item", Colour=["red"])
