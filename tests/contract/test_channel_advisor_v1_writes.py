"""The writes of the API v1, against a small account that keeps what it is told and fails as a test scripts it."""

from __future__ import annotations

import csv
import email
import email.policy
import io
import json
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from contract.misbehaving import Reply, Request, Server, ok
from contract.test_clients import FAST, connection
from crossdock.errors import BadResponse, ConfigError, OutcomeUnknown, RecordRejected, Transient, WriteRefused
from crossdock.systems import writes
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor import V1
from crossdock.systems.channel_advisor.v1 import export
from crossdock.systems.channel_advisor.v1.odata import folded

NOTHING = Reply(204)
TOO_MANY = Reply(429, b"TOO MANY REQUESTS", kind="text/plain")


def refusal(message: str, status: int = 400) -> Reply:
    return Reply(status, json.dumps({"error": {"code": "", "message": message}}).encode())


class Account(Server):
    """Orders, products and adjustments of one account, as v1 gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.fulfillments: dict[int, list[dict[str, Any]]] = {7: [], 8: []}
        self.orders: dict[int, dict[str, Any]] = {n: {"ID": n, "ShippingStatus": "Unshipped"} for n in (7, 8)}
        self.products: dict[int, dict[str, Any]] = {}
        self.adjustments: dict[int, dict[str, Any]] = {}
        self.levels: dict[int, dict[int, int]] = {}
        self.exported: list[int] = []
        self.inner: dict[str, list[Reply]] = {}  # path of a part -> what it is answered
        self.lost: Counter[str] = Counter()  # path -> how many answers are lost after the effect
        self.sizes: list[int] = []  # of batches
        self.columns: list[str] = []
        self.steps: list[str] = []  # of a job, before it is done
        self._numbers = count(1000)

    def product(self, sku: str, **fields: Any) -> int:
        number = next(self._numbers)
        lists: dict[str, Any] = {"Attributes": [], "Images": [], "BundleComponents": []}
        self.products[number] = {"ID": number, "Sku": sku, "ProfileID": 1, **lists, **fields}
        self.levels[number] = {}
        return number

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            script = self.scripts[request.path]
            if script:
                answer = script.popleft()
                return answer(request) if callable(answer) else answer
            if request.path == "/oauth2/token":
                return self._token(request)
            reply = self._batch(request) if request.path == "/v1/$batch" else self._one(request)
            if self.lost[request.path]:
                self.lost[request.path] -= 1
                return Reply(no_answer=True)
        return reply

    def _batch(self, request: Request) -> Reply:
        kind = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(kind + request.body, policy=email.policy.HTTP)
        responses = []
        for part in message.iter_parts():
            line, _, rest = part.get_content().partition(b"\r\n")
            method, url, _ = line.decode().split(" ")
            inner = Request(method, unquote(urlsplit(url).path), {}, {}, rest.partition(b"\r\n\r\n")[2].strip())
            script = self.inner.get(inner.path)
            reply = script.pop(0) if script else self._one(inner)
            body = reply.body.decode()
            responses.append(
                {"id": part["Content-ID"], "status": reply.status, "headers": reply.headers,
                 "body": json.loads(body) if reply.kind == "application/json" and body else body or None}
            )  # fmt: skip
        self.sizes.append(len(responses))
        return ok({"responses": responses})

    def _one(self, request: Request) -> Reply:
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(f"/v1{pattern}", unquote(request.path))
            if found and request.method == method:
                return answer(self, request, *found.groups())
        return Reply(404, b'{"Message": "No HTTP resource was found."}')

    # ---- what each path does ----

    def export(self, request: Request, order: str) -> Reply:
        self.exported.append(int(order))
        return NOTHING

    def patch_order(self, request: Request, order: str) -> Reply:
        self.orders[int(order)].update(request.json())
        return NOTHING

    def get_order(self, request: Request, order: str) -> Reply:
        return ok(self.orders[int(order)]) if int(order) in self.orders else refusal("Not found", 404)

    def ship(self, request: Request, order: str) -> Reply:
        value = request.json()["Value"]
        if value["ShippingCarrier"] == "Pigeon":
            return refusal("The carrier is not in the account's list.")
        items = [{**one, "Sku": "A"} for one in value.get("Items", [])]
        kept = ("DeliveryStatus", "SellerFulfillmentID", "ShippedDateUtc")
        made = {"ID": next(self._numbers), "Items": items, **{name: value[name] for name in kept}}
        self.fulfillments[int(order)].append(made)
        return NOTHING

    def list_fulfillments(self, request: Request, order: str) -> Reply:
        if int(order) not in self.fulfillments:
            return refusal("Not found", 404)
        (key,) = re.findall(r"SellerFulfillmentID eq '(.*)'", request.query["$filter"][0])
        return ok({"value": [one for one in self.fulfillments[int(order)] if one["SellerFulfillmentID"] == key]})

    def adjust(self, request: Request, order: str) -> Reply:
        number = next(self._numbers)
        self.adjustments[number] = {"ID": number, "OrderID": int(order), "RequestStatus": "SubmittedNotProcessed",
                                    "Type": "Cancellation", **request.json()}  # fmt: skip
        self.orders[int(order)]["ShippingStatus"] = "Canceled"
        return NOTHING

    def adjust_item(self, request: Request, item: str) -> Reply:
        number = next(self._numbers)
        self.adjustments[number] = {"ID": number, "OrderID": 7, "OrderItemID": int(item), "Type": "Cancellation",
                                    "RequestStatus": "SubmittedNotProcessed", **request.json()}  # fmt: skip
        return NOTHING

    def list_adjustments(self, request: Request) -> Reply:
        conditions = dict(re.findall(r"(\w+) eq '?([^']*?)'?(?: and |$)", request.query["$filter"][0]))
        return ok({"value": [one for one in self.adjustments.values()
                             if all(str(one.get(name)) == value for name, value in conditions.items())]})  # fmt: skip

    def get_adjustment(self, request: Request, number: str) -> Reply:
        return ok(self.adjustments[int(number)])

    def decide(self, request: Request, number: str, action: str) -> Reply:
        one = self.adjustments[int(number)]
        if one["RequestStatus"] not in ("NewRma", "ReadyForReturn"):
            return refusal("This cannot be decided.")
        one |= {"RequestStatus": "ProcessingReturn", "Action": action}
        return NOTHING

    def profiles(self, request: Request) -> Reply:
        return ok({"value": [{"ID": 1, "CurrencyCode": "GBP"}]})

    def list_products(self, request: Request) -> Reply:
        assert len(request.query["$filter"][0]) <= 2_000
        names = re.findall(r"Sku eq '((?:[^']|'')*)'", request.query["$filter"][0])
        wanted = {name.replace("''", "'").casefold() for name in names}
        rows = [one for one in self.products.values() if one["Sku"].casefold() in wanted]
        return ok({"value": [{"ID": one["ID"], "Sku": one["Sku"]} for one in rows]})

    def create(self, request: Request) -> Reply:
        sent = request.json()
        if any(one["Sku"].casefold() == sent["Sku"].casefold() for one in self.products.values()):
            return refusal("A product with this Sku exists.")
        number = self.product(sent.pop("Sku"), **sent)
        return ok({name: value for name, value in self.products[number].items() if not isinstance(value, list)}, 201)

    def get_product(self, request: Request, product: str) -> Reply:
        return ok(self.products[int(product)])

    def patch_product(self, request: Request, product: str) -> Reply:
        if int(product) not in self.products:
            return refusal("Not found", 404)
        self.products[int(product)].update(msgspec.json.decode(request.body, type=dict))
        return NOTHING

    def quantity(self, request: Request, product: str) -> Reply:
        if int(product) not in self.products:
            return refusal("Not found", 404)
        value = request.json()["Value"]
        if any(one["DistributionCenterID"] == 99 for one in value["Updates"]):
            return refusal("The distribution center is managed externally.")
        self.levels[int(product)] |= {one["DistributionCenterID"]: one["Quantity"] for one in value["Updates"]}
        return NOTHING

    def attributes(self, request: Request, product: str) -> Reply:
        there = {one["Name"]: one["Value"] for one in self.products[int(product)]["Attributes"]}
        there |= {one["Name"]: one["Value"] for one in request.json()["Value"]["Attributes"]}
        self.products[int(product)]["Attributes"] = [{"Name": name, "Value": value} for name, value in there.items()]
        return NOTHING

    def image(self, request: Request, product: str, place: str) -> Reply:
        images = [one for one in self.products[int(product)]["Images"] if one["PlacementName"] != place]
        if request.method == "PUT":
            images.append({"PlacementName": place, **request.json()})
        self.products[int(product)]["Images"] = images
        return NOTHING

    def drop_attribute(self, request: Request, product: str, name: str) -> Reply:
        there = self.products[int(product)]["Attributes"]
        self.products[int(product)]["Attributes"] = [one for one in there if one["Name"] != name.replace("''", "'")]
        return NOTHING

    def component(self, request: Request, product: str, component: str = "") -> Reply:
        parts = {one["ComponentID"]: one for one in self.products[int(product)]["BundleComponents"]}
        if request.method == "DELETE":
            parts.pop(int(component))
        else:
            number = int(component or request.json()["ComponentID"])
            parts[number] = {"ComponentID": number, "Quantity": request.json()["Quantity"]}
        self.products[int(product)]["BundleComponents"] = list(parts.values())
        return NOTHING

    def count(self, request: Request) -> Reply:
        return Reply(body=str(len(self.products)).encode(), kind="text/plain")

    def sites(self, request: Request) -> Reply:
        return ok({"value": [{"ID": 1}]})

    def begin_export(self, request: Request) -> Reply:
        self.columns = request.body.decode().split(", ")
        assert request.headers["content-type"] == "text/plain"
        return ok({"$id": "1", "Token": "T-1", "Status": "Pending"})

    def poll_export(self, request: Request) -> Reply:
        assert request.query == {"token": ["T-1"]}
        status = self.steps.pop(0) if self.steps else "Complete"
        address = {"ResponseFileUrl": f"{self.url}/v1/files/T-1"} if status == "Complete" else {}
        return ok({"$id": "1", "Token": "T-1", "Status": status, **address})

    def file(self, request: Request) -> Reply:
        table = io.StringIO()
        writer = csv.writer(table, "excel-tab")
        writer.writerow(self.columns)
        writer.writerows([self._cell(one.get(name)) for name in self.columns] for one in self.products.values())
        folder = io.BytesIO()
        with zipfile.ZipFile(folder, "w") as made:
            made.writestr("products.txt", table.getvalue())
        return Reply(body=folder.getvalue(), kind="application/zip")

    def _cell(self, value: Any) -> Any:
        return "" if value is None else value


N = r"\((\d+)\)"
ROUTES: list[tuple[str, str, Callable[..., Reply]]] = [
    ("POST", f"/Orders{N}/Export", Account.export),
    ("PATCH", f"/Orders{N}", Account.patch_order),
    ("GET", f"/Orders{N}", Account.get_order),
    ("POST", f"/Orders{N}/Ship", Account.ship),
    ("GET", f"/Orders{N}/Fulfillments", Account.list_fulfillments),
    ("POST", f"/Orders{N}/Adjust", Account.adjust),
    ("POST", f"/OrderItems{N}/Adjust", Account.adjust_item),
    ("GET", "/OrderAdjustments", Account.list_adjustments),
    ("GET", "/OrderItemAdjustments", Account.list_adjustments),
    ("GET", f"/OrderItemAdjustments{N}", Account.get_adjustment),
    ("POST", rf"/OrderItemAdjustments{N}/(\w+)", Account.decide),
    ("GET", "/Profiles", Account.profiles),
    ("GET", "/Sites", Account.sites),
    ("GET", r"/Products/\$count", Account.count),
    ("POST", "/ProductExport", Account.begin_export),
    ("GET", "/ProductExport", Account.poll_export),
    ("GET", "/files/T-1", Account.file),
    ("GET", "/Products", Account.list_products),
    ("POST", "/Products", Account.create),
    ("GET", f"/Products{N}", Account.get_product),
    ("PATCH", f"/Products{N}", Account.patch_product),
    ("POST", f"/Products{N}/UpdateQuantity", Account.quantity),
    ("POST", f"/Products{N}/UpdateAttributes", Account.attributes),
    ("DELETE", rf"/Products{N}/Attributes\('(.*)'\)", Account.drop_attribute),
    ("PUT", rf"/Products{N}/Images\('(.*)'\)", Account.image),
    ("DELETE", rf"/Products{N}/Images\('(.*)'\)", Account.image),
    ("POST", f"/Products{N}/BundleComponents", Account.component),
    ("PATCH", rf"/Products{N}/BundleComponents\((\d+)\)", Account.component),
    ("DELETE", rf"/Products{N}/BundleComponents\((\d+)\)", Account.component),
]


class Client(V1):
    """V1, whose documents are as bare as the account's. `shipped`: units of the second line."""

    shipped = 0

    def of_skus(self, resource: str, skus: Any) -> list[dict[str, Any]]:
        rows = (self.get(f"/Products({number})") for number in self._ask_ids(list(skus)).values())
        return [{"SKU": row["Sku"], **row} for row in rows]

    def record(self, resource: str, key: str) -> bytes:
        if resource == "returns":
            return json.dumps(self.get(f"/OrderItemAdjustments({key})")).encode()
        status = "Cancelled" if self.get(f"/Orders({key})")["ShippingStatus"] == "Canceled" else "New"
        lines = [
            {"OrderItemID": 70, "Quantity": 2, "QuantityShipped": 0, "QuantityCancelled": 0},
            {"OrderItemID": 71, "Quantity": 3, "QuantityShipped": self.shipped, "QuantityCancelled": None},
        ]
        return json.dumps({"OrderStatus": status, "OrderItems": lines}).encode()


