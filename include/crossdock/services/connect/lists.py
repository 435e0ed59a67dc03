"""The lists that the flows read, and the rows that they begin with.

In: the flows' declarations; a client. Out: checks of each list; its first rows, for the checks that look at them.
Never: a list that is named here by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from crossdock import flows, settings
from crossdock.errors import CrossdockError
from crossdock.flow import Flow, Resource
from crossdock.safe import safe
from crossdock.services.connect.checks import SCOPE_MISSING, Check, ok, red, skipped
from crossdock.services.connect.way import is_page, page
from crossdock.systems.channel_advisor import Abilities, ChannelAdvisor
from crossdock.systems.failures import NAMES
from crossdock.systems.http import Answer
from crossdock.systems.limits import Limits
from crossdock.systems.paging import Unmade
from crossdock.systems.probe import Probe, Unanswered
from crossdock.systems.tims import Tims

ROWS = 100  # of a list that are looked at
DENIED = ("401", "403")
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
    """The first rows of lists, read once each by the client that the flows use."""

    def __init__(self, client: ChannelAdvisor | Tims, probe: Probe, credentials: Mapping[str, str]) -> None:
        self.client, self.probe = client, probe
        self.errors: dict[str, CrossdockError] = {}
        self.unmade: dict[str, Sequence[Unmade]] = {}
        self._credentials = credentials
        self._single = {path for path, one in declared(client.connection.name).items() if one.single}
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The first rows of a list; none where it cannot be read, see `errors`."""
        if path not in self._rows:
            try:
                self._rows[path] = [_any.decode(raw) for raw in self._first(path)]
            except CrossdockError as error:
                self.errors[path], self._rows[path] = error, []
            except msgspec.DecodeError:
                self._rows[path] = []
        return self._rows[path]

    def _first(self, path: str) -> Sequence[bytes | msgspec.Raw]:
        if path in self._single and isinstance(self.client, Tims):
            return [self.client.document(path)]
        first = next(self.client.pages(path, limit=ROWS), None)
        self.unmade[path] = first.unmade if first else ()
        return first.records if first else []

    def rows_as_received(self, path: str) -> Iterator[dict[str, Any]]:
        """The first rows of a list, and after them those that could not be taken, as they were received."""
        yield from self.rows(path)
        for one in self.unmade.get(path, ()):
            try:
                row = _any.decode(one.received)
            except msgspec.DecodeError:
                continue
            if isinstance(row, dict):
                yield row

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
            yield from (_any.decode(raw) for raw in one.records)

    def bare_answer(self, what: str) -> Answer | None:
        """The bare answer to a GET that the client could not read; None where none comes."""
        method, _, path = what.partition(" ")
        try:
            return self.probe.get(path, self._credentials) if method == "GET" and path else None
        except Unanswered:
            return None


def resources(lists: Lists, wanted: Mapping[str, Sequence[str]], readable: Collection[str]) -> Iterator[Check]:
    """Tries every list."""
    for path, who in sorted(wanted.items()):
        name = f"resource:{path}"
        if path not in readable:
            yield skipped(name, SCOPE_MISSING)
            continue
        rows = lists.rows(path)
        if path in lists.errors:
            yield _unreadable(lists, path, who)
        else:
            yield ok(name, _can_be_read(len(rows), len(lists.unmade.get(path, ()))))


def _can_be_read(rows: int, unmade: int) -> str:
    if unmade:
        return (
            f"It can be read; {unmade} of {rows + unmade} rows cannot be taken as they are: `crossdock map` says why."
        )
    return "It can be read." if rows else "It can be read, and is empty."


def _unreadable(lists: Lists, path: str, who: Iterable[str]) -> Check:
    connection, error, name = lists.client.connection, lists.errors[path], f"resource:{path}"
    system, needed = NAMES[connection.name], f"These flows read it: {', '.join(who)}."
    if error.failure in DENIED:
        return red(
            name, f"{error.what} is refused with a fresh token ({error.failure}).",
            f"The login may not read it. {needed}",
            f"Have the right given to the login in {system}.", f"the login {safe(connection.login)} in {system}",
        )  # fmt: skip
    answer = lists.bare_answer(error.what)
    if answer is not None and is_page(answer):
        return page(name, answer, error.what.partition(" ")[2], connection, needed)
    if answer is not None and answer.status == 404:
        other = ", or name it in include/config/tims.yaml if it has another name there" if system == "TIMS" else ""
        return red(
            name, f"{error.what} does not exist (404).", needed,
            f"If no list can be read, correct the path of the host. If others can, this one is not switched on for the "
            f"account: ask the operator of {system}{other}.",
            f"host in {connection.variable}",
        )  # fmt: skip
    return red(name, error.message, needed, error.do, connection.variable)


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
