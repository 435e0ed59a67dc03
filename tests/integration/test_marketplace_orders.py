"""Orders that a marketplace ships, whole or in part, on both systems over HTTP and a real Postgres."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integration.town import Town
from integration.trade import ITEM, OTHER, at_the_channel, forward, line, place, sales_order, ship, tell, units

NOBODY: dict[str, Any] = {
    "SiteID": 640, "SiteName": "Amazon Seller Central - US", "DistributionCenterTypeRollup": "ExternallyManaged",
    "FulfillmentStatus": "ThirdPartyManaged", "UserDataPresent": False, "CustomerInfo": None, "BillingAddress": None,
    "ShippingAddress": {"Name": None, "Company": None, "Line1": None, "Line2": None, "City": "Albany", "Region": "NY",
                        "PostalCode": "12207", "Country": "US"},
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(long_lived_town: Town) -> Town:
    forward(long_lived_town, long_lived_town.now + timedelta(days=1, hours=10))
    return long_lived_town


def dispatch(town: Town, key: str, units: dict[int, int]) -> None:
    """The marketplace ships so many units by the number of the line."""
    items = [{"OrderItemID": int(key) * 100 + number, "Quantity": each} for number, each in units.items()]
    tell(town, "channel_advisor", "shipment", {"ChannelAdvisorOrderID": int(key), "Items": items})


def in_tims(town: Town, key: str) -> list[dict[str, Any]]:
    """Its shipments in TIMS."""
    with town.runtime() as runtime:
        return runtime.tims.find("shipments", SalesOrderID=[sales_order(town, key)["SalesOrderID"]])


def test_orders_without_a_person_load_with_the_marketplaces_location_and_one_customer_of_the_site(shop: Town):
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
    tell(shop, "channel_advisor", "order_change", {"ChannelAdvisorOrderID": int(first), "changes": {"Flag": "RedFlag"}})
    shop.sync()
    counts = shop.sync(kind="key", keys=[first, second, third])
    assert (counts.read, counts.unchanged) == (3, 3)
    assert sales_order(shop, third)["CustomerID"] == customer["CustomerID"]
    assert len(in_tims(shop, first)) == 1
    with shop.runtime() as runtime:
        assert runtime.tims.read(f"/customers/{customer['CustomerID']}")[0] == customer
    shop.sync(flow="shipments")
    assert len(at_the_channel(shop, first)) == 1


def lines_in_tims(town: Town, key: str) -> list[tuple[int, int]]:
    """Units shipped and open of each line."""
    return [
        (each["QuantityShipped"], each["Quantity"] - each["QuantityShipped"] - each["QuantityCancelled"])
        for each in sales_order(town, key)["LineItems"]
    ]


@pytest.mark.parametrize("before", [True, False], ids=["shipped before its first read", "shipped later"])
def test_of_a_mixed_order_each_side_ships_its_own_lines_once(shop: Town, before: bool):
    key = place(shop, line(quantity=2), line(OTHER, 3), DistributionCenterTypeRollup="Mixed")
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


def test_a_line_of_the_marketplace_that_is_cancelled_in_part_is_cancelled_in_tims(shop: Town):
    key = place(shop, line(quantity=3), line(OTHER, 1), DistributionCenterTypeRollup="Mixed")
    dispatch(shop, key, {1: 2})
    shop.sync()
    cancelled = {"OrderItems": [{"OrderItemID": int(key) * 100 + 1, "QuantityCancelled": 1}]}
    tell(shop, "channel_advisor", "order_change", {"ChannelAdvisorOrderID": int(key), "changes": cancelled})
    shop.sync()
    assert lines_in_tims(shop, key) == [(2, 0), (0, 1)]
    assert key not in shop.letters()
