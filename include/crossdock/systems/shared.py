"""The database that processes share their budgets and circuits through.

In: an engine. Out: one short transaction. Never: a driver's exception; the caller gets a typed error in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from crossdock.store.faults import typed_errors

FROZEN_SECONDS = 10  # after which the server ends a transaction that stands still: all others wait for it
_SETTINGS = sa.select(
    sa.func.set_config("synchronous_commit", "off", True),
    sa.func.set_config("idle_in_transaction_session_timeout", f"{FROZEN_SECONDS * 1000}ms", True),
)


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction whose commit does not wait for the disk: losing it in a crash of the database does no harm."""
    with typed_errors(), engine.begin() as connection:
        connection.execute(_SETTINGS)
        yield connection
