"""What an analyst decides about prices: prices.yaml, and the lookups price_rules, promotions and exchange_rates.

In: the files. Out: one frozen `PriceSettings`, with everything that is wrong with it by file and line. Never: a float;
an amount that its currency does not have.

In here, money is whole ten-thousandths, a share (a margin, a percentage) whole ten-thousandths of 1, a rate whole
hundred-millionths of the base currency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from crossdock import config
from crossdock.config import Currency, Day, Finding, Percent, SiteID, Struct, Table
from crossdock.mapping import lookups
from crossdock.mapping.frames import SCALE
from crossdock.mapping.lookups import Lookup
from crossdock.rules import currencies
from crossdock.settings import config_dir

PRODUCT = 0  # the site number of the product's own price
RATE_SCALE = 10**8
Rounding = Literal["up", "nearest", "down"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
Problems = Iterator[tuple[str | config.Place, str]]


def unit(currency: str) -> int:
    """The smallest amount that a currency has: 100 for GBP, 10,000 for JPY."""
    return int(10 ** (4 - currencies.places(currency)))


@dataclass(frozen=True)
class Terms:
    """How prices of one category are made on one site."""

    margin: int = 0  # wanted share of the price that is not cost; below 0 sells at a loss
    map: int = 0  # lowest price as a share of ListPrice
    most: int | None = None  # highest price as a share of ListPrice
    step: int = 100  # prices are whole multiples of it
    rounding: str = "up"
    charm: tuple[int, ...] = ()  # endings
    charm_from: int = 0  # a lower price has no charm ending


@dataclass(frozen=True)
class Place:
    """The product's own price, or one site with prices of its own. `own`: not only while a promotion runs."""

    site: int
    currency: str
    own: bool


@dataclass(frozen=True)
class SkuRule:
    """What one row of price_rules says of an item; None is not said. Amounts in the currency of its place."""

    price: int | None = None
    margin: int | None = None
    floor: int | None = None
    cap: int | None = None
    map: int | None = None


@dataclass(frozen=True)
class Promotion:
    """One row of promotions. `start` and `end` are the company's wall clock; `sites` empty: everywhere that has a
    price of its own."""

    name: str
    sku: str  # glob
    category: str  # glob
    price: int | None  # in the profile's currency
    percent: int | None  # off
    start: datetime
    end: datetime
    sites: frozenset[int]


