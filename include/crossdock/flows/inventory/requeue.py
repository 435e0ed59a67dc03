"""Finds records to be worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows import documents
from crossdock.flows.inventory.transform import ENTITY, RESOURCE
from crossdock.flows.orders import in_flight as orders_in_flight
from crossdock.reference import channel, tims
from crossdock.rules import offer_settings
from crossdock.store import database, deliveries, sql
from crossdock.store.tables import (
    stage_channel_quantity,
    stage_channel_quantity_line,
)

NAME = "inventory"


# ---- rows to be worked again although TIMS's figures have not changed ----------------------------------------------

_flying = (
    orders_in_flight.UNITS.columns(
        sa.column("sku", sa.Text), sa.column("units", sa.BigInteger), sa.column("order_fingerprint", sa.Text)
    )
    .cte("flying")
    .prefix_with("MATERIALIZED")
)
_OTHER_ORDERS = sql.statement(__package__, "other_orders").columns(sa.column("key", sa.Text)).add_cte(_flying)
_RECENT = sql.statement(__package__, "recent_batches")
_OTHER_ITEMS = sql.statement(__package__, "other_items")
_CANDIDATES = sql.statement(__package__, "candidates")
_OTHER_LISTINGS = sql.statement(__package__, "other_listings")
# The candidates that have a product. A statement of its own, so that it is planned for their small number.
_found = channel.PRODUCTS_OF.subquery("found")
_named = sa.func.unnest(_found.c["items"]).table_valued(sa.column("sku", sa.Text), name="named").render_derived()
_quantity, _line = stage_channel_quantity.c, stage_channel_quantity_line.c
_OTHER_PRODUCTS = (
    sa.select(_quantity.key)
    .distinct()
    .select_from(_found.join(_named, sa.true()).join(stage_channel_quantity, _quantity.key == _named.c.sku))
    .where(
        _quantity.state.not_in(("dead", "staged", "ready")),
        sa.or_(_quantity.state == "waiting", _found.c.product_type.not_in(("Bundle", "Parent"))),
        ~sa.exists().where(_line.key == _quantity.key, _line["SKU"] == _found.c.product_sku),
        sa.or_(sa.func.cardinality(_found.c["items"]) == 1, _quantity.state == "waiting"),
    )
)


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Finds SKUs whose orders in flight, item, products, listings or terms have changed since their quantity was
    computed, and those of which the channel may hold an older quantity. SKUs that a change of the configuration does
    not concern are marked with its hash, so that only the first run after a change compares them all."""
    found, offers, table = due(connection), offer_settings.load(), stage_channel_quantity
    connection.execute(
        sa.update(table).where(_older(offers), ~documents.among(table.c.key, found)).values(config=offers.digest)
    )
    return found


def due(connection: sa.Connection) -> list[str]:
    """Finds the SKUs that the next run works although TIMS's figures have not changed."""
    offers = offer_settings.load()
    since = database.now(connection) - offers.margin
    found = set(connection.scalars(_OTHER_ORDERS, {"since": since}))
    found |= deliveries.doubtful(connection, NAME, ENTITY)
    recent = list(connection.scalars(_RECENT, {"resource": RESOURCE}))
    found.update(connection.scalars(_OTHER_ITEMS, {"recent": recent, "items": tims.ITEMS.name}))
    lists = {"items": tims.ITEMS.name, "products": channel.PRODUCTS.name}
    candidates = list(connection.scalars(_CANDIDATES, {"recent": recent, **lists}))
    found.update(connection.scalars(_OTHER_PRODUCTS, {"skus": candidates}))
    if offers.sites:
        given = {"recent": recent, "sites": sorted(offers.sites), "listings": channel.LISTINGS.name}
        rows = connection.execute(_OTHER_LISTINGS, given)
        found.update(key for key, site in rows if str(site) in offers.of(key))
    found.update(_other_terms(connection, offers))
    return sorted(found)


def _other_terms(connection: sa.Connection, offers: offer_settings.Offers) -> list[str]:
    """Finds SKUs whose terms a change of the configuration has changed."""
    table = stage_channel_quantity
    terms_before = sa.select(table.c.key, table.c.terms).where(_older(offers))
    rows = connection.execute(terms_before, execution_options={"yield_per": 2_000})
    return [key for key, terms in rows if terms != offers.fingerprint(key)]


def _older(offers: offer_settings.Offers) -> sa.ColumnElement[bool]:
    """Whether a row is of another configuration; <> would not use the index."""
    table = stage_channel_quantity
    return sa.or_(table.c.config < offers.digest, table.c.config > offers.digest)
