"""Confirm: what was delivered -> back to the source (exported mark, ids, tracking).

In: a batch id. Out: acknowledgements, each idempotent. Rerun: confirms what is not confirmed yet.
In shadow mode nothing is confirmed, and the batch stays open for the next run where something is to be.
Never: confirms what is not in the target.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from crossdock.errors import WriteRefused
from crossdock.flow import Flow
from crossdock.steps import modes
from crossdock.steps.at_work import at_work
from crossdock.store import batches
from crossdock.store.batches import Counts
from crossdock.store.runs import Over
from crossdock.systems import writes

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)


def confirm(runtime: Runtime, flow: Flow, batch_id: int, *, run_id: str = "", over: Over | None = None) -> Counts:
    """Reports the batch's deliveries to the source. Returns the batch's final counts."""
    started = time.monotonic()
    with at_work(runtime, flow, batch_id, "confirm", run_id, over):
        try:
            with writes.permitted(modes.WhileLive(runtime.engine, flow.name)):
                flow.confirm(runtime, flow, batch_id)
        except WriteRefused as refused:
            log.warning("Batch %s of %s is confirmed once the flow is live again. %s", batch_id, flow.name, refused)
            with runtime.engine.begin() as connection:
                return batches.counts(connection, [batch_id])
        with runtime.engine.begin() as connection:
            counts = batches.recount(connection, batch_id, flow.stage, "confirm", time.monotonic() - started)
    log.info("confirm of batch %s: %s", batch_id, counts)
    return counts
