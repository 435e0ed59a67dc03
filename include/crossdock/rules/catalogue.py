"""Makes products of the channel from items of TIMS: their fields, those that TIMS owns, and who has changed what.

In: items, catalog.yaml, item_codes.csv, what the channel holds and what was last delivered. Out: columns of the
product, the wanted listings, differences and conflicts by the names of fields. Never: a field that no mapping names; an
attribute or image that is not ours.

Fields inside lists have names of their own, so that they are compared one by one: `Attributes.Colour`,
`Images.ITEMIMAGEURL1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import pandas as pd
from msgspec import Meta

from crossdock import config
from crossdock.config import Currency, SiteID, Struct, Text
from crossdock.mapping import lookups, problems
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.frames import Frames, scaled
from crossdock.mapping.jsontext import to_json
from crossdock.mapping.lookups import BESIDE
from crossdock.mapping.registry import KEY, Columns, rule
from crossdock.settings import config_dir

FILE = "catalog.yaml"
LOOKUP = "listing_categories"
PLACEMENT = re.compile(r"ITEMIMAGEURL[1-9][0-9]*")  # the places that are ours
ENDED = "Ended"
ON, OFF = ("Active", "Paused"), (ENDED, "Unlisted", "SellOff")  # the wanted states of a listing
ATTRIBUTES, IMAGES, PARTS = "Attributes", "Images", "BundleComponents"


# ---- configuration -------------------------------------------------------------------------------------------------


class Site(Struct, frozen=True):
    """What is listed on one site. `list`: TIMS's category paths, * and ? are wildcards."""

    list: tuple[str, ...] = ()
    title_limit: Annotated[int, Meta(ge=1)] | None = None
    status: Literal["Active", "Paused"] = "Active"


class Catalog(Struct, frozen=True):
    """catalog.yaml. A site that it does not name is left as it is."""

    profile_currency: Currency
    category_attribute: str | None = None
    leave_out_types: tuple[str, ...] = ()
    sites: dict[SiteID, Site] = msgspec.field(default_factory=dict)


class ListingCategory(Struct, frozen=True):
    """One row of listing_categories.csv."""

    site: SiteID
    category: Text
    listing_category: Text


def read() -> config.File[Catalog]:
    return config.read(config_dir() / FILE, Catalog)


def read_categories() -> lookups.Lookup:
    return lookups.read(LOOKUP, keys=2, row=ListingCategory)


def load() -> Catalog:
    """The file, read. Raises ConfigError with all errors."""
    return config.load(config_dir() / FILE, Catalog)


# ---- an item of TIMS as a product ----------------------------------------------------------------------------------


class Extras(msgspec.Struct):
    """The parts of an item that are no columns."""

    Images: list[str] = []
    Attributes: dict[str, str] = {}
    KitComponents: list[dict[str, Any]] = []


def kinds(header: pd.DataFrame) -> pd.DataFrame:
    """ProductType and IsBlocked."""
    eligible = header["ChannelEligible"].fillna(False).to_numpy(dtype=bool)
    blocked = ~eligible | header["Status"].eq("Blocked").to_numpy(dtype=bool)
    kit = header["Type"].eq("Kit").to_numpy(dtype=bool)
    return pd.DataFrame(
        {
            "ProductType": pd.Series(np.where(kit, "Bundle", "Item"), index=header.index, dtype="str"),
            "IsBlocked": pd.Series(blocked, index=header.index, dtype="boolean"),
        }
    )


def trade_codes(header: pd.DataFrame) -> pd.DataFrame:
    """UPC and EAN."""
    long = header["GTIN"].str.len().eq(14).fillna(False).to_numpy(dtype=bool)
    codes = header["GTIN"].where(~long, header["GTIN"].map(_unpadded, na_action="ignore").astype("str"))
    length = codes.str.len()
    return pd.DataFrame({"UPC": codes.where(length.eq(12)), "EAN": codes.where(length.eq(13))}).astype("str")


def _unpadded(code: str) -> str:
    """The GTIN-13 or GTIN-12 behind the leading zeros of a GTIN-14; without leading zeros, the code as it is."""
    return code[2:] if code.startswith("00") else code.removeprefix("0")


