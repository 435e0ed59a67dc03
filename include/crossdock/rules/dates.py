"""Finds the day on which an event is posted.

In: moments (RFC 3339, UTC) or plain dates, the company's time zone, TIMS's posting periods. Out: PostingDate, and the
original day where its period is closed. Source: "company time zone decides dates; a late event for a closed period
goes to the first open day with the original date kept".
Never: the time zone of this machine, or UTC's own day.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd


def company_days(moments: pd.Series, zone: str) -> pd.Series:
    """The company's day of each moment, as text (YYYY-MM-DD); missing stays missing."""
    read = pd.to_datetime(moments, utc=True, format="ISO8601")
    return read.dt.tz_convert(ZoneInfo(zone)).dt.strftime("%Y-%m-%d").astype("str")


def posting_dates(days: pd.Series, periods: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """(PostingDate, OriginalEventDate) of each day, as text.

    `periods`: `id` (YYYY-MM), `start_date` (text) and `status` of TIMS's periods. A day of an open period is posted as
    it is and has no original; otherwise it is posted on the first open day after it, and the original is kept. Where
    no later period is open, PostingDate is missing: nothing can be posted.
    """
    open_starts = np.sort(periods.loc[periods["status"] == "Open", "start_date"].astype("str").to_numpy(dtype=object))
    open_months = set(periods.loc[periods["status"] == "Open", "id"])
    codes, distinct = pd.factorize(days)
    posted: list[str | float] = []
    for day in distinct:
        later = open_starts[np.searchsorted(open_starts, day, side="right") :]
        posted.append(day if day[:7] in open_months else later[0] if len(later) else np.nan)
    existing = codes >= 0
    result = pd.Series(np.nan, index=days.index, dtype="str")
    if existing.any():
        result[existing] = pd.Series(posted, dtype="str").array.take(codes[existing])
    return result, days.where(result.ne(days) & result.notna()).astype("str")
