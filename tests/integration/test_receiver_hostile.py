"""The receiver beneath HTTP: bytes that no client sends, from whoever may reach it. None makes it fail, none is
written, none makes it grow."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import psutil
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from crossdock.receiver import journal
from crossdock.receiver.sources import Secrets
from crossdock.store import database as store
from crossdock.store import webhook_events
from examples import examples
from integration.environment import fresh_database
from integration.receivers import SHOP, TIMS, Process, deliver, event, receiving, rows, signed, started

pytestmark = pytest.mark.slow
GOOD = json.dumps(event("evt_good")).encode()
FINE = (b"200", b"202", b"400", b"401", b"404", b"405", b"408", b"411", b"413", b"414", b"415", b"426", b"429", b"431")


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "r_hostile") as made:
        yield made


@pytest.fixture(scope="module")
def receiver(database: str) -> Iterator[Process]:
    with started(database) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_stays(database: str) -> Iterator[None]:
    yield
    forget(database)


def forget(url: str) -> None:
    engine = store.engine(url, role=None)
    with engine.begin() as connection:
        connection.execute(webhook_events.table.delete())
    engine.dispose()


def sent(receiver: Process, *parts: bytes, answers: int = 0) -> list[bytes]:
    """The statuses of the answers: of so many, or of those that come until it is silent."""
    host, port = receiver.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=10) as plain, suppress(OSError):
        for part in parts:
            plain.sendall(part)
        plain.settimeout(10 if answers else 0.3)
        while not answers or len(statuses(received)) < answers:
            if not (more := plain.recv(65_536)):
                break
            received += more
    return statuses(received)


def statuses(received: bytes) -> list[bytes]:
    return [line.split()[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]


def request(
    body: bytes = GOOD, *, line: bytes = b"", length: bytes | None = None, more: bytes = b"", without: str = ""
) -> bytes:
    """A signed delivery as bytes, with something odd."""
    kept = [f"{name}: {text}" for name, text in signed(body).items() if name.lower() != without]
    length = str(len(body)).encode() if length is None else length
    size = b"Content-Length: " + length + b"\r\n" if length else b""
    first = line or f"POST {SHOP} HTTP/1.1".encode()
    return first + b"\r\nHost: x\r\n" + "\r\n".join(kept).encode() + b"\r\n" + size + more + b"\r\n" + body


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def is_well(receiver: Process) -> bool:
    assert receiver.process.poll() is None
    return requests.get(receiver.url + "/health", timeout=10).status_code == 200


TWO = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PLAIN = f"POST {SHOP} HTTP/1.1\r\nHost: x\r\n".encode()


def odd() -> dict[str, bytes]:
    """Requests that are none, or not proper ones; signed now, for a signature grows old."""
    return {
        "nothing": b"", "a line": b"\r\n" * 5,
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
        "HTTP/0.9": f"GET {SHOP}\r\n\r\n".encode(), "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "no host": request().replace(b"Host: x\r\n", b""), "two hosts": request(more=b"Host: y\r\n"),
        "two lengths": request(more=TWO), "a length with a sign": request(length=b"+5"),
        "a length below zero": request(length=b"-5"), "two lengths in one": request(length=b"5, 5"),
        "a length in hex": request(length=b"0x10"), "a length beyond numbers": request(length=b"9" * 5_000),
        "a length beyond the limit": request(length=b"9" * 18), "a length that is a word": request(length=b"many"),
        "length and chunks": request(chunked(GOOD), length=b"5", more=CHUNKED),
        "chunks and length": PLAIN + CHUNKED + b"Content-Length: 4\r\n\r\n" + chunked(GOOD),
        "chunks twice": request(chunked(GOOD), length=b"", more=CHUNKED * 2),
        "chunks that are none": request(chunked(GOOD), length=b"", more=b"Transfer-Encoding: xchunked\r\n"),
        "chunks hidden": request(chunked(GOOD), length=b"", more=b"Transfer-Encoding:\x0bchunked\r\n"),
        "chunks and more": request(chunked(GOOD), length=b"", more=b"Transfer-Encoding: chunked, identity\r\n"),
        "a chunk without end": PLAIN + CHUNKED + b"\r\n" + b"ffffffffffffffff\r\n" + b"x" * 100,
        "a chunk below zero": PLAIN + CHUNKED + b"\r\n-1\r\nx\r\n",
        "a chunk of no number": PLAIN + CHUNKED + b"\r\nzz\r\nx\r\n0\r\n\r\n",
        "a chunk with words": PLAIN + CHUNKED + b"\r\n5;" + b"a" * 200_000 + b"\r\nhello\r\n0\r\n\r\n",
        "headers after chunks": PLAIN + CHUNKED + b"\r\n" + chunked(GOOD, end=b"0\r\nX-CA-Signature: x\r\n\r\n"),
        "a header with NUL": request(more=b"X-A: \x00\r\n"),
        "a name with a space": request(more=b"Content-Length : 5\r\n"), "no name": request(more=b": 5\r\n"),
        "a header without colon": request(more=b"nonsense\r\n"),
        "a method in lower case": request(line=f"post {SHOP} HTTP/1.1".encode()),
        "a method nobody knows": request(line=f"FROB {SHOP} HTTP/1.1".encode()),
        "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "an absolute address": request(line=b"POST http://169.254.169.254/hooks HTTP/1.1"),
        "an address with bytes": b"GET /\xff\xfe\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "a fragment": b"GET /health#x HTTP/1.1\r\nHost: x\r\n\r\n", "no path": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        "a long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "many headers": request(more=b"".join(b"X-%d: 1\r\n" % number for number in range(20_000))),
        "a long header": request(more=b"X-A: " + b"a" * 1_000_000 + b"\r\n"),
        "the signature twice": request(more=b"X-CA-Signature: sha256=00\r\n"),
        "the time twice": request(more=b"X-CA-Timestamp: 1\r\n"),
        "the type twice": request(more=b"Content-Type: text/plain\r\n"),
        "no signature": request(without="x-ca-signature"), "no time": request(without="x-ca-timestamp"),
        "no type": request(without="content-type"), "no id": request(without="x-ca-event-id"),
        "squeezed": request(more=b"Content-Encoding: gzip\r\n").replace(GOOD, b"\x1f\x8b" + GOOD[2:]),
    }  # fmt: skip


def bearable() -> dict[str, bytes]:
    """There is one way to read these, and what is signed is whole."""
    return {
        "HTTP/9": request(line=f"POST {SHOP} HTTP/9.9".encode()),
        "a header on two lines": request(more=b"X-A: 1\r\n 2\r\n"),
        "line feeds alone": request().replace(b"\r\n", b"\n"),
    }


@pytest.mark.parametrize("name", sorted(bearable()))
def test_a_strange_form_that_has_one_meaning_is_taken_as_that_or_refused(receiver: Process, database: str, name: str):
    found = sent(receiver, bearable()[name], answers=1)
    assert found in ([b"202"], [b"400"])
    assert [row.event_id for row in rows(database)] == (["evt_good"] if found == [b"202"] else [])


@pytest.mark.parametrize("name", sorted(odd()))
def test_what_is_no_proper_request_is_refused_and_not_written(receiver: Process, database: str, name: str) -> None:
    assert set(sent(receiver, odd()[name])) <= set(FINE) - {b"202"}
    assert rows(database) == []
    assert is_well(receiver)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000, b'{"a":' * 40_000, b'{"EventID": NaN}', b"NaN", b"null", b"[]", b'""', b"", b" ",
        b"\xef\xbb\xbf{}",
        GOOD.decode().encode("utf-16"), GOOD[:-1], GOOD + b"}", GOOD + GOOD, b"\x00" + GOOD, b'{"EventID": "\xff"}',
    ],
    ids=lambda body: body[:12].hex(),
)  # fmt: skip
def test_a_signed_body_that_is_no_object_of_json_is_refused(receiver: Process, database: str, body: bytes) -> None:
    assert deliver(receiver.url, body) == 400
    assert rows(database) == []
    assert is_well(receiver)


HUGE = 10**400
FIELDS: list[dict[str, Any]] = [
    {"EventID": text} for text in ("", " ", "a" * 101, "a b", "ä", "\x00", "\ud800", None, 7, [], {})
] + [
    {"EventType": text} for text in ("", "a" * 61, "Order Created", "<b>", "\x00", None, 1.5, True)
] + [
    {"ResourceID": text} for text in (
        "", "a" * 201, "a\x00b", "\ud83d", "a\nb", "\x85", None, -1, 2**63, HUGE, 1.0, True, [1])
] + [
    {"ProfileID": text} for text in ("1", -1, 2**63, HUGE, 1.0, True, None, [])
] + [
    {"OccurredAt": text} for text in (
        "", "now", "2011-01-04", "2011-01-04T10:00:00", "2011-02-30T10:00:00Z", "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00", "2011-01-04T10:00:00+99:99", "٢٠١١-01-04T10:00:00Z", 0, None, "1" * 100_000)
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: str(fields)[:40].encode("ascii", "replace").decode())
def test_a_signed_event_with_a_field_of_another_form_is_refused(
    receiver: Process, database: str, fields: dict[str, Any]
) -> None:
    body = json.dumps(event("evt_form") | fields).encode()
    headers = dict.fromkeys(("X-CA-Event-ID", "X-CA-Event-Type"), "x")
    for name, field in (("X-CA-Event-ID", "EventID"), ("X-CA-Event-Type", "EventType")):
        text = fields.get(field, event("evt_form")[field])
        if isinstance(text, str) and text.isascii() and text.isprintable() and text == text.strip():
            headers[name] = text
    assert deliver(receiver.url, body, headers=headers) == 400
    assert rows(database) == []


def test_the_widest_of_what_is_taken_can_be_written(postgres_url: str) -> None:
    """What lies just within each form: were one of them refused by the database, so would be all that go with it."""
    odd = [
        {"EventID": "~" * 100}, {"EventType": "A" * 60}, {"ResourceID": "\U0010ffff" * 200}, {"ResourceID": "\ufffe"},
        {"ResourceID": 2**63 - 1}, {"ResourceID": "%s %(x)s {0} \\ ' \" -- ;"}, {"ProfileID": 2**63 - 1},
        {"ProfileID": 0}, {"OccurredAt": "0001-01-01T00:00:00Z"}, {"OccurredAt": "9999-12-31T23:59:59.9999999Z"},
    ]  # fmt: skip
    with fresh_database(postgres_url, "r_widest") as url, receiving(url) as base:
        for number, fields in enumerate(odd):
            assert deliver(base, event(f"evt_{number}") | fields) == 202, fields
        assert len(rows(url)) == len(odd)


def test_requests_on_one_connection_are_answered_each_in_turn(postgres_url: str) -> None:
    bodies = [json.dumps(event(f"evt_{number}")).encode() for number in range(3)]
    forged = json.dumps(event("evt_forged")).encode()
    with fresh_database(postgres_url, "r_pipeline") as url, started(url) as receiver:
        bad = request(forged).replace(b"sha256=", b"sha256=0")
        parts = [request(bodies[0]), bad, request(bodies[1]), request(bodies[2])]
        assert sent(receiver, b"".join(parts), answers=4) == [b"202", b"401", b"202", b"202"]
        last = json.dumps(event("evt_old")).encode()
        assert sent(receiver, request(last, line=f"POST {SHOP} HTTP/1.0".encode()), answers=1) == [b"202"]
        body = json.dumps(event("evt_parts")).encode()
        one = request(chunked(body[:5], body[5:]), length=b"", more=CHUNKED)
        digest = signed(body)["X-CA-Signature"].encode()
        one = one.replace(signed(chunked(body[:5], body[5:]))["X-CA-Signature"].encode(), digest)
        named = b"X-CA-Event-ID: evt_parts\r\nX-CA-Event-Type: OrderCreated\r\n"
        assert sent(receiver, one.replace(CHUNKED, CHUNKED + named), answers=1) == [b"202"]
        waits = request(json.dumps(event("evt_waits")).encode(), more=b"Expect: 100-continue\r\n")
        assert sent(receiver, waits, answers=2) == [b"100", b"202"]
        assert sorted(row.event_id for row in rows(url)) == [
            "evt_0", "evt_1", "evt_2", "evt_old", "evt_parts", "evt_waits"
        ]  # fmt: skip


def test_a_connection_is_not_made_into_another_kind(receiver: Process) -> None:
    socketed = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
    for path in (SHOP, TIMS, "/health", "/"):
        found = sent(receiver, f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + socketed + b"\r\n", answers=1)
        assert found == [b"200" if path == "/health" else b"404"], path
    assert is_well(receiver)


def test_a_delivery_that_comes_again_is_confirmed_and_written_once_however_often(postgres_url: str) -> None:
    """The one thing that whoever has heard a delivery can do with it."""
    with fresh_database(postgres_url, "r_again") as url, started(url) as receiver:
        one = request()
        assert sent(receiver, one * 50, answers=50) == [b"202"] * 50
        assert len(rows(url)) == 1


def test_it_does_not_grow_by_what_is_sent_to_it(receiver: Process, database: str) -> None:
    """Headers, bodies and paths without end, and many connections that begin a request and go silent."""
    process = psutil.Process(receiver.process.pid)
    assert is_well(receiver)
    before = process.memory_info().rss
    block = os.urandom(32_768).hex().encode()
    for beginning in (
        PLAIN + b"X-A: ", PLAIN + b"Content-Length: 900000000\r\n\r\n", b"GET /", PLAIN + CHUNKED + b"\r\n1;",
        PLAIN + CHUNKED + b"\r\n1000000\r\n",
    ):  # fmt: skip
        assert set(sent(receiver, beginning, *[block] * 1_000)) <= set(FINE) - {b"202", b"200"}
        assert process.memory_info().rss - before < 20_000_000, beginning
    host, port = receiver.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=5) for _ in range(300)]
    for each in silent:
        each.sendall(PLAIN + b"Content-Length: 200000\r\n\r\n" + block[:50_000])
    assert is_well(receiver)
    assert process.memory_info().rss - before < 60_000_000
    for each in silent:
        each.close()
    assert is_well(receiver)
    assert rows(database) == []


@given(seed=st.integers(0, 2**32), count=st.integers(1, 6))
@examples(60)
def test_a_delivery_with_bytes_changed_left_out_or_added_is_never_written(
    receiver: Process, database: str, seed: int, count: int
) -> None:
    chance, changed = random.Random(seed), bytearray(request())
    for _ in range(count):
        at = chance.randrange(len(changed))
        what = chance.randrange(3)
        if what == 0:
            changed[at] = chance.randrange(256)
        elif what == 1:
            del changed[at : at + chance.randrange(1, 20)]
        else:
            changed[at:at] = bytes(chance.choices(b"\r\n\x00 :;,{}[]\"'0aZ\xff", k=chance.randrange(1, 20)))
    found = sent(receiver, bytes(changed))
    assert set(found) <= set(FINE)
    if b"202" not in found:
        assert rows(database) == []
    else:  # a header that nobody reads was hit
        assert {row.event_id for row in rows(database)} == {"evt_good"}
        forget(database)
    assert is_well(receiver)


def test_while_a_secret_is_changed_no_delivery_is_refused(postgres_url: str) -> None:
    """The sender changes in the middle; the receiver is started anew before and after, each time on the same table."""
    old, new = "the-old-secret-of-a-test", "the-new-secret-of-a-test"
    with fresh_database(postgres_url, "r_rotated") as url:
        number = 0
        for secrets, used in (((old,), old), ((new, old), old), ((new, old), new), ((new,), new)):
            with receiving(url, {"channel_advisor": Secrets(secrets)}) as base:
                for _ in range(5):
                    assert deliver(base, event(f"evt_{number}"), secret=used) == 202
                    number += 1
        assert len(rows(url)) == number
        with receiving(url, {"channel_advisor": Secrets((new,))}) as base:
            assert deliver(base, event("evt_late"), secret=old) == 401


def test_a_fault_of_the_program_confirms_nothing_takes_no_room_and_tells_no_value(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Engine:
        def begin(self) -> None:
            raise ValueError("ada@example.com")

    monkeypatch.setattr(journal, "MOST_WAITING", 2)
    written = journal.Journal(cast(Any, Engine()))

    async def several() -> None:
        for _ in range(5):
            with pytest.raises(journal.NotWritten):
                await written.add([webhook_events.Event("tims", "EV-1", "orders", "x", "1")])

    asyncio.run(several())
    assert "ValueError" in caplog.text
    assert "ada@example.com" not in caplog.text
