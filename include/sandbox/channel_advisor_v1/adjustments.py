"""Cancellations, refunds and decisions on returns: asked for by a client, worked on afterwards.

In: Adjust of an order or a line, ApproveReturn and its like. Out: 204; then the RequestStatus goes its steps by the
sandbox's clock, `STEP` each. Never: a request that is taken twice for one: a repeat adjusts again.

Units and amounts are the facade's: cancelled units of a line, or a return that begins as Approved and becomes Refunded.
With the setting `adjust: error` a request ends as Error and changes neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from sandbox.channel_advisor import repository, returns, rules, stock
from sandbox.channel_advisor.returns import FIRST_RETURN, REFUNDS
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import ZERO
from sandbox.channel_advisor_v1 import bodies, documents, orders
from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Face, Handler, Path
from sandbox.channel_advisor_v1.nodes import CANCELLATION, REQUEST, WHOLE, Reader
from sandbox.channel_advisor_v1.schema import parameters
from sandbox.kernel import clock
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Call

STEP = 30 * clock.SECOND
STEPS = {
    "adjust": ("SubmittedNotProcessed", "AcknowledgedPostProcessingNotComplete", "PostProcessingComplete"),
    "error": ("SubmittedNotProcessed", "Error"),
    "approve": ("ProcessingReturn", "ProcessedNotAcknowledged", "PostProcessingComplete"),
    "reject": ("ProcessingReturnRejection", "RejectionCompleted"),
}
AMOUNTS = {  # of the facade's return, and what they are made of
    "RefundAmount": ("ItemAdjustment", "GiftWrapAdjustment", "RecyclingFeeAdjustment"),
    "TaxRefund": ("TaxAdjustment", "ShippingTaxAdjustment", "GiftWrapTaxAdjustment"),
    "ShippingRefund": ("ShippingAdjustment",),
}
DECISIONS = {
    "ApproveBuyerRequest": ("Approve", ("NewRma",)),
    "RejectBuyerRequest": ("Reject", ("NewRma",)),
    "ApproveReturn": ("Approve", ("PendingReturn", "Received")),
    "RejectReturn": ("Reject", ("PendingReturn", "Received")),
}


def add(face: Face) -> None:
    """Adds the actions of adjustments."""
    table: dict[tuple[str, str, str], Handler] = {
        ("Orders", "POST", "Adjust"): partial(adjust_order, face),
        ("OrderItems", "POST", "Adjust"): partial(adjust_item, face),
    }
    for action in DECISIONS:
        table["OrderItemAdjustments", "POST", action] = partial(decide, face, action)
        table["OrderAdjustments", "POST", action] = partial(decide, face, action)
    face.actions |= table
    face.progress = partial(progress, face)


# ---- what is on its way ----
def progress(face: Face, now: int) -> None:
    """Takes the steps that are due."""
    with face.system.store.read() as tx:
        if not tx.page(REQUEST, limit=1, before=now + 1):
            return
    with face.system.store.write() as tx:
        for row in tx.page(REQUEST, limit=-1, before=now + 1):
            _step(tx, row, now)


def _step(tx: Transaction, row: Row, now: int) -> None:
    """All steps of one request that are due by now."""
    steps, at = STEPS[row.doc["Kind"]], row.modified
    number = row.doc["Step"]
    while number < len(steps) - 1 and at <= now:
        number += 1
        at += STEP
    status, done_at = steps[number], at - STEP
    kind, _, key = str(row.id).partition("/")
    if kind == "cancellation":
        cancellation = tx.get(CANCELLATION, int(key))
        if cancellation is not None:
            tx.put(CANCELLATION, int(key), cancellation.doc | {"RequestStatus": status}, modified=cancellation.modified)
    elif kind == "order":
        whole = tx.get(WHOLE, int(key))
        if whole is not None:
            fields = whole.doc["Fields"] | {"RequestStatus": status}
            tx.put(WHOLE, int(key), whole.doc | {"Fields": fields}, modified=whole.modified)
    elif number == len(steps) - 1:
        _end_return(tx, int(key), status, done_at)
    if number < len(steps) - 1:
        tx.put(REQUEST, row.id, row.doc | {"Step": number, "Status": status}, modified=at)
    elif status != "Error" or kind != "return":
        tx.delete(REQUEST, row.id)
    else:
        tx.put(REQUEST, row.id, row.doc | {"Step": number, "Status": status}, modified=clock.parse("9999-12-31"))


def _end_return(tx: Transaction, number: int, status: str, at: int) -> None:
    row = tx.get("return", number)
    if row is None:
        return
    at = max(at, row.modified + 1)
    if status == "PostProcessingComplete":
        after = row.doc | {"Status": "Refunded", "RefundDate": row.doc["RefundDate"] or clock.text(at)}
    elif status == "Error":
        after = row.doc | {"Status": "Closed"}
    else:
        return
    returns.take_in(tx, row.doc, repository.put_return(tx, after, at), at)


def _ask(face: Face, tx: Transaction, what: str, number: int, kind: str) -> None:
    """Begin a request: its first status now, the next one a step later."""
    due = face.system.clock.now() + STEP
    tx.put(REQUEST, f"{what}/{number}", {"Kind": kind, "Step": 0, "Status": STEPS[kind][0]}, modified=due)


def _kind(face: Face) -> str:
    return "error" if face.settings["adjust"] == "error" else "adjust"


# ---- cancellations and refunds ----
def adjust_item(face: Face, call: Call, path: Path) -> Answer:
    """Units that have not shipped are cancelled first, unless RefundOnly is said; the rest is refunded."""
    sent = bodies.of(parameters("OrderItems(ID)/Adjust"), bodies.read(call))
    with face.system.store.write() as tx:
        item = face.find(tx, call, path).values
        row = orders.order_of_number(tx, item["OrderID"])
        line = next(each for each in row.doc["OrderItems"] if each["OrderItemID"] == item["ID"])
        returned = returns.units_of(filter(returns.is_taken, returns.of_order(tx, int(row.id))))
        left = line["QuantityShipped"] - returned.get(line["OrderItemID"], 0)
        open = 0 if sent.get("RefundOnly") else rules.open_units(line)
        wanted = sent.get("Quantity")
        if wanted is None:
            wanted = 0 if _given(sent) and not open else open + left
        if wanted < 0 or wanted > open + left:
            raise bad(f"Quantity {wanted} exceeds the {open + left} units that can be adjusted.")
        if not wanted and not any(_given(sent).values()):
            raise bad("There is nothing left to adjust.")
        cancelled = min(wanted, open)
        if cancelled:
            _cancel(face, tx, row, {line["OrderItemID"]: cancelled}, sent)
        if wanted > cancelled or not wanted:
            again = orders.order_of_number(tx, item["OrderID"])
            items = [{"OrderItemID": line["OrderItemID"], "Quantity": wanted - cancelled} | _given(sent)]
            _refund(face, tx, again.doc, items, sent)
    return Answer(204)


def _given(sent: Document) -> Document:
    """The amounts of a refund that the client says, in the facade's three; what it leaves out is computed."""
    found = {}
    for name, parts in AMOUNTS.items():
        given = [sent[each] for each in parts if sent.get(each) is not None]
        if given:
            found[name] = sum(given, ZERO)
    return found


