"""What is sent, and what becomes of the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from crossdock.errors import OutcomeUnknown, RecordRejected, Transient
from crossdock.flow import Flow
from crossdock.flows.inventory.transform import ENTITY
from crossdock.steps.load import reasons, record_outcomes
from crossdock.steps.portions import send_all
from crossdock.store import batches, database, deliveries
from crossdock.store.deliveries import Effect
from crossdock.store.tables import (
    ops_link,
    ref_channel_listing,
    stage_channel_quantity,
    stage_channel_quantity_line,
)
from crossdock.systems import limits

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


MOST_UPDATES = 500  # of one request, the contract's limit
FORCED_KINDS = ("compare", "key", "replay")  # kinds of run that send also what has been told
ADVICE = "Correct the product or listing at the channel, or the item in TIMS; then replay this."


# ---- load ----------------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """A staged SKU on its way."""

    key: str
    version: Any
    content_hash: str
    sent: str | None  # content that was delivered last
    listings: list[dict[str, Any]]
    updates: list[dict[str, Any]]  # InventoryUpdate of the contract

    @property
    def name(self) -> str:
        return f"qty:{self.key}:{self.content_hash}"


UPDATE = ("SKU", "DistributionCenterID", "Quantity", "UpdateType")  # InventoryUpdate


def _ready(connection: sa.Connection, batch_id: int) -> list[_Row]:
    """The SKUs of a batch that are ready, with what was delivered of them last."""
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
    updates: dict[str, list[dict[str, Any]]] = {}
    for key, *values in zip(*(lines[name].tolist() for name in ("key", *UPDATE)), strict=True):
        updates.setdefault(key, []).append(dict(zip(UPDATE, values, strict=True)))
    columns = (rows[name].tolist() for name in ("key", "version", "content_hash", "sent", "listings"))
    return [
        _Row(
            key, datetime.fromisoformat(version), content, sent if isinstance(sent, str) else None,
            [] if listings == "[]" else database.from_json(listings), updates.get(key, []),
        )
        for key, version, content, sent, listings in zip(*columns, strict=True)
    ]  # fmt: skip


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Writes what has changed, up to 500 quantities a request, as many requests at once as the channel takes."""
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

    def mark(connection: sa.Connection, following: Sequence[Sequence[_Row]]) -> None:
        effects = [Effect(ENTITY, "update", row.key, row.name, row.content_hash) for part in following for row in part]
        deliveries.begin(connection, flow.name, batch.id, effects)

    def keep(connection: sa.Connection, answered: Sequence[tuple[Sequence[_Row], _Written]]) -> None:
        every = [row for portion, _ in answered for row in portion]
        came = _Written()
        for _, answer in answered:
            came.add(answer)
        _record_outcomes(connection, flow, batch, every, came)
        pending.update(came.pending.keys() - came.refused.keys())

    send_all(
        runtime.engine,
        flow.name,
        list(_portions([row for row in rows if row.key not in existing])),
        at_once=limits.load("channel_advisor").at_once,
        mark=mark,
        send=lambda portion: _write(runtime, batch, portion),
        keep=keep,
    )
    if pending:
        raise OutcomeUnknown(
            f"The quantities of {len(pending)} of {len(rows)} SKUs were not taken by Channel Advisor (busy, or "
            "failing).",
            do="Nothing to do: the task is tried again; quantities are absolute, so a repeat does no harm.",
            system="channel_advisor",
        )


def _portions(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Rows of at most 500 updates together."""
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


@dataclasses.dataclass
class _Written:
    """What came of requests: reasons of refusals and of what is pending, by key; listings' new values."""

    refused: dict[str, list[dict]] = dataclasses.field(default_factory=dict)
    pending: dict[str, str] = dataclasses.field(default_factory=dict)
    listings: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, other: _Written) -> None:
        self.refused |= other.refused
        self.pending |= other.pending
        self.listings += other.listings


def _write(runtime: Runtime, batch: sa.Row, portion: Sequence[_Row]) -> _Written:
    """One request, and the listings of its SKUs."""
    shown: dict[int, int | None] = {}
    if batch.kind not in FORCED_KINDS and any(row.listings for row in portion):
        with runtime.engine.begin() as connection:
            shown = _shown(connection, portion)
    updates = [update for row in portion for update in row.updates]
    results = iter(runtime.channel_advisor.write_quantities(updates) if updates else ())
    came = _Written()
    for row in portion:
        for update in row.updates:
            error = next(results).error
            if isinstance(error, RecordRejected):
                prefix = f"{update['SKU']}, center {update['DistributionCenterID']}: "
                found = reasons(error, do=ADVICE, prefix=prefix, target="Channel Advisor")
                came.refused.setdefault(row.key, []).extend(found)
            elif error is not None:
                came.pending[row.key] = str(error)
        for listing in row.listings:
            number, quantity = listing["ListingID"], listing["Quantity"]
            if number in shown and shown[number] == quantity:
                continue
            try:
                runtime.channel_advisor.update_listing(number, {"Quantity": quantity})
                came.listings.append({"listing_id": number, "quantity": quantity})
            except RecordRejected as error:
                found = reasons(error, do=ADVICE, prefix=f"Listing {number}: ", target="Channel Advisor")
                came.refused.setdefault(row.key, []).extend(found)
            except Transient as error:
                came.pending[row.key] = str(error)
    return came


def _shown(connection: sa.Connection, portion: Sequence[_Row]) -> dict[int, int | None]:
    """The quantities that listings have now, as last read."""
    numbers = [listing["ListingID"] for row in portion for listing in row.listings]
    table = ref_channel_listing
    rows = connection.execute(sa.select(table.c.listing_id, table.c.quantity).where(table.c.listing_id.in_(numbers)))
    return {row.listing_id: row.quantity for row in rows}


def _record_outcomes(
    connection: sa.Connection, flow: Flow, batch: sa.Row, rows: Sequence[_Row], came: _Written
) -> None:
    """Outcomes, links and states. A SKU of which anything was refused is a dead letter, whatever else was taken."""
    refused, pending = came.refused, came.pending
    taken = [row for row in rows if row.key not in refused and row.key not in pending]
    deliveries.end(
        connection,
        flow.name,
        [
            {
                "idempotency_key": row.name,
                "outcome": "rejected" if row.key in refused else "unknown" if row.key in pending else "confirmed",
                "status": None,
                "response_id": None,
                "error": ", ".join(each["rule"] for each in refused.get(row.key, ())) or pending.get(row.key),
            }
            for row in rows
        ],
    )
    deliveries.link(
        connection,
        [
            {
                "entity": ENTITY,
                "source_key": row.key,
                "target_id": row.updates[0]["SKU"] if row.updates else row.key,
                "content_hash": row.content_hash,
                "version": row.version,
                "batch_id": batch.id,
            }
            for row in taken
        ],
    )
    deliveries.written_over(connection, flow.name, ENTITY, {row.key: row.content_hash for row in taken})
    for listing in came.listings:
        table = ref_channel_listing
        connection.execute(
            sa.update(table).where(table.c.listing_id == listing["listing_id"]).values(quantity=listing["quantity"])
        )
    record_outcomes(connection, flow, batch, delivered=[row.key for row in taken], refused=refused)
