"""Holds: who has put a sales order on hold, as its link keeps it.

In: keys of orders. Out: `held_by` and `hold_sent_at` of their links. Never: a person's hold that becomes the channel's
because the channel was told of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.rules.order_changes import PERSON
from crossdock.store.tables import ops_link


def send(connection: sa.Connection, keys: Sequence[str]) -> None:
    """The channel is about to be told that a person holds these orders: from now on its OnHold is their hold, and means
    nothing of its own. To be written before the call."""
    _set(connection, keys, held_by=PERSON, hold_sent_at=sa.func.now())


def end(connection: sa.Connection, keys: Sequence[str]) -> None:
    """A person has released these orders in TIMS, and the channel is told: what it says from now on is its own again.
    To be written after the call."""
    _set(connection, keys, held_by=None, hold_sent_at=None)


def _set(connection: sa.Connection, keys: Sequence[str], **values: object) -> None:
    connection.execute(
        sa.update(ops_link)
        .where(
            ops_link.c.entity == "sales_order",
            ops_link.c.source_key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
        .values(content_hash=None, **values)  # compared when it is read again, whatever was delivered last
    )
