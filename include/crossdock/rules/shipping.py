"""Shipments for the channel: its key, its carrier, its units.

In: TIMS's shipments, what of their orders has been told before, the lookup of carriers. Out: columns of Channel
Advisor's ShipmentCreate, and problems. Never: a carrier guessed; a kit reported twice, or before all its parts left.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pandas as pd

from crossdock.config.suggest import nearest
from crossdock.mapping import lookups, problems
from crossdock.mapping.converters import by_distinct
from crossdock.mapping.registry import rule


class Sold(NamedTuple):
    """Of which line of the channel a line of the sales order is a part, how many of it are in one unit sold, and what
    was sold: a kit, or the item itself."""

    order_item: int
    per_unit: int
    sku: str


@rule("name_fulfillment", reads=["ShipmentID"], writes=["SellerFulfillmentID"])
def fulfillment_ids(shipments: pd.Series) -> pd.Series:
    """The digits of the ShipmentID, for Amazon takes nothing else; of an id without any, a number made of it."""
    return by_distinct(shipments, fulfillment_id, "str")


def fulfillment_id(shipment: str) -> str:
    """Of one ShipmentID."""
    return re.sub(r"[^0-9]", "", shipment) or str(int(sha256(shipment.encode()).hexdigest()[:12], 16))


# ---- carriers ------------------------------------------------------------------------------------------------------


@rule("channel_carrier", reads=["Carrier", "ServiceLevel"], writes=["ChannelCarrier", "ChannelService"])
def carriers(header: pd.DataFrame, table: lookups.Lookup) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Carrier and service as the channel knows them, by config/lookups/carriers.csv; letter case and blanks aside.

    Returns (columns, problems): a pair that the table does not have is a problem, with the nearest one named."""
    given = header[["Carrier", "ServiceLevel"]].fillna("")
    pairs = pd.Series([_pair(*pair) for pair in given.itertuples(index=False, name=None)], dtype="str")
    existing = {_pair(row["tims_carrier"], row["tims_service"]): row for row in table.rows.values()}
    found = pd.DataFrame(
        {
            column: pd.Series([existing.get(pair, {}).get(name) for pair in pairs], dtype="str")
            for column, name in (("ChannelCarrier", "carrier"), ("ChannelService", "service_class"))
        }
    )
    unknown = np.flatnonzero(~pairs.isin(list(existing)).to_numpy())
    written = [lookups.BESIDE.join(pair) for pair in given.iloc[unknown].itertuples(index=False, name=None)]
    near = [nearest(pair, table.rows) for pair in written]
    return found, problems.make(
        unknown,
        field="Carrier",
        rule="unknown_carrier",
        value=written,
        message=[
            '"{value}" (carrier / service) is not in config/lookups/carriers.csv.'
            + (f' The nearest there is "{one}".' if one else "")
            for one in near
        ],
        do="Add the pair to include/config/lookups/carriers.csv, or correct the shipment in TIMS; then replay it.",
    )


def _pair(carrier: str, service: str) -> str:
    return lookups.BESIDE.join(" ".join(part.split()).casefold() for part in (carrier, service))


# ---- units ---------------------------------------------------------------------------------------------------------


@rule("fold_kits", reads=["Lines.ExternalLineID", "Lines.Quantity"], writes=["OrderItemID", "Quantity", "SoldSKU"])
def fold(
    parcel: Mapping[str, int],
    before: Iterable[Mapping[str, int]],
    reported: Mapping[int, int],
    sold: Mapping[str, Sold],
) -> dict[int, int]:
    """Units as they were sold: a kit counts as shipped once all its parts have left, in whichever parcels.

    `parcel`: units by ExternalLineID; `before`: the other parcels of the order that count, in any order; `reported`:
    units by OrderItemID that those have told. Returns the units by OrderItemID that this parcel tells: what is complete
    with it, less what has been reported. Their sum over all parcels is what is complete, whatever the order."""
    left: Counter[str] = Counter(parcel)
    for other in before:
        left.update(other)
    touched = {sold[line].order_item for line in parcel}
    complete: dict[int, int] = {}
    for line, part in sold.items():
        if part.order_item in touched:
            whole = left[line] // part.per_unit
            complete[part.order_item] = min(complete.get(part.order_item, whole), whole)
    stated = {item: units - reported.get(item, 0) for item, units in complete.items()}
    return {item: units for item, units in stated.items() if units > 0}
