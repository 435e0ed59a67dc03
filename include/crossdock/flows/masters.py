"""The masters of TIMS: items and customers, read alongside a flow and kept in `ref` for its look-ups.

They are no flow: nothing is delivered. A batch of a master ends when it is merged.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock.flows.base import Head, Resource
from crossdock.rules import customers, settings
from crossdock.store import database
from crossdock.store.tables import raw_customers, raw_items, ref_customer_key

# The contract: a row becomes visible at most 2 s after its ModifiedAt.
_TIMING = {"overlap": timedelta(minutes=1), "lag": timedelta(seconds=2)}


class _Item(msgspec.Struct):
    SKU: str
    ModifiedAt: str


class _Customer(msgspec.Struct):
    CustomerID: str
    ModifiedAt: str


_item = msgspec.json.Decoder(_Item)
_customer = msgspec.json.Decoder(_Customer)

_NEWEST = """
WITH newest AS (
  SELECT DISTINCT ON (key) key, version, payload FROM {table} WHERE batch_id = :batch
  ORDER BY key, version DESC, received_at DESC
)
"""

_ITEMS = (
    _NEWEST
    + """, merged AS (
  INSERT INTO ref.item (sku, status, type, kit_components, cost, list_price, currency_code, version)
  SELECT key, payload->>'Status', payload->>'Type', coalesce(payload->'KitComponents', '[]'),
         (payload->>'Cost')::numeric, (payload->>'ListPrice')::numeric, payload->>'CurrencyCode', version
  FROM newest
  ON CONFLICT (sku) DO UPDATE SET status = excluded.status, type = excluded.type,
    kit_components = excluded.kit_components, cost = excluded.cost, list_price = excluded.list_price,
    currency_code = excluded.currency_code, version = excluded.version
  WHERE ref.item.version <= excluded.version
  RETURNING sku
), gone AS (
  DELETE FROM ref.item_code USING merged WHERE item_code.sku = merged.sku
    AND item_code.code NOT IN (
      SELECT jsonb_array_elements_text(payload->'AlternateSKUs') FROM newest WHERE key = merged.sku
    ) AND item_code.code <> merged.sku
)
INSERT INTO ref.item_code (code, folded, kind, sku)
SELECT code, lower(btrim(code)), kind, sku FROM (
  SELECT key AS code, 'sku' AS kind, key AS sku FROM newest
  UNION ALL
  SELECT jsonb_array_elements_text(payload->'AlternateSKUs'), 'alternate', key FROM newest
) AS codes
WHERE sku IN (SELECT sku FROM merged)
ON CONFLICT (code, sku) DO NOTHING
"""
)

_CUSTOMERS = (
    _NEWEST
    + """
INSERT INTO ref.customer (customer_id, status, name, version)
SELECT key, payload->>'Status', payload->>'Name', version FROM newest
ON CONFLICT (customer_id) DO UPDATE SET status = excluded.status, name = excluded.name, version = excluded.version
WHERE ref.customer.version <= excluded.version
RETURNING customer_id
"""
)


def _merge_items(connection: sa.Connection, batch_id: int) -> None:
    connection.execute(sa.text(_ITEMS.format(table=raw_items.fullname)), {"batch": batch_id})


def _merge_customers(connection: sa.Connection, batch_id: int) -> None:
    """Copies customers, and the keys by which rules/customers.py recognises them."""
    merged = connection.scalars(sa.text(_CUSTOMERS.format(table=raw_customers.fullname)), {"batch": batch_id}).all()
    table = raw_customers
    newest = (
        sa.select(table.c.key, table.c.payload)
        .ext(distinct_on(table.c.key))
        .where(table.c.batch_id == batch_id)
        .order_by(table.c.key, table.c.version.desc(), table.c.received_at.desc())
    )
    wanted = set(merged)
    documents = [payload for key, payload in connection.execute(newest) if key in wanted]
    connection.execute(sa.delete(ref_customer_key).where(ref_customer_key.c.customer_id.in_(wanted)))
    add_customer_keys(connection, documents)


def add_customer_keys(connection: sa.Connection, documents: list[dict]) -> None:
    """The recognition keys of TIMS customers (documents by the contract's Customer)."""
    keys: pd.DataFrame = customers.keys_of(documents, settings.load())
    frame = keys.rename(columns={"CustomerID": "customer_id"}).drop_duplicates()
    database.copy_in(connection, ref_customer_key, frame[["kind", "value", "customer_id"]])


ITEMS = Resource(
    "tims", "inventory/items", raw_items,
    lambda record: Head((item := _item.decode(record)).SKU, item.ModifiedAt), "Item",
    merge=_merge_items, **_TIMING,
)  # fmt: skip

CUSTOMERS = Resource(
    "tims", "customers", raw_customers,
    lambda record: Head((customer := _customer.decode(record)).CustomerID, customer.ModifiedAt), "Customer",
    merge=_merge_customers, **_TIMING,
)  # fmt: skip
