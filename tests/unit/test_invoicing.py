"""An order divided over its shipments: the parts add up to the whole to the cent, whatever comes first."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping.checker import Checker
from crossdock.mapping.frames import CENT, Frames
from crossdock.mapping.language import load
from crossdock.rules.invoicing import (
    CHARGES,
    Account,
    Line,
    Order,
    Share,
    Terms,
    divide,
    goods,
    parts_of,
    price_of,
    with_terms,
)
from examples import examples

SELLER, MARKETPLACE = "Seller", "Marketplace"


def charged(*amounts: int) -> dict[str, int]:
    return dict(zip(CHARGES, (*amounts, 0, 0, 0, 0)[:4], strict=True))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Orders with whatever a sales order may have: prices of 0 and of 4 places, discounts up to everything, charges."""
    lines = {}
    for number in range(1, draw(st.integers(1, 4)) + 1):
        units = draw(st.integers(1, 12))
        price = draw(st.one_of(st.just(0), st.integers(1, 300).map(lambda n: n * CENT), st.integers(1, 200_000)))
        gross = goods(units, price)
        lines[number] = Line(
            f"S{number}", units, price, draw(st.one_of(st.just(0), st.integers(0, gross), st.just(gross))),
            draw(st.integers(0, 5_000)), draw(st.sampled_from([SELLER, MARKETPLACE])),
        )  # fmt: skip
    shipping = draw(st.integers(0, 3_000))
    others = draw(st.tuples(st.integers(0, shipping), st.integers(0, 900), st.integers(0, 900)))
    return Order(lines, charged(shipping, *others), inclusive=draw(st.booleans()))


@st.composite
def shipped(draw: st.DrawFn) -> tuple[Order, list[list[tuple[int, int]]]]:
    """An order and up to four parcels that hold all of its units."""
    order = draw(orders())
    count = draw(st.integers(1, 4))
    parcels: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for number, line in order.lines.items():
        cuts = sorted(draw(st.lists(st.integers(0, line.units), min_size=count - 1, max_size=count - 1)))
        for parcel, (start, end) in zip(parcels, pairwise([0, *cuts, line.units]), strict=True):
            if end > start:
                parcel.append((number, end - start))
    return order, [parcel for parcel in parcels if parcel]


def sums(invoices: list[tuple[list, dict[str, int]]]) -> tuple[dict[int, Share], Counter[str]]:
    shares: dict[int, Share] = {}
    charges: Counter[str] = Counter()
    for parts, charged in invoices:
        charges.update(charged)
        for part in parts:
            before = shares.get(part.number, Share())
            shares[part.number] = Share(*(a + b for a, b in zip(before, part.share, strict=True)))
    return shares, charges


def holds(parts: list, charges: dict[str, int]) -> None:
    """TIMS's own conditions on one invoice."""
    for part in parts:
        assert goods(part.units, part.price) == part.share.gross
        assert 0 <= part.share.discount <= part.share.gross
        assert part.share.tax >= 0
        assert part.price >= 0
    assert min(charges.values()) >= 0
    assert charges["ShippingDiscountAmount"] <= charges["ShippingAmount"]


def whole(order: Order) -> dict[int, Share]:
    return {n: Share(goods(line.units, line.price), line.discount, line.tax) for n, line in order.lines.items()}


@examples(40)
@given(shipped())
def test_the_invoices_of_all_parcels_add_up_to_the_order_whatever_the_order_of_the_parcels(case):
    order, parcels = case
    for sequence in list(permutations(parcels))[:8]:
        account = Account(order)
        invoices = [account.invoice(parcel) for parcel in sequence]
        for invoice in invoices:
            holds(*invoice)
        shares, charges = sums(invoices)
        assert shares == whole(order)
        assert dict(charges) == dict(order.charges)
        assert account.above() == []


@examples(40)
@given(shipped(), st.data())
def test_what_has_been_invoiced_after_any_parcels_depends_on_their_units_alone(case, data):
    order, parcels = case
    some = data.draw(st.permutations(parcels))[: data.draw(st.integers(1, len(parcels)))]
    one_by_one, at_once = Account(order), Account(order)
    for parcel in some:
        one_by_one.invoice(parcel)
    units: Counter[int] = Counter()
    for parcel in some:
        units.update(dict(parcel))
    at_once.invoice(list(units.items()))
    assert one_by_one.shares == at_once.shares
    assert one_by_one.charges == at_once.charges


@examples(40)
@given(shipped(), st.data())
def test_an_invoice_that_others_took_for_posted_and_that_was_not_leaves_no_cent_behind(case, data):
    """A dead shipment counts while others are divided; when it is divided again, the others are there and it is not."""
    order, parcels = case
    late = data.draw(st.integers(0, len(parcels) - 1))
    planned = Account(order)
    invoices = [planned.invoice(parcel) for parcel in parcels]
    posted = Account(order)
    for number, invoice in enumerate(invoices):
        if number != late:
            posted.add(*invoice)
    again = posted.invoice(parcels[late])
    holds(*again)
    shares, charges = sums([*(each for n, each in enumerate(invoices) if n != late), again])
    assert shares == whole(order)
    assert dict(charges) == dict(order.charges)


