"""The catalogue, watching: what has to be worked again although TIMS has not changed it, and products without an item.

In: `ref`, `stage`, `ops` as they are after the reference data were read. Out: keys of items; orphans with the nearest
items. Never: a call to a system, but for the full compare's own read; work because of a stock or a price, which move a
product's date as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.flows.catalog.listings import ENTITY as LISTING
from crossdock.flows.catalog.transform import ENTITY, NO_PARTS_YET, rules_hash
from crossdock.reference import channel
from crossdock.rules import items
from crossdock.rules import settings as rule_settings
from crossdock.store import alerts, database, deliveries
from crossdock.store.tables import ops_orphan, ref_item_code

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

FLOW = "catalog"
NO_PRODUCTS = ("shipping", "discount", "voucher", "ignore", "reject")  # actions of item_codes.csv

# A field that is ours stands otherwise there than when both sides last agreed; or an image stands in a place of ours.
_MOVED = """
EXISTS (
  SELECT FROM jsonb_each(p.delivered) AS d WHERE d.value IS DISTINCT FROM coalesce(
    CASE
      WHEN d.key LIKE 'Attributes.%' THEN (
        SELECT a->'Value' FROM jsonb_array_elements(nullif(c.payload->'Attributes', 'null')) AS a
        WHERE a->>'Name' = substr(d.key, 12) LIMIT 1)
      WHEN d.key LIKE 'Images.%' THEN (
        SELECT i->'Url' FROM jsonb_array_elements(nullif(c.payload->'Images', 'null')) AS i
        WHERE i->>'PlacementName' = substr(d.key, 8) LIMIT 1)
      ELSE c.payload->d.key
    END, 'null')
) OR (p.delivered ? 'Title' AND EXISTS (
  SELECT FROM jsonb_array_elements(nullif(c.payload->'Images', 'null')) AS i
  WHERE i->>'PlacementName' ~ '^ITEMIMAGEURL[1-9][0-9]*$' AND NOT p.delivered ? ('Images.' || (i->>'PlacementName'))
))
"""

# A listing is not what it should be: by its status, or because the site has refused it.
_LISTING_MOVED = """
l.status <> 'Ended' AND (
  w->>'Status' = 'Ended'
  OR (w->>'Status' IN ('Active', 'Paused') AND (l.status IN ('Error', 'Draft') OR l.status <> w->>'Status'))
) OR (l.status = 'Ended' AND w->>'Status' IN ('Active', 'Paused') AND k.target_id IS NOT NULL AND NOT k.held)
"""

_PLACES = """
stage.product s
CROSS JOIN LATERAL jsonb_array_elements(s.listings) AS w
JOIN ops.product p ON p.sku = s.key
JOIN ref.channel_listing l ON l.sku = p.product_sku AND l.site_id = (w->>'SiteID')::int
LEFT JOIN ops.link k ON k.entity = 'channel_listing' AND k.source_key = l.sku || '@' || l.site_id
  AND k.target_id = l.listing_id::text
"""

_SETTLED = "s.state IN ('delivered', 'unchanged', 'waiting', 'dead', 'left_out')"

_WAKE = f"""
-- other rules
SELECT s.key FROM stage.product s WHERE {_SETTLED} AND s.rules <> :rules
-- a product was changed in what is ours; one that was refused may be mended there
UNION
SELECT s.key FROM stage.product s
JOIN ops.product p ON p.sku = s.key
JOIN ref.channel_product c ON c.sku = p.product_sku AND c.version > coalesce(s.products_seen, '-infinity')
WHERE {_SETTLED} AND ({_MOVED} OR s.state = 'waiting')
-- a product has come that is, or could be, this item
UNION
SELECT s.key FROM stage.product s
JOIN ref.item_code i ON i.sku = s.key
JOIN ref.channel_product c ON c.folded = i.folded AND c.version > coalesce(s.products_seen, '-infinity')
WHERE {_SETTLED} AND NOT EXISTS (SELECT FROM ops.product p WHERE p.product_sku = c.sku)
-- the parts of a kit have come
UNION
SELECT s.key FROM stage.product s
WHERE s.state = 'waiting' AND starts_with(s.reason, :no_parts_yet)
  AND NOT EXISTS (
    SELECT FROM jsonb_array_elements(s."BundleComponents") AS part
    WHERE NOT EXISTS (SELECT FROM ops.product p WHERE p.sku = part->>'SKU')
  )
