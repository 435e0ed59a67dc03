"""Suggestions for mappings: what ranks where, with which confidence, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping import contracts, language
from crossdock.mapping.registry import named_rules
from crossdock.mapping.suggest.evidence import agreement, loose, parts, start, table_between
from crossdock.mapping.suggest.ranking import CERTAIN, Question, Suggestion, suggest
from crossdock.mapping.suggest.sample import Sample
from crossdock.mapping.suggest.words import vocabulary, words
from linked_orders import ADJUSTMENT, BOTH, MOVEMENT, NOTHING, ORDER, ORDERS, PAYMENT_STATUS, PLAIN, SALES_ORDER, order


def best(path: str, inside: str = "", sample: Sample = BOTH, tables: Any = None, **how: Any) -> Suggestion:
    return suggest(Question(path, inside, **how), sample, PLAIN, tables)[0]


def test_a_field_is_found_by_its_values_and_says_why() -> None:
    made = best("ExternalOrderID")
    assert (made.source, made.convert) == ("ChannelAdvisorOrderID", (("to text", None),))
    assert made.confidence > CERTAIN
    assert "60 of 60" in made.why[0]


def test_values_are_found_without_names() -> None:
    for path, source in (("CurrencyCode", "Currency"), ("ShippingAddress.City", "ShippingAddress.City"),
                         ("ShippingAmount", "TotalShippingPrice")):  # fmt: skip
        assert best(path, by_name=False).source == source


def test_names_are_found_without_values_and_make_nothing_certain() -> None:
    made = best("ShippingAddress.City", sample=NOTHING)
    assert made.source == "ShippingAddress.City"
    assert made.confidence <= CERTAIN


def test_values_outweigh_names() -> None:
    """The goods go where the bill goes: the field of the same name never agrees."""
    swapped = tuple(
        one | {"ShippingAddress": one["BillingAddress"], "BillingAddress": one["ShippingAddress"]} for one in ORDERS
    )
    made = best("ShippingAddress.City", sample=Sample(ORDER, SALES_ORDER, swapped, BOTH.targets))
    assert made.source == "BillingAddress.City"


def test_two_equals_share_their_confidence() -> None:
    """Both addresses are one: values cannot tell, and without names nothing is certain."""
    same = tuple(one | {"BillingAddress": one["ShippingAddress"]} for one in ORDERS)
    sample = Sample(ORDER, SALES_ORDER, same, BOTH.targets)
    first, second = suggest(Question("ShippingAddress.City", by_name=False), sample, PLAIN)[:2]
    assert {first.source, second.source} == {"ShippingAddress.City", "BillingAddress.City"}
    assert first.confidence == second.confidence <= 0.5
    assert best("ShippingAddress.City", sample=sample).source == "ShippingAddress.City"


def test_a_converter_and_its_argument_are_found() -> None:
    assert best("OrderDate").convert == (("to microseconds", None),)
    prefixed = tuple(one | {"ExternalOrderID": f"web:{source['OrderID']}"} for one, source in
                     zip(BOTH.targets, ORDERS, strict=True))  # fmt: skip
    made = best("ExternalOrderID", sample=Sample(ORDER, SALES_ORDER, ORDERS, prefixed))
    assert (made.source, made.convert) == ("OrderID", (("begin with", "web:"),))


def test_a_date_is_found_in_the_zone_in_which_it_is_one() -> None:
    movements = tuple(
        {"Reference": f"R{number}", "OccurredAt": f"2011-07-{1 + number % 27:02}T23:30:00Z"} for number in range(40)
    )
    targets = tuple({"PostingDate": f"2011-07-{2 + number % 27:02}"} for number in range(40))
    made = suggest(
        Question("PostingDate", zones=("UTC", "Europe/London")), Sample(MOVEMENT, ADJUSTMENT, movements, targets), PLAIN
    )[0]
    assert (made.source, made.convert) == ("OccurredAt", (("to date in", "Europe/London"),))


def test_a_lookup_is_found() -> None:
    made = best("PaymentStatus", tables={"payment_status": PAYMENT_STATUS})
    assert (made.source, made.lookup, made.complete) == ("PaymentStatus", "payment_status", True)
    assert made.confidence > CERTAIN


def test_a_lookup_that_nobody_has_written_is_proposed() -> None:
    made = best("PaymentStatus", tables={})
    assert made.source == "PaymentStatus"
    assert made.lookup is None
    assert not made.complete
    assert dict(made.table) == {"Cleared": "Paid", "NotYetSubmitted": "Unpaid"}


def test_a_constant_is_what_all_records_have() -> None:
    made = best("Source")
    assert (made.source, made.constant) == (None, "ChannelAdvisor")


def test_a_part_of_a_text_is_no_whole_answer() -> None:
    made = best("Notes")
    assert made.source == "OrderID"
    assert not made.complete


def test_lines_are_brought_together_in_whatever_order_they_stand() -> None:
    for path, source in (("ExternalLineID", "OrderItemID"), ("SKU", "SKU"), ("Quantity", "Quantity")):
        made = best(path, "LineItems")
        assert (made.source, made.children) == (source, "OrderItems")
        assert made.confidence > CERTAIN
    lines = BOTH.lines("OrderItems", "LineItems")
    assert (lines.source["OrderItemID"].astype(str) == lines.target["ExternalLineID"]).all()


def test_a_line_may_take_a_field_of_the_head() -> None:
    targets = tuple(
        {"LineItems": [{"TaxRemittedBy": ("Seller", "Marketplace")[n % 2], "SKU": f"K{n}"} for _ in "ab"]}
        for n in range(40)
    )
    sources = tuple(order(n, TaxRemittedBy=("Seller", "Marketplace")[n % 2]) for n in range(40))
    made = best("TaxRemittedBy", "LineItems", Sample(ORDER, SALES_ORDER, sources, targets))
    assert made.source == "head.TaxRemittedBy"


def test_what_another_field_has_already_stands_behind() -> None:
    free, used = best("ShippingAddress.City"), best("ShippingAddress.City", used=frozenset(["ShippingAddress.City"]))
    assert used.source == free.source
    assert used.score < free.score


def test_nothing_is_certain_where_nothing_is_right() -> None:
    assert best("CustomerID").confidence < 0.5


def test_rules_are_offered_only_where_the_source_has_what_they_read() -> None:
    rules = tuple(named_rules().values())
    shipment, invoice = contracts.document("tims", "Shipment"), contracts.document("tims", "InvoiceCreate")
    made = suggest(Question("SubTotal"), Sample(shipment, invoice), PLAIN, rules=rules)[0]
    assert made.rule == "divide_order"
    made = suggest(Question("ShippingAmount"), Sample(shipment, invoice), PLAIN, rules=rules)[0]
    assert made.rule == "divide_order"  # settle_amounts makes one too, of what only an order has
    assert all(one.rule is None for one in suggest(Question("SubTotal"), Sample(shipment, invoice), PLAIN))


# ---- a language model's word


def test_a_hint_orders_what_is_uncertain_and_makes_nothing_certain() -> None:
    same = tuple(one | {"BillingAddress": one["ShippingAddress"]} for one in ORDERS)
    sample = Sample(ORDER, SALES_ORDER, same, BOTH.targets)
    made = best("ShippingAddress.City", sample=sample, by_name=False, hints=("BillingAddress.City",))
    assert made.source == "BillingAddress.City"
    assert "the language model names it too" in made.why
    assert made.confidence <= CERTAIN


@pytest.mark.parametrize("path", ["ExternalOrderID", "CurrencyCode", "ShippingAddress.City", "ShippingAmount"])
def test_a_hint_against_the_values_moves_nothing(path: str) -> None:
    lies = ("SellerOrderID", "Flag", "OrderStatus", "BillingAddress.City", "TotalTaxPrice", "ImportDate")
    assert suggest(Question(path, hints=lies), BOTH, PLAIN) == suggest(Question(path), BOTH, PLAIN)


# ---- names


@pytest.mark.parametrize(
    ("source", "target", "other"),
    [
        ("OrderItems.Quantity", "Qty", "OrderItems.UnitPrice"),
        ("CustomerInfo.Email", "BuyerEmail", "CustomerInfo.Phone"),
        ("ShippingAddress.PostalCode", "ShipZip", "BillingAddress.PostalCode"),
        ("Country", "CountryCode", "Currency"),
        ("ShippedAt", "ShippedDate", "CreatedAt"),
    ],
)  # fmt: skip
def test_abbreviations_and_synonyms(source: str, target: str, other: str) -> None:
    assert PLAIN.likeness(source, target) > PLAIN.likeness(other, target)


def test_words_of_a_name() -> None:
    assert words("ExternalLineIDs") == ("external", "line", "id")
    assert words("HTTPStatusCode2") == ("http", "status", "code", "2")


def test_other_mappings_teach_and_the_hidden_one_does_not() -> None:
    mappings = {name: language.load(name) for name in language.names()}
    payment = mappings["payment"]
    everything = vocabulary(ORDER, SALES_ORDER, mappings.values())
    others = vocabulary(ORDER, SALES_ORDER, [one for name, one in mappings.items() if name != "payment"])
    assert ("Currency", "CurrencyCode") in others.joined
    assert ("Key", "ExternalReference") in everything.joined - others.joined
    assert "MarketplacePayout" in everything.constants["Method"]
    assert "Method" not in others.constants
    assert payment.fields


# ---- evidence


@given(st.lists(st.tuples(st.sampled_from("abc") | st.none(), st.sampled_from("abc") | st.none()), max_size=60))
def test_agreement_is_a_share_of_the_rows_that_both_have(rows: list[tuple[str | None, str | None]]) -> None:
    found = agreement([one for one, _ in rows], [other for _, other in rows])
    assert 0 <= found.equal <= found.rows <= found.given <= len(rows)
    assert found.rows + found.alone == sum(one is not None for one, _ in rows)
    assert all(0 <= number <= 1 for number in (found.chance, found.beyond_chance, found.weight, found.telling))


@given(st.lists(st.text(max_size=8), min_size=1, max_size=40))
def test_equal_columns_agree_beyond_chance_unless_they_are_constant(values: list[str]) -> None:
    found = agreement(values, values)
    assert found.share == 1
    assert (found.beyond_chance == 1) == (len(set(values)) > 1)


def test_few_values_and_one_value_tell_little() -> None:
    many = [str(number) for number in range(50)]
    assert agreement(many[:2], many[:2]).weight < agreement(many, many).weight
    assert agreement(["x"] * 50, ["x"] * 50).weight == 0


def test_what_differs_in_writing_only() -> None:
    assert loose(["+44 114 096 0208", "0114 0960208"])[0] == loose(["0114 0960208"])[0]
    assert loose(["Ann-Marie  O'Neil"]) == ["annmarieoneil"]


def test_parts_and_starts() -> None:
    assert parts(["12345", "67890"], ["a:12345:b", "a:67890:b"]).share == 1
    assert start(["12345", "67890", "55555"], ["x-12345", "x-67890", "x-55555"]) == "x-"
    assert start(["12345", "67890", "55555"], ["x-12345", "y-67890", "z-55555"]) == ""


def test_a_table_of_numbers_that_agree_by_chance_is_none() -> None:
    """Two columns that have nothing to do with each other make no table."""
    made = table_between([str(n * 7919 % 5) for n in range(100)], [str(n * 104729 % 7) for n in range(100)])
    assert made is None or made[1].weight < 0.3
