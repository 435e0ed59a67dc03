"""Applies the posting table: documents as frames -> lines of journal entries.

In: one kind of document with the fields that `posting_table.DOCUMENTS` gives it, money as int64 x 10,000. Out: lines,
grouped by entry key, each with exactly one of Debit and Credit above 0; documents without entries, and why; documents
that no event takes. Never: an account that the table does not name; a line of 0; a row loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crossdock.mapping.frames import ROW
from crossdock.rules.accounts import Accounts
from crossdock.rules.posting_table import Condition, Event, Line, PostingTable, literals, placeholders

# Lines of one entry and side that are equal in these become one line.
_SAME = ("_row", "_event", "Account", "AccountCode", "is_debit", "Channel", "SKU", "Order")
LINE_COLUMNS = (
    "EntryKey", "Event", "PostingDate", "EventDate", "CurrencyCode", "Description", "Account", "AccountCode", "Debit",
    "Credit", "Channel", "SKU", "Order",
)  # fmt: skip


@dataclass
class Posted:
    """`lines`: `_row` (position of the document), LINE_COLUMNS; sorted by document and entry. `nothing`: one reason per
    document, missing for those that have entries. `untaken`: documents that no event takes."""

    lines: pd.DataFrame
    nothing: pd.Series
    untaken: np.ndarray


def apply(
    table: PostingTable, accounts: Accounts, document: str, header: pd.DataFrame, parts: Mapping[str, pd.DataFrame]
) -> Posted:
    """Entries of `header`'s documents; `parts[name]` are their lines, each with `_row`. PostingDate is the document's
    day, EventDate its day before a closed period moved it."""
    nothing = _nothing(table, document, header)
    open_ = nothing.isna().to_numpy()
    taken = np.zeros(len(header), dtype=bool)
    pieces = []
    events = table.events_of(document)
    for number, event in enumerate(sorted(events, key=lambda one: one.otherwise)):  # `otherwise` last
        met = open_ & (~taken if event.otherwise else meets(header, event.when))
        taken |= met
        pieces += _event(number, event, header, parts, met)
    lines = _combined(pieces, accounts) if pieces else _no_lines()
    has = np.zeros(len(header), dtype=bool)
    has[lines[ROW].to_numpy()] = True
    nothing = nothing.mask(taken & ~has, "all its amounts are 0").astype("str")
    return Posted(lines, nothing, open_ & ~taken)


def _nothing(table: PostingTable, document: str, header: pd.DataFrame) -> pd.Series:
    """Why a document has no entries; missing where it has some. The first reason counts."""
    reason = pd.Series(np.nan, index=header.index, dtype="str")
    for one in table.kinds[document].nothing:
        reason = reason.mask(reason.isna() & meets(header, one.when), one.because)
    return reason.astype("str")


def meets(header: pd.DataFrame, conditions: Sequence[Condition]) -> np.ndarray:
    """bool per document: whether it meets all conditions."""
    met = np.ones(len(header), dtype=bool)
    for one in conditions:
        met &= _meets(header[one.field], one)
    return met


def _meets(values: pd.Series, one: Condition) -> np.ndarray:
    if one.test in ("given", "absent"):
        return values.notna().to_numpy() == (one.test == "given")
    if one.test:
        numbers = values.fillna(0).to_numpy(dtype=np.int64)
        return {
            "above 0": numbers > 0, "below 0": numbers < 0, "not above 0": numbers <= 0, "not 0": numbers != 0,
            "0": numbers == 0,
        }[one.test]  # fmt: skip
    if one.values in (("yes",), ("no",)):
        return values.fillna(False).to_numpy(dtype=bool) == (one.values == ("yes",))
    return values.isin(one.values).to_numpy()


def _event(
    number: int, event: Event, header: pd.DataFrame, parts: Mapping[str, pd.DataFrame], met: np.ndarray
) -> list[pd.DataFrame]:
    """The lines of one event, for the documents that meet it."""
    rows = np.flatnonzero(met)
    if not len(rows):
        return []
    day = pd.Series(header[event.date].array.take(rows))
    happened = pd.Series(header[event.happened or event.date].array.take(rows))
    facts = pd.DataFrame(
        {
            "EntryKey": fill(event.key, header, rows),
            "Event": event.name,
            "PostingDate": day,
            # A closed period has moved the document if its month is later than that of the event.
            "EventDate": happened.where(happened.str.slice(0, 7) < day.str.slice(0, 7), day).astype("str"),
            "CurrencyCode": header[event.currency].array.take(rows),
            "Description": fill(event.description, header, rows),
        }
    )
    at = np.cumsum(met) - 1  # the position of each document among those met
    return [_line(number, place, line, header, parts, met, facts, at) for place, line in enumerate(event.lines)]


def _line(
    number: int,
    place: int,
    line: Line,
    header: pd.DataFrame,
    parts: Mapping[str, pd.DataFrame],
    met: np.ndarray,
    facts: pd.DataFrame,
    at: np.ndarray,
) -> pd.DataFrame:
    """One line of an event: for each document, or for each line of one of its parts. A negative amount changes
    sides."""
    source = parts[line.part] if line.part else header
    rows = source[ROW].to_numpy() if line.part else np.arange(len(header))
    amount = source[line.amount].fillna(0).to_numpy(dtype=np.int64)
    kept = np.flatnonzero(met[rows] & (amount != 0))
    rows, amount = rows[kept], amount[kept]
    piece = facts.take(at[rows]).reset_index(drop=True)
    piece.insert(0, ROW, rows)
    piece["_event"], piece["_place"] = number, place
    piece["Account"] = line.account
    piece["_channel"] = _text(header, "Channel", rows)
    for name in ("Channel", "SKU", "Order"):
        if name not in line.dimensions:
            piece[name] = pd.Series(np.nan, index=piece.index, dtype="str")
        elif line.part and name in source:
            piece[name] = source[name].array.take(kept)
        else:
            piece[name] = _text(header, name, rows)
    piece["is_debit"] = (amount > 0) == line.is_debit
    piece["_amount"] = np.abs(amount)
    return piece


def _text(header: pd.DataFrame, name: str, rows: np.ndarray) -> pd.Series:
    """A text field of each row's document, missing where the document has no such field."""
    if name not in header:
        return pd.Series(np.nan, index=pd.RangeIndex(len(rows)), dtype="str")
    return pd.Series(header[name].array.take(rows), dtype="str")


