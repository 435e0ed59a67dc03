"""The words of the older installation: its documents, field by field, and its paths.

In: nothing. Out: tables: a field's name here -> its name in the books and its form. Never: a word made by a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.tims_legacy.forms import AMOUNT, DAY, FLAG, MOMENT, ORDER_STATE, PLAIN, REMITTER, Form


@dataclass(frozen=True)
class Face:
    """A kind of document: fields by their name here. A list of documents has the face of one."""

    fields: Mapping[str, tuple[str, Form | Face]] = field(default_factory=dict)


def _face(plain: Mapping[str, str], **shaped: tuple[str, Form | Face]) -> Face:
    return Face({**{name: (own, PLAIN) for name, own in plain.items()}, **shaped})


STAMPS: dict[str, tuple[str, Form | Face]] = {"created": ("CreatedAt", MOMENT), "changed": ("ModifiedAt", MOMENT)}
TOTALS: dict[str, tuple[str, Form | Face]] = {
    "freight": ("ShippingAmount", AMOUNT),
    "freight_discount": ("ShippingDiscountAmount", AMOUNT),
    "freight_tax": ("ShippingTaxAmount", AMOUNT),
    "freight_tax_by": ("ShippingTaxRemittedBy", REMITTER),
    "gift_wrap": ("GiftWrapAmount", AMOUNT),
    "discount_sum": ("DiscountTotal", AMOUNT),
    "tax_sum": ("TaxTotal", AMOUNT),
    "gross_prices": ("PricesIncludeTax", FLAG),
}
RECEIVABLE: dict[str, tuple[str, Form | Face]] = {
    **TOTALS,
    "goods_sum": ("SubTotal", AMOUNT),
    "tax_by_marketplace": ("MarketplaceRemittedTax", AMOUNT),
    "total": ("Total", AMOUNT),
    "booked_on": ("PostingDate", DAY),
}
KEY = {"ext_ref": "ExternalReference", "ext_source": "Source"}
LINE: dict[str, tuple[str, Form | Face]] = {
    "discount": ("DiscountAmount", AMOUNT),
    "tax": ("TaxAmount", AMOUNT),
    "tax_by": ("TaxRemittedBy", REMITTER),
}

ADDRESS = _face({
    "addressee": "Name", "firm": "Company", "street": "Line1", "street_2": "Line2", "town": "City",
    "state": "Region", "zip": "PostalCode", "country": "CountryCode",
})  # fmt: skip

DEBTOR = _face(
    {
        "debtor_no": "CustomerID", "short_code": "CustomerCode", "first_name": "FirstName", "last_name": "LastName",
        "full_name": "Name", "firm": "Company", "email": "Email", "phone": "Phone", "currency": "CurrencyCode",
        "state": "Status", "revision": "RowVersion",
    },
    foreign_keys=("ExternalIDs", _face({"system": "Source", "key": "ID"})),
    bill_to=("BillingAddress", ADDRESS),
    ship_to=("ShippingAddresses", ADDRESS),
    tax_exempt=("TaxExempt", FLAG),
    **STAMPS,
)  # fmt: skip

ARTICLE = _face(
    {
        "article": "SKU", "other_articles": "AlternateSKUs", "name": "Title", "text": "Description", "brand": "Brand",
        "article_group": "Category", "ean": "GTIN", "kind": "Type", "currency": "CurrencyCode",
        "tax_class": "TaxCategory", "pictures": "Images", "attributes": "Attributes", "state": "Status",
        "revision": "RowVersion",
    },
    bill_of_material=("KitComponents", _face({"article": "SKU", "pieces": "Quantity"})),
    cost_price=("Cost", AMOUNT),
    list_price=("ListPrice", AMOUNT),
    least_margin=("MinMarginPercent", AMOUNT),
    weight_kg=("WeightKg", AMOUNT),
    for_channels=("ChannelEligible", FLAG),
    changed=("ModifiedAt", MOMENT),
)  # fmt: skip

STOCK = _face(
    {"article": "SKU", "free_in_all": "TotalAvailable", "revision": "RowVersion"},
    stores=("Locations", _face({
        "store": "LocationID", "on_hand": "OnHand", "reserved": "Allocated", "free": "Available", "coming": "Incoming",
    })),
    seen_at=("AsOf", MOMENT),
    changed=("ModifiedAt", MOMENT),
)  # fmt: skip

MOVEMENT = _face(
    {
        "movement_no": "AdjustmentID", **KEY, "article": "SKU", "store": "LocationID", "pieces": "QuantityDelta",
        "cause": "ReasonCode", "remark": "Memo", "reverses": "ReversalOf", "reversed_by": "ReversedBy",
        "state": "Status", "posted_by": "PostingMode", "revision": "RowVersion",
    },
    unit_cost=("UnitCost", AMOUNT),
    booked_on=("PostingDate", DAY),
    **STAMPS,
)  # fmt: skip

ORDER = _face(
    {
        "order_no": "SalesOrderID", "channel_order": "ExternalOrderID", "ext_source": "Source",
        "debtor_no": "CustomerID", "currency": "CurrencyCode", "channel": "Channel",
        "shipping_by": "ShippingMethod", "payment_state": "PaymentStatus", "remark": "Notes",
        "revision": "RowVersion",
    },
    placed=("OrderDate", MOMENT),
    deliver_to=("ShippingAddress", ADDRESS),
    bill_to=("BillingAddress", ADDRESS),
    total=("TotalAmount", AMOUNT),
    order_state=("OrderStatus", ORDER_STATE),
    positions=("LineItems", _face(
        {
            "pos": "LineNo", "channel_pos": "ExternalLineID", "article": "SKU", "pieces": "Quantity",
            "part_of_kit": "KitParentSKU", "shipped": "QuantityShipped", "invoiced": "QuantityInvoiced",
            "cancelled": "QuantityCancelled", "returned": "QuantityReturned",
        },
        price=("Price", AMOUNT), **LINE,
    )),
    **TOTALS,
    **STAMPS,
)  # fmt: skip

DELIVERY_NOTE = _face(
    {
        "note_no": "ShipmentID", **KEY, "order_no": "SalesOrderID", "channel_order": "ExternalOrderID",
        "store": "LocationID", "forwarder": "Carrier", "service": "ServiceLevel", "parcel_no": "TrackingNumber",
        "parcel_link": "TrackingURL", "posted_by": "PostingMode", "revision": "RowVersion",
    },
    left_at=("ShippedAt", MOMENT),
    booked_on=("PostingDate", DAY),
    positions=("Lines", _face(
        {
            "pos": "LineNo", "order_pos": "SalesOrderLineNo", "channel_pos": "ExternalLineID", "article": "SKU",
            "pieces": "Quantity",
        },
        unit_cost=("UnitCost", AMOUNT),
    )),
    **STAMPS,
)  # fmt: skip

INVOICE = _face(
    {
        "invoice_no": "InvoiceID", **KEY, "order_no": "SalesOrderID", "note_no": "ShipmentID",
        "debtor_no": "CustomerID", "currency": "CurrencyCode", "state": "Status", "posted_by": "PostingMode",
        "revision": "RowVersion",
    },
    dated=("InvoiceDate", DAY),
    due=("DueDate", DAY),
    positions=("Lines", _face(
        {"pos": "LineNo", "order_pos": "SalesOrderLineNo", "article": "SKU", "pieces": "Quantity"},
        price=("UnitPrice", AMOUNT), **LINE,
    )),
    paid=("AmountPaid", AMOUNT),
    open_sum=("Balance", AMOUNT),
    **RECEIVABLE,
    **STAMPS,
)  # fmt: skip

CREDIT_NOTE = _face(
    {
        "credit_no": "CreditMemoID", **KEY, "invoice_no": "InvoiceID", "order_no": "SalesOrderID",
        "debtor_no": "CustomerID", "currency": "CurrencyCode", "cause": "Reason", "store": "LocationID",
        "remark": "Memo", "movements": "AdjustmentIDs", "state": "Status", "posted_by": "PostingMode",
        "revision": "RowVersion",
    },
    dated=("CreditDate", DAY),
    back_to_stock=("Restock", FLAG),
    positions=("Lines", _face(
        {"pos": "LineNo", "invoice_pos": "InvoiceLineNo", "article": "SKU", "pieces": "Quantity"},
        value=("Amount", AMOUNT), unit_cost=("UnitCost", AMOUNT), **LINE,
    )),
    used=("AmountSettled", AMOUNT),
    open_sum=("Balance", AMOUNT),
    **RECEIVABLE,
    **STAMPS,
)  # fmt: skip

RECEIPT = _face(
    {
        "receipt_no": "PaymentID", **KEY, "paid_by": "Method", "currency": "CurrencyCode",
        "bank_account": "BankAccountCode", "state": "Status", "posted_by": "PostingMode", "revision": "RowVersion",
    },
    received_on=("PaymentDate", DAY),
    booked_on=("PostingDate", DAY),
    reversed_on=("ReversalPostingDate", DAY),
    value=("Amount", AMOUNT),
    rate=("ExchangeRate", AMOUNT),
    not_applied=("UnappliedAmount", AMOUNT),
    applied_to=("Applications", _face(
        {"invoice_no": "InvoiceID", "credit_no": "CreditMemoID"}, value=("Amount", AMOUNT),
    )),
    **STAMPS,
)  # fmt: skip

ACCOUNT = _face(
    {"account": "AccountCode", "name": "Name", "kind": "Type", "side": "NormalBalance"},
    blocked=("Blocked", FLAG), changed=("ModifiedAt", MOMENT),
)  # fmt: skip

PERIOD = _face(
    {"period": "Period", "state": "Status"},
    first_day=("StartDate", DAY), last_day=("EndDate", DAY), changed=("ModifiedAt", MOMENT),
)  # fmt: skip

JOURNAL = _face(
    {
        "journal_no": "EntryID", **KEY, "text": "Description", "currency": "CurrencyCode", "period": "Period",
        "reverses": "ReversalOf", "reversed_by": "ReversedBy", "state": "Status", "revision": "RowVersion",
    },
    booked_on=("PostingDate", DAY),
    happened_on=("OriginalEventDate", DAY),
    voucher=("SourceDocument", _face({"kind": "Type", "no": "ID"})),
    positions=("Lines", _face(
        {"pos": "LineNo", "account": "AccountCode", "remark": "Memo"},
        debit=("Debit", AMOUNT), credit=("Credit", AMOUNT),
        cost_bearer=("Dimensions", _face({"channel": "Channel", "article": "SKU", "order": "Order"})),
    )),
    **STAMPS,
)  # fmt: skip

BALANCES = _face(
    {"currency": "CurrencyCode"},
    day=("AsOf", DAY), debit_sum=("TotalDebit", AMOUNT), credit_sum=("TotalCredit", AMOUNT),
    accounts=("Lines", _face(
        {"account": "AccountCode", "name": "Name"}, debit=("Debit", AMOUNT), credit=("Credit", AMOUNT),
    )),
)  # fmt: skip

FIRM = _face({"name": "CompanyName", "zone": "TimeZone", "currency": "BaseCurrency", "year_begins": "FiscalYearStart"})
WHY = _face({"why": "Reason"})
CANCEL = _face({"pieces": "Quantity", "why": "Reason"})
VOID = _face({"why": "Reason"}, booked_on=("PostingDate", DAY))
REVERSAL = _face({**KEY, "why": "Reason"}, booked_on=("PostingDate", DAY))
NOTHING = Face()


@dataclass(frozen=True)
class Way:
    """One call: where it is, what it takes and gives. `filters` of a list: a parameter here -> the books' name."""

    method: str
    path: str
    takes: Face
    gives: Face
    filters: Mapping[str, str] = field(default_factory=dict)
    is_list: bool = False


