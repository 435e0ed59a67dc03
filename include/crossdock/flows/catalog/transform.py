"""The catalogue, the documents: TIMS's items as frames -> Channel Advisor's products and listings as staged rows.

In: parsed items, the channel's products and listings in `ref`. Out: `Staged`. Never: a call to a system; a product
taken for an item that it could be as well as another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Staged
from crossdock.flows import unreadable
from crossdock.mapping import language, lookups, problems
from crossdock.mapping.frames import ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.reference import channel
from crossdock.rules import catalogue
from crossdock.rules import settings as rule_settings
from crossdock.rules.catalogue import Catalog, Extras
from crossdock.settings import config_dir
from crossdock.store import database, raw
from crossdock.store.tables import PRODUCT_LISTS, PRODUCT_TEXT

ENTITY = "channel_product"
MAPPING = "product"
NO_PARTS_YET = "The channel does not have these parts of the kit yet: "  # how the reason of a kit that waits begins
COLUMNS = (*PRODUCT_TEXT, "Cost", "Weight", "IsBlocked", *PRODUCT_LISTS)
# What decides how an item is worked: a change in one of these works all items again.
CONFIGURED_BY = (
    f"mappings/{MAPPING}.yaml", catalogue.FILE, f"lookups/{catalogue.LOOKUP}.csv", "lookups/item_codes.csv",
)  # fmt: skip


@dataclass
class Outcome:
    """What has become of the rows of a batch, by key. A row that is in none of these needed nothing."""

    changed: set[str] = field(default_factory=set)
    refused: dict[str, list[dict]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)  # the call failed in a way that passes
    alerts: list[dict[str, Any]] = field(default_factory=list)
    unequal: set[str] = field(default_factory=set)  # a product was changed by somebody else while we wrote to it
    seen: dict[str, datetime] = field(default_factory=dict)  # newest UpdatedDate of its products that was compared

    def at_rest(self, key: str) -> bool:
        """Whether nothing more can be done for a row in this try."""
        return key in self.refused or key in self.waiting or key in self.pending


def rules_hash() -> str:
    """What the configuration says, as one hash. Raises ConfigError where it cannot be read."""
    catalogue.load()
    lookups.read(catalogue.LOOKUP, keys=2)
    return raw.digest(b"\0".join((config_dir() / name).read_bytes() for name in CONFIGURED_BY))


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged products of a batch."""
    settings = catalogue.load()
    source = parsed.frames.header
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    extras, odd = _extras([parsed.payloads[position] for position in parsed.kept])
    held, ambiguous = products(connection, kept.tolist())

    header = source.join(catalogue.kinds(source)).join(catalogue.trade_codes(source))
    header["ProfileCost"] = catalogue.profile_cost(source, settings)
    header["Images"] = _json(catalogue.images(extras))
    header["Attributes"] = _json(catalogue.attributes(extras, source["Category"], settings))
    header["BundleComponents"] = _json(catalogue.parts(extras))
    listings, unlisted = catalogue.listings(header, settings)
    target, mapping_errors = language.load(MAPPING).apply(Frames(header, parsed.frames.lines), explained=odd)

    reasons = _skip_reasons(header, kept, held, ambiguous, settings)
    skipped = reasons.notna().to_numpy(dtype=bool)
    found = problems.concat([odd, mapping_errors, unlisted, _ambiguous(kept, ambiguous)])
    seen = versions(connection, kept.tolist())
    made = pd.DataFrame(
        {
            "key": kept,
            "state": pd.Series(np.where(skipped, "left_out", "staged"), dtype="str"),
            "reason": reasons,
            **{name: target.header.get(name, _nothing(name, header.index)) for name in COLUMNS},
            "listings": _json(listings),
            "products_seen": pd.Series([seen.get(key, (None, None))[0] for key in kept], dtype="str"),
            "listings_seen": pd.Series([seen.get(key, (None, None))[1] for key in kept], dtype="str"),
            "rules": rules_hash(),
        }
    )
    made["content_hash"] = pd.Series(
        [
            raw.digest(database.to_json(list(map(str, row))).encode())
            for row in made[[*COLUMNS, "listings"]].itertuples(index=False, name=None)
        ],
        dtype="str",
    )
    found = found[~skipped[found[ROW].to_numpy()]].reset_index(drop=True)
    made, found = unreadable.joined(made, found, parsed, keys)
    return Staged(made, made.iloc[:0], found)


_extra = msgspec.json.Decoder(Extras)


def _extras(payloads: Sequence[bytes]) -> tuple[list[Extras], pd.DataFrame]:
    """The lists and free names of each item, and the problems of items where they are not as the contract has them."""
    made, wrong = [], []
    for row, payload in enumerate(payloads):
        try:
            made.append(_extra.decode(payload))
        except msgspec.ValidationError as error:
            made.append(Extras())
            wrong.append((row, str(error)))
    return made, problems.make(
        [row for row, _ in wrong],
        field="Images, Attributes, KitComponents",
        rule="wrong_type",
        message=[f"A list or an attribute of the item is not as TIMS's contract has it: {why}." for _, why in wrong],
        do="Correct the item in TIMS; its next version goes by itself.",
    )


def _nothing(name: str, index: pd.Index) -> pd.Series:
    """The column of a field that the mapping does not name: it is the channel's."""
    kind = {"Cost": "Int64", "Weight": "Int64", "IsBlocked": "boolean"}.get(name, "str")
    return pd.Series(pd.array([None] * len(index), dtype=kind), index=index)


def _json(values: Sequence[Any]) -> pd.Series:
    return pd.Series([database.to_json(value) for value in values], dtype="str")


