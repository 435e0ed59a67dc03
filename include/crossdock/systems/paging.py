"""Pages of a list, split into records but not parsed.

In: the bytes of one page. Out: `Page` with one `msgspec.Raw` a record, the server's clock, and where the next page is.
Never: a parsed record (that costs six to ten times the split), a second visit to the same place, an endless walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from crossdock.errors import BadResponse, ConfigError, CrossdockError, RecordRejected
from crossdock.systems import failures, times
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Malformed


@dataclass(frozen=True, slots=True)
class Page:
    """`records` are the bytes as received, in the server's order. Each keeps its page in memory: copy what stays."""

    records: list[msgspec.Raw]
    server_time: datetime  # when the page was read, by the system's own clock, cut to microseconds
    number: int  # from 1


@dataclass(frozen=True, slots=True)
class Split:
    """One page as read: its records, its clock, and the next link or cursor."""

    records: list[msgspec.Raw]
    server_time: datetime
    next: str | None


def walk(fetch: Callable[[str | None], Split], connection: Connection, what: str, most: int) -> Iterator[Page]:
    """Follows `next` until there is none. BadResponse when a place comes twice or there are more than `most` pages."""
    seen: set[str] = set()
    place: str | None = None
    for number in range(1, most + 1):
        try:
            split = fetch(place)
        except RecordRejected as refused:
            raise _refused(refused, connection, what) from None
        yield Page(split.records, split.server_time, number)
        place = split.next
        if not place:
            return
        if place in seen:
            raise astray(connection, what, f"page {number} points to a page that has been read")
        seen.add(place)
    raise astray(connection, what, f"there is a page after the {most:,} that are allowed")


def _refused(refused: RecordRejected, connection: Connection, what: str) -> CrossdockError:
    """A list that is refused is no record's fault: a dead cursor is the system's, anything else our own request's."""
    if refused.code.replace("_", "").lower() == "invalidcursor":
        return astray(connection, what, "it does not know its own cursor any more")
    return ConfigError(
        refused.message,
        do=f"Check the host in {connection.variable}, and the name and filters of the list.",
        system=connection.name,
    )


def astray(connection: Connection, what: str, detail: str) -> BadResponse:
    """A list that cannot be read to its end."""
    error = failures.make("loop", connection, what, detail=detail)
    assert isinstance(error, BadResponse)
    return error


def decode(answer: Answer, decoder: msgspec.json.Decoder) -> Any:
    """The JSON of an answer. Malformed for another content type, a body that was cut, bytes that are not UTF-8."""
    if not answer.is_json:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()[:60] or "nothing"
        raise Malformed(f"it declares {kind} where JSON is due")
    try:
        str(answer.content, "utf-8")  # msgspec.Raw does not look inside what it skips
        return decoder.decode(answer.content)
    except UnicodeDecodeError:
        raise Malformed("its text is not UTF-8") from None
    except msgspec.ValidationError as wrong:
        raise Malformed(f"a part is missing or of another type ({wrong})") from None
    except msgspec.DecodeError:
        raise Malformed("its JSON is cut or broken") from None


def server_time(text: str) -> datetime:
    """The clock of a page. Malformed when it cannot be read."""
    try:
        return times.read(text)
    except ValueError:
        raise Malformed("its server time is no timestamp") from None
