"""The refusal of a call that v1 does not speak yet."""

from __future__ import annotations

from crossdock.errors import ConfigError
from crossdock.systems.connections import Connection


def not_spoken(connection: Connection, what: str) -> ConfigError:
    """In: what was asked for. Out: the error that says that v1 cannot give it."""
    return ConfigError(
        f"Crossdock does not speak {what} by the API v1 yet.",
        do="Switch the flow off in include/config/flows.yaml.",
        system=connection.name,
    )
