"""The reading half of the v1 client against a server that misbehaves on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice
from typing import Any

import pytest

from contract.misbehaving import Reply, Request, Server, ok
from contract.test_clients import FAST, connection
from crossdock.errors import BadResponse, ConfigError, RecordRejected
from crossdock.systems import channel_advisor as dialects
from crossdock.systems.channel_advisor import V1, Facade, client_of
from crossdock.systems.channel_advisor.v1 import odata, reading
from crossdock.systems.paging import Page

NOW = datetime(2025, 3, 14, 10, 0, 0, tzinfo=UTC)
ORDERS = "/v1/Orders"


def dated(document: Any, status: int = 200) -> Reply:
    """An answer of v1, with the clock that its header tells."""
    return ok(document, status, Date=format_datetime(NOW, usegmt=True))


def rows(*given: dict[str, Any], link: str | None = None) -> Reply:
    return dated({"value": list(given), **({"@odata.nextLink": link} if link else {})})


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "ID": number, "ProfileID": 7, "SiteID": 640, "UserDataPresent": 1, "SiteOrderID": f"114-{number}",
        "Currency": "USD", "CreatedDateUtc": "2025-03-11T22:40:17Z", "ImportDateUtc": "2025-03-14T09:26:53Z",
        "UpdatedDateUtc": "2025-03-14T09:26:53.5893215Z", "TotalPrice": 20.0, "TotalTaxPrice": 0.0,
        "TotalShippingPrice": 0.0, "TotalInsurancePrice": 0.0, "AdditionalCostOrDiscount": 0.0, "PromotionAmount": 0.0,
        "DistributionCenterTypeRollup": "SellerManaged", "CheckoutStatus": "Completed", "PaymentStatus": "Cleared",
        "ShippingStatus": "Unshipped", "OrderTaxType": "NoTax", "ShippingTaxType": "NoTax",
        "GiftOptionsTaxType": "NoTax", "Items": [line(number * 100 + 1)], "Fulfillments": [], "Adjustments": [],
    } | more  # fmt: skip


def line(number: int, **more: Any) -> dict[str, Any]:
    amounts = dict.fromkeys(("TaxPrice", "ShippingPrice", "ShippingTaxPrice", "RecyclingFee", "GiftPrice"), 0.0)
    parts: dict[str, Any] = {"Promotions": [], "BundleComponents": [], "Adjustments": []}
    return {"ID": number, "Sku": "A", "Quantity": 2, "UnitPrice": 10.0, "GiftTaxPrice": 0.0, **amounts, **parts} | more


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    for path in ("/v1/OrderItemAdjustments", "/v1/OrderAdjustments"):
        server.default(path, rows())
    yield server
    server.close()


@pytest.fixture
def ca(server: Server) -> Iterator[V1]:
    with V1(connection("channel_advisor", server.url), limits=FAST) as client:
        yield client


def documents(pages: Iterable[Page]) -> list[dict[str, Any]]:
    return [json.loads(bytes(raw)) for page in pages for raw in page.records]


def filters(server: Server, path: str = ORDERS) -> list[str]:
    return [request.query.get("$filter", [""])[0] for request in server.requests_to(path)]


class Live:
    """A list of orders that changes after each page that it gives, paged as v1 does."""

    def __init__(self, count: int, change: Callable[[Live], None]) -> None:
        self.rows = dict.fromkeys(range(1, count + 1), "2025-03-14T09:00:00Z")
        self.change, self.pages = change, 0

    def __call__(self, request: Request) -> Reply:
        wanted = request.query.get("$filter", [""])[0]
        after = int(wanted.rpartition("ID gt ")[2]) if "ID gt " in wanted else 0
        start, end = "2025-03-14T08", ("9" if " lt " not in wanted else wanted.partition(" lt ")[2][:20])
        found = [number for number, date in sorted(self.rows.items()) if number > after and start <= date < end]
        given = [order(number, UpdatedDateUtc=self.rows[number]) for number in found[:5]]
        self.pages += 1
        self.change(self)
        return rows(*given, link=f"{request.path}?$skip=5" if found[5:] else None)


def test_no_row_is_lost_when_others_change_come_or_go_while_a_list_is_read(server: Server, ca: V1) -> None:
    def change(live: Live) -> None:
        live.rows[live.pages] = "2025-03-14T09:59:00Z"  # one that has been read changes
        live.rows.pop(live.pages + 1, None)  # another one goes
        live.rows[100 + live.pages] = "2025-03-14T09:59:30Z"  # a new one comes

    live = Live(23, change)
    server.default(ORDERS, live)
    found = {one["ChannelAdvisorOrderID"] for one in documents(ca.pages("orders", since=NOW - timedelta(hours=1)))}
    assert set(range(8, 24)) <= found
    assert all("$skip" not in request.query for request in server.requests_to(ORDERS))


def test_orders_are_found_by_either_date_and_by_their_adjustments(server: Server, ca: V1) -> None:
    server.script(ORDERS, rows(order(1)), rows(order(9)))
    server.script("/v1/OrderItemAdjustments", rows({"ID": 5, "OrderID": 9}, {"ID": 6, "OrderID": 1}))
    found = documents(ca.pages("orders", since=NOW))
    assert [one["ChannelAdvisorOrderID"] for one in found] == [1, 9]
    first, second = filters(server)
    assert "UpdatedDateUtc ge 2025-03-14T10:00:00Z" in first
    assert "ImportDateUtc ge 2025-03-14T10:00:00Z" in first
    assert second == "ID eq 9"
    (wanted,) = filters(server, "/v1/OrderItemAdjustments")
    assert "CreatedDateUtc ge" in wanted
    assert "SiteRefundDateUtc ge" in wanted
    assert "RequestStatus ne 'PostProcessingComplete'" in wanted


def test_a_window_ends_where_it_is_said(server: Server, ca: V1) -> None:
    server.script(ORDERS, rows(order(1), order(2, UpdatedDateUtc="2025-03-14T09:30:00.5Z")))
    before = datetime(2025, 3, 14, 9, 30, 0, 400_000, tzinfo=UTC)
    found = documents(ca.pages("orders", since=NOW - timedelta(hours=1), before=before))
    assert [one["ChannelAdvisorOrderID"] for one in found] == [1]
    assert "lt 2025-03-14T09:30:01Z" in filters(server)[0]


def test_an_order_with_a_truncated_list_at_any_depth_is_read_whole(server: Server, ca: V1) -> None:
    partial = order(1, Items=[line(101, **{"Adjustments@odata.nextLink": "http://x/1"})])
    whole = order(1, Items=[line(101), line(102)])
    server.script(ORDERS, rows(partial, order(2)))
    server.default("/v1/Orders(1)", dated(whole))
    first, second = documents(ca.pages("orders", since=NOW))
    assert first["OrderItemCount"] == len(first["OrderItems"]) == 2
    assert second["OrderItemCount"] == 1
    assert "Adjustments" in server.requests_to("/v1/Orders(1)")[0].query["$expand"][0]


def test_a_truncated_order_that_is_gone_by_now_is_left_out(server: Server, ca: V1) -> None:
    server.script(ORDERS, rows(order(1, **{"Items@odata.nextLink": "http://x/1"}), order(2)))
    server.default("/v1/Orders(1)", dated({"Message": "no"}, 404))
    assert [one["ChannelAdvisorOrderID"] for one in documents(ca.pages("orders", since=NOW))] == [2]


def test_a_list_that_goes_on_even_in_the_single_order_is_read_to_its_end(server: Server, ca: V1) -> None:
    link = f"{server.url}/v1/Orders(1)/Items?$skip=20"
    server.script(ORDERS, rows(order(1, **{"Items@odata.nextLink": link})))
    server.default("/v1/Orders(1)", dated(order(1, **{"Items@odata.nextLink": link})))
    server.default("/v1/Orders(1)/Items", rows(line(102), line(103)))
    (one,) = documents(ca.pages("orders", since=NOW))
    assert [each["OrderItemID"] for each in one["OrderItems"]] == [101, 102, 103]


def test_a_record_that_nobody_can_read_stops_no_other(server: Server, ca: V1) -> None:
    strange = order(2, CheckoutStatus="Disabled")
    server.script(ORDERS, rows(order(1), strange, order(3)))
    (page,) = ca.pages("orders", since=NOW)
    assert [json.loads(bytes(raw))["ChannelAdvisorOrderID"] for raw in page.records] == [1, 3]
    assert page.received is not None
    assert [odata.id_of(raw) for raw in page.received] == [1, 3]
    (unmade,) = page.unmade
    assert (unmade.key, unmade.field, unmade.rule) == ("2", "CheckoutStatus", "unknown_status")
    assert "channel_advisor_v1_status.csv" in unmade.message
    assert "add a row" in unmade.do
    server.default("/v1/Orders(2)", dated(strange))
    with pytest.raises(RecordRejected, match="Disabled"):
        ca.record("orders", "2")


@pytest.mark.parametrize(
    "denied",
    [
        dated({"error": {"code": "", "message": "Authorization has been denied for this request."}}),
        dated({"Message": "Authorization has been denied for this request."}),
        Reply(200, b"Authorization has been denied for this request.", kind="text/plain"),
    ],
)
def test_a_refusal_in_the_guise_of_a_page_renews_the_token(server: Server, ca: V1, denied: Reply) -> None:
    server.script(ORDERS, denied, rows(order(1)))
    assert len(documents(ca.pages("orders", since=NOW))) == 1
    assert server.tokens == 2


def test_a_page_without_a_clock_is_asked_for_again(server: Server, ca: V1) -> None:
    server.script(ORDERS, Reply(200, b'{"value": []}', {"Date": "soon"}), rows(order(1)))
    (page,) = ca.pages("orders", since=NOW)
    assert page.server_time == NOW
    assert len(page.records) == 1


def test_rows_in_another_order_than_that_of_their_ids_are_no_list(server: Server, ca: V1) -> None:
    server.default(ORDERS, rows(order(2), order(1)))
    with pytest.raises(BadResponse, match="order of their IDs"):
        list(ca.pages("orders", since=NOW))


def test_what_was_read_before_a_list_failed_is_given_out(
    server: Server, ca: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FRAME", 1)
    server.script(ORDERS, rows(order(1), link="x"), rows(order(2), link="x"), rows(order(1), link="x"))
    pages = ca.pages("orders", since=NOW)
    assert [one["ChannelAdvisorOrderID"] for one in documents(islice(pages, 2))] == [1, 2]
    with pytest.raises(BadResponse):
        next(pages)


def test_a_long_window_is_read_in_slices_and_says_how_far_it_is_complete(
    server: Server, ca: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FRAME", 1)
    server.default(ORDERS, rows(order(1)))
    since = NOW - timedelta(days=20)
    pages = list(ca.pages("orders", since=since))
    reached = [page.complete_to for page in pages]
    assert reached == [since + timedelta(days=days) for days in (0, 1, 3, 7, 15)]
    assert "RequestStatus ne" in filters(server, "/v1/OrderItemAdjustments")[-1]
    assert all("RequestStatus" not in one for one in filters(server, "/v1/OrderItemAdjustments")[:-1])


def test_the_first_rows_of_a_long_list_need_few_requests(server: Server, ca: V1) -> None:
    """As the connection check asks for them, which the whole list of an old account would keep for hours."""
    live = Live(500, lambda _: None)
    server.default(ORDERS, live)
    assert len(next(iter(ca.pages("orders", limit=5))).records) == 5
    assert live.pages == 2  # the second is read while the first one is turned


def test_a_status_that_is_missing_is_called_so(server: Server, ca: V1) -> None:
    server.script(ORDERS, rows(order(1, CheckoutStatus=None)))
    (page,) = ca.pages("orders", since=NOW)
    assert page.unmade[0].rule == "unknown_status"
    assert "(missing) / Cleared / Unshipped / none" in page.unmade[0].message


@pytest.mark.parametrize(("state", "cancelled"), [("Error", 0), ("PostProcessingComplete", 1), ("Brewing", None)])
def test_a_cancellation_in_a_state_that_nobody_knows_is_no_guess(
    server: Server, ca: V1, state: str, cancelled: int | None
) -> None:
    gone = {"ID": 5, "Type": "Cancellation", "Quantity": 1, "RequestStatus": state, "CreatedDateUtc": None}
    server.script(ORDERS, rows(order(1, Items=[line(101, Adjustments=[gone])])))
    (page,) = ca.pages("orders", since=NOW)
    assert [one["OrderItems"][0]["QuantityCancelled"] for one in documents([page])] == (
        [] if cancelled is None else [cancelled]
    )
    assert [one.field for one in page.unmade] == ([] if cancelled is not None else ["Items.Adjustments.RequestStatus"])


def test_the_chosen_profiles_are_asked_for_and_no_other(server: Server) -> None:
    server.default(ORDERS, rows())
    server.default("/v1/Products", rows())
    server.default("/v1/Profiles", rows(*({"ID": n, "CurrencyCode": "EUR" if n == 9 else "GBP"} for n in (6, 7, 8, 9))))
    with V1(connection("channel_advisor", server.url, profile_id=[7, 8, 9]), limits=FAST) as client:
        list(client.pages("orders", since=NOW))
        list(client.pages("products", since=NOW))
        assert any("profile 9 are in EUR, those of 7 in GBP" in fact for fact in client.facts())
    assert "(ProfileID eq 7 or ProfileID eq 8 or ProfileID eq 9)" in filters(server)[0]
    assert "(ProfileID eq 7 or ProfileID eq 8) and" in filters(server, "/v1/Products")[0]  # those of one currency
    with pytest.raises(ConfigError, match="profile that is no number"):
        V1(connection("channel_advisor", server.url, profile_id="main"), limits=FAST)


def test_skus_are_asked_for_in_portions_that_an_address_can_hold(server: Server, ca: V1) -> None:
    server.default("/v1/Products", rows())
    server.default("/v1/Profiles", rows())
    skus = [f"O'Neil {number:03d}" for number in range(200)]
    assert ca.of_skus("prices", skus) == []
    wanted = filters(server, "/v1/Products")
    assert sum(one.count("Sku eq 'O''Neil") for one in wanted) == 200
    assert all(len(request.path) + len(str(request.query)) < 4_000 for request in server.requests_to("/v1/Products"))


def refund(number: int, **more: Any) -> dict[str, Any]:
    return {
        "ID": number, "OrderID": 1, "Type": "Refund", "RequestStatus": "NewRma", "Reason": "CustomerReturnedItem",
        "Quantity": 1, "ItemAdjustment": 5.0, "TaxAdjustment": 0.5, "ShippingAdjustment": 1.25, "IsRestock": True,
        "CreatedDateUtc": "2025-03-14T09:00:00Z", "RmaNumber": None, "SiteRefundDateUtc": None,
    } | more  # fmt: skip


def test_the_first_returns_need_not_wait_for_all_adjustments(server: Server, ca: V1) -> None:
    all_of_them = [rows({"ID": n, "OrderID": n}, link=f"/v1/OrderItemAdjustments?$skip={n}") for n in range(1, 50)]
    server.script("/v1/OrderItemAdjustments", *all_of_them)

    def one(request: Request) -> Reply:
        number = int(request.query["$filter"][0].rpartition(" ")[2])
        return rows(order(number, Items=[line(101, Adjustments=[refund(number)])]))

    server.default(ORDERS, one)
    (first,) = next(iter(ca.pages("returns", limit=1))).records
    assert json.loads(bytes(first))["ReturnID"] == 1
    assert len(server.requests_to("/v1/OrderItemAdjustments")) < 10


def test_the_refunds_of_one_number_are_one_return(server: Server, ca: V1) -> None:
    lines = [
        line(101, Adjustments=[refund(5, RmaNumber="R1"), refund(9, Type="Cancellation")]),
        line(102, Adjustments=[refund(6, RmaNumber="R1"), refund(7)]),
    ]
    server.script("/v1/OrderItemAdjustments", rows(*({"ID": number, "OrderID": 1} for number in (5, 6, 7))))
    server.script(ORDERS, rows(order(1, Items=lines)))
    first, second = documents(ca.pages("returns", since=NOW))
    assert (first["ReturnID"], first["RmaNumber"], len(first["Items"])) == (5, "R1", 2)
    assert (first["RefundTotal"], first["Status"], first["Currency"]) == (13.5, "NewRma", "USD")
    assert (second["ReturnID"], [each["OrderItemID"] for each in second["Items"]]) == (7, [102])


def test_returns_that_wait_are_read_by_their_keys(server: Server, ca: V1) -> None:
    assert ca.can.undated == ("returns",)
    server.script("/v1/OrderItemAdjustments", rows({"ID": 5, "OrderID": 1}))
    server.script(ORDERS, rows(order(1, Items=[line(101, Adjustments=[refund(5), refund(6)])])))
    found = documents(ca.pages("returns", key=["5", "-3"]))
    assert [one["ReturnID"] for one in found] == [5]
    assert filters(server, "/v1/OrderItemAdjustments") == ["ID eq 5"]
    assert filters(server, "/v1/OrderAdjustments") == ["ID eq 3"]


def test_a_fulfillment_that_has_not_left_is_no_shipment(server: Server, ca: V1) -> None:
    open_ = {"ID": 1, "ProfileID": 7, "OrderID": 1, "ShippedDateUtc": None, "DeliveryStatus": "NoChange", "Items": []}
    left = open_ | {
        "ID": 2, "ShippedDateUtc": "2025-03-14T09:00:00Z", "DeliveryStatus": "Complete",
        "CreatedDateUtc": "2025-03-14T09:00:00Z",
        "Items": [{"OrderItemID": 101, "Sku": "A", "Quantity": 2, "MarketplaceShippingStatus": "Complete"}],
    }  # fmt: skip
    server.default("/v1/Fulfillments", rows(open_, left))
    (one,) = documents(ca.pages("shipping", channelAdvisorOrderId="1"))
    assert (one["ShipmentID"], one["SellerFulfillmentID"], one["MarketplaceStatus"]) == (2, "2", "Complete")
    assert filters(server, "/v1/Fulfillments") == ["OrderID eq 1"]


def test_a_list_or_a_filter_that_v1_has_not_is_said(server: Server, ca: V1) -> None:
    with pytest.raises(ConfigError, match="no listings"):
        list(ca.pages("listings"))
    with pytest.raises(ConfigError, match="did you mean 'orders'"):
        list(ca.pages("order"))
    with pytest.raises(ConfigError, match="no such filter"):
        list(ca.pages("orders", sku=["A"]))


@pytest.mark.parametrize(("answer", "client"), [(dated({"Message": "No HTTP resource"}, 404), V1),
                                                (dated({"value": []}), Facade)])  # fmt: skip
def test_the_api_is_found_out_once_where_the_connection_names_none(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: Reply, client: type
) -> None:
    monkeypatch.setattr(dialects, "_found", {})
    server.default("/v2/sites", answer)
    for _ in range(2):
        with client_of(connection("channel_advisor", server.url), limits=FAST) as found:
            assert isinstance(found, client)
    assert len(server.requests_to("/v2/sites")) == 1
