"""Keeps stock: units on hand, promised and free per SKU and location, and which order holds which.

In: open order lines, shipments, counts of the world. Out: changed quantities, kits included. Never: a unit promised
twice; a kit keeps no stock, its parts do.

A line holds `{"units": 3, "stock": {"LAMP-OAK-01": {"MAIN": 3}}}`; of a kit line `units` counts kits and `stock` parts.
Lines of items that keep no stock hold nothing and need nothing.
"""

from __future__ import annotations

from typing import Any

from sandbox.kernel import clock
from sandbox.kernel.store import Transaction
from sandbox.tims.call import stamp
from sandbox.tims.items import STOCKED

HeldUnits = dict[str, Any]
_FIRST = "MAIN"  # the location that is used first


class Stock:
    """The quantities that one transaction touches; `flush` writes what changed."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._items: dict[str, dict[str, Any]] = {}
        self._docs: dict[str, dict[str, Any]] = {}
        self._before: dict[str, list[dict[str, Any]]] = {}

    def item(self, sku: str) -> dict[str, Any]:
        if sku not in self._items:
            row = self._tx.get("item", sku)
            self._items[sku] = row.doc if row else {"SKU": sku, "Type": "NonInventory", "KitComponents": []}
        return self._items[sku]

    def stocked(self, sku: str) -> bool:
        return self.item(sku)["Type"] in STOCKED

    def parts(self, sku: str) -> dict[str, int]:
        """The SKUs and units that one unit takes from stock: itself, the parts of a kit, or none."""
        item = self.item(sku)
        if item["Type"] == "Kit":
            return {part["SKU"]: part["Quantity"] for part in item["KitComponents"]}
        return {sku: 1} if item["Type"] == "Inventory" else {}

    def _locations(self, sku: str) -> list[dict[str, Any]]:
        if sku not in self._docs:
            row = self._tx.get("quantity", sku)
            self._docs[sku] = row.doc if row else {"SKU": sku, "Locations": []}
            self._before[sku] = [dict(place) for place in self._docs[sku]["Locations"]]
        return self._docs[sku]["Locations"]

    def place(self, sku: str, location: str) -> dict[str, Any]:
        locations = self._locations(sku)
        for place in locations:
            if place["LocationID"] == location:
                return place
        place = {"LocationID": location, "OnHand": 0, "Allocated": 0, "Available": 0, "Incoming": 0}
        locations.append(place)
        locations.sort(key=lambda each: (each["LocationID"] != _FIRST, each["LocationID"]))
        return place

    def _free(self, sku: str, location: str) -> int:
        """What is free; 0 where the location does not have the SKU."""
        return next((p["Available"] for p in self._locations(sku) if p["LocationID"] == location), 0)

    def change(self, sku: str, location: str, *, on_hand: int = 0, allocated: int = 0) -> None:
        place = self.place(sku, location)
        place["OnHand"] += on_hand
        place["Allocated"] += allocated
        place["Available"] = place["OnHand"] - place["Allocated"]

    # ---- promises ----
    def reserve(self, sku: str, wanted: int) -> HeldUnits:
        """Promise up to `wanted` units, from the first location that has some to the last."""
        parts = self.parts(sku)
        held: HeldUnits = {"units": 0, "stock": {}}
        locations = [place["LocationID"] for place in self._locations(next(iter(parts)))] if parts else []
        for location in locations:
            free = min(self._free(part, location) // each for part, each in parts.items())
            units = min(max(0, free), wanted - held["units"])
            if units:
                held["units"] += units
                for part, each in parts.items():
                    held["stock"].setdefault(part, {})[location] = units * each
                    self.change(part, location, allocated=units * each)
        return held

    def release(self, held: HeldUnits | None) -> None:
        for part, locations in (held or {"stock": {}})["stock"].items():
            for location, units in locations.items():
                self.change(part, location, allocated=-units)

    def ship(self, sku: str, location: str, units: int) -> None:
        """Goods leave the house; OnHand may fall below zero."""
        for part, each in self.parts(sku).items():
            self.change(part, location, on_hand=-units * each)

    # ---- writing ----
    def flush(self, at: int) -> None:
        """Write the quantities whose figures changed, then their kits'; wake the orders that lack what came free."""
        kits: set[str] = set()
        for sku, doc in self._docs.items():
            before = self._before[sku]
            if doc["Locations"] == before:
                continue
            write(self._tx, doc, at)
            kits |= {str(row.id) for row in self._tx.rows("item", Component=sku)}
            if _available(doc["Locations"]) > _available(before):
                serve_waiting(self._tx, sku)
        for kit in sorted(kits):
            self.refresh_kit(kit, at)
        self._docs, self._before = {}, {}

    def refresh_kit(self, sku: str, at: int) -> None:
        """A kit's figures follow from its parts."""
        row = self._tx.get("quantity", sku)
        doc = row.doc if row else {"SKU": sku, "Locations": []}
        parts = [
            (part["Quantity"], {place["LocationID"]: place["Available"] for place in self._locations(part["SKU"])})
            for part in self.item(sku)["KitComponents"]
        ]
        shared = [place for place in (parts[0][1] if parts else {}) if all(place in free for _, free in parts)]
        figures = {place: max(0, min(free[place] // each for each, free in parts)) for place in shared}
        locations = [
            {"LocationID": place, "OnHand": free, "Allocated": 0, "Available": free, "Incoming": 0}
            for place, free in figures.items()
        ]
        if row is None or locations != doc["Locations"]:
            write(self._tx, doc | {"Locations": locations}, at)


def _available(location_rows: list[dict[str, Any]]) -> int:
    return sum(place["Available"] for place in location_rows)


def write(tx: Transaction, doc: dict[str, Any], at: int) -> None:
    doc["TotalAvailable"] = max(0, _available(doc["Locations"]))
    doc["RowVersion"] = doc.get("RowVersion", 0) + 1
    doc["ModifiedAt"] = clock.text(stamp(at))
    tx.put("quantity", doc["SKU"], doc, modified=stamp(at))


# ---- orders that wait for stock ----
def wait(tx: Transaction, order: str, at: int) -> None:
    """Marks an order: TIMS looks for its stock at the next allocation."""
    tx.put("_waiting", order, {}, modified=at)


def wait_for(tx: Transaction, order: str, skus: list[str], at: int) -> None:
    """Marks an order that lacks stock of these SKUs."""
    tx.put("_backorder", order, {"SKUs": skus}, modified=at)


def backorder_terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("SKU", sku) for sku in doc["SKUs"]]


def serve_waiting(tx: Transaction, sku: str) -> None:
    for row in tx.rows("_backorder", SKU=sku):
        tx.delete("_backorder", row.id)
        tx.put("_waiting", row.id, {}, modified=row.modified)
