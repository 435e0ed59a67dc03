"""How many units the channels may sell of what TIMS has.

In: what is free by distribution center, what orders on their way will take, buffers, caps, shares. Out: whole units.
Never: more than is free; below 0; a center that is given more than it has itself.

Everything is int64; rows are products of the channel, columns are centers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crossdock.mapping.registry import rule
from crossdock.rules.offer_settings import Terms

NO_CAP = np.iinfo(np.int64).max


def offered(free: np.ndarray, in_flight: np.ndarray, terms: Sequence[Terms]) -> np.ndarray:
    """Units to offer by row: max(0, free - in flight - buffer), of it the share, at most the cap."""
    buffer = np.array([each.buffer for each in terms], dtype=np.int64)
    share = np.array([each.share_percent for each in terms], dtype=np.int64)
    cap = np.array([NO_CAP if each.cap is None else each.cap for each in terms], dtype=np.int64)
    left = np.maximum(0, free - in_flight - buffer)
    return np.minimum(left * share // 100, cap)


@rule(
    "offer_stock",
    reads=["SKU", "Locations.LocationID", "Locations.Available"],
    writes=["ProductSKU", "DistributionCenterID", "Offered"],
)
def divide(units: np.ndarray, available: np.ndarray) -> np.ndarray:
    """What is free at our own locations, less units of orders that TIMS does not hold yet, less the buffer; of it the
    share, at most the cap (config/stock_offers.yaml, lookups/stock_rules.csv). Divided over the centers in the order of
    the file, each at most what it has itself; the parts add up. Returns units by row and center.

    `units` by row; `available` by row and center, below 0 where more is promised than is there. `units` is at most the
    sum of a row, or 0."""
    most = np.maximum(0, available)
    before = np.cumsum(most, axis=1) - most
    return np.clip(units[:, None] - before, 0, most)


def kits(free: Mapping[str, int], in_flight: Mapping[str, int], parts: Mapping[str, int]) -> int:
    """How many kits the parts make: the fewest that any part allows, after the part's units in flight. `parts`: units
    of each in one kit; a part of which nothing is known makes none."""
    return min(
        (max(0, free.get(sku, 0) - in_flight.get(sku, 0)) // units for sku, units in parts.items() if units > 0),
        default=0,
    )
