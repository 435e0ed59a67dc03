"""What a system takes where only its answers tell: the carriers and service classes of Channel Advisor's account.

In: a file's path, delivered documents, refusals. Out: what the system has taken so far and what it said when it
refused. Never: a guess at what it would take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from crossdock import flows
from crossdock.config import BESIDE, grid
from crossdock.steps.load.outcomes import TITLES
from crossdock.store.tables import ops_dead_letter as letter

SAID, NAMED = 3, 12  # refusals that are quoted, values that are named


@dataclass(frozen=True)
class Place:
    """Columns of a lookup that a flow writes into fields of its documents as they are. `rules`: of the refusals."""

    flow: str
    columns: tuple[str, ...]
    fields: tuple[str, ...]
    rules: tuple[str, ...]


PLACES: Mapping[str, Place] = {
    "lookups/carriers.csv": Place(
        "shipments", ("carrier", "service_class"), ("Carrier", "ServiceClass"),
        ("unknown_carrier", "unknown_service_class"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """`taken`: values of `place.columns` that the system has taken together; `said`: its last refusals of others."""

    place: Place
    system: str
    taken: tuple[tuple[str, ...], ...]
    refusals: tuple[str, ...]

    def of(self, column: str) -> tuple[str, ...]:
        """What the system has taken in one column."""
        at = self.place.columns.index(column)
        return tuple(sorted({values[at] for values in self.taken}))

    @property
    def words(self) -> str:
        """What there is to say beside the field."""
        named = ", ".join(BESIDE.join(values) for values in self.taken[:NAMED])
        more = f" and {len(self.taken) - NAMED} more" if len(self.taken) > NAMED else ""
        taken = f"So far it has taken: {named}{more}." if named else "So far it has taken none."
        return " ".join((taken, *self.refusals))


def of_lookup(connection: sa.Connection, path: str) -> Known | None:
    """What is known of the columns of a lookup; None where they are no such columns."""
    place = PLACES.get(path)
    if place is None:
        return None
    flow = flows.get(place.flow)
    stage = flow.stage.c
    fields = [stage[name] for name in place.fields]
    delivered = sa.select(*fields).where(stage.state.in_(("delivered", "unchanged"))).distinct().order_by(*fields)
    taken = tuple(tuple(str(value or "") for value in row) for row in connection.execute(delivered))
    message = letter.c.reasons[0]["says"].astext
    refused = (
        sa.select(message)
        .where(letter.c.flow == place.flow, letter.c.step == "load", letter.c.rule.in_(place.rules))
        .group_by(message)
        .order_by(sa.func.max(letter.c.updated_at).desc())
        .limit(SAID)
    )
    return Known(place, TITLES[flow.target], taken, tuple(connection.scalars(refused)))


def unsure(connection: sa.Connection, path: str, before: str, after: str) -> str:
    """What a draft of a lookup writes that the system has not taken yet, in words; "" where there is nothing."""
    found = of_lookup(connection, path)
    if found is None:
        return ""
    sure = {_folded(values) for values in found.taken}
    rows = _rows(before)
    written = dict.fromkeys(_values(found.place, row) for row in _rows(after) if row not in rows)
    fresh = [values for values in written if values and _folded(values) not in sure]
    if not fresh:
        return ""
    named = ", ".join(BESIDE.join(values) for values in fresh[:NAMED])
    return f"Whether {found.system} takes {named} is known only when it is sent. {found.words}"


def _rows(text: str) -> list[dict[str, str]]:
    table = grid.read(text)
    return [dict(zip(table.columns, row.cells, strict=False)) for row in table.rows if not row.broken]


def _values(place: Place, row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row.get(name, "") for name in place.columns)


def _folded(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(value.casefold() for value in values)
