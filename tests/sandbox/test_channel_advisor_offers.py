"""What the Channel Advisor sandbox offers for sale: stock, prices, promotions, listings, products."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from contract.channel_advisor_calls import PRODUCTS, SITES, Caller, event, line, running, sold
from examples import examples
from sandbox.channel_advisor import listings, repository, rules
from sandbox.channel_advisor import stock as offers
from sandbox.channel_advisor.server import ChannelAdvisor
from sandbox.kernel.store import Store, Transaction

NOW = "2011-01-10T12:00:00Z"
CENTERS = [
    event("distribution_center", {"DistributionCenterID": 4, "Code": "MAIN"}),
    event("distribution_center", {"DistributionCenterID": 5, "Code": "SHOP", "Type": "RetailStore"}),
    event("distribution_center", {"DistributionCenterID": 6, "Code": "OLD", "IsDeleted": True}),
    event("distribution_center", {"DistributionCenterID": 9, "Code": "FBA", "Type": "ExternallyManaged"}),
]
SPRING = {
    "PromotionID": "SPRING",
    "Price": 10.5,
    "StartDate": "2011-01-11T00:00:00+01:00",
    "EndDate": "2011-01-13T00:00:00+01:00",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("offers"), per_minute=1_000_000) as url:
        yield url


@pytest.fixture
def shop(base: str) -> Caller:
    """An account with two centers of its own, a closed one and one of the marketplace; 40 of 22423 on offer in MAIN."""
    requests.post(f"{base}/_sandbox/reset", timeout=10)
    caller = Caller(base)
    caller.clock(NOW)
    caller.renew()
    caller.apply(*SITES, *CENTERS, *PRODUCTS)
    return caller


def stock(sku: str, quantity: int, center: int = 4, kind: str = "Absolute") -> dict[str, Any]:
    return {"SKU": sku, "DistributionCenterID": center, "Quantity": quantity, "UpdateType": kind}


def write(shop: Caller, *items: Any) -> list[dict[str, Any]]:
    return batch(shop, "/v2/inventory", "Updates", *items)


def price(shop: Caller, *items: Any) -> list[dict[str, Any]]:
    named = [{"Currency": "GBP"} | item for item in items]
    return batch(shop, "/v2/prices", "Prices", *named)


def batch(shop: Caller, path: str, name: str, *items: Any) -> list[dict[str, Any]]:
    answer = shop.call("POST" if name == "Products" else "PUT", path, json={name: list(items)})
    assert answer.status_code == 207, answer.text
    return answer.json()["Results"]


def outcomes(results: list[dict[str, Any]]) -> list[tuple[int, str | None, str | None]]:
    """Status, field and code of every result."""
    blank: list[dict[str, Any]] = [{"Field": None, "Code": None}]
    return [(r["Status"], *(r.get("Errors", blank)[0][name] for name in ("Field", "Code"))) for r in results]


def offered(shop: Caller, sku: str = "22423") -> dict[int, tuple[int, int]]:
    """Center -> (AvailableQuantity, TotalQuantity)."""
    rows = shop.get("/v2/inventory", sku=sku)["value"]
    return {row["DistributionCenterID"]: (row["AvailableQuantity"], row["TotalQuantity"]) for row in rows}


def total(shop: Caller, sku: str = "22423") -> int:
    return shop.get(f"/v2/products/{sku}")["TotalAvailableQuantity"]


def wait(shop: Caller, seconds: float) -> None:
    shop.control("PUT", "clock", {"advance": seconds})
    shop.renew()


def unchanged(shop: Caller, path: str) -> bool:
    """Whether nothing in the list has changed since the clock was last moved on from NOW."""
    return shop.get(path, updatedSince="2011-01-10T13:00:00Z")["value"] == []


class TestStock:
    def test_quantities_are_set_added_to_and_counted_without_open_orders(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(101, quantity=3))))
        results = write(
            shop,
            stock("22423", 20),
            stock("22423", -5, kind="Relative"),
            stock("22423", 20, kind="UnShipped"),
            stock("22423", 2, kind="UnShipped"),
        )
        assert [r["AvailableQuantity"] for r in results] == [20, 15, 17, 0]
        assert offered(shop) == {4: (0, 3)}

    def test_each_item_is_refused_for_its_own_reason_and_the_others_are_written(self, shop: Caller) -> None:
        results = write(
            shop,
            stock("nosuch", 1),
            stock("22423", 1, center=77),
            stock("22423", 1, center=6),
            stock("22423", 1, center=9),
            stock("kit-77/2", 1),
            stock("22423", -1),
            stock("22423", -1, kind="UnShipped"),
            stock("22423", -41, kind="Relative"),
            stock("22423", 1, kind="absolute"),
            stock("22423", 10**15),
            stock("22423", 1) | {"Note": "?"},
            {"SKU": "22423"},
            "22423",
            stock("85123a", 7),
        )
        assert outcomes(results) == [
            (404, "SKU", "UnknownSku"),
            (404, "DistributionCenterID", "UnknownDistributionCenter"),
            (404, "DistributionCenterID", "UnknownDistributionCenter"),
            (409, "DistributionCenterID", "ExternallyManaged"),
            (422, "SKU", "QuantityNotSettable"),
            (422, "Quantity", "NegativeQuantity"),
            (422, "Quantity", "NegativeQuantity"),
            (422, "Quantity", "BelowZero"),
            (422, "UpdateType", "InvalidValue"),
            (422, "Quantity", "OutOfRange"),
            (422, "Note", "UnknownField"),
            (422, "DistributionCenterID", "MissingField"),
            (422, "", "InvalidValue"),
            (200, None, None),
        ]
        assert results[3]["DistributionCenterID"] == 9
        assert results[-1] == {
            "Index": 13, "SKU": "85123A", "DistributionCenterID": 4, "Status": 200, "AvailableQuantity": 7,
        }  # fmt: skip
        assert (total(shop, "85123A"), total(shop)) == (7, 40)

    def test_a_batch_holds_500_items_at_most(self, shop: Caller) -> None:
        answer = shop.call("PUT", "/v2/inventory", json={"Updates": [stock("22423", 1)] * 501})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "BatchTooLarge")
        assert total(shop) == 40

    def test_a_product_counts_what_all_centers_offer(self, shop: Caller) -> None:
        write(shop, stock("22423", 5, center=5))
        shop.apply(event("level", {"SKU": "22423", "DistributionCenterID": 9, "AvailableQuantity": 100}))
        assert offered(shop) == {4: (40, 40), 5: (5, 5), 9: (100, 100)}
        assert total(shop) == 145

    def test_writing_the_same_quantity_leaves_updated_date_alone(self, shop: Caller) -> None:
        wait(shop, 7200)
        write(shop, stock("22423", 40), stock("22423", 0, kind="Relative"), stock("22423", 40, kind="UnShipped"))
        assert unchanged(shop, "/v2/inventory")
        assert unchanged(shop, "/v2/products")
        write(shop, stock("22423", 41))
        assert not unchanged(shop, "/v2/inventory")
        assert not unchanged(shop, "/v2/products")

    def test_a_level_is_listed_by_sku_in_any_case_and_bundles_have_none(self, shop: Caller) -> None:
        write(shop, stock("85123A", 3))
        assert [row["SKU"] for row in shop.get("/v2/inventory", sku=["85123a", "KIT-77/2"])["value"]] == ["85123A"]

    def test_stock_needs_the_scope_inventory(self, base: str, shop: Caller) -> None:
        assert Caller(base, "sandbox-refresh-orders").call("GET", "/v2/inventory").status_code == 401

    def test_a_profile_without_centers_has_the_one_center_0(self, base: str, shop: Caller) -> None:
        both = Caller(base, "sandbox-refresh-two-profiles")
        body = {"Updates": [stock("22423", 3, center=0)]}
        assert both.call("PUT", "/v2/inventory", json=body).status_code == 400
        created = {"Products": [{"SKU": "22423", "Title": "Stand"}]}
        both.call("POST", "/v2/products", params={"profileId": 12345679}, json=created)
        answer = both.call("PUT", "/v2/inventory", params={"profileId": 12345679}, json=body)
        assert answer.json()["Results"][0]["AvailableQuantity"] == 3
        assert total(shop) == 40


class TestOrdersAndStock:
    def test_an_order_takes_its_units_off_the_offer_and_shipping_off_the_total(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(101, quantity=3), OrderStatus="Pending", PaymentStatus="Submitted")))
        assert (offered(shop), total(shop)) == ({4: (37, 40)}, 37)
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": {"OrderStatus": "New"}}))
        assert offered(shop) == {4: (37, 40)}
        parcel = {
            "ChannelAdvisorOrderID": 1, "SellerFulfillmentID": "1", "ShippedDate": NOW, "Carrier": "UPS",
            "ServiceClass": "Ground", "Items": [{"SKU": "22423", "Quantity": 1}],
        }  # fmt: skip
        shop.call("POST", "/v2/shipping", json={"Shipments": [parcel]})
        assert offered(shop) == {4: (37, 39)}
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"})
        assert (offered(shop), total(shop)) == ({4: (39, 39)}, 39)

    def test_an_order_made_shipped_takes_its_units_with_it(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)), event("order", sold(2)))
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Shipped"})
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 2, "changes": {"OrderStatus": "Shipped"}}))
        assert offered(shop) == {4: (36, 36)}

    def test_a_bundle_takes_its_parts_and_gives_them_back(self, shop: Caller) -> None:
        write(shop, stock("85123A", 10))
        shop.apply(event("order", sold(1, line(101, sku="kit-77/2", quantity=2))))
        assert (offered(shop), offered(shop, "85123A")) == ({4: (38, 40)}, {4: (6, 10)})
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"})
        assert (offered(shop), offered(shop, "85123A")) == ({4: (40, 40)}, {4: (10, 10)})

    def test_what_is_sold_beyond_the_offer_is_owed_before_anything_is_offered_again(self, shop: Caller) -> None:
        write(shop, stock("22423", 2))
        shop.apply(event("order", sold(1)), event("order", sold(2, line(201, quantity=3))))
        assert offered(shop) == {4: (0, 5)}
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"})
        assert offered(shop) == {4: (0, 3)}  # two units are there, three are sold
        shop.call("PUT", "/v2/orders/2", json={"OrderStatus": "Cancelled"})
        assert (offered(shop), total(shop)) == ({4: (2, 2)}, 2)

    def test_a_plain_copy_of_units_on_hand_offers_those_of_open_orders_again(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        assert write(shop, stock("22423", 40))[0]["AvailableQuantity"] == 40
        assert write(shop, stock("22423", 40, kind="UnShipped"))[0]["AvailableQuantity"] == 38

    def test_an_order_takes_from_the_next_center_what_the_first_has_not(self, shop: Caller) -> None:
        write(shop, stock("22423", 1), stock("22423", 5, center=5))
        shop.apply(event("order", sold(1, line(101, quantity=4))))
        assert offered(shop) == {4: (0, 1), 5: (2, 5)}

    def test_orders_that_the_marketplace_ships_take_from_its_own_center(self, shop: Caller) -> None:
        shop.apply(event("level", {"SKU": "22423", "DistributionCenterID": 9, "AvailableQuantity": 10}))
        shop.apply(event("order", sold(1, DistributionCenterTypeRollup="ExternallyManaged")))
        assert offered(shop) == {4: (40, 40), 9: (8, 10)}

    def test_an_order_created_by_a_client_takes_its_units_too(self, shop: Caller) -> None:
        items = [{"SKU": "22423", "Quantity": 6, "UnitPrice": 1}]
        body = {"OrderID": "W1", "OrderDate": NOW, "Currency": "GBP", "OrderItems": items}
        assert shop.call("POST", "/v2/orders", json=body).status_code == 201
        assert offered(shop) == {4: (34, 40)}

    def test_a_changed_order_takes_or_gives_back_the_difference(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(101, quantity=5))))
        item = {"OrderItemID": 101, "Quantity": 2}
        changes = {"OrderItems": [item], "TotalPrice": Decimal("25.5000")}
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": changes}))
        assert offered(shop) == {4: (38, 40)}

    def test_an_order_that_is_over_when_it_arrives_takes_nothing(self, shop: Caller) -> None:
        shipped = line(101, QuantityShipped=2)
        shop.apply(
            event("order", sold(1, shipped, OrderStatus="Shipped")), event("order", sold(2, OrderStatus="Cancelled"))
        )
        assert offered(shop) == {4: (40, 40)}


@examples(25)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(("order", "grow", "shrink", "ship", "cancel")), st.integers(1, 6)),
        max_size=12,
    )
)
def test_whatever_happens_to_orders_units_neither_appear_nor_vanish(steps: list[tuple[int, str, int]]) -> None:
    """What is on offer (or owed) and what open orders hold are together what was there and has not shipped."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "x.db", ChannelAdvisor.terms)
        try:
            with store.write() as tx:
                apply_levels(tx, steps)
        finally:
            store.close()


