"""A return's units and money find their invoices and shipments, to the cent, and never more than there was."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossdock.rules import returns, tolerances
from crossdock.rules.returns import (
    Invoice,
    InvoiceLine,
    Item,
    Order,
    OrderLine,
    Parcel,
    Worked,
    dates,
    read_items,
    states,
)
from crossdock.rules.tolerances import Refunds
from examples import examples

TOLERANCE = tolerances.load().refunds


def work(order: Order, items: list[Item], currency: str, tolerance: Refunds = TOLERANCE) -> tuple[Worked, Order]:
    return returns.work(order, items, currency, tolerance)


def item(**changes: object) -> Item:
    usual = {
        "line": "501",
        "quantity": 1,
        "goods": 0,
        "tax": 0,
        "shipping": 0,
        "restock": True,
        "condition": "Sellable",
    }
    return Item(**(usual | changes))  # type: ignore[arg-type]


def two_lamps(**changes: object) -> Order:
    """The worked example: 2 x 50.00, 10.00 discount, 8.00 shipping, 7.35 tax that the marketplace remits."""
    line = InvoiceLine(1, 1, 2, 100_00, 10_00, 6_75, "Marketplace")
    invoice = Invoice("INV-1", [line], 8_00, 0, 60, 0, "Marketplace", "USD")
    usual = {
        "lines": [OrderLine(1, "501", "LAMP", 1, 0, 0)],
        "invoices": [invoice],
        "parcels": [Parcel("SH-1", 1, 2, 220_000, "MAIN")],
    }
    return Order(**(usual | changes))  # type: ignore[arg-type]


def rules(worked: Worked) -> list[str]:
    return [finding.rule for finding in worked.findings]


def test_the_worked_example_holds_to_the_cent():
    worked, _ = work(two_lamps(), [item(goods=45_00, tax=3_38)], "USD")
    (credit,), (movement,) = worked.credits, worked.movements
    (line,) = credit.lines.values()
    assert (line.quantity, line.amount, line.discount, line.tax) == (1, 50_00, 5_00, 3_38)
    assert (credit.subtotal, credit.discounts, credit.taxes, credit.marketplace_tax) == (50_00, 5_00, 3_38, 3_38)
    assert credit.total == 45_00
    assert (movement.quantity, movement.reason, movement.unit_cost, movement.location) == (
        1, "ReturnRestock", 220_000, "MAIN",
    )  # fmt: skip


def test_the_second_unit_takes_what_the_first_has_left_and_the_invoice_ends_at_nothing():
    first, order = work(two_lamps(), [item(goods=45_00, tax=3_68, shipping=4_00)], "USD")
    second, after = work(order, [item(goods=45_00, tax=3_67, shipping=4_00)], "USD")
    credits = [*first.credits, *second.credits]
    assert (sum(credit.total for credit in credits), sum(credit.taxes for credit in credits)) == (98_00, 7_35)
    (invoice,) = after.invoices
    assert (invoice.shipping, invoice.shipping_tax) == (0, 0)
    assert (invoice.lines[0].quantity, invoice.lines[0].amount, invoice.lines[0].discount, invoice.lines[0].tax) == (
        0, 0, 0, 0,
    )  # fmt: skip
    assert first.credits[0].shipping_tax == 30  # the tax of the unit first, then that of the shipping


def test_money_without_goods_credits_no_units_and_moves_no_stock():
    for without in (item(quantity=0, goods=5_00), item(quantity=1, goods=5_00, restock=False)):
        worked, _ = work(two_lamps(), [without], "USD")
        assert worked.movements == []
        assert worked.credits[0].total == 5_00
        assert worked.credits[0].lines[1].quantity == without.quantity


def test_goods_without_money_come_back_without_a_credit_memo():
    worked, _ = work(two_lamps(), [item()], "USD")
    assert worked.credits == []
    assert [movement.quantity for movement in worked.movements] == [1]


def test_damaged_goods_come_in_and_leave_again_and_missing_ones_never_came():
    damaged, _ = work(two_lamps(), [item(restock=False, condition="Damaged")], "USD")
    assert [(m.reference, m.quantity, m.reason) for m in damaged.movements] == [
        ("501", 1, "ReturnRestock"),
        ("501:discard", -1, "ReturnDiscard"),
    ]
    missing, _ = work(two_lamps(), [item(goods=45_00, condition="Missing")], "USD")
    assert missing.movements == []
    assert missing.credits[0].lines[1].quantity == 1
    unseen, _ = work(two_lamps(), [item(condition=None)], "USD")
    assert [m.reason for m in unseen.movements] == ["ReturnRestock"]


def test_more_units_than_were_sold_are_refused_with_both_numbers():
    worked, order = work(two_lamps(), [item(quantity=3, goods=45_00)], "USD")
    assert set(rules(worked)) == {"returned_more_than_invoiced", "returned_more_than_shipped"}
    assert "3 units" in worked.findings[0].message
    assert "only 2" in worked.findings[0].message
    assert (worked.credits, worked.movements) == ([], [])
    assert order == two_lamps()


def test_more_money_than_is_left_is_refused_with_both_numbers():
    _, order = work(two_lamps(), [item(goods=45_00)], "USD")
    worked, after = work(order, [item(goods=45_03)], "USD")
    assert rules(worked) == ["refund_above_invoice"]
    assert worked.findings[0].message == (
        "RefundAmount is 45.03 USD, but of what was invoiced only 45.00 is not credited yet."
    )
    assert after == order


def test_a_return_of_what_is_not_invoiced_yet_waits():
    coming = [OrderLine(1, "501", "LAMP", 1, 2, 0)]
    assert work(two_lamps(lines=coming, invoices=[]), [item(goods=45_00)], "USD")[0].waits == "invoice"
    assert work(two_lamps(lines=coming, invoices=[]), [item(quantity=0, goods=45_00)], "USD")[0].waits == "invoice"
    on_its_way = [OrderLine(1, "501", "LAMP", 1, 2, 2)]
    assert work(two_lamps(lines=on_its_way, invoices=[], parcels=[]), [item()], "USD")[0].waits == "shipment"


def test_a_return_in_another_currency_or_of_a_strange_line_is_refused():
    assert rules(work(two_lamps(), [item(goods=1)], "EUR")[0]) == ["currency_mismatch"]
    assert rules(work(two_lamps(), [item(line="999", goods=1)], "USD")[0]) == ["unknown_line"]


def test_gift_wrap_is_what_a_refund_has_above_the_worth_of_its_units():
    order = two_lamps()
    order.invoices[0].gift_wrap = 2_50
    worked, after = work(order, [item(goods=46_25)], "USD")
    assert (worked.credits[0].gift_wrap, worked.credits[0].lines[1].amount) == (1_25, 50_00)
    rest, _ = work(after, [item(quantity=0, goods=46_25)], "USD")
    assert (rest.credits[0].gift_wrap, rest.credits[0].total) == (1_25, 46_25)


def test_shipping_is_given_back_with_its_discount_and_alone_it_takes_its_own_tax():
    order = two_lamps()
    order.invoices[0].shipping_discount = 2_00
    worked, _ = work(order, [item(quantity=0, shipping=3_00, tax=30)], "USD")
    (credit,) = worked.credits
    assert (credit.shipping, credit.shipping_discount, credit.shipping_tax, credit.lines) == (4_00, 1_00, 30, {})


def test_the_oldest_invoice_is_credited_first_and_each_gets_its_own_memo():
    parts = [Invoice(f"INV-{n}", [InvoiceLine(1, 1, 1, 50_00, 5_00, 3_38)], currency="USD") for n in (1, 2)]
    parcels = [Parcel(f"SH-{n}", 1, 1, cost, "MAIN") for n, cost in ((1, 220_000), (2, 230_000))]
    one, after = work(two_lamps(invoices=parts, parcels=parcels), [item(goods=45_00, tax=3_38)], "USD")
    assert [(credit.invoice, credit.total) for credit in one.credits] == [("INV-1", 48_38)]
    two, _ = work(after, [item(goods=45_00, tax=3_38)], "USD")
    assert [(credit.invoice, credit.total) for credit in two.credits] == [("INV-2", 48_38)]
    both, _ = work(two_lamps(invoices=parts, parcels=parcels), [item(quantity=2, goods=90_00, tax=6_76)], "USD")
    assert [(credit.invoice, credit.total) for credit in both.credits] == [("INV-1", 48_38), ("INV-2", 48_38)]
    assert [(m.reference, m.unit_cost) for m in both.movements] == [("501", 220_000), ("501:2", 230_000)]


def test_a_kit_comes_back_as_its_parts_and_its_money_is_on_their_lines():
    lines = [OrderLine(1, "501:MUG", "MUG", 2, 0, 0), OrderLine(2, "501:LAMP", "LAMP", 1, 0, 0)]
    invoiced = [InvoiceLine(1, 1, 4, 20_00, 0, 0), InvoiceLine(2, 2, 2, 60_00, 0, 0)]
    parcels = [Parcel("SH-1", 1, 4, 10_000, "MAIN"), Parcel("SH-1", 2, 2, 150_000, "MAIN")]
    order = Order(lines, [Invoice("INV-1", invoiced, currency="USD")], parcels)
    worked, _ = work(order, [item(goods=40_00)], "USD")
    assert [(n, line.quantity, line.amount) for n, line in worked.credits[0].lines.items()] == [
        (1, 2, 10_00), (2, 1, 30_00),
    ]  # fmt: skip
    assert [(m.reference, m.sku, m.quantity) for m in worked.movements] == [
        ("501:MUG", "MUG", 2), ("501:LAMP", "LAMP", 1),
    ]  # fmt: skip


def test_tax_that_the_marketplace_gives_back_alone_makes_no_credit_memo():
    worked, _ = work(two_lamps(), [item(quantity=0, tax=3_38)], "USD")
    assert (worked.credits, worked.uncredited) == ([], 3_38)


def test_a_service_has_no_stock_to_go_back_to():
    order = two_lamps(lines=[OrderLine(1, "501", "WARRANTY", 1, 0, 0, stocked=False)], parcels=[])
    worked, _ = work(order, [item(goods=45_00)], "USD")
    assert (len(worked.credits), worked.movements) == (1, [])


money = st.integers(0, 99_99)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Up to three lines, shipped and invoiced in up to three parts; prices without their tax, or with it."""
    lines, invoices, parcels = [], [], []
    inclusive = draw(st.booleans())
    parts = draw(st.integers(1, 3))
    quantities = [[draw(st.integers(0, 3)) for _ in range(parts)] for _ in range(draw(st.integers(1, 3)))]
    for number, units in enumerate(quantities, 1):
        lines.append(OrderLine(number, f"50{number}", f"S{number}", 1, 0, 0))
        parcels += [Parcel(f"SH-{n}", number, q, 10_000, "MAIN") for n, q in enumerate(units) if q]
    for part in range(parts):
        invoiced = []
        for number, units in enumerate(quantities, 1):
            if units[part]:
                amount = draw(money)
                discount = draw(st.integers(0, amount))
                tax = draw(st.integers(0, amount - discount) if inclusive else money)
                invoiced.append(InvoiceLine(len(invoiced) + 1, number, units[part], amount, discount, tax))
        shipping, wrap = draw(money), draw(money)
        off = draw(st.integers(0, shipping))
        shipping_tax = draw(st.integers(0, shipping - off) if inclusive else money)
        if inclusive and invoiced:  # the tax of gift wrap is on a line
            invoiced[0].tax += draw(st.integers(0, wrap))
        invoices.append(
            Invoice(f"INV-{part}", invoiced, shipping, off, shipping_tax, wrap,
                    draw(st.sampled_from(["Seller", "Marketplace"])), "USD", inclusive)
        )  # fmt: skip
    return Order(lines, invoices, parcels)


