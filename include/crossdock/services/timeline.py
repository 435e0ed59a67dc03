"""A time line: what comes of another thing stands after it, whatever their clocks say.

In: the events of a record, which document comes of which. Out: the same events in order, each with the clock of its
time. Never: a document before the one that it comes from; times of clocks far apart held against each other.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter

import sqlalchemy as sa

from crossdock import flows
from crossdock.services.outside import Outside
from crossdock.store.tables import ops_watermark
from crossdock.systems.failures import NAMES

FAR = timedelta(days=1)  # clocks that are further apart are not held against each other
OURS = "crossdock"
SETTLED = "settlement"
CLOCKS = {OURS: "Crossdock", **NAMES, SETTLED: "the settlement"}


@dataclass(frozen=True)
class Link:
    """Another record's page. `at`: the part of it that is meant."""

    kind: str
    id: str
    at: str = ""


@dataclass(frozen=True)
class Event:
    """One moment of a life. `clock`: whose time it is; `anchor`: the document that it is about; `makes`: the document
    that came of it; `version`: hash of the version that came."""

    at: datetime
    what: str  # received, decided, refused, sent, document
    title: str
    detail: str = ""
    state: str = ""
    flow: str = ""
    key: str = ""
    batch_id: int | None = None
    run_id: str = ""
    config_version: int | None = None
    letter: int | None = None
    version: str = ""
    anchor: str = ""
    link: Link | None = None
    amount: Decimal | None = None
    currency_code: str = ""
    outside: Outside | None = None
    clock: str = OURS
    makes: str = ""


def far_clocks(connection: sa.Connection) -> frozenset[str]:
    """The systems whose clock is far from ours, as the last reads show."""
    systems = {flow.name: flow.source.system for flow in flows.all_flows().values()}
    marks = connection.execute(sa.select(ops_watermark))
    return frozenset(systems[mark.flow] for mark in marks if mark.flow in systems and is_far(mark))


def is_far(mark: sa.Row) -> bool:
    """Whether the source of a watermark has another clock than ours: when it was read, and up to when, differ much."""
    return bool(abs(mark.read_at - mark.position) > FAR)


def arranged(
    events: Iterable[Event],
    far: frozenset[str] = frozenset(),
    origins: Mapping[str, Sequence[str]] | None = None,
    seen: Mapping[str, datetime] | None = None,
) -> tuple[Event, ...]:
    """The events, causes first and else by time. `origins`: of a document those that it comes from; `far`: clocks that
    are not ours, of whose documents the moment counts at which we made or first saw them; `seen`: that moment, where no
    event tells it."""
    given, origins = list(events), origins or {}
    moments = _moments(given, far, origins, seen or {})
    places = [(moments[n], event.what != "document", event.at, n) for n, event in enumerate(given)]
    before = _before(given, origins)
    sorter = TopologicalSorter({n: before.get(n, ()) for n in range(len(given))})
    try:
        sorter.prepare()
    except CycleError:  # numbers that name each other: by time alone
        return tuple(given[place[-1]] for place in sorted(places))
    ready: list[tuple[datetime, bool, datetime, int]] = []
    found = []
    while sorter.is_active():
        for n in sorter.get_ready():
            heapq.heappush(ready, places[n])
        n = heapq.heappop(ready)[-1]
        sorter.done(n)
        found.append(given[n])
    return tuple(found)


def _documents(events: Sequence[Event]) -> dict[str, int]:
    """The place of each document's own event."""
    return {event.anchor: n for n, event in reversed(list(enumerate(events))) if event.what == "document"}


def _before(events: Sequence[Event], origins: Mapping[str, Sequence[str]]) -> dict[int, set[int]]:
    """By event, those that stand before it: what made a document, what it comes from; and before what was done with a
    document that itself."""
    documents = _documents(events)
    before: dict[int, set[int]] = {}
    made: dict[str, int] = {}
    for n, event in sorted(enumerate(events), key=lambda one: one[1].at):
        if event.makes in documents and event.makes not in made:
            made[event.makes] = n
            before.setdefault(documents[event.makes], set()).add(n)
        if event.what != "document" and event.key in documents and event.makes != event.key:
            before.setdefault(n, set()).add(documents[event.key])
    for anchor, n in documents.items():
        for origin in origins.get(anchor, ()):
            if origin in documents and documents[origin] != n:
                before.setdefault(n, set()).add(documents[origin])
    return before


def _moments(
    events: Sequence[Event], far: frozenset[str], origins: Mapping[str, Sequence[str]], seen: Mapping[str, datetime]
) -> list[datetime]:
    """When each event was, by our clock. A document of a clock far from it was there when we made it, or first saw it
    or what came of it; one that we have never seen, right after what it comes from."""
    moments = dict(seen)
    for event in events:
        name = event.makes or (event.key if event.what == "received" else "")
        if name and event.clock == OURS:
            moments[name] = min(moments.get(name, event.at), event.at)
    foreign = [event for event in events if event.clock in far or (event.clock == SETTLED and far)]
    for _ in range(len(foreign)):  # as long as a chain of documents can be
        was = dict(moments)
        for event in foreign:
            for origin in origins.get(event.anchor, ()):
                if event.anchor in moments:
                    moments[origin] = min(moments.get(origin, moments[event.anchor]), moments[event.anchor])
        if moments == was:
            break
    for _ in range(len(foreign)):
        was = dict(moments)
        for event in foreign:
            of = [moments[origin] for origin in origins.get(event.anchor, ()) if origin in moments]
            if event.anchor not in moments and of:
                moments[event.anchor] = max(of)
        if moments == was:
            break
    held = {id(event) for event in foreign}
    return [moments.get(event.anchor, event.at) if id(event) in held else event.at for event in events]
