"""A subscription to a system's events, whichever system it is.

In: nothing. Out: the shape that the clients give. Never: its signing secret, which no system gives back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crossdock.systems import times


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription as its system lists it. `status`: the system's word; `made_at`: by the system's clock, None
    where it shows none."""

    id: str
    url: str
    types: frozenset[str]
    status: str = ""
    is_on: bool = True
    made_at: datetime | None = None


def read(row: Mapping[str, Any], *, id: str, url: str, types: str, made_at: str, on: str = "") -> Subscription:
    """A row of a list by the names of its fields. `on`: the Status of one that delivers; "" where rows have no Status.
    KeyError, TypeError or ValueError for a row of another form."""
    status = str(row["Status"]) if on else ""
    made = times.read(row[made_at]) if made_at else None
    return Subscription(str(row[id]), str(row[url]), frozenset(map(str, row[types])), status, status == on, made)
