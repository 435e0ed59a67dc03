"""The catalogue, the documents: TIMS's items as frames -> Channel Advisor's products and listings as staged rows.

In: parsed items, the channel's products and listings in `ref`. Out: `Staged`. Never: a call to a system; a guess which
item an ambiguous product is.
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
from crossdock.flows import documents, unreadable
from crossdock.mapping import language, problems
from crossdock.mapping.frames import ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.reference import channel
from crossdock.rules import catalogue
from crossdock.rules import settings as rule_settings
from crossdock.rules.catalogue import Extras, ProductContext
from crossdock.settings import config_dir
from crossdock.store import database, raw, registry, sql
from crossdock.store.tables import stage_product

ENTITY = "channel_product"
MAPPING = "product"
NO_PARTS_YET = "The channel does not have these parts of the kit yet: "  # begins the reason of a waiting kit
COLUMNS = registry.fields(stage_product)
# Configuration files of the flow: after a change in one of them all items are worked again.
CONFIGURED_BY = (
    f"mappings/{MAPPING}.yaml", catalogue.FILE, f"lookups/{catalogue.LOOKUP}.csv", "lookups/item_codes.csv",
)  # fmt: skip


@dataclass
class Outcome:
    """The outcomes of a batch's rows, by key. A row in none of these needed no change."""

    changed: set[str] = field(default_factory=set)
    refused: dict[str, list[dict]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)  # the call failed with a transient error
    alerts: list[dict[str, Any]] = field(default_factory=list)
    unequal: set[str] = field(default_factory=set)  # a product was changed by somebody else while we wrote to it
    seen: dict[str, datetime] = field(default_factory=dict)  # newest UpdatedDate among its compared products

    def at_rest(self, key: str) -> bool:
        """Whether this try can do no more for a row."""
        return key in self.refused or key in self.waiting or key in self.pending


def rules_hash() -> str:
    """One hash of the flow's configuration. Raises ConfigError where it cannot be read."""
    catalogue.load()
    catalogue.read_categories()
    return raw.digest(b"\0".join((config_dir() / name).read_bytes() for name in CONFIGURED_BY))


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged products of a batch."""
    frames = documents.keyed(parsed, keys)
    kept = frames.header[KEY]
    extras, odd = _extras([parsed.payloads[position] for position in parsed.kept])
    context = load_context(connection, kept.tolist(), extras)
    done = language.load(MAPPING).apply(frames, context, also=("state", "reason", "listings"))
    header = done.source.header
    skipped = header["state"].eq("left_out").to_numpy(dtype=bool)
    found = problems.concat([odd, done.errors, done.problems])
    seen = versions(connection, kept.tolist())
    made = pd.DataFrame(
        {
            "key": kept,
            "state": header["state"],
            "reason": header["reason"],
            **{name: done.target.header[name] for name in COLUMNS},
            "listings": header["listings"],
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


def load_context(connection: sa.Connection, keys: Sequence[str], extras: Sequence[Extras]) -> ProductContext:
    """Reads what the rules need besides the items. `extras` are aligned to `keys`."""
    held, ambiguous = products(connection, keys)
    codes = rule_settings.load().item_codes
    return ProductContext(
        catalogue.load(),
        dict(zip(keys, extras, strict=True)),
        frozenset(held) | frozenset(ambiguous),
        frozenset(code.item for code in codes if code.action == "voucher" and code.item),
        catalogue.read_categories(),
        {key: [(row.product_sku, row.items) for row in rows] for key, rows in ambiguous.items()},
    )


_extra = msgspec.json.Decoder(Extras)


def _extras(payloads: Sequence[bytes]) -> tuple[list[Extras], pd.DataFrame]:
    """Reads the lists and free names of each item, and the problems of those that break the contract."""
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


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds the columns that the suite checks besides. Blocked products have none of them: they must come off the
    channels whatever else is wrong with them."""
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


# ---- products of the channel ---------------------------------------------------------------------------------------


class ChannelProduct(NamedTuple):
    """A product of the channel that matches exactly one item; `delivered` is None where we have delivered nothing."""

    sku: str
    product_id: int
    type: str
    payload: dict[str, Any]
    delivered: dict[str, Any] | None


_HELD = sql.statement(__package__, "held")


def products(
    connection: sa.Connection, skus: Sequence[str]
) -> tuple[dict[str, list[ChannelProduct]], dict[str, list[sa.Row]]]:
    """Finds ({SKU of TIMS: its products, the main one first}, {SKU: ambiguous products, which match other items, too}).
    The main one has the item's own SKU, in any case of letters; else it is the first."""
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


_VERSIONS = sql.statement(__package__, "versions")


def versions(connection: sa.Connection, skus: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Reads, per item, the newest version of the products that match it, and of their listings."""
    return {
        sku: (product.isoformat(), listing and listing.isoformat())
        for sku, product, listing in connection.execute(_VERSIONS, {"skus": list(skus)})
    }