@dataclass(frozen=True)
class PriceSettings:
    """All of it. `rates`: by currency, (from day, rate) oldest first."""

    file: Path
    currency: str = ""
    change: int = 3000  # a larger change waits for a person; share of the price at the channel
    refused: str = "dead_letter"
    default: Terms = Terms()
    categories: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    sites: Mapping[int, tuple[str, Mapping[str, Any], tuple[tuple[str, Mapping[str, Any]], ...]]] = field(
        default_factory=dict
    )
    rules: Mapping[tuple[str, int | None], SkuRule] = field(default_factory=dict)
    promotions: tuple[Promotion, ...] = ()
    rates: Mapping[str, tuple[tuple[date, int], ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def terms(self, site: int, category: str) -> Terms:
        """Defaults, then the first category that matches, then the site, then the site's own category."""
        _, words, categories = self.sites.get(site, ("", {}, ()))
        made = replace(self.default, **_matching(self.categories, category))
        return replace(made, **{**words, **_matching(categories, category)})

    def places(self) -> list[Place]:
        """The product's own price first, then every site that may have one of its own."""
        promoted = {site for one in self.promotions for site in one.sites} - {PRODUCT}
        sites = sorted({*self.sites, *promoted})
        own = [Place(site, self.sites[site][0] if site in self.sites else "", site in self.sites) for site in sites]
        return [Place(PRODUCT, self.currency, True), *own]

    def rule(self, sku: str, site: int) -> SkuRule:
        """What is said of an item: on this site, else on all. Amounts said for all are in the profile's currency, so
        of them a site of another currency takes none; see `rule_everywhere`."""
        return self.rules.get((sku, site), SkuRule())

    def rule_everywhere(self, sku: str) -> SkuRule:
        """What is said of an item with no site: amounts in the profile's currency."""
        return self.rules.get((sku, None), SkuRule())

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides prices; remarks and notes do not count."""
        named = (sorted(each.items(), key=str) for each in (self.sites, self.rules, self.rates))
        stated = (self.currency, self.change, self.refused, self.default, self.categories, self.promotions, *named)
        return hashlib.sha256(repr(stated).encode()).hexdigest()[:32]


def _matching(categories: tuple[tuple[str, Mapping[str, Any]], ...], category: str) -> Mapping[str, Any]:
    return next((words for pattern, words in categories if fnmatchcase(category, pattern)), {})


# ---- the files as they are written ---------------------------------------------------------------------------------


class _Terms(Struct, frozen=True, kw_only=True):
    """Words of `defaults`, of a category, of a site; None is not said."""

    margin: Percent | None = None
    map: Percent | None = None
    most: Percent | None = None
    step: Decimal | None = None
    rounding: Rounding | None = None
    charm: tuple[Decimal, ...] | None = None
    charm_from: Decimal | None = None

    def problems(self) -> Problems:
        yield from _out_of("margin", self.margin, -100, 99)
        yield from _out_of("map", self.map, 0, 100)
        yield from _out_of("most", self.most, 1)
        yield from _out_of("charm_from", self.charm_from, 0, places=4)

    def of_currency(self, currency: str) -> Iterator[tuple[str, str]]:
        """What is no amount of the currency."""
        if self.step is not None and _amount(self.step, currency) is None:
            yield "step", _no_amount("`step`", self.step, currency)
        for one in self.charm or ():
            if _amount(one, currency) is None:
                yield "charm", _no_amount("an ending", one, currency)

    def stated(self, currency: str) -> dict[str, Any]:
        """What is said, in our units."""
        made: dict[str, Any] = {
            "margin": _share(self.margin),
            "map": _share(self.map),
            "most": _share(self.most),
            "rounding": self.rounding,
            "step": None if self.step is None else _amount(self.step, currency),
            "charm_from": None if self.charm_from is None else _scaled(self.charm_from, 4),
        }
        if self.charm is not None:
            made["charm"] = tuple(sorted({amount for one in self.charm if (amount := _amount(one, currency))}))
        return {word: value for word, value in made.items() if value is not None}


class _Priced(_Terms, frozen=True, kw_only=True):
    """What has a currency, and terms by category."""

    currency: str
    categories: dict[str, _Terms] = msgspec.field(default_factory=dict)

    def problems(self) -> Problems:
        yield from super().problems()
        yield from _no_currency(self.currency)
        yield from self.of_currency(self.currency)
        yield from _of_categories(self.categories, self.currency)


class _Approval(Struct, frozen=True):
    change: Percent = Decimal(30)

    def problems(self) -> Problems:
        yield from _out_of("change", self.change, 0, places=4)


class _Promotions(Struct, frozen=True):
    refused: Literal["dead_letter", "skip"] = "dead_letter"


class _Written(Struct, frozen=True, kw_only=True):
    """prices.yaml."""

    currency: str
    approval: _Approval = _Approval()
    promotions: _Promotions = _Promotions()
    defaults: _Terms = _Terms()
    categories: dict[str, _Terms] = msgspec.field(default_factory=dict)
    sites: dict[SiteID, _Priced] = msgspec.field(default_factory=dict)

    def problems(self) -> Problems:
        yield from _no_currency(self.currency)
        for word, message in self.defaults.of_currency(self.currency):
            yield ("defaults", word), message
        yield from _of_categories(self.categories, self.currency)


_A_SITE = Annotated[
    int, Meta(ge=1, description="the number of a site, or nothing", extra={"wrong": "{text!r} is no number of a site"})
]  # fmt: skip
_A_MOMENT = Annotated[
    datetime, Meta(tz=False, description="a day or a moment without a zone: 2011-02-01, 2011-02-01T09:00")
]  # fmt: skip


class _RuleRow(Struct, frozen=True, kw_only=True):
    """One row of price_rules.csv."""

    sku: Annotated[str, Meta(min_length=1, description="a SKU", extra={"wrong": "the row names no SKU"})]
    site: _A_SITE | None = None
    price: Decimal | None = None
    margin: Percent | None = None
    floor: Decimal | None = None
    cap: Decimal | None = None
    map: Percent | None = None
    note: str = ""

    def problems(self) -> Problems:
        yield from _out_of("margin", self.margin, -100, 99)
        yield from _out_of("map", self.map, 0, 100)
        if all(one is None for one in (self.price, self.margin, self.floor, self.cap, self.map)):
            yield "", f"the row says nothing of {self.sku}; fill in price, margin, floor, cap or map"
        if self.price is not None and self.margin is not None:
            yield "", "a fixed price has no margin; leave one of the two empty"
        if self.cap is not None and (self.floor or 0) > self.cap:
            yield "", f"the floor {self.floor} is above the cap {self.cap}"


class _PromotionRow(Struct, frozen=True, kw_only=True):
    """One row of promotions.csv."""

    promotion: Annotated[str, Meta(min_length=1, max_length=50, description="1 to 50 characters")]
    sku: str = ""
    category: str = ""
    price: Decimal | None = None
    percent: Percent | None = None
    start: _A_MOMENT
    end: _A_MOMENT
    sites: str = ""
    note: str = ""

    def problems(self) -> Problems:
        yield from _out_of("percent", self.percent, 0, 99)
        if bool(self.sku) == bool(self.category):
            yield "", "a promotion is of a SKU or of a category; fill in one of the two"
        if (self.price is None) == (self.percent is None):
            yield "", "a promotion has a price or a percentage off; fill in one of the two"
        if self.end <= self.start:
            yield "", f"the end {self.end} is not after the start {self.start}"
        for one in self.sites.split():
            if one != "product" and not (one.isascii() and one.isdigit() and int(one) != PRODUCT):
                yield "sites", f"sites: {one!r} is no number of a site; write numbers, or `product`"

    @property
    def places(self) -> frozenset[int]:
        return frozenset(PRODUCT if one == "product" else int(one) for one in self.sites.split())


class ExchangeRate(Struct, frozen=True, kw_only=True):
    """One row of exchange_rates.csv."""

    currency: Currency
    start: Day = msgspec.field(name="from")
    rate: Decimal
    source: str = ""

    def problems(self) -> Problems:
        rate = self.rate * RATE_SCALE
        if rate <= 0 or rate != rate.to_integral_value():
            yield "rate", f"the rate {self.rate} must be above 0 and have 8 decimals at most"


def read_rates() -> Lookup:
    """The lookup exchange_rates. Raises ConfigError with everything that is wrong."""
    return lookups.read("exchange_rates", keys=2, row=ExchangeRate)


# ---- reading -------------------------------------------------------------------------------------------------------


def load(folder: Path | None = None) -> PriceSettings:
    """The settings, read again only when a file has changed. Raises ConfigError with all findings."""
    settings = read(folder)
    if settings.findings:
        raise config.refusal(settings.findings)
    return settings


def check(folder: Path | None = None) -> list[Finding]:
    """All errors of the files."""
    return list(read(folder).findings)


def read(folder: Path | None = None) -> PriceSettings:
    """The settings as written, with what is wrong in `findings`. Raises ConfigError where a file cannot be read."""
    folder = folder or config_dir()
    return _settings(
        config.read(folder / "prices.yaml", _Written),
        config.read_csv(folder / "lookups" / "price_rules.csv", _RuleRow, keys=2),
        config.read_csv(folder / "lookups" / "promotions.csv", _PromotionRow, keys=3),
        config.read_csv(folder / "lookups" / "exchange_rates.csv", ExchangeRate, keys=2),
    )


@lru_cache(maxsize=8)
def _settings(
    file: config.File[_Written],
    rules: Table[_RuleRow],
    promotions: Table[_PromotionRow],
    rates: Table[ExchangeRate],
) -> PriceSettings:
    found = (*file.findings, *rules.findings, *promotions.findings, *rates.findings)
    written = file.value
    if written is None:
        return PriceSettings(file.path, findings=found)
    currency = written.currency
    made = PriceSettings(
        file=file.path,
        currency=currency,
        change=(_scaled(written.approval.change, 4) or 0) // 100,
        refused=written.promotions.refused,
        default=replace(Terms(step=unit(currency)), **written.defaults.stated(currency)),
        categories=_categories(written.categories, currency),
        sites={number: _site(site) for number, site in written.sites.items()},
        rates=_rates(rates),
    )
    amounts = _Amounts(made)
    made = replace(made, rules=amounts.rules(rules), promotions=amounts.promotions(promotions))
    return replace(made, findings=(*found, *amounts.found))


def _site(site: _Priced) -> tuple[str, dict[str, Any], tuple[tuple[str, dict[str, Any]], ...]]:
    # What `defaults` says of steps and endings is in another currency: a site has its own, or none.
    own = {"step": unit(site.currency), "charm": (), "charm_from": 0}
    return site.currency, {**own, **site.stated(site.currency)}, _categories(site.categories, site.currency)


def _categories(categories: Mapping[str, _Terms], currency: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple((pattern, terms.stated(currency)) for pattern, terms in categories.items())


def _rates(table: Table[ExchangeRate]) -> dict[str, tuple[tuple[date, int], ...]]:
    made: dict[str, list[tuple[date, int]]] = {}
    for row in table.rows.values():
        made.setdefault(row.currency, []).append((row.start, int(row.rate * RATE_SCALE)))
    return {currency: tuple(sorted(rates)) for currency, rates in made.items()}


class _Amounts:
    """What the tables say in money, each in the currency of its place."""

    def __init__(self, settings: PriceSettings) -> None:
        self.settings = settings
        self.found: list[Finding] = []

    def rules(self, table: Table[_RuleRow]) -> dict[tuple[str, int | None], SkuRule]:
        made: dict[tuple[str, int | None], SkuRule] = {}
        for key, row in table.rows.items():
            site = self.settings.sites.get(PRODUCT if row.site is None else row.site)
            # Of a site that has no prices of its own, the profile's.
            currency = site[0] if site else self.settings.currency
            price, floor, cap = (
                self.amount(table, key, name, value, currency)
                for name, value in (("price", row.price), ("floor", row.floor), ("cap", row.cap))
            )
            made[row.sku, row.site] = SkuRule(price, _share(row.margin), floor, cap, _share(row.map))
        return made

    def promotions(self, table: Table[_PromotionRow]) -> tuple[Promotion, ...]:
        return tuple(
            Promotion(
                row.promotion, row.sku or "*", row.category or "*",
                self.amount(table, key, "price", row.price, self.settings.currency),
                _share(row.percent), row.start, row.end, row.places,
            )
            for key, row in table.rows.items()
        )  # fmt: skip

    def amount(self, table: Table[Any], key: str, name: str, value: Decimal | None, currency: str) -> int | None:
        if value is None:
            return None
        made = _amount(value, currency)
        if made is None:
            self.found.append(table.finding(key, _no_amount(name, value, currency)))
        return made


# ---- numbers -------------------------------------------------------------------------------------------------------


def _out_of(word: str, value: Decimal | None, least: int, most: int | None = None, places: int = 2) -> Problems:
    """A number that is too small, too large, or too exact."""
    if value is None:
        return
    if value < least or (most is not None and value > most) or _scaled(value, places) is None:
        bounds = f"from {least} to {most}" if most is not None else f"of {least} or more"
        yield word, f"`{word}` is {value}; it must be a number {bounds}, {places} decimals at most"


def _no_currency(code: str) -> Problems:
    if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
        yield "currency", f"`currency` is {code!r}; it must be a code such as GBP"


def _of_categories(categories: Mapping[str, _Terms], currency: str) -> Problems:
    for pattern, terms in categories.items():
        for word, message in terms.of_currency(currency):
            yield ("categories", pattern, word), message


def _no_amount(what: str, value: Decimal, currency: str) -> str:
    return f"{what} is '{value}', which is no amount of {currency} above 0"


def _amount(value: Decimal, currency: str) -> int | None:
    """An amount above 0 that the currency has x 10,000; None where it is none."""
    made = _scaled(value, 4)
    return made if made is not None and made > 0 and made % unit(currency) == 0 else None


def _share(value: Decimal | None) -> int | None:
    """A percentage as ten-thousandths of 1."""
    made = None if value is None else _scaled(value, 2)
    return None if made is None else made // 100


def _scaled(value: Decimal, places: int) -> int | None:
    """A number x 10,000; None where it has too many decimals, or is too large."""
    made = value * SCALE
    return int(made) if abs(made) < 10**18 and made % 10 ** (4 - places) == 0 else None


# What the files hold, for whoever shows them as forms: (type, columns of the key).
FORMS: dict[str, tuple[Any, int]] = {
    "prices.yaml": (_Written, 0),
    "lookups/price_rules.csv": (_RuleRow, 2),
    "lookups/promotions.csv": (_PromotionRow, 3),
    "lookups/exchange_rates.csv": (ExchangeRate, 2),
}
