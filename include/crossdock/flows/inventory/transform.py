"""Inventory, the documents: TIMS's quantities as frames -> what Channel Advisor should offer, as staged rows.

In: parsed quantities; items, products, centers and listings in `ref`; orders that TIMS does not have yet. Out:
`Staged`. Never: a call to a system; a quantity for a center that a marketplace manages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crossdock.config.suggest import did_you_mean
from crossdock.errors import ConfigError
from crossdock.flow import Staged
from crossdock.flows import documents, unreadable
from crossdock.flows.orders import in_flight as orders_in_flight
from crossdock.mapping import language, problems
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.reference import channel
from crossdock.rules import offer_settings
from crossdock.rules.offer_settings import Offers
from crossdock.rules.offers import Centers, Item, Listing, Products, StockContext, Unclear
from crossdock.store import abilities, database, raw, sql
from crossdock.store.tables import ref_channel_center, ref_channel_listing, stage_channel_quantity

ENTITY = "channel_quantity"
RESOURCE = "tims.inventory/quantities"
NEVER_REPEAT = timedelta(days=3650)
ONLY_CENTER = 0  # the center of an account that has none
WITHOUT_STOCK = ("Bundle", "Parent")
_ALSO = (
    "state", "reason", "available", "in_flight", "orders_in_flight", "parts_in_flight", "buffer", "cap",
    "share_percent", "quantity", "listings", "item_state",
)  # fmt: skip
LINE_COLUMNS = ("SKU", "DistributionCenterID", "Quantity", "UpdateType")

_ITEMS = sql.statement(__package__, "items")


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged quantities of a batch."""
    frames = documents.keyed(parsed, keys)
    kept = frames.header[KEY]
    context = load_context(connection, kept.tolist())
    done = language.load("inventory").apply(frames, context, also=_ALSO)
    header, body = done.source.header, done.target.lines
    body = body.assign(key=kept.array.take(body[ROW].to_numpy()), position=body[LINE])
    made = pd.DataFrame(
        {
            "key": kept,
            "state": header["state"],
            "reason": header["reason"],
            "content_hash": _content(header, body),
            "row_version": header["RowVersion"],
            **{name: header[name] for name in _ALSO if name not in ("state", "reason")},
            "terms": pd.Series([context.settings.fingerprint(key) for key in kept], dtype="str"),
            "config": context.settings.digest,
        }
    )
    made, found = unreadable.joined(made, problems.concat([done.problems, done.errors]), parsed, keys)
    made["in_flight"], made["listings"] = made["in_flight"].fillna(0), made["listings"].fillna("[]")
    strange = _strange(parsed.frames, context.settings)
    return Staged(made, body[["key", "position", *LINE_COLUMNS]], found, strange)


