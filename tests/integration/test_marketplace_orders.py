"""Orders that a marketplace ships, whole or in part, on both systems over HTTP and a real Postgres."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integration.town import Town
from integration.trade import OTHER, at_the_channel, forward, line, place, sales_order, tell

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
    for key, units in ((first, 2), (second, 1)):
        dispatch(shop, key, {1: units})
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
