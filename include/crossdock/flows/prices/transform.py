"""Prices, the documents: TIMS's items as frames -> the prices that the channel should have, as staged rows.

In: parsed items, products and listings of the channel in `ref`, the price settings. Out: `Staged`; a header is an
item's price, its lines are the products and listings that get it. Never: a call to a system; a price of a listing that
has none of its own and had none from us.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.flow import Staged
from crossdock.flows import documents, unreadable
from crossdock.mapping import contracts, language, problems
from crossdock.mapping.frames import LINE, ROW, Frames, amounts
from crossdock.mapping.parse import Parsed
from crossdock.reference import channel
from crossdock.rules import price_settings
from crossdock.rules.price_settings import PRODUCT, PriceSettings
from crossdock.rules.pricing import ChannelItem, Clock, PriceContext
from crossdock.store import abilities, database, deliveries, raw, registry
from crossdock.store.tables import (
    ops_watermark,
    ref_channel_listing,
    ref_company,
    stage_price,
    stage_price_line,
)

PRICE, LISTING_PRICE = "channel_price", "listing_price"  # entities of links and deliveries
FIELDS = registry.fields(stage_price)
PROMOTION = tuple(name for name in FIELDS if name.startswith("Promotion."))
LISTINGS = "listings"
PROMOTIONS = "promotions"  # the ability to send a promotional price ahead, with its start and its end
TOLD = tuple(name for name in FIELDS if name != "SKU")  # fields that are sent, equal for all products of an item


def clock(connection: sa.Connection) -> Clock:
    """Reads the channel's clock at the last read of its reference data, for promotions run by it; and time zone and
    currency of TIMS's company."""
    read = connection.scalar(
        sa.select(sa.func.max(ops_watermark.c.position)).where(
            ops_watermark.c.flow == "reference",
            ops_watermark.c.resource.in_([channel.PRODUCTS.name, channel.LISTINGS.name]),
        )
    )
    company = connection.execute(sa.select(ref_company.c.time_zone, ref_company.c.base_currency)).first()
    zone, base = company or ("UTC", price_settings.load().currency)
    return Clock(read or datetime.now(UTC), ZoneInfo(zone), base)


def fingerprint(settings: PriceSettings, at: Clock, lacking: Collection[str]) -> str:
    """Hashes what decides a price besides the item and the clock. `lacking`: what the channel's API cannot do."""
    switched_off = [ability for ability in (LISTINGS, PROMOTIONS) if ability in lacking]
    return raw.digest(" ".join([settings.fingerprint, at.zone.key, at.base, *switched_off]).encode())


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged prices of a batch."""
    given = amounts(parsed.frames.header, contracts.document("tims", "Item"))
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    context, lacking = load_context(connection, given["SKU"].tolist()), abilities.lacking(connection)
    settings, at = context.settings, context.clock
    done = language.load("price").apply(Frames(given, _no_lines()), context, also=("state", "reason", "next_at"))
    source, target, places = done.source.header, done.target, done.source.made
    if places is None:
        raise ConfigError("price.yaml: no rule makes the places of a price.", do="Name price_places under `rules`.")
    existing = [context.existing(sku) for sku in source["SKU"].tolist()]
    sent = _as_sent(target.header, places, PROMOTIONS in lacking)
    works = source["state"].eq("staged").to_numpy(dtype=bool)
    found = problems.concat([done.problems, done.errors[works[done.errors[ROW].to_numpy()]]])

    header = pd.DataFrame(
        {
            "key": kept,
            "state": source["state"],
            "reason": source["reason"],
            **{name: sent[name] for name in FIELDS},
            "rules": pd.Series([fingerprint(settings, at, lacking)] * len(kept), dtype="str"),
            "next_at": source["next_at"],
            "seen": pd.Series([database.to_json(one.seen) for one in existing], dtype="str"),
        }
    )
    header["content_hash"] = _hashes(header[list(TOLD)])
    lines = _lines(kept, existing, places, header, PROMOTIONS in lacking)
    header, found = unreadable.joined(header, found, parsed, keys)
    header["seen"] = header["seen"].fillna("[]")
    return Staged(header, lines, found)


def _as_sent(header: pd.DataFrame, places: pd.DataFrame, in_price: bool) -> pd.DataFrame:
    """The prices of products as they are sent. `in_price`: the channel has no promotional prices, so a promotion that
    runs is the product's price, and one that has not begun is not sent."""
    if not in_price:
        return header
    running = places[places["site"].eq(PRODUCT).to_numpy() & places["active"].to_numpy(dtype=bool)].set_index(ROW)
    made = header.assign(**{name: pd.Series(dtype=header[name].dtype, index=header.index) for name in PROMOTION})
    made.loc[running.index, "Price"] = running["promotion_price"]
    return made


def _no_lines() -> pd.DataFrame:
    return pd.DataFrame({ROW: pd.Series(dtype="int64"), LINE: pd.Series(dtype="int64")})