def left(order: Order) -> list[int]:
    amounts = []
    for invoice in order.invoices:
        amounts += [invoice.shipping, invoice.shipping_discount, invoice.shipping_tax, invoice.gift_wrap]
        amounts += [n for line in invoice.lines for n in (line.quantity, line.amount, line.discount, line.tax)]
    return amounts + [parcel.quantity for parcel in order.parcels]


@examples(60)
@given(order=orders(), data=st.data())
def test_whatever_comes_back_in_whatever_order_nothing_is_lost_and_nothing_is_credited_twice(order, data):
    start = copy.deepcopy(order)
    credited = stocked = 0
    for _ in range(data.draw(st.integers(1, 6))):
        wanted = [
            item(
                line=line.external_id, quantity=data.draw(st.integers(0, 3)), goods=data.draw(money),
                tax=data.draw(money), shipping=data.draw(money), restock=data.draw(st.booleans()),
            )
            for line in order.lines if data.draw(st.booleans())
        ]  # fmt: skip
        before = copy.deepcopy(order)
        worked, order = work(order, wanted, "USD")
        if worked.findings:
            assert order == before
            continue
        requested = sum(each.goods + each.tax + each.shipping for each in wanted)
        rounded = sum(c.rounding for c in worked.credits)
        assert sum(c.total + c.marketplace_tax for c in worked.credits) + worked.uncredited + rounded == requested
        if rounded:
            assert rounded <= TOLERANCE.a_return
        for credit in worked.credits:
            for line in credit.lines.values():
                assert min(line.quantity, line.amount, line.discount, line.tax, line.amount - line.discount) >= 0
            assert min(credit.shipping - credit.shipping_discount, credit.shipping_discount, credit.gift_wrap) >= 0
        assert sum(m.quantity for m in worked.movements) == sum(each.quantity for each in wanted if each.restock)
        assert all(amount >= 0 for amount in left(order))
        credited += sum(c.total + c.marketplace_tax for c in worked.credits)
        stocked += sum(m.quantity for m in worked.movements)
    worth = sum(i.shipping - i.shipping_discount + i.gift_wrap + sum(each.net for each in i.lines)
                + (0 if i.inclusive else i.shipping_tax + sum(each.tax for each in i.lines))
                for i in start.invoices)  # fmt: skip
    assert credited <= worth
    assert stocked <= sum(parcel.quantity for parcel in start.parcels)


