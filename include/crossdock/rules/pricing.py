"""Computes prices: what an item costs at each place of the channel, and until when.

In: items (cost, list price, least margin), the places that they are sold at, the settings, a moment. Out: prices in
whole ten-thousandths of the place's currency, bounds, the promotion that counts, problems. Never: a float, a price
below its floor, an amount that its currency does not have.

    price = max(floor, cost / (1 - margin)), up to the next step and ending, at most the cap
    floor = the highest of: the item's floor, cost / (1 - MinMarginPercent), its share of ListPrice (MAP)

An item without cost is sold at its ListPrice. Amounts are exact: the columns that are divided hold Python's integers,
which have no upper limit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, LINE, ROW, SCALE, Frames, scaled, written
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.price_settings import PRODUCT, RATE_SCALE, Place, PriceSettings, Promotion, SkuRule, Terms, unit


@dataclass(frozen=True)
class Clock:
    """The moment that prices are made for, and the company's time zone and base currency."""

    now: datetime
    zone: ZoneInfo
    base: str

    @property
    def day(self) -> date:
        return self.now.astimezone(self.zone).date()


ADVICE = "Correct include/config/prices.yaml or include/config/lookups/price_rules.csv, or the item in TIMS."
PROMOTION_ADVICE = (
    "Correct include/config/lookups/promotions.csv, or set `refused: skip` in include/config/prices.yaml."
)


# ---- rounding ------------------------------------------------------------------------------------------------------


