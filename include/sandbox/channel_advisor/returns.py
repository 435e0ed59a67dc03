"""Returns: opened by buyers, marketplaces or the seller, decided by the seller.

In: requests that match the contract. Out: stored returns; once one is approved, its units count on the order and, where
it says so, are back on offer. Never: a second return for one (order, SellerAdjustmentID); more units than have shipped,
or more money than the line has, in returns that nobody rejected.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.channel_advisor import lists, repository, rules, stock
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import ZERO, Refused, exact, field_error
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

FIRST_RETURN = 900_000_001
REFUNDS = ("RefundAmount", "TaxRefund", "ShippingRefund")
DECISIONS = {"Approve": "Approved", "Reject": "Rejected", "MarkRefunded": "Refunded"}
ALLOWED = {
    "NewRma": ("Approve", "Reject"),
    "PendingReturn": ("Approve", "Reject"),
    "Received": ("Approve", "Reject"),
    "Approved": ("MarkRefunded",),
}
WORDS = {"Approve": "approved", "Reject": "rejected", "MarkRefunded": "marked as refunded"}
WITHOUT_CENTS = frozenset(("JPY", "KRW", "CLP", "ISK", "VND"))


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listReturns": partial(list_returns, system),
        "createReturn": partial(create_return, system),
        "getReturn": partial(get_return, system),
        "resolveReturn": partial(resolve_return, system),
    }


# ---- reading ----
def list_returns(system: System, request: Request) -> Answer:
    where: dict[str, list[Any]] = {"profile": lists.profiles(request)}
    if "channelAdvisorOrderId" in request.query:
        where["order"] = [request.query["channelAdvisorOrderId"]]
    if "status" in request.query:
        where["status"] = request.query["status"]
    return lists.page(system, request, "return", where)


def get_return(system: System, request: Request) -> Answer:
    with system.store.read() as tx:
        return Answer(200, find(tx, request).doc)


def find(tx: Transaction, request: Request) -> Row:
    """The return that the path names, in the profiles of the token. Refusal UnknownReturn."""
    key = request.path["ReturnID"]
    row = tx.get("return", key)
    if row is None or row.doc["ProfileID"] not in request.access.profiles:
        raise Refusal(404, "UnknownReturn", f"There is no return {key}.")
    return row


# ---- writing ----
def create_return(system: System, request: Request) -> Answer:
    sent = request.body
    number, key = sent["ChannelAdvisorOrderID"], sent["SellerAdjustmentID"]
    with system.store.write() as tx:
        row = tx.get("order", number)
        if row is None or row.doc["ProfileID"] not in lists.profiles(request):
            raise Refused([field_error("ChannelAdvisorOrderID", "UnknownOrder", f"There is no order {number}.")])
        if first := repository.first_return(tx, number, key):
            return Answer(200, first)
        order = row.doc
        if not any(line["QuantityShipped"] for line in order["OrderItems"]):
            raise Conflict("OrderNotShipped", f"Nothing of order {number} has shipped.")
        opened = {
            "SellerAdjustmentID": key,
            "RmaNumber": sent.get("RmaNumber"),
            "Status": sent.get("Status", "NewRma"),
            "Reason": sent.get("Reason", "GeneralAdjustment"),
            "Comment": sent.get("Comment"),
            "Items": items_of(order, sent["Items"], of_order(tx, number)),
        }
        made = repository.put_return(tx, whole(tx, order, opened), system.clock.now())
    return Answer(201, made)


def whole(tx: Transaction, order: Document, opened: Document) -> Document:
    """A new return as it is stored, but for its times of creation and change."""
    number = opened.get("ReturnID")
    number = tx.next_number("ReturnID", FIRST_RETURN) if number is None else number
    rma = opened.get("RmaNumber")
    return {
        "SellerAdjustmentID": None,
        "Status": "NewRma",
        "Reason": "GeneralAdjustment",
        "Comment": None,
        "RefundTotal": refund_total(opened["Items"]),
        "RefundDate": None,
        **opened,
        "ReturnID": number,
        "ProfileID": order["ProfileID"],
        "ChannelAdvisorOrderID": order["ChannelAdvisorOrderID"],
        "RmaNumber": f"RMA{number}" if rma is None else rma,
        "Currency": order["Currency"],
    }


def resolve_return(system: System, request: Request) -> Answer:
    decision = request.body["Decision"]
    with system.store.write() as tx:
        row = find(tx, request)
        before = row.doc
        if before["Status"] == DECISIONS[decision]:
            return Answer(200, before)
        allowed = list(ALLOWED.get(before["Status"], ()))
        if decision not in allowed:
            article = "An" if before["Status"] == "Approved" else "A"
            message = f"{article} {before['Status']} return cannot be {WORDS[decision]}."
            raise Conflict("IllegalDecision", message, From=before["Status"], AllowedDecisions=allowed)
        at = max(system.clock.now(), row.modified + 1)
        after = before | {"Status": DECISIONS[decision]}
        if "Comment" in request.body:
            after["Comment"] = request.body["Comment"]
        if decision == "MarkRefunded":
            after["RefundDate"] = clock.text(at)
        after = repository.put_return(tx, after, at)
        take_in(tx, before, after, at)
    return Answer(200, after)


# ---- what an approved return does ----
def is_approved(returned: Document) -> bool:
    """Whether its units count as returned; for a Closed one, whether it has a RefundDate."""
    status = returned["Status"]
    return status in ("Approved", "Refunded") or (status == "Closed" and returned.get("RefundDate") is not None)


def take_in(tx: Transaction, before: Document | None, after: Document, at: int) -> None:
    """The order's units and status, and the offer, once the return is approved; nothing at any other change."""
    if not is_approved(after) or (before is not None and is_approved(before)):
        return
    row = tx.get("order", after["ChannelAdvisorOrderID"])
    if row is not None:
        order = returned_order(row.doc, of_order(tx, row.doc["ChannelAdvisorOrderID"]))
        if order != row.doc:
            repository.put_order(tx, order, max(at, row.modified + 1))
    for item in after["Items"]:
        if item.get("Restock") and item["Quantity"]:
            stock.put_back(tx, after["ProfileID"], item["SKU"], item["Quantity"], at)


