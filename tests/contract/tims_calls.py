"""A TIMS sandbox to call over HTTP, and documents to fill it with.

Every answer of `Caller.call` is held to the contract: status, headers, media type and schema.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
import uvicorn

from sandbox.kernel import contract
from sandbox.kernel.serve import server_config
from sandbox.tims.server import CLIENT, HANDLERS, SECRET, Tims

SCHEMA = schemathesis.openapi.from_path(contract.FOLDER / "tims.yaml")
SERVED = {*HANDLERS, "bulk"}
ROUTES = contract.Routes([op for op in contract.load("tims").operations.values() if op.id in SERVED])
NOW = "2011-01-04T10:00:00Z"
_keys = count(1)


def new_key() -> str:
    return f"test:{next(_keys)}"


class Caller:
    """A client with a token."""

    def __init__(self, base: str, scope: str | None = None) -> None:
        self.base = base
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {self.token(scope)}"

    def token(self, scope: str | None = None) -> str:
        form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        answer = requests.post(f"{self.base}/oauth2/token", data=form, auth=(CLIENT, SECRET), timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends any request, without checking the answer."""
        timeout = options.pop("timeout", 10)
        return self.http.request(method, f"{self.base}{path}", timeout=timeout, **options)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends a request below /api/v1 and checks the answer against the contract."""
        answer = self.send(method, f"/api/v1{path}", **options)
        operation, _, _ = ROUTES.find(method, contract.segments(urlsplit(answer.request.url or "").path))
        if operation is not None:
            SCHEMA[operation.path][method].validate_response(answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> requests.Response:
        return self.call("POST", path, json=body, headers={"Idempotency-Key": key or new_key()} | headers)

    def patch(self, path: str, body: Any, tag: str | None) -> requests.Response:
        return self.call("PATCH", path, json=body, headers={"If-Match": tag} if tag else {})

    def bulk(self, *operations: tuple[str, Any], keys: list[str] | None = None, key: str | None = None) -> Any:
        named = keys or [new_key() for _ in operations]
        body = [
            {"OperationID": str(n), "Method": "POST", "Path": path, "IdempotencyKey": named[n], "Body": document}
            for n, (path, document) in enumerate(operations)
        ]
        return self.post("/bulk", {"Operations": body}, key=key)

    def control(self, method: str, what: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.base}/_sandbox/{what}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def clock(self, now: str) -> None:
        self.control("PUT", "clock", {"now": now})

    def advance(self, seconds: float) -> None:
        self.control("PUT", "clock", {"advance": seconds})

    def renew(self) -> None:
        self.http.headers["Authorization"] = f"Bearer {self.token()}"

    def apply(self, *events: dict[str, Any]) -> None:
        self.control("POST", "apply", {"events": list(events)})

    def fault(self, kind: str, path: str, **options: Any) -> None:
        self.control("POST", "faults", {"kind": kind, "path": path, "times": 1} | options)

    # ---- documents ----
    def customer(self, **fields: Any) -> str:
        answer = self.post("/customers", customer(**fields))
        assert answer.status_code == 201, answer.text
        return answer.json()["CustomerID"]

    def order(self, **fields: Any) -> dict[str, Any]:
        answer = self.post("/sales-orders", order(**fields))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def shipped(self, units: int = 2, number: int = 1, **fields: Any) -> dict[str, Any]:
        """The shipment of one line of a new order."""
        so = self.order(CustomerID=self.customer(), **fields)["SalesOrderID"]
        return self.ship(so, units, number)

    def ship(self, so: str, units: int, number: int = 1, **fields: Any) -> dict[str, Any]:
        answer = self.post(f"/sales-orders/{so}/shipments", parcel(number, units, **fields))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def made(self, path: str, body: Any) -> dict[str, Any]:
        """The document that a POST makes."""
        answer = self.post(path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()


@contextmanager
def running(folder: Path, kind: type[Tims] = Tims, **limits: int) -> Iterator[tuple[str, Tims]]:
    """A server on a free port of this machine, with its data in `folder`: its base URL and the system itself."""
    system = kind(folder, **limits)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(system))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", system
    finally:
        server.should_exit = True
        thread.join()
        system.close()
        listener.close()


def event(kind: str, document: dict[str, Any], at: str = "2011-01-01T00:00:00Z") -> dict[str, Any]:
    return {"at": at, "kind": kind, "document": document}


def item(sku: str, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("Description", "Brand", "Category", "GTIN", "MinMarginPercent", "TaxCategory", "WeightKg"))
    return event(
        "item",
        {
            "SKU": sku, "AlternateSKUs": [], "Title": f"Item {sku}", **empty, "Type": "Inventory", "KitComponents": [],
            "Cost": "22.0000", "ListPrice": "50.00", "CurrencyCode": "USD", "Images": [], "Attributes": {},
            "Status": "Active", "ChannelEligible": True,
        } | fields,
    )  # fmt: skip


def kit(sku: str, **parts: int) -> dict[str, Any]:
    return item(sku, Type="Kit", KitComponents=[{"SKU": part, "Quantity": n} for part, n in parts.items()])


def on_hand(sku: str, at: str = "2011-01-01T00:00:00Z", **locations: int) -> dict[str, Any]:
    rows = [{"LocationID": place, "OnHand": units, "Incoming": 0} for place, units in locations.items()]
    return event("quantity", {"SKU": sku, "Locations": rows}, at)


def customer(**fields: Any) -> dict[str, Any]:
    ids = [{"Source": "ChannelAdvisor", "ID": new_key()}]
    return {"ExternalIDs": ids, "Name": "Ada Miller", "CurrencyCode": "USD"} | fields


def line(id: str = "1", sku: str = "LAMP", quantity: int = 2, price: str = "50.00", **fields: Any) -> dict[str, Any]:
    return {"ExternalLineID": id, "SKU": sku, "Quantity": quantity, "Price": price, "TaxAmount": "0.00"} | fields


def order(**fields: Any) -> dict[str, Any]:
    """The order of the contract's example, 105.35 in all; `CustomerID` must be given."""
    lines = [line(DiscountAmount="10.00", TaxAmount="6.75", TaxRemittedBy="Marketplace")]
    address = {"Name": "Ada Miller", "Line1": "12 Elm Street", "City": "Albany", "Region": "NY", "CountryCode": "US"}
    return {
        "ExternalOrderID": new_key(), "Source": "ChannelAdvisor", "OrderDate": "2011-01-04T09:00:00Z",
        "CurrencyCode": "USD", "Channel": "Amazon US", "LineItems": lines, "ShippingMethod": "UPS Ground",
        "ShippingAddress": address, "ShippingAmount": "8.00", "ShippingTaxAmount": "0.60", "DiscountTotal": "10.00",
        "TaxTotal": "7.35", "TotalAmount": "105.35", "PaymentStatus": "Paid",
    } | fields  # fmt: skip


