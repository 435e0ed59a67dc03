"""Plays the buyers who send goods back, and sites that refund by themselves.

In: the cancellations of the data (C...), orders of Channel Advisor. Out: returns in Channel Advisor, from the day on
which they are opened until the goods are in or the site has paid; what follows is the seller's. Never: more units than
the channel knows as shipped (but for returns that come before their parcel, on purpose); more money than the line has.

A cancellation becomes returns of the same goods that this customer, or else another one, bought before. A line without
a match in the data's window is not usable: `unusable` counts it by cause.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sandbox import chance
from sandbox.actors import worth
from sandbox.actors.actor_context import ActorContext, Document
from sandbox.actors.worth import ZERO, cents
from sandbox.channel_advisor.returns import FIRST_RETURN, computed, is_taken, refundable
from sandbox.control import moment
from sandbox.transactions import Invoice, Line
from sandbox.world import CHANNEL_ADVISOR, text

FIRST = FIRST_RETURN - 100_000_000
KINDS = (("usual", 78), ("no goods", 8), ("no refund", 8), ("part refund", 6))
ENDS = (("seller", 66), ("site", 28), ("rejected", 4), ("closed", 2))  # who decides; "site" only where a marketplace is
CONDITIONS = ((("Sellable", True), 68), (("Damaged", False), 17), (("Missing", False), 5), ((None, True), 10))
REASONS = ("CustomerReturnedItem",) * 6 + ("GeneralAdjustment", "BuyerCancelled", "MerchandiseNotReceived")
OPEN = ("NewRma", "PendingReturn")
EARLY_SHARE, EARLY = 0.02, timedelta(days=3)


@dataclass(frozen=True)
class Plan:
    """The fate of a return; the same in every run."""

    kind: str
    end: str
    pending: bool
    received_at_once: bool
    received: datetime
    decided: datetime
    condition: str | None
    restock: bool


def plan(context: ActorContext, rma: str, opened: datetime, site: str) -> Plan:
    kind = chance.weighted(KINDS, "return", rma)
    end = chance.weighted(ENDS, "return ends", rma)
    if end == "site" and not site.startswith(("Amazon", "eBay")):
        end = "seller"
    condition, restock = chance.weighted(CONDITIONS, "condition", rma)
    back = context.working_moment(opened + timedelta(days=chance.between(1, 4, "back", rma)), "received", rma)
    decided = context.working_moment(back + timedelta(days=chance.between(0, 2, "decided", rma)), "decided", rma)
    share = chance.share("first status", rma)
    return Plan(kind, end, share < 0.1, share > 0.85 and kind != "no goods", back, decided, condition, restock)


def act(context: ActorContext) -> Counter[str]:
    return Counter({"returns": open_due(context), "returns received or decided": go_on(context)})


# ---- opening ----
def open_due(context: ActorContext) -> int:
    """Open the returns of every cancellation that is due. Returns how many."""
    due = sorted((i for i in context.world.returns() if context.is_due(i.at)), key=lambda i: (i.at, i.number))
    if not due:
        return 0
    new_returns = NewReturns(context)
    usual: list[tuple[str, str, Document]] = []
    early: list[tuple[str, str, Document]] = []
    for invoice in due:
        for made, is_early in new_returns.opened(invoice):
            event = (f"return:{made['ReturnID']}", "return", made)
            (early if is_early else usual).append(event)
    return context.send(CHANNEL_ADVISOR, usual) + context.send(CHANNEL_ADVISOR, early, dirty=True)


class NewReturns:
    """What has been sold and can come back."""

    def __init__(self, context: ActorContext) -> None:
        self.context = context
        self.taken: dict[int, list[Document]] = defaultdict(list)
        for returned in context.returns:
            self.taken[returned["ChannelAdvisorOrderID"]].append(returned)
        self.sold: dict[str, list[int]] = defaultdict(list)
        for number, order in context.orders.items():
            for item in () if order["Currency"] is None else order["OrderItems"]:
                self.sold[item["SKU"].upper()].append(number)

    def opened(self, invoice: Invoice) -> Iterator[tuple[Document, bool]]:
        """(return, whether it comes before its parcel or its order) for each order that a cancellation applies to."""
        wanted: dict[int, list[Line]] = defaultdict(list)
        for line in invoice.lines:
            if line.quantity < 0 and is_goods(self.context, line.code):
                number = self.order_of(invoice, line)
                if number is not None:
                    wanted[number].append(line)
        for n, (number, lines) in enumerate(sorted(wanted.items())):
            rma = invoice.number + (f"-{n + 1}" if n else "")
            key = FIRST + int(invoice.number[1:]) * 10 + n
            made = self._return(key, rma, invoice.at, number, lines)
            if made["Items"]:
                self.taken[number].append(made)
                yield made, not self._has_shipped(number, made)

    def order_of(self, invoice: Invoice, line: Line) -> int | None:
        """The order in which the goods were bought: this customer's, else any; None where there is none."""
        bought = [number for number in self.sold[line.code.upper()] if self._placed(number) < invoice.at]
        own = [number for number in bought if invoice.customer and self._customer(number) == invoice.customer]
        back = [number for number in own if self._left(number, line.code)]
        if back:
            return max(back)
        waiting = [number for number in own if self.context.orders[number]["OrderStatus"] == "New"]
        if waiting:
            return max(waiting)
        anybodys = sorted(number for number in bought if self._left(number, line.code))
        if anybodys:
            return chance.pick(anybodys, "whose", invoice.number)
        return self._future(invoice, line)

    def _future(self, invoice: Invoice, line: Line) -> int | None:
        """A future order: sometimes a person types a return before the site passes the order on."""
        if chance.share("early", invoice.number) >= EARLY_SHARE:
            return None
        for order, _ in self.context.world.order_histories(invoice.at, invoice.at + EARLY):
            if order.defect is None and any(
                i["SKU"].upper() == line.code.upper() for i in order.document["OrderItems"]
            ):
                return order.id
        return None

    def _order(self, number: int) -> Document:
        existing = self.context.orders.get(number)
        if existing is not None:
            return existing
        story = self.context.story(number)
        return story[1][-1].document if story else {}

    def _placed(self, number: int) -> datetime:
        bought = self.context.invoice(number)
        return bought.at if bought else self.context.end

    def _customer(self, number: int) -> str | None:
        bought = self.context.invoice(number)
        return bought.customer if bought else None

    def _items(self, number: int, code: str) -> list[Document]:
        return [item for item in self._order(number)["OrderItems"] if item["SKU"].upper() == code.upper()]

    def _returned(self, number: int, item: Document) -> int:
        return sum(
            each["Quantity"]
            for made in self.taken[number]
            if is_taken(made)
            for each in made["Items"]
            if each["OrderItemID"] == item["OrderItemID"]
        )

    def _left(self, number: int, code: str) -> int:
        return sum(item["QuantityShipped"] - self._returned(number, item) for item in self._items(number, code))

    def _has_shipped(self, number: int, made: Document) -> bool:
        if number not in self.context.orders:
            return False
        shipped = {item["OrderItemID"]: item["QuantityShipped"] for item in self._order(number)["OrderItems"]}
        return all(shipped[item["OrderItemID"]] >= max(item["Quantity"], 1) for item in made["Items"])

    def _return(self, key: int, rma: str, at: datetime, number: int, lines: list[Line]) -> Document:
        order = self._order(number)
        fate = plan(self.context, rma, at, order["SiteName"] or "")
        items: list[Document] = []
        for line in lines:
            wanted = -line.quantity
            for item in self._items(number, line.code):
                if any(each["OrderItemID"] == item["OrderItemID"] for each in items):
                    continue
                base = item["QuantityShipped"] or item["Quantity"] - item["QuantityCancelled"]
                units = min(wanted, base - self._returned(number, item))
                if units > 0:
                    items.append(self._item(order, item, units, fate))
                    wanted -= units
        has_shipped = self._has_shipped(number, {"Items": items})
        if fate.received_at_once and has_shipped:
            items = [item | {"Condition": fate.condition, "Restock": fate.restock} for item in items]
            status = "Received"
        else:
            status = "PendingReturn" if fate.pending else "NewRma"
        return {
            "ReturnID": key,
            "ChannelAdvisorOrderID": number,
            "ProfileID": order["ProfileID"],
            "Currency": order["Currency"],
            "RmaNumber": rma,
            "Status": status,
            "Reason": "CustomerExchange" if fate.kind == "no refund" else chance.pick(REASONS, "reason", rma),
            "CreatedDate": text(at),
            "Items": items,
        }

    def _item(self, order: Document, item: Document, units: int, fate: Plan) -> Document:
        """Units of a line and their refund: their value, or less."""
        before = self._returned(order["ChannelAdvisorOrderID"], item)
        goods, tax = self._worth(order, item, before, units)
        shipping = ZERO
        if fate.kind == "no goods":
            goods, tax, units = cents(goods / 2), cents(tax / 2), 0
        elif fate.kind == "part refund":
            goods, tax = cents(goods * 4 / 5), cents(tax * 4 / 5)
        elif fate.kind == "no refund":
            goods = tax = ZERO
        elif order["OrderStatus"] == "Shipped" and before == 0 and units == item["Quantity"]:
            whole = computed(order, item, units)  # a line that comes back whole includes its shipping
            shipping = whole["ShippingRefund"]
            tax += item["ShippingTaxAmount"] or ZERO
        left = refundable(order, item, [made for made in self.taken[order["ChannelAdvisorOrderID"]] if is_taken(made)])
        return {
            "OrderItemID": item["OrderItemID"],
            "SKU": item["SKU"],
            "Quantity": units,
            "RefundAmount": min(goods, left["RefundAmount"]),
            "TaxRefund": min(tax, left["TaxRefund"]),
            "ShippingRefund": min(shipping, left["ShippingRefund"]),
            "Restock": False,
            "Condition": None,
        }

    def _worth(self, order: Document, item: Document, before: int, units: int) -> tuple[Decimal, Decimal]:
        """(goods after discount, tax) of the units that come back after `before` others."""
        sale = self.context.sales.get(str(order["ChannelAdvisorOrderID"]))
        own = [line for line in sale["LineItems"] if worth.item_of(line) == str(item["OrderItemID"])] if sale else []
        if not own:
            whole = computed(order, item, units)
            return whole["RefundAmount"], whole["TaxRefund"] if not item["ShippingTaxAmount"] else ZERO
        inside = bool(sale and sale.get("PricesIncludeTax"))
        goods = tax = ZERO
        for line in own:
            per, account = worth.per_unit(line, item), worth.line_of(line, inside)
            after, done = account.after((before + units) * per), account.after(before * per)
            goods += (after[0] - after[1]) - (done[0] - done[1])
            tax += after[2] - done[2]
        return goods, tax


