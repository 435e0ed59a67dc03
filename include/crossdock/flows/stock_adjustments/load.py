"""Sends the batch, and records the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.flows.returns.load import STOCK
from crossdock.steps.load import post_documents

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ADVICE = "Correct the movement in the payload or the item in TIMS, then replay it."


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Creates the adjustments that have no link yet."""
    post_documents(runtime, flow, batch_id, STOCK, ADVICE)