def apply_levels(tx: Transaction, steps: list[tuple[int, str, int]]) -> None:
    key = {"ProfileID": 12345678, "SKU": "S"}
    for center in (4, 5):
        output = {"ProfileID": 12345678, "DistributionCenterID": center, "Type": "Warehouse"}
        tx.put("distribution_center", center, output | {"IsExternallyManaged": False, "IsDeleted": False}, modified=1)
    repository.put_product(tx, key | {"ProductType": "Item", "TotalAvailableQuantity": 0}, 1)
    for center, units in ((4, 5), (5, 3)):
        product = repository.product(tx, 12345678, "S")
        assert product is not None
        offers.put(tx, product, center, offers.Level(units, 0), 1)
    orders: dict[int, dict[str, Any]] = {}
    shipped = 0
    for at, (number, step, units) in enumerate(steps, start=2):
        order = orders.get(number)
        if order is None:
            item = {"OrderItemID": 1, "SKU": "s", "Quantity": units}
            none = {"QuantityShipped": 0, "QuantityCancelled": 0, "QuantityReturned": 0}
            order = {"ChannelAdvisorOrderID": number, "ProfileID": 12345678, "OrderStatus": "New"}
            order |= {"FulfillmentStatus": "Unshipped", "DistributionCenterTypeRollup": "SellerManaged"}
            order["OrderItems"] = [item | none]
        else:
            (item,) = order["OrderItems"]
            leaving = min(units, rules.open_units(item))
            if step == "cancel":
                order = rules.cancelled(order)
            elif step == "ship" and leaving:
                order = rules.shipped(order, {1: leaving})
                shipped += leaving
            elif step in ("grow", "shrink") and leaving:
                change = units if step == "grow" else -min(leaving, item["Quantity"] - 1)
                order = order | {"OrderItems": [item | {"Quantity": item["Quantity"] + change}]}
        orders[number] = order
        offers.follow(tx, order, at)
        levels = [offers.level_of(tx, 12345678, "S", center) for center in (4, 5)]
        held = sum(rules.open_units(each["OrderItems"][0]) for each in orders.values())
        assert sum(level.held for level in levels) == held
        assert sum(level.balance for level in levels) == 8 - shipped - held
        product = repository.product(tx, 12345678, "S")
        assert product is not None
        assert product.doc["TotalAvailableQuantity"] == sum(level.available for level in levels)


