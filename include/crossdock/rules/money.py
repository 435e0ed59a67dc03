"""Converts amounts: every cent of the order goes to exactly one place of the sales order.

In: amounts of the channel (nullable Int64 x 10,000), what each line is. Out: amounts of the target, int64, and
problems. Never: a float, tax computed anew, a cent lost or invented.

* Amounts that only the header carries are spread over the lines by value, largest remainder; where lines carry a part,
  only the missing part is spread; lines above their header are a problem.
* Shares are multiples of the currency's unit: a whole one without decimals, unless the order has fractions of it.
* TIMS rounds once per line: round2(Quantity x Price), half away from zero. Prices keep their 4 places.
* TotalAmount follows TIMS's equation. It may differ from TotalPrice by rounding alone, less than half
  a unit (0.005) a line.
* A tax that is inside its amounts is not added again. The goods decide whether a document's prices include tax; where
shipping or gift wrap differs, its tax is added to it or subtracted.
* A header amount of None is "not given": the sum of the lines is used. 0 is an amount. On a line, None counts as 0.

Cents are int64 x 100, everything that leaves this module is x 10,000.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, Frames, written
from crossdock.mapping.registry import Columns, rule
from crossdock.rules import currencies
from crossdock.rules.vectorize import column, values_at

HALF_CENT = 50  # x 10,000: the most that rounding a line may change
LARGEST = 9 * 10**17  # of Quantity x Price x 10,000; beyond it int64 may not hold the sums
LINE_AMOUNTS = ("TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount", "GiftWrapAmount")
HEAD_AMOUNTS = ("TotalShippingPrice", "TotalShippingTaxPrice", "TotalTaxPrice", "TotalDiscount")
PAIRS = (
    ("TotalTaxPrice", "TaxAmount"),
    ("TotalDiscount", "DiscountAmount"),
    ("TotalShippingPrice", "ShippingAmount"),
    ("TotalShippingTaxPrice", "ShippingTaxAmount"),
)
_EDIT = "Correct the order on the channel, or edit this record's payload, then replay."


def round_cents(amount: np.ndarray) -> np.ndarray:
    """int64 x 10,000 to cents, half away from zero."""
    return np.sign(amount) * ((np.abs(amount) + HALF_CENT) // CENT)


def spread(total: np.ndarray, weight: np.ndarray, group: np.ndarray, even: np.ndarray | None = None) -> np.ndarray:
    """Divides each group's total (0 or more) over its members by weight (0 or more), largest remainder. The shares are
    whole and add up to the total exactly. None is above its weight if the total is not above the sum of weights.

    `group`: number of each member's total, sorted. Groups whose weights are all 0 are divided by `even`, without it
    equally. A tie goes to the earlier member. Without members nothing is divided."""
    share = np.zeros(len(weight), dtype=np.int64)
    wanted = np.flatnonzero(total[group] > 0) if len(group) else np.empty(0, dtype=np.int64)
    if not len(wanted):
        return share
    group, weight = group[wanted], weight[wanted]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[starts, len(group)])
    empty = np.repeat(np.add.reduceat(weight, starts) == 0, sizes)
    weight = np.where(empty, 1 if even is None else even[wanted], weight)
    sums = np.repeat(np.add.reduceat(weight, starts), sizes)
    amount = total[group]
    if int(amount.max()) * int(weight.max()) >= 2**62:  # beyond int64: exact, though slow; such amounts are rare
        product = amount.astype(object) * weight.astype(object)
        part, rest = (product // sums).astype(np.int64), (product % sums).astype(np.int64)
    else:
        product = amount * weight
        part = product // sums
        rest = product - part * sums
    left = np.repeat(total[group[starts]] - np.add.reduceat(part, starts), sizes)
    order = np.lexsort((np.arange(len(group)), -rest, group))
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, sizes)
    share[wanted] = part + (rank < left)
    return share


@dataclass(frozen=True)
class StatedTax:
    """The tax treatment that the channel gives for each order (rule stated_taxes), bool per order: the tax of goods,
    shipping, gift wrap is inside the amount; the tax of goods, of shipping is not given."""

    goods: np.ndarray
    shipping: np.ndarray
    wrap: np.ndarray
    silent_goods: np.ndarray
    silent_shipping: np.ndarray

    @classmethod
    def of(cls, frames: Frames) -> StatedTax:
        """From the columns that the rule stated_taxes writes."""
        return cls(*(frames.header[name].to_numpy(dtype=bool) for name in STATED))

    def columns(self) -> pd.DataFrame:
        return pd.DataFrame({f"stated.{one.name}": getattr(self, one.name) for one in fields(self)})


@dataclass
class Settled:
    """The decided amounts. Per line: quantity, price (x 10,000), and in cents gross, discount, tax (0 unless goods).
    Per order, in cents: shipping, shipping_discount, shipping_tax, gift_wrap; and whether TIMS's rounding may explain
    a difference."""

    quantity: np.ndarray
    price: np.ndarray
    gross: np.ndarray
    discount: np.ndarray
    tax: np.ndarray
    shipping: np.ndarray
    shipping_discount: np.ndarray
    shipping_tax: np.ndarray
    gift_wrap: np.ndarray
    unit: np.ndarray  # per order: the smallest amount of its currency, in cents
    rounds: np.ndarray  # bool per order: some Quantity x UnitPrice is not whole cents
    parts: np.ndarray  # x 10,000 per order: the sum of the channel's own parts
    inclusive: np.ndarray  # bool per order: prices, charges and discounts contain their tax
    refused: np.ndarray  # bool per order: its amounts have a problem

    @classmethod
    def of(cls, frames: Frames) -> Settled:
        """From the columns that the rules settle_amounts and taxes_inside write."""
        header, lines = frames.header, frames.lines
        return cls(
            **{name: lines[f"settled.{name}"].to_numpy() for name in _OF_LINES},
            **{name: header[column].to_numpy() // CENT for name, column in _CHARGES.items()},
            **{name: header[column].to_numpy() for name, column in _OF_ORDERS.items()},
        )

    def columns(self) -> Columns:
        charges = {column: getattr(self, name) * CENT for name, column in _CHARGES.items()}
        orders = {column: getattr(self, name) for name, column in _OF_ORDERS.items()}
        lines = {f"settled.{name}": getattr(self, name) for name in _OF_LINES}
        return Columns(pd.DataFrame({**charges, **orders}), pd.DataFrame(lines))


STATED = tuple(f"stated.{one.name}" for one in fields(StatedTax))
_OF_LINES = ("quantity", "price", "gross", "discount", "tax")
_CHARGES = {
    "shipping": "ShippingAmount",
    "shipping_discount": "ShippingDiscountAmount",
    "shipping_tax": "ShippingTaxAmount",
    "gift_wrap": "GiftWrapAmount",
}
_OF_ORDERS = {
    "inclusive": "PricesIncludeTax",
    **{name: f"settled.{name}" for name in ("unit", "rounds", "parts", "refused")},
}
SETTLED = (*_CHARGES.values(), *_OF_ORDERS.values(), *(f"lines.settled.{name}" for name in _OF_LINES))


def _sums(values: np.ndarray, row: np.ndarray, count: int) -> np.ndarray:
    """int64 sum per order; lines are sorted by order."""
    total = np.zeros(count, dtype=np.int64)
    if len(row):
        starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
        total[row[starts]] = np.add.reduceat(values, starts)
    return total


def amount(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A money or count column as int64; 0 where not given."""
    return frame[name].fillna(0).to_numpy(dtype=np.int64)


