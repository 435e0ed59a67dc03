"""Sales orders: created whole or not at all, changed under If-Match, cancelled, held, released.

In: calls on /sales-orders. Out: orders whose status follows from their lines and the hold flag. Never: an order whose
totals do not hold to 0.00, a LineNo used twice, an effect on a stale version.

Beside an order the server keeps `origin`, `held`, `last_line`, `looked` (stock was looked for), `alloc` (what each line
holds, by LineNo) and `reasons`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.kernel.contract import shown as quoted
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.store import Row, Transaction
from sandbox.tims import rules, stock
from sandbox.tims.call import Call, found, location, patched, reference, save, shown
from sandbox.tims.problems import Error, Errors, duplicate, invalid_state, not_found
from sandbox.tims.stock import Stock

ALLOWED = {
    "Open": ("patch", "cancel", "cancelLine", "hold", "ship"),
    "OnHold": ("patch", "cancel", "cancelLine", "release"),
    "Allocated": ("patch", "cancel", "cancelLine", "hold", "ship"),
    "PartiallyFulfilled": ("patch", "cancelLine", "hold", "ship"),
    "Fulfilled": (),
    "Cancelled": (),
    "Closed": (),
}
_ALWAYS = {"PaymentStatus", "Notes"}
_DEFAULTS: dict[str, Any] = {
    "PricesIncludeTax": False, "BillingAddress": None, "ShippingDiscountAmount": "0.00", "ShippingTaxAmount": "0.00",
    "ShippingTaxRemittedBy": "Seller", "GiftWrapAmount": "0.00", "Notes": None,
}  # fmt: skip
_DONE = {"QuantityShipped": 0, "QuantityInvoiced": 0, "QuantityCancelled": 0, "QuantityReturned": 0}


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, doc[name]) for name in ("ExternalOrderID", "Source", "CustomerID", "OrderStatus")]


def open_units(line: dict[str, Any]) -> int:
    return line["Quantity"] - line["QuantityShipped"] - line["QuantityCancelled"]


def status(doc: dict[str, Any], extra: dict[str, Any], held: Stock) -> str:
    """The status that the lines and the hold flag give."""
    lines = doc["LineItems"]
    shipped = any(line["QuantityShipped"] for line in lines)
    if not any(open_units(line) for line in lines):
        invoiced = all(line["QuantityInvoiced"] == line["QuantityShipped"] for line in lines)
        return ("Closed" if invoiced else "Fulfilled") if shipped else "Cancelled"
    if extra["held"]:
        return "OnHold"
    if shipped:
        return "PartiallyFulfilled"
    if extra["looked"] and not lacking(doc, extra, held):
        return "Allocated"
    return "Open"


def lacking(doc: dict[str, Any], extra: dict[str, Any], held: Stock) -> list[str]:
    """The stocked SKUs (of kits: their parts) of which open units have no stock."""
    skus: set[str] = set()
    for line in doc["LineItems"]:
        has = extra["alloc"].get(str(line["LineNo"]), {"units": 0})["units"]
        if open_units(line) > has:
            skus |= set(held.parts(line["SKU"]))
    return sorted(skus)


def allowed(doc: dict[str, Any]) -> tuple[str, ...]:
    actions = ALLOWED[doc["OrderStatus"]]
    if any(line["QuantityShipped"] for line in doc["LineItems"]):
        return tuple(action for action in actions if action != "cancel")
    return actions


def need(doc: dict[str, Any], action: str, what: str) -> None:
    """409 unless the order accepts the action."""
    if action not in allowed(doc):
        raise invalid_state(what, doc["OrderStatus"], allowed(doc))


# ---- reading ----
def list_orders(call: Call) -> Answer:
    return call.page("order", call.where("ExternalOrderID", "OrderStatus", "CustomerID", "Source"))


def get_order(call: Call) -> Answer:
    return found(_row(call))


def _row(call: Call) -> Row:
    return call.row("order", "sales order", call.request.path["id"])


# ---- creating ----
def create_order(call: Call) -> Answer:
    body = call.body
    key = reference(body, "ExternalOrderID")
    if key is not None and (existing := call.tx.owner("order", key)) is not None:
        raise duplicate("order", "/ExternalOrderID", existing)
    errors = call.errors("SalesOrder")
    if isinstance(body, dict):
        _check_customer(call.tx, errors, body.get("CustomerID"))
        _check_terms(errors, body)
        _check_lines(call, errors, body, existing={})
        rules.totals(errors, body)
    errors.refuse()
    id = f"SO-{call.tx.next_number('order', 100001)}"
    given = {name: value for name, value in body.items() if value is not None}
    held = given.pop("OrderStatus", "Open") == "OnHold"
    lines = [_line(n, line) for n, line in enumerate(body["LineItems"], 1)]
    doc = {"SalesOrderID": id, **_DEFAULTS, **given, "LineItems": lines, "OrderStatus": "OnHold" if held else "Open"}
    extra = {"origin": "external", "held": held, "looked": False, "last_line": len(lines), "alloc": {}, "reasons": []}
    call.tx.reserve("order", str(reference(doc, "ExternalOrderID")), id)
    save(call.tx, "order", id, doc, call.now, extra)
    stock.wait(call.tx, id, call.now)
    return shown(doc, 201, location("sales-orders", id))


def _line(number: int, line: dict[str, Any], done: dict[str, int] = _DONE) -> dict[str, Any]:
    filled = {"DiscountAmount": "0.00", "TaxRemittedBy": "Seller"} | line
    return {"LineNo": number, **filled, **done, "KitParentSKU": line.get("KitParentSKU")}


def _check_customer(tx: Transaction, errors: Errors, id: Any) -> None:
    if not isinstance(id, str) or not id:
        return
    row = tx.get("customer", id)
    if row is None:
        errors.add("/CustomerID", "UNKNOWN_CUSTOMER", f"There is no customer {quoted(id)}.")
    elif row.doc["Status"] != "Active":
        errors.add("/CustomerID", "CUSTOMER_INACTIVE", f"The customer {id} is {row.doc['Status']}.")


def _check_terms(errors: Errors, body: dict[str, Any]) -> None:
    rules.currency(errors, body)
    rules.country(errors, "/ShippingAddress", body.get("ShippingAddress"))
    rules.country(errors, "/BillingAddress", body.get("BillingAddress"))


def _check_lines(call: Call, errors: Errors, body: dict[str, Any], existing: dict[str, dict[str, Any]]) -> None:
    """SKUs and line ids. An `existing` line (by ExternalLineID) may keep an item that was blocked since."""
    rules.line_ids(errors, body)
    for n, line in rules.lines_of(body):
        old = existing.get(str(line.get("ExternalLineID")), {})
        for name in ("SKU", "KitParentSKU"):
            sku = line.get(name)
            if not isinstance(sku, str) or not sku:
                continue
            state = call.system.item_status(call.tx, sku)
            if state is None:
                errors.add(f"/LineItems/{n}/{name}", "UNKNOWN_SKU", f"No item has the SKU {quoted(sku)}.")
            elif state == "Blocked" and name == "SKU" and old.get("SKU") != sku:
                errors.add(f"/LineItems/{n}/SKU", "ITEM_BLOCKED", f"The item {quoted(sku)} is blocked.")
        if old.get("QuantityInvoiced") and rules.amount(line.get("Price")) not in (None, rules.amount(old["Price"])):
            errors.add(f"/LineItems/{n}/Price", "INVALID_VALUE", f"The line is invoiced at {old['Price']}.")


# ---- changing ----
def update_order(call: Call) -> Answer:
    row = _row(call)
    body = call.body
    old, extra = row.doc, row.extra
    if isinstance(body, dict) and not set(body) <= _ALWAYS:
        need(old, "patch", "Only PaymentStatus and Notes may change")
    existing = {line["ExternalLineID"]: line for line in old["LineItems"]}
    if isinstance(body, dict):
        _refuse_below_shipped(body, existing)
    errors = call.errors("SalesOrder")
    if isinstance(body, dict):
        _check_terms(errors, body)
        _check_lines(call, errors, body, existing)
        rules.totals(errors, patched(old, body))
    errors.refuse()
    doc = {**old, "BillingAddress": None, "Notes": None, **patched(old, body)}
    if "LineItems" in body:
        doc["LineItems"] = _replaced(body["LineItems"], existing, extra)
    if doc == old:
        return shown(old)
    _settle_lines(call, doc, extra, row)
    return shown(doc)


def _refuse_below_shipped(body: dict[str, Any], existing: dict[str, dict[str, Any]]) -> None:
    """409 when a line would hold less than what is shipped or cancelled, is removed, or becomes another item."""
    if not isinstance(body.get("LineItems"), list):
        return
    given = {str(line.get("ExternalLineID")): (n, line) for n, line in rules.lines_of(body)}
    errors = []
    for id, old in existing.items():
        done = old["QuantityShipped"] + old["QuantityCancelled"]
        n, line = given.get(id, (None, {}))
        quantity = line.get("Quantity")
        if not done:
            continue
        if n is None:
            text = f"The line {quoted(id)} cannot go: {done} units are shipped or cancelled."
            errors.append(Error("/LineItems", "QTY_BELOW_SHIPPED", text))
        elif type(quantity) is int and quantity < done:
            text = f"Given {quantity}; {done} units are shipped or cancelled."
            errors.append(Error(f"/LineItems/{n}/Quantity", "QTY_BELOW_SHIPPED", text))
        elif line.get("SKU") != old["SKU"]:
            text = f"The line is {quoted(old['SKU'])}, and {done} of its units are shipped or cancelled."
            errors.append(Error(f"/LineItems/{n}/SKU", "QTY_BELOW_SHIPPED", text))
    if errors:
        raise Refusal(409, "QTY_BELOW_SHIPPED", f"{len(errors)} lines are below what is done.", findings=errors)


def _replaced(lines: list[dict[str, Any]], existing: dict[str, dict[str, Any]], extra: dict[str, Any]) -> list[dict]:
    """The new set of lines: known ones keep LineNo and shipped and cancelled quantities, new ones get the next
    LineNo."""
    result = []
    for line in lines:
        old = existing.get(line["ExternalLineID"])
        if old is None:
            extra["last_line"] += 1
        number = old["LineNo"] if old else extra["last_line"]
        result.append(_line(number, line, {name: old[name] for name in _DONE} if old else _DONE))
    return sorted(result, key=lambda line: line["LineNo"])


def _settle_lines(call: Call, doc: dict[str, Any], extra: dict[str, Any], row: Row) -> None:
    """Writes a changed order: releases excess stock of its lines, sets its status, looks for stock again."""
    held = Stock(call.tx)
    lines = {str(line["LineNo"]): line for line in doc["LineItems"]}
    skus = {str(line["LineNo"]): line["SKU"] for line in row.doc["LineItems"]}
    for number in list(extra["alloc"]):
        line = lines.get(number)
        if line is None or skus.get(number) != line["SKU"]:
            held.release(extra["alloc"].pop(number))
        elif extra["alloc"][number]["units"] > open_units(line):
            keep(held, extra, line, open_units(line))
    doc["OrderStatus"] = status(doc, extra, held)
    save(call.tx, "order", row.id, doc, call.now, extra)
    _look_again(call, doc, extra, held, str(row.id))


def keep(held: Stock, extra: dict[str, Any], line: dict[str, Any], units: int) -> None:
    """Releases the stock that a line holds beyond `units`."""
    number = str(line["LineNo"])
    held.release(extra["alloc"].pop(number, None))
    if units > 0:
        extra["alloc"][number] = held.reserve(line["SKU"], units)


def _look_again(call: Call, doc: dict[str, Any], extra: dict[str, Any], held: Stock, id: str) -> None:
    if lacking(doc, extra, held):
        stock.wait(call.tx, id, call.now)
    else:
        for kind in ("_waiting", "_backorder"):
            call.tx.delete(kind, id)
        if not extra["looked"] and doc["OrderStatus"] in ("Open", "OnHold"):
            stock.wait(call.tx, id, call.now)
    held.flush(call.now)


# ---- actions ----
def cancel_order(call: Call) -> Answer:
    row = _row(call)
    need(row.doc, "cancel", "The order cannot be cancelled")
    call.errors("ReasonRequest").refuse()
    lines = [line | {"QuantityCancelled": line["Quantity"]} for line in row.doc["LineItems"]]
    return _changed(call, row, lines, row.extra)


def cancel_line(call: Call) -> Answer:
    row = _row(call)
    number = call.request.path["LineNo"]
    line = next((line for line in row.doc["LineItems"] if line["LineNo"] == number), None)
    if line is None:
        raise not_found(f"line of {row.id} with LineNo", number)
    need(row.doc, "cancelLine", "No line can be cancelled")
    errors = call.errors("CancelLineRequest")
    units = call.body.get("Quantity") if isinstance(call.body, dict) else None
    if type(units) is int and units > open_units(line):
        errors.add("/Quantity", "OVER_CANCELLED", f"Given {units}; {open_units(line)} units are open.")
    errors.refuse()
    fewer = line | {"QuantityCancelled": line["QuantityCancelled"] + call.body["Quantity"]}
    return _changed(call, row, [fewer if each is line else each for each in row.doc["LineItems"]], row.extra)


def hold_order(call: Call) -> Answer:
    row = _row(call)
    need(row.doc, "hold", "The order cannot be held")
    call.errors("ReasonRequest").refuse()
    return _changed(call, row, row.doc["LineItems"], row.extra | {"held": True})


def release_order(call: Call) -> Answer:
    row = _row(call)
    need(row.doc, "release", "The order is not on hold")
    errors = Errors()
    for name in call.body if isinstance(call.body, dict) else []:
        errors.add(f"/{name}", "UNKNOWN_FIELD", f"{name} is not in the contract: a release has no body.")
    errors.refuse()
    return _changed(call, row, row.doc["LineItems"], row.extra | {"held": False})


def _changed(call: Call, row: Row, lines: list[dict[str, Any]], extra: dict[str, Any]) -> Answer:
    doc = row.doc | {"LineItems": lines}
    if isinstance(call.body, dict) and call.body.get("Reason"):
        extra["reasons"] = [*extra["reasons"], [call.now, call.request.operation.id, call.body["Reason"]]]
    _settle_lines(call, doc, extra, row)
    return shown(doc)


# ---- effects of invoices and credits ----
def count(tx: Transaction, row: Row, name: str, units: Mapping[int, int], at: int) -> None:
    """Add units, by LineNo, to a quantity of an order's lines; its status follows."""
    for line in row.doc["LineItems"]:
        line[name] += units.get(line["LineNo"], 0)
    row.doc["OrderStatus"] = status(row.doc, row.extra, Stock(tx))
    save(tx, "order", row.id, row.doc, at, row.extra)


# ---- TIMS's own work ----
def allocate(tx: Transaction, now: int) -> None:
    """Give stock to the orders that wait for it, the oldest first."""
    held = Stock(tx)
    for waiting in tx.page("_waiting", limit=-1):
        tx.delete("_waiting", waiting.id)
        row = tx.get("order", waiting.id)
        if row is None:
            continue
        doc, extra = row.doc, row.extra | {"looked": True}
        for line in doc["LineItems"]:
            has = extra["alloc"].get(str(line["LineNo"]), {"units": 0})["units"]
            if open_units(line) > has and held.stocked(line["SKU"]):
                keep(held, extra, line, open_units(line))
        if missing := lacking(doc, extra, held):
            stock.wait_for(tx, str(row.id), missing, waiting.modified)
        now_is = status(doc, extra, held)
        if now_is == doc["OrderStatus"]:
            tx.put("order", row.id, doc, modified=row.modified, extra=extra)
        else:
            save(tx, "order", row.id, doc | {"OrderStatus": now_is}, now, extra)
    held.flush(now)
