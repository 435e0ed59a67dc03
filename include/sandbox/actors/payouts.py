"""Plays the marketplaces that pay: makes settlements.

In: shipments that Channel Advisor knows of, refunds, the world's calendar. Out: settlement files in the inbox, each
on the day of its deposit. Never: a settlement that does not begin to the second when the one before ended;
an order's money in two settlements; a parcel that nobody has reported.

Every settlement is computed anew from what the systems hold, so it is the same at any time. A few things are wrong on
purpose (`Special`), each of them once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sandbox import chance
from sandbox.actors import flat_files, worth
from sandbox.actors.actor_context import ActorContext, Document
from sandbox.actors.settlement import DE, EBAY, FR, TO_DEPOSIT, UK, US, Account, Row, Settlement
from sandbox.actors.worth import ZERO, Part, cents
from sandbox.control import moment
from sandbox.sites import AMAZON_DE, AMAZON_FR, AMAZON_UK, AMAZON_US, EBAY_UK, Site

PERIOD = timedelta(days=14)
COMMISSION, RESERVE, KEPT = Decimal("0.15"), Decimal("0.10"), Decimal("0.20")
MOST_KEPT = Decimal("5.00")  # of a commission that is given back
PER_UNIT = Decimal("0.35")  # that a marketplace takes for sending one
UNKNOWN_ORDER = "111-0000000-7654321"

ACCOUNTS = (
    Account(
        "amazon_us", AMAZON_US, "Amazon.com", datetime(2011, 1, 3, 8, 14, 37, tzinfo=UTC), US,
        Decimal("39.99"), True, {0: ("unknown_order",), 1: ("inbound",), 2: ("unknown_label",)},
    ),
    Account(
        "amazon_uk", AMAZON_UK, "Amazon.co.uk", datetime(2011, 1, 5, 17, 42, 11, tzinfo=UTC), UK,
        Decimal("25.00"), True, {1: ("cent_short", "three_short"), 2: ("chargeback", "reimbursement")},
    ),
    Account("amazon_de", AMAZON_DE, "Amazon.de", datetime(2011, 1, 10, 6, 3, 59, tzinfo=UTC), DE),
    Account(
        "amazon_fr", AMAZON_FR, "Amazon.fr", datetime(2011, 1, 11, 21, 30, 0, tzinfo=UTC), FR,
        special={1: ("negative",)},
    ),
    Account("ebay_uk", EBAY_UK, "eBay", datetime(2011, 1, 5, 0, 0, 0, tzinfo=UTC), EBAY),
)  # fmt: skip


def act(context: ActorContext) -> Counter[str]:
    """Write every settlement whose deposit is due."""
    written = 0
    for account in ACCOUNTS:
        numbers = list(due(context, account))
        traded_rows = traded(context, account) if numbers else []
        for number in numbers:
            made = settlement(context, account, number, traded_rows)
            if made.rows:
                name, content = flat_files.write(made)
                written += context.put_file(f"settlements/{account.source}", name, content)
    return Counter({"settlement files": written})


def due(context: ActorContext, account: Account) -> Iterator[int]:
    """Numbers of the account's settlements that are paid now; 0 is the first one with sales."""
    number = 0
    while (end := period(context, account, number)[1]) + TO_DEPOSIT <= context.end:
        if context.is_due(end + TO_DEPOSIT):
            yield number
        number += 1


def period(context: ActorContext, account: Account, number: int) -> tuple[datetime, datetime]:
    first = (context.world.start - account.first) // PERIOD + number
    return account.first + first * PERIOD, account.first + (first + 1) * PERIOD


# ---- what is in a settlement ----
def traded(context: ActorContext, account: Account) -> list[Row]:
    """All that was ever sold and refunded on the account."""
    return [*_sales(context, account), *_refunds(context, account)]


def settlement(context: ActorContext, account: Account, number: int, traded_rows: list[Row]) -> Settlement:
    """The whole settlement: sales, refunds and fees, reserves, and the debt of the one before."""
    start, end = period(context, account, number)
    rows = _business(context, account, number, traded_rows)
    before = _business(context, account, number - 1, traded_rows) if number else []
    owed = -sum((row.amount for row in before), ZERO)
    if owed > 0 and not account.has_reserve:
        rows.append(_other(start + timedelta(hours=1), "Payable to Amazon", -owed))
        rows.append(_other(start + timedelta(days=5), "Successful charge", owed))
    if account.has_reserve:
        held, released = _reserve(rows), _reserve(before)
        if released:
            rows.append(_other(start + timedelta(hours=1), "Previous Reserve Amount Balance", released))
        if held:
            rows.append(_other(end - timedelta(hours=1), "Current Reserve Amount", -held))
    name = f"{chance.between(10**10, 10**11 - 1, 'settlement', account.source, start):011d}"
    return Settlement(account, name, start, end, sorted(rows, key=lambda row: row.at))


