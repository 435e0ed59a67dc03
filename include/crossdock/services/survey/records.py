"""Real records of every list that the flows read.

In: the clients of both systems. Out: up to so many of the newest records of each list. Never: a record that is kept; a
request that changes something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import msgspec

from crossdock.errors import CrossdockError
from crossdock.flow import Resource
from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document
from crossdock.services.connect.lists import declared, read_by_flows
from crossdock.services.personal import masked
from crossdock.systems.channel_advisor import Abilities, ChannelAdvisor
from crossdock.systems.tims import Tims

BACK = (1, 7, 30, 365)  # days to go back for enough records; then from the beginning
PAGE = 100
WHOLE = ("gl/accounts", "gl/periods", "distribution-centers")  # short lists, of which each row counts
_any = msgspec.json.Decoder()


@dataclass(frozen=True)
class Sample:
    """Records of a list. `error`: why it could not be read, as two sentences."""

    resource: Resource
    records: tuple[Mapping[str, Any], ...]
    error: str = ""

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
                yield Sample(resource, tuple(_newest(client, resource, count)))
            except CrossdockError as error:
                yield Sample(resource, (), str(error))


def _newest(client: ChannelAdvisor | Tims, resource: Resource, count: int) -> list[Mapping[str, Any]]:
    if resource.single and isinstance(client, Tims):
        return [_any.decode(client.document(resource.path))]
    if resource.path in WHOLE:
        return [_any.decode(raw) for page in client.pages(resource.path) for raw in page.records]
    found: list[Mapping[str, Any]] = []
    first = next(client.pages(resource.path, limit=1), None)
    if first is None or not first.records:
        return found
    for days in (*BACK, None):
        since = None if days is None else first.server_time - timedelta(days=days)
        pages = client.pages(resource.path, since=since, limit=min(PAGE, count))
        rows = (_any.decode(raw) for page in pages for raw in page.records)
        found = [row for row in islice(rows, count) if isinstance(row, dict)]
        if len(found) >= count:
            break
    return found
