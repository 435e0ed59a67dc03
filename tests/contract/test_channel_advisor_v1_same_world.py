"""Both dialects do the same: whatever is written, by `/v2` here and by `/v1` there, the two accounts are alike then.

Two sandbox servers begin alike. Each write goes to both, among faults, and is tried again as a task does it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import requests
from hypothesis import Phase, given, note
from hypothesis import strategies as st

from contract.channel_advisor_calls import PRODUCTS, SITES, event, line, running, sold
from contract.channel_advisor_v1_calls import Caller
from crossdock.errors import CrossdockError, RecordRejected, Transient
from crossdock.systems.channel_advisor import ChannelAdvisor, client_of
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from examples import examples
from sandbox.channel_advisor_v1.server import ChannelAdvisor as Server

LIMITS = Limits(
    requests_per_minute=1_000_000, at_once=4, read_seconds=2, tries=4, first_pause_seconds=0.005,
    longest_pause_seconds=0.05, failures_to_open=10_000,
)  # fmt: skip
NOW, LATER = "2011-01-10T12:00:00Z", "2011-01-10T13:00:00Z"
CENTERS = [
    event("distribution_center", {"DistributionCenterID": 4, "Code": "MAIN", "Name": "Main warehouse"}),
    event("distribution_center", {"DistributionCenterID": 5, "Code": "SHOP", "Name": "Shop"}),
    event("distribution_center", {"DistributionCenterID": 9, "Code": "FBA", "IsExternallyManaged": True}),
]
ORDERS = (1, 2, 3)
SKUS = ("22423", "85123a", "KIT-77/2", "nobody's")
FAULTS = (
    "error_after",
    "error_before",
    "bad_gateway_html",
    "rate_limited_bare",
    "cut_body",
    "denied_200",
    "hang_after",
)
# What is the server's own of a document: stamps and numbers that it gives.
OWN = ("UpdatedDate", "CreatedDate", "ShipmentID", "ProductID", "RefundDate")
KINDS = ("order", "shipment", "inventory", "product", "price", "return")
Sides = dict[str, tuple[ChannelAdvisor, Caller]]
Write = Callable[[ChannelAdvisor], Any]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with ExitStack() as stack:
        made: Sides = {}
        for api in ("v2", "v1"):
            url = stack.enter_context(running(tmp_path_factory.mktemp(api), Server, per_minute=1_000_000))
            extra = {"api": api, "refresh_token": "sandbox-refresh", "read_seconds": 2}
            connection = Connection("channel_advisor", url, "crossdock-sandbox", "sandbox-secret", extra)
            made[api] = stack.enter_context(client_of(connection, limits=LIMITS)), Caller(url)
        yield made


def begin(sides: Sides) -> None:
    """Both accounts as they begin: three orders, one of which has shipped and has a return."""
    for client, caller in sides.values():
        requests.post(f"{caller.base}/_sandbox/reset", timeout=10)
        caller.control("DELETE", "faults")
        caller.clock(NOW)
        caller.renew()
        caller.apply(*SITES, *CENTERS, *PRODUCTS)
        caller.apply(*(event("price", {"SKU": sku, "Price": Decimal("20.0000")}) for sku in ("22423", "85123A")))
        for number in ORDERS:
            site = {"SiteID": 641, "SiteName": "Amazon Seller Central - UK"} if number == 2 else {}
            lines = (line(number * 100 + 1, quantity=3), line(number * 100 + 2, "85123A", 2, "3.0000"))
            caller.apply(event("order", sold(number, *lines, **site)))
        caller.apply(
            event("shipment", {"ChannelAdvisorOrderID": 3, "SellerFulfillmentID": "900", "Carrier": "Royal Mail",
                               "ServiceClass": "Tracked 48", "Items": [{"OrderItemID": 301, "Quantity": 3}]}),
            event("return", {"ReturnID": 950, "ChannelAdvisorOrderID": 3, "Status": "Received", "RmaNumber": "R-1",
                             "Items": [{"OrderItemID": 301, "Quantity": 1, "RefundAmount": Decimal("12.7500")}]}),
        )  # fmt: skip
        client.server_time("sites")  # with a token that the account knows


# ---- what is written -----------------------------------------------------------------------------------------------


def shipment(order: int, key: str, units: dict[int, int], **more: Any) -> dict[str, Any]:
    items = [{"OrderItemID": order * 100 + number, "Quantity": count} for number, count in units.items()]
    return {
        "ChannelAdvisorOrderID": order, "SellerFulfillmentID": key, "ShippedDate": "2011-01-10T11:00:00Z",
        "Carrier": "Royal Mail", "ServiceClass": "Tracked 48", "TrackingNumber": None, "Items": items, **more,
    }  # fmt: skip


orders = st.sampled_from(ORDERS)
units = st.dictionaries(st.sampled_from([1, 2]), st.integers(1, 3), min_size=1, max_size=2)
parcels = st.builds(shipment, orders, st.sampled_from(["901", "902", "903"]), units)
levels = st.builds(
    lambda sku, center, count: {
        "SKU": sku, "DistributionCenterID": center, "Quantity": count, "UpdateType": "Absolute",
    },
    st.sampled_from(SKUS), st.sampled_from([4, 5, 9]), st.integers(0, 50),
)  # fmt: skip
amounts = st.integers(1_000, 99_999).map(lambda cents: Decimal(cents) / 100)
prices = st.builds(
    lambda sku, price, more: {
        "SKU": sku, "Price": price, "Currency": "GBP", "MinPrice": None, "MaxPrice": None,
        "RetailPrice": price + more, "Promotion": None,
    },
    st.sampled_from(("22423", "85123a", "nobody's")), amounts, amounts,
)  # fmt: skip
texts = st.sampled_from(["Stand", 'Tier\'s "3"', "Ärmel & Söhne", "x" * 200])
attributes = st.dictionaries(st.sampled_from(["Colour", "Bob's", "Größe"]), texts, max_size=3).map(
    lambda named: [{"Name": name, "Value": value} for name, value in named.items()]
)
images = st.lists(st.integers(1, 9), max_size=3).map(
    lambda some: [
        {"PlacementName": f"ITEMIMAGEURL{n}", "Url": f"https://pictures.example/{one}"} for n, one in enumerate(some, 1)
    ]
)
parts = st.dictionaries(st.sampled_from(["22423", "85123A"]), st.integers(1, 4), min_size=1).map(
    lambda named: [{"SKU": sku, "Quantity": count} for sku, count in named.items()]
)
fields = st.fixed_dictionaries(
    {}, optional={"Title": texts, "Brand": texts, "Weight": amounts, "IsBlocked": st.booleans(),
                  "Attributes": attributes, "Images": images}
)  # fmt: skip
new = st.builds(
    lambda sku, given: {"SKU": sku, "ProductType": "Item", "Title": "New", **given},
    st.sampled_from(["NEW-1", "NEW-2", "22423"]), fields,
)  # fmt: skip


def distinct(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last of each SKU and center: which of two in one call wins is nobody's business."""
    return list({(one["SKU"].casefold(), one.get("DistributionCenterID")): one for one in some}.values())


