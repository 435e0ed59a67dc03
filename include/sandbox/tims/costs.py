"""What goods cost when they were shipped.

In: an order, and one of its shipments or none. Out: the unit cost by line of the order. Never: today's cost.
"""

from __future__ import annotations

from sandbox.kernel.store import Transaction


def shipped(tx: Transaction, order: str, shipment: str | None) -> dict[int, str]:
    """UnitCost by LineNo of the order: of this shipment, and of the oldest one for lines that it does not hold."""
    parcels = [row.doc for row in tx.rows("shipment", SalesOrderID=order)]
    parcels.sort(key=lambda doc: (doc["ShipmentID"] != shipment, doc["CreatedAt"], doc["ShipmentID"]))
    found: dict[int, str] = {}
    for parcel in parcels:
        for line in parcel["Lines"]:
            found.setdefault(line["SalesOrderLineNo"], line["UnitCost"])
    return found
