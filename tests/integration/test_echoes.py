"""What Crossdock writes to a system comes back as an event, and makes no work: both systems, a receiver in a process of
its own, and Postgres."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from crossdock import flows
from crossdock.steps import events
from integration import builders
from integration.environment import Environment, found_environment
from integration.receivers import started, subscribe

pytestmark = pytest.mark.slow
RUN = "test-echoes"
OFFERS = ("prices", "catalog", "inventory")
POLLED = tuple(name for name, flow in flows.all_flows().items() if flow.source.system in ("channel_advisor", "tims"))


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A shop with two goods that are offered, whose systems send their events."""
    goods = frozenset((builders.ITEM, builders.OTHER))
    with found_environment(postgres_url, "m_echoes", tmp_path_factory.mktemp("echoes"), goods) as made:
        made.part = 10**9
        made.tick("2011-01-05")
        for name in (*OFFERS, *POLLED):
            made.sync(flow=name)
        with started(made.database_url) as receiver:
            subscribe(made.channel_advisor, made.tims_control, receiver.url)
            yield made


def requested(shop: Environment) -> Counter[str]:
    """What both servers were asked for, but for tokens."""
    found: Counter[str] = Counter()
    for control in (shop.channel_advisor, shop.tims_control):
        found.update({f"{control.system} {what}": n for what, n in control.call("GET", "requests").items()})
    return Counter({what: count for what, count in found.items() if "token" not in what})


def writes(shop: Environment) -> Counter[str]:
    return Counter({what: count for what, count in requested(shop).items() if " GET " not in what})


def under_way(shop: Environment) -> int:
    """Events that are on their way, or wait for the worker."""
    sent = sum(control.call("GET", "webhooks")["waiting"] for control in (shop.channel_advisor, shop.tims_control))
    return sent + shop.query("SELECT count(*) AS n FROM ops.webhook_event WHERE worked_at IS NULL")[0].n


def work(shop: Environment) -> Counter[str]:
    """Works events until no more come: what was delivered, by flow. A game without an end fails."""
    delivered: Counter[str] = Counter()
    end = time.monotonic() + 60
    while under_way(shop):
        assert time.monotonic() < end, "events make events without an end"
        done = events.Worked()
        with shop.runtime() as runtime:
            events.work(runtime, flows.all_flows(), done, seconds=0.0, run_id=RUN)
        delivered.update({name: counts.delivered for name, counts in done.counts.items() if counts.delivered})
    return delivered


def poll(shop: Environment) -> Counter[str]:
    """A run of each flow, as the schedule has them."""
    builders.forward(shop, shop.now + timedelta(minutes=10))
    counted = {name: shop.sync(flow=name).delivered for name in POLLED}
    return Counter({name: count for name, count in counted.items() if count})


def give_back(shop: Environment, key: str) -> None:
    (sold,) = [each for each in shop.channel_advisor.documents("order") if str(each["ChannelAdvisorOrderID"]) == key]
    (item,) = sold["OrderItems"]
    back = {"OrderItemID": item["OrderItemID"], "SKU": item["SKU"], "Quantity": 1, "RefundAmount": Decimal("10.00"),
            "TaxRefund": Decimal(0), "ShippingRefund": Decimal(0), "Restock": True,
            "Condition": "Sellable"}  # fmt: skip
    builders.send(shop, "channel_advisor", "return", {
        "ReturnID": int(key) + 1, "ChannelAdvisorOrderID": int(key), "Status": "Received", "Currency": "GBP",
        "Reason": "CustomerReturnedItem", "Items": [back]}, dirty=True)  # fmt: skip


BY_KEY = {
    "orders": "channel_advisor GET /v2/orders/{ChannelAdvisorOrderID}",
    "returns": "channel_advisor GET /v2/returns/{ReturnID}",
    "holds": "tims GET /api/v1/sales-orders/{id}",
    "shipments": "tims GET /api/v1/shipments/{id}",
    "inventory": "tims GET /api/v1/inventory/items/{sku}/quantity",
}


def test_from_the_order_to_the_return_no_write_comes_back_as_work(shop: Environment) -> None:
    """Of each thing that happens there is one document, and one quantity for what TIMS then has. All else that the
    systems send is what Crossdock has written itself: it is read once, and nothing follows from it."""
    begun, seen = requested(shop), writes(shop)

    def written() -> dict[str, int]:
        """By whom, since the last call; not by the warehouse."""
        nonlocal seen
        before, seen = seen, writes(shop)
        new = seen - before
        return {what.replace("/api/v1", ""): count for what, count in new.items() if not what.endswith("/shipments")}

    key = builders.place(shop, builders.line(quantity=3))
    assert work(shop) == {"orders": 1, "inventory": 1}
    assert written() == {
        "tims POST /bulk": 2, "channel_advisor POST /v2/orders/{ChannelAdvisorOrderID}/exported": 1,
        "channel_advisor PUT /v2/orders/{ChannelAdvisorOrderID}": 1, "channel_advisor PUT /v2/inventory": 1,
    }  # fmt: skip
    builders.ship(shop, key, {1: 3})
    assert work(shop) == {"shipments": 1, "inventory": 1}
    assert written() == {"channel_advisor POST /v2/shipping": 1, "channel_advisor PUT /v2/inventory": 1}
    assert (poll(shop), work(shop)) == ({"invoices": 1, "ledger_invoices": 1}, {})
    assert written() == {"tims POST /bulk": 2}
    give_back(shop, key)
    assert work(shop) == {"returns": 1, "inventory": 1}
    assert written() == {
        "tims POST /bulk": 2, "channel_advisor POST /v2/returns/{ReturnID}/resolve": 2,
        "channel_advisor PUT /v2/inventory": 1,
    }  # fmt: skip
    assert (poll(shop), work(shop)) == ({"ledger_credit_memos": 1, "ledger_adjustments": 1}, {})
    written()
    for _ in range(2):
        assert (poll(shop), work(shop), written()) == ({}, {}, {})
    received = "SELECT flow, count(*) AS n FROM ops.webhook_event GROUP BY flow"
    for flow, count in {row.flow: row.n for row in shop.query(received)}.items():
        assert 1 <= (requested(shop) - begun)[BY_KEY[flow]] <= count, flow
    assert shop.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []
    assert shop.query("SELECT 1 FROM ops.dead_letter") == []


def test_the_echoes_of_many_orders_are_read_together(shop: Environment) -> None:
    """Whatever number of orders TIMS takes at once, what it then sends of their goods is a read of each good."""
    before = requested(shop)
    for _ in range(12):
        builders.place(shop, builders.line(), builders.line(builders.OTHER))
    assert work(shop)["orders"] == 12
    read = requested(shop) - before
    assert read[BY_KEY["orders"]] <= 2 * 12  # placed, and its status
    assert read[BY_KEY["holds"]] <= 2 * 12
    assert read[BY_KEY["inventory"]] <= 2 * 2 + 2  # of two goods, in a pass or two
    assert read["channel_advisor PUT /v2/inventory"] <= 3
