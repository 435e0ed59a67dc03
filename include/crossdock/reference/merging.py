"""Copies the newest versions of a batch's records into `ref`.

In: a raw table and a batch, or some keys of the batch. Out: statements that leave newer rows as they are.
Never: a row replaced by an older version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, distinct_on, insert

from crossdock.flow import Merge
from crossdock.store.tables import ops_work


def given(batch_id: int | None, keys: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of `newest`: a batch, or some keys of it."""
    return {"batch": batch_id, "keys": None if keys is None else list(keys)}


def newest(table: sa.Table) -> sa.CTE:
    """(key, version, payload) of the newest version of each record of a batch."""
    work = ops_work.c
    return (
        sa.select(table.c.key, table.c.version, table.c.payload)
        .ext(distinct_on(table.c.key))
        .join(ops_work, sa.and_(work.key == table.c.key, work.hash == table.c.hash))
        .where(work.batch_id == sa.bindparam("batch", type_=sa.BigInteger), is_wanted(table))
        .order_by(table.c.key, table.c.version.desc(), work.queued_at.desc())
        .cte("newest")
    )


def is_wanted(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether a record is one of `keys`; true for all where no keys are given."""
    keys = sa.cast(sa.bindparam("keys"), sa.ARRAY(sa.Text))
    return sa.or_(keys.is_(None), table.c.key == sa.any_(keys))


def fields(rows: sa.FromClause, table: sa.Table, paths: Mapping[str, str]) -> dict[str, sa.ColumnElement[Any]]:
    """Maps {column of `table`: value at its path in the payload, cast to the column's type}."""
    found: dict[str, sa.ColumnElement[Any]] = {}
    for name, path in paths.items():
        parts = tuple(path.split("."))
        text = rows.c.payload[parts if len(parts) > 1 else path].astext
        kind = table.c[name].type
        found[name] = text if isinstance(kind, sa.Text) else sa.cast(text, kind)
    return found


def upsert(table: sa.Table, rows: sa.FromClause, values: Mapping[str, sa.ColumnElement[Any]]) -> Insert:
    """Copies `rows` (key, version, payload) into `table`; `values`: its columns, the id first."""
    id_, *rest = values
    source = sa.select(*values.values(), rows.c.version)
    made = insert(table).from_select([*values, "version"], source, include_defaults=False)
    return made.on_conflict_do_update(
        index_elements=[id_],
        set_={name: made.excluded[name] for name in (*rest, "version")},
        where=table.c.version <= made.excluded.version,
    )


def merging(statement: sa.Executable) -> Merge:
    """Makes a resource's `merge` of one statement over `newest`."""

    def merge(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
        connection.execute(statement, given(batch_id, keys))

    return merge
