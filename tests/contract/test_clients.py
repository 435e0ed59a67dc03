"""The two clients against a server that misbehaves on demand."""

from __future__ import annotations

import gzip
import json
import logging
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from contract.misbehaving import Reply, Request, Server, html, ok
from crossdock import settings
from crossdock.errors import (
    AuthError,
    BadResponse,
    CircuitOpen,
    ConfigError,
    CrossdockError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    Transient,
)
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor import Facade
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.tims import Operation, Result, Tims

NOW = "2025-03-14T10:00:00.1234567Z"
SECRET, REFRESH = "sehr-geheim", "refresh-geheim"
FAST = Limits(
    requests_per_minute=100_000,
    at_once=5,
    connect_seconds=1,
    read_seconds=0.4,
    answer_seconds=1,
    tries=3,
    first_pause_seconds=0.01,
    longest_pause_seconds=0.3,
    failures_to_open=50,
    open_seconds=0.3,
    most_pages=50,
)
ORDERS = "/v2/orders"
CUSTOMERS, BULK = "/api/v1/customers", "/api/v1/bulk"
PROBLEM = "application/problem+json"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def ca(server: Server) -> Iterator[Facade]:
    with channel_advisor(server) as client:
        yield client


@pytest.fixture
def tims(server: Server) -> Iterator[Tims]:
    with Tims(connection("tims", server.url), limits=FAST) as client:
        yield client


def connection(name: str, url: str, **extra: Any) -> Connection:
    return Connection(name, url, "id-1", SECRET, {"refresh_token": REFRESH, **extra})


def channel_advisor(server: Server, limits: Limits = FAST, **more: Any) -> Facade:
    return Facade(connection("channel_advisor", server.url), limits=limits, **more)


def page(*records: Any, link: str | None = None) -> dict[str, Any]:
    return {"value": list(records), "serverTime": NOW} | ({"nextLink": link} if link else {})


def items(*records: Any, cursor: str | None = None) -> dict[str, Any]:
    return {"Items": list(records), "NextCursor": cursor, "ServerTime": "2026-04-01T02:40:00Z"}


def problem(status: int, code: str, **more: Any) -> Reply:
    body = {"type": f"https://x/{code}", "title": code, "status": status, "detail": code, "code": code, "traceId": "t"}
    return Reply(status, json.dumps(body | {"errors": []} | more).encode(), kind=PROBLEM)


def read_all(ca: Facade, resource: str = "orders", **filters: Any) -> list[bytes]:
    return [bytes(record) for page in ca.pages(resource, **filters) for record in page.records]


def listed(tims: Tims) -> list[bytes]:
    return [bytes(record) for page in tims.pages("customers") for record in page.records]


# ---- reading ----


def test_pages_give_the_records_as_received_and_the_servers_clock_cut_to_microseconds(
    server: Server, ca: Facade
) -> None:
    raw = (
        b'{"value": [{"TotalPrice": 12.9900,  "x":"\\u00e9"}, {"a":1e2}], "serverTime": "2025-03-14T10:00:00.1234567Z"}'
    )
    server.script(ORDERS, Reply(body=raw))
    (page,) = ca.pages("orders")
    assert [bytes(record) for record in page.records] == [b'{"TotalPrice": 12.9900,  "x":"\\u00e9"}', b'{"a":1e2}']
    assert page.server_time == datetime(2025, 3, 14, 10, 0, 0, 123456, UTC)
    assert page.number == 1


def test_the_window_is_sent_in_utc_and_filters_as_the_contract_writes_them(server: Server, ca: Facade) -> None:
    server.default(ORDERS, ok(page()))
    since = datetime.fromisoformat("2025-03-14T10:00:00.5+01:00")
    read_all(ca, since=since, before=datetime(2025, 3, 15, tzinfo=UTC), orderStatus=["New", "Pending"], exported=False)
    (request,) = server.requests_to(ORDERS)
    assert request.query == {
        "updatedSince": ["2025-03-14T09:00:00.5Z"],
        "updatedBefore": ["2025-03-15T00:00:00Z"],
        "limit": ["100"],
        "orderStatus": ["New", "Pending"],
        "exported": ["false"],
    }


def test_the_next_link_is_followed_byte_for_byte_even_from_an_empty_page(server: Server, ca: Facade) -> None:
    seen: list[str] = []
    link = f"{server.url}/v2/orders?limit=100&cursor=a%2Bb%7E%2f~=="

    server.script(ORDERS, ok(page(link=link)), lambda request: (seen.append(str(request.query)), ok(page({"n": 2})))[1])
    assert read_all(ca) == [b'{"n": 2}']
    assert seen == [str({"limit": ["100"], "cursor": ["a+b~/~=="]})]


@pytest.mark.parametrize(
    "link",
    [
        "http://evil.example.com/v2/orders?cursor=1",
        "https://127.0.0.1/v2/orders?cursor=1",
        "http://127.0.0.1:1/v2/orders?cursor=1",
        "http://id:pw@{host}/v2/orders?cursor=1",
        "http://{host}.evil.example.com/v2/orders",
        "/v2/orders?cursor=1",
        "http://[broken",
    ],
)
def test_a_next_link_to_another_origin_gets_no_token(server: Server, ca: Facade, link: str) -> None:
    server.script(ORDERS, ok(page({"n": 1}, link=link.format(host=server.url.removeprefix("http://")))))
    with pytest.raises(BadResponse, match="another server"):
        read_all(ca)
    assert server.counts[ORDERS] == 1