@pytest.fixture
def account() -> Iterator[Account]:
    account = Account()
    yield account
    account.close()


@pytest.fixture
def v1(account: Account) -> Iterator[Client]:
    with Client(connection("channel_advisor", account.url), limits=FAST) as client:
        yield client


def shipment(order: int = 7, key: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "ChannelAdvisorOrderID": order, "SellerFulfillmentID": key, "ShippedDate": "2011-01-05T10:00:00Z",
        "Carrier": "Royal Mail", "ServiceClass": "1st Class", "TrackingNumber": None,
        "Items": [{"OrderItemID": 70, "SKU": "A", "Quantity": 2}], **more,
    }  # fmt: skip


def level(sku: str, units: int, center: int = 4) -> dict[str, Any]:
    return {"SKU": sku, "DistributionCenterID": center, "Quantity": units, "UpdateType": "Absolute"}


# ---- orders --------------------------------------------------------------------------------------------------------


def test_a_mark_whose_answer_was_lost_is_set_again(account: Account, v1: Client) -> None:
    account.lost["/v1/Orders(7)/Export"] = 1
    v1.mark_exported("7")
    assert account.exported == [7, 7]


def test_an_order_gets_its_number_is_held_and_released(account: Account, v1: Client) -> None:
    assert v1.update_order("7", {"SellerOrderID": "SO-1"}) == b""
    v1.update_order("7", {"OrderStatus": "OnHold"})
    assert account.orders[7] == {
        "ID": 7, "ShippingStatus": "Unshipped", "SellerOrderID": "SO-1", "CheckoutStatus": "OnHold",
    }  # fmt: skip
    v1.update_order("7", {"OrderStatus": "New"})
    assert account.orders[7]["CheckoutStatus"] == "Completed"


