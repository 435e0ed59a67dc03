"""Works returns: which invoice gives money back, and which shipment takes goods back.

In: a return's items as the channel gives them (amounts in cents); of its order, what is left to credit on each invoice
and what may still come back of each shipment. Out: credits per invoice, movements of stock, or why it waits or is dead.
Never: an amount computed anew (the channel's amounts are only divided); more than was invoiced or shipped; a cent lost
between the two.

* Units are credited to invoices, oldest first, by the quantity still to be credited; goods go back to shipments alike.
* RefundAmount: the value of the returned units first, then gift wrap, then what is left of the line; without units the
line first. An invoice line divides it into Amount and DiscountAmount by the ratio of what is left of both, so that the
last refund leaves exactly 0.
* TaxRefund: the tax of the units, then tax on shipping, then the rest of the line's tax. ShippingRefund: shipping and
  its discount by their ratio.
* A refund may be above what is left by the marketplace's rounding, refund by refund (config/tolerances.yaml): what is
left is credited, the rest is `rounding` of the last credit memo, or `uncredited` where it is the marketplace's own tax.
Beyond this tolerance it is a finding.
* Amounts are divided in units of the currency: cents, or whole ones where it has no decimals.
* The channel gives money without tax, and tax. Where an invoice's prices include tax, both are credited as one amount,
and the tax beside it as far as any is left. A refund without a tax contains the tax share of its money. Where the
marketplace remits the tax, a credit memo's total is its money less that tax: not below 0, and not above what is left of
the invoice.
* A kit's units are units of its parts; its money is divided over them by their invoiced amounts.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, written
from crossdock.mapping.registry import KEY, LINES, Columns, rule
from crossdock.rules import currencies, taxes
from crossdock.rules.dates import company_days, posting_dates
from crossdock.rules.money import spread
from crossdock.rules.statuses import HELD_BACK
from crossdock.rules.tolerances import Refunds

WORK, WAIT, LEAVE_OUT = "work", "wait", "leave_out"
DO = "Compare the return on the channel with the order's credit memos in TIMS; edit the payload and replay, or dismiss."


AMOUNTS = (
    "ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount", "SubTotal", "DiscountTotal",
    "TaxTotal", "MarketplaceRemittedTax", "Total",
)  # fmt: skip


# ---- what a return works on ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One line of a return; amounts in cents."""

    line: str  # OrderItemID
    quantity: int
    goods: int  # RefundAmount: goods and gift wrap after discount
    tax: int
    shipping: int
    restock: bool
    condition: str | None

    @property
    def comes_back(self) -> bool:
        """Whether the goods come back to us: damaged ones do even if they are not to be sold again."""
        return self.condition == "Damaged" or (self.restock and self.condition in ("Sellable", None))


@dataclass(frozen=True)
class OrderLine:
    """A line of the sales order."""

    number: int
    external_id: str  # OrderItemID; for a part of a kit followed by its SKU
    sku: str
    units_per_kit: int
    uninvoiced: int  # units that may still be invoiced
    unshipped: int
    stocked: bool = True
    sold: int = 0  # units less cancelled ones

    @property
    def item(self) -> str:
        return self.external_id.partition(":")[0]


@dataclass
class InvoiceLine:
    """What is left to credit of an invoice's line, in cents."""

    number: int
    order_line: int
    quantity: int
    amount: int  # before discount
    discount: int
    tax: int
    tax_remitted_by: str = "Seller"

    @property
    def net(self) -> int:
        return max(self.amount - self.discount, 0)


@dataclass
class Invoice:
    """What is left to credit of an invoice, in cents."""

    id: str
    lines: list[InvoiceLine]
    shipping: int = 0  # before discount
    shipping_discount: int = 0
    shipping_tax: int = 0
    gift_wrap: int = 0
    shipping_tax_remitted_by: str = "Seller"
    currency: str = ""
    inclusive: bool = False  # amounts contain their tax


@dataclass
class Parcel:
    """Units of an order line in one shipment that have not come back."""

    shipment: str
    order_line: int
    quantity: int
    unit_cost: int  # x 10,000
    location: str  # where they go back to


@dataclass
class Order:
    """An order with what is left for its returns; invoices and parcels oldest first."""

    lines: list[OrderLine]
    invoices: list[Invoice]
    parcels: list[Parcel]


# ---- results -------------------------------------------------------------------------------------------------------


@dataclass
class CreditLine:
    """A credit memo's line, in cents."""

    invoice_line: int
    order_line: int
    order_item: str
    tax_remitted_by: str
    quantity: int = 0
    amount: int = 0
    discount: int = 0
    tax: int = 0


