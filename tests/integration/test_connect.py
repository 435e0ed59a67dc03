"""`crossdock connect` with a database, and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from crossdock import cli, flows, settings
from crossdock.cli.connect import MASK
from crossdock.services import connect, gates
from crossdock.services.people import on_this_machine
from crossdock.settings import PROJECT
from crossdock.systems.channel_advisor import Abilities
from integration.environment import Environment

PERSON = on_this_machine("somebody")


def test_results_are_kept_for_the_console_without_secrets(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", environment.database_url)
    for name, one in environment.connections.items():
        made = {"conn_type": name, "host": one.base_url, "login": one.login, "password": one.secret, "extra": one.extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(made))
    monkeypatch.setattr(sys, "argv", ["crossdock", "connect", "tims"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert "kept" not in capfd.readouterr().out
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        (kept,) = gates.newest(connection, PERSON, gates.CONNECT)
        assert (kept.subject, kept.red) == ("tims", 0)
        assert {one["name"] for one in kept.checks} >= {"clock", "accounts", "resource:sales-orders"}
        wrong = connect.Check("clock", "Clock", "red", "off", "m", "d", "w")
        for number in range(gates.KEPT + 3):
            gates.keep(connection, gates.CONNECT, "tims", f"person {number}", [asdict(wrong)])
        gates.keep(connection, gates.CONNECT, "channel_advisor", "x", [])
        newest = {one.subject: one for one in gates.newest(connection, PERSON, gates.CONNECT)}
        assert (newest["tims"].by, newest["tims"].red) == (f"person {gates.KEPT + 2}", 1)
        assert newest["channel_advisor"].red == 0
        count = connection.exec_driver_sql("SELECT count(*) FROM ops.gate_result WHERE subject = 'tims'").scalar()
        assert count == gates.KEPT


def test_what_flows_and_reconcile_read_is_declared() -> None:
    """The lists that a flow's modules name are those that the flow declares."""
    import re

    named = re.compile(r"runtime\.(channel_advisor|tims)\.(?:pages|of_skus|find)\(\s*\"([^\"]+)\"")
    declared = {f"{system}.{path}" for system in connect.SYSTEMS for path in connect.read_by_flows(system, Abilities())}
    found = set()
    for file in (PROJECT / "include" / "crossdock" / "flows").rglob("*.py"):
        found |= {".".join(each) for each in named.findall(file.read_text())}
    assert len(found) >= 6
    assert found <= declared
    assert all(
        path.partition(".")[0] in connect.SYSTEMS for flow in flows.all_flows().values() for path in flow.also_reads
    )


def test_on_a_terminal_the_command_asks_for_what_it_needs_and_echoes_no_secret(
    environment: Environment, tmp_path: Path
) -> None:
    """A person types; what the terminal shows is what it echoes and what the command prints."""
    wanted = environment.connections["channel_advisor"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")}
    here, there = pty.openpty()
    program = "import sys; sys.argv[0] = 'crossdock'; from crossdock.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "connect", "channel_advisor"],
        stdin=there, stdout=there, stderr=there, cwd=PROJECT, close_fds=True,
        env=variables | {"CROSSDOCK_RUN_DIR": str(tmp_path), "COLUMNS": "200", "NO_COLOR": "1",
                         "CROSSDOCK_CONFIG_DIR": str(settings.base_dir()),
                         "PYTHONPATH": f"{PROJECT / 'include'}"},
    )  # fmt: skip
    os.close(there)
    shown = ""
    answers = {"Base URL": wanted.base_url, "Application id": wanted.login, "Secret": wanted.secret,
               "Refresh token": str(wanted.extra["refresh_token"])}  # fmt: skip
    until = time.monotonic() + 90
    try:
        while time.monotonic() < until:
            if not select.select([here], [], [], 1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                more = os.read(here, 65_536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            shown += more.decode()
            last = shown.rpartition("\n")[2]
            if last.endswith(": "):  # the space comes when the answer is waited for
                name = next((each for each in answers if last.lstrip().startswith(each)), None)
                if name:
                    os.write(here, f"{answers.pop(name)}\n".encode())
    finally:
        process.kill()
        process.wait()
        os.close(here)
    assert answers == {}, shown
    assert "developer console" in shown
    assert wanted.secret not in shown
    assert str(wanted.extra["refresh_token"]) not in shown
    assert "ok      Refresh token" in shown
    assert f'"password": "{MASK}"' in shown
