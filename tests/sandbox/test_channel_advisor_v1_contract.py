"""Whatever is asked of REST v1, the answer is of its model, and a filter means what its operators mean."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from contract.channel_advisor_calls import PRODUCTS, SITES, encode, event, line, running, sold
from contract.channel_advisor_v1_calls import Caller
from examples import examples
from sandbox.channel_advisor_v1 import schema
from sandbox.channel_advisor_v1.server import ChannelAdvisor
from sandbox.channel_advisor_v1.sets import SOURCES
from sandbox.kernel.clock import parse

pytestmark = pytest.mark.slow
COMPARE = {"eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt,
           "le": operator.le}  # fmt: skip
PROPERTIES = {  # of an order: values that are there, or nearly
    "ID": [0, 1, 3, 5, 8, 12],
    "TotalPrice": ["0", "25.5", "25.4999", "102"],
    "CreatedDateUtc": ["2011-01-10T10:03:00Z", "2011-01-10", "2011-01-10T10:05:00.0000001Z", "2011-01-11"],
    "UpdatedDateUtc": ["2011-01-10T10:02:00Z", "2011-01-10T10:06:00+00:00", "2011-01-12"],
    "ImportDateUtc": ["2011-01-10T10:04:00Z"],
    "ShippingStatus": ["Unshipped", "Shipped", "Canceled"],
    "SellerOrderID": ["SO-2", "so-3", "o'neil", None],
    "SiteOrderID": ["1", "2"],
}
WRITES = [
    ("PATCH", "/v1/Orders(1)", "Order"), ("PATCH", "/v1/Products({product})", "Product"),
    ("POST", "/v1/Products", "Product"), ("POST", "/v1/Fulfillments", "Fulfillment"),
    ("PATCH", "/v1/Fulfillments({fulfillment})", "Fulfillment"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with running(tmp_path_factory.mktemp("v1"), ChannelAdvisor, per_minute=1_000_000) as base:
        yield filled(Caller(base))


def filled(caller: Caller) -> Caller:
    requests.post(f"{caller.base}/_sandbox/reset", timeout=10)
    caller.clock("2011-01-10T12:00:00Z")
    caller.renew()
    caller.apply(*SITES, *PRODUCTS)
    for n in range(1, 9):
        units = [line(n * 10, quantity=n % 3 + 1, QuantityShipped=n % 3 + 1 if n % 4 == 0 else 0)]
        more = {"OrderStatus": "Shipped"} if n % 4 == 0 else {}
        number = {2: "SO-2", 3: "SO-3", 5: "O'Neil"}.get(n)
        at = f"2011-01-10T10:{n:02d}:00Z"
        caller.apply(event("order", sold(n, *units, SellerOrderID=number, **more), at=at))
    return caller


# ---- filters ----
def comparisons() -> st.SearchStrategy[tuple[str, Any]]:
    """(text, what it means for a document)."""

    def made(name: str, sign: str, value: Any) -> tuple[str, Any]:
        kind = schema.entities()["Order"].properties[name.lower()].kind
        if value is None:
            text, sign = "null", sign if sign in ("eq", "ne") else "eq"
        elif kind in ("String", "Enum"):
            text = "'" + value.replace("'", "''") + "'"
        else:
            text = str(value)

        def holds(document: dict[str, Any]) -> bool:
            here, there = document[name], value
            if here is None or there is None:
                return {"eq": here is there, "ne": here is not there}.get(sign, False)
            if kind == "String":
                here, there = here.casefold(), there.casefold()
            elif kind == "DateTimeOffset":
                here, there = parse(here), parse(there)
            elif kind == "Decimal":
                there = type(here)(there)
            return bool(COMPARE[sign](here, there))

        return f"{name} {sign} {text}", holds

    names = st.sampled_from(sorted(PROPERTIES))
    pairs = names.flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(PROPERTIES[name])))
    return st.builds(lambda pair, sign: made(pair[0], sign, pair[1]), pairs, st.sampled_from(sorted(COMPARE)))


def joined(parts: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    both = st.tuples(parts, parts)
    return st.one_of(
        both.map(lambda p: (f"({p[0][0]} and {p[1][0]})", lambda doc: p[0][1](doc) and p[1][1](doc))),
        both.map(lambda p: (f"({p[0][0]} or {p[1][0]})", lambda doc: p[0][1](doc) or p[1][1](doc))),
        parts.map(lambda p: (f"not ({p[0]})", lambda doc: not p[1](doc))),
    )


@examples(150, suppress_health_check=list(HealthCheck))
@given(filter=st.recursive(comparisons(), joined, max_leaves=6), down=st.booleans())
def test_a_filter_chooses_the_orders_for_which_it_holds(shop: Caller, filter: tuple[str, Any], down: bool) -> None:
    text, holds = filter
    expected = [document["ID"] for document in shop.rows("/v1/Orders") if holds(document)]
    order = {"_orderby": "ID desc"} if down else {}
    found = [document["ID"] for document in shop.rows("/v1/Orders", _filter=text, **order)]
    assert found == (expected[::-1] if down else expected), text


@examples(80, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(SOURCES)),
    filter=st.one_of(st.none(), st.text("ID eq()'1and,/:.-TZ", max_size=25)),
    expand=st.one_of(
        st.none(), st.sampled_from(["Items", "Items($expand=Promotions;$top=1)", "*", "Order", "X(", ";"])
    ),
    select=st.one_of(st.none(), st.sampled_from(["ID", "ProfileID,ID", "Nothing", ""])),
    skip=st.one_of(st.none(), st.sampled_from(["0", "3", "-1", "x"])),
)
def test_every_query_is_answered_or_refused_in_the_shapes_of_the_api(
    shop: Caller, name: str, filter: str | None, expand: str | None, select: str | None, skip: str | None
) -> None:
    query = {"$filter": filter, "$expand": expand, "$select": select, "$skip": skip, "$count": "true"}
    answer = shop.send("GET", f"/v1/{SOURCES[name].name}", params={k: v for k, v in query.items() if v is not None})
    assert answer.status_code in (200, 400), answer.text
    body = answer.json()
    if answer.status_code == 400:
        assert set(body) == {"error"}
        assert body["error"]["message"]
    elif select is None:
        assert [each for doc in body["value"] for each in schema.findings(SOURCES[name].entity, doc)] == []


# ---- writes ----
def bodies(entity: str) -> st.SearchStrategy[dict[str, Any]]:
    """Documents of some properties, most of the right type."""
    properties = schema.entities()[entity].properties.values()
    values: dict[str, st.SearchStrategy[Any]] = {
        "String": st.sampled_from(["", "x", "DHL", "Paket", "SO-1", "1 \u00e9\n", "\u0000"]),
        "Boolean": st.booleans(), "Decimal": st.sampled_from([0, 1, -1, 2.5, 1e12, 0.12345]),
        "Double": st.sampled_from([0, 1.5]), "DateTimeOffset": st.sampled_from(["2011-01-10T12:00:00Z", "now"]),
    }  # fmt: skip
    fields = {}
    for prop in properties:
        right = (
            st.sampled_from(prop.members) if prop.members else values.get(prop.kind, st.sampled_from([0, 1, 77, -5]))
        )
        fields[prop.name] = st.one_of(right, right, right, st.sampled_from([None, "x", 3, [], {}]))
    return st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )


@examples(120, suppress_health_check=list(HealthCheck))
@given(write=st.sampled_from(WRITES), data=st.data())
def test_every_write_is_done_or_refused_and_leaves_documents_of_the_model(
    shop: Caller, write: tuple[str, str, str], data: st.DataObject
) -> None:
    filled(shop)
    method, path, entity = write
    body = data.draw(bodies(entity))
    if method == "POST":
        body |= {"Sku": "NEW-1", "Title": "x"} if entity == "Product" else {"OrderID": 2}
    product = shop.rows("/v1/Products")[0]["ID"]
    fulfillment = shop.rows("/v1/Orders(1)/Fulfillments")[0]["ID"]
    before = shop.held("order"), shop.held("product"), shop.held("shipment")
    answer = shop.send(
        method, path.format(product=product, fulfillment=fulfillment), data=encode(body),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status_code in (200, 201, 204, 400), (answer.status_code, answer.text, body)
    if answer.status_code == 400:
        assert (shop.held("order"), shop.held("product"), shop.held("shipment")) == before
    for name in ("Orders", "Fulfillments", "Products"):
        shop.rows(f"/v1/{name}")
    assert shop.http.get(f"{shop.base}/v2/orders", timeout=10).status_code == 200
