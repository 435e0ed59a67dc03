"""The receiver over HTTP and into the table: who is let in, what is answered, what outlives a death."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from contract import channel_advisor_calls as shop_calls
from contract import tims_calls
from contract.channel_advisor_calls import sold
from crossdock.dev import local
from crossdock.receiver.sources import Secrets
from crossdock.store import database, webhook_events
from examples import examples
from integration.environment import fresh_database
from integration.receivers import (
    SECRET,
    SECRETS,
    SHOP,
    TIMS,
    command,
    deliver,
    environment,
    event,
    ids,
    many,
    receiving,
    rows,
    signed,
    started,
    storm,
    taken,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh_database(postgres_url, f"r_{abs(hash(request.node.name)) % 10**12}") as made:
        yield made


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


# ---- taken, or not ----
def test_a_delivery_is_in_the_table_once_it_is_answered(url: str) -> None:
    with receiving(url) as base:
        assert deliver(base, event("evt_1", "19918546")) == 202
        (row,) = rows(url)
    kept = (row.system, row.event_id, row.flow, row.event_type, row.key, row.profile, row.worked_at, row.times)
    assert kept == ("channel_advisor", "evt_1", "orders", "OrderCreated", "19918546", 12345678, None, 0)
    assert f"{row.occurred_at:%Y-%m-%dT%H}" == "2011-01-04T10"
    assert abs(row.received_at.timestamp() - time.time()) < 30


def test_a_delivery_again_is_confirmed_and_written_once(url: str) -> None:
    with receiving(url) as base:
        assert [deliver(base, event("evt_1")) for _ in range(3)] == [202] * 3
        assert deliver(base, event("evt_1", key="2")) == 202  # the first one counts
        assert [(row.event_id, row.key) for row in rows(url)] == [("evt_1", "1")]


def test_an_event_that_no_flow_reads_waits_for_nobody(url: str) -> None:
    with receiving(url) as base:
        assert deliver(base, event("evt_1", EventType="SomethingNew")) == 202
        (row,) = rows(url)
        assert (row.flow, row.event_type, row.worked_at is None) == ("", "SomethingNew", False)


def test_what_is_forged_replayed_stale_too_large_malformed_or_wrongly_typed_is_refused_and_not_written(
    url: str,
) -> None:
    body = b'{"EventID": "evt_1"}'
    with receiving(url, body_bytes=1_000) as base:
        found = {
            "forged": deliver(base, event("evt_1"), secret="the-secret-of-somebody-else"),
            "unsigned": requests.post(base + SHOP, json=event("evt_1"), timeout=10).status_code,
            "replayed": deliver(base, event("evt_1"), at=time.time() - 3600),
            "ahead": deliver(base, event("evt_1"), at=time.time() + 3600),
            "large": deliver(base, event("evt_1", Padding="x" * 1_000)),
            "chunked": requests.post(base + SHOP, data=iter([b"x" * 600] * 2), timeout=10).status_code,
            "malformed": deliver(base, b'{"EventID": "evt_1"'),
            "incomplete": deliver(base, body),
            "typed": deliver(base, event("evt_1", ProfileID="12345678")),
            "form": deliver(base, event("evt_1"), headers={"Content-Type": "application/x-www-form-urlencoded"}),
            "other": deliver(base, event("evt_1"), path=TIMS),
        }
        assert rows(url) == []
        assert deliver(base, event("evt_1")) == 202
    assert found == {
        "forged": 401, "unsigned": 401, "replayed": 401, "ahead": 401, "large": 413, "chunked": 413, "malformed": 400,
        "incomplete": 400, "typed": 400, "form": 415, "other": 401,
    }  # fmt: skip


def test_a_foreign_address_is_refused_whatever_it_signs(url: str) -> None:
    with receiving(url, addresses=("203.0.113.0/24",)) as base:
        assert deliver(base, event("evt_1")) == 401
        assert deliver(base, event("evt_1"), headers={"X-Forwarded-For": "203.0.113.7"}) == 401
    with receiving(url, addresses=("203.0.113.0/24",), proxies=("127.0.0.1",)) as base:
        assert deliver(base, event("evt_1"), headers={"X-Forwarded-For": "203.0.114.7"}) == 401
        assert rows(url) == []
        assert deliver(base, event("evt_1"), headers={"X-Forwarded-For": "203.0.113.7"}) == 202
    with receiving(url, addresses=("127.0.0.0/8",)) as base:
        assert deliver(base, event("evt_2")) == 202


def test_a_secret_is_changed_without_a_gap(url: str) -> None:
    old, new = "the-old-secret-of-a-test", "the-new-secret-of-a-test"
    for number, (secrets, statuses) in enumerate(
        [((old,), (202, 401)), ((new, old), (202, 202)), ((new,), (401, 202))]
    ):
        with receiving(url, {"channel_advisor": Secrets(secrets)}) as base:
            found = tuple(deliver(base, event(f"evt_{number}{each}"), secret=each) for each in (old, new))
            assert found == statuses


def test_there_are_its_routes_and_nothing_else(url: str) -> None:
    with receiving(url, {"channel_advisor": SECRETS["channel_advisor"]}) as base:
        assert requests.get(base + "/health", timeout=10).status_code == 200
        assert deliver(base, event("evt_1")) == 202
        assert deliver(base, event("evt_2"), path=SHOP + "?version=2") == 202
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"):
            assert requests.request(method, base + SHOP, timeout=10).status_code == 404
        for path in ("/", "/docs", "/openapi.json", SHOP + "/", SHOP + "/x", "//hooks/channel-advisor", TIMS,
                     "/hooks/channel-advisor-v1", "/%68ealth%00", "/../health/x", "/health/"):  # fmt: skip
            answer = requests.post(base + path, data=b"{}", timeout=10)
            assert (answer.status_code, answer.content) == (404, b""), path
            assert not {"server", "content-type"} & set(map(str.lower, answer.headers))


def test_nothing_of_a_body_is_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with receiving(url) as base:
        deliver(base, event("evt_ada_1", "ada@example.com", ProfileID="ada@example.com"))
        deliver(base, event("evt_ada_2", "ada@example.com"))
        deliver(base, b'"ada@example.com"', secret="another-secret-of-a-test")
        for _ in range(50):
            deliver(base, event("evt_ada_3"), secret="another-secret-of-a-test")
    own = [record for record in caplog.records if record.name.startswith("crossdock")]
    assert not any("ada" in record.getMessage() for record in own)
    assert len([record for record in own if "signature" in record.getMessage()]) == 1  # not one for each


def test_too_many_at_one_time_are_told_to_come_again(url: str) -> None:
    body = b'{"EventID": "evt_1"}'
    with receiving(url, at_once=1) as base:
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(f"POST {SHOP} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:5])
            until(lambda: deliver(base, event("evt_1")) == 429)
            answer = requests.post(base + SHOP, data=body, headers=signed(body), timeout=10)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        until(lambda: deliver(base, event("evt_1")) == 202)  # the slow one has hung up


def test_a_body_that_never_ends_is_given_up(url: str) -> None:
    with receiving(url) as base:
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(f"POST {SHOP} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
            slow.settimeout(10)
            assert slow.recv(100).startswith(b"HTTP/1.1 408")


RAW = st.binary(max_size=400)
HEADERS = st.dictionaries(
    st.sampled_from(["X-CA-Signature", "X-CA-Timestamp", "X-CA-Event-ID", "X-CA-Event-Type", "Content-Type", "X-Other",
                     "Transfer-Encoding", "Expect", "Content-Encoding"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip), max_size=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "r_fuzzed") as made, receiving(made) as base:
        yield base


@given(body=RAW, headers=HEADERS, is_signed=st.booleans(), path=st.sampled_from([SHOP, TIMS, "/health", "/x"]))
@examples(150)
def test_no_request_whatever_makes_it_fail(
    fuzzed: str, body: bytes, headers: dict[str, str], is_signed: bool, path: str
) -> None:
    sent = (signed(body) if is_signed else {}) | headers
    try:
        answer = requests.post(fuzzed + path, data=body, headers=sent, timeout=10)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):  # a transfer that is none
        assert "Transfer-Encoding" in sent
    else:
        assert answer.status_code < 500, answer.content
    assert requests.get(fuzzed + "/health", timeout=10).status_code == 200


@given(changes=st.dictionaries(st.sampled_from(sorted(event(""))), st.none() | st.integers() | st.text(), max_size=3))
@examples(100)
def test_no_event_whatever_that_is_signed_makes_it_fail(fuzzed: str, changes: dict[str, Any]) -> None:
    body = json.dumps(event("evt_fuzz") | changes).encode()
    headers = {name: value for name, value in signed(body).items() if isinstance(value, str) and value.isascii()}
    headers = {name: value for name, value in headers.items() if value.isprintable() and value == value.strip()}
    assert requests.post(fuzzed + SHOP, data=body, headers=headers, timeout=10).status_code < 500


# ---- the database ----
def test_its_role_may_add_events_and_nothing_else(url: str) -> None:
    engine = database.engine(url, role=webhook_events.RECEIVER_ROLE)
    for statement in (
        "SELECT * FROM ops.webhook_event", "DELETE FROM ops.webhook_event", "UPDATE ops.webhook_event SET times = 1",
        "SELECT * FROM raw.orders", "SELECT * FROM ops.batch", "INSERT INTO ops.audit (who) VALUES ('x')",
        "CREATE TABLE ops.x (y int)", "TRUNCATE ops.webhook_event",
    ):  # fmt: skip
        with (
            engine.connect() as connection,
            pytest.raises(sa.exc.DBAPIError, match=r"permission denied|does not exist"),
        ):
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_whoever_listens_is_told_after_the_commit_and_not_of_what_was_there(url: str) -> None:
    plain = sa.make_url(url)
    listener = psycopg2.connect(plain.set(drivername="postgresql").render_as_string(hide_password=False))
    listener.autocommit = True
    with listener.cursor() as cursor:
        cursor.execute(f"LISTEN {webhook_events.CHANNEL}")
    with receiving(url) as base:
        for expected in (1, 0):
            assert deliver(base, event("evt_1")) == 202
            select.select([listener], [], [], 2.0 if expected else 0.5)
            listener.poll()
            assert len(listener.notifies) == expected
            listener.notifies.clear()
    listener.close()


@pytest.fixture
def own_server() -> Iterator[str]:
    """A Postgres that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CROSSDOCK_RUN_DIR", name)
            made = local.start()
            database.migrate(made)
            yield made
            local.stop()


