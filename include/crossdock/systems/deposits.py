"""The settings that all sources of files have: a folder, an encoding, a time zone.

In: the words of one source in payouts.yaml or stock.yaml. Out: the base of their structs. Never: a time zone or an
encoding that Python does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Meta

from crossdock.config import Struct, Text, did_you_mean

Name = Annotated[str, Meta(pattern="^[a-z0-9_]{1,40}$", description="a name of a-z, 0-9 and _, 40 at most")]


class Source(Struct, frozen=True, kw_only=True):
    """One source; see the file for what each word means."""

    zone: Text
    folder: str = ""
    day_first: bool = False
    encoding: str = ""

    def problems(self) -> Iterable[tuple[str, str]]:
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            near = did_you_mean(self.zone, available_timezones()) or "; use a name like Europe/London"
            yield "zone", f"there is no time zone {self.zone!r}{near}"
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            yield "encoding", f"there is no encoding {self.encoding!r}; use a name like utf-8, cp1252 or shift_jis"
