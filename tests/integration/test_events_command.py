"""`crossdock events`: what a person sees of events and subscriptions, and what a mistake is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from crossdock import cli
from crossdock.cli import output
from crossdock.receiver import sources
from crossdock.store import webhook_events
from crossdock.store.webhook_events import Event
from crossdock.systems import connections, writes
from integration.builders import line, place
from integration.environment import Environment
from integration.receivers import SECRET, SHOP, TIMS, receiving


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    """An environment in which nothing happens but what a test does, read once."""
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-05")
    long_lived_environment.sync()
    return long_lived_environment


@pytest.fixture(autouse=True)
def _shell(shop: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", shop.database_url)
    monkeypatch.setenv("COLUMNS", "250")
    for name, connection in shop.connections.items():
        monkeypatch.setenv(connection.variable, connections.as_json(connection))
        monkeypatch.setenv(sources.variable(name), SECRET)
    yield
    with shop.runtime() as runtime, writes.permitted(writes.always):
        for client in (runtime.channel_advisor, runtime.tims):
            for each in client.subscriptions():
                client.unsubscribe(each.id)
        with runtime.engine.begin() as opened:
            for table in ("ops.subscription", "ops.webhook_event"):
                opened.exec_driver_sql(f"DELETE FROM {table}")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs `crossdock events ...`: exit code, what it prints, its errors."""

    monkeypatch.setattr(output.out, "width", 200)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crossdock", "events", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def ring(shop: Environment, *ids: str, flow: str = "orders", key: str = "1", system: str = "channel_advisor") -> None:
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        webhook_events.add(connection, [Event(system, id, flow, "OrderCreated", key) for id in ids])


def test_the_list_shows_what_waits_and_what_is_worked_and_for_how_long(shop: Environment, run: Any):
    ring(shop, "evt-1", "evt-2")
    ring(shop, "evt-3", flow="inventory", system="tims")
    shop.query(
        "UPDATE ops.webhook_event SET worked_at = received_at + interval '1.5 s' WHERE event_id = 'evt-1' RETURNING 1"
    )
    code, printed, _ = run("list")
    assert code == 0
    assert "Events: 3." in printed
    assert "1.5 s" in printed
    assert "waits" in printed
    for words, expected in (
        (["--state", "waiting"], {"evt-2", "evt-3"}), (["--state", "worked"], {"evt-1"}),
        (["--system", "tims"], {"evt-3"}), (["--flow", "orders"], {"evt-1", "evt-2"}),
        (["--since", "2100-01-01"], set()), (["--limit", "1", "--flow", "inventory"], {"evt-3"}),
    ):  # fmt: skip
        rows = json.loads(run("list", "--json", *words)[1])
        assert {row["event_id"] for row in rows} == expected, words


def test_an_event_is_shown_with_its_batch_and_what_became_of_its_record(shop: Environment, run: Any):
    key = place(shop, line())
    ring(shop, "evt-1", key=key)
    assert "not read yet" in run("show", "evt-1")[1]
    shop.sync()
    shop.query("UPDATE ops.webhook_event SET worked_at = now(), run_id = 'events/one', times = 1 RETURNING 1")
    printed = run("show", "evt-1")[1]
    for words in (key, "delivered", "scheduled", "events/one"):
        assert words in printed
    (row,) = json.loads(run("show", "evt-1", "--json")[1])
    assert (row["outcome"], row["batch_kind"], row["letter"]) == ("delivered", "scheduled", None)


def test_an_event_of_a_refused_record_leads_to_its_dead_letter(shop: Environment, run: Any):
    key = place(shop, line(sku="NO SUCH THING"))
    ring(shop, "evt-1", key=key)
    shop.sync()
    printed = run("show", "evt-1")[1]
    assert f"crossdock dead-letters show {shop.letters()[key].id}" in printed


def test_a_replay_by_id_waits_again_at_once_and_one_by_filter_asks_first(shop: Environment, run: Any):
    ring(shop, "evt-1", "evt-2")
    shop.query("UPDATE ops.webhook_event SET worked_at = now() RETURNING 1")
    assert "Wait again: 1." in run("replay", "evt-1")[1]
    assert waiting(shop) == ["evt-1"]
    code, _, error = run("replay", "--flow", "orders")
    assert (code, waiting(shop)) == (2, ["evt-1"])
    assert "2 events would be worked again" in error
    assert "--yes" in error
    assert json.loads(run("replay", "--all", "--yes", "--json")[1]) == {"replayed": 2}
    assert waiting(shop) == ["evt-1", "evt-2"]


def waiting(shop: Environment) -> list[str]:
    return [row.id for row in shop.query(
        "SELECT event_id AS id FROM ops.webhook_event WHERE worked_at IS NULL ORDER BY 1")]  # fmt: skip


MISTAKES = {
    "show of no event": ["show", "evt-none"],
    "replay of nothing": ["replay"],
    "replay of no event": ["replay", "evt-none"],
    "replay of a flow that is none": ["replay", "--flow", "order"],
    "list of a system that is none": ["list", "--system", "amazon"],
    "list of a state that is none": ["list", "--state", "open"],
    "list since no moment": ["list", "--since", "yesterday"],
    "list beyond the calendar": ["list", "--since", "0001-01-01T00:00+14:00"],
}


@pytest.mark.parametrize("words", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_two_sentences(run: Any, words: list[str]):
    code, printed, error = run(*words)
    assert (code, printed) == (2, "")
    assert "Traceback" not in error
    assert len([each for each in error.splitlines() if each.strip()]) == 2, error


def test_subscriptions_that_lack_are_shown_made_and_then_as_they_should_be(
    shop: Environment, run: Any, monkeypatch: pytest.MonkeyPatch
):
    with receiving(shop.database_url) as url:
        monkeypatch.setenv(sources.PUBLIC_URL, url)
        code, printed, _ = run("subscriptions")
        assert code == 1
        for words in ("missing", url + SHOP, url + TIMS, "crossdock events subscriptions --apply"):
            assert words in printed
        code, printed, _ = run("subscriptions", "--apply")
        assert code == 0
        assert "channel_advisor: made " in printed
        code, printed, _ = run("subscriptions")
        assert (code, printed.count("good")) == (0, 2)
        code, printed, _ = run("subscriptions", "--rotate", "--json")
        found = json.loads(printed)
        assert [len(one["made"]) for one in found["sources"]] == [1, 1]
        assert SECRET not in printed
        assert "ends when what waits in it is delivered" in run("subscriptions")[1]


def test_without_an_address_it_says_that_events_are_off(run: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(sources.PUBLIC_URL, raising=False)
    code, printed, _ = run("subscriptions")
    assert code == 0
    assert sources.PUBLIC_URL in printed


@pytest.mark.parametrize("address", ["ftp://x", "http://events.example.com", "https://u:p@x.example", "https://", "x"])
def test_an_address_that_is_none_is_told(run: Any, monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv(sources.PUBLIC_URL, address)
    code, _, error = run("subscriptions")
    assert code == 2
    assert f"{sources.PUBLIC_URL} is no address" in error
    assert "u:p" not in error


def test_a_receiver_that_is_not_there_is_told_for_each_source(run: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(sources.PUBLIC_URL, "http://127.0.0.1:9")
    code, printed, _ = run("subscriptions", "--apply")
    assert code == 1
    assert printed.count("cannot be reached") == 2
    assert "crossdock receive" in printed