def test_what_v1_cannot_be_told_of_an_order_is_refused_before_anything_is_sent(account: Account, v1: Client) -> None:
    with pytest.raises(RecordRejected, match="cannot be told that an order is Shipped"):
        v1.update_order("7", {"OrderStatus": "Shipped", "SellerOrderID": "SO-1"})
    assert account.requests == []


def test_a_cancellation_whose_answer_was_lost_is_made_once(account: Account, v1: Client) -> None:
    account.lost["/v1/Orders(7)/Adjust"] = 1
    for _ in range(2):
        v1.update_order("7", {"OrderStatus": "Cancelled"})
    (made,) = account.adjustments.values()
    assert made["SellerAdjustmentID"] == "cancel-7"


def test_of_an_order_of_which_a_part_has_left_the_rest_is_cancelled_line_by_line(account: Account, v1: Client) -> None:
    v1.shipped = 1
    account.lost["/v1/OrderItems(71)/Adjust"] = 1
    for _ in range(2):
        v1.update_order("7", {"OrderStatus": "Cancelled"})
    found = {one["SellerAdjustmentID"]: one["Quantity"] for one in account.adjustments.values()}
    assert (found, len(account.adjustments)) == ({"cancel-70": 2, "cancel-71": 2}, 2)


def test_a_cancellation_that_the_marketplace_refuses_is_a_refusal(account: Account, v1: Client) -> None:
    account.adjustments[1] = {"ID": 1, "OrderID": 7, "SellerAdjustmentID": "cancel-7", "RequestStatus": "Error"}
    with pytest.raises(RecordRejected, match="marketplace refuses"):
        v1.update_order("7", {"OrderStatus": "Cancelled"})