@dataclass
class Credit:
    """A credit memo against one invoice, in cents."""

    invoice: str
    shipping_tax_remitted_by: str
    inclusive: bool = False  # amounts contain their tax
    lines: dict[int, CreditLine] = field(default_factory=dict)
    shipping: int = 0
    shipping_discount: int = 0
    shipping_tax: int = 0
    gift_wrap: int = 0
    rounding: int = 0  # given back beyond the total: nothing else was left to credit

    @property
    def subtotal(self) -> int:
        return sum(line.amount for line in self.lines.values())

    @property
    def discounts(self) -> int:
        return sum(line.discount for line in self.lines.values()) + self.shipping_discount

    @property
    def taxes(self) -> int:
        return sum(line.tax for line in self.lines.values()) + self.shipping_tax

    @property
    def marketplace_tax(self) -> int:
        """Tax that the marketplace gives back by itself: shown as a memo, not part of the total."""
        of_lines = sum(line.tax for line in self.lines.values() if line.tax_remitted_by == "Marketplace")
        return of_lines + (self.shipping_tax if self.shipping_tax_remitted_by == "Marketplace" else 0)

    @property
    def total(self) -> int:
        total = self.subtotal - self.discounts + self.shipping + self.gift_wrap - self.marketplace_tax
        return total + (0 if self.inclusive else self.taxes)


@dataclass(frozen=True)
class Movement:
    """A stock adjustment. `reference`: the suffix to the return's own number."""

    reference: str
    order_line: int
    shipment: str
    sku: str
    location: str
    quantity: int
    reason: str
    unit_cost: int


@dataclass(frozen=True)
class Finding:
    """The reason why a return cannot be worked."""

    field: str
    rule: str
    line: str
    value: str
    message: str


@dataclass
class Worked:
    """The result of a return. Credits without a total (marketplace tax alone) are `uncredited`, in cents, and so is
    marketplace tax beyond what is left."""

    credits: list[Credit] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    uncredited: int = 0
    waits: str = ""
    findings: list[Finding] = field(default_factory=list)


def work(order: Order, items: Sequence[Item], currency: str, tolerance: Refunds) -> tuple[Worked, Order]:
    """Makes one credit memo for each invoice that a return touches, the oldest invoice first. The channel's amounts are
    divided over lines, discount, gift wrap, shipping and tax, and never computed anew. Returns (the result, the order
    afterwards: unchanged where the return cannot be worked)."""
    after = copy.deepcopy(order)
    worked = Worked()
    _strangers(order, items, worked)
    if not worked.findings:
        if any(item.goods or item.tax or item.shipping for item in items):
            _in_units(after, items, currency, tolerance, worked)
        _take_back(after, items, worked)
    if worked.findings or worked.waits:
        return Worked(waits="" if worked.findings else worked.waits, findings=worked.findings), order
    return worked, after


def _strangers(order: Order, items: Sequence[Item], worked: Worked) -> None:
    existing = {line.item for line in order.lines}
    worked.findings += [
        Finding("Items.OrderItemID", "unknown_line", item.line, item.line,
                f"The sales order has no line for the order item {item.line}.")
        for item in items if item.line not in existing
    ]  # fmt: skip


# ---- money ---------------------------------------------------------------------------------------------------------

Pocket = tuple[str, str, int]  # kind of amount, invoice, line (0: the invoice as a whole)
Stages = list[list[tuple[Pocket, int]]]  # pockets and what each can take, to be filled stage by stage
Pairs = Sequence[tuple[Invoice, list[InvoiceLine]]]  # invoices, each with its lines of one item
Taken = Counter[tuple[str, int]]  # (invoice, line) -> units


_LINE_MONEY = ("amount", "discount", "tax")
_CHARGES = ("shipping", "shipping_discount", "shipping_tax", "gift_wrap")
_ITEM_MONEY = ("goods", "tax", "shipping")


