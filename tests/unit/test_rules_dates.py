"""Posting dates: the company's day, and what becomes of a closed period."""

from __future__ import annotations

import pandas as pd
import pytest

from crossdock.rules.dates import company_days, posting_dates


def days(*moments: str, zone: str) -> list[str]:
    return company_days(pd.Series(moments, dtype="str"), zone).tolist()


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        ("2026-04-01T02:40:00Z", "America/New_York", "2026-03-31"),  # the contract's own example
        ("2011-01-31T23:59:59.999999Z", "Europe/London", "2011-01-31"),
        ("2011-02-01T00:00:00Z", "Europe/London", "2011-02-01"),
        ("2011-03-26T23:30:00Z", "Europe/London", "2011-03-26"),  # the night before summer time
        ("2011-03-27T23:30:00Z", "Europe/London", "2011-03-28"),  # the night after
        ("2011-10-30T00:30:00Z", "Europe/London", "2011-10-30"),
        ("2011-01-01T00:30:00Z", "America/Los_Angeles", "2010-12-31"),
        ("2010-12-31T11:00:00Z", "Pacific/Auckland", "2011-01-01"),
    ],
)
def test_the_company_s_zone_decides_the_day(moment: str, zone: str, day: str) -> None:
    assert days(moment, zone=zone) == [day]


def test_a_missing_moment_has_no_day() -> None:
    found = company_days(pd.Series(["2011-01-04T10:00:00Z", None], dtype="str"), "Europe/London")
    assert found.tolist()[0] == "2011-01-04"
    assert found.isna().tolist() == [False, True]


def periods(**status: str) -> pd.DataFrame:
    months = [f"2011-{int(name[1:]):02d}" for name in status]
    return pd.DataFrame({"id": months, "start_date": [f"{m}-01" for m in months], "status": list(status.values())})


def test_a_day_of_an_open_period_is_posted_as_it_is() -> None:
    posted, original = posting_dates(pd.Series(["2011-01-31", "2011-02-01"]), periods(m1="Open", m2="Open"))
    assert posted.tolist() == ["2011-01-31", "2011-02-01"]
    assert original.isna().all()


def test_a_day_of_a_closed_period_goes_to_the_first_open_day_and_keeps_its_own() -> None:
    posted, original = posting_dates(
        pd.Series(["2011-01-15", "2011-01-31", "2011-04-02"]),
        periods(m1="Closed", m2="SoftClosed", m3="Open", m4="Open"),
    )
    assert posted.tolist() == ["2011-03-01", "2011-03-01", "2011-04-02"]
    assert original.tolist()[:2] == ["2011-01-15", "2011-01-31"]
    assert original.isna().tolist() == [False, False, True]


def test_without_a_later_open_period_nothing_can_be_posted() -> None:
    posted, original = posting_dates(pd.Series(["2011-03-05", None]), periods(m1="Open", m3="Closed"))
    assert posted.isna().all()
    assert original.isna().all()
