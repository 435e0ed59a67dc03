"""The lists that the flows read, and the rows that they begin with.

In: the flows' declarations; a client. Out: checks of each list; its first rows, for the checks that look at them.
Never: a list that is named here by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from crossdock import flows, settings
from crossdock.errors import CrossdockError
from crossdock.flow import Flow, Resource
from crossdock.safe import safe
from crossdock.services.connect.checks import SCOPE_MISSING, Check, ok, red, skipped
from crossdock.services.connect.way import host_without_path, in_words, lowered, strange
from crossdock.systems.channel_advisor import Abilities, ChannelAdvisor
from crossdock.systems.failures import NAMES
from crossdock.systems.http import Answer
from crossdock.systems.limits import Limits
from crossdock.systems.paging import Unmade
from crossdock.systems.probe import Probe, Unanswered
from crossdock.systems.tims import Tims

ROWS = 100  # of a list that are looked at
ALL = "No flow can work."
MOST_LATE = 2  # lists that are waited for in vain
DENIED = ("401", "403")
REFUSED = (*DENIED, "4xx")
_any = msgspec.json.Decoder()


def read_by_flows(system: str, can: Abilities) -> dict[str, list[str]]:
    """Every list that the flows read of a system, with the titles of these flows: found from what they declare. `can`:
    what the channel's API can do."""
    found: dict[str, list[str]] = defaultdict(list)
    for flow in flows.all_flows().values():
        for name in _lists_of(flow, can):
            owner, _, path = name.partition(".")
            if owner == system and flow.title not in found[path]:
                found[path].append(flow.title)
    return dict(found)


def _lists_of(flow: Flow, can: Abilities) -> Iterator[str]:
    for one in (flow.source, *flow.reference):
        if one.wanted is None or one.wanted(can):
            yield one.name
    yield from flow.also_reads


def declared(system: str) -> dict[str, Resource]:
    """The declared resources of a system by their path."""
    every = [one for flow in flows.all_flows().values() for one in (flow.source, *flow.reference)]
    return {one.path: one for one in every if one.system == system}


