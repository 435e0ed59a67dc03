"""Orders and their exported marks.

In: requests that match the contract. Out: orders as the contract has them. Never: a change of UpdatedDate by a mark,
or by writing what is already stored.

A stored order holds under `Exported` the applications that marked it; an answer holds whether the caller's is
among them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from sandbox.channel_advisor import account, lists, named, repository, rules, shipments, stock
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import MOST_UNITS, ZERO, Refused, exact, field_error, patched, utc
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

LINES_IN_LISTS = 20
FIRST_ORDER = 900_000_001  # numbers that the server gives lie beyond those of the world
FIRST_LINE = 900_000_000_000_001
_shallow = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_lines = msgspec.json.Decoder(list[msgspec.Raw]).decode


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listOrders": partial(list_orders, system),
        "getOrder": partial(get_order, system),
        "createOrder": partial(create_order, system),
        "updateOrder": partial(update_order, system),
        "markExported": partial(mark, system, on=True),
        "unmarkExported": partial(mark, system, on=False),
    }


# ---- reading ----
def list_orders(system: System, request: Request) -> Answer:
    query, application = request.query, request.access.client
    where: dict[str, list[Any]] = {"profile": lists.profiles(request)}
    if "siteId" in query:
        where["site"] = [query["siteId"]]
    if "orderStatus" in query:
        where["status"] = query["orderStatus"]
    if "exported" in query:
        where[f"exported/{application}"] = [int(query["exported"])]
    return lists.page(system, request, "order", where, lambda row: shown(row, application, LINES_IN_LISTS))


def get_order(system: System, request: Request) -> Answer:
    with system.store.read() as tx:
        return Answer(200, shown(find(tx, request), request.access.client))


def shown(row: Row, application: str, most_lines: int | None = None) -> dict[str, Any]:
    """The order as an application sees it; every field but two is passed on as it is stored."""
    order: dict[str, Any] = _shallow(row.raw)
    order["Exported"] = application in msgspec.json.decode(order["Exported"])
    if most_lines is not None and int(bytes(order["OrderItemCount"])) > most_lines:
        order["OrderItems"] = _lines(order["OrderItems"])[:most_lines]
    return order


def find(tx: Transaction, request: Request) -> Row:
    """The order that the path names, in the profiles of the token. Refusal UnknownOrder."""
    key = request.path["ChannelAdvisorOrderID"]
    row = tx.get("order", key)
    if row is None or row.doc["ProfileID"] not in request.access.profiles:
        raise Refusal(404, "UnknownOrder", f"There is no order {key}.")
    return row


# ---- writing ----
def update_order(system: System, request: Request) -> Answer:
    with system.store.write() as tx:
        row = find(tx, request)
        order = row.doc | {name: value for name, value in request.body.items() if name != "OrderStatus"}
        status = request.body.get("OrderStatus", order["OrderStatus"])
        after = rules.moved(order, status)
        at = max(system.clock.now(), row.modified + 1)
        if after != row.doc:
            after = repository.put_order(tx, after, at)
            stock.follow(tx, after, at)
        if status == "Shipped":
            shipments.record_untracked(tx, row.doc, at)
    return Answer(200, after | {"Exported": request.access.client in after["Exported"]})


def mark(system: System, request: Request, *, on: bool) -> Answer:
    application = request.access.client
    with system.store.write() as tx:
        row = find(tx, request)
        others = [name for name in row.doc["Exported"] if name != application]
        marks = [*others, application] if on else others
        if marks != row.doc["Exported"]:
            tx.put("order", row.id, row.doc | {"Exported": marks}, modified=row.modified, extra=row.extra)
    return Answer(204)


def create_order(system: System, request: Request) -> Answer:
    profile = named.profile(request)
    with system.store.write() as tx:
        order = new_order(tx, request.body, profile)
        key = tx.next_number("ChannelAdvisorOrderID", FIRST_ORDER)
        holder = repository.reserve_order(tx, order, key)
        if holder != key:
            raise Conflict("DuplicateOrder", f"OrderID {order['OrderID']} exists.", ExistingID=holder)
        now = system.clock.now()
        stamp = clock.text(now)
        order |= {"ChannelAdvisorOrderID": key, "ImportDate": stamp}
        order["PaymentDate"] = stamp if "PaymentStatus" in request.body else None
        order = repository.put_order(tx, order, now)
        stock.follow(tx, order, now)
    return Answer(201, order | {"Exported": False})


def new_order(tx: Transaction, sent: Document, profile: int) -> Document:
    """A direct sale as it is stored, but for its number and times of arrival. Refused with what breaks a rule."""
    errors = []
    if sent["Currency"] != account.CURRENCIES[profile]:
        message = f"The profile's currency is {account.CURRENCIES[profile]}."
        errors.append(field_error("Currency", "WrongCurrency", message))
    try:
        placed = utc(sent["OrderDate"])
    except ValueError as error:
        errors.append(field_error("OrderDate", "InvalidValue", str(error)))
    items = []
    for index, line in enumerate(sent["OrderItems"]):
        try:
            items.append(new_line(tx, line, profile, f"OrderItems[{index}]."))
        except Refused as refused:
            errors += refused.errors
    if errors:
        raise Refused(errors)
    paid = sent.get("PaymentStatus", "NotYetSubmitted")
    site = tx.get("site", account.DIRECT_SALE)
    order = {
        "ProfileID": profile,
        "OrderID": sent["OrderID"],
        "SiteID": account.DIRECT_SALE,
        "SiteName": site.doc["SiteName"] if site else None,
        "SellerOrderID": None,
        "OrderStatus": "New" if paid in ("Cleared", "Deposited") else "Pending",
        "PaymentStatus": paid,
        "FulfillmentStatus": "Unshipped",
        "OrderDate": placed,
        "Currency": sent["Currency"],
        "CustomerInfo": None,
        "ShippingAddress": None,
        "BillingAddress": None,
        "RequestedShippingCarrier": None,
        "RequestedShippingClass": None,
        "TaxRemittedBy": "Seller",
        **dict.fromkeys(rules.TAX_TYPES),
        "SpecialInstructions": None,
        "DistributionCenterTypeRollup": "SellerManaged",
        "Flag": "NoFlag",
        "UserDataPresent": True,
        "Exported": [],
    }
    given = {name: value for name, value in sent.items() if name not in ("OrderItems", "OrderDate")}
    return rules.summed(patched(order, given) | {"OrderItems": items})


def new_line(tx: Transaction, sent: Document, profile: int, path: str) -> Document:
    """A line as it is stored, the SKU as the product has it. Refused with what breaks a rule."""
    errors = []
    product = repository.product(tx, profile, sent["SKU"])
    if product is None:
        errors.append(field_error(f"{path}SKU", "UnknownSku", f"There is no product {sent['SKU']}."))
    if sent["Quantity"] > MOST_UNITS:
        errors.append(field_error(f"{path}Quantity", "OutOfRange", f"At most {MOST_UNITS} units."))
    amounts = {}
    for name in rules.LINE_MONEY:
        try:
            amounts[name] = exact(sent.get(name) or ZERO)
        except ValueError as error:
            errors.append(field_error(path + name, "InvalidAmount", str(error)))
        else:
            if amounts[name] < 0:
                errors.append(field_error(path + name, "NegativeAmount", "An amount must not be negative."))
    if errors or product is None:
        raise Refused(errors)
    parts = product.doc.get("BundleComponents") or []
    return {
        "OrderItemID": tx.next_number("OrderItemID", FIRST_LINE),
        "SKU": product.doc["SKU"],
        "Title": sent.get("Title", product.doc.get("Title")),
        "Quantity": sent["Quantity"],
        **amounts,
        "QuantityShipped": 0,
        "QuantityCancelled": 0,
        "QuantityReturned": 0,
        "BundleComponents": [part | {"Quantity": part["Quantity"] * sent["Quantity"]} for part in parts],
    }
