"""Finds what is sold on a line: a product, or a code that stands for something else.

In: lines, TIMS's items and codes, item_codes.csv. Out: per line an action and TIMS's own SKU; later the target lines,
kits divided into their components. Never: a guess. A code that no list and no item knows, or two items know, is a
problem that names the nearest candidates.

A line without a SKU ("" or absent) is `unknown_sku`; the SKU is compared trimmed.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rapidfuzz import process

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import LINES, MADE, Columns, rule
from crossdock.rules.money import LINE_AMOUNTS, SETTLED, Settled, amount, round_cents, spread
from crossdock.rules.order_context import OrderContext
from crossdock.rules.reference_data import Reference
from crossdock.rules.settings import ItemCode, Settings
from crossdock.rules.vectorize import TEXT, column, values_at

PRODUCT, SHIPPING, DISCOUNT, IGNORE = "product", "shipping", "discount", "ignore"
LINE_ID_LENGTH = 60
MOST_LINES = 500
AMOUNTS = ("UnitPrice", "Quantity", *LINE_AMOUNTS)  # a line costs something if one of these is not 0
NEAREST = 3
NEAREST_ARE = "The nearest are: "


@dataclass(frozen=True)
class _Decision:
    """The meaning of one code. `item`: TIMS's own SKU. A refused code counts as a product, so that the order's other
    amounts are checked as they are."""

    action: str
    item: str | None = None
    rule: str = ""
    message: str = ""
    do: str = ""


@rule(
    "decide_item_codes",
    reads=["lines.OrderItemID", "lines.SKU", *(LINES + name for name in AMOUNTS)],
    writes=["lines.action", "lines.item"],
)
def decide_item_codes(frames: Frames, context: OrderContext) -> Columns:
    """Decides what each line is (product, shipping, discount, ignored), and which item of TIMS: by item_codes.csv, then
    by SKU, alternate SKU, and both without case."""
    columns, found = resolve(frames, context.reference, context.settings)
    return Columns(lines=columns, problems=found)


def resolve(frames: Frames, reference: Reference, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decides what each line is, and which item of TIMS. Returns (line columns `action` and `item`, TIMS's own SKU;
    problems)."""
    lines = frames.lines
    codes, different = pd.factorize(column(lines, "SKU"), use_na_sentinel=False)
    given = ["" if v is None or v != v else str(v) for v in different.tolist()]
    book = _Book(given, reference, settings)
    decisions = [book.decide(code) for code in given]
    columns = pd.DataFrame(
        {
            "action": pd.Categorical([d.action for d in decisions], categories=_ACTIONS).take(codes),
            "item": pd.array([d.item for d in decisions], dtype=TEXT).take(codes),
        },
        index=lines.index,
    )
    row, ids = lines["_row"].to_numpy(), lines["OrderItemID"].to_numpy()
    at = np.flatnonzero(np.array([bool(d.rule) for d in decisions], dtype=bool)[codes])
    at = at[np.argsort(codes[at], kind="stable")]
    refused = [decisions[code] for code in codes[at].tolist()]
    found = [
        problems.make(
            row[at],
            field="OrderItems.SKU",
            rule=[d.rule for d in refused],
            value=different.take(codes[at]),
            message=[d.message for d in refused],
            do=[d.do for d in refused],
            line=[str(v) for v in ids[at]],
        )
    ]
    costly = np.flatnonzero((columns["action"] == IGNORE).to_numpy() & _costs(lines))
    columns.loc[columns.index[costly], "action"] = PRODUCT
    found.append(
        problems.make(
            row[costly],
            field="OrderItems.SKU",
            rule="code_rejected",
            value=values_at(column(lines, "SKU"), costly),
            message='"{value}" on line {line} is ignored by item_codes.csv only where it costs nothing, and it costs.',
            do="Name another action for the code, or take the line out (edit this record's payload), then replay.",
            line=[str(v) for v in ids[costly]],
        )
    )
    return columns, problems.concat(found)


def _costs(lines: pd.DataFrame) -> np.ndarray:
    """Whether any amount of the line is not 0."""
    amounts = [amount(lines, name) != 0 for name in LINE_AMOUNTS]
    return np.logical_or.reduce([(amount(lines, "UnitPrice") != 0) & (amount(lines, "Quantity") != 0), *amounts])


_ACTIONS = [PRODUCT, SHIPPING, DISCOUNT, IGNORE]


class Codes:
    """The rows of item_codes.csv, indexed once."""

    def __init__(self, settings: Settings) -> None:
        self._exact = {c.code: c for c in settings.item_codes}
        self._caseless = {c.code.casefold(): c for c in settings.item_codes}
        self._globs = [c for c in settings.item_codes if set(c.code) & set("*?[")]

    def listed(self, code: str) -> ItemCode | None:
        """The row of a code: exact, then without case, then by wildcard."""
        folded = code.casefold()
        return (
            self._exact.get(code)
            or self._caseless.get(folded)
            or next((c for c in self._globs if fnmatch.fnmatchcase(folded, c.code.casefold())), None)
        )