def test_a_link_that_comes_twice_whenever_it_is_asked_for_ends_the_list_and_what_was_read_is_given(
    server: Server, ca: Facade
) -> None:
    server.default(ORDERS, ok(page({"n": 1}, link=f"{server.url}/v2/orders?cursor=same")))
    given = []
    with pytest.raises(BadResponse, match="has been read"):
        given += [page.number for page in ca.pages("orders") if given.append(page.number)]
    assert given == [1, 2]
    assert server.counts[ORDERS] == 1 + FAST.tries


def test_a_link_that_comes_twice_once_is_asked_for_again_and_the_list_goes_on(
    server: Server, ca: Facade, tims: Tims
) -> None:
    links = [f"{server.url}/v2/orders?cursor={n}" for n in range(3)]
    server.script(
        ORDERS,
        ok(page({"n": 1}, link=links[1])),
        ok(page({"n": 2}, link=links[1])),  # to itself
        ok(page({"n": 2}, link=links[2])),
        ok(page({"n": 3}, link=links[1])),  # back
        ok({"error": {"code": "InvalidCursor", "message": "x"}}, 400),  # of a server that knows nothing for a moment
        ok(page({"n": 3})),
    )
    assert read_all(ca) == [b'{"n": 1}', b'{"n": 2}', b'{"n": 3}']
    server.script(CUSTOMERS, ok(items({"n": 1}, cursor="c1")), ok(items({"n": 2}, cursor="c1")), ok(items({"n": 2})))
    assert [bytes(row) for page in tims.pages("customers") for row in page.records] == [b'{"n": 1}', b'{"n": 2}']


DEEP = b"[" * 20_000 + b"]" * 20_000
BROKEN = [DEEP, b'{"n": NaN}', b'{"n": "\xff"}', b'{"n": .5, "s": "a\\"]}["}', b'{"n"}', b"{'n': 1}"]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_a_record_that_is_no_json_however_often_it_is_asked_for_comes_as_it_is_beside_the_others(
    server: Server, ca: Facade, tims: Tims, broken: bytes
) -> None:
    rows = [b'{"n": 1}', broken, b'{"n": [2, "]"]}']
    listed = b", ".join(rows)
    server.default(
        ORDERS, Reply(body=b'{"value": [' + listed + b' ], "nextLink": null, "serverTime": "2025-03-14T10:00:00Z"}')
    )
    assert read_all(ca) == rows
    server.default(
        CUSTOMERS, Reply(body=b'{"ServerTime": "2025-03-14T10:00:00Z", "NextCursor": null, "Items":[' + listed + b"]}")
    )
    assert [bytes(row) for page in tims.pages("customers") for row in page.records] == rows
    server.script(ORDERS, Reply(body=b'{"value": [' + listed))  # cut: nothing of it is believed
    assert read_all(ca) == rows


def test_a_list_without_end_stops_at_the_page_cap(server: Server, ca: Facade) -> None:
    def endless(request: Request) -> Reply:
        return ok(page(link=f"{server.url}/v2/orders?cursor={len(server.requests)}"))

    server.default(ORDERS, endless)
    with pytest.raises(BadResponse, match="50"):
        read_all(ca)
    assert server.counts[ORDERS] == FAST.most_pages


def test_a_cursor_that_died_is_the_systems_problem_and_a_wrong_filter_is_ours(server: Server, ca: Facade) -> None:
    dead = ok({"error": {"code": "InvalidCursor", "message": "x"}}, 400)
    server.script(ORDERS, ok(page(link=f"{server.url}/v2/orders?cursor=1")), *[dead] * FAST.tries)
    with pytest.raises(BadResponse, match="cursor"):
        read_all(ca)
    server.script(ORDERS, ok({"Message": "The request is invalid."}, 400))
    with pytest.raises(ConfigError, match="400"):
        read_all(ca)
    with pytest.raises(ConfigError, match="404"):
        read_all(ca, "ordres")


def test_tims_pages_keep_their_filters_while_the_cursor_moves(server: Server, tims: Tims) -> None:
    server.script(CUSTOMERS, ok(items({"n": 1}, cursor="c1")), ok(items(cursor="c2")), ok(items({"n": 2})))
    pages = list(tims.pages("customers", since=datetime(2026, 4, 1, tzinfo=UTC), Status="Active"))
    assert [len(page.records) for page in pages] == [1, 0, 1]
    assert [request.query.get("Cursor") for request in server.requests_to(CUSTOMERS)] == [None, ["c1"], ["c2"]]
    assert all(
        request.query["Status"] == ["Active"] and request.query["Limit"] == ["500"]
        for request in server.requests_to(CUSTOMERS)
    )


