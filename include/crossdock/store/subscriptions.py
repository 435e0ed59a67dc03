"""Subscriptions that were made here: with which secret, and when.

In: ids as the systems gave them, fingerprints. Out: rows of `ops.subscription`. Never: a secret, or what it can be
found from.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from crossdock.store.tables import ops_subscription as table


def note(connection: sa.Connection, system: str, id: str, fingerprint: str, since: datetime | None) -> None:
    """Notes a subscription that was just made."""
    connection.execute(sa.insert(table).values(system=system, subscription_id=id, fingerprint=fingerprint, since=since))


def of(connection: sa.Connection, system: str) -> dict[str, sa.Row]:
    """The rows of a system by id."""
    rows = connection.execute(sa.select(table).where(table.c.system == system))
    return {row.subscription_id: row for row in rows}


def keep_only(connection: sa.Connection, system: str, ids: Collection[str]) -> None:
    """Forgets those that their system has no more."""
    connection.execute(sa.delete(table).where(table.c.system == system, table.c.subscription_id.not_in(ids)))
