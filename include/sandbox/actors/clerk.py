"""Plays the people who enter the channel's orders in TIMS by hand, as they do before Crossdock is live, and err.

In: orders of Channel Advisor, items and customers of TIMS; which mistakes are planted. Out: customers and sales orders
in TIMS. Never: an order that is entered twice without a planted mistake; anything that only a program could work out:
kits, other names of items, prices with tax inside and discounts are left to others, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from sandbox.actors.actor_context import ActorContext, Document
from sandbox.control import SandboxError, moment

SOURCE = "Manual"
METHOD = "Standard"
CHANNELS = {"Amazon Seller Central - UK": "Amazon UK"}
CENT = Decimal("0.01")

# What may go wrong when a person types.
SHIPPING_TAX, PRICE, POSTCODE, NO_REFERENCE, FORGOTTEN = (
    "shipping tax left out", "price mistyped", "postcode mistyped", "reference left out", "forgotten"
)  # fmt: skip
MISTAKES = (SHIPPING_TAX, PRICE, POSTCODE, NO_REFERENCE, FORGOTTEN)


def act(context: ActorContext, mistakes: Mapping[int, str] | None = None) -> Counter[str]:
    """Enters the orders that have come in the time to act in. `mistakes`: by number of the order. Returns how many were
    entered, forgotten and left to others."""
    planted = mistakes or {}
    items = {item["SKU"]: item for item in context.tims("item")}
    done: Counter[str] = Counter()
    entered = []
    for number, order in sorted(context.orders.items()):
        if not context.is_due(moment(order["ImportDate"])) or order["OrderStatus"] == "Cancelled":
            continue
        if planted.get(number) == FORGOTTEN:
            done["orders forgotten"] += 1
        elif _is_plain(order, items):
            entered.append(order)
        else:
            done["orders left to others"] += 1
    customers = _customers(context, entered)
    bodies = [_order(one, customers[_buyer(one)], planted.get(one["ChannelAdvisorOrderID"], "")) for one in entered]
    keys = [f"clerk-order-{one['ChannelAdvisorOrderID']}" for one in entered]
    results = context.post([("/sales-orders", key, body) for key, body in zip(keys, bodies, strict=True)])
    for result in results:
        done["orders entered" if result["Status"] < 400 else "orders refused"] += 1
    return done


def _is_plain(order: Document, items: Mapping[str, Document]) -> bool:
    """Whether a person can enter it as it stands on the screen."""
    return (
        order["UserDataPresent"]
        and order.get("ShippingAddress") is not None
        and not order.get("TotalDiscount")
        and not any(order.get(name) == "InclusiveVat" for name in ("OrderTaxType", "ShippingTaxType"))
        and all(
            line["SKU"] in items and not items[line["SKU"]].get("KitComponents") and not line.get("DiscountAmount")
            and not line.get("GiftWrapAmount") and not line.get("QuantityCancelled")
            for line in order["OrderItems"]
        )
    )  # fmt: skip


def _buyer(order: Document) -> tuple[str, str]:
    address = order["ShippingAddress"]
    return address["Name"], address["PostalCode"] or ""


def _customers(context: ActorContext, orders: list[Document]) -> dict[tuple[str, str], str]:
    """The customer of each buyer: the one of this name and postcode, else a new one."""
    found: dict[tuple[str, str], str] = {}
    for customer in context.tims("customer"):
        for address in [*customer["ShippingAddresses"], customer.get("BillingAddress") or {}]:
            found.setdefault((customer["Name"], address.get("PostalCode") or ""), customer["CustomerID"])
    new = {_buyer(one): one for one in orders if _buyer(one) not in found}
    bodies = [
        {
            "Name": buyer[0], "CurrencyCode": one["Currency"], "ShippingAddresses": [_address(one)],
            "ExternalIDs": [{"Source": SOURCE, "ID": f"card {one['ChannelAdvisorOrderID']}"}],
        }
        for buyer, one in new.items()
    ]  # fmt: skip
    keys = [f"clerk-buyer-{one['ChannelAdvisorOrderID']}" for one in new.values()]
    results = context.post([("/customers", key, body) for key, body in zip(keys, bodies, strict=True)])
    for one in results:
        if one["Status"] >= 400:
            raise SandboxError(f"TIMS refuses a customer: {one['Body']}.", do="Correct the clerk.")
    return found | {buyer: one["Body"]["CustomerID"] for buyer, one in zip(new, results, strict=True)}


def _address(order: Document) -> Document:
    address = order["ShippingAddress"]
    names = ("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode")
    return {name: address[name] for name in names if address.get(name)} | {"CountryCode": address["Country"]}


def _order(order: Document, customer: str, mistake: str) -> Document:
    """The order as the person types it."""
    number = str(order["ChannelAdvisorOrderID"])
    lines = [
        {
            "ExternalLineID": str(n), "SKU": line["SKU"], "Quantity": line["Quantity"],
            "Price": _price(line["UnitPrice"], mistake if n == 1 else ""),
            "TaxAmount": _money(line.get("TaxAmount")), "TaxRemittedBy": order["TaxRemittedBy"],
        }
        for n, line in enumerate(order["OrderItems"], 1)
    ]  # fmt: skip
    shipping = Decimal(str(order.get("TotalShippingPrice") or 0))
    shipping_tax = Decimal(0) if mistake == SHIPPING_TAX else Decimal(str(order.get("TotalShippingTaxPrice") or 0))
    tax = sum((Decimal(line["TaxAmount"]) for line in lines), shipping_tax)
    goods = sum((Decimal(line["Price"]) * line["Quantity"] for line in lines), Decimal(0))
    address = _address(order)
    if mistake == POSTCODE:
        address["PostalCode"] = f"{address['PostalCode'][:-1]}X"
    return {
        "ExternalOrderID": f"by hand {number}" if mistake == NO_REFERENCE else number,
        "Source": SOURCE, "CustomerID": customer, "OrderDate": order["OrderDate"],
        "Channel": str(CHANNELS.get(order["SiteName"]) or order["SiteName"])[:40], "CurrencyCode": order["Currency"],
        "PaymentStatus": "Paid" if order["PaymentStatus"] == "Cleared" else "Pending", "ShippingMethod": METHOD,
        "ShippingAddress": address, "PricesIncludeTax": False, "ShippingAmount": _money(shipping),
        "ShippingTaxAmount": _money(shipping_tax), "ShippingTaxRemittedBy": order["TaxRemittedBy"],
        "DiscountTotal": "0.00", "TaxTotal": _money(tax), "TotalAmount": _money(goods + shipping + tax),
        "Notes": "Entered by hand.", "LineItems": lines,
    }  # fmt: skip


def _price(price: object, mistake: str) -> str:
    """The price; mistyped, the person adds a pound to it."""
    return f"{Decimal(str(price)) + (1 if mistake == PRICE else 0):.4f}"


def _money(amount: object) -> str:
    return str(Decimal(str(amount or 0)).quantize(CENT))
