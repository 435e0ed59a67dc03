"""Reads movements of stock that TIMS does not know: which item, which reason, which day.

In: movements as our own contract has them, TIMS's items and codes, the lookup adjustment_reasons. Out: columns of the
stock adjustment, and problems. Never: a guess at a reason; a movement of an item that keeps no stock of its own.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crossdock.config import Struct, Text
from crossdock.mapping import lookups, problems
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.lookups import BESIDE
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.dates import company_days, posting_dates
from crossdock.rules.items import AMOUNTS, PRODUCT, resolve
from crossdock.rules.reference_data import Reference
from crossdock.rules.settings import Settings

LOOKUP = "adjustment_reasons"
LEAVE_OUT = "-"
NOTHING = "no movements"  # reason of a file without a movement
ANY = "*"
MEMO_LENGTH = 200
_TABLE = f"include/config/lookups/{LOOKUP}.csv"


@dataclass(frozen=True)
class MovementContext:
    """The context of the movement rules: what they need beside columns. `reasons`: the lookup adjustment_reasons."""

    reference: Reference
    settings: Settings
    zone: str
    periods: pd.DataFrame
    reasons: lookups.Lookup


class Reason(Struct, frozen=True):
    """One row of adjustment_reasons.csv."""

    source: Text
    reason: Text
    tims: Text
    note: str = ""


def read_reasons() -> lookups.Lookup:
    return lookups.read(LOOKUP, keys=2, row=Reason)


@rule("movement_item", reads=["Reference", "SKU"], writes=["ItemSKU"])
def movement_item(frames: Frames, context: MovementContext) -> Columns:
    """TIMS's own SKU, by the same rules as on orders. A blocked item may still lose or gain stock; a code that is not
    an item is a problem."""
    skus, found = items(frames.header, context.reference, context.settings)
    return Columns(pd.DataFrame({"ItemSKU": skus}), problems=found)


@rule("movement_reason", reads=["Source", "Reason"], writes=["ReasonCode"])
def movement_reason(frames: Frames, context: MovementContext) -> Columns:
    """TIMS's reason by the lookup adjustment_reasons, of the source first, then of any source."""
    codes, found = reason_codes(frames.header, context.reasons)
    return Columns(pd.DataFrame({"ReasonCode": codes}), problems=found)


@rule(
    "stock_movement",
    reads=["Source", "Reference", "OccurredAt", "Memo"],
    writes=["ExternalReference", "PostingDate", "OriginalEventDate", "Note"],
)
def stock_movement(frames: Frames, context: MovementContext) -> Columns:
    """The movement's own number with its source; the company's day of the movement, or the first open day after it (the
    memo keeps the original)."""
    header = frames.header
    read = pd.to_datetime(header["OccurredAt"], utc=True, errors="coerce", format="ISO8601")
    day = company_days(header["OccurredAt"].where(read.notna()), context.zone)
    posted, original = posting_dates(day, context.periods)
    columns = pd.DataFrame(
        {
            "ExternalReference": "mov:" + header["Source"] + ":" + header["Reference"],
            "PostingDate": posted,
            "OriginalEventDate": original,
            "Note": _notes(header["Memo"], original),
        },
        index=header.index,
    )
    return Columns(columns, problems=_dates(header, day, posted))


@rule("movement_state", reads=["RefusedFor", "Quantity", "Reason", "ReasonCode"], writes=["state", "reason"])
def movement_state(frames: Frames, context: object) -> Columns:
    """A record that its reader has refused is dead. Left out are reasons that the lookup leaves out, and a file without
    movements."""
    header = frames.header
    reason = pd.Series(np.nan, index=header.index, dtype="str")
    reason[header["ReasonCode"].eq(LEAVE_OUT).to_numpy(dtype=bool)] = f"its reason is left out by the lookup {LOOKUP}"
    nothing = header["Reason"].eq(NOTHING) & header["Quantity"].eq(0)
    reason[nothing.fillna(False).to_numpy(dtype=bool)] = "the file holds no movement that TIMS should know"
    refused, skipped = header["RefusedFor"].notna().to_numpy(dtype=bool), reason.notna().to_numpy(dtype=bool)
    state = pd.Series(np.select([refused, skipped], ["dead", "left_out"], "staged"), dtype="str")
    return Columns(pd.DataFrame({"state": state, "reason": reason}))


