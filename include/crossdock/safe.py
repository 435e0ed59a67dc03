"""Foreign text made harmless where it leaves: on a terminal, in a log, in a spreadsheet.

In: any value. Out: text that shows what it holds and does nothing: no control character moves the cursor, no override
turns the line round, no cell is a formula. Never: changes what is stored or sent.
"""

from __future__ import annotations

import logging
import re
import sys
import unicodedata
from typing import Any

KEPT = "\u200c\u200d"  # joiners within words and emoji
_UNSAFE = re.compile(
    "["
    + "".join(
        re.escape(chr(n))
        for n in range(sys.maxunicode + 1)
        if unicodedata.category(chr(n)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and chr(n) not in KEPT
    )
    + "]"
)
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def safe(value: Any, *, lines: bool = False) -> str:
    """`value` as text in which control characters, overrides of direction and half characters are written as escapes.
    `lines`: line feeds stay, for texts of several lines that we have written."""
    return _UNSAFE.sub(lambda found: "\n" if lines and found[0] == "\n" else _escape(found[0]), str(value))


def safe_json(text: str) -> str:
    """JSON text that says the same, with such characters as JSON's own escapes. Its line feeds are its layout."""
    return _UNSAFE.sub(lambda found: "\n" if found[0] == "\n" else _json_escape(found[0]), text)


def cell(value: Any) -> Any:
    """A cell of a CSV file: text that a spreadsheet would execute begins with an apostrophe. Numbers stay as they are;
    `plain` gives the text back."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value) or not _FORMULA.match(value.lstrip(" ")):
        return value
    return f"'{value}"


def plain(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


class Formatter(logging.Formatter):
    """Lines of a log without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record), lines=True)


def _escape(one: str) -> str:
    number = ord(one)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))
