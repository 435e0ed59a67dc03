"""Masks secrets and personal data in anything that is logged.

In: a URL, headers, a body or any text. Out: the same without secrets and personal data, fit for a log or an exception.
Never: a value under a name that may hold a secret or belong to a person; when in doubt it is masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

MASK = "***"
LONGEST = 2_000  # characters of a cleaned text

_HIDDEN = r"token|secret|password|passwd|authorization|cookie|signature|assertion|api[-_]?key|credential"
_PERSONAL = (
    r"name|e-?mail|phone|fax|address|street|line[1-4]\b|city|postal|zip|company|region|notes?\b|instructions|comment|gift|"
    r"externalid|birth|vat|taxid"
)
_NAMED = re.compile(f"{_HIDDEN}|{_PERSONAL}", re.IGNORECASE)
_IN_TEXT = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=:-]+"), rf"\1 {MASK}"),
    (re.compile(r"(?<=://)[^/\s@]+@"), f"{MASK}@"),  # user and password of a URL
    (
        re.compile(rf"(?i)([?&;\s\"']|^)([\w.-]*(?:{_HIDDEN}|{_PERSONAL}|cursor)[\w.-]*)=([^&\s\"'#;]*)"),
        rf"\1\2={MASK}",
    ),
    (
        re.compile(rf"(?i)(\"[\w.-]*(?:{_HIDDEN}|{_PERSONAL})[\w.-]*\"\s*:\s*)(\"(?:[^\"\\]|\\.)*\"?|[^,}}\]\s]+)"),
        rf'\1"{MASK}"',
    ),
    (re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"), MASK),  # e-mail addresses, wherever they are
)


def clean(value: Any) -> Any:
    """Masks secrets and personal data. Text and bytes give text, mappings and lists keep their shape.

    >>> clean("https://id:pw@host/v2/orders?access_token=abc&limit=5")
    'https://***@host/v2/orders?access_token=***&limit=5'
    """
    if isinstance(value, (bytes, bytearray, memoryview, msgspec.Raw)):
        return _clean_bytes(bytes(value))
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, Mapping):
        return {key: _clean_field(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def _clean_field(name: str, value: Any) -> Any:
    if isinstance(value, (Mapping, list, tuple)) and not re.search(_HIDDEN, name, re.IGNORECASE):
        return clean(value)
    return MASK if _NAMED.search(name) and value not in (None, "") else clean(value)


def _clean_bytes(body: bytes) -> str:
    try:
        return _clean_text_length(msgspec.json.encode(clean(msgspec.json.decode(body))).decode())
    except msgspec.DecodeError:
        return _clean_text(body[: LONGEST * 4].decode("utf-8", "replace"))


def _clean_text(text: str) -> str:
    text = _clean_text_length(text)
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _clean_text_length(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
