"""Timestamps as the two systems write and take them.

In: RFC 3339 text with 0 to 9 fractional digits, or an aware datetime. Out: the other one, in UTC.
Never: a rounded time. More than microseconds are cut, for a watermark that is rounded up skips rows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")


def read(text: str) -> datetime:
    """`2025-03-14T09:26:53.5893215Z` -> aware UTC, cut to microseconds. ValueError for anything without a zone."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a timestamp with a zone")
    seconds, fraction, zone = match.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        return datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}{offset}").astimezone(UTC)
    except OverflowError:  # the last hours of the year 9999, east of Greenwich the first ones of the year 1
        raise ValueError(f"{text[:40]!r} is outside the calendar") from None


def write(moment: datetime) -> str:
    """Aware datetime -> `2025-03-14T09:26:53.589321Z`, trailing zeros trimmed. ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("A time without a zone cannot be sent")
    moment = moment.astimezone(UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}{fraction}Z"
