"""Abilities: what the API of a system cannot do, so that every process knows it, also one without a connection to it.

In: the sentences of a client. Out: them, by ability. Never: a request to a system.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from crossdock.store import database
from crossdock.store.tables import ops_missing_ability as table

CHANNEL_ADVISOR = "channel_advisor"


def note(connection: sa.Connection, missing: Iterable[tuple[str, str]], system: str = CHANNEL_ADVISOR) -> None:
    """Stores (ability, sentence) of all that the system's API cannot do, in place of what was stored."""
    now = dict(missing)
    if now == lacking(connection, system):
        return
    connection.execute(sa.delete(table).where(table.c.system == system))
    if now:
        rows = [{"system": system, "ability": name, "message": message} for name, message in now.items()]
        statement = database.insert_all(table, rows)
        connection.execute(statement.on_conflict_do_nothing())  # another task has just noted the same


def lacking(connection: sa.Connection, system: str = CHANNEL_ADVISOR) -> dict[str, str]:
    """Ability -> sentence of all that the system's API cannot do, as it was last noted."""
    rows = connection.execute(sa.select(table.c.ability, table.c.message).where(table.c.system == system))
    return {row.ability: row.message for row in rows}