@examples(40)
@given(order=orders())
def test_a_full_refund_leaves_every_invoice_at_exactly_nothing(order):
    wanted = []
    inclusive = order.invoices[0].inclusive
    for line in order.lines:
        own = [each for invoice in order.invoices for each in invoice.lines if each.order_line == line.number]
        units, net, tax = (sum(getattr(each, name) for each in own) for name in ("quantity", "net", "tax"))
        if inclusive:  # the tax of gift wrap is with the line that it is on
            net += sum(i.gift_wrap for i in order.invoices if i.lines and i.lines[0].order_line == line.number) - tax
        wanted.append(item(line=line.external_id, quantity=units, goods=net, tax=tax))
    shipping_tax = sum(i.shipping_tax for i in order.invoices)
    extra = {
        "goods": sum(i.gift_wrap for i in order.invoices if not (inclusive and i.lines)),
        "tax": shipping_tax,
        "shipping": sum(i.shipping - i.shipping_discount for i in order.invoices) - (shipping_tax if inclusive else 0),
    }
    worked, after = work(order, wanted, "USD")
    assert worked.findings == []
    rest, after = work(after, [item(line=order.lines[0].external_id, quantity=0, **extra)], "USD")
    assert rest.findings == []
    for invoice in after.invoices:
        assert (invoice.shipping - invoice.shipping_discount, invoice.shipping_tax, invoice.gift_wrap) == (0, 0, 0)
        assert all((line.net, line.tax) == (0, 0) for line in invoice.lines)


