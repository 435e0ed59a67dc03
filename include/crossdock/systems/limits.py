"""How hard a system may be used: include/config/systems.yaml.

In: the file, and what a connection's extra overrides. Out: one `Limits` a system.
Never: a default that hides a misspelt name.
"""

from __future__ import annotations

import msgspec

from crossdock.errors import ConfigError
from crossdock.settings import read_yaml
from crossdock.systems.connections import Connection

TIMEOUTS = ("connect_seconds", "read_seconds", "answer_seconds")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Budget, time-outs and tries of one system. All times in seconds."""

    requests_per_minute: int = 600
    at_once: int = 5
    bulk_share: float = 0.8  # of a minute's requests, up to which flows of many single ones go on
    connect_seconds: float = 5.0
    read_seconds: float = 60.0  # longest silence in an answer
    answer_seconds: float = 300.0  # longest whole answer, however steadily it drips
    tries: int = 5  # of one request, the first one included
    first_pause_seconds: float = 0.5  # doubles with each try, with jitter
    longest_pause_seconds: float = 60.0  # caps pauses and Retry-After
    failures_to_open: int = 10  # failures in a row, of all processes, that open the circuit
    open_seconds: float = 30.0  # how long an open circuit lets nothing through
    most_pages: int = 20_000  # of one list; more is a loop


def load(system: str) -> Limits:
    """The system's part of systems.yaml. ConfigError when the file or a value is wrong."""
    try:
        systems = msgspec.convert(read_yaml("systems.yaml"), dict[str, Limits])
    except msgspec.ValidationError as wrong:
        raise ConfigError(f"include/config/systems.yaml: {wrong}.", do="Correct the named field.") from None
    if system not in systems:
        raise ConfigError(f"include/config/systems.yaml does not name the system {system}.", do="Add its limits.")
    return systems[system]


def of(connection: Connection) -> Limits:
    """The system's limits with the time-outs that the connection's extra overrides."""
    limits = load(connection.name)
    given = {name: connection.extra[name] for name in TIMEOUTS if name in connection.extra}
    try:
        return msgspec.structs.replace(limits, **{name: float(value) for name, value in given.items()})
    except (TypeError, ValueError):
        raise ConfigError(
            f"The connection {connection.name} has a time-out in its extra that is not a number of seconds.",
            do=f"Correct {', '.join(given)} in the extra of {connection.variable}.",
            system=connection.name,
        ) from None
