"""TIMS: its client, which gives out and takes the documents of our contract whatever an installation calls them.

In: a connection, and the adaptation of include/config/tims.yaml. Out: a client. Never: a name of an installation
outside this room.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from crossdock.systems.connections import Connection
from crossdock.systems.tims import adaptation
from crossdock.systems.tims.adapted import Adapted
from crossdock.systems.tims.client import Operation, Result, Tims

__all__ = ["Adapted", "Operation", "Result", "Tims", "client_of"]


def client_of(connection: Connection, *, engine: sa.Engine | None = None, **shared: Any) -> Tims:
    """The client of TIMS as the adaptation in force says it speaks. `engine`: the database whose locks all writers
    share; `shared`: budget, breaker and limits, where tasks share them. ConfigError for a wrong adaptation."""
    found = adaptation.load()
    if found.is_contract:
        return Tims(connection, **shared)
    return Adapted(connection, found, engine=engine, **shared)
