"""Prices, the documents: TIMS's items as frames -> the prices that the channel should have, as staged rows.

In: parsed items, products and listings of the channel in `ref`, the price settings. Out: `Staged`; a head is an item's
price, its lines are the places that it goes to. Never: a call to a system; a price of a listing that has none of its
own and had none from us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Staged
from crossdock.flows import documents, unreadable
from crossdock.mapping import contracts, language, problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, amounts, scaled
from crossdock.mapping.parse import Parsed
from crossdock.reference import channel
from crossdock.rules import price_settings, pricing
from crossdock.rules.price_settings import PRODUCT, Place, PriceSettings
from crossdock.rules.pricing import Clock
from crossdock.store import database, deliveries, raw
from crossdock.store.tables import (
    PRICE_MONEY,
    PRICE_TEXT,
    ops_watermark,
    ref_channel_listing,
    ref_company,
    stage_price_line,
)

PRICE, LISTING_PRICE = "channel_price", "listing_price"  # entities of links and deliveries
FIELDS = (*PRICE_TEXT, *PRICE_MONEY)
TOLD = tuple(name for name in FIELDS if name != "SKU")  # of every product that is the item, the same


@dataclass
class _Item:
    """What the channel has of an item: its products, those of them that could be another item too, and listings."""

    products: list[str] = field(default_factory=list)
    rivals: dict[str, list[str]] = field(default_factory=dict)
    listings: list[sa.Row] = field(default_factory=list)

    @property
    def seen(self) -> list[str]:
        return [*self.products, *self.rivals, *(f"#{row.listing_id}" for row in self.listings)]


def clock(connection: sa.Connection) -> Clock:
    """The channel's own clock as its reference data were last read, for promotions run by it; zone and currency of
    TIMS's company."""
    read = connection.scalar(
        sa.select(sa.func.max(ops_watermark.c.position)).where(
            ops_watermark.c.flow == "reference",
            ops_watermark.c.resource.in_([channel.PRODUCTS.name, channel.LISTINGS.name]),
        )
    )
    company = connection.execute(sa.select(ref_company.c.time_zone, ref_company.c.base_currency)).first()
    zone, base = company or ("UTC", price_settings.load().currency)
    return Clock(read or datetime.now(UTC), ZoneInfo(zone), base)


def fingerprint(settings: PriceSettings, at: Clock) -> str:
    """What, beside the item and the clock, decides a price."""
    return raw.digest(f"{settings.fingerprint} {at.zone.key} {at.base}".encode())


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged prices of a batch."""
    settings, at = price_settings.load(), clock(connection)
    given = amounts(parsed.frames.header, contracts.document("tims", "Item"))
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    items = given[["SKU", "Category", "Cost", "ListPrice"]].assign(MinMargin=_shares(given["MinMarginPercent"]))
    there = _there(connection, items["SKU"].tolist())
    existing = [there.get(sku, _Item()) for sku in items["SKU"].fillna("").tolist()]
    state, reason = _states(given, existing)

    sent = deliveries.links(
        connection, LISTING_PRICE, [str(row.listing_id) for one in existing for row in one.listings]
    )
    price_targets = _price_targets(existing, state, settings, set(sent))
    made = pricing.prices(items, price_targets, settings, at)
    promoted = pricing.promotions(items, price_targets, made, settings, at)

    found = problems.concat(
        [
            _ambiguous(existing, state),
            _other_currency(price_targets, existing),
            pricing.found(price_targets, made, "Price", pricing.ADVICE),
            pricing.found(price_targets, promoted, "Promotion.Price", pricing.PROMOTION_ADVICE),
        ]
    )
    target, mapping_errors = language.load("price").apply(
        Frames(pd.concat([given, _reported(given, price_targets, made, promoted, settings)], axis=1), _no_lines()),
        explained=found,
    )
    works = np.array([one == "staged" for one in state], dtype=bool)
    found = problems.concat([found, mapping_errors[works[mapping_errors[ROW].to_numpy()]]])

    header = pd.DataFrame(
        {
            "key": kept,
            "state": pd.Series(state, dtype="str"),
            "reason": pd.Series([text or np.nan for text in reason], dtype="str"),
            **{name: target.header[name] for name in FIELDS},
            "rules": pd.Series([fingerprint(settings, at)] * len(kept), dtype="str"),
            "next_at": _next_at(price_targets, promoted, settings, at, len(kept)),
            "seen": pd.Series([database.to_json(one.seen) for one in existing], dtype="str"),
        }
    )
    header["content_hash"] = _hashes(header[list(TOLD)])
    lines = _lines(kept, existing, price_targets, made, promoted, header)
    header, found = unreadable.joined(header, found, parsed, keys)
    header["seen"] = header["seen"].fillna("[]")
    return Staged(header, lines, found)


def _no_lines() -> pd.DataFrame:
    return pd.DataFrame({ROW: pd.Series(dtype="int64"), LINE: pd.Series(dtype="int64")})


def _shares(percents: pd.Series) -> pd.Series:
    """Written percentages as whole ten-thousandths of 1; missing where there is none."""
    codes, distinct = pd.factorize(percents)
    values = pd.array([scaled(text) // CENT for text in distinct], dtype="Int64")
    return pd.Series(values.take(codes, allow_fill=True), index=percents.index, dtype="Int64")


def _there(connection: sa.Connection, skus: Sequence[str]) -> dict[str, _Item]:
    """What the channel has of each item, by TIMS's SKU."""
    wanted = set(skus)
    there: dict[str, _Item] = {}
    of_product: dict[str, list[str]] = {}
    for row in channel.products_of(connection, skus):
        for sku in wanted.intersection(row.items or ()):
            one = there.setdefault(sku, _Item())
            if len(row.items) == 1:
                one.products.append(row.product_sku)
                of_product.setdefault(row.product_sku, []).append(sku)
            else:
                one.rivals[row.product_sku] = row.items
    table = ref_channel_listing
    listings = sa.select(table.c.listing_id, table.c.sku, table.c.site_id, table.c.currency_code).where(
        documents.among(table.c.sku, list(of_product)), table.c.status != "Ended"
    )
    for row in connection.execute(listings.order_by(table.c.listing_id)):
        for sku in of_product[row.sku]:
            there[sku].listings.append(row)
    return there


