"""Shared by the flows of the inbox: which files were taken, and the alert for one that was refused.

In: a batch's rows and the records they came from. Out: files by source, name and digest; alerts.
Never: a file without a digest; the content of a file in an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.store import raw

WORKED = ("delivered", "unchanged", "left_out")  # states of records that are done


def taken(connection: sa.Connection, stage: sa.Table, received: sa.Table, batch_id: int) -> list[tuple[str, str, str]]:
    """(source, file, digest of what was read) of a batch's worked records. Old records without a digest are left out:
    their files are read once more and moved then."""
    worked = raw.versions(received, batch_id).subquery()
    return _files(connection, stage, worked, stage.c.batch_id == batch_id)


def put_back(
    connection: sa.Connection, stage: sa.Table, received: sa.Table, existing: Sequence[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """The same for unchanged records, by key and hash, that came again and are worked: no batch has them."""
    these = sa.and_(
        received.c.key == sa.any_(sa.bindparam("keys", [key for key, _ in existing], type_=sa.ARRAY(sa.Text))),
        received.c.hash == sa.any_(sa.bindparam("hashes", [digest for _, digest in existing], type_=sa.ARRAY(sa.Text))),
    )
    return _files(connection, stage, received, these)


def _files(
    connection: sa.Connection, stage: sa.Table, received: sa.FromClause, which: sa.ColumnElement[bool]
) -> list[tuple[str, str, str]]:
    stated = [received.c.payload[name].as_string() for name in ("Source", "File", "FileDigest")]
    rows = connection.execute(
        sa.select(*stated)
        .join(stage, stage.c.key == received.c.key)
        .where(which, stage.c.state.in_(WORKED), stated[-1].is_not(None))
        .distinct()
    )
    return [(source, file, read) for source, file, read in rows]


def refused_files(given: pd.DataFrame, keys: pd.Series, refused: np.ndarray, flow: str) -> list[dict[str, Any]]:
    """One alert a day for each file in the inbox that could not be read."""
    return [
        {
            "kind": "file_refused",
            "key": f"{flow}:{keys.iloc[at]}",
            "title": f"A file was refused: {given['File'].iloc[at]} of {given['Source'].iloc[at]}",
            "body": f"{given['RefusedSays'].iloc[at]} {given['RefusedDo'].iloc[at]} Nothing of it was taken; it stays "
            f"in the inbox. Its dead letter is `{keys.iloc[at]}` of the flow {flow}.",
            "severity": "alert",
            "window": timedelta(days=1),
        }
        for at in np.flatnonzero(refused)
    ]
