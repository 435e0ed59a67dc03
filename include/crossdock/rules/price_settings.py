"""What an analyst decides about prices: prices.yaml, and the lookups price_rules, promotions and exchange_rates.

In: the files. Out: one frozen `PriceSettings`, with everything that is wrong with it by file and line. Never: a float;
an amount that its currency does not have.

In here, money is whole ten-thousandths, a share (a margin, a percentage) whole ten-thousandths of 1, a rate whole
hundred-millionths of the base currency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from crossdock import config
from crossdock.config import Finding, Reader, did_you_mean, line_of
from crossdock.mapping import lookups
from crossdock.mapping.frames import SCALE
from crossdock.mapping.lookups import Lookup
from crossdock.rules import currencies
from crossdock.settings import config_dir

PRODUCT = 0  # the site number of the product's own price
RATE_SCALE = 10**8
ROUNDINGS = ("up", "nearest", "down")
REFUSED = ("dead_letter", "skip")
COLUMNS = {
    "price_rules": ("sku", "site", "price", "margin", "floor", "cap", "map", "note"),
    "promotions": ("promotion", "sku", "category", "price", "percent", "start", "end", "sites", "note"),
    "exchange_rates": ("currency", "from", "rate", "source"),
}
_WORDS = ("currency", "approval", "promotions", "defaults", "categories", "sites")
_TERMS = ("margin", "map", "most", "step", "rounding", "charm", "charm_from")


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


# ---- reading -------------------------------------------------------------------------------------------------------


def load(folder: Path | None = None) -> PriceSettings:
    """The settings, read again only when a file has changed. Raises ConfigError with all findings."""
    settings = read(folder)
    if settings.findings:
        raise config.refusal(settings.findings)
    return settings


def check(folder: Path | None = None) -> list[Finding]:
    """Everything that is wrong with the files."""
    return list(read(folder).findings)


def read(folder: Path | None = None) -> PriceSettings:
    """The settings as written, with what is wrong in `findings`. Raises ConfigError where a file is no YAML or CSV."""
    folder = folder or config_dir()
    path = folder / "prices.yaml"
    tables = [
        lookups.read(name, folder / "lookups", keys=keys)
        for name, keys in (("price_rules", 2), ("promotions", 3), ("exchange_rates", 2))
    ]
    return _read(config.stamp(path), *(_ByIdentity(table) for table in tables))


@dataclass(frozen=True)
class _ByIdentity:
    """A table as a part of a cache's key: `lookups.read` gives the same one until its file has changed."""

    table: Lookup

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.table is self.table


@lru_cache(maxsize=8)
def _read(file: config.Stamp, rules: _ByIdentity, promotions: _ByIdentity, rates: _ByIdentity) -> PriceSettings:
    reader = _Reader(file.path)
    settings = reader.settings()
    rows = _Rows(settings)
    made = replace(
        settings,
        rules=rows.rules(rules.table),
        promotions=rows.promotions(promotions.table),
        rates=rows.rates(rates.table),
    )
    return replace(made, findings=(*sorted(reader.findings, key=lambda one: one.line), *rows.found))