def returned_order(order: Document, returns: Iterable[Document]) -> Document:
    """The order with the units of its approved returns; Returned once these are all that shipped."""
    units = units_of(filter(is_approved, returns))
    items = [
        line | {"QuantityReturned": min(units.get(line["OrderItemID"], 0), line["QuantityShipped"])}
        for line in order["OrderItems"]
    ]
    after = order | {"OrderItems": items}
    shipped = sum(line["QuantityShipped"] for line in items)
    if shipped and shipped == sum(line["QuantityReturned"] for line in items):
        return rules.with_status(after, "Returned")
    return after


# ---- units and amounts ----
def of_order(tx: Transaction, order: int) -> list[Document]:
    return [row.doc for row in tx.rows("return", order=order)]


def is_taken(returned: Document) -> bool:
    """Whether its units and amounts are used up: not those of a rejected return, nor of one closed without a refund."""
    return is_approved(returned) or returned["Status"] not in ("Rejected", "Closed")


def units_of(returns: Iterable[Document]) -> dict[int, int]:
    """OrderItemID -> units in these returns."""
    units: dict[int, int] = {}
    for returned in returns:
        for item in returned["Items"]:
            units[item["OrderItemID"]] = units.get(item["OrderItemID"], 0) + item["Quantity"]
    return units


def refund_total(items: Iterable[Document]) -> Decimal:
    return sum((item.get(name) or ZERO for item in items for name in REFUNDS), ZERO)


def items_of(order: Document, sent: Iterable[Document], returns: Iterable[Document]) -> list[Document]:
    """Items of a new return as they are stored: both ids, every amount. `returns`: those the order has already.

    An SKU on several lines takes their units, and a given amount their amounts, in order. Refused with UnknownItem,
    QuantityExceedsShipped, RefundExceedsLine or for a wrong amount."""
    taken = [each for each in returns if is_taken(each)]
    returned = units_of(taken)
    units = {line["OrderItemID"]: line["QuantityShipped"] for line in order["OrderItems"]}
    left = {key: shipped - returned.get(key, 0) for key, shipped in units.items()}
    money = {line["OrderItemID"]: refundable(order, line, taken) for line in order["OrderItems"]}
    items: list[Document] = []
    errors: list[dict[str, str]] = []
    for index, item in enumerate(sent):
        lines = [line for line in order["OrderItems"] if rules.means(item, line)]
        if not lines:
            name = "OrderItemID" if "OrderItemID" in item else "SKU"
            errors.append(field_error(f"Items[{index}].{name}", "UnknownItem", f"The order has no line {item[name]}."))
            continue
        chosen = _chosen(lines, item["Quantity"], left)
        if missing := item["Quantity"] - sum(quantity for _, quantity in chosen):
            message = f"{item['Quantity']} units are {missing} more than have shipped and are in no other return."
            errors.append(field_error(f"Items[{index}].Quantity", "QuantityExceedsShipped", message))
            continue
        rest = {name: _given(item, name, index, errors) for name in REFUNDS}
        for line, quantity in chosen:
            share = _share(computed(order, line, quantity), rest, money[line["OrderItemID"]])
            items.append(
                {"OrderItemID": line["OrderItemID"], "SKU": line["SKU"], "Quantity": quantity}
                | share
                | {"Restock": item.get("Restock", False), "Condition": item.get("Condition")}
            )
        for name, amount in rest.items():
            if amount:
                message = f"{exact(item[name])} is {amount} more than the line has left."
                errors.append(field_error(f"Items[{index}].{name}", "RefundExceedsLine", message))
    if errors:
        raise Refused(errors)
    return items


