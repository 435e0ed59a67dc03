"""Shipments: facts about parcels that left.

In: calls on /sales-orders/{id}/shipments and /shipments. Out: shipments, the order's shipped quantities, less stock.
Never: more than a line has open; a shipment is not refused for lack of stock.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sandbox.kernel import clock
from sandbox.kernel.http import Answer
from sandbox.tims import documents, orders
from sandbox.tims.call import Call, found, location, save, shown
from sandbox.tims.ledger import check_open, time_zone
from sandbox.tims.problems import Errors, invalid_state
from sandbox.tims.stock import Stock

_DEFAULTS: dict[str, Any] = dict.fromkeys(("Carrier", "ServiceLevel", "TrackingNumber", "TrackingURL"))


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, doc[name]) for name in ("SalesOrderID", "ExternalReference", "Source")]


def list_shipments(call: Call) -> Answer:
    return call.page("shipment", call.where("SalesOrderID", "ExternalReference", "Source"))


def get_shipment(call: Call) -> Answer:
    return found(call.row("shipment", "shipment", call.request.path["id"]))


def create_shipment(call: Call) -> Answer:
    body = call.body
    row = call.row("order", "sales order", call.request.path["id"])
    order = row.doc
    documents.refuse_taken(call.tx, "shipment", body)
    if order["OrderStatus"] in ("OnHold", "Cancelled", "Closed"):
        raise invalid_state("Nothing can be shipped", order["OrderStatus"], orders.allowed(order))
    errors = call.errors("Shipment")
    if isinstance(body, dict):
        _check(call, errors, order)
    errors.refuse()
    return _record(call, row.extra, order)


def _check(call: Call, errors: Errors, order: dict[str, Any]) -> None:
    """Lines, location and period."""
    body = call.body
    documents.named(call.tx, errors, "/LocationID", "location", "location", body.get("LocationID"))
    lines = {line["LineNo"]: line for line in order["LineItems"]}
    sent: Counter[int] = Counter()
    given = body.get("Lines")
    for n, each in enumerate(given if isinstance(given, list) else []):
        number, units = (each.get("SalesOrderLineNo"), each.get("Quantity")) if isinstance(each, dict) else (None, None)
        if type(number) is not int or type(units) is not int:
            continue
        sent[number] += units
        if number not in lines:
            text = f"The order has no line {number}."
            errors.add(f"/Lines/{n}/SalesOrderLineNo", "UNKNOWN_REFERENCE", text)
        elif sent[number] > orders.open_units(lines[number]):
            text = f"Given {sent[number]}; {orders.open_units(lines[number])} units are open."
            errors.add(f"/Lines/{n}/Quantity", "OVER_SHIPPED", text)
    try:
        day = clock.date_in(clock.parse(body.get("ShippedAt", "")), time_zone(call.tx)).isoformat()
    except (ValueError, TypeError, OverflowError):
        return
    check_open(call.tx, errors, "/ShippedAt", day)


def _record(call: Call, extra: dict[str, Any], order: dict[str, Any]) -> Answer:
    body = call.body
    held = Stock(call.tx)
    lines = {line["LineNo"]: line for line in order["LineItems"]}
    parcel = []
    for n, each in enumerate(body["Lines"], 1):
        line, units = lines[each["SalesOrderLineNo"]], each["Quantity"]
        held.ship(line["SKU"], body["LocationID"], units)
        promised = extra["alloc"].get(str(line["LineNo"]), {"units": 0})["units"]
        line["QuantityShipped"] += units
        if promised:
            orders.keep(held, extra, line, max(0, promised - units))
        parcel.append(
            {
                "LineNo": n, "SalesOrderLineNo": line["LineNo"], "ExternalLineID": line["ExternalLineID"],
                "SKU": line["SKU"], "Quantity": units, "UnitCost": held.item(line["SKU"])["Cost"],
            }
        )  # fmt: skip
    order["OrderStatus"] = orders.status(order, extra, held)
    save(call.tx, "order", order["SalesOrderID"], order, call.now, extra)
    held.flush(call.now)
    id = f"SH-{call.tx.next_number('shipment', 70001)}"
    given = {name: value for name, value in body.items() if value is not None}
    doc = {
        "ShipmentID": id, "SalesOrderID": order["SalesOrderID"], "ExternalOrderID": order["ExternalOrderID"],
        "PostingDate": clock.date_in(clock.parse(body["ShippedAt"]), time_zone(call.tx)).isoformat(),
        **_DEFAULTS, **given, "PostingMode": extra["origin"], "Lines": parcel,
    }  # fmt: skip
    documents.keep(call.tx, "shipment", id, doc, call.now)
    return shown(doc, 201, location("shipments", id))
