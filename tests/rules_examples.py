"""One good order, its items and customers, and ways to change them: the start of the rules' tests."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pandas as pd

from crossdock.mapping import language, lookups
from crossdock.mapping.frames import Frames
from crossdock.mapping.parse import read_documents
from crossdock.rules import settings as configuration
from crossdock.rules.customers import keys_of
from crossdock.rules.order_context import OrderContext
from crossdock.rules.orders import newcomers
from crossdock.rules.reference_data import ReferenceData
from crossdock.rules.settings import Settings, Site
from crossdock.rules.vectorize import TEXT

ADDRESS = {
    "Name": "Ana Ortiz",
    "Company": None,
    "Line1": "12 Elm St",
    "Line2": "Apt 4",
    "City": "Albany",
    "Region": "NY",
    "PostalCode": "12207",
    "Country": "US",
}
BUYER = {
    "CustomerID": "A1B2C3",
    "FirstName": "Ana",
    "LastName": "Ortiz",
    "Email": "ana.ortiz@example.com",
    "Phone": "+1 212 555 0147",
    "Company": None,
}
ITEMS: list[dict[str, Any]] = [
    {"SKU": "MUG", "ListPrice": 40_000},
    {"SKU": "LAMP", "ListPrice": 500_000, "AlternateSKUs": ["LMP-1"]},
    {"SKU": "OLD", "Status": "Discontinued"},
    {"SKU": "STOP", "Status": "Blocked"},
    {"SKU": "twin", "ListPrice": 10_000},
    {"SKU": "TWIN", "ListPrice": 10_000},
    {"SKU": "SET", "Type": "Kit", "KitComponents": [("MUG", 2), ("LAMP", 1)]},
    {"SKU": "BADSET", "Type": "Kit", "KitComponents": [("MUG", 1), ("STOP", 1)]},
    {"SKU": "GIFT-VOUCHER", "Type": "NonInventory"},
]


def amount(text: str | int | None) -> Any:
    """A money amount as JSON carries it: a number written as given."""
    return None if text is None else msgspec.Raw(str(text).encode())


def line(number: int = 1, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "OrderItemID": 500 + number,
        "SKU": "MUG",
        "Title": "A mug",
        "Quantity": 2,
        "UnitPrice": "5.0000",
        "TaxAmount": None,
        "DiscountAmount": None,
        "ShippingAmount": None,
        "ShippingTaxAmount": None,
        "GiftWrapAmount": None,
        "QuantityShipped": 0,
        "QuantityCancelled": 0,
        "QuantityReturned": 0,
    }
    return base | changes


def order(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A New, paid order of two mugs at 5.00 on Amazon US; a dict replaces parts of an address or the buyer."""
    base: dict[str, Any] = {
        "ChannelAdvisorOrderID": 1000 + number,
        "OrderID": f"114-{number}",
        "ProfileID": 12345678,
        "SiteID": 640,
        "SiteName": "Amazon Seller Central - US",
        "OrderStatus": "New",
        "PaymentStatus": "Cleared",
        "FulfillmentStatus": "Unshipped",
        "OrderDate": f"2026-03-01T10:00:{number % 60:02d}Z",
        "ImportDate": "2026-03-01T11:00:00Z",
        "UpdatedDate": "2026-03-01T11:00:00Z",
        "Currency": "USD",
        "CustomerInfo": BUYER,
        "ShippingAddress": ADDRESS,
        "BillingAddress": None,
        "RequestedShippingCarrier": "UPS",
        "RequestedShippingClass": "Ground",
        "OrderItems": [line()],
        "TotalShippingPrice": "0.0000",
        "TotalShippingTaxPrice": "0.0000",
        "TotalTaxPrice": "0.0000",
        "TotalDiscount": "0.0000",
        "TotalPrice": "10.0000",
        "TaxRemittedBy": "Seller",
        "Exported": False,
        "DistributionCenterTypeRollup": "SellerManaged",
        "Flag": "NoFlag",
        "UserDataPresent": True,
    }
    document = copy.deepcopy(base)
    for name, value in changes.items():
        both_dicts = isinstance(value, dict) and isinstance(base.get(name), dict)
        document[name] = base[name] | value if both_dicts else value
    document.setdefault("OrderItemCount", len(document["OrderItems"]))
    return document


MONEY = ("TotalShippingPrice", "TotalShippingTaxPrice", "TotalTaxPrice", "TotalDiscount", "TotalPrice")
LINE_MONEY = ("UnitPrice", "TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount", "GiftWrapAmount")


def frames(*documents: dict[str, Any]) -> Frames:
    """The documents as the flow reads them: JSON, parsed by the contract."""
    payloads = []
    for document in documents:
        written = document | {name: amount(document[name]) for name in MONEY}
        written["OrderItems"] = [
            one | {name: amount(one[name]) for name in LINE_MONEY} for one in document["OrderItems"]
        ]
        payloads.append(msgspec.json.encode(written))
    parsed = read_documents(payloads, "channel_advisor", "Order")
    assert not len(parsed.problems), parsed.problems.to_dict("records")
    return parsed.frames