@examples(60)
@given(order=orders(), data=st.data())
def test_tax_that_a_refund_does_not_tell_goes_with_its_money_to_the_last_cent(order, data):
    for invoice in order.invoices:
        invoice.inclusive = True
        by = data.draw(st.sampled_from(["Seller", "Marketplace"]))
        invoice.shipping_tax_remitted_by = by
        invoice.shipping_tax = min(invoice.shipping_tax, invoice.shipping - invoice.shipping_discount)
        for line in invoice.lines:
            line.tax, line.tax_remitted_by = min(line.tax, line.net), by
        if invoice.lines:
            invoice.lines[0].tax += data.draw(st.integers(0, invoice.gift_wrap))

    def money(invoice: Invoice) -> int:
        shipping = invoice.shipping - invoice.shipping_discount
        return sum(line.net for line in invoice.lines) + shipping + invoice.gift_wrap

    def tax(invoice: Invoice) -> int:
        return sum(line.tax for line in invoice.lines) + invoice.shipping_tax

    whole = {"goods": 0, "shipping": 0}
    for invoice in order.invoices:
        whole["goods"] += sum(line.net for line in invoice.lines) + invoice.gift_wrap
        whole["shipping"] += invoice.shipping - invoice.shipping_discount
    while any(whole.values()):
        part = {name: data.draw(st.integers(min(rest, 1), rest)) for name, rest in whole.items()}
        line = data.draw(st.sampled_from(order.lines))
        before = {invoice.id: (money(invoice), tax(invoice)) for invoice in order.invoices}
        worked, order = work(order, [item(line=line.external_id, quantity=0, restock=False, **part)], "USD")
        # Of goods on invoices without this line only gift wrap and shipping can be given back by it.
        if worked.findings:
            break
        for invoice in order.invoices:
            assert tax(invoice) <= money(invoice), "of what is left no more is tax than there is"
            given = [before[invoice.id][n] - f(invoice) for n, f in enumerate((money, tax))]
            assert 0 <= given[1] <= given[0]
            assert money(invoice) or not tax(invoice)
        whole = {name: rest - part[name] for name, rest in whole.items()}


