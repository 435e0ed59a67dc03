"""The world of the sandbox, read through REST v1, is the facade's: what the page about v1 says holds for January."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from contract.channel_advisor_calls import running
from contract.channel_advisor_v1_calls import NESTED, Caller, facade_order, facade_returns, facade_shipments
from sandbox import world
from sandbox.channel_advisor_v1.server import ChannelAdvisor
from sandbox.world import CHANNEL_ADVISOR

pytestmark = pytest.mark.slow
NULLS = ("TotalPrice", "TotalShippingPrice", "TotalShippingTaxPrice", "TotalTaxPrice", "TotalDiscount")
LINE_NULLS = ("TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount", "GiftWrapAmount")


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Both dialects over the whole of January."""
    with running(tmp_path_factory.mktemp("january"), ChannelAdvisor, per_minute=1_000_000) as base:
        caller = Caller(base)
        caller.clock("2011-02-14T00:00:00Z")
        whole = world.load()
        events = [each for each in (*whole.reference_events(), *whole.events()) if each.system == CHANNEL_ADVISOR]
        for start in range(0, len(events), 500):
            caller.apply(*(each.as_dict() for each in events[start : start + 500]))
        yield caller


def expected(order: dict[str, Any]) -> dict[str, Any]:
    """The facade's order without what v1 has no word for, absent amounts as 0."""
    kept = {name: value for name, value in order.items() if name not in ("TaxRemittedBy", "Exported")}
    for name in NULLS:
        kept[name] = kept.get(name) or Decimal("0.0000")
    lines = [line | {name: line.get(name) or Decimal("0.0000") for name in LINE_NULLS} for line in order["OrderItems"]]
    if not any((kept["CustomerInfo"] or {}).values()):
        kept["CustomerInfo"] = None
    return kept | {"OrderItems": lines}


def test_every_order_and_shipment_of_january_can_be_made_of_its_v1_document(january: Caller) -> None:
    orders = {order["ChannelAdvisorOrderID"]: order for order in january.held("order")}
    shipments = {each["ShipmentID"]: each for each in january.held("shipment")}
    seen, sent = set(), {}
    for row in january.rows("/v1/Orders", _expand=NESTED):
        if any("@odata.nextLink" in name for part in (row, *row["Items"], *row["Fulfillments"]) for name in part):
            row = january.whole(row["ID"])
        made, facade = facade_order(row), expected(orders[row["ID"]])
        no_tax = facade["OrderTaxType"] == "Standard" and made["OrderTaxType"] == "NoTax"
        for name in ("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType") if no_tax else ():
            facade[name] = "NoTax"
        assert made == facade, row["ID"]
        sent |= {each["ShipmentID"]: each for each in facade_shipments(row)}
        seen.add(row["ID"])
    assert seen == set(orders)
    assert sent == shipments


def test_every_product_price_and_quantity_can_be_made_of_a_product_of_v1(january: Caller) -> None:
    rows = january.rows("/v1/Products", _expand="Attributes,Images,DCQuantities,BundleComponents")
    products = {product["SKU"]: product for product in january.held("product")}
    prices = {price["SKU"]: price for price in january.held("price")}
    levels = {(level["SKU"], level["DistributionCenterID"]): level for level in january.held("inventory")}
    assert [row["ID"] for row in rows] == sorted(product["ProductID"] for product in products.values())
    same = (
        "Title", "Description", "Brand", "Manufacturer", "MPN", "UPC", "EAN", "Condition", "Cost", "ParentSku",
        "TotalAvailableQuantity", "ProductType",
    )  # fmt: skip
    found = {}
    for row in rows:
        product, price = products[row["Sku"]], prices.get(row["Sku"])
        assert {name: row[name] for name in same} == {name: product.get(name) for name in same}
        assert (row["CreateDateUtc"], row["UpdateDateUtc"]) == (product["CreatedDate"], product["UpdatedDate"])
        assert row["BuyItNowPrice"] == (price["Price"] if price else None)
        parts = [{"SKU": part["ComponentSku"], "Quantity": part["Quantity"]} for part in row["BundleComponents"]]
        assert parts == (product.get("BundleComponents") or [])
        for each in row["DCQuantities"]:
            found[row["Sku"], each["DistributionCenterID"]] = each["AvailableQuantity"]
    assert found == {key: level["AvailableQuantity"] for key, level in levels.items()}


def test_returns_can_be_made_of_adjustments(january: Caller) -> None:
    orders = {order["ChannelAdvisorOrderID"]: order for order in january.held("order")}
    shipped = [order for order in orders.values() if order["OrderStatus"] == "Shipped" and len(order["OrderItems"]) > 2]
    statuses = ("NewRma", "PendingReturn", "Received", "Approved", "Refunded", "Rejected", "Closed")
    for n, (order, status) in enumerate(zip(shipped, statuses * 3, strict=False)):
        items = [{"OrderItemID": line["OrderItemID"], "Quantity": 1} for line in order["OrderItems"][: 1 + n % 3]]
        paid = "2011-02-10T08:00:00Z" if status == "Refunded" or (status == "Closed" and n % 2) else None
        document = {
            "ReturnID": 800_000_001 + n,
            "ChannelAdvisorOrderID": order["ChannelAdvisorOrderID"],
            "Status": status,
            "RefundDate": paid,
            "RmaNumber": f"C{n}",
            "Items": items,
        }
        january.apply({"at": "2011-02-11T00:00:00Z", "kind": "return", "document": document})
    orders = {order["ChannelAdvisorOrderID"]: order for order in january.held("order")}
    made = {each["ReturnID"]: each for each in facade_returns(january.rows("/v1/OrderItemAdjustments"), orders)}
    for facade in january.held("return"):
        kept = {name: value for name, value in facade.items() if name != "UpdatedDate"}
        items = [{name: value for name, value in item.items() if name != "Condition"} for item in facade["Items"]]
        items.sort(key=lambda item: item["OrderItemID"])
        assert made.pop(facade["ReturnID"]) == kept | {"Items": items}
    assert not made
    for number in {each["ChannelAdvisorOrderID"] for each in january.held("return")}:
        assert facade_order(january.whole(number))["OrderItems"] == expected(orders[number])["OrderItems"]