def items(header: pd.DataFrame, reference: Reference, settings: Settings) -> tuple[pd.Series, pd.DataFrame]:
    """TIMS's own SKU of each movement. A blocked item may lose or gain stock; a code that is not an item is a
    problem."""
    rows = np.arange(len(header), dtype=np.int64)
    lines = pd.DataFrame(
        {
            ROW: rows,
            LINE: 0,
            "OrderItemID": header["Reference"],
            "SKU": header["SKU"].str.strip(),
            **dict.fromkeys(AMOUNTS, pd.Series(0, index=header.index, dtype="Int64")),  # a movement has no money
        }
    )
    found, trouble = resolve(Frames(header, lines), reference, settings)
    trouble = trouble[trouble["rule"] != "item_blocked"].assign(field="SKU")
    no_goods = np.flatnonzero((found["action"] != PRODUCT).to_numpy())
    services = problems.make(
        no_goods,
        field="SKU",
        rule="no_goods",
        value=header["SKU"].iloc[no_goods],
        message='"{value}" is no item by config/lookups/item_codes.csv.',
        do="Name the item in the payload and replay, or dismiss this.",
    )
    return found["item"].set_axis(header.index), problems.concat([trouble, services])


def reason_codes(header: pd.DataFrame, table: lookups.Lookup) -> tuple[pd.Series, pd.DataFrame]:
    """TIMS's reason of each movement; "-" where it is left out."""
    reason = header["Reason"].str.strip()
    own, shared = header["Source"] + BESIDE + reason, ANY + BESIDE + reason
    codes = table.values(own, "tims")
    codes = codes.where(codes.notna(), table.values(shared, "tims"))
    unknown = np.flatnonzero((codes.isna() & reason.notna()).to_numpy(dtype=bool))
    names = sorted({row["reason"] for row in table.rows.values()})
    message = []
    for given in reason.iloc[unknown].tolist():
        near = difflib.get_close_matches(given, names, 1)
        hint = f" The nearest is {near[0]}." if near else ""
        message.append(f'The reason "{{value}}" is not in the table {LOOKUP}.{hint}')
    found = problems.make(
        unknown,
        field="Reason",
        rule="unknown_reason",
        value=reason.iloc[unknown],
        message=message,
        do=f"Ask what it means and add it to {_TABLE}, then replay the record.",
    )
    return codes, found


def _notes(memo: pd.Series, original: pd.Series) -> pd.Series:
    """The memo, with the original day where the movement is posted on another one."""
    dated = ("Happened on " + original + ". ").fillna("")
    notes = (dated + memo.fillna("")).str.strip().str.slice(0, MEMO_LENGTH)
    return notes.mask(notes == "").astype("str")


def _dates(header: pd.DataFrame, day: pd.Series, posted: pd.Series) -> pd.DataFrame:
    unread = np.flatnonzero((day.isna() & header["OccurredAt"].notna()).to_numpy(dtype=bool))
    closed = np.flatnonzero((day.notna() & posted.isna()).to_numpy(dtype=bool))
    return problems.concat(
        [
            problems.make(
                unread,
                field="OccurredAt",
                rule="unreadable_date",
                value=header["OccurredAt"].iloc[unread],
                message='"{value}" is no moment.',
                do="Correct the payload, then replay it.",
            ),
            problems.make(
                closed,
                field="OccurredAt",
                rule="no_open_period",
                value=day.iloc[closed],
                message="No period from {value} on is open in TIMS.",
                do="Open a period in TIMS, then replay it.",
            ),
        ]
    )
