"""Warehouse, buyers and marketplaces act on the real servers when the world goes on."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from contract.tims_calls import line
from contract.tims_calls import order as sales_order
from sandbox import processes, world
from sandbox.actors import returns
from sandbox.actors.actor_context import ActorContext
from sandbox.channel_advisor.returns import REFUNDS
from sandbox.control import Control, controls

pytestmark = pytest.mark.slow
WORLD = world.load()


def day(number: int) -> datetime:
    return datetime(2011, 1, number, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Control]]:
    """Both servers, seeded, in a run folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path_factory.mktemp("run")))
        patch.setenv("CROSSDOCK_CA_PORT", str(free_port()))
        patch.setenv("CROSSDOCK_TIMS_PORT", str(free_port()))
        processes.up()
        processes.seed()
        yield controls()
        processes.down()


def all_shipped(systems: dict[str, Control], now: datetime) -> None:
    """Everything that nobody will change any more has left, and the channel knows."""
    channel, context = systems["channel_advisor"], ActorContext(WORLD, systems, now, now, Path("nowhere"))
    open_orders = [
        order
        for order in channel.documents("order", status=["New"])
        if order["DistributionCenterTypeRollup"] == "SellerManaged"
        and order["OrderItems"]
        and (context.settled_at(order["ChannelAdvisorOrderID"]) or now) < now
    ]
    channel.apply(
        {"id": f"test:{each['ChannelAdvisorOrderID']}", "kind": "shipment", "dirty": True,
         "document": {"ChannelAdvisorOrderID": each["ChannelAdvisorOrderID"]}}
        for each in open_orders
    )  # fmt: skip


def test_the_warehouse_ships_what_tims_holds_once(systems: dict[str, Control]) -> None:
    tims = systems["tims"]
    processes.tick(day(5))
    token = requests.post(
        f"{tims.url}/oauth2/token", data={"grant_type": "client_credentials"},
        auth=("crossdock-sandbox", "sandbox-secret"), timeout=10,
    ).json()["access_token"]  # fmt: skip
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {token}"
    sku = WORLD.catalogue.items[0]["SKU"]
    customer = next(WORLD.customers())["CustomerID"]
    for n in range(8):
        goods = line(sku=sku, DiscountAmount="10.00", TaxAmount="6.75", TaxRemittedBy="Marketplace")
        body = sales_order(ExternalOrderID=f"77{n}", CustomerID=customer, LineItems=[goods])
        answer = http.post(
            f"{tims.url}/api/v1/sales-orders", json=body, headers={"Idempotency-Key": f"order-{n}"}, timeout=10
        )
        assert answer.status_code == 201, answer.text
    facts = processes.tick(day(10))
    shipments = tims.documents("shipment")
    assert facts["done"]["parcels"] == len(shipments) >= 8
    assert {each["Source"] for each in shipments} == {"warehouse"}
    assert Counter(order["OrderStatus"] for order in tims.documents("order")) == {"Fulfilled": 8}
    assert "parcels" not in processes.tick(day(11))["done"]


def test_cancellations_of_the_data_become_returns_of_what_was_sold(systems: dict[str, Control]) -> None:
    channel = systems["channel_advisor"]
    all_shipped(systems, day(11))
    done = Counter[str]()
    for number in range(12, 15):
        done.update(processes.tick(day(number))["done"])
    found = channel.documents("return")
    assert done["returns"] > 20
    assert done["returns received or decided"] > 3
    orders = {order["ChannelAdvisorOrderID"]: order for order in channel.documents("order")}
    shipped_ones = [each for each in found if each["ChannelAdvisorOrderID"] in orders]
    units: Counter[int] = Counter()
    money: Counter[int] = Counter()
    for each in shipped_ones:
        for item in each["Items"]:
            units[item["OrderItemID"]] += item["Quantity"]
        money[each["ChannelAdvisorOrderID"]] += each["RefundTotal"]
        assert each["RefundTotal"] == sum(item[name] for item in each["Items"] for name in REFUNDS)
    of_lines = {item["OrderItemID"]: item for order in orders.values() for item in order["OrderItems"]}
    assert all(taken <= of_lines[key]["Quantity"] for key, taken in units.items())
    assert all(given <= orders[key]["TotalPrice"] for key, given in money.items())
    assert len({each["RmaNumber"] for each in found}) == len(found)
    statuses = Counter(each["Status"] for each in found)
    assert {"NewRma", "Received", "Refunded"} <= set(statuses)
    assert all((each["RefundDate"] is not None) == (each["Status"] == "Refunded") for each in found)
    kinds = Counter(
        ("units" if any(i["Quantity"] for i in each["Items"]) else "", bool(each["RefundTotal"])) for each in found
    )
    assert min(kinds[("", True)], kinds[("units", False)]) > 0
    assert kinds[("units", True)] > len(found) / 2


def test_what_could_not_be_used_is_counted_by_cause(systems: dict[str, Control]) -> None:
    context = ActorContext(WORLD, systems, day(1), day(14), Path("nowhere"))
    causes = returns.unusable(context)
    lines = sum(len(invoice.lines) for invoice in WORLD.returns() if invoice.at <= day(14))
    assert 0 < sum(causes.values()) < lines
    assert len(causes) == 3


def test_files_of_the_stock_and_the_marketplaces_lie_in_the_inbox(systems: dict[str, Control]) -> None:
    folders = {str(path.parent.relative_to(processes.inbox())) for path in processes.inbox().rglob("*.*")}
    assert {"stock/warehouse", "stock/amazon_uk"} <= folders
    assert all(each.startswith(("stock/", "settlements/")) for each in folders)
    assert not list(processes.inbox().rglob("*.part"))