class Lists:
    """The first rows of lists, read once each by the client that the flows use. `clocks`: seconds that the time which
    each list tells is ahead of ours."""

    def __init__(self, client: ChannelAdvisor | Tims, probe: Probe, credentials: Mapping[str, str]) -> None:
        self.client, self.probe = client, probe
        self.errors: dict[str, CrossdockError] = {}
        self.unmade: dict[str, Sequence[Unmade]] = {}
        self.clocks: list[float] = []
        self._credentials = credentials
        self._single = {path for path, one in declared(client.connection.name).items() if one.single}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._late: list[str] = []

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The first rows of a list; none where it cannot be read, see `errors`. After two that were not answered in
        time no other is waited for."""
        if path not in self._rows:
            self._rows[path] = []
            if self.gave_up:
                self.errors[path] = self.errors[self._late[-1]]
                return []
            try:
                self._rows[path] = [row for row in map(_any.decode, self._first(path)) if isinstance(row, dict)]
            except CrossdockError as error:
                self.errors[path] = error
                self._late += [path] if error.failure == "read_timeout" else []
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # a row that is no JSON: the flows refuse it by itself
        return self._rows[path]

    @property
    def gave_up(self) -> bool:
        """Whether too many lists were not answered in time."""
        return len(self._late) >= MOST_LATE

    def was_late(self, path: str) -> bool:
        """Whether a list was itself waited for in vain."""
        return path in self._late

    def denied(self, path: str) -> bool:
        """Whether the login may not read a list."""
        self.rows(path)
        return path in self.errors and self.errors[path].failure in DENIED

    def _first(self, path: str) -> Sequence[bytes | msgspec.Raw]:
        if path in self._single and isinstance(self.client, Tims):
            return [self.client.document(path)]
        first = next(self.client.pages(path, limit=ROWS), None)
        if first is None:
            return []
        self.clocks.append((first.server_time - datetime.now(UTC)).total_seconds())
        self.unmade[path] = first.unmade
        return first.records

    def rows_as_received(self, path: str) -> Iterator[dict[str, Any]]:
        """The first rows of a list, and after them those that could not be taken, as they were received."""
        yield from self.rows(path)
        yield from _documents([one.received for one in self.unmade.get(path, ())])

    def has(self, path: str, **filters: Any) -> bool:
        """Whether a list has a row by these filters."""
        try:
            first = next(self.client.pages(path, limit=1, **filters), None)
        except CrossdockError:
            return False
        return bool(first and first.records)

    def every_row(self, path: str) -> Iterator[dict[str, Any]]:
        """All rows of a list. Raises what the client raises."""
        for one in self.client.pages(path):
            yield from _documents(one.records)

    def bare_answer(self, what: str) -> Answer | None:
        """The bare answer to a GET that the client could not read; None where none comes."""
        method, _, path = what.partition(" ")
        try:
            return self.probe.get(path, self._credentials) if method == "GET" and path else None
        except Unanswered:
            return None


@dataclass(frozen=True)
class Cause:
    """What makes lists fail, and was found already. `failures`: rows of the table of failures that it explains."""

    words: str
    failures: Collection[str]

    def explains(self, lists: Lists, error: CrossdockError) -> bool:
        if error.failure != "4xx" or "4xx" not in self.failures:
            return error.failure in self.failures
        answer = lists.bare_answer(error.what)
        return answer is not None and answer.status == 200  # it was the filter that was refused


def _documents(given: Iterable[bytes | msgspec.Raw]) -> Iterator[dict[str, Any]]:
    """What can be read of records."""
    for one in given:
        try:
            row = _any.decode(one)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def resources(
    lists: Lists, wanted: Mapping[str, Sequence[str]], readable: Collection[str], because: Cause | None = None
) -> Iterator[Check]:
    """Tries every list. `because`: what was found already that explains why some cannot be read; they are skipped."""
    tried = [path for path in sorted(wanted) if path in readable]
    broken = [path for path in tried if not lists.rows(path) and path in lists.errors]
    if len(broken) > 1 and broken == tried and not because:
        yield from _none_readable(lists, tried)
        return
    first_at: dict[str, str] = {}  # of each address that cannot be read, the list that says so
    for path in sorted(wanted):
        name = f"resource:{path}"
        if path not in readable:
            yield skipped(name, SCOPE_MISSING)
        elif path not in lists.errors:
            yield ok(name, _can_be_read(len(lists.rows(path)), len(lists.unmade.get(path, ()))))
        elif because and because.explains(lists, lists.errors[path]):
            yield skipped(name, f"It cannot be read: {because.words}.")
        elif lists.gave_up and not lists.was_late(path):
            yield skipped(name, f"Not tried: {MOST_LATE} lists were not answered in time.")
        elif (other := first_at.setdefault(lists.errors[path].what or path, path)) != path:
            yield skipped(name, f"{lists.errors[path].what}, of which it is made, cannot be read: see List {other}.")
        else:
            yield _unreadable(lists, path, wanted[path])


def _none_readable(lists: Lists, tried: Sequence[str]) -> Iterator[Check]:
    """One red check where no list can be read: the cause is hardly one of a list."""
    first = _unreadable(lists, tried[0], ())
    count = (
        f"{MOST_LATE} lists were not answered in time, and the others were not tried."
        if lists.gave_up
        else f"None of the {len(tried)} lists that the flows read can be read."
    )
    yield red("resources", f"{count} The first: {first.found}", first.means or ALL, first.do, first.where)
    for path in tried:
        yield skipped(f"resource:{path}", "It cannot be read; no other list can either.")


def _can_be_read(rows: int, unmade: int) -> str:
    if unmade:
        return (
            f"It can be read; {unmade} of {rows + unmade} rows cannot be taken as they are: `crossdock map` says why."
        )
    return "It can be read." if rows else "It can be read, and is empty."


def _unreadable(lists: Lists, path: str, who: Sequence[str]) -> Check:
    connection, error, name = lists.client.connection, lists.errors[path], f"resource:{path}"
    system, needed = NAMES[connection.name], f"These flows read it: {', '.join(who)}." if who else ""
    if error.failure in DENIED:
        return red(
            name, f"{error.what} is refused with a fresh token ({error.failure}).",
            f"The login may not read it: a scope or a right of it is missing. {needed}".strip(),
            f"Have it given to the login in {system}; a new scope needs a new consent and a new refresh token."
            if system == NAMES["channel_advisor"]
            else f"Have it given to the login in {system}.", f"the login {safe(connection.login)} in {system}",
        )  # fmt: skip
    at = error.what.partition(" ")[2]
    answer = lists.bare_answer(error.what)
    if answer is not None and (odd := strange(name, answer, at, connection, needed)):
        return odd
    if answer is not None and answer.status == 404:
        other = ", or name it in include/config/tims.yaml if it has another name there" if system == "TIMS" else ""
        return red(
            name, f"{error.what} does not exist (404).", needed,
            f"If no list can be read: {lowered(host_without_path(connection))}. If others can, this one is not "
            f"switched on for the account: ask the operator of {system}{other}.",
            f"host in {connection.variable}",
        )  # fmt: skip
    if answer is not None and answer.status < 300 and not answer.is_json:
        return red(
            name, f"{at} is answered with {in_words(answer)}, not with JSON.", needed,
            f"Correct the host if it is not the API's; else tell the operator of {connection.host}.",
            f"host in {connection.variable}",
        )  # fmt: skip
    return red(name, error.message, needed, error.do, f"host in {connection.variable}")


def rate(lists: Lists, limits: Limits) -> Check:
    """The limit that the system tells, and ours."""
    where = str(settings.config_dir() / "systems.yaml")
    if any(error.failure == "429" for error in lists.errors.values()):
        return red(
            "limits", "It answers that there are too many requests (429).",
            "Other programs use the same account, and its budget is used up before ours.",
            "Find out which; lower requests_per_minute and at_once until both fit.", where,
        )  # fmt: skip
    ours = f"systems.yaml uses {limits.requests_per_minute:,} requests a minute, {limits.at_once} at once"
    allowed = lists.probe.per_minute
    if allowed is None:
        return ok("limits", f"It does not tell its limit; {ours}.")
    if allowed < limits.requests_per_minute:
        return red(
            "limits", f"It allows {allowed:,} requests a minute, and {ours}.",
            "Requests would be refused (429) whenever there is much to do.",
            f"Set requests_per_minute of {lists.client.connection.name} to {allowed} or less.", where,
        )  # fmt: skip
    return ok("limits", f"It allows {allowed:,} requests a minute; {ours}.")
