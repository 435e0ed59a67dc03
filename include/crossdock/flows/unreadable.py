"""Adds dead rows for documents that no frame can hold.

In: staged headers, their problems, a parsed batch. Out: the same with a dead row for each unreadable document.
Never: a record that disappears because it cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import ROW
from crossdock.mapping.parse import Parsed

WITH_GAPS = {"int64": "Int64"}  # of a column of whole numbers, in which some may be missing


def joined(
    header: pd.DataFrame, found: pd.DataFrame, parsed: Parsed, keys: Sequence[str], **values: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (headers, problems) with dead rows for the unreadable documents behind the others. Their columns that
    must not be empty have `values`; the others are missing."""
    if parsed.problems.empty:
        return header, found
    positions = sorted(set(parsed.problems[ROW].tolist()))
    rows = {position: len(header) + number for number, position in enumerate(positions)}
    dead = pd.DataFrame({"key": [keys[position] for position in positions], "state": "dead", **values})
    unread = parsed.problems.assign(**{ROW: parsed.problems[ROW].map(rows)})
    whole = pd.concat([header, dead.reindex(columns=header.columns)], ignore_index=True)
    kinds = {name: WITH_GAPS.get(str(kind), kind) for name, kind in header.dtypes.items()}
    return whole.astype(kinds), problems.concat([found, unread])