def profile_cost(header: pd.DataFrame, settings: Catalog) -> pd.Series:
    """The cost of each item; missing where it is not in the currency of the profile."""
    texts = header["Cost"].where(header["CurrencyCode"].eq(settings.profile_currency))
    codes, distinct = pd.factorize(texts)
    amounts = pd.array([scaled(text) for text in distinct], dtype="Int64")
    return pd.Series(amounts.take(codes, allow_fill=True), index=header.index, dtype="Int64")


def images(extras: Sequence[Extras]) -> list[list[dict[str, str]]]:
    """The images of each item in their places."""
    return [
        [
            {"PlacementName": f"ITEMIMAGEURL{number}", "Url": url}
            for number, url in enumerate(dict.fromkeys(one.Images), 1)
        ]
        for one in extras
    ]


def attributes(extras: Sequence[Extras], categories: pd.Series, settings: Catalog) -> list[list[dict[str, str]]]:
    """The attributes of each item, by name."""
    made = []
    for one, category in zip(extras, categories.tolist(), strict=True):
        values = dict(one.Attributes)
        if settings.category_attribute and category == category:
            values.setdefault(settings.category_attribute, category)
        made.append([{"Name": name, "Value": values[name]} for name in sorted(values)])
    return made


def parts(extras: Sequence[Extras]) -> list[list[dict[str, Any]]]:
    """The parts of each item, each once."""
    made = []
    for one in extras:
        units: dict[str, int] = {}
        for part in one.KitComponents:
            units[part["SKU"]] = units.get(part["SKU"], 0) + int(part["Quantity"])
        made.append([{"SKU": sku, "Quantity": count} for sku, count in units.items()])
    return made


# ---- rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProductContext:
    """The context of the product rules: what they need beside columns. `extras` by key; `held`: keys of items that the
    channel has, or may have, a product of; `vouchers`: items that item_codes.csv sells under other codes; `categories`:
    the lookup listing_categories; `ambiguous`: products that could be this item and others, as (SKU, items), by key."""

    settings: Catalog
    extras: Mapping[str, Extras]
    held: frozenset[str]
    vouchers: frozenset[str]
    categories: lookups.Lookup
    ambiguous: Mapping[str, Sequence[tuple[str, Sequence[str]]]]


@rule("product_kind", reads=["Type", "Status", "ChannelEligible"], writes=["ProductType", "IsBlocked"])
def product_kind(frames: Frames, context: object) -> Columns:
    """A kit is a Bundle, everything else an Item. An item that is Blocked or may not be sold on channels is kept off
    every channel."""
    return Columns(kinds(frames.header))


@rule("trade_codes", reads=["GTIN"], writes=["UPC", "EAN"])
def gtin(frames: Frames, context: object) -> Columns:
    """A GTIN of 12 digits is a UPC, one of 13 an EAN. One of 14 digits that begins with zeros is the shorter code
    behind them. GTIN-8 and other GTIN-14 (cases of several) have no field at the channel and are not sent."""
    return Columns(trade_codes(frames.header))


@rule("profile_cost", reads=["Cost", "CurrencyCode"], writes=["ProfileCost"])
def cost(frames: Frames, context: ProductContext) -> Columns:
    """TIMS's cost, where TIMS keeps it in the currency of the channel's profile (`profile_currency` in catalog.yaml);
    elsewhere it is not sent, and the channel's stays."""
    return Columns(pd.DataFrame({"ProfileCost": profile_cost(frames.header, context.settings)}))


@rule("place_images", reads=[KEY], writes=["Images"])
def place_images(frames: Frames, context: ProductContext) -> Columns:
    """The first image is ITEMIMAGEURL1, the main one, the next ITEMIMAGEURL2, and so on. These places are TIMS's;
    images in other places stay."""
    return Columns(pd.DataFrame({"Images": _json(images(_extras(frames, context)))}))