def test_find_asks_for_a_long_list_in_parts_of_100_and_in_urls_that_proxies_take(server: Server, tims: Tims) -> None:
    server.default(CUSTOMERS, lambda request: ok(items(*({"ID": value} for value in request.query["ExternalID"]))))
    names = [f"c{n}" for n in range(250)]
    assert [row["ID"] for row in tims.find("customers", ExternalID=names)] == names
    assert [len(request.query["ExternalID"]) for request in server.requests_to(CUSTOMERS)] == [100, 100, 50]
    server.requests.clear()
    assert len(tims.find("customers", ExternalID=["é" * 100 + str(n) for n in range(60)])) == 60
    assert max(len(request.query["ExternalID"]) for request in server.requests_to(CUSTOMERS)) < 15
    assert tims.find("customers", ExternalID=[]) == []


def test_one_record_comes_as_received_and_its_key_is_percent_encoded(server: Server, ca: Facade) -> None:
    server.default("/v2/products/KIT%2F7%20%23", Reply(body=b'{"SKU":"KIT/7 #","Cost":5.8000}'))
    assert ca.record("products", "KIT/7 #") == b'{"SKU":"KIT/7 #","Cost":5.8000}'
    with pytest.raises(RecordRejected) as refused:
        ca.record("orders", "1")
    assert refused.value.status == 404


def test_numbers_of_a_decoded_answer_are_exact(server: Server, ca: Facade) -> None:
    server.default("/v2/orders/7", Reply(body=b'{"TotalPrice": 0.10, "Big": 12345678901234567890.1234, "Count": 3}'))
    order = ca.call("PUT", "/v2/orders/7", {"TotalPrice": Decimal("0.10")})
    assert order == {"TotalPrice": Decimal("0.10"), "Big": Decimal("12345678901234567890.1234"), "Count": 3}
    assert server.requests_to("/v2/orders/7")[0].body == b'{"TotalPrice":0.10}'


def test_the_server_time_costs_one_small_request(server: Server, ca: Facade, tims: Tims) -> None:
    server.default(ORDERS, ok(page({"n": 1}, link=f"{server.url}/v2/orders?cursor=1")))
    server.default(CUSTOMERS, ok(items()))
    assert ca.server_time() == datetime(2025, 3, 14, 10, 0, 0, 123456, UTC)
    assert tims.server_time() == datetime(2026, 4, 1, 2, 40, tzinfo=UTC)
    assert [request.query for request in server.requests_to(ORDERS)] == [{"limit": ["1"]}]


# ---- answers that are none ----

CUT = Reply(body=json.dumps(page({"n": 1})).encode(), cut_at=20)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(Reply(500, b""), id="500 without a body"),
        pytest.param(html(502), id="502 in HTML"),
        pytest.param(html(200), id="200 in HTML"),
        pytest.param(Reply(503, b"", {"Retry-After": "0"}), id="503"),
        pytest.param(CUT, id="connection reset in the body"),
        pytest.param(
            Reply(body=b'{"value": [', headers={"Content-Length": "50", "Connection": "close"}), id="short body"
        ),
        pytest.param(Reply(body=b'{"value": [{"n": 1}, {"n"'), id="JSON cut"),
        pytest.param(Reply(body=b""), id="empty body"),
        pytest.param(Reply(body=b"\xef\xbb\xbf" + json.dumps(page()).encode()), id="byte order mark"),
        pytest.param(Reply(body=b'{"value": [{"n": "\xff"}], "serverTime": "2025-03-14T10:00:00Z"}'), id="not UTF-8"),
        pytest.param(Reply(body=b'{"value": [{"n": NaN}], "serverTime": "2025-03-14T10:00:00Z"}'), id="NaN"),
        pytest.param(ok({"value": [], "serverTime": "yesterday"}), id="server time no timestamp"),
        pytest.param(ok({"serverTime": NOW}), id="no value"),
        pytest.param(ok({"value": {}, "serverTime": NOW}), id="value no list"),
        pytest.param(Reply(body=b"[]"), id="a list"),
        pytest.param(Reply(body=b"\x1f\x8b\x08\x00rubbish", headers={"Content-Encoding": "gzip"}), id="broken gzip"),
        pytest.param(Reply(no_answer=True), id="closed without a word"),
        pytest.param(Reply(body=json.dumps(page()).encode(), wait=0.7), id="too slow"),
        pytest.param(
            Reply(body=json.dumps(page()).encode(), drip=0.05), id="dripping for longer than an answer may take"
        ),
        pytest.param(Reply(429, b"TOO MANY REQUESTS", kind="text/plain"), id="429 without Retry-After"),
        pytest.param(Reply(408, b""), id="408"),
    ],
)
def test_a_bad_answer_is_asked_for_again_and_nothing_of_it_is_used(server: Server, ca: Facade, bad: Reply) -> None:
    server.script(ORDERS, bad, ok(page({"n": 2})))
    assert read_all(ca) == [b'{"n": 2}']
    assert server.counts[ORDERS] == 2


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (html(502), Transient, "502"),
        (html(200), BadResponse, "text/html"),
        (Reply(body=b'{"value": [{"n"'), BadResponse, "cut or broken"),
        (CUT, Transient, "cut the connection"),
        (Reply(429, b"", {"Retry-After": "7"}), RateLimited, "too many requests"),
    ],
)
def test_an_answer_that_stays_bad_ends_in_its_own_typed_error(
    server: Server, ca: Facade, bad: Reply, error: type[CrossdockError], message: str
) -> None:
    server.default(ORDERS, bad)
    with pytest.raises(error, match=message) as raised:
        read_all(ca)
    assert type(raised.value) is error
    assert raised.value.system == "channel_advisor"
    assert raised.value.do
    assert server.counts[ORDERS] == FAST.tries


