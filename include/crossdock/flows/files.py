"""What the flows of the inbox share: which file a batch has taken whole.

In: a batch's rows and the records they came from. Out: files by source, name and digest of what was read.
Never: a file of which only the name is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa


def taken(
    connection: sa.Connection, stage: sa.Table, received: sa.Table, batch_id: int, states: Sequence[str]
) -> list[tuple[str, str, str]]:
    """(source, file, digest of what was read) of a batch's rows in these states. A record of before there were digests
    names none: its file is read once more and moved then."""
    said = [received.c.payload[name].as_string() for name in ("Source", "File", "FileDigest")]
    rows = connection.execute(
        sa.select(*said)
        .join(stage, sa.and_(stage.c.key == received.c.key, stage.c.batch_id == received.c.batch_id))
        .where(received.c.batch_id == batch_id, stage.c.state.in_(states), said[-1].is_not(None))
        .distinct()
    )
    return [(source, file, read) for source, file, read in rows]
