"""Real records of every list that the flows read.

In: the clients of both systems. Out: up to so many of the newest records of each list. Never: a record that is kept; a
request that changes something.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from crossdock.errors import CrossdockError
from crossdock.flow import Resource
from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document
from crossdock.services.connect.lists import declared, read_by_flows
from crossdock.services.personal import masked
from crossdock.systems.channel_advisor import Abilities, ChannelAdvisor
from crossdock.systems.paging import Page
from crossdock.systems.tims import Tims

BACK = (1, 7, 30, 365)  # days to go back for enough records; then from the beginning
PAGE = 100
WHOLE = ("gl/accounts", "gl/periods", "distribution-centers")  # short lists, of which each row counts
SPEAKING = ("unknown_status", "remitter_unknown")  # rules whose reasons name states and sites, never a person
STATES = ("CheckoutStatus", "PaymentStatus", "ShippingStatus")
STATELESS = (STATES[0], "unknown_status")  # field and rule of an order whose states no row fits
_any = msgspec.json.Decoder()


@dataclass(frozen=True)
class Sample:
    """Records of a list. `error`: why it could not be read, as two sentences. Of a channel whose API is not the
    contract's: `received`, what they were to be made of, as `received_as` (contract and schema), and `unmade`, how
    many could not be made a record, by field, rule and what to do, with the `reasons` of SPEAKING rules, and the
    `states` of orders that no row of a table fits."""

    resource: Resource
    records: tuple[Mapping[str, Any], ...]
    error: str = ""
    received: tuple[Mapping[str, Any], ...] = ()
    received_as: tuple[str, str] | None = None
    unmade: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    reasons: Mapping[tuple[str, str, str], Collection[str]] = field(default_factory=dict)
    states: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.resource.name

    @property
    def document(self) -> Document:
        return contracts.document(self.resource.contract, self.resource.document)

    def shown(self) -> Any:
        """The first record without personal data; None where there is none."""
        if not self.records:
            return None
        return masked(self.records[0], self.resource.contract, self.resource.document)


def samples(client: ChannelAdvisor | Tims, count: int) -> Iterator[Sample]:
    """`count` of the newest records of each list of a system that a flow reads by windows."""
    system = client.connection.name
    can = Abilities() if isinstance(client, Tims) else client.can
    wanted = read_by_flows(system, can)
    for path, resource in sorted(declared(system).items()):
        if path in wanted:
            try:
                yield _newest(client, resource, count)
            except CrossdockError as error:
                yield Sample(resource, (), str(error))


def _newest(client: ChannelAdvisor | Tims, resource: Resource, count: int) -> Sample:
    if resource.single and isinstance(client, Tims):
        return Sample(resource, (_any.decode(client.document(resource.path)),))
    if resource.path in WHOLE:
        return of_pages(client, resource, client.pages(resource.path), None)
    found = Sample(resource, ())
    first = next(client.pages(resource.path, limit=1), None)
    if first is None or not (first.records or first.unmade):
        return found
    for days in (*BACK, None):
        since = None if days is None else first.server_time - timedelta(days=days)
        pages = client.pages(resource.path, since=since, limit=min(PAGE, count))
        found = of_pages(client, resource, pages, count)
        if len(found.records) + sum(found.unmade.values()) >= count:
            break
    return found


def of_pages(client: ChannelAdvisor | Tims, resource: Resource, pages: Iterable[Page], count: int | None) -> Sample:
    """The first `count` records of pages (None: all), and what they were made of."""
    records: list[Mapping[str, Any]] = []
    received: list[Mapping[str, Any]] = []
    unmade: Counter[tuple[str, str, str]] = Counter()
    reasons: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    states: Counter[tuple[str, ...]] = Counter()
    for page in pages:
        records += [row for row in map(_any.decode, page.records) if isinstance(row, dict)]
        received += map(_any.decode, [*(page.received or ()), *(one.received for one in page.unmade)])
        unmade.update((one.field, one.rule, one.do) for one in page.unmade)
        for one in page.unmade:
            if one.rule in SPEAKING:
                reasons[one.field, one.rule, one.do][one.message] = None
            if (one.field, one.rule) == STATELESS:
                states[tuple(str(_any.decode(one.received).get(name) or "") for name in STATES)] += 1
        if count is not None and len(records) + unmade.total() >= count:
            break
    schema = None if isinstance(client, Tims) else client.received_as(resource.path)
    return Sample(
        resource, tuple(records[:count]), received=tuple(received[:count]) if schema else (), received_as=schema,
        unmade=unmade, reasons=reasons, states=states,
    )  # fmt: skip
