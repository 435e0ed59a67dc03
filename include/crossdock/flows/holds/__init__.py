"""Holds: what a person does to a sales order in TIMS (hold, release, cancel) -> the status of its order at the channel.

What makes it special: only a person's change is sent. A hold that came from the channel or from a rule is left out, and
what was sent does not come back as the channel's own change.
"""

from __future__ import annotations

from crossdock.flow import Flow
from crossdock.flows.holds import load, transform
from crossdock.flows.holds.tables import STAGE
from crossdock.reference import tims

HOLDS = Flow(
    name="holds",
    title="Holds",
    entity="hold",
    source=tims.SALES_ORDERS,
    target="channel_advisor",
    stage=STAGE,
    mappings=("holds",),
    transform=transform.transform,
    suite="holds",
    load=load.load,
    requeue=transform.requeue,
    follows=("orders",),
)
FLOWS = (HOLDS,)