@rule("name_attributes", reads=[KEY, "Category"], writes=["Attributes"])
def name_attributes(frames: Frames, context: ProductContext) -> Columns:
    """TIMS's attributes, and its category path under the name that catalog.yaml gives it (`category_attribute`).
    Attributes that were never TIMS's stay."""
    made = attributes(_extras(frames, context), frames.header["Category"], context.settings)
    return Columns(pd.DataFrame({"Attributes": _json(made)}))


@rule("list_parts", reads=[KEY], writes=["BundleComponents"])
def list_parts(frames: Frames, context: ProductContext) -> Columns:
    """The parts of a kit; load replaces the SKU of TIMS by the one that the part's product has."""
    return Columns(pd.DataFrame({"BundleComponents": _json(parts(_extras(frames, context)))}))


@rule("site_listings", reads=["Category", "Title", "IsBlocked", "Status"], writes=["listings"])
def site_listings(frames: Frames, context: ProductContext) -> Columns:
    """The wanted listing of each item on each site that catalog.yaml names, in the category that the lookup
    listing_categories gives; a title too long for the site is shortened."""
    made, found = listings(frames.header, context.settings, context.categories)
    return Columns(pd.DataFrame({"listings": _json(made)}), problems=found)


@rule("product_state", reads=[KEY, "IsBlocked", "Status", "Type"], writes=["state", "reason"])
def product_state(frames: Frames, context: ProductContext) -> Columns:
    """No product is made for an item that is blocked, discontinued, of a type that catalog.yaml leaves out, or sold as
    a voucher. A product that could be several items is a problem."""
    header = frames.header
    whys: list[Any] = []
    for key, blocked, status, kind in zip(
        *(header[name].tolist() for name in (KEY, "IsBlocked", "Status", "Type")), strict=True
    ):
        if key in context.held:
            whys.append(np.nan)
        elif key in context.vouchers:
            whys.append("It is sold under the codes that item_codes.csv names as vouchers.")
        elif blocked:
            whys.append("It may not be sold on channels.")
        elif status == "Discontinued":
            whys.append("It is discontinued and the channel never had it.")
        elif kind in context.settings.leave_out_types:
            whys.append(f"Items of type {kind} are left out by catalog.yaml.")
        else:
            whys.append(np.nan)
    reason = pd.Series(whys, index=header.index, dtype="str")
    state = pd.Series(np.where(reason.notna(), "left_out", "staged"), index=header.index, dtype="str")
    return Columns(pd.DataFrame({"state": state, "reason": reason}), problems=_ambiguous(header[KEY], context))


def _ambiguous(keys: pd.Series, context: ProductContext) -> pd.DataFrame:
    """A problem for each product that could be another item as well."""
    rows = [(row, *product) for row, key in enumerate(keys) for product in context.ambiguous.get(key, ())]
    return problems.make(
        [row for row, *_ in rows],
        field="SKU",
        rule="ambiguous_product",
        value=[sku for _, sku, _ in rows],
        message=[
            f"The channel's product {{value}} could be any of these items: {', '.join(items)}." for *_, items in rows
        ],
        do="Give the right one the product's SKU as an alternate SKU in TIMS, or take the other one's away.",
    )


def _extras(frames: Frames, context: ProductContext) -> list[Extras]:
    return [context.extras[key] for key in frames.header[KEY]]


def _json(values: Sequence[Any]) -> pd.Series:
    return pd.Series([to_json(value) for value in values], dtype="str")


# ---- listings ------------------------------------------------------------------------------------------------------


