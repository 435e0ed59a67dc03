"""Documents that no frame can hold, beside those that one can.

In: staged heads, what is wrong with them, a parsed batch. Out: the same with a dead row for each unreadable document.
Never: a record that disappears because it cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import ROW
from crossdock.mapping.parse import Parsed


def joined(
    header: pd.DataFrame, found: pd.DataFrame, parsed: Parsed, keys: Sequence[str], **values: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(heads, problems) with the unreadable documents as dead rows behind the others. These have `values` in columns
    that must not be empty; the rest of them is missing."""
    if parsed.problems.empty:
        return header, found
    positions = sorted(set(parsed.problems[ROW].tolist()))
    rows = {position: len(header) + number for number, position in enumerate(positions)}
    dead = pd.DataFrame({"key": [keys[position] for position in positions], "state": "dead", **values})
    unread = parsed.problems.assign(**{ROW: parsed.problems[ROW].map(rows)})
    whole = pd.concat([header, dead.reindex(columns=header.columns)], ignore_index=True)
    return whole.astype(header.dtypes.to_dict()), problems.concat([found, unread])