def _combined(pieces: list[pd.DataFrame], accounts: Accounts) -> pd.DataFrame:
    """All lines in order; lines of one entry with the same account, side and dimensions are one line, but the same
    account's debit and credit stay apart."""
    lines = pd.concat(pieces, ignore_index=True)
    lines["AccountCode"] = accounts.codes(lines["Account"], lines.pop("_channel"), lines["CurrencyCode"])
    lines = lines.sort_values([ROW, "_event", "_place"], kind="stable", ignore_index=True)
    amounts = lines.groupby(list(_SAME), sort=False, dropna=False)["_amount"].transform("sum")
    lines = lines.assign(_amount=amounts)[~lines.duplicated(list(_SAME))].reset_index(drop=True)
    lines["Debit"] = lines["_amount"].where(lines["is_debit"], 0)
    lines["Credit"] = lines["_amount"].where(~lines["is_debit"], 0)
    return lines[[ROW, *LINE_COLUMNS]]


def _no_lines() -> pd.DataFrame:
    money = ("Debit", "Credit")
    columns = {name: pd.Series(dtype="int64" if name in money else "str") for name in LINE_COLUMNS}
    return pd.DataFrame({ROW: pd.Series(dtype="int64"), **columns})


def fill(template: str, header: pd.DataFrame, rows: np.ndarray) -> pd.Series:
    """A template with the fields of each document; a missing one is filled with nothing."""
    names, words = placeholders(template), literals(template)
    text = pd.Series([words[0]] * len(rows), dtype="str")
    for name, after in zip(names, words[1:], strict=True):
        text = text + pd.Series(header[name].array.take(rows)).astype("str").fillna("") + after
    return text


def imbalances(lines: pd.DataFrame, count: int) -> np.ndarray:
    """int64 per document: the largest difference of debit and credit in one of its entries; 0 if all balance."""
    worst = np.zeros(count, dtype=np.int64)
    if len(lines):
        difference = (lines["Debit"] - lines["Credit"]).groupby([lines[ROW], lines["EntryKey"]]).sum()
        np.maximum.at(worst, difference.index.get_level_values(0).to_numpy(), difference.abs().to_numpy())
    return worst
