"""The parts of a settlement: a marketplace's account with us, one of its periods, the amounts in it.

In: nothing. Out: values that `payouts` makes and `flat_files` writes down. Never: a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from sandbox.actors.worth import ZERO
from sandbox.sites import Site

TO_DEPOSIT = timedelta(days=2)
Special = Literal[
    "cent_short", "three_short", "unknown_order", "unknown_label", "chargeback", "reimbursement", "negative", "inbound",
]  # fmt: skip


@dataclass(frozen=True)
class Style:
    """The format of an account's files. `day` and `moment` are strftime formats; none of them: eBay's report."""

    comma: bool = False
    day: str = ""
    moment: str = ""
    posted: str = ""


US = Style(day="%Y-%m-%d", moment="%Y-%m-%d %H:%M:%S UTC", posted="%Y-%m-%dT%H:%M:%S+00:00")
UK = Style(day="%d/%m/%Y", moment="%d/%m/%Y %H:%M:%S UTC", posted="%d/%m/%Y %H:%M:%S UTC")
DE = Style(comma=True, day="%d.%m.%Y", moment="%d.%m.%Y %H:%M:%S UTC", posted="%d.%m.%Y %H:%M:%S UTC")
FR = DE
EBAY = Style()


@dataclass(frozen=True)
class Account:
    """A marketplace's account with us. `first`: when one of its settlements begins. `special`: by the number of the
    settlement since trade began."""

    source: str
    site: Site
    marketplace: str
    first: datetime
    style: Style
    subscription: Decimal = ZERO
    has_reserve: bool = False
    special: dict[int, tuple[Special, ...]] = field(default_factory=dict)


class Row(NamedTuple):
    """One amount. `tag` names its transaction: eBay writes all amounts of one into one row."""

    at: datetime
    transaction: str
    type: str
    description: str
    amount: Decimal
    order: str = ""
    sku: str = ""
    units: int = 0
    external: bool = False
    tag: str = ""


def is_of_order(row: Row) -> bool:
    """Whether it is an order's own money: sold or refunded, no fee."""
    return row.transaction in ("Order", "Refund") and row.type in ("ItemPrice", "Promotion", "ItemWithheldTax")


@dataclass(frozen=True)
class Settlement:
    """One period of one account, `start` <= posted < `end`."""

    account: Account
    id: str
    start: datetime
    end: datetime
    rows: list[Row]

    @property
    def deposit(self) -> datetime:
        return self.end + TO_DEPOSIT

    @property
    def total(self) -> Decimal:
        return sum((row.amount for row in self.rows), ZERO)
