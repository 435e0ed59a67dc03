"""Sends the batch, and records the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.flows.payments.transform import PAYMENT
from crossdock.steps.load import post_documents

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ADVICE = "Look at the documents in TIMS; if they have changed meanwhile, replay this."


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Creates the payments, each at most once."""
    post_documents(runtime, flow, batch_id, PAYMENT, ADVICE)
