"""Documents that we would have made, and those that people have made by hand: who belongs together, what differs."""

from __future__ import annotations

import copy
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.comparison import by_hand
from crossdock.comparison.by_hand import DIFFERS, ONLY_OURS, ONLY_THEIRS, OVERTAKEN, REFERENCE, SAME, One
from crossdock.services import shadow

ORDERS = shadow.subjects()["orders"]
DAY = date(2026, 11, 30)


def order(number: str = "77", **more: Any) -> dict[str, Any]:
    return {
        "ExternalOrderID": number, "Source": "ChannelAdvisor", "CustomerID": None, "CurrencyCode": "GBP",
        "OrderDate": "2026-11-30T09:15:00.000000Z", "TotalAmount": Decimal("24.00"), "ShippingTaxAmount": Decimal("0"),
        "ShippingAddress": {"Name": "Ada Miller", "PostalCode": "LS1 4AP", "City": "Leeds", "Line2": None},
        "LineItems": [{"ExternalLineID": "771", "SKU": "22423", "Quantity": 2, "Price": Decimal("10.0000")}], **more,
    }  # fmt: skip


def by_person(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    """As TIMS gives back what a person has entered."""
    return {
        **copy.deepcopy(document), "Source": "Manual", "SalesOrderID": "SO-1", "TotalAmount": "24.0000",
        "OrderDate": "2026-11-30", **more,
    }  # fmt: skip


def only(ours: dict[str, Any], theirs: dict[str, Any], zone: str = "UTC") -> by_hand.Result:
    (result,) = by_hand.compare(ORDERS, [One("77", ours)], [One("SO-1", theirs)], zone)
    return result


def test_what_a_person_has_entered_as_we_would_is_the_same_however_it_is_written() -> None:
    theirs = by_person(order())
    theirs["ShippingAddress"] |= {"Name": " ADA  Miller", "City": "leeds"}
    result = only(order(), theirs)
    assert (result.verdict, result.matched_by, result.day) == (SAME, REFERENCE, DAY)


def test_a_field_that_differs_is_named_with_both_values() -> None:
    result = only(order(ShippingTaxAmount=Decimal("2.00")), by_person(order(), ShippingTaxAmount="0.00"))
    assert result.verdict == DIFFERS
    assert result.differences == (by_hand.Difference("ShippingTaxAmount", "2.00", "0.00"),)


def test_what_is_written_down_nowhere_equals_zero_and_an_empty_text() -> None:
    theirs = by_person(order())
    del theirs["ShippingTaxAmount"]
    assert only(order(), theirs).verdict == SAME


def test_personal_data_differ_without_their_values() -> None:
    theirs = by_person(order())
    theirs["ShippingAddress"]["City"] = "York"
    assert only(order(), theirs).differences == (by_hand.Difference("ShippingAddress.City", None, None),)


def test_lines_are_one_by_their_item_whatever_their_order() -> None:
    more = {"ExternalLineID": "772", "SKU": "84946", "Quantity": 1, "Price": Decimal("4.0000")}
    ours = order(LineItems=[*order()["LineItems"], more])
    theirs = by_person(ours, LineItems=[{**more, "Price": "4.5"}, {**ours["LineItems"][0], "Quantity": 2}])
    assert [one.field for one in only(ours, theirs).differences] == ["LineItems[84946].Price"]


@pytest.mark.parametrize(("ours", "theirs"), [(2, 1), (1, 2), (1, 0)])
def test_a_line_that_one_side_lacks_is_named(ours: int, theirs: int) -> None:
    line = order()["LineItems"][0]
    result = only(order(LineItems=[line] * ours), by_person(order(), LineItems=[line] * theirs))
    assert result.differences == (by_hand.Difference("LineItems[22423]", f"{ours} lines", f"{theirs} lines"),)


def test_without_a_reference_buyer_date_and_amount_say_who_belongs_together() -> None:
    result = only(order(), by_person(order(), ExternalOrderID=""))
    assert (result.verdict, result.matched_by) == (SAME, "buyer, date and amount")


@pytest.mark.parametrize("other", [{"TotalAmount": "25.00"}, {"OrderDate": "2026-12-01"}, {"CurrencyCode": "EUR"}])
def test_another_amount_date_or_currency_is_another_sale(other: dict[str, str]) -> None:
    theirs = by_person(order(), ExternalOrderID="", **other)
    verdicts = [one.verdict for one in by_hand.compare(ORDERS, [One("77", order())], [One("SO-1", theirs)])]
    assert verdicts == [ONLY_OURS, ONLY_THEIRS]


def test_a_day_is_that_of_the_company() -> None:
    late = order(OrderDate="2026-11-30T23:30:00Z")
    assert only(late, by_person(late, OrderDate="2026-12-01"), "Europe/Berlin").verdict == SAME
    assert by_hand.day_of(ORDERS, late, "Europe/Berlin") == date(2026, 12, 1)


def test_the_reference_goes_before_what_is_alike() -> None:
    ours = [One("77", order("77")), One("78", order("78"))]
    theirs = [One("SO-1", by_person(order("78"))), One("SO-2", by_person(order("77")))]
    found = {one.ours.key: one.theirs.key for one in by_hand.compare(ORDERS, ours, theirs) if one.ours and one.theirs}
    assert found == {"77": "SO-2", "78": "SO-1"}


def test_the_day_in_a_sentence() -> None:
    words = by_hand.words(
        "orders", DAY, same=213, differ=1, only_ours=0, only_theirs=0, fields={"ShippingTaxAmount": 1}
    )
    assert words == "We would have made 214 orders on 2026-11-30: 213 as you did, 1 differs in ShippingTaxAmount."


def test_what_has_come_later_is_told_and_nobody_need_make_what_is_overtaken() -> None:
    ours = [One("77", order(), "it was cancelled", overtaken=True), One("78", order("78"), "it was refused")]
    assert [one.verdict for one in by_hand.compare(ORDERS, ours, [])] == [OVERTAKEN, ONLY_OURS]
    (pair,) = by_hand.compare(ORDERS, ours[:1], [One("SO-1", by_person(order()))])
    assert pair.verdict == SAME
    words = by_hand.words(
        "orders", DAY, same=3, differ=0, only_ours=0, only_theirs=0, fields={}, overtaken=1,
        later={"it was cancelled": 1, "its buyer is gone": 2},
    )  # fmt: skip
    assert words == (
        "We would have made 4 orders on 2026-11-30: 3 as you did, 1 overtaken before anybody entered it. "
        "Later, it was cancelled (1), its buyer is gone (2)."
    )


MISTAKES = {
    "ShippingTaxAmount": "3.00", "TotalAmount": "99.00", "CurrencyCode": "USD", "PaymentStatus": "Pending",
}  # fmt: skip


@given(
    numbers=st.sets(st.integers(1, 10_000), max_size=30),
    fate=st.lists(st.sampled_from(["same", "missing", "unnamed", *MISTAKES]), min_size=30, max_size=30),
    more=st.integers(0, 5),
    shuffled=st.randoms(use_true_random=False),
)
def test_each_document_is_in_exactly_one_result_and_each_planted_mistake_is_found(
    numbers: set[int], fate: list[str], more: int, shuffled: Any
) -> None:
    ours = [One(str(n), order(str(n), TotalAmount=Decimal(n), PaymentStatus="Paid")) for n in sorted(numbers)]
    theirs, planted = [], {}
    for one, what in zip(ours, fate, strict=False):
        planted[one.key] = what
        if what == "missing":
            continue
        document = by_person(one.document, TotalAmount=f"{one.document['TotalAmount']}.00")
        document |= {"ExternalOrderID": ""} if what == "unnamed" else {}
        document |= {what: MISTAKES[what]} if what in MISTAKES else {}
        theirs.append(One(f"SO-{one.key}", document))
    theirs += [One(f"PHONE-{n}", by_person(order(f"x{n}"), TotalAmount=f"{n + 20_000}.00")) for n in range(more)]
    shuffled.shuffle(ours)
    shuffled.shuffle(theirs)
    results = by_hand.compare(ORDERS, ours, theirs)
    assert sorted(one.ours.key for one in results if one.ours) == sorted(planted)
    assert sorted(one.theirs.key for one in results if one.theirs) == sorted(one.key for one in theirs)
    for one in results:
        if one.ours is None:
            assert one.verdict == ONLY_THEIRS
            continue
        what = planted[one.ours.key]
        assert one.verdict == {"same": SAME, "unnamed": SAME, "missing": ONLY_OURS}.get(what, DIFFERS)
        assert [each.field for each in one.differences] == ([what] if what in MISTAKES else [])


def test_a_table_for_a_spreadsheet_has_a_row_for_each_field_and_no_formula() -> None:
    record = shadow.Record(
        "orders", DAY, "=1+1", "SO-1", DIFFERS, REFERENCE,
        (by_hand.Difference("Notes", "a", "b"), by_hand.Difference("TotalAmount", "1.00", None)), "cancelled",
    )  # fmt: skip
    rows = shadow.as_csv([record]).splitlines()
    assert rows[1:] == [
        "orders,2026-11-30,'=1+1,SO-1,differs,reference,Notes,a,b,cancelled",
        "orders,2026-11-30,'=1+1,SO-1,differs,reference,TotalAmount,1.00,,cancelled",
    ]
