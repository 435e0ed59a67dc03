"""Watermarks: how far a resource has been read, by the source's own clock, and how long it was ever silent.

In: the source's time. Out: a position that no wrong clock carries away. Never: a position that is further ahead of our
own clock than `clock_minutes` of intake.yaml; a silence measured against a moment that cannot have been.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock import settings
from crossdock.errors import ConfigError
from crossdock.store import audit
from crossdock.store.tables import ops_bookmark
from crossdock.store.tables import ops_watermark as table

FIRST = datetime(1900, 1, 1, tzinfo=UTC)  # nothing that is read is older; reads begin somewhat before their windows


def position(connection: sa.Connection, flow: str, resource: str) -> datetime | None:
    """Where the last read ended, or None before the first."""
    return connection.scalar(sa.select(table.c.position).where(table.c.flow == flow, table.c.resource == resource))


def read_at(connection: sa.Connection, flow: str, resource: str) -> datetime | None:
    """When the last read ended, by the database's clock."""
    return connection.scalar(sa.select(table.c.read_at).where(table.c.flow == flow, table.c.resource == resource))


def at_or_beyond(connection: sa.Connection, resource: str, since: datetime | None, overlap: timedelta) -> set[str]:
    """Whoever reads the list would begin its next read at `since` or later: what is read from there on is all that it
    lacks. A read of theirs that has broken off goes on where it was. Who sets one of them back waits until this
    transaction has ended."""
    broken_off = sa.and_(
        ops_bookmark.c.flow == table.c.flow, ops_bookmark.c.resource == resource, ops_bookmark.c.window == "scheduled"
    )
    begins = sa.func.greatest(table.c.position - overlap, ops_bookmark.c.position)
    standing = (
        sa.select(table.c.flow)
        .outerjoin(ops_bookmark, broken_off)
        .where(table.c.resource == resource)
        .with_for_update(read=True, of=table)
    )
    return set(connection.scalars(standing if since is None else standing.where(begins >= since)))


def follow(connection: sa.Connection, flow: str, resource: str, to: datetime, newest_version: datetime | None) -> None:
    """Moves the watermark of a flow for which another one has read. When it has last read itself stays, for by that
    it is seen whether it is at work."""
    _move(connection, flow, resource, to, newest_version, itself=False)


def move(
    connection: sa.Connection, flow: str, resource: str, to: datetime, newest_version: datetime | None
) -> str | None:
    """Moves the watermark to `to`, the source's time. Keeps the longest silence between two changes.

    It moves forward only, and never beyond our own clock; back where the source's clock has been set back, for what
    changes there now is stamped by that clock. Returns what a person should hear of the source's clock, if anything.
    """
    return _move(connection, flow, resource, to, newest_version, itself=True)


def _move(
    connection: sa.Connection,
    flow: str,
    resource: str,
    to: datetime,
    newest_version: datetime | None,
    *,
    itself: bool,
) -> str | None:
    most = settings.intake().clock
    now, before = datetime.now(UTC), position(connection, flow, resource)
    stated = None
    if to > now + most:
        stated = f"It says {to:%Y-%m-%d %H:%M} UTC, and here it is {now:%Y-%m-%d %H:%M}."
        to = max(now - most, before) if before and before <= now + most else now - most
    elif before and to < before - most:
        stated = f"It says {to:%Y-%m-%d %H:%M} UTC, and the last read there ended at {before:%Y-%m-%d %H:%M}."
    elif before:
        to = max(to, before)
    row = insert(table).values(
        flow=flow, resource=resource, position=to, newest_version=newest_version, read_at=sa.func.now()
    )
    new = row.excluded
    possible = table.c.newest_version <= to + most
    gap = sa.func.extract("epoch", new.newest_version - table.c.newest_version)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[table.c.flow, table.c.resource],
            set_={
                "position": new.position,
                "newest_version": sa.case(
                    (possible, sa.func.greatest(table.c.newest_version, new.newest_version)),
                    else_=sa.case(
                        (table.c.newest_version.is_(None), new.newest_version),
                        else_=sa.func.coalesce(new.newest_version, new.position),
                    ),
                ),
                "longest_gap_seconds": sa.case(
                    (
                        possible,
                        sa.func.greatest(table.c.longest_gap_seconds, sa.func.coalesce(sa.cast(gap, sa.BigInteger), 0)),
                    ),
                    else_=table.c.longest_gap_seconds,
                ),
                "read_at": new.read_at if itself else table.c.read_at,
            },
        )
    )
    return stated


def put(connection: sa.Connection, flow: str, resource: str, to: datetime, *, who: str, why: str) -> datetime:
    """Sets a watermark by hand, on record; what is known of the source's silences begins anew. Returns where it was.
    ConfigError for one that is not there, or a moment ahead of our clock."""
    before = position(connection, flow, resource)
    if before is None:
        raise ConfigError(
            f"There is no watermark of {flow} for {resource}.", do="`crossdock watermark show` lists all there are."
        )
    if to > datetime.now(UTC) + settings.intake().clock:
        raise ConfigError(f"{to:%Y-%m-%d %H:%M} UTC has not come yet.", do="Give a moment that has been.")
    if to < FIRST:
        raise ConfigError(f"{to:%Y-%m-%d} is before anything that can be read.", do=f"Give {FIRST:%Y} or later.")
    connection.execute(
        sa.update(table)
        .where(table.c.flow == flow, table.c.resource == resource)
        .values(
            position=to,
            newest_version=sa.case((table.c.newest_version <= to, table.c.newest_version), else_=sa.null()),
            longest_gap_seconds=0,
        )
    )
    connection.execute(  # a read that broke off goes on from here too
        sa.delete(ops_bookmark).where(ops_bookmark.c.flow == flow, ops_bookmark.c.resource == resource)
    )
    detail = {"resource": resource, "from": before.isoformat(), "to": to.isoformat(), "why": why}
    audit.record(connection, who, "watermark set", flow, detail)
    return before