class TestPrices:
    def test_a_price_is_written_in_part_and_null_clears(self, shop: Caller) -> None:
        price(shop, {"SKU": "22423", "Price": 12.75, "MinPrice": 10, "Promotion": SPRING})
        assert outcomes(price(shop, {"SKU": "22423", "Price": 12, "RetailPrice": 20})) == [(200, None, None)]
        found = shop.get("/v2/prices")["value"][0]
        assert (found["Price"], found["MinPrice"], found["RetailPrice"]) == (12, 10, 20)
        assert (found["Promotion"]["Price"], found["Promotion"]["StartDate"]) == (
            Decimal("10.5"),
            "2011-01-10T23:00:00Z",
        )
        price(shop, {"SKU": "22423", "Price": 12, "MinPrice": None, "Promotion": None})
        found = shop.get("/v2/prices")["value"][0]
        assert (found["MinPrice"], found["Promotion"]) == (None, None)

    @pytest.mark.parametrize(
        ("fields", "field", "code"),
        [
            ({"Price": 9}, "Price", "BelowMinPrice"),
            ({"Price": 21}, "Price", "AboveMaxPrice"),
            ({"Price": 12.00001}, "Price", "InvalidAmount"),
            ({"Price": -1, "MinPrice": None}, "Price", "NegativeAmount"),
            ({"Currency": "USD"}, "Currency", "WrongCurrency"),
            ({"SKU": "x"}, "SKU", "UnknownSku"),
            ({"Sale": 1}, "Sale", "UnknownField"),
            ({"Promotion": SPRING | {"Price": 15}}, "Promotion.Price", "NotBelowPrice"),
            ({"Promotion": SPRING | {"Price": 9.99}}, "Promotion.Price", "BelowMinPrice"),
            ({"Promotion": SPRING | {"EndDate": "2011-01-10T23:00:00Z"}}, "Promotion.EndDate", "EndNotAfterStart"),
            ({"Promotion": SPRING | {"EndDate": "soon"}}, "Promotion.EndDate", "InvalidValue"),
        ],
    )
    def test_a_price_outside_the_rules_is_refused_and_nothing_changes(
        self, shop: Caller, fields: dict[str, Any], field: str, code: str
    ) -> None:
        price(shop, {"SKU": "22423", "Price": 15, "MinPrice": 10, "MaxPrice": 20})
        before = shop.get("/v2/prices")["value"]
        results = price(shop, {"SKU": "22423", "Price": 15} | fields)
        assert outcomes(results) == [(404 if code == "UnknownSku" else 422, field, code)]
        assert shop.get("/v2/prices")["value"] == before

    def test_a_price_must_stay_above_the_promotion_that_it_keeps(self, shop: Caller) -> None:
        price(shop, {"SKU": "22423", "Price": 12, "Promotion": SPRING})
        assert outcomes(price(shop, {"SKU": "22423", "Price": 10})) == [(422, "Promotion.Price", "NotBelowPrice")]

    def test_writing_the_same_price_leaves_updated_date_alone(self, shop: Caller) -> None:
        output = {"SKU": "22423", "Price": 12.75, "Promotion": SPRING}
        price(shop, output)
        wait(shop, 7200)
        same = {"Price": 10.5, "StartDate": "2011-01-10T23:00:00Z"}
        price(shop, output | {"Promotion": SPRING | same})
        assert all(unchanged(shop, f"/v2/{name}") for name in ("prices", "promotions", "products"))
        price(shop, output | {"Price": 12.76})
        assert not unchanged(shop, "/v2/prices")
        assert not unchanged(shop, "/v2/products")
        assert unchanged(shop, "/v2/promotions")

    def test_a_product_without_a_price_has_no_row_and_a_bundle_may_have_one(self, shop: Caller) -> None:
        price(shop, {"SKU": "kit-77/2", "Price": 20})
        assert [row["SKU"] for row in shop.get("/v2/prices")["value"]] == ["KIT-77/2"]

    def test_staff_and_repricers_change_a_price_beyond_its_bounds(self, shop: Caller) -> None:
        price(shop, {"SKU": "22423", "Price": 12, "MinPrice": 10})
        shop.apply(event("price", {"SKU": "22423", "Price": Decimal("9.99")}))
        found = shop.get("/v2/prices")["value"][0]
        assert (found["Price"], found["MinPrice"]) == (Decimal("9.99"), 10)