def is_goods(context: ActorContext, code: str) -> bool:
    return context.world.catalogue.codes.of(code).action == "product"


# ---- going on ----
def go_on(context: ActorContext) -> int:
    """The goods come in, and some sites or people decide. Returns how often."""
    events = []
    for returned in context.channel("return", status=[*OPEN, "Received"]):
        step = next_step(context, returned)
        if step:
            name, changes = step
            document = {"ReturnID": returned["ReturnID"], "changes": changes}
            events.append((f"{name}:{returned['ReturnID']}", "return_change", document))
    return context.send(CHANNEL_ADVISOR, events)


def next_step(context: ActorContext, returned: Document) -> tuple[str, Document] | None:
    """The next step of an open return; None while nothing is due, or the seller has to act."""
    order = context.orders.get(returned["ChannelAdvisorOrderID"])
    if returned["SellerAdjustmentID"] is not None or order is None:
        return None
    opened = moment(returned["CreatedDate"])
    fate = plan(context, returned["RmaNumber"], opened, order["SiteName"] or "")
    shipped = {item["OrderItemID"]: item["QuantityShipped"] for item in order["OrderItems"]}
    if any(shipped[item["OrderItemID"]] < max(item["Quantity"], 1) for item in returned["Items"]):
        return None  # goods that have not arrived are neither sent back nor refunded
    seen = [
        {"OrderItemID": item["OrderItemID"], "Condition": fate.condition, "Restock": fate.restock}
        for item in returned["Items"]
        if item["Quantity"]
    ]
    if fate.end in ("rejected", "closed") and fate.decided <= context.end:
        return fate.end, {"Status": fate.end.capitalize()}
    if fate.end == "site" and fate.decided <= context.end:
        at = context.next_moment(fate.decided)
        if at <= context.end:
            return "refunded", {"Status": "Refunded", "RefundDate": text(at.replace(microsecond=0)), "Items": seen}
    if returned["Status"] in OPEN and fate.received <= context.end and fate.end not in ("rejected", "closed"):
        return "received", {"Status": "Received", "Items": seen}
    return None


# ---- what could not be used ----
def unusable(context: ActorContext) -> Counter[str]:
    """Lines of cancellations until the end that became no return, by cause."""
    used: dict[str, set[str]] = defaultdict(set)
    for returned in context.returns:
        if returned["RmaNumber"].startswith("C"):
            number = returned["RmaNumber"].partition("-")[0]
            used[number] |= {item["SKU"].upper() for item in returned["Items"]}
    first: dict[str, datetime] = {}
    for invoice in context.world.invoices:
        if invoice.is_order:
            for line in invoice.lines:
                if line.quantity > 0:
                    first[line.code.upper()] = min(first.get(line.code.upper(), invoice.at), invoice.at)
    causes: Counter[str] = Counter()
    for invoice in context.world.returns():
        if invoice.at > context.end:
            continue
        for line in invoice.lines:
            if not is_goods(context, line.code):
                causes["no goods, but a fee or a discount"] += 1
            elif line.code.upper() in used[invoice.number]:
                continue
            elif first.get(line.code.upper(), invoice.at) >= invoice.at:
                causes["bought before the data begin"] += 1
            else:
                causes["not shipped by then, or back already"] += 1
    return causes
