"""Currencies without decimals, and with three: whatever is parted is whole in its currency, and nothing is lost."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.mapping.frames import CENT, SCALE
from crossdock.rules import currencies, price_settings, returns, tolerances
from crossdock.rules.invoicing import CHARGES, Account, Line, Order, goods
from crossdock.rules.money import round_cents
from examples import examples
from rules_examples import line, order, reasons, run

TOLERANCE = tolerances.load().refunds
YEN = 100  # cents


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("JPY", 100),
        ("KRW", 100),
        ("CLP", 100),
        ("GBP", 1),
        ("KWD", 1),
        ("BHD", 1),
        (None, 1),
        ("???", 1),
        ("jpy ", 100),
    ],
)
def test_the_unit_of_a_currency_is_what_a_document_of_two_places_can_hold(code: str | None, unit: int):
    assert currencies.unit(code) == unit
    assert currencies.units(pd.Series([code, "JPY", None], dtype="str")).tolist() == [unit, 100, 1]


def test_amounts_that_are_no_whole_number_of_the_unit_are_parted_in_cents():
    assert [currencies.unit_of("JPY", amounts) for amounts in ([1_000_00, 0], [1_000_50], [])] == [100, 1, 100]


def test_prices_know_the_same_currencies():
    assert [price_settings.unit(code) for code in ("JPY", "GBP", "KWD")] == [SCALE, SCALE // 100, SCALE // 1000]


@pytest.mark.parametrize(
    "text", ["refunds: {a_unit: 1}", "refunds: {a_unit: -1, a_return: 1}\nsettlements: {}", "a: 1"]
)
def test_a_tolerance_that_is_none_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path))
    (tmp_path / "tolerances.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"tolerances\.yaml"):
        tolerances.load()


# ---- orders --------------------------------------------------------------------------------------------------------


def in_yen(**more: object) -> dict:
    lines = [line(n, Quantity=1, UnitPrice="1000.0000") for n in (1, 2, 3)]
    return order(Currency="JPY", OrderItems=lines, **more)


def test_what_only_the_header_of_a_yen_order_has_is_spread_in_whole_yen():
    result = run(in_yen(TotalDiscount="100.00", TotalTaxPrice="290.00", TotalPrice="3190.00"))
    assert reasons(result) == []
    assert result.lines["DiscountAmount"].tolist() == [34 * SCALE, 33 * SCALE, 33 * SCALE]
    assert result.lines["TaxAmount"].tolist() == [97 * SCALE, 97 * SCALE, 96 * SCALE]


def test_a_kit_sold_in_yen_is_parted_in_whole_yen():
    result = run(order(Currency="JPY", OrderItems=[line(SKU="SET", Quantity=1, UnitPrice="1000.0000",
                                                        TaxAmount="100.00")], TotalTaxPrice="100.00",
                       TotalPrice="1100.00"))  # fmt: skip
    lines = result.lines
    paid = round_cents((lines["Quantity"] * lines["Price"]).to_numpy()) * CENT - lines["DiscountAmount"].to_numpy()
    assert reasons(result) == []
    assert (paid.sum(), lines["TaxAmount"].sum()) == (1000 * SCALE, 100 * SCALE)
    assert [one % SCALE for one in paid.tolist()] == [0] * len(lines)
    assert len(lines) > 1
    assert [one % SCALE for one in lines["TaxAmount"].tolist()] == [0] * len(lines)


def test_a_yen_order_with_parts_of_a_yen_is_parted_in_cents_and_loses_none():
    result = run(in_yen(TotalDiscount="0.50", TotalPrice="2999.50"))
    assert reasons(result) == []
    assert result.lines["DiscountAmount"].tolist() == [17_00, 17_00, 16_00]


def test_the_third_place_of_a_dinar_is_a_dead_letter_and_whole_ones_are_parted_in_what_a_document_holds():
    broken = run(order(Currency="KWD", OrderItems=[line(Quantity=1, UnitPrice="10.0000", TaxAmount="1.2350")],
                       TotalTaxPrice="1.2350", TotalPrice="11.2350"))  # fmt: skip
    assert "third_decimal" in reasons(broken)
    lines = [line(n, Quantity=1, UnitPrice="10.0000") for n in (1, 2, 3)]
    whole = run(order(Currency="KWD", OrderItems=lines, TotalDiscount="1.000", TotalPrice="29.000"))
    assert reasons(whole) == []
    assert whole.lines["DiscountAmount"].tolist() == [34_00, 33_00, 33_00]


def test_a_line_that_tims_rounds_may_miss_a_yen_total_by_less_than_half_a_yen():
    given = order(Currency="JPY", OrderItems=[line(Quantity=2, UnitPrice="333.3333")], TotalPrice="667.00")
    assert reasons(run(given)) == []
    assert run(given).header["rounding_difference"][0] == -33_00
    dear = order(Currency="JPY", OrderItems=[line(Quantity=2, UnitPrice="333.3333")], TotalPrice="668.00")
    assert reasons(run(dear)) == ["total_mismatch"]


# ---- invoices ------------------------------------------------------------------------------------------------------


def three_lines(shipping: str = "500.00") -> Order:
    lines = [{"LineNo": n, "SKU": f"S{n}", "Quantity": 1, "Price": "1000.00", "DiscountAmount": "0.00",
              "TaxAmount": "0.00", "TaxRemittedBy": "Seller"} for n in (1, 2, 3)]  # fmt: skip
    charges = dict.fromkeys(CHARGES, "0.00") | {"ShippingAmount": shipping}
    return Order.read({"CurrencyCode": "JPY", "LineItems": lines, **charges})


def total(made: tuple) -> int:
    parts, charges = made
    goods_ = sum(part.share.gross - part.share.discount + part.share.tax for part in parts)
    return goods_ + sum(charges.values()) - 2 * charges["ShippingDiscountAmount"]


def test_three_lines_of_a_thousand_yen_with_shipping_in_two_parcels_are_two_invoices_of_whole_yen():
    account = Account(three_lines())
    assert [total(account.invoice(parcel)) for parcel in ([(1, 1)], [(2, 1), (3, 1)])] == [1_167_00, 2_333_00]


def test_after_an_invoice_in_parts_of_a_yen_the_next_one_takes_the_rest():
    account = Account(three_lines())
    parts, charges = Account(three_lines()).invoice([(1, 1)])
    account.add(parts, charges | {"ShippingAmount": 166_67})
    assert total(account.invoice([(2, 1), (3, 1)])) == 2_333_33


def test_parts_of_a_yen_in_the_order_itself_are_kept():
    account = Account(three_lines("500.50"))
    assert [total(account.invoice(parcel)) for parcel in ([(1, 1)], [(2, 1), (3, 1)])] == [1_166_83, 2_333_67]


@st.composite
def yen_orders(draw: st.DrawFn) -> Order:
    lines = {}
    for number in range(1, draw(st.integers(1, 4)) + 1):
        units, whole = draw(st.integers(1, 150)), draw(st.integers(0, 50_000))
        # any price of four places of which all units are whole yen, or a whole one
        price = (whole * SCALE * 2 + units) // (2 * units)
        if goods(units, price) % YEN:
            price = whole * SCALE
        gross = goods(units, price)
        discount = draw(st.integers(0, gross // YEN)) * YEN
        lines[number] = Line(f"S{number}", units, price, discount, draw(st.integers(0, 5_000)) * YEN, "Seller")
    shipping = draw(st.integers(0, 3_000))
    charges = (shipping, draw(st.integers(0, shipping)), draw(st.integers(0, 900)), draw(st.integers(0, 900)))
    return Order(lines, {name: n * YEN for name, n in zip(CHARGES, charges, strict=True)}, YEN)


@examples(40)
@given(yen_orders(), st.data())
def test_all_invoices_of_a_yen_order_are_whole_and_add_up_whatever_the_parcels(case: Order, data: st.DataObject):
    cuts = {n: data.draw(st.integers(0, one.units)) for n, one in case.lines.items()}
    parcels = [[(n, units_in_part) for n, units_in_part in cuts.items() if units_in_part],
               [(n, one.units - cuts[n]) for n, one in case.lines.items() if one.units > cuts[n]]]  # fmt: skip
    whole = {n: (goods(one.units, one.price) - one.discount, one.tax) for n, one in case.lines.items()}
    for sequence in permutations([parcel for parcel in parcels if parcel]):
        account = Account(case)
        made = [account.invoice(parcel) for parcel in sequence]
        for parts, charges in made:
            assert all(goods(part.units, part.price) == part.share.gross for part in parts)
            assert all(amount % YEN == 0 for part in parts for amount in part.share)
            assert all(amount % YEN == 0 for amount in charges.values())
            assert min([0, *charges.values(), *(n for part in parts for n in part.share)]) >= 0
        done = {n: (share.gross - share.discount, share.tax) for n, share in account.shares.items()}
        assert done == whole
        assert dict(account.charges) == dict(case.charges)


# ---- returns -------------------------------------------------------------------------------------------------------


@examples(40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 900), st.integers(0, 900), st.data())
def test_a_refund_in_yen_is_credited_in_whole_yen(first, second, tax, shipping, data):
    lines = [returns.OrderLine(1, "501", "LAMP", 1, 0, 0, sold=first + second)]
    invoices = [
        returns.Invoice(f"INV-{n}", [returns.InvoiceLine(1, 1, units, units * 1_000_00, 333_00, tax * YEN)],
                        shipping * YEN, shipping // 3 * YEN, 0, 0, currency="JPY")
        for n, units in enumerate((first, second))
    ]  # fmt: skip
    existing = returns.Order(lines, invoices, [returns.Parcel("SH-1", 1, first + second, 10_000, "MAIN")])
    units, goods_ = data.draw(st.integers(0, first + second)), data.draw(st.integers(0, 3_000))
    duty, post = data.draw(st.integers(0, tax)), data.draw(st.integers(0, shipping))
    refund = returns.Item("501", units, goods_ * YEN, duty * YEN, post * YEN, True, None)
    worked, after = returns.work(existing, [refund], "JPY", TOLERANCE)
    if worked.findings:
        return
    for credit in worked.credits:
        amounts = [credit.shipping, credit.shipping_discount, credit.gift_wrap, credit.rounding, credit.total]
        amounts += [n for one in credit.lines.values() for n in (one.amount, one.discount, one.tax)]
        assert np.all(np.array(amounts) % YEN == 0)
    given_back = sum(credit.total + credit.rounding for credit in worked.credits) + worked.uncredited
    assert given_back == refund.goods + refund.tax + refund.shipping
    assert sum(one.net + one.tax for invoice in after.invoices for one in invoice.lines) >= 0
