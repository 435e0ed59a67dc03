"""Converts timestamps for TIMS: UTC, at most microseconds.

In: the channel's text, 0 to 7 fractional digits. Out: the same moment with at most 6. Never: rounding.
"""

from __future__ import annotations

import pandas as pd

from crossdock.rules.vectorize import map_text


def to_microseconds(times: pd.Series) -> pd.Series:
    """Cuts digits beyond the microsecond. "Not given" stays; "2025-03-14T09:26:53.5893215Z" loses its last 5."""
    return map_text(times, truncate)


def truncate(time: str) -> str:
    whole, dot, rest = time.partition(".")
    return f"{whole}.{rest.rstrip('Z')[:6]}Z" if dot else time


def sortable(times: pd.Series) -> pd.Series:
    """The same moments with 7 fractional digits each, so that they sort as text."""
    return map_text(times, lambda t: f"{t.rstrip('Z').partition('.')[0]}.{t.rstrip('Z').partition('.')[2]:0<7}Z")
