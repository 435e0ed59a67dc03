"""Values that a lookup misses, masks of values, and drafts of whole mappings."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping import language, lookups
from crossdock.mapping.suggest.draft import check, draft
from crossdock.mapping.suggest.masks import mask, shapes
from crossdock.mapping.suggest.neighbours import missing
from crossdock.mapping.suggest.sample import Sample
from crossdock.mapping.suggest.words import vocabulary
from linked_orders import ADJUSTMENT, BOTH, MOVEMENT, NOTHING, ORDER, PAYMENT_STATUS, SALES_ORDER

TABLES = {"payment_status": PAYMENT_STATUS}


def test_missing_values_have_their_nearest() -> None:
    table = lookups.read("carriers", keys=2)
    made = missing({"royal mail / Special Delivry": 3, "UPS / Ground": 9, "Zeppelin / Express": 11}, table)
    assert [(one.value, one.records) for one in made] == [
        ("Zeppelin / Express", 11),
        ("royal mail / Special Delivry", 3),
    ]
    assert made[1].nearest[0].key.startswith("Royal Mail / Special Delivery")
    assert made[1].nearest[0].likeness > 0.9
    assert made[1].nearest[0].row["carrier"] == "Royal Mail"


def test_a_value_that_the_lookup_knows_is_not_missing() -> None:
    assert missing({"Cleared": 5}, lookups.read("payment_status")) == []


@given(st.text(max_size=60))
def test_a_mask_has_no_letter_and_no_digit_of_its_value(value: str) -> None:
    assert set(mask(value)) <= set("A9 -.:/@+,#?…")
    assert len(mask(value)) <= 13


@given(st.text(alphabet=st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=20))
def test_a_mask_tells_no_lengths(value: str) -> None:
    assert mask(value) == mask(value + value[-1])


def test_what_few_values_look_like_stays_here() -> None:
    assert shapes(["a@b.org", *["AB 1"] * 6]) == ["A 9"]
    assert mask("W-00123") == "A-9"


def test_a_draft_is_what_the_check_accepts_as_far_as_it_goes(tmp_path: Path) -> None:
    made = draft(BOTH, vocabulary(ORDER, SALES_ORDER), TABLES)
    taken = {(one.target, one.source or one.constant) for one in made.taken if not one.children}
    assert taken >= {
        ("ExternalOrderID", "ChannelAdvisorOrderID"), ("Source", "ChannelAdvisor"), ("CurrencyCode", "Currency"),
        ("ShippingAddress.City", "ShippingAddress.City"), ("ShippingAmount", "TotalShippingPrice"),
    }  # fmt: skip
    assert all("no field maps it" in one.message for one in made.findings)  # gaps, and no line that is wrong
    assert made.findings == tuple(check(made.text))
    path = tmp_path / "mappings" / "draft.yaml"
    path.parent.mkdir()
    path.write_text(made.text)
    written = language.read(path)
    assert written.children
    assert (written.children.source, written.children.target, written.children.key) == (
        "OrderItems", "LineItems", "ExternalLineID",
    )  # fmt: skip
    assert {one.target for one in written.every_field} == {one.target for one in made.taken}
    assert "# Notes: perhaps from OrderID" in made.text  # a part of the value is a remark


def test_a_draft_without_records_is_made_of_names() -> None:
    made = draft(NOTHING, vocabulary(ORDER, SALES_ORDER), {})
    assert "no record links both" in made.text
    assert {one.source for one in made.taken} >= {"ShippingAddress.City", "BillingAddress.PostalCode"}
    assert all("no field maps it" in one.message for one in made.findings)


def test_a_draft_of_strangers_says_that_nothing_fits() -> None:
    made = draft(Sample(SALES_ORDER, ORDER), vocabulary(SALES_ORDER, ORDER), {})
    assert made.text.startswith("# A draft")
    assert all("no field maps it" in one.message for one in made.findings)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_hostile_constants_stay_text(value: str) -> None:
    sources, targets = ({"Reference": "R1"},) * 6, ({"Memo": value},) * 6
    made = draft(Sample(MOVEMENT, ADJUSTMENT, sources, targets), vocabulary(MOVEMENT, ADJUSTMENT), {})
    assert all("no field maps it" in one.message for one in made.findings)
    assert [one.constant for one in made.taken if one.target == "Memo"] == [value]
