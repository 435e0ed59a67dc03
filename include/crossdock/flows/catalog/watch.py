"""The catalogue, watching: finds items to work again although TIMS has not changed them, and products without an item.

In: `ref`, `stage` and `ops` after the reference data were read. Out: keys of items; orphans with the nearest items.
Never: a call to a system, but for the full compare's own read; work because of a stock or price change, which also
moves a product's date.
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
from crossdock.store import alerts, database, deliveries, sql
from crossdock.store.tables import Moment, ops_orphan, ops_product, ref_channel_product, ref_item_code, stage_product

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

FLOW = "catalog"
NO_PRODUCTS = ("shipping", "discount", "voucher", "ignore", "reject")  # actions of item_codes.csv

_product, _place = stage_product.c, ops_product.c
_FINISHED = ("delivered", "unchanged", "waiting", "would_be", "dead", "left_out")
_PRODUCTS = (
    sql.statement(__package__, "products_at_channel")
    .columns(
        sa.column("key", sa.Text), sa.column("state", sa.Text), sa.column("products_seen", Moment),
        sa.column("version", Moment), sa.column("moved", sa.Boolean),
    )
    .subquery("product")
)  # fmt: skip
_LISTINGS = (
    sql.statement(__package__, "listings_at_channel")
    .columns(
        sa.column("key", sa.Text), sa.column("state", sa.Text), sa.column("listings_seen", Moment),
        sa.column("wanted", sa.Text), sa.column("status", sa.Text), sa.column("version", Moment),
        sa.column("moved", sa.Boolean),
    )
    .subquery("listing")
)  # fmt: skip


def _keys(package_file: str) -> sa.Select:
    """Selects the keys that a statement of this package finds."""
    keys = sql.statement(__package__, package_file).columns(sa.column("key", sa.Text))
    return sa.select(keys.subquery(package_file).c.key)


def _newer(version: sa.ColumnElement, seen: sa.ColumnElement) -> sa.ColumnElement[bool]:
    return sa.or_(seen.is_(None), version > seen)


_product_seen = _newer(_PRODUCTS.c.version, _PRODUCTS.c.products_seen)
_listing_seen = _newer(_LISTINGS.c.version, _LISTINGS.c.listings_seen)
_REQUEUE = sa.union(
    _keys("requeue"),
    # A field of ours was changed at the channel; or a product was changed for which an item waits.
    sa.select(_PRODUCTS.c.key).where(
        _PRODUCTS.c.state.in_(_FINISHED), _product_seen, sa.or_(_PRODUCTS.c.moved, _PRODUCTS.c.state == "waiting")
    ),
    # A listing is out of sync; or a refused one was changed.
    sa.select(_LISTINGS.c.key).where(
        _LISTINGS.c.state.in_(_FINISHED), _listing_seen, sa.or_(_LISTINGS.c.moved, _LISTINGS.c.state == "dead")
    ),
    # Items that are sold off: TIMS may have sold the last one.
    sa.select(_LISTINGS.c.key).where(
        _LISTINGS.c.state.in_(_FINISHED), _LISTINGS.c.wanted == "SellOff", _LISTINGS.c.status != "Ended"
    ),
).order_by("key")
_newest = (
    sa.select(
        _PRODUCTS.c.key, sa.func.max(_PRODUCTS.c.version).label("version"),
        sa.func.bool_or(_PRODUCTS.c.moved).label("moved"),
    )
    .where(_PRODUCTS.c.state.in_(("delivered", "unchanged")), _PRODUCTS.c.version > _PRODUCTS.c.products_seen)
    .group_by(_PRODUCTS.c.key)
    .subquery("newest")
)  # fmt: skip
# Products that are equal in all our fields count as seen: a stock or a price has moved their date.
_NOTE_SEEN = (
    sa.update(stage_product)
    .where(_product.key == _newest.c.key, ~_newest.c.moved)
    .values(products_seen=_newest.c.version)
)


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds items to be worked again. Also notes products without an item."""
    note_orphans(connection)
    doubtful = deliveries.doubtful(connection, FLOW, ENTITY) | deliveries.doubtful(
        connection, FLOW, LISTING, linked=ENTITY
    )
    facts = {"rules": rules_hash(), "no_parts_yet": NO_PARTS_YET, "doubtful": list(doubtful)}
    keys = connection.scalars(_REQUEUE, facts).all()
    connection.execute(_NOTE_SEEN)
    return keys


# ---- the full compare ----------------------------------------------------------------------------------------------

_WORKED = ("delivered", "unchanged", "waiting")
_DRIFT = sa.union(
    sa.select(_PRODUCTS.c.key).where(_PRODUCTS.c.state.in_(_FINISHED), _PRODUCTS.c.moved),
    sa.select(_product.key).where(
        _product.state.in_(_WORKED), _product.key == sa.any_(sa.bindparam("gone", type_=sa.ARRAY(sa.Text)))
    ),
    sa.select(_LISTINGS.c.key).where(_LISTINGS.c.state.in_(_WORKED), _LISTINGS.c.moved),
    _keys("listings_deleted"),
).order_by("key")


def snapshot_target(runtime: Runtime) -> None:
    """Reads all products and listings of the channel again."""
    channel.read_whole(runtime, channel.PRODUCTS)
    if runtime.can.listings:
        channel.read_whole(runtime, channel.LISTINGS)


def find_drift(connection: sa.Connection) -> Sequence[str]:
    """Finds items whose products or listings are out of sync. Products that were deleted at the channel are forgotten,
    so that they are created again."""
    is_there = sa.exists().where(ref_channel_product.c.sku == _place.product_sku)
    gone = connection.scalars(sa.delete(ops_product).where(~is_there).returning(_place.sku)).all()
    return connection.scalars(_DRIFT, {"gone": list(gone)}).all()


# ---- products without an item --------------------------------------------------------------------------------------


# Items are matched by folded code: the channel may have any of their names (SKU or alternate) in any case of letters.
_NOBODYS = sa.select(ref_channel_product.c.sku).where(
    ~sa.exists().where(ref_item_code.c.folded == ref_channel_product.c.folded)
)


def note_orphans(connection: sa.Connection) -> None:
    """Keeps `ops.orphan`: products that match no item of TIMS, each with the items of the nearest spelling. Raises an
    alert with their number on a day with new ones."""
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
    rows = [{"product_sku": sku, "nearest": items.nearest(sku.strip(), candidates, folded.__getitem__)} for sku in new]
    connection.execute(database.insert_all(ops_orphan, rows))
    alerts.raise_alert(
        connection,
        kind="catalog_orphans",
        key=FLOW,
        flow=FLOW,
        title=f"{len(found)} products of the channel are no item of TIMS, {len(new)} of them new",
        body="The page Reconciliation, Products without an item, lists them with the nearest items, and so does "
        "`crossdock catalog orphans`. Create the item, or give one an alternate SKU, in TIMS; or take the product off "
        "the channel.",
        severity="notice",
        window=timedelta(days=1),
    )