class TestPromotions:
    def test_a_promotion_is_what_its_prices_say(self, shop: Caller) -> None:
        later = SPRING | {"StartDate": "2011-01-12T00:00:00Z", "EndDate": "2011-01-20T00:00:00Z"}
        price(
            shop, {"SKU": "85123a", "Price": 12, "Promotion": later}, {"SKU": "22423", "Price": 12, "Promotion": SPRING}
        )
        (found,) = shop.get("/v2/promotions")["value"]
        assert (found["PromotionID"], found["SKUs"], found["Status"]) == ("SPRING", ["22423", "85123A"], "Scheduled")
        assert (found["StartDate"], found["EndDate"]) == ("2011-01-10T23:00:00Z", "2011-01-20T00:00:00Z")
        price(shop, {"SKU": "22423", "Price": 12, "Promotion": None})
        (found,) = shop.get("/v2/promotions")["value"]
        assert (found["SKUs"], found["StartDate"]) == (["85123A"], "2011-01-12T00:00:00Z")

    def test_its_status_follows_the_clock_and_a_reader_by_watermark_sees_each_step(self, shop: Caller) -> None:
        price(shop, {"SKU": "22423", "Price": 12, "Promotion": SPRING})
        seen = []
        since = NOW
        for _ in range(5):
            page = shop.get("/v2/promotions", updatedSince=since)
            seen.append([row["Status"] for row in page["value"]])
            since = page["serverTime"]
            wait(shop, 20 * 3600)
        assert seen == [["Scheduled"], ["Active"], [], ["Ended"], []]

    def test_staff_set_up_a_promotion_that_prices_then_join(self, shop: Caller) -> None:
        dates = {"StartDate": "2011-01-01T00:00:00Z", "EndDate": "2011-02-01T00:00:00Z"}
        shop.apply(event("promotion", {"PromotionID": "SPRING", "Name": "Spring sale"} | dates))
        (found,) = shop.get("/v2/promotions")["value"]
        assert (found["Status"], found["SKUs"]) == ("Active", [])
        price(shop, {"SKU": "22423", "Price": 12, "Promotion": SPRING})
        (found,) = shop.get("/v2/promotions")["value"]
        assert (found["Name"], found["SKUs"], found["Status"]) == ("Spring sale", ["22423"], "Scheduled")