def listings(
    header: pd.DataFrame, settings: Catalog, table: lookups.Lookup
) -> tuple[list[list[dict[str, Any]]], pd.DataFrame]:
    """The wanted listing of each item on each site that catalog.yaml names, and a problem for each category that the
    lookup listing_categories lacks. `Status`:

    Active, Paused  listed, with `Category` and a shortened `Title` where the product's is too long for the site
    SellOff         discontinued: what is listed stays until TIMS has none left; nothing is listed anew
    Unlisted        its category is not listed: what we have listed is ended
    Ended           may not be sold: whatever is listed is ended
    """
    made: list[list[dict[str, Any]]] = [[] for _ in range(len(header))]
    found = []
    categories = header["Category"]
    for number, site in sorted(settings.sites.items()):
        wanted = listed(categories, site.list)
        titles = header["Title"]
        if site.title_limit:
            short = CONVERTERS["shorten to"](titles, site.title_limit)
            titles = short.where(short != titles)
        else:
            titles = titles.where(pd.Series(False, index=titles.index))
        keys = f"{number}{BESIDE}" + categories
        theirs = table.values(keys, "listing_category")
        rows = zip(
            header["IsBlocked"].tolist(), header["Status"].tolist(), wanted.tolist(), theirs.tolist(), titles.tolist(),
            strict=True,
        )  # fmt: skip
        for entries, (blocked, status, shown, category, title) in zip(made, rows, strict=True):
            entry: dict[str, Any] = {"SiteID": number}
            if blocked:
                entry["Status"] = ENDED
            elif status == "Discontinued":
                entry["Status"] = "SellOff"
            elif not shown:
                entry["Status"] = "Unlisted"
            else:
                entry |= {"Status": site.status, "Category": category, "Title": title if title == title else None}
            entries.append(entry)
        open_ = np.array([entries[-1]["Status"] in ON for entries in made], dtype=bool)
        unknown = open_ & table.missed(keys).to_numpy(dtype=bool)
        found.append(
            problems.make(
                np.flatnonzero(unknown),
                field="Category",
                rule="not_in_lookup",
                value=categories[unknown].tolist(),
                message=f'"{{value}}" is listed on site {number}, but {LOOKUP}.csv does not say under which category.',
                do=f"Add it to include/config/lookups/{LOOKUP}.csv: it is tried again by itself.",
            )
        )
    return made, problems.concat(found)


def listed(categories: pd.Series, patterns: Iterable[str]) -> np.ndarray:
    """bool per row: its category matches one of the patterns, upper and lower case alike."""
    wanted = [pattern.casefold() for pattern in patterns]
    codes, distinct = pd.factorize(categories)
    hits = [any(fnmatchcase(str(one).casefold(), pattern) for pattern in wanted) for one in distinct]
    return np.array([*hits, False], dtype=bool)[codes]


class Step(NamedTuple):
    """One step on a listing. `action`: create, update, wait, dead or "" (nothing)."""

    action: str
    listing_id: int | None = None
    changes: Mapping[str, Any] = {}
    why: str = ""


NOTHING = Step("")


def listing_steps(
    wanted: Mapping[str, Any],
    held: Sequence[Mapping[str, Any]],
    ours: Mapping[str, Any] | None,
    *,
    retry: bool,
    reopen: bool,
    priced: bool,
    units: int | None,
) -> list[Step]:
    """The steps that bring a product's listing on a site to what is wanted. `held`: its listings there; `ours`: the one
    that we keep ({"listing_id", "ended": by us}); `retry`: what the site has refused is tried once more; `reopen`: what
    a person has ended is listed anew; `priced`: the product has a price; `units`: what TIMS has left of a discontinued
    item."""
    open_ = [listing for listing in held if listing["Status"] != ENDED]
    status = wanted["Status"]
    if status == "Unlisted":
        open_ = [one for one in open_ if ours and ours["listing_id"] == one["ListingID"]]
    if status in OFF:
        if status == "SellOff" and units:
            return []
        return [Step("update", one["ListingID"], {"Status": ENDED}) for one in open_]
    if not open_:
        if ours is not None and not ours["ended"] and not reopen:  # a person has
            return [Step("dead", ours["listing_id"], why=ENDED)]
        return [Step("create")] if priced else [Step("wait", why="its product has no price yet")]
    return [step for one in open_ if (step := _kept_open(wanted, one, retry, priced)) is not NOTHING]


