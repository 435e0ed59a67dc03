"""Text is cleaned of what nobody can see, and of nothing else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossdock.rules.addresses import fold, spread_street
from crossdock.rules.text import BREAK, CONTROL, NOTES_LENGTH, clean_text, shorten
from crossdock.rules.times import truncate

texts = st.text(max_size=200)
words = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=30)


@given(texts)
@example("e\u0301\u200b \u0000")
def test_cleaning_leaves_no_control_character_no_blank_at_the_ends_and_nfc(text):
    clean = clean_text(text)
    assert not CONTROL.search(clean)
    assert not BREAK.search(clean)
    assert clean == clean.strip()
    assert unicodedata.is_normalized("NFC", clean)


@given(texts)
def test_cleaning_twice_changes_nothing_more(text):
    assert clean_text(clean_text(text)) == clean_text(text)


@given(texts)
def test_cleaning_keeps_every_other_character_and_every_word_apart(text):
    kept = unicodedata.normalize("NFC", "".join(c for c in text if not CONTROL.match(c) and not BREAK.match(c)))
    assert clean_text(text).replace(" ", "") == kept.strip().replace(" ", "")
    parts = [CONTROL.sub("", part) for part in BREAK.split(text)]
    lines = [part.strip(" ") for part in parts]
    assert clean_text(text) == unicodedata.normalize("NFC", " ".join(line for line in lines if line)).strip()


@pytest.mark.parametrize(
    "sign", ["\x00", "\x08", "\x0e", "\x1f", "\x7f", "\x84", "\u200b", "\u200e", "\u202e", "\u2066", "\ufeff"]
)
def test_each_kind_of_control_character_goes(sign):
    assert clean_text(f"Li{sign}sbon") == "Lisbon"


@pytest.mark.parametrize("sign", ["\t", "\n", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029", " \n\n ", "\u200b\n"])
def test_a_break_or_tab_is_one_blank(sign):
    assert clean_text(f"{sign}New{sign}York{sign}") == "New York"


def test_letters_of_all_scripts_stay():
    for text in ("Łódź", "Λευκωσία", "תל אביב", "東京", "Đặng", "O’Brien – 2º", "🎁"):
        assert clean_text(text) == text


@given(st.text(max_size=1200))
def test_shortened_text_fits_and_is_a_beginning_of_the_whole(text):
    short = shorten(text)
    assert len(short) <= NOTES_LENGTH
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_text_is_cut_between_words():
    assert shorten("one two three", 9) == "one two…"
    assert shorten("one two three", 8) == "one two…"
    assert shorten("one two three", 13) == "one two three"
    assert shorten("onetwothree", 5) == "onet…"


@given(st.lists(words, min_size=1, max_size=12), st.lists(words, max_size=4))
def test_a_street_is_never_short_of_a_character(first, second):
    line1, line2 = " ".join(first), " ".join(second) or None
    one, two, findings = spread_street(line1, line2)
    whole = " ".join(part for part in (line1, line2) if part)
    assert " ".join(part for part in (one, two) if part) == whole
    if not findings:
        assert len(one) <= 60
        assert len(two or "") <= 60
    else:
        fits = [n for n, c in enumerate(whole) if c == " " and n <= 60 and len(whole) - n - 1 <= 60]
        assert not fits


def test_street_lines_that_fit_stay_as_they_are():
    assert spread_street("12 Elm St", "Apt 4") == ("12 Elm St", "Apt 4", ())
    assert spread_street("x" * 60, "y" * 60)[:2] == ("x" * 60, "y" * 60)


def test_a_street_given_on_the_second_line_alone_moves_up():
    assert spread_street(None, "12 Elm St")[:2] == ("12 Elm St", None)


@given(texts)
def test_folding_forgets_case_and_folds_once(text):
    assert fold(fold(text)) == fold(text)


def test_folding_forgets_diacritics_and_punctuation():
    assert fold("  José  O’Neill-Pérez, ") == fold("JOSE O'NEILL PEREZ") == "jose o neill perez"


def test_times_are_cut():
    assert truncate("2025-03-14T09:26:53.5893219Z") == "2025-03-14T09:26:53.589321Z"
    assert truncate("2025-03-14T09:26:53.8Z") == "2025-03-14T09:26:53.8Z"
    assert truncate("2025-03-14T09:26:53Z") == "2025-03-14T09:26:53Z"
