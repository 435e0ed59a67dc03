"""Converts values to JSON text, exact and fit for jsonb, and back.

In: plain values. Out: text; values with Decimals. Never: an amount as a float; text that Postgres refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(decimal_format="number").encode
# An escaped U+0000, not an escaped backslash followed by "u0000".
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def to_json(value: Any) -> str:
    """JSON text with exact decimals. What jsonb cannot hold is left out (U+0000) or replaced (half a character)."""
    try:
        text = _encode(value).decode()
    except UnicodeEncodeError:
        text = _encode(_whole_characters(value)).decode()
    return _NUL.sub(r"\1", text) if "\\u0000" in text else text


def _whole_characters(value: Any) -> Any:
    """The value without lone surrogates, which no UTF-8 text holds."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_whole_characters(name): _whole_characters(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole_characters(each) for each in value]
    return value


def from_json(text: str | bytes) -> Any:
    """Parsed JSON; a number with a fraction is a Decimal, never a float."""
    return json.loads(text, parse_float=Decimal)
