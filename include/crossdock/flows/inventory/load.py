"""Sends the batch, and records the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from crossdock.errors import CrossdockError, RecordRejected, Transient
from crossdock.flow import Flow
from crossdock.flows.inventory.transform import ENTITY
from crossdock.mapping import contracts
from crossdock.mapping.bodies import bodies
from crossdock.steps.load import Answer, not_taken, put_each, reasons, record_outcomes
from crossdock.store import batches, database, deliveries
from crossdock.store.deliveries import Effect
from crossdock.store.tables import (
    ops_link,
    ref_channel_listing,
    stage_channel_quantity,
    stage_channel_quantity_line,
)
from crossdock.systems import limits
from crossdock.systems.channel_advisor import Written

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


MOST_UPDATES = 500  # of one request, the contract's limit
FORCED_KINDS = ("compare", "key", "replay")  # kinds of batches that are sent even if nothing has changed
ADVICE = "Correct the product or listing at the channel, or the item in TIMS; then replay this."


# ---- load ----------------------------------------------------------------------------------------------------------


class _Update(NamedTuple):
    """One quantity in one center, and its InventoryUpdate by the contract."""

    sku: str
    center: int
    body: bytes


class _Row(NamedTuple):
    """A staged SKU that is being sent."""

    key: str
    version: Any
    content_hash: str
    sent: str | None  # content that was delivered last
    listings: list[dict[str, Any]]
    updates: list[_Update]

    @property
    def effect(self) -> Effect:
        name = f"qty:{self.key}:{self.content_hash}"
        return Effect(ENTITY, "update", self.key, name, self.content_hash)


UPDATE = ("SKU", "DistributionCenterID", "Quantity", "UpdateType")  # InventoryUpdate


def _ready(connection: sa.Connection, batch_id: int) -> list[_Row]:
    """Reads the ready SKUs of a batch, each with the content that was delivered last."""
    stage, below = stage_channel_quantity, stage_channel_quantity_line
    ready = sa.and_(stage.c.batch_id == batch_id, stage.c.state == "ready")
    sent = sa.and_(ops_link.c.entity == ENTITY, ops_link.c.source_key == stage.c.key)
    rows = database.copy_out(
        connection,
        sa.select(
            stage.c.key, stage.c.version, stage.c.content_hash, ops_link.c.content_hash.label("sent"), stage.c.listings
        )
        .outerjoin(ops_link, sent)
        .where(ready)
        .order_by(stage.c.key),
    )  # fmt: skip
    lines = database.copy_out(
        connection,
        sa.select(below.c.key, *(below.c[name] for name in UPDATE))
        .where(below.c.key.in_(sa.select(stage.c.key).where(ready)))
        .order_by(below.c.key, below.c.position),
    )
    written = bodies(contracts.document("channel_advisor", "InventoryUpdate"), lines[[*UPDATE]], nulls=True)
    updates: dict[str, list[_Update]] = {}
    names = (lines[name].tolist() for name in ("key", "SKU", "DistributionCenterID"))
    for key, sku, center, body in zip(*names, written, strict=True):
        updates.setdefault(key, []).append(_Update(sku, center, body))
    columns = (rows[name].tolist() for name in ("key", "version", "content_hash", "sent", "listings"))
    return [
        _Row(
            key, datetime.fromisoformat(version), content, sent if isinstance(sent, str) else None,
            [] if listings == "[]" else database.from_json(listings), updates.get(key, []),
        )
        for key, version, content, sent, listings in zip(*columns, strict=True)
    ]  # fmt: skip


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Sends the changed quantities, up to 500 per request, as many requests at once as the channel's limits allow."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = _ready(connection, batch_id)
        doubtful = deliveries.doubtful(connection, flow.name, ENTITY)
        sent = [
            row.key
            for row in rows
            if row.sent == row.content_hash and batch.kind not in FORCED_KINDS and row.key not in doubtful
        ]
        record_outcomes(connection, flow, batch, unchanged=sent)
    existing = set(sent)
    pending: set[str] = set()

    def keep(connection: sa.Connection, answered: Sequence[tuple[_Row, Answer]]) -> None:
        _record_outcomes(connection, flow, batch, answered)
        pending.update(row.key for row, answer in answered if answer.error and not answer.refused)

    put_each(
        runtime,
        flow.name,
        batch.id,
        list(_portions([row for row in rows if row.key not in existing])),
        effect=lambda row: row.effect,
        send=lambda portion: _write(runtime, batch, portion),
        keep=keep,
        at_once=limits.load("channel_advisor").at_once,
    )
    if pending:
        raise not_taken(len(pending), len(rows), "SKUs' quantities")


def _portions(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Splits rows into portions of at most 500 updates."""
    portion: list[_Row] = []
    size = 0
    for row in rows:
        if portion and size + len(row.updates) > MOST_UPDATES:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += len(row.updates)
    if portion:
        yield portion


