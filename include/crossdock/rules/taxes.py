"""Decides how an order's taxes relate to its prices: on top, inside, or not given.

In: orders of the channel, their settled amounts, taxes.csv. Out: whether a document's prices include tax
(PricesIncludeTax), and the tax that is inside where the site gives none. Never: a changed price; a tax computed anew
that the channel has given; a changed treatment of an order that is in TIMS.

* InclusiveVat is inside, Standard and ExclusiveVat are on top, NoTax means no tax. Without a type a given tax is on
top; shipping and gift wrap without a type and a tax of their own are treated as the goods.
* Where an order has no tax amount and its type is InclusiveVat or absent, taxes.csv gives the tax inside the price: per
line round2(paid x rate / (100 + rate)), of the amount paid for its goods and gift wrap; shipping alike.
* TIMS has one flag for a document. The goods decide it; shipping and gift wrap that differ are converted by their own
tax, exactly (money.settle_amounts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames, sum_by_header
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.dates import company_days
from crossdock.rules.money import SETTLED, STATED, Settled, StatedTax, amount, round_cents, spread
from crossdock.rules.order_context import OrderContext
from crossdock.rules.reference_data import Reference
from crossdock.rules.tax_rules import HUNDRED, SHIPPING, TaxRules
from crossdock.rules.vectorize import column, distinct, map_text, values_at

TYPES = ("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType")
KNOWN = ("NoTax", "Standard", "ExclusiveVat", "InclusiveVat")
INSIDE = "InclusiveVat"


@rule(
    "stated_taxes",
    reads=[*TYPES, "TotalTaxPrice", "TotalShippingTaxPrice", "lines.TaxAmount", "lines.ShippingTaxAmount"],
    writes=STATED,
)
def stated_tax(frames: Frames, context: object) -> Columns:
    """Reads each order's tax treatment at the channel: inside the amounts of goods, shipping and gift wrap, or not
    given."""
    header, lines = frames.header, frames.lines
    goods, shipping, wrap = (column(header, name) for name in TYPES)

    def given(total: str, own: str) -> np.ndarray:
        return (amount(header, total) > 0) | (sum_by_header(frames, amount(lines, own)) > 0)

    of_shipping = given("TotalShippingTaxPrice", "ShippingTaxAmount")
    nothing = ~(given("TotalTaxPrice", "TaxAmount") | of_shipping)
    shipping = shipping.where(shipping.notna() | of_shipping, goods)

    def silent(kind: pd.Series) -> np.ndarray:
        return nothing & (kind.isna() | kind.eq(INSIDE)).to_numpy(dtype=bool)

    def inside(kind: pd.Series) -> np.ndarray:
        return kind.eq(INSIDE).to_numpy(dtype=bool)

    stated = StatedTax(inside(goods), inside(shipping), inside(wrap), silent(goods), silent(shipping))
    return Columns(stated.columns())


@rule(
    "taxes_inside",
    reads=[
        *TYPES, "ChannelAdvisorOrderID", "SiteID", "OrderDate", "ShipTo.CountryCode", "verdict", *STATED, *SETTLED,
        "lines.action", "lines.item", "lines.GiftWrapAmount",
    ],
    writes=["PricesIncludeTax", "ShippingTaxAmount", "lines.settled.tax"],
)  # fmt: skip
def hold(frames: Frames, context: OrderContext) -> Columns:
    """Prices include tax where the channel says that the tax of the goods is inside, or says nothing and
    lookups/taxes.csv has a rate for the price. An order that TIMS has keeps its treatment."""
    settled, stated = Settled.of(frames), StatedTax.of(frames)
    numbers = frames.header["ChannelAdvisorOrderID"]
    flags = pd.Series(context.inclusive, dtype="boolean").reindex(numbers).reset_index(drop=True)
    taken, taken_inside = flags.notna().to_numpy(), flags.fillna(False).to_numpy(dtype=bool)
    late = taken & ~taken_inside  # orders that TIMS has without tax inside stay so
    countries = frames.header["ShipTo.CountryCode"]
    found = _Holding(frames, settled, stated, context.reference, context.settings.taxes, countries)
    made, warnings = found.inferred(~late)
    warnings.append(_late(frames, found.holds & late))
    taxed = (sum_by_header(frames, made.tax) > 0) | (made.shipping_tax > 0)
    other = taken & taxed & (made.inclusive != taken_inside)
    inclusive = np.where(taken & ~taxed, taken_inside, made.inclusive)  # without tax both treatments are equal
    problem = problems.concat([*_unknown_types(frames.header), _changed(frames, other)])
    warned = problems.concat(warnings)
    loads = frames.header["verdict"].eq("load").to_numpy(dtype=bool)
    columns = replace(made, inclusive=inclusive).columns()
    assert columns.header is not None
    assert columns.lines is not None
    return Columns(
        columns.header[["PricesIncludeTax", "ShippingTaxAmount"]],
        columns.lines[["settled.tax"]],
        problems=problem,
        warnings=warned[loads[warned["_row"]]],
    )


class _Holding:
    """The tax inside the amounts of orders for which the channel gives none."""

    def __init__(
        self,
        frames: Frames,
        settled: Settled,
        stated: StatedTax,
        reference: Reference,
        rules: TaxRules,
        countries: pd.Series,
    ) -> None:
        self.frames, self.settled = frames, settled
        lines = frames.lines
        row = lines["_row"].to_numpy()
        goods = (lines["action"] == "product").to_numpy()
        wrap = round_cents(amount(lines, "GiftWrapAmount"))
        self.of_line = np.where(goods & stated.silent_goods[row], settled.gross - settled.discount + wrap, 0)
        net = np.maximum(settled.shipping - settled.shipping_discount, 0)
        self.of_shipping = np.where(stated.silent_shipping, net, 0)
        header = frames.header
        requested = (sum_by_header(frames, self.of_line) > 0) | (self.of_shipping > 0)
        moments = pd.to_datetime(header["OrderDate"].where(requested), utc=True, errors="coerce", format="ISO8601")
        day = company_days(header["OrderDate"].where(moments.notna()), reference.time_zone)
        site, shipping = header["SiteID"].astype("str"), pd.Series(SHIPPING, index=header.index, dtype="str")
        category = _categories(reference, lines["item"].where(self.of_line > 0))
        of_lines = [site.take(row), countries.take(row), category, day.take(row)]
        self.line_rate = _rates(rules, self.of_line > 0, of_lines)
        self.shipping_rate = _rates(rules, self.of_shipping > 0, [site, countries, shipping, day])

    @property
    def holds(self) -> np.ndarray:
        """Orders whose amounts contain tax by the rules."""
        return (sum_by_header(self.frames, np.maximum(self.line_rate, 0)) > 0) | (self.shipping_rate > 0)

    def inferred(self, wanted: np.ndarray) -> tuple[Settled, list[pd.DataFrame]]:
        """The amounts with the tax inside them; warnings of sites without a rule."""
        row = self.frames.lines["_row"].to_numpy()
        step = self.settled.unit
        tax = np.where(wanted[row], _held(self.of_line, self.line_rate, step[row]), 0)
        shipping_tax = np.where(wanted, _held(self.of_shipping, self.shipping_rate, step), 0)
        made = replace(
            self.settled,
            tax=self.settled.tax + tax,
            shipping_tax=self.settled.shipping_tax + shipping_tax,
            inclusive=self.settled.inclusive | (wanted & self.holds),
        )
        unknown = (sum_by_header(self.frames, (self.line_rate < 0).astype(np.int64)) > 0) | (self.shipping_rate < 0)
        return made, [_unknown_sites(self.frames.header, unknown)]


def _rates(rules: TaxRules, requested: np.ndarray, columns: Sequence[pd.Series]) -> np.ndarray:
    """The rate of each requested amount; -1 where no rule gives it, 0 where it is not requested. `columns`: site,
    country, category, day."""
    found = np.zeros(len(requested), dtype=np.int64)
    at = np.flatnonzero(requested)
    if not len(at):
        return found
    chosen = [values.iloc[at].reset_index(drop=True) for values in columns]
    codes, first = distinct(*chosen)
    different = zip(*(values_at(values.astype("str"), first) for values in chosen), strict=True)
    rates = [rules.rate(*(part or "" for part in parts)) for parts in different]
    found[at] = np.array([-1 if rate is None else rate for rate in rates], dtype=np.int64)[codes]
    return found


def _categories(reference: Reference, item: pd.Series) -> pd.Series:
    items = reference.items_of(item.dropna().unique().tolist())
    names = dict(zip(items["SKU"].tolist(), column(items, "Category").fillna("").tolist(), strict=True))
    return map_text(item, lambda sku: names.get(sku, "")).fillna("")


def _held(cents: np.ndarray, rate: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The tax inside amounts (cents, 0 or more): round2(amount x rate / (100 + rate)), in steps of the currency's own
    unit."""
    rate = np.maximum(rate, 0)
    if len(cents) and int(cents.max(initial=0)) * int(rate.max(initial=0)) >= 2**61:  # beyond int64: exact, though slow
        cents, rate = cents.astype(object), rate.astype(object)
    whole = step * (HUNDRED + rate)
    return ((2 * cents * rate + whole) // (2 * whole) * step).astype(np.int64)


# ---- documents whose prices include tax ----------------------------------------------------------------------------


def of_wrap(net: np.ndarray, tax: np.ndarray, row: np.ndarray, wrap: np.ndarray) -> np.ndarray:
    """The gift wrap's part of each line's tax, in cents: TIMS has the wrap on the document and its tax on the lines.
    Divided by value, and at least the part that a line (`net`: after discount) is too small for. `row`: document of
    each line, sorted; `wrap`: of each document. The rest of a line's tax is inside its goods."""
    part = np.zeros(len(tax), dtype=np.int64)
    for one in np.flatnonzero(wrap > 0):
        at = np.flatnonzero(row == one)
        whole, value, held = int(tax[at].sum()), int(net[at].sum()), int(wrap[one])
        forced = np.maximum(tax[at] - net[at], 0)
        share = min(max((2 * whole * held + value + held) // (2 * (value + held)), int(forced.sum())), held, whole)
        rest = np.array([max(share - int(forced.sum()), 0)])
        part[at] = forced + spread(rest, tax[at] - forced, np.zeros(len(at), dtype=np.int64))
    return part


def without(gross: np.ndarray, discount: np.ndarray, tax: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(amount, discount) without the tax inside the paid amount, in cents. A discount contains tax in the same
    proportion; amount - discount is exactly the paid amount less its tax."""
    paid = gross - discount
    part = np.minimum(round_part(tax, discount, paid), discount)
    return paid - tax + discount - part, discount - part


def round_part(amount: np.ndarray, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """amount x part / whole of integers, half up; 0 where whole is 0."""
    if not len(amount):
        return np.zeros(0, dtype=np.int64)
    if int(amount.max()) * int(part.max()) >= 2**61:  # beyond int64: exact, though slow
        amount, part, whole = (values.astype(object) for values in (amount, part, whole))
    safe = np.where(whole > 0, whole, 1)
    return np.where(whole > 0, (2 * amount * part + safe) // (2 * safe), 0).astype(np.int64)


# ---- messages for a person -----------------------------------------------------------------------------------------


def _unknown_types(header: pd.DataFrame) -> list[pd.DataFrame]:
    found = []
    for name in TYPES:
        given = column(header, name)
        rows = np.flatnonzero((given.notna() & ~given.isin(KNOWN)).to_numpy(dtype=bool))
        found.append(
            problems.make(
                rows,
                field=name,
                rule="unknown_value",
                value=values_at(given, rows),
                message=f'{name} is "{{value}}"; the integration knows {", ".join(KNOWN)}.',
                do="Ask what the new value means for the amounts; then edit this record's payload and replay it.",
            )
        )
    return found


def _unknown_sites(header: pd.DataFrame, unknown: np.ndarray) -> pd.DataFrame:
    """One warning, at its first order, for each site that gives no tax and has no rule; it becomes an alert."""
    ids = header["SiteID"]
    silent = ids.where(unknown)
    rows = np.flatnonzero((silent.notna() & ~silent.duplicated()).to_numpy(dtype=bool))
    return problems.make(
        rows,
        field="OrderTaxType",
        rule="tax_not_told",
        value=[str(value) for value in ids.to_numpy()[rows]],
        message="Site {value} does not say what tax is in its prices, and no rule does: its orders load as if "
        "there were none.",
        do="Add a row for the site to config/lookups/taxes.csv (rate 0 where its prices hold no tax), then replay its "
        "orders.",
    )


def _late(frames: Frames, late: np.ndarray) -> pd.DataFrame:
    return problems.make(
        np.flatnonzero(late),
        field="OrderTaxType",
        rule="tax_rule_too_late",
        message="By config/lookups/taxes.csv the price holds tax, but TIMS took the order without; it stays so.",
        do="Post the tax in TIMS by hand, or cancel the order there and load it again.",
    )


def _changed(frames: Frames, other: np.ndarray) -> pd.DataFrame:
    rows = np.flatnonzero(other)
    return problems.make(
        rows,
        field="OrderTaxType",
        rule="tax_type_changed",
        value=[value or "" for value in values_at(column(frames.header, "OrderTaxType"), rows)],
        message="The tax was on top of the prices and is inside now, or the other way round; TIMS cannot change that.",
        do="Cancel the order in TIMS and enter it there anew by hand, then dismiss this record.",
    )