# ---- shipments -----------------------------------------------------------------------------------------------------


def test_shipments_go_one_by_one_several_at_once_and_each_gives_what_is_stored(account: Account, v1: Client) -> None:
    numbers = [7, 20, 21, 22, 23, 24, 25, 26, 7]
    account.fulfillments |= {number: [] for number in numbers}
    sent = [shipment(order, str(n)) for n, order in enumerate(numbers)]
    sent += [shipment(8, "x", Carrier="Pigeon"), shipment(9, "y")]
    reported = v1.report_shipments(sent)
    assert [one.status for one in reported] == [201] * 9 + [400, 404]
    assert {one.shipment["ShipmentID"] for one in reported[:9] if one.shipment} == {
        one["ID"] for some in account.fulfillments.values() for one in some
    }
    assert reported[0].shipment
    assert reported[0].shipment["Items"] == [{"OrderItemID": 70, "SKU": "A", "Quantity": 2}]
    assert all(isinstance(one.error, RecordRejected) for one in reported[9:])
    assert 1 < account.most_at_once <= FAST.at_once
    assert account.fulfillments[8] == []


@pytest.mark.parametrize("lost", ["answer", "after", "before"])
def test_a_shipment_whose_outcome_is_not_known_is_never_shipped_twice(account: Account, v1: Client, lost: str) -> None:
    path = "/v1/Orders(7)/Ship"
    if lost == "answer":
        account.lost[path] = 1
    elif lost == "after":
        account.script(path, lambda request: (account.ship(request, "7"), Reply(500))[1])
    else:
        account.script(path, Reply(502))
    (first,) = v1.report_shipments([shipment()])
    if lost == "before":  # nobody knows, so nothing is sent again until it has been looked for by the next try
        assert isinstance(first.error, OutcomeUnknown)
        assert account.fulfillments[7] == []
        (first,) = v1.report_shipments([shipment()])
    assert first.error is None
    (again,) = v1.report_shipments([shipment()])
    assert again.status == 200
    assert again.shipment == first.shipment
    assert len(account.fulfillments[7]) == 1


def test_a_shipment_that_was_taken_and_that_no_list_shows_yet_goes_by_its_own_name(
    account: Account, v1: Client
) -> None:
    hidden = ok({"value": []})
    account.script("/v1/Orders(7)/Fulfillments", *[hidden] * 5)
    (one,) = v1.report_shipments([shipment()])
    assert one.shipment == {
        "ShipmentID": "7:1", "ChannelAdvisorOrderID": 7, "SellerFulfillmentID": "1", "Items": shipment()["Items"],
    }  # fmt: skip
    assert account.counts["/v1/Orders(7)/Ship"] == 1


def test_a_shipment_of_more_items_than_a_list_shows_is_given_whole(account: Account, v1: Client) -> None:
    items = [{"OrderItemID": 100 + n, "SKU": "A", "Quantity": 1} for n in range(25)]
    v1.report_shipments([shipment(Items=items)])
    (whole,) = account.fulfillments[7]
    number, more = whole["ID"], {"Items@odata.nextLink": "https://elsewhere.example"}
    account.script("/v1/Orders(7)/Fulfillments", ok({"value": [whole | more | {"Items": whole["Items"][:20]}]}))
    account.script(f"/v1/Fulfillments({number})", ok(whole))
    (again,) = v1.report_shipments([shipment(Items=items)])
    assert again.shipment
    assert again.shipment["Items"] == items


def test_one_shipment_in_a_batch_twice_is_shipped_once(account: Account, v1: Client) -> None:
    reported = v1.report_shipments([shipment(), shipment(), msgspec.Raw(json.dumps(shipment()).encode())])
    assert len(account.fulfillments[7]) == 1
    assert len({one.shipment["ShipmentID"] for one in reported if one.shipment}) == 1


