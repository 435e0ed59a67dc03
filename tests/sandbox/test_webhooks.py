"""Both sandbox systems send events as their contracts say: who is told of what, how it is signed, what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from contract import channel_advisor_calls as shop_calls
from contract import tims_calls
from contract.channel_advisor_calls import SECOND_CLIENT, event, sold
from contract.misbehaving import Reply, Request, Server
from sandbox.kernel import contract
from sandbox.kernel.webhooks import signature
from sandbox.tims.server import Tims

HOOK = "/hook"
SECRET = "a-signing-secret-that-is-long-enough"
ORDER_EVENTS = ["OrderCreated", "OrderUpdated", "OrderPaymentCleared", "OrderCancelled"]
RETURN_EVENTS = ["ReturnCreated", "ReturnUpdated"]
VECTORS = {
    "channel_advisor": (
        "sandbox-signing-secret-01",
        "1741944418",
        '{"EventID":"evt_01JPA6Q4","EventType":"OrderPaymentCleared","ProfileID":12345678,"ResourceID":"19918546",'
        '"ResourceURL":"http://localhost:8601/v2/orders/19918546","OccurredAt":"2025-03-14T09:26:53.5893215Z"}',
        "sha256=fcffe832ba4e3182fb5ffa5158ce13ce7d364402be7eeaea6295dfb4f7e7a52a",
    ),
    "tims": (
        "example-secret-of-at-least-32-characters",
        "1775011206",
        '{"EventID":"EV-880017","EventType":"shipment.created","ResourceURL":"https://tims.example.com/api/v1/shipments/'
        'SH-70012","ResourceID":"SH-70012","ModifiedAt":"2026-04-01T02:40:05Z"}',
        "sha256=09dcf643b1988eeae7b7d71d264f95ed9c626a3c9511bea91b83f746156f33bb",
    ),
}


class Subscriber:
    """Whoever is told: remembers each delivery, and answers as a test wants."""

    def __init__(self) -> None:
        self.server = Server()
        self.server.default(HOOK, Reply(202))
        self.url = self.server.url + HOOK

    def received(self) -> list[dict[str, Any]]:
        """The bodies that could be read, in the order in which they came."""
        return [json.loads(each.body) for each in self.server.requests_to(HOOK) if each.body.endswith(b"}")]

    def wait(self, count: int, seconds: float = 10.0) -> list[Request]:
        """The deliveries, once there are so many."""
        until(lambda: len(self.server.requests_to(HOOK)) >= count, seconds)
        return self.server.requests_to(HOOK)

    def types(self) -> Counter[str]:
        return Counter(each["EventType"] for each in self.received())


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    made = Subscriber()
    yield made
    made.server.close()


@pytest.fixture(scope="module")
def shop_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with shop_calls.running(tmp_path_factory.mktemp("shop"), per_minute=1_000_000) as url:
        yield url


@pytest.fixture
def shop(shop_base: str) -> shop_calls.Caller:
    requests.post(f"{shop_base}/_sandbox/reset", timeout=10)
    caller = shop_calls.Caller(shop_base)
    caller.control("PUT", "webhooks", {"first_pause_seconds": 60.0, "anywhere": False})
    caller.apply(*shop_calls.SITES, *shop_calls.PRODUCTS)
    return caller


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Tims]]:
    with tims_calls.running(tmp_path_factory.mktemp("tims"), per_minute=1_000_000) as both:
        yield both


@pytest.fixture
def tims(served: tuple[str, Tims]) -> tims_calls.Caller:
    requests.post(f"{served[0]}/_sandbox/reset", timeout=10)
    caller = tims_calls.Caller(served[0])
    caller.clock(tims_calls.NOW)
    caller.apply(tims_calls.item("LAMP"), tims_calls.on_hand("LAMP", MAIN=10))
    return caller


def subscribe(shop: shop_calls.Caller, url: str, *types: str, secret: str = SECRET) -> dict[str, Any]:
    sent = {"Url": url, "Events": list(types) or ORDER_EVENTS + RETURN_EVENTS, "SigningSecret": secret}
    answer = shop.call("POST", "/v2/webhooks", json=sent)
    assert answer.status_code == 201, answer.text
    return answer.json()


def subscribe_tims(tims: tims_calls.Caller, url: str, *types: str) -> dict[str, Any]:
    every = ["inventory.changed", "shipment.created", "salesorder.updated", "item.updated", "invoice.posted"]
    sent = {"TargetURL": url, "EventTypes": list(types) or [*every, "payment.posted"], "Secret": SECRET}
    return tims.made("/webhooks/subscriptions", sent)


def change(number: int, **fields: Any) -> dict[str, Any]:
    return event("order_change", {"ChannelAdvisorOrderID": number, "changes": fields})


# ---- subscriptions ----
class TestSubscriptionsOfChannelAdvisor:
    def test_one_is_made_listed_read_and_ended(self, shop: shop_calls.Caller, subscriber: Subscriber) -> None:
        made = subscribe(shop, subscriber.url, "OrderCreated")
        assert (made["Status"], made["Events"], "SigningSecret" in made) == ("Enabled", ["OrderCreated"], False)
        assert shop.get(f"/v2/webhooks/{made['WebhookID']}") == made
        assert [each for page in shop.pages("/v2/webhooks") for each in page["value"]] == [made]
        assert shop.call("DELETE", f"/v2/webhooks/{made['WebhookID']}").status_code == 204
        gone = shop.call("GET", f"/v2/webhooks/{made['WebhookID']}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "UnknownWebhook")

    def test_a_url_is_subscribed_once_for_an_application(self, shop: shop_calls.Caller, subscriber: Subscriber) -> None:
        first = subscribe(shop, subscriber.url)
        sent = {"Url": subscriber.url, "Events": ["OrderCreated"], "SigningSecret": SECRET}
        again = shop.call("POST", "/v2/webhooks", json=sent)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "DuplicateWebhook")
        assert again.json()["error"]["details"] == {"ExistingID": first["WebhookID"]}
        other = shop_calls.Caller(shop.base, "sandbox-refresh-second", SECOND_CLIENT)
        subscribe(other, subscriber.url)
        assert [each["value"] for each in shop.pages("/v2/webhooks")] == [[first]]
        assert other.call("GET", f"/v2/webhooks/{first['WebhookID']}").status_code == 404
        shop.call("DELETE", f"/v2/webhooks/{first['WebhookID']}")
        subscribe(shop, subscriber.url)

    @pytest.mark.parametrize("url", ["http://example.com/x", "ftp://127.0.0.1/x", "http:///x", "http://[::x]/"])
    def test_a_url_that_nothing_may_be_sent_to_is_refused(self, shop: shop_calls.Caller, url: str) -> None:
        sent = {"Url": url, "Events": ["OrderCreated"], "SigningSecret": SECRET}
        answer = shop.call("POST", "/v2/webhooks", json=sent)
        assert answer.status_code in (400, 422), answer.text

    def test_only_the_events_of_the_contract_can_be_wanted_and_a_secret_is_needed(
        self, shop: shop_calls.Caller, subscriber: Subscriber
    ) -> None:
        for wrong in ({"Events": ["ProductCreated"]}, {"Events": []}, {"SigningSecret": "short"}):
            sent = {"Url": subscriber.url, "Events": ["OrderCreated"], "SigningSecret": SECRET} | wrong
            assert shop.call("POST", "/v2/webhooks", json=sent).status_code == 400


class TestSubscriptionsOfTims:
    def test_one_is_made_listed_read_and_ended(self, tims: tims_calls.Caller, subscriber: Subscriber) -> None:
        made = subscribe_tims(tims, subscriber.url, "item.updated")
        assert (made["SubscriptionID"], made["RowVersion"], "Secret" in made) == ("WH-1", 1, False)
        assert tims.get("/webhooks/subscriptions/WH-1") == made
        assert tims.get("/webhooks/subscriptions")["Items"] == [made]
        assert tims.call("DELETE", "/webhooks/subscriptions/WH-1").status_code == 204
        assert tims.call("GET", "/webhooks/subscriptions/WH-1").status_code == 404

    def test_the_same_address_may_be_wanted_twice_so_that_a_secret_is_changed_without_a_gap(
        self, tims: tims_calls.Caller, subscriber: Subscriber
    ) -> None:
        subscribe_tims(tims, subscriber.url, "item.updated")
        subscribe_tims(tims, subscriber.url, "item.updated")
        tims.apply(tims_calls.item("LAMP", Title="Another"))
        assert len({each["EventID"] for each in (json.loads(one.body) for one in subscriber.wait(2))}) == 1

    def test_it_needs_the_scope_and_an_address(self, tims: tims_calls.Caller) -> None:
        reading = tims_calls.Caller(tims.base, "webhooks.read")
        sent = {"TargetURL": "http://127.0.0.1:9/x", "EventTypes": ["item.updated"], "Secret": SECRET}
        assert reading.post("/webhooks/subscriptions", sent).json()["code"] == "INSUFFICIENT_SCOPE"
        reading.get("/webhooks/subscriptions")
        refused = tims.post("/webhooks/subscriptions", sent | {"TargetURL": "ftp://127.0.0.1/x"})
        assert tims_calls.errors(refused) == {("/TargetURL", "INVALID_VALUE")}
        refused = tims.post("/webhooks/subscriptions", sent | {"EventTypes": ["item.deleted"], "Secret": "short"})
        assert refused.status_code == 422


# ---- what is sent ----
@pytest.mark.parametrize("system", sorted(VECTORS))
def test_the_signature_is_that_of_the_contracts_example(system: str) -> None:
    secret, timestamp, body, expected = VECTORS[system]
    assert signature(secret, timestamp, body.encode()) == expected
    text = (contract.FOLDER / f"{system}.yaml").read_text()
    assert all(part in text for part in (secret, timestamp, body, expected))


def test_each_change_of_an_order_raises_its_most_specific_event(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    unpaid = sold(1, OrderStatus="Pending", PaymentStatus="NotYetSubmitted")
    shop.apply(event("order", unpaid))
    shop.apply(change(1, PaymentStatus="Cleared", OrderStatus="New"))
    shop.apply(change(1, Flag="ExclamationPoint"))
    assert shop.call("POST", "/v2/orders/1/exported").status_code == 204
    answer = shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"})
    assert answer.status_code == 200
    subscriber.wait(4)
    time.sleep(0.3)  # for one too many
    assert subscriber.types() == Counter(ORDER_EVENTS)
    for each in subscriber.received():
        assert (each["ResourceID"], each["ResourceURL"]) == ("1", f"{shop.base}/v2/orders/1")
        assert shop.send("GET", each["ResourceURL"]).status_code == 200
        assert contract.load("channel_advisor").findings("WebhookEvent", each, closed=True) == []


def test_a_delivery_is_signed_over_its_raw_body_and_names_its_event(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    shop.apply(event("order", sold(1)))
    (delivery,) = subscriber.wait(1)
    sent = json.loads(delivery.body)
    assert delivery.headers["x-ca-event-id"] == sent["EventID"]
    assert delivery.headers["x-ca-event-type"] == sent["EventType"] == "OrderCreated"
    assert abs(int(delivery.headers["x-ca-timestamp"]) - time.time()) < 5
    expected = signature(SECRET, delivery.headers["x-ca-timestamp"], delivery.body)
    assert delivery.headers["x-ca-signature"] == expected


def test_returns_raise_events_and_products_none(shop: shop_calls.Caller, subscriber: Subscriber) -> None:
    shipped = shop_calls.line(101, QuantityShipped=2)
    shop.apply(event("order", sold(1, shipped, OrderStatus="Shipped")))
    subscribe(shop, subscriber.url)
    shop.apply(event("return", {"ReturnID": 7, "ChannelAdvisorOrderID": 1,
                                "Items": [{"OrderItemID": 101, "Quantity": 1}]}))  # fmt: skip
    assert shop.call("POST", "/v2/returns/7/resolve", json={"Decision": "Approve"}).status_code == 200
    shop.apply(event("product", {"SKU": "22423", "Title": "Another title"}))
    subscriber.wait(3)
    assert subscriber.types() == Counter(ReturnCreated=1, ReturnUpdated=1, OrderUpdated=1)


def test_an_event_of_another_profile_or_one_that_is_not_wanted_is_not_sent(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url, "OrderCreated")
    shop.apply(event("order", sold(1, ProfileID=12345679, Currency="USD")), event("order", sold(2)))
    shop.apply(change(2, Flag="ExclamationPoint"))
    subscriber.wait(1)
    time.sleep(0.3)
    assert [each["ResourceID"] for each in subscriber.received()] == ["2"]


def test_several_changes_in_one_transaction_are_one_event(shop: shop_calls.Caller, subscriber: Subscriber) -> None:
    subscribe(shop, subscriber.url)
    shop.apply(event("order", sold(1)), change(1, Flag="ExclamationPoint"))
    subscriber.wait(1)
    time.sleep(0.2)
    assert subscriber.types() == Counter(OrderCreated=1)


def test_each_kind_of_tims_raises_its_event(tims: tims_calls.Caller, subscriber: Subscriber) -> None:
    made = subscribe_tims(tims, subscriber.url)
    shipment = tims.shipped()
    bill = tims.made("/ar/invoices", tims_calls.invoice(shipment))
    paid = tims.made("/ar/payments", tims_calls.payment("98.00", ("InvoiceID", bill["InvoiceID"], "98.00")))
    tims.apply(tims_calls.item("LAMP", Title="Another"))
    until(lambda: tims.control("GET", "webhooks")["waiting"] == 0)
    found = {(each["EventType"], each["ResourceID"]) for each in subscriber.received()}
    assert found == {
        ("salesorder.updated", shipment["SalesOrderID"]), ("shipment.created", shipment["ShipmentID"]),
        ("inventory.changed", "LAMP"), ("invoice.posted", bill["InvoiceID"]), ("payment.posted", paid["PaymentID"]),
        ("item.updated", "LAMP"),
    }  # fmt: skip
    assert subscriber.types()["invoice.posted"] == 2  # posted, then paid
    for delivery in subscriber.server.requests_to(HOOK):
        sent, stamp = json.loads(delivery.body), delivery.headers["x-tims-timestamp"]
        assert delivery.headers["x-tims-signature"] == signature(SECRET, stamp, delivery.body)
        assert contract.load("tims").findings("Event", sent, closed=True) == []
        assert tims.send("GET", sent["ResourceURL"].removeprefix(tims.base)).status_code == 200
    assert tims.call("DELETE", f"/webhooks/subscriptions/{made['SubscriptionID']}").status_code == 204


def test_an_item_that_only_loses_stock_is_not_updated(tims: tims_calls.Caller, subscriber: Subscriber) -> None:
    subscribe_tims(tims, subscriber.url, "item.updated", "inventory.changed")
    tims.apply(tims_calls.on_hand("LAMP", MAIN=4))
    tims.apply(tims_calls.on_hand("LAMP", MAIN=4))  # no figure changes
    subscriber.wait(1)
    time.sleep(0.3)
    assert subscriber.types() == Counter({"inventory.changed": 1})


def test_events_of_a_bulk_come_too(tims: tims_calls.Caller, subscriber: Subscriber) -> None:
    subscribe_tims(tims, subscriber.url, "salesorder.updated")
    buyer = tims.customer()
    tims.bulk(*[("/sales-orders", tims_calls.order(CustomerID=buyer)) for _ in range(3)])
    until(lambda: len({each["ResourceID"] for each in subscriber.received()}) == 3)


# ---- what is not taken ----
@pytest.mark.parametrize("answer", [Reply(500), Reply(302, headers={"Location": "/hook"}), Reply(410)])
def test_what_is_not_taken_comes_again_after_a_pause_under_its_id_and_with_a_signature_of_its_own(
    shop: shop_calls.Caller, subscriber: Subscriber, answer: Reply
) -> None:
    subscribe(shop, subscriber.url)
    subscriber.server.script(HOOK, answer, answer)
    shop.apply(event("order", sold(1)))
    subscriber.wait(1)
    until(lambda: shop.control("GET", "webhooks").get("failed") == 1)
    shop.control("PUT", "clock", {"advance": 55})
    time.sleep(0.2)
    assert len(subscriber.wait(1)) == 1
    shop.control("PUT", "clock", {"advance": 6})
    subscriber.wait(2)
    until(lambda: shop.control("GET", "webhooks").get("failed") == 2)
    time.sleep(1.0)  # for another second in the timestamp
    shop.control("PUT", "clock", {"advance": 115})
    time.sleep(0.2)
    assert len(subscriber.server.requests_to(HOOK)) == 2
    shop.control("PUT", "clock", {"advance": 6})
    deliveries = subscriber.wait(3)
    assert len({each.headers["x-ca-event-id"] for each in deliveries}) == 1
    assert deliveries[0].headers["x-ca-signature"] != deliveries[2].headers["x-ca-signature"]
    until(lambda: shop.control("GET", "webhooks")["waiting"] == 0)


def test_a_receiver_that_takes_longer_than_five_seconds_has_not_taken_it(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    subscriber.server.script(HOOK, Reply(202, wait=6))
    shop.apply(event("order", sold(1)))
    until(lambda: shop.control("GET", "webhooks").get("failed") == 1)


def test_after_a_day_of_failures_the_channel_gives_up_and_tims_drops_the_events(
    shop: shop_calls.Caller, tims: tims_calls.Caller, subscriber: Subscriber
) -> None:
    subscriber.server.default(HOOK, Reply(500))
    made = subscribe(shop, subscriber.url)
    subscribe_tims(tims, subscriber.url, "item.updated")
    shop.apply(event("order", sold(1)), event("order", sold(2)))
    tims.apply(tims_calls.item("LAMP", Title="Another"))
    subscriber.wait(3)
    for caller in (shop, tims):
        until(lambda caller=caller: caller.control("GET", "webhooks").get("failed", 0) > 0)
        caller.control("PUT", "clock", {"advance": 24 * 3600 + 1})
        caller.renew()
        until(lambda caller=caller: caller.control("GET", "webhooks")["waiting"] == 0)
    until(lambda: shop.get(f"/v2/webhooks/{made['WebhookID']}")["Status"] == "Suspended")
    assert tims.get("/webhooks/subscriptions")["Items"]
    subscriber.server.default(HOOK, Reply(202))
    before = len(subscriber.server.requests_to(HOOK))
    shop.apply(event("order", sold(3)))
    tims.apply(tims_calls.item("LAMP", Title="A third"))
    subscriber.wait(before + 1)
    time.sleep(0.3)
    assert len(subscriber.server.requests_to(HOOK)) == before + 1  # of TIMS, which goes on
    shop.call("DELETE", f"/v2/webhooks/{made['WebhookID']}")
    subscribe(shop, subscriber.url)
    shop.apply(event("order", sold(4)))
    subscriber.wait(before + 2)


def test_a_subscription_that_ends_takes_what_waits_with_it(shop: shop_calls.Caller, subscriber: Subscriber) -> None:
    subscriber.server.default(HOOK, Reply(500))
    made = subscribe(shop, subscriber.url)
    shop.apply(event("order", sold(1)))
    until(lambda: shop.control("GET", "webhooks").get("failed") == 1)
    shop.call("DELETE", f"/v2/webhooks/{made['WebhookID']}")
    assert shop.control("GET", "webhooks")["waiting"] == 0


def test_nothing_is_sent_to_another_machine_unless_the_control_allows_it(shop: shop_calls.Caller) -> None:
    subscribe(shop, "https://192.0.2.1/hook")
    shop.apply(event("order", sold(1)))
    until(lambda: shop.control("GET", "webhooks").get("failed") == 1, seconds=2)  # at once, for nothing was tried
    assert shop.control("PUT", "webhooks", {"anywhere": True})["anywhere"] is True
    answer = requests.put(f"{shop.base}/_sandbox/webhooks", json={"nowhere": 1}, timeout=10)
    assert (answer.status_code, "anywhere" in answer.json()["error"]) == (422, True)


# ---- what goes wrong on purpose ----
def test_the_fault_twice_sends_an_event_two_times_under_one_id(shop: shop_calls.Caller, subscriber: Subscriber) -> None:
    subscribe(shop, subscriber.url)
    shop.fault("event_twice", "Order*")
    shop.apply(event("order", sold(1)), event("order", sold(2)))
    subscriber.wait(3)
    counts = Counter(each["EventID"] for each in subscriber.received())
    assert sorted(counts.values()) == [1, 2]


def test_the_fault_forged_sends_an_event_that_nobody_signed_who_may(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    shop.fault("event_forged", "OrderCreated")
    shop.apply(event("order", sold(1)))
    found = [
        each.headers["x-ca-signature"] == signature(SECRET, each.headers["x-ca-timestamp"], each.body)
        for each in subscriber.wait(2)
    ]
    assert found == [False, True]


def test_the_fault_cut_sends_half_of_a_body_and_later_the_whole(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)

    def prove(request: Request) -> Reply:
        expected = signature(SECRET, request.headers["x-ca-timestamp"], request.body)
        return Reply(202 if expected == request.headers["x-ca-signature"] else 401)

    subscriber.server.default(HOOK, prove)
    shop.fault("event_cut", "OrderCreated")
    shop.apply(event("order", sold(1)))
    until(lambda: shop.control("GET", "webhooks").get("failed") == 1)
    assert subscriber.received() == []
    shop.control("PUT", "clock", {"advance": 61})
    until(lambda: shop.control("GET", "webhooks").get("taken") == 1)
    assert len(subscriber.received()) == 1


def test_the_fault_late_holds_an_event_back_for_an_hour(tims: tims_calls.Caller, subscriber: Subscriber) -> None:
    subscribe_tims(tims, subscriber.url, "item.updated")
    tims.fault("event_late", "item.*")
    tims.apply(tims_calls.item("LAMP", Title="Another"))
    time.sleep(0.3)
    assert subscriber.received() == []
    tims.advance(3601)
    (delivery,) = subscriber.wait(1)
    assert abs(int(delivery.headers["x-tims-timestamp"]) - time.time()) < 5  # late, and signed when it is sent


def test_the_fault_never_sends_nothing_and_the_next_event_comes(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    shop.fault("event_never", "OrderCreated")
    shop.apply(event("order", sold(1)))
    shop.apply(event("order", sold(2)))
    subscriber.wait(1)
    time.sleep(0.3)
    assert [each["ResourceID"] for each in subscriber.received()] == ["2"]
    assert shop.control("GET", "webhooks")["never"] == 1


def test_the_fault_shuffled_changes_the_order_in_which_events_come(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    shop.fault("event_shuffled", "*", times=None, seconds=1)
    for number in range(1, 13):
        shop.apply(event("order", sold(number)))
    subscriber.wait(12)
    came = [int(each["ResourceID"]) for each in subscriber.received()]
    assert sorted(came) == list(range(1, 13)) != came


def test_a_fault_of_requests_hits_no_event_and_one_of_events_no_request(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url)
    shop.control("POST", "faults", {"kind": "event_never", "path": "*"})
    assert shop.send("GET", "/v2/orders").status_code == 200
    shop.control("DELETE", "faults")
    shop.control("POST", "faults", {"kind": "error_before", "path": "*"})
    shop.apply(event("order", sold(1)))
    subscriber.wait(1)
    shop.control("DELETE", "faults")


# ---- the thread ----
def test_where_nobody_has_subscribed_no_thread_runs_and_nothing_is_stored(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with tims_calls.running(tmp_path, per_minute=1_000) as (base, _):
        caller = tims_calls.Caller(base)
        caller.apply(tims_calls.item("LAMP"), tims_calls.on_hand("LAMP", MAIN=10))
        assert "webhooks" not in {thread.name for thread in set(threading.enumerate()) - before}
        assert caller.control("GET", "webhooks")["waiting"] == 0


def test_what_waits_is_delivered_after_a_restart_and_ctrl_c_leaves_nothing(
    tmp_path: Path, subscriber: Subscriber
) -> None:
    def start() -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "sandbox.tims", "--port", "0", "--data", str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        return process, process.stdout.readline().split(" on ")[1].split(",")[0]

    subscriber.server.default(HOOK, Reply(503, wait=3))
    process, base = start()
    try:
        tims = tims_calls.Caller(base)
        tims.apply(tims_calls.item("LAMP"))
        subscribe_tims(tims, subscriber.url, "item.updated")
        tims.apply(*(tims_calls.item("LAMP", Title=f"Title {n}") for n in range(3)))
        subscriber.wait(1)
        process.send_signal(2)
        assert process.wait(8) == 0  # a delivery that is under way holds nobody up
        subscriber.server.default(HOOK, Reply(202))
        process, base = start()
        tims_calls.Caller(base).advance(61)
        until(lambda: len(subscriber.received()) >= 2)
    finally:
        process.send_signal(2)
        process.wait(8)


@pytest.mark.slow
def test_five_thousand_events_come_each_once_while_the_server_answers(
    shop: shop_calls.Caller, subscriber: Subscriber
) -> None:
    subscribe(shop, subscriber.url, "OrderCreated")
    for first in range(1, 5_001, 500):
        shop.apply(*(event("order", sold(number)) for number in range(first, first + 500)))
    slowest = 0.0
    while shop.control("GET", "webhooks")["waiting"]:
        start = time.monotonic()
        shop.get("/v2/orders", limit=1)
        slowest = max(slowest, time.monotonic() - start)
    assert Counter(each["ResourceID"] for each in subscriber.received()) == Counter(map(str, range(1, 5_001)))
    assert slowest < 2
