"""Takes and keeps a batch for the time of a step: every step after extract runs inside it.

In: a batch and the run that works it. Out: the flow's lock and lease, and the batch assigned to this run.
Never: two steps of a flow at once; a batch of another live run; a write by a worker whose lease was lost; a request
that changes something, but where load or confirm permit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.store import batches, database, leases, runs
from crossdock.store.runs import Over
from crossdock.systems import writes

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


@contextmanager
def at_work(
    runtime: Runtime, flow: Flow, batch_id: int, step: str, run_id: str = "", over: Over | None = None
) -> Iterator[None]:
    """Runs the block as a step of the batch. `over`: what the caller knows of other runs.

    Raises Elsewhere where another run has the batch, ConfigError where the batch is not ready for the step.
    """
    with runs.at_work(runtime.engine, run_id):
        with runtime.engine.begin() as connection:
            batches.ready_for(connection, batch_id, step)
            batches.reassign(connection, batch_id, run_id, over)
        with database.lock(runtime.engine, f"work:{flow.name}"):
            with runtime.engine.begin() as connection:  # another run may have taken it while this one waited
                batches.reassign(connection, batch_id, run_id, over)
                leases.take(connection, flow.name, database.machine_and_process())
            with writes.permitted(writes.none):
                yield