def test_the_tax_of_gift_wrap_is_credited_with_it_whichever_line_it_stands_on():
    """A line that is free holds nothing but tax of gift wrap: a refund of the other one takes half of it."""
    lines = [
        InvoiceLine(1, 1, 3, 63_57, 63_57, 58, "Marketplace"),
        InvoiceLine(2, 2, 3, 120_00, 0, 20_00, "Marketplace"),
    ]
    invoice = Invoice("INV-1", lines, gift_wrap=7_00, currency="GBP", inclusive=True)
    order = Order(
        [OrderLine(1, "501", "CAP", 1, 0, 0), OrderLine(2, "502", "MUG", 1, 0, 0)], [invoice],
        [Parcel("SH-1", 1, 3, 10_000, "MAIN"), Parcel("SH-1", 2, 3, 10_000, "MAIN")],
    )  # fmt: skip
    worked, after = work(order, [item(line="502", quantity=3, goods=123_50)], "GBP")
    (credit,) = worked.credits
    assert [(one.order_item, one.quantity, one.tax) for one in credit.lines.values()] == [
        ("501", 0, 29), ("502", 3, 19_73),
    ]  # fmt: skip
    worked, after = work(after, [item(line="501", quantity=3, goods=3_50)], "GBP")
    assert [credit.total for credit in worked.credits] == [3_50 - 56]
    assert (after.invoices[0].gift_wrap, [(line.net, line.tax) for line in after.invoices[0].lines]) == (
        0,
        [(0, 0)] * 2,
    )


def sold(units: int, tax: int, remitted_by: str = "Seller") -> Order:
    """So many units at 14.95, invoiced and shipped as one."""
    line = InvoiceLine(1, 1, units, units * 14_95, 0, tax, remitted_by)
    return Order(
        [OrderLine(1, "501", "LAMP", 1, 0, 0, sold=units)], [Invoice("INV-1", [line], currency="GBP")],
        [Parcel("SH-1", 1, units, 220_000, "MAIN")],
    )  # fmt: skip