def test_a_shipment_is_sent_with_all_that_marks_it_as_shipped(account: Account, v1: Client) -> None:
    v1.report_shipments([shipment(TrackingNumber="T1")])
    (request,) = account.requests_to("/v1/Orders(7)/Ship")
    assert request.json() == {
        "Value": {
            "ShippedDateUtc": "2011-01-05T10:00:00Z", "TrackingNumber": "T1", "ShippingCarrier": "Royal Mail",
            "ShippingClass": "1st Class", "SellerFulfillmentID": "1", "DeliveryStatus": "Complete",
            "PreventMarketplaceCommunication": False, "Items": [{"OrderItemID": 70, "Quantity": 2}],
        }
    }  # fmt: skip
    (refused,) = v1.report_shipments([shipment(key="2", ServiceClass=None)])
    assert isinstance(refused.error, RecordRejected)


# ---- returns -------------------------------------------------------------------------------------------------------


def rma(account: Account, *numbers: int, status: str = "ReadyForReturn") -> None:
    for number in numbers:
        account.adjustments[number] = {
            "ID": number, "OrderID": 7, "RmaNumber": "R-1", "Type": "Refund", "RequestStatus": status, "Quantity": 2,
        }  # fmt: skip


def test_all_lines_of_a_return_are_approved_and_it_is_given_as_it_is_then(account: Account, v1: Client) -> None:
    rma(account, 51, 52)
    account.lost["/v1/OrderItemAdjustments(51)/ApproveReturn"] = 1
    stored = json.loads(v1.resolve_return("51", "Approve"))
    assert stored["RequestStatus"] == "ProcessingReturn"
    assert {one["Action"] for one in account.adjustments.values()} == {"ApproveReturn"}
    assert account.counts["/v1/OrderItemAdjustments(51)/ApproveReturn"] == 1


def test_a_return_that_is_decided_already_is_an_illegal_decision(account: Account, v1: Client) -> None:
    rma(account, 51, status="ProcessingReturn")
    for decision in ("Approve", "Reject", "MarkRefunded"):
        with pytest.raises(RecordRejected) as refused:
            v1.resolve_return("51", decision)
        assert refused.value.code == "IllegalDecision"


def test_a_request_of_the_buyer_is_approved_as_such(account: Account, v1: Client) -> None:
    rma(account, 51, status="NewRma")
    v1.resolve_return("51", "Approve")
    assert account.adjustments[51]["Action"] == "ApproveBuyerRequest"


# ---- quantities and prices -----------------------------------------------------------------------------------------


def test_quantities_of_all_centers_of_a_product_are_one_part_of_a_batch(account: Account, v1: Client) -> None:
    numbers = [account.product(f"SKU-{n:03}") for n in range(150)]
    updates = [level(f"sku-{n:03}", n, center) for n in range(150) for center in (4, 5)]
    written = v1.write_quantities(updates)
    assert [one.error for one in written] == [None] * 300
    assert [account.levels[number] for number in numbers] == [{4: n, 5: n} for n in range(150)]
    assert account.sizes == [100, 50]


def test_ids_that_are_there_already_are_not_asked_for_and_those_of_products_made_anew_are(
    account: Account, v1: Client
) -> None:
    one, other = account.product("ONE"), account.product("OTHER'S")
    v1.product_ids = lambda skus: {"ONE": one, "other's": 999}
    written = v1.write_quantities([level("One", 1), level("OTHER'S", 2), level("NONE", 3)])
    assert [(each.status, type(each.error)) for each in written] == [
        (200, type(None)), (200, type(None)), (404, RecordRejected),
    ]  # fmt: skip
    assert (account.levels[one], account.levels[other]) == ({4: 1}, {4: 2})


def test_a_part_that_fails_in_a_way_that_passes_is_sent_again_and_only_that(account: Account, v1: Client) -> None:
    numbers = [account.product(f"S{n}") for n in range(6)]
    account.inner = {
        f"/v1/Products({numbers[0]})/UpdateQuantity": [refusal("Authorization has been denied for this request.", 401)],
        f"/v1/Products({numbers[1]})/UpdateQuantity": [Reply(406)],
        f"/v1/Products({numbers[2]})/UpdateQuantity": [Reply(503)] * 2,
        f"/v1/Products({numbers[3]})/UpdateQuantity": [TOO_MANY],
        f"/v1/Products({numbers[4]})/UpdateQuantity": [refusal("Authorization has been denied.", 200)],
    }
    written = v1.write_quantities([level(f"S{n}", n) for n in range(6)])
    assert [one.error for one in written] == [None] * 6
    assert [account.levels[number] for number in numbers] == [{4: n} for n in range(6)]
    assert account.sizes == [6, 5]  # the last one goes alone


def test_a_part_that_was_one_too_many_says_how_long_all_wait(
    account: Account, v1: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Budget, "paused", lambda _, seconds: pauses.append(seconds))
    number, _ = account.product("ONE"), account.product("OTHER")
    account.inner[f"/v1/Products({number})/UpdateQuantity"] = [Reply(429, b"", {"retry-AFTER": "0.2"})]
    assert [one.error for one in v1.write_quantities([level("ONE", 1), level("OTHER", 2)])] == [None, None]
    assert pauses == [0.2]


def test_a_part_that_goes_on_failing_is_to_be_sent_again_and_the_others_are_done(account: Account, v1: Client) -> None:
    one, other = account.product("ONE"), account.product("OTHER")
    path = f"/v1/Products({one})/UpdateQuantity"
    account.inner[path] = [Reply(500)] * 50
    account.script(path, *[Reply(500)] * 50)
    written = v1.write_quantities([level("ONE", 1), level("OTHER", 2)])
    assert isinstance(written[0].error, Transient)
    assert written[1].error is None
    assert account.levels[other] == {4: 2}


