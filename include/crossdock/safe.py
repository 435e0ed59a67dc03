"""Makes foreign text harmless where it is shown: on a terminal, in a log, in a spreadsheet.

In: any value. Out: text that shows what it holds and does nothing: no control character moves the cursor, no override
turns the line round, no cell is a formula. Never: changes what is stored or sent.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from itertools import chain
from typing import Any

KEPT = "\u200c\u200d"  # joiners within words and emoji
_PLANES = range(0x20000), range(0xE0000, 0xF0000)  # no other holds such a character; to look at all takes every start
_UNSAFE = re.compile(
    "["
    + "".join(
        re.escape(chr(n))
        for n in chain(*_PLANES)
        if unicodedata.category(chr(n)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and chr(n) not in KEPT
    )
    + "]"
)
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def safe(value: Any, *, lines: bool = False) -> str:
    """Writes `value` as text, with control characters, overrides of direction and lone surrogates as escapes.
    `lines`: keeps line feeds, for texts of several lines that we have written."""
    return _UNSAFE.sub(lambda found: "\n" if lines and found[0] == "\n" else _escape(found[0]), str(value))


def safe_json(text: str) -> str:
    """Writes such characters in a JSON text as JSON's own escapes. Keeps line feeds: they are its layout."""
    return _UNSAFE.sub(lambda found: "\n" if found[0] == "\n" else _json_escape(found[0]), text)


def cell(value: Any) -> Any:
    """Makes a cell of a CSV file: text as the pages show it (`safe`), with an apostrophe before what a spreadsheet
    would execute. Numbers stay as they are; `plain` takes the apostrophe away."""
    if not isinstance(value, str):
        return value
    shown = safe(value)
    return f"'{shown}" if _FORMULA.match(shown.lstrip(" ")) and not _NUMBER.fullmatch(shown) else shown


def plain(text: str) -> str:
    """The text of a cell, as the pages show it."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


class Formatter(logging.Formatter):
    """Formats log lines without characters that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record), lines=True)


def _escape(one: str) -> str:
    number = ord(one)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))