class _Book:
    """The given codes of one batch, and the items that they may mean, indexed once."""

    def __init__(self, given: Sequence[str], reference: Reference, settings: Settings) -> None:
        self._reference = reference
        codes = Codes(settings)
        self._listed = {code: codes.listed(code) for code in given}
        vouchers = {row.item for row in self._listed.values() if row is not None and row.action == "voucher"}
        wanted = {*given, *vouchers}
        self._alternate: dict[str, set[str]] = {}
        self._folded: dict[str, set[str]] = {}
        spelt = reference.codes_of(wanted, {code.casefold() for code in wanted})
        for code, folded, kind, sku in spelt[["code", "folded", "kind", "SKU"]].itertuples(index=False, name=None):
            self._folded.setdefault(folded, set()).add(sku)
            if kind == "alternate":
                self._alternate.setdefault(code, set()).add(sku)
        items = with_parts(reference, {*wanted, *spelt["SKU"].tolist()})
        self._status = dict(zip(items["SKU"].tolist(), items["Status"].tolist(), strict=True))
        self._parts = {sku: kit for sku, kit in _kits(items) if kit}

    def decide(self, code: str) -> _Decision:
        row = self._listed[code]
        if row is None or row.action == "product":
            return self._product(code)
        if row.action == "voucher":
            return self._product(row.item, sold_as=code)
        if row.action == "reject":
            return _Decision(
                PRODUCT,
                rule="code_rejected",
                message=f'"{code}" on line {{line}} is refused by config/lookups/item_codes.csv: {row.reason}.',
                do="Take the line out of the order (edit this record's payload), or change the list, then replay.",
            )
        return _Decision(row.action)

    def _product(self, code: str, sold_as: str = "") -> _Decision:
        found = self._find(code)
        named = f'"{sold_as}" (sold as "{code}")' if sold_as else f'"{code}"'
        if len(found) > 1:
            both = ", ".join(sorted(found)[:5])
            return _Decision(
                PRODUCT,
                rule="ambiguous_sku",
                message=f"{named} on line {{line}} is the code of several items in TIMS: {both}.",
                do="Name the right SKU in the payload and replay, or give the item an alternate SKU in TIMS.",
            )
        if not found:
            near = self._nearest(code)
            return _Decision(
                PRODUCT,
                rule="unknown_sku",
                message=f"No item in TIMS has the SKU or alternate SKU {named} of line {{line}}."
                + (f" {NEAREST_ARE}{', '.join(near)}." if near else ""),
                do="Create the item or an alternate SKU in TIMS, or name the code in item_codes.csv, then replay.",
            )
        (sku,) = found
        if sku not in self._status:
            return _Decision(
                PRODUCT,
                rule="unknown_sku",
                message=f"{named} on line {{line}} belongs to the item {sku}, which has not been read from TIMS.",
                do="Read the items again, then replay.",
            )
        return self._sellable(sku, named)

    def _sellable(self, sku: str, named: str) -> _Decision:
        """The decision on an item: a blocked one, and a kit with an unknown or blocked part, cannot be ordered; a
        discontinued one can."""
        for part in [sku, *(p for p, _ in self._parts.get(sku, ()))]:
            of = f" (part of the kit {sku})" if part != sku else ""
            if part not in self._status:
                message = f"{named} on line {{line}} needs the item {part}{of}, which TIMS does not have."
                return _Decision(PRODUCT, sku, "unknown_sku", message, "Correct the kit in TIMS, then replay.")
            if self._status[part] == "Blocked":
                message = f"{named} on line {{line}} is the item {part}{of}, which is Blocked in TIMS."
                return _Decision(
                    PRODUCT,
                    sku,
                    "item_blocked",
                    message,
                    "Unblock the item in TIMS, or cancel the order on the channel, then replay.",
                )
        return _Decision(PRODUCT, sku)

    def _find(self, code: str) -> set[str]:
        if code in self._status:
            return {code}
        return self._alternate.get(code) or self._folded.get(code.casefold(), set())

    def _nearest(self, code: str) -> list[str]:
        return nearest(code, self._candidates, self._spelt) if code else []

    @cached_property
    def _candidates(self) -> list[str]:
        return self._reference.every_code()

    def _spelt(self, folded: str) -> Collection[str]:
        return set(self._reference.codes_of((), [folded])["SKU"].tolist())