def adjust_order(face: Face, call: Call, path: Path) -> Answer:
    """Before anything has shipped the order is cancelled, afterwards it is refunded; AdjustmentAmount refunds so much
    money and no units."""
    sent = bodies.of(parameters("Orders(ID)/Adjust"), bodies.read(call))
    with face.system.store.write() as tx:
        row = orders.order_of(face, tx, call, path)
        order = row.doc
        open = {} if sent.get("RefundOnly") else rules.unshipped(order)
        if open:
            number = tx.next_number("ReturnID", FIRST_RETURN)
            fields = _whole_fields(order, sent, number, clock.text(face.system.clock.now()))
            if _kind(face) == "adjust":
                _put_cancelled(face, tx, row, open)
            doc = {"OrderID": order["ChannelAdvisorOrderID"], "Return": None, "Fields": fields}
            tx.put(WHOLE, number, doc, modified=face.system.clock.now())
            _ask(face, tx, "order", number, _kind(face))
            return Answer(204)
        made = _refund(face, tx, order, _whole_items(tx, order, sent.get("AdjustmentAmount")), sent)
        doc = {"OrderID": order["ChannelAdvisorOrderID"], "Return": made["ReturnID"], "Fields": {}}
        tx.put(WHOLE, made["ReturnID"], doc, modified=face.system.clock.now())
    return Answer(204)


def _whole_fields(order: Document, sent: Document, number: int, now: str) -> Document:
    return documents.neutral("OrderAdjustment") | {
        "CreatedSource": "Api",
        "LastUpdatedSource": "Api",
        "ID": number,
        "ProfileID": order["ProfileID"],
        "OrderID": order["ChannelAdvisorOrderID"],
        "IsRestock": bool(sent.get("Restock")),
        "Reason": sent.get("Reason") or "GeneralAdjustment",
        "ItemAdjustment": order.get("TotalPrice"),
        "Type": "Cancellation",
        "SellerAdjustmentID": sent.get("SellerAdjustmentID"),
        "CreatedDateUtc": now,
        "RequestStatus": "SubmittedNotProcessed",
    }


def _whole_items(tx: Transaction, order: Document, amount: Any) -> list[Document]:
    """All that has shipped and is in no return; or so much money of it, line by line."""
    taken = [each for each in returns.of_order(tx, order["ChannelAdvisorOrderID"]) if returns.is_taken(each)]
    units = returns.units_of(taken)
    if amount is None:
        left = {line["OrderItemID"]: line["QuantityShipped"] for line in order["OrderItems"]}
        left = {key: shipped - units.get(key, 0) for key, shipped in left.items()}
        return [{"OrderItemID": key, "Quantity": count} for key, count in left.items() if count > 0]
    items = []
    for line in order["OrderItems"]:
        rest = returns.refundable(order, line, taken)
        share = {}
        for name in REFUNDS:
            share[name] = min(rest[name], amount)
            amount -= share[name]
        if any(share.values()):
            items.append({"OrderItemID": line["OrderItemID"], "Quantity": 0} | share)
    if amount > 0:
        raise bad(f"AdjustmentAmount is {amount} more than the order has left.")
    return items