@examples(40)
@given(shipped())
def test_tax_inside_a_price_is_never_more_than_what_holds_it(case):
    order, parcels = case
    lines = {}
    for number, line in order.lines.items():
        net = goods(line.units, line.price) - line.discount
        lines[number] = line._replace(tax=min(line.tax, net))
    shipping = order.charges["ShippingAmount"] - order.charges["ShippingDiscountAmount"]
    tax = min(order.charges["ShippingTaxAmount"], shipping)
    account = Account(Order(lines, {**order.charges, "ShippingTaxAmount": tax}, inclusive=True))
    for parcel in parcels:
        parts, charges = account.invoice(parcel)
        assert all(part.share.tax <= part.share.gross - part.share.discount for part in parts)
        left = charges["ShippingAmount"] - charges["ShippingDiscountAmount"]
        assert charges["ShippingTaxAmount"] <= left


@examples(40)
@given(shipped())
def test_never_more_than_the_order_has_while_units_are_missing(case):
    order, parcels = case
    account = Account(order)
    for parcel in parcels[:-1]:
        account.invoice(parcel)
    for number, share in account.shares.items():
        assert all(part <= most for part, most in zip(share, whole(order)[number], strict=True))
    assert all(account.charges[name] <= order.charges[name] for name in CHARGES)


@examples(40)
@given(st.integers(101, 5_000), st.integers(1, 99_999), st.integers(0, 5_000), st.data())
def test_hundreds_of_units_at_a_price_of_four_places_owe_exactly_the_orders_amount(units, price, discount, data):
    gross = goods(units, price)
    order = Order({1: Line("S", units, price, min(discount, gross), 0, SELLER)}, charged())
    units_in_part = data.draw(st.integers(1, units - 1))
    account = Account(order)
    for part in (units_in_part, units - units_in_part):
        holds(*account.invoice([(1, part)]))
    done = account.shares[1]
    assert done.gross - done.discount == gross - order.lines[1].discount
    assert 0 <= done.gross - gross <= 2 + units // 100


def test_a_price_that_misses_its_cent_gives_way_by_as_little_as_can_be():
    order = Order({1: Line("S", 3, 3333, 0, 0, SELLER)}, charged())
    account = Account(order)
    parts = [account.invoice([(1, 1)])[0][0] for _ in range(3)]
    assert [(part.price, part.share.gross) for part in parts] == [(3333, 33), (3350, 34), (3333, 33)]
    assert price_of(33, 1, 3333) == (3333, 33)


def test_an_inclusive_price_in_two_parts():
    order = Order({1: Line("MUG", 3, 40_000, 0, 200, SELLER)}, charged(500, 0, 83, 0), inclusive=True)
    account = Account(order)
    (first,), charges = account.invoice([(1, 1)])
    assert (first.share, charges["ShippingAmount"], charges["ShippingTaxAmount"]) == (Share(400, 0, 67), 167, 28)
    (second,), charges = account.invoice([(1, 2)])
    assert (second.share, charges["ShippingAmount"], charges["ShippingTaxAmount"]) == (Share(800, 0, 133), 333, 55)


def test_the_worked_example_in_two_parts():
    """2 x 50.00, discount 10.00, shipping 8.00, tax 6.75 and 0.60: halves, the odd cent with the first."""
    account = Account(Order({1: Line("LAMP", 2, 500_000, 1000, 675, MARKETPLACE)}, charged(800, 0, 60, 0)))
    first, second = account.invoice([(1, 1)]), account.invoice([(1, 1)])
    assert [invoice[0][0].share for invoice in (first, second)] == [Share(5000, 500, 338), Share(5000, 500, 337)]
    assert [list(invoice[1].values()) for invoice in (first, second)] == [[400, 0, 30, 0]] * 2


def test_what_belongs_to_cancelled_units_is_not_invoiced():
    order = Order({1: Line("A", 4, 100_000, 400, 80, SELLER), 2: Line("B", 1, 100_000, 0, 20, SELLER)},
                  charged(500, 0, 100, 50))  # fmt: skip
    account = Account(order)
    account.invoice([(1, 3)])  # the fourth is cancelled
    account.invoice([(2, 1)])
    assert account.shares == {1: Share(3000, 300, 60), 2: Share(1000, 0, 20)}
    assert list(account.charges.values()) == [400, 0, 80, 40]


def test_charges_of_a_free_order_go_by_units():
    order = Order({1: Line("A", 1, 0, 0, 0, SELLER), 2: Line("B", 3, 0, 0, 0, SELLER)}, charged(400, 0, 0, 0))
    account = Account(order)
    assert account.invoice([(1, 1)])[1]["ShippingAmount"] == 100
    assert account.invoice([(2, 3)])[1]["ShippingAmount"] == 300


def test_the_free_part_of_a_kit_takes_no_charges_and_no_amount():
    order = Order({1: Line("A", 1, 0, 0, 0, SELLER), 2: Line("B", 1, 990_000, 0, 99, SELLER)},
                  charged(400, 0, 10, 0))  # fmt: skip
    account = Account(order)
    parts, charges = account.invoice([(1, 1)])
    assert (parts[0].share, sum(charges.values())) == (Share(), 0)


