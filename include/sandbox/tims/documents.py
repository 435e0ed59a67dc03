"""The common parts of posted documents: a permanent reference, a dated period, an end by void or reversal.

In: bodies whose shape may be broken. Out: errors with pointers, rows that a body names. Never: an exception on a broken
shape; a second document under one (Source, ExternalReference).
"""

from __future__ import annotations

from typing import Any

from sandbox.kernel.contract import shown as quoted
from sandbox.kernel.store import Row, Transaction
from sandbox.tims import ledger
from sandbox.tims.call import reference, save
from sandbox.tims.problems import Errors, duplicate

TIMS = "TIMS"  # Source of documents that did not come through the API


def key_terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("ExternalReference", doc["ExternalReference"]), ("Source", doc["Source"])]


def refuse_taken(tx: Transaction, kind: str, body: Any) -> None:
    """409 when another document of the kind has the reference."""
    key = reference(body, "ExternalReference")
    if key is not None and (existing := tx.owner(kind, key)) is not None:
        raise duplicate(kind.replace("_", " "), "/ExternalReference", existing)


def keep(
    tx: Transaction, kind: str, id: str, doc: dict[str, Any], at: int, extra: dict[str, Any] | None = None
) -> None:
    """Write a new document and take its reference."""
    tx.reserve(kind, str(reference(doc, "ExternalReference")), id)
    save(tx, kind, id, doc, at, extra)


def given(body: dict[str, Any], id: str) -> dict[str, Any]:
    """The given fields of a body, without nulls; a document of TIMS's own has its id as reference."""
    sent = {name: value for name, value in body.items() if value is not None}
    return {"ExternalReference": id, "Source": TIMS} | sent


def named(tx: Transaction, errors: Errors, pointer: str, kind: str, what: str, id: Any) -> Row | None:
    """The row that a field names; an error when there is none. A field that is not an id is skipped."""
    if not isinstance(id, str) or not id:
        return None
    row = tx.get(kind, id)
    if row is None:
        errors.add(pointer, "UNKNOWN_REFERENCE", f"There is no {what} {quoted(id)}.")
    return row


def objects(body: dict[str, Any], name: str) -> list[tuple[int, dict[str, Any]]]:
    """The members of an array that are objects, with their positions."""
    members = body.get(name)
    return [(n, each) for n, each in enumerate(members) if isinstance(each, dict)] if isinstance(members, list) else []


def check_end(tx: Transaction, errors: Errors, body: Any, doc: dict[str, Any]) -> None:
    """The date of a void or of a payment's reversal: an open day, not before the document's."""
    day = body.get("PostingDate") if isinstance(body, dict) else None
    if not isinstance(day, str) or not ledger.is_day(day):
        return
    if day < doc["PostingDate"]:
        text = f"Given {day}; the document is dated {doc['PostingDate']}."
        errors.add("/PostingDate", "INVALID_VALUE", text)
    ledger.check_open(tx, errors, "/PostingDate", day)


def reversal_date(tx: Transaction, errors: Errors, body: Any, doc: dict[str, Any]) -> str | None:
    """When a reversal is posted: as asked for, else the day of the original, or the next open one."""
    day = body.get("PostingDate") if isinstance(body, dict) else None
    if day is not None:
        ledger.check_open(tx, errors, "/PostingDate", day)
        return str(day)
    opens = ledger.next_open_date(tx, doc["PostingDate"])
    if opens is None:
        errors.add("/PostingDate", "PERIOD_CLOSED", f"No period from {doc['PostingDate']} on is open.")
    return opens
