"""Our own books, read like a list of a system: what settlements say of orders, and their other lines.

In: ref.settlement and its lines, and what an accountant knows of payouts and disputes (lookups). Out: pages of JSON
records by our own contract (include/contracts/crossdock.yaml). Every line is in exactly one of the two lists; a lost
chargeback is in its list once more. The clock is the database's, for its rows are stamped by it.
An order's own money is set apart while a rule keeps its order out of TIMS: nothing there will ever be paid by it.
Never: a line in both lists; another change of the books.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from crossdock.errors import ConfigError, RecordRejected
from crossdock.mapping import lookups
from crossdock.rules.settlements import LEFT_OUT, ORDERS_OWN, SALES
from crossdock.rules.statuses import LEFT_OUT as BY_RULE
from crossdock.systems.paging import Page

SIZE = 1_000  # records a page

_MOMENT = """to_char(timezone('UTC', {0}), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# Settlements with the bank's own dates and amounts, where payout_deposits.csv gives them.
_SETTLEMENTS = """
WITH bank AS (
  SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[]), CAST(:dates AS text[]),
                       CAST(:currencies AS text[]), CAST(:amounts AS text[]))
    AS b(source, settlement_id, value_date, currency, amount)
), settlement AS (
  SELECT s.*, coalesce((nullif(b.value_date, '') || 'T12:00:00Z')::timestamptz, s.deposit_at, s.end_at) AS value_at,
         nullif(b.currency, '') AS bank_currency, nullif(b.amount, '')::numeric AS bank_amount
  FROM ref.settlement s LEFT JOIN bank b USING (source, settlement_id)
)
"""

_ORDERS = f"""
{_SETTLEMENTS}, part AS (
  SELECT source, settlement_id, coalesce(order_ref, '#' || line_no) AS name, min(order_ref) AS order_ref,
         min(merchant_order_ref) AS merchant_order_ref,
         coalesce(sum(amount) FILTER (WHERE kind = ANY(:sales)), 0) AS sale,
         coalesce(sum(amount) FILTER (WHERE kind = ANY(:own) AND kind <> ALL(:sales)), 0) AS refund,
         count(*) FILTER (WHERE kind = ANY(:sales)) AS sale_lines,
         count(*) FILTER (WHERE kind = ANY(:own) AND kind <> ALL(:sales)) AS refund_lines,
         max(posted_at) AS posted_at, max(booked_at) AS booked_at
  FROM ref.settlement_line
  WHERE (kind = ANY(:own) OR former_kind = ANY(:own))
    AND (source, settlement_id) IN (SELECT source, settlement_id FROM ref.settlement_line WHERE {{wanted}})
  GROUP BY 1, 2, 3 HAVING bool_or({{wanted}})
)
SELECT json_strip_nulls(json_build_object(
  'Key', p.source || ':' || p.settlement_id || ':' || p.name, 'Source', p.source, 'SettlementID', p.settlement_id,
  'Channel', s.channel, 'OrderRef', p.order_ref, 'MerchantOrderRef', p.merchant_order_ref,
  'CurrencyCode', s.currency_code, 'SaleAmount', p.sale, 'RefundAmount', p.refund, 'SaleLines', p.sale_lines,
  'RefundLines', p.refund_lines, 'PostedAt', {_MOMENT.format("p.posted_at")},
  'DepositDate', {_MOMENT.format("s.value_at")}, 'BookedAt', {_MOMENT.format("p.booked_at")},
  'ApplyTo', json_build_array()))::text
FROM part p JOIN settlement s USING (source, settlement_id)
WHERE :key IN ('', p.source || ':' || p.settlement_id || ':' || p.name)
ORDER BY p.booked_at, p.source, p.name
"""

# What is not an order's own money; what once was something else, whatever it is now; the payout itself; and chargebacks
# that are lost, whatever the window: nobody books when an accountant decides, and there are few.
_LINES = f"""
{_SETTLEMENTS}, line AS (
  SELECT l.source, l.settlement_id, l.line_no, s.channel, l.kind, l.transaction_type, l.amount_type,
         l.amount_description, l.order_ref, l.sales_order_id, l.sku, l.amount, l.currency_code, l.posted_at,
         NULL::text AS bank_currency, NULL::numeric AS bank_amount, l.booked_at, l.position
  FROM ref.settlement_line l JOIN settlement s USING (source, settlement_id)
  WHERE l.kind <> ALL(:own) OR l.former_kind IS NOT NULL
  UNION ALL
  SELECT source, settlement_id, 'transfer', channel, 'payout', NULL, NULL, NULL, NULL, NULL, NULL, total, currency_code,
         value_at, bank_currency, bank_amount, booked_at, -1
  FROM settlement
), lost AS (
  SELECT l.source, l.settlement_id, l.line_no || ':' || 'lost' AS line_no, l.channel, 'chargeback_lost' AS kind,
         l.transaction_type, l.amount_type, l.amount_description, l.order_ref, l.sales_order_id, l.sku, l.amount,
         l.currency_code, (d.decided_on || 'T12:00:00Z')::timestamptz AS posted_at, l.bank_currency, l.bank_amount,
         l.booked_at, l.position
  FROM line l JOIN unnest(CAST(:lost_sources AS text[]), CAST(:lost_ids AS text[]), CAST(:lost_lines AS text[]),
                          CAST(:lost_dates AS text[])) AS d(source, settlement_id, line_no, decided_on)
    USING (source, settlement_id, line_no)
  WHERE l.kind = 'chargeback'
)
SELECT json_strip_nulls(json_build_object(
  'Source', p.source, 'SettlementID', p.settlement_id, 'LineNo', p.line_no, 'Channel', p.channel, 'Kind', p.kind,
  'TransactionType', p.transaction_type, 'AmountType', p.amount_type, 'AmountDescription', p.amount_description,
  'OrderRef', p.order_ref, 'SalesOrderID', p.sales_order_id, 'SKU', p.sku, 'Amount', p.amount,
  'CurrencyCode', p.currency_code, 'PostedAt', {_MOMENT.format("p.posted_at")}, 'BankCurrencyCode', p.bank_currency,
  'BankAmount', p.bank_amount, 'BookedAt', {_MOMENT.format("p.booked_at")}))::text
FROM (SELECT * FROM line WHERE {{wanted}} UNION ALL SELECT * FROM lost) p
WHERE :key IN ('', p.source || ':' || p.settlement_id || ':' || p.line_no)
ORDER BY p.booked_at, p.source, p.settlement_id, p.position
"""

# Whether the order of a line `l` is one that the configuration leaves out.
_IS_LEFT_OUT = """
EXISTS (
  SELECT FROM left_out o JOIN ref.settlement s ON s.channel = o.channel
  WHERE s.source = l.source AND s.settlement_id = l.settlement_id
    AND o.number IN (l.order_ref, l.merchant_order_ref)
)
"""

_SET_APART = sa.text(f"""
WITH left_out AS (
  SELECT "Channel" AS channel, unnest(ARRAY[marketplace_order_id, key]) AS number FROM stage.sales_order
  WHERE state = 'left_out' AND reason = :reason
)
UPDATE ref.settlement_line l SET former_kind = l.kind, booked_at = now(),
  kind = CASE l.kind WHEN :apart THEN l.former_kind ELSE :apart END
WHERE l.kind = ANY(:own) AND l.sales_order_id IS NULL AND {_IS_LEFT_OUT} OR l.kind = :apart AND NOT {_IS_LEFT_OUT}
""")


def set_apart(connection: sa.Connection) -> int:
    """Sets the money apart of orders that the configuration leaves out, and brings back that of those which it leaves
    out no longer; the number of lines. Both lists give such lines again: the ledger posts or mirrors them."""
    facts = {"reason": BY_RULE, "apart": LEFT_OUT, "own": list(ORDERS_OWN)}
    return connection.execute(_SET_APART, facts).rowcount


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
        column = "posted_at" if happened else "booked_at"
        window = [
            f"{column} {sign} :{name}" for name, sign, at in (("since", ">=", since), ("before", "<", before)) if at
        ]
        number = 0
        for number, records in enumerate(self._read(path, " AND ".join(window), since=since, before=before), 1):
            yield Page([msgspec.Raw(record) for record in records], moment, number)
        if not number:
            yield Page([], moment, 1)

    def record(self, path: str, key: str) -> bytes:
        """The record of that key: source:settlement:order, or source:settlement:line. Raises RecordRejected (404)
        where there is none."""
        source, _, rest = key.partition(":")
        wanted = "source = :source AND starts_with(:rest, settlement_id || ':')"
        for records in self._read(path, wanted, key=key, source=source, rest=rest):
            return records[0]
        raise RecordRejected(f"Our books have no {key} in {path}.", 404, "NOT_FOUND", system="settlement_ledger")

    def _read(self, path: str, wanted: str, **facts: Any) -> Iterator[list[bytes]]:
        """Portions of a list, as they come from the database."""
        statement = sa.text(_of(path).format(wanted=wanted or "true"))
        with self._engine.connect().execution_options(stream_results=True, yield_per=SIZE) as connection:
            for rows in connection.execute(statement, {"key": "", **_facts(), **facts}).partitions():
                yield [row[0].encode() for row in rows]


def _of(path: str) -> str:
    lists = {"settlement_orders": _ORDERS, "settlement_lines": _LINES}
    if path not in lists:
        raise ConfigError(f"Our books have no list {path!r}.", do=f"They have: {', '.join(lists)}.")
    return lists[path]


def _facts() -> dict[str, Any]:
    deposits = list(lookups.read("payout_deposits", keys=2).rows.values())
    names = ("source", "settlement_id", "value_date", "bank_currency", "bank_amount")
    columns = [[row[name] for row in deposits] for name in names]
    return {
        **dict(zip(("sources", "ids", "dates", "currencies", "amounts"), columns, strict=True)),
        **_lost(),
        "sales": list(SALES),
        "own": list(ORDERS_OWN),
    }


def _lost() -> dict[str, list[str]]:
    """The lines that dispute_outcomes.csv gives up. Raises ConfigError for an outcome or a day that is none."""
    table = lookups.read("dispute_outcomes", keys=3)
    for row in table.rows.values():
        if row["outcome"] != "lost" or not _is_day(row["decided_on"]):
            raise ConfigError(
                f"{table.path}: {row['source']} {row['settlement_id']} line {row['line_no']} has outcome "
                f"{row['outcome']!r} decided on {row['decided_on']!r}.",
                do="The outcome is `lost` and the day is YYYY-MM-DD; a dispute that was won needs no row.",
            )
    names = {"lost_sources": "source", "lost_ids": "settlement_id", "lost_lines": "line_no", "lost_dates": "decided_on"}
    return {name: [row[column] for row in table.rows.values()] for name, column in names.items()}


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
