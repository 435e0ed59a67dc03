"""What the sandbox's commands say when they cannot do what was asked."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from sandbox import cli, control, processes
from sandbox.cli import app
from sandbox.control import SandboxError


@pytest.fixture(autouse=True)
def run_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    return tmp_path


def refused(*words):
    with pytest.raises(SandboxError) as caught:
        CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert caught.value.do
    return str(caught.value)


def test_a_tick_before_a_seed_says_to_seed():
    assert "sandbox seed" in refused("tick", "--to", "2011-01-05")


def test_seed_names_a_data_file_that_cannot_be_read():
    assert "cannot be read" in refused("seed", "--data", "nowhere.csv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tick", "--to", "2011-01-05", "--by", "1d"), "two ways"),
        (("tick", "--to", "tomorrow"), "no day or moment"),
        (("tick", "--by", "soon"), "no duration"),
        (("fault", "list", "sap"), "no system sap"),
        (("fault", "add", "tims", "slow", "--option", "seconds"), "says no value"),
    ],
)
def test_words_that_cannot_be_understood_are_named(words, message):
    assert message in refused(*words)


def test_a_port_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("CROSSDOCK_CA_PORT", "http")
    assert "CROSSDOCK_CA_PORT" in refused("clock")


def test_durations_and_moments_are_read_as_people_write_them():
    assert cli._duration("90m") == timedelta(minutes=90)
    assert cli._duration("1.5h") == timedelta(minutes=90)
    assert cli._moment("2011-01-05") == datetime(2011, 1, 5, tzinfo=UTC)
    assert cli._moment("2011-01-05T12:00+01:00") == datetime(2011, 1, 5, 11, tzinfo=UTC)


def test_options_of_a_fault_keep_their_types():
    assert cli._option("seconds=5") == ("seconds", 5)
    assert cli._option("effect=true") == ("effect", True)
    assert cli._option("shape=text") == ("shape", "text")


def test_a_pid_file_of_another_program_does_not_count(run_folder):
    processes.pid_file("tims").write_text("1")
    assert processes.running("tims") is None
    assert processes.down() == {"channel_advisor": "was not running", "tims": "was not running"}


def test_how_far_the_world_is_told_survives_a_restart(run_folder):
    until = datetime(2011, 1, 9, 8, 30, 15, 250_000, tzinfo=UTC)
    acted = datetime(2011, 1, 8, tzinfo=UTC)
    processes._remember(processes.WorldState("/data.csv", until, acted))
    assert processes.world_state() == processes.WorldState("/data.csv", until, acted)


def test_a_servers_time_is_cut_to_microseconds():
    assert control.moment("2011-01-04T10:00:00.9999999Z") == datetime(2011, 1, 4, 10, 0, 0, 999_999, tzinfo=UTC)


def test_events_of_one_moment_are_never_parted():
    class At:
        def __init__(self, second):
            self.at = datetime(2011, 1, 4, 10, 0, second, tzinfo=UTC)

    batches = list(processes._batches(iter([At(0), At(1), At(1), At(1), At(2)]), size=2))
    assert [[event.at.second for event in batch] for batch in batches] == [[0, 1, 1, 1], [2]]


def test_every_command_explains_itself():
    for words in (["up"], ["down"], ["seed"], ["tick"], ["clock"], ["fault", "add"], ["fault", "list"]):
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0
        assert re.search(r"--json", shown.stdout)


def test_a_fault_of_any_path_is_shown_whole_and_does_nothing(monkeypatch):
    hostile = "*[/x][bold]\x1b[2J\u202e"
    rule = {"id": "f1", "kind": "slow", "path": hostile, "method": None, "times": None, "hits": 3}
    monkeypatch.setattr(control.Control, "call", lambda *_: {"rules": [rule]} | rule)
    for words in (("fault", "list", "tims"), ("fault", "add", "tims", "slow", "--path", hostile)):
        printed = CliRunner().invoke(app, list(words), catch_exceptions=False).stdout
        assert "*[/x][bold]\\x1b[2J\\u202e" in "".join(printed.split())
        assert not {"\x1b", "\u202e"} & set(printed)
