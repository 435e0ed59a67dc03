"""Journal entries: posted when they balance, final from then on, mirrored once; the trial balance is their sum.

In: calls on /gl/entries and /gl/trial-balance. Out: entries, balances per account of one currency. Never: an entry
whose debit and credit differ, on an account or in a period that takes none; a change of what was posted.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec

from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.tims import documents, ledger, rules
from sandbox.tims.call import Call, found, location, save, shown
from sandbox.tims.documents import objects
from sandbox.tims.problems import Errors, invalid_state

_NOTHING = "0.00"


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    accounts = [("AccountCode", line["AccountCode"]) for line in doc["Lines"]]
    own = [("Period", doc["Period"]), ("SourceDocumentID", doc["SourceDocument"]["ID"])]
    return [*documents.key_terms(doc), *own, *accounts]


def list_entries(call: Call) -> Answer:
    names = ("Period", "AccountCode", "SourceDocumentID", "ExternalReference", "Source")
    return call.page("entry", call.where(*names))


def get_entry(call: Call) -> Answer:
    return found(call.row("entry", "journal entry", call.request.path["id"]))


# ---- posting ----
def create_entry(call: Call) -> Answer:
    documents.refuse_taken(call.tx, "entry", call.body)
    errors = call.errors("Entry")
    if isinstance(call.body, dict):
        _check(call.tx, errors, call.body)
    errors.refuse()
    doc = post(call.tx, call.body, call.now)
    return shown(doc, 201, location("gl/entries", doc["EntryID"]))


def _check(tx: Transaction, errors: Errors, body: dict[str, Any]) -> None:
    rules.currency(errors, body)
    ledger.check_open(tx, errors, "/PostingDate", body.get("PostingDate"))
    lines = objects(body, "Lines")
    numbers = [line["LineNo"] for _, line in lines if type(line.get("LineNo")) is int]
    if len(numbers) == len(lines) and sorted(numbers) != list(range(1, len(lines) + 1)):
        errors.add("/Lines", "INVALID_VALUE", f"LineNo must be 1 to {len(lines)}, each once.")
    sums: list[tuple[Decimal, Decimal]] = []
    for n, line in lines:
        ledger.check_account(tx, errors, f"/Lines/{n}/AccountCode", line.get("AccountCode"))
        debit, credit = rules.amount(line.get("Debit")), rules.amount(line.get("Credit"))
        if debit is None or credit is None:
            continue
        sums.append((debit, credit))
        if (debit > 0) == (credit > 0):
            text = f"Debit {debit}, credit {credit}: exactly one must be above 0.00."
            errors.add(f"/Lines/{n}", "INVALID_AMOUNT", text)
    debits, credits = (sum((pair[i] for pair in sums), Decimal(_NOTHING)) for i in (0, 1))
    if len(sums) == len(lines) and debits != credits:
        errors.add("/Lines", "UNBALANCED", f"Debit {debits}, credit {credits}: they differ by {abs(debits - credits)}.")


def post(tx: Transaction, body: dict[str, Any], at: int, **more: Any) -> dict[str, Any]:
    """Write an entry that balances. `more`: what only TIMS says about it."""
    id = f"GL-{tx.next_number('entry', 500001)}"
    sent = documents.given(body, id)
    doc = {
        "EntryID": id, "OriginalEventDate": None, **sent, "Period": sent["PostingDate"][:7],
        "Lines": sorted(sent["Lines"], key=lambda line: line["LineNo"]),
        "ReversalOf": None, "ReversedBy": None, "Status": "Posted", **more,
    }  # fmt: skip
    documents.keep(tx, "entry", id, doc, at)
    return doc


# ---- reversing ----
def reverse_entry(call: Call) -> Answer:
    row = call.row("entry", "journal entry", call.request.path["id"])
    documents.refuse_taken(call.tx, "entry", call.body)
    if row.doc["Status"] == "Reversed" or row.doc["ReversalOf"]:
        raise invalid_state("A mirror, or an entry that has one, cannot be reversed", row.doc["Status"], [])
    errors = call.errors("ReverseRequest")
    day = documents.reversal_date(call.tx, errors, call.body, row.doc)
    for line in row.doc["Lines"]:
        ledger.check_account(call.tx, errors, "", line["AccountCode"])
    errors.refuse()
    key = {name: call.body[name] for name in ("ExternalReference", "Source")}
    doc = reverse(call.tx, row, key, str(day), call.body["Reason"], call.now)
    return shown(doc, 201, location("gl/entries", doc["EntryID"]))


def reverse(tx: Transaction, row: Row, key: dict[str, str], day: str, reason: str, at: int) -> dict[str, Any]:
    """The mirror of an entry: debit and credit exchanged."""
    old = row.doc
    moved = day > old["PostingDate"] and ledger.next_open_date(tx, old["PostingDate"]) != old["PostingDate"]
    body = {name: old[name] for name in ("SourceDocument", "CurrencyCode")} | key
    lines = [line | {"Debit": line["Credit"], "Credit": line["Debit"]} for line in old["Lines"]]
    body |= {"PostingDate": day, "Description": reason, "Lines": lines}
    body |= {"OriginalEventDate": old["PostingDate"]} if moved else {}
    doc = post(tx, body, at, ReversalOf=row.id)
    save(tx, "entry", row.id, old | {"Status": "Reversed", "ReversedBy": doc["EntryID"]}, at)
    return doc


# ---- trial balance ----
class _Line(msgspec.Struct):
    AccountCode: str
    Debit: str
    Credit: str


class _Entry(msgspec.Struct):
    """The fields of an entry that the trial balance adds up."""

    PostingDate: str
    CurrencyCode: str
    Lines: list[_Line]


_entry = msgspec.json.Decoder(_Entry).decode


def trial_balance(call: Call) -> Answer:
    query, tx = call.request.query, call.tx
    until = query.get("AsOf") or ledger.today(tx, call.now)
    currency = query.get("CurrencyCode") or ledger.base_currency(tx)
    cents: Counter[str] = Counter()
    for row in tx.page("entry", limit=-1):
        entry = _entry(row.raw)
        if entry.CurrencyCode == currency and entry.PostingDate <= until:
            for line in entry.Lines:
                cents[line.AccountCode] += _cents(line.Debit) - _cents(line.Credit)
    names = {str(row.id): row.doc["Name"] for row in tx.page("account", limit=-1)}
    lines = [
        {"AccountCode": code, "Name": names[code], "Debit": _money(balance), "Credit": _money(-balance)}
        for code, balance in sorted(cents.items())
    ]
    sides = [sum(balance for balance in cents.values() if balance > 0), -sum(b for b in cents.values() if b < 0)]
    body = {"AsOf": until, "CurrencyCode": currency, "Lines": lines}
    return Answer(200, body | {"TotalDebit": _money(sides[0]), "TotalCredit": _money(sides[1])})


def _cents(amount: str) -> int:
    return int(amount.replace(".", ""))


def _money(cents: int) -> str:
    """An amount, 0.00 when the balance is on the other side."""
    whole, rest = divmod(max(0, cents), 100)
    return f"{whole}.{rest:02d}"
