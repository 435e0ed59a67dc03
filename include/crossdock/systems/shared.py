"""The database that processes share their budgets and circuits through.

In: an engine. Out: one short transaction. Never: a driver's exception; the caller gets a typed error in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from crossdock.store.faults import typed_errors

FROZEN_SECONDS = 10  # after which the server ends a transaction whose process does not go on: all others wait for it


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction whose commit waits for no disk: after a crash of the database its loss does no harm."""
    with typed_errors(), engine.begin() as connection:
        connection.execute(
            text(
                "SET LOCAL synchronous_commit = off; "
                f"SET LOCAL idle_in_transaction_session_timeout = '{int(FROZEN_SECONDS * 1000)}ms'"
            )
        )
        yield connection
