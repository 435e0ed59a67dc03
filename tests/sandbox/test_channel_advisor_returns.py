"""Returns of the Channel Advisor sandbox behave as its contract says, seen over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests

from contract.channel_advisor_calls import PRODUCTS, SITES, Caller, encode, event, line, running, sold

NOW = "2011-01-10T12:00:00Z"
# The contract's own example: 3 x 14.95, tax 3.59, shipping 9.95, shipping tax 0.15.
EXAMPLE = line(
    101,
    quantity=3,
    price="14.9500",
    TaxAmount=Decimal("3.5900"),
    ShippingAmount=Decimal("9.9500"),
    ShippingTaxAmount=Decimal("0.1500"),
    DiscountAmount=Decimal("0.0000"),
    QuantityShipped=3,
)
TOTALS = {
    "TotalTaxPrice": Decimal("3.5900"),
    "TotalShippingPrice": Decimal("9.9500"),
    "TotalShippingTaxPrice": Decimal("0.1500"),
    "TotalPrice": Decimal("58.5400"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("channel_advisor"), per_minute=1_000_000) as url:
        yield url


@pytest.fixture
def shop(base: str) -> Caller:
    """An account with one shipped order, 1, of three units on the line 101, and an order, 2, that has not shipped."""
    requests.post(f"{base}/_sandbox/reset", timeout=10)
    caller = Caller(base)
    caller.clock(NOW)
    caller.renew()
    caller.apply(*SITES, *PRODUCTS)
    caller.apply(event("order", sold(1, EXAMPLE, OrderStatus="Shipped", **TOTALS)), event("order", sold(2)))
    return caller


def opened(order: int = 1, key: str = "CM-1", *items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {
        "ChannelAdvisorOrderID": order,
        "SellerAdjustmentID": key,
        "Items": list(items) or [{"SKU": "22423", "Quantity": 1}],
    }
    return body | fields


def create(shop: Caller, body: dict[str, Any]) -> requests.Response:
    return shop.call("POST", "/v2/returns", data=encode(body), headers={"Content-Type": "application/json"})


def made(shop: Caller, *items: dict[str, Any], key: str = "CM-1", **fields: Any) -> dict[str, Any]:
    answer = create(shop, opened(1, key, *items, **fields))
    assert answer.status_code == 201, answer.text
    return shop.get(f"/v2/returns/{answer.json()['ReturnID']}")


def resolve(shop: Caller, number: int, decision: str, **more: Any) -> requests.Response:
    return shop.call("POST", f"/v2/returns/{number}/resolve", json={"Decision": decision} | more)


def codes(answer: requests.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {each["Field"]: each["Code"] for each in answer.json()["error"]["details"]["Errors"]}


class TestOpening:
    def test_absent_amounts_are_the_contracts_own_example(self, shop: Caller) -> None:
        found = made(shop)
        assert found["Items"] == [
            {
                "OrderItemID": 101,
                "SKU": "22423",
                "Quantity": 1,
                "RefundAmount": Decimal("14.9500"),
                "TaxRefund": Decimal("1.2500"),
                "ShippingRefund": Decimal("3.3200"),
                "Restock": False,
                "Condition": None,
            }
        ]
        assert (found["RefundTotal"], found["Status"], found["Reason"], found["Currency"], found["RefundDate"]) == (
            Decimal("19.5200"), "NewRma", "GeneralAdjustment", "GBP", None,
        )  # fmt: skip
        assert found["RmaNumber"]

    def test_a_tax_inside_the_amounts_is_told_apart_from_them(self, shop: Caller) -> None:
        totals = TOTALS | {"TotalPrice": Decimal("54.8000")}
        inside = dict.fromkeys(("OrderTaxType", "ShippingTaxType"), "InclusiveVat")
        shop.apply(event("order", sold(3, EXAMPLE | {"OrderItemID": 301}, OrderStatus="Shipped", **totals, **inside)))
        answer = create(shop, opened(3, "CM-3", {"OrderItemID": 301, "Quantity": 3}))
        (item,) = shop.get(f"/v2/returns/{answer.json()['ReturnID']}")["Items"]
        amounts = [str(item[name]) for name in ("RefundAmount", "TaxRefund", "ShippingRefund")]
        assert amounts == ["41.2600", "3.7400", "9.8000"]
        assert answer.json()["RefundTotal"] == 54.8

    def test_a_repeat_is_the_first_return_whatever_it_says(self, shop: Caller) -> None:
        first = create(shop, opened())
        again = create(shop, opened(1, "CM-1", {"SKU": "22423", "Quantity": 99}))
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == first.json()

    def test_given_amounts_stand_and_absent_ones_beside_them_are_computed(self, shop: Caller) -> None:
        found = made(shop, {"OrderItemID": 101, "Quantity": 0, "RefundAmount": Decimal("5.0000")})
        assert (found["Items"][0]["RefundAmount"], found["RefundTotal"]) == (Decimal("5.0000"), Decimal("5.0000"))

    def test_an_order_that_nothing_has_shipped_of_is_a_conflict(self, shop: Caller) -> None:
        answer = create(shop, opened(2))
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "OrderNotShipped")

    def test_units_of_other_returns_are_not_there_any_more(self, shop: Caller) -> None:
        made(shop, {"SKU": "22423", "Quantity": 2})
        assert codes(create(shop, opened(1, "CM-2", {"SKU": "22423", "Quantity": 2}))) == {
            "Items[0].Quantity": "QuantityExceedsShipped"
        }
        assert made(shop, {"SKU": "22423", "Quantity": 1}, key="CM-3")["Items"][0]["Quantity"] == 1

    def test_units_of_a_rejected_return_are_there_again(self, shop: Caller) -> None:
        resolve(shop, made(shop, {"SKU": "22423", "Quantity": 3})["ReturnID"], "Reject")
        assert made(shop, {"SKU": "22423", "Quantity": 3}, key="CM-2")["Status"] == "NewRma"

    def test_returns_one_unit_at_a_time_never_give_back_more_than_the_line_had(self, shop: Caller) -> None:
        total = sum(made(shop, key=f"CM-{n}")["RefundTotal"] for n in range(3))
        assert total == Decimal("58.5400")

    @pytest.mark.parametrize(
        ("item", "field", "code"),
        [
            ({"SKU": "none", "Quantity": 1}, "Items[0].SKU", "UnknownItem"),
            ({"OrderItemID": 7, "Quantity": 1}, "Items[0].OrderItemID", "UnknownItem"),
            ({"SKU": "22423", "Quantity": 4}, "Items[0].Quantity", "QuantityExceedsShipped"),
            ({"SKU": "22423", "Quantity": 1, "RefundAmount": 44.86}, "Items[0].RefundAmount", "RefundExceedsLine"),
            ({"SKU": "22423", "Quantity": 1, "TaxRefund": 3.75}, "Items[0].TaxRefund", "RefundExceedsLine"),
            ({"SKU": "22423", "Quantity": 1, "ShippingRefund": 9.96}, "Items[0].ShippingRefund", "RefundExceedsLine"),
            ({"SKU": "22423", "Quantity": 1, "RefundAmount": 1.00001}, "Items[0].RefundAmount", "InvalidAmount"),
        ],
    )
    def test_every_wrong_item_is_422_by_its_field(
        self, shop: Caller, item: dict[str, Any], field: str, code: str
    ) -> None:
        assert codes(create(shop, opened(1, "CM-1", item))) == {field: code}

    def test_an_unknown_order_is_422(self, shop: Caller) -> None:
        assert codes(create(shop, opened(99))) == {"ChannelAdvisorOrderID": "UnknownOrder"}

    def test_a_field_of_answers_only_is_400(self, shop: Caller) -> None:
        assert create(shop, opened(RefundTotal=5)).status_code == 400

    def test_a_sku_on_several_lines_takes_their_units_and_a_given_amount_in_order(self, shop: Caller) -> None:
        lines = [line(301, quantity=2, QuantityShipped=2), line(302, quantity=3, QuantityShipped=3)]
        shop.apply(event("order", sold(3, *lines, OrderStatus="Shipped")))
        item = {"SKU": "22423", "Quantity": 4, "RefundAmount": Decimal("30.0000")}
        items = create(shop, opened(3, "CM-1", item)).json()["Items"]
        assert [(each["OrderItemID"], each["Quantity"], each["RefundAmount"]) for each in items] == [
            (301, 2, 25.5),
            (302, 2, 4.5),
        ]


class TestDeciding:
    def test_an_approved_return_counts_on_the_order_and_puts_the_units_on_offer(self, shop: Caller) -> None:
        number = made(shop, {"SKU": "22423", "Quantity": 2, "Restock": True})["ReturnID"]
        assert shop.order(1)["OrderItems"][0]["QuantityReturned"] == 0
        answer = resolve(shop, number, "Approve", Comment="Goods received in good order")
        assert (answer.json()["Status"], answer.json()["Comment"]) == ("Approved", "Goods received in good order")
        order = shop.order(1)
        assert (order["OrderItems"][0]["QuantityReturned"], order["OrderStatus"]) == (2, "Shipped")
        assert shop.get("/v2/products/22423")["TotalAvailableQuantity"] == 38 + 2  # order 2 holds two of forty

    def test_an_order_reads_returned_once_all_that_shipped_is_in_approved_returns(self, shop: Caller) -> None:
        for n in range(3):
            assert shop.order(1)["OrderStatus"] == "Shipped"
            resolve(shop, made(shop, key=f"CM-{n}")["ReturnID"], "Approve")
        order = shop.order(1)
        assert (order["OrderStatus"], order["OrderItems"][0]["QuantityReturned"]) == ("Returned", 3)
        assert shop.get("/v2/products/22423")["TotalAvailableQuantity"] == 38  # nothing said Restock

    def test_marking_as_refunded_sets_the_date_once(self, shop: Caller) -> None:
        number = made(shop)["ReturnID"]
        resolve(shop, number, "Approve")
        first = resolve(shop, number, "MarkRefunded").json()
        assert (first["Status"], first["RefundDate"]) == ("Refunded", first["UpdatedDate"])
        shop.control("PUT", "clock", {"advance": 60})
        assert resolve(shop, number, "MarkRefunded").json() == first

    @pytest.mark.parametrize(
        ("before", "decision", "allowed"),
        [
            ((), "MarkRefunded", ["Approve", "Reject"]),
            (("Approve",), "Reject", ["MarkRefunded"]),
            (("Approve", "MarkRefunded"), "Approve", []),
            (("Reject",), "Approve", []),
        ],
    )
    def test_a_decision_out_of_turn_is_409_with_those_allowed(
        self, shop: Caller, before: tuple[str, ...], decision: str, allowed: list[str]
    ) -> None:
        number = made(shop)["ReturnID"]
        for each in before:
            assert resolve(shop, number, each).status_code == 200
        answer = resolve(shop, number, decision)
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "IllegalDecision"
        assert answer.json()["error"]["details"]["AllowedDecisions"] == allowed

    def test_a_repeated_decision_changes_nothing(self, shop: Caller) -> None:
        number = made(shop, {"SKU": "22423", "Quantity": 1, "Restock": True})["ReturnID"]
        first = resolve(shop, number, "Approve").json()
        shop.control("PUT", "clock", {"advance": 60})
        assert resolve(shop, number, "Approve", Comment="again").json() == first
        assert shop.get("/v2/products/22423")["TotalAvailableQuantity"] == 38 + 1

    def test_an_unknown_return_is_404(self, shop: Caller) -> None:
        assert shop.call("GET", "/v2/returns/7").status_code == 404
        assert resolve(shop, 7, "Approve").status_code == 404


class TestTheWorld:
    def test_a_buyers_return_gets_ids_and_amounts_from_its_order(self, shop: Caller) -> None:
        document = {"ReturnID": 9, "ChannelAdvisorOrderID": 1, "Items": [{"SKU": "22423", "Quantity": 1}]}
        shop.apply(event("return", document, at=NOW))
        found = shop.get("/v2/returns/9")
        assert (found["SellerAdjustmentID"], found["Items"][0]["OrderItemID"], found["RefundTotal"]) == (
            None, 101, Decimal("19.5200"),
        )  # fmt: skip

    def test_a_marketplaces_refund_counts_at_once(self, shop: Caller) -> None:
        document = {"ReturnID": 9, "ChannelAdvisorOrderID": 1, "Items": [{"SKU": "22423", "Quantity": 3}]}
        changes = {"Status": "Refunded", "RefundDate": "2011-01-10T13:00:00Z"}
        shop.apply(event("return", document, at=NOW))
        shop.apply(event("return_change", {"ReturnID": 9, "changes": changes}, at="2011-01-10T13:00:00Z"))
        assert shop.get("/v2/returns/9")["RefundDate"] == "2011-01-10T13:00:00Z"
        assert shop.order(1)["OrderStatus"] == "Returned"

    def test_the_warehouse_sees_the_goods_and_the_amounts_stay(self, shop: Caller) -> None:
        document = {"ReturnID": 9, "ChannelAdvisorOrderID": 1, "Items": [{"SKU": "22423", "Quantity": 1}]}
        seen = {"Status": "Received", "Items": [{"OrderItemID": 101, "Condition": "Damaged"}]}
        shop.apply(event("return", document, at=NOW), event("return_change", {"ReturnID": 9, "changes": seen}, at=NOW))
        found = shop.get("/v2/returns/9")
        assert (found["Status"], found["Items"][0]["Condition"], found["RefundTotal"]) == (
            "Received", "Damaged", Decimal("19.5200"),
        )  # fmt: skip

    def test_a_return_may_come_before_its_order_only_if_it_says_so(self, shop: Caller) -> None:
        item = {"OrderItemID": 501, "SKU": "22423", "Quantity": 1, "RefundAmount": Decimal("12.7500")}
        document = {"ReturnID": 9, "ChannelAdvisorOrderID": 5, "Currency": "GBP", "Items": [item]}
        early = event("return", document, at=NOW)
        refused = shop.send("POST", "/_sandbox/apply", data=encode({"events": [early]}))
        assert (refused.status_code, "Say dirty" in refused.json()["error"]) == (422, True)
        shop.apply(early | {"dirty": True})
        assert shop.get("/v2/returns/9")["RefundTotal"] == Decimal("12.7500")

    def test_lists_are_found_by_order_and_status_and_by_change(self, shop: Caller) -> None:
        first, second = made(shop)["ReturnID"], made(shop, key="CM-2")["ReturnID"]
        resolve(shop, first, "Reject")

        def numbers(**query: Any) -> list[int]:
            return [each["ReturnID"] for each in shop.get("/v2/returns", **query)["value"]]

        assert numbers(channelAdvisorOrderId=1) == [second, first]
        assert numbers(channelAdvisorOrderId=2) == []
        assert numbers(status=["Rejected", "Approved"]) == [first]
        assert numbers(updatedSince="2011-01-11") == []
