"""Posts what TIMS posts by itself: the ledger entries of documents that people typed into it (PostingMode automatic).

In: an invoice or adjustment that was typed in, or the void of one. Out: entries of Source TIMS that balance. Never: an
entry for a document that came through the API; those are posted by their sender.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox.kernel.store import Transaction
from sandbox.tims import costs, documents, entries
from sandbox.tims.ledger import base_currency
from sandbox.tims.rules import round2

CLEARING, INVENTORY, SALES_TAX = "1100", "1200", "2200"
REVENUE, SHIPPING, GIFT_WRAP, PROMOTIONS = "4000", "4010", "4020", "4100"
COST_OF_GOODS, SHRINKAGE = "5000", "5100"
_ZERO = Decimal("0.00")


def invoiced(tx: Transaction, doc: dict[str, Any], at: int) -> None:
    """Posts the sale and its cost of goods."""
    header = {name: Decimal(doc[name]) for name in ("Total", "DiscountTotal", "ShippingAmount", "GiftWrapAmount")}
    tax = Decimal(doc["TaxTotal"]) - Decimal(doc["MarketplaceRemittedTax"])
    revenue = header["Total"] + header["DiscountTotal"] - header["ShippingAmount"] - header["GiftWrapAmount"] - tax
    sale = {
        CLEARING: header["Total"], PROMOTIONS: header["DiscountTotal"], REVENUE: -revenue,
        SHIPPING: -header["ShippingAmount"], GIFT_WRAP: -header["GiftWrapAmount"], SALES_TAX: -tax,
    }  # fmt: skip
    what = {"Type": "Invoice", "ID": doc["InvoiceID"]}
    _post(tx, what, f"Sale of {doc['InvoiceID']}", doc["CurrencyCode"], doc["PostingDate"], sale, at)
    shipped = costs.shipped(tx, doc["SalesOrderID"], doc["ShipmentID"])
    units = ((line["Quantity"], Decimal(shipped[line["SalesOrderLineNo"]])) for line in doc["Lines"])
    cost = sum((round2(quantity * each) for quantity, each in units), _ZERO)
    goods = {COST_OF_GOODS: cost, INVENTORY: -cost}
    _post(tx, what, f"Cost of goods of {doc['InvoiceID']}", base_currency(tx), doc["PostingDate"], goods, at)


def adjusted(tx: Transaction, doc: dict[str, Any], at: int) -> None:
    """Posts stock that came or went, at its cost."""
    value = round2(doc["QuantityDelta"] * Decimal(doc["UnitCost"]))
    what = {"Type": "InventoryAdjustment", "ID": doc["AdjustmentID"]}
    text = f"{doc['ReasonCode']} of {doc['AdjustmentID']}"
    _post(tx, what, text, base_currency(tx), doc["PostingDate"], {INVENTORY: value, SHRINKAGE: -value}, at)


def undone(tx: Transaction, kind: str, id: str, day: str, reason: str, at: int) -> None:
    """Reverses what TIMS posted for a document."""
    for row in tx.rows("entry", SourceDocumentID=id, Source=documents.TIMS):
        if row.doc["SourceDocument"]["Type"] == kind and row.doc["Status"] == "Posted" and not row.doc["ReversalOf"]:
            entries.reverse(tx, row, {}, day, reason, at)


def _post(
    tx: Transaction, what: dict[str, str], text: str, currency: str, day: str, sides: dict[str, Decimal], at: int
) -> None:
    """Posts an entry of amounts by account, debits above zero; no entry if all are zero."""
    amounts = [(account, value) for account, value in sides.items() if value]
    lines = [
        {
            "LineNo": n,
            "AccountCode": account,
            "Debit": f"{max(value, _ZERO):.2f}",
            "Credit": f"{max(-value, _ZERO):.2f}",
        }
        for n, (account, value) in enumerate(amounts, 1)
    ]
    if lines:
        body = {"PostingDate": day, "SourceDocument": what, "Description": text, "CurrencyCode": currency}
        entries.post(tx, body | {"Lines": lines}, at)