@rule(
    "settle_amounts",
    reads=[
        *HEAD_AMOUNTS, "TotalPrice", "Currency", *STATED, "lines.action", "lines.OrderItemID", "lines.UnitPrice",
        "lines.Quantity", *(f"lines.{name}" for name in LINE_AMOUNTS),
    ],
    writes=SETTLED,
)  # fmt: skip
def settle_amounts(frames: Frames, context: object) -> Columns:
    """Header amounts that no line carries are spread over the lines by value. Shipping and discount lines become the
    order's shipping and discount. A discount above the goods reduces the shipping. Where only one of goods and shipping
    (or gift wrap) includes its tax, the latter is converted by its tax. Amounts in `settled` are cents."""
    stated_tax = StatedTax.of(frames)
    header, lines = frames.header, frames.lines
    row, orders = lines["_row"].to_numpy(), len(header)
    found = _line_problems(frames)
    quantity, price = amount(lines, "Quantity"), amount(lines, "UnitPrice")
    large = np.abs(price) > LARGEST // np.maximum(np.abs(quantity), 1)
    if large.any():
        found.append(_too_large(frames, large))
        quantity, price = np.where(large, 0, quantity), np.where(large, 0, price)
    exact = quantity * price
    gross = round_cents(exact)
    action = lines["action"]
    goods, shipping_line, discount_line = ((action == name).to_numpy() for name in ("product", "shipping", "discount"))
    cents = {name: round_cents(amount(lines, name)) for name in LINE_AMOUNTS}
    carried = {name: _sums(values, row, orders) for name, values in cents.items()}
    given = {}
    for head_name, line_name in PAIRS:
        given[head_name], problem = _header(frames, head_name, line_name, carried[line_name])
        found.append(problem)

    unit = _units(header, row, given, gross, *cents.values())

    def per_order(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return _sums(np.where(mask, values, 0), row, orders)

    # tax: what no line carries is spread over goods and shipping lines by value
    taxed = goods | shipping_line
    missing = np.maximum(given["TotalTaxPrice"] - carried["TaxAmount"], 0)
    tax = cents["TaxAmount"] + _spread_over(missing, unit, np.maximum(gross, 0), taxed, row)
    shipping = given["TotalShippingPrice"] + per_order(gross, shipping_line)
    shipping_tax = given["TotalShippingTaxPrice"] + per_order(tax, ~goods)

    # discount: of the header beyond the lines, of discount lines, of lines above their own value; over goods by what
    # is left
    own = np.where(goods, np.minimum(cents["DiscountAmount"], np.maximum(gross, 0)), 0)
    excess = per_order(cents["DiscountAmount"] - own, goods)
    beyond = np.maximum(given["TotalDiscount"] - carried["DiscountAmount"], 0)
    pool = beyond + excess - per_order(gross, discount_line)
    room = np.where(goods, np.maximum(gross, 0) - own, 0)
    rooms = _sums(room, row, orders)
    to_goods = np.clip(pool, 0, rooms)
    discount = own + _spread_over(to_goods, unit, room, goods, row)
    shipping_discount = per_order(cents["DiscountAmount"], ~goods) + pool - to_goods
    found.append(_discount_above(frames, shipping_discount, shipping, rooms, pool))

    signs = (
        np.where(stated_tax.goods, 0, 1),
        -1,
        1,
        np.where(stated_tax.shipping, 0, 1),
    )  # a tax inside is not added again
    parts = (
        _sums(exact, row, orders)
        + _sums(amount(lines, "GiftWrapAmount"), row, orders)
        + sum(sign * _given(header, name, carried[own]) for sign, (name, own) in zip(signs, PAIRS, strict=True))
    )
    of_wrap = _tax_of_wrap(frames, stated_tax, parts, given["TotalTaxPrice"], carried["GiftWrapAmount"])
    parts = parts + of_wrap * CENT
    found.append(_tax_above(frames, stated_tax, given, parts))
    shipping += (stated_tax.goods.astype(np.int64) - stated_tax.shipping) * given["TotalShippingTaxPrice"]
    unknowable = _sums(large.astype(np.int64), row, orders) > 0
    troubles = problems.concat(found)
    settled = Settled(
        quantity=quantity,
        price=np.maximum(price, 0),
        gross=np.where(goods, np.maximum(gross, 0), 0),
        discount=discount,
        tax=np.where(goods, np.maximum(tax, 0), 0),
        shipping=shipping,
        shipping_discount=np.maximum(shipping_discount, 0),
        shipping_tax=shipping_tax,
        gift_wrap=carried["GiftWrapAmount"] + of_wrap,
        unit=unit,
        rounds=_sums((exact % CENT != 0).astype(np.int64), row, orders) > 0,
        parts=np.where(unknowable, amount(header, "TotalPrice"), parts),
        inclusive=stated_tax.goods,
        refused=np.isin(np.arange(orders), troubles["_row"].to_numpy()),
    )
    columns = settled.columns()
    columns.problems = troubles
    return columns


def _tax_of_wrap(
    frames: Frames, stated_tax: StatedTax, parts: np.ndarray, tax: np.ndarray, wrap: np.ndarray
) -> np.ndarray:
    """The change of the gift wrap's amount by its tax, in cents: above 0 where this is on top and the tax of the goods
    inside, below 0 the other way round. The channel gives both taxes in one amount; TotalPrice shows which is which."""
    paid = frames.header["TotalPrice"]
    missing = round_cents(paid.fillna(0).to_numpy(dtype=np.int64) - parts)
    added = stated_tax.goods & ~stated_tax.wrap & (missing > 0)
    taken = ~stated_tax.goods & stated_tax.wrap & (missing < 0)
    possible = _true(paid.notna()) & (np.abs(missing) <= np.minimum(tax, wrap))
    return np.where((added | taken) & possible, missing, 0)


def _tax_above(frames: Frames, stated_tax: StatedTax, given: dict[str, np.ndarray], parts: np.ndarray) -> pd.DataFrame:
    """Problems of a tax inside an amount that is above the amount."""
    tax, of_shipping = given["TotalTaxPrice"], given["TotalShippingTaxPrice"]
    inside = np.where(stated_tax.goods, tax, 0) + np.where(stated_tax.shipping, of_shipping, 0)
    on_top = np.where(stated_tax.goods, 0, tax) + np.where(stated_tax.shipping, 0, of_shipping)
    whole = parts - on_top * CENT
    rows = np.flatnonzero((inside * CENT > whole) & (inside > 0))
    codes = values_at(column(frames.header, "Currency"), rows)
    return problems.make(
        rows,
        field="TotalTaxPrice",
        rule="tax_above_price",
        value=[_shown(v) for v in inside[rows]],
        message=[
            f"A tax of {_shown(t)} {c or ''} cannot be inside amounts of {written(int(w))}."
            for t, w, c in zip(inside[rows], whole[rows], codes, strict=True)
        ],
        do=_EDIT,
    )


def _units(header: pd.DataFrame, row: np.ndarray, given: dict[str, np.ndarray], *of_lines: np.ndarray) -> np.ndarray:
    """The unit of each order's currency; a cent where an amount of the order is not a multiple of it."""
    own = currencies.units(column(header, "Currency"))
    broken = sum((values % own != 0 for values in given.values()), np.zeros(len(header), dtype=np.int64))
    for values in of_lines:
        broken = broken + _sums((values % own[row] != 0).astype(np.int64), row, len(header))
    return np.where(broken > 0, 1, own)


def _spread_over(
    total: np.ndarray, unit: np.ndarray, value: np.ndarray, mask: np.ndarray, row: np.ndarray
) -> np.ndarray:
    """Shares of each order's total for the lines in `mask`, 0 for the others; multiples of the order's unit."""
    shares = np.zeros(len(row), dtype=np.int64)
    at = np.flatnonzero(mask)
    shares[at] = spread(total // unit, value[at], row[at]) * unit[row[at]]
    return shares


def _given(header: pd.DataFrame, name: str, carried: np.ndarray) -> np.ndarray:
    """A header amount x 10,000; where it is not given, the sum of the lines (`carried`, in cents)."""
    amounts = header[name]
    return np.where(amounts.notna(), amounts.fillna(0).to_numpy(dtype=np.int64), carried * CENT)


def _header(frames: Frames, head_name: str, line_name: str, carried: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """The header's amount in cents (the lines' sum where it is not given); lines above it are a problem."""
    header = frames.header
    given = round_cents(_given(header, head_name, carried))
    above = np.flatnonzero(carried > given)
    currency = values_at(column(header, "Currency"), above)
    problem = problems.make(
        above,
        field=head_name,
        rule="line_above_header",
        value=[_shown(v) for v in given[above]],
        message=[
            f"The lines carry {_shown(line)} {code or ''} of {line_name}, more than the {_shown(order)} of {head_name}."
            for line, order, code in zip(carried[above], given[above], currency, strict=True)
        ],
        do=_EDIT,
    )
    return given, problem


def _discount_above(
    frames: Frames, shipping_discount: np.ndarray, shipping: np.ndarray, rooms: np.ndarray, pool: np.ndarray
) -> pd.DataFrame:
    rows = np.flatnonzero(shipping_discount > shipping)
    codes = values_at(column(frames.header, "Currency"), rows)
    return problems.make(
        rows,
        field="TotalDiscount",
        rule="discount_above_goods",
        value=[_shown(v) for v in pool[rows]],
        message=[
            f"A discount of {_shown(p)} {c or ''} is above goods ({_shown(g)}) and shipping ({_shown(s)})."
            for p, g, s, c in zip(pool[rows], rooms[rows], shipping[rows], codes, strict=True)
        ],
        do=_EDIT,
    )


def _line_problems(frames: Frames) -> list[pd.DataFrame]:
    """Problems of single amounts, on lines and headers."""
    header, lines = frames.header, frames.lines
    row, ids = lines["_row"].to_numpy(), lines["OrderItemID"].to_numpy()
    action = lines["action"]
    found = []

    def on_lines(
        mask: np.ndarray, field: str, values: pd.Series | None, code: str, message: str, do: str = _EDIT
    ) -> None:
        at = np.flatnonzero(mask)
        if len(at):
            shown = [str(v) for v in lines[field].to_numpy()[at]] if values is None else _written(values, at)
            found.append(
                problems.make(
                    row[at],
                    field=f"OrderItems.{field}",
                    rule=code,
                    value=shown,
                    message=message,
                    do=do,
                    line=[str(i) for i in ids[at]],
                )
            )

    quantity = lines["Quantity"]
    on_lines(_true(quantity.isna()), "Quantity", None, "missing_field", "Line {line} has no quantity.")
    on_lines(
        _true(quantity <= 0),
        "Quantity",
        None,
        "quantity_below_one",
        "Line {line} orders {value} units; TIMS takes 1 or more.",
    )
    price = lines["UnitPrice"]
    discount_line = (action == "discount").to_numpy()
    on_lines(_true(price.isna()), "UnitPrice", None, "missing_field", "Line {line} has no price.")
    on_lines(
        _true(price < 0) & ~discount_line,
        "UnitPrice",
        price,
        "negative_price",
        "Line {line} has the price {value}, below 0.",
    )
    on_lines(
        _true(price > 0) & discount_line,
        "UnitPrice",
        price,
        "code_rejected",
        "Line {line} is a discount by config/lookups/item_codes.csv, but its price {value} adds to the order.",
    )
    for name in LINE_AMOUNTS:
        values = lines[name]
        on_lines(_true(values < 0), name, values, "negative_price", f"{name} of line {{line}} is {{value}}, below 0.")
        on_lines(
            _beyond_cents(values),
            name,
            values,
            "third_decimal",
            f"{name} of line {{line}} is {{value}}; TIMS documents have 2 places.",
        )
    for name in HEAD_AMOUNTS:
        values = header[name]
        for mask, code, message in (
            (_true(values < 0), "negative_price", f"{name} is {{value}}, below 0."),
            (_beyond_cents(values), "third_decimal", f"{name} is {{value}}; TIMS documents have 2 places."),
        ):
            at = np.flatnonzero(mask)
            found.append(
                problems.make(at, field=name, rule=code, value=_written(values, at), message=message, do=_EDIT)
            )
    return found


def _shown(cents: int) -> str:
    return written(int(cents) * CENT)


def _true(mask: pd.Series) -> np.ndarray:
    return mask.fillna(False).to_numpy(dtype=bool)


def _beyond_cents(values: pd.Series) -> np.ndarray:
    return values.fillna(0).to_numpy(dtype=np.int64) % CENT != 0


def _written(values: pd.Series, at: np.ndarray) -> list[str]:
    return [written(int(v)) for v in values.fillna(0).to_numpy(dtype=np.int64)[at]]


def _too_large(frames: Frames, large: np.ndarray) -> pd.DataFrame:
    at = np.flatnonzero(large)
    return problems.make(
        frames.lines["_row"].to_numpy()[at],
        field="OrderItems.UnitPrice",
        rule="amount_too_large",
        value=_written(frames.lines["UnitPrice"], at),
        message="Quantity times price of line {line} is beyond what a document can hold.",
        do=_EDIT,
        line=[str(v) for v in frames.lines["OrderItemID"].to_numpy()[at]],
    )


@rule(
    "totals",
    reads=[
        "TotalPrice", "Currency", "truncated", *SETTLED, "made.Quantity", "made.Price", "made.DiscountAmount",
        "made.TaxAmount",
    ],
    writes=["DiscountTotal", "TaxTotal", "TotalAmount", "rounding_difference"],
)  # fmt: skip
def total(frames: Frames, context: object) -> Columns:
    """DiscountTotal, TaxTotal and TotalAmount by TIMS's equation, from the target lines; compared with the channel's
    TotalPrice. Incomplete orders are not compared."""
    settled, target = Settled.of(frames), frames.made
    assert target is not None
    header = frames.header
    row, orders = target["_row"].to_numpy(), len(header)
    gross = round_cents(target["Quantity"].to_numpy() * target["Price"].to_numpy()) * CENT
    discount_total = _sums(target["DiscountAmount"].to_numpy(), row, orders) + settled.shipping_discount * CENT
    tax_total = _sums(target["TaxAmount"].to_numpy(), row, orders) + settled.shipping_tax * CENT
    whole = _sums(gross, row, orders) - discount_total + settled.shipping * CENT + settled.gift_wrap * CENT
    whole += np.where(settled.inclusive, 0, tax_total)
    paid = header["TotalPrice"]
    difference = whole - paid.fillna(0).to_numpy(dtype=np.int64)
    lines = np.bincount(frames.lines["_row"].to_numpy(), minlength=orders)
    half = HALF_CENT * currencies.units(column(header, "Currency"))
    explained = (difference == 0) | (settled.rounds & (np.abs(difference) < half * lines))
    # With a refused amount TIMS's total differs from the channel's: only the channel's own parts are checked.
    explained |= settled.refused & (settled.parts == amount(header, "TotalPrice"))
    absent = _true(paid.isna())
    columns = pd.DataFrame(
        {
            "DiscountTotal": discount_total,
            "TaxTotal": tax_total,
            "TotalAmount": whole,
            "rounding_difference": np.where(absent, 0, difference),
        },
        index=header.index,
    )
    judged = ~header["truncated"].to_numpy(dtype=bool)
    off = np.flatnonzero(~explained & ~absent & judged)
    codes = [c or "" for c in values_at(column(header, "Currency"), off)]
    shown = _written(paid, off)
    message = [
        f"TotalPrice is {given} {code}, but its own parts add up to {written(int(parts))} {code}"
        + (f" (in TIMS {written(int(tims))})." if tims != parts else ".")
        for given, code, parts, tims in zip(shown, codes, settled.parts[off], whole[off], strict=True)
    ]
    found = [
        problems.make(off, field="TotalPrice", rule="total_mismatch", value=shown, message=message, do=_EDIT),
        problems.make(
            np.flatnonzero(absent & judged),
            field="TotalPrice",
            rule="missing_field",
            message="The order has no TotalPrice: nothing says what the buyer pays.",
            do=_EDIT,
        ),
    ]
    return Columns(columns, problems=problems.concat(found))