def draft(shop: Caller, **fields: Any) -> dict[str, Any]:
    answer = shop.call("POST", "/v2/listings", json={"SKU": "22423", "SiteID": 641} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def turn(shop: Caller, number: int, **fields: Any) -> dict[str, Any]:
    answer = shop.call("PUT", f"/v2/listings/{number}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def answered(shop: Caller, number: int) -> dict[str, Any]:
    """The listing once the marketplace has looked at it."""
    wait(shop, listings.ANSWERS_AFTER / 10**7)
    return shop.get(f"/v2/listings/{number}")


class TestListings:
    def test_a_listing_starts_as_a_draft_in_the_sites_currency(self, shop: Caller) -> None:
        made = draft(shop, SKU="85123a", Price=14.95, Category="Kitchen/Lights")
        assert (made["SKU"], made["Status"], made["Currency"], made["SiteListingID"]) == (
            "85123A",
            "Draft",
            "GBP",
            None,
        )
        shop.apply(event("site", {"SiteID": 642, "SiteName": "Amazon Seller Central - DE"}))
        assert draft(shop, SiteID=642)["Currency"] == "EUR"

    def test_a_sku_has_one_listing_on_a_site_until_it_has_ended(self, shop: Caller) -> None:
        first = draft(shop)["ListingID"]
        body = {"SKU": "22423", "SiteID": 641}
        answer = shop.call("POST", "/v2/listings", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "DuplicateListing")
        assert answer.json()["error"]["details"]["ExistingID"] == first
        turn(shop, first, Status="Ended")
        assert draft(shop)["ListingID"] != first

    def test_an_unknown_product_or_site_is_422_and_an_unknown_listing_404(self, shop: Caller) -> None:
        answer = shop.call("POST", "/v2/listings", json={"SKU": "nosuch", "SiteID": 1, "Price": 1.00001})
        errors = answer.json()["error"]["details"]["Errors"]
        assert answer.status_code == 422
        assert {each["Code"] for each in errors} == {"UnknownSku", "UnknownSite", "InvalidAmount"}
        assert shop.call("GET", "/v2/listings/7").status_code == 404
        assert shop.call("PUT", "/v2/listings/7", json={"Title": "x"}).status_code == 404

    @pytest.mark.parametrize(
        ("present", "allowed"),
        [
            ("Draft", ["Active", "Ended"]),
            ("Paused", ["Active", "Ended"]),
            ("Error", ["Active", "Ended"]),
            ("Active", ["Paused", "Ended"]),
            ("Ended", []),
        ],
    )
    def test_a_client_may_set_what_the_status_rules_allow(self, shop: Caller, present: str, allowed: list[str]) -> None:
        for number, status in enumerate(("Draft", "Active", "Paused", "Ended", "Error")):
            listing = {"ListingID": number, "SKU": "22423", "SiteID": 641, "Status": present}
            shop.apply(event("listing", listing))
            answer = shop.call("PUT", f"/v2/listings/{number}", json={"Status": status})
            if status == present or status in allowed:
                assert answer.json()["Status"] == status
            else:
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (409, "IllegalStatusTransition")
                assert error["details"] == {"From": present, "AllowedStatuses": allowed}

    def test_the_marketplace_takes_a_listing_later(self, shop: Caller) -> None:
        number = draft(shop, Price=14.95)["ListingID"]
        assert turn(shop, number, Status="Active")["SiteListingID"] is None
        since = shop.get("/v2/listings")["serverTime"]
        assert answered(shop, number)["SiteListingID"] == f"641-{number}"
        assert [row["ListingID"] for row in shop.get("/v2/listings", updatedSince=since)["value"]] == [number]

    def test_the_marketplace_says_why_it_refuses_a_listing(self, shop: Caller) -> None:
        number = draft(shop, Title="x" * 201)["ListingID"]
        shop.call("PUT", "/v2/products/22423", json={"IsBlocked": True})
        turn(shop, number, Status="Active")
        refused = answered(shop, number)
        assert refused["Status"] == "Error"
        assert {each["Code"] for each in refused["Errors"]} == {"TooLong", "Blocked", "Missing"}
        shop.call("PUT", "/v2/products/22423", json={"IsBlocked": False})
        price(shop, {"SKU": "22423", "Price": 3})
        again = turn(shop, number, Status="Active", Title=None)
        assert (again["Status"], again["Errors"]) == ("Active", None)
        assert answered(shop, number)["Status"] == "Active"

    def test_a_change_of_an_active_listing_is_looked_at_again(self, shop: Caller) -> None:
        number = draft(shop, Price=14.95)["ListingID"]
        turn(shop, number, Status="Active")
        assert answered(shop, number)["Status"] == "Active"
        turn(shop, number, Title="x" * 201)
        assert answered(shop, number)["Status"] == "Error"

    def test_writing_what_is_stored_leaves_updated_date_alone(self, shop: Caller) -> None:
        number = draft(shop, Price=14.95)["ListingID"]
        wait(shop, 7200)
        turn(shop, number, Status="Draft", Price=14.95, Quantity=None)
        assert unchanged(shop, "/v2/listings")

    def test_listings_are_listed_by_sku_site_and_status(self, shop: Caller) -> None:
        number = draft(shop)["ListingID"]
        other = draft(shop, SKU="85123A", SiteID=587)["ListingID"]
        turn(shop, other, Status="Ended")

        def numbers(**query: Any) -> list[int]:
            return [row["ListingID"] for row in shop.get("/v2/listings", **query)["value"]]

        assert numbers(sku="85123a") == [other]
        assert numbers(siteId=641) == [number]
        assert numbers(status=["Draft", "Active"]) == [number]
        assert shop.call("GET", "/v2/listings", params={"status": "draft"}).status_code == 400

    def test_staff_and_marketplaces_change_listings(self, shop: Caller) -> None:
        number = draft(shop)["ListingID"]
        shop.apply(event("listing_change", {"ListingID": number, "changes": {"Status": "Paused", "Quantity": 4}}))
        found = shop.get(f"/v2/listings/{number}")
        assert (found["Status"], found["Quantity"]) == ("Paused", 4)


class TestProducts:
    def test_a_product_on_sale_cannot_be_deleted(self, shop: Caller) -> None:
        number = draft(shop, Price=1)["ListingID"]
        for status in ("Active", "Paused"):
            turn(shop, number, Status=status)
            answer = shop.call("DELETE", "/v2/products/22423")
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ProductInUse")
        turn(shop, number, Status="Ended")
        assert shop.call("DELETE", "/v2/products/22423").status_code == 204

    def test_a_deleted_product_takes_its_stock_its_price_and_its_place_in_a_promotion(self, shop: Caller) -> None:
        price(shop, *({"SKU": sku, "Price": 12, "Promotion": SPRING} for sku in ("22423", "85123A")))
        shop.apply(event("order", sold(1)))
        shop.call("DELETE", "/v2/products/22423")
        assert shop.get("/v2/inventory")["value"] == []
        assert [row["SKU"] for row in shop.get("/v2/prices")["value"]] == ["85123A"]
        assert shop.get("/v2/promotions")["value"][0]["SKUs"] == ["85123A"]
        batch(shop, "/v2/products", "Products", {"SKU": "22423", "Title": "Again"})
        assert shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Shipped"}).status_code == 200
        assert all(units >= 0 for level in offered(shop).values() for units in level)

    def test_attributes_images_codes_and_components_are_replaced_whole(self, shop: Caller) -> None:
        fields = {
            "Attributes": [{"Name": "Color", "Value": "Black"}],
            "Images": [{"PlacementName": "ITEMIMAGEURL1", "Url": "https://img.example.com/1.jpg"}],
            "BundleComponents": [{"SKU": "85123A", "Quantity": 3}],
            "UPC": "012345678905",
            "EAN": "4006381333931",
            "Weight": 0.75,
        }
        changed = shop.call("PUT", "/v2/products/KIT-77%2F2", json=fields).json()
        assert {name: changed[name] for name in fields} == fields
        wait(shop, 7200)
        shop.call("PUT", "/v2/products/KIT-77%2F2", json=fields | {"MPN": None})
        assert unchanged(shop, "/v2/products")
        cleared = shop.call("PUT", "/v2/products/KIT-77%2F2", json={"Images": None, "UPC": None}).json()
        assert (cleared["Images"], cleared["UPC"], cleared["EAN"]) == ([], None, "4006381333931")

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"UPC": "12345"}, "UPC"),
            ({"EAN": "400638133393X"}, "EAN"),
            ({"BundleComponents": [{"SKU": "85123A", "Quantity": 1}]}, "BundleComponents"),
            ({"Images": [{"PlacementName": "A", "Url": "https://x.example/1"}] * 2}, "Images"),
            ({"Title": None}, "Title"),
        ],
    )
    def test_a_field_that_breaks_a_rule_is_refused_by_name(
        self, shop: Caller, fields: dict[str, Any], field: str
    ) -> None:
        answer = shop.call("PUT", "/v2/products/22423", json=fields)
        assert answer.status_code == 422
        assert [each["Field"] for each in answer.json()["error"]["details"]["Errors"]] == [field]

    def test_a_sku_that_exists_is_named_as_it_is_stored(self, shop: Caller) -> None:
        (result,) = batch(shop, "/v2/products", "Products", {"SKU": "85123a", "Title": "Again"})
        error = {"Field": "SKU", "Code": "DuplicateSku", "Message": "SKU 85123A exists."}
        assert (result["Status"], result["Errors"]) == (409, [error])


