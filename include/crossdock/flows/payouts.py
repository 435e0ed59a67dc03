"""Payouts: settlement files of the inbox -> our own books (ref.settlement and its lines).

What makes it special: the target is our own database, and a file is taken whole or not at all. One whose total is not
the sum of its lines, that leaves a gap to its neighbour or overlaps with it, that was seen before, or that cannot be
read is a dead letter, and nothing of it is booked. A line that no lookup knows is booked as `unknown` and alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Flow, RecordKey, Resource, Staged
from crossdock.flows import unreadable
from crossdock.mapping import problems
from crossdock.mapping.frames import LINE, ROW, Frames, sum_by_header
from crossdock.mapping.parse import Parsed
from crossdock.rules import settlements as rules
from crossdock.steps import files
from crossdock.steps.files import refused_files
from crossdock.steps.load import record_outcomes
from crossdock.store import batches, database
from crossdock.store.tables import (
    SETTLEMENT_LINE_TEXT,
    SETTLEMENT_TEXT,
    raw_payouts,
    ref_settlement,
    stage_settlement,
    stage_settlement_line,
)
from crossdock.systems import settlement_ledger
from crossdock.systems.settlements import sources

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

INBOX = "settlements"  # list of the inbox
_NEEDED = ("SettlementID", "CurrencyCode", "TotalAmount")


class _Slots(msgspec.Struct):
    """What extract looks at."""

    Source: str
    File: str
    FileModifiedAt: str


_slots = msgspec.json.Decoder(_Slots)


def read_key(record: msgspec.Raw) -> RecordKey:
    """source/file name, and when the file was last written."""
    slots = _slots.decode(record)
    return RecordKey(f"{slots.Source}/{slots.File}", slots.FileModifiedAt)


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged settlements of a batch, each line with its kind."""
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    given, below = parsed.frames.header, parsed.frames.lines
    row = below[ROW].to_numpy()
    lines = pd.DataFrame(
        {
            ROW: row,
            "key": kept.array.take(row),
            "position": below[LINE].to_numpy(),
            **{name: below[name] for name in SETTLEMENT_LINE_TEXT if name != "Kind"},
            "Kind": rules.kinds(pd.Series(given["Format"].array.take(row)), below),
            "Amount": below["Amount"],
        }
    )
    _understood(given, lines)
    refused = given["RefusedFor"].notna().to_numpy(dtype=bool)
    staged = pd.DataFrame(
        {
            "key": kept,
            "state": pd.Series(np.where(refused, "dead", "staged"), dtype="str"),
            **{name: given[name] for name in SETTLEMENT_TEXT},
            "TotalAmount": given["TotalAmount"],
            "content_hash": _content(given, lines),
        }
    )
    found = problems.concat([_refusals(given, refused), _missing(given, refused)])
    staged, found = unreadable.joined(staged, found, parsed, keys)
    refusals = refused_files(given, kept, refused, PAYOUTS.name)
    return Staged(staged, lines.drop(columns=ROW), found, [*_alerts(given, lines), *refusals])


def _understood(given: pd.DataFrame, lines: pd.DataFrame) -> None:
    """Refuses files of several lines of which nobody knows any: that is another format, not a new fee."""
    row = lines[ROW].to_numpy()
    count = np.bincount(row, minlength=len(given))
    unknown = np.bincount(row, weights=(lines["Kind"] == rules.UNKNOWN).to_numpy(), minlength=len(given))
    for at in np.flatnonzero((count > 1) & (unknown == count) & given["RefusedFor"].isna().to_numpy(dtype=bool)):
        first = lines[row == at].iloc[0]
        words = [first[name] for name in ("TransactionType", "AmountType", "AmountDescription")]
        stated = " / ".join(word for word in words if not pd.isna(word))
        facts = {
            "RefusedFor": "unknown_words",
            "RefusedSays": f"None of its {count[at]} lines is of a kind that is known; the first is {stated}.",
            "RefusedDo": "Check that the file is of this source and in a language that it may have. Else add its words "
            "to include/config/lookups/settlement_kinds.csv, then work it once more.",
            "RefusedValue": stated,
        }
        given.loc[given.index[at], list(facts)] = list(facts.values())


def _refusals(given: pd.DataFrame, refused: np.ndarray) -> pd.DataFrame:
    """Why the reader refused a file, in its own words."""
    return problems.concat(
        [
            problems.make(
                [at],
                field="File",
                rule=given["RefusedFor"].iloc[at],
                value=given["RefusedValue"].iloc[at],
                message=given["RefusedSays"].iloc[at],
                do=given["RefusedDo"].iloc[at],
            )
            for at in np.flatnonzero(refused)
        ]
    )


