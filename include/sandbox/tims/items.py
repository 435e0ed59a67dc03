"""Items and quantities as they are read.

In: calls on /inventory. Out: items, quantities with the figures of this moment. Never: a write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Refusal
from sandbox.tims.call import Call, found, shown
from sandbox.tims.problems import not_found

STOCKED = ("Inventory", "Kit")


def terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    names = [("SKU", doc["SKU"]), *(("SKU", other) for other in doc["AlternateSKUs"])]
    parts = [("Component", part["SKU"]) for part in doc["KitComponents"]]
    return [*names, *parts, ("Status", doc["Status"]), ("ChannelEligible", int(doc["ChannelEligible"]))]


def quantity_terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("SKU", doc["SKU"]), *(("LocationID", place["LocationID"]) for place in doc["Locations"])]


def list_items(call: Call) -> Answer:
    where: dict[str, Sequence[Any]] = call.where("SKU", "Status")
    if "ChannelEligible" in call.request.query:
        where["ChannelEligible"] = [int(call.request.query["ChannelEligible"])]
    return call.page("item", where)


def get_item(call: Call) -> Answer:
    return found(call.row("item", "item", call.request.path["sku"]))


def list_quantities(call: Call) -> Answer:
    page = call.system.page(call.request, call.tx, "quantity", call.where("SKU", "LocationID"))
    return call.listed([_seen(call, row.doc) for row in page.rows], page.next, page.listed)


def get_quantity(call: Call) -> Answer:
    sku = call.request.path["sku"]
    item = call.row("item", "item", sku)
    if item.doc["Type"] not in STOCKED:
        raise Refusal(404, "NOT_STOCKED", f"No stock is kept for an item of Type {item.doc['Type']}.")
    return quantity_answer(call, sku)


def quantity_answer(call: Call, sku: str) -> Answer:
    """The quantity of an item that keeps stock, as it is now."""
    row = call.tx.get("quantity", sku)
    if row is None:
        raise not_found("quantity", sku)
    return shown(_seen(call, row.doc))


def _seen(call: Call, doc: dict[str, Any]) -> dict[str, Any]:
    """A quantity as of now, of all locations or of the one that is asked for."""
    only = call.request.query.get("LocationID")
    locations = [place for place in doc["Locations"] if only in (None, place["LocationID"])]
    total = max(0, sum(place["Available"] for place in locations))
    return doc | {"Locations": locations, "TotalAvailable": total, "AsOf": clock.text(call.now)}