def _other(at: datetime, description: str, amount: Decimal) -> Row:
    return Row(at, "other-transaction", "other-transaction", description, amount)


def _reserve(rows: list[Row]) -> Decimal:
    return max(cents(sum((row.amount for row in rows), ZERO) * RESERVE), ZERO)


def _business(context: ActorContext, account: Account, number: int, traded_rows: list[Row]) -> list[Row]:
    """What was sold, refunded and charged in the period."""
    start, end = period(context, account, number)
    rows = [row for row in traded_rows if start <= row.at < end]
    if not rows:
        return []
    return _special(context, account, number, rows + _charges(context, account, number, rows))


def _sales(context: ActorContext, account: Account) -> list[Row]:
    """All parcels of the account's orders that the marketplace knows of."""
    rows = []
    for order, parcels in shipped(context, account.site):
        withheld = order["TaxRemittedBy"] == "Marketplace"
        external = order["DistributionCenterTypeRollup"] == "ExternallyManaged"
        for n, (at, parts) in enumerate(parcels):
            tag = f"{order['OrderID']}/{n}"
            for part in parts:
                rows += [
                    row._replace(order=order["OrderID"], external=external, tag=tag)
                    for row in _sold(at, part, withheld=withheld, external=external)
                ]
    return rows


def shipped(context: ActorContext, site: Site) -> Iterator[tuple[Document, list[tuple[datetime, list[Part]]]]]:
    """The site's orders that have shipped, with their parcels."""
    reports: dict[int, list[Document]] = defaultdict(list)
    for report in context.reports:
        reports[report["ChannelAdvisorOrderID"]].append(report)
    for number, order in sorted(context.orders.items()):
        if order["SiteID"] == site.id and number in reports:
            sale = context.sales.get(str(number))
            yield order, worth.parcels(order, reports[number], sale)


def _sold(at: datetime, part: Part, *, withheld: bool, external: bool) -> Iterator[Row]:
    """One line of a parcel in Amazon's rows; two units are two equal rows where their amounts can be halved."""
    twice = part.units == 2 and chance.share("twice", part.sku, at) < 0.6
    halves = _halves(part) if twice else None
    for one in (halves, halves) if halves else (part,):

        def row(type: str, description: str, amount: Decimal, one: Part = one) -> Row:
            return Row(at, "Order", type, description, amount, sku=one.sku, units=one.units)

        yield row("ItemPrice", "Principal", one.principal)
        for type, description, amount in (
            ("ItemPrice", "Tax", one.tax),
            ("ItemPrice", "Shipping", one.shipping),
            ("ItemPrice", "ShippingTax", one.shipping_tax),
            ("ItemPrice", "GiftWrap", one.wrap),
            ("Promotion", "Principal", -one.discount),
            ("Promotion", "Shipping", -one.shipping_discount),
            ("ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", -one.tax if withheld else ZERO),
            ("ItemWithheldTax", "MarketplaceFacilitatorTax-Shipping", -one.shipping_tax if withheld else ZERO),
            ("ItemFees", "Commission", -cents(max(one.net, ZERO) * COMMISSION)),
            ("ItemFees", "FBAPerUnitFulfillmentFee", -PER_UNIT * one.units if external else ZERO),
        ):
            if amount:
                yield row(type, description, amount)


def _halves(part: Part) -> Part | None:
    """Half of a part of two units; None where a cent cannot be halved."""
    names = ("principal", "discount", "tax", "shipping", "shipping_discount", "shipping_tax", "wrap")
    amounts = {name: getattr(part, name) for name in names}
    if any(cents(amount / 2) * 2 != amount for amount in amounts.values()):
        return None
    return Part(part.sku, 1, **{name: cents(amount / 2) for name, amount in amounts.items()})


