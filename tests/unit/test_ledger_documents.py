"""What the ledger makes of documents whose prices include tax: amounts without it, in whole units of the currency."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from crossdock.flows.ledger.documents import _split_tax
from crossdock.mapping.frames import CENT, ROW
from examples import examples


@st.composite
def documents(draw):
    """Heads and lines of inclusive documents in JPY, KWD and GBP, x 10,000."""
    heads, lines, gross = [], [], []
    for row, code in enumerate(draw(st.lists(st.sampled_from(["JPY", "KWD", "GBP"]), min_size=1, max_size=4))):
        unit = (100 if code == "JPY" else 1) * CENT
        money = st.integers(0, 5000)
        shipping, wrap = draw(money), draw(money)
        off = draw(st.integers(0, shipping))
        of_shipping = draw(st.integers(0, shipping - off))
        discounts, taxed = off, of_shipping
        for number in range(draw(st.integers(1, 3))):
            goods = draw(money)
            discount = draw(st.integers(0, goods))
            tax = draw(st.integers(0, goods - discount + (0 if number else wrap)))
            gross.append(goods * unit)
            lines.append({ROW: row, "DiscountAmount": discount * unit, "TaxAmount": tax * unit})
            discounts, taxed = discounts + discount, taxed + tax
        heads.append({
            "CurrencyCode": code, "PricesIncludeTax": True, "ShippingAmount": shipping * unit,
            "ShippingDiscountAmount": off * unit, "ShippingTaxAmount": of_shipping * unit,
            "GiftWrapAmount": wrap * unit, "DiscountTotal": discounts * unit, "TaxTotal": taxed * unit,
            "MarketplaceRemittedTax": 0,
        })  # fmt: skip
    return pd.DataFrame(heads), pd.DataFrame(lines), np.array(gross, dtype=np.int64)


@examples(60)
@given(made=documents())
def test_tax_is_taken_out_of_inclusive_amounts_in_whole_units_of_the_currency_and_all_adds_up(made):
    header, lines, gross = made
    totals = pd.Series(gross).groupby(lines[ROW].to_numpy()).sum().to_numpy()
    totals = totals + header["ShippingAmount"] + header["GiftWrapAmount"] - header["DiscountTotal"]
    _split_tax(header, lines, gross)
    goods = lines.groupby(ROW)["Goods"].sum().to_numpy()
    revenue = goods + header["Shipping"] + header["GiftWrapAmount"] - header["DiscountTotal"]
    assert (revenue + header["SellerTax"] == totals).all()
    unit = np.where(header["CurrencyCode"] == "JPY", 100 * CENT, CENT)
    for name in ("Shipping", "GiftWrapAmount", "DiscountTotal"):
        assert (header[name] % unit == 0).all(), name
    assert (lines["Goods"] % unit[lines[ROW]] == 0).all()


def test_a_document_with_parts_of_its_currencys_unit_is_split_in_cents():
    header = pd.DataFrame([{
        "CurrencyCode": "JPY", "PricesIncludeTax": True, "ShippingAmount": 0, "ShippingDiscountAmount": 0,
        "ShippingTaxAmount": 0, "GiftWrapAmount": 0, "DiscountTotal": 0, "TaxTotal": 909_100,
        "MarketplaceRemittedTax": 0,
    }])  # fmt: skip
    lines = pd.DataFrame([{ROW: 0, "DiscountAmount": 0, "TaxAmount": 909_100}])
    _split_tax(header, lines, np.array([10_000_000], dtype=np.int64))
    assert lines["Goods"].tolist() == [9_090_900]
