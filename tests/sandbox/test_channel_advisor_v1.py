"""REST v1 of the Channel Advisor sandbox reads as its facts say, seen over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
import requests

from contract.channel_advisor_calls import CLIENT, PRODUCTS, SITES, event, line, running, sold
from contract.channel_advisor_v1_calls import Caller, facade_order
from sandbox.channel_advisor_v1 import schema
from sandbox.channel_advisor_v1.server import ChannelAdvisor

NOW = "2011-01-10T12:00:00Z"
DENIED = "Authorization has been denied for this request."
CENTERS = [
    event("distribution_center", {"DistributionCenterID": 4, "Code": "MAIN", "Name": "Main warehouse"}),
    event("distribution_center", {"DistributionCenterID": 9, "Code": "FBA", "Type": "ExternallyManaged"}),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("v1"), ChannelAdvisor, per_minute=1_000_000) as url:
        yield url


@pytest.fixture
def shop(base: str) -> Caller:
    """An account with sites, centers and products, without orders."""
    requests.post(f"{base}/_sandbox/reset", timeout=10)
    caller = Caller(base)
    caller.clock(NOW)
    caller.renew()
    caller.apply(*SITES, *CENTERS, *PRODUCTS)
    return caller


def at(minute: int) -> str:
    return f"2011-01-10T10:{minute:02d}:00Z"


def orders(shop: Caller, count: int, **fields: Any) -> None:
    shop.apply(*(event("order", sold(n, **fields), at=at(n)) for n in range(1, count + 1)))


def ids(shop: Caller, filter: str | None = None, set: str = "Orders", **query: Any) -> list[int]:
    options = query | ({} if filter is None else {"_filter": filter})
    return [row["ID"] for row in shop.rows(f"/v1/{set}", **options)]


def error(answer: requests.Response) -> str:
    assert answer.json()["error"]["code"] == ""
    return str(answer.json()["error"]["message"])


class TestDocuments:
    def test_amounts_have_four_decimals_and_enums_are_text(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(11, quantity=2, price="12.9900"))))
        answer = shop.send("GET", "/v1/Orders(1)?$expand=Items")
        assert '"UnitPrice":12.9900' in answer.text
        assert '"TotalPrice":25.9800' in answer.text
        assert '"ShippingStatus":"Unshipped"' in answer.text

    def test_the_tax_of_an_order_holds_that_of_shipping(self, shop: Caller) -> None:
        sale = sold(1, line(11, TaxAmount=Decimal("5.1000"), ShippingTaxAmount=Decimal("0.8000")))
        sale |= {"TotalTaxPrice": Decimal("5.1000"), "TotalShippingTaxPrice": Decimal("0.8000")}
        sale["TotalPrice"] += Decimal("5.9000")
        shop.apply(event("order", sale))
        order = shop.get("/v1/Orders(1)")
        assert (order["TotalTaxPrice"], order["TotalShippingTaxPrice"]) == (Decimal("5.9000"), Decimal("0.8000"))

    def test_a_discount_of_a_line_is_a_negative_promotion_and_the_rest_a_discount_of_the_order(
        self, shop: Caller
    ) -> None:
        items = [line(11, price="10.0000", DiscountAmount=Decimal("2.0000"))]
        sale = sold(1, *items) | {"TotalDiscount": Decimal("3.5000"), "TotalPrice": Decimal("16.5000")}
        shop.apply(event("order", sale), event("order", sale | {"ChannelAdvisorOrderID": 2, "SiteID": 641,
            "SiteName": "Amazon Seller Central - UK", "OrderItems": [line(21, price="10.0000",
            DiscountAmount=Decimal("2.0000"))]}))  # fmt: skip
        order = shop.get("/v1/Orders(1)", _expand="Items($expand=Promotions)")
        assert order["Items"][0]["Promotions"][0]["Amount"] == Decimal("-2.0000")
        assert (order["AdditionalCostOrDiscount"], order["PromotionAmount"]) == (Decimal("-1.5000"), 0)
        amazon = shop.get("/v1/Orders(2)")
        assert (amazon["AdditionalCostOrDiscount"], amazon["PromotionAmount"]) == (0, Decimal("-1.5000"))

    def test_prices_that_hold_their_tax_say_so(self, shop: Caller) -> None:
        sale = sold(1, line(11, price="12.0000", TaxAmount=Decimal("4.0000")), OrderTaxType="InclusiveVat")
        shop.apply(event("order", sale | {"TotalTaxPrice": Decimal("4.0000")}))
        order = shop.get("/v1/Orders(1)")
        assert (order["OrderTaxType"], order["TotalTaxPrice"], order["TotalPrice"]) == ("InclusiveVat", 4, 24)

    def test_every_order_begins_with_a_fulfillment_of_its_open_units(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(11, quantity=3), RequestedShippingCarrier="UPS")))
        (fulfillment,) = shop.rows("/v1/Orders(1)/Fulfillments", _expand="Items")
        assert (fulfillment["DeliveryStatus"], fulfillment["ShippedDateUtc"]) == ("NoChange", None)
        assert fulfillment["ShippingCarrier"] == "UPS"
        assert [item["Quantity"] for item in fulfillment["Items"]] == [3]

    def test_the_site_number_of_a_direct_sale_is_the_secondary_one(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)), event("order", sold(2, SiteID=641, OrderID="205-1")))
        direct, amazon = shop.rows("/v1/Orders")
        assert (direct["SiteOrderID"], direct["SecondarySiteOrderID"]) == ("1", "WEB-1")
        assert (amazon["SiteOrderID"], amazon["SecondarySiteOrderID"]) == ("205-1", None)

    def test_a_partial_cancellation_is_an_adjustment_dated_when_it_happened(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(11, quantity=3))))
        change = {"OrderItems": [{"OrderItemID": 11, "QuantityCancelled": 1}]}
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": change}, at=at(30)))
        (adjustment,) = shop.rows("/v1/OrderItemAdjustments", _filter=f"CreatedDateUtc ge {at(29)}")
        assert (adjustment["Type"], adjustment["Quantity"], adjustment["CreatedDateUtc"]) == ("Cancellation", 1, at(30))
        assert facade_order(shop.whole(1))["OrderItems"][0]["QuantityCancelled"] == 1

    def test_parents_and_bundles_have_no_quantity(self, shop: Caller) -> None:
        (bundle,) = shop.rows("/v1/Products", _filter="Sku eq 'KIT-77/2'", _expand="DCQuantities")
        assert (bundle["TotalAvailableQuantity"], bundle["DCQuantities"]) == (None, [])
        assert bundle["BundleType"] == "BundleItem"

    @pytest.mark.parametrize("name", sorted(name for name, _ in schema.sets().values()))
    def test_every_entity_set_answers_or_has_no_resource(self, shop: Caller, name: str) -> None:
        shop.apply(event("order", sold(1)))
        answer = shop.send("GET", f"/v1/{name}")
        if name in ("Webhooks", "OrderDocuments", "OrderDocumentFlyweights"):
            assert (answer.status_code, answer.json()["$id"]) == (404, "1")
        else:
            shop.get(f"/v1/{name}")

    def test_the_world_has_its_sites_centers_and_profiles(self, shop: Caller) -> None:
        assert next((site["ID"], site["SiteName"]) for site in shop.rows("/v1/Sites")) == (587, "Web Shop")
        assert [center["IsExternallyManaged"] for center in shop.rows("/v1/DistributionCenters")] == [False, True]
        (profile,) = shop.rows("/v1/Profiles")
        assert (profile["ID"], profile["CurrencyCode"]) == (12345678, "GBP")


class TestFilters:
    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("ID eq 3", [3]),
            ("ID ne 3", [1, 2, 4]),
            ("ID gt 2 and ID le 3", [3]),
            ("ID lt 2 or ID ge 4", [1, 4]),
            ("not (ID lt 3)", [3, 4]),
            ("(ID eq 1 or ID eq 2) and not (ID eq 1)", [2]),
            ("ShippingStatus eq 'Shipped'", [4]),
            ("shippingstatus ne 'Shipped' and paymentSTATUS eq 'Cleared'", [1, 2, 3]),
            ("SellerOrderID eq null", [1, 3, 4]),
            ("SellerOrderID ne null", [2]),
            ("SellerOrderID eq 'so-O''NEIL'", [2]),
            (f"UpdatedDateUtc ge {at(3)}", [3, 4]),
            (f"UpdatedDateUtc gt {at(3)} and UpdatedDateUtc lt {at(59)}", [4]),
            (f"{at(2)} ge UpdatedDateUtc", [1, 2]),
            ("UpdatedDateUtc ge 2011-01-10", [1, 2, 3, 4]),
            ("UpdatedDateUtc ge 2011-01-11", []),
            (f"(UpdatedDateUtc ge {at(4)}) or (ImportDateUtc ge {at(3)})", [3, 4]),
            ("contains(SiteOrderID, '3')", [3]),
            ("startswith(tolower(SellerOrderID), 'so-')", [2]),
            ("minute(UpdatedDateUtc) eq 2 and year(UpdatedDateUtc) eq 2011", [2]),
            ("floor(TotalPrice) eq 25", [1, 2, 3, 4]),
            ("Items/any(i: i/Quantity gt 2)", [3]),
            ("Items/all(i: i/Sku eq '22423')", [1, 2, 3, 4]),
            ("Fulfillments/any(f: f/Items/any(i: i/Quantity eq 3))", [3]),
            ("Items/any()", [1, 2, 3, 4]),
            ("ProfileID eq 12345678 and SiteID eq 587", [1, 2, 3, 4]),
            ("ProfileID eq 1", []),
        ],
    )
    def test_a_filter_means_what_odata_says(self, shop: Caller, filter: str, expected: list[int]) -> None:
        shop.apply(
            event("order", sold(1, line(11)), at=at(1)),
            event("order", sold(2, line(21), SellerOrderID="SO-O'Neil"), at=at(2)),
            event("order", sold(3, line(31, quantity=3, price="8.5000")), at=at(3)),
            event("order", sold(4, line(41, QuantityShipped=2), OrderStatus="Shipped"), at=at(4)),
        )
        assert ids(shop, filter) == expected

    @pytest.mark.parametrize(
        "filter",
        [
            "ShippingStatus eq Shipped",
            "ShippingStatus eq 'Sent'",
            "ShippingStatus eq 1",
            f"UpdatedDateUtc ge '{NOW}'",
            "UpdatedDateUtc ge 2011-13-01",
            "ID eq '1'",
            "OrderStatus eq 'New'",
            "ID eq 1 and",
            "(ID eq 1",
            "ID eq 1)",
            "ID",
            "ID in (1, 2)",
            "SellerOrderID gt null",
            "Items/any(i: j/Quantity eq 1)",
            "soundex(Currency) eq 'x'",
            "length(ID) eq 1",
            "SiteOrderID eq 'open",
            "ID eq 1 ; drop",
        ],
    )
    def test_a_filter_of_wrong_types_or_names_is_refused(self, shop: Caller, filter: str) -> None:
        answer = shop.send("GET", "/v1/Orders", params={"$filter": filter})
        assert answer.status_code == 400, answer.text
        assert error(answer)

    def test_products_are_found_by_sku_without_case(self, shop: Caller) -> None:
        (row,) = shop.rows("/v1/Products", _filter="Sku eq '85123a'", _select="ID,Sku")
        assert set(row) == {"ID", "Sku"}
        assert row["Sku"] == "85123A"

    def test_quantities_of_one_center_are_filtered_within_an_expand(self, shop: Caller) -> None:
        shop.apply(
            *(
                event("level", {"SKU": "85123A", "DistributionCenterID": center, "AvailableQuantity": units})
                for center, units in ((4, 5), (9, 7))
            )
        )
        expand = "DCQuantities($filter=DistributionCenterID eq 9;$select=AvailableQuantity)"
        (row,) = shop.rows("/v1/Products", _filter="Sku eq '85123A'", _expand=expand)
        assert row["DCQuantities"] == [{"AvailableQuantity": 7}]
        assert len(shop.rows("/v1/DCQuantities", _filter=f"ProductID eq {row['ID']}")) == 2

    def test_exported_is_an_option_without_a_dollar_and_each_application_has_its_marks(self, shop: Caller) -> None:
        orders(shop, 3)
        shop.send("POST", "/v2/orders/2/exported")
        assert ids(shop, exported="false") == [1, 3]
        assert ids(shop, exported="true") == [2]
        assert ids(shop) == [1, 2, 3]
        second = Caller(shop.base, "sandbox-refresh-second", ("crossdock-second", "sandbox-secret-second"))
        assert ids(second, exported="false") == [1, 2, 3]


class TestPages:
    def test_pages_of_a_hundred_are_joined_by_absolute_links_that_count_from_the_start(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in range(1, 206)))
        pages = list(shop.walked_pages("/v1/Orders", _filter="ID gt 0", _count="true"))
        assert [len(page["value"]) for page in pages] == [100, 100, 5]
        assert {page["@odata.count"] for page in pages} == {205}
        link = urlsplit(pages[0]["@odata.nextLink"])
        assert f"{link.scheme}://{link.netloc}" == shop.base
        assert dict(parse_qsl(link.query)) == {"$filter": "ID gt 0", "$count": "true", "$skip": "100"}

    def test_a_nested_expand_makes_pages_of_twenty(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in range(1, 26)))
        pages = list(shop.walked_pages("/v1/Orders", _expand="Items($expand=Promotions),Fulfillments"))
        assert [len(page["value"]) for page in pages] == [20, 5]
        assert len(shop.get("/v1/Orders", _expand="Items,Fulfillments")["value"]) == 25

    def test_a_list_cuts_a_collection_at_twenty_and_links_to_the_rest(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, *(line(n) for n in range(1, 48)))))
        (row,) = shop.get("/v1/Orders", _expand="Items($expand=Promotions;$select=ID)")["value"]
        assert [item["ID"] for item in row["Items"]] == list(range(1, 21))
        rest = shop.rows(row["Items@odata.nextLink"])
        assert [item["ID"] for item in rest] == list(range(21, 48))
        assert len(shop.get("/v1/Orders(1)", _expand="Items")["Items"]) == 47

    def test_a_window_by_offset_loses_rows_that_move_while_it_is_read(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n), at=at(1)) for n in range(1, 151)))
        window = f"UpdatedDateUtc lt {at(30)}"
        first = shop.get("/v1/Orders", _filter=window)
        for number in (1, 2, 3):
            changes = {"SellerOrderID": "changed"}
            shop.apply(event("order_change", {"ChannelAdvisorOrderID": number, "changes": changes}, at=at(40)))
        second = shop.get(first["@odata.nextLink"])
        seen = {row["ID"] for page in (first, second) for row in page["value"]}
        assert {101, 102, 103} == set(range(1, 151)) - seen

    def test_top_and_skip_and_orderby(self, shop: Caller) -> None:
        orders(shop, 5)
        assert ids(shop, _orderby="UpdatedDateUtc desc", _top="2", _skip="1") == [4, 3]
        assert ids(shop, _orderby="SiteID,ID desc") == [5, 4, 3, 2, 1]

    def test_a_page_behind_the_end_is_empty_or_the_first_as_it_is_set(self, shop: Caller) -> None:
        orders(shop, 2)
        assert shop.get("/v1/Orders", _skip="5")["value"] == []
        shop.control("PUT", "v1", {"past_end": "first"})
        assert [row["ID"] for row in shop.get("/v1/Orders", _skip="5")["value"]] == [1, 2]

    def test_a_token_in_the_query_is_echoed_in_the_link(self, shop: Caller) -> None:
        shop.apply(*(event("order", sold(n)) for n in range(1, 102)))
        token = shop.http.headers["Authorization"].partition(" ")[2]
        page = requests.get(f"{shop.base}/v1/Orders", params={"access_token": token}, timeout=10).json()
        assert dict(parse_qsl(urlsplit(page["@odata.nextLink"]).query))["access_token"] == token
        assert len(requests.get(page["@odata.nextLink"], timeout=10).json()["value"]) == 1

    def test_few_fields_make_large_pages(self, shop: Caller) -> None:
        shop.apply(*(event("product", {"SKU": f"S{n}", "Title": "x"}) for n in range(250)))
        assert len(shop.get("/v1/Products", _select="ID,Sku")["value"]) == 253
        assert len(shop.get("/v1/Products")["value"]) == 100

    def test_the_count_of_a_set_is_a_plain_number(self, shop: Caller) -> None:
        answer = shop.send("GET", "/v1/Products/$count")
        assert (answer.text, answer.headers["Content-Type"]) == ("3", "text/plain; charset=utf-8")

    def test_the_date_of_an_answer_is_the_sandbox_clock(self, shop: Caller) -> None:
        answer = shop.send("GET", "/v1/Sites?$top=1")
        assert parsedate_to_datetime(answer.headers["Date"]).strftime("%Y-%m-%dT%H:%M") == NOW[:16]


class TestPaths:
    def test_the_set_may_be_written_in_any_case_the_rest_of_the_path_not(self, shop: Caller) -> None:
        orders(shop, 1)
        assert shop.send("GET", "/v1/orders(1)/Items").status_code == 200
        assert shop.send("GET", "/v1/Orders(1)/items").status_code == 404
        assert shop.send("GET", "/V1/Orders").status_code == 404

    def test_keys_of_several_parts_and_of_text(self, shop: Caller) -> None:
        attributes = [{"Name": "Colour's name", "Value": "Red"}]
        shop.apply(event("product", {"SKU": "A/1", "Title": "x", "ProductID": 77, "Attributes": attributes}))
        one = shop.get("/v1/Products(77)/Attributes('Colour''s name')")
        assert one["Value"] == "Red"
        assert shop.get("/v1/AttributeValues(ProductID=77,Name='colour''s name')")["Value"] == "Red"

    def test_an_unknown_id_and_an_unknown_path_are_both_404_in_different_shapes(self, shop: Caller) -> None:
        unknown = shop.send("GET", "/v1/Orders(5)")
        assert (unknown.status_code, set(unknown.json())) == (404, {"error"})
        path = shop.send("GET", "/v1/Listings")
        assert path.status_code == 404
        assert path.json()["Message"].startswith("No HTTP resource was found that matches the request URI")

    def test_an_item_and_a_fulfillment_are_found_by_their_ids(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1, line(11), line(12))))
        assert shop.get("/v1/OrderItems(12)", _expand="Order")["Order"]["ID"] == 1
        number = shop.rows("/v1/Fulfillments", _filter="OrderID eq 1")[0]["ID"]
        assert shop.get(f"/v1/Fulfillments({number})")["OrderID"] == 1


class TestAccess:
    def test_a_token_of_two_profiles_mixes_their_rows(self, shop: Caller) -> None:
        shop.apply(event("order", sold(1)), event("order", sold(2, ProfileID=12345679, Currency="USD")))
        both = Caller(shop.base, "sandbox-refresh-two-profiles")
        assert ids(both) == [1, 2]
        assert ids(both, "ProfileID eq 12345679") == [2]
        assert [row["ID"] for row in both.rows("/v1/Profiles")] == [12345678, 12345679]
        assert ids(shop) == [1]
        assert shop.send("GET", "/v1/Orders(2)").status_code == 404

    def test_without_a_token_or_a_scope_it_is_401_in_more_than_one_shape(self, shop: Caller) -> None:
        answers = [requests.get(f"{shop.base}/v1/Orders", timeout=10) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 3
        assert all(DENIED in answer.text for answer in answers)
        only_orders = Caller(shop.base, "sandbox-refresh-orders")
        assert only_orders.send("GET", "/v1/Products").status_code == 401
        assert only_orders.send("GET", "/v1/Orders").status_code == 200

    def test_a_token_that_only_reads_writes_nothing(self, shop: Caller) -> None:
        orders(shop, 1)
        reader = Caller(shop.base, "sandbox-refresh-readonly")
        assert ids(reader) == [1]
        assert reader.send("PATCH", "/v1/Orders(1)", json={"SellerOrderID": "x"}).status_code == 401

    def test_the_limit_answers_429_with_nothing(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        with running(tmp_path_factory.mktemp("limited"), ChannelAdvisor, per_minute=2) as url:
            caller = Caller(url)
            answers = [caller.send("GET", "/v1/Sites") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].content == b""
        assert "Retry-After" not in answers[2].headers
        assert not [name for name in answers[0].headers if name.lower().startswith("x-ratelimit")]

    def test_five_requests_at_once_are_let_through(self, shop: Caller) -> None:
        shop.fault("slow", "/v1/Sites", times=6, seconds=1)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: shop.send("GET", "/v1/Sites"), range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429]

    def test_a_denied_request_with_200_and_other_faults_hit_v1_too(self, shop: Caller) -> None:
        shop.fault("denied_200", "/v1/Orders")
        answer = shop.send("GET", "/v1/Orders")
        assert answer.status_code == 200
        assert DENIED in answer.text
        shop.fault("error_before", "/v1/Orders", status=503)
        assert shop.send("GET", "/v1/Orders").status_code == 503
        shop.fault("rate_limited", "/v1/Orders")
        assert shop.send("GET", "/v1/Orders").content == b""
        shop.fault("truncated_json", "/v1/Orders")
        with pytest.raises(requests.JSONDecodeError):
            shop.send("GET", "/v1/Orders").json()

    def test_a_dialect_can_be_turned_off(self, shop: Caller) -> None:
        shop.control("PUT", "dialects", {"serve": ["v1"]})
        try:
            assert shop.send("GET", "/v2/orders").status_code == 404
            assert shop.send("GET", "/v1/Orders").status_code == 200
            shop.control("PUT", "dialects", {"serve": ["v2"]})
            assert shop.send("GET", "/v1/Orders").status_code == 404
        finally:
            shop.control("PUT", "dialects", {"serve": ["v1", "v2"]})


class TestConsent:
    def consent(self, shop: Caller, **more: str) -> requests.Response:
        query = {"client_id": CLIENT[0], "response_type": "code", "access_type": "offline", "state": "s 1",
                     "scope": "orders inventory", "redirect_uri": "http://127.0.0.1:9/back"} | more  # fmt: skip
        return requests.get(f"{shop.base}/oauth2/authorize", params=query, allow_redirects=False, timeout=10)

    def exchange(self, shop: Caller, code: str, redirect: str = "http://127.0.0.1:9/back") -> requests.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
        return requests.post(f"{shop.base}/oauth2/token", data=form, auth=CLIENT, timeout=10)

    def code(self, shop: Caller, **query: str) -> str:
        answer = self.consent(shop, **query)
        assert answer.status_code == 302
        return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))["code"]

    def refresh(self, shop: Caller, token: str) -> requests.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return requests.post(f"{shop.base}/oauth2/token", data=form, auth=CLIENT, timeout=10)

    def test_a_code_gives_a_refresh_token_once(self, shop: Caller) -> None:
        answer = self.consent(shop)
        assert dict(parse_qsl(urlsplit(answer.headers["Location"]).query))["state"] == "s 1"
        code = self.code(shop)
        given = self.exchange(shop, code)
        assert given.status_code == 200
        assert self.refresh(shop, given.json()["refresh_token"]).status_code == 200
        again = self.exchange(shop, code)
        assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})

    def test_a_code_dies_after_five_minutes_and_belongs_to_its_address(self, shop: Caller) -> None:
        assert self.exchange(shop, self.code(shop), "https://example.com/").status_code == 400
        code = self.code(shop)
        shop.control("PUT", "clock", {"advance": 301})
        assert self.exchange(shop, code).status_code == 400

    def test_without_offline_access_there_is_no_refresh_token(self, shop: Caller) -> None:
        assert "refresh_token" not in self.exchange(shop, self.code(shop, access_type="online")).json()

    def test_an_unknown_application_or_an_unsafe_address_is_refused(self, shop: Caller) -> None:
        assert self.consent(shop, client_id="nobody").status_code == 400
        assert self.consent(shop, redirect_uri="http://example.com/").status_code == 400
        assert "error=invalid_scope" in self.consent(shop, scope="everything").headers["Location"]

    def test_a_refresh_token_dies_when_it_is_revoked_or_not_used_for_three_months(self, shop: Caller) -> None:
        for _ in range(2):
            assert self.refresh(shop, "sandbox-refresh").status_code == 200
            shop.control("PUT", "clock", {"advance": 89 * 86_400})
        shop.control("PUT", "clock", {"advance": 2 * 86_400})
        assert self.refresh(shop, "sandbox-refresh").json() == {"error": "invalid_grant"}
        assert self.refresh(shop, "sandbox-refresh-orders").status_code == 200
        shop.control("POST", "revoke", {"refresh_token": "sandbox-refresh-orders"})
        assert self.refresh(shop, "sandbox-refresh-orders").status_code == 400

    def test_a_client_may_prove_itself_in_the_form(self, shop: Caller) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh", "client_id": CLIENT[0]}
        right, wrong = form | {"client_secret": CLIENT[1]}, form | {"client_secret": "no"}
        assert requests.post(f"{shop.base}/oauth2/token", data=right, timeout=10).status_code == 200
        assert requests.post(f"{shop.base}/oauth2/token", data=wrong, timeout=10).status_code == 400

    def test_a_token_tells_its_scopes_and_profiles(self, shop: Caller) -> None:
        claims = [(each["Type"], each["Value"]) for each in shop.send("GET", "/oauth2/identity").json()]
        assert claims[1:] == [
            ("urn:ca:claim:scope", "inventory"), ("urn:ca:claim:scope", "orders"), ("urn:ca:claim:profile", "12345678")
        ]  # fmt: skip
        assert requests.get(f"{shop.base}/oauth2/identity", timeout=10).status_code == 401


def test_the_model_is_told_as_xml(shop: Caller) -> None:
    root = ElementTree.fromstring(shop.send("GET", "/v1/$metadata").content)
    names = {each.attrib["Name"] for each in root.iter() if each.tag.endswith("}EntitySet")}
    assert {"Orders", "Products", "OrderItemAdjustments"} <= names
    types = {each.attrib["Type"] for each in root.iter() if each.attrib.get("Name") == "RequestStatus"}
    assert types == {"ChannelAdvisor.RestApi.V1.Models.AsyncStatus"}


def test_cancelled_units_need_not_move_the_date_of_an_order(shop: Caller) -> None:
    shop.apply(event("order", sold(1, line(11, quantity=3)), at=at(1)))
    for minute, changes in ((10, {"SellerOrderID": "x"}), (20, {"OrderItems": [{"OrderItemID": 11,
                            "QuantityCancelled": 1}]})):  # fmt: skip
        shop.apply(event("order_change", {"ChannelAdvisorOrderID": 1, "changes": changes}, at=at(minute)))
    assert ids(shop, f"UpdatedDateUtc ge {at(15)}") == [1]
    shop.control("PUT", "v1", {"updated": "own"})
    assert ids(shop, f"UpdatedDateUtc ge {at(15)}") == []
    assert shop.get("/v1/Orders(1)")["UpdatedDateUtc"] == at(10)
    assert ids(shop, f"UpdatedDateUtc lt {at(15)}") == [1]


def test_requests_are_counted_by_their_path_without_keys(base: str) -> None:
    caller = Caller(base)
    caller.control("DELETE", "requests")
    caller.send("GET", "/v1/Orders(77)/Items")
    caller.send("GET", "/v1/Orders")
    counts = caller.control("GET", "requests")
    assert counts == {"GET /v1/Orders": 1, "GET /v1/Orders(id)/Items": 1}
    assert CLIENT[0] == "crossdock-sandbox"
