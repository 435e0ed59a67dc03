"""Stages the settlements of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Staged
from crossdock.flows import unreadable
from crossdock.mapping import problems
from crossdock.mapping.frames import LINE, ROW, Frames, sum_by_header
from crossdock.mapping.parse import Parsed
from crossdock.rules import settlements as rules
from crossdock.steps.files import refused_files
from crossdock.store import database
from crossdock.store.tables import (
    SETTLEMENT_LINE_TEXT,
    SETTLEMENT_TEXT,
    ref_settlement,
)
from crossdock.systems.settlements import sources

NAME = "payouts"
_NEEDED = ("SettlementID", "CurrencyCode", "TotalAmount")


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
    refusals = refused_files(given, kept, refused, NAME)
    return Staged(staged, lines.drop(columns=ROW), found, [*_alerts(given, lines), *refusals])


def _understood(given: pd.DataFrame, lines: pd.DataFrame) -> None:
    """Refuses files of several lines without a single known one: that is another format, not a new fee."""
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
    """Makes the problems of files that the reader refused, in its own words."""
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
    """Makes the problems of missing fields that every file has; only an edited payload can lack them."""
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
    """Hashes the content of a file, without its name and the results of our lookups."""
    ours = ("File", "FileModifiedAt", "Channel", "SettlementGroup")
    facts = [*(name for name in SETTLEMENT_TEXT if name not in ours), "TotalAmount"]
    heads = pd.util.hash_pandas_object(given[facts], index=False).to_numpy()
    stated = ["position", *(name for name in SETTLEMENT_LINE_TEXT if name != "Kind"), "Amount"]
    each = pd.util.hash_pandas_object(lines[stated], index=False).to_numpy() if len(lines) else np.zeros(0, "uint64")
    whole = np.zeros(len(given), dtype="uint64")
    np.add.at(whole, lines[ROW].to_numpy(), each)
    return pd.Series([f"{a:016x}{b:016x}" for a, b in zip(heads.tolist(), whole.tolist(), strict=True)], dtype="str")


def _alerts(given: pd.DataFrame, lines: pd.DataFrame) -> list[dict[str, Any]]:
    """Makes one alert for each combination of words that no lookup has, with the row to be added."""
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
    """Adds what the suite checks besides: their sums, their neighbours, what is booked already."""
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
    """Reads the booked settlements of some sources, with moments in the form of the files."""
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