def reference_data(*customers: dict[str, Any], items: list[dict[str, Any]] | None = None) -> ReferenceData:
    """TIMS with the items above and the given customers (documents of the contract)."""
    rows = [
        {"Status": "Active", "Type": "Inventory", "KitComponents": None, "Cost": 0, "ListPrice": 0, "Category": None}
        | item
        for item in items or ITEMS
    ]
    frame = pd.DataFrame(rows)
    codes = [(item["SKU"], "sku", item["SKU"]) for item in rows]
    codes += [(code, "alternate", item["SKU"]) for item in rows for code in item.get("AlternateSKUs", ())]
    everyone = [customer(**c) for c in customers]
    return ReferenceData(
        items=frame.astype({"SKU": TEXT, "Status": TEXT, "Type": TEXT}),
        item_codes=pd.DataFrame(
            {
                "code": pd.Series([c for c, _, _ in codes], dtype=TEXT),
                "folded": pd.Series([c.casefold() for c, _, _ in codes], dtype=TEXT),
                "kind": pd.Series([k for _, k, _ in codes], dtype=TEXT),
                "SKU": pd.Series([s for _, _, s in codes], dtype=TEXT),
            }
        ),
        customers=pd.DataFrame(
            {name: pd.Series([c[name] for c in everyone], dtype=TEXT) for name in ("CustomerID", "Status", "Name")}
        ),
        customer_keys=keys_of(everyone, config()),
    )


def customer(**changes: Any) -> dict[str, Any]:
    base = {
        "CustomerID": "C-1",
        "Status": "Active",
        "Name": "Somebody Else",
        "ExternalIDs": [],
        "Email": None,
        "Phone": None,
        "BillingAddress": None,
        "ShippingAddresses": [],
    }
    return base | changes


def external(identity: str) -> list[dict[str, str]]:
    return [{"Source": "ChannelAdvisor", "ID": identity}]


def tims_address(**changes: Any) -> dict[str, Any]:
    address = {k: v for k, v in ADDRESS.items() if k != "Country"}
    return address | {"CountryCode": "US"} | changes


def config(**site: Any) -> Settings:
    """The shipped configuration; with arguments, site 640 is configured so."""
    shipped = configuration.load()
    if not site:
        return shipped
    sites = dict(shipped.sites) | {640: Site(**{"relay_domains": ("marketplace.amazon.com",)} | site)}
    return replace(shipped, sites=sites)


@dataclass
class Enriched:
    """`header`: the orders with the columns of the rules; `lines`: target lines; `problems` of orders to load,
    `warnings` of all; `customers`: one row per customer to create."""

    header: pd.DataFrame
    lines: pd.DataFrame
    problems: pd.DataFrame
    warnings: pd.DataFrame
    customers: pd.DataFrame

    def of(self, row: int) -> Enriched:
        """The result as if the order of this row had been alone."""

        def only(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[frame["_row"] == row].assign(_row=0).reset_index(drop=True)

        header = self.header.iloc[[row]].reset_index(drop=True)
        return Enriched(header, only(self.lines), only(self.problems), only(self.warnings), only(self.customers))


@dataclass
class Together(Mapping[Hashable, Enriched]):
    """The cases of a test, an order each by one buyer, judged in one run: it takes hardly longer than a run of one
    order. A case is looked at as if its order had been alone."""

    orders: Mapping[Hashable, dict[str, Any]]
    settings: Settings | None = None
    _places: dict[Hashable, int] = field(init=False)
    _result: Enriched | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._places = {case: place for place, case in enumerate(self.orders)}

    def __getitem__(self, case: Hashable) -> Enriched:
        if self._result is None:
            numbered = [one | {"ChannelAdvisorOrderID": n} for n, one in enumerate(self.orders.values(), 1001)]
            self._result = run(*numbered, settings=self.settings)
        return self._result.of(self._places[case])

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.orders)

    def __len__(self) -> int:
        return len(self.orders)


def run(
    *documents: dict[str, Any],
    tims: ReferenceData | None = None,
    settings: Settings | None = None,
    linked: tuple[int, ...] = (),
    newest: pd.Series | None = None,
    inclusive: Mapping[int, bool] | None = None,
) -> Enriched:
    """The documents with the columns of all rules of the mapping sales_order, as its flow runs them."""
    context = OrderContext(
        tims or reference_data(),
        settings or config(),
        lookups.read("order_status"),
        lookups.read("payment_status"),
        linked,
        inclusive or {},
        newest,
    )
    made = language.load("sales_order").plan.run(frames(*documents), context)
    header = made.frames.header
    assert made.frames.made is not None
    found = made.problems[header["verdict"].eq("load").to_numpy(dtype=bool)[made.problems["_row"]]]
    return Enriched(header, made.frames.made, found.reset_index(drop=True), made.warnings, newcomers(header, found))


def reasons(enriched: Enriched, row: int = 0) -> list[str]:
    found = enriched.problems
    return sorted(found.loc[found["_row"] == row, "rule"])


def sentence(enriched: Enriched, rule: str) -> str:
    (text,) = enriched.problems.loc[enriched.problems["rule"] == rule, "says"]
    return text
