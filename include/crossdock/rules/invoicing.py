"""Divides an order over the invoices of its shipments, to the cent.

In: sales orders as TIMS gives them, what has been invoiced of them, parcels. Out: columns of TIMS's InvoiceCreate, and
problems. Never: a cent lost or invented over all invoices of an order, in whichever sequence its shipments leave; an
amount of a cancelled unit; tax computed anew.

Every amount is a function of the units invoiced so far. An invoice takes its value after this parcel, less what was
invoiced before. So the parts always add up, and the last one needs no rule of its own.

| amount | after k of n units of a line (V of the value of all goods) |
|---|---|
| goods before discount | round2(k x Price): all of TIMS's round2(n x Price) when k = n |
| discount of a line | its share of those goods, rounded to cents |
| tax of a line | round2(TaxAmount x k / n) |
| shipping, its tax, gift wrap | round2(amount x V / all V); by units where all goods cost nothing |
| discount on shipping | its share of that shipping, rounded to cents |
| tax inside a price or shipping | its share of the amount that contains it (after discount), in cents, at most that
amount |

Cancelled units are not invoiced, and n is what was ordered: the share of a cancelled unit, also of shipping and gift
wrap, stays uninvoiced, as the buyer is not charged for it. Amounts are rounded half away from zero to the unit of the
currency: a cent, or a whole one for a currency without decimals, unless the order has fractions of it.

TIMS requires round2(Quantity x UnitPrice) on each invoice line. A price of more than two places may miss the amount due
by a cent (3 x 0.3333 is 1.00, and 0.33 + 0.33 + 0.33 is not): the line then has the nearest price that gives it. For
more than 100 units there may be no such price of four places: then the next higher one is taken, and the excess becomes
discount. Goods and discount both grow by it, the amount owed does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, ROW, Frames, scaled
from crossdock.mapping.registry import KEY, Columns, rule
from crossdock.rules import currencies, dates

CHARGES = ("ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount")


def cents(text: str) -> int:
    """An amount of a TIMS document in cents."""
    return scaled(text) // CENT


def half_up(amount: Fraction) -> int:
    """Rounds to a whole number, half away from zero; no amount here is below zero."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def to_unit(amount: Fraction, unit: int) -> int:
    """Rounds to a whole number of units, half away from zero."""
    return half_up(amount / unit) * unit


def goods(units: int, price: int) -> int:
    """round2(units x price) in cents; the price is x 10,000."""
    return half_up(Fraction(units * price, CENT))


class Line(NamedTuple):
    """A line of a sales order. Price x 10,000, the other amounts in cents."""

    sku: str
    units: int
    price: int
    discount: int
    tax: int
    remitted_by: str


class Share(NamedTuple):
    """Goods before discount, discount and tax of a line, in cents."""

    gross: int = 0
    discount: int = 0
    tax: int = 0


