"""A connection, tried step by step: is everything there that the flows need, and if not, what is to be done about it.

In: a connection of Channel Advisor or TIMS; the flows' declarations; the configuration. Out: one `Check` after another.
Never: a request that changes something at a system.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from crossdock.errors import ConfigError
from crossdock.services.connect import channel, erp
from crossdock.services.connect.checks import Check, Found, Profile, State, red
from crossdock.services.connect.lists import declared, read_by_flows
from crossdock.systems import limits as system_limits
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.probe import Probe
from crossdock.systems.redaction import MASK

__all__ = ["SYSTEMS", "Check", "Found", "Profile", "State", "check", "declared", "read_by_flows"]

SYSTEMS = {"channel_advisor": channel.check, "tims": erp.check}
READ_SECONDS = 20.0  # a check is for somebody who waits for it
NEVER = 1_000_000  # failures in a row
SHORTEST_SECRET = 6  # a shorter one stands in any sentence


def check(connection: Connection, found: Found | None = None) -> Iterator[Check]:
    """Tries a connection. `found`: gets what is found out on the way. Nothing is raised for what a check can say."""
    try:
        limits = _limits(connection)
        with Probe(connection, limits) as probe:
            for one in SYSTEMS[connection.name](probe, limits, found or Found()):
                yield _without_secrets(one, connection)
    except ConfigError as wrong:  # of the connection itself, or of the configuration that it is held against
        yield red("settings", wrong.message, "What comes after could not be tried.", wrong.do)


def _without_secrets(one: Check, connection: Connection) -> Check:
    """The check without a secret that an answer may have repeated, in a title or an address."""
    secrets = [str(one) for one in (connection.secret, connection.extra.get("refresh_token")) if one]
    texts = {}
    for name in ("found", "means", "do", "where"):
        text = getattr(one, name)
        for secret in secrets:
            text = text.replace(secret, MASK) if len(secret) >= SHORTEST_SECRET else text
        texts[name] = text
    return replace(one, **texts)


def _limits(connection: Connection) -> Limits:
    """Those of the system, with fewer tries and shorter pauses, and without a circuit."""
    limits = system_limits.of(connection)
    return msgspec.structs.replace(
        limits,
        tries=min(limits.tries, 2),
        read_seconds=min(limits.read_seconds, READ_SECONDS),
        longest_pause_seconds=min(limits.longest_pause_seconds, 1.0),
        failures_to_open=NEVER,  # each list is to say what is wrong with it
    )
