"""What is sent of each kind of document: golden examples, each valid by its contract."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from crossdock.mapping import contracts, language
from crossdock.mapping.frames import ROW
from crossdock.steps.load import write_bodies


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Columns as they come out of the stage tables: amounts in ten-thousandths."""
    made = pd.DataFrame(rows)
    for name in made:
        kinds = {type(value) for value in made[name] if value is not None} or {int if "Price" in name else str}
        made[name] = made[name].astype("Int64" if kinds == {int} else "boolean" if kinds == {bool} else "str")
    return made


INVOICE = {
    "ExternalReference": "inv:SH-1", "Source": "Crossdock", "SalesOrderID": "SO-1", "ShipmentID": "SH-1",
    "InvoiceDate": "2011-01-05", "PostingDate": "2011-02-01", "CurrencyCode": "GBP", "PricesIncludeTax": False,
    "ShippingTaxRemittedBy": None, "ShippingAmount": 80_000, "SubTotal": 1_000_000, "DiscountTotal": 0,
    "TaxTotal": 50, "MarketplaceRemittedTax": 0, "Total": 1_080_050,
}  # fmt: skip
PAYMENT = {
    "ExternalReference": "pay:s:1", "Source": "Crossdock", "Method": "MarketplacePayout", "PaymentDate": "2011-01-05",
    "PostingDate": "2011-01-05", "Amount": 980_000, "CurrencyCode": "GBP", "ExchangeRate": None,
    "BankAccountCode": "1100",
}  # fmt: skip
MEMO = {
    "ExternalReference": "cm:1:INV-1", "Source": "Crossdock", "InvoiceID": "INV-1", "CreditDate": "2011-01-05",
    "PostingDate": "2011-01-05", "CurrencyCode": "GBP", "Reason": "CustomerReturn", "Restock": False,
    "Memo": 'a "b"\n', "ShippingAmount": 10_000, "SubTotal": 0, "DiscountTotal": 0, "TaxTotal": 0,
    "MarketplaceRemittedTax": 0, "Total": 10_000,
}  # fmt: skip
PRICE = {
    "SKU": "L-1", "Price": 123_450, "Currency": "GBP", "MinPrice": None, "MaxPrice": None, "RetailPrice": 150_000,
    "Promotion.PromotionID": None, "Promotion.Price": None, "Promotion.StartDate": None, "Promotion.EndDate": None,
}  # fmt: skip
PROMOTION = {
    "Promotion.PromotionID": "P1", "Promotion.Price": 100_000, "Promotion.StartDate": "2011-01-05T00:00:00Z",
    "Promotion.EndDate": "2011-01-06T00:00:00Z",
}  # fmt: skip
SHIPMENT = {
    "ChannelAdvisorOrderID": 4711, "SellerFulfillmentID": "70012", "ShippedDate": "2011-01-05T10:00:00Z",
    "Carrier": "UPS", "ServiceClass": "Ground", "TrackingNumber": None,
}  # fmt: skip

GOLDEN = {
    "an invoice has no field that has no value": (
        "invoice", INVOICE,
        [{"SalesOrderLineNo": 1, "SKU": "A", "Quantity": 2, "UnitPrice": 500_000, "DiscountAmount": 0, "TaxAmount": 5,
          "TaxRemittedBy": "Seller"}],
        '{"ExternalReference":"inv:SH-1","Source":"Crossdock","SalesOrderID":"SO-1","ShipmentID":"SH-1",'
        '"InvoiceDate":"2011-01-05","PostingDate":"2011-02-01","CurrencyCode":"GBP","PricesIncludeTax":false,'
        '"ShippingAmount":"8.00","SubTotal":"100.00","DiscountTotal":"0.00","TaxTotal":"0.01",'
        '"MarketplaceRemittedTax":"0.00","Total":"108.01","Lines":[{"SalesOrderLineNo":1,"SKU":"A",'
        '"Quantity":2,"UnitPrice":"50.0000","DiscountAmount":"0.00","TaxAmount":"0.00","TaxRemittedBy":"Seller"}]}',
    ),
    "a payment is applied to invoices and credit memos": (
        "payment", PAYMENT,
        [{"InvoiceID": "INV-1", "CreditMemoID": None, "Amount": 1_430_000},
         {"InvoiceID": None, "CreditMemoID": "CM-1", "Amount": -450_000}],
        '{"ExternalReference":"pay:s:1","Source":"Crossdock","Method":"MarketplacePayout","PaymentDate":"2011-01-05",'
        '"PostingDate":"2011-01-05","Amount":"98.00","CurrencyCode":"GBP","BankAccountCode":"1100","Applications":'
        '[{"InvoiceID":"INV-1","Amount":"143.00"},{"CreditMemoID":"CM-1","Amount":"-45.00"}]}',
    ),
    "a credit memo without lines has an empty list of them": (
        "credit_memo", MEMO, [],
        '{"ExternalReference":"cm:1:INV-1","Source":"Crossdock","InvoiceID":"INV-1","CreditDate":"2011-01-05",'
        '"PostingDate":"2011-01-05","CurrencyCode":"GBP","Reason":"CustomerReturn","Restock":false,'
        '"Memo":"a \\"b\\"\\n","ShippingAmount":"1.00","SubTotal":"0.00","DiscountTotal":"0.00",'
        '"TaxTotal":"0.00","MarketplaceRemittedTax":"0.00","Total":"1.00","Lines":[]}',
    ),
    "what a price has no more is taken away": (
        "price", PRICE, None,
        '{"SKU":"L-1","Price":12.3450,"Currency":"GBP","MinPrice":null,"MaxPrice":null,"RetailPrice":15.0000,'
        '"Promotion":null}',
    ),
    "a promotion stands whole": (
        "price", PRICE | PROMOTION, None,
        '{"SKU":"L-1","Price":12.3450,"Currency":"GBP","MinPrice":null,"MaxPrice":null,"RetailPrice":15.0000,'
        '"Promotion":{"PromotionID":"P1","Price":10.0000,"StartDate":"2011-01-05T00:00:00Z",'
        '"EndDate":"2011-01-06T00:00:00Z"}}',
    ),
    "an untracked shipment says so": (
        "shipment", SHIPMENT, [{"OrderItemID": 9, "Quantity": 1, "SKU": "A"}],
        '{"ChannelAdvisorOrderID":4711,"SellerFulfillmentID":"70012","ShippedDate":"2011-01-05T10:00:00Z",'
        '"Carrier":"UPS","ServiceClass":"Ground","TrackingNumber":null,'
        '"Items":[{"OrderItemID":9,"Quantity":1,"SKU":"A"}]}',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("mapping", "header", "lines", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_a_document_is_sent_as_ever(mapping: str, header: dict, lines: list[dict] | None, golden: str) -> None:
    below = None
    if lines is not None:
        children = language.load(mapping).children
        assert children
        below = frame(lines) if lines else pd.DataFrame({one.target: [] for one in children.fields})
        below.insert(0, ROW, 0)
        below[ROW] = below[ROW].astype("int64")
    (body,) = write_bodies(mapping, frame([header]), below)
    assert body.decode() == golden
    assert contracts.refusals(*language.load(mapping).target, json.loads(body)) == []
