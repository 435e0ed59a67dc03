"""Amounts add up to the cent, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping.frames import CENT, SCALE, written
from crossdock.rules.money import round_cents, spread
from examples import examples
from rules_examples import ITEMS, line, order, reasons, reference_data, run

cents = st.integers(0, 2_000_00)


def text(scaled: int) -> str:
    return f"{'-' if scaled < 0 else ''}{abs(scaled) // SCALE}.{abs(scaled) % SCALE:04d}"


def test_rounding_goes_half_away_from_zero():
    given_values = np.array([49, 50, 149, 150, 0, -49, -50, -149, -150], dtype=np.int64)
    assert round_cents(given_values).tolist() == [0, 1, 1, 2, 0, 0, -1, -1, -2]


@given(
    groups=st.lists(
        st.tuples(st.integers(0, 10**15), st.lists(st.integers(0, 10**15), min_size=1, max_size=8)), max_size=6
    )
)
def test_shares_add_up_to_the_whole_and_differ_from_proportion_by_less_than_one(groups):
    totals = np.array([t for t, _ in groups], dtype=np.int64)
    weights = np.array([w for _, ws in groups for w in ws], dtype=np.int64)
    group = np.array([n for n, (_, ws) in enumerate(groups) for _ in ws], dtype=np.int64)
    shares = spread(totals, weights, group)
    for n, (total, own) in enumerate(groups):
        mine = shares[group == n]
        assert mine.sum() == total
        for share, weight in zip(mine.tolist(), own, strict=True):
            assert share >= 0
            if sum(own):
                assert abs(share * sum(own) - total * weight) < sum(own)
                if total <= sum(own):
                    assert share <= weight


def test_the_largest_remainder_gets_the_cent_and_a_tie_goes_to_the_earlier():
    assert spread(np.array([100]), np.array([1, 1, 1]), np.array([0, 0, 0])).tolist() == [34, 33, 33]
    assert spread(np.array([10]), np.array([60, 25, 15]), np.array([0, 0, 0])).tolist() == [6, 3, 1]
    assert spread(np.array([10]), np.array([0, 0]), np.array([0, 0])).tolist() == [5, 5]
    assert spread(np.array([0, 7]), np.array([3, 3]), np.array([0, 1])).tolist() == [0, 7]


def test_a_discount_line_becomes_the_discount_of_the_goods():
    lines = [line(1), line(2, SKU="D", Quantity=1, UnitPrice="-3.00")]
    result = run(order(OrderItems=lines, TotalPrice="7.00"))
    assert reasons(result) == []
    assert list(result.lines["DiscountAmount"]) == [3 * SCALE]
    assert result.header[["DiscountTotal", "TotalAmount"]].iloc[0].tolist() == [3 * SCALE, 7 * SCALE]


def test_a_discount_line_that_adds_to_the_order_is_refused():
    result = run(order(OrderItems=[line(1), line(2, SKU="D", Quantity=1, UnitPrice="3.00")], TotalPrice="13.00"))
    assert reasons(result) == ["code_rejected"]


def test_a_shipping_line_becomes_shipping_and_its_tax_tax_on_shipping():
    lines = [line(1, TaxAmount="2.00"), line(2, SKU="post", Quantity=1, UnitPrice="4.00", TaxAmount="0.80")]
    result = run(order(OrderItems=lines, TotalTaxPrice="2.80", TotalShippingPrice="1.00", TotalPrice="17.80"))
    header = result.header.iloc[0]
    assert reasons(result) == []
    assert len(result.lines) == 1
    assert header[["ShippingAmount", "ShippingTaxAmount", "TaxTotal"]].tolist() == [5 * SCALE, 8_000, 28_000]


def test_header_tax_reaches_the_shipping_line_by_its_value():
    lines = [line(1), line(2, SKU="DOT", Quantity=1, UnitPrice="10.00")]
    result = run(order(OrderItems=lines, TotalTaxPrice="4.00", TotalPrice="24.00"))
    assert list(result.lines["TaxAmount"]) == [2 * SCALE]
    assert result.header["ShippingTaxAmount"][0] == 2 * SCALE


def test_a_header_amount_that_is_not_given_is_the_sum_of_the_lines():
    absent = order(OrderItems=[line(TaxAmount="1.00")], TotalTaxPrice=None, TotalPrice="11.00")
    result = run(absent)
    assert (result.header["TaxTotal"][0], reasons(result)) == (SCALE, [])
    silent = run(order(OrderItems=[line(TaxAmount="1.00")], TotalTaxPrice=None, TotalPrice="10.00"))
    assert reasons(silent) == ["total_mismatch"]


def test_a_line_discount_above_its_line_moves_to_the_other_lines():
    lines = [line(1, DiscountAmount="12.00"), line(2)]
    result = run(order(OrderItems=lines, TotalDiscount="12.00", TotalPrice="8.00"))
    assert reasons(result) == []
    assert list(result.lines["DiscountAmount"]) == [10 * SCALE, 2 * SCALE]


@pytest.mark.parametrize("name", ["TotalTaxPrice", "TotalShippingPrice", "TotalShippingTaxPrice", "TotalDiscount"])
def test_a_header_amount_below_zero_is_refused(name):
    sign = 1 if name == "TotalDiscount" else -1
    result = run(order(**{name: "-1.00"}, TotalPrice=f"{10 + sign}.00"))
    assert "negative_price" in reasons(result)


sold = st.fixed_dictionaries(
    {
        "Quantity": st.integers(1, 3_000),
        "UnitPrice": st.one_of(cents.map(lambda c: c * CENT), st.integers(0, 50_0000)),
        "SKU": st.sampled_from(["MUG", "LAMP", "SET", "TRIO"]),
        "tax": cents,
        "discount": cents,
        "gift": st.integers(0, 500),
    }
)
sales = st.fixed_dictionaries(
    {
        "lines": st.lists(sold, min_size=1, max_size=6),
        "extra_tax": cents,
        "extra_discount": cents,
        "shipping": cents,
        "shipping_tax": cents,
        "carried": st.booleans(),  # whether the lines carry their tax and discount, or only the header does
    }
)


def document(number: int, sale: dict) -> tuple[dict, dict]:
    """The order of a sale, and what its sums must be (x 10,000)."""
    lines, carried = sale["lines"], sale["carried"]
    exact = [one["Quantity"] * one["UnitPrice"] for one in lines]
    gross = [(e + 50) // CENT for e in exact]
    own = [min(one["discount"], g) if carried else 0 for one, g in zip(lines, gross, strict=True)]
    tax = [one["tax"] if carried else 0 for one in lines]
    discount = sum(own) + min(sale["extra_discount"], sum(gross) - sum(own) + sale["shipping"])
    taxes = sum(tax) + sale["extra_tax"]
    charges = sale["shipping"] + sale["shipping_tax"] + sum(one["gift"] for one in lines)
    documents = [
        line(
            n,
            SKU=one["SKU"],
            Quantity=one["Quantity"],
            UnitPrice=text(one["UnitPrice"]),
            TaxAmount=text(t * CENT) if carried else None,
            DiscountAmount=text(d * CENT) if carried else None,
            GiftWrapAmount=text(one["gift"] * CENT),
        )
        for n, (one, t, d) in enumerate(zip(lines, tax, own, strict=True))
    ]
    total = sum(exact) + CENT * (taxes + charges - discount)
    made = order(
        number,
        OrderItems=documents,
        TotalTaxPrice=text(taxes * CENT),
        TotalShippingPrice=text(sale["shipping"] * CENT),
        TotalShippingTaxPrice=text(sale["shipping_tax"] * CENT),
        TotalDiscount=text(discount * CENT),
        TotalPrice=text(total),
    )
    sums = {
        "rounding": sum(gross) * CENT - sum(exact),
        "total": total,
        "tax": (taxes + sale["shipping_tax"]) * CENT,
        "discount": discount * CENT,
        "gross": sum(gross) * CENT,
        "shipping": sale["shipping"] * CENT,
    }
    return made, sums


@examples(15)
@given(
    batch=st.lists(sales, min_size=1, max_size=8),
    prices=st.lists(st.integers(0, 100_0000), min_size=3, max_size=3),
)
def test_every_order_keeps_its_totals_to_the_cent_kits_and_all(batch, prices):
    """Spread, parted, rounded: TIMS's equations hold, and the total is the channel's but for rounding."""
    trio = {"SKU": "TRIO", "Type": "Kit", "KitComponents": [("MUG", 3), ("LAMP", 7), ("OLD", 1)]}
    items = [i for i in ITEMS if i["SKU"] not in ("MUG", "LAMP", "OLD")] + [trio]
    items += [{"SKU": sku, "ListPrice": p} for sku, p in zip(("MUG", "LAMP", "OLD"), prices, strict=True)]
    made = [document(n, sale) for n, sale in enumerate(batch)]
    result = run(*(one for one, _ in made), tims=reference_data(items=items))
    for row, (one, sums) in enumerate(made):
        header, target = result.header.iloc[row], result.lines[result.lines["_row"] == row]
        if abs(sums["rounding"]) < 50 * len(one["OrderItems"]):
            assert reasons(result, row) == []
        line_gross = round_cents((target["Quantity"] * target["Price"]).to_numpy()) * CENT
        paid = line_gross - target["DiscountAmount"].to_numpy()
        assert (paid >= 0).all()
        assert (target[["Price", "DiscountAmount", "TaxAmount"]].to_numpy() >= 0).all()
        assert (target[["DiscountAmount", "TaxAmount"]].to_numpy() % CENT == 0).all()
        # TIMS's three equations
        assert header["DiscountTotal"] == target["DiscountAmount"].sum() + header["ShippingDiscountAmount"]
        assert header["TaxTotal"] == target["TaxAmount"].sum() + header["ShippingTaxAmount"] == sums["tax"]
        charges = header["ShippingAmount"] + header["GiftWrapAmount"]
        assert header["TotalAmount"] == line_gross.sum() - header["DiscountTotal"] + charges + header["TaxTotal"]
        # nothing lost on the way from the channel
        assert header["TotalAmount"] == sums["total"] + sums["rounding"]
        assert header["rounding_difference"] == sums["rounding"]
        assert header["ShippingDiscountAmount"] <= header["ShippingAmount"] == sums["shipping"]
        assert paid.sum() == sums["gross"] - (sums["discount"] - header["ShippingDiscountAmount"])
        assert written(int(header["TotalAmount"])) == text(int(header["TotalAmount"]))[:-2]


def test_a_kit_price_that_no_four_decimals_hit_is_rounded_up_and_the_excess_is_discount():
    result = run(order(OrderItems=[line(SKU="SET", Quantity=3_000, UnitPrice="0.0333")], TotalPrice="99.9000"))
    target = result.lines
    gross = round_cents((target["Quantity"] * target["Price"]).to_numpy())
    assert reasons(result) == []
    assert (gross * CENT - target["DiscountAmount"].to_numpy()).sum() == 99_9000
    assert (target["DiscountAmount"] > 0).any()
    assert result.header["TotalAmount"][0] == 99_9000
