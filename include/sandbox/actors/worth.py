"""Computes the value of shipped units of an order, to the cent.

In: an order of Channel Advisor and its shipments, its sales order in TIMS if there is one. Out: for each parcel that
the channel knows of, the amounts of its lines. Never: a cent lost or invented; the parcels of a whole order add up
to it.

After k of n units of a line have left, their value is round(price x k), and their tax round(tax x k / n). Discounts are
divided like the amounts that they reduce, amounts of the whole order by the value of the goods. A tax inside an amount
is divided like it after discount, and is given apart from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from sandbox.actors.actor_context import Document
from sandbox.channel_advisor.rules import INSIDE
from sandbox.control import moment

CENT, ZERO = Decimal("0.01"), Decimal("0.00")


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def _money(text: str | Decimal | None) -> Decimal:
    return ZERO if text is None else Decimal(text)


@dataclass(frozen=True)
class Part:
    """Units of one line of an order in one parcel: amounts of whole cents, discounts above 0."""

    sku: str
    units: int
    principal: Decimal
    discount: Decimal = ZERO
    tax: Decimal = ZERO
    shipping: Decimal = ZERO
    shipping_discount: Decimal = ZERO
    shipping_tax: Decimal = ZERO
    wrap: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return self.net + self.tax + self.shipping_tax

    @property
    def net(self) -> Decimal:
        """Without tax."""
        return self.principal - self.discount + self.shipping - self.shipping_discount + self.wrap


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int
    price: Decimal
    discount: Decimal
    tax: Decimal
    inside: bool = False  # the tax is in the price

    def after(self, units: int) -> tuple[Decimal, Decimal, Decimal]:
        """(goods, discount, tax) once so many units have left. Goods are rounded as TIMS does, and without their tax;
        the discount is the share of these goods; the tax is the share of the units, or of the amount that contains
        it."""
        goods, whole = cents(self.price * units), cents(self.price * self.quantity)
        discount = cents(self.discount * goods / whole) if whole else ZERO
        if not self.inside or whole <= self.discount:
            tax = cents(self.tax * units / self.quantity)
        else:
            tax = cents(self.tax * (goods - discount) / (whole - self.discount))
        return goods - tax if self.inside else goods, discount, tax


@dataclass
class Sale:
    """An order as it is accounted for; lines by their number."""

    lines: dict[int, Line]
    shipping: Decimal
    shipping_discount: Decimal
    shipping_tax: Decimal
    wrap: Decimal
    shipping_inside: bool = False  # the tax on shipping is in the shipping
    left: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def part(self, units: Mapping[int, int]) -> list[Part]:
        """The amounts of a parcel with these units, which count as shipped for the next one."""
        before = self._of_order()
        parts = []
        for number, some in units.items():
            line, k = self.lines[number], self.left[number]
            goods, discount, tax = (
                after - done for after, done in zip(line.after(k + some), line.after(k), strict=True)
            )
            parts.append(Part(line.sku, some, goods, discount, tax))
            self.left[number] += some
        if not parts:
            return []
        after = self._of_order()
        first = parts[0]
        whole = {name: after[name] - before[name] for name in after}
        return [Part(first.sku, first.units, first.principal, first.discount, first.tax, **whole), *parts[1:]]

    def _of_order(self) -> dict[str, Decimal]:
        """The share of the order's own amounts for the goods that have left so far."""
        free = not any(line.price for line in self.lines.values())
        value = {number: Decimal(1) if free else line.price for number, line in self.lines.items()}
        goods = sum((value[number] * line.quantity for number, line in self.lines.items()), ZERO)
        gone = sum((value[number] * units for number, units in self.left.items()), ZERO)
        found = {name: cents(getattr(self, name) * gone / goods) for name in ("shipping", "shipping_tax", "wrap")}
        discount = cents(self.shipping_discount * found["shipping"] / self.shipping) if self.shipping else ZERO
        if self.shipping_inside:
            paid, whole = found["shipping"] - discount, self.shipping - self.shipping_discount
            found["shipping_tax"] = cents(self.shipping_tax * paid / whole) if whole > 0 else found["shipping_tax"]
            found["shipping"] -= found["shipping_tax"]
        return found | {"shipping_discount": discount}