# ---- on frames -----------------------------------------------------------------------------------------------------


def document(**more: Any) -> dict[str, Any]:
    line = {"LineNo": 1, "SKU": "LAMP", "Quantity": 2, "Price": "50.00", "DiscountAmount": "10.00",
            "TaxAmount": "6.75", "TaxRemittedBy": MARKETPLACE}  # fmt: skip
    return {"LineItems": [line], "ShippingAmount": "8.00", "ShippingDiscountAmount": "0.00",
            "ShippingTaxAmount": "0.60", "GiftWrapAmount": "0.00", **more}  # fmt: skip


def parcels(*units: int, line: int = 1) -> Frames:
    header = pd.DataFrame({"SalesOrderID": pd.Series(["SO-1"] * len(units), dtype="str")})
    lines = pd.DataFrame({"_row": range(len(units)), "_line": 0, "SalesOrderLineNo": pd.array([line] * len(units)),
                          "Quantity": pd.array(units, dtype="Int64")})  # fmt: skip
    return Frames(header, lines)


def divided(frames: Frames, account: Account, *, inclusive: bool = False) -> tuple[Frames, pd.DataFrame]:
    rows = range(len(frames.header))
    terms = Terms("USD", inclusive, MARKETPLACE)
    return divide(frames, list(rows), dict.fromkeys(rows, account), dict.fromkeys(rows, terms))


def test_the_worked_example_as_a_document():
    made, found = divided(parcels(2), Account(Order.read(document())))
    assert found.empty
    assert {name: made.header[name][0] // CENT for name in ("SubTotal", "DiscountTotal", "TaxTotal", "Total")} == {
        "SubTotal": 10_000, "DiscountTotal": 1_000, "TaxTotal": 735, "Total": 9_800,
    }  # fmt: skip
    assert made.header["MarketplaceRemittedTax"][0] == 735 * CENT
    assert made.lines[["UnitPrice", "DiscountAmount", "TaxAmount"]].iloc[0].tolist() == [500_000, 100_000, 67_500]


def test_tax_that_the_seller_remits_is_owed_and_tax_inside_the_price_is_not_added():
    line = document()["LineItems"][0] | {"TaxRemittedBy": SELLER}
    seller = Account(Order.read(document(LineItems=[line])))
    assert divided(parcels(2), seller)[0].header["Total"][0] == (9_800 + 675) * CENT
    inside = Account(Order.read(document(LineItems=[line])))
    assert divided(parcels(2), inside, inclusive=True)[0].header["Total"][0] == (9_800 - 60) * CENT


def test_two_parcels_of_one_order_share_its_account_in_one_batch():
    made, found = divided(parcels(1, 1), Account(Order.read(document())))
    assert found.empty
    assert made.header["Total"].tolist() == [4_900 * CENT, 4_900 * CENT]
    assert made.header["TaxTotal"].tolist() == [368 * CENT, 367 * CENT]


def test_an_order_made_cheaper_than_its_invoices_is_a_problem_and_nothing_is_made_up():
    account = Account(Order.read(document(ShippingAmount="3.00")))
    account.add([], {"ShippingAmount": 400})
    _, found = divided(parcels(1), account)
    assert found["rule"].tolist() == ["invoiced_above_order"]
    assert "ShippingAmount" in found["says"][0]


def test_a_line_that_the_order_does_not_have_is_a_problem():
    _, found = divided(parcels(1, line=7), Account(Order.read(document())))
    assert (found["rule"].tolist(), found["value"].tolist()) == (["unknown_order_line"], ["7"])


def test_an_invoice_of_tims_is_read_back_as_it_was_made():
    invoice = {"Lines": [{"SalesOrderLineNo": 1, "Quantity": 2, "UnitPrice": "50.0000", "DiscountAmount": "10.00",
                          "TaxAmount": "6.75"}], **{name: document()[name] for name in CHARGES}}  # fmt: skip
    account = Account(Order.read(document()))
    assert parts_of(invoice) == account.invoice([(1, 2)])


def test_a_closed_period_moves_the_posting_to_the_first_open_day_and_none_at_all_is_a_problem():
    periods = pd.DataFrame({"id": ["2011-01", "2011-02"], "start_date": ["2011-01-01", "2011-02-01"],
                            "status": ["Closed", "Open"]}, dtype="str")  # fmt: skip
    header = pd.DataFrame({"PostingDate": ["2011-01-31", "2011-02-03", "2011-03-01"]}, dtype="str")
    found, wrong = with_terms(header, {}, periods)
    assert found["OpenDate"].fillna("").tolist() == ["2011-02-01", "2011-02-03", ""]
    assert wrong[["_row", "rule"]].to_numpy().tolist() == [[2, "no_open_period"]]


@pytest.mark.parametrize("name", ["invoice"])
def test_the_mapping_fits_both_contracts(name: str):
    assert Checker(load(name)).findings() == []
