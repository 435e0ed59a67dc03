"""Stages the postings of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.flow import Staged
from crossdock.flows import unreadable
from crossdock.flows.documents import among
from crossdock.flows.ledger.documents import Company, Finder
from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.rules import accounts as account_names
from crossdock.rules import posting, posting_table
from crossdock.rules.dates import posting_dates
from crossdock.steps.load import Kind
from crossdock.store import database
from crossdock.store.tables import (
    ops_link,
    ref_account,
    ref_company,
    ref_period,
)


def transform(
    flow: str,
    document: str,
    find: Finder,
    connection: sa.Connection,
    parsed: Parsed,
    keys: Sequence[str],
    altered: Sequence[str | None],
) -> Staged:
    """The staged postings of a batch: each document with the lines of all its entries."""
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    names = account_names.load()
    names.hold_against(set(connection.scalars(sa.select(ref_account.c.id))))
    table = posting_table.load(names)
    facts = find(connection, parsed.frames, company(connection))
    posted = posting.apply(table, names, document, facts.header, facts.parts)
    waits = pd.Series(np.nan, index=kept.index, dtype="str") if facts.waits is None else facts.waits
    waits = waits.mask(posted.nothing.notna(), np.nan).astype("str")
    # A document without entries is skipped, unless it had some: these are mirrored.
    skipped = posted.nothing.notna() & ~kept.isin(_documents_with_entries(connection, flow, kept))
    header = pd.DataFrame(
        {
            "key": kept,
            "state": _states(skipped, waits),
            "reason": posted.nothing.where(skipped, waits).astype("str"),
            "DocumentType": table.kinds[document].type,
            "DocumentID": posting.fill(table.kinds[document].id, facts.header, np.arange(len(kept))),
            "sales_order_id": _or_missing(facts.orders, kept.index),
            "shipment_id": _or_missing(facts.shipments, kept.index),
        }
    )
    open_ = (header["state"] == "staged").to_numpy()
    found = problems.make(
        np.flatnonzero(posted.untaken & open_),
        field="",
        rule="no_posting_rule",
        message="No event of config/posting.yaml takes this document.",
        do="Add the event that posts it, or say under `nothing` why it is not posted; then replay it.",
    )
    lines = posted.lines[open_[posted.lines[ROW].to_numpy()]].reset_index(drop=True)
    header, found = unreadable.joined(header, found, parsed, keys)
    return Staged(header, _staged_lines(connection, kept, lines), found)


def company(connection: sa.Connection) -> Company:
    row = connection.execute(sa.select(ref_company.c.time_zone, ref_company.c.base_currency)).one_or_none()
    if row is None:
        raise ConfigError(
            "TIMS's company has not been read.", do="Look at `crossdock dead-letters list --flow reference`."
        )
    return Company(row.time_zone, row.base_currency)


def _states(skipped: pd.Series, waits: pd.Series) -> pd.Series:
    state = pd.Series("staged", index=skipped.index, dtype="str")
    return state.mask(waits.notna(), "waiting").mask(skipped, "left_out")


def _or_missing(values: pd.Series | None, index: pd.Index) -> pd.Series:
    return pd.Series(np.nan, index=index, dtype="str") if values is None else values.astype("str")


def _staged_lines(connection: sa.Connection, keys: pd.Series, lines: pd.DataFrame) -> pd.DataFrame:
    """Makes the lines in the columns of the stage table, dated on days with open periods."""
    periods = database.copy_out(
        connection,
        sa.select(ref_period.c.id, sa.cast(ref_period.c.start_date, sa.Text).label("start_date"), ref_period.c.status),
    )
    day, _ = posting_dates(lines["PostingDate"], periods)
    original = lines["EventDate"].where(lines["EventDate"] != day).astype("str")
    rows = lines[ROW].to_numpy()
    first = np.searchsorted(rows, rows)  # rows are sorted
    return lines.drop(columns=[ROW, "EventDate"]).assign(
        key=keys.array.take(rows),
        position=np.arange(len(rows)) - first,
        PostingDate=day,
        OriginalEventDate=original,
    )


def _documents_with_entries(connection: sa.Connection, flow: str, keys: pd.Series) -> set[str]:
    """Finds the documents of which we have posted entries."""
    wanted = [owner(flow, key) for key in keys]
    found = connection.scalars(
        sa.select(ops_link.c.other_key).where(ops_link.c.entity == ENTRY.entity, among(ops_link.c.other_key, wanted))
    )
    return {one.removeprefix(owner(flow, "")) for one in found}


def owner(flow: str, key: str) -> str:
    """The name of an entry's document in links."""
    return f"{flow}:{key}"


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds what the suite checks besides: sums, shared keys, the states of accounts and periods in TIMS."""
    header, lines = frames.header.copy(), frames.lines.copy()
    header["imbalance"] = posting.imbalances(lines, len(header))
    per_entry = lines.groupby([ROW, "EntryKey"]).agg(lines=("Event", "size"), events=("Event", "nunique"))
    per_entry = per_entry.reset_index()
    per_entry["shared"] = (per_entry["events"] > 1) | per_entry["EntryKey"].duplicated(keep=False)
    by_document = per_entry.groupby(ROW)
    for name, values, none in (
        ("shared_keys", by_document["shared"].sum(), 0),
        ("most_lines", by_document["lines"].max(), 2),
        ("fewest_lines", by_document["lines"].min(), 2),
    ):
        header[name] = values.reindex(range(len(header)), fill_value=none).to_numpy(dtype=np.int64)
    chart = dict(connection.execute(sa.select(ref_account.c.id, ref_account.c.blocked)).all())
    lines["account_status"] = (
        lines["AccountCode"]
        .map({code: "blocked" if blocked else "open" for code, blocked in chart.items()})
        .astype("str")
    )
    periods = dict(connection.execute(sa.select(ref_period.c.id, ref_period.c.status)).all())
    lines["period_status"] = lines["PostingDate"].str.slice(0, 7).map(periods).astype("str")
    debit, credit = (lines[side].fillna(0).to_numpy(dtype=np.int64) for side in ("Debit", "Credit"))
    lines["sides"] = (debit > 0).astype(np.int64) + (credit > 0)
    lines["broken_cents"] = ((debit % CENT != 0) | (credit % CENT != 0)).astype(np.int64)
    return Frames(header, lines)


ENTRY = Kind("gl_entry", "gl/entries", "EntryID")
