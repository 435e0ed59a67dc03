"""Channel Advisor: one protocol, and the dialects that fulfil it.

In: a connection, whose extra may name the API (`"api": "v1"`); else the server is asked once. Out: a client.
Never: a dialect's name outside this room.
"""

from __future__ import annotations

from typing import Any

from crossdock.config import did_you_mean
from crossdock.errors import ConfigError, RecordRejected
from crossdock.systems.channel_advisor.facade import LINES_IN_A_LIST, Facade, is_truncated
from crossdock.systems.channel_advisor.protocol import Abilities, ChannelAdvisor, Reported, Written
from crossdock.systems.channel_advisor.v1 import V1, reading
from crossdock.systems.channel_advisor.v1.client import profiles_of
from crossdock.systems.connections import Connection

__all__ = [
    "DIALECTS",
    "LINES_IN_A_LIST",
    "MARK_AT",
    "SERVED_AT",
    "V1",
    "Abilities",
    "ChannelAdvisor",
    "Facade",
    "Reported",
    "Written",
    "abilities_of",
    "client_of",
    "is_truncated",
    "profiles_of",
    "received_as",
]

# Each API, as `api` in a connection's extra names it, and its client.
DIALECTS: dict[str, type[V1] | type[Facade]] = {"v1": V1, "v2": Facade}
# Of each two addresses that answer where it is served, whatever the rights; the facade first, as it is asked.
SERVED_AT: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "v2": (("/v2/sites", {"limit": 1}), ("/v2/orders", {"limit": 1})),
    "v1": (("/v1/Sites", {"$top": 1}), ("/v1/Orders", {"$top": 1})),
}
MARK_AT = {
    "v2": "/v2/orders/0/exported",
    "v1": "/v1/Orders(0)/Export",
}  # the exported mark of an order that is not there
_found: dict[str, str] = {}  # the API of each address that has been asked


def abilities_of(connection: Connection) -> Abilities | None:
    """What the API that the connection names can do, without a request; None where it names none."""
    dialect = DIALECTS.get(str(connection.extra.get("api")))
    return dialect.can if dialect else None


def received_as(resource: str) -> tuple[str, str] | None:
    """Contract and schema of what documents of a list are made of, where they are made of another API's."""
    return reading.received_as(resource)


def client_of(connection: Connection, **shared: Any) -> ChannelAdvisor:
    """The client of the API that the connection names; where it names none, of the one that answers there. `shared`:
    budget, breaker and limits, where tasks share them. ConfigError for an API that does not exist."""
    api = str(connection.extra.get("api") or "") or api_of(connection, **shared)
    if api not in DIALECTS:
        raise ConfigError(
            f"The connection {connection.name} names an API that Crossdock does not speak, {api!r}"
            f"{did_you_mean(api, DIALECTS)}",
            do=f"Set api in the extra of {connection.variable} to one of: {', '.join(sorted(DIALECTS))}.",
            system=connection.name,
        )
    return DIALECTS[api](connection, **shared)


def api_of(connection: Connection, **shared: Any) -> str:
    """The API that answers at an address, asked once in a process: "v1" where the facade's list of sites is not
    there."""
    if connection.base_url not in _found:
        with Facade(connection, **shared) as client:
            try:
                client.call("GET", "/v2/sites", query={"limit": 1})
                _found[connection.base_url] = "v2"
            except RecordRejected as refused:
                if refused.status != 404:
                    raise
                _found[connection.base_url] = "v1"
    return _found[connection.base_url]
