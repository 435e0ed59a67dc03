"""Lifts the clients' limits of requests: the program is measured, not what systems allow."""

from __future__ import annotations

import msgspec

from crossdock.runtime import Runtime
from crossdock.systems import limits
from crossdock.systems.channel_advisor import Facade
from crossdock.systems.tims import Tims


def unlimited(runtime: Runtime) -> None:
    """Gives the runtime such clients of both systems."""
    for name, client in (("channel_advisor", Facade), ("tims", Tims)):
        connection = runtime._source(name)
        more = msgspec.structs.replace(limits.of(connection), requests_per_minute=10**6)
        runtime.__dict__[name] = client(connection, limits=more)