class _Reader(Reader):
    """prices.yaml."""

    def settings(self) -> PriceSettings:
        root = self.root()
        words = self.words(root, _WORDS, "prices.yaml")
        currency = self.currency(words.get("currency"), "`currency`")
        approval = self.words(words.get("approval"), ("change",), "`approval`")
        promotions = self.words(words.get("promotions"), ("refused",), "`promotions`")
        refused = self.text(promotions.get("refused")) or REFUSED[0]
        if refused not in REFUSED:
            self.report(promotions["refused"], f"`refused` is {refused!r}{did_you_mean(refused, REFUSED)}")
        change = self.number(approval.get("change"), "`change`", 0, None)
        return PriceSettings(
            file=self.path,
            currency=currency,
            change=3000 if change is None else change // 100,
            refused=refused,
            default=replace(Terms(step=unit(currency)), **self.terms(words.get("defaults"), currency, "`defaults`")),
            categories=self.categories(words.get("categories"), currency),
            sites=dict(self.site(key, value) for key, value in self.pairs(words.get("sites"), "`sites`")),
            rules={},
            rates={},
        )

    def site(self, key: yaml.Node, node: yaml.Node) -> tuple[int, tuple[str, dict, tuple]]:
        number = str(key.value)
        if not number.isdigit() or int(number) == PRODUCT:
            self.report(key, f"{number!r} is no number of a site")
            return -1, ("", {}, ())
        words = self.words(node, ("currency", "categories", *_TERMS), f"site {number}")
        currency = self.currency(words.get("currency"), f"the currency of site {number}", key)
        given = self.stated({name: words[name] for name in _TERMS if name in words}, currency)
        # What `defaults` says of steps and endings is in another currency: a site has its own, or none.
        own = {"step": unit(currency), "charm": (), "charm_from": 0} if currency else {}
        return int(number), (currency, {**own, **given}, self.categories(words.get("categories"), currency))

    def categories(self, node: yaml.Node | None, currency: str) -> tuple[tuple[str, dict], ...]:
        return tuple(
            (str(key.value), self.terms(value, currency, f"the category {key.value!r}"))
            for key, value in self.pairs(node, "`categories`")
        )

    def terms(self, node: yaml.Node | None, currency: str, what: str) -> dict[str, Any]:
        return self.stated(self.words(node, _TERMS, what), currency)

    def stated(self, words: Mapping[str, yaml.Node], currency: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if "margin" in words:
            made["margin"] = self.share(words["margin"], "`margin`", -100, 99)
        if "map" in words:
            made["map"] = self.share(words["map"], "`map`", 0, 100)
        if "most" in words:
            made["most"] = self.share(words["most"], "`most`", 1, None)
        if "rounding" in words:
            made["rounding"] = stated = self.text(words["rounding"])
            if stated not in ROUNDINGS:
                self.report(words["rounding"], f"`rounding` is {stated!r}{did_you_mean(stated, ROUNDINGS)}")
        if "step" in words:
            made["step"] = self.amount(words["step"], "`step`", currency) or unit(currency)
        if "charm" in words:
            endings = (self.amount(one, "an ending", currency) for one in self.entries(words["charm"], "`charm`"))
            made["charm"] = tuple(sorted({one for one in endings if one is not None}))
        if "charm_from" in words:
            made["charm_from"] = self.number(words["charm_from"], "`charm_from`", 0, None) or 0
        return made

    def share(self, node: yaml.Node, what: str, least: int, most: int | None) -> int:
        """A percentage as ten-thousandths of 1."""
        return (self.number(node, what, least, most, places=2) or 0) // 100

    def amount(self, node: yaml.Node, what: str, currency: str) -> int | None:
        """An amount above 0 that the currency has."""
        value = self.number(node, what, 0, None)
        if value is not None and (value <= 0 or value % unit(currency)):
            self.report(node, f"{what} is {self.text(node)}, which is no amount of {currency} above 0")
            return None
        return value

    def number(self, node: yaml.Node | None, what: str, least: int, most: int | None, places: int = 4) -> int | None:
        """A written number x 10,000; None where there is none, or a wrong one, which is reported."""
        if node is None:
            return None
        quoted = isinstance(node, yaml.ScalarNode) and bool(node.style) and not node.value.endswith("%")
        value = None if quoted else _scaled(self.text(node).removesuffix("%"), places)
        if value is None or value < least * SCALE or (most is not None and value > most * SCALE):
            bounds = f"from {least} to {most}" if most is not None else f"of {least} or more"
            self.report(node, f"{what} is {self.text(node)!r}; it must be a number {bounds}, {places} decimals at most")
            return None
        return value

    def currency(self, node: yaml.Node | None, what: str, beside: yaml.Node | None = None) -> str:
        code = self.text(node)
        if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
            self.findings.append(
                Finding(self.path, line_of(node or beside), f"{what} is {code!r}; it must be a code such as GBP")
            )
        return code


class _Rows:
    """The lookups."""

    def __init__(self, settings: PriceSettings) -> None:
        self.settings = settings
        self.found: list[Finding] = []

    def rules(self, table: Lookup) -> dict[tuple[str, int | None], SkuRule]:
        made: dict[tuple[str, int | None], SkuRule] = {}
        for key, row in self.rows(table):
            site = self.site(table, key, row["site"]) if row["site"] else None
            currency = self.currency_of(PRODUCT if site is None else site)
            amounts = {name: self.amount(table, key, name, row[name], currency) for name in ("price", "floor", "cap")}
            rule = SkuRule(
                **amounts,
                margin=self.percent(table, key, "margin", row["margin"], -100, 99),
                map=self.percent(table, key, "map", row["map"], 0, 100),
            )
            if not row["sku"]:
                self.report(table, key, "the row names no SKU")
            elif rule == SkuRule():
                self.report(
                    table, key, f"the row says nothing of {row['sku']}; fill in price, margin, floor, cap or map"
                )
            elif rule.price is not None and rule.margin is not None:
                self.report(table, key, "a fixed price has no margin; leave one of the two empty")
            elif rule.cap is not None and (rule.floor or 0) > rule.cap:
                self.report(table, key, f"the floor {row['floor']} is above the cap {row['cap']}")
            made[row["sku"], site] = rule
        return made

    def promotions(self, table: Lookup) -> tuple[Promotion, ...]:
        made = []
        for key, row in self.rows(table):
            price = self.amount(table, key, "price", row["price"], self.settings.currency)
            percent = self.percent(table, key, "percent", row["percent"], 0, 99)
            start, end = (self.moment(table, key, name, row[name]) for name in ("start", "end"))
            if not 0 < len(row["promotion"]) <= 50:
                self.report(table, key, f"the promotion {row['promotion']!r} must have 1 to 50 characters")
            if bool(row["sku"]) == bool(row["category"]):
                self.report(table, key, "a promotion is of a SKU or of a category; fill in one of the two")
            if bool(row["price"]) == bool(row["percent"]):
                self.report(table, key, "a promotion has a price or a percentage off; fill in one of the two")
            if start and end and end <= start:
                self.report(table, key, f"the end {row['end']} is not after the start {row['start']}")
            if start and end:
                made.append(
                    Promotion(
                        row["promotion"], row["sku"] or "*", row["category"] or "*", price, percent, start, end,
                        frozenset(PRODUCT if one == "product" else self.site(table, key, one)
                                  for one in row["sites"].split()),
                    )
                )  # fmt: skip
        return tuple(made)

    def rates(self, table: Lookup) -> dict[str, tuple[tuple[date, int], ...]]:
        made: dict[str, list[tuple[date, int]]] = {}
        for key, row in self.rows(table):
            try:
                rate = Decimal(row["rate"]) * RATE_SCALE
                day = date.fromisoformat(row["from"])
            except (InvalidOperation, ValueError):
                self.report(table, key, f"{row['from']} and {row['rate']} are no day (2011-01-31) and rate (0.85)")
                continue
            if rate <= 0 or rate != rate.to_integral_value():
                self.report(table, key, f"the rate {row['rate']} must be above 0 and have 8 decimals at most")
                continue
            made.setdefault(row["currency"], []).append((day, int(rate)))
        return {currency: tuple(sorted(rates)) for currency, rates in made.items()}

    # ---- cells

    def rows(self, table: Lookup) -> list[tuple[str, dict[str, str]]]:
        wanted = COLUMNS[table.name]
        if table.columns != wanted:
            self.found.append(Finding(table.path, 1, f"the header must be {','.join(wanted)}"))
            return []
        return list(table.rows.items())

    def report(self, table: Lookup, key: str, message: str) -> None:
        self.found.append(Finding(table.path, table.lines[key], message))

    def site(self, table: Lookup, key: str, text: str) -> int:
        if not text.isdigit() or int(text) == PRODUCT:
            self.report(table, key, f"{text!r} is no number of a site")
            return -1
        return int(text)

    def currency_of(self, site: int) -> str:
        """Of a site that has no prices of its own, the profile's."""
        return self.settings.sites[site][0] if site in self.settings.sites else self.settings.currency

    def amount(self, table: Lookup, key: str, name: str, text: str, currency: str) -> int | None:
        if not text:
            return None
        value = _scaled(text, 4)
        if value is None or value <= 0 or value % unit(currency):
            self.report(table, key, f"{name} is {text!r}, which is no amount of {currency} above 0")
            return None
        return value

    def percent(self, table: Lookup, key: str, name: str, text: str, least: int, most: int) -> int | None:
        if not text:
            return None
        value = _scaled(text.removesuffix("%"), 2)
        if value is None or not least * SCALE <= value <= most * SCALE:
            self.report(table, key, f"{name} is {text!r}; it must be a percentage from {least} to {most}")
            return None
        return value // 100

    def moment(self, table: Lookup, key: str, name: str, text: str) -> datetime | None:
        """A day (its first moment) or a day and time, without a zone: it is the company's."""
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            value = None
        if value is None or value.tzinfo is not None:
            self.report(
                table, key, f"{name} is {text!r}; write a day or a moment without a zone: 2011-02-01, 2011-02-01T09:00"
            )
            return None
        return value


def _scaled(text: str, places: int) -> int | None:
    """A written number x 10,000; None where it is none, or has too many decimals."""
    try:
        value = Decimal(text) * SCALE
    except InvalidOperation:
        return None
    step = 10 ** (4 - places)
    return int(value) if value.is_finite() and value % step == 0 and abs(value) < 10**18 else None