def _write(runtime: Runtime, batch: sa.Row, portion: Sequence[_Row]) -> list[Answer]:
    """Makes one request, then writes the listings of its SKUs."""
    shown: dict[int, int | None] = {}
    if batch.kind not in FORCED_KINDS and any(row.listings for row in portion):
        with runtime.engine.begin() as connection:
            shown = _shown(connection, portion)
    updates = [msgspec.Raw(update.body) for row in portion for update in row.updates]
    results = iter(runtime.channel_advisor.write_quantities(updates) if updates else ())
    return [_answer(runtime, row, [(one, next(results)) for one in row.updates], shown) for row in portion]


def _answer(
    runtime: Runtime, row: _Row, written: Sequence[tuple[_Update, Written]], shown: dict[int, int | None]
) -> Answer:
    """Writes the listings of a SKU. Returns the outcome of it all; `result`: the listings with a new quantity."""
    refused: list[dict] = []
    pending: CrossdockError | None = None
    listings: list[dict[str, Any]] = []
    for update, one in written:
        if isinstance(one.error, RecordRejected):
            prefix = f"{update.sku}, center {update.center}: "
            refused += reasons(one.error, do=ADVICE, prefix=prefix, target="Channel Advisor")
        elif one.error is not None:
            pending = one.error
    for listing in row.listings:
        number, quantity = listing["ListingID"], listing["Quantity"]
        if number in shown and shown[number] == quantity:
            continue
        try:
            runtime.channel_advisor.update_listing(number, {"Quantity": quantity})
            listings.append({"listing_id": number, "quantity": quantity})
        except RecordRejected as error:
            refused += reasons(error, do=ADVICE, prefix=f"Listing {number}: ", target="Channel Advisor")
        except Transient as error:
            pending = error
    return Answer(refused=refused, error=pending, result=listings)


def _shown(connection: sa.Connection, portion: Sequence[_Row]) -> dict[int, int | None]:
    """Reads the quantities that listings had when they were last read."""
    numbers = [listing["ListingID"] for row in portion for listing in row.listings]
    table = ref_channel_listing
    rows = connection.execute(sa.select(table.c.listing_id, table.c.quantity).where(table.c.listing_id.in_(numbers)))
    return {row.listing_id: row.quantity for row in rows}


def _record_outcomes(
    connection: sa.Connection, flow: Flow, batch: sa.Row, answered: Sequence[tuple[_Row, Answer]]
) -> None:
    """Writes links and states. A SKU with any refused part is a dead letter, whatever else was accepted."""
    taken = [row for row, answer in answered if answer.taken]
    deliveries.link(
        connection,
        [
            {
                "entity": ENTITY,
                "source_key": row.key,
                "target_id": row.updates[0].sku if row.updates else row.key,
                "content_hash": row.content_hash,
                "version": row.version,
                "batch_id": batch.id,
            }
            for row in taken
        ],
    )
    deliveries.written_over(connection, flow.name, ENTITY, {row.key: row.content_hash for row in taken})
    listings = [listing for _, answer in answered for listing in answer.result or ()]
    if listings:
        given = database.given(ref_channel_listing, listings)
        connection.execute(
            sa.update(ref_channel_listing)
            .where(ref_channel_listing.c.listing_id == given.c.listing_id)
            .values(quantity=given.c.quantity)
        )
    refused = {row.key: answer.refused for row, answer in answered if answer.refused}
    record_outcomes(connection, flow, batch, delivered=[row.key for row in taken], refused=refused)
