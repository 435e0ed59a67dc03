"""Foreign text on a terminal, in JSON, in a log and in a spreadsheet: it is shown, and does nothing."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossdock.safe import KEPT, Formatter, cell, plain, safe, safe_json


def acts(text: str) -> list[str]:
    """Characters that a terminal would obey."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in KEPT]


def test_no_character_of_unicode_is_obeyed() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert acts(every) != []
    assert acts(safe(every)) == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("LAMP-1", "LAMP-1"),
        ("Größe 日本 👩‍🚀", "Größe 日本 👩‍🚀"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\u2066a\u2069\u200e\ufeff", "\\u2066a\\u2069\\u200e\\ufeff"),
        ("a\r\nTransient: b", "a\\x0d\\x0aTransient: b"),
        ("\x9b31m\x7f\u2028", "\\x9b31m\\x7f\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        (12, "12"),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_an_escape(given: object, shown: str) -> None:
    assert safe(given) == shown


@given(st.text(st.characters()))
def test_no_text_acts_and_what_is_printable_stays(text: str) -> None:
    assert acts(safe(text)) == []
    assert set(acts(safe(text, lines=True))) <= {"\n"}
    safe(text).encode()
    if not acts(text):
        assert safe(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("\x9b\u202e\U000e0041 \x1b")
def test_json_says_the_same_and_does_not_act(text: str) -> None:
    reported = safe_json(json.dumps({"sku": text}, ensure_ascii=False))
    assert acts(reported) == []
    assert json.loads(reported) == {"sku": text}


def test_a_line_of_a_log_does_not_act() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "SKU %s", ("\x1b[31m\u202e",), None)
    assert Formatter("%(levelname)s: %(message)s").format(record) == "WARNING: SKU \\x1b[31m\\u202e"


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-cmd", "@sum", " =1", "＝1", "'=1", "-1-cmd|' /C calc'!A0", "  ''@x", "=\\x09"]
)
def test_a_cell_that_a_spreadsheet_would_execute_begins_with_an_apostrophe(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-12.50", "+3", "1e5", "-.5", "22423", "LAMP-1", "a=b", "", "'quoted'", "O'Neill"])
def test_numbers_and_other_texts_stay_as_they_are(text: str) -> None:
    assert cell(text) == text
    assert (cell(None), cell(-5)) == (None, -5)


@given(st.one_of(st.text(), st.text("'=+-@\t\r\n 1."), st.integers().map(str)))
def test_what_was_exported_is_read_again_as_it_was(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([cell(text), "end"])
    file.seek(0)
    assert plain(next(csv.reader(file))[0]) == safe(text)


@given(st.one_of(st.text(st.characters()), st.text("'=+-@\t\r\n 1.\u202e\u2066\x00\ud800\u200d,\";")))
@example("\t=1")
@example("\u202e=cmd|' /C calc'!A0")
@example("=\u202e")
def test_a_downloaded_cell_neither_acts_nor_turns_what_stands_beside_it(text: str) -> None:
    """Also in a spreadsheet that takes each character by itself: what is shown is what the pages show."""
    shown = cell(text)
    assert acts(shown) == []
    assert shown in (safe(text), f"'{safe(text)}")
    number = shown.lstrip(" +-").replace(".", "").replace("e", "").isascii() and shown.strip()[-1:].isdigit()
    assert shown.lstrip(" ")[:1] not in ("=", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    if shown.lstrip(" ")[:1] in ("+", "-"):
        assert number
        float(shown)
    shown.encode()
