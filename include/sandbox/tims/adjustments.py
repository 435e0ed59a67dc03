"""Stock adjustments and counts: what comes to and goes from stock without a shipment.

In: calls on /inventory/adjustments, counts of one SKU at one location. Out: adjustments, moved stock. Never: an
adjustment of a kit, a second reversal, a count that moves stock without an adjustment.
"""

from __future__ import annotations

from typing import Any

from sandbox.kernel.contract import shown as quoted
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.store import Transaction
from sandbox.tims import automatic, documents, items
from sandbox.tims.call import Call, found, location, save, shown
from sandbox.tims.ledger import check_open, today
from sandbox.tims.problems import Errors, invalid_state, not_found
from sandbox.tims.stock import Stock


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*documents.key_terms(doc), *((name, doc[name]) for name in ("SKU", "ReasonCode", "LocationID"))]


def list_adjustments(call: Call) -> Answer:
    return call.page("adjustment", call.where("SKU", "ReasonCode", "LocationID", "ExternalReference", "Source"))


def get_adjustment(call: Call) -> Answer:
    return found(call.row("adjustment", "adjustment", call.request.path["id"]))


# ---- posting ----
def create_adjustment(call: Call) -> Answer:
    documents.refuse_taken(call.tx, "adjustment", call.body)
    errors = call.errors("Adjustment")
    if isinstance(call.body, dict):
        check(call.tx, errors, call.body, call.now)
    errors.refuse()
    doc = post(call.tx, call.body, call.now, "external")
    return shown(doc, 201, location("inventory/adjustments", doc["AdjustmentID"]))


def check(tx: Transaction, errors: Errors, body: dict[str, Any], now: int) -> None:
    """Checks an adjustment for all rules beyond its schema."""
    sku, day = body.get("SKU"), body.get("PostingDate")
    if isinstance(sku, str) and sku:
        _check_item(tx, errors, sku)
    documents.named(tx, errors, "/LocationID", "location", "location", body.get("LocationID"))
    check_open(tx, errors, "/PostingDate", today(tx, now) if day is None else day)


def _check_item(tx: Transaction, errors: Errors, sku: str) -> None:
    row = tx.get("item", sku)
    kind = row.doc["Type"] if row else None
    if kind is None:
        errors.add("/SKU", "UNKNOWN_SKU", f"No item has the SKU {quoted(sku)}.")
    elif kind == "Kit":
        errors.add("/SKU", "KIT_QUANTITY_COMPUTED", f"{quoted(sku)} is a kit; adjust its parts.")
    elif kind != "Inventory":
        errors.add("/SKU", "INVALID_VALUE", f"No stock is kept for an item of Type {kind}.")


def post(tx: Transaction, body: dict[str, Any], at: int, mode: str, **more: Any) -> dict[str, Any]:
    """Write an adjustment that has been checked, and move the stock. `more`: what only TIMS says about it."""
    id = f"ADJ-{tx.next_number('adjustment', 60001)}"
    held = Stock(tx)
    held.change(body["SKU"], body["LocationID"], on_hand=body["QuantityDelta"])
    held.flush(at)
    doc = {
        "AdjustmentID": id, "UnitCost": held.item(body["SKU"])["Cost"], "PostingDate": today(tx, at), "Memo": None,
        **documents.given(body, id), "ReversalOf": None, "ReversedBy": None, "Status": "Posted",
        "PostingMode": mode, **more,
    }  # fmt: skip
    documents.keep(tx, "adjustment", id, doc, at)
    if mode == "automatic":
        automatic.adjusted(tx, doc, at)
    return doc


# ---- reversing ----
def reverse_adjustment(call: Call) -> Answer:
    row = call.row("adjustment", "adjustment", call.request.path["id"])
    documents.refuse_taken(call.tx, "adjustment", call.body)
    old = row.doc
    if old["Status"] == "Reversed" or old["ReversalOf"]:
        raise invalid_state("A reversal, or an adjustment that has one, cannot be reversed", old["Status"], [])
    errors = call.errors("ReverseRequest")
    day = documents.reversal_date(call.tx, errors, call.body, old)
    errors.refuse()
    body = {name: old[name] for name in ("SKU", "LocationID", "ReasonCode", "UnitCost")}
    body |= {name: call.body[name] for name in ("ExternalReference", "Source")}
    body |= {"QuantityDelta": -old["QuantityDelta"], "PostingDate": day, "Memo": call.body["Reason"]}
    doc = post(call.tx, body, call.now, "external", ReversalOf=row.id)
    save(call.tx, "adjustment", row.id, old | {"Status": "Reversed", "ReversedBy": doc["AdjustmentID"]}, call.now)
    return shown(doc, 201, location("inventory/adjustments", doc["AdjustmentID"]))


# ---- counts ----
def put_count(call: Call) -> Answer:
    sku = call.request.path["sku"]
    item = call.tx.get("item", sku)
    if item is None:
        raise not_found("item", sku)
    if item.doc["Type"] not in items.STOCKED:
        raise Refusal(404, "NOT_STOCKED", f"No stock is kept for an item of Type {item.doc['Type']}.")
    call.row("quantity", "quantity", sku)
    errors = call.errors("CountRequest")
    if item.doc["Type"] == "Kit":
        errors.add("", "KIT_QUANTITY_COMPUTED", f"{quoted(sku)} is a kit; count its parts.")
    delta = _difference(call, errors, sku) if isinstance(call.body, dict) else 0
    errors.refuse()
    if delta:
        body = {"SKU": sku, "LocationID": call.body["LocationID"], "QuantityDelta": delta, "ReasonCode": "Count"}
        post(call.tx, body | {"Memo": call.body.get("Memo")}, call.now, "external")
    return items.quantity_answer(call, sku)


def _difference(call: Call, errors: Errors, sku: str) -> int:
    """The difference between the count and OnHand; it is dated today."""
    place, counted = call.body.get("LocationID"), call.body.get("OnHand")
    existing = documents.named(call.tx, errors, "/LocationID", "location", "location", place)
    if existing is None or type(counted) is not int:
        return 0
    delta = counted - int(Stock(call.tx).place(sku, place)["OnHand"])
    if delta:
        check_open(call.tx, errors, "", today(call.tx, call.now))
    return delta
