"""The Crossdock database, as routes use it.

In: the connection `crossdock` of Airflow. Out: a transaction per request. Never: a statement that runs on for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

    from crossdock.services.people import Person

LONGEST = "20s"  # that a statement of a page may take


@cache
def engine() -> sa.Engine:
    """The engine of this process, made at the first request."""
    from crossdock.store import database
    from crossdock_airflow.connections import database_url

    return database.engine(database_url())


@contextmanager
def transaction(person: Person) -> Iterator[sa.Connection]:
    """One transaction in the person's name, with the configuration in force: kept when the block ends, rolled back when
    it raises. What the database refuses leaves as a typed error."""
    from crossdock.services.configuration import in_force
    from crossdock.store.faults import typed_errors

    with typed_errors(), in_force(engine()), engine().begin() as connection:
        _begin(connection, person)
        yield connection


@contextmanager
def reading(person: Person) -> Iterator[sa.Connection]:
    """One transaction for what is sent piece by piece, by one thread after the other. Without the configuration in
    force, which belongs to one thread; nothing is kept. What the database refuses leaves as a typed error."""
    from crossdock.store.faults import typed_errors

    with typed_errors(), engine().connect() as connection:
        _begin(connection, person)
        yield connection


def _begin(connection: sa.Connection, person: Person) -> None:
    import sqlalchemy as sa

    from crossdock.services import people

    people.begin(connection, person)
    connection.execute(sa.select(sa.func.set_config("statement_timeout", LONGEST, True)))


def shadow() -> str:
    """That flows are in shadow mode, in a sentence for every page; "" where all are live, or where nobody can tell."""
    from crossdock.errors import CrossdockError
    from crossdock.services import go_live
    from crossdock.services.configuration import in_force

    try:
        with in_force(engine()):
            return go_live.badge(go_live.in_shadow())
    except CrossdockError:  # the page itself reports it
        return ""
