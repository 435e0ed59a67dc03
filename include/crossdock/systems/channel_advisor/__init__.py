"""Channel Advisor: one protocol, and the dialects that fulfil it.

In: a connection, whose extra may name the API (`"api": "v2"`). Out: a client.
Never: a dialect's name outside this room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crossdock.config import did_you_mean
from crossdock.errors import ConfigError
from crossdock.systems.channel_advisor.facade import LINES_IN_A_LIST, Facade, is_truncated
from crossdock.systems.channel_advisor.protocol import Abilities, ChannelAdvisor, Reported, Written
from crossdock.systems.connections import Connection

__all__ = [
    "LINES_IN_A_LIST",
    "Abilities",
    "ChannelAdvisor",
    "Facade",
    "Reported",
    "Written",
    "client_of",
    "is_truncated",
]

# Each API, as `api` in a connection's extra names it, and its client.
DIALECTS: dict[str, Callable[..., ChannelAdvisor]] = {"v2": Facade}


def client_of(connection: Connection, **shared: Any) -> ChannelAdvisor:
    """The client of the API that the connection names. `shared`: budget, breaker and limits, where tasks share them.
    ConfigError for an API that does not exist."""
    api = str(connection.extra.get("api") or "v2")
    if api not in DIALECTS:
        raise ConfigError(
            f"The connection {connection.name} names an API that Crossdock does not speak, {api!r}"
            f"{did_you_mean(api, DIALECTS)}",
            do=f"Set api in the extra of {connection.variable} to one of: {', '.join(sorted(DIALECTS))}.",
            system=connection.name,
        )
    return DIALECTS[api](connection, **shared)
