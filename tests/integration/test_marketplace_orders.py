"""Orders that a marketplace ships, whole or in part, on both systems over HTTP and a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.systems.inbox import Inbox
from crossdock.watch import freshness
from crossdock.watch.reconcile import reconcile
from integration.builders import ITEM, OTHER, at_the_channel, forward, line, place, sales_order, send, ship, units
from integration.bustle import ALL
from integration.environment import Environment, found_environment
from integration.test_order_to_cash import Market
from integration.test_restore import OFFERS, held, resync, wrong

MIXED = {"DistributionCenterTypeRollup": "Mixed"}

NOBODY: dict[str, Any] = {
    "SiteID": 640, "SiteName": "Amazon Seller Central - US", "DistributionCenterTypeRollup": "ExternallyManaged",
    "FulfillmentStatus": "ThirdPartyManaged", "UserDataPresent": False, "CustomerInfo": None, "BillingAddress": None,
    "ShippingAddress": {"Name": None, "Company": None, "Line1": None, "Line2": None, "City": "Albany", "Region": "NY",
                        "PostalCode": "12207", "Country": "US"},
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("environment")
    with found_environment(postgres_url, "marketplace_orders", folder, skus=ALL) as environment:
        forward(environment, environment.now + timedelta(days=1, hours=10))
        yield environment


@pytest.fixture(scope="module")
def market(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Market]:
    offers = config / "stock_offers.yaml"  # an order that TIMS has counts as held at once
    offers.write_text(offers.read_text().replace("margin_seconds: 60", "margin_seconds: 0"))
    with found_environment(postgres_url, "mixed", tmp_path_factory.mktemp("environment"), skus=ALL) as environment:
        environment.inbox = tmp_path_factory.mktemp("inbox")
        forward(environment, environment.now + timedelta(days=1, hours=10))
        yield Market(environment)


def dispatch(environment: Environment, key: str, units: dict[int, int], **more: Any) -> None:
    """The marketplace ships so many units by the number of the line."""
    items = [{"OrderItemID": int(key) * 100 + number, "Quantity": each} for number, each in units.items()]
    send(environment, "channel_advisor", "shipment", {"ChannelAdvisorOrderID": int(key), "Items": items, **more})


def in_tims(environment: Environment, key: str) -> list[dict[str, Any]]:
    """Its shipments in TIMS."""
    with environment.runtime() as runtime:
        return runtime.tims.find("shipments", SalesOrderID=[sales_order(environment, key)["SalesOrderID"]])


def test_orders_without_a_person_load_with_the_marketplaces_location_and_one_customer_of_the_site(shop: Environment):
    first, second = place(shop, line(quantity=2), **NOBODY), place(shop, line(OTHER), **NOBODY)
    for key, number in ((first, 2), (second, 1)):
        dispatch(shop, key, {1: number})
    shop.sync()
    assert not {first, second} & shop.letters().keys()
    orders = [sales_order(shop, key) for key in (first, second)]
    assert len({order["CustomerID"] for order in orders}) == 1
    address = orders[0]["ShippingAddress"]
    assert (address["Name"], address["City"], address["CountryCode"]) == ("Buyer of Amazon US", "Albany", "US")
    (parcel,) = in_tims(shop, first)
    assert (parcel["LocationID"], parcel["Source"]) == ("MARKETPLACE", "ChannelAdvisor")
    assert [each["Quantity"] for each in parcel["Lines"]] == [2]
    with shop.runtime() as runtime:
        customer, _ = runtime.tims.read(f"/customers/{orders[0]['CustomerID']}")
    assert (customer["Name"], customer["Email"], customer["ShippingAddresses"]) == ("Buyers of Amazon US", None, [])
    # A later version, a third order, a second look: nothing twice, and nothing of a buyer on who is nobody.
    third = place(shop, line(), **NOBODY | {"CustomerInfo": {"Phone": "+1 212 555 0199", "Email": None}})
    send(shop, "channel_advisor", "order_change", {"ChannelAdvisorOrderID": int(first), "changes": {"Flag": "RedFlag"}})
    shop.sync()
    counts = shop.sync(kind="key", keys=[first, second, third])
    assert (counts.read, counts.unchanged) == (3, 3)
    assert sales_order(shop, third)["CustomerID"] == customer["CustomerID"]
    assert len(in_tims(shop, first)) == 1
    with shop.runtime() as runtime:
        assert runtime.tims.read(f"/customers/{customer['CustomerID']}")[0] == customer
    shop.sync(flow="shipments")
    assert len(at_the_channel(shop, first)) == 1


def lines_in_tims(environment: Environment, key: str) -> list[tuple[int, int]]:
    """Units shipped and open of each line."""
    return [
        (each["QuantityShipped"], each["Quantity"] - each["QuantityShipped"] - each["QuantityCancelled"])
        for each in sales_order(environment, key)["LineItems"]
    ]


@pytest.mark.parametrize("before", [True, False], ids=["shipped before its first read", "shipped later"])
def test_of_a_mixed_order_each_side_ships_its_own_lines_once(shop: Environment, before: bool):
    key = place(shop, line(quantity=2), line(OTHER, 3), **MIXED)
    if not before:
        shop.sync()
        assert sales_order(shop, key)["OrderStatus"] == "OnHold", "nobody knows yet whose lines are whose"
    dispatch(shop, key, {1: 2})
    shop.sync()
    assert lines_in_tims(shop, key) == [(2, 0), (0, 3)]
    (theirs,) = in_tims(shop, key)
    assert (theirs["LocationID"], theirs["Source"]) == ("MARKETPLACE", "ChannelAdvisor")
    shop.sync(flow="shipments")
    assert units(at_the_channel(shop, key)) == [{ITEM: 2}], "theirs is never told them"
    ship(shop, key, {2: 1})
    shop.sync(flow="shipments")
    shop.sync()
    ship(shop, key, {2: 2})
    shop.sync(flow="shipments")
    for _ in range(2):
        shop.sync(kind="key", keys=[key])
        shop.sync(flow="shipments")
    assert lines_in_tims(shop, key) == [(2, 0), (3, 0)]
    assert len(in_tims(shop, key)) == 3
    assert sorted(units(at_the_channel(shop, key)), key=str) == [{ITEM: 2}, {OTHER: 1}, {OTHER: 2}]
    shop.sync(flow="invoices")
    assert sum(each["QuantityInvoiced"] for each in sales_order(shop, key)["LineItems"]) == 5
    shop.sync(flow="invoices")
    assert sum(each["QuantityInvoiced"] for each in sales_order(shop, key)["LineItems"]) == 5
    assert key not in shop.letters()


def test_a_line_of_the_marketplace_that_is_cancelled_in_part_is_cancelled_in_tims(shop: Environment):
    key = place(shop, line(quantity=3), line(OTHER, 1), **MIXED)
    dispatch(shop, key, {1: 2})
    shop.sync()
    cancelled = {"OrderItems": [{"OrderItemID": int(key) * 100 + 1, "QuantityCancelled": 1}]}
    send(shop, "channel_advisor", "order_change", {"ChannelAdvisorOrderID": int(key), "changes": cancelled})
    shop.sync()
    assert lines_in_tims(shop, key) == [(2, 0), (0, 1)]
    assert key not in shop.letters()


def test_the_rest_of_a_line_that_the_marketplace_ships_in_parts_is_never_open_for_our_warehouse(shop: Environment):
    key = place(shop, line(quantity=3), line(OTHER, 2), **MIXED)
    dispatch(shop, key, {1: 1})
    shop.sync()
    assert lines_in_tims(shop, key) == [(1, 2), (0, 2)]
    assert sales_order(shop, key)["OrderStatus"] == "OnHold", "2 units of the first line are the marketplace's"
    # A person does not wait: ours leaves, and what is open is held again as soon as the channel has heard of it.
    with shop.runtime() as runtime:
        number = sales_order(shop, key)["SalesOrderID"]
        assert runtime.tims.post(f"/sales-orders/{number}/release", {}, key=f"by-hand-{key}").status == 200
    ship(shop, key, {2: 1})
    shop.sync(flow="shipments")
    shop.sync()
    assert (lines_in_tims(shop, key), sales_order(shop, key)["OrderStatus"]) == ([(1, 2), (1, 1)], "OnHold")
    dispatch(shop, key, {1: 2})
    shop.sync()
    assert lines_in_tims(shop, key) == [(3, 0), (1, 1)]
    assert sales_order(shop, key)["OrderStatus"] == "PartiallyFulfilled"
    ship(shop, key, {2: 1})
    shop.sync(flow="shipments")
    shop.sync()
    assert lines_in_tims(shop, key) == [(3, 0), (2, 0)]
    assert sorted((one["LocationID"], len(one["Lines"])) for one in in_tims(shop, key)) == [
        ("MAIN", 1), ("MAIN", 1), ("MARKETPLACE", 1), ("MARKETPLACE", 1),
    ]  # fmt: skip
    assert len(at_the_channel(shop, key)) == 4
    assert key not in shop.letters()


def test_our_part_of_a_mixed_order_that_is_not_paid_stays_on_hold_whatever_the_marketplace_has_shipped(
    shop: Environment,
):
    key = place(shop, line(), line(OTHER), PaymentStatus="Submitted", **MIXED)
    at_once = place(shop, line(), line(OTHER), PaymentStatus="Submitted", **MIXED)
    dispatch(shop, at_once, {1: 1})
    shop.sync()
    dispatch(shop, key, {1: 1})
    shop.sync()
    for one in (key, at_once):
        assert (lines_in_tims(shop, one), sales_order(shop, one)["OrderStatus"]) == ([(1, 0), (0, 1)], "OnHold")
    paid = {"PaymentStatus": "Cleared"}
    for one in (key, at_once):
        send(shop, "channel_advisor", "order_change", {"ChannelAdvisorOrderID": int(one), "changes": paid})
    shop.sync()
    for one in (key, at_once):
        assert sales_order(shop, one)["OrderStatus"] == "PartiallyFulfilled"
        assert one not in shop.letters()


def test_a_parcel_that_we_have_told_of_is_ours_also_where_tims_has_lost_it(shop: Environment):
    key = place(shop, line(quantity=1), line(OTHER, 1), **MIXED)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.text(
                'INSERT INTO stage.channel_shipment (key, batch_id, version, state, "ChannelAdvisorOrderID", '
                "\"SellerFulfillmentID\") VALUES (:key, 0, now(), 'delivered', :order, '7099123')"
            ),
            {"key": f"SH-{key}", "order": int(key)},
        )
    dispatch(shop, key, {2: 1}, SellerFulfillmentID="7099123")
    shop.sync()
    assert [one["LocationID"] for one in in_tims(shop, key)] == ["MAIN"]
    assert (lines_in_tims(shop, key), sales_order(shop, key)["OrderStatus"]) == ([(0, 1), (1, 0)], "OnHold")
    dispatch(shop, key, {1: 1})
    shop.sync()
    assert sorted(one["LocationID"] for one in in_tims(shop, key)) == ["MAIN", "MARKETPLACE"]
    assert lines_in_tims(shop, key) == [(1, 0), (1, 0)]
    assert key not in shop.letters()


def test_somebody_is_told_of_a_mixed_order_that_waits_for_long(shop: Environment):
    key = place(shop, line(), line(OTHER), **MIXED)
    shop.sync()

    def waiting() -> str:
        with shop.runtime() as runtime:
            found = freshness.watch(runtime.engine, flows.all_flows(), Inbox(Path("nowhere")))
        return " ".join(one.body for one in found if one.kind == "mixed_order_held")

    assert key not in waiting()
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ops.link SET created_at = now() - interval '25 hours' WHERE source_key = :key"),
            {"key": key},
        )
    assert key in waiting()
    assert "Release the order in TIMS" in waiting()
    dispatch(shop, key, {1: 1})
    shop.sync()
    assert key not in waiting()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_way_of_a_mixed_order_comes_out_right_and_nothing_new_comes_of_a_second_look(market: Market):
    environment = market.environment
    reported = [
        line(ITEM, 2, "10.0000", TaxAmount="4.00", ShippingAmount="3.00"),
        line(OTHER, 3, "5.0000", TaxAmount="3"),
    ]
    key = place(environment, *reported, **MIXED)
    market.orders[key] = [{**each, "OrderItemID": int(key) * 100 + n} for n, each in enumerate(reported, 1)]
    market.run("orders")
    with environment.runtime() as runtime:
        assert reconcile(runtime, ["orders"]).unexplained == 0, "held, and that is right"
    dispatch(environment, key, {1: 2})
    market.rest()
    market.send(key, 3)
    market.rest()
    theirs, ours = sorted(in_tims(environment, key), key=lambda one: one["Lines"][0]["SalesOrderLineNo"])
    assert (theirs["LocationID"], ours["LocationID"]) == ("MARKETPLACE", "MAIN")
    worth = {one["ShipmentID"]: one["Total"] for one in environment.in_tims("ar/invoices")}
    assert worth == {theirs["ShipmentID"]: "25.71", ours["ShipmentID"]: "19.29"}, "postage goes by value"
    for number in (0, 1):
        market.give_back(key, number, 1, "whole")
        market.rest()
    back = {one["SKU"]: one["LocationID"] for one in environment.in_tims("inventory/adjustments")}
    assert back == {ITEM: "MARKETPLACE", OTHER: "MAIN"}
    market.pay_out(0, 45)
    market.rest()
    for flow in OFFERS:
        market.run(flow)
    assert wrong(market) == []
    before = held(market)
    assert [sorted(each) for each in units(at_the_channel(environment, key))] == [[ITEM], [OTHER]]
    resync(market)
    assert wrong(market) == []
    assert held(market) == before
