"""`crossdock map` on real servers: what is open, what was decided, what is kept."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from crossdock import cli
from crossdock.services import configuration, gates
from crossdock.services.people import on_this_machine
from integration.environment import Environment

PERSON = on_this_machine("somebody")
OPEN = {"unknown_site:955", "unknown_sku:84970S"}  # of the first two days of the sandbox, in the shipped configuration


@pytest.fixture
def systems(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Both systems with the orders of two days, named in the environment."""
    environment.tick("2011-01-06")
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", environment.database_url)
    for name, one in environment.connections.items():
        made = {"conn_type": name, "host": one.base_url, "login": one.login, "password": one.secret, "extra": one.extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(made))
    return environment


def run(
    words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["crossdock", "map", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), *capfd.readouterr()


def test_the_map_is_open_until_somebody_has_decided_everything_and_changes_nothing(
    systems: Environment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sent = {}
    for control in (systems.channel_advisor, systems.tims_control):
        control.call("DELETE", "requests")
    file = tmp_path / "map.csv"
    code, shown, _ = run(["--json", "--csv", str(file)], monkeypatch, capfd)
    assert code == 1
    told_apart = json.loads(shown)
    assert {one["name"] for one in told_apart["findings"] if one["state"] == "open"} == OPEN
    assert told_apart["open"] == len(OPEN)
    assert told_apart["read"]["channel_advisor.orders"] > 50
    first = told_apart["samples"]["channel_advisor.orders"]
    assert first["ShippingAddress"]["Name"] == "•••"
    for control in (systems.channel_advisor, systems.tims_control):
        sent |= control.call("GET", "requests")
    assert {each for each in sent if not each.startswith("GET ")} == {"POST /oauth2/token"}
    rows = list(csv.DictReader(file.open(newline="", encoding="utf-8")))
    assert {row["name"] for row in rows if row["state"] == "open"} == OPEN
    assert next(row for row in rows if row["name"] == "unknown_site:955")["proposal"] == "  955:\n    channel: Fruugo"

    code, shown, _ = run(["--propose"], monkeypatch, capfd)
    assert code == 1
    assert "Version 1 proposes them" in shown
    with systems.runtime() as runtime, runtime.engine.begin() as connection:
        proposed = configuration.proposed(connection, 1)
    assert list(proposed) == ["sites.yaml"]
    assert (proposed["sites.yaml"] or "").endswith("\n  955:\n    channel: Fruugo\n")

    code, _, wrong = run(["--decide", "unknown_site:955"], monkeypatch, capfd)
    assert (code, "needs a reason" in wrong) == (2, True)
    code, _, wrong = run(["--decide", "unknown_site:1", "--because", "x"], monkeypatch, capfd)
    assert (code, "has no finding" in wrong) == (2, True)
    for name in OPEN:
        assert run(["--decide", name, "--because", "It is a test shop."], monkeypatch, capfd)[0] == 0
    code, shown, _ = run([], monkeypatch, capfd)
    assert code == 0
    assert "0 to decide, 2 decided" in shown
    assert "because  It is a test shop. (" in shown
    assert run(["--reopen", "unknown_site:955"], monkeypatch, capfd)[0] == 0
    code, shown, _ = run([], monkeypatch, capfd)
    assert code == 1
    assert "sites.yaml does not know the site 955 Fruugo." in shown
    assert "            channel: Fruugo" in shown
    with systems.runtime() as runtime, runtime.engine.begin() as connection:
        (kept,) = gates.newest(connection, PERSON, gates.MAP)
    assert (kept.subject, kept.red) == (gates.BOTH, 1)
    assert {one["name"] for one in kept.checks if one["state"] == "open"} == {"unknown_site:955"}


def test_a_list_that_cannot_be_read_stops_no_other(
    systems: Environment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    systems.channel_advisor.call("POST", "faults", {"kind": "not_found", "path": "/v2/returns"})
    code, shown, _ = run(["--sample", "5", "--json"], monkeypatch, capfd)
    assert code == 1
    told_apart = json.loads(shown)
    assert "unreadable:channel_advisor.returns" in {one["name"] for one in told_apart["findings"]}
    assert told_apart["read"]["channel_advisor.orders"] == 5