def test_a_redirect_is_not_followed(server: Server, ca: Facade) -> None:
    server.default(ORDERS, Reply(302, b"", {"Location": f"{server.url}/elsewhere"}))
    with pytest.raises(BadResponse, match="redirect") as raised:
        read_all(ca)
    assert "AIRFLOW_CONN_CHANNEL_ADVISOR" in raised.value.do
    assert server.counts["/elsewhere"] == 0
    assert server.counts[ORDERS] == 1


# ---- tokens ----

DENIED = "Authorization has been denied for this request."


@pytest.mark.parametrize(
    "denied",
    [
        Reply(401, b""),
        ok({"error": {"code": "", "message": DENIED}}),
        ok({"Message": DENIED}),
        Reply(200, DENIED.encode(), kind="text/plain"),
        Reply(200, DENIED.encode(), kind="text/html"),
    ],
)
def test_a_refused_token_is_renewed_once_even_when_the_refusal_says_200(
    server: Server, ca: Facade, denied: Reply
) -> None:
    server.script(ORDERS, denied, ok(page({"n": 1})))
    server.script("/v2/orders/1", denied, ok({"ChannelAdvisorOrderID": 1}))
    server.script("/v2/orders/2", denied, ok({"ChannelAdvisorOrderID": 2}))
    assert read_all(ca) == [b'{"n": 1}']
    assert json.loads(ca.record("orders", "1")) == {"ChannelAdvisorOrderID": 1}
    assert json.loads(ca.update_order("2", {})) == {"ChannelAdvisorOrderID": 2}
    assert server.tokens == 4
    used = [request.headers["authorization"] for request in server.requests if request.path != "/oauth2/token"]
    assert used == [f"Bearer token-{n}" for n in (1, 2, 2, 3, 3, 4)]


def test_a_fresh_token_that_is_refused_too_is_an_auth_error(server: Server, ca: Facade) -> None:
    server.default(ORDERS, ok({"Message": DENIED}))
    with pytest.raises(AuthError, match="fresh token") as raised:
        read_all(ca)
    assert "AIRFLOW_CONN_CHANNEL_ADVISOR" in raised.value.do
    assert server.counts[ORDERS] == 2


def test_many_threads_renew_an_expired_token_once(server: Server, ca: Facade) -> None:
    valid = "Bearer token-2"

    def answer(request: Request) -> Reply:
        time.sleep(0.01)
        return ok(page({"n": 1})) if request.headers["authorization"] == valid else Reply(401, b"")

    server.default(ORDERS, answer)
    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(lambda _: read_all(ca), range(20)))
    assert results == [[b'{"n": 1}']] * 20
    assert server.tokens == 2


def test_the_token_is_asked_for_as_each_system_wants_it(server: Server, ca: Facade, tims: Tims) -> None:
    server.default(ORDERS, ok(page()))
    server.default("/api/v1/company", ok({"Name": "T"}))
    read_all(ca)
    tims.company()
    first, second = server.requests_to("/oauth2/token")
    assert first.body == f"grant_type=refresh_token&refresh_token={REFRESH}".encode()
    assert second.body == b"grant_type=client_credentials"
    assert first.headers["authorization"].startswith("Basic ")
    assert first.headers["content-type"] == "application/x-www-form-urlencoded"
    assert not any(SECRET in str(request.query) for request in server.requests)


@pytest.mark.parametrize(
    ("answer", "do"),
    [
        (Reply(400, b"Bad Request", kind="text/plain"), "refresh_token"),
        (ok({"error": "invalid_client"}, 400), "login and password"),
        (ok({"error": "invalid_grant"}, 400), "refresh_token"),
        (Reply(401, b'{"error":"invalid_client"}'), "login and password"),
    ],
)
def test_wrong_credentials_are_said_once_and_not_sent_again(server: Server, ca: Facade, answer: Reply, do: str) -> None:
    server.default("/oauth2/token", answer)
    for _ in range(2):
        with pytest.raises(AuthError) as raised:
            read_all(ca)
        assert do in raised.value.do
        assert "AIRFLOW_CONN_CHANNEL_ADVISOR" in raised.value.do
        assert SECRET not in str(raised.value)
        assert REFRESH not in str(raised.value)
    assert server.counts == {"/oauth2/token": 1}


def test_a_token_endpoint_that_stumbles_is_asked_again(server: Server, ca: Facade) -> None:
    server.script("/oauth2/token", html(502), Reply(429, b""), Server._token.__get__(server))
    server.default(ORDERS, ok(page()))
    assert read_all(ca) == []


def test_a_missing_refresh_token_is_said_before_any_request(server: Server) -> None:
    with pytest.raises(ConfigError, match="refresh_token"):
        Facade(Connection("channel_advisor", server.url, "a", "b"), limits=FAST)


