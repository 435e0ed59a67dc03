"""Customers: identity by (Source, ID), changes, erasure.

In: calls on /customers. Out: customers. Never: one (Source, ID) on two customers, not even after it was taken away.
"""

from __future__ import annotations

from typing import Any

from sandbox.kernel.http import Answer
from sandbox.kernel.store import Transaction
from sandbox.tims import rules
from sandbox.tims.call import Call, found, location, patched, save, shown
from sandbox.tims.problems import Errors, duplicate, invalid_state

_DEFAULTS: dict[str, Any] = {
    "FirstName": None, "LastName": None, "Company": None, "Email": None, "Phone": None, "BillingAddress": None,
    "ShippingAddresses": [], "TaxExempt": False,
}  # fmt: skip
_PERSONAL = ("FirstName", "LastName", "Company", "Email", "Phone", "BillingAddress")
_UNFINISHED = ("Open", "OnHold", "Allocated", "PartiallyFulfilled")


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    ids = [(each["Source"], each["ID"]) for each in doc["ExternalIDs"]]
    pairs = [("ExternalID", id) for _, id in ids] + [("Source", source) for source, _ in ids]
    pairs += [("Pair", _key(source, id)) for source, id in ids]
    email = (doc.get("Email") or "").casefold() or None
    return [*pairs, ("Email", email), ("Status", doc["Status"]), ("CustomerCode", doc["CustomerCode"])]


def _key(source: str, id: str) -> str:
    return f"{source}\x00{id}"


def list_customers(call: Call) -> Answer:
    query = call.request.query
    where = call.where("Status", "ExternalID", "Source")
    if "ExternalID" in where and "Source" in where:
        source = query["Source"]
        where = call.where("Status") | {"Pair": [_key(source, id) for id in query["ExternalID"]]}
    if "Email" in query:
        where["Email"] = [query["Email"].casefold()]
    return call.page("customer", where)


def get_customer(call: Call) -> Answer:
    return found(call.row("customer", "customer", call.request.path["id"]))


def create_customer(call: Call) -> Answer:
    body = call.body
    _refuse_taken(call.tx, body, own=None)
    errors = call.errors("CustomerCreate")
    _check(call.tx, errors, body, own=None)
    errors.refuse()
    number = call.tx.next_number("customer", 20001)
    while call.tx.get("customer", f"C-{number}"):
        number = call.tx.next_number("customer", 20001)
    given = {name: value for name, value in body.items() if value is not None}
    doc = {"CustomerID": f"C-{number}", "CustomerCode": f"C{number}", **_DEFAULTS, **given, "Status": "Active"}
    put(call.tx, doc, call.now)
    return shown(doc, 201, location("customers", doc["CustomerID"]))


def update_customer(call: Call) -> Answer:
    row = call.row("customer", "customer", call.request.path["id"])
    if row.doc["Status"] == "Erased":
        raise invalid_state("An erased customer cannot be changed", "Erased", [])
    _refuse_taken(call.tx, call.body, own=row.id)
    errors = call.errors("Customer")
    _check(call.tx, errors, call.body, own=row.id)
    errors.refuse()
    doc = {**dict.fromkeys(row.doc), **_DEFAULTS, **patched(row.doc, call.body)}
    if doc != row.doc:
        put(call.tx, doc, call.now)
    return shown(doc)


def erase_customer(call: Call) -> Answer:
    row = call.row("customer", "customer", call.request.path["id"])
    orders = call.tx.rows("order", CustomerID=row.id)
    if row.doc["Status"] == "Erased":
        raise invalid_state("The customer is erased", "Erased", [])
    if unfinished := [order.doc["OrderStatus"] for order in orders if order.doc["OrderStatus"] in _UNFINISHED]:
        raise invalid_state(f"An order of the customer is {unfinished[0]}", row.doc["Status"], [])
    call.errors("EraseRequest").refuse()
    doc = row.doc | dict.fromkeys(_PERSONAL) | {"Name": "Erased", "ExternalIDs": [], "ShippingAddresses": []}
    doc["Status"] = "Erased"
    put(call.tx, doc, call.now)
    for order in orders:
        addresses = {name: _erased(order.doc[name]) for name in ("ShippingAddress", "BillingAddress")}
        save(call.tx, "order", order.id, order.doc | addresses | {"Notes": None}, call.now, order.extra)
    return shown(doc)


def _erased(address: dict[str, Any] | None) -> dict[str, Any] | None:
    if address is None:
        return None
    kept = {name: address[name] for name in ("Region", "CountryCode") if name in address}
    erased: dict[str, Any] = {"Name": "Erased", "Line1": "Erased", "City": "Erased"}
    return erased | dict.fromkeys(("Company", "Line2", "PostalCode")) | kept


def put(tx: Transaction, doc: dict[str, Any], at: int) -> None:
    """Write a customer and take its external ids for ever."""
    for each in doc["ExternalIDs"]:
        tx.reserve("customer", _key(each["Source"], each["ID"]), doc["CustomerID"])
    save(tx, "customer", doc["CustomerID"], doc, at)


def owners(tx: Transaction, doc: Any) -> list[tuple[int, str]]:
    """Which of a document's external ids belong to whom: (position, CustomerID)."""
    ids = doc.get("ExternalIDs") if isinstance(doc, dict) else None
    taken = []
    for n, each in enumerate(ids if isinstance(ids, list) else []):
        if isinstance(each, dict) and isinstance(each.get("Source"), str) and isinstance(each.get("ID"), str):
            owner = tx.owner("customer", _key(each["Source"], each["ID"]))
            taken += [(n, str(owner))] if owner is not None else []
    return taken


def _refuse_taken(tx: Transaction, body: Any, own: object) -> None:
    for n, owner in owners(tx, body):
        if owner != own:
            raise duplicate("customer", f"/ExternalIDs/{n}/ID", owner)


def _check(tx: Transaction, errors: Errors, body: Any, own: object) -> None:
    if not isinstance(body, dict):
        return
    rules.currency(errors, body)
    rules.country(errors, "/BillingAddress", body.get("BillingAddress"))
    addresses = body.get("ShippingAddresses")
    for n, address in enumerate(addresses if isinstance(addresses, list) else []):
        rules.country(errors, f"/ShippingAddresses/{n}", address)
    ids = body.get("ExternalIDs")
    seen = []
    for n, each in enumerate(ids if isinstance(ids, list) else []):
        if each in seen:
            errors.add(f"/ExternalIDs/{n}", "INVALID_VALUE", "The same id is given twice.")
        seen.append(each)
    code = body.get("CustomerCode")
    if isinstance(code, str) and any(row.id != own for row in tx.rows("customer", CustomerCode=code)):
        errors.add("/CustomerCode", "INVALID_VALUE", f"The code {code[:20]} belongs to another customer.")