def test_where_one_center_is_refused_the_others_of_the_product_are_written(account: Account, v1: Client) -> None:
    number = account.product("ONE")
    written = v1.write_quantities([level("ONE", 1, 4), level("ONE", 2, 99), level("ONE", 3, 5)])
    assert [one.status for one in written] == [200, 400, 200]
    assert account.levels[number] == {4: 1, 5: 3}


@pytest.mark.parametrize("answer", [Reply(no_answer=True), Reply(500), Reply(body=b'{"responses": [{"id"'), TOO_MANY])
def test_a_batch_without_an_answer_is_sent_again(account: Account, v1: Client, answer: Reply) -> None:
    numbers = [account.product(f"S{n}") for n in range(4)]
    account.script("/v1/$batch", answer)
    written = v1.write_quantities([level(f"S{n}", n) for n in range(4)])
    assert [one.error for one in written] == [None] * 4
    assert [account.levels[number] for number in numbers] == [{4: n} for n in range(4)]


def test_an_account_without_batches_is_written_to_part_by_part(account: Account) -> None:
    numbers = [account.product(f"S{n}") for n in range(3)]
    with Client(connection("channel_advisor", account.url, batch_parts=1), limits=FAST) as v1:
        assert all(one.error is None for one in v1.write_quantities([level(f"S{n}", n) for n in range(3)]))
    assert account.sizes == []
    assert [account.levels[number] for number in numbers] == [{4: n} for n in range(3)]


def test_a_batch_counts_as_its_parts_and_itself(account: Account) -> None:
    for n in range(40):
        account.product(f"S{n}")
    with Client(connection("channel_advisor", account.url), limits=FAST) as v1:
        spent: list[int] = []
        slot = v1._http._budget.slot

        def counted(*arguments: Any, cost: int = 1) -> Any:
            spent.append(cost)
            return slot(*arguments, cost=cost)

        v1._http._budget.slot = counted  # type: ignore[method-assign]
        v1.product_ids = lambda skus: {one["Sku"]: number for number, one in account.products.items()}
        v1.write_quantities([level(f"S{n}", n) for n in range(40)])
    assert sorted(spent) == [1, 41]  # the token, and the batch


def test_a_relative_quantity_is_never_sent_in_bulk(account: Account, v1: Client) -> None:
    with pytest.raises(ConfigError, match="relative"):
        v1.write_quantities([level("ONE", 1) | {"UpdateType": "Relative"}])


def price(sku: str, **more: Any) -> dict[str, Any]:
    return {"SKU": sku, "Price": Decimal("12.50"), "Currency": "GBP", "MinPrice": None, **more}


def test_prices_are_properties_of_the_product_to_the_last_place(account: Account, v1: Client) -> None:
    number = account.product("ONE", MinPrice=3)
    (one,) = v1.write_prices([msgspec.Raw(b'{"SKU":"one","Price":12.3400,"Currency":"GBP","MinPrice":null}')])
    assert one.error is None
    (request,) = account.requests_to(f"/v1/Products({number})")
    assert request.body == b'{"BuyItNowPrice":12.3400,"MinPrice":null}'


def test_another_currency_and_a_promotion_are_refused_and_the_rest_is_written(account: Account, v1: Client) -> None:
    number = account.product("ONE")
    promotion = {"PromotionID": "P", "Price": 1, "StartDate": "2011-01-05T10:00:00Z", "EndDate": "2011-01-06T10:00:00Z"}
    written = v1.write_prices([price("ONE", Currency="EUR"), price("ONE", Promotion=promotion), price("ONE")])
    assert [one.status for one in written] == [422, 422, 200]
    assert isinstance(written[0].error, RecordRejected)
    assert written[0].error.refusals[0].code == "WrongCurrency"
    assert account.products[number]["BuyItNowPrice"] == 12.5


# ---- products ------------------------------------------------------------------------------------------------------


def product(sku: str, **more: Any) -> dict[str, Any]:
    return {
        "SKU": sku, "ProductType": "Item", "Title": f"Title of {sku}", "Weight": Decimal("1.5000"),
        "Attributes": [{"Name": "Colour", "Value": "red"}],
        "Images": [{"PlacementName": "ITEMIMAGEURL1", "Url": "https://pictures.example/1"}], **more,
    }  # fmt: skip


def of(account: Account, sku: str) -> dict[str, Any]:
    (one,) = (one for one in account.products.values() if one["Sku"] == sku)
    return one


def test_products_are_made_with_their_lists_and_one_that_is_there_is_named_as_such(
    account: Account, v1: Client
) -> None:
    account.product("OLD")
    written = v1.create_products([product("NEW"), product("old"), product("BAD", Title=None)])
    assert [one.status for one in written] == [201, 409, 201]
    assert isinstance(written[1].error, RecordRejected)
    assert written[1].error.code == "DuplicateSku"
    made = of(account, "NEW")
    assert (made["Title"], made["Attributes"]) == ("Title of NEW", [{"Name": "Colour", "Value": "red"}])
    assert made["Images"] == [{"PlacementName": "ITEMIMAGEURL1", "Url": "https://pictures.example/1"}]
    assert account.products[1000]["Attributes"] == []


