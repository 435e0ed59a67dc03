"""The reference data of Channel Advisor: products, listings, distribution centers and sites, kept in `ref`.

In: its lists, and what it answers to writes. Out: one row of `ref` for each, the newest version; which product of the
channel is which item of TIMS. Never: a product taken for an item by a rule other than the one that orders are read by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from crossdock.flow import Merge, RecordKey, Resource
from crossdock.reference.tims import NEWEST, given
from crossdock.steps import records
from crossdock.store import database, raw, sql
from crossdock.store.tables import (
    raw_centers,
    raw_listings,
    raw_products,
    raw_sites,
    ref_channel_center,
    ref_channel_listing,
    ref_channel_product,
    ref_channel_site,
)
from crossdock.systems import times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

# The contract: take the next window from serverTime, less five minutes or more.
_TIMING: dict[str, Any] = {"overlap": timedelta(minutes=5), "lag": timedelta(0)}


class _Row(msgspec.Struct):
    """A row of a list: one of these is its id."""

    UpdatedDate: str
    SKU: str | None = None
    ListingID: int | None = None
    DistributionCenterID: int | None = None
    SiteID: int | None = None


_row = msgspec.json.Decoder(_Row)


def read_key_of(id_field: str) -> Callable[[msgspec.Raw], RecordKey]:
    """How the key and version of a row are read."""

    def record_key(record: msgspec.Raw) -> RecordKey:
        row = _row.decode(record)
        name = getattr(row, id_field)
        return RecordKey("" if name is None else str(name), row.UpdatedDate)

    return record_key


def _upsert(table: sa.Table, columns: Mapping[str, str]) -> str:
    """Copies rows of `newest` (key, version, payload) into `table`; `columns`: name -> SQL over these, the id first."""
    names = ", ".join(columns)
    id_, *rest = columns
    changed = ", ".join(f"{name} = excluded.{name}" for name in (*rest, "version"))
    return f"""
