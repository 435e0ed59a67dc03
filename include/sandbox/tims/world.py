"""Takes in what happens to TIMS outside its API: items, counts, customers, periods, accounts as people and warehouses
enter them, and documents that people type in (PostingMode automatic) or void.

In: events of the world. Out: documents that are valid by the contract. Never: a document that breaks its read schema,
or a rule that the API enforces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.kernel import clock
from sandbox.kernel.contract import Contract
from sandbox.kernel.http import Refusal
from sandbox.kernel.store import Transaction
from sandbox.tims import adjustments, customers, documents, invoices, ledger, stock
from sandbox.tims.call import reference, save, stamp
from sandbox.tims.items import STOCKED
from sandbox.tims.problems import Errors
from sandbox.tims.stock import Stock

Event = dict[str, Any]


def _valid(contract: Contract, schema: str, doc: dict[str, Any]) -> None:
    if broken := contract.findings(schema, doc):
        raise ValueError(f"{broken[0].pointer or '/'}: {broken[0].message}")


def put_item(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """An item, whole. A stocked one gets a quantity, a kit's is computed from its parts."""
    sku, parts = doc["SKU"], doc["KitComponents"]
    for other in doc["AlternateSKUs"]:
        if any(row.id != sku for row in tx.rows("item", SKU=other)):
            raise ValueError(f"the alternate {other} belongs to another item")
    for part in parts:
        row = tx.get("item", part["SKU"])
        if row is None or row.doc["Type"] != "Inventory":
            raise ValueError(f"the kit's part {part['SKU']} is no item that keeps stock; apply parts before kits")
    old = tx.get("item", sku)
    version = old.doc["RowVersion"] + 1 if old else 1
    full = doc | {"RowVersion": version, "ModifiedAt": clock.text(stamp(at))}
    _valid(contract, "Item", full)
    tx.put("item", sku, full, modified=stamp(at))
    if doc["Type"] == "Kit":
        Stock(tx).refresh_kit(sku, at)
    elif doc["Type"] in STOCKED and tx.get("quantity", sku) is None:
        stock.write(tx, {"SKU": sku, "Locations": []}, at)