def _refund(face: Face, tx: Transaction, order: Document, items: Iterable[Document], sent: Document) -> Document:
    """A return of the facade that begins approved; with the setting `adjust: error` one that nobody ever approves."""
    number = order["ChannelAdvisorOrderID"]
    restock = bool(sent.get("Restock"))
    found = returns.items_of(order, [item | {"Restock": restock} for item in items], returns.of_order(tx, number))
    if not found:
        raise bad("There is nothing left to adjust.")
    opened = {
        "SellerAdjustmentID": sent.get("SellerAdjustmentID"),
        "Status": "Approved" if _kind(face) == "adjust" else "NewRma",
        "Reason": sent.get("Reason") or "GeneralAdjustment",
        "Items": found,
    }
    at = face.system.clock.now()
    made = repository.put_return(tx, returns.whole(tx, order, opened), at)
    returns.take_in(tx, None, made, at)
    _ask(face, tx, "return", made["ReturnID"], _kind(face))
    return made


def _cancel(face: Face, tx: Transaction, row: Row, units: dict[int, int], sent: Document) -> None:
    """One cancellation for each line."""
    order = row.doc
    now = clock.text(face.system.clock.now())
    for line in order["OrderItems"]:
        count = units.get(line["OrderItemID"])
        if not count:
            continue
        number = tx.next_number("ReturnID", FIRST_RETURN)
        values = documents.cancellation(order, line, count, now) | {
            "ID": number,
            "CreatedSource": "Api",
            "LastUpdatedSource": "Api",
            "Reason": sent.get("Reason") or "GeneralAdjustment",
            "SellerAdjustmentID": sent.get("SellerAdjustmentID"),
            "IsRestock": bool(sent.get("Restock")),
            "RequestStatus": "SubmittedNotProcessed",
        }
        tx.put(CANCELLATION, number, values, modified=face.system.clock.now())
        _ask(face, tx, "cancellation", number, _kind(face))
    if _kind(face) == "adjust":
        _put_cancelled(face, tx, row, units)


def _put_cancelled(face: Face, tx: Transaction, row: Row, units: dict[int, int]) -> None:
    """The facade's order without these units."""
    order = row.doc
    if order["DistributionCenterTypeRollup"] == "ExternallyManaged":
        raise Conflict("", f"The marketplace ships order {row.id}.")
    items = [
        line | {"QuantityCancelled": line["QuantityCancelled"] + units.get(line["OrderItemID"], 0)}
        for line in order["OrderItems"]
    ]
    after = order | {"OrderItems": items}
    if not rules.unshipped(after):
        any_shipped = any(line["QuantityShipped"] for line in items)
        after = rules.with_status(after, "Shipped" if any_shipped else "Cancelled")
    at = orders.moment(face.system, row)
    stock.follow(tx, repository.put_order(tx, after, at), at)


# ---- decisions ----
def decide(face: Face, action: str, call: Call, path: Path) -> Answer:
    """Approve or reject what a buyer asks for. All lines of the return go with the one that is named."""
    name = f"OrderItemAdjustments(ID)/{action}" if action.endswith("Return") else ""
    sent = bodies.read(call)
    if name and path.source is not None and path.source.name == "OrderItemAdjustments":
        sent = bodies.of(parameters("OrderItemAdjustments(ID)/ApproveReturn|RejectReturn"), sent)
    elif sent:
        raise bad("The request is invalid. This action has no parameters.")
    with face.system.store.write() as tx:
        adjustment = face.find(tx, call, path).values
        row = _return_of(face, tx, adjustment)
        decision, statuses = DECISIONS[action]
        if row is None or row.doc["Status"] not in statuses or tx.get(REQUEST, f"return/{row.id}"):
            raise bad(f"{action} is not possible: the adjustment is {adjustment['RequestStatus']}.")
        at = max(face.system.clock.now(), row.modified + 1)
        after = repository.put_return(tx, row.doc | {"Status": returns.DECISIONS[decision]}, at)
        returns.take_in(tx, row.doc, after, at)
        _ask(face, tx, "return", int(row.id), decision.lower())
    return Answer(204)


def _return_of(face: Face, tx: Transaction, adjustment: Document) -> Row | None:
    if adjustment["Type"] != "Refund":
        return None
    reader = Reader(tx, face.memory.numbers)
    for row in tx.rows("return", order=adjustment["OrderID"]):
        if row.id == adjustment["ID"] or any(
            each.values["ID"] == adjustment["ID"] for each in reader.refunds(row, None)
        ):
            return row
    return None
