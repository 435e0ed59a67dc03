"""Computes the expected results of the month from the world alone: shipped, returned, paid, and data that cannot be
used.

In: the two systems and the world. Out: `Expected`. Never: a read of what the pipeline recorded; the demo and the tests
compare the pipeline with this.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from sandbox.actors import payouts, returns, stock, warehouse
from sandbox.actors.actor_context import ActorContext
from sandbox.actors.payouts import ACCOUNTS
from sandbox.actors.settlement import TO_DEPOSIT, Row, Settlement, is_of_order
from sandbox.control import Control
from sandbox.world import World

Money = dict[str, Decimal]  # by currency


@dataclass
class Expected:
    """The results as of a moment. `paid` is the sum of the settlements' orders (sales and refunds without fees),
    `deposited` the bank's part of it; a settlement below 0 pays nothing. `differences`: orders, by the marketplace's
    number, for which a settlement pays a wrong amount on purpose."""

    parcels: int = 0
    units: int = 0  # of TIMS's lines
    unknown_carrier: int = 0  # parcels that cannot be reported to a channel
    returns: Counter[str] = field(default_factory=Counter)  # by status
    refunded: Money = field(default_factory=lambda: defaultdict(Decimal))
    settlements: list[Settlement] = field(default_factory=list)
    paid: Money = field(default_factory=lambda: defaultdict(Decimal))
    deposited: Money = field(default_factory=lambda: defaultdict(Decimal))
    differences: dict[str, Decimal] = field(default_factory=dict)
    write_offs: int = 0
    unusable: Counter[str] = field(default_factory=Counter)  # lines of the data, by cause


def expected(world: World, controls: Mapping[str, Control], end: datetime) -> Expected:
    """Everything until `end`."""
    context = ActorContext(world, controls, world.start, end, Path())
    found = Expected()
    for parcel in context.tims("shipment", Source=["warehouse"]):
        found.parcels += 1
        found.units += sum(line["Quantity"] for line in parcel["Lines"])
        found.unknown_carrier += warehouse.is_unknown(parcel["ExternalReference"])
    for returned in context.returns:
        found.returns[returned["Status"]] += 1
        if returned["RefundDate"] is not None:
            found.refunded[returned["Currency"]] += returned["RefundTotal"]
    for account in ACCOUNTS:
        traded_rows = payouts.traded(context, account)
        number = 0
        while payouts.period(context, account, number)[1] + TO_DEPOSIT <= end:
            _add(found, payouts.settlement(context, account, number, traded_rows), traded_rows)
            number += 1
    until = stock.write_offs(world, world.start, end)
    usable = [line for invoice in until for line in invoice.lines if stock.sku_of(world, line.code)]
    found.write_offs = len(usable)
    found.unusable = returns.unusable(context) + stock.unusable(context)
    return found


def _add(found: Expected, settlement: Settlement, traded_rows: list[Row]) -> None:
    if not settlement.rows:
        return
    found.settlements.append(settlement)
    currency = settlement.account.site.currency
    found.deposited[currency] += max(settlement.total, Decimal(0))
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for row in settlement.rows:
        if is_of_order(row):
            paid[row.order] += row.amount
            found.paid[currency] += row.amount
    for row in traded_rows:
        if is_of_order(row) and settlement.start <= row.at < settlement.end:
            paid[row.order] -= row.amount
    found.differences |= {order: amount for order, amount in paid.items() if amount}
