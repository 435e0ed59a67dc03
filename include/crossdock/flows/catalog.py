"""The catalogue: TIMS's items -> products and listings of Channel Advisor.

What makes it special: the target has a life of its own. Products are there that we never made, people change them,
sites refuse listings; so all is compared with what the channel holds, field by field, and only what differs is sent.
In: TIMS's items, the channel's products and listings. Out: products created and updated, listings opened, paused and
ended. Never: a product or listing deleted; a field that is not TIMS's; a price or a quantity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import OutcomeUnknown, Transient
from crossdock.flow import Flow, Resource
from crossdock.flows import catalog_documents, catalog_listings, catalog_products, catalog_watch, documents
from crossdock.flows.catalog_documents import ENTITY, Outcome
from crossdock.reference import channel, tims
from crossdock.steps.load import record_outcomes
from crossdock.store import alerts, batches, database, dead_letters, deliveries
from crossdock.store.tables import raw_catalog, stage_product

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

NAME = "catalog"


def load(runtime: Runtime, batch_id: int) -> None:
    """Products first, those of kits after those of their parts; then the listings. All that goes through is settled,
    whatever fails beside it."""
    stage = stage_product
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(
            connection.execute(
                sa.select(stage).where(stage.c.batch_id == batch_id, stage.c.state == "ready").order_by(stage.c.key)
            )
        )
    outcome = Outcome()
    for kits in (False, True):
        catalog_products.write(runtime, batch, [row for row in rows if bool(row.BundleComponents) == kits], outcome)
    listed = [row for row in rows if row.listings and not outcome.at_rest(row.key)]
    try:
        catalog_listings.write(runtime, batch, listed, outcome)
    except Transient:  # prices or quantities could not be read
        outcome.pending.update(row.key for row in listed)
    _record_outcomes(runtime, batch, rows, outcome)
    if outcome.pending:
        raise OutcomeUnknown(
            f"{len(outcome.pending)} of {len(rows)} items were not taken by Channel Advisor (busy, or failing).",
            do="Nothing to do: the task is tried again, compares first, and sends what is still to be sent.",
            system="channel_advisor",
        )


def _record_outcomes(runtime: Runtime, batch: sa.Row, rows: list[sa.Row], outcome: Outcome) -> None:
    done = [row.key for row in rows if not outcome.at_rest(row.key)]
    stage = stage_product
    with runtime.engine.begin() as connection:
        record_outcomes(
            connection,
            CATALOG,
            batch,
            delivered=[key for key in done if key in outcome.changed],
            unchanged=[key for key in done if key not in outcome.changed],
            refused=outcome.refused,
        )
        waiting = {
            key: reason
            for key, reason in outcome.waiting.items()
            if key not in outcome.refused and key not in outcome.pending
        }
        if waiting:
            given = database.given(stage, [{"key": key, "reason": reason} for key, reason in waiting.items()])
            connection.execute(
                sa.update(stage)
                .where(stage.c.key == given.c.key, stage.c.batch_id == batch.id)
                .values(state="waiting", reason=given.c.reason)
            )
            dead_letters.close_resolved(connection, NAME, list(waiting), replay=batch.kind == "replay")
        seen = [{"key": key, "products_seen": at} for key, at in outcome.seen.items() if key not in outcome.unequal]
        if seen:
            given = database.given(stage, seen)
            connection.execute(
                sa.update(stage)
                .where(stage.c.key == given.c.key, stage.c.batch_id == batch.id)
                .values(products_seen=sa.func.greatest(stage.c.products_seen, given.c.products_seen))
            )
        sent = {row.key: row.content_hash for row in rows if not outcome.at_rest(row.key)}
        for entity in (ENTITY, catalog_listings.ENTITY):
            deliveries.written_over(connection, NAME, entity, sent)
        for alert in outcome.alerts:
            alerts.raise_alert(connection, flow=NAME, **alert)


CATALOG = Flow(
    name=NAME,
    title="Catalogue",
    entity=ENTITY,
    source=Resource(
        "tims", tims.ITEMS.path, raw_catalog, tims.ITEMS.read_key, "Item",
        overlap=tims.ITEMS.overlap, lag=tims.ITEMS.lag, ids=tims.ITEMS.ids,
    ),
    reference=(tims.ITEMS, channel.PRODUCTS, channel.LISTINGS, channel.SITES),
    lines_path="",
    stage=stage_product,
    stage_lines=None,
    mappings=(catalog_documents.MAPPING,),
    transform=catalog_documents.transform,
    suite="product",
    enrich_for_checks=catalog_documents.enrich_for_checks,
    load=load,
    confirm=documents.nothing_to_tell,
    low_priority=True,
    requeue=catalog_watch.requeue,
    snapshot_target=catalog_watch.snapshot_target,
    find_drift=catalog_watch.find_drift,
)  # fmt: skip