def _missing(given: pd.DataFrame, refused: np.ndarray) -> pd.DataFrame:
    """What a file that was read must have; only an edited payload lacks it."""
    return problems.concat(
        [
            problems.make(
                np.flatnonzero(given[name].isna().to_numpy(dtype=bool) & ~refused),
                field=name,
                rule="missing_field",
                message="The file does not say its {field}.",
                do="Fetch the file again from the marketplace, as it is.",
            )
            for name in _NEEDED
        ]
    )


def _content(given: pd.DataFrame, lines: pd.DataFrame) -> pd.Series:
    """A hash of all that a file says; its name and what our lookups make of it do not count."""
    ours = ("File", "FileModifiedAt", "Channel", "SettlementGroup")
    facts = [*(name for name in SETTLEMENT_TEXT if name not in ours), "TotalAmount"]
    heads = pd.util.hash_pandas_object(given[facts], index=False).to_numpy()
    stated = ["position", *(name for name in SETTLEMENT_LINE_TEXT if name != "Kind"), "Amount"]
    each = pd.util.hash_pandas_object(lines[stated], index=False).to_numpy() if len(lines) else np.zeros(0, "uint64")
    whole = np.zeros(len(given), dtype="uint64")
    np.add.at(whole, lines[ROW].to_numpy(), each)
    return pd.Series([f"{a:016x}{b:016x}" for a, b in zip(heads.tolist(), whole.tolist(), strict=True)], dtype="str")


def _alerts(given: pd.DataFrame, lines: pd.DataFrame) -> list[dict[str, Any]]:
    """One alert for each combination of words that no lookup knows, with the row to be added."""
    unknown = lines[(lines["Kind"] == rules.UNKNOWN).to_numpy()]
    words = pd.DataFrame(
        {
            "format": given["Format"].array.take(unknown[ROW].to_numpy()),
            **{name: unknown[name].fillna("").array for name in ("TransactionType", "AmountType", "AmountDescription")},
        }
    )
    found = words.assign(file=unknown["key"].array).groupby(list(words), sort=False)["file"]
    return [
        {
            "kind": "unknown_settlement_line",
            "key": ",".join(combination),
            "title": f"Settlement lines of a kind that nobody knows ({len(files)}): "
            f"{' / '.join(word for word in combination if word)}",
            "body": "They are posted to Suspense, which must be 0 before the month is closed. Add the row "
            f"`{','.join(combination)},KIND,` to include/config/lookups/settlement_kinds.csv, then work the file once "
            f"more: `crossdock sync payouts{''.join(f' --key {file}' for file in sorted(set(files))[:5])}`, "
            "`crossdock sync ledger_settlements`.",
            "severity": "alert",
            "window": timedelta(days=1),
        }
        for combination, files in found
    ]


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged settlements with what stands against them: their sums, their neighbours, what is booked already."""
    staged = frames.header.copy()
    staged["difference"] = staged["TotalAmount"].fillna(0).to_numpy(dtype=np.int64) - sum_by_header(
        frames, frames.lines["Amount"]
    )
    every = sources.load()
    settlements = pd.DataFrame(
        {
            "source": staged["Source"],
            "group": staged["SettlementGroup"].fillna(""),
            "settlement_id": staged["SettlementID"].fillna(""),
            "file": staged["File"],
            "start": staged["StartDate"],
            "end": staged["EndDate"],
            "content_hash": staged["content_hash"],
            "difference": staged["difference"],
            "joined": [name in every and every[name].periods == "joined" for name in staged["Source"]],
        }
    )
    judged = rules.judge(settlements, _booked(connection, staged["Source"].dropna().unique().tolist()))
    for name in judged.columns:
        staged[name] = judged[name]
    return Frames(staged, frames.lines)


def _booked(connection: sa.Connection, names: list[str]) -> pd.DataFrame:
    """The settlements in the books of some sources, moments as files have them."""
    table = ref_settlement

    def moment(column: sa.Column) -> sa.ColumnElement:
        return sa.func.to_char(sa.func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')

    return database.copy_out(
        connection,
        sa.select(
            table.c.source,
            table.c.group,
            table.c.settlement_id,
            table.c.file,
            table.c.content_hash,
            moment(table.c.start_at).label("start"),
            moment(table.c.end_at).label("end"),
        ).where(table.c.source.in_(names)),
    )


# ---- load ----------------------------------------------------------------------------------------------------------

_READY = sa.text("""
SELECT key, content_hash, "Source" AS source, "SettlementID" AS settlement_id, "File" AS file
FROM stage.settlement WHERE batch_id = :batch AND state = 'ready' ORDER BY "Source", "StartDate", key
""")

_BOOK = sa.text("""
INSERT INTO ref.settlement (source, settlement_id, channel, format, file, currency_code, "group", start_at, end_at,
                            deposit_at, total, content_hash)