INSERT INTO {table.fullname} ({names}, version) SELECT {", ".join(columns.values())}, version FROM newest
ON CONFLICT ({id_}) DO UPDATE SET {changed} WHERE {table.fullname}.version <= excluded.version
"""


def _merge(table: sa.Table, source: sa.Table, columns: Mapping[str, str], newest: str = NEWEST) -> Merge:
    """Copies a batch's newest rows into `table`."""
    statement = sa.text(newest.format(table=source.fullname) + _upsert(table, columns))

    def merge(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
        connection.execute(statement, given(batch_id, keys))

    return merge


_PRODUCT = {
    "sku": "key", "folded": "lower(btrim(key))", "product_id": "(payload->>'ProductID')::bigint",
    "type": "payload->>'ProductType'", "payload": "payload",
}  # fmt: skip
_LISTING = {
    "listing_id": "key::bigint", "sku": "payload->>'SKU'", "site_id": "(payload->>'SiteID')::int",
    "status": "payload->>'Status'", "quantity": "(payload->>'Quantity')::bigint",
    "price": "(payload->>'Price')::numeric", "currency_code": "payload->>'Currency'", "payload": "payload",
}  # fmt: skip
PRODUCTS = Resource(
    "channel_advisor", "products", raw_products, read_key_of("SKU"), "Product",
    merge=_merge(ref_channel_product, raw_products, _PRODUCT), ids=("SKU",), **_TIMING,
)  # fmt: skip
LISTINGS = Resource(
    "channel_advisor", "listings", raw_listings, read_key_of("ListingID"), "Listing",
    merge=_merge(ref_channel_listing, raw_listings, _LISTING), ids=("ListingID",), **_TIMING,
)  # fmt: skip
_KEPT = {PRODUCTS.path: (ref_channel_product, _PRODUCT), LISTINGS.path: (ref_channel_listing, _LISTING)}
CENTERS = Resource(
    "channel_advisor", "distribution-centers", raw_centers, read_key_of("DistributionCenterID"), "DistributionCenter",
    merge=_merge(ref_channel_center, raw_centers, {
        "center_id": "key::int", "code": "payload->>'Code'",
        "is_external": "(payload->>'IsExternallyManaged')::boolean", "is_deleted": "(payload->>'IsDeleted')::boolean",
    }), ids=("DistributionCenterID",), **_TIMING,
)  # fmt: skip
SITES = Resource(
    "channel_advisor", "sites", raw_sites, read_key_of("SiteID"), "Site",
    merge=_merge(ref_channel_site, raw_sites, {"site_id": "key::int", "name": "payload->>'SiteName'"}),
    ids=("SiteID",), **_TIMING,
)  # fmt: skip


# ---- beside the windows --------------------------------------------------------------------------------------------


def keep(connection: sa.Connection, master: Resource, documents: Sequence[Mapping[str, Any]]) -> None:
    """Rows of PRODUCTS or LISTINGS as the channel has just answered with them, so that nobody has to read them anew."""
    if not documents:
        return
    table, columns = _KEPT[master.path]
    record_keys = [master.read_key(msgspec.Raw(database.to_json(document).encode())) for document in documents]
    newest = """
WITH given AS (SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:versions AS text[]), CAST(:payloads AS text[]))
  AS row (key, version, payload)), newest AS (
    SELECT DISTINCT ON (key) key, version::timestamptz, payload::jsonb FROM given
    ORDER BY key, version::timestamptz DESC
  )
"""
    connection.execute(
        sa.text(newest + _upsert(table, columns)),
        {
            "keys": [record_key.key for record_key in record_keys],
            "versions": [times.read(record_key.version).isoformat() for record_key in record_keys],
            "payloads": [database.to_json(document) for document in documents],
        },
    )


# Of the snapshot, which is no queue's.
_SNAPSHOT = """
WITH newest AS (
  SELECT DISTINCT ON (key) key, version, payload FROM snapshot
  WHERE CAST(:keys AS text[]) IS NULL OR key = ANY (CAST(:keys AS text[])) ORDER BY key, version DESC, received_at DESC
)
"""


def read_whole(runtime: Runtime, master: Resource) -> None:
    """Reads all PRODUCTS or LISTINGS afresh, page by page into a table of this transaction, and lets `ref` hold these
    and no others: what was deleted at the channel leaves no trace in its lists. What was written there since the read
    began stays."""
    table, columns = _KEPT[master.path]
    id_ = next(iter(columns))
    snapshot = master.raw.to_metadata(sa.MetaData(), schema="pg_temp", name="snapshot")
    whole = replace(master, raw=snapshot, merge=_merge(table, snapshot, columns, _SNAPSHOT))
    began, spared = None, []
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TEMP TABLE snapshot (LIKE {master.raw.fullname} INCLUDING DEFAULTS) ON COMMIT DROP"
        )
        for page in runtime.channel_advisor.pages(master.path):
            began = began or page.server_time
            judged = records.judge(master, page.records)
            fit, refused = records.typed(master, judged.records)
            refused += judged.refused + records.unstorable(raw.insert(connection, snapshot, fit))
            old = records.already_stored(connection, None, master, refused) if refused else set()
            records.dead_letter(
                connection, None, master, 0, [one for one in refused if (one.record.key, one.record.hash) not in old]
            )
            spared += [one.record.key for one in refused]
        records.merge(connection, whole, None)
        connection.execute(
            sa.text(
                f"DELETE FROM {table.fullname} AS held WHERE version < :began "
                f"AND NOT EXISTS (SELECT FROM snapshot WHERE snapshot.key = held.{id_}::text) "
                f"AND held.{id_}::text <> ALL (CAST(:spared AS text[]))"
            ),
            {"began": began, "spared": spared},
        )


# ---- which product is which item -----------------------------------------------------------------------------------

PRODUCTS_OF = sql.statement(__package__, "products_of").columns(
    sa.column("product_sku", sa.Text), sa.column("product_type", sa.Text), sa.column("items", sa.ARRAY(sa.Text))
)


def products_of(connection: sa.Connection, skus: Sequence[str]) -> list[sa.Row]:
    """The products of the channel that could be one of these items of TIMS: rows (product_sku, product_type, items).
    `items` has one SKU where it is clear which item the product is, several where it is not. An item may have several
    products: TIMS's AlternateSKUs are sold under their own names."""
    found = PRODUCTS_OF.subquery("found")
    return list(connection.execute(sa.select(found).order_by(found.c.product_sku), {"skus": list(skus)}))
