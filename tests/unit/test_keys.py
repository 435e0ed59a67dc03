"""Names made of foreign text: safe where they are used, the old ones as they were, no two the same."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock import keys

CONTRACT = re.compile(r"[\x21-\x7e]{1,128}")  # IdempotencyKey of TIMS
FOREIGN = st.text(max_size=40) | st.text(alphabet="~%'\" ;ü0123456789abcdef", max_size=200)


@given(FOREIGN)
def test_every_key_is_what_the_contract_allows_and_always_the_same(name: str):
    made = keys.idempotency(name)
    assert CONTRACT.fullmatch(made)
    assert keys.idempotency(name) == made


@given(FOREIGN, FOREIGN)
def test_no_two_names_have_one_key(one: str, other: str):
    assert (keys.idempotency(one) == keys.idempotency(other)) == (one == other)


SAFE = ["so:ChannelAdvisor:18245671", "cust:ChannelAdvisor:o'neill%40x", "x" * 128, "a~b", "~"]


@given(FOREIGN, FOREIGN, st.integers(40, 120))
def test_an_id_fits_and_no_two_are_the_same(one: str, other: str, most: int):
    assert len(keys.fitting(one, most)) <= most
    assert (keys.fitting(one, most) == keys.fitting(other, most)) == (one == other)
    if len(one) <= most and "~" not in one:
        assert keys.fitting(one, most) == one


@pytest.mark.parametrize("name", SAFE)
def test_a_name_that_was_safe_keeps_its_key_so_that_nothing_is_posted_twice(name: str):
    assert keys.idempotency(name) == name


@pytest.mark.parametrize("buyer", ["'; DROP TABLE stage.customers; --", "Jürgen", "b" * 200, "a\nb", "\ud800", ""])
def test_a_buyers_id_of_any_kind_makes_a_key_that_starts_readably(buyer: str):
    made = keys.idempotency(f"cust:ChannelAdvisor:{buyer} ")
    assert CONTRACT.fullmatch(made)
    assert made.startswith("cust:ChannelAdvisor:")


def test_nobody_can_choose_an_id_that_is_the_key_of_another_buyer():
    victim = keys.idempotency("cust:ChannelAdvisor:Mario Rossi")
    assert keys.idempotency(victim) != victim


PARTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1)


@given(PARTS | st.sampled_from([".", "..", "...", "a/../b", "?x#y", "%2e"]))
def test_a_part_of_a_path_leads_nowhere_else(text: str):
    made = keys.segment(text)
    url = urlsplit(f"http://host/v2/orders/{made}")
    assert url.path == f"/v2/orders/{made}"
    assert not url.query + url.fragment
    assert made not in (".", "..")
    assert unquote(made) == text


def test_no_part_at_all_is_no_path():
    with pytest.raises(ValueError, match="empty"):
        keys.segment("")


@given(st.text(alphabet="ab./\\\0 ü", max_size=8))
def test_a_file_name_stays_in_its_folder(text: str):
    folder = Path("/inbox/done")
    if text in ("", ".", "..") or set("/\\\0") & set(text):
        with pytest.raises(ValueError, match="no name of a file"):
            keys.file_name(text)
    else:
        assert (folder / keys.file_name(text)).resolve().parent == folder
