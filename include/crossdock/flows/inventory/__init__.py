"""Inventory: TIMS's free stock -> the quantities that Channel Advisor offers, and those of single sites' listings.

What makes it special: units of orders that have been read and that TIMS does not hold yet are held back, so that
nothing is sold twice while orders wait, fail or are dead letters. In: TIMS's quantities; items, products, centers.
Never: a write to a center that a marketplace manages; a relative change; a quantity that has been told already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import OutcomeUnknown, RecordRejected, Transient
from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows import documents
from crossdock.flows.inventory import transform
from crossdock.flows.inventory.transform import ENTITY, ITEM_STATE, RESOURCE
from crossdock.flows.orders import ORDERS
from crossdock.flows.orders import in_flight as orders_in_flight
from crossdock.reference import channel, tims
from crossdock.rules import offer_settings
from crossdock.steps.load import reasons, record_outcomes
from crossdock.steps.portions import send_all
from crossdock.store import accuracy, alerts, batches, database, deliveries
from crossdock.store.deliveries import Effect
from crossdock.store.tables import (
    ops_link,
    raw_inventory,
    ref_channel_level,
    ref_channel_listing,
    stage_channel_quantity,
    stage_channel_quantity_line,
)
from crossdock.systems import limits, times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

NAME = "inventory"
MOST_UPDATES = 500  # of one request, the contract's limit
FORCED_KINDS = ("compare", "key", "replay")  # kinds of run that send also what has been told
ADVICE = "Correct the product or listing at the channel, or the item in TIMS; then replay this."
LEVELS_AT_ONCE = 5_000  # a COPY of the full compare


class _Quantity(msgspec.Struct):
    SKU: str
    Locations: msgspec.Raw
    RowVersion: int
    ModifiedAt: str


_quantity = msgspec.json.Decoder(_Quantity)


def read_key(record: msgspec.Raw) -> RecordKey:
    """SKU and moment of the last change. AsOf differs in every answer: the figures and their version count."""
    row = _quantity.decode(record)
    return RecordKey(row.SKU, row.ModifiedAt, same=b"%d %s" % (row.RowVersion, bytes(row.Locations)))


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
    head = database.copy_out(
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
    columns = (head[name].tolist() for name in ("key", "version", "content_hash", "sent", "listings"))
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


# ---- what is worked again although TIMS's figures have not changed -------------------------------------------------

WORKED = "('staged', 'ready', 'delivered', 'unchanged')"

# Units in flight that are others now than when the quantity was computed, or other orders' units.
_OTHER_ORDERS = sa.text(f"""
WITH flying AS MATERIALIZED ({orders_in_flight.UNITS})
SELECT q.key FROM stage.channel_quantity q LEFT JOIN flying f ON f.sku = q.key
WHERE q.in_flight <> 0 AND q.parts_in_flight IS NULL AND q.state IN {WORKED}
  AND (q.in_flight <> coalesce(f.units, 0) OR q.orders_in_flight IS DISTINCT FROM f.order_fingerprint)
UNION
SELECT q.key FROM flying f JOIN stage.channel_quantity q ON q.key = f.sku
WHERE q.parts_in_flight IS NULL AND q.state IN {WORKED}
  AND (q.in_flight <> f.units OR q.orders_in_flight IS DISTINCT FROM f.order_fingerprint)
UNION
SELECT q.key FROM stage.channel_quantity q JOIN ref.item i ON i.sku = q.key CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_object_agg(f.sku, jsonb_build_array(f.units, f.order_fingerprint)), '{{}}') AS now
  FROM jsonb_array_elements(i.kit_components) AS k JOIN flying f ON f.sku = k->>'SKU'
) AS parts
WHERE q.parts_in_flight IS NOT NULL AND q.state IN {WORKED} AND q.parts_in_flight <> parts.now
""")

# The batches that brought reference data since the last run of this flow, with some minutes to spare for a read that
# had begun before and ended after.
_RECENT = sa.text(f"""
SELECT b.id FROM ops.batch b JOIN ops.watermark w ON w.flow = 'inventory' AND w.resource = '{RESOURCE}'
WHERE b.flow = 'reference' AND b.finished_at >= w.read_at - interval '10 minutes'
""")

_OTHER_ITEMS = sa.text(f"""
SELECT DISTINCT q.key FROM raw.tims_items r JOIN ref.item i ON i.sku = r.key
JOIN stage.channel_quantity q ON q.key = i.sku
WHERE r.batch_id = ANY (CAST(:recent AS bigint[])) AND q.state <> 'dead' AND q.item_state IS DISTINCT FROM {ITEM_STATE}
""")

# Items that may have a product now that they had not: those that wait for one, and those of what was read lately.
_CANDIDATES = sa.text("""
SELECT key FROM stage.channel_quantity WHERE state = 'waiting'
UNION SELECT key FROM raw.tims_items WHERE batch_id = ANY (CAST(:recent AS bigint[]))
UNION SELECT c.sku FROM raw.channel_advisor_products r JOIN ref.item_code c ON c.folded = lower(btrim(r.key))
  WHERE r.batch_id = ANY (CAST(:recent AS bigint[]))
