"""Subscriptions to events: what the clients send and read, and what an answer that is none becomes. The sandbox serves
the facade's and TIMS's; of the API v1 only the metadata are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract import channel_advisor_calls as shop_calls
from contract import tims_calls
from contract.misbehaving import Reply, Server, ok
from contract.test_clients import FAST, channel_advisor, connection, items, page
from crossdock.errors import AuthError, BadResponse, OutcomeUnknown, RateLimited, RecordRejected, Transient
from crossdock.systems import writes
from crossdock.systems.channel_advisor import V1, ChannelAdvisor, Facade
from crossdock.systems.subscriptions import Subscription
from crossdock.systems.tims import Tims

SECRET = "a-signing-secret-of-at-least-32-characters"
URL = "http://127.0.0.1:8090/hooks/x"
FACADE, V1_SET, TIMS = "/v2/webhooks", "/v1/Webhooks", "/api/v1/webhooks/subscriptions"
Client = ChannelAdvisor | Tims
LISTED = {
    FACADE: {"WebhookID": 12, "Url": URL, "Events": ["OrderCreated"], "Status": "Suspended",
             "CreatedDate": "2025-03-01T00:00:00Z", "UpdatedDate": "2025-03-01T00:00:00Z"},
    V1_SET: {"ID": 7, "Name": None, "Status": "Enabled", "WebhookUri": URL, "EventTypes": ["PaymentCleared"]},
    TIMS: {"SubscriptionID": "WH-3", "TargetURL": URL, "EventTypes": ["item.updated"], "RowVersion": 1,
           "CreatedAt": "2026-03-01T08:00:00Z", "ModifiedAt": "2026-03-01T08:00:00Z"},
}  # fmt: skip
PATHS = list(LISTED)


@pytest.fixture(autouse=True)
def _may_write() -> Iterator[None]:
    with writes.permitted(writes.always):
        yield


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def client(server: Server, path: str) -> Client:
    if path == TIMS:
        return Tims(connection("tims", server.url), limits=FAST)
    if path == V1_SET:
        return V1(connection("channel_advisor", server.url, api="v1"), limits=FAST)
    return channel_advisor(server)


def answered(path: str, *rows: object) -> Reply:
    return ok(items(*rows) if path == TIMS else page(*rows) if path == FACADE else {"value": list(rows)})


# ---- against the sandbox ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Callable[[], Client]]]:
    login = ("crossdock-sandbox", "sandbox-secret")
    from crossdock.systems.connections import Connection

    with (
        shop_calls.running(tmp_path_factory.mktemp("shop"), per_minute=100_000) as shop,
        tims_calls.running(tmp_path_factory.mktemp("tims"), per_minute=100_000) as (tims, _),
    ):
        extra = {"refresh_token": "sandbox-refresh"}
        yield {
            FACADE: lambda: Facade(Connection("channel_advisor", shop, *login, extra), limits=FAST),
            TIMS: lambda: Tims(Connection("tims", tims, *login), limits=FAST),
        }


@pytest.mark.parametrize("path", [FACADE, TIMS])
def test_a_subscription_is_made_listed_and_ended_and_ending_it_again_is_no_error(
    sandbox: dict[str, Callable[[], Client]], path: str
) -> None:
    types = ["OrderCreated", "ReturnCreated"] if path == FACADE else ["item.updated", "shipment.created"]
    with sandbox[path]() as one:
        made = one.subscribe(URL, types, SECRET)
        assert (made.url, made.types, made.is_on) == (URL, frozenset(types), True)
        assert made.made_at is not None
        assert one.subscriptions() == [made]
        one.unsubscribe(made.id)
        one.unsubscribe(made.id)
        assert one.subscriptions() == []


def test_the_channel_takes_an_address_once_and_with_a_query_again(sandbox: dict[str, Callable[[], Client]]) -> None:
    with sandbox[FACADE]() as one:
        first = one.subscribe(URL, ["OrderCreated"], SECRET)
        with pytest.raises(RecordRejected) as refused:
            one.subscribe(URL, ["OrderCreated"], SECRET)
        assert (refused.value.status, refused.value.code) == (409, "DuplicateWebhook")
        second = one.subscribe(f"{URL}?2", ["OrderCreated"], SECRET)
        for each in (first, second):
            one.unsubscribe(each.id)


def test_tims_takes_an_address_twice_and_no_short_secret(sandbox: dict[str, Callable[[], Client]]) -> None:
    with sandbox[TIMS]() as one:
        both = [one.subscribe(URL, ["item.updated"], SECRET) for _ in range(2)]
        assert len({each.id for each in both}) == 2
        with pytest.raises(RecordRejected) as refused:
            one.subscribe(URL, ["item.updated"], "short")
        assert "short" not in str(refused.value)
        for each in both:
            one.unsubscribe(each.id)


# ---- against what a test scripts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_list_is_read_with_its_status(server: Server, path: str) -> None:
    server.script(path, answered(path, LISTED[path]))
    with client(server, path) as one:
        (found,) = one.subscriptions()
    assert found.url == URL
    assert found.is_on == (path != FACADE)
    assert isinstance(found, Subscription)


def test_the_api_v1_is_not_asked_for_secrets_and_what_is_deleted_is_not_listed(server: Server) -> None:
    server.script(V1_SET, answered(V1_SET, LISTED[V1_SET] | {"Status": "Deleted"}, LISTED[V1_SET]))
    with client(server, V1_SET) as one:
        assert len(one.subscriptions()) == 1
    (request,) = server.requests_to(V1_SET)
    assert "SigningSecret" not in request.query["$select"][0]


def test_the_api_v1_is_sent_the_fields_of_its_metadata(server: Server) -> None:
    metadata = json.loads((Path(__file__).parents[2] / "include/contracts/channel_advisor_v1_schema.json").read_text())
    server.script(V1_SET, ok(LISTED[V1_SET], 201))
    with client(server, V1_SET) as one:
        one.subscribe(URL, ["PaymentCleared"], SECRET)
        server.default("/v1/Webhooks(7)", Reply(204))
        one.unsubscribe("7")
    sent = server.requests_to(V1_SET)[0].json()
    assert set(sent) <= set(metadata["entities"]["Webhook"]["properties"])
    assert (sent["WebhookUri"], sent["EventTypes"]) == (URL, ["PaymentCleared"])
    assert server.requests_to("/v1/Webhooks(7)")[0].method == "DELETE"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("row", [{}, {"WebhookID": 1}, None, [], "x", 1])
def test_a_row_that_is_no_subscription_is_an_answer_against_the_contract(
    server: Server, path: str, row: object
) -> None:
    server.script(path, answered(path, row))
    with client(server, path) as one, pytest.raises(BadResponse):
        one.subscriptions()


REFUSALS = [
    (Reply(401), AuthError), (Reply(403), AuthError), (Reply(429, headers={"Retry-After": "0"}), RateLimited),
    (Reply(422, b"{}"), RecordRejected), (Reply(409, b"{}"), RecordRejected),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("reply", "expected"), REFUSALS, ids=["401", "403", "429", "422", "409"])
def test_a_refusal_is_a_typed_error_without_the_secret(
    server: Server, path: str, reply: Reply, expected: type[Exception]
) -> None:
    server.default(path, reply)
    with client(server, path) as one, pytest.raises(expected) as refused:
        one.subscribe(URL, ["OrderCreated"], SECRET)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("path", PATHS)
def test_a_lost_answer_is_an_unknown_outcome(server: Server, path: str) -> None:
    server.default(path, Reply(500))
    with client(server, path) as one, pytest.raises(OutcomeUnknown):
        one.subscribe(URL, ["OrderCreated"], SECRET)
    sent = [each for each in server.requests_to(path) if each.method == "POST"]
    assert len(sent) == (FAST.tries if path == TIMS else 1), "only TIMS has a key by which a repeat is known"
    assert len({each.headers.get("Idempotency-Key") for each in sent}) == 1


@pytest.mark.parametrize("path", PATHS)
def test_one_that_cannot_be_ended_now_is_tried_again(server: Server, path: str) -> None:
    of_one = "/v1/Webhooks(7)" if path == V1_SET else f"{path}/7"
    server.default(of_one, Reply(503))
    with client(server, path) as one, pytest.raises(Transient):
        one.unsubscribe("7")
    assert len(server.requests_to(of_one)) == FAST.tries