def _listed(path: str, gives: Face, **filters: str) -> Way:
    return Way("GET", path, NOTHING, gives, filters, is_list=True)


def _one(path: str, gives: Face, **filters: str) -> Way:
    return Way("GET", path, NOTHING, gives, filters)


def _post(path: str, takes: Face, gives: Face) -> Way:
    return Way("POST", path, takes, gives)


BASE = "/erp/v3"
# Calls by the books' own name of what they do; what is not here this installation cannot do.
WAYS: dict[str, Way] = {
    "getCompany": _one("/firm", FIRM),
    "listCustomers": _listed("/debtors", DEBTOR, foreign_key="ExternalID", ext_source="Source", email="Email",
                             state="Status"),
    "createCustomer": _post("/debtors", DEBTOR, DEBTOR),
    "getCustomer": _one("/debtors/{id}", DEBTOR),
    "updateCustomer": _post("/debtors/{id}/amend", DEBTOR, DEBTOR),
    "listItems": _listed("/articles", ARTICLE, article="SKU", state="Status", for_channels="ChannelEligible"),
    "getItem": _one("/articles/{sku}", ARTICLE),
    "getQuantity": _one("/articles/{sku}/stock", STOCK, store="LocationID"),
    "listQuantities": _listed("/stock", STOCK, article="SKU", store="LocationID"),
    "listAdjustments": _listed("/stock-movements", MOVEMENT, article="SKU", cause="ReasonCode", store="LocationID",
                               ext_ref="ExternalReference", ext_source="Source"),
    "createAdjustment": _post("/stock-movements", MOVEMENT, MOVEMENT),
    "getAdjustment": _one("/stock-movements/{id}", MOVEMENT),
    "reverseAdjustment": _post("/stock-movements/{id}/reversal", REVERSAL, MOVEMENT),
    "listSalesOrders": _listed("/orders", ORDER, channel_order="ExternalOrderID", order_state="OrderStatus",
                               debtor_no="CustomerID", ext_source="Source"),
    "createSalesOrder": _post("/orders", ORDER, ORDER),
    "getSalesOrder": _one("/orders/{id}", ORDER),
    "updateSalesOrder": _post("/orders/{id}/amend", ORDER, ORDER),
    "cancelSalesOrder": _post("/orders/{id}/cancellation", WHY, ORDER),
    "cancelSalesOrderLine": _post("/orders/{id}/positions/{LineNo}/cancellation", CANCEL, ORDER),
    "holdSalesOrder": _post("/orders/{id}/hold", WHY, ORDER),
    "releaseSalesOrder": _post("/orders/{id}/release", NOTHING, ORDER),
    "createShipment": _post("/orders/{id}/delivery-notes", DELIVERY_NOTE, DELIVERY_NOTE),
    "listShipments": _listed("/delivery-notes", DELIVERY_NOTE, order_no="SalesOrderID", ext_ref="ExternalReference",
                             ext_source="Source"),
    "getShipment": _one("/delivery-notes/{id}", DELIVERY_NOTE),
    "listInvoices": _listed("/outgoing-invoices", INVOICE, order_no="SalesOrderID", note_no="ShipmentID",
                            state="Status", ext_ref="ExternalReference", ext_source="Source"),
    "createInvoice": _post("/outgoing-invoices", INVOICE, INVOICE),
    "getInvoice": _one("/outgoing-invoices/{id}", INVOICE),
    "voidInvoice": _post("/outgoing-invoices/{id}/void", VOID, INVOICE),
    "listCreditMemos": _listed("/credit-notes", CREDIT_NOTE, invoice_no="InvoiceID", ext_ref="ExternalReference",
                               ext_source="Source"),
    "createCreditMemo": _post("/credit-notes", CREDIT_NOTE, CREDIT_NOTE),
    "getCreditMemo": _one("/credit-notes/{id}", CREDIT_NOTE),
    "listPayments": _listed("/receipts", RECEIPT, invoice_no="InvoiceID", state="Status",
                            ext_ref="ExternalReference", ext_source="Source"),
    "createPayment": _post("/receipts", RECEIPT, RECEIPT),
    "getPayment": _one("/receipts/{id}", RECEIPT),
    "reversePayment": _post("/receipts/{id}/reversal", VOID, RECEIPT),
    "listAccounts": _listed("/accounts", ACCOUNT),
    "listPeriods": _listed("/periods", PERIOD, state="Status", day="Date"),
    "listEntries": _listed("/journal", JOURNAL, period="Period", account="AccountCode", voucher_no="SourceDocumentID",
                           ext_ref="ExternalReference", ext_source="Source"),
    "createEntry": _post("/journal", JOURNAL, JOURNAL),
    "getEntry": _one("/journal/{id}", JOURNAL),
    "reverseEntry": _post("/journal/{id}/reversal", REVERSAL, JOURNAL),
    "getTrialBalance": _one("/balances", BALANCES, day="AsOf", currency="CurrencyCode"),
}  # fmt: skip