""")

# Of them those that have one. Two statements: how few the candidates are is what the second is planned by.
_OTHER_PRODUCTS = sa.text(f"""
SELECT DISTINCT q.key FROM (
{channel.RESOLVED.format(products=channel.NAMED)}
) AS found CROSS JOIN LATERAL unnest(found.items) AS named(sku)
JOIN stage.channel_quantity q ON q.key = named.sku
WHERE q.state NOT IN ('dead', 'staged', 'ready')
  AND (q.state = 'waiting' OR found.product_type NOT IN ('Bundle', 'Parent'))
  AND NOT EXISTS (SELECT FROM stage.channel_quantity_line l WHERE l.key = q.key AND l."SKU" = found.product_sku)
  AND (cardinality(found.items) = 1 OR q.state = 'waiting')
""")

_OTHER_LISTINGS = sa.text(f"""
SELECT DISTINCT q.key, n.site_id FROM raw.channel_advisor_listings r
JOIN ref.channel_listing n ON n.listing_id = r.key::bigint
JOIN stage.channel_quantity_line l ON l."SKU" = n.sku JOIN stage.channel_quantity q ON q.key = l.key
WHERE r.batch_id = ANY (CAST(:recent AS bigint[])) AND n.status <> 'Ended' AND n.site_id = ANY (:sites)
  AND q.state IN {WORKED}
  AND NOT q.listings @> jsonb_build_array(jsonb_build_object('ListingID', n.listing_id))
""")


def requeue(connection: sa.Connection) -> Sequence[str]:
    """SKUs whose orders in flight, item, products, listings or terms are others than those that their quantity was
    computed with, and those at whose products an older quantity may stand. What a change of the configuration does not
    concern is marked as looked at, so that only the run after a change looks at all of them."""
    found, offers, table = due(connection), offer_settings.load(), stage_channel_quantity
    connection.execute(
        sa.update(table).where(_older(offers), ~documents.among(table.c.key, found)).values(config=offers.digest)
    )
    return found


def due(connection: sa.Connection) -> list[str]:
    """The SKUs that the next run works although TIMS's figures have not changed."""
    offers = offer_settings.load()
    since = database.now(connection) - offers.margin
    found = set(connection.scalars(_OTHER_ORDERS, {"since": since}))
    found |= deliveries.doubtful(connection, NAME, ENTITY)
    recent = list(connection.scalars(_RECENT))
    found.update(connection.scalars(_OTHER_ITEMS, {"recent": recent}))
    candidates = list(connection.scalars(_CANDIDATES, {"recent": recent}))
    found.update(connection.scalars(_OTHER_PRODUCTS, {"skus": candidates}))
    if offers.sites:
        rows = connection.execute(_OTHER_LISTINGS, {"recent": recent, "sites": sorted(offers.sites)})
        found.update(key for key, site in rows if str(site) in offers.of(key))
    found.update(_other_terms(connection, offers))
    return sorted(found)


def _other_terms(connection: sa.Connection, offers: offer_settings.Offers) -> list[str]:
    """SKUs that a change of the configuration concerns."""
    table = stage_channel_quantity
    terms_before = sa.select(table.c.key, table.c.terms).where(_older(offers))
    rows = connection.execute(terms_before, execution_options={"yield_per": 2_000})
    return [key for key, terms in rows if terms != offers.fingerprint(key)]


def _older(offers: offer_settings.Offers) -> sa.ColumnElement[bool]:
    """Rows of another configuration; <> would not use the index."""
    table = stage_channel_quantity
    return sa.or_(table.c.config < offers.digest, table.c.config > offers.digest)


# ---- full compare --------------------------------------------------------------------------------------------------


class _Level(msgspec.Struct):
    SKU: str
    DistributionCenterID: int
    AvailableQuantity: int
    UpdatedDate: str


_level = msgspec.json.Decoder(_Level)


