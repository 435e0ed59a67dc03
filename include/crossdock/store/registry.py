"""Makes stage tables: the columns of every staged document, those that its mapping fills, and a few more.

In: the registry of columns (`mapping/columns.json`). Out: tables of `metadata`; `tables.py` has those of several flows,
a flow's package those of its own. Never: a table made of a mapping file, which an analyst may be in the middle of
editing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from crossdock.mapping import language
from crossdock.mapping.columns import FIELDS, FREE, LINES, columns_of, registered

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Moment = DateTime(timezone=True)
Money = Numeric(19, 4)
SCHEMAS = ("raw", "ref", "stage", "ops")
STATES = ("staged", "ready", "waiting", "would_be", "dead", "left_out", "delivered", "unchanged")

TYPES: dict[str, TypeEngine | type[TypeEngine]] = {
    "text": Text, "integer": BigInteger, "money": Money, "boolean": Boolean, "json": JSONB,
}  # fmt: skip


def stage_columns() -> list[Column | Index]:
    """The columns of every staged document besides its own fields, and an index of those not made yet: a new list, for
    a column belongs to one table."""
    return [
        Column("key", Text, primary_key=True, comment="Key of the source record"),
        Column("batch_id", BigInteger, nullable=False, index=True),
        Column("version", Moment, nullable=False, comment="Version of the source record"),
        Column("state", Text, nullable=False, comment=", ".join(STATES)),
        Column("reason", Text, comment="Why it waits, is left out, or is not made yet"),
        Column("content_hash", Text, comment="Hash of the target document; the same hash needs no call"),
        Index(None, "key", postgresql_where=text("state IN ('waiting', 'would_be')")),
    ]


def stage_table(
    name: str,
    *more: Column | Index,
    mapping: str,
    comment: str,
    problems: str = "Rules it broke in transform",
    personal: bool = False,
) -> Table:
    """Makes a stage table: the columns of every document, the target paths of `mapping`, and `more`. A column of `more`
    with the name of a target path adds to it: a comment, an index. `personal`: it holds personal data, so people who
    read the database do not see it."""
    return Table(
        name,
        metadata,
        *stage_columns(),
        Column("problems", JSONB, nullable=False, server_default=text("'[]'"), comment=problems),
        *_fields(mapping, FIELDS, more),
        schema="stage",
        comment=comment,
        info={"mapping": mapping, "part": FIELDS, "readable": not personal},
    )


def stage_lines(
    name: str,
    *more: Column | Index,
    mapping: str,
    comment: str,
    key: str | None = "Key of the document",
    position: str | None = "From 0, as sent",
    personal: bool = False,
) -> Table:
    """Makes the table of such a document's lines: the target paths of the `children` of `mapping`, and `more`."""
    return Table(
        name,
        metadata,
        Column("key", Text, nullable=False, comment=key),
        Column("position", Integer, nullable=False, comment=position),
        *_fields(mapping, LINES, more),
        PrimaryKeyConstraint("key", "position"),
        schema="stage",
        comment=comment,
        info={"mapping": mapping, "part": LINES, "readable": not personal},
    )


def _fields(mapping: str, part: str, more: tuple[Column | Index, ...]) -> list[Column | Index]:
    given = {one.name: one for one in more if isinstance(one, Column)}
    types = columns_of(mapping, part)
    of_mapping = [given.pop(name) if name in given else Column(name, TYPES[kind]) for name, kind in types.items()]
    return [*of_mapping, *given.values(), *(one for one in more if isinstance(one, Index))]


class Paths(Sequence[str]):
    """The target paths that a stage table holds: those of its mapping, and free ones once the mapping in force fills
    them. Looks each time anew."""

    def __init__(self, mapping: str, part: str, kind: str) -> None:
        self.mapping, self.part, self.kind = mapping, part, kind

    def _now(self) -> tuple[str, ...]:
        types = registered().get(self.mapping, {})
        found = dict(types.get(self.part, {}))
        if free := types.get(FREE[self.part]):
            table = language.load(self.mapping)
            lines = table.children.fields if table.children else ()
            mapped = {one.target for one in (table.fields if self.part == FIELDS else lines)}
            found |= {path: one for path, one in free.items() if path in mapped}
        return tuple(path for path, one in found.items() if self.kind in ("", one))

    def __getitem__(self, at: Any) -> Any:
        return self._now()[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


def fields(table: Table, kind: str = "") -> Paths:
    """The target paths that a stage table holds (those of one type), in the order in which they are hashed."""
    return Paths(table.info["mapping"], table.info["part"], kind)