def _skip_reasons(
    header: pd.DataFrame,
    keys: pd.Series,
    held: Mapping[str, Sequence[ChannelProduct]],
    ambiguous: Mapping[str, Sequence[sa.Row]],
    settings: Catalog,
) -> pd.Series:
    """Why an item that has no product gets none; missing where it gets one, or has one."""
    vouchers = {code.item for code in rule_settings.load().item_codes if code.action == "voucher"}
    whys: list[Any] = []
    for key, blocked, status, kind in zip(
        keys, header["IsBlocked"].tolist(), header["Status"].tolist(), header["Type"].tolist(), strict=True
    ):
        if key in held or key in ambiguous:
            whys.append(np.nan)
        elif key in vouchers:
            whys.append("It is sold under the codes that item_codes.csv names as vouchers.")
        elif blocked:
            whys.append("It may not be sold on channels.")
        elif status == "Discontinued":
            whys.append("It is discontinued and the channel never had it.")
        elif kind in settings.leave_out_types:
            whys.append(f"Items of type {kind} are left out by catalog.yaml.")
        else:
            whys.append(np.nan)
    return pd.Series(whys, index=header.index, dtype="str")


def _ambiguous(keys: pd.Series, ambiguous: Mapping[str, Sequence[sa.Row]]) -> pd.DataFrame:
    """A problem for each product that could be another item as well."""
    rows = [(row, product) for row, key in enumerate(keys) for product in ambiguous.get(key, ())]
    return problems.make(
        [row for row, _ in rows],
        field="SKU",
        rule="ambiguous_product",
        value=[product.product_sku for _, product in rows],
        message=[
            f"The channel's product {{value}} could be any of these items: {', '.join(product.items)}."
            for _, product in rows
        ],
        do="Give the right one the product's SKU as an alternate SKU in TIMS, or take the other one's away.",
    )


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged products with what the suite looks at besides. Of what is to be blocked nothing is found fault with: it
    must come off the channels whatever else is wrong with it."""
    header = frames.header.copy()
    sold = ~header["IsBlocked"].fillna(False).to_numpy(dtype=bool)
    code = header["UPC"].where(header["UPC"].notna(), header["EAN"])
    digit = {one: "right" if catalogue.check_digit(one) else "wrong" for one in code.dropna().unique()}
    images, attributes, parts = ([database.from_json(text) for text in header[name].fillna("[]")] for name in _LISTS)
    counts = [len(one) if kind == "Bundle" else None for one, kind in zip(parts, header["ProductType"], strict=True)]
    header["trade_code"] = code
    header["check_digit"] = code.map(digit, na_action="ignore").astype("str")
    header["part_count"] = pd.Series(counts, index=header.index, dtype="Int64")
    header["odd_image"] = pd.Series(
        [_first(one, "Url", _no_address) for one in images], index=header.index, dtype="str"
    )
    header["odd_attribute"] = pd.Series(
        [_first(one, "Name", lambda name: not name.strip()) for one in attributes], index=header.index, dtype="str"
    )
    for name in ("check_digit", "part_count", "odd_image", "odd_attribute"):
        header[name] = header[name].where(sold)
    return Frames(header, frames.lines)


_LISTS = ("Images", "Attributes", "BundleComponents")


def _first(entries: Sequence[Mapping[str, str]], name: str, odd: Any) -> Any:
    return next((one[name] for one in entries if odd(one[name])), np.nan)


def _no_address(url: str) -> bool:
    return not url.lower().startswith(("http://", "https://")) or not url.split("//", 1)[1].strip()


# ---- what the channel holds of an item -----------------------------------------------------------------------------


class ChannelProduct(NamedTuple):
    """A product of the channel that is clearly one item; `delivered` is None where we have never delivered to it."""

    sku: str
    product_id: int
    type: str
    payload: dict[str, Any]
    delivered: dict[str, Any] | None


_HELD = sa.text("""
SELECT c.sku, c.product_id, c.type, c.payload, p.delivered FROM ref.channel_product c
LEFT JOIN ops.product p ON p.product_sku = c.sku WHERE c.sku = ANY (:skus)
""")


def products(
    connection: sa.Connection, skus: Sequence[str]
) -> tuple[dict[str, list[ChannelProduct]], dict[str, list[sa.Row]]]:
    """({SKU of TIMS: its products, the main one first}, {SKU: products that could be it and another item}). The main
    one has the item's own SKU, whatever the case; else it is the first."""
    rows = channel.products_of(connection, skus)
    wanted = set(skus)
    clear = {row.product_sku: row.items[0] for row in rows if row.items and len(row.items) == 1}
    found = connection.execute(_HELD, {"skus": [product for product, item in clear.items() if item in wanted]})
    held: dict[str, list[ChannelProduct]] = {}
    for row in found:
        held.setdefault(clear[row.sku], []).append(ChannelProduct(*row))
    for sku, some in held.items():
        some.sort(key=lambda one: (one.sku.strip().casefold() != sku.casefold(), one.sku))
    ambiguous: dict[str, list[sa.Row]] = {}
    for row in rows:
        for item in row.items if row.items and len(row.items) > 1 else ():
            if item in wanted:
                ambiguous.setdefault(item, []).append(row)
    return held, ambiguous


_VERSIONS = sa.text("""
SELECT i.sku, max(c.version), max(l.version) FROM ref.item_code i
JOIN ref.channel_product c ON c.folded = i.folded LEFT JOIN ref.channel_listing l ON l.sku = c.sku
WHERE i.sku = ANY (:skus) GROUP BY i.sku
""")


def versions(connection: sa.Connection, skus: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Of each item, the newest version of the products that could be it and of their listings."""
    return {
        sku: (product.isoformat(), listing and listing.isoformat())
        for sku, product, listing in connection.execute(_VERSIONS, {"skus": list(skus)})
    }
