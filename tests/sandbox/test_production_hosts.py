"""What only tries things out speaks to no other machine: tests, the demo, the sandbox's commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import pytest

from crossdock import cli
from crossdock.errors import ConfigError
from crossdock.runtime import Runtime
from crossdock.systems.channel_advisor import V1, Facade
from crossdock.systems.connections import PRODUCTION_HOSTS, THIS_MACHINE_ONLY, Connection, refuse_other_machines
from crossdock.systems.probe import Probe
from crossdock.systems.tims import Tims
from sandbox import demo

SYSTEMS = ("channel_advisor", "tims")
REMOTE = "https://erp.shop.example"
COMMANDS = [
    ["up"], ["down"], ["seed"], ["tick"], ["clock"], ["fault", "list"], ["fault", "clear"],
    ["fault", "add", "ca", "slow"],
]  # fmt: skip


def variable(system: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"conn_type": system, "host": host, "login": "l", "password": "p", "extra": {"refresh_token": "r"}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{system.upper()}", json.dumps(made))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("system", "host"), [("channel_advisor", "https://api.channeladvisor.com"), ("tims", REMOTE)])
def test_a_command_of_the_sandbox_does_nothing_beside_a_connection_to_another_machine(
    words: list[str], system: str, host: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(THIS_MACHINE_ONLY)
    variable(system, host, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["crossdock", "sandbox", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told_apart = "a production host of Channel Advisor" if "channeladvisor" in host else "another machine"
    shown = capfd.readouterr().err
    assert f"leads to {host[8:]}, {told_apart}, and this is crossdock sandbox: it speaks to this machine only." in shown
    assert f"Take AIRFLOW_CONN_{system.upper()} out of the environment" in shown


def test_the_demo_does_not_start_beside_a_connection_to_another_machine(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(THIS_MACHINE_ONLY)
    variable("channel_advisor", "https://api.rithum.com", monkeypatch)
    assert demo.main(["up"]) == 1
    shown, wrong = capfd.readouterr()
    assert "and this is make demo: it speaks to this machine only. Nothing was sent." in wrong
    assert "Postgres" not in shown


def test_what_the_demo_starts_is_held_to_this_machine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes have its environment: a connection that somebody adds in their Airflow leads nowhere."""
    monkeypatch.delenv(THIS_MACHINE_ONLY)
    monkeypatch.setattr(demo, "_insist_on_the_sandbox", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    for system in SYSTEMS:
        variable(system, "http://127.0.0.1:8601", monkeypatch)
    assert demo.main(["up"]) == 130
    assert os.environ.pop(THIS_MACHINE_ONLY) == "make demo"


@pytest.mark.parametrize("make", [Facade, V1, Tims, lambda one: Probe(one, None)])
@pytest.mark.parametrize("host", [*PRODUCTION_HOSTS, "api.channeladvisor.com.", "API.ChannelAdvisor.com", "192.0.2.7"])
def test_no_client_is_made_for_another_machine_in_a_test(make: Callable[[Connection], object], host: str) -> None:
    for name in SYSTEMS:
        given = Connection(name, f"https://{host}", "login", "secret", {"refresh_token": "r"})
        with pytest.raises(ConfigError, match="speaks to this machine only"):
            make(given)


def test_a_runtime_in_a_test_opens_no_client_of_a_production_host(monkeypatch: pytest.MonkeyPatch) -> None:
    variable("tims", "https://api.channeladvisor.com", monkeypatch)
    monkeypatch.setattr(Runtime, "engine", None)
    with pytest.raises(ConfigError, match="production host of Channel Advisor, and this is a test"):
        _ = Runtime("postgresql:///none").tims


def test_where_nothing_is_only_tried_out_every_host_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THIS_MACHINE_ONLY)
    for host in PRODUCTION_HOSTS:
        refuse_other_machines(Connection("channel_advisor", f"https://{host}", "login", "secret"))
