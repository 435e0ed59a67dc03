"""The API v1 as servers speak it: links, numbers, dates, lists and refusals that are not as its documents say."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from contract import shared_tables
from contract.misbehaving import Reply, Request, Server, html, ok
from contract.test_channel_advisor_v1_reads import NOW, ORDERS, ca, dated, documents, line, order, rows, server
from contract.test_clients import FAST, connection
from crossdock.errors import BadResponse, ConfigError, CrossdockError, RateLimited, RecordRejected
from crossdock.pool import Pool
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor import V1
from crossdock.systems.channel_advisor.v1 import odata

__all__ = ["ca", "server"]
ADJUSTMENTS = "/v1/OrderItemAdjustments"
LONG = "/v1/Orders(1)"


def found(ca: V1, **window: Any) -> list[int]:
    return [one["ChannelAdvisorOrderID"] for one in documents(ca.pages("orders", since=NOW, **window))]


def adjustments(link: str) -> tuple[Reply, Reply]:
    """A list of two pages; `link`: how the first one names the second."""
    return rows({"ID": 5, "OrderID": 1}, link=link), rows({"ID": 6, "OrderID": 2})


# ---- links ---------------------------------------------------------------------------------------------------------


def test_each_page_begins_behind_the_last_row_whatever_the_link_says(server: Server, ca: V1) -> None:
    """Where there are rows the link only says that there are more."""
    for link in ("Orders?$skip=1", "https://elsewhere.example/v1/Orders?$skiptoken=abc", "nonsense"):
        server.script(ORDERS, rows(order(1), link=link), rows(order(2)))
        assert found(ca) == [1, 2]
    assert {request.path for request in server.requests} <= {
        ORDERS, "/oauth2/token", ADJUSTMENTS, "/v1/OrderAdjustments",
    }  # fmt: skip


@pytest.mark.parametrize(
    "link",
    [
        "Sites?$skiptoken=a%20b",  # relative to the API
        "/v1/Sites?$skiptoken=a%20b",
        "?$skiptoken=a%20b",  # relative to the page
        "{url}/v1/Sites?$skiptoken=a%20b",
        "https://127.0.0.1/v1/Sites?$skiptoken=a%20b",  # a gateway has another scheme and port than the server knows
        "//127.0.0.1/v1/Sites?$skiptoken=a%20b",
        "HTTP://127.0.0.1:{port}/v1/Sites?$skiptoken=a%20b",
    ],
)
def test_a_link_is_followed_on_the_own_server_however_it_is_written(server: Server, ca: V1, link: str) -> None:
    port = server.url.rpartition(":")[2]
    server.script("/v1/Sites", rows({"ID": 1}, link=link.format(url=server.url, port=port)), rows({"ID": 2}))
    assert [row["ID"] for row in ca.rows("/Sites")] == [1, 2]
    assert server.requests_to("/v1/Sites")[1].query == {"$skiptoken": ["a b"]}


@pytest.mark.parametrize("where", ["list", "inside an entity"])
@pytest.mark.parametrize("kind", ["another host", "another port", "a login", "no address", "another scheme"])
def test_a_link_to_another_server_gets_no_token(server: Server, ca: V1, kind: str, where: str) -> None:
    other = Server()
    try:
        link = {
            "another host": "http://localhost.localdomain/v1/x?$skip=1",
            "another port": f"{other.url}/v1/x?$skip=1",
            "a login": server.url.replace("://", "://me:secret@") + "/v1/x?$skip=1",
            "no address": "http://[/v1/x",
            "another scheme": "ftp://127.0.0.1/v1/x",
        }[kind]
        if where == "list":
            server.script("/v1/Sites", rows({"ID": 1}, link=link))
            with pytest.raises(BadResponse, match="another server"):
                ca.rows("/Sites")
        else:
            endless = order(1, **{"Items@odata.nextLink": link})
            server.script(ORDERS, rows(endless))
            server.default(LONG, dated(endless))
            with pytest.raises(BadResponse, match="another server"):
                found(ca)
        assert other.requests == []
    finally:
        other.close()


def test_a_request_to_another_server_is_not_sent(server: Server, ca: V1) -> None:
    """Whoever asks for it: the address would get the login."""
    other = Server()
    try:
        with pytest.raises(ConfigError, match="another server"):
            ca._http.request("GET", f"{other.url}/v1/Orders", odata.entity)
        assert (other.requests, server.requests) == ([], [])
    finally:
        other.close()


def test_a_relative_link_inside_an_entity_is_followed(server: Server, ca: V1) -> None:
    endless = order(1, **{"Items@odata.nextLink": "Orders(1)/Items?$skip=1"})
    server.script(ORDERS, rows(endless))
    server.default(LONG, dated(endless))
    server.default(f"{LONG}/Items", rows(line(102)))
    (one,) = documents(ca.pages("orders", since=NOW))
    assert [each["OrderItemID"] for each in one["OrderItems"]] == [101, 102]


# ---- pages ---------------------------------------------------------------------------------------------------------


def test_rows_that_come_twice_are_no_fault(server: Server, ca: V1) -> None:
    server.script(ORDERS, rows(order(1), order(1), order(2), link="x"), rows(order(2), order(3), link="x"), rows())
    assert found(ca) == [1, 1, 2, 2, 3]


def test_a_list_that_gives_the_same_page_for_ever_ends(server: Server, ca: V1) -> None:
    server.default(ORDERS, rows(order(1), order(2), link="Orders?$skip=2"))
    with pytest.raises(BadResponse, match="no row that was not there before"):
        found(ca)


def test_an_empty_page_with_a_link_is_not_the_end(server: Server, ca: V1) -> None:
    server.script(ORDERS, rows(order(1), link="x"), rows(link="Orders?$skiptoken=7"), rows(order(2)))
    assert found(ca) == [1, 2]
    assert server.requests_to(ORDERS)[2].query == {"$skiptoken": ["7"]}


@pytest.mark.parametrize(
    "broken",
    [
        dated({"@odata.context": "x"}),  # no value
        dated({"value": None}),
        dated([]),
        Reply(200, b'{"value": [{"ID": 1', {"Date": format_datetime(NOW, usegmt=True)}),
        Reply(200, b"", {"Date": format_datetime(NOW, usegmt=True)}),
        html(200),
        html(503),
        Reply(500, b""),
        dated({"error": {"code": "", "message": "The operation has timed out."}}),
        dated({"Message": "An error has occurred."}),
        Reply(no_answer=True),
    ],
)
def test_a_broken_page_is_asked_for_again_and_is_never_an_empty_one(server: Server, ca: V1, broken: Reply) -> None:
    server.script(ORDERS, broken, rows(order(1)))
    assert found(ca) == [1]
    assert server.tokens == 1
    server.default(ORDERS, broken)
    with pytest.raises(CrossdockError):
        found(ca)


def test_a_compressed_page_with_headers_in_any_case_is_read(server: Server, ca: V1) -> None:
    body = gzip.compress(json.dumps({"value": [order(1)], "error": None}).encode())
    headers = {"content-ENCODING": "gzip", "Date": format_datetime(NOW, usegmt=True)}
    kind = "APPLICATION/json;odata.metadata=minimal"
    server.script(ORDERS, Reply(200, body, headers, kind))
    assert found(ca) == [1]
    server.script(ORDERS, Reply(200, body[:40], headers, kind), rows(order(2)))
    assert found(ca) == [2]


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_a_pause_that_the_server_asks_for_is_kept(server: Server, ca: V1, form: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    headers = {
        "seconds": {"retry-AFTER": "0.2"},
        "date": {"Retry-After": format_datetime(now + timedelta(seconds=1), usegmt=True),
                 "Date": format_datetime(now, usegmt=True)},
        "none": {},
    }[form]  # fmt: skip
    server.script(ORDERS, Reply(429, b"", headers), rows(order(1)))
    began = time.monotonic()
    assert found(ca) == [1]
    least = {"seconds": 0.2, "date": FAST.longest_pause_seconds, "none": 4 * FAST.first_pause_seconds}[form]
    assert time.monotonic() - began >= least * 0.9


def test_a_get_without_a_body_is_no_answer(server: Server, ca: V1) -> None:
    server.script("/v1/Profiles(1)", Reply(200, b""), ok({"ID": 1}))
    assert ca.get("/Profiles(1)") == {"ID": 1}


# ---- values --------------------------------------------------------------------------------------------------------


def test_numbers_in_quotes_are_numbers(server: Server, ca: V1) -> None:
    quoted = order(1, ID="1", TotalPrice="20.0000", SiteID="640", Items=[line(101, Quantity="2", UnitPrice="10.00")])
    server.script(ORDERS, rows(quoted, order(2)))
    first, second = documents(ca.pages("orders", since=NOW))
    assert first == second | {
        "ChannelAdvisorOrderID": 1, "OrderID": "114-1", "OrderItems": first["OrderItems"],
    }  # fmt: skip
    assert (first["TotalPrice"], first["OrderItems"][0]["Quantity"]) == (20, 2)


def test_the_life_of_a_token_may_be_in_quotes(server: Server, ca: V1) -> None:
    server.default("/oauth2/token", ok({"access_token": "A", "token_type": "Bearer", "expires_in": "3600"}))
    server.default(ORDERS, rows(order(1)))
    assert found(ca) + found(ca) == [1, 1]
    assert len(server.requests_to("/oauth2/token")) == 1


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("2025-03-14T09:26:53", "2025-03-14T09:26:53Z"),
        ("2025-03-14T09:26:53.5893215", "2025-03-14T09:26:53.5893215Z"),
        ("2025-03-14T09:26:53.5Z", "2025-03-14T09:26:53.5Z"),
        ("2025-03-14T10:26:53+01:00", "2025-03-14T10:26:53+01:00"),
    ],
)
def test_a_date_is_utc_with_or_without_fraction_and_zone(server: Server, ca: V1, given: str, taken: str) -> None:
    server.script(ORDERS, rows(order(1, UpdatedDateUtc=given, PaymentDateUtc=given), order(2, UpdatedDateUtc=None)))
    first, second = documents(ca.pages("orders", since=NOW))
    assert (first["UpdatedDate"], first["PaymentDate"]) == (taken, taken)
    assert second["UpdatedDate"] == "2025-03-14T09:26:53Z"


def test_lists_that_are_null_or_missing_are_empty(server: Server, ca: V1) -> None:
    bare = {name: value for name, value in order(1).items() if name not in ("Fulfillments", "Adjustments")}
    nothing = line(101, Promotions=None, BundleComponents=None, Adjustments=None)
    server.script(ORDERS, rows(bare | {"Items": [nothing]}, order(2, Fulfillments=None, Adjustments=None)))
    first, second = documents(ca.pages("orders", since=NOW))
    assert first["OrderItems"][0]["QuantityShipped"] == second["OrderItems"][0]["QuantityShipped"] == 0
    assert (first["TotalDiscount"], first["OrderItemCount"]) == (0, 1)


def test_fields_that_nobody_knows_are_passed_over(server: Server, ca: V1) -> None:
    new = {"FutureField": {"a": [1]}, "@odata.etag": "W/1", "Another": None}
    server.script(ORDERS, rows(order(1, **new, Items=[line(101, **new)]), order(2)))
    assert found(ca) == [1, 2]


@pytest.mark.parametrize(
    ("odd", "field", "rule"),
    [
        ({"ShippingStatus": "Teleported"}, "CheckoutStatus", "unknown_status"),
        ({"CheckoutStatus": 3}, "CheckoutStatus", "wrong_type"),
        ({"TotalPrice": "a lot"}, "TotalPrice", "wrong_type"),
        ({"Items": ["A"]}, "Items[0]", "wrong_type"),
        ({"Items": [line(101, Adjustments=[{"ID": 5, "Type": "Cancellation", "Quantity": None,
                                            "RequestStatus": "PostProcessingComplete"}])]},
         "Items.Adjustments.Quantity", "missing_units"),
        ({"Fulfillments": [{"ID": 9, "DeliveryStatus": "Beamed", "ShippedDateUtc": "2025-03-14T09:00:00Z",
                            "Items": [{"ID": 1, "OrderItemID": 101, "Quantity": 1}]}]},
         "Fulfillments.DeliveryStatus", "unknown_status"),
    ],
)  # fmt: skip
def test_a_value_that_nobody_knows_is_no_guess_and_stops_no_other_order(
    server: Server, ca: V1, odd: dict[str, Any], field: str, rule: str
) -> None:
    server.script(ORDERS, rows(order(1), order(2, **odd), order(3)))
    (page,) = ca.pages("orders", since=NOW)
    assert [one["ChannelAdvisorOrderID"] for one in documents([page])] == [1, 3]
    (unmade,) = page.unmade
    assert (unmade.key, unmade.field, unmade.rule) == ("2", field, rule)
    assert unmade.message
    assert unmade.do


def test_a_whole_cancelled_order_needs_no_number_of_units(server: Server, ca: V1) -> None:
    gone = {"ID": 5, "Type": "Cancellation", "Quantity": None, "RequestStatus": "PostProcessingComplete"}
    server.script(ORDERS, rows(order(1, ShippingStatus="Canceled", Items=[line(101, Adjustments=[gone])])))
    (one,) = documents(ca.pages("orders", since=NOW))
    assert (one["OrderStatus"], one["OrderItems"][0]["QuantityCancelled"]) == ("Cancelled", 2)


def test_a_distribution_center_without_a_code_goes_by_its_id_and_stops_no_other(server: Server, ca: V1) -> None:
    server.default("/v1/Profiles", rows({"ID": 7, "CurrencyCode": "GBP"}))
    center = {"Name": "Main", "Type": "Warehouse", "IsExternallyManaged": False, "IsDeleted": False}
    given = [center | {"ID": 0, "Code": None}, center | {"ID": 4, "Code": "EAST"}, center | {"ID": 5, "Type": 12}]
    server.default("/v1/DistributionCenters", rows(*given))
    (page,) = ca.pages("distribution-centers")
    assert [(one["DistributionCenterID"], one["Code"]) for one in documents([page])] == [(0, "0"), (4, "EAST")]
    assert [(one.key, one.field) for one in page.unmade] == [("5", "Type")]


def test_a_shipment_that_was_taken_back_is_none(server: Server, ca: V1) -> None:
    one = {"ID": 1, "ProfileID": 7, "OrderID": 1, "ShippedDateUtc": "2025-03-14T09:00:00Z"}
    server.default("/v1/Fulfillments", rows(one | {"DeliveryStatus": "Canceled", "Items": []}))
    assert documents(ca.pages("shipping", channelAdvisorOrderId="1")) == []


def test_a_record_that_is_read_by_its_key_brings_what_it_was_made_of(server: Server, ca: V1) -> None:
    server.default(LONG, dated(order(1)))
    server.default("/v1/Orders(2)", dated(order(2, CheckoutStatus="Disabled")))
    one, strange = ca.single("orders", "1"), ca.single("orders", "2")
    assert json.loads(one.received or b"") == order(1)
    assert strange.document.key == "2"  # type: ignore[union-attr]
    with pytest.raises(RecordRejected) as refused:
        ca.single("orders", "3")
    assert refused.value.status == 404


# ---- limits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg2"))
    shared_tables.create(made)
    yield made
    made.dispose()


class Impatient(Budget):
    """A budget that says after a second that it has no more."""

    def slot(self, wait: float = 1.0, *, cost: int = 1) -> AbstractContextManager[None]:
        return super().slot(wait, cost=cost)


def test_many_workers_together_keep_to_five_at_once_and_to_the_requests_of_a_minute(
    server: Server, engine: sa.Engine
) -> None:
    """Each client has a budget of its own, as processes have. The server counts, of a batch its parts and itself."""
    patient = msgspec.structs.replace(FAST, read_seconds=10, answer_seconds=10, failures_to_open=1_000)
    limits = msgspec.structs.replace(patient, requests_per_minute=200, at_once=5, tries=1)
    counted = 0
    lock = threading.Lock()

    def count(request: Request) -> Reply:
        nonlocal counted
        parts = request.body.count(b"Content-ID:")
        with lock:
            counted += parts + 1
        time.sleep(0.01)
        replies = [{"id": str(n), "status": 204, "headers": {}, "body": None} for n in range(1, parts + 1)]
        return ok({"responses": replies}) if parts else rows(order(1))

    for path in (ORDERS, "/v1/$batch", *(f"/v1/Products({n})" for n in range(1, 9))):
        server.default(path, count)
    server.default("/v1/Profiles", rows({"ID": 7, "CurrencyCode": "GBP"}))

    def work(number: int) -> None:
        budget = Impatient("channel_advisor", engine, limits=limits)
        with V1(connection("channel_advisor", server.url, profile_id=7), limits=limits, budget=budget) as client:
            client.product_ids = lambda skus: {sku: int(sku[1:]) for sku in skus}
            with suppress(RateLimited):
                while number % 2:
                    list(client.pages("orders", since=NOW))
                prices = [{"SKU": f"S{n}", "Price": 1, "Currency": "GBP"} for n in range(1, 9)]
                while all(one.error is None for one in client.write_prices(prices)):
                    pass

    with Pool(8, "worker") as pool:  # with the permission to write, which a plain thread has not
        list(pool.map(work, range(8)))
    everything = counted + sum(request.path not in (ORDERS, "/v1/$batch") for request in server.requests)
    assert server.most_at_once <= 5
    assert limits.requests_per_minute // 4 < everything <= limits.requests_per_minute