SELECT "Source", "SettlementID", "Channel", "Format", "File", "CurrencyCode", coalesce("SettlementGroup", ''),
       "StartDate"::timestamptz,
       "EndDate"::timestamptz, "DepositDate"::timestamptz, "TotalAmount", content_hash
FROM stage.settlement WHERE key = :key
""")

# An order is known by the marketplace's number of its own channel; two orders of one number are none.
_BOOK_LINES = sa.text("""
WITH known AS (
  SELECT l.ref, min(k.target_id) AS sales_order_id
  FROM (SELECT DISTINCT unnest(ARRAY["OrderRef", "MerchantOrderRef"]) AS ref
        FROM stage.settlement_line WHERE key = :key) AS l
  JOIN ops.link k ON k.entity = 'sales_order' AND l.ref IN (k.other_key, k.source_key)
  JOIN stage.sales_order o ON o.key = k.source_key
  JOIN stage.settlement s ON s.key = :key AND s."Channel" = o."Channel"
  GROUP BY l.ref HAVING count(DISTINCT k.target_id) = 1
)
INSERT INTO ref.settlement_line (source, settlement_id, line_no, position, kind, transaction_type, amount_type,
  amount_description, order_ref, merchant_order_ref, sku, amount, currency_code, posted_at, sales_order_id)
SELECT s."Source", s."SettlementID", l."LineNo", l.position, l."Kind", l."TransactionType", l."AmountType",
       l."AmountDescription", l."OrderRef", l."MerchantOrderRef", l."SKU", l."Amount", s."CurrencyCode",
       l."PostedAt"::timestamptz, coalesce(a.sales_order_id, b.sales_order_id)
FROM stage.settlement s JOIN stage.settlement_line l USING (key)
LEFT JOIN known a ON a.ref = l."OrderRef"
LEFT JOIN known b ON b.ref = l."MerchantOrderRef"
WHERE s.key = :key
""")

_RENAME_KINDS = sa.text("""
UPDATE ref.settlement_line b SET former_kind = b.kind, kind = l."Kind", booked_at = now()
FROM stage.settlement_line l
WHERE l.key = :key AND b.source = :source AND b.settlement_id = :settlement_id AND b.line_no = l."LineNo"
  AND b.kind <> l."Kind" AND NOT (b.kind = :apart AND b.former_kind = l."Kind")
""")


def load(runtime: Runtime, batch_id: int) -> None:
    """Books each settlement in a transaction of its own, in the order of their periods."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(connection.execute(_READY, {"batch": batch_id}))
    for row in rows:
        with runtime.engine.begin() as connection:
            outcome = _book(connection, row)
            record_outcomes(connection, PAYOUTS, batch, **outcome)
    with runtime.engine.begin() as connection:
        settlement_ledger.set_apart(connection)


def _book(connection: sa.Connection, row: sa.Row) -> dict[str, Any]:
    """The arguments of `record_outcomes` for one settlement, after it was booked if it was new."""
    facts = {"key": row.key, "source": row.source, "settlement_id": row.settlement_id}
    held = connection.execute(
        sa.select(ref_settlement)
        .where(ref_settlement.c.source == row.source, ref_settlement.c.settlement_id == row.settlement_id)
        .with_for_update()
    ).one_or_none()
    if held is None:
        connection.execute(_BOOK, facts)
        connection.execute(_BOOK_LINES, facts)
        return {"delivered": [row.key]}
    if (held.file, held.content_hash) != (row.file, row.content_hash):  # booked while this one was being checked
        return {
            "refused": {
                row.key: [
                    {
                        "field": "SettlementID", "rule": "seen_before", "value": row.settlement_id, "line": "",
                        "says": f"This settlement was seen before: it is in the books from {held.file}.",
                        "do": "Take the file out of the inbox and dismiss this.",
                    }
                ]
            }
        }  # fmt: skip
    changed = connection.execute(_RENAME_KINDS, {**facts, "apart": rules.LEFT_OUT}).rowcount
    return {"delivered": [row.key]} if changed else {"unchanged": [row.key]}


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, batch_id: int) -> None:
    """Moves the files that are in the books to done/."""
    with runtime.engine.begin() as connection:
        taken = files.taken(connection, stage_settlement, raw_payouts, batch_id)
    for source, file, read in taken:
        runtime.inbox.finish(INBOX, source, file, read)


PAYOUTS = Flow(
    name="payouts",
    title="Payouts",
    entity="settlement",
    source=Resource(
        "inbox",
        INBOX,
        raw_payouts,
        read_key,
        "Settlement",
        overlap=timedelta(0),
        lag=timedelta(0),
        at_once=1,
        ids=("Source", "File"),
    ),
    reference=(),
    lines_path="Lines",
    stage=stage_settlement,
    stage_lines=stage_settlement_line,
    mappings=(),
    transform=transform,
    suite="settlement",
    enrich_for_checks=enrich_for_checks,
    load=load,
    confirm=confirm,
)
