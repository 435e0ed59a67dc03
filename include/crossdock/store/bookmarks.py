"""Bookmarks: how far an unfinished read has come. The next read of the same window goes on there.

In: a moment up to which everything of a window is stored. Out: where to go on. Never: a watermark; that moves when a
read has ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.store.tables import ops_bookmark as table


def reached(
    connection: sa.Connection, flow: str, resource: str, window: str, *, within: timedelta | None = None
) -> datetime | None:
    """How far a read of the window has come that broke off, `within` that time; None where none has."""
    young = [] if within is None else [table.c.reached_at > sa.func.now() - within]
    return connection.scalar(sa.select(table.c.position).where(*_of(flow, resource, window), *young))


def put(connection: sa.Connection, flow: str, resource: str, window: str, position: datetime) -> None:
    """Notes how far the read of the window has come, in the transaction that stores what it read."""
    row = insert(table).values(flow=flow, resource=resource, window=window, position=position)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[table.c.flow, table.c.resource, table.c.window],
            set_={"position": row.excluded.position, "reached_at": sa.func.now()},
        )
    )


def remove(connection: sa.Connection, flow: str, resource: str, window: str) -> None:
    """Deletes the bookmark: the window has been read to its end."""
    connection.execute(sa.delete(table).where(*_of(flow, resource, window)))


def _of(flow: str, resource: str, window: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.flow == flow, table.c.resource == resource, table.c.window == window
