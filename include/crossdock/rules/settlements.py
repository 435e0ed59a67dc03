"""Settlements: what their lines are, whether they are whole and follow each other, and what they pay.

In: frames of settlements and of what is booked already; frames of what settlements say of orders and of open invoices
and credit memos. Out: kinds, findings, payments. Never: a row loop over lines; a plug: what does not match stays open.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from crossdock.errors import ConfigError
from crossdock.mapping import lookups

SALES = ("principal", "shipping", "gift_wrap", "tax", "promotion", "shipping_promotion", "marketplace_tax")
REFUNDS = tuple(f"refund_{kind}" for kind in SALES)
ORDERS_OWN = (*SALES, *REFUNDS)  # an order's own money: paid to its invoices and credit memos
OTHERS = (
    "commission", "refund_commission", "fulfilment", "advertising", "storage", "subscription", "fee_tax",
    "reserve_held", "reserve_released", "reimbursement", "chargeback", "chargeback_won", "chargeback_fee",
    "carried_forward", "charge",
)  # fmt: skip
UNKNOWN = "unknown"

# ---- what a line is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    pattern: tuple[str, ...]  # format and the three words, in lower case
    kind: str

    def takes(self, words: tuple[str, ...]) -> bool:
        return all(fnmatchcase(word, part) for word, part in zip(words, self.pattern, strict=True))


def kinds(formats: pd.Series, lines: pd.DataFrame, folder: Path | None = None) -> pd.Series:
    """The kind of each line by config/lookups/settlement_kinds.csv; `unknown` for what no row knows. Each distinct
    combination of words is looked up once."""
    rows = _rows(folder)
    exact = {row.pattern: row.kind for row in reversed(rows)}
    words = pd.DataFrame(
        {
            "format": formats.array,
            **{name: lines[name].fillna("").array for name in ("TransactionType", "AmountType", "AmountDescription")},
        }
    )
    codes, distinct = pd.factorize(pd.MultiIndex.from_frame(words))
    found = []
    for combination in distinct:
        lower = tuple(str(word).strip().lower() for word in combination)
        found.append(exact.get(lower) or next((row.kind for row in rows if row.takes(lower)), UNKNOWN))
    return pd.Series(pd.array(found, dtype="str").take(codes), index=lines.index, dtype="str")


def _rows(folder: Path | None) -> list[_Row]:
    table = lookups.read("settlement_kinds", folder, keys=4)
    if table.columns[:5] != ("format", "transaction_type", "amount_type", "amount_description", "kind"):
        raise ConfigError(
            f"{table.path}: the header must be format,transaction_type,amount_type,amount_description,kind,note.",
            do="Correct it.",
        )
    made = []
    for row in table.rows.values():
        if row["kind"] not in (*ORDERS_OWN, *OTHERS):
            raise ConfigError(
                f"{table.path}: there is no kind {row['kind']!r}.",
                do=f"Use one of {', '.join((*ORDERS_OWN, *OTHERS))}.",
            )
        made.append(_Row(tuple(row[name].lower() for name in table.columns[:4]), row["kind"]))
    return made


# ---- whether a settlement can be booked ----------------------------------------------------------------------------


def judge(settlements: pd.DataFrame, booked: pd.DataFrame) -> pd.DataFrame:
    """What stands against booking each of a few settlements.

    Both frames: `source`, `settlement_id`, `file`, `start`, `end` (RFC 3339 or missing), `content_hash`; settlements
    also `difference` (total less lines) and `joined` (its periods must follow each other). Those of one source are
    judged in the order of their periods: one that cannot be booked leaves a gap before the next.

    Returns, aligned to `settlements`: `seen`, `gap`, `overlap`, `no_period` (0 or 1), and `seen_as`, `gap_as`,
    `overlap_as`: the finding in words.
    """
    known: dict[str, list[tuple[str, str, str, str]]] = {}
    for one in booked.fillna("").to_dict("records"):
        known.setdefault(one["source"], []).append((one["start"], one["end"], one["settlement_id"], one["file"]))
    held = {(one["source"], one["settlement_id"]): one for one in booked.fillna("").to_dict("records")}
    result = pd.DataFrame(
        {
            **{name: np.zeros(len(settlements), dtype=np.int64) for name in ("seen", "gap", "overlap", "no_period")},
            **{name: pd.Series([""] * len(settlements), dtype="str") for name in ("seen_as", "gap_as", "overlap_as")},
        }
    )
    ordered = settlements.fillna({"start": "", "end": ""}).reset_index(drop=True).sort_values(["start", "file"])
    for at, row in zip(ordered.index, ordered.to_dict("records"), strict=True):
        key = (row["source"], row["settlement_id"])
        before = held.get(key)
        if before:
            same = before["content_hash"] == row["content_hash"]
            if same and before["file"] == row["file"]:
                continue  # it is this very settlement, worked once more
            result.loc[at, ["seen", "seen_as"]] = (1, _seen(row, before, same=same))
            continue
        neighbours = [one for one in known.get(row["source"], []) if one[0]]
        if row["joined"]:
            result.loc[at, "no_period"] = int(not (row["start"] and row["end"]))
            gap, overlap = _between(row["start"], row["end"], neighbours)
            result.loc[at, ["gap", "gap_as"]] = (int(bool(gap)), gap)
            result.loc[at, ["overlap", "overlap_as"]] = (int(bool(overlap)), overlap)
        if row["difference"] == 0 and not result.loc[at, ["gap", "overlap", "no_period"]].any():
            held[key] = row
            known.setdefault(row["source"], []).append((row["start"], row["end"], row["settlement_id"], row["file"]))
    return result


def _seen(row: dict, before: dict, *, same: bool) -> str:
    how = "with the same content" if same else "with other content"
    return f"{row['settlement_id']} from {before['file']}, {how}"


def _between(start: str, end: str, neighbours: list[tuple[str, str, str, str]]) -> tuple[str, str]:
    """(gap, overlap) between a period and its two neighbours, in words; "" where there is none. RFC 3339 moments of
    one precision sort as text."""
    before = max((one for one in neighbours if one[0] <= start), default=None)
    after = min((one for one in neighbours if one[0] > start), default=None)
    if before and before[1] > start:
        return "", f"{before[2]} lasts until {before[1]}, this one starts at {start}"
    if after and after[0] < end:
        return "", f"{after[2]} starts at {after[0]}, this one lasts until {end}"
    if before and before[1] < start:
        return f"{before[2]} ends at {before[1]}, this one starts at {start}", ""
    if after and after[0] > end:
        return f"this one ends at {end}, {after[2]} starts at {after[0]}", ""
    return "", ""
