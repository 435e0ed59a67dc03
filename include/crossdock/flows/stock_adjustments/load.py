"""What is sent, and what becomes of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import Transient
from crossdock.flow import Flow
from crossdock.flows.returns.load import STOCK
from crossdock.flows.stock_adjustments.transform import COLUMNS
from crossdock.steps.load import Document, create, reasons, record_outcomes
from crossdock.store import batches, deliveries

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


ADVICE = "Correct the movement in the payload or the item in TIMS, then replay it."


# ---- load ----------------------------------------------------------------------------------------------------------

_BODIES = sa.text(f"""
SELECT key, content_hash, version, "ExternalReference" AS reference, json_strip_nulls(json_build_object(
         {", ".join(f"'{name}', " + f'"{name}"' for name in COLUMNS)}
       ))::text AS body
FROM stage.stock_adjustment WHERE batch_id = :batch AND state = 'ready' ORDER BY key
""")


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Creates in bulk what is not linked yet."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(connection.execute(_BODIES, {"batch": batch_id}))
        reference_data = deliveries.links(connection, STOCK.entity, [row.reference for row in rows])
    documents = [
        Document(row.reference, row.body.encode(), row.reference, row.content_hash, {"other_key": row.key})
        for row in rows
        if row.reference not in reference_data
    ]
    refused: dict[str, list[dict]] = {}
    problem: Transient | None = None
    try:
        created = create(runtime, flow, batch_id, STOCK, documents) if documents else None
    except Transient as error:  # what did go through is linked: settle it, then let the task be tried again
        problem, created = error, None
    if created:
        key_of = {row.reference: row.key for row in rows}
        refused = {key_of[reference]: reasons(error, do=ADVICE) for reference, error in created.refused.items()}
    with runtime.engine.begin() as connection:
        links = deliveries.links(connection, STOCK.entity, [row.reference for row in rows])
        there = [row for row in rows if row.reference in links]
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=[row.key for row in there if links[row.reference].batch_id == batch_id],
            unchanged=[row.key for row in there if links[row.reference].batch_id != batch_id],
            refused=refused,
        )
    if problem:
        raise problem
