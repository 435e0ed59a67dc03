"""Moves worked files out of the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.steps import files
from crossdock.store.tables import raw_movements, stage_stock_adjustment

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


INBOX = "stock"  # the inbox's list of these files


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Moves the files whose movements the batch has worked to done/. Dead letters hold refused movements whole."""
    with runtime.engine.begin() as connection:
        worked = files.taken(connection, stage_stock_adjustment, raw_movements, batch_id)
    for source, file, read in worked:
        runtime.inbox.finish(INBOX, source, file, read)
