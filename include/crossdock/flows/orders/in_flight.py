"""Units of orders that we have read and TIMS does not hold yet, by TIMS's SKU, and whose they are.

In: our own records of orders (raw, staged, linked, dead), TIMS's items. Out: {SKU: units} and {SKU: fingerprint of
their orders}; kits as their parts. Never: a look at all orders: only at those that are on their way, wait, are dead, or
were taken by TIMS just now.

An order counts
- while it is staged, ready, waiting, or a dead letter that nobody has dismissed;
- while a newer version of it, or its first one, is read and not worked yet;
- when TIMS took it after `since`: the quantities that we know may be from before.
Of an order that TIMS holds in an older version only the units beyond that version count. Units shipped count: TIMS does
not know of them. Cancelled units do not, and no unit that a marketplace ships from its own stock: of an order of its
own none, of a mixed one none that has left before TIMS knew of the order.

Whose they are counts as much as how many: the channel takes the units of each order off its own level, so an order in
the place of another leaves it too low although as many units are in flight.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from crossdock.store import sql

UNITS = sql.statement(__package__, "in_flight")


class InFlight(NamedTuple):
    """What is in flight, by SKU of TIMS."""

    units: dict[str, int]
    order_fingerprint: dict[str, str]  # the same text: the same orders with as many units each


def in_flight_units(connection: sa.Connection, since: datetime) -> InFlight:
    """What is in flight now; what orders TIMS took after `since` counts. A line whose code is that of several items
    counts against each of them, one that is the code of none against nothing."""
    rows = connection.execute(UNITS, {"since": since}).all()
    return InFlight({row.sku: int(row.units) for row in rows}, {row.sku: row.order_fingerprint for row in rows})