def _states(given: pd.DataFrame, existing: Sequence[_Item]) -> tuple[list[str], list[str]]:
    """(state, why it is left out or waits) of each item."""
    states, reasons = [], []
    facts = (given[name].tolist() for name in ("Status", "Type", "ChannelEligible", "Cost", "ListPrice"))
    for status, kind, eligible, cost, list_price, one in zip(*facts, existing, strict=True):
        skip_reason = (
            "TIMS has blocked the item." if status == "Blocked"
            else "A service has no price on a channel." if kind == "Service"
            else "TIMS does not sell the item on channels." if eligible is not True
            else "The item has no cost and no list price." if not _is_given(cost) and not _is_given(list_price)
            else ""
        )  # fmt: skip
        waits = "" if one.products or one.rivals else "Channel Advisor has no product of this item yet."
        states.append("left_out" if skip_reason else "waiting" if waits else "staged")
        reasons.append(skip_reason or waits)
    return states, reasons


def _is_given(amount: Any) -> bool:
    return amount is not pd.NA and amount is not None and amount > 0


def _price_targets(
    existing: Sequence[_Item], states: Sequence[str], settings: PriceSettings, sent: set[str]
) -> pd.DataFrame:
    """The places to make prices for, each once for an item: the product's own, and the sites of its listings that have
    prices of their own, or had one from us."""
    places = {place.site: place for place in settings.places()}
    rows: list[tuple[int, int, str, bool]] = []
    for row, (one, state) in enumerate(zip(existing, states, strict=True)):
        if state != "staged":
            continue
        rows.append((row, PRODUCT, settings.currency, True))
        mine: dict[int, Place] = {}
        for listing in one.listings:
            place = places.get(listing.site_id)
            if place is None and str(listing.listing_id) in sent:
                place = Place(listing.site_id, "", own=False)
            if place is not None:
                mine.setdefault(place.site, Place(place.site, place.currency or listing.currency_code, place.own))
        rows += [(row, place.site, place.currency, place.own) for place in mine.values()]
    frame = pd.DataFrame(rows, columns=["row", "site", "currency", "own"])
    return frame.astype({"row": "int64", "site": "int64", "currency": "str", "own": "bool"})


