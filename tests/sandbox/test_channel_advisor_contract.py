"""Whatever is sent to the Channel Advisor sandbox, its answer is one that the contract describes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contract.channel_advisor_calls import CLIENT, PRODUCTS, SCHEMA, SITES, Caller, event, line, running, sold
from examples import examples
from sandbox.kernel import contract

pytestmark = pytest.mark.slow

SERVED = (
    "createToken|listOrders|createOrder|getOrder|updateOrder|markExported|unmarkExported|listShipments|createShipments"
    "|listReturns|createReturn|getReturn|resolveReturn"
    "|listSites|listDistributionCenters|listProducts|createProducts|getProduct|updateProduct|deleteProduct"
    "|listInventory|updateInventory|listPrices|updatePrices|listPromotions"
    "|listListings|createListing|getListing|updateListing"
    "|listWebhooks|createWebhook|getWebhook|deleteWebhook"
)
SCHEMA.config.generation.update(with_security_parameters=False)  # the caller has a token
KNOWN_ORDERS = (1, 2, 3)
KNOWN_RETURNS = (1, 2, 3, 4)
KNOWN_LISTINGS = (1, 2, 3)
KNOWN_SKUS = ("22423", "85123a", "KIT-77/2")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with running(tmp_path_factory.mktemp("conformance"), per_minute=1_000_000) as base:
        caller = Caller(base)
        caller.apply(*SITES, *PRODUCTS)
        center = {"DistributionCenterID": 4, "Code": "MAIN"}
        caller.apply(event("distribution_center", center), *(event("order", sold(n)) for n in KNOWN_ORDERS))
        caller.apply(event("order", sold(4, *(line(n) for n in range(1, 30)))))
        shipped = line(501, quantity=9, QuantityShipped=9)
        caller.apply(event("order", sold(5, shipped, OrderStatus="Shipped")))
        item = {"OrderItemID": 501, "Quantity": 1}
        caller.apply(
            *(event("return", {"ReturnID": n, "ChannelAdvisorOrderID": 5, "Items": [item]}) for n in KNOWN_RETURNS)
        )
        listing = {"SKU": "22423", "SiteID": 641, "Status": "Active"}
        caller.apply(*(event("listing", listing | {"ListingID": n}) for n in KNOWN_LISTINGS))
        yield caller


def know(case: schemathesis.Case) -> None:
    """Every second id becomes one that exists, so that not every answer is 404."""
    body = case.body if isinstance(case.body, dict) else {}
    items = [item for each in body.values() if isinstance(each, list) for item in each if isinstance(item, dict)]
    for place in (case.path_parameters or {}, body, *items):
        for name, existing in (
            ("ChannelAdvisorOrderID", (*KNOWN_ORDERS, 5)),
            ("ReturnID", KNOWN_RETURNS),
            ("ListingID", KNOWN_LISTINGS),
            ("SiteID", (587, 641)),
            ("DistributionCenterID", (4,)),
        ):
            number = place.get(name)
            if isinstance(number, int) and number % 2:
                place[name] = existing[number % len(existing)]
        if isinstance(place.get("SKU"), str) and len(place["SKU"]) % 2 and case.operation.method != "delete":
            place["SKU"] = KNOWN_SKUS[len(place["SKU"]) % len(KNOWN_SKUS)]


def any_request(operation: str) -> Callable[..., None]:
    """The test of one operation. Each has a name, so an id, of its own: of tests with one id, pytest hands out one."""

    @SCHEMA.include(operation_id=operation).parametrize()
    @examples(8, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    def test(case: schemathesis.Case, shop: Caller) -> None:
        is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
        if not is_wrong:
            know(case)
        if case.operation.path == "/oauth2/token":
            answer = case.call(base_url=shop.base, auth=CLIENT)
        else:
            answer = case.call(base_url=shop.base, headers={"Authorization": shop.http.headers["Authorization"]})
        refusable = is_wrong and answer.status_code not in (207, 413)  # a batch refuses its items, or its length
        case.validate_response(answer, checks=[*CHECKS, negative_data_rejection] if refusable else CHECKS)

    return test


for each in SERVED.split("|"):
    globals()[f"test_every_answer_is_one_that_the_contract_describes_{each}"] = any_request(each)


def test_every_operation_of_the_contract_is_served() -> None:
    assert set(contract.load("channel_advisor").operations) == set(SERVED.split("|"))


def test_a_path_that_is_not_in_the_contract_does_not_exist(shop: Caller) -> None:
    answer = shop.send("GET", "/v2/webhook")
    assert (answer.status_code, set(answer.json())) == (404, {"Message"})


def test_every_served_operation_needs_a_token(shop: Caller) -> None:
    for operation in SCHEMA.include(operation_id_regex=f"^({SERVED})$").get_all_operations():
        path = operation.ok().path.replace("{", "").replace("}", "")
        if path != "/oauth2/token":
            answer = requests.request(operation.ok().method, shop.base + path, timeout=10)
            assert answer.status_code == 401, path


def test_a_page_of_a_hundred_orders_comes_within_a_second(shop: Caller) -> None:
    shop.apply(*(event("order", sold(n, *(line(n * 1000 + k) for k in range(25)))) for n in range(1001, 1101)))
    start = time.monotonic()
    assert len(shop.send("GET", "/v2/orders", params={"limit": 100}).json()["value"]) == 100
    assert time.monotonic() - start < 1
