"""What records of both systems say about a key: the small functions of the reconciliation."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from crossdock.comparison.subject import Rules
from crossdock.rules.settings import Settings, Site
from crossdock.watch.reconcile import catalogue, customers, fulfilment, orders, report
from crossdock.watch.reconcile.subjects import SUBJECTS, chosen


@pytest.fixture
def rules() -> Rules:
    return Rules()


def an_order(**more: Any) -> dict[str, Any]:
    line = {"OrderItemID": 51, "SKU": "22423", "Quantity": 3, "UnitPrice": Decimal("1.0050"), "QuantityShipped": 0,
            "QuantityCancelled": 0}  # fmt: skip
    return {
        "ChannelAdvisorOrderID": 7, "OrderStatus": "New", "PaymentStatus": "Cleared", "SiteID": 641,
        "FulfillmentStatus": "Unshipped", "DistributionCenterTypeRollup": "SellerManaged", "Currency": "GBP",
        "UpdatedDate": "2011-01-05T00:00:00Z", "TotalPrice": Decimal("3.0150"), "OrderItems": [line],
        "CustomerInfo": {"Email": "A.B@Example.com", "Phone": "020 7946 0123"},
        "ShippingAddress": {"Country": "United Kingdom"}, **more,
    }  # fmt: skip


def with_line(**more: Any) -> dict[str, Any]:
    order = an_order()
    return order | {"OrderItems": [order["OrderItems"][0] | more]}


@pytest.mark.parametrize(
    ("order", "status"),
    [
        (an_order(), "open"),
        (an_order(OrderStatus="Processing"), "open"),
        (an_order(OrderStatus="OnHold"), "on hold"),
        (an_order(PaymentStatus="Submitted"), "on hold"),
        (an_order(PaymentStatus="Failed"), "on hold"),
        (an_order(OrderStatus="Shipped", PaymentStatus="Failed"), "shipped"),
        (an_order(OrderStatus="Returned"), "shipped"),
        (an_order(OrderStatus="Cancelled"), "cancelled"),
        (with_line(QuantityShipped=1) | {"OrderStatus": "Cancelled"}, "shipped"),
        (with_line(QuantityShipped=1) | {"OrderStatus": "PartiallyShipped", "PaymentStatus": "Submitted"},
         "shipped in part"),
        (with_line(QuantityShipped=3) | {"OrderStatus": "PartiallyShipped"}, "shipped"),
        (with_line(QuantityCancelled=3), "cancelled"),
        (an_order(OrderStatus="Beamed"), None),
    ],
)  # fmt: skip
def test_how_far_a_sales_order_should_have_come(rules: Rules, order: dict[str, Any], status: str | None) -> None:
    assert orders.come_to(order, rules) == status


@pytest.mark.parametrize(
    ("order", "site", "cause"),
    [
        (an_order(), Site(), None),
        (an_order(OrderStatus="Cancelled"), Site(), "by rule"),
        (with_line(QuantityShipped=1) | {"OrderStatus": "Cancelled"}, Site(), None),
        (an_order(OrderStatus="Pending"), Site(), "waiting"),
        (an_order(PaymentStatus="Submitted"), Site(), None),
        (an_order(PaymentStatus="Submitted"), Site(import_rule="only_paid"), "waiting"),
        (an_order(DistributionCenterTypeRollup="ExternallyManaged"), Site(), None),
        (an_order(FulfillmentStatus="ThirdPartyManaged"), Site(marketplace_fulfilled="leave_out"), "by rule"),
    ],
)
def test_by_which_rule_tims_may_lack_an_order(order: dict[str, Any], site: Site, cause: str | None) -> None:
    rules = Rules(settings=Settings(sites={641: site}))
    (row,) = orders.ORDERS_SUBJECT.sides[0].rows(order, rules)
    assert (row.excuse and row.excuse.cause) == cause


def test_a_total_is_rounded_once_a_line_as_tims_does() -> None:
    assert orders.rounded_total(an_order()) == Decimal("3.02")
    assert orders.rounded_total(an_order(TotalPrice=None)) is None
    assert str(orders.rounded_total(an_order(TotalPrice=Decimal("3.0150") + 2))) == "5.02"


def test_postage_and_remarks_are_no_lines_and_a_remark_that_costs_is_one(rules: Rules) -> None:
    assert rules.is_sold({"SKU": " 22423 ", "UnitPrice": 1})
    assert rules.is_sold({"SKU": None, "UnitPrice": 1}), "its order is a dead letter"
    assert not rules.is_sold({"SKU": "POST", "UnitPrice": 1})
    ignored = next(c.code for c in rules.settings.item_codes if c.action == "ignore")
    assert not rules.is_sold({"SKU": ignored, "UnitPrice": 0})
    assert rules.is_sold({"SKU": ignored, "UnitPrice": 1})


def test_units_of_a_kit_say_nothing_and_its_line_must_be_there(rules: Rules) -> None:
    parcel = {
        "PostingMode": "external", "Source": "warehouse", "LocationID": "MAIN", "ShipmentID": "SH-70012",
        "ExternalOrderID": "7", "ModifiedAt": "2011-01-05T00:00:00Z",
        "Lines": [{"ExternalLineID": "51", "Quantity": 2}, {"ExternalLineID": "52:A", "Quantity": 1},
                  {"ExternalLineID": "52:B", "Quantity": 3}],
    }  # fmt: skip
    (row,) = fulfilment.SHIPMENTS.sides[2].rows(parcel, rules)
    assert (row.key, row.facts) == ("7:70012", {"line 51": 2, "line 52": None})
    for other in ({"PostingMode": "automatic"}, {"Source": "ChannelAdvisor"}, {"LocationID": "MARKETPLACE"}):
        assert not list(fulfilment.SHIPMENTS.sides[2].rows(parcel | other, rules))


def test_what_is_invoiced_is_worth_the_order_once_all_of_it_has_left(rules: Rules) -> None:
    shipped = fulfilment.INVOICES.sides[0].rows
    assert not list(shipped(an_order(), rules))
    (part,) = shipped(with_line(QuantityShipped=2), rules)
    assert part.facts == {"line 51": 2, "worth": None}
    (whole,) = shipped(an_order(OrderStatus="Shipped"), rules)
    assert whole.facts == {"line 51": 3, "worth": Decimal("3.02")}
    (cancelled,) = shipped(with_line(QuantityCancelled=1) | {"OrderStatus": "Shipped"}, rules)
    assert cancelled.facts == {"line 51": 2, "worth": None}


def test_a_buyer_is_known_by_digests_of_what_tims_would_hold(rules: Rules) -> None:
    (buyer,) = customers.CUSTOMERS.sides[0].rows(an_order(), rules)
    customer = {"CustomerID": "C-1", "Status": "Active", "Email": "a.b@example.com", "Phone": "+442079460123",
                "ModifiedAt": "2011-01-05T00:00:00Z"}  # fmt: skip
    (held,) = customers.CUSTOMERS.sides[2].rows(customer, rules)
    assert buyer.facts == held.facts
    masked = an_order(CustomerInfo={"Email": "x7k@marketplace.amazon.co.uk", "Phone": None})
    assert [row.facts for row in customers.CUSTOMERS.sides[0].rows(masked, rules)] == [{"e-mail": None, "phone": None}]
    assert "example" not in str(buyer)
    assert "7946" not in str(buyer)
    (without,) = customers.CUSTOMERS.sides[2].rows(customer | {"Email": None}, rules)
    assert without.facts["e-mail"] == "", "the buyer gives one and TIMS has none: a difference"
    (erased,) = customers.CUSTOMERS.sides[2].rows(customer | {"Status": "Erased"}, rules)
    assert set(erased.facts.values()) == {None}


def test_a_return_counts_once_it_is_decided_and_gives_money_back(rules: Rules) -> None:
    given = {"ReturnID": 5, "Status": "Refunded", "RefundDate": "2011-01-05T00:00:00Z", "RefundTotal": Decimal("2.5"),
             "Currency": "GBP", "UpdatedDate": "2011-01-05T00:00:00Z"}  # fmt: skip
    rows = fulfilment.RETURNS.sides[0].rows
    assert [str(row.facts["refund"]) for row in rows(given, rules)] == ["2.50"]
    for other in (
        {"Status": "NewRma"}, {"Status": "Rejected"}, {"RefundTotal": Decimal(0)},
        {"Status": "Closed", "RefundDate": None},
    ):  # fmt: skip
        assert not list(rows(given | other, rules)), other


def test_only_what_tims_owns_of_a_product_is_compared_in_the_same_units(rules: Rules) -> None:
    item = {
        "SKU": "Set-1", "AlternateSKUs": ["AMZ-1"], "Title": "Lamp", "Description": None, "Brand": "Oak",
        "GTIN": "00012345678905", "WeightKg": "1.250", "Images": ["https://a/2.jpg", "https://a/1.jpg"],
        "KitComponents": [{"SKU": "B", "Quantity": 2}], "ChannelEligible": True, "Status": "Active",
        "ModifiedAt": "2011-01-05T00:00:00Z",
    }  # fmt: skip
    product = {
        "SKU": "SET-1", "ProductType": "Bundle", "Title": "Lamp", "Description": "", "Brand": "Oak", "EAN": None,
        "UPC": "012345678905", "Weight": Decimal("2.7558"), "UpdatedDate": "2011-01-05T00:00:00Z",
        "Images": [{"PlacementName": "ITEMIMAGEURL10", "Url": "https://a/1.jpg"},
                   {"PlacementName": "ITEMIMAGEURL1", "Url": "https://a/2.jpg"}],
        "BundleComponents": [{"SKU": "b", "Quantity": 2}],
    }  # fmt: skip
    own, alternate = catalogue.PRODUCTS.sides[2].rows(item, rules)
    (there,) = catalogue.PRODUCTS.sides[0].rows(product, rules)
    assert (own.key, own.facts) == (there.key, there.facts)
    assert own.excuse is None
    assert alternate.excuse
    assert alternate.excuse.cause == "by rule"
    blocked, _ = catalogue.PRODUCTS.sides[2].rows(item | {"ChannelEligible": False}, rules)
    assert blocked.excuse
    assert set(blocked.facts.values()) == {None}


def test_stock_of_the_marketplace_is_not_ours_to_offer(rules: Rules) -> None:
    locations = [{"LocationID": "MAIN", "Available": 5}, {"LocationID": "WEST", "Available": -7},
              {"LocationID": "MARKETPLACE", "Available": 60}]  # fmt: skip
    quantity = {"SKU": "A", "Locations": locations, "ModifiedAt": "2011-01-05T00:00:00Z"}
    (row,) = catalogue.QUANTITIES.sides[2].rows(quantity, rules)
    assert row.facts == {"quantity": 0}
    rules.__dict__["own_centers"] = frozenset({4})
    level = {"SKU": "A", "DistributionCenterID": 4, "AvailableQuantity": 3, "UpdatedDate": "2011-01-05T00:00:00Z"}
    assert [row.key for row in catalogue.QUANTITIES.sides[0].rows(level, rules)] == ["a"]
    assert not list(catalogue.QUANTITIES.sides[0].rows(level | {"DistributionCenterID": 9}, rules))


def test_subjects_are_told_in_one_order_whatever_the_order_they_are_asked_in() -> None:
    assert [subject.name for subject in chosen(["prices", "orders"])] == ["orders", "prices"]
    assert [subject.name for subject in chosen()] == list(SUBJECTS)


@pytest.mark.parametrize(
    ("minutes", "output"), [(0, "new"), (5, "5 min"), (119, "119 min"), (120, "2 h"), (2879, "47 h"), (2880, "2 days")]
)
def test_an_age_is_told_as_people_say_it(minutes: int, output: str) -> None:
    assert report.words(timedelta(minutes=minutes)) == output


def test_commands_are_shown_as_such_and_the_rest_is_escaped() -> None:
    assert report.commands("<b> `crossdock x` & `a<b`") == (
        "&lt;b&gt; <code>crossdock x</code> &amp; <code>a&lt;b</code>"
    )


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert report.percent(1.0) == "100 %"
    assert report.percent(0.999999) == "99.999 %"
    assert report.percent(None) == "-"