@pytest.mark.parametrize("unit", [1, 100], ids=["GBP", "JPY"])
def test_of_an_inclusive_price_each_amount_of_a_refund_may_be_rounded_up_by_itself(unit):
    """Two sets at 67.11 less 10 %, shipping 4.99, tax inside: half of each amount ends in half a cent."""
    line = InvoiceLine(1, 1, 2, 134_22 * unit, 13_42 * unit, 5_75 * unit)
    currency = "GBP" if unit == 1 else "JPY"
    invoice = Invoice("INV-1", [line], 4_99 * unit, 0, 24 * unit, currency=currency, inclusive=True)
    order = Order([OrderLine(1, "501", "SET", 1, 0, 0, sold=2)], [invoice], [Parcel("SH-1", 1, 2, 10_000, "MAIN")])
    for rounding in (0, 3 * unit):
        worked, order = work(order, [item(goods=57_53 * unit, tax=3_00 * unit, shipping=2_38 * unit)], currency)
        assert worked.findings == []
        assert sum(credit.rounding for credit in worked.credits) == rounding
    assert left(order)[:8] == [0] * 8


@pytest.mark.parametrize(("tax", "each"), [(3_59, 1_20), (3_74, 1_25)])
def test_the_cent_that_the_marketplace_rounds_up_is_credited_as_far_as_it_goes_and_the_rest_is_rounding(tax, each):
    order, seen = sold(3, tax), []
    for _ in range(3):
        worked, order = work(order, [item(goods=14_95, tax=each)], "GBP")
        assert (worked.findings, worked.waits) == ([], "")
        seen.append((worked.credits[0].total, worked.credits[0].rounding, worked.movements[0].quantity))
    assert seen == [(14_95 + each, 0, 1), (14_95 + each, 0, 1), (14_95 + each - 1, 1, 1)]


def test_rounding_of_tax_that_the_marketplace_remits_is_none_of_ours():
    _, order = work(sold(2, 2_49, "Marketplace"), [item(goods=14_95, tax=1_25)], "GBP")
    worked, _ = work(order, [item(goods=14_95, tax=1_25)], "GBP")
    assert [(c.total, c.marketplace_tax, c.rounding) for c in worked.credits] == [(14_95, 1_24, 0)]
    assert (worked.uncredited, worked.findings) == (1, [])


def test_beyond_the_tolerance_or_with_nothing_to_carry_it_a_refund_stays_refused():
    for refused in (item(goods=14_95, tax=1_21), item(quantity=0, goods=14_96 + 1_19)):
        assert rules(work(sold(1, 1_19), [refused], "GBP", Refunds(1, 10))[0]) == ["refund_above_invoice"]
    assert rules(work(sold(3, 3_59), [item(quantity=3, goods=44_85, tax=3_62)], "GBP", Refunds(2, 2))[0]) == [
        "refund_above_invoice"
    ]
    assert rules(work(sold(1, 0), [item(goods=14_96)], "GBP", Refunds(0, 0))[0]) == ["refund_above_invoice"]
    _, nothing_left = work(sold(1, 0), [item(goods=14_95)], "GBP")
    assert rules(work(nothing_left, [item(quantity=0, goods=1)], "GBP")[0]) == ["refund_above_invoice"]


def test_a_currency_without_decimals_is_rounded_in_whole_ones():
    order = sold(2, 0)
    order.invoices[0].currency, order.invoices[0].lines[0].tax = "JPY", 2_99_00
    for tax, rounding in ((1_50_00, 0), (1_50_00, 1_00)):
        worked, order = work(order, [item(goods=14_95, tax=tax)], "JPY")
        assert (worked.findings, worked.credits[0].rounding) == ([], rounding)


