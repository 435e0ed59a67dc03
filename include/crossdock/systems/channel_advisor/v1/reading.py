"""The reading half of the v1 client: the contract's lists, made of v1's.

In: a resource of the contract. Out: pages of contract documents with the bytes as received.
Never: a row of v1 behind this room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from crossdock.systems.channel_advisor.v1 import odata
from crossdock.systems.channel_advisor.v1.client import API, Client
from crossdock.systems.channel_advisor.v1.unwritten import not_spoken
from crossdock.systems.paging import Page


class Reading(Client):
    """What each call gives is in `protocol.ChannelAdvisor`."""

    def pages(
        self,
        resource: str,
        *,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int = 100,
        **filters: Any,
    ) -> Iterator[Page]:
        raise not_spoken(self.connection, f"the list {resource}")

    def record(self, resource: str, key: str) -> bytes:
        raise not_spoken(self.connection, f"a record of {resource}")

    def of_skus(self, resource: str, skus: Sequence[str]) -> list[dict[str, Any]]:
        raise not_spoken(self.connection, f"the list {resource}")

    def server_time(self, resource: str = "orders") -> datetime:
        """The clock of the server, by the cheapest list; tests address, login and rights on the way."""
        query = {"$top": 1, "$select": "ID"}
        return next(odata.pages(self._http, f"{API}/Sites", query, self.connection, self.limits)).server_time
