"""Payments and what they are applied to: invoices are paid, credit memos are paid out.

In: calls on /ar/payments. Out: payments, and the balances and statuses of the documents that they settle. Never: more
applied than a balance or the payment holds; a payment that is changed other than by its one reversal.

Beside a payment the server keeps `reversal`: why it was reversed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.tims import documents, rules
from sandbox.tims.call import Call, found, location, save, shown
from sandbox.tims.documents import objects
from sandbox.tims.ledger import base_currency, check_account, check_open
from sandbox.tims.problems import Errors, invalid_state

_ZERO = Decimal("0.00")


class Settled(NamedTuple):
    """How a kind of document is settled: its sum, its statuses, and the sign of money applied to it."""

    kind: str
    what: str
    amount: str
    partly: str
    whole: str
    sign: int


SETTLED = {
    "InvoiceID": Settled("invoice", "invoice", "AmountPaid", "PartiallyPaid", "Paid", 1),
    "CreditMemoID": Settled("credit_memo", "credit memo", "AmountSettled", "PartiallyApplied", "Applied", -1),
}


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    applied = [("InvoiceID", each["InvoiceID"]) for each in doc["Applications"] if "InvoiceID" in each]
    return [*documents.key_terms(doc), ("Status", doc["Status"]), *applied]


def list_payments(call: Call) -> Answer:
    return call.page("payment", call.where("InvoiceID", "Status", "ExternalReference", "Source"))


def get_payment(call: Call) -> Answer:
    return found(call.row("payment", "payment", call.request.path["id"]))


# ---- posting ----
def create_payment(call: Call) -> Answer:
    tx, body = call.tx, call.body
    documents.refuse_taken(tx, "payment", body)
    errors = call.errors("Payment")
    if isinstance(body, dict):
        _check(tx, errors, body)
    errors.refuse()
    id = f"PAY-{tx.next_number('payment', 9001)}"
    sent = documents.given(body, id)
    applied = sum((Decimal(each["Amount"]) for each in sent["Applications"]), _ZERO)
    rest = Decimal(sent["Amount"]) - applied or _ZERO
    doc = {
        "PaymentID": id, "ExchangeRate": "1.0", **sent, "UnappliedAmount": f"{rest:.2f}", "ReversalPostingDate": None,
        "Status": "Posted" if rest else "Applied", "PostingMode": "external",
    }  # fmt: skip
    documents.keep(tx, "payment", id, doc, call.now)
    _apply_parts(tx, doc, 1, call.now)
    return shown(doc, 201, location("ar/payments", id))


def _check(tx: Transaction, errors: Errors, body: dict[str, Any]) -> None:
    rules.currency(errors, body)
    check_open(tx, errors, "/PostingDate", body.get("PostingDate"))
    check_account(tx, errors, "/BankAccountCode", body.get("BankAccountCode"))
    currency = body.get("CurrencyCode")
    if isinstance(currency, str) and body.get("ExchangeRate") is None and currency != base_currency(tx):
        errors.add("/ExchangeRate", "MISSING_FIELD", f"ExchangeRate is required in {currency[:9]}.")
    applications = objects(body, "Applications")
    seen: set[tuple[str, str]] = set()
    for n, each in applications:
        for name, settled in SETTLED.items():
            id = each.get(name)
            if isinstance(id, str):
                if (name, id) in seen:
                    errors.add(f"/Applications/{n}/{name}", "INVALID_VALUE", f"{id[:40]} is named twice.")
                seen.add((name, id))
                _check_application(tx, errors, f"/Applications/{n}", each, name, settled, currency)
    _check_sum(errors, body, [rules.signed(each.get("Amount")) for _, each in applications])


def _check_application(
    tx: Transaction, errors: Errors, at: str, each: dict[str, Any], name: str, settled: Settled, currency: Any
) -> None:
    """Checks the settled document and the amount applied to it."""
    part = rules.signed(each.get("Amount"))
    if part is not None and part * settled.sign <= 0:
        side = "above" if settled.sign > 0 else "below"
        errors.add(f"{at}/Amount", "INVALID_AMOUNT", f"Given {part}; it must be {side} 0.00 for a {settled.what}.")
    row = documents.named(tx, errors, f"{at}/{name}", settled.kind, settled.what, each[name])
    if row is None:
        return
    if isinstance(currency, str) and currency != row.doc["CurrencyCode"]:
        text = f"Given {currency[:9]}; {row.id} is in {row.doc['CurrencyCode']}."
        errors.add(f"{at}/{name}", "CURRENCY_MISMATCH", text)
    if part is not None and part * settled.sign > Decimal(row.doc["Balance"]):
        errors.add(f"{at}/Amount", "OVERAPPLIED", f"Given {part}; the balance of {row.id} is {row.doc['Balance']}.")


def _check_sum(errors: Errors, body: dict[str, Any], parts: list[Decimal | None]) -> None:
    """Checks the unapplied rest: it must have the payment's sign, and be 0.00 for a payment of 0.00."""
    amount, existing = rules.signed(body.get("Amount")), [part for part in parts if part is not None]
    if amount is None or len(existing) != len(parts):
        return
    rest = amount - sum(existing, _ZERO)
    if rest * amount < 0 or (rest and not amount):
        errors.add("/Applications", "OVERAPPLIED", f"The payment is {amount}; {rest} would be left.")


def _apply_parts(tx: Transaction, doc: dict[str, Any], way: int, at: int) -> None:
    """Apply a payment to its documents, or (`way` -1) take it back from them."""
    for each in doc["Applications"]:
        for name, settled in SETTLED.items():
            if name in each:
                row = tx.get(settled.kind, each[name])
                assert row is not None
                _apply(tx, row, settled, way * settled.sign * Decimal(each["Amount"]), at)


def _apply(tx: Transaction, row: Row, settled: Settled, part: Decimal, at: int) -> None:
    paid = Decimal(row.doc[settled.amount]) + part
    balance = Decimal(row.doc["Total"]) - paid
    status = settled.whole if not balance else settled.partly if paid else "Posted"
    doc = row.doc | {settled.amount: f"{paid:.2f}", "Balance": f"{balance:.2f}", "Status": status}
    save(tx, settled.kind, row.id, doc, at, row.extra)


# ---- reversing ----
def reverse_payment(call: Call) -> Answer:
    row = call.row("payment", "payment", call.request.path["id"])
    if row.doc["Status"] == "Reversed":
        raise invalid_state("The payment is reversed", "Reversed", [])
    errors = call.errors("VoidRequest")
    documents.check_end(call.tx, errors, call.body, row.doc)
    errors.refuse()
    doc = row.doc | {"Status": "Reversed", "ReversalPostingDate": call.body["PostingDate"]}
    save(call.tx, "payment", row.id, doc, call.now, {"reversal": {"Reason": call.body["Reason"]}})
    _apply_parts(call.tx, row.doc, -1, call.now)
    return shown(doc)
