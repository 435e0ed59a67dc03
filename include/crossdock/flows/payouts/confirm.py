"""Moves delivered files out of the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.steps import files
from crossdock.store.tables import (
    raw_settlements,
    stage_settlement,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


INBOX = "settlements"  # the inbox's list of these files


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Moves the files that are booked to done/."""
    with runtime.engine.begin() as connection:
        taken = files.taken(connection, stage_settlement, raw_settlements, batch_id)
    for source, file, read in taken:
        runtime.inbox.finish(INBOX, source, file, read)