def put_quantity(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """OnHand and Incoming by location, absolute; a location that is not named keeps its figures."""
    row = tx.get("item", doc["SKU"])
    if row is None or row.doc["Type"] != "Inventory":
        raise ValueError(f"{doc['SKU']} is no item that keeps stock")
    held = Stock(tx)
    for given in doc["Locations"]:
        location = given["LocationID"]
        if tx.get("location", location) is None:
            put_location(tx, contract, {"LocationID": location}, at)
        place = held.place(doc["SKU"], location)
        place["Incoming"] = given.get("Incoming", place["Incoming"])
        held.change(doc["SKU"], location, on_hand=given["OnHand"] - place["OnHand"])
    held.flush(at)
    written = tx.get("quantity", doc["SKU"])
    if written:
        _valid(contract, "Quantity", written.doc | {"AsOf": clock.text(stamp(at))})


def put_customer(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """A customer, whole; its external ids must be free or its own."""
    id = doc["CustomerID"]
    if taken := [owner for _, owner in customers.owners(tx, doc) if owner != id]:
        raise ValueError(f"an external id of {id} belongs to {taken[0]}")
    old = tx.get("customer", id)
    full = doc | ({name: old.doc[name] for name in ("RowVersion", "CreatedAt")} if old else {})
    moment = clock.text(stamp(at))
    _valid(contract, "Customer", {"RowVersion": 1, "CreatedAt": moment, **full, "ModifiedAt": moment})
    customers.put(tx, full, at)


def put_company(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    _valid(contract, "Company", doc)
    tx.put("company", "company", doc, modified=stamp(at))


def put_location(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    if broken := contract.findings("LocationID", doc["LocationID"]):
        raise ValueError(broken[0].message)
    tx.put("location", doc["LocationID"], {"LocationID": doc["LocationID"]}, modified=stamp(at))


def put_period(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """{"Period": "2011-01", "Status": "Closed"}"""
    for name, schema in (("Period", "PeriodKey"), ("Status", "PeriodStatus")):
        if broken := contract.findings(schema, doc[name]):
            raise ValueError(broken[0].message)
    old = tx.get("period", doc["Period"])
    if old and old.doc["Status"] == "Closed" and doc["Status"] != "Closed":
        raise ValueError(f"the period {doc['Period']} is Closed and never opens again")
    ledger.put_period(tx, doc["Period"], doc["Status"], stamp(at), clock.text(stamp(at)))


def correct_shipment(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """{"ShipmentID", and any of Carrier, ServiceLevel, TrackingNumber, TrackingURL}: what was typed wrongly."""
    row = tx.get("shipment", doc["ShipmentID"])
    if row is None:
        raise ValueError(f"there is no shipment {doc['ShipmentID']}")
    changes = {name: doc[name] for name in ("Carrier", "ServiceLevel", "TrackingNumber", "TrackingURL") if name in doc}
    full = row.doc | changes
    _valid(contract, "Shipment", full)
    save(tx, "shipment", row.id, full, at, row.extra)


def put_account(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """{"AccountCode": "6190", "Blocked": true}: a change of an account, or a new one whole."""
    old = tx.get("account", doc["AccountCode"])
    full = {"Blocked": False} | (old.doc if old else {}) | doc | {"ModifiedAt": clock.text(stamp(at))}
    _valid(contract, "Account", full)
    tx.put("account", doc["AccountCode"], full, modified=stamp(at))


# ---- documents that people type into TIMS, which posts them itself ----
def type_invoice(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """The fields of InvoiceCreate; ExternalReference and Source are TIMS's own when they are not given."""
    _need_whole(tx, contract, "invoice", "InvoiceCreate", doc)
    errors = Errors()
    order = invoices.check(tx, errors, doc)
    _accept(errors)
    invoices.post(tx, order, doc, at, "automatic")


def type_adjustment(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """The fields of AdjustmentCreate; ExternalReference and Source are TIMS's own when they are not given."""
    _need_whole(tx, contract, "adjustment", "AdjustmentCreate", doc)
    errors = Errors()
    adjustments.check(tx, errors, doc, at)
    _accept(errors)
    adjustments.post(tx, doc, at, "automatic")


def void_invoice(tx: Transaction, contract: Contract, doc: Event, at: int) -> None:
    """The fields of VoidRequest, and the invoice: its InvoiceID, or its ExternalReference and Source."""
    sent = {name: doc[name] for name in ("PostingDate", "Reason")}
    _valid(contract, "VoidRequest", sent)
    id = doc.get("InvoiceID") or tx.owner("invoice", str(reference(doc, "ExternalReference")))
    row = tx.get("invoice", id) if id else None
    if row is None:
        raise ValueError(f"there is no invoice {doc.get('InvoiceID') or doc['ExternalReference']}")
    invoices.need_voidable(tx, row.doc)
    errors = Errors()
    documents.check_end(tx, errors, sent, row.doc)
    _accept(errors)
    invoices.void(tx, row, sent, at)


def _need_whole(tx: Transaction, contract: Contract, kind: str, schema: str, doc: Event) -> None:
    """ValueError unless a document has every field that it needs, and a reference of its own if it has one."""
    whole = {"ExternalReference": documents.TIMS, "Source": documents.TIMS} | doc
    _valid(contract, schema, whole)
    if "ExternalReference" in doc:
        documents.refuse_taken(tx, kind, whole)


def _accept(errors: Errors) -> None:
    """ValueError with every error of a document that breaks a rule."""
    try:
        errors.refuse()
    except Refusal as refusal:
        raise ValueError("; ".join(f"{each.pointer}: {each.message}" for each in refusal.findings)) from None


KINDS: dict[str, Callable[[Transaction, Contract, Event, int], None]] = {
    "item": put_item,
    "quantity": put_quantity,
    "customer": put_customer,
    "company": put_company,
    "location": put_location,
    "period": put_period,
    "shipment_correction": correct_shipment,
    "account": put_account,
    "invoice": type_invoice,
    "adjustment": type_adjustment,
    "void": void_invoice,
}


def touch(tx: Transaction, kind: str, id: Any, at: int) -> None:
    """Gives a row a new version, with the same fields."""
    row = tx.get(kind, id)
    if row is None:
        return
    if "RowVersion" in row.doc:
        save(tx, kind, id, row.doc, at, row.extra)
    else:
        tx.put(kind, id, row.doc | {"ModifiedAt": clock.text(stamp(at))}, modified=stamp(at), extra=row.extra)
