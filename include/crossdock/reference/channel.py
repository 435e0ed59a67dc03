"""The reference data of Channel Advisor: products, listings, distribution centers and sites, kept in `ref`.

In: its lists, and its answers to writes. Out: one row of `ref` for each record, the newest version; which product of
the channel is which item of TIMS. Never: a product matched to an item by another rule than that of the orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock.flow import Merge, RecordKey, Resource
from crossdock.reference.merging import fields, is_wanted, merging, newest, upsert
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
    """A row of a list, with the fields that may be its id."""

    UpdatedDate: str
    SKU: str | None = None
    ListingID: int | None = None
    DistributionCenterID: int | None = None
    SiteID: int | None = None


_row = msgspec.json.Decoder(_Row)


def read_key_of(id_field: str) -> Callable[[msgspec.Raw], RecordKey]:
    """Makes the reader of a row's key and version."""

    def record_key(record: msgspec.Raw) -> RecordKey:
        row = _row.decode(record)
        name = getattr(row, id_field)
        return RecordKey("" if name is None else str(name), row.UpdatedDate)

    return record_key


def _id(rows: sa.FromClause, table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    kind = table.c[name].type
    return rows.c.key if isinstance(kind, sa.Text) else sa.cast(rows.c.key, kind)


def _bare(rows: sa.FromClause) -> sa.ColumnElement[str]:
    """A product's SKU without the profile that stands in front of it, where products of several profiles are kept."""
    profile = sa.func.concat(rows.c.payload["ProfileID"].astext, ":")
    is_named = sa.and_(sa.func.length(profile) > 1, sa.func.starts_with(rows.c.key, profile))
    return sa.case((is_named, sa.func.substr(rows.c.key, sa.func.length(profile) + 1)), else_=rows.c.key)


def _product(rows: sa.FromClause) -> dict[str, sa.ColumnElement[Any]]:
    table, folded = ref_channel_product, sa.func.lower(sa.func.btrim(_bare(rows)))
    paths = {"product_id": "ProductID", "type": "ProductType"}
    return {"sku": rows.c.key, "folded": folded, **fields(rows, table, paths), "payload": rows.c.payload}


def _listing(rows: sa.FromClause) -> dict[str, sa.ColumnElement[Any]]:
    table = ref_channel_listing
    paths = {
        "sku": "SKU", "site_id": "SiteID", "status": "Status", "quantity": "Quantity", "price": "Price",
        "currency_code": "Currency",
    }  # fmt: skip
    return {"listing_id": _id(rows, table, "listing_id"), **fields(rows, table, paths), "payload": rows.c.payload}


def _center(rows: sa.FromClause) -> dict[str, sa.ColumnElement[Any]]:
    table = ref_channel_center
    paths = {"code": "Code", "is_external": "IsExternallyManaged", "is_deleted": "IsDeleted"}
    return {"center_id": _id(rows, table, "center_id"), **fields(rows, table, paths)}


def _site(rows: sa.FromClause) -> dict[str, sa.ColumnElement[Any]]:
    table = ref_channel_site
    return {"site_id": _id(rows, table, "site_id"), **fields(rows, table, {"name": "SiteName"})}


Values = Callable[[sa.FromClause], dict[str, sa.ColumnElement[Any]]]


def _merge(table: sa.Table, source: sa.Table, values: Values) -> Merge:
    """Copies a batch's newest rows into `table`."""
    rows = newest(source)
    return merging(upsert(table, rows, values(rows)))


PRODUCTS = Resource(
    "channel_advisor", "products", raw_products, read_key_of("SKU"), "Product",
    merge=_merge(ref_channel_product, raw_products, _product), ids=("SKU",), **_TIMING,
)  # fmt: skip
LISTINGS = Resource(
    "channel_advisor", "listings", raw_listings, read_key_of("ListingID"), "Listing",
    merge=_merge(ref_channel_listing, raw_listings, _listing), ids=("ListingID",),
    wanted=lambda can: can.listings, **_TIMING,
)  # fmt: skip
_KEPT = {PRODUCTS.path: (ref_channel_product, _product), LISTINGS.path: (ref_channel_listing, _listing)}
CENTERS = Resource(
    "channel_advisor", "distribution-centers", raw_centers, read_key_of("DistributionCenterID"), "DistributionCenter",
    merge=_merge(ref_channel_center, raw_centers, _center), ids=("DistributionCenterID",), **_TIMING,
)  # fmt: skip
SITES = Resource(
    "channel_advisor", "sites", raw_sites, read_key_of("SiteID"), "Site",
    merge=_merge(ref_channel_site, raw_sites, _site), ids=("SiteID",), **_TIMING,
)  # fmt: skip


# ---- rows that are not read by windows -----------------------------------------------------------------------------


def keep(connection: sa.Connection, master: Resource, documents: Sequence[Mapping[str, Any]]) -> None:
    """Keeps rows of PRODUCTS or LISTINGS from the channel's answers to writes, so that they need no new read."""
    if not documents:
        return
    table, columns = _KEPT[master.path]
    record_keys = [master.read_key(msgspec.Raw(database.to_json(document).encode())) for document in documents]
    made = [
        {"key": one.key, "version": times.read(one.version), "payload": document}
        for one, document in zip(record_keys, documents, strict=True)
    ]
    rows = database.given(master.raw, made)
    latest = sa.select(rows).ext(distinct_on(rows.c.key)).order_by(rows.c.key, rows.c.version.desc()).cte("newest")
    connection.execute(upsert(table, latest, columns(latest)))


def read_whole(runtime: Runtime, master: Resource) -> None:
    """Reads all PRODUCTS or LISTINGS, page by page into a temporary table, and deletes from `ref` the rows that are not
    among them: records deleted at the channel leave no trace in its lists. Rows written since the read began stay."""
    table, columns = _KEPT[master.path]
    snapshot = master.raw.to_metadata(sa.MetaData(), schema="pg_temp", name="snapshot")
    latest = (
        sa.select(snapshot.c.key, snapshot.c.version, snapshot.c.payload)
        .ext(distinct_on(snapshot.c.key))
        .where(is_wanted(snapshot))
        .order_by(snapshot.c.key, snapshot.c.version.desc(), snapshot.c.received_at.desc())
        .cte("newest")
    )
    whole = replace(master, raw=snapshot, merge=merging(upsert(table, latest, columns(latest))))
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
        key = sa.cast(next(iter(table.primary_key)), sa.Text)
        is_there = sa.or_(sa.exists().where(snapshot.c.key == key), key == sa.any_(sa.cast(spared, sa.ARRAY(sa.Text))))
        connection.execute(sa.delete(table).where(table.c.version < began, ~is_there))


# ---- items of the channel's products -------------------------------------------------------------------------------

PRODUCTS_OF = sql.statement(__package__, "products_of").columns(
    sa.column("product_sku", sa.Text), sa.column("product_type", sa.Text), sa.column("items", sa.ARRAY(sa.Text))
)


def products_of(connection: sa.Connection, skus: Sequence[str]) -> list[sa.Row]:
    """Finds the products of the channel that match one of these items of TIMS: rows (product_sku, product_type, items).
    `items` has one SKU where the match is clear, several where it is ambiguous. An item may have several products:
    TIMS's AlternateSKUs are sold under their own names."""
    found = PRODUCTS_OF.subquery("found")
    return list(connection.execute(sa.select(found).order_by(found.c.product_sku), {"skus": list(skus)}))
