"""Our settlement ledger, read like a list of a system: the orders of settlements, and their other lines.

In: ref.settlement and its lines, and what an accountant knows of payouts and disputes (lookups). Out: pages of JSON
records by our own contract (include/contracts/crossdock.yaml). Every line is in exactly one of the two lists; a lost
chargeback is in its list once more. The clock is the database's, for its rows are stamped by it.
An order's own money is set apart while a rule keeps its order out of TIMS: it will pay nothing there.
Never: a line in both lists; another change of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from crossdock.config import Currency, Day, Struct, Text
from crossdock.errors import ConfigError, RecordRejected
from crossdock.mapping import lookups
from crossdock.rules.settlements import LEFT_OUT, ORDERS_OWN, SALES
from crossdock.rules.statuses import LEFT_OUT as BY_RULE
from crossdock.store import sql
from crossdock.systems.paging import Page

SIZE = 1_000  # records a page

_LISTS = {path: sql.statement(__package__, path) for path in ("settlement_orders", "settlement_lines")}
_ALL: dict[str, Any] = {  # no condition
    "key": "", "source": None, "rest": "",
    "booked_since": None, "booked_before": None, "posted_since": None, "posted_before": None,
}  # fmt: skip
_SET_APART = sql.statement(__package__, "set_apart")


def set_apart(connection: sa.Connection) -> int:
    """Sets apart the money of orders that the configuration leaves out, and brings it back where it leaves them out no
    longer; the number of lines changed. Both lists give such lines again: the ledger posts or reverses them."""
    facts = {"reason": BY_RULE, "apart": LEFT_OUT, "own": list(ORDERS_OWN)}
    return connection.execute(_SET_APART, facts).rowcount


class Deposit(Struct, frozen=True):
    """One row of payout_deposits.csv."""

    source: Text
    settlement_id: Text
    value_date: Day | None = None
    bank_currency: Currency | None = None
    bank_amount: Decimal | None = None


class Outcome(Struct, frozen=True):
    """One row of dispute_outcomes.csv."""

    source: Text
    settlement_id: Text
    line_no: Annotated[int, Meta(ge=1, description="the number of a line")]
    outcome: str = ""
    decided_on: str = ""

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.outcome != "lost" or not _is_day(self.decided_on):
            yield (
                "outcome",
                f"{self.source} {self.settlement_id} line {self.line_no} has outcome {self.outcome!r} decided on "
                f"{self.decided_on!r}; the outcome is `lost` and the day is YYYY-MM-DD; a dispute that was won needs "
                "no row",
            )


class SettlementLedger:
    """Reads; `pages` and `record` as the clients of the two systems have them."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def server_time(self) -> datetime:
        with self._engine.connect() as connection:
            return connection.scalars(sa.select(sa.func.now())).one().astimezone(UTC)

    def pages(
        self, path: str, *, since: datetime | None = None, before: datetime | None = None, happened: bool = False
    ) -> Iterator[Page]:
        """Records booked in [since, before), or with `happened` those that took place in it; at least one page. An
        order's part took place whenever one of its lines was posted."""
        moment = self.server_time()
        moment_of = "posted" if happened else "booked"
        window = {f"{moment_of}_since": since, f"{moment_of}_before": before}
        number = 0
        for number, records in enumerate(self._read(path, **window), 1):
            yield Page([msgspec.Raw(record) for record in records], moment, number)
        if not number:
            yield Page([], moment, 1)

    def record(self, path: str, key: str) -> bytes:
        """The record of that key: source:settlement:order, or source:settlement:line. Raises RecordRejected (404)
        where there is none."""
        source, _, rest = key.partition(":")
        for records in self._read(path, key=key, source=source, rest=rest):
            return records[0]
        raise RecordRejected(f"Our books have no {key} in {path}.", 404, "NOT_FOUND", system="settlement_ledger")

    def _read(self, path: str, **facts: Any) -> Iterator[list[bytes]]:
        """Reads a list in portions."""
        if path not in _LISTS:
            raise ConfigError(f"Our books have no list {path!r}.", do=f"They have: {', '.join(_LISTS)}.")
        with self._engine.connect().execution_options(stream_results=True, yield_per=SIZE) as connection:
            for rows in connection.execute(_LISTS[path], _ALL | _facts() | facts).partitions():
                yield [row[0].encode() for row in rows]


def _facts() -> dict[str, Any]:
    deposits = lookups.read("payout_deposits", keys=2, row=Deposit).rows.values()
    names = ("source", "settlement_id", "value_date", "bank_currency", "bank_amount")
    columns = [[row[name] for row in deposits] for name in names]
    return {
        **dict(zip(("sources", "ids", "dates", "currencies", "amounts"), columns, strict=True)),
        **_lost(),
        "sales": list(SALES),
        "own": list(ORDERS_OWN),
    }


def _lost() -> dict[str, list[str]]:
    """The lines that dispute_outcomes.csv marks as lost. Raises ConfigError for a wrong outcome or day."""
    table = lookups.read("dispute_outcomes", keys=3, row=Outcome)
    names = {"lost_sources": "source", "lost_ids": "settlement_id", "lost_lines": "line_no", "lost_dates": "decided_on"}
    return {name: [row[column] for row in table.rows.values()] for name, column in names.items()}


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
