"""Holds: keeps in a sales order's link who has put it on hold.

In: keys of orders. Out: `held_by` and `hold_sent_at` of their links. Never: a person's hold taken for the channel's
because it was sent there.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.rules.order_changes import PERSON
from crossdock.store.tables import ops_link


def send(connection: sa.Connection, keys: Sequence[str]) -> None:
    """Notes that a person's hold of these orders is about to be sent to the channel: from now on the channel's OnHold
    is that hold, not its own. Call it before the request."""
    _set(connection, keys, held_by=PERSON, hold_sent_at=sa.func.now())


def end(connection: sa.Connection, keys: Sequence[str]) -> None:
    """Notes that a person has released these orders in TIMS, and that this was sent to the channel: from now on the
    channel's OnHold is its own again. Call it after the request."""
    _set(connection, keys, held_by=None, hold_sent_at=None)


def _set(connection: sa.Connection, keys: Sequence[str], **values: object) -> None:
    connection.execute(
        sa.update(ops_link)
        .where(
            ops_link.c.entity == "sales_order",
            ops_link.c.source_key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
        .values(content_hash=None, **values)  # without a hash the order is compared when it is read again
    )