def of_tims(sale: Document) -> Sale:
    """A sales order."""
    inside = bool(sale.get("PricesIncludeTax"))
    lines = {line["LineNo"]: line_of(line, inside) for line in sale["LineItems"]}
    return Sale(
        lines,
        _money(sale["ShippingAmount"]),
        _money(sale["ShippingDiscountAmount"]),
        _money(sale["ShippingTaxAmount"]),
        _money(sale["GiftWrapAmount"]),
        inside,
    )


def line_of(line: Document, inside: bool) -> Line:
    """A line of a sales order. `inside`: its PricesIncludeTax."""
    return Line(
        line.get("KitParentSKU") or line["SKU"],
        line["Quantity"],
        Decimal(line["Price"]),
        _money(line["DiscountAmount"]),
        _money(line["TaxAmount"]),
        inside,
    )


def of_channel(order: Document) -> Sale:
    """An order that TIMS does not have: amounts that only the header carries go to its first line."""
    items = order["OrderItems"]
    tax = [_money(item["TaxAmount"]) for item in items]
    discount = [_money(item["DiscountAmount"]) for item in items]
    goods, shipping = (order.get(name) == INSIDE for name in ("OrderTaxType", "ShippingTaxType"))
    tax[0] += _money(order["TotalTaxPrice"]) - sum(tax)
    discount[0] += _money(order["TotalDiscount"]) - sum(discount)
    lines = {
        n: Line(item["SKU"], item["Quantity"], _money(item["UnitPrice"]), discount[n], tax[n], goods)
        for n, item in enumerate(items)
    }
    wrap = sum((_money(item["GiftWrapAmount"]) for item in items), ZERO)
    totals = _money(order["TotalShippingPrice"]), ZERO, _money(order["TotalShippingTaxPrice"])
    return Sale(lines, *totals, wrap, shipping)


def item_of(line: Document) -> str:
    """The channel's line behind a line of TIMS: the parts of a kit have it followed by their SKU."""
    return line["ExternalLineID"].partition(":")[0]


def per_unit(line: Document, item: Document) -> int:
    """How many units of TIMS's line are in one unit of the channel's."""
    return line["Quantity"] // item["Quantity"] if line.get("KitParentSKU") else 1


def parcels(order: Document, reports: Iterable[Document], sale: Document | None) -> list[tuple[datetime, list[Part]]]:
    """(when the channel knew, what left) for each of the order's shipments in Channel Advisor, with values by TIMS's
    sales order, or without one by the channel's order."""
    items = {item["OrderItemID"]: (n, item) for n, item in enumerate(order["OrderItems"])}
    account = of_tims(sale) if sale else of_channel(order)
    lines: dict[int, list[tuple[int, int]]] = defaultdict(list)  # OrderItemID -> (number of a line, units per unit)
    if sale is None:
        lines |= {key: [(n, 1)] for key, (n, _) in items.items()}
    for line in sale["LineItems"] if sale else ():
        key = item_of(line)
        if key.isdigit() and int(key) in items:
            lines[int(key)].append((line["LineNo"], per_unit(line, items[int(key)][1])))
    found = []
    for report in sorted(reports, key=lambda each: (known_at(order, each), each["ShipmentID"])):
        units: dict[int, int] = defaultdict(int)
        for item in report["Items"]:
            for number, per in lines[item["OrderItemID"]]:
                units[number] += item["Quantity"] * per
        found.append((known_at(order, report), account.part(units)))
    return found


def known_at(order: Document, report: Document) -> datetime:
    """When the marketplace had a shipment: when it was reported, or came with its order."""
    return max(moment(report["CreatedDate"]), moment(order["ImportDate"]))