-- a listing is not what it should be, or no longer what it was refused for
UNION
SELECT s.key FROM {_PLACES}
WHERE {_SETTLED} AND l.version > coalesce(s.listings_seen, '-infinity') AND ({_LISTING_MOVED} OR s.state = 'dead')
-- TIMS may have sold the last one
UNION
SELECT s.key FROM {_PLACES} WHERE {_SETTLED} AND w->>'Status' = 'SellOff' AND l.status <> 'Ended'
-- an older version of it may have been written over the last one
UNION
SELECT s.key FROM stage.product s WHERE {_SETTLED} AND s.key = ANY (:doubtful)
ORDER BY 1
"""

# What is equal in all that is ours has been looked at: a stock or a price has moved its date.
_LOOKED_AT = f"""
UPDATE stage.product SET products_seen = newest.version
FROM (
  SELECT s.key, max(c.version) AS version, bool_or({_MOVED}) AS moved FROM stage.product s
  JOIN ops.product p ON p.sku = s.key
  JOIN ref.channel_product c ON c.sku = p.product_sku AND c.version > s.products_seen
  WHERE s.state IN ('delivered', 'unchanged') GROUP BY s.key
) AS newest
WHERE newest.key = product.key AND NOT newest.moved
"""


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Items to be worked again; on the way, products that are no item's are noted."""
    note_orphans(connection)
    doubtful = deliveries.doubtful(connection, FLOW, ENTITY) | deliveries.doubtful(
        connection, FLOW, LISTING, linked=ENTITY
    )
    facts = {"rules": rules_hash(), "no_parts_yet": NO_PARTS_YET, "doubtful": list(doubtful)}
    keys = connection.scalars(sa.text(_WAKE), facts).all()
    connection.execute(sa.text(_LOOKED_AT))
    return keys


# ---- the full compare ----------------------------------------------------------------------------------------------

_AMISS = f"""
SELECT s.key FROM stage.product s JOIN ops.product p ON p.sku = s.key
JOIN ref.channel_product c ON c.sku = p.product_sku
WHERE {_SETTLED} AND ({_MOVED})
UNION
SELECT s.key FROM stage.product s
WHERE s.state IN ('delivered', 'unchanged', 'waiting') AND s.key = ANY (:gone)
UNION
SELECT s.key FROM {_PLACES} WHERE s.state IN ('delivered', 'unchanged', 'waiting') AND ({_LISTING_MOVED})
UNION
SELECT s.key FROM stage.product s
CROSS JOIN LATERAL jsonb_array_elements(s.listings) AS w
JOIN ops.product p ON p.sku = s.key
JOIN ops.link k ON k.entity = 'channel_listing' AND k.source_key = p.product_sku || '@' || (w->>'SiteID')
WHERE s.state IN ('delivered', 'unchanged') AND w->>'Status' IN ('Active', 'Paused') AND NOT k.held
  AND NOT EXISTS (SELECT FROM ref.channel_listing l WHERE l.listing_id::text = k.target_id)
ORDER BY 1
"""


def snapshot_target(runtime: Runtime) -> None:
    """Reads all products and listings of the channel afresh."""
    for master in (channel.PRODUCTS, channel.LISTINGS):
        channel.read_whole(runtime, master)


def find_drift(connection: sa.Connection) -> Sequence[str]:
    """Items whose products or listings are not as they should be, whenever they changed; those whose product was
    deleted at the channel are made anew."""
    gone = connection.scalars(
        sa.text(
            "DELETE FROM ops.product p WHERE NOT EXISTS "
            "(SELECT FROM ref.channel_product c WHERE c.sku = p.product_sku) RETURNING p.sku"
        )
    ).all()
    return connection.scalars(sa.text(_AMISS), {"gone": list(gone)}).all()


# ---- products that are no item's -----------------------------------------------------------------------------------


# Whatever an item is known by (its SKU, an alternate, exactly or without case), it is found by its folded code.
_NOBODYS = sa.text("""
SELECT c.sku FROM ref.channel_product c
WHERE NOT EXISTS (SELECT FROM ref.item_code i WHERE i.folded = c.folded)
""")


def note_orphans(connection: sa.Connection) -> None:
    """Keeps `ops.orphan`: products that no item of TIMS is, each with the items that are spelt most like it. An alert
    names their number on a day when new ones came."""
    listed = items.Codes(rule_settings.load())
    found = {
        sku
        for sku in connection.scalars(_NOBODYS)
        if not ((code := listed.listed(sku.strip())) and code.action in NO_PRODUCTS)
    }
    existing = set(connection.scalars(sa.select(ops_orphan.c.product_sku)))
    if existing - found:
        connection.execute(sa.delete(ops_orphan).where(ops_orphan.c.product_sku.in_(sorted(existing - found))))
    new = sorted(found - existing)
    if not new:
        return
    folded: dict[str, set[str]] = {}
    for code, sku in connection.execute(sa.select(ref_item_code.c.folded, ref_item_code.c.sku)):
        folded.setdefault(code, set()).add(sku)
    candidates = sorted(folded)
    rows = [{"product_sku": sku, "nearest": items.nearest(sku.strip(), candidates, folded)} for sku in new]
    connection.execute(database.insert_all(ops_orphan, rows))
    alerts.raise_alert(
        connection,
        kind="catalog_orphans",
        key=FLOW,
        flow=FLOW,
        title=f"{len(found)} products of the channel are no item of TIMS, {len(new)} of them new",
        body="`crossdock catalog orphans` lists them with the nearest items. Create the item, or give one an alternate "
        "SKU, in TIMS; or take the product off the channel.",
        severity="notice",
        window=timedelta(days=1),
    )