def test_a_missing_scope_of_tims_is_an_auth_error(server: Server, tims: Tims) -> None:
    server.default(CUSTOMERS, problem(403, "INSUFFICIENT_SCOPE"))
    with pytest.raises(AuthError, match="forbids"):
        listed(tims)


# ---- pauses ----


def test_retry_after_is_obeyed_in_seconds_and_as_a_date_and_is_capped(server: Server, ca: Facade) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    for headers, least in (
        ({"Retry-After": "0.2"}, 0.2),
        ({"Retry-After": "99999"}, 0.3),
        ({"Retry-After": later}, 0.3),
        ({"Retry-After": "soon"}, 0.0),
    ):
        server.script(ORDERS, Reply(429, b"", headers), ok(page()))
        start = time.monotonic()
        read_all(ca)
        assert least <= time.monotonic() - start < least + 0.25


def test_a_429_makes_every_thread_wait(server: Server, ca: Facade) -> None:
    moments: list[float] = []

    def answer(request: Request) -> Reply:
        moments.append(time.monotonic())
        return Reply(429, b"", {"Retry-After": "0.3"}) if len(moments) == 1 else ok(page())

    server.default(ORDERS, answer)
    first = threading.Thread(target=lambda: read_all(ca))
    first.start()
    while not moments:
        time.sleep(0.001)
    time.sleep(0.05)
    read_all(ca)
    first.join()
    assert all(moment - moments[0] >= 0.25 for moment in moments[1:])


def test_no_more_requests_run_at_once_than_allowed(server: Server) -> None:
    server.default(ORDERS, Reply(body=json.dumps(page()).encode(), wait=0.02))
    with channel_advisor(server, msgspec.structs.replace(FAST, at_once=3)) as ca, ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: read_all(ca), range(36)))
    assert server.most_at_once == 3


# ---- the circuit ----


def test_an_open_circuit_answers_at_once_and_one_trial_closes_it(server: Server) -> None:
    limits = msgspec.structs.replace(FAST, failures_to_open=3)
    with channel_advisor(server, limits) as ca:
        server.script(ORDERS, *[Reply(500)] * 3, ok(page({"n": 1})))
        with pytest.raises(Transient):
            read_all(ca)
        start = time.monotonic()
        with pytest.raises(CircuitOpen) as raised:
            read_all(ca)
        assert time.monotonic() - start < 0.1
        assert raised.value.retry_after > 0
        assert server.counts[ORDERS] == 3
        time.sleep(limits.open_seconds)
        assert read_all(ca) == [b'{"n": 1}']


@pytest.mark.parametrize("answer", [Reply(429), Reply(404, b"{}"), Reply(400, b"{}"), Reply(403)])
def test_a_system_that_refuses_is_not_down(server: Server, answer: Reply) -> None:
    with channel_advisor(server, msgspec.structs.replace(FAST, failures_to_open=2)) as ca:
        server.default("/v2/orders/1", answer)
        for _ in range(4):
            with pytest.raises(CrossdockError) as raised:
                ca.record("orders", "1")
            assert not isinstance(raised.value, CircuitOpen)


# ---- writes ----


def test_an_idempotent_write_is_sent_again_and_its_outcome_is_unknown_in_the_end(server: Server, ca: Facade) -> None:
    server.script("/v2/orders/1/exported", Reply(500), Reply(204))
    ca.mark_exported("1")
    server.default("/v2/orders/1/exported", Reply(no_answer=True))
    with pytest.raises(OutcomeUnknown, match="not known"):
        ca.mark_exported("1")
    assert server.counts["/v2/orders/1/exported"] == 2 + FAST.tries


@pytest.mark.parametrize("lost", [Reply(500), html(502), html(200), Reply(no_answer=True), Reply(wait=0.7), CUT])
def test_a_write_that_is_not_idempotent_is_never_sent_twice(server: Server, ca: Facade, lost: Reply) -> None:
    server.default("/v2/returns", lost)
    with pytest.raises(OutcomeUnknown):
        ca.call("POST", "/v2/returns", {"a": 1})
    assert server.counts["/v2/returns"] == 1


def test_a_write_that_certainly_had_no_effect_is_sent_again(server: Server, ca: Facade) -> None:
    server.script("/v2/returns", Reply(429), Reply(401), ok({"ReturnID": 1}, 201))
    assert ca.call("POST", "/v2/returns", {"a": 1}) == {"ReturnID": 1}


def test_a_definite_refusal_after_a_lost_answer_is_the_answer(server: Server, tims: Tims) -> None:
    duplicate = problem(409, "DUPLICATE_EXTERNAL_REFERENCE", ExistingID="CU-7")
    server.script(CUSTOMERS, Reply(no_answer=True), duplicate)
    result = tims.post("customers", {"Name": "x"}, key="k1")
    assert isinstance(result.error, RecordRejected)
    assert result.error.existing_id == "CU-7"


