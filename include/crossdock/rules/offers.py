"""Computes how many units of TIMS's stock the channels may sell.

In: free units by distribution center, units of orders on their way, buffers, caps, shares. Out: whole units.
Never: more than is free; below 0; a center that is given more than it has itself.

Everything is int64; rows are products of the channel, columns are centers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.jsontext import to_json
from crossdock.mapping.registry import KEY, Columns, rule
from crossdock.rules.offer_settings import EVERYWHERE, Offers, Terms

NO_CAP = np.iinfo(np.int64).max


def offered(free: np.ndarray, in_flight: np.ndarray, terms: Sequence[Terms]) -> np.ndarray:
    """Units to offer by row: max(0, free - in flight - buffer), times the share, at most the cap."""
    buffer = np.array([each.buffer for each in terms], dtype=np.int64)
    share = np.array([each.share_percent for each in terms], dtype=np.int64)
    cap = np.array([NO_CAP if each.cap is None else each.cap for each in terms], dtype=np.int64)
    left = np.maximum(0, free - in_flight - buffer)
    return np.minimum(left * share // 100, cap)


def divide(units: np.ndarray, available: np.ndarray) -> np.ndarray:
    """Divides the units of each row over the centers in the order of the file, each at most what it has itself. Returns
    units by row and center; they add up to the row's.

    `units` by row, at most the sum of the row, or 0; `available` by row and center, below 0 where more is promised than
    is there."""
    most = np.maximum(0, available)
    before = np.cumsum(most, axis=1) - most
    return np.clip(units[:, None] - before, 0, most)


def kits(free: Mapping[str, int], in_flight: Mapping[str, int], parts: Mapping[str, int]) -> int:
    """How many kits the parts make: the fewest that any part allows, after the part's units in flight. `parts`: units
    of each in one kit; with an unknown part there is no kit."""
    return min(
        (max(0, free.get(sku, 0) - in_flight.get(sku, 0)) // units for sku, units in parts.items() if units > 0),
        default=0,
    )


# ---- rules ---------------------------------------------------------------------------------------------------------


class Item(NamedTuple):
    """An item of TIMS. `state`: sellable, discontinued, blocked or not_eligible; `parts` of a kit: units by SKU."""

    state: str
    parts: Mapping[str, int]


class Unclear(NamedTuple):
    """A product of the channel that could be several items."""

    sku: str
    items: Sequence[str]


@dataclass
class Products:
    """The channel's products of one item."""

    sold: list[str] = field(default_factory=list)  # products that are clearly this item, and have stock
    unclear: list[Unclear] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)  # types of those without stock


class Centers(NamedTuple):
    """The centers where our stock is offered. `column` by TIMS location: its place in `ids`; -1 for a marketplace's."""

    ids: tuple[int, ...]
    column: dict[str, int]


class Listing(NamedTuple):
    """A listing of an item's product. `own`: its site has a quantity of its own; `ours`: we have sent it one before."""

    id: int
    site: int
    own: bool
    ours: bool


@dataclass(frozen=True)
class StockContext:
    """The context of the quantity rules: what they need beside columns. `items`, `products` and `listings` by TIMS's
    SKU, `flying`: units in flight and `fingerprints` of their orders by SKU; `free`: free units of parts of kits, as
    last read."""

    settings: Offers
    centers: Centers
    items: Mapping[str, Item]
    products: Mapping[str, Products]
    listings: Mapping[str, Sequence[Listing]]
    flying: Mapping[str, int]
    fingerprints: Mapping[str, str]
    free: Mapping[str, int]


NOT_SOLD = ("blocked", "not_eligible")
SOLD = "staged"


