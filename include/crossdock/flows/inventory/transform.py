"""Inventory, the documents: TIMS's quantities as frames -> what Channel Advisor should offer, as staged rows.

In: parsed quantities; items, products, centers and listings in `ref`; orders that TIMS does not hold yet. Out:
`Staged`. Never: a call to a system; a quantity for a center that a marketplace manages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.config.suggest import did_you_mean
from crossdock.errors import ConfigError
from crossdock.flow import Staged
from crossdock.flows import unreadable
from crossdock.flows.documents import among
from crossdock.flows.orders import in_flight as orders_in_flight
from crossdock.flows.orders.in_flight import InFlight
from crossdock.mapping import language, problems
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.reference import channel
from crossdock.rules import offer_settings, offers
from crossdock.rules.offer_settings import EVERYWHERE, Offers, Terms
from crossdock.store import database, raw
from crossdock.store.tables import ref_channel_center, ref_channel_listing, stage_channel_quantity

ENTITY = "channel_quantity"
RESOURCE = "tims.inventory/quantities"
NEVER_REPEAT = timedelta(days=3650)
ONLY_CENTER = 0  # of an account that names no center
WITHOUT_STOCK = ("Bundle", "Parent")
LINE_COLUMNS = ("SKU", "DistributionCenterID", "Quantity", "UpdateType")

# Of an item in `ref`, alias i.
ITEM_STATE = """CASE WHEN i.status = 'Blocked' THEN 'blocked' WHEN NOT i.channel_eligible THEN 'not_eligible'
  WHEN i.status = 'Discontinued' THEN 'discontinued' ELSE 'sellable' END"""
UNKNOWN, NOT_SOLD = "unknown", ("blocked", "not_eligible")


class _Item(NamedTuple):
    state: str
    parts: dict[str, int]  # of a kit: units by SKU


@dataclass
class _Products:
    """The channel's products of one item."""

    sold: list[str] = field(default_factory=list)  # it is clear that they are this item, and they have stock
    unclear: list[sa.Row] = field(default_factory=list)  # they may be another one
    kinds: set[str] = field(default_factory=set)  # types of those without stock


class Centers(NamedTuple):
    """Where our stock is offered. `column` by TIMS location: its place in `ids`; -1 where a marketplace has it."""

    ids: tuple[int, ...]
    column: dict[str, int]


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged quantities of a batch."""
    source = parsed.frames.header
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    names = kept.tolist()
    settings = offer_settings.load()
    centers = own_centers(connection, settings)
    items, products = _items(connection, names), _products(connection, names)
    available = _available(parsed.frames, centers)
    verdicts = [_verdict(items.get(name), products.get(name) or _Products()) for name in names]
    sold = np.array([state == "staged" for state, _ in verdicts], dtype=bool)

    free = available.sum(axis=1)
    flying = orders_in_flight.in_flight_units(connection, _true_at(connection, names) - settings.margin)
    in_flight, by_part = _in_flight(connection, centers, names, items, sold, free, flying)
    order_fingerprint = [
        flying.order_fingerprint.get(name) if own else None for name, own in zip(names, sold, strict=True)
    ]
    terms = [settings.of(name) for name in names]
    everywhere = [each[EVERYWHERE] for each in terms]
    units = offers.offered(free, in_flight, everywhere)
    units[np.array([name in items and items[name].state in NOT_SOLD for name in names], dtype=bool)] = 0
    lines = _lines(names, products, sold, offers.divide(units, available), centers)
    found = _unclear(names, products, sold)
    target, mapping_errors = language.load("inventory").apply(Frames(source, lines), explained=found)
    body = target.lines.assign(key=kept.array.take(target.lines[ROW].to_numpy()), position=target.lines[LINE])

    listings = _listings(connection, names, products, sold, units, terms, settings)
    row_versions = source["RowVersion"]
    made = pd.DataFrame(
        {
            "key": kept,
            "state": pd.Series([state for state, _ in verdicts], dtype="str"),
            "reason": pd.Series([reason or np.nan for _, reason in verdicts], dtype="str"),
            "content_hash": _content(row_versions, body, listings, order_fingerprint, by_part),
            "row_version": row_versions,
            "available": pd.array(free, dtype="Int64"),
            "in_flight": pd.array(in_flight, dtype="Int64"),
            "orders_in_flight": pd.Series(order_fingerprint, dtype="str"),
            "parts_in_flight": pd.Series(
                [np.nan if each is None else database.to_json(each) for each in by_part], dtype="str"
            ),
            "buffer": pd.array([each.buffer for each in everywhere], dtype="Int64"),
            "cap": pd.array([each.cap for each in everywhere], dtype="Int64"),
            "share_percent": pd.array([each.share_percent for each in everywhere], dtype="Int64"),
            "quantity": pd.Series(pd.array(units, dtype="Int64")).where(sold),
            "listings": pd.Series([database.to_json(each) for each in listings], dtype="str"),
            "item_state": pd.Series(
                [item.state if (item := items.get(name)) else UNKNOWN for name in names], dtype="str"
            ),
            "terms": pd.Series([settings.fingerprint(name) for name in names], dtype="str"),
            "config": settings.digest,
        }
    )
    made, found = unreadable.joined(made, problems.concat([found, mapping_errors]), parsed, keys)
    made["in_flight"], made["listings"] = made["in_flight"].fillna(0), made["listings"].fillna("[]")
    return Staged(made, body[["key", "position", *LINE_COLUMNS]], found, _strange(parsed.frames, settings))


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged quantities with how far they are above what is free."""
    free = frames.header["available"].clip(lower=0)
    return Frames(frames.header.assign(above_available=frames.header["quantity"] - free), frames.lines)