def test_a_channel_advisor_refusal_names_its_fields_but_not_their_values(server: Server, ca: Facade) -> None:
    errors = [{"Field": "BuyerEmail", "Code": "Invalid", "Message": "anna@example.com is wrong"}]
    body = {
        "error": {"code": "Invalid", "message": "1 field", "details": {"Errors": errors, "AllowedStatuses": ["New"]}}
    }
    server.default("/v2/orders/1", ok(body, 422))
    with pytest.raises(RecordRejected) as raised:
        ca.update_order("1", {"x": 1})
    assert (raised.value.status, raised.value.code) == (422, "Invalid")
    assert raised.value.refusals[0].message == "anna@example.com is wrong"
    assert raised.value.body["error"]["details"]["AllowedStatuses"] == ["New"]
    assert "BuyerEmail Invalid" in str(raised.value)
    assert "anna" not in str(raised.value)


NUL = "a\0b"


def test_the_words_of_a_refusal_can_be_stored_whatever_is_in_them(server: Server, tims: Tims, ca: Facade) -> None:
    errors = [{"pointer": NUL, "code": NUL, "message": NUL}, None, 7]
    server.default(CUSTOMERS, problem(422, NUL, errors=errors, ExistingID=NUL))
    refused = tims.post("/api/v1/customers", {}, key="c:1").error
    own = [{"Field": NUL, "Code": NUL, "Message": NUL}]
    server.default("/v2/orders/1", ok({"error": {"code": NUL, "details": {"Errors": own}}}, 422))
    with pytest.raises(RecordRejected) as raised:
        ca.update_order("1", {"x": 1})
    for error in (refused, raised.value):
        assert isinstance(error, RecordRejected)
        (one,) = error.refusals
        output = (error.code, one.field, one.code, one.message, error.existing_id or "ab")
        assert output == ("ab",) * 5
        assert "ab" in str(error)
        assert "\0" not in str(error)


@pytest.mark.parametrize("errors", [7, "no list", {"a": 1}, None, [[]]])
def test_a_refusal_whose_errors_are_no_list_is_a_refusal(server: Server, tims: Tims, ca: Facade, errors) -> None:
    server.default(CUSTOMERS, problem(422, "INVALID", errors=errors))
    refused = tims.post("/api/v1/customers", {}, key="c:1").error
    assert isinstance(refused, RecordRejected)
    assert [one.code for one in refused.refusals] == ["INVALID"]
    server.default("/v2/orders/1", ok({"error": {"code": "Invalid", "details": {"Errors": errors}}}, 422))
    with pytest.raises(RecordRejected) as raised:
        ca.update_order("1", {"x": 1})
    assert [one.code for one in raised.value.refusals] == ["Invalid"]


def test_a_post_keeps_its_key_through_every_try_and_tells_a_replay(server: Server, tims: Tims) -> None:
    done = ok({"CustomerID": "CU-1"}, 201, **{"Idempotency-Replayed": "true", "ETag": '"1"'})
    server.script(CUSTOMERS, Reply(no_answer=True), problem(409, "IDEMPOTENCY_IN_PROGRESS"), done)
    result = tims.post("/api/v1/customers", {"Balance": Decimal("1.10")}, key="c:1")
    assert result.document() == {"CustomerID": "CU-1"}
    assert result.replayed
    assert {request.headers["idempotency-key"] for request in server.requests_to(CUSTOMERS)} == {"c:1"}
    assert server.requests_to(CUSTOMERS)[0].body == b'{"Balance":"1.10"}'


def test_a_refused_post_comes_back_as_a_result_with_every_reason(server: Server, tims: Tims) -> None:
    errors = [
        {"pointer": "/LineItems/2/SKU", "code": "UNKNOWN_SKU", "message": "No item has the SKU 85123a."},
        {"pointer": "/TotalAmount", "code": "TOTAL_MISMATCH", "message": "Given 105.34; ..."},
    ]
    server.default("/api/v1/sales-orders", problem(422, "VALIDATION_FAILED", errors=errors))
    result = tims.post("sales-orders", {}, key="k")
    assert result.status == 422
    assert isinstance(result.error, RecordRejected)
    assert [refusal.field for refusal in result.error.refusals] == ["/LineItems/2/SKU", "/TotalAmount"]
    with pytest.raises(RecordRejected, match="UNKNOWN_SKU"):
        result.document()
    assert server.counts["/api/v1/sales-orders"] == 1


def test_a_patch_carries_the_version_and_a_stale_one_is_refused(server: Server, tims: Tims) -> None:
    path = "/api/v1/customers/CU-1"
    server.script(path, ok({"CustomerID": "CU-1"}, ETag='"3"'), ok({"CustomerID": "CU-1", "RowVersion": 4}))
    _, etag = tims.read("customers/CU-1")
    assert tims.patch("customers/CU-1", {"Email": None}, etag=etag)["RowVersion"] == 4
    sent = server.requests_to(path)[1]
    assert (sent.headers["if-match"], sent.headers["content-type"]) == ('"3"', "application/merge-patch+json")
    assert sent.body == b'{"Email":null}'
    server.default(path, problem(412, "STALE_VERSION", CurrentRowVersion=5))
    with pytest.raises(RecordRejected) as raised:
        tims.patch("customers/CU-1", {}, etag='"4"')
    assert raised.value.code == "STALE_VERSION"
    assert raised.value.body["CurrentRowVersion"] == 5


