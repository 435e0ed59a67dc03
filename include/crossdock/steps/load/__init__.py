"""Load: ready documents of a batch -> the target system, each effect once.

In: a batch id. Out: a delivery before each call and its outcome after it, links, states. Rerun: sends only what has no
confirmed outcome, with the same idempotency key, and asks the target first where an answer was lost.
Never: a second effect; a record that dies of a transient error; a write of a flow in shadow mode.

`post_documents` creates documents, `put_each` writes to records that are there, `deliver` makes a single call. In
shadow mode each of them keeps what it would have sent, and the rows become `would_be`. So do rows of a live flow that
are from before its first day, and those beyond the cap of its launch (`launching`).
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from crossdock.errors import OutcomeUnknown, WriteRefused
from crossdock.flow import Flow
from crossdock.steps import modes
from crossdock.steps.at_work import at_work
from crossdock.steps.load import launching, shadow
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
from crossdock.systems import writes

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
        mode = modes.now(runtime.engine, flow.name)
        try:
            with runtime.low_priority() if flow.low_priority else nullcontext():
                if mode.shadow:
                    _in_shadow(runtime, flow, batch_id, run_id)
                else:
                    _live(runtime, flow, batch_id, mode)
        finally:
            with runtime.engine.begin() as connection:
                counts = batches.recount(connection, batch_id, flow.stage, "load", time.monotonic() - started)
    log.info("load of batch %s: %s", batch_id, counts)
    return counts


def _live(runtime: Runtime, flow: Flow, batch_id: int, mode: modes.Mode) -> None:
    with runtime.engine.begin() as connection:
        let_go = launching.hold_back(connection, flow, batch_id, mode)
    with writes.permitted(modes.WhileLive(runtime.engine, flow.name)):
        flow.load(runtime, flow, batch_id)
    with runtime.engine.begin() as connection:
        launching.sent(connection, flow, batch_id, mode, let_go)


def _in_shadow(runtime: Runtime, flow: Flow, batch_id: int, run_id: str) -> None:
    """Everything but the writes. What is left failed for no other reason than the mode is what would be."""
    with shadow.loading(flow.name, batch_id, run_id) as within:
        try:
            flow.load(runtime, flow, batch_id)
        except WriteRefused as refused:  # by code that keeps nothing of its requests
            log.warning("%s", refused)
        except OutcomeUnknown:
            if within.failed:
                raise
    with runtime.engine.begin() as connection:
        launching.would_be(connection, flow, batch_id)