def load_context(connection: sa.Connection, names: Sequence[str]) -> StockContext:
    """Reads what the rules need besides the quantities of these SKUs."""
    settings = offer_settings.load()
    centers = own_centers(connection, settings)
    items, products_ = _items(connection, names), _products(connection, names)
    flying = orders_in_flight.in_flight_units(connection, _true_at(connection, names) - settings.margin)
    parts = {part for name, item in items.items() if name in products_ for part in item.parts}
    free = _free(connection, centers, parts) if parts else {}
    listings = _listings(connection, names, products_, settings)
    return StockContext(settings, centers, items, products_, listings, flying.units, flying.order_fingerprint, free)


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds the units by which each quantity is above the free ones, for the checks."""
    free = frames.header["available"].clip(lower=0)
    return Frames(frames.header.assign(above_available=frames.header["quantity"] - free), frames.lines)


# ---- look-ups ------------------------------------------------------------------------------------------------------


def own_centers(connection: sa.Connection, settings: Offers) -> Centers:
    """The centers that offer our locations, in the order of the file. Raises ConfigError for one that does not exist.
    An account without centers has center 0."""
    rows = connection.execute(sa.select(ref_channel_center).where(~ref_channel_center.c.is_deleted)).all()
    if not rows:
        return Centers((ONLY_CENTER,), dict.fromkeys(settings.locations, 0))
    existing = {row.code: row for row in rows}
    for location, code in settings.locations.items():
        if code not in existing:
            raise ConfigError(
                f"include/config/{offer_settings.FILE}: the stock of {location} is to be offered by the center "
                f"{code!r}, which Channel Advisor does not have{did_you_mean(code, existing)}",
                do=f"Name one of its centers there: {', '.join(sorted(existing))}.",
            )
    own = {code: existing[code].center_id for code in settings.locations.values() if not existing[code].is_external}
    places = {code: number for number, code in enumerate(own)}
    return Centers(tuple(own.values()), {name: places.get(code, -1) for name, code in settings.locations.items()})


def _items(connection: sa.Connection, skus: Sequence[str]) -> dict[str, Item]:
    rows = connection.execute(_ITEMS, {"skus": list(skus)})
    return {sku: Item(state, _parts(kit)) for sku, state, kit in rows}


def _parts(kit: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for part in kit:
        parts[part["SKU"]] = parts.get(part["SKU"], 0) + int(part["Quantity"])
    return parts


def _products(connection: sa.Connection, skus: Sequence[str]) -> dict[str, Products]:
    wanted = set(skus)
    found: dict[str, Products] = {}
    for row in channel.products_of(connection, skus):
        for sku in wanted.intersection(row.items):
            held = found.setdefault(sku, Products())
            if len(row.items) > 1:
                held.unclear.append(Unclear(row.product_sku, row.items))
            elif row.product_type in WITHOUT_STOCK:
                held.kinds.add(row.product_type)
            else:
                held.sold.append(row.product_sku)
    return found


_FREE = sql.statement(__package__, "free")
_TRUE_AT = sql.statement(__package__, "true_at")


def _true_at(connection: sa.Connection, skus: Sequence[str]) -> datetime:
    """The earliest moment at which one of these SKUs' quantities was last confirmed. A list of changes confirms a SKU
    that it lacks as well. All moments are starts of transactions, so they are before the read."""
    moment = connection.scalar(_TRUE_AT, {"keys": list(skus), "resource": RESOURCE})
    return moment or database.now(connection)


def _free(connection: sa.Connection, centers: Centers, skus: set[str]) -> dict[str, int]:
    """Reads the free units of SKUs over our own locations, as last read from TIMS."""
    own = [location for location, column in centers.column.items() if column >= 0]
    rows = connection.execute(_FREE, {"skus": sorted(skus), "own": own})
    return {sku: int(units) for sku, units in rows}


def _listings(
    connection: sa.Connection, names: Sequence[str], products: Mapping[str, Products], settings: Offers
) -> dict[str, list[Listing]]:
    """Reads the listings of each item's products on sites that may show a quantity of their own, or have shown one."""
    before = _shown_before(connection, names)
    if (not settings.sites and not before) or "listings" in abilities.lacking(connection):
        return {}
    name_of = {sku: name for name in names if name in products for sku in products[name].sold}
    table = ref_channel_listing
    rows = connection.execute(
        sa.select(table.c.listing_id, table.c.sku, table.c.site_id, table.c.quantity)
        .where(documents.among(table.c.sku, list(name_of)), table.c.status != "Ended")
        .order_by(table.c.listing_id)
    )
    found: dict[str, list[Listing]] = {}
    for listing, sku, site, shown in rows:
        found.setdefault(name_of[sku], []).append(Listing(listing, site, shown is not None, listing in before))
    return found


def _shown_before(connection: sa.Connection, names: Sequence[str]) -> set[int]:
    """Finds listings to which a quantity of their own was sent."""
    table = stage_channel_quantity
    rows = connection.scalars(
        sa.select(table.c.listings).where(documents.among(table.c.key, names), table.c.listings != sa.text("'[]'"))
    )
    return {entry["ListingID"] for entries in rows for entry in entries}


def _content(header: pd.DataFrame, body: pd.DataFrame) -> pd.Series:
    """Hashes the channel's target state, the version of TIMS's figures and the orders in flight: a quantity that
    returns to an old value is sent again, for orders have changed the channel's meanwhile."""
    written: list[list[Any]] = [[] for _ in range(len(header))]
    for row, *line in zip(body[ROW], *(body[name].tolist() for name in LINE_COLUMNS[:3]), strict=True):
        written[row].append(line)
    texts = [
        [None if pd.isna(text) else text for text in header[name].tolist()]
        for name in ("listings", "orders_in_flight", "parts_in_flight")
    ]
    return pd.Series(
        [
            raw.digest(
                database.to_json(
                    [str(version), lines, database.from_json(listings), orders, parts and database.from_json(parts)]
                ).encode()
            )
            for version, listings, orders, parts, lines in zip(header["RowVersion"], *texts, written, strict=True)
        ],
        dtype="str",
    )


def _strange(frames: Frames, settings: Offers) -> list[dict]:
    """Makes one notice, once, for each location that the configuration does not name."""
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