class TestFaults:
    def test_an_item_that_failed_may_be_retried_alone(self, shop: Caller) -> None:
        shop.fault("bulk_partial", "updateInventory", every=2)
        results = write(shop, stock("22423", 5), stock("85123A", 6))
        assert [r["Status"] for r in results] == [500, 200]
        assert (total(shop), total(shop, "85123A")) == (40, 6)

    def test_a_row_that_moves_while_it_is_paged_keeps_what_orders_hold(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        shop.fault("shift_rows", "listInventory", rows=1)
        shop.get("/v2/inventory")
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"})
        assert offered(shop) == {4: (40, 40)}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A store of 6,000 products with stock, written past the server."""
    folder: Path = tmp_path_factory.mktemp("large")
    store = Store(folder / "channel_advisor.db", ChannelAdvisor.terms)
    with store.write() as tx:
        for number in range(6_000):
            fill(tx, number)
    store.close()
    with running(folder, per_minute=1_000_000) as url:
        yield Caller(url)


def fill(tx: Any, number: int) -> None:
    key = {"ProfileID": 12345678, "SKU": f"S{number:06d}"}
    more = {"ProductID": number, "ProductType": "Item", "Title": "Large", "CreatedDate": NOW}
    at = 12_900_000_000_000_000 + number
    repository.put_product(tx, key | more | {"TotalAvailableQuantity": 1}, at)
    level = key | {"DistributionCenterID": 0, "AvailableQuantity": 1, "TotalQuantity": 1}
    repository.put_level(tx, level, {"Balance": 1, "Held": 0}, at)


class TestSpeed:
    """Client and server are one process here; its own time is measured, whatever else the machine does."""

    def test_500_quantities_and_prices_are_written_in_half_a_second_of_work(self, large: Caller) -> None:
        skus = [f"S{number:06d}" for number in range(0, 6_000, 12)]
        for path, name, items in (
            ("/v2/inventory", "Updates", [stock(sku, 9, center=0) for sku in skus]),
            ("/v2/prices", "Prices", [{"SKU": sku, "Price": 12, "Currency": "GBP"} for sku in skus]),
        ):
            start = time.process_time()
            answer = large.send("PUT", path, json={name: items})
            assert time.process_time() - start < 0.5  # about 0.1
            assert {result["Status"] for result in answer.json()["Results"]} == {200}

    def test_a_page_takes_no_longer_at_the_end_of_a_long_list(self, large: Caller) -> None:
        start = time.process_time()
        pages = 0
        for path in ("/v2/products", "/v2/inventory"):
            url: str = path
            since = {"limit": 100, "updatedSince": "2010-01-01"}
            for _ in range(5):
                page = large.send("GET", url, params=since if url == path else None).json()
                pages += len(page["value"])
                url = page["nextLink"]
        assert pages == 1_000
        assert time.process_time() - start < 1
