"""What a person may type: a mistake is told in two sentences, before anything is read, and never with a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock import cli
from crossdock.flow import Flow
from crossdock.runtime import Runtime
from crossdock.steps import records
from crossdock.store import dead_letters, watermarks, webhook_events
from crossdock.store.webhook_events import Event
from integration.environment import fresh_database

LETTERS = (("orders", "77"), (records.REFERENCE, "tims.inventory/items:LAMP"))
HALF = "\udcff"  # a byte that is no UTF-8, as Python hands it on


@pytest.fixture(scope="module")
def url(postgres_url: str) -> Iterator[str]:
    """A database with an order's dead letter and an item's."""
    with fresh_database(postgres_url, "command_line") as url, Runtime(url) as runtime:
        with runtime.engine.begin() as connection:
            reason = {"field": "", "rule": "odd", "value": "", "line": "", "says": "It is odd.", "do": "Mend it →."}
            dead_letters.dead_letter(connection, [
                {"flow": flow, "entity": flow, "key": key, "batch_id": 1, "step": "check",
                 "version": records.UNKNOWN, "reasons": [reason],
                 "payload": {"Currency": "GBP", "TotalPrice": 1, "OrderItems": [{"SKU": "LAMP"}]}}
                for flow, key in LETTERS
            ])  # fmt: skip
            watermarks.move(connection, "orders", "channel_advisor.orders", datetime(2011, 1, 5, tzinfo=UTC), None)
        yield url


@pytest.fixture(autouse=True)
def environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", url)


def output(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["crossdock", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), *capfd.readouterr()


MISTAKES = {
    "show ²": ["dead-letters", "show", "²"],
    "show a byte that is no text": ["dead-letters", "show", HALF],
    "list a state that is none": ["dead-letters", "list", "--state", "opened"],
    "list a flow that is none": ["dead-letters", "list", "--flow", "order"],
    "set a place in a text": ["dead-letters", "edit", "77", "--set", "Currency[0]=X"],
    "set a number without end": ["dead-letters", "edit", "77", "--set", "TotalPrice=1e999999"],
    "edit what is only looked up": ["dead-letters", "edit", LETTERS[1][1], "--set", "a=1"],
    "replay what is only looked up": ["dead-letters", "replay", LETTERS[1][1]],
    "replay of reference data": ["dead-letters", "replay", "--flow", "reference", "--all"],
    "prices in a state that is none": ["prices", "approvals", "--state", "waiting"],
    "watermarks of no flow": ["watermark", "show", "order"],
    "a watermark before all time": ["watermark", "set", "orders", "0001-01-01", "--why", "x"],
    "a watermark beyond the calendar": ["watermark", "set", "orders", "0001-01-01T00:00+14:00", "--why", "x"],
    "a window before all time": ["sync", "orders", "--from", "0001-01-01"],
    "a window beyond the calendar": ["sync", "orders", "--to", "9999-12-31T23:59-14:00"],
    "a key without a letter": ["sync", "orders", "--key", " "],
    "a key that is too long": ["sync", "orders", "--key", "7" * 1000],
    "a report where no folder is": ["reconcile", "--report", "/nowhere/report.html"],
    "a report that is a folder": ["reconcile", "--report", "/tmp"],
    "an export into a file": ["close", "--period", "2011-01", "--export", "/etc/passwd"],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_two_sentences(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = output(MISTAKES[name], monkeypatch, capfd)
    assert (code, out) == (2, "")
    assert err.startswith("ConfigError: ")
    assert len(err.splitlines()) == 2
    assert "\udcff" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["customers", "changes", "--last", "-1"],
        ["data-docs", "--last", "0"],
        ["catalog", "conflicts", "--days", "1" * 20],
    ],
    ids=" ".join,
)
def test_a_number_out_of_range_is_told(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = output(words, monkeypatch, capfd)
    assert (code, out) == (2, "")
    assert "Invalid value" in err
    assert "Traceback" not in err


def test_status_shows_what_waits_of_the_events_and_how_the_receiver_is(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    (tmp_path / "parts.json").write_text(json.dumps({"receiver": {"runs": True, "said": "runs since 09:01:02"}}))
    with Runtime(url) as runtime, runtime.engine.begin() as connection:
        webhook_events.add(
            connection, [Event("channel_advisor", f"evt_{n}", "orders", "OrderCreated", "1") for n in "12"]
        )
    try:
        monkeypatch.setattr(sys, "argv", ["crossdock", "status", "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        found = json.loads(capsys.readouterr().out)
        assert ended.value.code == 0
        assert [(one["flow"], one["waiting"], one["received"]) for one in found["events"]["flows"]] == [
            ("orders", 2, 2)
        ]
        assert found["receiver"] == "runs since 09:01:02"
        monkeypatch.setattr(sys, "argv", ["crossdock", "status"])
        with pytest.raises(SystemExit):
            cli.main()
        words = " ".join(capsys.readouterr().out.split())
        assert "The receiver of events runs since 09:01:02." in words
        assert "orders 2 2" in words
    finally:
        with Runtime(url) as runtime, runtime.engine.begin() as connection:
            connection.execute(sa.delete(webhook_events.table))


def test_all_are_replayed_though_some_are_only_looked_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    replayed: list[tuple[str, list[str]]] = []

    def extract(runtime: Runtime, flow: Flow, *_: Any, keys: list[str], **more: Any) -> list[int]:
        replayed.append((flow.name, keys))
        return []

    monkeypatch.setattr("crossdock.steps.extract.extract", extract)
    code, out, _ = output(["dead-letters", "replay", "--rule", "odd"], monkeypatch, capfd)
    assert (code, replayed) == (0, [("orders", ["77"])])
    assert "Left 1 of reference" in out


def test_a_terminal_without_arrows_shows_the_rest(url: str) -> None:
    """Its encoding is set where the process begins."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("crossdock")), "dead-letters", "list"],
        env={"AIRFLOW_CONN_CROSSDOCK": url, "PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2192 Mend it" in done.stdout


def test_a_watermark_at_the_first_day_leaves_room_for_the_overlap(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = output(["watermark", "set", "orders", "1900-01-01", "--why", "all of it"], monkeypatch, capfd)
    assert code == 0
    assert "1900-01-01 00:00" in out