def _refunds(context: ActorContext, account: Account) -> list[Row]:
    """Money that the channel says was given back, with the commission on it, less what the marketplace keeps."""
    rows = []
    for returned in context.returns:
        order = context.orders.get(returned["ChannelAdvisorOrderID"])
        if returned["RefundDate"] is None or order is None or order["SiteID"] != account.site.id:
            continue
        at, tag = moment(returned["RefundDate"]), f"R{returned['ReturnID']}"
        for item in returned["Items"]:
            goods, tax, shipping = (cents(item[name]) for name in ("RefundAmount", "TaxRefund", "ShippingRefund"))
            withheld = tax if order["TaxRemittedBy"] == "Marketplace" else ZERO
            fee = cents((goods + shipping) * COMMISSION)
            for type, description, amount in (
                ("ItemPrice", "Principal", -goods),
                ("ItemPrice", "Tax", -tax),
                ("ItemPrice", "Shipping", -shipping),
                ("ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", withheld),
                ("ItemFees", "Commission", fee),
                ("ItemFees", "RefundCommission", -min(cents(fee * KEPT), MOST_KEPT)),
            ):
                if amount:
                    rows.append(
                        Row(at, "Refund", type, description, amount, order["OrderID"], item["SKU"], item["Quantity"],
                            tag=tag)
                    )  # fmt: skip
    return rows


def _charges(context: ActorContext, account: Account, number: int, rows: list[Row]) -> list[Row]:
    """Other costs of the account: advertising, storage, subscription."""
    start, end = period(context, account, number)
    sold = sum((row.amount for row in rows if row.description == "Principal" and row.amount > 0), ZERO)
    advertising = cents(sold * chance.between(2, 5, "advertising", account.source, start) / 100)
    found = [Row(end - timedelta(days=3), "ServiceFee", "Cost of Advertising", "TransactionTotalAmount", -advertising)]
    month = end.replace(day=1, hour=3, minute=12, second=9)
    if account.site.fulfils and max(start, context.world.start) <= month < end:
        found.append(_other(month, "Storage Fee", -cents(sold / 200)))
    if account.subscription and start <= month + timedelta(days=6) < end:
        found.append(_other(month + timedelta(days=6), "Subscription Fee", -account.subscription))
    return [row for row in found if row.amount]


def _largest(rows: list[Row]) -> list[int]:
    """Numbers of the largest sale of each order, the largest first."""
    found: dict[str, int] = {}
    for n, row in enumerate(rows):
        if (row.transaction, row.type, row.description) == ("Order", "ItemPrice", "Principal"):
            best = found.get(row.order)
            if best is None or rows[best].amount < row.amount:
                found[row.order] = n
    return sorted(found.values(), key=lambda n: (-rows[n].amount, rows[n].order))


def _special(context: ActorContext, account: Account, number: int, rows: list[Row]) -> list[Row]:
    """The rows, with the wrong or rare ones of this settlement."""
    start, end = period(context, account, number)
    sold = _largest(rows)
    for special in account.special.get(number, ()):
        if special in ("cent_short", "three_short") and len(sold) > 5:
            n = sold[1 if special == "cent_short" else 3]
            less = Decimal("0.01") if special == "cent_short" else Decimal("3.00")
            rows[n] = rows[n]._replace(amount=rows[n].amount - less)
        elif special == "unknown_order":
            at = start + timedelta(days=6, seconds=77)
            stranger = Row(
                at, "Order", "ItemPrice", "Principal", Decimal("19.99"), UNKNOWN_ORDER, "NOT-OURS", 1, tag="?"
            )
            rows += [stranger, stranger._replace(type="ItemFees", description="Commission", amount=Decimal("-3.00"))]
        elif special == "unknown_label":
            rows.append(_other(start + timedelta(days=7), "Placement Experiment Charge", Decimal("-4.20")))
        elif special == "chargeback" and len(sold) > 5:
            row = rows[sold[4]]
            rows.append(
                row._replace(at=end - timedelta(days=2), transaction="Chargeback Refund", amount=-row.amount, tag="cb")
            )
        elif special == "reimbursement":
            lost = Row(end - timedelta(days=4), "other-transaction", "FBA Inventory Reimbursement", "WAREHOUSE_LOST",
                       Decimal("12.40"), units=2)  # fmt: skip
            rows.append(lost._replace(sku=rows[sold[0]].sku if sold else ""))
        elif special == "inbound":
            inbound = Row(end - timedelta(days=5), "other-transaction", "FBAFees", "FBAInboundTransportationFee",
                          Decimal("-18.75"), order="FBA15DKX8QP4")  # fmt: skip
            rows.append(inbound)
        elif special == "negative":
            net = sum((row.amount for row in rows), ZERO)
            extra = Row(end - timedelta(days=1), "ServiceFee", "Cost of Advertising", "TransactionTotalAmount",
                        -(max(net, ZERO) + Decimal("37.18")))  # fmt: skip
            rows.append(extra)
    return rows