def _chosen(lines: list[Document], wanted: int, left: dict[int, int]) -> list[tuple[Document, int]]:
    """(line, units) in the order of the lines, and these units off `left`; the first line where no units are wanted."""
    chosen = []
    for line in lines if wanted else ():
        quantity = min(wanted, max(left[line["OrderItemID"]], 0))
        if quantity:
            left[line["OrderItemID"]] -= quantity
            wanted -= quantity
            chosen.append((line, quantity))
    return chosen or [(lines[0], 0)]


def _given(item: Document, name: str, index: int, errors: list[dict[str, str]]) -> Decimal | None:
    """The amount as it was sent; None where it was not. What it breaks is added to `errors`."""
    value = item.get(name)
    if value is None:
        return None
    try:
        amount = exact(value)
    except ValueError as error:
        errors.append(field_error(f"Items[{index}].{name}", "InvalidAmount", str(error)))
        return None
    if amount < 0:
        errors.append(field_error(f"Items[{index}].{name}", "NegativeAmount", "An amount must not be negative."))
        return None
    return amount


def _share(whole: Document, rest: dict[str, Decimal | None], left: dict[str, Decimal]) -> dict[str, Decimal]:
    """The share of one line in each amount: of the given one (`rest`), else the computed one; never more than is left.
    It is subtracted from both `rest` and `left`."""
    share = {}
    for name in REFUNDS:
        given = rest[name]
        share[name] = min(whole[name] if given is None else given, left[name])
        left[name] -= share[name]
        rest[name] = None if given is None else given - share[name]
    return share


def computed(order: Document, line: Document, units: int) -> dict[str, Decimal]:
    """The value of so many units of a line: each amount times units over its quantity, rounded half up; a tax inside an
    amount is given apart from it."""
    smallest = Decimal(1) if order["Currency"] in WITHOUT_CENTS else Decimal("0.01")

    def share(amount: Decimal | None) -> Decimal:
        exactly = (amount or ZERO) * units / line["Quantity"]
        return exactly.quantize(smallest, ROUND_HALF_UP).quantize(ZERO)

    goods = share((line.get("UnitPrice") or ZERO) * line["Quantity"])
    goods += share(line.get("GiftWrapAmount")) - share(line.get("DiscountAmount"))
    tax, shipping_tax = share(line.get("TaxAmount")), share(line.get("ShippingTaxAmount"))
    inside = [order.get(name) == rules.INSIDE for name in ("OrderTaxType", "ShippingTaxType")]
    return {
        "RefundAmount": goods - (tax if inside[0] else ZERO),
        "TaxRefund": tax + shipping_tax,
        "ShippingRefund": share(line.get("ShippingAmount")) - (shipping_tax if inside[1] else ZERO),
    }


def refundable(order: Document, line: Document, returns: Iterable[Document]) -> dict[str, Decimal]:
    """The money of a line that is left beside these returns. An amount that the site gives only for the whole order
    counts for any line."""
    limits = computed(order, line, line["Quantity"])
    beyond = {
        "TaxRefund": (("TotalTaxPrice", "TaxAmount"), ("TotalShippingTaxPrice", "ShippingTaxAmount")),
        "ShippingRefund": (("TotalShippingPrice", "ShippingAmount"),),
    }
    for name, pairs in beyond.items():
        for total, each in pairs:
            on_lines = sum((other.get(each) or ZERO for other in order["OrderItems"]), ZERO)
            limits[name] += max((order.get(total) or ZERO) - on_lines, ZERO)
    for returned in returns:
        for item in returned["Items"]:
            if item["OrderItemID"] == line["OrderItemID"]:
                for name in REFUNDS:
                    limits[name] -= item.get(name) or ZERO
    return {name: max(amount, ZERO) for name, amount in limits.items()}
