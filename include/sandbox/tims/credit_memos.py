"""Credit memos against invoices: posted whole or not at all, with the goods back into stock when it is asked for.

In: calls on /ar/credit-memos. Out: credit memos whose totals hold to 0.00, restocking adjustments, the order's returned
units. Never: more credited than invoiced, by line and in all; a change of the invoice's balance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.tims import adjustments, costs, documents, orders, rules
from sandbox.tims.call import Call, found, location, shown
from sandbox.tims.documents import objects
from sandbox.tims.invoices import DEFAULTS, terms_as
from sandbox.tims.ledger import check_open
from sandbox.tims.problems import Errors, invalid_state
from sandbox.tims.stock import Stock

_HEAD = ("ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount", "Total")
_LINE = ("Quantity", "Amount", "DiscountAmount", "TaxAmount")


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*documents.key_terms(doc), ("InvoiceID", doc["InvoiceID"])]


def list_credit_memos(call: Call) -> Answer:
    return call.page("credit_memo", call.where("InvoiceID", "ExternalReference", "Source"))


def get_credit_memo(call: Call) -> Answer:
    return found(call.row("credit_memo", "credit memo", call.request.path["id"]))


# ---- posting ----
def create_credit_memo(call: Call) -> Answer:
    tx, body = call.tx, call.body
    documents.refuse_taken(tx, "credit_memo", body)
    id = body.get("InvoiceID") if isinstance(body, dict) else None
    invoice = tx.get("invoice", id) if isinstance(id, str) else None
    if invoice and invoice.doc["Status"] == "Voided":
        raise invalid_state(f"The invoice {invoice.id} cannot be credited", "Voided", [])
    errors = call.errors("CreditMemo")
    if isinstance(body, dict):
        _check(tx, errors, body, invoice)
    errors.refuse()
    assert invoice is not None
    doc = _post(tx, invoice.doc, body, call.now)
    return shown(doc, 201, location("ar/credit-memos", doc["CreditMemoID"]))


def _check(tx: Transaction, errors: Errors, body: dict[str, Any], invoice: Row | None) -> None:
    rules.currency(errors, body)
    check_open(tx, errors, "/PostingDate", body.get("PostingDate"))
    documents.named(tx, errors, "/LocationID", "location", "location", body.get("LocationID"))
    if body.get("Restock") is True and body.get("LocationID") is None:
        errors.add("/LocationID", "MISSING_FIELD", "LocationID is required when Restock is true.")
    if invoice is None:
        documents.named(tx, errors, "/InvoiceID", "invoice", "invoice", body.get("InvoiceID"))
    remitted = {line["LineNo"]: line["TaxRemittedBy"] for line in invoice.doc["Lines"]} if invoice else {}
    lines = [(n, _remitted(line, remitted)) for n, line in objects(body, "Lines")]
    parts = [rules.part(errors, f"/Lines/{n}", line, rules.amount(line.get("Amount"))) for n, line in lines]
    rules.receivable_totals(errors, body, parts)
    if body.get("Total") == "0.00":
        errors.add("/Total", "INVALID_AMOUNT", "The total must be above 0.00.")
    if invoice is not None:
        terms_as(errors, body, invoice.doc, "invoice")
        _check_credited(tx, errors, body, lines, invoice.doc)


def _remitted(line: dict[str, Any], of_invoice: dict[int, str]) -> dict[str, Any]:
    """A line with who remits its tax: by default as on the invoice line."""
    number = line.get("InvoiceLineNo")
    usual = of_invoice.get(number, "Seller") if type(number) is int else "Seller"
    return {"TaxRemittedBy": usual} | line


def _check_credited(
    tx: Transaction, errors: Errors, body: dict[str, Any], lines: list[tuple[int, dict[str, Any]]], doc: dict[str, Any]
) -> None:
    """Checks that no figure, over all credit memos of an invoice, is above the invoice's own."""
    left = {line["LineNo"]: _invoiced(line) for line in doc["Lines"]}
    header = {name: Decimal(doc[name]) for name in _HEAD}
    for other in tx.rows("credit_memo", InvoiceID=doc["InvoiceID"]):
        for name in _HEAD:
            header[name] -= Decimal(other.doc[name])
        for line in other.doc["Lines"]:
            for name, value in _figures(line):
                left[line["InvoiceLineNo"]][name] -= value
    for n, line in lines:
        number = line.get("InvoiceLineNo")
        if type(number) is int and number not in left:
            text = f"The invoice has no line {number}."
            errors.add(f"/Lines/{n}/InvoiceLineNo", "UNKNOWN_REFERENCE", text)
        elif type(number) is int:
            for name, value in _figures(line):
                _need_left(errors, f"/Lines/{n}/{name}", value, left[number][name])
                left[number][name] -= value
    for name in _HEAD:
        credited = rules.amount(body.get(name, "0.00"))
        if credited is not None:
            _need_left(errors, f"/{name}", credited, header[name])