def test_money_before_its_invoice_waits_however_little_it_is():
    coming = [OrderLine(1, "501", "LAMP", 1, 2, 0, sold=2)]
    assert work(two_lamps(lines=coming, invoices=[]), [item(quantity=0, goods=1)], "USD")[0].waits == "invoice"


@examples(80)
@given(
    units=st.integers(1, 10), tax=st.integers(0, 200_00), up=st.booleans(),
    remitted_by=st.sampled_from(["Seller", "Marketplace"]), data=st.data(),
)  # fmt: skip
def test_units_that_come_back_one_by_one_are_all_worked_however_each_refund_is_rounded(
    units, tax, up, remitted_by, data
):
    order, credited, rounded, back = sold(units, tax, remitted_by), 0, 0, 0
    exact, requested = Fraction(tax, units), 0
    for _ in range(units):
        share = math.ceil(exact) if up else data.draw(st.sampled_from([math.floor(exact), round(exact)]))
        requested += 14_95 + share
        worked, order = work(order, [item(goods=14_95, tax=share)], "GBP")
        assert (worked.findings, worked.waits) == ([], "")
        credited += sum(c.total + c.marketplace_tax for c in worked.credits)
        rounded += sum(c.rounding for c in worked.credits) + worked.uncredited
        back += sum(m.quantity for m in worked.movements)
    assert (credited + rounded, back) == (requested, units)
    assert credited == min(requested, units * 14_95 + tax)
    assert rounded <= TOLERANCE.a_return


def two_mugs(tax_by: str = "Seller") -> Order:
    """2 x 12.00 with 4.00 of tax inside, 3.00 off, 6.00 of shipping with 1.00 inside."""
    invoice = Invoice("INV-1", [InvoiceLine(1, 1, 2, 24_00, 3_00, 3_50, tax_by)], 6_00, 0, 1_00, 0, tax_by, "GBP", True)
    return Order([OrderLine(1, "501", "MUG", 1, 0, 0)], [invoice], [Parcel("SH-1", 1, 2, 10_000, "MAIN")])


@pytest.mark.parametrize("reported", [True, False])
def test_a_refund_of_an_inclusive_price_is_credited_with_its_tax_told_or_not(reported):
    wanted = item(goods=8_75, tax=2_75, shipping=5_00) if reported else item(goods=10_50, shipping=6_00)
    worked, after = work(two_mugs(), [wanted], "GBP")
    (credit,) = worked.credits
    (line,) = credit.lines.values()
    assert (line.quantity, line.amount, line.discount, line.tax) == (1, 12_00, 1_50, 1_75)
    assert (credit.shipping, credit.shipping_tax, credit.inclusive) == (6_00, 1_00, True)
    assert (credit.subtotal, credit.discounts, credit.taxes, credit.total) == (12_00, 1_50, 2_75, 16_50)
    second, after = work(after, [item(goods=8_75, tax=1_75) if reported else item(goods=10_50)], "GBP")
    assert second.credits[0].total == 10_50
    assert left(after)[:8] == [0] * 8


def test_the_marketplaces_tax_inside_a_price_is_no_part_of_what_we_give_back():
    worked, _ = work(two_mugs("Marketplace"), [item(goods=8_75, tax=1_75)], "GBP")
    (credit,) = worked.credits
    assert (credit.subtotal, credit.taxes, credit.marketplace_tax, credit.total) == (12_00, 1_75, 1_75, 8_75)
    only_tax, _ = work(two_mugs("Marketplace"), [item(quantity=0, tax=1_75)], "GBP")
    assert (only_tax.credits, only_tax.uncredited) == ([], 1_75)


