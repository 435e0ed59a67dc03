"""What the gates on the way to a real account have found: kept, and shown.

In: the results of a gate (connect, map) for one subject. Out: the newest of each. Never: a secret or personal data: the
checks leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock.services.people import Person, Right
from crossdock.store.tables import ops_gate_result as table

CONNECT, MAP = "connect", "map"
KEPT = 20  # results of a gate and subject


@dataclass(frozen=True)
class Result:
    """One run of a gate. `red`: how many of its `checks` (as the gate wrote them) are red or wait for a person."""

    gate: str
    subject: str
    at: datetime
    by: str
    red: int
    checks: tuple[Mapping[str, Any], ...]


def keep(connection: sa.Connection, gate: str, subject: str, by: str, checks: Sequence[Mapping[str, Any]]) -> None:
    """Keeps a result, and the last few before it. A check counts as red by its `state`."""
    red = sum(one.get("state") in ("red", "open") for one in checks)
    connection.execute(sa.insert(table).values(gate=gate, subject=subject, by=by, red=red, checks=list(checks)))
    newest = (
        sa.select(table.c.id)
        .where(table.c.gate == gate, table.c.subject == subject)
        .order_by(table.c.id.desc())
        .limit(KEPT)
    )
    connection.execute(
        sa.delete(table).where(table.c.gate == gate, table.c.subject == subject, table.c.id.not_in(newest))
    )


def newest(connection: sa.Connection, person: Person, gate: str) -> tuple[Result, ...]:
    """The last result of a gate for each subject."""
    person.require(Right.SEE)
    rows = connection.execute(
        sa.select(table)
        .where(table.c.gate == gate)
        .ext(distinct_on(table.c.subject))
        .order_by(table.c.subject, table.c.id.desc())
    )
    return tuple(Result(row.gate, row.subject, row.at, row.by, row.red, tuple(row.checks)) for row in rows)
