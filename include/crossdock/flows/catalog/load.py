"""Sends the batch, and records the answers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import Transient
from crossdock.flow import Flow
from crossdock.flows.catalog import listings, products
from crossdock.flows.catalog.transform import ENTITY, Outcome
from crossdock.steps.load import not_taken, record_outcomes
from crossdock.store import alerts, batches, database, dead_letters, deliveries
from crossdock.store.tables import stage_product

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


NAME = "catalog"


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Sends products first, kits after their parts; then the listings. Records every outcome, also where other calls
    fail."""
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
        products.write(runtime, batch, [row for row in rows if bool(row.BundleComponents) == kits], outcome)
    listed = [row for row in rows if row.listings and not outcome.at_rest(row.key)]
    if listed and not runtime.can.listings:
        outcome.alerts.append(_switched_off(runtime.can.why_not("listings")))
        listed = []
    try:
        listings.write(runtime, batch, listed, outcome)
    except Transient:  # prices or quantities could not be read
        outcome.pending.update(row.key for row in listed)
    _record_outcomes(runtime, flow, batch, rows, outcome)
    if outcome.pending:
        raise not_taken(len(outcome.pending), len(rows), "items")


def _switched_off(why: str) -> dict[str, Any]:
    """A notice, once a day, that items of catalog.yaml's sites are not listed there by us."""
    return {
        "kind": "listings_switched_off",
        "key": NAME,
        "title": "Catalogue: the listings of catalog.yaml are switched off for this account",
        "body": f"{why} Take the sites out of include/config/catalog.yaml to be told no more.",
        "severity": "notice",
        "window": timedelta(days=1),
    }


def _record_outcomes(runtime: Runtime, flow: Flow, batch: sa.Row, rows: list[sa.Row], outcome: Outcome) -> None:
    done = [row.key for row in rows if not outcome.at_rest(row.key)]
    stage = stage_product
    with runtime.engine.begin() as connection:
        record_outcomes(
            connection,
            flow,
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
        for entity in (ENTITY, listings.ENTITY):
            deliveries.written_over(connection, NAME, entity, sent)
        for alert in outcome.alerts:
            alerts.raise_alert(connection, flow=NAME, **alert)