def _need_left(errors: Errors, pointer: str, value: Decimal, left: Decimal) -> None:
    if value > left:
        errors.add(pointer, "OVER_CREDITED", f"Given {value}; {max(left, Decimal(0))} of the invoice is left.")


def _invoiced(line: dict[str, Any]) -> dict[str, Decimal]:
    goods = rules.round2(line["Quantity"] * Decimal(line["UnitPrice"]))
    return dict(_figures(line)) | {"Amount": goods}


def _figures(line: dict[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """The figures of a line that are well formed."""
    for name in _LINE:
        value = line.get(name, "0.00" if name == "DiscountAmount" else None)
        figure = Decimal(value) if name == "Quantity" and type(value) is int else rules.amount(value)
        if figure is not None:
            yield name, figure


def _post(tx: Transaction, invoice: dict[str, Any], body: dict[str, Any], at: int) -> dict[str, Any]:
    id = f"CM-{tx.next_number('credit_memo', 4001)}"
    shipped = costs.shipped(tx, invoice["SalesOrderID"], invoice["ShipmentID"])
    sold = {line["LineNo"]: line for line in invoice["Lines"]}
    remitted = {number: line["TaxRemittedBy"] for number, line in sold.items()}
    lines = []
    for n, each in enumerate(body["Lines"], 1):
        line = sold[each["InvoiceLineNo"]]
        cost = shipped[line["SalesOrderLineNo"]]
        filled = {"DiscountAmount": "0.00"} | _remitted(each, remitted)
        lines.append({"LineNo": n, **filled, "SKU": line["SKU"], "UnitCost": cost})
    sent = documents.given(body, id)
    doc = {
        "CreditMemoID": id, "SalesOrderID": invoice["SalesOrderID"], "CustomerID": invoice["CustomerID"],
        "LocationID": None, "Memo": None, **DEFAULTS, **sent, "Lines": lines, "AmountSettled": "0.00",
        "Balance": sent["Total"], "AdjustmentIDs": [], "Status": "Posted", "PostingMode": "external",
    }  # fmt: skip
    if sent["Restock"]:
        doc["AdjustmentIDs"] = [id for line in lines for id in _restock(tx, doc, line, at)]
    documents.keep(tx, "credit_memo", id, doc, at)
    order = tx.get("order", invoice["SalesOrderID"])
    assert order is not None
    units: Counter[int] = Counter()
    for line in lines:
        units[sold[line["InvoiceLineNo"]]["SalesOrderLineNo"]] += line["Quantity"]
    orders.count(tx, order, "QuantityReturned", units, at)
    return doc


def _restock(tx: Transaction, doc: dict[str, Any], line: dict[str, Any], at: int) -> Iterator[str]:
    """Puts goods back into stock at the cost of their shipment. A kit comes back as its parts, at the parts' own cost.
    Items without stock, and lines without units, do not come back."""
    held = Stock(tx)
    for sku, each in held.parts(line["SKU"]).items() if line["Quantity"] else ():
        cost = line["UnitCost"] if sku == line["SKU"] else held.item(sku)["Cost"]
        body = {
            "SKU": sku, "LocationID": doc["LocationID"], "QuantityDelta": each * line["Quantity"], "UnitCost": cost,
            "ReasonCode": "ReturnRestock", "PostingDate": doc["PostingDate"],
            "Memo": f"Credit memo {doc['CreditMemoID']}",
        }  # fmt: skip
        yield adjustments.post(tx, body, at, doc["PostingMode"])["AdjustmentID"]