def _kept_open(wanted: Mapping[str, Any], held: Mapping[str, Any], retry: bool, priced: bool) -> Step:
    changes = {name: wanted[name] for name in ("Title", "Category") if wanted[name] != held.get(name)}
    now, status = held["Status"], wanted["Status"]
    if now == "Error" and not retry:
        return Step("dead", held["ListingID"], why="Error")
    if status == "Paused" and now == "Active":
        changes["Status"] = "Paused"
    elif status == "Active" and now != "Active":
        if now == "Draft" and not priced and held.get("Price") is None:
            return Step("wait", held["ListingID"], why="its product has no price yet")
        changes["Status"] = "Active"
    return Step("update", held["ListingID"], changes) if changes else NOTHING


# ---- comparing -----------------------------------------------------------------------------------------------------


def flat(product: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The values of a product by flat field names; of its images only those in our places."""
    made: dict[str, Any] = {}
    for name in fields:
        value = product.get(name)
        if name == ATTRIBUTES:
            made |= {f"{name}.{one['Name']}": one.get("Value") for one in value or ()}
        elif name == IMAGES:
            made |= {f"{name}.{one['PlacementName']}": one["Url"] for one in value or () if _ours(one)}
        else:
            made[name] = value
    return made


def _ours(image: Mapping[str, Any]) -> bool:
    return PLACEMENT.fullmatch(image["PlacementName"]) is not None


def owned(
    fields: Iterable[str], wanted: Mapping[str, Any], theirs: Mapping[str, Any], delivered: Iterable[str]
) -> list[str]:
    """The flat names of all that we own in a product whose `fields` are TIMS's: what is wanted, what we have ever
    delivered, our places for images. Attributes that only the channel has are not ours. The other three arguments go by
    flat names."""
    ours = set(fields)
    before = [name for name in delivered if name.partition(".")[0] in ours]
    places = [name for name in theirs if name.startswith(f"{IMAGES}.")]
    return list(dict.fromkeys([*wanted, *before, *places]))


def same(name: str, one: Any, other: Any) -> bool:
    """Whether two values of a field are equal. None, 0 and "" are three values; a missing list equals an empty one."""
    if name == PARTS:
        return _canonical(one) == _canonical(other)
    return one == other


def _canonical(bundle: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, int]]:
    return sorted((part["SKU"].strip().casefold(), int(part["Quantity"])) for part in bundle or ())


def differences(names: Iterable[str], wanted: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Those of `names` whose value at the channel differs from the wanted one."""
    return [name for name in names if not same(name, wanted.get(name), theirs.get(name))]


def conflicts(different: Iterable[str], theirs: Mapping[str, Any], delivered: Mapping[str, Any] | None) -> list[str]:
    """Those of `different` that were changed at the channel: the value is not the one that we delivered last. A field
    that we have never delivered is not in conflict."""
    before = delivered or {}
    return [name for name in different if name in before and not same(name, before[name], theirs.get(name))]


def changes(
    different: Iterable[str], names: Iterable[str], wanted: Mapping[str, Any], product: Mapping[str, Any]
) -> dict[str, Any]:
    """The changes to send: only fields that differ. The channel replaces a list as a whole, so it is sent with the
    entries that are not ours."""
    ours = set(names)
    made: dict[str, Any] = {}
    for name in different:
        field, _, inner = name.partition(".")
        if not inner:
            made[field] = wanted.get(name)
        elif field == ATTRIBUTES:
            made[field] = [
                *_entries(wanted, ATTRIBUTES, "Name", "Value"),
                *(one for one in product.get(field) or () if f"{field}.{one['Name']}" not in ours),
            ]
        else:
            made[field] = [
                *_entries(wanted, IMAGES, "PlacementName", "Url"),
                *(one for one in product.get(field) or () if not _ours(one)),
            ]
    return made


def _entries(wanted: Mapping[str, Any], field: str, key: str, value: str) -> list[dict[str, Any]]:
    start = f"{field}."
    return [{key: name.removeprefix(start), value: one} for name, one in wanted.items() if name.startswith(start)]


def check_digit(code: str) -> bool:
    """Whether the check digit of a GTIN of any length is right."""
    *body, last = map(int, code)
    return (sum(digit * (3 if n % 2 == 0 else 1) for n, digit in enumerate(reversed(body))) + last) % 10 == 0
