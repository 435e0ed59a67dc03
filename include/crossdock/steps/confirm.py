"""Confirm: what was delivered -> back to the source (exported mark, ids, tracking).

In: a batch id. Out: acknowledgements, each idempotent. Rerun: confirms what is not confirmed yet.
Never: confirms what is not in the target.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from crossdock.flows.base import Flow
from crossdock.store import batches, database
from crossdock.store.batches import Counts

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> Counts:
    """Tells the source; the batch's final counts."""
    started = time.monotonic()
    with database.lock(runtime.engine, f"work:{flow.name}"):
        with runtime.engine.begin() as connection:
            batches.ready_for(connection, batch_id, "confirm")
        flow.confirm(runtime, batch_id)
        with runtime.engine.begin() as connection:
            counts = batches.recount(connection, batch_id, flow.stage, "confirm", time.monotonic() - started)
    log.info("confirm of batch %s: %s", batch_id, counts)
    return counts
