"""Shared by the flows that read TIMS's shipments.

In: keys and ids. Out: rows of `ref` and `stage` as they are, keys of waiting rows whose sales order has arrived.
Never: a call to a system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.mapping.frames import Frames
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.store import database, would_be
from crossdock.store.tables import ref_sales_order


def keyed(parsed: Parsed, keys: Sequence[str]) -> Frames:
    """Makes the input of a mapping: the source's columns, and each record's key."""
    header = parsed.frames.header
    own = pd.Series([keys[position] for position in parsed.kept], index=header.index, dtype="str")
    return Frames(header.assign(**{KEY: own}), parsed.frames.lines)


def among(column: sa.ColumnElement, values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Whether `column` is one of `values`, which are sent as one array."""
    given = sa.bindparam(None, list(values), type_=sa.ARRAY(sa.Text), unique=True)
    return column == sa.any_(sa.cast(given, sa.ARRAY(sa.Text)))  # an empty array literal needs the cast


def sales_orders(connection: sa.Connection, ids: Sequence[str]) -> dict[str, sa.Row]:
    """Reads the sales orders with these ids from `ref`, by SalesOrderID."""
    rows = connection.execute(sa.select(ref_sales_order).where(among(ref_sales_order.c.id, ids)))
    return {row.id: row for row in rows}


def in_place(connection: sa.Connection, ids: Sequence[str]) -> dict[str, str]:
    """Finds those of these sales orders that people have entered in place of one that we would make:
    {SalesOrderID: key of ours}."""
    entered = would_be.in_place().subquery()
    return dict(connection.execute(sa.select(entered).where(among(entered.c.their_id, ids))).all())


def versions(ids: pd.Series, orders: Mapping[str, Any]) -> pd.Series:
    """The version of each row's sales order, as text; missing where it has not been read."""
    found = [orders.get(number) for number in ids]
    return pd.Series([order.version.isoformat() if order else np.nan for order in found], dtype="str")


def moments(texts: pd.Series) -> pd.Series:
    """Parses RFC 3339 texts. A text that is no moment becomes missing, and compares as not later."""
    return pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")


def arrived(connection: sa.Connection, stage: sa.Table, order: str) -> Sequence[str]:
    """Finds keys of waiting rows whose sales order (column `order`) has arrived, or has a newer version since."""
    return connection.scalars(
        sa.select(stage.c.key)
        .join(ref_sales_order, ref_sales_order.c.id == stage.c[order])
        .where(stage.c.state == "waiting", ref_sales_order.c.version.is_distinct_from(stage.c.order_version))
        .order_by(stage.c.key)
    ).all()


def as_staged(
    connection: sa.Connection, stage: sa.Table, lines: sa.Table, keys: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads headers and lines of delivered documents, to be staged again unchanged: posted is posted."""
    engine_columns = ("batch_id", "version", "problems")
    some = list(keys)
    header = database.copy_out(
        connection,
        sa.select(*(c for c in stage.columns if c.name not in engine_columns))
        .where(stage.c.key.in_(some))
        .order_by(stage.c.key),
    )
    body = database.copy_out(
        connection, sa.select(lines).where(lines.c.key.in_(some)).order_by(lines.c.key, lines.c.position)
    )
    return header, body