def up(amount: Any, step: Any) -> Any:
    """Rounds up: the smallest multiple of `step` that is not below `amount`."""
    return -(-amount // step) * step


def over(numerator: Any, denominator: Any, step: Any = 1) -> Any:
    """numerator / denominator, rounded up to a multiple of `step`."""
    return -(-numerator // (denominator * step)) * step


def period(ending: int) -> int:
    """The distance between two prices with this ending: 1 for 0.99; 10 for 9, and for 4.99."""
    after = SCALE
    while after <= ending:
        after *= 10
    return after


def ending_from(amount: Any, endings: Sequence[int]) -> Any:
    """The lowest price with one of the endings that is not below `amount`."""
    return _best(np.minimum, [ending + up(amount - ending, period(ending)) for ending in endings])


def ending_to(amount: Any, endings: Sequence[int]) -> Any:
    """The highest price with one of the endings that is not above `amount`; below 0 where there is none."""
    return _best(np.maximum, [ending + (amount - ending) // period(ending) * period(ending) for ending in endings])


def _best(choose: Any, each: Sequence[Any]) -> Any:
    best = each[0]
    for one in each[1:]:
        best = choose(best, one)
    return best


# ---- ordinary prices -----------------------------------------------------------------------------------------------


def prices(items: pd.DataFrame, price_targets: pd.DataFrame, settings: PriceSettings, clock: Clock) -> pd.DataFrame:
    """The ordinary price at each place.

    `items`: SKU, Category, Cost, ListPrice, MinMargin (ten-thousandths of 1). `price_targets`, any number per item:
    `row` of the item, `site`, `currency`. Returns, aligned to these: Price, MinPrice, MaxPrice, RetailPrice, cost
    (Int64; Price is missing where there is none), and `rule`, `says` where that is so."""
    made = pd.DataFrame(index=price_targets.index)
    at = price_targets["row"].to_numpy(dtype=np.int64)
    sites, currencies = price_targets["site"].tolist(), price_targets["currency"].tolist()
    skus, categories = items["SKU"].iloc[at].tolist(), items["Category"].fillna("").iloc[at].tolist()
    cost, list_price = (_whole(items[name].iloc[at]) for name in ("Cost", "ListPrice"))
    least_margin = _whole(items["MinMargin"].iloc[at])
    rates = {code: rate_on(settings, code, clock) for code in {*currencies, settings.currency}}
    rate = _objects([rates[code] or RATE_SCALE for code in currencies])
    base_rate = rates[settings.currency] or RATE_SCALE
    units = _objects([unit(code) for code in currencies])

    cache: dict[tuple[int, str], Terms] = {}
    terms = [
        cache.get((site, category)) or cache.setdefault((site, category), settings.terms(site, category))
        for site, category in zip(sites, categories, strict=True)
    ]
    here = [settings.rule(sku, site) for sku, site in zip(skus, sites, strict=True)]
    everywhere = [settings.rule_everywhere(sku) for sku in skus]
    step = np.maximum(_objects([one.step for one in terms]), units)
    margin = _first("margin", here, everywhere, terms)
    map_share = _first("map", here, everywhere, terms)

    dear = list_price * RATE_SCALE  # divided by `rate`: the list price in the place's currency
    by_margin = over(cost * RATE_SCALE * SCALE, rate * (SCALE - least_margin), units)
    floor = np.maximum(np.where(least_margin > 0, by_margin, 0), over(dear * map_share, rate * SCALE, units))
    floor = np.maximum(floor, _stated("floor", here, everywhere, base_rate, rate, units))
    most = _objects([one.most or 0 for one in terms])
    own_cap = _stated("cap", here, everywhere, base_rate, rate, units)
    cap = np.where(own_cap > 0, own_cap, dear * most // (rate * SCALE * units) * units)  # 0: none

    costs_something = cost > 0
    above = np.where(costs_something, cost * RATE_SCALE * SCALE, dear)
    below = np.where(costs_something, rate * (SCALE - margin), rate)
    price = _rounded(above, below, step, [one.rounding for one in terms])
    price = np.maximum(price, up(floor, step))
    price = _charmed(price, floor, terms, cap)
    fixed = _stated("price", here, everywhere, base_rate, rate, step)
    price = np.where(fixed > 0, fixed, price)

    made["Price"], made["MinPrice"], made["MaxPrice"] = _int64(price), _int64(floor), _int64(cap)
    made["cost"] = _int64(over(cost * RATE_SCALE, rate))
    retail = (dear * 2 // (rate * units) + 1) // 2 * units  # to the nearest
    made["RetailPrice"] = _int64(retail).where(_int64(retail) > made["Price"])
    made["MinPrice"] = made["MinPrice"].where(made["MinPrice"] > 0)
    made["MaxPrice"] = made["MaxPrice"].where(made["MaxPrice"] > 0)
    made["rule"], made["says"] = _refused(price, floor, cap, fixed, currencies, rates, settings.currency)
    return made


def rate_on(settings: PriceSettings, currency: str, clock: Clock) -> int | None:
    """The value of one unit of the currency that day in the base currency, x 10^8; None without a rate."""
    if currency == clock.base:
        return RATE_SCALE
    rows = [row for row in settings.rates.get(currency, ()) if row[0] <= clock.day]
    return max(rows)[1] if rows else None


def _first(name: str, here: Sequence[SkuRule], everywhere: Sequence[SkuRule], terms: Sequence[Terms]) -> np.ndarray:
    """A share: the first given of the item's on this site, the item's, its category's."""
    return _objects(
        [
            next(value for value in (getattr(one, name) for one in three) if value is not None)
            for three in zip(here, everywhere, terms, strict=True)
        ]
    )


def _stated(
    name: str, here: Sequence[SkuRule], everywhere: Sequence[SkuRule], base_rate: int, rate: Any, step: Any
) -> np.ndarray:
    """An amount that price_rules gives for an item, in the place's currency; 0 where it gives none. A cap is rounded
    down to a multiple of `step`, all else up."""
    own = _objects([getattr(one, name) or 0 for one in here])
    stated = _objects([getattr(one, name) or 0 for one in everywhere]) * base_rate
    converted = stated // (rate * step) * step if name == "cap" else over(stated, rate, step)
    same = stated // rate  # in the same currency it stays as written
    return np.where(own > 0, own, np.where(rate == base_rate, same, converted))


def _rounded(above: Any, below: Any, step: Any, how: Sequence[str]) -> np.ndarray:
    """above / below, as a multiple of `step`."""
    ways = np.array(how, dtype=object)
    nearest = (above * 2 // (below * step) + 1) // 2 * step
    down = above // (below * step) * step
    return np.where(ways == "up", over(above, below, step), np.where(ways == "down", down, nearest))


def _charmed(price: np.ndarray, floor: np.ndarray, terms: Sequence[Terms], cap: np.ndarray) -> np.ndarray:
    """Prices with their endings, within floor and cap."""
    made = price.copy()
    for one in set(terms):
        at = np.flatnonzero(np.array([each == one for each in terms], dtype=bool))
        some, least, most = price[at], floor[at], cap[at]
        if one.charm:
            higher, lower = ending_from(some, one.charm), ending_to(some, one.charm)
            if one.rounding == "up":
                ended = higher
            elif one.rounding == "down":
                ended = lower
            else:
                ended = np.where(some - lower < higher - some, lower, higher)
            ended = np.where((ended < least) | (ended <= 0), higher, ended)
            some = np.where(some >= one.charm_from, ended, some)
        too_high = (most > 0) & (some > most)
        if too_high.any():
            held = most // one.step * one.step
            if one.charm:
                ending = ending_to(most, one.charm)
                held = np.where((ending >= np.maximum(least, 1)) & (most >= one.charm_from), ending, held)
            some = np.where(too_high, held, some)
        made[at] = some
    return made


def _refused(
    price: np.ndarray, floor: np.ndarray, cap: np.ndarray, fixed: np.ndarray, currencies: Sequence[str],
    rates: dict[str, int | None], base: str,
) -> tuple[pd.Series, pd.Series]:  # fmt: skip
    """Why a price is refused: the rule's name and the sentence; missing where it is not."""
    names: list[str | None] = []
    sentences: list[str | None] = []
    for amount, least, most, given, code in zip(price, floor, cap, fixed, currencies, strict=True):
        name, message = None, None
        if rates[code] is None or rates[base] is None:
            without = code if rates[code] is None else base
            name, message = (
                "no_rate",
                f"include/config/lookups/exchange_rates.csv has no rate of {without} for this day.",
            )
        elif given and given < least:
            name, message = (
                "fixed_below_floor",
                f"The fixed price {written(given)} is below the floor {written(least)} {code}.",
            )
        elif most and most < least:
            name, message = (
                "floor_above_cap",
                f"The floor {written(least)} is above the highest price {written(most)} {code}.",
            )
        elif given and most and given > most:
            name, message = (
                "fixed_above_cap",
                f"The fixed price {written(given)} is above the cap {written(most)} {code}.",
            )
        elif most and amount < least:
            message = (
                f"No price of its step lies between the floor {written(least)} and the cap {written(most)} {code}."
            )
            name = "floor_above_cap"
        names.append(name)
        sentences.append(message)
    return pd.Series(names, dtype="str"), pd.Series(sentences, dtype="str")


def _objects(values: Sequence[Any]) -> np.ndarray:
    """Python's integers, in which no product overflows."""
    made = np.empty(len(values), dtype=object)
    made[:] = [int(value) for value in values]
    return made


def _whole(values: pd.Series) -> np.ndarray:
    return _objects(values.fillna(0).tolist())


def _int64(values: np.ndarray) -> pd.Series:
    return pd.Series(np.array(values.tolist(), dtype=np.int64), dtype="Int64")


# ---- promotions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A promotion of the settings with its moments."""

    promotion: Promotion
    start: datetime
    end: datetime


def windows(settings: PriceSettings, clock: Clock) -> list[Window]:
    """The promotions that have not ended, by the company's clock. A time that the clock skips in spring is read by the
    clock before the change; of one that comes twice in autumn, the first counts."""
    each = [
        Window(one, *(edge.replace(tzinfo=clock.zone).astimezone(UTC) for edge in (one.start, one.end)))
        for one in settings.promotions
    ]
    return [one for one in each if one.end > clock.now]


def promotions(
    items: pd.DataFrame, price_targets: pd.DataFrame, made: pd.DataFrame, settings: PriceSettings, clock: Clock
) -> pd.DataFrame:
    """The promotion at each place.

    `made`: what `prices` returned. Returns, aligned to the targets: promotion, promotion_price (Int64), start, end (UTC
    moments as text), active (bool), next_at (text: when the clock changes any of it next), and problems as `rule`,
    `says`."""
    count = len(price_targets)
    found: dict[str, list[Any]] = {
        name: [None] * count for name in ("promotion", "promotion_price", "start", "end", "next_at", "rule", "says")
    }
    active = [False] * count
    now, open_windows = clock.now, windows(settings, clock)
    base_rate = rate_on(settings, settings.currency, clock)
    skus, categories = items["SKU"].tolist(), items["Category"].fillna("").tolist()
    matching: dict[tuple[str, str], list[Window]] = {}
    rates = {code: rate_on(settings, code, clock) for code in set(price_targets["currency"].tolist())}
    ordinary = zip(
        price_targets["row"].tolist(), price_targets["site"].tolist(), price_targets["own"].tolist(),
        price_targets["currency"].tolist(), made["Price"].tolist(), made["MinPrice"].tolist(),
        made["rule"].isna().tolist(), strict=True, )  # fmt: skip
    for n, (row, site, own, currency, price, least, fine) in enumerate(ordinary):
        pair = (skus[row], categories[row])
        if pair not in matching:
            matching[pair] = [
                one for one in open_windows
                if fnmatchcase(pair[0], one.promotion.sku) and fnmatchcase(pair[1], one.promotion.category)
            ]  # fmt: skip
        mine = [one for one in matching[pair] if site in one.promotion.sites or (own and not one.promotion.sites)]
        if not mine or not fine:
            continue
        floor = 0 if least is pd.NA else int(least)
        step = max(settings.terms(site, pair[1]).step, unit(currency))
        offers = []
        for one in mine:
            if one.promotion.percent is not None:
                requested = over(int(price) * (SCALE - one.promotion.percent), SCALE, step)
            else:
                requested = int(one.promotion.price or 0)
                if rates[currency] != base_rate:
                    requested = over(requested * (base_rate or RATE_SCALE), rates[currency] or RATE_SCALE, step)
            offers.append((one, requested, _wrong(one, requested, int(price), floor, currency)))
        found["next_at"][n] = moment(min(edge for one in mine for edge in (one.start, one.end) if edge > now))
        if settings.refused == "skip":
            offers = [offer for offer in offers if offer[2] is None]
        running = [offer for offer in offers if offer[0].start <= now]
        chosen = min(
            running or offers,
            key=lambda offer: (
                (offer[1], offer[0].start, offer[0].promotion.name)
                if running
                else (offer[0].start, offer[1], offer[0].promotion.name)
            ),
            default=None,
        )
        if chosen is None:
            continue
        window, requested, wrong = chosen
        if wrong:
            found["rule"][n], found["says"][n] = wrong
        found["promotion"][n], found["promotion_price"][n] = window.promotion.name, requested
        found["start"][n], found["end"][n] = moment(window.start), moment(window.end)
        active[n] = bool(running)
    kinds = {"promotion_price": "Int64"}
    columns = {name: pd.Series(values, dtype=kinds.get(name, "str")) for name, values in found.items()}
    return pd.DataFrame({**columns, "active": pd.Series(active, dtype="bool")})


def _wrong(window: Window, requested: int, price: int, floor: int, currency: str) -> tuple[str, str] | None:
    """Why the channel would refuse a promotional price; None where it would not."""
    name = window.promotion.name
    if requested >= price:
        message = f"The promotion {name} asks {written(requested)}, not below the price {written(price)} {currency}."
        return "promotion_not_below_price", message
    if requested < floor:
        message = f"The promotion {name} asks {written(requested)}, below the lowest price {written(floor)} {currency}."
        return "promotion_below_floor", message
    return None


def moment(at: datetime) -> str:
    """A moment as both systems write it."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def next_rate(settings: PriceSettings, currency: str, clock: Clock) -> datetime | None:
    """When the next rate of a currency begins: midnight in the company's zone."""
    days = [start for start, _ in settings.rates.get(currency, ()) if start > clock.day]
    return datetime.combine(min(days), time(), clock.zone).astimezone(UTC) if days else None


# ---- prices that a person approves ---------------------------------------------------------------------------------


def question(
    price: int, promotion: int | None, cost: int, present: int | None, change: int, *, own_move: bool = False
) -> str:
    """Why a price waits for a person's approval; "" where it does not. `present`: the channel's price now, None without
    one; `own_move`: it changes because a promotion begins or ends. All in ten-thousandths of one currency."""
    if price < cost:
        return f"The price {written(price)} is below the cost {written(cost)}."
    if promotion is not None and promotion < cost:
        return f"The promotional price {written(promotion)} is below the cost {written(cost)}."
    if present and not own_move and abs(price - present) * SCALE > change * present:
        percent = (abs(price - present) * 1000 // present + 5) // 10
        way = "above" if price > present else "below"
        return f"The price {written(price)} is {percent} % {way} {written(present)}, which the channel has."
    return ""


def found(price_targets: pd.DataFrame, made: pd.DataFrame, field: str, do: str) -> pd.DataFrame:
    """The problems of `prices` or `promotions`, by the row of the item."""
    at = np.flatnonzero(made["rule"].notna().to_numpy())
    return problems.concat(
        problems.make(
            price_targets["row"].iloc[[n]].to_numpy(),
            field=field,
            rule=made["rule"].iloc[n],
            line=_place(int(price_targets["site"].iloc[n])),
            message=made["says"].iloc[n],
            do=do,
        )
        for n in at
    )


def _place(site: int) -> str:
    return "" if site == PRODUCT else f"site {site}"


# ---- rules ---------------------------------------------------------------------------------------------------------


@dataclass
class ChannelItem:
    """The channel's products and listings of an item, and those products that could be another item too."""

    products: list[str] = field(default_factory=list)
    rivals: dict[str, list[str]] = field(default_factory=dict)
    listings: list[Any] = field(default_factory=list)

    @property
    def seen(self) -> list[str]:
        return [*self.products, *self.rivals, *(f"#{row.listing_id}" for row in self.listings)]


@dataclass(frozen=True)
class PriceContext:
    """The context of the price rules: what they need beside columns. `there`: what the channel has of each item, by
    TIMS's SKU; `sent`: ListingIDs that have had a price from us."""

    settings: PriceSettings
    clock: Clock
    there: Mapping[str, ChannelItem]
    sent: Collection[str]

    def existing(self, sku: Any) -> ChannelItem:
        return self.there.get(sku) or ChannelItem()


@rule(
    "price_state",
    reads=["SKU", "Status", "Type", "ChannelEligible", "Cost", "ListPrice"],
    writes=["state", "reason"],
)
def price_state(frames: Frames, context: PriceContext) -> Columns:
    """An item that is not sold on channels, or has neither cost nor list price, is left out; one without a product at
    the channel waits. A product that could be several items is a problem."""
    existing = [context.existing(sku) for sku in frames.header["SKU"].tolist()]
    states, reasons = _states(frames.header, existing)
    columns = {
        "state": pd.Series(states, dtype="str"),
        "reason": pd.Series([text or np.nan for text in reasons], dtype="str"),
    }
    return Columns(pd.DataFrame(columns), problems=_ambiguous(existing, states))


def _states(given: pd.DataFrame, existing: Sequence[ChannelItem]) -> tuple[list[str], list[str]]:
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


@rule("price_places", reads=["SKU", "state"], writes=["made.site", "made.currency", "made.own"])
def price_places(frames: Frames, context: PriceContext) -> Columns:
    """The places to make prices for: the product's own, and the sites of its listings that have prices of their own by
    include/config/prices.yaml, or had one from us."""
    existing = [context.existing(sku) for sku in frames.header["SKU"].tolist()]
    places = _price_targets(existing, frames.header["state"].tolist(), context.settings, context.sent)
    found = _other_currency(places, existing)
    made = places.rename(columns={"row": ROW})
    made.insert(1, LINE, made.groupby(ROW).cumcount().astype("int64"))
    return Columns(made=made, problems=found)


def _price_targets(
    existing: Sequence[ChannelItem], states: Sequence[str], settings: PriceSettings, sent: Collection[str]
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


def _ambiguous(existing: Sequence[ChannelItem], states: Sequence[str]) -> pd.DataFrame:
    """Problems of products that could be several items: which item's price they should have is unknown."""
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


def _other_currency(price_targets: pd.DataFrame, existing: Sequence[ChannelItem]) -> pd.DataFrame:
    """Problems of listings in another currency than the configuration gives for their site."""
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


_OWN = ("Price", "MinPrice", "MaxPrice", "RetailPrice")
_PROMOTED = {
    "Promotion.PromotionID": "promotion",
    "Promotion.Price": "promotion_price",
    "Promotion.StartDate": "start",
    "Promotion.EndDate": "end",
}


@rule(
    "price",
    reads=["SKU", "Category", "Cost", "ListPrice", "MinMarginPercent", "made.site", "made.currency"],
    writes=["Currency", *_OWN, "made.Price", "made.MinPrice", "made.cost", "made.refused"],
)
def price(frames: Frames, context: PriceContext) -> Columns:
    """Computes prices from cost and margin by include/config/prices.yaml and lookups/price_rules.csv, up to the next
    step and ending, never below the floor. The heads have the product's own price, the lines that of each place."""
    items, places = _items(frames.header), _places(frames)
    made = prices(items, places, context.settings, context.clock)
    own = _of_product(places, {name: made[name] for name in _OWN}, frames.header)
    currency = pd.Series(context.settings.currency, index=own.index, dtype="str")
    own["Currency"] = currency.where(own["Price"].notna())
    lines = made[["Price", "MinPrice", "cost"]].assign(refused=made["rule"].notna())
    return Columns(own, made=lines, problems=found(places, made, "Price", ADVICE))


@rule(
    "promotion",
    reads=[
        "SKU", "Category", "made.site", "made.currency", "made.own", "made.Price", "made.MinPrice", "made.refused",
    ],
    writes=[*_PROMOTED, "made.promotion", "made.promotion_price", "made.active", "made.next_at"],
)  # fmt: skip
def promotion(frames: Frames, context: PriceContext) -> Columns:
    """The running promotion of include/config/lookups/promotions.csv, the lowest price of several, else the next one to
    start; it is sent with its own dates."""
    places = _places(frames)
    ordinary = places.assign(rule=places["refused"].map({True: "refused"}).astype("str"))
    items = frames.header[["SKU", "Category"]]
    made = promotions(items, places, ordinary, context.settings, context.clock)
    own = _of_product(places, {path: made[name] for path, name in _PROMOTED.items()}, frames.header)
    lines = made[["promotion", "promotion_price", "active", "next_at"]]
    return Columns(own, made=lines, problems=found(places, made, "Promotion.Price", PROMOTION_ADVICE))


@rule("next_price", reads=["made.currency", "made.next_at"], writes=["next_at"])
def next_price(frames: Frames, context: PriceContext) -> Columns:
    """The next moment at which the clock changes a price: a promotion starts or ends, an exchange rate begins."""
    made = _next_at(_places(frames), context.settings, context.clock, len(frames.header))
    return Columns(pd.DataFrame({"next_at": made}))


def _items(header: pd.DataFrame) -> pd.DataFrame:
    items = header[["SKU", "Category", "Cost", "ListPrice"]]
    return items.assign(MinMargin=_shares(header["MinMarginPercent"]))


def _places(frames: Frames) -> pd.DataFrame:
    """The places of a batch as the functions above take them."""
    assert frames.made is not None
    return frames.made.rename(columns={ROW: "row"})


def _of_product(places: pd.DataFrame, columns: Mapping[str, pd.Series], header: pd.DataFrame) -> pd.DataFrame:
    """The columns of the product's own place, one row an item."""
    own = (places["site"] == PRODUCT).to_numpy()
    at = pd.Index(places["row"].to_numpy()[own])
    return pd.DataFrame({name: values[own].set_axis(at).reindex(header.index) for name, values in columns.items()})


def _shares(percents: pd.Series) -> pd.Series:
    """Written percentages as whole ten-thousandths of 1; missing where there is none."""
    codes, distinct = pd.factorize(percents)
    values = pd.array([scaled(text) // CENT for text in distinct], dtype="Int64")
    return pd.Series(values.take(codes, allow_fill=True), index=percents.index, dtype="Int64")


def _next_at(price_targets: pd.DataFrame, settings: PriceSettings, at: Clock, count: int) -> pd.Series:
    """The first moment, as text, at which the clock changes any price of an item."""
    rates = {code: next_rate(settings, code, at) for code in {*price_targets["currency"].tolist(), settings.currency}}
    earliest: list[str | float] = [np.nan] * count
    for row, currency, edge in zip(
        price_targets["row"], price_targets["currency"], price_targets["next_at"], strict=True
    ):
        own = rates[currency] or rates[settings.currency]
        for text in (edge, moment(own) if own else None):
            if isinstance(text, str) and (not isinstance(earliest[row], str) or text < earliest[row]):
                earliest[row] = text
    return pd.Series(earliest, dtype="str")
