"""Invoices of shipped units: posted whole or not at all, voided while nothing is paid or credited.

In: calls on /ar/invoices. Out: invoices whose totals hold to 0.00, and the order's invoiced units. Never: more units
than are shipped, more shipping, gift wrap or tax than the order has; a change of what was posted.

Beside an invoice the server keeps `void`: when and why it was voided.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from sandbox.kernel.contract import shown as quoted
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.tims import automatic, documents, orders, rules
from sandbox.tims.call import Call, found, location, save, shown
from sandbox.tims.documents import objects
from sandbox.tims.ledger import check_open
from sandbox.tims.problems import Errors, invalid_state

LIMITED = ("ShippingAmount", "GiftWrapAmount", "TaxTotal")  # over all invoices, what the order has
DEFAULTS: dict[str, Any] = {
    "PricesIncludeTax": False, "ShippingDiscountAmount": "0.00", "ShippingTaxAmount": "0.00",
    "ShippingTaxRemittedBy": "Seller", "GiftWrapAmount": "0.00",
}  # fmt: skip


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*documents.key_terms(doc), *((name, doc[name]) for name in ("SalesOrderID", "ShipmentID", "Status"))]


def list_invoices(call: Call) -> Answer:
    return call.page("invoice", call.where("SalesOrderID", "ShipmentID", "Status", "ExternalReference", "Source"))


def get_invoice(call: Call) -> Answer:
    return found(call.row("invoice", "invoice", call.request.path["id"]))


# ---- posting ----
def create_invoice(call: Call) -> Answer:
    documents.refuse_taken(call.tx, "invoice", call.body)
    errors = call.errors("Invoice")
    order = check(call.tx, errors, call.body) if isinstance(call.body, dict) else None
    errors.refuse()
    doc = post(call.tx, order, call.body, call.now, "external")
    return shown(doc, 201, location("ar/invoices", doc["InvoiceID"]))


def check(tx: Transaction, errors: Errors, body: dict[str, Any]) -> Row | None:
    """Checks an invoice for all rules beyond its schema. Returns the order that it names."""
    rules.currency(errors, body)
    check_open(tx, errors, "/PostingDate", body.get("PostingDate"))
    lines = objects(body, "Lines")
    parts = [rules.part(errors, f"/Lines/{n}", line, rules.goods(line, "UnitPrice")) for n, line in lines]
    rules.receivable_totals(errors, body, parts)
    order = documents.named(tx, errors, "/SalesOrderID", "order", "sales order", body.get("SalesOrderID"))
    if order is None:
        return None
    terms_as(errors, body, order.doc, "order")
    _check_shipment(tx, errors, body, order.doc)
    _check_lines(errors, lines, order.doc)
    _check_charges(tx, errors, body, order.doc)
    return order


def terms_as(errors: Errors, body: dict[str, Any], other: dict[str, Any], what: str) -> None:
    """Currency and tax rule must be those of the document that is invoiced or credited."""
    if isinstance(body.get("CurrencyCode"), str) and body["CurrencyCode"] != other["CurrencyCode"]:
        text = f"Given {body['CurrencyCode'][:9]}; the {what} is in {other['CurrencyCode']}."
        errors.add("/CurrencyCode", "CURRENCY_MISMATCH", text)
    if body.get("PricesIncludeTax", False) != other["PricesIncludeTax"]:
        errors.add("/PricesIncludeTax", "INVALID_VALUE", f"The {what} says {other['PricesIncludeTax']}.")


def _check_shipment(tx: Transaction, errors: Errors, body: dict[str, Any], order: dict[str, Any]) -> None:
    shipment = documents.named(tx, errors, "/ShipmentID", "shipment", "shipment", body.get("ShipmentID"))
    if shipment and shipment.doc["SalesOrderID"] != order["SalesOrderID"]:
        text = f"The shipment {shipment.id} is of {shipment.doc['SalesOrderID']}."
        errors.add("/ShipmentID", "UNKNOWN_REFERENCE", text)


def _check_lines(errors: Errors, lines: list[tuple[int, dict[str, Any]]], order: dict[str, Any]) -> None:
    existing = {line["LineNo"]: line for line in order["LineItems"]}
    billed: Counter[int] = Counter()
    for n, line in lines:
        number, sku, units = line.get("SalesOrderLineNo"), line.get("SKU"), line.get("Quantity")
        if type(number) is not int:
            continue
        if number not in existing:
            errors.add(f"/Lines/{n}/SalesOrderLineNo", "UNKNOWN_REFERENCE", f"The order has no line {number}.")
            continue
        if isinstance(sku, str) and sku and sku != existing[number]["SKU"]:
            text = f"Given {quoted(sku)}; the line is {quoted(existing[number]['SKU'])}."
            errors.add(f"/Lines/{n}/SKU", "INVALID_VALUE", text)
        billed[number] += units if type(units) is int else 0
        shipped = existing[number]["QuantityShipped"] - existing[number]["QuantityInvoiced"]
        if billed[number] > shipped:
            text = f"Given {billed[number]}; {shipped} units are shipped and not invoiced."
            errors.add(f"/Lines/{n}/Quantity", "OVER_INVOICED", text)


def _check_charges(tx: Transaction, errors: Errors, body: dict[str, Any], order: dict[str, Any]) -> None:
    others = [row.doc for row in tx.rows("invoice", SalesOrderID=order["SalesOrderID"])]
    for name in LIMITED:
        now, most = rules.amount(body.get(name, "0.00")), Decimal(order[name])
        left = most - sum(Decimal(doc[name]) for doc in others if doc["Status"] != "Voided")
        if now is not None and now > left:
            errors.add(f"/{name}", "OVER_INVOICED", f"Given {now}; of the order's {most}, {left} is left.")


def post(tx: Transaction, order: Row | None, body: dict[str, Any], at: int, mode: str) -> dict[str, Any]:
    """Write an invoice that has been checked, and count its units on the order."""
    assert order is not None
    id = f"INV-{tx.next_number('invoice', 30001)}"
    sent = documents.given(body, id)
    lines = [
        {"LineNo": n, "DiscountAmount": "0.00", "TaxRemittedBy": "Seller"} | line
        for n, line in enumerate(body["Lines"], 1)
    ]
    doc = {
        "InvoiceID": id, "ShipmentID": None, "CustomerID": order.doc["CustomerID"], "DueDate": sent["InvoiceDate"],
        **DEFAULTS, **sent, "Lines": lines, "AmountPaid": "0.00", "Balance": sent["Total"],
        "Status": "Posted" if Decimal(sent["Total"]) else "Paid", "PostingMode": mode,
    }  # fmt: skip
    documents.keep(tx, "invoice", id, doc, at)
    orders.count(tx, order, "QuantityInvoiced", _units(lines), at)
    if mode == "automatic":
        automatic.invoiced(tx, doc, at)
    return doc


def _units(lines: list[dict[str, Any]], sign: int = 1) -> Counter[int]:
    units: Counter[int] = Counter()
    for line in lines:
        units[line["SalesOrderLineNo"]] += sign * line["Quantity"]
    return units


# ---- voiding ----
def void_invoice(call: Call) -> Answer:
    row = call.row("invoice", "invoice", call.request.path["id"])
    need_voidable(call.tx, row.doc)
    errors = call.errors("VoidRequest")
    documents.check_end(call.tx, errors, call.body, row.doc)
    errors.refuse()
    return shown(void(call.tx, row, call.body, call.now))


def need_voidable(tx: Transaction, doc: dict[str, Any]) -> None:
    """409 unless nothing is paid or credited."""
    if doc["Status"] == "Voided" or Decimal(doc["AmountPaid"]) or tx.rows("credit_memo", InvoiceID=doc["InvoiceID"]):
        raise invalid_state("An invoice that is voided, paid or credited cannot be voided", doc["Status"], [])


def void(tx: Transaction, row: Row, body: dict[str, Any], at: int) -> dict[str, Any]:
    """Take an invoice back: its units may be invoiced again."""
    doc = row.doc | {"Status": "Voided", "Balance": "0.00"}
    save(tx, "invoice", row.id, doc, at, {"void": {"PostingDate": body["PostingDate"], "Reason": body["Reason"]}})
    order = tx.get("order", doc["SalesOrderID"])
    assert order is not None
    orders.count(tx, order, "QuantityInvoiced", _units(doc["Lines"], -1), at)
    if doc["PostingMode"] == "automatic":
        automatic.undone(tx, "Invoice", str(row.id), body["PostingDate"], body["Reason"], at)
    return doc