def test_while_the_database_is_away_the_sender_is_told_so_and_afterwards_it_goes_on(own_server: str) -> None:
    with receiving(own_server) as base:
        assert deliver(base, event("evt_1")) == 202
        local.stop()
        assert deliver(base, event("evt_2")) == 503
        until(lambda: requests.get(base + "/health", timeout=10).status_code == 503)
        assert deliver(base, event("evt_3"), secret="another-secret-of-a-test") == 401
        local.start()
        until(lambda: deliver(base, event("evt_2")) == 202)
        until(lambda: requests.get(base + "/health", timeout=10).status_code == 200)
    assert ids(own_server) == ["evt_1", "evt_2"]


def test_a_table_that_is_held_up_is_answered_in_time_for_the_sender(url: str) -> None:
    engine = database.engine(url, role=None)
    with receiving(url) as base:
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE ops.webhook_event IN ACCESS EXCLUSIVE MODE")
            start = time.monotonic()
            assert deliver(base, event("evt_1")) == 503
            assert time.monotonic() - start < 5
        until(lambda: deliver(base, event("evt_1")) == 202)
    assert ids(url) == ["evt_1"]
    engine.dispose()


# ---- the command ----
def refused(url: str, *words: str, **environment_: str) -> str:
    """What `crossdock receive` says when it does not start."""
    done = subprocess.run(
        command(*words), env=environment(url, **environment_), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (2, 4), done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_what_a_person_must_mend_before_it_starts_is_said(url: str, postgres_url: str) -> None:
    none = {f"CROSSDOCK_WEBHOOK_SECRET_{name}": "" for name in ("CHANNEL_ADVISOR", "TIMS")}
    assert "no system's signing secret is there" in refused(url, **none)
    assert "names no addresses of channel_advisor, tims" in refused(url, "--host", "0.0.0.0")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert "another program listens there" in refused(url, "--port", str(port))
    engine = database.engine(postgres_url, role=None)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS r_empty")
        connection.exec_driver_sql("CREATE DATABASE r_empty")
    engine.dispose()
    empty = sa.make_url(url).set(database="r_empty").render_as_string(hide_password=False)
    assert "crossdock db migrate" in refused(empty)
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    assert "does not answer" in refused(nowhere)


def test_a_login_that_may_not_act_as_the_receiver_is_refused(url: str) -> None:
    owner = database.engine(url, role=None)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS wide")
        connection.exec_driver_sql("CREATE ROLE wide LOGIN")
        connection.exec_driver_sql("GRANT crossdock_loader TO wide")
    owner.dispose()
    wide = sa.make_url(url).set(username="wide", password=None).render_as_string(hide_password=False)
    assert "may not act as crossdock_receiver" in refused(wide)


def test_it_ends_at_a_signal_and_answers_what_it_has_begun(url: str) -> None:
    body = json.dumps(event("evt_1")).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    with started(url) as one:
        host, port = one.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            slow.sendall(f"POST {SHOP} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode())
            slow.sendall(body[:20])
            time.sleep(0.3)
            one.process.terminate()
            time.sleep(0.3)
            slow.sendall(body[20:])
            assert slow.recv(100).startswith(b"HTTP/1.1 202")
        assert one.process.wait(10) in (0, -signal.SIGTERM)
    assert ids(url) == ["evt_1"]


def test_two_processes_write_an_event_once(url: str) -> None:
    with started(url) as one, started(url) as other:

        async def both() -> tuple[Any, Any]:
            events = many(300)
            return await asyncio.gather(storm(one.url, events), storm(other.url, events))

        for found in asyncio.run(both()):
            assert set(found.values()) == {202}
    assert Counter(ids(url)) == Counter(each["EventID"] for each in many(300))


def test_what_was_answered_before_a_sudden_death_is_there_once_and_the_rest_after_a_repeat(url: str) -> None:
    events = many(5_000)
    with started(url) as first:
        port = int(first.url.rpartition(":")[2])

        async def killed() -> dict[str, int]:
            storming = asyncio.create_task(storm(first.url, events))
            await asyncio.to_thread(until, lambda: len(ids(url)) > 500, 100.0)
            first.kill()
            return await storming

        before = asyncio.run(killed())
    answered = taken(before)
    assert 0 < len(answered) < 5_000
    assert answered <= set(ids(url))
    with started(url, port) as second:
        missing = [each for each in events if each["EventID"] not in answered]
        assert set(asyncio.run(storm(second.url, missing)).values()) == {202}
    assert Counter(ids(url)) == Counter(each["EventID"] for each in events)


# ---- from the sandbox to the table ----
@pytest.fixture
def shop(tmp_path: Path) -> Iterator[shop_calls.Caller]:
    with shop_calls.running(tmp_path, per_minute=1_000_000) as base:
        caller = shop_calls.Caller(base)
        caller.apply(*shop_calls.SITES, *shop_calls.PRODUCTS)
        caller.control("PUT", "webhooks", {"first_pause_seconds": 0.2, "longest_pause_seconds": 0.5})
        yield caller


def subscribe(shop: shop_calls.Caller, base: str) -> None:
    wanted = ["OrderCreated", "OrderUpdated", "OrderPaymentCleared", "OrderCancelled"]
    sent = {"Url": base + SHOP, "Events": wanted, "SigningSecret": SECRET}
    assert shop.call("POST", "/v2/webhooks", json=sent).status_code == 201


@pytest.mark.parametrize("fault", ["", "event_twice", "event_shuffled", "event_late", "event_forged", "event_cut",
                                   "event_never"])  # fmt: skip
def test_an_order_of_the_channel_is_named_in_the_table_whatever_befalls_its_event(
    url: str, shop: shop_calls.Caller, fault: str
) -> None:
    with receiving(url) as base:
        subscribe(shop, base)
        if fault:
            shop.fault(fault, "OrderCreated", times=None)
        shop.apply(*(shop_calls.event("order", sold(number)) for number in range(1, 6)))
        if fault == "event_late":
            time.sleep(0.5)
            assert rows(url) == []
            shop.control("PUT", "clock", {"advance": 3_601})
        until(lambda: shop.control("GET", "webhooks")["waiting"] == 0)
    expected = [] if fault == "event_never" else ["1", "2", "3", "4", "5"]
    assert sorted(row.key for row in rows(url)) == expected
    assert {row.flow for row in rows(url)} <= {"orders"}


def test_events_of_tims_come_to_the_flows_that_read_their_records(url: str, tmp_path: Path) -> None:
    with receiving(url) as base, tims_calls.running(tmp_path, per_minute=1_000_000) as (there, _):
        tims = tims_calls.Caller(there)
        tims.clock(tims_calls.NOW)
        tims.apply(tims_calls.item("LAMP"), tims_calls.on_hand("LAMP", MAIN=10))
        wanted = ["inventory.changed", "shipment.created", "salesorder.updated", "item.updated"]
        tims.made("/webhooks/subscriptions", {"TargetURL": base + TIMS, "EventTypes": wanted, "Secret": SECRET})
        shipment = tims.shipped()
        tims.apply(tims_calls.item("LAMP", Title="Another"))
        until(lambda: tims.control("GET", "webhooks")["waiting"] == 0)
    found = {(row.flow, row.key) for row in rows(url)}
    assert found == {
        ("shipments", shipment["ShipmentID"]), ("holds", shipment["SalesOrderID"]), ("inventory", "LAMP"),
        ("catalog", "LAMP"), ("prices", "LAMP"),
    }  # fmt: skip


def test_what_comes_while_no_receiver_runs_is_delivered_once_one_does(url: str, shop: shop_calls.Caller) -> None:
    with started(url) as first:
        port = int(first.url.rpartition(":")[2])
        subscribe(shop, first.url)
    shop.apply(*(shop_calls.event("order", sold(number)) for number in range(1, 21)))
    until(lambda: shop.control("GET", "webhooks").get("failed", 0) > 20)
    with started(url, port):
        until(lambda: shop.control("GET", "webhooks")["waiting"] == 0)
    assert Counter(row.key for row in rows(url)) == Counter(map(str, range(1, 21)))
