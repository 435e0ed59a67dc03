"""A Channel Advisor sandbox to call over HTTP, and documents to fill it with.

Every answer that `Caller` gets is held to the contract: status, media type and schema.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import schemathesis
import uvicorn

from sandbox.channel_advisor.server import ChannelAdvisor
from sandbox.kernel import contract
from sandbox.kernel.serve import server_config
from sandbox.kernel.system import System

SCHEMA = schemathesis.openapi.from_path(contract.FOLDER / "channel_advisor.yaml")
ROUTES = contract.Routes(list(contract.load("channel_advisor").operations.values()))
CLIENT = ("crossdock-sandbox", "sandbox-secret")
SECOND_CLIENT = ("crossdock-second", "sandbox-secret-second")
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Caller:
    """An application with a token."""

    def __init__(self, base: str, refresh: str = "sandbox-refresh", client: tuple[str, str] = CLIENT) -> None:
        self.base = base
        self._refresh, self._client = refresh, client
        self.http = requests.Session()
        self.renew()

    def renew(self) -> str:
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh}
        answer = self.http.post(f"{self.base}/oauth2/token", data=form, auth=self._client, timeout=10)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        return token

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends any request, without checking the answer."""
        url = path if path.startswith("http") else self.base + path
        return self.http.request(method, url, timeout=options.pop("timeout", 10), allow_redirects=False, **options)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends a request of an operation and checks the answer against the contract."""
        answer = self.send(method, path, **options)
        operation, _, _ = ROUTES.find(method, contract.segments(urlsplit(answer.request.url).path))
        SCHEMA[operation.path][method].validate_response(answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """The body of a 200, amounts exact."""
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return _decode(answer.content)

    def order(self, number: int) -> dict[str, Any]:
        return self.get(f"/v2/orders/{number}")

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """The pages of a list, by nextLink."""
        page = self.get(path, **query)
        yield page
        while "nextLink" in page:
            page = self.get(page["nextLink"])
            yield page

    def control(self, method: str, what: str, body: Any = None) -> Any:
        answer = requests.request(
            method, f"{self.base}/_sandbox/{what}", data=None if body is None else encode(body), timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def clock(self, now: str) -> None:
        self.control("PUT", "clock", {"now": now})

    def apply(self, *events: dict[str, Any]) -> None:
        self.control("POST", "apply", {"events": list(events)})

    def fault(self, kind: str, path: str, **options: Any) -> None:
        self.control("POST", "faults", {"kind": kind, "path": path, "times": 1} | options)


def encode(value: Any) -> bytes:
    return msgspec.json.Encoder(decimal_format="number").encode(value)


@contextmanager
def running(folder: Path, build: Callable[..., System] = ChannelAdvisor, **limits: int) -> Iterator[str]:
    """A server on a free port of this machine, with its data in `folder`. Gives its base URL."""
    system = build(folder, **limits)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(system, "warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        system.close()
        listener.close()


# ---- documents ----
def event(kind: str, document: dict[str, Any], at: str = "2011-01-04T10:00:00Z", **more: Any) -> dict[str, Any]:
    return {"at": at, "kind": kind, "document": document} | more


def line(number: int, sku: str = "22423", quantity: int = 2, price: str = "12.7500", **fields: Any) -> dict[str, Any]:
    return {"OrderItemID": number, "SKU": sku, "Quantity": quantity, "UnitPrice": Decimal(price)} | fields


def sold(number: int, *lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A paid order of site 587, as an event of the world."""
    items = list(lines) or [line(number * 100 + 1)]
    total = sum((item["UnitPrice"] * item["Quantity"] for item in items), Decimal("0.0000"))
    return {
        "ChannelAdvisorOrderID": number,
        "OrderID": f"WEB-{number}",
        "SiteID": 587,
        "OrderStatus": "New",
        "PaymentStatus": "Cleared",
        "Currency": "GBP",
        "OrderItems": items,
        "TotalPrice": total,
    } | fields


PRODUCTS = [
    event("product", {"SKU": "22423", "Title": "Regency cakestand 3 tier", "TotalAvailableQuantity": 40}),
    event("product", {"SKU": "85123A", "Title": "White hanging heart t-light holder"}),
    event(
        "product",
        {
            "SKU": "KIT-77/2",
            "ProductType": "Bundle",
            "Title": "Stand and holder",
            "BundleComponents": [{"SKU": "22423", "Quantity": 1}, {"SKU": "85123A", "Quantity": 2}],
        },
    ),
]
SITES = [
    event("site", {"SiteID": 587, "SiteName": "Web Shop", "SiteCategoryName": "Direct Sale"}),
    event("site", {"SiteID": 641, "SiteName": "Amazon Seller Central - UK", "SiteCategoryName": "Amazon"}),
]