def test_a_patch_with_a_lost_answer_is_not_sent_again(server: Server, tims: Tims) -> None:
    server.default("/api/v1/customers/CU-1", Reply(no_answer=True))
    with pytest.raises(OutcomeUnknown):
        tims.patch("customers/CU-1", {}, etag='"4"')
    assert server.counts["/api/v1/customers/CU-1"] == 1


# ---- bulk ----


def bulk_of(request: Request, statuses: dict[str, tuple[int, dict[str, Any] | None]] | None = None) -> Reply:
    results = []
    for operation in request.json()["Operations"]:
        status, body = (statuses or {}).get(operation["OperationID"], (201, {"id": operation["OperationID"]}))
        results.append({"OperationID": operation["OperationID"], "Status": status, "Headers": {}, "Body": body})
    return ok({"Results": results}, 207)


def operations(count: int, size: int = 0) -> list[Operation]:
    return [Operation(str(n), "/sales-orders", f"so:{n}", {"Notes": "x" * size, "n": n}) for n in range(count)]


def test_bulk_splits_by_operations_and_by_bytes_and_keeps_the_order(server: Server, tims: Tims) -> None:
    server.default(BULK, bulk_of)
    results = tims.bulk(operations(250))
    assert [result.document()["id"] for result in results] == [str(n) for n in range(250)]
    assert [len(request.json()["Operations"]) for request in server.requests_to(BULK)] == [100, 100, 50]
    server.requests.clear()
    results = tims.bulk(operations(20, size=1_000_000))
    assert [result.document()["id"] for result in results] == [str(n) for n in range(20)]
    assert all(len(request.body) <= 5 * 1024 * 1024 for request in server.requests_to(BULK))
    assert [len(request.json()["Operations"]) for request in server.requests_to(BULK)] == [5, 5, 5, 5]


def test_a_document_that_no_bulk_can_hold_is_refused_alone(server: Server, tims: Tims) -> None:
    server.default(BULK, bulk_of)
    large = Operation("large", "/sales-orders", "k", {"Notes": "x" * 6_000_000})
    first, refused, last = tims.bulk([operations(1)[0], large, operations(2)[1]])
    assert (first.status, last.status) == (201, 201)
    assert isinstance(refused.error, RecordRejected)
    assert refused.error.code == "PAYLOAD_TOO_LARGE"


def test_each_operation_of_a_bulk_has_its_own_typed_result(server: Server, tims: Tims) -> None:
    statuses = {
        "0": (422, {"code": "UNKNOWN_SKU", "errors": [{"pointer": "/SKU", "code": "UNKNOWN_SKU", "message": "m"}]}),
        "1": (500, {"code": "INTERNAL_ERROR"}),
        "2": (429, {"code": "RATE_LIMITED"}),
        "3": (409, {"code": "IDEMPOTENCY_IN_PROGRESS"}),
        "4": (409, {"code": "DUPLICATE_EXTERNAL_REFERENCE", "ExistingID": "SO-9"}),
        "5": (500, None),
        "6": (403, {"code": "INSUFFICIENT_SCOPE"}),
    }
    server.default(BULK, lambda request: bulk_of(request, statuses))
    results = tims.bulk(operations(8))
    kinds = [RecordRejected, Transient, RateLimited, Transient, RecordRejected, Transient, AuthError]
    assert [type(result.error) for result in results[:7]] == kinds
    assert results[7] == Result(201, {"id": "7"})
    assert results[4].error.existing_id == "SO-9"  # type: ignore[union-attr]
    assert server.counts[BULK] == 1


def test_a_lost_bulk_is_sent_again_under_the_same_keys(server: Server, tims: Tims) -> None:
    server.script(BULK, Reply(no_answer=True), Reply(500), bulk_of)
    assert [result.status for result in tims.bulk(operations(3))] == [201] * 3
    assert len({request.headers["idempotency-key"] for request in server.requests_to(BULK)}) == 1
    assert len({request.body for request in server.requests_to(BULK)}) == 1
    key = server.requests_to(BULK)[0].headers["idempotency-key"]
    assert len(key) <= 128
    server.requests.clear()
    server.default(BULK, Reply(no_answer=True))
    with pytest.raises(OutcomeUnknown):
        tims.bulk(operations(3))


def test_the_same_bulk_sent_by_a_later_call_runs_anew_so_that_what_failed_in_it_is_not_replayed(
    server: Server, tims: Tims
) -> None:
    stored: dict[str, Reply] = {}

    def remembers(request: Request) -> Reply:
        failing = {"0": (500, {"code": "INTERNAL_ERROR"})} if not stored else None
        return stored.setdefault(request.headers["idempotency-key"], bulk_of(request, failing))

    server.default(BULK, remembers)
    assert isinstance(tims.bulk(operations(1))[0].error, Transient)
    assert tims.bulk(operations(1))[0].status == 201


def test_what_an_early_bulk_decided_is_kept_when_a_later_one_is_lost(server: Server, tims: Tims) -> None:
    server.script(BULK, bulk_of)
    server.default(BULK, Reply(500))
    results = tims.bulk(operations(250))
    assert [result.status for result in results] == [201] * 100 + [0] * 150
    assert all(isinstance(result.error, OutcomeUnknown) for result in results[100:])