def write(name: str, *given: Any) -> tuple[str, Write]:
    """A call of the protocol by its name, for the examples that hypothesis shows."""
    return f"{name}{given}", lambda client: getattr(client, name)(*given)


WRITES: st.SearchStrategy[tuple[str, Write]] = st.one_of(
    orders.map(lambda order: write("mark_exported", str(order))),
    orders.map(lambda order: write("update_order", str(order), {"SellerOrderID": f"SO-{order}"})),
    st.tuples(orders, st.sampled_from(["OnHold", "New", "Cancelled"])).map(
        lambda one: write("update_order", str(one[0]), {"OrderStatus": one[1]})
    ),
    st.lists(parcels, min_size=1, max_size=4).map(lambda some: write("report_shipments", some)),
    st.lists(levels, min_size=1, max_size=6).map(lambda some: write("write_quantities", distinct(some))),
    st.lists(prices, min_size=1, max_size=3).map(lambda some: write("write_prices", distinct(some))),
    st.lists(new, min_size=1, max_size=3).map(lambda some: write("create_products", distinct(some))),
    st.tuples(st.sampled_from(["22423", "85123a"]), fields.filter(bool)).map(lambda one: write("update_product", *one)),
    parts.map(lambda some: write("update_product", "kit-77/2", {"BundleComponents": some})),
    st.sampled_from(["Approve", "Reject"]).map(lambda decision: write("resolve_return", "950", decision)),
)


# ---- both sides ----------------------------------------------------------------------------------------------------


def outcome(client: ChannelAdvisor, call: Write) -> Any:
    """What comes of a call that is tried again as long as its failure passes: how many of it were taken."""
    for _ in range(12):
        try:
            result = call(client)
        except RecordRejected:
            return "refused"
        except Transient:
            continue
        if not isinstance(result, list):
            return "taken"
        errors = [one.error for one in result]
        if not any(isinstance(error, Transient) for error in errors):
            return [_kind(error) for error in errors]
    raise AssertionError("it never ends")


