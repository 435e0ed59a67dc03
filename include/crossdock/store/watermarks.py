"""Watermarks: how far a resource has been read, by the source's own clock, and how long it was ever silent."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.store.tables import ops_watermark as table


def position(connection: sa.Connection, flow: str, resource: str) -> datetime | None:
    """Where the last read ended, or None before the first."""
    return connection.scalar(sa.select(table.c.position).where(table.c.flow == flow, table.c.resource == resource))


def move(connection: sa.Connection, flow: str, resource: str, to: datetime, newest_version: datetime | None) -> None:
    """Moves the watermark forward to `to`; never back. Keeps the longest silence between two changes."""
    row = insert(table).values(
        flow=flow, resource=resource, position=to, newest_version=newest_version, read_at=sa.func.now()
    )
    new = row.excluded
    gap = sa.func.extract("epoch", new.newest_version - table.c.newest_version)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[table.c.flow, table.c.resource],
            set_={
                "position": sa.func.greatest(table.c.position, new.position),
                "newest_version": sa.func.greatest(table.c.newest_version, new.newest_version),
                "longest_gap_seconds": sa.func.greatest(
                    table.c.longest_gap_seconds, sa.func.coalesce(sa.cast(gap, sa.BigInteger), 0)
                ),
                "read_at": new.read_at,
            },
        )
    )