@rule("offer_state", reads=[KEY], writes=["state", "reason"])
def offer_state(frames: Frames, context: StockContext) -> Columns:
    """A quantity is offered where the channel has a product of the item. Bundles and parents have no stock of their own
    and are left out. An item without a product is left out if it may not be sold; else it waits for one."""
    keys = frames.header[KEY].tolist()
    verdicts = [_verdict(context.items.get(key), context.products.get(key) or Products()) for key in keys]
    columns = pd.DataFrame(
        {
            "state": pd.Series([state for state, _ in verdicts], dtype="str"),
            "reason": pd.Series([reason or np.nan for _, reason in verdicts], dtype="str"),
        }
    )
    sold = columns["state"].eq(SOLD).to_numpy(dtype=bool)
    return Columns(columns, problems=_unclear(keys, context.products, sold))


def _verdict(item: Item | None, products: Products) -> tuple[str, str]:
    """(state, reason)"""
    if products.sold or products.unclear:
        return SOLD, ""
    if "Bundle" in products.kinds:
        return "left_out", "Its product is a bundle: the channel computes its stock from the parts."
    if products.kinds:
        return "left_out", "Its product is a parent, which has no stock of its own."
    if item is None:
        return "waiting", "Its item has not been read from TIMS yet."
    if item.state != "sellable":
        return "left_out", "It is not to be sold on channels (any more), and the channel has no product of it."
    return "waiting", "Its product is not at the channel yet."


def _unclear(keys: Sequence[str], products: Mapping[str, Products], sold: np.ndarray) -> pd.DataFrame:
    """Problems of items that share all their products with other items."""
    rows = [(n, products[keys[n]].unclear[0]) for n in np.flatnonzero(sold).tolist() if not products[keys[n]].sold]
    return problems.make(
        [n for n, _ in rows],
        field="SKU",
        rule="ambiguous_sku",
        value=[product.sku for _, product in rows],
        message=[
            f'The product "{product.sku}" of Channel Advisor could be any of the items {", ".join(product.items[:5])} '
            "of TIMS: its stock is not written."
            for _, product in rows
        ],
        do="Give one of the items the product's exact SKU, or an alternate SKU, in TIMS; then replay this.",
    )


@rule("free_stock", reads=["lines.LocationID", "lines.Available"], writes=["available"])
def free_stock(frames: Frames, context: StockContext) -> Columns:
    """Free units at our own locations, without those of marketplaces."""
    free = _by_center(frames, context.centers).sum(axis=1)
    return Columns(pd.DataFrame({"available": pd.array(free, dtype="Int64")}))


def _by_center(frames: Frames, centers: Centers) -> np.ndarray:
    """Free units by head row and center."""
    table = np.zeros((len(frames.header), len(centers.ids)), dtype=np.int64)
    lines = frames.lines
    column = lines["LocationID"].map(centers.column).fillna(-1).to_numpy(dtype=np.int64)
    units = lines["Available"].fillna(0).to_numpy(dtype=np.int64)
    own = column >= 0
    np.add.at(table, (lines[ROW].to_numpy()[own], column[own]), units[own])
    return table


@rule(
    "stock_in_flight",
    reads=[KEY, "state", "available"],
    writes=["in_flight", "orders_in_flight", "parts_in_flight"],
)
def stock_in_flight(frames: Frames, context: StockContext) -> Columns:
    """Units of orders that TIMS does not have yet, and which orders those are. Units in flight of a kit's parts reduce
    the kits."""
    keys, sold = frames.header[KEY].tolist(), frames.header["state"].eq(SOLD).tolist()
    free = frames.header["available"].tolist()
    units = [context.flying.get(key, 0) if own else 0 for key, own in zip(keys, sold, strict=True)]
    orders = [context.fingerprints.get(key) if own else None for key, own in zip(keys, sold, strict=True)]
    by_part: list[Any] = [np.nan] * len(keys)
    for n, (key, own) in enumerate(zip(keys, sold, strict=True)):
        parts = context.items[key].parts if own and key in context.items else {}
        if parts:
            flying = {sku: [context.flying[sku], context.fingerprints[sku]] for sku in parts if sku in context.flying}
            by_part[n] = to_json(flying)
            units[n] = max(0, free[n] - kits(context.free, context.flying, parts))
    return Columns(
        pd.DataFrame(
            {
                "in_flight": pd.array(units, dtype="Int64"),
                "orders_in_flight": pd.Series(orders, dtype="str"),
                "parts_in_flight": pd.Series(by_part, dtype="str"),
            }
        )
    )