def test_a_product_whose_answer_was_lost_is_found_and_not_made_twice(account: Account, v1: Client) -> None:
    account.lost["/v1/Products"] = 1
    (one,) = v1.create_products([product("NEW")])
    assert one.error is None
    assert of(account, "NEW")["Images"]
    account.script("/v1/Products", Reply(500))
    (pending,) = v1.create_products([product("LATER")])
    assert isinstance(pending.error, OutcomeUnknown)
    (done,) = v1.create_products([product("LATER")])
    assert done.status == 201


def test_a_product_becomes_what_is_wanted_and_a_repeat_goes_on_where_it_ended(account: Account, v1: Client) -> None:
    part, other = account.product("PART"), account.product("OTHER")
    number = account.product(
        "KIT", Title="old", Attributes=[{"Name": "Bob's", "Value": "x"}, {"Name": "Colour", "Value": "red"}],
        Images=[{"PlacementName": "ITEMIMAGEURL1", "Url": "a"}, {"PlacementName": "ITEMIMAGEURL2", "Url": "b"}],
        BundleComponents=[{"ComponentID": other, "Quantity": 1}],
    )  # fmt: skip
    changes = {
        "Title": "new",
        "Attributes": [{"Name": "Colour", "Value": "blue"}, {"Name": "Size", "Value": "L"}],
        "Images": [{"PlacementName": "ITEMIMAGEURL1", "Url": "c"}],
        "BundleComponents": [{"SKU": "part", "Quantity": 3}],
    }
    account.script(f"/v1/Products({number})/BundleComponents", *[Reply(503)] * 3)
    with pytest.raises(Transient):
        v1.update_product("KIT", changes)
    before = len(account.requests)
    stored = v1.update_product("kit", changes)
    assert stored["Title"] == "new"
    assert stored["Attributes"] == [{"Name": "Colour", "Value": "blue"}, {"Name": "Size", "Value": "L"}]
    assert stored["Images"] == [{"PlacementName": "ITEMIMAGEURL1", "Url": "c"}]
    assert stored["BundleComponents"] == [{"ComponentID": part, "Quantity": 3}]
    again = [request.path for request in account.requests[before:] if request.method in ("PUT", "POST", "DELETE")]
    assert not any("Images" in path or "Attributes" in path for path in again)


def test_a_product_that_is_gone_is_refused_with_404(account: Account, v1: Client) -> None:
    with pytest.raises(RecordRejected) as refused:
        v1.update_product("NONE", {"Title": "x"})
    assert refused.value.status == 404


def test_many_skus_are_asked_in_portions_that_an_address_can_hold(account: Account, v1: Client) -> None:
    skus = [f"Ärmel 'n' Söhne {n:03}" for n in range(200)]
    numbers = {sku: account.product(sku) for sku in skus}
    assert v1._ask_ids(skus) == {folded(sku): number for sku, number in numbers.items()}
    assert all(request.method == "GET" for request in account.requests_to("/v1/Products"))
    assert len(account.requests_to("/v1/Products")) > 4


# ---- the file of all products --------------------------------------------------------------------------------------


@pytest.fixture
def many(account: Account) -> Iterator[V1]:
    """A client of an account in which everything but a single product is very many."""
    with V1(connection("channel_advisor", account.url, export_from=1), limits=FAST) as client:
        yield client


def test_all_prices_of_very_many_products_come_by_one_file(account: Account, many: V1) -> None:
    for n in range(2_500):
        account.product(f'S"{n}', BuyItNowPrice=f"{n}.5000", UpdateDateUtc="1/5/2011 4:07:09 PM", CreateDateUtc=None)
    account.product("NO PRICE", UpdateDateUtc="2011-01-05T10:00:00.5Z")
    account.steps = ["Pending", "InProgressProcessing"]
    account.script("/v1/files/T-1", Reply(503), Reply(body=b"PK", cut_at=1))
    pages = list(many.pages("prices"))
    rows = [msgspec.json.decode(raw) for page in pages for raw in page.records]
    assert len(rows) == 2_500
    assert rows[7] == rows[7] | {
        "SKU": 'S"7', "Price": 7.5, "Currency": "GBP", "UpdatedDate": "2011-01-05T16:07:09Z", "ProfileID": 1,
    }  # fmt: skip
    assert (account.counts["/v1/ProductExport"], account.counts["/v1/Products"]) == (4, 0)
    assert account.counts["/v1/files/T-1"] == 3


def test_ids_of_very_many_products_come_by_one_file(account: Account, many: V1) -> None:
    numbers = [account.product(f"S{n}") for n in range(5)]
    assert all(one.error is None for one in many.write_quantities([level(f"s{n}", n) for n in range(5)]))
    assert [account.levels[number] for number in numbers] == [{4: n} for n in range(5)]
    assert account.counts["/v1/Products"] == 0


def test_a_file_is_asked_for_where_nothing_may_be_written(account: Account, many: V1) -> None:
    account.product("A", BuyItNowPrice=1, UpdateDateUtc="2011-01-05T10:00:00Z")
    account.product("B", BuyItNowPrice=1, UpdateDateUtc="2011-01-05T10:00:00Z")
    with writes.permitted(writes.nobody):
        assert sum(len(page.records) for page in many.pages("prices")) == 2


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/ProductExport", ok({"Status": "Pending"})),
        ("/v1/files/T-1", Reply(body=b"no archive", kind="application/zip")),
        ("/v1/files/T-1", Reply(body=b"", kind="application/zip")),
    ],
)
def test_a_job_that_fails_is_an_error_and_no_empty_list(account: Account, many: V1, path: str, answer: Reply) -> None:
    account.product("A", BuyItNowPrice=1)
    account.product("B", BuyItNowPrice=1)
    account.script(path, answer)
    with pytest.raises(BadResponse, match="ProductExport"):
        list(many.pages("prices"))


