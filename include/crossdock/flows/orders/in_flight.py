"""Orders in flight: units of orders that we have read and TIMS does not have yet, by TIMS's SKU, and their orders.

In: our own records of orders (raw, staged, linked, dead), TIMS's items. Out: {SKU: units} and {SKU: fingerprint of
their orders}; kits as their parts. Never: a scan of all orders, only of those that are under way, waiting or dead, or
that TIMS has taken just now.

An order counts
- while it is staged, ready, waiting, or a dead letter that nobody has dismissed;
- while a newer version of it, or its first one, is read and not worked yet;
- when TIMS took it after `since`: the quantities that we have may be older.
Of an order that TIMS has in an older version only the additional units count. Shipped units count, for TIMS does not
know of them. Cancelled units do not count, nor do units that a marketplace ships from its own stock: all units of its
own orders, and those of a mixed order that left before TIMS knew of it.

The orders matter as much as the number of units: the channel takes each order's units off its own level. If one order
replaces another with as many units, the level there is too low.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from crossdock.store import sql

UNITS = sql.statement(__package__, "in_flight")


class InFlight(NamedTuple):
    """Units and orders in flight, by SKU of TIMS."""

    units: dict[str, int]
    order_fingerprint: dict[str, str]  # equal for the same orders with the same units each


def in_flight_units(connection: sa.Connection, since: datetime) -> InFlight:
    """Reads what is in flight now, with the orders that TIMS took after `since`. A line whose code is ambiguous counts
    for each of the items; one with an unknown code counts for none."""
    rows = connection.execute(UNITS, {"since": since}).all()
    return InFlight({row.sku: int(row.units) for row in rows}, {row.sku: row.order_fingerprint for row in rows})
