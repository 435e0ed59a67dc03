"""Where nothing may be written, both clients read and ask for tokens, and send nothing else: seen from the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from contract.misbehaving import Reply, Server, ok
from contract.test_clients import CUSTOMERS, FAST, ORDERS, channel_advisor, connection, items, page
from crossdock.errors import OutcomeUnknown, RecordRejected, Transient, WriteRefused
from crossdock.pool import Pool
from crossdock.systems import writes
from crossdock.systems.channel_advisor import ChannelAdvisor
from crossdock.systems.http import Answer
from crossdock.systems.tims import Operation, Tims

TOKEN = "/oauth2/token"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def ca(server: Server) -> Iterator[ChannelAdvisor]:
    with channel_advisor(server) as client:
        yield client


@pytest.fixture
def tims(server: Server) -> Iterator[Tims]:
    with Tims(connection("tims", server.url), limits=FAST) as client:
        yield client


TO_CHANNEL_ADVISOR: dict[str, Callable[[ChannelAdvisor], object]] = {
    "mark": lambda ca: ca.mark_exported("1"),
    "order": lambda ca: ca.update_order("1", {"OrderStatus": "OnHold"}),
    "return": lambda ca: ca.resolve_return("1", "Refund"),
    "shipments": lambda ca: ca.report_shipments([{}]),
    "quantities": lambda ca: ca.write_quantities([{}]),
    "prices": lambda ca: ca.write_prices([{}]),
    "products": lambda ca: ca.create_products([{}]),
    "product": lambda ca: ca.update_product("A", {}),
    "new listing": lambda ca: ca.create_listing({}),
    "listing": lambda ca: ca.update_listing(1, {}),
    "subscription": lambda ca: ca.subscribe("http://127.0.0.1/x", ["OrderCreated"], "s" * 32),
    "end of one": lambda ca: ca.unsubscribe("1"),
    "anything": lambda ca: ca.call("DELETE", "/v2/orders/1"),
}
TO_TIMS: dict[str, Callable[[Tims], object]] = {
    "post": lambda tims: tims.post("customers", {}, key="k"),
    "patch": lambda tims: tims.patch("customers/1", {}, etag='"1"'),
    "put": lambda tims: tims.put("inventory/counts/1", {}, etag='"1"'),
    "subscription": lambda tims: tims.subscribe("http://127.0.0.1/x", ["item.updated"], "s" * 32),
    "end of one": lambda tims: tims.unsubscribe("1"),
    "bulk": lambda tims: tims.bulk([Operation("1", "/customers", "k", {})]),
}


@pytest.mark.parametrize("name", TO_CHANNEL_ADVISOR)
def test_no_write_to_channel_advisor_leaves_where_nobody_has_permitted_it(
    server: Server, ca: ChannelAdvisor, name: str
) -> None:
    with writes.permitted(writes.nobody), pytest.raises(WriteRefused, match="No live flow is at work"):
        TO_CHANNEL_ADVISOR[name](ca)
    assert server.requests == []  # not even one for a token


@pytest.mark.parametrize("name", TO_TIMS)
def test_no_write_to_tims_leaves_where_nobody_has_permitted_it(server: Server, tims: Tims, name: str) -> None:
    with writes.permitted(writes.nobody), pytest.raises(WriteRefused) as refused:
        TO_TIMS[name](tims)
    assert server.requests == []
    assert refused.value.request is not None
    assert refused.value.request.path.startswith("/api/v1/")
    assert not isinstance(refused.value, Transient | RecordRejected)  # neither tried again nor a dead letter


def test_reads_go_through_where_nothing_may_be_written(server: Server, ca: ChannelAdvisor, tims: Tims) -> None:
    server.script(ORDERS, ok(page()))
    server.script(CUSTOMERS, ok(items()))
    with writes.permitted(writes.nobody):
        assert [one.records for one in ca.pages("orders")] == [one.records for one in tims.pages("customers")] == [[]]
    assert {(one.method, one.path) for one in server.requests} == {
        ("POST", TOKEN), ("GET", ORDERS), ("GET", CUSTOMERS)
    }  # fmt: skip


def test_a_post_that_only_reads_goes_through(server: Server, ca: ChannelAdvisor) -> None:
    server.script("/v2/reports", ok({"id": 1}))
    with writes.permitted(writes.nobody):
        assert ca._http.request("POST", "/v2/reports", _status, changes=False) == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_only_a_post_can_say_that_it_changes_nothing(server: Server, ca: ChannelAdvisor, method: str) -> None:
    with writes.permitted(writes.nobody), pytest.raises(WriteRefused):
        ca._http.request(method, "/v2/orders/1", _status, changes=False)
    assert server.requests == []


def test_a_get_that_changes_something_can_say_so(server: Server, ca: ChannelAdvisor) -> None:
    with writes.permitted(writes.nobody), pytest.raises(WriteRefused):
        ca._http.request("GET", "/v2/orders/1/take", _status, changes=True)
    assert server.requests == []


def test_a_lost_post_that_only_reads_leaves_nothing_in_doubt(server: Server, ca: ChannelAdvisor) -> None:
    server.script("/v2/reports", *[Reply(503)] * 3)
    with pytest.raises(Transient) as lost:
        ca._http.request("POST", "/v2/reports", _status, changes=False)
    assert not isinstance(lost.value, OutcomeUnknown)


def test_what_was_sent_once_and_then_refused_is_in_doubt(server: Server, tims: Tims) -> None:
    """A flow is put into shadow mode between the first try, whose answer is lost, and the second."""
    server.script("/api/v1/customers", Reply(503), ok({}))
    answers = iter([None, None])
    with (
        writes.permitted(lambda: next(answers, "It has been put into shadow mode.")),
        pytest.raises(OutcomeUnknown, match="shadow mode"),
    ):
        tims.post("customers", {}, key="k")
    assert [one.path for one in server.requests].count("/api/v1/customers") == 1


def test_threads_of_the_pool_have_the_permission_and_others_have_none(server: Server, tims: Tims) -> None:
    server.script("/api/v1/customers", ok({}, status=201), ok({}, status=201))
    caught: list[BaseException] = []

    def write() -> None:
        try:
            tims.post("customers", {}, key="k")
        except WriteRefused as refused:
            caught.append(refused)

    with writes.permitted(writes.always), Pool(1) as pool:
        pool.submit(write).result()
        assert caught == []
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(caught) == 1
    assert [one.path for one in server.requests].count("/api/v1/customers") == 1


def _status(answer: Answer) -> int:
    return answer.status
