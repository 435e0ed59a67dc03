"""Pages of a list, split into records but not parsed.

In: the bytes of one page. Out: `Page` with one `msgspec.Raw` a record, the server's clock, and where the next page is.
Never: a parsed record (that costs six to ten times the split), a second visit to the same place, a list without end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import msgspec

from crossdock.errors import BadResponse, ConfigError, CrossdockError, RecordRejected
from crossdock.systems import failures, scan, times
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Malformed
from crossdock.systems.limits import Limits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unmade:
    """A record of which no document of the contract could be made: its key ("" where that cannot be read), its bytes
    as received, and why."""

    key: str
    received: bytes
    field: str
    rule: str
    message: str
    do: str


@dataclass(frozen=True, slots=True)
class Page:
    """`records` are documents of the contract, in the server's order. Each may keep its page in memory: copy what
    stays."""

    records: list[msgspec.Raw]
    server_time: datetime  # when the page was read, by the system's own clock, cut to microseconds
    number: int  # from 1
    # Of a dialect: what each document was made of, as received, and what no document could be made of.
    received: list[bytes] | None = None
    unmade: Sequence[Unmade] = ()
    # Of a list that is not sorted by last change: all that changed before this moment is on the pages before.
    complete_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Single:
    """One record by its key: its document, or why none could be made. `received`: what a dialect made it of."""

    document: msgspec.Raw | Unmade
    received: bytes | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """One page as read: its records, its clock, and the next link or cursor. `received`: as in `Page`."""

    records: list[msgspec.Raw]
    server_time: datetime
    next: str | None
    received: list[bytes] | None = None


def follow(fetch: Callable[[str | None], Split], connection: Connection, what: str, limits: Limits) -> Iterator[Page]:
    """Follows `next` until there is none.

    A page that points to one that has been read is asked for again, for such a fault passes; so is one whose place is
    not known. BadResponse when it does not pass, or when there are more than `most_pages`: what was read until then
    has been given out.
    """
    seen: set[str] = set()
    place: str | None = None
    for number in range(1, limits.most_pages + 1):
        for tries_left in reversed(range(limits.tries)):
            problem: CrossdockError | None = None
            try:
                split = fetch(place)
                if split.next and split.next in seen:
                    problem = endless_list(connection, what, f"page {number} points to a page that has been read")
            except RecordRejected as refused:
                problem = refused_list(refused, connection, what)
                if not isinstance(problem, BadResponse) or not tries_left:
                    raise problem from None
            if problem is None or not tries_left:
                break
            log.warning("%s Page %d is asked for again.", problem.message, number)
            time.sleep(min(limits.first_pause_seconds, limits.longest_pause_seconds))
        yield Page(split.records, split.server_time, number, split.received)
        if problem:
            raise problem
        place = split.next
        if not place:
            return
        seen.add(place)
    raise endless_list(connection, what, f"there is a page after the {limits.most_pages:,} that are allowed")


def patient(read: Callable[..., Split], tries: int) -> Callable[[Answer], Split]:
    """Reads a page strictly. One that breaks the contract as often as it may be asked for is read record by record at
    last, so that a record that is no JSON does not stop the others."""
    attempts = count(1)

    def read_page(answer: Answer) -> Split:
        try:
            return read(answer, lenient=False)
        except Malformed as wrong:
            if next(attempts) < tries:
                raise
            try:
                return read(answer, lenient=True)
            except Malformed:
                raise wrong from None

    return read_page


def refused_list(refused: RecordRejected, connection: Connection, what: str) -> CrossdockError:
    """The error of a refused list: a dead cursor is the system's fault, anything else our request's."""
    if refused.code.replace("_", "").lower() == "invalidcursor":
        return endless_list(connection, what, "it does not know its own cursor any more")
    error = ConfigError(
        refused.message,
        do=f"Check the host in {connection.variable}, and the name and filters of the list.",
        system=connection.name,
    )
    error.failure, error.what = refused.failure, refused.what
    return error


def endless_list(connection: Connection, what: str, detail: str) -> BadResponse:
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
    except RecursionError:
        raise Malformed("its JSON is thousands of brackets deep") from None


def decode_page(answer: Answer, decoder: msgspec.json.Decoder, rows: str, *, lenient: bool) -> Any:
    """The JSON of a page. `lenient`: its list `rows` is only cut into records, whatever these hold: text that is no
    JSON, brackets thousands deep, bytes that are not UTF-8."""
    if not lenient:
        return decode(answer, decoder)
    try:
        members = scan.members(answer.content)
        records = scan.parts(members.pop(rows))
        rest = [msgspec.json.encode(name) + b":" + value for name, value in members.items()]
    except (KeyError, ValueError):
        raise Malformed("its JSON is cut or broken") from None
    shell = b"{" + b",".join([*rest, msgspec.json.encode(rows) + b":[]"]) + b"}"
    page = decode(Answer(answer.status, answer.headers, shell), decoder)
    setattr(page, rows, [msgspec.Raw(record) for record in records])
    return page


def server_time(text: str) -> datetime:
    """The clock of a page. Malformed when it cannot be read."""
    try:
        return times.read(text)
    except ValueError:
        raise Malformed("its server time is no timestamp") from None