# ---- what is looked up ---------------------------------------------------------------------------------------------


def own_centers(connection: sa.Connection, settings: Offers) -> Centers:
    """The centers that our locations are offered by, in the order of the file. Raises ConfigError where one does not
    exist. An account without any center has one that is called 0."""
    rows = connection.execute(sa.select(ref_channel_center).where(~ref_channel_center.c.is_deleted)).all()
    if not rows:
        return Centers((ONLY_CENTER,), dict.fromkeys(settings.locations, 0))
    existing = {row.code: row for row in rows}
    for location, code in settings.locations.items():
        if code not in existing:
            raise ConfigError(
                f"include/config/{offer_settings.FILE}: the stock of {location} is to be offered by the center "
                f"{code!r}, which Channel Advisor does not have{did_you_mean(code, existing)}",
                do=f"Its centers are: {', '.join(sorted(existing))}.",
            )
    own = {code: existing[code].center_id for code in settings.locations.values() if not existing[code].is_external}
    places = {code: number for number, code in enumerate(own)}
    return Centers(tuple(own.values()), {name: places.get(code, -1) for name, code in settings.locations.items()})


def _items(connection: sa.Connection, skus: Sequence[str]) -> dict[str, _Item]:
    rows = connection.execute(
        sa.text(f"SELECT i.sku, {ITEM_STATE} AS state, i.kit_components FROM ref.item i WHERE i.sku = ANY (:skus)"),
        {"skus": list(skus)},
    )
    return {sku: _Item(state, _parts(kit)) for sku, state, kit in rows}