def load_context(connection: sa.Connection, skus: Sequence[str]) -> PriceContext:
    """Reads what the rules need besides the items."""
    there = _there(connection, skus)
    listings = [str(row.listing_id) for one in there.values() for row in one.listings]
    sent = deliveries.links(connection, LISTING_PRICE, listings)
    return PriceContext(price_settings.load(), clock(connection), there, frozenset(sent))


def _there(connection: sa.Connection, skus: Sequence[str]) -> dict[str, ChannelItem]:
    """Reads the channel's products, and its listings if its API has any, of each item, by TIMS's SKU."""
    wanted = set(skus)
    there: dict[str, ChannelItem] = {}
    of_product: dict[str, list[str]] = {}
    for row in channel.products_of(connection, skus):
        for sku in wanted.intersection(row.items or ()):
            one = there.setdefault(sku, ChannelItem())
            if len(row.items) == 1:
                one.products.append(row.product_sku)
                of_product.setdefault(row.product_sku, []).append(sku)
            else:
                one.rivals[row.product_sku] = row.items
    if LISTINGS in abilities.lacking(connection):
        return there
    table = ref_channel_listing
    listings = sa.select(table.c.listing_id, table.c.sku, table.c.site_id, table.c.currency_code).where(
        documents.among(table.c.sku, list(of_product)), table.c.status != "Ended"
    )
    for row in connection.execute(listings.order_by(table.c.listing_id)):
        for sku in of_product[row.sku]:
            there[sku].listings.append(row)
    return there


def _lines(
    keys: pd.Series, existing: Sequence[ChannelItem], places: pd.DataFrame, header: pd.DataFrame, in_price: bool
) -> pd.DataFrame:
    """Makes one line for each product and each listing that gets a price. `in_price` as in `_as_sent`."""
    rows: list[dict[str, Any]] = []
    counts: dict[int, int] = {}
    hashes = header["content_hash"].tolist()
    for spot in places.rename(columns={ROW: "row"}).itertuples(index=False):
        one = existing[spot.row]
        given = None if isinstance(spot.promotion, float) else spot.promotion
        if spot.site == PRODUCT:
            price = spot.promotion_price if in_price and spot.active else spot.Price
            running = given if spot.active or not in_price else None
            targets = [(product, None, price, running, hashes[spot.row]) for product in one.products]
        else:
            price = spot.promotion_price if spot.active else spot.Price if spot.own else None
            running = given if spot.active else None
            targets = [
                (listing.sku, listing.listing_id, price, running, _digest([spot.currency, price]))
                for listing in one.listings
                if listing.site_id == spot.site
            ]
        for sku, listing_id, price, promotion, content in targets:
            position = counts[spot.row] = counts.get(spot.row, -1) + 1
            rows.append(
                {
                    "key": keys[spot.row], "position": position, "sku": sku, "listing_id": listing_id,
                    "site_id": spot.site, "Price": price, "Currency": spot.currency, "cost": spot.cost,
                    "promotion_id": promotion, "content_hash": content,
                }
            )  # fmt: skip
    names = [column.name for column in stage_price_line.columns]
    frame = pd.DataFrame(rows, columns=names)
    whole = ("position", "listing_id", "site_id", "Price", "cost")
    return frame.astype({name: "Int64" if name in whole else "str" for name in names})


def _hashes(sent: pd.DataFrame) -> pd.Series:
    return pd.Series([_digest(list(each)) for each in sent.itertuples(index=False, name=None)], dtype="str")


def _digest(content: Sequence[Any]) -> str:
    """Hashes the fields that are sent."""
    return raw.digest(repr([None if pd.isna(one) else str(one) for one in content]).encode())


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds what the suite checks besides."""
    header, lines = frames.header.copy(), frames.lines
    amount = {name: header[name].fillna(0).to_numpy(dtype=np.int64) for name in registry.fields(stage_price, "money")}
    promoted = header["Promotion.Price"].notna().to_numpy()
    capped, floored = header["MaxPrice"].notna().to_numpy(), header["MinPrice"].notna().to_numpy()

    def beyond(difference: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.where(counts, np.maximum(difference, 0), 0)

    header["below_min"] = beyond(amount["MinPrice"] - amount["Price"], floored)
    header["above_max"] = beyond(amount["Price"] - amount["MaxPrice"], capped)
    header["promotion_not_below"] = beyond(amount["Promotion.Price"] - amount["Price"] + 1, promoted)
    header["promotion_below_min"] = beyond(amount["MinPrice"] - amount["Promotion.Price"], promoted & floored)
    own = lines[(lines["listing_id"].notna() & lines["Price"].notna()).to_numpy()]
    lowest: Mapping[int, int] = own.groupby(ROW)["Price"].min().to_dict()
    header["worst_site_price"] = np.array([int(lowest.get(row, 1)) for row in range(len(header))], dtype=np.int64)
    return Frames(header, _no_lines())
