"""Time as whole ticks of 100 ns since 1970, and a clock that can be set.

In: RFC 3339 text. Out: integers that sort and compare, and text again. Never: rounding (digits are cut), a local zone.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from sandbox.kernel.store import Store

SECOND = 10_000_000
MICROSECOND = 10
DAY = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def parse(text: str) -> int:
    """Ticks of an RFC 3339 moment; a bare date is its midnight in UTC. ValueError for anything else."""
    if _DATE.fullmatch(text):
        return _ticks(datetime.fromisoformat(text + "T00:00:00+00:00"), "")
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a moment like 2011-01-04T10:00:00Z.")
    day, clock, fraction, zone = found.groups()
    return _ticks(datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}"), fraction or "")


def _ticks(moment: datetime, fraction: str) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + int(fraction[:7].ljust(7, "0"))


def text(ticks: int) -> str:
    """RFC 3339 in UTC with the fractional digits that are needed, 0 to 7."""
    seconds, fraction = divmod(ticks, SECOND)
    moment = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    digits = f"{fraction:07d}".rstrip("0")
    return f"{moment}{'.' + digits if digits else ''}Z"


def date_in(ticks: int, zone: str) -> date:
    """The calendar day of a moment in an IANA zone."""
    return (_EPOCH + timedelta(microseconds=ticks // MICROSECOND)).astimezone(ZoneInfo(zone)).date()


def _real() -> int:
    return time.time_ns() // 100


class Clock:
    """The server's clock: it runs on in real time from where it was set, across restarts.

    `set` leaps to a moment of the world, and no time passes. `advance` lets time pass.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offset = int(store.setting("clock_offset") or 0)
        self._advanced = int(store.setting("clock_advanced") or 0)

    def now(self) -> int:
        return _real() + self._offset

    def passed(self) -> int:
        """A count of passed time that leaps do not change: the age of a token is a difference of two."""
        return _real() + self._advanced

    def set(self, ticks: int) -> None:
        self._offset = ticks - _real()
        self._store.set_setting("clock_offset", str(self._offset))

    def advance(self, seconds: float) -> None:
        self.set(self.now() + int(seconds * SECOND))
        self._advanced += int(seconds * SECOND)
        self._store.set_setting("clock_advanced", str(self._advanced))
