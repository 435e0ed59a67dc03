"""The Channel Advisor sandbox behaves as its contract says, seen over HTTP."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from contract.channel_advisor_calls import (
    CLIENT,
    PRODUCTS,
    SECOND_CLIENT,
    SITES,
    Caller,
    encode,
    event,
    line,
    running,
    sold,
)
from sandbox.channel_advisor.server import ChannelAdvisor
from sandbox.kernel.clock import parse
from sandbox.kernel.serve import serve

NOW = "2011-01-10T12:00:00Z"
STATUSES = ("Pending", "New", "OnHold", "Processing", "PartiallyShipped", "Shipped", "Cancelled", "Returned")
MAY_SET = {
    "Pending": {"Cancelled"},
    "New": {"OnHold", "Processing", "Shipped", "Cancelled"},
    "OnHold": {"New", "Processing", "Cancelled"},
    "Processing": {"OnHold", "Shipped", "Cancelled"},
    "PartiallyShipped": {"Shipped", "Cancelled"},
    "Shipped": set(),
    "Cancelled": set(),
    "Returned": set(),
}
DENIED = "Authorization has been denied for this request."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("channel_advisor"), per_minute=1_000_000) as url:
        yield url


@pytest.fixture
def shop(base: str) -> Caller:
    """An account with sites and products, without orders."""
    requests.post(f"{base}/_sandbox/reset", timeout=10)
    caller = Caller(base)
    caller.clock(NOW)
    caller.renew()
    caller.apply(*SITES, *PRODUCTS)
    return caller


def shipment(order: int, key: str, **fields: Any) -> dict[str, Any]:
    return {
        "ChannelAdvisorOrderID": order,
        "SellerFulfillmentID": key,
        "ShippedDate": "2011-01-10T11:00:00Z",
        "Carrier": "royal mail",
        "ServiceClass": "tracked 48",
        "TrackingNumber": "AB1",
    } | fields


def ship(shop: Caller, *items: Any) -> list[dict[str, Any]]:
    answer = shop.call("POST", "/v2/shipping", json={"Shipments": list(items)})
    assert answer.status_code == 207
    return answer.json()["Results"]


def new_order(number: str = "WEB-1", **fields: Any) -> dict[str, Any]:
    items = [{"SKU": "22423", "Quantity": 2, "UnitPrice": 3.99, "TaxAmount": 0.66}]
    return {
        "OrderID": number,
        "OrderDate": "2011-01-10T11:05:00+01:00",
        "Currency": "GBP",
        "OrderItems": items,
    } | fields


def numbers(shop: Caller, **query: Any) -> list[int]:
    return [row["ChannelAdvisorOrderID"] for page in shop.pages("/v2/orders", **query) for row in page["value"]]


def error(answer: requests.Response) -> dict[str, Any]:
    return answer.json()["error"]


class TestTokens:
    def test_a_refresh_token_is_reusable_and_older_tokens_stay_valid(self, shop: Caller) -> None:
        older = shop.http.headers["Authorization"]
        shop.renew()
        assert shop.http.headers["Authorization"] != older
        shop.get("/v2/orders")
        shop.http.headers["Authorization"] = older
        shop.get("/v2/orders")

    def test_a_token_dies_after_an_hour_that_has_passed(self, shop: Caller) -> None:
        shop.control("PUT", "clock", {"advance": 3590})
        shop.get("/v2/orders")
        shop.control("PUT", "clock", {"advance": 11})
        answer = shop.call("GET", "/v2/orders")
        assert (answer.status_code, error(answer)) == (401, {"code": "", "message": DENIED})

    def test_a_token_outlives_a_leap_of_the_world_for_its_client_has_not_waited(self, shop: Caller) -> None:
        now = datetime.fromisoformat(shop.control("GET", "clock")["now"])
        shop.control("PUT", "clock", {"now": f"{now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"})
        shop.get("/v2/orders")

    @pytest.mark.parametrize(
        ("client", "form", "code"),
        [
            (("crossdock-sandbox", "wrong"), {"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_client"),
            (None, {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"}, "invalid_client"),
            (CLIENT, {"grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
            (SECOND_CLIENT, {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"}, "invalid_grant"),
            (CLIENT, {"grant_type": "password", "refresh_token": "sandbox-refresh"}, "unsupported_grant_type"),
            (CLIENT, {"grant_type": "refresh_token"}, "invalid_request"),
            (CLIENT, {"refresh_token": "sandbox-refresh"}, "invalid_request"),
            (CLIENT, {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh", "x": "1"}, "invalid_request"),
        ],
    )
    def test_every_wrong_token_request_is_400_with_its_cause(
        self, shop: Caller, client: Any, form: Any, code: str
    ) -> None:
        answer = requests.post(f"{shop.base}/oauth2/token", data=form, auth=client, timeout=10)
        assert (answer.status_code, answer.json()) == (400, {"error": code})

    def test_a_token_request_of_another_body_type_is_400_in_plain_text(self, shop: Caller) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"}
        answer = requests.post(f"{shop.base}/oauth2/token", json=form, auth=CLIENT, timeout=10)
        assert (answer.status_code, answer.text) == (400, "Bad Request")
        assert answer.headers["Content-Type"].startswith("text/plain")

    def test_a_token_in_the_query_is_not_looked_at(self, shop: Caller) -> None:
        token = shop.http.headers.pop("Authorization").removeprefix("Bearer ")
        assert shop.send("GET", "/v2/orders", params={"access_token": token}).status_code == 401

    def test_too_little_scope_is_401(self, shop: Caller) -> None:
        orders_only = Caller(shop.base, "sandbox-refresh-orders")
        orders_only.get("/v2/orders")
        orders_only.get("/v2/sites")
        assert orders_only.call("GET", "/v2/products").status_code == 401


class TestLists:
    def test_following_next_link_gives_every_row_once_in_order(self, shop: Caller) -> None:
        moments = {7: "10:00:00Z", 3: "10:00:00Z", 5: "09:00:00.5Z", 9: "11:00:00Z", 1: "10:00:00.0000001Z"}
        shop.apply(*(event("order", sold(n), at=f"2011-01-04T{at}") for n, at in moments.items()))
        pages = list(shop.pages("/v2/orders", limit=2))
        assert [[row["ChannelAdvisorOrderID"] for row in page["value"]] for page in pages] == [[5, 3], [7, 1], [9]]
        assert pages[0]["nextLink"].startswith(f"{shop.base}/v2/orders?limit=2&cursor=")

    def test_next_link_holds_the_whole_query_as_it_was_sent(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in range(1, 5)))
        query = "UPDATEDSINCE=2011-01-04T10%3A30%3A00%2B01%3A00&orderStatus=New&orderStatus=OnHold&limit=1"
        page = shop.get(f"/v2/orders?{query}")
        found = [row["ChannelAdvisorOrderID"] for row in page["value"]]
        while "nextLink" in page:
            assert page["nextLink"].startswith(f"{shop.base}/v2/orders?{query}&cursor=")
            page = shop.get(page["nextLink"])
            found += [row["ChannelAdvisorOrderID"] for row in page["value"]]
        assert found == [1, 2, 3, 4]

    def test_updated_since_is_inclusive_and_updated_before_exclusive(self, shop: Caller) -> None:
        for number, second in enumerate(("00", "00.0000001", "01"), start=1):
            shop.apply(event("order", sold(number), at=f"2011-01-04T10:00:{second}Z"))
        assert numbers(shop, updatedSince="2011-01-04T10:00:00.0000001Z") == [2, 3]
        assert numbers(shop, updatedBefore="2011-01-04T10:00:00.0000001Z") == [1]
        assert numbers(shop, updatedSince="2011-01-04T11:00:00+01:00", updatedBefore="2011-01-04T10:00:01Z") == [1, 2]

    def test_a_bare_date_means_its_midnight_in_utc(self, shop: Caller) -> None:
        shop.apply(
            event("order", sold(1), at="2011-01-03T23:59:59.9999999Z"),
            event("order", sold(2), at="2011-01-04T00:00:00Z"),
        )
        assert numbers(shop, updatedSince="2011-01-04") == [2]
        assert numbers(shop, updatedBefore="2011-01-04") == [1]

    def test_a_row_that_changes_while_being_paged_comes_twice(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in (1, 2, 3)))
        first = shop.get("/v2/orders", limit=2)
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "OnHold"})
        rest = [row for page in shop.pages(first["nextLink"]) for row in page["value"]]
        assert [(row["ChannelAdvisorOrderID"], row["OrderStatus"]) for row in rest] == [(3, "New"), (1, "OnHold")]
        assert parse(rest[1]["UpdatedDate"]) > parse(first["value"][0]["UpdatedDate"])

    def test_a_row_that_changes_while_being_paged_leaves_a_closed_window(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in (1, 2, 3)))
        first = shop.get("/v2/orders", limit=1, updatedBefore="2011-01-05")
        shop.call("PUT", "/v2/orders/2", json={"OrderStatus": "OnHold"})
        rest = [row["ChannelAdvisorOrderID"] for page in shop.pages(first["nextLink"]) for row in page["value"]]
        assert rest == [3]
        assert numbers(shop, updatedSince="2011-01-05") == [2]

    def test_marking_rows_while_being_paged_skips_none(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in range(1, 8)))
        seen = []
        for page in shop.pages("/v2/orders", exported="false", limit=2):
            for row in page["value"]:
                seen.append(row["ChannelAdvisorOrderID"])
                shop.call("POST", f"/v2/orders/{seen[-1]}/exported")
        assert seen == [1, 2, 3, 4, 5, 6, 7]

    def test_a_late_import_is_updated_when_it_arrives_not_when_it_was_placed(self, shop: Caller) -> None:
        late = sold(1, OrderDate="2010-12-28T08:00:00Z", ImportDate="2011-01-06T07:00:00.25Z")
        shop.apply(event("order", late, at="2011-01-06T07:00:00Z"))
        row = shop.get("/v2/orders", updatedSince="2011-01-06")["value"][0]
        assert (row["OrderDate"], row["UpdatedDate"]) == ("2010-12-28T08:00:00Z", "2011-01-06T07:00:00.25Z")

    def test_a_cursor_belongs_to_its_query_and_lives_a_day(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in (1, 2, 3)))
        link = shop.get("/v2/orders", limit=1, siteId=587)["nextLink"]
        assert len(shop.get(link.replace("limit=1", "limit=2"))["value"]) == 2
        for foreign in (
            link.replace("siteId=587", "siteId=641"),
            link + "A",
            link.replace("/orders", "/sites")[:40] + "?cursor=x",
        ):
            answer = shop.send("GET", foreign)
            assert (answer.status_code, error(answer)["code"]) in ((400, "InvalidCursor"), (400, "InvalidParameter"))
        shop.control("PUT", "clock", {"advance": 86_401})
        shop.renew()
        assert error(shop.call("GET", link))["code"] == "InvalidCursor"

    def test_server_time_is_read_before_the_rows(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        before = shop.get("/v2/orders")["serverTime"]
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "OnHold"})
        written, after = shop.order(1)["UpdatedDate"], shop.get("/v2/orders")["serverTime"]
        assert parse(NOW) < parse(before) < parse(written) < parse(after)

    def test_filters_select_site_status_and_mark(self, shop: Caller) -> None:
        shop.apply(
            event("order", sold(1)),
            event("order", sold(2, SiteID=641)),
            event("order", sold(3, OrderStatus="OnHold")),
            event("order", sold(4, OrderStatus="Cancelled")),
        )
        shop.call("POST", "/v2/orders/1/exported")
        assert numbers(shop, siteId=641) == [2]
        assert numbers(shop, orderStatus=["OnHold", "Cancelled"]) == [3, 4]
        assert numbers(shop, exported="true") == [1]
        assert numbers(shop, exported="false", orderStatus="New") == [2]

    def test_several_profiles_are_mixed_unless_one_is_named(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)), event("order", sold(2, ProfileID=12345679)))
        both = Caller(shop.base, "sandbox-refresh-two-profiles")
        assert numbers(both) == [1, 2]
        assert numbers(both, profileId=12345679) == [2]
        assert numbers(shop) == [1]
        assert numbers(shop, profileId=12345679) == []
        assert error(shop.call("GET", "/v2/orders/2"))["code"] == "UnknownOrder"

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0", "limit=101", "limit=many", "orderStatus=Canceled", "exported=yes", "siteId=1&siteId=2",
            "nosuch=1",
            "updatedSince=yesterday", "updatedSince=2011-02-30", "updatedSince=2016-12-31T23:59:60Z",
            "updatedSince=2011-01-04T10:00:00",
        ],
    )  # fmt: skip
    def test_a_parameter_that_the_contract_does_not_allow_is_400(self, shop: Caller, query: str) -> None:
        assert shop.call("GET", f"/v2/orders?{query}").status_code == 400

    def test_sites_and_centers_are_listed(self, shop: Caller) -> None:
        shop.apply(
            event("distribution_center", {"DistributionCenterID": -9, "Code": "FBA", "Type": "ExternallyManaged"})
        )
        assert [row["SiteName"] for row in shop.get("/v2/sites")["value"]] == ["Web Shop", "Amazon Seller Central - UK"]
        (center,) = shop.get("/v2/distribution-centers")["value"]
        assert (center["DistributionCenterID"], center["IsExternallyManaged"], center["IsDeleted"]) == (-9, True, False)

    def test_an_unknown_path_is_404_and_an_unknown_method_405(self, shop: Caller) -> None:
        assert shop.send("GET", "/v2/order").status_code == 404
        answer = shop.send("PATCH", "/v2/orders")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
        assert set(answer.json()) == {"Message"}


class TestReading:
    @pytest.mark.parametrize(("count", "listed"), [(19, 19), (20, 20), (21, 20), (530, 20)])
    def test_a_list_cuts_an_order_at_20_lines_and_the_single_order_has_all(
        self, shop: Caller, count: int, listed: int
    ) -> None:
        shop.apply(event("order", sold(1, *(line(n) for n in range(1, count + 1)))))
        (row,) = shop.get("/v2/orders")["value"]
        assert [item["OrderItemID"] for item in row["OrderItems"]] == list(range(1, listed + 1))
        assert row["OrderItemCount"] == count
        assert len(shop.order(1)["OrderItems"]) == count

    def test_amounts_are_json_numbers_with_four_decimals(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, price="12.9900", TaxAmount=0, quantity=3))))
        for path in ("/v2/orders", "/v2/orders/1"):
            text = shop.call("GET", path).text
            amounts = dict(re.findall(r'"(UnitPrice|TaxAmount|TotalPrice)":([0-9.]+)', text))
            assert amounts == {"UnitPrice": "12.9900", "TaxAmount": "0.0000", "TotalPrice": "38.9700"}

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("2011-01-04T10:00:17Z", "2011-01-04T10:00:17Z"),
            ("2011-01-04T10:00:17.8000Z", "2011-01-04T10:00:17.8Z"),
            ("2011-01-04T10:00:17.9133333Z", "2011-01-04T10:00:17.9133333Z"),
            ("2011-01-04T10:00:17.91333339Z", "2011-01-04T10:00:17.9133333Z"),
            ("2011-01-04T10:00:17.0000000Z", "2011-01-04T10:00:17Z"),
            ("2011-01-04T11:30:17.25+01:30", "2011-01-04T10:00:17.25Z"),
        ],
    )
    def test_times_are_utc_with_up_to_seven_digits_and_no_trailing_zeros(
        self, shop: Caller, given: str, shown: str
    ) -> None:
        shop.apply(event("order", sold(1, OrderDate=given, PaymentDate=given), at=given))
        order = shop.order(1)
        assert {order["OrderDate"], order["PaymentDate"], order["UpdatedDate"], order["ImportDate"]} == {shown}

    def test_a_pending_order_is_incomplete(self, shop: Caller) -> None:
        item = line(1) | {"UnitPrice": None}
        pending = sold(1) | {"OrderItems": [item], "OrderStatus": "Pending", "PaymentStatus": "Submitted"}
        shop.apply(event("order", pending | {"Currency": None, "TotalPrice": None, "ShippingAddress": None}))
        order = shop.order(1)
        assert (order["TotalPrice"], order["Currency"], order["OrderItems"][0]["UnitPrice"]) == (None, None, None)

    def test_an_unknown_order_is_404(self, shop: Caller) -> None:
        for number in ("5", "-1", "99999999999999999999", "abc"):
            assert shop.call("GET", f"/v2/orders/{number}").status_code == 404


class TestStatusRules:
    @pytest.mark.parametrize("rollup", ["SellerManaged", "Mixed", "ExternallyManaged"])
    @pytest.mark.parametrize("present", STATUSES)
    def test_a_put_may_set_what_the_table_says_and_nothing_else(self, shop: Caller, present: str, rollup: str) -> None:
        may = set() if rollup == "ExternallyManaged" else MAY_SET[present]
        for number, wish in enumerate(STATUSES, start=1):
            item = line(number, quantity=3, QuantityShipped=1 if present == "PartiallyShipped" else 0)
            shop.apply(event("order", sold(number, item, OrderStatus=present, DistributionCenterTypeRollup=rollup)))
            answer = shop.call("PUT", f"/v2/orders/{number}", json={"OrderStatus": wish, "SellerOrderID": "SO-1"})
            if wish == present or wish in may:
                assert answer.status_code == 200
                cancels_the_rest = (present, wish) == ("PartiallyShipped", "Cancelled")
                assert shop.order(number)["OrderStatus"] == ("Shipped" if cancels_the_rest else wish)
            else:
                assert (answer.status_code, error(answer)["code"]) == (409, "IllegalStatusTransition")
                details = error(answer)["details"]
                assert (details["From"], set(details["AllowedStatuses"])) == (present, may)
                assert shop.order(number).get("SellerOrderID") is None

    def test_shipped_by_put_ships_everything_open_without_carrier(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, quantity=5, QuantityShipped=1, QuantityCancelled=1), line(2))))
        answer = shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Shipped"})
        order = answer.json()
        assert [item["QuantityShipped"] for item in order["OrderItems"]] == [4, 2]
        assert order["FulfillmentStatus"] == "Shipped"
        (row,) = shop.get("/v2/shipping", channelAdvisorOrderId=1)["value"]
        assert [(item["OrderItemID"], item["Quantity"]) for item in row["Items"]] == [(1, 3), (2, 2)]
        assert (row["Carrier"], row["TrackingNumber"]) == (None, None)
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Shipped"})
        assert len(shop.get("/v2/shipping")["value"]) == 1

    def test_cancelling_a_part_shipped_order_cancels_only_the_rest_and_it_reads_shipped(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, quantity=5, QuantityShipped=2), OrderStatus="PartiallyShipped")))
        order = shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"}).json()
        assert (order["OrderStatus"], order["FulfillmentStatus"]) == ("Shipped", "Shipped")
        assert (order["OrderItems"][0]["QuantityShipped"], order["OrderItems"][0]["QuantityCancelled"]) == (2, 3)
        assert order["TotalPrice"] == 63.75

    def test_a_cancelled_order_has_all_its_units_cancelled(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, quantity=5), line(2))))
        order = shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "Cancelled"}).json()
        assert [item["QuantityCancelled"] for item in order["OrderItems"]] == [5, 2]
        assert order["FulfillmentStatus"] == "Canceled"

    def test_writing_what_is_stored_leaves_updated_date_alone(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        changes = {"OrderStatus": "Processing", "SellerOrderID": "SO-7", "SpecialInstructions": "Ring twice"}
        changed = shop.call("PUT", "/v2/orders/1", json=changes).json()
        assert parse(changed["UpdatedDate"]) > parse(NOW)
        assert shop.call("PUT", "/v2/orders/1", json=changes).json() == changed
        cleared = shop.call("PUT", "/v2/orders/1", json={"SellerOrderID": None}).json()
        assert parse(cleared["UpdatedDate"]) > parse(changed["UpdatedDate"])
        assert (cleared["SellerOrderID"], cleared["SpecialInstructions"]) == (None, "Ring twice")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "InvalidRequest"),
            ({"OrderStatus": "Canceled"}, "InvalidRequest"),
            ({"OrderStatus": None}, "InvalidRequest"),
            ({"SellerOrderID": "x" * 51}, "InvalidRequest"),
            ({"OrderStatus": "OnHold", "Note": "x"}, "UnknownField"),
            ([], "InvalidRequest"),
        ],
    )
    def test_a_body_that_does_not_match_is_400_and_changes_nothing(self, shop: Caller, body: Any, code: str) -> None:
        shop.apply(event("order", sold(1)))
        before = shop.order(1)
        answer = shop.call("PUT", "/v2/orders/1", json=body)
        assert (answer.status_code, error(answer)["code"]) == (400, code)
        assert shop.order(1) == before

    @pytest.mark.parametrize(
        ("body", "media"),
        [(b"{", "application/json"), (b"", "application/json"), (b'{"SellerOrderID":"1"}', "text/plain")],
    )
    def test_a_body_that_is_no_json_is_400(self, shop: Caller, body: bytes, media: str) -> None:
        shop.apply(event("order", sold(1)))
        assert shop.call("PUT", "/v2/orders/1", data=body, headers={"Content-Type": media}).status_code == 400


class TestExportedMark:
    def test_the_mark_is_kept_per_application_and_leaves_updated_date_alone(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        second = Caller(shop.base, "sandbox-refresh-second", SECOND_CLIENT)
        before = shop.order(1)
        for _ in range(2):
            assert shop.call("POST", "/v2/orders/1/exported").status_code == 204
        assert shop.order(1) == before | {"Exported": True}
        assert second.order(1) == before
        assert (numbers(shop, exported="false"), numbers(second, exported="false")) == ([], [1])
        for _ in range(2):
            assert shop.call("DELETE", "/v2/orders/1/exported").status_code == 204
        assert shop.order(1) == before

    def test_the_mark_survives_a_change_of_the_order(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        shop.call("POST", "/v2/orders/1/exported")
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": {"Flag": "RedFlag"}}))
        shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "OnHold"})
        assert (shop.order(1)["Exported"], shop.order(1)["Flag"]) == (True, "RedFlag")

    def test_an_unknown_order_cannot_be_marked(self, shop: Caller) -> None:
        assert shop.call("POST", "/v2/orders/5/exported").status_code == 404


class TestCreatingOrders:
    def test_a_direct_sale_gets_its_totals_and_neutral_values(self, shop: Caller) -> None:
        bottle = {"SKU": "22423", "Quantity": 3, "UnitPrice": 14.95, "TaxAmount": 3.59, "ShippingAmount": 9.95}
        kit = {"SKU": "kit-77/2", "Quantity": 2, "UnitPrice": 39.9, "TaxAmount": 3.19, "DiscountAmount": 5}
        lines = [bottle | {"ShippingTaxAmount": 0.15}, kit | {"GiftWrapAmount": 2.5}]
        answer = shop.call("POST", "/v2/orders", json=new_order(OrderItems=lines, PaymentStatus="Cleared"))
        assert answer.status_code == 201
        order = shop.order(answer.json()["ChannelAdvisorOrderID"])
        assert (order["SiteID"], order["OrderStatus"], order["TaxRemittedBy"]) == (587, "New", "Seller")
        assert order["OrderDate"] == "2011-01-10T10:05:00Z"
        assert order["ImportDate"] == order["UpdatedDate"] == order["PaymentDate"]
        assert parse(order["ImportDate"]) > parse(NOW)
        assert order["TotalTaxPrice"] == Decimal("6.78")
        assert order["TotalDiscount"] == Decimal("5")
        assert order["TotalShippingPrice"] == Decimal("9.95")
        assert order["TotalPrice"] == Decimal("139.03")
        assert [order[name] for name in ("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType")] == [None] * 3
        second = order["OrderItems"][1]
        assert (second["SKU"], second["Title"], second["ShippingAmount"]) == ("KIT-77/2", "Stand and holder", 0)
        assert second["BundleComponents"] == [{"SKU": "22423", "Quantity": 2}, {"SKU": "85123A", "Quantity": 4}]

    @pytest.mark.parametrize(
        ("payment", "status"),
        [(None, "Pending"), ("Submitted", "Pending"), ("Failed", "Pending"), ("Cleared", "New"), ("Deposited", "New")],
    )
    def test_the_payment_decides_the_first_status(self, shop: Caller, payment: str | None, status: str) -> None:
        body = new_order() | ({"PaymentStatus": payment} if payment else {})
        assert shop.call("POST", "/v2/orders", json=body).json()["OrderStatus"] == status

    def test_the_same_order_id_twice_is_a_conflict_that_names_the_first(self, shop: Caller) -> None:
        first = shop.call("POST", "/v2/orders", json=new_order()).json()["ChannelAdvisorOrderID"]
        answer = shop.call("POST", "/v2/orders", json=new_order())
        assert (answer.status_code, error(answer)["code"]) == (409, "DuplicateOrder")
        assert error(answer)["details"] == {"ExistingID": first}
        assert len(numbers(shop)) == 1

    @pytest.mark.parametrize(
        ("goods", "shipping", "total"),
        [
            (None, None, "18.00"),
            ("NoTax", "Standard", "18.00"),
            ("ExclusiveVat", "ExclusiveVat", "18.00"),
            ("InclusiveVat", None, "16.00"),
            ("InclusiveVat", "InclusiveVat", "15.00"),
            ("Standard", "InclusiveVat", "17.00"),
        ],
    )
    def test_a_tax_inside_its_amounts_is_not_added_to_the_total(
        self, shop: Caller, goods: str | None, shipping: str | None, total: str
    ) -> None:
        item = {"SKU": "22423", "Quantity": 1, "UnitPrice": 11, "TaxAmount": 2, "ShippingAmount": 4}
        body = new_order(OrderItems=[item | {"ShippingTaxAmount": 1}], OrderTaxType=goods, ShippingTaxType=shipping)
        order = shop.order(shop.call("POST", "/v2/orders", json=body).json()["ChannelAdvisorOrderID"])
        assert (order["OrderTaxType"], order["ShippingTaxType"]) == (goods, shipping)
        assert (order["TotalPrice"], order["TotalTaxPrice"]) == (Decimal(total), 2)

    @pytest.mark.parametrize(
        ("change", "field", "code"),
        [
            ({"SKU": "nosuch"}, "OrderItems[0].SKU", "UnknownSku"),
            ({"UnitPrice": -1}, "OrderItems[0].UnitPrice", "NegativeAmount"),
            ({"TaxAmount": 0.12345}, "OrderItems[0].TaxAmount", "InvalidAmount"),
            ({"UnitPrice": 1e12}, "OrderItems[0].UnitPrice", "InvalidAmount"),
            ({"Quantity": 10**12}, "OrderItems[0].Quantity", "OutOfRange"),
        ],
    )
    def test_a_line_that_breaks_a_rule_is_422_and_nothing_is_stored(
        self, shop: Caller, change: Any, field: str, code: str
    ) -> None:
        body = new_order()
        body["OrderItems"][0] |= change
        answer = shop.call("POST", "/v2/orders", json=body)
        assert answer.status_code == 422
        (only,) = error(answer)["details"]["Errors"]
        assert (only["Field"], only["Code"]) == (field, code)
        assert numbers(shop) == []

    def test_another_currency_than_the_profiles_is_422(self, shop: Caller) -> None:
        answer = shop.call("POST", "/v2/orders", json=new_order(Currency="USD"))
        assert error(answer)["details"]["Errors"][0]["Code"] == "WrongCurrency"

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"Total": 1}, "Total"),
            ({"ShippingAddress": {"Line3": "x"}}, "ShippingAddress.Line3"),
            ({"OrderItems": [{"SKU": "22423", "Quantity": 1, "UnitPrice": 1, "Color": "red"}]}, "OrderItems[0].Color"),
        ],
    )
    def test_a_field_that_the_contract_does_not_name_is_400_at_any_depth(
        self, shop: Caller, change: Any, field: str
    ) -> None:
        answer = shop.call("POST", "/v2/orders", json=new_order() | change)
        assert (answer.status_code, error(answer)["code"]) == (400, "UnknownField")
        assert error(answer)["details"]["Errors"][0]["Field"] == field

    def test_a_token_of_several_profiles_needs_to_name_one(self, shop: Caller) -> None:
        both = Caller(shop.base, "sandbox-refresh-two-profiles")
        assert error(both.call("POST", "/v2/orders", json=new_order()))["code"] == "ProfileRequired"
        assert both.call("POST", "/v2/orders?profileId=12345678", json=new_order()).status_code == 201


class TestShipping:
    def test_a_batch_gives_one_result_per_item_in_request_order(self, shop: Caller) -> None:
        shop.apply(
            event("order", sold(1, line(1, quantity=3), line(2, sku="85123A"))),
            event("order", sold(2, OrderStatus="OnHold")),
            event("order", sold(3, DistributionCenterTypeRollup="ExternallyManaged")),
            event("order", sold(4, SiteID=641, SiteName="Amazon Seller Central - UK")),
        )
        results = ship(
            shop,
            shipment(1, "F-1", Items=[{"SKU": "22423", "Quantity": 2}]),
            shipment(99, "F-2"),
            shipment(2, "F-3"),
            shipment(3, "F-4"),
            shipment(4, "F-5"),
            shipment(1, "F-6", Carrier="Pigeon"),
            shipment(1, "F-7", ServiceClass="Ground"),
            shipment(1, "F-8", Items=[{"SKU": "nosuch", "Quantity": 1}]),
            shipment(1, "F-9", Items=[{"OrderItemID": 1, "Quantity": 2}]),
            shipment(1, "F-10", Size="L"),
            "nonsense",
            shipment(1, "F-11"),
            shipment(1, "F-12"),
        )
        assert [result["Index"] for result in results] == list(range(13))
        codes = [(r["Status"], r.get("Errors", [{"Code": None}])[0]["Code"]) for r in results]
        assert codes == [
            (201, None),
            (404, "UnknownOrder"),
            (409, "OrderNotShippable"),
            (409, "OrderNotShippable"),
            (422, "DigitsOnly"),
            (422, "UnknownCarrier"),
            (422, "UnknownServiceClass"),
            (422, "UnknownItem"),
            (422, "QuantityExceedsUnshipped"),
            (422, "UnknownField"),
            (422, "InvalidValue"),
            (201, None),
            (409, "NothingToShip"),
        ]
        assert "Pigeon is not one of Chronopost, DHL, DPD" in results[5]["Errors"][0]["Message"]
        assert results[6]["Errors"][0]["Message"].startswith("Ground is not one of 1st Class,")
        stored = results[0]["Shipment"]
        assert (stored["Carrier"], stored["ServiceClass"]) == ("Royal Mail", "Tracked 48")
        assert stored["Items"] == [{"OrderItemID": 1, "SKU": "22423", "Quantity": 2}]

    def test_the_order_follows_its_shipments(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, quantity=3), line(2))))
        before = shop.order(1)["UpdatedDate"]
        ship(shop, shipment(1, "A", Items=[{"OrderItemID": 1, "Quantity": 3}]))
        part = shop.order(1)
        assert (part["OrderStatus"], part["FulfillmentStatus"]) == ("PartiallyShipped", "PartiallyShipped")
        assert [item["QuantityShipped"] for item in part["OrderItems"]] == [3, 0]
        assert parse(part["UpdatedDate"]) > parse(before)
        ship(shop, shipment(1, "B"))
        whole = shop.order(1)
        assert (whole["OrderStatus"], whole["FulfillmentStatus"]) == ("Shipped", "Shipped")
        assert [item["QuantityShipped"] for item in whole["OrderItems"]] == [3, 2]

    def test_a_repeat_is_answered_with_the_first_shipment_whatever_it_says(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, quantity=3))))
        first = ship(shop, shipment(1, "A", Items=[{"OrderItemID": 1, "Quantity": 1}]))[0]["Shipment"]
        (again,) = ship(shop, shipment(1, "A", Carrier="Pigeon", TrackingNumber="other"))
        assert (again["Status"], again["Shipment"]) == (200, first)
        assert shop.order(1)["OrderItems"][0]["QuantityShipped"] == 1

    def test_a_refused_shipment_is_not_remembered(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        assert ship(shop, shipment(1, "A", Carrier="Pigeon"))[0]["Status"] == 422
        assert ship(shop, shipment(1, "A"))[0]["Status"] == 201

    def test_an_sku_on_several_lines_fills_them_in_order(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1, quantity=2, QuantityCancelled=1), line(2, quantity=4), line(3))))
        (result,) = ship(
            shop, shipment(1, "A", Items=[{"SKU": "22423", "Quantity": 3}, {"SKU": "22423", "Quantity": 3}])
        )
        shipped = [(item["OrderItemID"], item["Quantity"]) for item in result["Shipment"]["Items"]]
        assert shipped == [(1, 1), (2, 4), (3, 1)]

    def test_shipments_are_listed_by_order_and_time(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(1), line(2))), event("order", sold(2)))
        ship(shop, shipment(2, "A"), shipment(1, "B", Items=[{"OrderItemID": 2, "Quantity": 1}]), shipment(1, "C"))
        rows = [row for page in shop.pages("/v2/shipping", channelAdvisorOrderId=1, limit=1) for row in page["value"]]
        assert [row["SellerFulfillmentID"] for row in rows] == ["B", "C"]
        assert shop.get("/v2/shipping", updatedBefore="2011-01-10")["value"] == []

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"Shipments": [shipment(1, str(n)) for n in range(101)]}, 413, "BatchTooLarge"),
            ({"Shipments": []}, 400, "InvalidRequest"),
            ({"Shipments": {}}, 400, "InvalidRequest"),
            ([], 400, "InvalidRequest"),
            ({"Shipments": [shipment(1, "1")], "Note": 1}, 400, "UnknownField"),
        ],
    )
    def test_a_body_without_a_fit_list_applies_nothing(self, shop: Caller, body: Any, status: int, code: str) -> None:
        shop.apply(event("order", sold(1)))
        answer = shop.call("POST", "/v2/shipping", json=body)
        assert (answer.status_code, error(answer)["code"]) == (status, code)
        assert shop.get("/v2/shipping")["value"] == []


class TestProducts:
    def test_an_sku_is_found_in_any_case_and_comes_back_as_stored(self, shop: Caller) -> None:
        assert shop.get("/v2/products/85123a")["SKU"] == "85123A"
        assert shop.get("/v2/products/KIT-77%2f2")["BundleComponents"][1] == {"SKU": "85123A", "Quantity": 2}
        assert [p["SKU"] for p in shop.get("/v2/products", sku=["kit-77/2", "22423"])["value"]] == ["22423", "KIT-77/2"]
        assert shop.call("GET", "/v2/products/nosuch").status_code == 404

    def test_products_are_created_one_by_one(self, shop: Caller) -> None:
        products = [
            {"SKU": "N 1#", "Title": "New", "Cost": 5.8},
            {"SKU": "85123a", "Title": "Again"},
            {"SKU": "N2", "Title": None},
            {"SKU": "N3", "Title": "Dear", "Cost": 1.23456},
            {"SKU": "N4", "Title": "Odd", "ProductType": "Item", "ParentSku": "N 1#"},
            {"SKU": "n 1#", "Title": "Once more"},
        ]
        results = shop.call("POST", "/v2/products", json={"Products": products}).json()["Results"]
        codes = [(r["Status"], r.get("Errors", [{"Code": None}])[0]["Code"]) for r in results]
        assert codes == [
            (201, None),
            (409, "DuplicateSku"),
            (422, "MissingField"),
            (422, "InvalidAmount"),
            (422, "NotAChild"),
            (409, "DuplicateSku"),
        ]
        text = shop.call("GET", "/v2/products/N%201%23").text
        assert '"Cost":5.8000,' in text
        assert '"TotalAvailableQuantity":0,' in text

    def test_a_put_changes_the_given_fields_only(self, shop: Caller) -> None:
        before = shop.get("/v2/products/22423")
        after = shop.call(
            "PUT", "/v2/products/22423", json={"Brand": "Ridge", "Attributes": [{"Name": "Color"}]}
        ).json()
        assert (after["Title"], after["Brand"], after["Attributes"]) == (before["Title"], "Ridge", [{"Name": "Color"}])
        assert parse(after["UpdatedDate"]) > parse(before["UpdatedDate"])
        assert shop.call("PUT", "/v2/products/22423", json={"Brand": "Ridge"}).json() == after
        twice = [{"Name": "Color"}, {"Name": "Color"}]
        assert shop.call("PUT", "/v2/products/22423", json={"Attributes": twice}).status_code == 422
        assert shop.call("PUT", "/v2/products/nosuch", json={"Brand": "Ridge"}).status_code == 404
        assert shop.call("PUT", "/v2/products/22423", json={"SKU": "2"}).status_code == 400

    def test_a_deleted_product_leaves_no_trace(self, shop: Caller) -> None:
        assert shop.call("DELETE", "/v2/products/22423").status_code == 204
        assert shop.call("DELETE", "/v2/products/22423").status_code == 404
        assert len(shop.get("/v2/products")["value"]) == 2


class TestWorld:
    def test_an_event_is_taken_in_once(self, shop: Caller) -> None:
        change = {"ChannelAdvisorOrderID": 1, "changes": {"Flag": "RedFlag"}}
        events = [event("order", sold(1), id="e1"), event("order_change", change, at="2011-01-05T00:00:00Z")]
        shop.apply(*events)
        before = shop.order(1)
        shop.apply(*events, *events)
        assert shop.order(1) == before
        assert before["UpdatedDate"] == "2011-01-05T00:00:00Z"

    def test_a_change_is_a_patch_and_lines_are_matched_by_id(self, shop: Caller) -> None:
        address = {"Name": "Ana Ortiz", "Line1": "12 Elm St", "Line2": "Apt 4", "City": "Albany"}
        shop.apply(event("order", sold(1, line(1), line(2), ShippingAddress=address)))
        items = [{"OrderItemID": 2, "_remove": True}, {"OrderItemID": 1, "Quantity": 3}, line(3, quantity=1)]
        changes = {
            "ShippingAddress": {"Line2": None, "City": "Troy"},
            "OrderItems": items,
            "TotalPrice": Decimal("51.0000"),
        }
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": changes}))
        order = shop.order(1)
        assert [(item["OrderItemID"], item["Quantity"]) for item in order["OrderItems"]] == [(1, 3), (3, 1)]
        assert order["OrderItems"][1]["QuantityShipped"] == 0
        assert order["OrderItemCount"] == 2
        assert order["ShippingAddress"] == address | {"Line2": None, "City": "Troy"}

    @pytest.mark.parametrize(
        ("document", "why"),
        [
            (sold(2) | {"TotalPrice": Decimal("1")}, "TotalPrice is 1.0000, its parts add up to 25.5000"),
            (
                sold(2, line(1, TaxAmount=Decimal("4.25")), TotalTaxPrice=Decimal("4.25")),
                "TotalPrice is 25.5000, its parts add up to 29.7500",
            ),
            (
                sold(2, OrderTaxType="InclusiveVat", TotalTaxPrice=Decimal("4.25")) | {"TotalPrice": Decimal("29.75")},
                "TotalPrice is 29.7500, its parts add up to 25.5000",
            ),
            (sold(2, OrderTaxType="Inclusive"), "/OrderTaxType"),
            (sold(2) | {"OrderItemCount": 5}, "OrderItemCount is 5"),
            (sold(2) | {"Currency": None}, "Currency is null"),
            (sold(2, line(1, QuantityShipped=3)), "more units are shipped"),
            (sold(2, OrderID="WEB-1"), "is that of order 1"),
            (sold(2, OrderStatus="Canceled"), "/OrderStatus"),
            (sold(2, line(1, quantity=0)), "/OrderItems/0/Quantity"),
            (sold(2) | {"TotalPrice": Decimal("25.50001")}, "more than 4 decimals"),
        ],
    )
    def test_events_that_break_the_contract_are_refused_with_all_that_came_with_them(
        self, shop: Caller, document: Any, why: str
    ) -> None:
        body = encode({"events": [event("order", sold(1)), event("order", document)]})
        answer = requests.post(f"{shop.base}/_sandbox/apply", data=body, timeout=10)
        assert answer.status_code == 422
        assert why in answer.json()["error"]
        assert numbers(shop) == []

    def test_an_event_that_says_dirty_may_contradict_itself(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1) | {"TotalPrice": Decimal("1"), "Currency": None}, dirty=True))
        assert (shop.order(1)["TotalPrice"], shop.order(1)["Currency"]) == (1, None)

    def test_personal_data_vanish(self, shop: Caller) -> None:
        info = {"CustomerID": "b7", "FirstName": "Ana", "LastName": "Ortiz", "Email": "a@example.com", "Phone": "1"}
        address = {"Name": "Ana Ortiz", "Line1": "12 Elm St", "Line2": "Apt 4", "City": "Albany", "Country": "US"}
        shop.apply(event("order", sold(1, CustomerInfo=info, ShippingAddress=address, BillingAddress=None)))
        shop.apply(event("forget", {"ChannelAdvisorOrderID": 1}, at="2011-01-08T00:00:00Z"))
        order = shop.order(1)
        assert order["CustomerInfo"] == dict.fromkeys(info) | {"CustomerID": "b7"}
        assert order["ShippingAddress"] == dict.fromkeys(address) | {"City": "Albany", "Country": "US"}
        assert (order["UserDataPresent"], order["UpdatedDate"]) == (False, "2011-01-08T00:00:00Z")

    def test_a_shipment_of_the_world_counts_once(self, shop: Caller) -> None:
        counted = sold(
            1, line(1, QuantityShipped=2), OrderStatus="Shipped", DistributionCenterTypeRollup="ExternallyManaged"
        )
        shop.apply(event("order", counted), event("order", sold(2, line(2, quantity=3))))
        for number in (1, 2):
            items = [{"OrderItemID": number, "Quantity": 2}]
            reported = {"ShipmentID": number, "ChannelAdvisorOrderID": number, "Items": items, "Carrier": "Amazon"}
            shop.apply(event("shipment", reported, at="2011-01-05T00:00:00Z"))
        assert shop.order(1)["UpdatedDate"] == "2011-01-04T10:00:00Z"
        assert shop.order(1)["FulfillmentStatus"] == "ThirdPartyManaged"
        assert (shop.order(2)["OrderStatus"], shop.order(2)["OrderItems"][0]["QuantityShipped"]) == (
            "PartiallyShipped",
            2,
        )
        assert [row["MarketplaceStatus"] for row in shop.get("/v2/shipping")["value"]] == ["Complete", "Complete"]

    def test_a_change_never_moves_updated_date_back(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        later = shop.call("PUT", "/v2/orders/1", json={"OrderStatus": "OnHold"}).json()["UpdatedDate"]
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": {"Flag": "RedFlag"}}))
        assert parse(shop.order(1)["UpdatedDate"]) > parse(later)


class TestFaults:
    @pytest.mark.parametrize(
        ("shape", "body"),
        [("error", {"error": {"code": "", "message": DENIED}}), ("message", {"Message": DENIED}), ("text", DENIED)],
    )
    def test_a_refusal_may_come_with_200_in_three_shapes(self, shop: Caller, shape: str, body: Any) -> None:
        shop.fault("denied_200", "listOrders", shape=shape)
        answer = shop.send("GET", "/v2/orders")
        given = answer.text if shape == "text" else answer.json()
        assert (answer.status_code, given) == (200, body)
        shop.get("/v2/orders")

    def test_the_token_endpoint_may_answer_400_in_plain_text(self, shop: Caller) -> None:
        shop.fault("token_plain_400", "/oauth2/token")
        form = {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"}
        answer = requests.post(f"{shop.base}/oauth2/token", data=form, auth=CLIENT, timeout=10)
        assert (answer.status_code, answer.text) == (400, "Bad Request")
        shop.renew()

    def test_429_comes_with_and_without_retry_after(self, shop: Caller) -> None:
        shop.fault("rate_limited", "/v2/orders", seconds=7)
        answer = shop.call("GET", "/v2/orders")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        shop.fault("rate_limited_bare", "/v2/orders")
        answer = shop.call("GET", "/v2/orders")
        assert (answer.status_code, answer.text) == (429, "TOO MANY REQUESTS")
        assert "Retry-After" not in answer.headers

    @pytest.mark.parametrize(("kind", "stored"), [("error_before", 0), ("error_after", 1)])
    def test_a_500_says_nothing_about_the_effect(self, shop: Caller, kind: str, stored: int) -> None:
        shop.fault(kind, "createOrder")
        answer = shop.call("POST", "/v2/orders", json=new_order())
        assert (answer.status_code, answer.json()) == (500, {"Message": "An error has occurred."})
        assert len(numbers(shop)) == stored

    def test_an_html_page_may_come_with_502(self, shop: Caller) -> None:
        shop.fault("bad_gateway_html", "/v2/*")
        answer = shop.call("GET", "/v2/orders")
        assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")

    def test_a_token_may_expire_while_paging(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in (1, 2)))
        link = shop.get("/v2/orders", limit=1)["nextLink"]
        shop.fault("expire_token", "listOrders")
        assert shop.call("GET", link).status_code == 401
        shop.renew()
        assert shop.get(link)["value"][0]["ChannelAdvisorOrderID"] == 2

    def test_the_connection_may_be_cut_in_mid_body(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        shop.fault("cut_body", "getOrder")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            shop.send("GET", "/v2/orders/1")
        shop.order(1)

    def test_json_may_be_truncated_in_a_valid_answer(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        shop.fault("truncated_json", "getOrder")
        answer = shop.send("GET", "/v2/orders/1")
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.JSONDecodeError):
            answer.json()

    def test_a_cursor_may_repeat(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in (1, 2, 3)))
        link = shop.get("/v2/orders", limit=1)["nextLink"]
        shop.fault("repeat_cursor", "listOrders")
        assert shop.get(link)["nextLink"] == link

    def test_rows_may_shift_while_being_paged(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in (1, 2, 3)))
        shop.fault("shift_rows", "listOrders", rows=1)
        found = numbers(shop, limit=1)
        assert sorted(set(found)) == [1, 2, 3]
        assert shop.get("/v2/orders", updatedSince=NOW)["value"] != []

    def test_an_answer_may_be_slow_or_never_come(self, shop: Caller) -> None:
        shop.fault("slow", "listSites", seconds=0.3)
        start = time.monotonic()
        shop.get("/v2/sites")
        assert time.monotonic() - start > 0.3
        shop.fault("hang_after", "createOrder", seconds=1)
        with pytest.raises(requests.exceptions.RequestException):
            shop.send("POST", "/v2/orders", json=new_order(), timeout=0.3)
        assert len(numbers(shop)) == 1

    @pytest.mark.parametrize(("effect", "shipped"), [(False, 1), (True, 2)])
    def test_items_of_a_batch_may_be_500_alone(self, shop: Caller, effect: bool, shipped: int) -> None:
        shop.apply(event("order", sold(1)), event("order", sold(2)))
        shop.fault("bulk_partial", "createShipments", every=2, effect=effect)
        results = ship(shop, shipment(1, "A"), shipment(2, "B"))
        assert [(r["Status"], r["SellerFulfillmentID"]) for r in results] == [(500, "A"), (201, "B")]
        assert len(shop.get("/v2/shipping")["value"]) == shipped
        assert ship(shop, shipment(1, "A"))[0]["Status"] == (200 if effect else 201)

    def test_writes_may_be_refused_alone_and_in_a_batch_and_nothing_happens(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)))
        shop.fault("refused", "*", times=2, status=422, code="NotToday")
        answer = shop.send("PUT", "/v2/orders/1", json={"OrderStatus": "OnHold"})
        assert (answer.status_code, error(answer)["code"]) == (422, "NotToday")
        (result,) = ship(shop, shipment(1, "A"))
        assert (result["Status"], result["Errors"][0]["Code"]) == (422, "NotToday")
        assert shop.get("/v2/orders/1")["OrderStatus"] == "New"
        assert shop.get("/v2/shipping")["value"] == []


class TestLimits:
    def test_requests_per_minute_are_counted_per_profile(self, tmp_path: Path) -> None:
        with running(tmp_path, per_minute=3) as base:
            caller = Caller(base)
            left = [caller.call("GET", "/v2/sites").headers["X-RateLimit-Remaining"] for _ in range(3)]
            assert left == ["2", "1", "0"]
            answer = caller.call("GET", "/v2/sites")
            assert (answer.status_code, error(answer)["code"]) == (429, "TooManyRequests")
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert Caller(base, "sandbox-refresh-orders").call("GET", "/v2/sites").status_code == 429

    def test_five_requests_run_at_once_and_the_sixth_is_429(self, shop: Caller) -> None:
        shop.fault("slow", "listSites", seconds=0.7, times=5)
        with ThreadPoolExecutor(6) as pool:
            slow = [pool.submit(shop.send, "GET", "/v2/sites") for _ in range(5)]
            time.sleep(0.3)
            assert shop.call("GET", "/v2/orders").status_code == 429
            assert [each.result().status_code for each in slow] == [200] * 5
        assert shop.call("GET", "/v2/orders").status_code == 200


class TestRunning:
    def test_a_restart_keeps_rows_marks_tokens_and_clock(self, tmp_path: Path) -> None:
        with running(tmp_path) as base:
            shop = Caller(base)
            shop.clock(NOW)
            token = shop.renew()
            shop.apply(*SITES, *PRODUCTS, event("order", sold(1)), event("order", sold(2)))
            shop.call("POST", "/v2/orders/1/exported")
            ship(shop, shipment(2, "A"))
            link = shop.get("/v2/orders", limit=1)["nextLink"]
            before = [shop.order(1), shop.order(2)]
        with running(tmp_path) as base:
            shop = Caller(base)
            shop.http.headers["Authorization"] = f"Bearer {token}"
            assert [shop.order(1), shop.order(2)] == before
            assert ship(shop, shipment(2, "A"))[0]["Status"] == 200
            rest = shop.get(link.replace(link.partition("/v2")[0], base))
            assert [row["ChannelAdvisorOrderID"] for row in rest["value"]] == [2]
            assert parse(NOW) < parse(rest["serverTime"]) < parse("2011-01-10T12:10:00Z")

    def test_a_port_that_is_taken_is_said_in_a_sentence(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert serve(ChannelAdvisor(tmp_path), port) == 1
        assert f"Port {port} of 127.0.0.1 cannot be used: another program listens there" in capsys.readouterr().err

    def test_ctrl_c_ends_the_command_without_a_trace(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "sandbox.channel_advisor", "--port", "0", "--data", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
                assert address is not None
                health = requests.get(f"{address[0]}/_sandbox/health", timeout=10).json()
                process.send_signal(signal.SIGINT)
                _, complaints = process.communicate(timeout=20)
            finally:
                process.kill()
        assert (health["system"], process.returncode, complaints) == ("channel_advisor", 0, "")
