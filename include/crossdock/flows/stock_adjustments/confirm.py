"""What goes back once the target has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.steps import files
from crossdock.store.tables import raw_movements, stage_stock_adjustment

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


INBOX = "stock"  # list of the inbox


# ---- confirm -------------------------------------------------------------------------------------------------------


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Moves the files of what the batch has worked to done/. Refused movements are in the dead letters, whole."""
    with runtime.engine.begin() as connection:
        worked = files.taken(connection, stage_stock_adjustment, raw_movements, batch_id)
    for source, file, read in worked:
        runtime.inbox.finish(INBOX, source, file, read)
