"""Holds a batch of documents in two frames: heads and lines.

In: parsed documents. Out: `header` and `lines`, pandas frames. Never: a float, an object column of Decimals, a row
loop.

`header` has one row per document and a RangeIndex; its columns are contract paths with dots (`ShippingAddress.City`).
`lines` has one row per line, sorted by `_row` (int64, the position of its head row) and `_line` (int64, the position
within the document, from 0); its other columns are paths relative to the line (`SKU`).

| contract type | column |
|---|---|
| number | Int64, scaled by 10,000 (`12.99` is `129900`) |
| integer | Int64 |
| boolean | boolean |
| text, moment, date | str; missing is NaN, "" stays "" |
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crossdock.mapping.contracts import Document

SCALE = 10_000  # one unit of money is 10,000 in a frame, on both sides
CENT = 100  # the smallest step of an amount with two places, in a frame

ROW = "_row"  # in lines and lists: position of the head row
LINE = "_line"  # in lines: position within the document
PARENT = "_in"  # in lists: position of the row, of the heads or of the list around it, that each row belongs to


@dataclass
class Frames:
    """Heads and lines of a batch; see the module for their shape. `made`: the target's lines, where a rule makes them
    of the source's; they have `_row` and `_line` too. `lists`: the other lists of the source by their paths
    (`Fulfillments`, `Fulfillments.Items`), where they are read; their rows have `_row` and `_in`."""

    header: pd.DataFrame
    lines: pd.DataFrame
    made: pd.DataFrame | None = None
    lists: dict[str, pd.DataFrame] = field(default_factory=dict)

    def keep(self, wanted: np.ndarray | pd.Series) -> Frames:
        """The documents whose head row is marked in `wanted` (bool, one per head row), renumbered from 0."""
        mask = np.asarray(wanted, dtype=bool)
        header = self.header[mask].reset_index(drop=True)
        number = np.cumsum(mask) - 1
        rows = self.lines[ROW].to_numpy()
        lines = self.lines[mask[rows]].reset_index(drop=True)
        lines[ROW] = number[lines[ROW].to_numpy()]
        return Frames(header, lines)


def sum_by_header(frames: Frames, values: pd.Series | np.ndarray) -> np.ndarray:
    """int64 sum per head row of a column aligned to `lines`; missing counts as 0, a head without lines is 0."""
    amounts = (
        values.fillna(0).to_numpy(dtype=np.int64) if isinstance(values, pd.Series) else np.asarray(values, np.int64)
    )
    total = np.zeros(len(frames.header), dtype=np.int64)
    rows = frames.lines[ROW].to_numpy()
    if not len(rows):
        return total
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    total[rows[starts]] = np.add.reduceat(amounts, starts)
    return total


def count_by_header(frames: Frames) -> np.ndarray:
    """int64 number of lines per head row."""
    return np.bincount(frames.lines[ROW].to_numpy(), minlength=len(frames.header)).astype(np.int64)


def scaled(text: str | int) -> int:
    """A written amount as it stands in a frame: `scaled("12.99") == 129900`. Raises ValueError beyond four places."""
    from decimal import Decimal, InvalidOperation

    try:
        value = Decimal(text) * SCALE
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount") from None
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} has more than four decimals")
    return int(value)


def written(amount: int) -> str:
    """A frame's amount as people write it, with two to four places: `written(129900) == "12.99"`."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(int(amount)), SCALE)
    places = f"{part:04d}"
    return f"{sign}{whole}.{places[:2]}{places[2:].rstrip('0')}"


def amounts(frame: pd.DataFrame, document: Document) -> pd.DataFrame:
    """A copy of a parsed frame with text amounts ("12.99") as numbers, for a system that writes them as text. A text
    that cannot be read becomes missing."""
    made = frame.copy()
    for path, one in document.leaves.items():
        if one.places is not None and path in made:
            made[path] = _from_text(made[path])
    return made


def _from_text(texts: pd.Series) -> pd.Series:
    """Written amounts as Int64 x 10,000."""
    codes, distinct = pd.factorize(texts)
    values = pd.array([_scaled_or_missing(text) for text in distinct], dtype="Int64")
    return pd.Series(values.take(codes, allow_fill=True), index=texts.index, dtype="Int64")


def _scaled_or_missing(text: str) -> int | None:
    try:
        return scaled(text)
    except ValueError:
        return None
