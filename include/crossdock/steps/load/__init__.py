"""Load: ready documents of a batch -> the target system, each effect once.

In: a batch id. Out: a delivery before each call and its outcome after it, links, states. Rerun: sends only what has no
confirmed outcome, with the same idempotency key, and asks the target first where an answer was lost.
Never: a second effect; a record that dies of a transient error.

`post_documents` creates documents, `put_each` writes to records that are there, `deliver` makes a single call.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.steps.at_work import at_work
from crossdock.steps.load.documents import (
    Document,
    Kind,
    Posted,
    Ready,
    by_reference,
    columns,
    post,
    post_documents,
    read_ready,
    targets,
    write_bodies,
)
from crossdock.steps.load.outcomes import Answer, chunked, codes, not_taken, reasons, record_outcomes
from crossdock.steps.load.send import answer_of, deliver, put_each
from crossdock.store import batches
from crossdock.store.batches import Counts
from crossdock.store.runs import Over

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

__all__ = [
    "Answer", "Document", "Kind", "Posted", "Ready", "answer_of", "by_reference", "chunked", "codes", "columns",
    "deliver", "load", "not_taken", "post", "post_documents", "put_each", "read_ready", "reasons", "record_outcomes",
    "targets", "write_bodies",
]  # fmt: skip

log = logging.getLogger(__name__)


def load(runtime: Runtime, flow: Flow, batch_id: int, *, run_id: str = "", over: Over | None = None) -> Counts:
    """Delivers what is ready; the counts afterwards. Raises the transient error that left something undelivered."""
    started = time.monotonic()
    with at_work(runtime, flow, batch_id, "load", run_id, over):
        try:
            with runtime.low_priority() if flow.low_priority else nullcontext():
                flow.load(runtime, flow, batch_id)
        finally:
            with runtime.engine.begin() as connection:
                counts = batches.recount(connection, batch_id, flow.stage, "load", time.monotonic() - started)
    log.info("load of batch %s: %s", batch_id, counts)
    return counts