@pytest.mark.parametrize("status", ["Aborted", "CompleteWithSystemicErrors", "FailedValidation"])
def test_a_job_that_the_server_gives_up_is_named_by_its_status(account: Account, many: V1, status: str) -> None:
    account.product("A")
    account.product("B")
    account.steps = [status]
    with pytest.raises(BadResponse, match=status):
        list(many.pages("prices"))


class Kept:
    """Jobs that outlive a client."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, datetime]] = {}

    def find(self, name: str, within: timedelta) -> tuple[str, datetime] | None:
        return self.rows.get(name)

    def keep(self, name: str, token: str, began: datetime) -> None:
        self.rows[name] = token, began

    def forget(self, name: str, token: str) -> None:
        self.rows = {each: row for each, row in self.rows.items() if (each, row[0]) != (name, token)}


@pytest.fixture
def kept(account: Account, many: V1) -> Kept:
    """Two products with a price, and the jobs that the client keeps."""
    for sku in ("A", "B"):
        account.product(sku, BuyItNowPrice=1, UpdateDateUtc="2011-01-05T10:00:00Z")
    many.jobs = Kept()
    return many.jobs


def begun(account: Account) -> int:
    return sum(request.method == "POST" for request in account.requests_to("/v1/ProductExport"))


def test_a_job_is_waited_for_by_another_process_after_one_that_was_killed(
    account: Account, many: V1, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: float) -> None:
        raise KeyboardInterrupt

    account.steps = ["Pending"] * 3
    with monkeypatch.context() as patch:
        patch.setattr(export, "time", SimpleNamespace(sleep=killed, monotonic=time.monotonic))
        with pytest.raises(KeyboardInterrupt):
            list(many.pages("prices"))
    ((token, began),) = kept.rows.values()
    assert token == "T-1"
    with V1(connection("channel_advisor", account.url, export_from=1), limits=FAST) as other:
        other.jobs = kept
        (page,) = other.pages("prices")
    assert len(page.records) == 2
    assert page.server_time == began  # what the file holds is as old as the job
    assert begun(account) == 1
    assert kept.rows == {}


def test_a_job_that_the_server_has_forgotten_is_asked_for_anew(account: Account, many: V1, kept: Kept) -> None:
    columns = "ID,ProfileID,Sku,CreateDateUtc,UpdateDateUtc,BuyItNowPrice,MinPrice,MaxPrice,RetailPrice"
    kept.keep(f"ProductExport 1 {columns}", "OLD", datetime(2011, 1, 5, tzinfo=UTC))
    account.script("/v1/ProductExport", ok({"Message": "There is no job with this token."}, 400))
    assert sum(len(page.records) for page in many.pages("prices")) == 2
    assert begun(account) == 1
    assert kept.rows == {}


def test_a_job_that_failed_is_not_waited_for_by_the_next_run(account: Account, many: V1, kept: Kept) -> None:
    account.steps = ["SystemicFailure"]
    with pytest.raises(BadResponse, match="SystemicFailure"):
        list(many.pages("prices"))
    assert kept.rows == {}
    assert sum(len(page.records) for page in many.pages("prices")) == 2
    assert begun(account) == 2


def test_another_server_gets_no_login(account: Account, many: V1) -> None:
    account.product("A")
    account.product("B")
    done = ok({"Token": "T-1", "Status": "Complete", "ResponseFileUrl": "http://files.example/T-1"})
    account.script("/v1/ProductExport", ok({"Token": "T-1"}), done)
    with pytest.raises(ConfigError, match="another server, without TLS"):
        list(many.pages("prices"))


def test_listings_are_refused_with_the_sentence_of_the_missing_ability(v1: Client) -> None:
    for call in (lambda: v1.create_listing({}), lambda: v1.update_listing(1, {})):
        with pytest.raises(ConfigError, match="no listings"):
            call()


WRITES: dict[str, Callable[[V1], object]] = {
    "mark": lambda v1: v1.mark_exported("7"),
    "number": lambda v1: v1.update_order("7", {"SellerOrderID": "SO-1"}),
    "cancellation": lambda v1: v1.update_order("7", {"OrderStatus": "Cancelled"}),
    "return": lambda v1: v1.resolve_return("51", "Approve"),
    "shipments": lambda v1: v1.report_shipments([shipment(7, "1"), shipment(8, "2")]),
    "quantities": lambda v1: v1.write_quantities([level("ONE", 1), level("TWO", 2)]),
    "prices": lambda v1: v1.write_prices([price("ONE"), price("TWO")]),
    "products": lambda v1: v1.create_products([product("NEW")]),
    "product": lambda v1: v1.update_product("ONE", {"Title": "new"}),
}


@pytest.mark.parametrize("name", WRITES)
def test_no_write_leaves_where_nobody_has_permitted_it(account: Account, v1: Client, name: str) -> None:
    account.product("ONE")
    account.product("TWO")
    rma(account, 51)
    with writes.permitted(writes.nobody), pytest.raises(WriteRefused):
        WRITES[name](v1)
    assert {request.method for request in account.requests if request.path != "/oauth2/token"} <= {"GET"}
