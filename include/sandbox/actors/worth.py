"""What shipped units of an order are worth, to the cent.

In: an order of Channel Advisor, its sales order in TIMS if there is one, shipments of both. Out: for each parcel that
the channel knows of, the amounts of its lines. Never: a cent lost or invented; the parcels of a whole order add up
to it.

After k of n units of a line have left, round(amount x k / n) of each of its amounts has; what belongs to the order as a
whole follows the value of its goods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from sandbox.actors.scene import Document
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


@dataclass
class Sale:
    """An order as it is accounted for; lines by their number."""

    lines: dict[int, Line]
    shipping: Decimal
    shipping_discount: Decimal
    shipping_tax: Decimal
    wrap: Decimal
    left: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def part(self, units: Mapping[int, int]) -> list[Part]:
        """The amounts of a parcel with these units; the next one is worth what comes after it."""
        before = self._of_order()
        parts = []
        for number, some in units.items():
            line, k = self.lines[number], self.left[number]
            parts.append(
                Part(
                    line.sku,
                    some,
                    cents(line.price * (k + some)) - cents(line.price * k),
                    between(line.discount, k, k + some, line.quantity),
                    between(line.tax, k, k + some, line.quantity),
                )
            )
            self.left[number] += some
        if not parts:
            return []
        after = self._of_order()
        first = parts[0]
        whole = {name: after[name] - before[name] for name in after}
        return [Part(first.sku, first.units, first.principal, first.discount, first.tax, **whole), *parts[1:]]

    def _of_order(self) -> dict[str, Decimal]:
        """What of the order's own amounts has left with the goods so far."""
        goods = sum(cents(line.price * line.quantity) for line in self.lines.values())
        if goods:
            gone = sum(cents(line.price * self.left[number]) for number, line in self.lines.items())
        else:
            goods = Decimal(sum(line.quantity for line in self.lines.values()))
            gone = Decimal(sum(self.left.values()))
        names = ("shipping", "shipping_discount", "shipping_tax", "wrap")
        return {name: cents(getattr(self, name) * gone / goods) for name in names}


def between(amount: Decimal, before: int, after: int, units: int) -> Decimal:
    return cents(amount * after / units) - cents(amount * before / units)


def of_tims(sale: Document) -> Sale:
    """A sales order."""
    lines = {
        line["LineNo"]: Line(
            line.get("KitParentSKU") or line["SKU"],
            line["Quantity"],
            Decimal(line["Price"]),
            _money(line["DiscountAmount"]),
            _money(line["TaxAmount"]),
        )
        for line in sale["LineItems"]
    }
    return Sale(
        lines,
        _money(sale["ShippingAmount"]),
        _money(sale["ShippingDiscountAmount"]),
        _money(sale["ShippingTaxAmount"]),
        _money(sale["GiftWrapAmount"]),
    )


def of_channel(order: Document) -> Sale:
    """An order that TIMS does not have: what only the header carries is its first line's."""
    items = order["OrderItems"]
    tax = [_money(item["TaxAmount"]) for item in items]
    discount = [_money(item["DiscountAmount"]) for item in items]
    tax[0] += _money(order["TotalTaxPrice"]) - sum(tax)
    discount[0] += _money(order["TotalDiscount"]) - sum(discount)
    lines = {
        n: Line(item["SKU"], item["Quantity"], _money(item["UnitPrice"]), discount[n], tax[n])
        for n, item in enumerate(items)
    }
    wrap = sum((_money(item["GiftWrapAmount"]) for item in items), ZERO)
    return Sale(lines, _money(order["TotalShippingPrice"]), ZERO, _money(order["TotalShippingTaxPrice"]), wrap)


def parcels(
    order: Document, reports: Iterable[Document], sale: Document | None, shipments: Iterable[Document]
) -> list[tuple[datetime, list[Part]]]:
    """(when the channel knew, what left) for each parcel. `reports`: the order's shipments in Channel Advisor,
    `shipments`: those in TIMS. A parcel that was not reported (it completed no kit) goes with the next one that was."""
    known = {report["SellerFulfillmentID"]: known_at(order, report) for report in reports}
    if not known:
        return []
    if sale is None:
        items = enumerate(order["OrderItems"])
        units = {n: item["QuantityShipped"] for n, item in items if item["QuantityShipped"]}
        return [(max(known.values()), of_channel(order).part(units))]
    account, found, waiting = of_tims(sale), [], defaultdict[int, int](int)
    for shipment in sorted(shipments, key=lambda each: number_of(each["ShipmentID"])):
        for line in shipment["Lines"]:
            waiting[line["SalesOrderLineNo"]] += line["Quantity"]
        own = shipment["Source"] != "ChannelAdvisor"
        at = known.get(str(number_of(shipment["ShipmentID"]))) if own else min(known.values())
        if at is not None:
            found.append((at, account.part(waiting)))
            waiting = defaultdict(int)
    return found


def known_at(order: Document, report: Document) -> datetime:
    """When the marketplace had a shipment: when it was reported, or came with its order."""
    return max(moment(report["CreatedDate"]), moment(order["ImportDate"]))


def number_of(shipment: str) -> int:
    digits = "".join(filter(str.isdigit, shipment))
    return int(digits or 0)
