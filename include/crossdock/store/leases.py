"""Leases: who may write for a flow. Each holder has a number greater than all before; only the last one may write.

A worker that was given up (its sessions ended, its machine stood still) may come back in the middle of its work. It
looks at its number in the transaction before each request, and in the one that keeps the answer; where another worker
has a greater one it stops. What a process holds is known by its engine.

In: an engine and a flow. Out: numbers that only grow. Never: a number given twice; a check that a taker can overtake.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.errors import LeaseLost
from crossdock.store.tables import ops_lease as table

_held: WeakKeyDictionary[sa.Engine, dict[str, int]] = WeakKeyDictionary()


def take(connection: sa.Connection, flow: str, holder: str) -> None:
    """Makes this process the only one that may write for the flow."""
    row = insert(table).values(flow=flow, number=1, holder=holder)
    number = connection.execute(
        row.on_conflict_do_update(
            index_elements=[table.c.flow],
            set_={"number": table.c.number + 1, "holder": row.excluded.holder, "taken_at": sa.func.now()},
        ).returning(table.c.number)
    ).scalar_one()
    _held.setdefault(connection.engine, {})[flow] = number


def number(connection: sa.Connection, flow: str) -> int | None:
    """This process's own number; None where it has taken none."""
    return _held.get(connection.engine, {}).get(flow)


def holds(connection: sa.Connection, flow: str) -> bool:
    """Whether this process still holds the lease. Nobody can take it before this transaction ends."""
    mine = number(connection, flow)
    if mine is None:
        return True
    return mine == connection.scalar(sa.select(table.c.number).where(table.c.flow == flow).with_for_update(read=True))


def require(connection: sa.Connection, flow: str) -> None:
    """Raises LeaseLost where another worker has taken over."""
    if not holds(connection, flow):
        raise lost(connection, flow)


def lost(connection: sa.Connection, flow: str) -> LeaseLost:
    """The error for a worker that has lost its lease."""
    now = connection.execute(sa.select(table.c.holder, table.c.taken_at).where(table.c.flow == flow)).one()
    return LeaseLost(
        f"This worker was given up: {now.holder} has taken over {flow} at {now.taken_at:%Y-%m-%d %H:%M:%S} UTC.",
        do="Nothing to do: it writes nothing more; what it sent before is looked at, and told again, by the next run.",
    )
