"""Runs batches through transform, check, load and confirm, one after the other.

In: batch ids from extract. Out: their counts together. The command line works like this; a DAG has a task for each
step. Never: lets one stopped batch hold up the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from crossdock.errors import BatchStopped, Elsewhere
from crossdock.flow import Flow
from crossdock.steps.check import check
from crossdock.steps.confirm import confirm
from crossdock.steps.load import load
from crossdock.steps.transform import transform
from crossdock.store import batches
from crossdock.store.batches import Counts
from crossdock.store.runs import Over

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)

STEPS = {"transform": transform, "check": check, "load": load, "confirm": confirm}


def run_batches(
    runtime: Runtime,
    flow: Flow,
    batch_ids: Sequence[int],
    report: Callable[[int, str], None] = lambda *_: None,
    *,
    run_id: str = "",
    over: Over | None = None,
) -> Counts:
    """Takes each batch through the four steps and calls `report` with batch and step before each. A batch that another
    run has taken over meanwhile is left to it.

    Raises the last BatchStopped when all others are done; any other error at once.
    """
    stopped: BatchStopped | None = None
    for batch_id in batch_ids:
        try:
            for name, step in STEPS.items():
                report(batch_id, name)
                step(runtime, flow, batch_id, run_id=run_id, over=over)
        except Elsewhere as error:
            log.warning("%s", error)
        except BatchStopped as error:
            stopped = error
    if stopped:
        raise stopped
    with runtime.engine.begin() as connection:
        return batches.counts(connection, list(batch_ids))