@pytest.mark.parametrize("wrong", [ok({"Results": []}, 207), ok({}, 207)])
def test_a_bulk_answer_that_does_not_match_its_operations_decides_nothing(
    server: Server, tims: Tims, wrong: Reply
) -> None:
    server.default(BULK, wrong)
    with pytest.raises(OutcomeUnknown):
        tims.bulk(operations(2))


def test_a_bulk_refused_as_a_whole_kills_no_record(server: Server, tims: Tims) -> None:
    server.default(BULK, problem(413, "TOO_MANY_OPERATIONS"))
    with pytest.raises(BadResponse, match="as a whole"):
        tims.bulk(operations(2))


# ---- sentences ----


def test_an_unreachable_system_is_named_in_one_sentence_with_the_variable_to_change() -> None:
    for url, message in (
        ("http://127.0.0.1:1", "TIMS cannot be reached: 127.0.0.1:1 refuses connections."),
        ("https://tims.invalid", "TIMS cannot be reached: the name of tims.invalid is not known."),
    ):
        with pytest.raises(Transient) as raised:
            Tims(connection("tims", url), limits=FAST).company()
        assert raised.value.message == message
        assert "AIRFLOW_CONN_TIMS" in raised.value.do
        assert SECRET not in str(raised.value)


def test_a_server_without_tls_and_one_with_an_unknown_certificate_are_told_apart(
    server: Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="does not speak TLS"):
        Tims(connection("tims", server.url.replace("http://", "https://")), limits=FAST).company()
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    secure = Server()
    secure._server.socket = context.wrap_socket(secure._server.socket, server_side=True)
    url = secure.url.replace("http://127.0.0.1", "https://localhost")
    try:
        with pytest.raises(ConfigError, match="no TLS certificate that this machine trusts: self-signed") as raised:
            Tims(connection("tims", url), limits=FAST).company()
        assert "ca_bundle" in raised.value.do
        secure.default("/api/v1/company", ok({"Name": "T"}))
        with Tims(connection("tims", url, ca_bundle=str(certificate)), limits=FAST) as trusting:
            assert trusting.company() == {"Name": "T"}
    finally:
        secure.close()


def self_signed(folder: Any) -> tuple[Any, Any]:
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return files


def test_no_log_line_or_error_holds_a_secret_a_token_or_a_persons_data(
    server: Server, tims: Tims, ca: Facade, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.default(CUSTOMERS, Reply(503))
    server.default(ORDERS, html(200))
    texts = []
    for call in (lambda: tims.find("customers", Email="anna@example.com"), lambda: read_all(ca)):
        with pytest.raises(CrossdockError) as raised:
            call()
        error: BaseException | None = raised.value
        while error is not None:
            texts += [str(error), repr(error)]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    text = "\n".join(texts) + caplog.text
    assert "503" in text
    for hidden in (SECRET, REFRESH, "token-1", "anna", "Bearer", "Basic "):
        assert hidden not in text


# ---- what several processes share, here several clients on one database ----


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[Any]:
    import sqlalchemy as sa

    engine = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg2"))
    from contract.shared_tables import create

    create(engine)
    yield engine
    engine.dispose()


def test_clients_on_one_database_share_places_and_the_circuit(server: Server, engine: Any) -> None:
    limits = msgspec.structs.replace(FAST, at_once=3, failures_to_open=2)

    def client() -> Facade:
        name = "channel_advisor"
        return channel_advisor(
            server, limits, budget=Budget(name, engine, limits=limits), breaker=Breaker(name, engine, limits=limits)
        )

    server.default(ORDERS, Reply(body=json.dumps(page()).encode(), wait=0.3))  # long enough for a busy machine
    with client() as first, client() as second, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: read_all((first, second)[n % 2]), range(15)))
        assert server.most_at_once == 3
        server.default(ORDERS, Reply(500))
        with pytest.raises(Transient):
            read_all(first)
        time.sleep(1.05)  # the other's view of the circuit may be a second old
        server.default(ORDERS, ok(page({"n": 1})))
        assert read_all(second) == [b'{"n": 1}']


# ---- sizes ----


def test_a_small_answer_that_opens_to_a_large_one_is_not_opened_to_its_end_nor_asked_for_again(
    server: Server, ca: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = msgspec.structs.replace(settings.intake(), answer_bytes=3_000_000)
    monkeypatch.setattr(settings, "intake", lambda: few)
    bomb = gzip.compress(b'{"value": ["' + b" " * 200_000_000)
    assert len(bomb) < 300_000
    server.default(ORDERS, Reply(body=bomb, headers={"Content-Encoding": "gzip"}))
    tracemalloc.start()
    with pytest.raises(BadResponse, match="more than 3,000,000 bytes") as raised:
        read_all(ca)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000
    assert "answer_bytes" in raised.value.do
    assert server.counts[ORDERS] == 1
    server.default(
        ORDERS, Reply(body=gzip.compress(json.dumps(page({"n": 1})).encode()), headers={"Content-Encoding": "gzip"})
    )
    assert read_all(ca) == [b'{"n": 1}']