def _in_units(order: Order, items: Sequence[Item], currency: str, tolerance: Refunds, worked: Worked) -> None:
    """Works in whole units of the currency: every amount is divided by the unit before, and multiplied by it after."""
    held: list[tuple[object, str]] = [
        (line, name) for invoice in order.invoices for line in invoice.lines for name in _LINE_MONEY
    ]
    held += [(invoice, name) for invoice in order.invoices for name in _CHARGES]
    stated = [getattr(item, name) for item in items for name in _ITEM_MONEY]
    unit = currencies.unit_of(currency, [*(getattr(one, name) for one, name in held), *stated])
    for one, name in held:
        setattr(one, name, getattr(one, name) // unit)
    wanted = [replace(item, **{name: getattr(item, name) // unit for name in _ITEM_MONEY}) for item in items]
    _give_back(order, wanted, currency, unit, tolerance, worked)
    made: list[tuple[object, str]] = [
        (line, name) for credit in worked.credits for line in credit.lines.values() for name in _LINE_MONEY
    ]
    made += [(credit, name) for credit in worked.credits for name in (*_CHARGES, "rounding")]
    for one, name in (*held, *made, (worked, "uncredited")):
        setattr(one, name, getattr(one, name) * unit)


@dataclass(frozen=True)
class _Excess:
    """The part of an item's refund beyond what is left, in units of the currency."""

    field: str
    line: str
    wanted: int
    missing: int
    sold: int
    amounts: int  # how many amounts of the channel are in it, each rounded by itself
    with_units: bool  # the refund has units, and all of them are invoiced
    by_marketplace: bool  # tax that the marketplace remits


def _give_back(
    order: Order, items: Sequence[Item], currency: str, unit: int, tolerance: Refunds, worked: Worked
) -> None:
    strange = sorted({invoice.currency for invoice in order.invoices if invoice.currency != currency})
    if strange:
        message = f"The return is in {currency}, the invoice in {strange[0]}."
        worked.findings.append(Finding("Currency", "currency_mismatch", "", currency, message))
        return
    credits = {
        invoice.id: Credit(invoice.id, invoice.shipping_tax_remitted_by, invoice.inclusive)
        for invoice in order.invoices
    }  # by invoice, oldest first
    beyond = [each for item in items for each in _credit_item(order, item, credits, worked)]
    used = [credit for credit in credits.values() if credit.lines or credit.total or credit.marketplace_tax]
    worked.credits = [credit for credit in used if credit.total]
    worked.uncredited = sum(credit.marketplace_tax for credit in used if not credit.total)
    _round_off(beyond, any(line.uninvoiced for line in order.lines), currency, unit, tolerance, worked)


def _round_off(
    beyond: Sequence[_Excess], more_to_come: bool, currency: str, unit: int, tolerance: Refunds, worked: Worked
) -> None:
    """Excess that rounding explains goes to `rounding` of the last credit memo; the marketplace's own tax is
    uncredited. Other excess waits where there is `more_to_come` to invoice, or is a finding."""
    own = currencies.unit(currency) // unit  # above 1 where the amounts have fractions of the currency's own unit
    ours = sum(each.missing for each in beyond if not each.by_marketplace)
    whole = sum(each.missing for each in beyond)
    for each in beyond:
        most = min(tolerance.a_unit * each.sold * each.amounts, tolerance.a_return) * own
        small = each.missing <= most and whole <= tolerance.a_return * own and (worked.credits or not ours)
        if small and (each.with_units or not more_to_come):
            continue
        if more_to_come:
            worked.waits = "invoice"
            continue
        wanted, left = (written(n * unit * CENT) for n in (each.wanted, each.wanted - each.missing))
        message = f"{each.field} is {wanted} {currency}, but of what was invoiced only {left} is not credited yet."
        worked.findings.append(Finding(f"Items.{each.field}", "refund_above_invoice", each.line, wanted, message))
    if worked.credits:
        worked.credits[-1].rounding += ours
    worked.uncredited += whole - ours


def _credit_item(order: Order, item: Item, credits: dict[str, Credit], worked: Worked) -> list[_Excess]:
    """Credits one item to the invoices of its lines. Returns what is beyond what is left of them."""
    lines = {line.number: line for line in order.lines if line.item == item.line}
    invoices = [(i, [line for line in i.lines if line.order_line in lines]) for i in order.invoices]
    taken = _units(lines.values(), invoices, item, worked)
    if taken is None:
        return []
    touched = [pair for pair in invoices if any(taken[pair[0].id, line.number] for line in pair[1])]
    ordered = touched + [pair for pair in invoices if pair not in touched]
    tells_tax = bool(item.tax)
    together = tells_tax and all(invoice.inclusive for invoice, _ in ordered)
    amounts = sum(1 for amount in (item.goods, item.tax, item.shipping) if amount) if together else 1
    remitted = _remitted_by_marketplace(invoices)
    item = _with_tax(item, touched, ordered, taken, remitted=remitted)
    sold, with_units = _sold(item, lines.values()), bool(item.quantity)
    poured: Counter[Pocket] = Counter()
    beyond = []
    if missing := _pour(item.tax, _tax(item, touched, ordered, taken), poured):
        beyond.append(_Excess("TaxRefund", item.line, item.tax, missing, sold, amounts, with_units, remitted))
    most = {i.id: _net_of_tax(i) + _tax_poured(i, poured) for i, _ in ordered} if together and remitted else None
    for name, amount, stages in (
        ("RefundAmount", item.goods, _goods(item, touched, ordered, taken)),
        ("ShippingRefund", item.shipping, [[(("shipping", i.id, 0), _shipping_net(i))] for i, _ in ordered]),
    ):
        if missing := _pour(amount, stages, poured, most):
            beyond.append(_Excess(name, item.line, amount, missing, sold, amounts, with_units, False))
    if not tells_tax:
        poured += _tax_in(ordered, poured)
    elif most is not None:
        _within([invoice for invoice, _ in ordered], poured)
    items = {line.number: line.item for line in order.lines}
    for invoice in order.invoices:
        _book(invoice, items, credits[invoice.id], taken, poured)
    return beyond


def _sold(item: Item, lines: Iterable[OrderLine]) -> int:
    """Units sold of the item; for a kit, the number of kits."""
    return max(item.quantity, 1, *(line.sold // max(line.units_per_kit, 1) for line in lines))


def _remitted_by_marketplace(invoices: Pairs) -> bool:
    own = {line.tax_remitted_by for _, lines in invoices for line in lines}
    return own == {"Marketplace"}


def _units(lines: Iterable[OrderLine], invoices: Pairs, item: Item, worked: Worked) -> Taken | None:
    """Units by invoice and line, oldest invoice first; None where too few are left."""
    taken: Taken = Counter()
    enough = True
    for line in lines:
        wanted = left = item.quantity * line.units_per_kit
        for invoice, own in invoices:
            for each in own:
                if each.order_line == line.number:
                    units = min(left, each.quantity)
                    taken[invoice.id, each.number] += units
                    left -= units
        if left > line.uninvoiced:
            most = wanted - left + line.uninvoiced
            message = f"{wanted} units of {line.sku} are returned, but only {most} were sold and are not credited yet."
            worked.findings.append(
                Finding("Items.Quantity", "returned_more_than_invoiced", item.line, str(item.quantity), message)
            )
        elif left:
            worked.waits = "invoice"
        enough = enough and not left
    return taken if enough else None


def _share(amount: int, units: int, of: int) -> int:
    """The value of so many units of a line, rounded half up; all units have the whole amount."""
    return (2 * amount * units + of) // (2 * of) if of else 0


def _worth(line: InvoiceLine, units: int) -> int:
    worth = _share(line.amount, units, line.quantity) - _share(line.discount, units, line.quantity)
    return min(max(worth, 0), line.net)


def _goods(item: Item, touched: Pairs, ordered: Pairs, taken: Taken) -> Stages:
    worth = [
        (("goods", i.id, each.number), _worth(each, taken[i.id, each.number])) for i, own in touched for each in own
    ]
    rest = [[(("goods", i.id, each.number), each.net) for each in own] for i, own in ordered]

    def wrap(pairs: Pairs) -> Stages:
        return [[(("wrap", i.id, 0), i.gift_wrap)] for i, _ in pairs]

    return [worth, *wrap(touched), *rest, *wrap(ordered)]


def _tax(item: Item, touched: Pairs, ordered: Pairs, taken: Taken) -> Stages:
    units = [
        (("tax", i.id, each.number), _share(each.tax, taken[i.id, each.number], each.quantity))
        for i, own in touched
        for each in own
    ]
    rest = [[(("tax", i.id, each.number), each.tax) for each in own] for i, own in ordered]
    shipping = [[(("shipping tax", i.id, 0), i.shipping_tax)] for i, _ in ordered]
    if item.shipping and not item.goods:  # a refund of shipping alone
        return [*shipping, units, *rest]
    return [units, *shipping, *rest] if item.quantity else [*rest, *shipping]


def _with_tax(item: Item, touched: Pairs, ordered: Pairs, taken: Taken, *, remitted: bool) -> Item:
    """An item of invoices whose prices include tax: its tax is added to its money. Of a tax that the marketplace remits
    only what is left is added, for the rest is not our money; any other tax is limited to what is left."""
    if not item.tax or not all(invoice.inclusive for invoice, _ in ordered):
        return item
    poured: Counter[Pocket] = Counter()
    missing = _pour(item.tax, _tax(item, touched, ordered, taken), poured)
    of_shipping = sum(amount for (what, _, _), amount in poured.items() if what == "shipping tax")
    room = sum(_shipping_net(invoice) for invoice, _ in ordered)
    of_shipping = min(of_shipping, max(room - item.shipping, 0))  # the rest is money for goods
    held = item.tax - missing
    goods, shipping = item.goods + (held if remitted else item.tax) - of_shipping, item.shipping + of_shipping
    return replace(item, goods=goods, tax=item.tax if remitted else held, shipping=shipping)


def _within(invoices: Sequence[Invoice], poured: Counter[Pocket]) -> None:
    """Moves tax between invoices so that no total is below 0 or above what is left. Where prices include a tax that the
    marketplace remits, a credit memo's total is its money less its tax."""
    tax, low, high = [], [], []
    for invoice in invoices:
        money = sum(poured["goods", invoice.id, line.number] for line in invoice.lines)
        money += poured["wrap", invoice.id, 0] + poured["shipping", invoice.id, 0]
        tax.append(_tax_poured(invoice, poured))
        low.append(max(money - _net_of_tax(invoice), 0))
        high.append(max(min(sum(room for _, room in _taxes(invoice)), money), low[-1]))
    wanted = [min(max(each, least), most) for each, least, most in zip(tax, low, high, strict=True)]
    rest = sum(tax) - sum(wanted)
    for n, invoice in enumerate(invoices):
        step = min(max(rest, low[n] - wanted[n]), high[n] - wanted[n])
        rest -= step
        more = wanted[n] + step - tax[n]
        for pocket, room in _taxes(invoice):
            part = min(max(more, -poured[pocket]), room - poured[pocket])
            poured[pocket] += part
            more -= part


def _net_of_tax(invoice: Invoice) -> int:
    """What is left of an invoice, less the tax in its prices that the marketplace remits."""
    money = sum(line.net for line in invoice.lines) + invoice.gift_wrap + _shipping_net(invoice)
    return money - sum(room for _, room in _taxes(invoice))


def _tax_poured(invoice: Invoice, poured: Counter[Pocket]) -> int:
    return sum(poured[pocket] for pocket, _ in _taxes(invoice))


def _taxes(invoice: Invoice) -> list[tuple[Pocket, int]]:
    """The pockets of an invoice's tax, and what each can take."""
    lines: list[tuple[Pocket, int]] = [(("tax", invoice.id, line.number), line.tax) for line in invoice.lines]
    return [*lines, (("shipping tax", invoice.id, 0), invoice.shipping_tax)]


def _tax_in(invoices: Pairs, poured: Counter[Pocket]) -> Counter[Pocket]:
    """The tax inside the refund of an item without a tax, for invoices whose prices include tax: the share of each
    line, gift wrap and shipping, and for the last refund what is left. It goes to the invoice that its money goes to;
    the tax of gift wrap may be on any lines of it."""
    tax: Counter[Pocket] = Counter()
    for invoice, own in invoices:
        if not invoice.inclusive:
            continue
        held = _tax_of_wrap(invoice)
        for line in own:
            goods = poured["goods", invoice.id, line.number]
            tax["tax", invoice.id, line.number] += _share(line.tax - held[line.number], goods, line.net)
        room = [*held.values()]
        of_wrap = _share(sum(room), poured["wrap", invoice.id, 0], invoice.gift_wrap)
        shares = spread(np.array([of_wrap]), np.array(room), np.zeros(len(room), dtype=np.int64))
        for number, share in zip(held, shares.tolist(), strict=True):
            tax["tax", invoice.id, number] += share
        given = poured["shipping", invoice.id, 0]
        tax["shipping tax", invoice.id, 0] += _share(invoice.shipping_tax, given, _shipping_net(invoice))
    return tax


def _tax_of_wrap(invoice: Invoice) -> dict[int, int]:
    """The gift wrap's part of each line's tax, by line number."""
    net, tax = (np.array([getattr(line, n) for line in invoice.lines], dtype=np.int64) for n in ("net", "tax"))
    part = taxes.of_wrap(net, tax, np.zeros(len(net), dtype=np.int64), np.array([invoice.gift_wrap]))
    return dict(zip((line.number for line in invoice.lines), part.tolist(), strict=True))


def _shipping_net(invoice: Invoice) -> int:
    return max(invoice.shipping - invoice.shipping_discount, 0)


def _pour(amount: int, stages: Stages, poured: Counter[Pocket], most: dict[str, int] | None = None) -> int:
    """Fills pockets stage by stage, within a stage in proportion to what each can take, and adds it to `poured`.
    Returns what is left over. `most`: what each invoice may still take in all; it is reduced here."""
    for stage in stages:
        room = []
        left = Counter(most or {})
        for pocket, whole in stage:
            free = max(whole - poured[pocket], 0)
            room.append(free if most is None else min(free, max(left[pocket[1]], 0)))
            left[pocket[1]] -= room[-1]
        part = min(amount, sum(room))
        if not part:
            continue
        shares = spread(np.array([part]), np.array(room), np.zeros(len(room), dtype=np.int64))
        for (pocket, _), share in zip(stage, shares.tolist(), strict=True):
            poured[pocket] += share
            if most is not None:
                most[pocket[1]] -= share
        amount -= part
    return amount


def _book(invoice: Invoice, items: Mapping[int, str], credit: Credit, taken: Taken, poured: Counter[Pocket]) -> None:
    """Adds the poured amounts to the credit, and subtracts them from the invoice. `items`: OrderItemID by order
    line."""
    for line in invoice.lines:
        units = taken[invoice.id, line.number]
        net, tax = (poured[what, invoice.id, line.number] for what in ("goods", "tax"))
        if not (units or net or tax):
            continue
        amount = _share(line.amount, net, line.net)
        item = items.get(line.order_line, "")
        made = credit.lines.setdefault(
            line.number, CreditLine(line.number, line.order_line, item, line.tax_remitted_by)
        )
        _move(line, made, quantity=units, amount=amount, discount=amount - net, tax=tax)
    net, tax, wrap = (poured[what, invoice.id, 0] for what in ("shipping", "shipping tax", "wrap"))
    shipping = _share(invoice.shipping, net, _shipping_net(invoice))
    _move(invoice, credit, shipping=shipping, shipping_discount=shipping - net, shipping_tax=tax, gift_wrap=wrap)


def _move(source: object, target: object, **amounts: int) -> None:
    """Subtracts amounts from one and adds them to the other."""
    for name, amount in amounts.items():
        setattr(source, name, getattr(source, name) - amount)
        setattr(target, name, getattr(target, name) + amount)


def memos(numbers: pd.Series, rounding: Sequence[int], currencies: pd.Series) -> pd.Series:
    """The memo of each credit memo; `rounding` in cents."""
    stated = [
        f"{written(beyond * CENT)} {currency} more refunded than was left, to Rounding" if beyond else ""
        for beyond, currency in zip(rounding, currencies, strict=True)
    ]
    texts = [
        "; ".join(part for part in (one, reported) if part)
        for one, reported in zip(numbers.fillna(""), stated, strict=True)
    ]
    return pd.Series([text or None for text in texts], index=numbers.index, dtype="str")


# ---- goods ---------------------------------------------------------------------------------------------------------


def _take_back(order: Order, items: Sequence[Item], worked: Worked) -> None:
    """Puts goods that came back into stock at their cost when they were shipped; unsellable ones leave it again."""
    numbers: Counter[str] = Counter()
    for item in items:
        if not (item.quantity and item.comes_back):
            continue
        for line in order.lines:
            if line.item == item.line and line.stocked:
                for parcel, units in _parcels(order, line, item, worked):
                    worked.movements += _movements(line, parcel, units, item, numbers)


def _parcels(order: Order, line: OrderLine, item: Item, worked: Worked) -> Iterator[tuple[Parcel, int]]:
    wanted = left = item.quantity * line.units_per_kit
    for parcel in order.parcels:
        units = min(left, parcel.quantity) if parcel.order_line == line.number else 0
        if units:
            parcel.quantity -= units
            left -= units
            yield parcel, units
    if left > line.unshipped:
        most = wanted - left + line.unshipped
        message = f"{wanted} units of {line.sku} have come back, but only {most} were sold and are not back yet."
        worked.findings.append(
            Finding("Items.Quantity", "returned_more_than_shipped", item.line, str(item.quantity), message)
        )
    elif left:
        worked.waits = worked.waits or "shipment"


def _movements(line: OrderLine, parcel: Parcel, units: int, item: Item, numbers: Counter[str]) -> list[Movement]:
    numbers[line.external_id] += 1
    number = numbers[line.external_id]
    reference = line.external_id + (f":{number}" if number > 1 else "")
    back = Movement(
        reference, line.number, parcel.shipment, line.sku, parcel.location, units, "ReturnRestock", parcel.unit_cost
    )
    if item.condition != "Damaged":
        return [back]
    return [
        back,
        Movement(
            f"{reference}:discard", line.number, parcel.shipment, line.sku, parcel.location, -units, "ReturnDiscard",
            parcel.unit_cost,
        ),
    ]  # fmt: skip


# ---- the return itself ---------------------------------------------------------------------------------------------


STATUSES = ("NewRma", "PendingReturn", "Received", "Approved", "Rejected", "Refunded", "Closed")
CONDITIONS = ("Sellable", "Damaged", "Missing")
REFUNDS = ("RefundAmount", "TaxRefund", "ShippingRefund")


def read_items(lines: Sequence[Mapping[str, Any]], refund_total: int | None) -> tuple[list[Item], list[Finding]]:
    """The items of a return, and the errors of its units and amounts. Amounts x 10,000; None is 0."""
    items: list[Item] = []
    found: list[Finding] = []
    for given in lines:
        line = str(given["OrderItemID"])
        amounts = {name: int(given[name] or 0) for name in REFUNDS}
        for name, amount in amounts.items():
            if amount < 0:
                message = f"{name} is {written(amount)}, below 0."
                found.append(Finding(f"Items.{name}", "negative_amount", line, written(amount), message))
            elif amount % CENT:
                message = f"{name} is {written(amount)}; TIMS documents have 2 places."
                found.append(Finding(f"Items.{name}", "third_decimal", line, written(amount), message))
        quantity, condition = given["Quantity"], given["Condition"]
        if quantity is None or quantity < 0:
            message = "The returned quantity is missing." if quantity is None else f"{quantity} units are returned."
            found.append(Finding("Items.Quantity", "quantity_below_zero", line, str(quantity or ""), message))
        if condition not in (*CONDITIONS, None):
            message = f'The goods are "{condition}"; known are {", ".join(CONDITIONS)}.'
            found.append(Finding("Items.Condition", "unknown_condition", line, str(condition), message))
        goods, tax, shipping = (amount // CENT for amount in amounts.values())
        items.append(Item(line, quantity or 0, goods, tax, shipping, bool(given["Restock"]), condition))
    parts = sum(int(given[name] or 0) for given in lines for name in REFUNDS)
    if refund_total != parts:
        whole = "missing" if refund_total is None else written(refund_total)
        message = f"RefundTotal is {whole}, but the items add up to {written(parts)}."
        found.append(Finding("RefundTotal", "refund_total_mismatch", "", whole, message))
    return items, found


def states(header: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Decides what to do with each return. Returns (verdict, reason)."""
    status = header["Status"]
    closed = status.eq("Closed") & header["RefundDate"].isna()
    verdict = pd.Series(WORK, index=header.index, dtype="str")
    reason = pd.Series("", index=header.index, dtype="str")
    for mask, what, why in (
        (status.isin(["NewRma", "PendingReturn"]), WAIT, "the return is not decided; it is read again when it changes"),
        (status.eq("Rejected"), LEAVE_OUT, "the return is rejected"),
        (closed, LEAVE_OUT, "the return was closed without a refund"),
    ):
        chosen = mask.fillna(False).to_numpy(dtype=bool)
        verdict[chosen], reason[chosen] = what, why
    return verdict, reason


def dates(header: pd.DataFrame, zone: str, periods: pd.DataFrame) -> pd.DataFrame:
    """CreditDate and PostingDate, missing where there is no such day."""
    moment = header["RefundDate"].fillna(header["UpdatedDate"])
    readable = pd.to_datetime(moment, utc=True, errors="coerce", format="ISO8601").notna()
    day = company_days(moment.where(readable), zone)
    posted, _ = posting_dates(day, periods)
    return pd.DataFrame({"CreditDate": day, "PostingDate": posted}, index=header.index)


# ---- rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReturnContext:
    """The context of the return rules: what they need beside columns. By ChannelAdvisorOrderID: `orders` with what is
    left for returns, `ids` their SalesOrderIDs, `parents` what they have in TIMS as one text, `skipped` those that are
    left out, `held_back` those that would be made and are not sent."""

    orders: Mapping[str, Order]
    ids: Mapping[str, str]
    parents: Mapping[str, str]
    skipped: Collection[str]
    tolerance: Refunds
    zone: str
    periods: pd.DataFrame
    held_back: Collection[str] = ()


STATES = {WORK: "staged", WAIT: "waiting", LEAVE_OUT: "left_out"}
WAITS = {
    "order": "its order is not in TIMS yet; it is worked when it arrives",
    "held back": f"{HELD_BACK}; it is worked when TIMS has the order",
    "invoice": "what it gives back is not invoiced yet; it is worked when the invoice arrives",
    "shipment": "what comes back is not shipped in TIMS yet; it is worked when the shipment arrives",
}
_ITEM = ("OrderItemID", "Quantity", *REFUNDS, "Restock", "Condition")


@rule("return_state", reads=["Status", "RefundDate"], writes=["verdict", "verdict_reason"])
def return_state(frames: Frames, context: object) -> Columns:
    """Decides what to do with a return: a new or pending one waits; a rejected one, and one closed without a refund, is
    left out; all others are worked."""
    verdict, reason = states(frames.header)
    return Columns(pd.DataFrame({"verdict": verdict, "verdict_reason": reason}))


@rule("return_dates", reads=["RefundDate", "UpdatedDate"], writes=["CreditDate", "PostingDate"])
def return_dates(frames: Frames, context: ReturnContext) -> Columns:
    """CreditDate is the company's day of the refund; before there is a refund, the day of the return's last change.
    PostingDate is the same, or the first open day after it. Both are missing where there is no such day."""
    return Columns(dates(frames.header, context.zone, context.periods))


@rule(
    "work_return",
    reads=[
        KEY, "ChannelAdvisorOrderID", "Status", "Currency", "RefundTotal", "verdict", "verdict_reason", "CreditDate",
        "PostingDate", *(LINES + name for name in _ITEM),
    ],
    writes=["state", "reason", "sales_order_id", "parents", "worked"],
)  # fmt: skip
def work_return(frames: Frames, context: ReturnContext) -> Columns:
    """Works returns one after the other, those of one order by ascending number: each refund is subtracted from what
    its order has left. A return waits while its order, invoice or shipment is not in TIMS yet, and is left out where
    its order is."""
    header = frames.header
    given = items_of(frames.lines, len(header))
    keys = header[KEY].tolist()
    numbers = header["ChannelAdvisorOrderID"].astype("str").tolist()
    status, currency = header["Status"].tolist(), header["Currency"].tolist()
    totals = [None if pd.isna(total) else int(total) for total in header["RefundTotal"].tolist()]
    state = [STATES[verdict] for verdict in header["verdict"]]
    reason: list[Any] = [text or None for text in header["verdict_reason"]]
    ids: list[Any] = [None] * len(header)
    parents: list[Any] = [None] * len(header)
    done = [Worked() for _ in keys]
    found: dict[int, list[Finding]] = {}
    orders = dict(context.orders)
    wanted = [row for row, one in enumerate(state) if one == "staged"]
    for row in sorted(wanted, key=lambda row: (numbers[row], len(keys[row]), keys[row])):
        number = numbers[row]
        if number in context.skipped:
            state[row], reason[row] = "left_out", "its order is left out"
            continue
        items, wrong = read_items(given[row], totals[row])
        if status[row] not in STATUSES:
            message = f'The return is "{status[row]}"; known are {", ".join(STATUSES)}.'
            wrong.append(Finding("Status", "unknown_status", "", str(status[row]), message))
        wrong += _undated(header["CreditDate"].iloc[row], header["PostingDate"].iloc[row])
        order = orders.get(number)
        ids[row] = context.ids.get(number)
        if wrong:
            found[row] = wrong
            continue
        if order is None:
            done[row].waits = "held back" if number in context.held_back else "order"
        else:
            done[row], orders[number] = work(order, items, str(currency[row]), context.tolerance)
        found[row] = done[row].findings
        if done[row].waits:
            state[row], reason[row] = "waiting", WAITS[done[row].waits]
            parents[row] = context.parents.get(number, "")
    columns = {
        name: pd.Series(values, dtype="str")
        for name, values in (("state", state), ("reason", reason), ("sales_order_id", ids), ("parents", parents))
    }
    return Columns(
        pd.DataFrame({**columns, "worked": pd.Series(done, dtype=object)}),
        problems=problems.concat(findings(row, some) for row, some in found.items()),
    )


def items_of(lines: pd.DataFrame, count: int) -> list[list[dict[str, Any]]]:
    """The items of each return, missing values as None."""
    items: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    columns = [[None if pd.isna(value) else value for value in lines[name].tolist()] for name in _ITEM]
    for row, values in zip(lines[ROW].tolist(), zip(*columns, strict=True), strict=True):
        items[row].append(dict(zip(_ITEM, values, strict=True)))
    return items


def findings(row: int, some: Sequence[Finding]) -> pd.DataFrame:
    """The errors of one return, as problems."""
    return problems.concat(
        problems.make([row], field=f.field, rule=f.rule, value=f.value, message=f.message, do=DO, line=f.line)
        for f in some
    )


def _undated(day: Any, posted: Any) -> list[Finding]:
    """The reason why a return has no day to be posted on; empty where it has one."""
    if pd.isna(day):
        return [Finding("RefundDate", "unreadable_date", "", "", "The date of the refund is no moment.")]
    if pd.isna(posted):
        return [Finding("PostingDate", "no_open_period", "", "", f"No period from {day} on is open in TIMS.")]
    return []


_NO_CREDIT = Credit("", "Seller")  # for a return that only moves stock
_PARTS = (
    "shipping", "shipping_discount", "shipping_tax", "gift_wrap", "subtotal", "discounts", "taxes", "marketplace_tax",
    "total",
)  # fmt: skip


@rule(
    "part_return",
    reads=[KEY, "state", "worked"],
    writes=[
        "ExternalReference", "InvoiceID", "PricesIncludeTax", *AMOUNTS, "ShippingTaxRemittedBy", "credit",
        "made.InvoiceLineNo", "made.Quantity", "made.Amount", "made.DiscountAmount", "made.TaxAmount",
        "made.TaxRemittedBy",
    ],
)  # fmt: skip
def part_return(frames: Frames, context: object) -> Columns:
    """Makes one credit memo for each invoice that a return touches, the oldest invoice first. The channel's amounts are
    divided over lines, discount, gift wrap, shipping and tax, and never computed anew."""
    keys, worked = frames.header[KEY].tolist(), frames.header["worked"].tolist()
    memos = [
        (row, credit)
        for row in np.flatnonzero(frames.header["state"].eq("staged").to_numpy(dtype=bool)).tolist()
        for credit in worked[row].credits or [_NO_CREDIT]
    ]
    credits = [credit for _, credit in memos]
    header = pd.DataFrame(
        {
            "ExternalReference": pd.Series([f"cm:{keys[row]}:{one.invoice}" for row, one in memos], dtype="str"),
            "InvoiceID": pd.Series([one.invoice or None for one in credits], dtype="str"),
            "PricesIncludeTax": pd.Series([one.inclusive for one in credits], dtype="boolean"),
            "ShippingTaxRemittedBy": pd.Series([one.shipping_tax_remitted_by for one in credits], dtype="str"),
            **{
                name: pd.Series([getattr(one, part) * CENT for one in credits], dtype="Int64")
                for name, part in zip(AMOUNTS, _PARTS, strict=True)
            },
            "credit": pd.Series(credits, dtype=object),
        }
    )
    body = [(row, n, line) for row, credit in enumerate(credits) for n, line in enumerate(credit.lines.values())]
    lines = pd.DataFrame(
        {
            ROW: np.array([row for row, _, _ in body], dtype=np.int64),
            LINE: np.array([n for _, n, _ in body], dtype=np.int64),
            "InvoiceLineNo": pd.Series([line.invoice_line for *_, line in body], dtype="Int64"),
            "Quantity": pd.Series([line.quantity for *_, line in body], dtype="Int64"),
            "Amount": pd.Series([line.amount * CENT for *_, line in body], dtype="Int64"),
            "DiscountAmount": pd.Series([line.discount * CENT for *_, line in body], dtype="Int64"),
            "TaxAmount": pd.Series([line.tax * CENT for *_, line in body], dtype="Int64"),
            "TaxRemittedBy": pd.Series([line.tax_remitted_by for *_, line in body], dtype="str"),
        }
    )
    return Columns(header, made=lines, origin=np.array([row for row, _ in memos], dtype=np.int64))


@rule("return_memo", reads=["RmaNumber", "Currency", "credit"], writes=["Memo"])
def return_memo(frames: Frames, context: object) -> Columns:
    """The RMA number, and the amount that the channel gave back beyond what was left to credit, if any."""
    header = frames.header
    texts = memos(header["RmaNumber"], [credit.rounding for credit in header["credit"]], header["Currency"])
    return Columns(pd.DataFrame({"Memo": texts}))