@rule(
    "offered_units",
    reads=[KEY, "state", "available", "in_flight"],
    writes=["quantity", "buffer", "cap", "share_percent", "item_state"],
)
def offered_units(frames: Frames, context: StockContext) -> Columns:
    """Free units, less those in flight, less the buffer, times the share, at most the cap (config/stock_offers.yaml,
    lookups/stock_rules.csv). 0 for an item that may not be sold."""
    header = frames.header
    keys = header[KEY].tolist()
    terms = [context.settings.of(key)[EVERYWHERE] for key in keys]
    free, flying = (header[name].to_numpy(dtype=np.int64) for name in ("available", "in_flight"))
    units = offered(free, flying, terms)
    states = [context.items[key].state if key in context.items else "unknown" for key in keys]
    units[np.isin(np.array(states, dtype=object), NOT_SOLD)] = 0
    columns = pd.DataFrame(
        {
            "quantity": pd.Series(pd.array(units, dtype="Int64")).where(header["state"].eq(SOLD)),
            "buffer": pd.array([each.buffer for each in terms], dtype="Int64"),
            "cap": pd.array([each.cap for each in terms], dtype="Int64"),
            "share_percent": pd.array([each.share_percent for each in terms], dtype="Int64"),
            "item_state": pd.Series(states, dtype="str"),
        }
    )
    return Columns(columns)


@rule(
    "offer_stock",
    reads=[KEY, "state", "quantity", "lines.LocationID", "lines.Available"],
    writes=["made.ProductSKU", "made.DistributionCenterID", "made.Offered"],
)
def offer_stock(frames: Frames, context: StockContext) -> Columns:
    """Makes a line for each product and center. The units to offer are divided over the centers in the order of
    config/stock_offers.yaml, each at most what it has itself; the parts add up."""
    header, centers = frames.header, context.centers
    keys, sold = header[KEY].tolist(), header["state"].eq(SOLD).to_numpy(dtype=bool)
    parts = divide(header["quantity"].fillna(0).to_numpy(dtype=np.int64), _by_center(frames, centers))
    made: list[tuple[int, int, str, int, int]] = []
    for n in np.flatnonzero(sold).tolist():
        pairs = [(sku, j) for sku in context.products[keys[n]].sold for j in range(len(centers.ids))]
        made += [(n, place, sku, centers.ids[j], int(parts[n, j])) for place, (sku, j) in enumerate(pairs)]
    lines = pd.DataFrame(made, columns=[ROW, LINE, "ProductSKU", "DistributionCenterID", "Offered"])
    types = {ROW: "int64", LINE: "int64", "ProductSKU": "str", "DistributionCenterID": "Int64", "Offered": "Int64"}
    return Columns(made=lines.astype(types))


@rule("site_quantities", reads=[KEY, "state", "quantity"], writes=["listings"])
def site_quantities(frames: Frames, context: StockContext) -> Columns:
    """The quantities of single sites: a site with terms gets its share. Where the terms are gone and we sent a quantity
    before, the site's own quantity is removed."""
    made: list[str] = []
    header = frames.header
    for key, state, units in zip(
        header[KEY].tolist(), header["state"].tolist(), header["quantity"].tolist(), strict=True
    ):
        entries: list[dict[str, int | None]] = []
        terms = context.settings.of(key) if state == SOLD and context.listings.get(key) else {}
        for listing in context.listings.get(key, ()) if state == SOLD else ():
            own = terms.get(str(listing.site))
            if own is not None:
                share = offered(np.array([units], dtype=np.int64), np.zeros(1, dtype=np.int64), [own])
                entries.append({"ListingID": listing.id, "Quantity": int(share[0])})
            elif listing.ours and listing.own:
                entries.append({"ListingID": listing.id, "Quantity": None})
        made.append(to_json(entries))
    return Columns(pd.DataFrame({"listings": pd.Series(made, dtype="str")}))