@examples(60)
@given(units=st.integers(2, 7), each=st.integers(20, 3000), rate=st.sampled_from([5, 7, 19, 20, 25]))
@example(units=3, each=3_34, rate=20)  # of 10.02, 1.66 told as 3 x 0.55 of tax, and 3 x 2.79: a cent too much
def test_of_a_price_that_holds_the_marketplaces_tax_no_more_is_credited_than_is_left(units: int, each: int, rate: int):
    whole = units * each
    tax = whole * rate // (100 + rate)
    line = InvoiceLine(1, 1, units, whole, 0, tax, "Marketplace")
    order = Order(
        [OrderLine(1, "501", "MUG", 1, 0, 0, sold=units)],
        [Invoice("INV-1", [line], shipping_tax_remitted_by="Marketplace", currency="GBP", inclusive=True)],
        [Parcel("SH-1", 1, units, 10_000, "MAIN")],
    )
    net, of_tax = ((2 * amount + units) // (2 * units) for amount in (whole - tax, tax))
    room = whole - tax
    for _ in range(units):
        worked, order = work(order, [item(goods=net, tax=of_tax)], "GBP")
        assert worked.findings == []
        (credit,) = worked.credits
        assert 0 < credit.total <= room
        assert credit.total + credit.rounding == net, "what the marketplace takes from us, to the cent"
        room -= credit.total
    assert room <= units // 2


def test_gift_wrap_that_is_worth_more_than_its_goods_keeps_its_tax():
    line = InvoiceLine(1, 1, 1, 1_20, 0, 2_20)
    invoice = Invoice("INV-1", [line], 0, 0, 0, 12_00, "Seller", "GBP", True)
    order = Order([OrderLine(1, "501", "MUG", 1, 0, 0)], [invoice], [Parcel("SH-1", 1, 1, 10_000, "MAIN")])
    worked, after = work(order, [item(goods=11_00, tax=2_20)], "GBP")
    (credit,) = worked.credits
    assert (credit.subtotal, credit.gift_wrap, credit.taxes, credit.total) == (1_20, 12_00, 2_20, 13_20)
    assert left(after)[:8] == [0] * 8


def test_what_is_decided_is_worked_and_what_is_not_waits():
    header = pd.DataFrame(
        {
            "Status": ["NewRma", "PendingReturn", "Received", "Approved", "Refunded", "Rejected", "Closed", "Closed"],
            "RefundDate": [None] * 6 + ["2011-01-05T00:00:00Z", None],
        },
        dtype="str",
    )
    assert states(header)[0].tolist() == [
        "wait", "wait", "work", "work", "work", "leave_out", "work", "leave_out",
    ]  # fmt: skip


def test_the_refund_decides_the_day_and_a_closed_period_goes_to_the_first_open_day():
    header = pd.DataFrame(
        {
            "RefundDate": ["2011-02-01T04:30:00Z", None, "2010-12-31T12:00:00Z", "yesterday"],
            "UpdatedDate": ["2011-03-01T00:00:00Z", "2011-02-05T12:00:00Z", *["2011-01-02T00:00:00Z"] * 2],
        },
        dtype="str",
    )
    periods = pd.DataFrame(
        {
            "id": ["2010-12", "2011-01", "2011-02"],
            "start_date": ["2010-12-01", "2011-01-01", "2011-02-01"],
            "status": ["Closed", "Open", "Open"],
        }
    )
    made = dates(header, "America/New_York", periods)
    assert made["CreditDate"].tolist()[:3] == ["2011-01-31", "2011-02-05", "2010-12-31"]
    assert made["PostingDate"].tolist()[:3] == ["2011-01-31", "2011-02-05", "2011-01-01"]
    assert made.iloc[3].isna().all()  # what is no moment has no day


def test_amounts_and_units_that_make_no_sense_are_findings_of_their_own():
    given = {"OrderItemID": 501, "Quantity": -1, "RefundAmount": 450_010, "TaxRefund": -100, "ShippingRefund": None,
             "Restock": None, "Condition": "Wet"}  # fmt: skip
    items, found = read_items([given], 1)
    assert [finding.rule for finding in found] == [
        "third_decimal", "negative_amount", "quantity_below_zero", "unknown_condition", "refund_total_mismatch",
    ]  # fmt: skip
    assert "0.0001" in found[-1].message
    assert "44.991" in found[-1].message
    assert len(items) == 1
