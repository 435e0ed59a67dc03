"""The database that processes share their budgets and circuits through.

In: an engine. Out: one short transaction. Never: a driver's exception; the caller gets a typed error in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from crossdock.errors import Transient


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction whose commit waits for no disk: after a crash of the database its loss does no harm."""
    try:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            yield connection
    except DBAPIError as error:
        raise unanswered() from error


def unanswered() -> Transient:
    """The database is away."""
    return Transient(
        "The Crossdock database does not answer about request budgets and circuits.",
        do="Check that Postgres runs and that the migrations were applied (AIRFLOW_CONN_CROSSDOCK).",
        system="crossdock",
    )
