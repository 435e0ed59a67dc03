"""REST v1 of the Channel Advisor sandbox writes as its facts say, seen over HTTP, and the facade has the same state."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests

from contract.channel_advisor_calls import PRODUCTS, SITES, encode, event, line, running, sold
from contract.channel_advisor_v1_calls import Caller, facade_order
from sandbox.channel_advisor_v1.server import ChannelAdvisor
from sandbox.kernel.clock import parse

NOW = "2011-01-10T12:00:00Z"
CENTERS = [
    event("distribution_center", {"DistributionCenterID": 4, "Code": "MAIN"}),
    event("distribution_center", {"DistributionCenterID": 5, "Code": "EAST"}),
    event("distribution_center", {"DistributionCenterID": 9, "Code": "FBA", "Type": "ExternallyManaged"}),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("v1"), ChannelAdvisor, per_minute=1_000_000) as url:
        yield url


@pytest.fixture
def shop(base: str) -> Caller:
    """An account with sites, centers, products and one paid order of two lines."""
    requests.post(f"{base}/_sandbox/reset", timeout=10)
    caller = Caller(base)
    caller.clock(NOW)
    caller.renew()
    caller.apply(*SITES, *CENTERS, *PRODUCTS)
    caller.apply(event("order", sold(1, line(11, quantity=3), line(12, "85123A", quantity=1))))
    return caller


def write(shop: Caller, method: str, path: str, body: Any = None, status: int = 204) -> requests.Response:
    answer = shop.send(
        method, path, data=None if body is None else encode(body), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    return answer


def error(answer: requests.Response) -> str:
    assert answer.json()["error"]["code"] == ""
    return str(answer.json()["error"]["message"])


def held(shop: Caller, kind: str, **where: Any) -> list[dict[str, Any]]:
    return [doc for doc in shop.held(kind) if all(doc[name] == value for name, value in where.items())]


def order(shop: Caller, number: int = 1) -> dict[str, Any]:
    """As the facade has it."""
    return held(shop, "order", ChannelAdvisorOrderID=number)[0]


def product_id(shop: Caller, sku: str) -> int:
    return int(shop.rows("/v1/Products", _filter=f"Sku eq '{sku}'", _select="ID")[0]["ID"])


def ship(**fields: Any) -> dict[str, Any]:
    return {"Value": {"ShippingCarrier": "royal mail", "ShippingClass": "Tracked 48", "TrackingNumber": "T1",
                      "SellerFulfillmentID": "7", "PreventMarketplaceCommunication": False} | fields}  # fmt: skip


class TestOrders:
    def test_the_exported_mark_is_set_and_taken_off(self, shop: Caller) -> None:
        for _ in range(2):
            write(shop, "POST", "/v1/Orders(1)/Export")
        assert shop.rows("/v1/Orders", exported="false") == []
        assert order(shop)["Exported"] == ["crossdock-sandbox"]
        write(shop, "DELETE", "/v1/Orders(1)/Export")
        assert len(shop.rows("/v1/Orders", exported="false")) == 1

    @pytest.mark.parametrize("verb", ["PATCH", "PUT"])
    def test_what_is_given_changes_and_the_rest_stays(self, shop: Caller, verb: str) -> None:
        write(shop, verb, "/v1/Orders(1)", {"SellerOrderID": "SO-1", "FlagID": 7, "PrivateNotes": "call first"})
        row = shop.get("/v1/Orders(1)")
        assert (row["SellerOrderID"], row["FlagID"], row["PrivateNotes"]) == ("SO-1", 7, "call first")
        assert parse(row["UpdatedDateUtc"]) > parse(NOW)
        assert (order(shop)["SellerOrderID"], order(shop)["Flag"]) == ("SO-1", "BlueFlag")
        write(shop, verb, "/v1/Orders(1)", {"SellerOrderID": "SO-1"})
        assert shop.get("/v1/Orders(1)")["UpdatedDateUtc"] == row["UpdatedDateUtc"]

    def test_an_order_is_held_and_released_by_its_checkout_status(self, shop: Caller) -> None:
        write(shop, "PATCH", "/v1/Orders(1)", {"CheckoutStatus": "OnHold"})
        assert order(shop)["OrderStatus"] == "OnHold"
        assert shop.get("/v1/Orders(1)")["CheckoutStatus"] == "OnHold"
        write(shop, "PATCH", "/v1/Orders(1)", {"CheckoutStatus": "Completed"})
        assert order(shop)["OrderStatus"] == "New"

    def test_an_address_is_changed_in_parts(self, shop: Caller) -> None:
        write(shop, "PATCH", "/v1/Orders(1)", {"ShippingFirstName": "Ada", "ShippingLastName": "King",
              "ShippingCity": "London"})  # fmt: skip
        write(shop, "PATCH", "/v1/Orders(1)", {"ShippingCity": "Bath"})
        address = order(shop)["ShippingAddress"]
        assert (address["Name"], address["City"]) == ("Ada King", "Bath")

    @pytest.mark.parametrize(
        "body",
        [{"TotalPrice": 1}, {"Sku": "x"}, {"FlagID": "red"}, {"CheckoutStatus": "Sleeping"}, {"sellerorderid": "x"},
         {"PaymentStatus": None}, {"ShippingStatus": "Unshipped", "CheckoutStatus": "Visited"}],
    )  # fmt: skip
    def test_what_cannot_be_written_is_refused_whole(self, shop: Caller, body: dict[str, Any]) -> None:
        before = order(shop)
        assert error(write(shop, "PATCH", "/v1/Orders(1)", body | {"SellerOrderID": "SO-9"}, 400))
        assert order(shop) == before

    def test_a_body_of_another_media_type_is_refused(self, shop: Caller) -> None:
        answer = shop.send("PATCH", "/v1/Orders(1)", data="x=1", headers={"Content-Type": "text/plain"})
        assert (answer.status_code, "Message" in answer.json()) == (415, True)


class TestShipments:
    def test_without_items_everything_that_is_open_ships(self, shop: Caller) -> None:
        write(shop, "POST", "/v1/Orders(1)/Ship", ship())
        (fulfillment,) = shop.rows("/v1/Orders(1)/Fulfillments", _expand="Items")
        assert (fulfillment["SellerFulfillmentID"], fulfillment["ShippingCarrier"]) == ("7", "Royal Mail")
        assert [item["Quantity"] for item in fulfillment["Items"]] == [3, 1]
        assert shop.get("/v1/Orders(1)")["ShippingStatus"] == "Shipped"
        assert (order(shop)["OrderStatus"], held(shop, "shipment")[0]["SellerFulfillmentID"]) == ("Shipped", "7")

    def test_a_repeat_ships_again_until_nothing_is_open(self, shop: Caller) -> None:
        body = ship(Items=[{"Sku": "22423", "Quantity": 1}])
        write(shop, "POST", "/v1/Orders(1)/Ship", body)
        write(shop, "POST", "/v1/Orders(1)/Ship", body)
        same = shop.rows("/v1/Orders(1)/Fulfillments", _filter="SellerFulfillmentID eq '7'")
        assert len(same) == 2
        write(shop, "POST", "/v1/Orders(1)/Ship", ship(Items=[{"OrderItemID": 11, "Quantity": 1}]))
        assert "unshipped" in error(write(shop, "POST", "/v1/Orders(1)/Ship", body, 400))
        assert order(shop)["OrderStatus"] == "PartiallyShipped"

    def test_items_are_named_by_line_sku_or_product(self, shop: Caller) -> None:
        number = product_id(shop, "85123A")
        write(shop, "POST", "/v1/Orders(1)/Ship", ship(Items=[{"ProductID": number, "Quantity": 1}]))
        assert held(shop, "shipment")[0]["Items"] == [{"OrderItemID": 12, "SKU": "85123A", "Quantity": 1}]

    @pytest.mark.parametrize(
        "fields",
        [{"ShippingClass": None}, {"ShippingCarrier": "Pigeon"}, {"Items": [{"OrderItemID": 11, "Quantity": 9}]},
         {"Items": [{"Sku": "NOTHING", "Quantity": 1}]}, {"DeliveryStatus": "Gone"}, {"Carrier": "UPS"}],
    )  # fmt: skip
    def test_what_the_account_does_not_know_is_refused(self, shop: Caller, fields: dict[str, Any]) -> None:
        assert error(write(shop, "POST", "/v1/Orders(1)/Ship", ship(**fields), 400))
        assert held(shop, "shipment") == []

    def test_the_body_must_be_wrapped(self, shop: Caller) -> None:
        assert "Value" in error(write(shop, "POST", "/v1/Orders(1)/Ship", ship()["Value"], 400))

    def test_a_change_of_a_fulfillment_without_a_status_ships_it(self, shop: Caller) -> None:
        (automatic,) = shop.rows("/v1/Orders(1)/Fulfillments")
        write(shop, "PATCH", f"/v1/Fulfillments({automatic['ID']})", {"DistributionCenterID": 4,
              "DeliveryStatus": "NoChange"})  # fmt: skip
        assert order(shop)["OrderStatus"] == "New"
        assert shop.get(f"/v1/Fulfillments({automatic['ID']})")["DistributionCenterID"] == 4
        write(shop, "PATCH", f"/v1/Fulfillments({automatic['ID']})", {"TrackingNumber": "T9"})
        (fulfillment,) = shop.rows("/v1/Orders(1)/Fulfillments")
        assert (fulfillment["ID"], fulfillment["DeliveryStatus"]) == (automatic["ID"], "Complete")
        assert (fulfillment["TrackingNumber"], fulfillment["DistributionCenterID"]) == ("T9", 4)
        assert order(shop)["OrderStatus"] == "Shipped"

    def test_tracking_is_corrected_and_a_fulfillment_is_created(self, shop: Caller) -> None:
        made = write(shop, "POST", "/v1/Fulfillments", {"OrderID": 1, "ShippingCarrier": "UPS",
                     "ShippingClass": "Ground", "Items": [{"OrderItemID": 12, "Quantity": 1}]}, 201).json()  # fmt: skip
        write(
            shop, "PATCH", f"/v1/Fulfillments({made['ID']})", {"TrackingNumber": "right", "DeliveryStatus": "NoChange"}
        )
        assert held(shop, "shipment")[0]["TrackingNumber"] == "right"


class TestAdjustments:
    def step(self, shop: Caller) -> None:
        shop.control("PUT", "clock", {"advance": 31})

    def statuses(self, shop: Caller, set: str = "OrderItemAdjustments") -> list[str]:
        return [row["RequestStatus"] for row in shop.rows(f"/v1/{set}", _filter="OrderID eq 1")]

    def test_units_that_have_not_shipped_are_cancelled_first_and_the_request_goes_its_steps(self, shop: Caller) -> None:
        write(shop, "POST", "/v1/Orders(1)/Ship", ship(Items=[{"OrderItemID": 11, "Quantity": 2}]))
        write(shop, "POST", "/v1/OrderItems(11)/Adjust", {"Quantity": 2, "SellerAdjustmentID": "A1"})
        rows = shop.rows("/v1/OrderItemAdjustments", _filter="SellerAdjustmentID eq 'A1'")
        assert sorted((row["Type"], row["Quantity"]) for row in rows) == [("Cancellation", 1), ("Refund", 1)]
        assert {row["RequestStatus"] for row in rows} == {"SubmittedNotProcessed"}
        assert {row["ItemAdjustment"] for row in rows} == {Decimal("12.7500")}
        made = facade_order(shop.whole(1))["OrderItems"][0]
        assert (made["QuantityShipped"], made["QuantityCancelled"], made["QuantityReturned"]) == (2, 1, 1)
        facade = order(shop)["OrderItems"][0]
        assert {name: made[name] for name in facade if name.startswith("Quantity")} == {
            name: facade[name] for name in facade if name.startswith("Quantity")
        }
        self.step(shop)
        assert set(self.statuses(shop)) == {"AcknowledgedPostProcessingNotComplete"}
        self.step(shop)
        assert set(self.statuses(shop)) == {"PostProcessingComplete"}
        assert held(shop, "return")[0]["Status"] == "Refunded"

    def test_the_steps_are_taken_at_once_when_the_clock_leaps(self, shop: Caller) -> None:
        write(shop, "POST", "/v1/OrderItems(12)/Adjust", {})
        shop.clock("2011-01-11T00:00:00Z")
        assert self.statuses(shop) == ["PostProcessingComplete"]
        assert order(shop)["OrderItems"][1]["QuantityCancelled"] == 1

    def test_an_order_of_which_nothing_has_left_is_cancelled_whole(self, shop: Caller) -> None:
        write(shop, "POST", "/v1/Orders(1)/Adjust", {"Reason": "BuyerCancelled", "SellerAdjustmentID": "cancel-1"})
        (row,) = shop.rows("/v1/OrderAdjustments", _filter="OrderID eq 1 and SellerAdjustmentID eq 'cancel-1'")
        assert (row["Type"], row["RequestStatus"]) == ("Cancellation", "SubmittedNotProcessed")
        assert shop.get("/v1/Orders(1)")["ShippingStatus"] == "Canceled"
        assert order(shop)["OrderStatus"] == "Cancelled"
        assert facade_order(shop.whole(1))["OrderStatus"] == "Cancelled"
        assert "nothing left" in error(write(shop, "POST", "/v1/Orders(1)/Adjust", {}, 400))

    def test_a_shipped_order_is_refunded_whole_by_one_adjustment_without_lines(self, shop: Caller) -> None:
        write(shop, "POST", "/v1/Orders(1)/Ship", ship())
        write(shop, "POST", "/v1/Orders(1)/Adjust", {"Reason": "CustomerReturnedItem"})
        (row,) = shop.rows("/v1/OrderAdjustments")
        assert (row["Type"], row["ItemAdjustment"]) == ("Refund", Decimal("51.0000"))
        assert self.statuses(shop) == []
        assert order(shop)["OrderStatus"] == "Returned"

    def test_a_refund_of_money_only(self, shop: Caller) -> None:
        write(shop, "POST", "/v1/Orders(1)/Ship", ship())
        write(shop, "POST", "/v1/OrderItems(11)/Adjust", {"ItemAdjustment": 5, "Reason": "GeneralAdjustment"})
        (row,) = shop.rows("/v1/OrderItemAdjustments")
        assert (row["Quantity"], row["ItemAdjustment"], row["TaxAdjustment"]) == (0, Decimal("5.0000"), 0)
        assert error(write(shop, "POST", "/v1/OrderItems(11)/Adjust", {"ItemAdjustment": 500}, 400))

    def test_refund_only_leaves_open_units_open(self, shop: Caller) -> None:
        body = {"Quantity": 1, "RefundOnly": True}
        assert error(write(shop, "POST", "/v1/OrderItems(11)/Adjust", body, 400))
        assert order(shop)["OrderItems"][0]["QuantityCancelled"] == 0

    def test_a_request_that_fails_changes_nothing(self, shop: Caller) -> None:
        shop.control("PUT", "v1", {"adjust": "error"})
        write(shop, "POST", "/v1/OrderItems(12)/Adjust", {"Quantity": 1})
        write(shop, "POST", "/v1/Orders(1)/Ship", ship(Items=[{"OrderItemID": 11, "Quantity": 3}]))
        write(shop, "POST", "/v1/OrderItems(11)/Adjust", {"Quantity": 1})
        assert self.statuses(shop) == ["SubmittedNotProcessed"] * 2
        self.step(shop)
        assert self.statuses(shop) == ["Error"] * 2
        lines = facade_order(shop.whole(1))["OrderItems"]
        assert [(each["QuantityCancelled"], each["QuantityReturned"]) for each in lines] == [(0, 0), (0, 0)]
        assert [(each["QuantityCancelled"], each["QuantityReturned"]) for each in order(shop)["OrderItems"]] == [
            (0, 0), (0, 0)
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("status", "action", "end", "facade"),
        [
            ("NewRma", "ApproveBuyerRequest", "PostProcessingComplete", "Refunded"),
            ("NewRma", "RejectBuyerRequest", "RejectionCompleted", "Rejected"),
            ("PendingReturn", "ApproveReturn", "PostProcessingComplete", "Refunded"),
            ("Received", "RejectReturn", "RejectionCompleted", "Rejected"),
        ],
    )
    def test_a_return_is_decided_and_works_on(
        self, shop: Caller, status: str, action: str, end: str, facade: str
    ) -> None:
        write(shop, "POST", "/v1/Orders(1)/Ship", ship())
        items = [{"OrderItemID": 11, "Quantity": 1}, {"OrderItemID": 12, "Quantity": 1}]
        shop.apply(event("return", {"ReturnID": 900, "ChannelAdvisorOrderID": 1, "Status": status, "Items": items},
                         at="2011-01-10T12:00:05Z"))  # fmt: skip
        first, second = shop.rows("/v1/OrderItemAdjustments")
        assert first["RmaNumber"] == second["RmaNumber"]
        body = {"ConditionQuantityList": [{"Condition": "New", "Quantity": 1}]} if action.endswith("Return") else None
        write(shop, "POST", f"/v1/OrderItemAdjustments({second['ID']})/{action}", body)
        assert set(self.statuses(shop)) <= {"ProcessingReturn", "ProcessingReturnRejection"}
        assert error(write(shop, "POST", f"/v1/OrderItemAdjustments({first['ID']})/{action}", body, 400))
        shop.clock("2011-01-11T00:00:00Z")
        assert self.statuses(shop) == [end] * 2
        assert held(shop, "return")[0]["Status"] == facade


class TestProducts:
    def test_a_product_is_created_changed_and_deleted(self, shop: Caller) -> None:
        sent = {"Sku": "NEW-1", "Title": "Lamp", "Cost": 1.5, "BuyItNowPrice": 9.99, "Subtitle": "A lamp",
                "Attributes": [{"Name": "Colour", "Value": "Red"}], "Labels": [{"Name": "Web"}]}  # fmt: skip
        answer = write(shop, "POST", "/v1/Products", sent, 201)
        number = answer.json()["ID"]
        assert answer.headers["Location"] == f"{shop.base}/v1/Products({number})"
        row = shop.get(f"/v1/Products({number})", _expand="Attributes,Labels")
        assert (row["BuyItNowPrice"], row["Subtitle"]) == (Decimal("9.9900"), "A lamp")
        assert (row["Attributes"][0]["Value"], row["Labels"][0]["Name"]) == ("Red", "Web")
        assert held(shop, "price", SKU="NEW-1")[0]["Price"] == Decimal("9.9900")
        assert "already exists" in error(write(shop, "POST", "/v1/Products", sent, 400))
        write(shop, "PATCH", f"/v1/Products({number})", {"Title": "Lantern", "MinPrice": 5, "IsBlocked": True})
        facade = held(shop, "product", SKU="NEW-1")[0]
        assert (facade["Title"], facade["IsBlocked"]) == ("Lantern", True)
        assert held(shop, "price", SKU="NEW-1")[0]["MinPrice"] == Decimal("5.0000")
        write(shop, "DELETE", f"/v1/Products({number})")
        assert held(shop, "product", SKU="NEW-1") == held(shop, "price", SKU="NEW-1") == []
        write(shop, "PATCH", f"/v1/Products({number})", {"Title": "x"}, 404)

    def test_writing_what_is_there_moves_nothing(self, shop: Caller) -> None:
        number = product_id(shop, "22423")
        write(shop, "PATCH", f"/v1/Products({number})", {"BuyItNowPrice": 8})
        before = shop.get(f"/v1/Products({number})")
        write(shop, "PUT", f"/v1/Products({number})", {"BuyItNowPrice": 8.0, "Title": before["Title"]})
        assert shop.get(f"/v1/Products({number})") == before

    @pytest.mark.parametrize(
        "body", [{"Nonsense": 1}, {"TotalAvailableQuantity": 4}, {"Cost": "1.00"}, {"Sku": "x"}, {"UPC": "12"},
                 {"BuyItNowPrice": 1.23456}, {"BuyItNowPrice": -1}],
    )  # fmt: skip
    def test_what_cannot_be_written_is_refused(self, shop: Caller, body: dict[str, Any]) -> None:
        number = product_id(shop, "22423")
        before = shop.get(f"/v1/Products({number})")
        assert error(write(shop, "PATCH", f"/v1/Products({number})", body | {"Warranty": "x"}, 400))
        assert shop.get(f"/v1/Products({number})") == before

    def test_entries_are_written_by_alias_and_by_key(self, shop: Caller) -> None:
        number, bundle = product_id(shop, "22423"), product_id(shop, "KIT-77/2")
        path = f"/v1/Products({number})"
        write(shop, "PUT", f"{path}/Images('ITEMIMAGEURL1')", {"Url": "https://example.com/1.jpg"})
        write(shop, "PUT", f"{path}/Attributes('Size''s')", {"Value": "L"})
        write(shop, "PATCH", f"/v1/AttributeValues(ProductID={number},Name='Size''s')", {"Value": "XL"})
        write(shop, "POST", f"{path}/UpdateAttributes", {"Value": {"Attributes": [{"Name": "Colour", "Value": "Red"}]}})
        write(shop, "PUT", f"{path}/Labels('Web')")
        facade = held(shop, "product", SKU="22423")[0]
        assert facade["Images"] == [{"PlacementName": "ITEMIMAGEURL1", "Url": "https://example.com/1.jpg"}]
        assert [tuple(each.values()) for each in facade["Attributes"]] == [("Size's", "XL"), ("Colour", "Red")]
        assert [row["Name"] for row in shop.rows(f"{path}/Labels")] == ["Web"]
        write(shop, "DELETE", f"{path}/Images('ITEMIMAGEURL1')")
        write(shop, "DELETE", f"{path}/Images('ITEMIMAGEURL1')", status=404)
        parts = f"/v1/Products({bundle})/BundleComponents"
        write(shop, "PATCH", f"{parts}({number})", {"Quantity": 5})
        write(shop, "DELETE", f"{parts}({product_id(shop, '85123A')})")
        assert held(shop, "product", SKU="KIT-77/2")[0]["BundleComponents"] == [{"SKU": "22423", "Quantity": 5}]
        write(shop, "POST", parts, {"ComponentID": product_id(shop, "85123A"), "Quantity": 2}, 201)
        assert error(write(shop, "POST", f"{path}/BundleComponents", {"ComponentID": bundle, "Quantity": 1}, 400))


class TestQuantities:
    def quantity(self, shop: Caller, number: int, kind: str, status: int = 204, **units: Any) -> requests.Response:
        updates = [{"DistributionCenterID": int(name[1:]), "Quantity": value} for name, value in units.items()]
        body = {"Value": {"UpdateType": kind, "Updates": updates}}
        return write(shop, "POST", f"/v1/Products({number})/UpdateQuantity", body, status)

    def levels(self, shop: Caller, number: int) -> dict[int, int]:
        rows = shop.rows(f"/v1/Products({number})/DCQuantities")
        return {row["DistributionCenterID"]: row["AvailableQuantity"] for row in rows}

    def test_the_types_of_an_update(self, shop: Caller) -> None:
        number = product_id(shop, "22423")  # 40 on offer before order 1 took 3 of them
        pending = sold(2, line(21, quantity=2), OrderStatus="Pending", PaymentStatus="Submitted")
        shop.apply(event("order", pending))
        for kind, expected in (("Absolute", 50), ("Available", 50), ("InStock", 48), ("UnShipped", 45)):
            self.quantity(shop, number, kind, c4=50)
            assert self.levels(shop, number)[4] == expected, kind
        self.quantity(shop, number, "Relative", c4=-5)
        assert self.levels(shop, number)[4] == 40

    def test_several_centers_are_written_whole_or_not_at_all(self, shop: Caller) -> None:
        number = product_id(shop, "85123A")
        self.quantity(shop, number, "Absolute", c4=5, c5=6)
        assert self.levels(shop, number) == {4: 5, 5: 6}
        assert "managed by the marketplace" in error(self.quantity(shop, number, "Absolute", 400, c4=1, c9=1))
        assert self.levels(shop, number) == {4: 5, 5: 6}
        body = {"Value": {"UpdateType": "Absolute", "CompleteDCList": True,
                          "Updates": [{"DistributionCenterID": 5, "Quantity": 2}]}}  # fmt: skip
        write(shop, "POST", f"/v1/Products({number})/UpdateQuantity", body)
        assert self.levels(shop, number) == {4: 0, 5: 2}
        row = shop.get(f"/v1/Products({number})")
        assert (row["TotalAvailableQuantity"], parse(row["QuantityUpdateDateUtc"]) > parse(NOW)) == (2, True)

    def test_bundles_and_unknown_types_are_refused(self, shop: Caller) -> None:
        number = product_id(shop, "22423")
        assert error(self.quantity(shop, product_id(shop, "KIT-77/2"), "Absolute", 400, c4=1))
        assert error(self.quantity(shop, number, "absolute", 400, c4=1))
        assert error(self.quantity(shop, number, "Absolute", 400, c4=-1))
        self.quantity(shop, 5, "Absolute", 404, c4=1)


class TestBatches:
    def send(self, shop: Caller, *parts: tuple[str, str, Any], accept: str = "application/json") -> requests.Response:
        text = b""
        for number, (method, path, body) in enumerate(parts, start=1):
            text += (
                (
                    f"--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
                    f"Content-ID: {number}\r\n\r\n{method} {shop.base}{path} HTTP/1.1\r\n"
                    f"Content-Type: application/json\r\n\r\n"
                ).encode()
                + (b"" if body is None else encode(body))
                + b"\r\n"
            )
        headers = {"Content-Type": "multipart/mixed; boundary=b", "Accept": accept}
        return shop.send("POST", "/v1/$batch", data=text + b"--b--\r\n", headers=headers)

    def test_each_part_has_its_own_outcome(self, shop: Caller) -> None:
        number = product_id(shop, "85123A")
        value = {"Value": {"UpdateType": "Absolute", "Updates": [{"DistributionCenterID": 4, "Quantity": 8}]}}
        answer = self.send(
            shop,
            ("POST", f"/v1/Products({number})/UpdateQuantity", value),
            ("POST", "/v1/Products(5)/UpdateQuantity", value),
            ("GET", f"/v1/Products({number})?$select=ID,TotalAvailableQuantity", None),
            ("PATCH", f"/v1/Products({number})", {"Nonsense": 1}),
        )
        assert answer.status_code == 200
        replies = answer.json()["responses"]
        assert [(reply["id"], reply["status"]) for reply in replies] == [
            ("1", 204), ("2", 404), ("3", 200), ("4", 400)
        ]  # fmt: skip
        assert replies[2]["body"]["TotalAvailableQuantity"] == 8
        assert "body" not in replies[0]

    def test_without_json_the_answer_is_multipart(self, shop: Caller) -> None:
        answer = self.send(shop, ("GET", "/v1/Sites?$top=1", None), accept="multipart/mixed")
        assert answer.headers["Content-Type"].startswith("multipart/mixed; boundary=")
        assert "HTTP/1.1 200 OK" in answer.text

    def test_exports_and_aliases_are_in_no_batch(self, shop: Caller) -> None:
        number = product_id(shop, "22423")
        parts = [("POST", "/v1/Orders(1)/Export", None),
                 ("PUT", f"/v1/Products({number})/Attributes('x')", {"Value": "y"}),
                 ("PUT", f"/v1/AttributeValues(ProductID={number},Name='x')", {"Value": "y"})]  # fmt: skip
        statuses = [reply["status"] for reply in self.send(shop, *parts).json()["responses"]]
        assert statuses == [400, 404, 204]
        assert order(shop)["Exported"] == []

    def test_each_part_counts_against_the_limit(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        with running(tmp_path_factory.mktemp("limited"), ChannelAdvisor, per_minute=3) as url:
            answer = self.send(Caller(url), *[("GET", "/v1/Sites", None)] * 4)
        assert [reply["status"] for reply in answer.json()["responses"]] == [200, 200, 429, 429]

    def test_parts_fail_on_purpose_before_or_after_their_effect(self, shop: Caller) -> None:
        number = product_id(shop, "22423")
        shop.fault("bulk_partial", "/v1/$batch", every=2, effect=True)
        parts = [("PATCH", f"/v1/Products({number})", {"Warranty": text}) for text in ("a", "b")]
        statuses = [reply["status"] for reply in self.send(shop, *parts[:1]).json()["responses"]]
        assert statuses == [500]
        assert shop.get(f"/v1/Products({number})")["Warranty"] == "a"
        shop.fault("bulk_partial", "/v1/$batch", every=2, status=406)
        statuses = [reply["status"] for reply in self.send(shop, *parts).json()["responses"]]
        assert statuses == [406, 204]

    def test_what_cannot_be_read_is_refused_whole(self, shop: Caller) -> None:
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        body = "--b\nContent-Type: application/http\n\nGET /v1/Sites HTTP/1.1\n\n--b--\n"
        assert shop.send("POST", "/v1/$batch", data=body, headers=headers).status_code == 400
        assert shop.send("POST", "/v1/$batch", json={}).status_code == 415
        assert self.send(shop, *[("GET", "/v1/Sites", None)] * 101).status_code == 400


class TestExports:
    def run(self, shop: Caller, query: str = "", body: str = "") -> list[dict[str, str]]:
        headers = {"Content-Type": "text/plain"}
        job = shop.send("POST", f"/v1/ProductExport?profileid=12345678{query}", data=body, headers=headers).json()
        assert (job["Status"], job["ResponseFileUrl"]) == ("Pending", None)
        statuses = []
        while not job["ResponseFileUrl"]:
            job = shop.send("GET", f"/v1/ProductExport?token={job['Token']}").json()
            statuses.append(job["Status"])
        assert statuses == ["InProgressQueuedforProcessing", "Complete"]
        with zipfile.ZipFile(io.BytesIO(requests.get(job["ResponseFileUrl"], timeout=10).content)) as folder:
            (name,) = folder.namelist()
            assert name.endswith(".txt")
            return list(csv.DictReader(io.StringIO(folder.read(name).decode(), newline=""), dialect="excel-tab"))

    def test_a_job_ends_with_a_zip_of_one_table(self, shop: Caller) -> None:
        rows = self.run(shop, body="id, sku, TotalAvailableQuantity, CreateDateUtc, isblocked")
        assert list(rows[0]) == ["ID", "Sku", "TotalAvailableQuantity", "CreateDateUtc", "IsBlocked"]
        assert [(row["Sku"], row["TotalAvailableQuantity"]) for row in rows] == [
            ("22423", "37"), ("85123A", "0"), ("KIT-77/2", "")
        ]  # fmt: skip
        assert (rows[0]["CreateDateUtc"], rows[0]["IsBlocked"]) == ("1/4/2011 10:00:00 AM", "False")

    def test_a_filter_and_all_columns(self, shop: Caller) -> None:
        write(shop, "PUT", f"/v1/Products({product_id(shop, '85123A')})/Attributes('Colour')", {"Value": "White"})
        (row,) = self.run(shop, "&$filter=Sku eq '85123A'")
        assert (row["Sku"], row["Attribute1Name"], row["Attribute1Value"]) == ("85123A", "Colour", "White")

    def test_unknown_columns_tokens_and_profiles_are_refused(self, shop: Caller) -> None:
        for path, body in (("?profileid=12345678", "sku, colour"), ("?profileid=1", "sku")):
            assert shop.send("POST", f"/v1/ProductExport{path}", data=body).status_code == 400
        assert shop.send("GET", "/v1/ProductExport?token=x").status_code == 400
        assert requests.get(f"{shop.base}/exports/x.zip", timeout=10).status_code == 404


class TestUploads:
    def upload(self, shop: Caller, table: bytes, kind: str = "AddUpdate") -> dict[str, tuple[str, str]]:
        job = shop.send("POST", f"/v1/ProductUpload?importtype={kind}", data=table).json()
        while not job["ResponseFileUrl"]:
            job = shop.send("GET", f"/v1/ProductUpload?token={job['Token']}").json()
        with zipfile.ZipFile(io.BytesIO(requests.get(job["ResponseFileUrl"], timeout=10).content)) as folder:
            text = folder.read(folder.namelist()[0]).decode()
        rows = csv.DictReader(io.StringIO(text, newline=""), dialect="excel-tab")
        return {row["Sku"]: (row["Status"], row["Message"]) for row in rows}

    def test_each_row_has_its_own_result(self, shop: Caller) -> None:
        table = (
            "sku\ttitle\tBuyItNowPrice\tIsBlocked\tAttribute1Name\tAttribute1Value\r\n"
            "NEW-7\tA lamp\t9.99\tTrue\tColour\tRed\r\n"
            "22423\t\t7.5\t\t\t\r\n"
            "BAD-1\tx\tcheap\t\t\t\r\n"
            "BAD-2\t\t1\t\t\t\r\n"
        )
        found = self.upload(shop, table.encode())
        assert {sku: status for sku, (status, _) in found.items()} == {
            "NEW-7": "Complete", "22423": "Complete", "BAD-1": "Error", "BAD-2": "Error"
        }  # fmt: skip
        assert "BuyItNowPrice" in found["BAD-1"][1]
        facade = held(shop, "product", SKU="NEW-7")[0]
        assert (facade["IsBlocked"], facade["Attributes"]) == (True, [{"Name": "Colour", "Value": "Red"}])
        assert held(shop, "product", SKU="22423")[0]["Title"] == "Regency cakestand 3 tier"
        assert held(shop, "price", SKU="22423")[0]["Price"] == Decimal("7.5000")
        assert held(shop, "product", SKU="BAD-2") == []

    def test_the_kind_of_an_import_says_what_may_be_there(self, shop: Caller) -> None:
        table = b"Sku,Title\nNEW-8,x\n22423,y\n"
        assert [status for status, _ in self.upload(shop, table, "UpdateOnly").values()] == ["Error", "Complete"]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as folder:
            folder.writestr("a.csv", table)
        found = self.upload(shop, packed.getvalue(), "AddOnly")
        assert [status for status, _ in found.values()] == ["Complete", "Error"]

    @pytest.mark.parametrize("table", [b"Title\nx\n", b"Sku,Colour\na,b\n", b"PK broken", b"\xff\xfe"])
    def test_what_is_no_table_of_products_is_refused(self, shop: Caller, table: bytes) -> None:
        assert shop.send("POST", "/v1/ProductUpload", data=table).status_code == 400


def test_a_write_that_is_refused_on_purpose_changes_nothing(base: str) -> None:
    requests.post(f"{base}/_sandbox/reset", timeout=10)
    caller = Caller(base)
    caller.clock(NOW)
    caller.renew()
    caller.apply(*SITES, *PRODUCTS, event("order", sold(1)))
    caller.fault("refused", "/v1/Orders(1)/*", status=400)
    assert error(write(caller, "POST", "/v1/Orders(1)/Export", status=400)) == "Refused on purpose."
    assert held(caller, "order")[0]["Exported"] == []