def _ambiguous(existing: Sequence[_Item], states: Sequence[str]) -> pd.DataFrame:
    """Products that could be several items: nobody knows whose price they should have."""
    odd = [
        (row, product, items)
        for row, (one, state) in enumerate(zip(existing, states, strict=True))
        for product, items in one.rivals.items()
        if state == "staged"
    ]
    return problems.make(
        [row for row, *_ in odd],
        field="SKU",
        rule="ambiguous_sku",
        value=[product for _, product, _ in odd],
        message=[
            f"The product {product} at Channel Advisor could be any of these items: {', '.join(items)}."
            for _, product, items in odd
        ],
        do="Name the product in AlternateSKUs of the right item in TIMS, then replay this; dismiss it if it is the "
        "other item's.",
    )


def _other_currency(price_targets: pd.DataFrame, existing: Sequence[_Item]) -> pd.DataFrame:
    """Listings that are in another currency than their site by the configuration."""
    odd = [
        (row, site, listing.currency_code, currency)
        for row, site, currency in price_targets[["row", "site", "currency"]].itertuples(index=False, name=None)
        for listing in existing[row].listings
        if listing.site_id == site and listing.currency_code != currency
    ]
    return problems.make(
        [row for row, *_ in odd],
        field="Currency",
        rule="wrong_currency",
        value=[is_ for _, _, is_, _ in odd],
        line=[f"site {site}" for _, site, _, _ in odd],
        message=[
            f"The listing on site {site} is in {is_}, by include/config/prices.yaml the site is in {should}."
            for _, site, is_, should in odd
        ],
        do="Correct the site's currency in include/config/prices.yaml.",
    )


def _reported(
    given: pd.DataFrame,
    price_targets: pd.DataFrame,
    made: pd.DataFrame,
    promoted: pd.DataFrame,
    settings: PriceSettings,
) -> pd.DataFrame:
    """The columns that the mapping reads: the product's own price of each item."""
    own = (price_targets["site"] == PRODUCT).to_numpy()
    at = pd.Index(price_targets["row"].to_numpy()[own])
    columns = {
        **{name: made[name] for name in ("Price", "MinPrice", "MaxPrice", "RetailPrice")},
        "Promotion.PromotionID": promoted["promotion"],
        "Promotion.Price": promoted["promotion_price"],
        "Promotion.StartDate": promoted["start"],
        "Promotion.EndDate": promoted["end"],
    }
    whole = pd.DataFrame({name: values[own].set_axis(at).reindex(given.index) for name, values in columns.items()})
    whole["Currency"] = pd.Series(settings.currency, index=given.index, dtype="str").where(whole["Price"].notna())
    return whole


def _next_at(
    price_targets: pd.DataFrame, promoted: pd.DataFrame, settings: PriceSettings, at: Clock, count: int
) -> pd.Series:
    """The first moment, as text, at which anything of an item's prices changes by the clock."""
    rates = {
        code: pricing.next_rate(settings, code, at) for code in {*price_targets["currency"].tolist(), settings.currency}
    }
    earliest: list[str | float] = [np.nan] * count
    for row, currency, edge in zip(price_targets["row"], price_targets["currency"], promoted["next_at"], strict=True):
        own = rates[currency] or rates[settings.currency]
        for text in (edge, pricing.moment(own) if own else None):
            if isinstance(text, str) and (not isinstance(earliest[row], str) or text < earliest[row]):
                earliest[row] = text
    return pd.Series(earliest, dtype="str")


def _lines(
    keys: pd.Series, existing: Sequence[_Item], price_targets: pd.DataFrame, made: pd.DataFrame, promoted: pd.DataFrame,
    header: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    """One line for each product and each listing that is to be told."""
    rows: list[dict[str, Any]] = []
    counts: dict[int, int] = {}
    hashes = header["content_hash"].tolist()
    everything = pd.concat(
        [price_targets, made[["Price", "cost"]], promoted[["promotion", "promotion_price", "active"]]], axis=1
    )
    for spot in everything.itertuples(index=False):
        one = existing[spot.row]
        given = None if isinstance(spot.promotion, float) else spot.promotion
        if spot.site == PRODUCT:
            targets = [(product, None, spot.Price, given, hashes[spot.row]) for product in one.products]
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
    """A hash of what is told."""
    return raw.digest(repr([None if pd.isna(one) else str(one) for one in content]).encode())


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged prices with what the suite looks at."""
    header, lines = frames.header.copy(), frames.lines
    amount = {name: header[name].fillna(0).to_numpy(dtype=np.int64) for name in PRICE_MONEY}
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
