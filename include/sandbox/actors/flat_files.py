"""Writes a settlement as Amazon's and eBay's files.

In: a settlement. Out: a file name and its bytes, as such files are: a summary row first, a column left out that no row
uses, decimal commas and dotted dates in Germany and France, blanks behind numbers, an order of several items in several
rows. Never: an amount that the settlement does not have.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from sandbox import chance
from sandbox.actors.settlement import EBAY, Row, Settlement, Style
from sandbox.transactions import LONDON

ZERO = Decimal("0.00")
V2 = (
    "settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date", "total-amount", "currency",
    "transaction-type", "order-id", "merchant-order-id", "adjustment-id", "shipment-id", "marketplace-name",
    "amount-type", "amount-description", "amount", "fulfillment-id", "posted-date", "posted-date-time",
    "order-item-code", "merchant-order-item-id", "merchant-adjustment-item-id", "sku", "quantity-purchased",
    "promotion-id",
)  # fmt: skip
NOTHING = "--"
EBAY_COLUMNS = (
    "Transaction creation date", "Type", "Order number", "Legacy order ID", "Buyer username", "Buyer name",
    "Post to city", "Post to province/region/state", "Post to zip", "Post to country", "Net amount", "Payout currency",
    "Payout date", "Payout ID", "Payout method", "Payout status", "Reason for hold", "Item ID", "Transaction ID",
    "Item title", "Custom label", "Quantity", "Item subtotal", "Postage and packaging", "Seller collected tax",
    "eBay collected tax", "Final value fee \u2013 fixed", "Final value fee \u2013 variable",
    "Regulatory operating fee", "Very high \u2018item not as described\u2019 fee", "Below standard performance fee",
    "International fee", "Charity donation", "Deposit processing fee", "Gross transaction amount",
    "Transaction currency", "Exchange rate", "Reference ID", "Description",
)  # fmt: skip


def write(settlement: Settlement) -> tuple[str, bytes]:
    """(file name, content)."""
    if settlement.account.style == EBAY:
        return f"Transaction_report_{settlement.id}.csv", _ebay(settlement)
    return f"{settlement.id}.txt", _amazon(settlement)


# ---- Amazon ----------------------------------------------------------------------------------------------------------


def _amazon(settlement: Settlement) -> bytes:
    """Flat file V2: one amount a row, behind a row that only sums up."""
    style = settlement.account.style
    summary = {
        "settlement-id": settlement.id,
        "settlement-start-date": settlement.start.strftime(style.moment),
        "settlement-end-date": settlement.end.strftime(style.moment),
        "deposit-date": settlement.deposit.strftime(style.moment),
        "total-amount": _number(settlement.total, style),
        "currency": settlement.account.site.currency,
    }
    rows = [summary, *(_row(settlement, n, row) for n, row in enumerate(settlement.rows))]
    promotions = any("promotion-id" in row for row in rows)
    names = [name for name in V2 if name != "promotion-id" or promotions]
    lines = ["\t".join(names), *("\t".join(row.get(name, "") for name in names) for row in rows)]
    return ("\n".join(lines) + "\n").encode("cp1252" if style.comma else "utf-8")


def _row(settlement: Settlement, n: int, row: Row) -> dict[str, str]:
    style = settlement.account.style
    found = {
        "settlement-id": settlement.id,
        "transaction-type": row.transaction,
        "order-id": row.order,
        "amount-type": row.type,
        "amount-description": row.description,
        "amount": _number(row.amount, style) + (" " if n % 17 == 5 else ""),
        "posted-date": row.at.strftime(style.day),
        "posted-date-time": row.at.strftime(style.posted),
        "sku": row.sku,
    }
    if row.order and row.tag:
        found["marketplace-name"] = settlement.account.marketplace
        found["fulfillment-id"] = "AFN" if row.external else "MFN"
        found["shipment-id"] = f"D{chance.raw('shipment', row.tag):016x}"[:9]
        found["order-item-code"] = f"{chance.between(10**13, 10**14 - 1, 'item', row.order, row.sku)}"
    if row.transaction == "Refund":
        found["adjustment-id"] = f"{chance.raw('adjustment', row.tag):016x}"[:12]
    if row.description == "Principal" and row.units:
        found["quantity-purchased"] = str(row.units)
    if row.type == "Promotion":
        found["promotion-id"] = f"PLM-{chance.raw('promotion', row.order) % 10**9:09d}"
    return found


def _number(amount: Decimal, style: Style) -> str:
    return f"{amount:.2f}".replace(".", ",") if style.comma else f"{amount:.2f}"


# ---- eBay ------------------------------------------------------------------------------------------------------------


def _ebay(settlement: Settlement) -> bytes:
    """Transaction report of one payout: newest first, several amounts a row."""
    transactions: dict[tuple[str, str], list[Row]] = {}
    for n, row in enumerate(settlement.rows):
        transactions.setdefault((row.transaction, row.tag or f"#{n}"), []).append(row)
    text = io.StringIO()
    table = csv.DictWriter(text, EBAY_COLUMNS, restval=NOTHING, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    table.writeheader()
    table.writerow(
        _shared_columns(settlement, settlement.deposit)
        | {"Type": "Payout", "Net amount": _plain(-settlement.total), "Description": "Payout to bank account"}
    )
    for (kind, _), rows in reversed(transactions.items()):
        table.writerows(_transaction(settlement, kind, rows))
    return text.getvalue().encode("utf-8-sig")


def _shared_columns(settlement: Settlement, at: datetime) -> dict[str, str]:
    return {
        "Transaction creation date": _day(at),
        "Payout currency": settlement.account.site.currency,
        "Payout date": _day(settlement.deposit),
        "Payout ID": settlement.id,
        "Payout method": "Bank account",
        "Payout status": "Funds sent",
        "Transaction currency": settlement.account.site.currency,
    }


def _day(at: datetime) -> str:
    there = at.astimezone(LONDON)
    return f"{there.day} {there:%b %Y}"


def _transaction(settlement: Settlement, kind: str, rows: list[Row]) -> Iterable[dict[str, str]]:
    """The rows of a transaction: a fee, or an order of one item, is one row; an order of several has its own row and
    one for each item."""
    first = rows[0]
    shared = _shared_columns(settlement, first.at) | {
        "Transaction ID": f"{chance.between(10**10, 10**11 - 1, first.tag)}"
    }
    net = sum((row.amount for row in rows), ZERO)
    if not first.order:
        label = "Promoted Listings - General fee" if first.type == "Cost of Advertising" else first.description
        yield shared | {"Type": "Other fee", "Net amount": _plain(net), "Description": label}
        return
    shared |= {"Type": kind, "Order number": first.order}
    items: dict[str, list[Row]] = {}
    for row in rows:
        items.setdefault(row.sku, []).append(row)
    if len(items) == 1:
        yield shared | {"Net amount": _plain(net)} | _item(first.sku, rows)
        return
    yield shared | {"Net amount": _plain(net)} | _amounts(rows)
    for sku, own in items.items():
        yield shared | _item(sku, own)


def _item(sku: str, rows: list[Row]) -> dict[str, str]:
    units = sum(row.units for row in rows if row.description == "Principal")
    return {"Custom label": sku, "Quantity": str(units or 1)} | _amounts(rows)


def _amounts(rows: list[Row]) -> dict[str, str]:
    def of(*descriptions: str) -> Decimal:
        return sum((row.amount for row in rows if row.description in descriptions), ZERO)

    shipping = of("Shipping")
    goods = of("Principal", "GiftWrap")
    found = {
        "Item subtotal": goods,
        "Postage and packaging": shipping,
        "Seller collected tax": of("Tax", "ShippingTax"),
        "Final value fee \u2013 fixed": of("RefundCommission"),
        "Final value fee \u2013 variable": of("Commission"),
    }
    gross = goods + shipping + found["Seller collected tax"]
    return {name: _plain(amount) for name, amount in found.items() if amount} | {
        "Gross transaction amount": _plain(gross)
    }


def _plain(amount: Decimal) -> str:
    return f"{amount:.2f}"