def nearest_named(message: str) -> tuple[str, ...]:
    """The items that the message of an unknown code names as the nearest."""
    _, found, names = message.partition(NEAREST_ARE)
    return tuple(names.removesuffix(".").split(", ")) if found else ()


def nearest(code: str, candidates: Sequence[str], skus: Callable[[str], Collection[str]]) -> list[str]:
    """The SKUs spelt most like `code`. `candidates`: codes in lower case, sorted; `skus` gives the SKUs of each."""
    hits = process.extract(code.casefold(), candidates, limit=NEAREST, score_cutoff=60) if code else []
    near: dict[str, None] = {}
    for hit, _score, _n in hits:
        near |= dict.fromkeys(sorted(skus(hit)))
    return list(near)[:NEAREST]


def with_parts(reference: Reference, skus: Collection[str]) -> pd.DataFrame:
    """The items with these SKUs, and the parts of the kits among them."""
    items = reference.items_of(skus)
    parts = {part for _, kit in _kits(items) for part, _ in kit}
    return reference.items_of({*skus, *parts}) if parts - set(skus) else items


def _kits(items: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """The parts of each item, (SKU, units) each; () of one that is no kit."""
    for sku, kit in zip(items["SKU"].tolist(), items["KitComponents"].tolist(), strict=True):
        yield sku, kit if isinstance(kit, (list, tuple, np.ndarray)) and len(kit) else ()


# ---- target lines ----


@rule(
    "explode_kits",
    reads=[
        "lines.OrderItemID", "lines.SKU", "lines.action", "lines.item", "lines.UnitsShipped",
        "lines.UnitsCancelled", *SETTLED,
    ],
    writes=[
        MADE + name for name in (
            "OrderItemID", "ExternalLineID", "SourceSKU", "SKU", "Quantity", "Price", "DiscountAmount", "TaxAmount",
            "KitParentSKU", "UnitsPerKit", "QuantityShipped", "QuantityCancelled",
        )
    ],
)  # fmt: skip
def target_lines(frames: Frames, context: OrderContext) -> Columns:
    """Makes the lines of the sales orders: one per goods line, and one per component where a kit was sold. The money of
    a kit is divided by list price times units, largest remainder; the parts add up to the cent."""
    settled = Settled.of(frames)
    goods = np.flatnonzero((frames.lines["action"] == PRODUCT).to_numpy())
    source = frames.lines
    take = {name: source[name].to_numpy()[goods] for name in ("_row", "_line", "UnitsShipped", "UnitsCancelled")}
    quantity = settled.quantity[goods]
    unit = settled.unit[source["_row"].to_numpy()]
    codes, different = pd.factorize(column(source, "item").array.take(goods))
    items = with_parts(context.reference, different.tolist())
    position = {sku: n for n, sku in enumerate(items["SKU"].tolist())}
    item = np.array([*(position[sku] for sku in different.tolist()), len(items)])[codes]  # the last one is "no item"
    parts = _parts(items, position)
    count = parts.count[item]
    is_kit = count > 0
    times = np.maximum(count, 1)
    line = np.repeat(np.arange(len(goods)), times)
    nth = np.arange(len(line)) - np.repeat(np.cumsum(times) - times, times)
    at = parts.start[item][line] + nth
    kit = is_kit[line]
    at = np.where(kit, at, 0)
    units = np.where(kit, parts.units[at], 1)
    part_item = np.where(kit, parts.item[at], item[line])
    amounts = _part_money(settled, goods, line, kit, units, parts.price[at], quantity, unit)

    sku = pd.array([*position, None], dtype=TEXT)
    ids = source["OrderItemID"].to_numpy(dtype=np.int64, na_value=0)[goods][line]
    written = pa.array(ids).cast(pa.large_string())
    external = pd.Series(pd.array(written, dtype=TEXT))
    own = sku.take(part_item)
    if kit.any():
        at_kit = np.flatnonzero(kit)
        external[at_kit] = [f"{i}:{s}" for i, s in zip(ids[at_kit], own.take(at_kit).tolist(), strict=True)]
    row = take["_row"][line]
    lines = pd.DataFrame(
        {
            "_row": row,
            "_line": _numbered(row),
            "OrderItemID": ids,
            "ExternalLineID": external,
            "SourceSKU": column(source, "SKU").array.take(goods).take(line),
            "SKU": own,
            "Quantity": quantity[line] * units,
            **amounts,
            "KitParentSKU": sku.take(np.where(kit, item[line], -1), allow_fill=True),
            "UnitsPerKit": units,
            "QuantityShipped": take["UnitsShipped"][line] * units,
            "QuantityCancelled": take["UnitsCancelled"][line] * units,
        }
    )
    return Columns(made=lines, problems=_line_problems(frames, lines, kit))


def _numbered(row: np.ndarray) -> np.ndarray:
    """0, 1, 2… within each order; `row` is sorted."""
    if not len(row):
        return np.empty(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    return np.arange(len(row)) - np.repeat(starts, np.diff(np.r_[starts, len(row)]))


@dataclass(frozen=True)
class _Parts:
    """The components of all kits, one after another. `start` and `count` are per item; one more item stands for
    "none"."""

    start: np.ndarray
    count: np.ndarray
    item: np.ndarray
    units: np.ndarray
    price: np.ndarray


def _parts(items: pd.DataFrame, position: Mapping[str, int]) -> _Parts:
    prices = items["ListPrice"].to_numpy(dtype=np.int64)
    count = np.zeros(len(items) + 1, dtype=np.int64)
    rows: list[tuple[int, int, int]] = []
    for n, (_, kit) in enumerate(_kits(items)):
        units: dict[str, int] = {}
        for sku, quantity in kit:
            units[sku] = units.get(sku, 0) + int(quantity)
        parts = [(position[s], q, int(prices[position[s]])) for s, q in units.items() if s in position]
        count[n] = len(parts)
        rows += parts
    table = np.array(rows or [(0, 1, 0)], dtype=np.int64)
    return _Parts(np.cumsum(count) - count, count, table[:, 0], table[:, 1], table[:, 2])


def _part_money(
    settled: Settled,
    goods: np.ndarray,
    line: np.ndarray,
    kit: np.ndarray,
    units: np.ndarray,
    list_price: np.ndarray,
    quantity: np.ndarray,
    order_unit: np.ndarray,
) -> dict[str, np.ndarray]:
    """Price, DiscountAmount and TaxAmount of the target lines. round2(Quantity x Price) - DiscountAmount of a
    component is its exact share: where no price of 4 places gives it, the price is rounded up and the excess is
    discount."""
    price, discount, tax = (v[goods][line] for v in (settled.price, settled.discount, settled.tax))
    at = np.flatnonzero(kit)
    if not len(at):
        return {"Price": price, "DiscountAmount": discount * 100, "TaxAmount": tax * 100}
    of, first = np.unique(line[at], return_inverse=True)
    of_goods = goods[of]
    weight = list_price[at] * units[at]
    unit = order_unit[of_goods]

    def parted(total: np.ndarray, by: np.ndarray) -> np.ndarray:
        return spread(total[of_goods] // unit, by, first, even=units[at]) * unit[first]

    gross = parted(settled.gross, weight)
    off, duty = parted(settled.discount, gross), parted(settled.tax, gross)
    number = quantity[line[at]] * units[at]
    nearest = (2 * gross * 100 + number) // np.maximum(2 * number, 1)
    whole = np.where(unit[first] > 1, unit[first] * 100, 1)  # any number of units of it makes a whole amount
    above = -(-gross * 100 // (np.maximum(number, 1) * whole)) * whole
    hits = round_cents(number * nearest) == gross
    price, discount, tax = price.copy(), discount.copy(), tax.copy()
    price[at] = np.where(hits, nearest, above)
    discount[at] = off + round_cents(number * price[at]) - gross
    tax[at] = duty
    return {"Price": price, "DiscountAmount": discount * 100, "TaxAmount": tax * 100}


def _line_problems(frames: Frames, lines: pd.DataFrame, kit: np.ndarray) -> pd.DataFrame:
    """Problems of orders whose lines TIMS cannot take: none, too many, ids too long."""
    count = np.bincount(lines["_row"].to_numpy(), minlength=len(frames.header))
    none, many = np.flatnonzero(count == 0), np.flatnonzero(count > MOST_LINES)
    ids = lines["ExternalLineID"]
    long = np.flatnonzero(kit & (ids.str.len() > LINE_ID_LENGTH).to_numpy(dtype=bool))
    return problems.concat(
        [
            problems.make(
                none,
                field="OrderItems",
                rule="no_lines",
                value="0",
                message="No line of the order is a product.",
                do="Cancel the order on the channel, or dismiss the record.",
            ),
            problems.make(
                many,
                field="OrderItems",
                rule="too_many_lines",
                value=[str(c) for c in count[many]],
                message=f"The order has {{value}} lines in TIMS, kits parted; TIMS takes {MOST_LINES}.",
                do="Type the order into TIMS by hand and dismiss the record.",
            ),
            problems.make(
                lines["_row"].to_numpy()[long],
                field="OrderItems.SKU",
                rule="text_too_long",
                value=ids.array.take(long).tolist(),
                message=f'The line id "{{value}}" (line and component) is longer than {LINE_ID_LENGTH} characters.',
                do="Give the component a shorter SKU in TIMS, then replay.",
                line=[str(v) for v in lines["OrderItemID"].to_numpy()[long]],
            ),
        ]
    )