def _kind(error: CrossdockError | None) -> str:
    duplicate = isinstance(error, RecordRejected) and error.code == "DuplicateSku"
    return "taken" if error is None or duplicate else "refused"


def held(caller: Caller) -> dict[str, list[str]]:
    """All that an account holds, without what is the server's own."""
    return {kind: sorted(map(_text, caller.held(kind))) for kind in KINDS}


def _text(document: dict[str, Any]) -> str:
    bare = {name: value for name, value in document.items() if name not in OWN}
    for name in ("Attributes", "Images", "BundleComponents"):
        if isinstance(bare.get(name), list):
            bare[name] = sorted(bare[name], key=lambda one: str(sorted(one.items())))
    bare["IsBlocked"] = bool(bare.get("IsBlocked"))  # without a word it is false
    if bare.get("Weight") is not None:
        bare["Weight"] = Decimal(bare["Weight"]).quantize(Decimal("0.0001"))  # v1 has a double of it
    return msgspec.json.encode(bare, order="sorted").decode()


def finish(sides: Sides) -> None:
    """An hour passes: v1 has worked on what it was asked for. By the facade somebody marks as refunded what is
    approved, which v1 does by itself."""
    for _, caller in sides.values():
        caller.control("DELETE", "faults")
        caller.clock(LATER)
        caller.renew()
        requests.get(f"{caller.base}/v1/Sites", headers=caller.http.headers, timeout=10)  # it looks at its clock
    facade, caller = sides["v2"]
    if [one["Status"] for one in caller.held("return")] == ["Approved"]:
        facade.resolve_return("950", "MarkRefunded")


@examples(25, phases=[Phase.explicit, Phase.generate])  # to make a failure small takes minutes
@given(
    st.lists(WRITES, min_size=1, max_size=6),
    st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 4)), max_size=3, unique_by=lambda one: one[0]),
)
def test_whatever_is_written_among_faults_both_accounts_are_alike(
    sides: Sides, writes: list[tuple[str, Write]], faults: list[tuple[str, int]]
) -> None:
    begin(sides)
    note(f"{[name for name, _ in writes]} among {faults}")
    for api, (_, caller) in sides.items():
        for kind, after in faults:
            caller.fault(kind, f"/{api}/*", after=after, **({"seconds": 3} if kind == "hang_after" else {}))
    for name, call in writes:
        found = {api: outcome(client, call) for api, (client, _) in sides.items()}
        assert found["v1"] == found["v2"], name
    finish(sides)
    first, second = (held(caller) for _, caller in sides.values())
    assert {kind: second[kind] for kind in KINDS if second[kind] != first[kind]} == {
        kind: first[kind] for kind in KINDS if second[kind] != first[kind]
    }


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", range(4))
def test_nothing_ships_twice_whichever_request_fails(sides: Sides, kind: str, after: int) -> None:
    begin(sides)
    client, caller = sides["v1"]
    caller.fault(kind, "/v1/*", after=after, **({"seconds": 3} if kind == "hang_after" else {}))
    some = [shipment(1, "901", {1: 1}), shipment(1, "902", {1: 1, 2: 1}), shipment(2, "903", {1: 3, 2: 2})]
    assert outcome(client, lambda one: one.report_shipments(some)) == ["taken"] * 3
    assert outcome(client, lambda one: one.report_shipments(some)) == ["taken"] * 3
    shipped = sorted((one["ChannelAdvisorOrderID"], one["SellerFulfillmentID"]) for one in caller.held("shipment"))
    assert shipped == [(1, "901"), (1, "902"), (2, "903"), (3, "900")]
    lines = {line["OrderItemID"]: line for order in caller.held("order") for line in order["OrderItems"]}
    assert {number: lines[number]["QuantityShipped"] for number in (101, 102, 201, 202)} == {
        101: 2, 102: 1, 201: 3, 202: 2,
    }  # fmt: skip


def test_the_file_of_all_prices_holds_what_the_list_of_them_holds(sides: Sides) -> None:
    begin(sides)
    client, _ = sides["v1"]
    extra = {**client.connection.extra, "export_from": 1}
    by_list = [bytes(raw) for page in client.pages("prices") for raw in page.records]
    with client_of(dataclasses.replace(client.connection, extra=extra), limits=LIMITS) as exporting:
        by_file = [bytes(raw) for page in exporting.pages("prices") for raw in page.records]
    assert len(by_list) == 2
    assert list(map(_without_dates, by_file)) == list(map(_without_dates, by_list))


def _without_dates(price: bytes) -> dict[str, Any]:
    """A price without its date, of which the file has whole seconds."""
    return {name: value for name, value in msgspec.json.decode(price).items() if name != "UpdatedDate"}
