"""Reads the limits of each system: include/config/systems.yaml.

In: the file, and what a connection's extra overrides. Out: one `Limits` a system.
Never: a default that hides a misspelt name.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from crossdock import config
from crossdock.config import Struct
from crossdock.errors import ConfigError
from crossdock.settings import config_dir
from crossdock.systems.connections import Connection

TIMEOUTS = ("connect_seconds", "read_seconds", "answer_seconds")


Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Pause = Annotated[float, Meta(ge=0)]


class Limits(Struct, frozen=True):
    """Budget, time-outs and tries of one system. All times in seconds."""

    requests_per_minute: Count = 600
    at_once: Count = 5
    bulk_share: Annotated[float, Meta(gt=0, le=1)] = 0.8  # of a minute, up to which flows of many single requests go on
    connect_seconds: Seconds = 5.0
    read_seconds: Seconds = 60.0  # longest silence in an answer
    answer_seconds: Seconds = 300.0  # longest time of a whole answer
    tries: Count = 5  # of one request, the first one included
    first_pause_seconds: Pause = 0.5  # doubles with each try, with jitter
    longest_pause_seconds: Pause = 60.0  # caps pauses and Retry-After
    failures_to_open: Count = 10  # failures in a row, of all processes, that open the circuit
    open_seconds: Pause = 30.0  # how long an open circuit lets no request through
    most_pages: Count = 20_000  # of one list; more is a loop


class Systems(Struct, frozen=True):
    """The whole file."""

    channel_advisor: Limits
    tims: Limits


def read() -> config.File[Systems]:
    return config.read(config_dir() / "systems.yaml", Systems)


def load(system: str) -> Limits:
    """The system's part of systems.yaml. ConfigError when the file or a value is wrong."""
    file = config_dir() / "systems.yaml"
    limits = getattr(config.load(file, Systems), system, None)
    if not isinstance(limits, Limits):
        raise ConfigError(f"{file} does not name the system {system}.", do="Add its limits.")
    return limits


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