def _parts(kit: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for part in kit:
        parts[part["SKU"]] = parts.get(part["SKU"], 0) + int(part["Quantity"])
    return parts


def _products(connection: sa.Connection, skus: Sequence[str]) -> dict[str, _Products]:
    wanted = set(skus)
    found: dict[str, _Products] = {}
    for row in channel.products_of(connection, skus):
        for sku in wanted.intersection(row.items):
            held = found.setdefault(sku, _Products())
            if len(row.items) > 1:
                held.unclear.append(row)
            elif row.product_type in WITHOUT_STOCK:
                held.kinds.add(row.product_type)
            else:
                held.sold.append(row.product_sku)
    return found


def _verdict(item: _Item | None, products: _Products) -> tuple[str, str]:
    """(state, reason)"""
    if products.sold or products.unclear:
        return "staged", ""
    if "Bundle" in products.kinds:
        return "left_out", "Its product is a bundle: the channel computes its stock from the parts."
    if products.kinds:
        return "left_out", "Its product is a parent, which has no stock of its own."
    if item is None:
        return "waiting", "Its item has not been read from TIMS yet."
    if item.state != "sellable":
        return "left_out", "It is not to be sold on channels (any more), and the channel has no product of it."
    return "waiting", "Its product is not at the channel yet."


_TRUE_AT = sa.text("""
WITH newest AS (
  SELECT DISTINCT ON (key) key, queued_at, batch_id FROM ops.work JOIN raw.tims_quantities USING (key, hash)
  WHERE queue = 'inventory' AND key = ANY (:keys) ORDER BY key, version DESC, queued_at DESC
)
SELECT min(greatest(n.queued_at, CASE WHEN b.kind IN ('scheduled', 'compare') THEN b.created_at END, w.read_at))
FROM newest n LEFT JOIN ops.batch b ON b.id = n.batch_id
LEFT JOIN ops.watermark w ON w.flow = 'inventory' AND w.resource = :resource
""")


def _true_at(connection: sa.Connection, skus: Sequence[str]) -> datetime:
    """The moment since which none of the quantities may be older than: a list of changes in which a SKU does not stand
    says as much about it as one in which it does. All three are the start of a transaction, so before the read."""
    moment = connection.scalar(_TRUE_AT, {"keys": list(skus), "resource": RESOURCE})
    return moment or database.now(connection)


# ---- the quantities ------------------------------------------------------------------------------------------------


def _available(frames: Frames, centers: Centers) -> np.ndarray:
    """Free units by head row and center."""
    table = np.zeros((len(frames.header), len(centers.ids)), dtype=np.int64)
    lines = frames.lines
    column = lines["LocationID"].map(centers.column).fillna(-1).to_numpy(dtype=np.int64)
    units = lines["Available"].fillna(0).to_numpy(dtype=np.int64)
    own = column >= 0
    np.add.at(table, (lines[ROW].to_numpy()[own], column[own]), units[own])
    return table


def _in_flight(
    connection: sa.Connection,
    centers: Centers,
    names: Sequence[str],
    items: Mapping[str, _Item],
    sold: np.ndarray,
    free: np.ndarray,
    flying: InFlight,
) -> tuple[np.ndarray, list[dict[str, list] | None]]:
    """(units in flight, of a kit [units, order_fingerprint] by part) of each row. What is in flight of a kit's parts
    costs kits."""
    kits = {n: items[name].parts for n, name in enumerate(names) if sold[n] and name in items and items[name].parts}
    in_flight = np.array([flying.units.get(name, 0) if own else 0 for name, own in zip(names, sold, strict=True)])
    by_part: list[dict[str, list] | None] = [None] * len(names)
    there = _free(connection, centers, {part for parts in kits.values() for part in parts}) if kits else {}
    for n, parts in kits.items():
        by_part[n] = {
            part: [flying.units[part], flying.order_fingerprint[part]] for part in parts if part in flying.units
        }
        in_flight[n] = max(0, free[n] - offers.kits(there, flying.units, parts))
    return in_flight.astype(np.int64), by_part


def _free(connection: sa.Connection, centers: Centers, skus: set[str]) -> dict[str, int]:
    """Free units of SKUs over our own locations, as last read."""
    own = [location for location, column in centers.column.items() if column >= 0]
    rows = connection.execute(
        sa.text("""
        SELECT n.key, sum((l->>'Available')::bigint) FROM (
          SELECT DISTINCT ON (key) key, payload FROM ops.work JOIN raw.tims_quantities USING (key, hash)
          WHERE queue = 'inventory' AND key = ANY (:skus) ORDER BY key, version DESC, queued_at DESC
        ) AS n CROSS JOIN LATERAL jsonb_array_elements(n.payload->'Locations') AS l
        WHERE l->>'LocationID' = ANY (:own) GROUP BY n.key
        """),
        {"skus": sorted(skus), "own": own},
    )
    return {sku: int(units) for sku, units in rows}


def _lines(
    names: Sequence[str], products: Mapping[str, _Products], sold: np.ndarray, parts: np.ndarray, centers: Centers
) -> pd.DataFrame:
    """A line for each product and center, in the columns that the mapping reads."""
    made: list[tuple[int, int, str, int, int]] = []
    for n in np.flatnonzero(sold).tolist():
        pairs = [(sku, j) for sku in products[names[n]].sold for j in range(len(centers.ids))]
        made += [(n, place, sku, centers.ids[j], int(parts[n, j])) for place, (sku, j) in enumerate(pairs)]
    frame = pd.DataFrame(made, columns=[ROW, LINE, "ProductSKU", "DistributionCenterID", "Offered"])
    types = {ROW: "int64", LINE: "int64", "ProductSKU": "str", "DistributionCenterID": "Int64", "Offered": "Int64"}
    return frame.astype(types)


def _unclear(names: Sequence[str], products: Mapping[str, _Products], sold: np.ndarray) -> pd.DataFrame:
    """Items of which no product is theirs alone."""
    rows = [(n, products[names[n]].unclear[0]) for n in np.flatnonzero(sold).tolist() if not products[names[n]].sold]
    return problems.make(
        [n for n, _ in rows],
        field="SKU",
        rule="ambiguous_sku",
        value=[row.product_sku for _, row in rows],
        message=[
            f'The product "{row.product_sku}" of Channel Advisor could be any of the items {", ".join(row.items[:5])} '
            "of TIMS: its stock is not written."
            for _, row in rows
        ],
        do="Give one of the items the product's exact SKU, or an alternate SKU, in TIMS; then replay this.",
    )


def _listings(
    connection: sa.Connection,
    names: Sequence[str],
    products: Mapping[str, _Products],
    sold: np.ndarray,
    units: np.ndarray,
    terms: Sequence[Mapping[str, Terms]],
    settings: Offers,
) -> list[list[dict[str, int | None]]]:
    """What single sites may show of each row: where a site has terms, and null where we gave it a number before and it
    has none any more."""
    made: list[list[dict[str, int | None]]] = [[] for _ in names]
    before = _shown_before(connection, names)
    if not settings.sites and not before:
        return made
    row_of = {sku: n for n in np.flatnonzero(sold).tolist() for sku in products[names[n]].sold}
    table = ref_channel_listing
    rows = connection.execute(
        sa.select(table.c.listing_id, table.c.sku, table.c.site_id, table.c.quantity)
        .where(among(table.c.sku, list(row_of)), table.c.status != "Ended")
        .order_by(table.c.listing_id)
    )
    for listing, sku, site, shown in rows:
        n = row_of[sku]
        own = terms[n].get(str(site))
        if own is not None:
            share = offers.offered(units[n : n + 1], np.zeros(1, dtype=np.int64), [own])
            made[n].append({"ListingID": listing, "Quantity": int(share[0])})
        elif listing in before and shown is not None:
            made[n].append({"ListingID": listing, "Quantity": None})
    return made


def _shown_before(connection: sa.Connection, names: Sequence[str]) -> set[int]:
    """Listings that have been given a quantity of their own."""
    table = stage_channel_quantity
    rows = connection.scalars(
        sa.select(table.c.listings).where(among(table.c.key, names), table.c.listings != sa.text("'[]'"))
    )
    return {entry["ListingID"] for entries in rows for entry in entries}


def _content(
    row_versions: pd.Series,
    body: pd.DataFrame,
    listings: Sequence[Sequence[Mapping[str, Any]]],
    order_fingerprint: Sequence[str | None],
    by_part: Sequence[Mapping[str, list] | None],
) -> pd.Series:
    """A hash of what the channel should hold, of the version of TIMS's figures and of the orders in flight: a quantity
    that came back to an old value is sent again, for orders have changed the channel's meanwhile."""
    written: list[list[Any]] = [[] for _ in listings]
    for row, *line in zip(body[ROW], *(body[name].tolist() for name in LINE_COLUMNS[:3]), strict=True):
        written[row].append(line)
    return pd.Series(
        [
            raw.digest(database.to_json([str(version), *rest]).encode())
            for version, *rest in zip(row_versions, written, listings, order_fingerprint, by_part, strict=True)
        ],
        dtype="str",
    )


def _strange(frames: Frames, settings: Offers) -> list[dict]:
    """A notice, once, for each location that the configuration does not name."""
    found = sorted(set(frames.lines["LocationID"].dropna()) - settings.locations.keys())
    return [
        {
            "kind": "location_not_configured",
            "key": location,
            "title": f"TIMS has stock at {location}, which is offered nowhere",
            "body": f"Name {location} under `locations` in include/config/{offer_settings.FILE}, with the distribution "
            "center that offers its stock.",
            "severity": "notice",
            "window": NEVER_REPEAT,
        }
        for location in found
    ]