@dataclass(frozen=True)
class Order:
    """A sales order as invoices see it: lines by LineNo, charges in cents; the unit of its amounts, in cents."""

    lines: Mapping[int, Line]
    charges: Mapping[str, int]
    unit: int = 1
    inclusive: bool = False  # prices and charges contain their tax

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Order:
        """Reads TIMS's SalesOrder."""
        lines = {
            line["LineNo"]: Line(
                line["SKU"], line["Quantity"], scaled(line["Price"]), cents(line["DiscountAmount"]),
                cents(line["TaxAmount"]), line["TaxRemittedBy"],
            )
            for line in document["LineItems"]
        }  # fmt: skip
        charges = {name: cents(document[name]) for name in CHARGES}
        whole = [n for line in lines.values() for n in (goods(line.units, line.price), line.discount, line.tax)]
        unit = currencies.unit_of(document.get("CurrencyCode"), [*whole, *charges.values()])
        return cls(lines, charges, unit, bool(document.get("PricesIncludeTax")))

    def line_after(self, number: int, units: int) -> Share:
        """The amounts due of a line once `units` of it are invoiced."""
        line = self.lines[number]
        units = min(units, line.units)
        whole = goods(line.units, line.price)
        gross = to_unit(Fraction(units * line.price, CENT), self.unit) if units < line.units else whole
        discount = to_unit(Fraction(line.discount * gross, whole), self.unit) if whole else 0
        part = Fraction(units, line.units)
        if self.inclusive and whole > line.discount:
            part = Fraction(gross - min(discount, gross), whole - line.discount)
        return Share(gross, min(discount, gross), to_unit(line.tax * part, self.unit))

    def charges_after(self, units: Mapping[int, int]) -> dict[str, int]:
        """The amounts due of shipping, its discount and tax, and gift wrap once `units` of the lines are invoiced."""
        share = self._share(units)
        due = {name: to_unit(amount * share, self.unit) for name, amount in self.charges.items()}
        shipping = self.charges["ShippingAmount"]
        discount = self.charges["ShippingDiscountAmount"]
        part = Fraction(discount * due["ShippingAmount"], shipping) if shipping else Fraction(0)
        due["ShippingDiscountAmount"] = to_unit(part, self.unit)
        if self.inclusive and shipping > discount:
            part = Fraction(due["ShippingAmount"] - due["ShippingDiscountAmount"], shipping - discount)
            due["ShippingTaxAmount"] = to_unit(self.charges["ShippingTaxAmount"] * part, self.unit)
        return due

    def _share(self, units: Mapping[int, int]) -> Fraction:
        """The share of `units` in the order's goods, by value before discount."""
        free = not any(line.price for line in self.lines.values())
        value = {number: 1 if free else line.price for number, line in self.lines.items()}
        taken = sum(min(units.get(number, 0), line.units) * value[number] for number, line in self.lines.items())
        return Fraction(taken, sum(line.units * value[number] for number, line in self.lines.items()))


class Part(NamedTuple):
    """A line of an invoice: units, price x 10,000, amounts in cents."""

    number: int
    units: int
    price: int
    share: Share


@dataclass
class Account:
    """How far an order has been invoiced."""

    order: Order
    units: Counter[int] = field(default_factory=Counter)
    shares: dict[int, Share] = field(default_factory=dict)
    charges: Counter[str] = field(default_factory=Counter)

    def add(self, parts: Iterable[Part], charges: Mapping[str, int]) -> None:
        """Adds an invoice."""
        for part in parts:
            before = self.shares.get(part.number, Share())
            self.shares[part.number] = Share(*(a + b for a, b in zip(before, part.share, strict=True)))
            self.units[part.number] += part.units
        self.charges.update(charges)

    def invoice(self, parcel: Sequence[tuple[int, int]]) -> tuple[list[Part], dict[str, int]]:
        """The lines and charges of the invoice of a parcel, (LineNo, units) each; adds them to the account."""
        parts = []
        for number, units in parcel:
            part = self._part(number, units)
            self.add([part], {})
            parts.append(part)
        due = self.order.charges_after(self.units)
        charges = {name: max(0, amount - self.charges[name]) for name, amount in due.items()}
        charges["ShippingDiscountAmount"] = min(charges["ShippingDiscountAmount"], charges["ShippingAmount"])
        self.add([], charges)
        return parts, charges

    def _part(self, number: int, units: int) -> Part:
        """One line of the next invoice, at least zero: where earlier invoices took a cent more than is due, this one
        takes it less."""
        due = self.order.line_after(number, self.units[number] + units)
        done = self.shares.get(number, Share())
        discount = max(0, due.discount - done.discount)
        net = max(0, due.gross - due.discount - (done.gross - done.discount))
        price, gross = price_of(net + discount, units, self.order.lines[number].price, self.order.unit)
        return Part(number, units, price, Share(gross, gross - net, max(0, due.tax - done.tax)))

    def above(self) -> list[str]:
        """The amounts of which more was invoiced than the order has: by hand, or before the order became cheaper."""
        over = [
            f"line {number}"
            for number, done in self.shares.items()
            if number not in self.order.lines or self._more_than_whole(number, done)
        ]
        return over + [name for name, amount in self.charges.items() if amount > self.order.charges[name]]

    def _more_than_whole(self, number: int, done: Share) -> bool:
        whole = self.order.line_after(number, self.order.lines[number].units)
        return done.gross - done.discount > whole.gross - whole.discount or done.tax > whole.tax


