"""Which records are worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows import documents
from crossdock.flows.inventory.transform import ENTITY, ITEM_STATE, RESOURCE
from crossdock.flows.orders import in_flight as orders_in_flight
from crossdock.reference import channel, tims
from crossdock.rules import offer_settings
from crossdock.store import database, deliveries
from crossdock.store.tables import (
    stage_channel_quantity,
)

NAME = "inventory"


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
SELECT DISTINCT q.key FROM ops.work w JOIN ref.item i ON i.sku = w.key
JOIN stage.channel_quantity q ON q.key = i.sku
WHERE w.batch_id = ANY (CAST(:recent AS bigint[])) AND w.queue = '{tims.ITEMS.name}'
  AND q.state <> 'dead' AND q.item_state IS DISTINCT FROM {ITEM_STATE}
""")

# Items that may have a product now that they had not: those that wait for one, and those of what was read lately.
_CANDIDATES = sa.text(f"""
SELECT key FROM stage.channel_quantity WHERE state = 'waiting'
UNION SELECT key FROM ops.work WHERE queue = '{tims.ITEMS.name}' AND batch_id = ANY (CAST(:recent AS bigint[]))
UNION SELECT c.sku FROM ops.work w JOIN ref.item_code c ON c.folded = lower(btrim(w.key))
  WHERE w.queue = '{channel.PRODUCTS.name}' AND w.batch_id = ANY (CAST(:recent AS bigint[]))
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
WITH w AS MATERIALIZED (
  SELECT key FROM ops.work WHERE queue = '{channel.LISTINGS.name}' AND batch_id = ANY (CAST(:recent AS bigint[]))
)
SELECT DISTINCT q.key, n.site_id FROM w JOIN ref.channel_listing n ON n.listing_id = w.key::bigint
JOIN stage.channel_quantity_line l ON l."SKU" = n.sku JOIN stage.channel_quantity q ON q.key = l.key
WHERE n.status <> 'Ended' AND n.site_id = ANY (:sites)
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
