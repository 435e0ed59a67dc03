"""A connection, tried step by step: is everything there that the flows need, and if not, what is to be done about it.

In: a connection of Channel Advisor or TIMS; the flows' declarations; the configuration. Out: one `Check` after another.
Never: a request that changes something at a system.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crossdock.errors import ConfigError
from crossdock.services.connect import channel, erp
from crossdock.services.connect.checks import Check, Found, Profile, State, red
from crossdock.services.connect.lists import declared, read_by_flows
from crossdock.systems import limits as system_limits
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.probe import Probe

__all__ = ["SYSTEMS", "Check", "Found", "Profile", "State", "check", "declared", "read_by_flows"]

SYSTEMS = {"channel_advisor": channel.check, "tims": erp.check}
READ_SECONDS = 30.0  # a check is for somebody who waits for it


def check(connection: Connection, found: Found | None = None) -> Iterator[Check]:
    """Tries a connection. `found`: gets what is found out on the way. Nothing is raised for what a check can say."""
    try:
        limits = _limits(connection)
        with Probe(connection, limits) as probe:
            yield from SYSTEMS[connection.name](probe, limits, found or Found())
    except ConfigError as wrong:  # of the connection itself, or of the configuration that it is held against
        yield red("settings", wrong.message, "What comes after could not be tried.", wrong.do)


def _limits(connection: Connection) -> Limits:
    """Those of the system, with fewer tries and shorter pauses."""
    limits = system_limits.of(connection)
    return msgspec.structs.replace(
        limits,
        tries=min(limits.tries, 2),
        read_seconds=min(limits.read_seconds, READ_SECONDS),
        longest_pause_seconds=min(limits.longest_pause_seconds, 1.0),
    )