def price_of(gross: int, units: int, price: int, unit: int = 1) -> tuple[int, int]:
    """(price x 10,000, goods in cents): the price nearest to `price` that makes `gross` of so many units. Where four
    places do not suffice, the next higher one; in a currency without decimals, the next whole one."""
    low, high = max(0, -(-(gross * CENT - CENT // 2) // units)), (gross * CENT + CENT // 2 - 1) // units
    whole = unit * CENT if unit > 1 else 1
    nearest = max(low, min(price, high)) if low <= high else -(-low // whole) * whole
    return nearest, goods(units, nearest)


def parts_of(document: Mapping[str, Any]) -> tuple[list[Part], dict[str, int]]:
    """Lines and charges of an invoice that TIMS has."""
    parts = []
    for line in document["Lines"]:
        units, price = line["Quantity"], scaled(line["UnitPrice"])
        share = Share(goods(units, price), cents(line["DiscountAmount"]), cents(line["TaxAmount"]))
        parts.append(Part(line["SalesOrderLineNo"], units, price, share))
    return parts, {name: cents(document[name]) for name in CHARGES}


# ---- on frames -----------------------------------------------------------------------------------------------------

AMOUNTS = ("SubTotal", "DiscountTotal", "TaxTotal", "MarketplaceRemittedTax", "Total")


class Terms(NamedTuple):
    """The fields that an invoice copies from its order."""

    currency: str
    inclusive: bool
    shipping_tax_by: str


def divide(
    frames: Frames, rows: Sequence[int], accounts: Mapping[int, Account], terms: Mapping[int, Terms]
) -> tuple[Frames, pd.DataFrame]:
    """The amounts of some shipments.

    `rows`: the shipments to invoice, one after another; `accounts` and `terms` of each of them, the account shared by
    shipments of one order. Returns (frames with the amounts, problems)."""
    header, lines = frames.header.copy(), frames.lines.copy()
    amounts = pd.DataFrame(0, index=header.index, columns=[*CHARGES, *AMOUNTS], dtype="int64")
    parts = np.zeros((len(lines), 3), dtype="int64")
    remitted = np.full(len(lines), None, dtype=object)
    at_row = {row: np.flatnonzero(lines[ROW].to_numpy() == row) for row in rows}
    over: list[tuple[int, str]] = []
    unknown: list[tuple[int, int]] = []
    for row in rows:
        account, at = accounts[row], at_row[row]
        parcel = list(
            zip(lines["SalesOrderLineNo"].iloc[at].tolist(), lines["Quantity"].iloc[at].tolist(), strict=True)
        )
        strange = [number for number, _ in parcel if number not in account.order.lines]
        if strange:
            unknown += [(row, number) for number in strange]
            continue
        if above := account.above():
            over.append((row, ", ".join(above)))
            continue
        made, charges = account.invoice(parcel)
        parts[at] = [(part.price, part.share.discount * CENT, part.share.tax * CENT) for part in made]
        remitted[at] = [account.order.lines[part.number].remitted_by for part in made]
        amounts.loc[row] = _totals(made, charges, account.order, terms[row])
    for name in amounts:
        header[name] = pd.array(amounts[name].to_numpy() * CENT, dtype="Int64")
    for name, column in zip(("UnitPrice", "DiscountAmount", "TaxAmount"), parts.T, strict=True):
        lines[name] = pd.array(column, dtype="Int64")
    lines["TaxRemittedBy"] = pd.Series(remitted, dtype="str", index=lines.index)
    return Frames(header, lines), problems.concat([_unknown_lines(unknown), _invoiced_above(over)])


def _totals(parts: Sequence[Part], charges: Mapping[str, int], order: Order, terms: Terms) -> dict[str, int]:
    """Charges and totals of an invoice by TIMS's equations, in cents."""
    gross = sum(part.share.gross for part in parts)
    discount = sum(part.share.discount for part in parts) + charges["ShippingDiscountAmount"]
    tax = sum(part.share.tax for part in parts) + charges["ShippingTaxAmount"]
    by_marketplace = sum(part.share.tax for part in parts if order.lines[part.number].remitted_by == "Marketplace")
    if terms.shipping_tax_by == "Marketplace":
        by_marketplace += charges["ShippingTaxAmount"]
    total = gross - discount + charges["ShippingAmount"] + charges["GiftWrapAmount"] - by_marketplace
    return {
        **charges,
        "SubTotal": gross,
        "DiscountTotal": discount,
        "TaxTotal": tax,
        "MarketplaceRemittedTax": by_marketplace,
        "Total": total + (0 if terms.inclusive else tax),
    }


def _unknown_lines(found: Sequence[tuple[int, int]]) -> pd.DataFrame:
    return problems.make(
        [row for row, _ in found],
        field="Lines.SalesOrderLineNo",
        rule="unknown_order_line",
        value=[str(number) for _, number in found],
        line=[str(number) for _, number in found],
        message="The sales order has no line {value}.",
        do="Look at the shipment and its order in TIMS; correct the order, then replay this.",
    )


def _invoiced_above(found: Sequence[tuple[int, str]]) -> pd.DataFrame:
    return problems.make(
        [row for row, _ in found],
        field="SalesOrderID",
        rule="invoiced_above_order",
        value=[what for _, what in found],
        message="More has been invoiced than the sales order has by now: {value}.",
        do="Credit the difference in TIMS, or put the order right there; then replay this.",
    )


def with_terms(
    header: pd.DataFrame, terms: Mapping[int, Terms], periods: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The order's terms and the open day of each row. Returns (columns, problems)."""
    each = [terms.get(row) for row in range(len(header))]
    opened, _ = dates.posting_dates(header["PostingDate"], periods)
    columns = pd.DataFrame(
        {
            "CurrencyCode": pd.Series([one.currency if one else None for one in each], dtype="str"),
            "PricesIncludeTax": pd.Series([one.inclusive if one else None for one in each], dtype="boolean"),
            "ShippingTaxRemittedBy": pd.Series([one.shipping_tax_by if one else None for one in each], dtype="str"),
            "OpenDate": opened,
        },
        index=header.index,
    )
    closed = np.flatnonzero((opened.isna() & header["PostingDate"].notna()).to_numpy())
    return columns, problems.make(
        closed,
        field="PostingDate",
        rule="no_open_period",
        value=header["PostingDate"].iloc[closed],
        message="No posting period of TIMS is open on or after {value}.",
        do="Open a period in TIMS, then replay this.",
    )


# ---- rules ---------------------------------------------------------------------------------------------------------

VOIDED = "Voided"
READ_LAG = timedelta(seconds=2)  # by the contract, all that TIMS wrote in one go is visible after this time


class SalesOrder(NamedTuple):
    """A sales order as TIMS has it."""

    source: str
    version: datetime
    document: Mapping[str, Any]

    @property
    def terms(self) -> Terms:
        names = ("CurrencyCode", "PricesIncludeTax", "ShippingTaxRemittedBy")
        return Terms(*(self.document[name] for name in names))


class Invoice(NamedTuple):
    """An invoice that TIMS has."""

    id: str
    source: str
    status: str
    external_reference: str
    shipment_id: str
    sales_order_id: str
    document: Mapping[str, Any]


class OnTheWay(NamedTuple):
    """An invoice of ours, by the shipment's key, that has not been read back from TIMS yet."""

    key: str
    sales_order_id: str
    parts: list[Part]
    charges: Mapping[str, int]


@dataclass(frozen=True)
class InvoiceContext:
    """The context of the invoice rules: what they need beside columns. `orders` by SalesOrderID; `invoices`: those that
    TIMS has of the orders; `links`: InvoiceID by shipment of those that we have made; `requested`: shipments that a
    person has asked for by key; `us` and `channel`: sources of documents; `in_place`: orders that people have entered
    in place of ours, in shadow mode."""

    orders: Mapping[str, SalesOrder]
    invoices: Sequence[Invoice]
    on_the_way: Sequence[OnTheWay]
    links: Mapping[str, str]
    requested: Collection[str]
    periods: pd.DataFrame
    us: str
    channel: str
    in_place: Collection[str] = ()


class _Verdict(NamedTuple):
    state: str
    reason: str = ""
    reference: str = ""  # ExternalReference of the invoice to make
    voided: str = ""  # InvoiceID of an invoice that somebody has voided


@rule(
    "invoice_state",
    reads=[KEY, "SalesOrderID", "PostingMode", "CreatedAt"],
    writes=["state", "reason", "ExternalReference", "voided"],
)
def invoice_state(frames: Frames, context: InvoiceContext) -> Columns:
    """Each shipment of a channel order is invoiced once, and not before its order has been read again after the
    shipment. Left out are shipments that TIMS invoices by itself, that a person has invoiced, or whose invoice was
    voided; a voided one is made again when a person asks for the shipment by its key. In shadow mode an order that a
    person has entered counts as ours where ours would have been made."""
    of_shipment: dict[str, list[Invoice]] = {}
    for invoice in context.invoices:
        of_shipment.setdefault(invoice.shipment_id, []).append(invoice)
    header = frames.header
    created = pd.to_datetime(header["CreatedAt"], utc=True, format="ISO8601", errors="coerce")
    verdicts = []
    for key, number, mode, made_at in zip(
        header[KEY], header["SalesOrderID"], header["PostingMode"], created, strict=True
    ):
        order, held = context.orders.get(number), of_shipment.get(key, [])
        ours = [one for one in held if one.source == context.us]
        theirs = [one for one in held if one.source != context.us and one.status != VOIDED]
        verdict = (
            _posted(key, context.links.get(key), ours, requested=key in context.requested)
            or (None if number in context.in_place else _refused(mode, order, theirs, context.channel))
            or _early(number, order, made_at)
            or _Verdict("staged", reference=f"inv:{key}")
        )
        verdicts.append(verdict)
    columns = {
        name: pd.Series([getattr(one, field) or np.nan for one in verdicts], dtype="str")
        for name, field in (
            ("state", "state"), ("reason", "reason"), ("ExternalReference", "reference"), ("voided", "voided"),
        )
    }  # fmt: skip
    return Columns(pd.DataFrame(columns, index=header.index))


def _posted(key: str, link: str | None, ours: Sequence[Invoice], *, requested: bool) -> _Verdict | None:
    """The verdict on a shipment that has been invoiced before; None where it has not.

    An invoice that was voided in TIMS is made again only when a person asks for the shipment by its key, for the void
    had a reason. It then has a new reference: TIMS does not accept a used one.
    """
    live = [one for one in ours if one.status != VOIDED]
    if link and link not in {one.id for one in ours if one.status == VOIDED}:
        return _Verdict("unchanged")
    if live:  # posted, but its answer was lost: load finds it by its reference
        return _Verdict("staged", reference=live[-1].external_reference)
    if ours and requested:
        return _Verdict("staged", reference=f"inv:{key}:{len(ours) + 1}")
    if ours:
        voided = ours[-1].id
        reason = f"Its invoice {voided} was voided in TIMS; `crossdock sync invoices --key {key}` makes a new one."
        return _Verdict("left_out", reason, voided=voided)
    return None


def _refused(mode: str, order: SalesOrder | None, theirs: Sequence[Invoice], channel: str) -> _Verdict | None:
    """The reason why a shipment is not ours to invoice, or None."""
    if mode == "automatic":
        return _Verdict("left_out", "TIMS posts this shipment by itself (PostingMode automatic).")
    if order is not None and order.source != channel:
        return _Verdict("left_out", f"Its order is not from Channel Advisor but from {order.source}.")
    if theirs:
        return _Verdict("left_out", f"It has been invoiced in TIMS: {theirs[0].id}.")
    return None


def _early(number: str, order: SalesOrder | None, made_at: pd.Timestamp) -> _Verdict | None:
    """The verdict on a shipment whose order has not been read since, or None. A shipment changes its order: the amounts
    that we have may be old."""
    if order is None:
        return _Verdict("waiting", f"Its sales order {number} has not been read yet.")
    if order.version < made_at - READ_LAG:
        return _Verdict("waiting", f"Its sales order {number} has changed and is to be read again.")
    return None


@rule(
    "invoice_terms",
    reads=["state", "SalesOrderID", "PostingDate"],
    writes=["CurrencyCode", "PricesIncludeTax", "ShippingTaxRemittedBy", "OpenDate"],
)
def invoice_terms(frames: Frames, context: InvoiceContext) -> Columns:
    """Copies the order's currency and tax fields; the day is that of the shipment, or the first open one after it."""
    terms = {row: context.orders[number].terms for row, number in _staged(frames.header)}
    columns, found = with_terms(frames.header, terms, context.periods)
    return Columns(columns, problems=found)


@rule(
    "divide_order",
    reads=[KEY, "state", "SalesOrderID", "ShippedAt", "lines.SalesOrderLineNo", "lines.Quantity"],
    writes=[
        *CHARGES, *AMOUNTS, "lines.UnitPrice", "lines.DiscountAmount", "lines.TaxAmount", "lines.TaxRemittedBy",
    ],
)  # fmt: skip
def divide_order(frames: Frames, context: InvoiceContext) -> Columns:
    """Divides each order over its shipments: line amounts by units, the order's charges by the value of the goods. All
    invoices of an order add up to the order. The share of cancelled units is not invoiced."""
    header = frames.header
    numbers = dict(_staged(header))
    keys, shipped = header[KEY].tolist(), header["ShippedAt"].astype("str").tolist()
    accounts = _accounts(context, {keys[row] for row in numbers}, set(numbers.values()))
    made, found = divide(
        frames,
        sorted(numbers, key=lambda row: (str(shipped[row]), keys[row])),
        {row: accounts[number] for row, number in numbers.items()},
        {row: context.orders[number].terms for row, number in numbers.items()},
    )
    names = ["UnitPrice", "DiscountAmount", "TaxAmount", "TaxRemittedBy"]
    return Columns(made.header[[*CHARGES, *AMOUNTS]], made.lines[names], problems=found)


def _staged(header: pd.DataFrame) -> list[tuple[int, str]]:
    """(row, SalesOrderID) of the shipments to invoice."""
    numbers = header["SalesOrderID"].tolist()
    return [(row, numbers[row]) for row in np.flatnonzero(header["state"].eq("staged").to_numpy(dtype=bool)).tolist()]


def _accounts(context: InvoiceContext, mine: Collection[str], numbers: Collection[str]) -> dict[str, Account]:
    """The account of each order: the invoices that TIMS has, and those on their way there. The shipments `mine`, which
    are invoiced now, do not count, even where a lost answer left their invoice in TIMS."""
    accounts = {number: Account(Order.read(context.orders[number].document)) for number in numbers}
    for invoice in context.invoices:
        own = invoice.source == context.us and invoice.shipment_id in mine
        if invoice.status != VOIDED and not own and invoice.sales_order_id in accounts:
            accounts[invoice.sales_order_id].add(*parts_of(invoice.document))
    for one in context.on_the_way:
        if one.key not in mine and one.sales_order_id in accounts:
            accounts[one.sales_order_id].add(one.parts, one.charges)
    return accounts