def snapshot_target(runtime: Runtime) -> None:
    """Reads all levels of the channel into `ref`, in place of what was there; one that changes may come twice."""
    records = (record for page in runtime.channel_advisor.pages("inventory") for record in page.records)
    levels = (_level.decode(record) for record in records)
    with runtime.engine.begin() as connection:
        portions = iter(lambda: list(islice(levels, LEVELS_AT_ONCE)), [])
        database.replace(connection, ref_channel_level, map(_frame, portions))


def _frame(levels: Sequence[_Level]) -> pd.DataFrame:
    """Levels as a COPY takes them."""
    return pd.DataFrame(
        {
            "sku": pd.Series([each.SKU for each in levels], dtype="str"),
            "center_id": [each.DistributionCenterID for each in levels],
            "available": [each.AvailableQuantity for each in levels],
            "version": pd.Series([times.read(each.UpdatedDate).isoformat() for each in levels], dtype="str"),
        }
    )


# Not compared: what this run works anyway, and a level below ours that changed after the orders were last read: an
# order that we have not seen may have taken the units, and to write them back would sell them twice.
_COMPARED = sa.text("""
CREATE TEMP TABLE compared ON COMMIT DROP AS
SELECT q.key, bool_and(l.available IS NOT NULL AND l.available = i."Quantity")
         AND NOT EXISTS (
           SELECT FROM jsonb_array_elements(q.listings) AS s
           JOIN ref.channel_listing n ON n.listing_id = (s->>'ListingID')::bigint
           WHERE n.quantity IS DISTINCT FROM (s->>'Quantity')::bigint) AS equal
FROM stage.channel_quantity q
JOIN stage.channel_quantity_line i ON i.key = q.key
LEFT JOIN ref.channel_level l ON l.sku = i."SKU" AND l.center_id = i."DistributionCenterID"
LEFT JOIN ops.watermark w ON w.flow = 'orders' AND w.resource = 'channel_advisor.orders'
WHERE q.state IN ('delivered', 'unchanged') AND NOT EXISTS (
  SELECT FROM ops.batch b JOIN raw.inventory r ON r.batch_id = b.id
  WHERE b.flow = 'inventory' AND b.finished_at IS NULL AND r.key = q.key)
GROUP BY q.key, q.listings
HAVING NOT bool_or(coalesce(l.available < i."Quantity" AND l.version > w.position, false))
""")


def find_drift(connection: sa.Connection) -> Sequence[str]:
    """SKUs that the channel does not offer as it was last told; notes how many it does."""
    connection.execute(_COMPARED)
    compared, equal = connection.execute(sa.text("SELECT count(*), count(*) FILTER (WHERE equal) FROM compared")).one()
    accuracy.note(connection, NAME, compared=compared, equal=equal)
    least = offer_settings.load().accuracy
    if compared and equal < least * compared:
        alerts.raise_alert(
            connection,
            kind="inventory_accuracy",
            key=NAME,
            flow=NAME,
            title=f"Inventory: only {accuracy.percentage_text(compared, equal)} before the repair",
            body=f"Fewer than {least:.2%} of the SKUs were offered by Channel Advisor as they should be. The compare "
            "has written them again. Find out who else writes quantities: docs/runbook.md, inventory_accuracy.",
            window=timedelta(hours=12),
        )
    return connection.scalars(sa.text("SELECT key FROM compared WHERE NOT equal ORDER BY key")).all()


INVENTORY = Flow(
    name=NAME,
    title="Inventory",
    entity=ENTITY,
    source=Resource(
        "tims", "inventory/quantities", raw_inventory, read_key, "Quantity",
        overlap=timedelta(minutes=1), lag=timedelta(seconds=2), one="inventory/items/{key}/quantity",
        ids=("SKU",),
    ),
    reference=(
        tims.ITEMS,
        channel.PRODUCTS,
        channel.CENTERS,
        dataclasses.replace(channel.LISTINGS, wanted=lambda: bool(offer_settings.load().sites)),
    ),
    lines_path="Locations",
    stage=stage_channel_quantity,
    stage_lines=stage_channel_quantity_line,
    mappings=("inventory",),
    transform=transform.transform,
    suite="inventory",
    enrich_for_checks=transform.enrich_for_checks,
    load=load,
    confirm=documents.nothing_to_tell,
    requeue=requeue,
    prefetch=(ORDERS,),
    snapshot_target=snapshot_target,
    find_drift=find_drift,
    follows=("prices",),
    offers=True,
)  # fmt: skip

FLOWS = (INVENTORY,)
