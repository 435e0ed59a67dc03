"""The rhythm of the demo: which days it lets happen at a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from sandbox import demo, world


def midnights() -> list[datetime]:
    days = {invoice.at.replace(hour=0, minute=0, second=0, microsecond=0) for invoice in world.load().invoices}
    return sorted(day + timedelta(days=1) for day in days)


@pytest.mark.parametrize("count", range(1, 25))
def test_the_month_goes_day_by_day_for_a_week_then_by_threes_and_always_to_its_end(count: int) -> None:
    every = midnights()[:count]
    taken = demo._rhythm(every)
    assert taken[-1] == every[-1]
    week = [end for end in every if end - every[0] <= timedelta(days=7)]
    assert taken[: len(week)] == week
    places = [every.index(end) for end in taken]
    assert all(later - earlier <= 3 for earlier, later in pairwise(places))
