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
from sqlalchemy.dialects.postgresql import distinct_on, insert

from crossdock.errors import ConfigError
from crossdock.services.people import Person, Right
from crossdock.store.tables import ops_gate_decision as decision
from crossdock.store.tables import ops_gate_result as table

CONNECT, MAP = "connect", "map"
BOTH = "both systems"  # the subject of a gate that looks at both
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


@dataclass(frozen=True)
class Decision:
    """Why something that a gate has found stays as it is, and who has said so."""

    name: str
    by: str
    at: datetime
    why: str


def decide(connection: sa.Connection, person: Person, gate: str, name: str, why: str) -> None:
    """Keeps a decision about a finding, in the place of an earlier one. Raises ConfigError without a reason."""
    person.require(Right.PUBLISH)
    if not why.strip():
        raise ConfigError("A decision needs a reason.", do="Say why it stays as it is, for whoever asks later.")
    row = insert(decision).values(gate=gate, name=name, by=person.name, why=why.strip())
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["gate", "name"], set_={"by": person.name, "why": why.strip(), "at": sa.func.now()}
        )
    )


def take_back(connection: sa.Connection, person: Person, gate: str, name: str) -> bool:
    """Takes a decision back. False where there is none."""
    person.require(Right.PUBLISH)
    return bool(
        connection.execute(sa.delete(decision).where(decision.c.gate == gate, decision.c.name == name)).rowcount
    )


def decisions(connection: sa.Connection, gate: str) -> dict[str, Decision]:
    """What was decided, by the name of the finding."""
    rows = connection.execute(sa.select(decision).where(decision.c.gate == gate))
    return {row.name: Decision(row.name, row.by, row.at, row.why) for row in rows}


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
