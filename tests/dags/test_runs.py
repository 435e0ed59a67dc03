"""DAGs run for real, task by task, on real servers and a real database; only the scheduler is missing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from msgspec import structs

from crossdock import cli
from crossdock.errors import AuthError, BatchStopped
from crossdock.receiver.sources import variable
from crossdock.store import alerts
from crossdock.systems.connections import as_json, parse
from crossdock_airflow import notifier, plugin
from crossdock_airflow.connections import DATABASE
from crossdock_airflow.notifier import CHANNEL, Alert
from integration.builders import forward, line, place, send
from integration.environment import Environment, found_environment, unhurried
from integration.receivers import SECRET, receiving

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.dag_processing.dagbag import DagBag

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Both systems and a database, with Airflow's connections leading to them."""
    folder: Path = tmp_path_factory.mktemp("environment")
    with (
        unhurried(folder),
        found_environment(postgres_url, "airflow_runs", folder) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AIRFLOW_CONN_CROSSDOCK", environment.database_url)
        patch.setenv("CROSSDOCK_INBOX", f"file://{folder / 'inbox'}")
        for system, connection in environment.connections.items():
            text = {
                "conn_type": "http",
                "host": connection.base_url,
                "login": connection.login,
                "password": connection.secret,
                "extra": connection.extra,
            }
            patch.setenv(f"AIRFLOW_CONN_{system.upper()}", json.dumps(text))
        yield environment


@pytest.fixture
def letterbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a channel that is configured in Airflow receives."""
    received: list[dict[str, Any]] = []

    class Letterbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Letterbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {"config": {"path": f"json://127.0.0.1:{server.server_port}", "tag": "all"}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CHANNEL.upper()}", json.dumps({"conn_type": "apprise", "extra": config}))
    yield received
    server.shutdown()


def run(bag: DagBag, name: str, **conf: Any) -> Any:
    dag = bag.dags[name]
    dag.deadline = None  # dag.test() of Airflow 3.3 cannot find the deadlines of a DAG that no scheduler knows
    return dag.test(run_conf=conf or None)


def results(run: Any) -> dict[str, Any]:
    """Return values by task; of mapped tasks the first one's."""
    return {ti.task_id: ti.xcom_pull(ti.task_id, map_indexes=ti.map_index) for ti in run.get_task_instances()}


def test_a_run_takes_orders_from_the_channel_to_tims_and_shows_its_counts(
    bag: DagBag, metadata: None, environment: Environment
) -> None:
    environment.tick("2011-01-05")
    ended = run(bag, "orders")
    assert ended.state == "success"
    assert environment.differences() == []
    counts = results(ended)["batch.confirm"]
    assert counts["read"] == sum(value for name, value in counts.items() if name != "read")
    assert counts["delivered"] == len(environment.in_tims()) > 20
    assert plugin.counts("orders", ended.run_id).startswith(f"read {counts['read']}, delivered {counts['delivered']}")


def test_a_note_is_written_in_the_scheduler_when_the_connection_lies_in_airflows_own_database(
    bag: DagBag, metadata: None, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler is in the middle of its own session then; looking the connection up in it would close it."""
    from airflow.models import Connection, DagRun
    from airflow.utils.session import create_session

    environment.tick("2011-01-05")
    ended = run(bag, "orders")
    monkeypatch.delenv(f"AIRFLOW_CONN_{DATABASE.upper()}")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    plugin._engine.cache_clear()
    with create_session() as session:
        session.add(Connection(conn_id=DATABASE, uri=environment.database_url))  # noqa: AIR311
    try:
        with create_session() as session:  # scoped to the thread, as the scheduler's is
            found = session.query(DagRun).filter_by(dag_id="orders", run_id=ended.run_id).one()
            found.note = None
            plugin.on_dag_run_success(found, "")
            assert found in session
            session.flush()
            assert str(found.state) == "success", "nothing of the run has to be read anew from a closed session"
        with create_session() as session:
            note = session.query(DagRun).filter_by(dag_id="orders", run_id=ended.run_id).one().note
        assert note.startswith("Records: read ")
    finally:
        plugin._engine.cache_clear()
        with create_session() as session:
            session.query(Connection).filter_by(conn_id=DATABASE).delete()  # noqa: AIR311


def test_a_flow_runs_with_the_connections_that_connect_keeps_in_airflow_encrypted(
    bag: DagBag, metadata: None, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models import Connection, crypto
    from airflow.utils.session import create_session

    environment.tick("2011-01-05")
    (start,) = environment.query("SELECT now() AS at")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    crypto.get_fernet.cache_clear()
    try:
        for system, wanted in environment.connections.items():
            monkeypatch.setattr(sys, "argv", ["crossdock", "connect", system, "--airflow"])
            with pytest.raises(SystemExit):
                cli.main()
            monkeypatch.delenv(f"AIRFLOW_CONN_{system.upper()}")
            with create_session() as session:
                (kept,) = session.query(Connection).filter_by(conn_id=system)  # noqa: AIR311
                assert kept.is_encrypted
                assert kept.is_extra_encrypted
                assert wanted.secret not in str(kept._password)
                assert str(wanted.extra.get("refresh_token")) not in str(kept._extra)
                found = parse(system, kept.as_json())
            assert (found.base_url, found.login, found.secret) == (wanted.base_url, wanted.login, wanted.secret)
            assert found.extra == wanted.extra
        ended = run(bag, "orders")
        assert ended.state == "success"
        (mark,) = environment.query(
            "SELECT read_at FROM ops.watermark WHERE flow = 'orders' AND resource = 'channel_advisor.orders'"
        )
        assert mark.read_at > start.at
    finally:
        with create_session() as session:
            session.query(Connection).delete()  # noqa: AIR311
        monkeypatch.undo()
        crypto.get_fernet.cache_clear()


def test_a_run_that_finds_nothing_new_skips_the_other_steps_and_says_so(
    bag: DagBag, metadata: None, environment: Environment
) -> None:
    environment.tick("2011-01-05")
    run(bag, "orders")
    ended = run(bag, "orders")
    assert ended.state == "success"
    states = {ti.task_id: str(ti.state) for ti in ended.get_task_instances()}
    assert states.pop("extract") == "success"
    assert set(states.values()) == {"skipped"}


@pytest.mark.parametrize("by", ["window", "day"])
def test_a_window_named_by_hand_leaves_the_watermark_where_it_is(
    bag: DagBag, metadata: None, environment: Environment, by: str
) -> None:
    before = environment.query("SELECT flow, resource, position FROM ops.watermark WHERE flow = 'orders'")
    window = {"from": "2011-01-04T06:00:00Z", "to": "2011-01-06T00:00:00Z", "by": by, "reprocess": True}
    ended = run(bag, "orders", **window)
    assert ended.state == "success"
    (read,) = environment.query(
        "SELECT array_agg(DISTINCT to_char(window_start AT TIME ZONE 'UTC', 'DD HH24')) AS starts FROM ops.batch "
        f"WHERE flow = 'orders' AND run_id = 'orders/{ended.run_id}'"
    )
    assert set(read.starts) <= ({"04 06"} if by == "window" else {"04 06", "05 00"})
    assert by == "window" or len(read.starts) == 2
    assert environment.query("SELECT flow, resource, position FROM ops.watermark WHERE flow = 'orders'") == before
    assert environment.differences() == []


def test_wrong_credentials_fail_the_task_at_once_and_one_alert_goes_out(
    bag: DagBag, metadata: None, environment: Environment, letterbox: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = json.loads(os.environ["AIRFLOW_CONN_TIMS"]) | {"password": "wrong-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_TIMS", json.dumps(wrong))
    for _ in range(2):
        assert run(bag, "orders").state == "failed"
    alerts = environment.query("SELECT kind, key, times, sent_at FROM ops.alert WHERE kind = 'auth'")
    assert [(alert.kind, alert.key, alert.times, alert.sent_at is not None) for alert in alerts] == [
        ("auth", "tims", 2, True)
    ]
    titles = [letter["title"] for letter in letterbox]
    assert titles.count("Crossdock: orders.extract failed after its last try") == 1
    assert "wrong-secret" not in json.dumps(letterbox)


def test_a_stopped_batch_is_not_reported_a_second_time_by_the_task(environment: Environment, letterbox: list) -> None:
    Alert().notify(_context(BatchStopped("too many")))
    assert letterbox == []


def test_an_alert_waits_in_the_table_while_no_channel_takes_it(
    environment: Environment, letterbox: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv(f"AIRFLOW_CONN_{CHANNEL.upper()}")
        Alert().notify(_context(AuthError("no", system="channel_advisor")))
    assert letterbox == []
    Alert().notify(_context(BatchStopped("sends what waits")))
    assert len(letterbox) == 1


def test_a_silenced_alert_is_not_sent_and_comes_back_afterwards(environment: Environment, letterbox: list) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    with environment.runtime() as opened:
        with opened.engine.begin() as connection:
            alerts.raise_alert(connection, kind="stale", key="silenced", title="Nothing was read", body="Look.")
            alerts.silence(connection, "stale", ["silenced"], until=soon, reason="maintenance", who="ada")
        assert notifier.send(opened.engine) == 0
        assert letterbox == []
        with opened.engine.begin() as connection:
            assert alerts.end_silence(connection, "stale", "silenced")
        assert notifier.send(opened.engine) == 1
        assert [letter["title"] for letter in letterbox] == ["Crossdock: Nothing was read"]
        with opened.engine.begin() as connection:
            alerts.raise_alert(connection, kind="stale", key="silenced", title="Nothing was read", body="Look.")
        assert notifier.send(opened.engine) == 0, "it was sent since the silence ended"


def test_a_late_close_is_a_row_first_and_is_sent_by_who_may_send(
    environment: Environment, letterbox: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str) -> Any:
        if name == CHANNEL:
            raise PermissionError("403")
        return found(name)

    found = notifier.BaseHook.get_connection
    with monkeypatch.context() as patch:
        patch.setattr(notifier.BaseHook, "get_connection", denied)
        asyncio.run(notifier.late("nightly_close", "2 h"))
    assert letterbox == []
    (row,) = environment.query("SELECT title, sent_at FROM ops.alert WHERE kind = 'late'")
    assert (row.title, row.sent_at) == ("nightly_close has not ended 2 h after its start", None)
    with environment.runtime() as opened:
        assert notifier.send(opened.engine) == 1
    assert [letter["title"] for letter in letterbox] == [f"Crossdock: {row.title}"]


@pytest.mark.parametrize("path", ["json://127.0.0.1:9", "", "no such thing"])
def test_a_channel_that_cannot_be_used_hides_no_alert(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    reported = {"conn_type": "apprise", "extra": {"config": {"path": path, "tag": "all"}}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CHANNEL.upper()}", json.dumps(reported))
    key = f"channel {path}"
    with environment.runtime() as opened:
        with opened.engine.begin() as connection:
            alerts.raise_alert(connection, kind="config", key=key, title="t", body="b")
        assert notifier.send(opened.engine) == 0
    rows = environment.query("SELECT id, key, sent_at FROM ops.alert WHERE kind = 'config'")
    assert [row.sent_at for row in rows if row.key == key] == [None]
    with (
        environment.runtime() as opened,
        opened.engine.begin() as connection,
    ):  # nothing of this test is sent by another
        alerts.mark_sent(connection, [row.id for row in rows])


def test_the_watch_finds_nothing_wrong_when_all_is_well(bag: DagBag, metadata: None, environment: Environment) -> None:
    ended = run(bag, "watch")
    assert ended.state == "success"
    assert results(ended)["check_freshness"] == []


def test_subscriptions_are_made_with_the_secrets_of_the_connections_and_without_an_address_events_are_off(
    bag: DagBag, metadata: None, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSDOCK_RECEIVER_URL", raising=False)
    assert results(run(bag, "subscriptions"))["keep_subscriptions"] == []
    for system, connection in environment.connections.items():
        with_secret = dataclasses.replace(connection, extra=connection.extra | {"webhook_secret": SECRET})
        monkeypatch.setenv(connection.variable, as_json(with_secret))
        assert not os.environ.get(variable(system))
    with receiving(environment.database_url) as url:
        monkeypatch.setenv("CROSSDOCK_RECEIVER_URL", url)
        first, second = (results(run(bag, "subscriptions"))["keep_subscriptions"] for _ in range(2))
    assert [one.split()[1] for one in first] == ["made", "made"]
    assert [one.partition(": ")[2] for one in second] == ["nothing to do."] * 2


def _context(error: BaseException) -> dict[str, Any]:
    task = SimpleNamespace(dag_id="orders", task_id="extract", run_id="manual__1")
    return {"exception": error, "ti": task, "dag": None}


def test_the_nightly_close_runs_every_flow_and_then_the_controls(
    bag: DagBag, metadata: None, environment: Environment
) -> None:
    ended = run(bag, "nightly_close")
    assert ended.state == "success"
    done = results(ended)
    assert done["controls"]["period"] == "2011-01"
    assert done["controls"]["controls"] == environment.query("SELECT count(*) AS n FROM ops.control")[0].n > 0
    assert done["orders"]["read"] == sum(count for name, count in done["orders"].items() if name != "read")


def test_a_control_that_does_not_hold_fails_the_close_and_names_the_document(
    bag: DagBag, metadata: None, environment: Environment, letterbox: list[dict[str, Any]]
) -> None:
    entry = {
        "ExternalReference": "by-hand:1", "Source": "Crossdock", "PostingDate": "2011-01-05",
        "SourceDocument": {"Type": "Other", "ID": "by-hand"}, "Description": "Something nobody knows",
        "CurrencyCode": "GBP",
        "Lines": [
            {"LineNo": 1, "AccountCode": "6190", "Debit": "0.01", "Credit": "0.00"},
            {"LineNo": 2, "AccountCode": "1000", "Debit": "0.00", "Credit": "0.01"},
        ],
    }  # fmt: skip
    with environment.runtime() as runtime:
        posted = runtime.tims.post("/gl/entries", entry, key="by-hand:1").document()
    ended = run(bag, "nightly_close")
    assert ended.state == "failed"
    assert {ti.task_id for ti in ended.get_task_instances() if ti.state == "failed"} == {"controls"}
    reported = environment.query("SELECT title, body FROM ops.alert WHERE kind = 'control_failed'")
    suspense = [row.body for row in reported if "suspense" in row.title]
    assert len(suspense) == 1
    assert posted["EntryID"] in suspense[0] or "by-hand:1" in suspense[0]
    assert any("suspense" in str(message) for message in letterbox)


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A person at Airflow's API, and at the pages in it."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from fastapi.testclient import TestClient

    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "true")
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret of this test, and of no other " * 2)
    purge_cached_app()
    with TestClient(create_app("core")) as client:
        token = client.get("/auth/token").json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client
    purge_cached_app()


@pytest.fixture
def when_asked(somebody: Any) -> Iterator[Any]:
    """Does something as soon as Airflow has a required action on prices: `do(the action)`; what it returned."""
    threads: list[threading.Thread] = []
    every = "/api/v2/dags/price_approvals/dagRuns/~/hitlDetails?response_received=false"

    def meanwhile(do: Any) -> list[Any]:
        done: list[Any] = []

        def work() -> None:
            for _ in range(240):
                waiting = [
                    one for one in somebody.get(every).json().get("hitl_details", ())
                    if one["task_instance"]["state"] == "awaiting_input"
                ]  # fmt: skip
                if waiting:
                    done.append(do(waiting[0]))
                    return
                time.sleep(0.5)

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return done

    yield meanwhile
    for thread in threads:
        thread.join(10)


@pytest.fixture
def answering(somebody: Any, when_asked: Any) -> Any:
    """Answers the next question that is put, as Airflow's UI does; what was shown."""

    def answer(option: str, **given: str) -> list[dict[str, Any]]:
        def patch(action: dict[str, Any]) -> dict[str, Any]:
            task = action["task_instance"]
            path = f"dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/{task['map_index']}"
            output = {"chosen_options": [option], "params_input": {"only": "", "note": "", **given}}
            done = somebody.patch(f"/api/v2/dags/price_approvals/{path}/hitlDetails", json=output)
            return action | {"status": done.status_code}

        return when_asked(patch)

    return answer


def ask_about(environment: Environment, prices: tuple[str, ...]) -> dict[str, int]:
    """Puts questions about these prices; their numbers."""
    from crossdock.store import approvals

    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        approvals.ask(connection, [
            {"flow": "prices", "key": sku, "target": sku, "site_id": 0, "from_price": Decimal(1),
             "to_price": Decimal(2), "promotion_price": None, "cost": Decimal(1), "currency_code": "GBP", "why": "Why."}
            for sku in prices
        ])  # fmt: skip
        return {row.key: row.id for row in approvals.listed(connection, "prices")}


def test_a_decision_in_the_console_ends_airflows_required_action_when_nothing_of_it_is_open(
    bag: DagBag, metadata: None, environment: Environment, somebody: Any, when_asked: Any, answering: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whichever comes first holds: half is decided here and half in Airflow, then all of it here."""
    from console import database as console_database

    with environment.runtime() as runtime:
        monkeypatch.setattr(console_database, "engine", lambda: runtime.engine)
        first, second = sorted(ask_about(environment, ("CONSOLE-1", "CONSOLE-2")).values())

        def one_here_one_there(action: dict[str, Any]) -> list[Any]:
            half = somebody.post("/crossdock/api/approvals/approve", json={"numbers": [first]}).json()
            task = action["task_instance"]
            path = f"dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/{task['map_index']}"
            output = {"chosen_options": ["Refuse"], "params_input": {"only": "", "note": "too dear"}}
            there = somebody.patch(f"/api/v2/dags/price_approvals/{path}/hitlDetails", json=output)
            return [half, there.status_code]

        done = when_asked(one_here_one_there)
        assert results(run(bag, "price_approvals"))["answered"] == {"approved": [], "refused": [second]}
        ((half, status),) = done
        assert (half["numbers"], half["required_actions"], status) == ([first], 0, 200)

        (third,) = ask_about(environment, ("CONSOLE-3",)).values()
        done = when_asked(
            lambda _: somebody.post("/crossdock/api/approvals/refuse", json={"numbers": [third], "note": "no"}).json()
        )
        assert results(run(bag, "price_approvals"))["answered"] == {"approved": [], "refused": []}
        assert (done[0]["numbers"], done[0]["required_actions"]) == ([third], 1)
        again = somebody.post("/crossdock/api/approvals/approve", json={"numbers": [third]}).json()
        assert (again["numbers"], again["late"]) == ([], 1)
    rows = environment.query("SELECT key, state, note FROM ops.approval WHERE key ~ '^CONSOLE' ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("CONSOLE-1", "approved", None), ("CONSOLE-2", "refused", "too dear"), ("CONSOLE-3", "refused", "no"),
    ]  # fmt: skip
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.approval"))


def test_who_made_a_price_rule_approves_its_prices_neither_in_the_console_nor_in_airflow(
    bag: DagBag, metadata: None, environment: Environment, somebody: Any, answering: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from console import database as console_database
    from crossdock import settings
    from crossdock.services import configuration
    from crossdock.services.people import on_this_machine

    own = settings.console()
    monkeypatch.setattr(settings, "console", lambda: structs.replace(own, consent=("prices.yaml",)))
    with environment.runtime() as runtime:
        monkeypatch.setattr(console_database, "engine", lambda: runtime.engine)
        (first,) = ask_about(environment, ("OWN-1",)).values()
        assert somebody.post("/crossdock/api/approvals/approve", json={"numbers": [first]}).json()["numbers"] == [first]
        (name,) = environment.query(f"SELECT decided_by AS who FROM ops.approval WHERE id = {first}")
        with runtime.engine.begin() as connection:
            text = str(configuration.text(connection, "prices.yaml"))
            changed = {"prices.yaml": text + "\n# Another word\n"}
            version = configuration.propose(connection, on_this_machine(name.who), changed, "Mine")
            configuration.consent(connection, on_this_machine("somebody else"), version.number)
    (second,) = ask_about(environment, ("OWN-2",)).values()
    with environment.runtime() as runtime:
        monkeypatch.setattr(console_database, "engine", lambda: runtime.engine)
        answer = somebody.post("/crossdock/api/approvals/approve", json={"numbers": [second]})
        assert answer.status_code == 403
        assert f"a price rule of your own, prices.yaml (version {version.number})" in answer.json()["detail"]
        shown = answering("Approve")
        ended = run(bag, "price_approvals")
        assert (shown[0]["status"], ended.state) == (200, "failed")
        assert {ti.task_id for ti in ended.get_task_instances() if ti.state == "failed"} == {"answered"}
        kept = environment.query("SELECT who, subject FROM ops.audit WHERE action = 'prices own rule' ORDER BY id")
        assert [tuple(row) for row in kept] == [(name.who, str(second))] * 2
        with runtime.engine.begin() as connection:
            configuration.rollback(connection, on_this_machine("somebody else"), configuration.SHIPPED)
    (third,) = (number for sku, number in ask_about(environment, ("OWN-3",)).items() if sku == "OWN-3")
    with environment.runtime():
        answering("Approve")
        assert results(run(bag, "price_approvals"))["answered"] == {
            "approved": [third], "refused": [], "own": [second],
        }  # fmt: skip
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.approval"))


def test_price_changes_are_put_to_a_person_who_approves_some_and_refuses_others(
    bag: DagBag, metadata: None, environment: Environment, answering: Any
) -> None:
    ended = run(bag, "price_approvals")
    assert ended.state == "success"
    assert {str(ti.state) for ti in ended.get_task_instances() if ti.task_id != "open_changes"} == {"skipped"}

    assert run(bag, "prices").state == "success"
    forward(environment, environment.now + timedelta(minutes=20))  # past the clocks, which have run on by themselves
    raised = [one for one in environment.in_tims("inventory/items")
              if one["Status"] == "Active" and one["Type"] == "Inventory" and not one["AlternateSKUs"]
              and environment.world.catalogue.spellings.get(one["SKU"]) == one["SKU"]][:3]  # fmt: skip
    for one in raised:
        document = {name: value for name, value in one.items() if name not in ("RowVersion", "ModifiedAt")}
        send(environment, "tims", "item", document | {"Cost": str(Decimal(one["Cost"]) * 2)})
    assert results(run(bag, "prices"))["batch.confirm"]["waiting"] == 3
    ids = {row.key: row.id for row in environment.query("SELECT key, id FROM ops.approval WHERE state = 'open'")}
    assert set(ids) == {one["SKU"] for one in raised}
    first, *others = sorted(ids.values())

    shown = answering("Approve", only=str(first))
    assert results(run(bag, "price_approvals"))["answered"] == {"approved": [first], "refused": []}
    assert shown[0]["status"] == 200
    assert all(f"| {number} | {sku} |" in shown[0]["body"] for sku, number in ids.items())
    answering("Later")
    assert results(run(bag, "price_approvals"))["answered"] == {"approved": [], "refused": []}
    answering("Refuse", note="too dear")
    assert results(run(bag, "price_approvals"))["answered"] == {"approved": [], "refused": others}
    rows = environment.query("SELECT id, state, decided_by, note FROM ops.approval ORDER BY id")
    assert [(row.id, row.state, row.note) for row in rows] == [
        (first, "approved", None), *((number, "refused", "too dear") for number in others),
    ]  # fmt: skip
    assert {row.decided_by for row in rows} == {"Anonymous"}
    assert results(run(bag, "prices"))["batch.confirm"]["delivered"] == 1
    assert [row.used_at is not None for row in environment.query("SELECT used_at FROM ops.approval ORDER BY id")] == [
        True, False, False,
    ]  # fmt: skip


def test_the_reconciliation_alerts_what_nothing_explains_stays_green_and_says_so_in_its_note(
    bag: DagBag, metadata: None, environment: Environment, letterbox: list[dict[str, Any]]
) -> None:
    run(bag, "orders")  # which reads what it has told the channel itself
    ended = run(bag, "reconcile", subjects=["orders", "payments"])
    assert ended.state == "success"
    assert results(ended)["compare"]["unexplained"] == 0
    assert letterbox == []
    sale = environment.in_tims()[0]
    with environment.runtime() as runtime:
        path = f"/sales-orders/{sale['SalesOrderID']}"
        _, etag = runtime.tims.read(path)
        runtime.tims.patch(path, {"PaymentStatus": "ChargedBack"}, etag=etag)
    environment.tick(environment.now + timedelta(minutes=20))  # past the clocks, which have run on by themselves
    run(bag, "orders")
    environment.tick(environment.now + timedelta(minutes=20))
    ended = run(bag, "reconcile", subjects=["payments"])
    assert ended.state == "success"
    number = results(ended)["compare"]["run"]
    rows = environment.query(f"SELECT * FROM ops.reconcile_difference WHERE run = {number}")
    assert [(row.key, row.cause) for row in rows] == [(sale["ExternalOrderID"], "unexplained")], rows
    assert results(ended)["compare"]["unexplained"] == 1
    (letter,) = [each for each in letterbox if "nothing says why" in each["title"]]
    assert letter["title"] == "Crossdock: Payment states: both systems differ in 1, and nothing says why"
    assert sale["ExternalOrderID"] in letter["message"]
    note = plugin.reconciled("reconcile", ended.run_id)
    assert note.startswith("compared ")
    assert ", 1 unexplained." in note
    assert note.endswith(f"/crossdock/reconcile/{number})")


def test_a_person_goes_on_with_a_stopped_batch(bag: DagBag, metadata: None, environment: Environment) -> None:
    bad = {place(environment, line("NOBODY-HAS-THIS")) for _ in range(30)}
    good = place(environment, line())
    forward(environment, environment.now + timedelta(minutes=10))
    assert run(bag, "orders").state == "failed"
    (stopped,) = environment.query("SELECT id FROM ops.batch WHERE stopped AND finished_at IS NULL")
    ended = run(bag, "orders", accept_rejects=[stopped.id])
    assert ended.state == "success"
    assert results(ended)["extract"] == [stopped.id], "nothing is read"
    assert environment.query("SELECT id FROM ops.batch WHERE stopped AND finished_at IS NULL") == []
    assert bad <= set(environment.letters())
    assert good in {order["ExternalOrderID"] for order in environment.in_tims()}
