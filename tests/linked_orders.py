"""Orders of Channel Advisor, each with the sales order that TIMS would hold of it: what suggestions are tried on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossdock.mapping import contracts
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.suggest.sample import Sample
from crossdock.mapping.suggest.words import Vocabulary

ORDER = contracts.document("channel_advisor", "Order")
SALES_ORDER = contracts.document("tims", "SalesOrderCreate")
MOVEMENT = contracts.document("crossdock", "StockMovement")
ADJUSTMENT = contracts.document("tims", "AdjustmentCreate")
CITIES = ("Leeds", "York", "Bath", "Ely", "Hull", "Derby", "Ripon", "Truro")
PLAIN = Vocabulary(frozenset(["channel", "advisor", "tims"]))


def order(number: int, **changes: Any) -> dict[str, Any]:
    city = CITIES[number % len(CITIES)]
    return {
        "ChannelAdvisorOrderID": 10_540_000 + number,
        "OrderID": f"W-{7 * number:05}",
        "Currency": ("GBP", "EUR", "USD")[number % 3],
        "PaymentStatus": ("Cleared", "NotYetSubmitted")[number % 2],
        "OrderDate": f"2011-01-{1 + number % 28:02}T10:00:00.1234567Z",
        "TotalShippingPrice": f"{number % 17}.{number % 10}0",
        "ShippingAddress": {"City": city, "Line1": f"{number} High St"},
        "BillingAddress": {"City": CITIES[(number + 3) % len(CITIES)]},
        "CustomerInfo": {"Phone": f"(0114) {number:03} 4567"},
        "OrderItems": [
            {
                "OrderItemID": number * 100 + line,
                "SKU": f"S{(number * 7 + line) % 50}",
                "Quantity": 1 + (number + line) % 5,
            }
            for line in range(1 + number % 3)
        ],
    } | changes  # fmt: skip


def sales_order(one: Mapping[str, Any]) -> dict[str, Any]:
    """As TIMS would hold it; its lines stand the other way round."""
    return {
        "ExternalOrderID": str(one["ChannelAdvisorOrderID"]),
        "Source": "ChannelAdvisor",
        "CurrencyCode": one["Currency"],
        "PaymentStatus": {"Cleared": "Paid", "NotYetSubmitted": "Unpaid"}[one["PaymentStatus"]],
        "OrderDate": one["OrderDate"][:-2] + "Z",
        "ShippingAmount": f"{float(one['TotalShippingPrice']):.2f}",
        "ShippingAddress": {"City": one["ShippingAddress"]["City"]},
        "Notes": f"Order {one['OrderID']}, for the shop.",
        "LineItems": [
            {"ExternalLineID": str(line["OrderItemID"]), "SKU": line["SKU"], "Quantity": line["Quantity"]}
            for line in reversed(one["OrderItems"])
        ],
    }


ORDERS = tuple(order(number) for number in range(60))
BOTH = Sample(ORDER, SALES_ORDER, ORDERS, tuple(map(sales_order, ORDERS)))
NOTHING = Sample(ORDER, SALES_ORDER)
PAYMENT_STATUS = Lookup(
    "payment_status", Path("payment_status.csv"), ("channel_advisor", "tims"),
    {"Cleared": {"channel_advisor": "Cleared", "tims": "Paid"},
     "NotYetSubmitted": {"channel_advisor": "NotYetSubmitted", "tims": "Unpaid"}},
)  # fmt: skip
