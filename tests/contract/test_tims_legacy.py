"""The adapted client against an older TIMS over real sockets: it speaks otherwise, keeps no answer of an earlier
request and takes a second document under one reference. What Crossdock sends is there once, whatever is lost."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from contract import tims_calls as made
from contract.misbehaving import Server, ok
from crossdock import config
from crossdock.errors import AuthError, BadResponse, ConfigError, OutcomeUnknown, RecordRejected, Transient
from crossdock.pool import Pool
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.tims import Adapted, Operation
from crossdock.systems.tims.adaptation import Abilities, Adaptation, Lists, Login
from crossdock.systems.tims.client import Result
from sandbox.control import Control
from sandbox.tims.server import Tims as ContractTims
from sandbox.tims_legacy import server as legacy
from sandbox.tims_legacy.server import LegacyTims

FAST = Limits(
    requests_per_minute=100_000,
    at_once=5,
    read_seconds=0.8,
    tries=3,
    first_pause_seconds=0.01,
    longest_pause_seconds=0.1,
    failures_to_open=1_000,
)
ADAPTED = config.load(Path(legacy.__file__).with_name("tims.yaml"), Adaptation)
KINDS = {
    "customers": ("customer", "CustomerID"), "sales-orders": ("order", "SalesOrderID"),
    "shipments": ("shipment", "ShipmentID"), "inventory/adjustments": ("adjustment", "AdjustmentID"),
    "ar/invoices": ("invoice", "InvoiceID"), "ar/credit-memos": ("credit_memo", "CreditMemoID"),
    "ar/payments": ("payment", "PaymentID"), "gl/entries": ("entry", "EntryID"),
    "inventory/items": ("item", "SKU"), "inventory/quantities": ("quantity", "SKU"),
    "gl/accounts": ("account", "AccountCode"), "gl/periods": ("period", "Period"),
}  # fmt: skip
# What becomes of a request whose effect has happened.
LOST = [
    {"kind": "error_after", "status": 500},
    {"kind": "error_after", "status": 503},
    {"kind": "hang_after", "seconds": 1},
    {"kind": "cut_body"},
    {"kind": "truncated_json"},
]
NOT_DONE = [
    {"kind": "rate_limited_bare"},
    {"kind": "error_before"},
    {"kind": "bad_gateway_html"},
    {"kind": "expire_token"},
]


@dataclass
class Found:
    """A TIMS as it is found: its client, and its books, which are looked into without its API."""

    client: Adapted
    control: Control
    url: str

    def held(self, kind: str, **where: Any) -> list[dict[str, Any]]:
        return self.control.documents(kind, **where)

    def fault(self, path: str, **rule: Any) -> None:
        self.control.call("POST", "faults", {"path": path, "times": 1, **rule})

    def requests(self) -> dict[str, int]:
        return self.control.call("GET", "requests")


def opened(url: str, adapted: Adaptation, **connection: Any) -> Adapted:
    login = {"login": legacy.LOGIN, "secret": legacy.PASSWORD} | connection
    return Adapted(Connection("tims", url, **login), adapted, limits=FAST)


def stocked(url: str) -> Control:
    control = Control("tims", url)
    control.call("PUT", "clock", {"now": made.NOW})
    goods = [made.item("LAMP"), made.item("RUG"), made.on_hand("LAMP", MAIN=500), made.on_hand("RUG", MAIN=3, WEST=4)]
    control.call("POST", "apply", {"events": goods})
    return control


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    with (
        made.running(tmp_path_factory.mktemp("legacy"), LegacyTims, per_minute=100_000, at_once=50) as (url, _),
        opened(url, ADAPTED) as client,
    ):
        yield Found(client, stocked(url), url)


@pytest.fixture
def tims(running: Found) -> Iterator[Found]:
    yield running
    running.control.call("DELETE", "faults")
    running.control.call("DELETE", "requests")


def customer_of(tims: Found) -> str:
    return tims.client.post("customers", made.customer(), key=made.new_key()).document()["CustomerID"]


def order_of(tims: Found, **fields: Any) -> dict[str, Any]:
    body = made.order(CustomerID=customer_of(tims), **fields)
    return tims.client.post("sales-orders", body, key=made.new_key()).document()


def same(found: dict[str, Any], held: dict[str, Any]) -> list[str]:
    """The fields in which a document differs from the books; times are those of whole seconds there."""

    def plain(name: str, value: Any) -> Any:
        return value[:19] if name in ("CreatedAt", "ModifiedAt") else value

    return [
        f"{name}: {found.get(name)!r} instead of {value!r}"
        for name, value in held.items()
        if name != "AsOf" and plain(name, found.get(name)) != plain(name, value)
    ]


# ---- reading and writing --------------------------------------------------------------------------------------------


def test_all_documents_are_written_and_read_as_the_books_have_them(tims: Found) -> None:
    """From the order to the ledger and back: what is sent by the contract stands in the books, and every list gives it
    out by the contract."""
    post = tims.client.post
    order = order_of(tims)
    path = f"sales-orders/{order['SalesOrderID']}"
    held = post(f"{path}/hold", {"Reason": "address"}, key="h").document()
    assert held["OrderStatus"] == "OnHold"
    assert post(f"{path}/release", {}, key="r").document()["OrderStatus"] in ("Open", "Allocated")
    document, etag = tims.client.read(path)
    changed = tims.client.patch(path, {"Notes": "ring twice", "PaymentStatus": "Unpaid"}, etag=etag)
    assert (changed["Notes"], changed["RowVersion"]) == ("ring twice", document["RowVersion"] + 1)
    shipment = post(f"{path}/shipments", made.parcel(1, 2, Carrier="UPS", TrackingNumber="1Z9"), key="s").document()
    invoice = post("ar/invoices", made.invoice(shipment), key="i").document()
    credit = post("ar/credit-memos", made.credit(invoice), key="c").document()
    post("ar/payments", made.payment("98.00", ("InvoiceID", invoice["InvoiceID"], "98.00")), key="p").document()
    moved = post("inventory/adjustments", made.adjustment(-1), key="a").document()
    back = {"ExternalReference": "back", "Source": "warehouse", "Reason": "found"}
    post(f"inventory/adjustments/{moved['AdjustmentID']}/reverse", back, key="b").document()
    entry = post("gl/entries", made.entry(("1100", "10.00", "0.00"), ("4000", "0.00", "10.00")), key="e").document()
    mirror = {"ExternalReference": "mirror", "Source": "Crossdock", "Reason": "wrong"}
    post(f"gl/entries/{entry['EntryID']}/reverse", mirror, key="m").document()
    other = order_of(tims, **made.plain(made.line("1"), made.line("2", quantity=4), total="300.00"))
    cancelled = post(
        f"sales-orders/{other['SalesOrderID']}/lines/2/cancel", {"Quantity": 3, "Reason": "no stock"}, key="x"
    )
    assert cancelled.document()["LineItems"][1]["QuantityCancelled"] == 3
    assert post(f"sales-orders/{other['SalesOrderID']}/cancel", {"Reason": "buyer"}, key="y").document()
    assert credit["Total"] == "45.00"
    for resource, (kind, key) in KINDS.items():
        rows = [msgspec.json.decode(record) for page in tims.client.pages(resource) for record in page.records]
        there = {each[key]: each for each in tims.held(kind)}
        assert len(rows) == len(there) > 0, resource
        assert [wrong for row in rows for wrong in same(row, there[row[key]])] == [], resource
    (page,) = tims.client.pages("ar/invoices")
    assert [msgspec.json.decode(one)["invoice_no"] for one in page.received or ()] == [invoice["InvoiceID"]]
    assert tims.client.company()["BaseCurrency"] == "USD"
    balance = tims.client.get("gl/trial-balance", AsOf="2011-01-31", CurrencyCode="USD")
    assert (balance["AsOf"], balance["TotalDebit"]) == ("2011-01-31", balance["TotalCredit"])
    assert tims.client.get("inventory/items/RUG/quantity")["TotalAvailable"] == 7
    single = msgspec.json.decode(tims.client.record("ar/invoices", invoice["InvoiceID"]))
    assert same(single, tims.held("invoice")[0]) == []


def test_nothing_of_the_contracts_own_api_is_there(tims: Found) -> None:
    login = base64.b64encode(f"{legacy.LOGIN}:{legacy.PASSWORD}".encode()).decode()
    for method, path in (("GET", "/api/v1/company"), ("POST", "/api/v1/bulk"), ("POST", "/oauth2/token")):
        answer = requests.request(method, tims.url + path, headers={"Authorization": f"Basic {login}"}, timeout=10)
        assert answer.status_code in (404, 415), path


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"full_name": "Ada", "currency": "USD", "foreign_keys": [], "Name": "Ada"}, ["Name"]),
        ({"full_name": "Ada", "currency": "USD", "foreign_keys": [{"system": "x", "key": "1", "ID": "1"}]},
         ["foreign_keys[0].ID"]),
        ({"full_name": "Ada", "currency": "USD", "foreign_keys": [], "tax_exempt": True}, ["tax_exempt"]),
    ],
)  # fmt: skip
def test_the_older_tims_refuses_what_it_does_not_know(tims: Found, body: dict[str, Any], fields: list[str]) -> None:
    answer = requests.post(f"{tims.url}/erp/v3/debtors", json=body, auth=(legacy.LOGIN, legacy.PASSWORD), timeout=10)
    assert answer.status_code == 400
    assert [hint["field"] for hint in answer.json()["error"]["hints"]] == fields


def test_the_older_tims_takes_a_second_document_under_one_reference(tims: Found) -> None:
    """Otherwise no test of this module could show that the client posts nothing twice."""
    body = {"full_name": "Ada", "currency": "USD", "foreign_keys": [{"system": "s", "key": "twice"}]}
    for _ in range(2):
        answer = requests.post(
            f"{tims.url}/erp/v3/debtors", json=body, auth=(legacy.LOGIN, legacy.PASSWORD), timeout=10
        )
        assert answer.status_code == 201
    assert len(tims.held("customer", ExternalID=["twice"])) == 2


def test_a_list_whose_rows_change_while_it_is_read_is_read_whole(tims: Found) -> None:
    names = [f"shift-{n}" for n in range(25)]
    assert all(one.status == 201 for one in tims.client.bulk(customers(names)))
    tims.fault("/erp/v3/debtors", kind="shift_rows", rows=2, times=6)
    pages = tims.client.pages("customers", limit=4)
    rows = [msgspec.json.decode(record) for page in pages for record in page.records]
    assert set(names) <= {one["ID"] for row in rows for one in row["ExternalIDs"]}


def test_a_refusal_has_the_contracts_code_and_names_of_fields(tims: Found) -> None:
    lines = [made.line(sku="NONE"), made.line("2", quantity=0)]
    result = tims.client.post("sales-orders", made.order(CustomerID=customer_of(tims), LineItems=lines), key="wrong")
    assert isinstance(result.error, RecordRejected)
    assert {(one.field, one.code) for one in result.error.refusals} >= {
        ("/LineItems/0/SKU", "UNKNOWN_SKU"), ("/LineItems/1/Quantity", "INVALID_QUANTITY"),
    }  # fmt: skip
    with pytest.raises(RecordRejected) as missing:
        tims.client.read("sales-orders/SO-1")
    assert (missing.value.status, missing.value.code) == (404, "NOT_FOUND")
    closed = tims.client.post(f"sales-orders/{order_of(tims)['SalesOrderID']}/release", {}, key="no")
    assert isinstance(closed.error, RecordRejected)
    assert closed.error.code == "INVALID_STATE"


# ---- once for ever ---------------------------------------------------------------------------------------------------


def customers(names: list[str]) -> list[Operation]:
    return [
        Operation(f"{n}", "/customers", f"k:{name}", made.customer(ExternalIDs=[{"Source": "CA", "ID": name}]))
        for n, name in enumerate(names)
    ]


def until_decided(tims: Found, operations: list[Operation]) -> list[Result]:
    """The results, sent again as a task does whose documents were not all decided."""
    for _ in range(12):
        try:
            results = tims.client.bulk(operations)
        except Transient:
            continue
        if not any(isinstance(one.error, Transient) for one in results):
            return results
    raise AssertionError("not decided after 12 tries")


def counted(tims: Found, names: list[str]) -> Counter[str]:
    held = tims.held("customer", ExternalID=names)
    return Counter(one["ID"] for each in held for one in each["ExternalIDs"])


@pytest.mark.parametrize(
    "rule", [*LOST, *NOT_DONE], ids=lambda rule: f"{rule['kind']} {rule.get('status', '')}".strip()
)
def test_lost_answers_and_failures_make_no_second_document(tims: Found, rule: dict[str, Any]) -> None:
    names = [f"{rule['kind']}-{rule.get('status')}-{n}" for n in range(12)]
    tims.fault("/erp/v3/debtors", method="POST", probability=0.5, seed=4, times=8, **rule)
    results = until_decided(tims, customers(names))
    ids = [one.body["CustomerID"] if one.body else one.error.existing_id for one in results]  # type: ignore[union-attr]
    assert len(set(ids)) == 12
    assert counted(tims, names) == dict.fromkeys(names, 1)
    assert tims.control.call("GET", "faults")["rules"][0]["hits"] > 0


def test_what_is_there_already_is_taken_and_not_posted(tims: Found) -> None:
    first = tims.client.bulk(customers(["there-1", "there-2"]))
    tims.control.call("DELETE", "requests")
    again = tims.client.bulk(customers(["there-1", "there-2", "there-3"]))
    assert [one.error and one.error.code for one in again] == ["DUPLICATE_EXTERNAL_REFERENCE"] * 2 + [None]  # type: ignore[attr-defined]
    assert [one.error.existing_id for one in again[:2]] == [one.document()["CustomerID"] for one in first]  # type: ignore[union-attr]
    assert tims.requests() == {"GET /erp/v3/debtors": 1, "POST /erp/v3/debtors": 1}


def test_of_many_writers_of_one_document_one_makes_it(tims: Found) -> None:
    names = [f"many-{n}" for n in range(6)]
    with Pool(5) as writers:
        results = list(writers.map(lambda _: tims.client.bulk(customers(names)), range(5)))
    assert counted(tims, names) == dict.fromkeys(names, 1)
    assert sum(one.status == 201 for some in results for one in some) == len(names)


def test_a_lost_action_is_not_sent_again(tims: Found) -> None:
    order = order_of(tims, **made.plain(made.line(quantity=4), total="200.00"))
    path = f"/erp/v3/orders/{order['SalesOrderID']}/positions/1/cancellation"
    tims.fault(path, kind="error_after", times=3)
    with pytest.raises(OutcomeUnknown):
        tims.client.post(
            f"sales-orders/{order['SalesOrderID']}/lines/1/cancel", {"Quantity": 1, "Reason": "x"}, key="once"
        )
    current, _ = tims.client.read(f"sales-orders/{order['SalesOrderID']}")
    assert current["LineItems"][0]["QuantityCancelled"] == 1


def test_actions_on_one_document_go_in_their_order(tims: Found) -> None:
    orders = [order_of(tims)["SalesOrderID"] for _ in range(3)]
    steps = [("hold", {"Reason": "a"}), ("release", {}), ("hold", {"Reason": "b"}), ("release", {})]
    operations = [
        Operation(f"{n}-{order}", f"/sales-orders/{order}/{name}", f"{order}:{n}", body)
        for n, (name, body) in enumerate(steps)
        for order in orders
    ]
    assert [one.status for one in tims.client.bulk(operations)] == [200] * len(operations)


def test_a_document_that_has_changed_since_it_was_read_is_not_changed(tims: Found) -> None:
    path = f"sales-orders/{order_of(tims)['SalesOrderID']}"
    _, etag = tims.client.read(path)
    tims.client.patch(path, {"Notes": "first"}, etag=etag)
    with pytest.raises(RecordRejected) as stale:
        tims.client.patch(path, {"Notes": "second"}, etag=etag)
    assert stale.value.code == "STALE_VERSION"
    assert tims.client.read(path)[0]["Notes"] == "first"


# ---- what is missing -------------------------------------------------------------------------------------------------


def test_without_header_and_references_nothing_is_posted_and_a_sentence_says_what_is_off(tims: Found) -> None:
    nothing = msgspec.structs.replace(
        ADAPTED, abilities=Abilities(bulk=False, idempotency_header="", etag=False, external_references=False)
    )
    with opened(tims.url, nothing) as client:
        with pytest.raises(
            ConfigError, match=r"neither an idempotency header nor external references.*flow orders is off"
        ):
            client.bulk(customers(["none"]))
        with pytest.raises(ConfigError, match="keeps no external references"):
            client.find("customers", ExternalID=["none"])
        assert client.company()["BaseCurrency"] == "USD"
    assert not [name for name in tims.requests() if name.startswith("POST")]


def test_an_operation_that_is_not_there_is_named(tims: Found) -> None:
    with pytest.raises(ConfigError, match="This TIMS has no putCount"):
        tims.client.put("inventory/items/RUG/quantity", {"LocationID": "MAIN", "OnHand": 3}, etag='"1"')


def test_it_has_no_events_to_subscribe_to_and_is_not_asked_for_any(tims: Found) -> None:
    before = tims.requests()
    assert tims.client.no_subscriptions
    assert tims.client.subscriptions() == []
    with pytest.raises(ConfigError, match="no webhooks"):
        tims.client.subscribe("http://127.0.0.1:9/x", ["item.updated"], "s" * 32)
    assert tims.requests() == before


def test_a_wrong_password_is_said_to_be_one(tims: Found) -> None:
    with opened(tims.url, ADAPTED, secret="wrong") as client, pytest.raises(AuthError, match="login or its password"):
        client.company()


@pytest.mark.parametrize("abilities", [Abilities(bulk=False), Abilities()], ids=["no bulk", "all"])
def test_a_tims_near_to_the_contract_lacks_only_what_is_said(abilities: Abilities, tmp_path: Path) -> None:
    near = Adaptation(abilities=abilities, lists=Lists(most=3))
    with (
        made.running(tmp_path, ContractTims, per_minute=100_000, at_once=50) as (url, _),
        opened(url, near, login="crossdock-sandbox", secret="sandbox-secret") as client,
    ):
        tims = Found(client, stocked(url), url)
        names = [f"near-{n}" for n in range(7)]
        tims.fault("/api/v1/customers", method="POST", kind="error_after", times=3)
        tims.fault("/api/v1/bulk", kind="error_after", times=1)
        until_decided(tims, customers(names))
        assert counted(tims, names) == dict.fromkeys(names, 1)
        tims.control.call("DELETE", "faults")
        path = f"sales-orders/{order_of(tims)['SalesOrderID']}"
        _, etag = client.read(path)
        client.patch(path, {"Notes": "first"}, etag=etag)
        with pytest.raises(RecordRejected, match=r"STALE_VERSION|has changed since"):
            client.patch(path, {"Notes": "second"}, etag=etag)
        assert ("POST /api/v1/bulk" in tims.requests()) == abilities.bulk


# ---- other ways to log in and to page --------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    made_here = Server()
    yield made_here
    made_here.close()


def test_an_api_key_goes_with_each_request_and_offsets_lead_from_page_to_page(server: Server) -> None:
    rows = [{"CustomerID": f"C-{n}", "ModifiedAt": f"2011-01-04T10:00:{n // 2:02}Z"} for n in range(9)]

    def listed(request: Any) -> Any:
        since = request.query.get("since", [""])[0]
        first, size = int(request.query["skip"][0]), int(request.query["top"][0])
        found = [row for row in rows if row["ModifiedAt"] >= since][first : first + size]
        return ok({"data": {"list": found}, "clock": {"now": "2011-01-05T00:00:00Z"}})

    server.default("/x/customers", listed)
    adapted = Adaptation(
        base="/x",
        login=Login(kind="api_key", header="X-Key"),
        lists=Lists(rows="data.list", paging="offset", server_time="clock.now", most=4),
        parameters={"ModifiedSince": "since", "Cursor": "skip", "Limit": "top"},
    )
    with opened(server.url, adapted, secret="the-key") as client:
        found = [msgspec.json.decode(record) for page in client.pages("customers") for record in page.records]
    assert found == rows
    assert {request.headers.get("x-key") for request in server.requests} == {"the-key"}
    assert server.tokens == 0


def test_a_token_is_asked_for_where_the_adaptation_says(server: Server) -> None:
    server.default("/login", ok({"access_token": "t", "expires_in": 60}))
    server.default("/api/v1/company", ok({"BaseCurrency": "EUR"}))
    with opened(server.url, Adaptation(login=Login(token_path="/login"))) as client:
        assert client.company() == {"BaseCurrency": "EUR"}


def test_a_list_that_is_not_sorted_by_its_last_change_is_not_read_by_numbers(server: Server) -> None:
    rows = [{"CustomerID": "C-1", "ModifiedAt": f"2011-01-04T10:00:0{second}Z"} for second in (2, 1)]
    server.default("/api/v1/customers", ok({"Items": rows, "ServerTime": "2011-01-05T00:00:00Z"}))
    with opened(server.url, Adaptation(lists=Lists(paging="page"))) as client:
        pages = client.pages("customers")
        with pytest.raises(BadResponse, match="not sorted by their last change"):
            next(pages)