def plain(*lines: dict[str, Any], total: str, **fields: Any) -> dict[str, Any]:
    """Fields of an order without charges, discounts and taxes."""
    none = {"ShippingAmount": "0.00", "ShippingTaxAmount": "0.00", "DiscountTotal": "0.00", "TaxTotal": "0.00"}
    return {"LineItems": list(lines), "TotalAmount": total} | none | fields


def parcel(number: int, units: int, **fields: Any) -> dict[str, Any]:
    """A shipment of one line, at 21:40 of the day before in New York."""
    lines = [{"SalesOrderLineNo": number, "Quantity": units}]
    shipped = {"Source": "warehouse", "ShippedAt": "2011-01-05T02:40:00Z", "LocationID": "MAIN", "Lines": lines}
    return {"ExternalReference": new_key()} | shipped | fields


def invoice(shipment: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The invoice of the contract's example: the whole of `order()`, 98.00 to be paid by the marketplace."""
    one = {"SalesOrderLineNo": 1, "SKU": "LAMP", "Quantity": 2, "UnitPrice": "50.00", "DiscountAmount": "10.00"}
    return {
        "ExternalReference": f"inv:{shipment['ShipmentID']}", "Source": "Crossdock", "CurrencyCode": "USD",
        "SalesOrderID": shipment["SalesOrderID"], "ShipmentID": shipment["ShipmentID"],
        "InvoiceDate": "2011-01-04", "PostingDate": "2011-01-04",
        "Lines": [one | {"TaxAmount": "6.75", "TaxRemittedBy": "Marketplace"}],
        "ShippingAmount": "8.00", "ShippingTaxAmount": "0.60", "ShippingTaxRemittedBy": "Marketplace",
        "SubTotal": "100.00", "DiscountTotal": "10.00", "TaxTotal": "7.35", "MarketplaceRemittedTax": "7.35",
        "Total": "98.00",
    } | fields  # fmt: skip


def plain_invoice(shipment: dict[str, Any], units: int, total: str, **fields: Any) -> dict[str, Any]:
    """An invoice of one line at 50.00 without charges, discounts and taxes."""
    one = {"SalesOrderLineNo": 1, "SKU": "LAMP", "Quantity": units, "UnitPrice": "50.00", "TaxAmount": "0.00"}
    none = dict.fromkeys(("ShippingAmount", "ShippingTaxAmount", "DiscountTotal", "TaxTotal"), "0.00")
    amounts = none | {"MarketplaceRemittedTax": "0.00", "SubTotal": total, "Total": total, "Lines": [one]}
    return invoice(shipment, **amounts) | fields


def credit(invoice: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One of the two units of `invoice()` given back in full, as in the contract's example."""
    one = {"InvoiceLineNo": 1, "Quantity": 1, "Amount": "50.00", "DiscountAmount": "5.00", "TaxAmount": "3.38"}
    return {
        "ExternalReference": new_key(), "Source": "Crossdock", "InvoiceID": invoice["InvoiceID"],
        "CreditDate": "2011-01-09", "PostingDate": "2011-01-09", "CurrencyCode": "USD", "Reason": "CustomerReturn",
        "Restock": False, "Lines": [one], "ShippingAmount": "0.00", "SubTotal": "50.00", "DiscountTotal": "5.00",
        "TaxTotal": "3.38", "MarketplaceRemittedTax": "3.38", "Total": "45.00",
    } | fields  # fmt: skip


def payment(amount: str, *applications: tuple[str, str, str], **fields: Any) -> dict[str, Any]:
    """A payout of so much, applied to (InvoiceID or CreditMemoID, id, amount)."""
    applied = [{name: id, "Amount": part} for name, id, part in applications]
    return {
        "ExternalReference": new_key(), "Source": "Crossdock", "Method": "MarketplacePayout",
        "PaymentDate": "2011-01-10", "PostingDate": "2011-01-10", "Amount": amount, "CurrencyCode": "USD",
        "BankAccountCode": "1100", "Applications": applied,
    } | fields  # fmt: skip


def adjustment(units: int, **fields: Any) -> dict[str, Any]:
    what = {"SKU": "LAMP", "LocationID": "MAIN", "QuantityDelta": units, "ReasonCode": "Damage"}
    return {"ExternalReference": new_key(), "Source": "warehouse", "PostingDate": "2011-01-04"} | what | fields


def entry(*sides: tuple[str, str, str], **fields: Any) -> dict[str, Any]:
    """A journal entry of (account, debit, credit)."""
    lines = [
        {"LineNo": n, "AccountCode": account, "Debit": debit, "Credit": credit}
        for n, (account, debit, credit) in enumerate(sides, 1)
    ]
    return {
        "ExternalReference": new_key(), "Source": "Crossdock", "PostingDate": "2011-01-04",
        "SourceDocument": {"Type": "Invoice", "ID": "INV-1"}, "Description": "Sale", "CurrencyCode": "USD",
        "Lines": lines,
    } | fields  # fmt: skip


def errors(answer: requests.Response) -> set[tuple[str, str]]:
    return {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
