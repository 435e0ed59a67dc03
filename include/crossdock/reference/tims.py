"""The reference data of TIMS: what a flow looks up, read alongside it and kept in `ref`.

In: lists of TIMS (items, customers, and the documents that other documents refer to). Out: one row of `ref` for each,
the newest version. They are no flow: nothing is delivered. A batch of reference data ends when it is merged. Flows read
the same lists as their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Merge, RecordKey, Resource
from crossdock.rules import customers, settings
from crossdock.store import database, raw
from crossdock.store.tables import (
    ops_customer_change,
    raw_accounts,
    raw_adjustments,
    raw_company,
    raw_credit_memos,
    raw_customers,
    raw_entries,
    raw_invoices,
    raw_items,
    raw_payments,
    raw_periods,
    raw_sales_orders,
    raw_shipments,
    ref_account,
    ref_adjustment,
    ref_company,
    ref_credit_memo,
    ref_customer_key,
    ref_gl_entry,
    ref_invoice,
    ref_payment,
    ref_period,
    ref_sales_order,
    ref_shipment,
    stage_buyer,
)

# The contract: a row becomes visible at most 2 s after its ModifiedAt.
_TIMING: dict[str, Any] = {"overlap": timedelta(minutes=1), "lag": timedelta(seconds=2)}


class _Document(msgspec.Struct):
    """A document of order to cash: one of these is its id."""

    ModifiedAt: str
    SalesOrderID: str = ""
    ShipmentID: str | None = None
    InvoiceID: str = ""
    CreditMemoID: str = ""
    AdjustmentID: str = ""
    PaymentID: str = ""
    EntryID: str = ""
    AccountCode: str = ""
    Period: str = ""


class _Item(msgspec.Struct):
    SKU: str
    ModifiedAt: str


class _Customer(msgspec.Struct):
    CustomerID: str
    ModifiedAt: str


_document = msgspec.json.Decoder(_Document)
_item = msgspec.json.Decoder(_Item)
_customer = msgspec.json.Decoder(_Customer)

NEWEST = """
WITH newest AS (
  SELECT DISTINCT ON (key) key, version, payload FROM ops.work JOIN {table} USING (key, hash)
  WHERE batch_id = :batch AND (CAST(:keys AS text[]) IS NULL OR key = ANY (CAST(:keys AS text[])))
  ORDER BY key, version DESC, queued_at DESC
)
"""

_ITEMS = (
    NEWEST
    + """, merged AS (
  INSERT INTO ref.item (sku, status, type, kit_components, cost, list_price, currency_code, title, category,
    min_margin_percent, channel_eligible, version)
  SELECT key, payload->>'Status', payload->>'Type', coalesce(payload->'KitComponents', '[]'),
         (payload->>'Cost')::numeric, (payload->>'ListPrice')::numeric, payload->>'CurrencyCode',
         coalesce(payload->>'Title', ''), payload->>'Category', (payload->>'MinMarginPercent')::numeric,
         coalesce((payload->>'ChannelEligible')::boolean, false), version
  FROM newest
  ON CONFLICT (sku) DO UPDATE SET status = excluded.status, type = excluded.type,
    kit_components = excluded.kit_components, cost = excluded.cost, list_price = excluded.list_price,
    currency_code = excluded.currency_code, title = excluded.title, category = excluded.category,
    min_margin_percent = excluded.min_margin_percent, channel_eligible = excluded.channel_eligible,
    version = excluded.version
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
    NEWEST
    + """
INSERT INTO ref.customer (customer_id, status, name, version)
SELECT key, payload->>'Status', payload->>'Name', version FROM newest
ON CONFLICT (customer_id) DO UPDATE SET status = excluded.status, name = excluded.name, version = excluded.version
WHERE ref.customer.version <= excluded.version
RETURNING customer_id
"""
)


def given(batch_id: int | None, keys: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of NEWEST: a batch, or of a batch the records with these keys."""
    return {"batch": batch_id, "keys": None if keys is None else list(keys)}


def _merge_items(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    connection.execute(sa.text(_ITEMS.format(table=raw_items.fullname)), given(batch_id, keys))


def _merge_customers(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    """Copies customers, and the keys by which rules/customers.py recognises them."""
    statement = sa.text(_CUSTOMERS.format(table=raw_customers.fullname))
    merged_keys = connection.scalars(statement, given(batch_id, keys)).all()
    wanted = set(merged_keys)
    documents = [payload for _, _, payload in raw.documents(connection, raw_customers, batch_id, sorted(wanted))]
    connection.execute(sa.delete(ref_customer_key).where(ref_customer_key.c.customer_id.in_(wanted)))
    add_customer_keys(connection, documents)
    _forget(connection, [each["CustomerID"] for each in documents if each["Status"] == "Erased"])


def _forget(connection: sa.Connection, erased: list[str]) -> None:
    """What orders said of customers that TIMS has erased; that something was changed stays on record."""
    if not erased:
        return
    connection.execute(sa.delete(stage_buyer).where(stage_buyer.c.customer_id.in_(erased)))
    connection.execute(
        sa.update(ops_customer_change)
        .where(ops_customer_change.c.customer_id.in_(erased))
        .values(old_value=sa.null(), new_value=sa.null())
    )


def add_customer_keys(connection: sa.Connection, documents: list[dict]) -> None:
    """The recognition keys of TIMS customers (documents by the contract's Customer)."""
    keys: pd.DataFrame = customers.keys_of(documents, settings.load())
    frame = keys.rename(columns={"CustomerID": "customer_id"}).drop_duplicates()
    database.copy_in(connection, ref_customer_key, frame[["kind", "value", "customer_id"]])


ITEMS = Resource(
    "tims", "inventory/items", raw_items,
    lambda record: RecordKey((item := _item.decode(record)).SKU, item.ModifiedAt), "Item",
    merge=_merge_items, ids=("SKU",), **_TIMING,
)  # fmt: skip

CUSTOMERS = Resource(
    "tims", "customers", raw_customers,
    lambda record: RecordKey((customer := _customer.decode(record)).CustomerID, customer.ModifiedAt), "Customer",
    merge=_merge_customers, ids=("CustomerID",), **_TIMING,
)  # fmt: skip


# ---- the documents that others refer to ----------------------------------------------------------------------------


def read_key_of(id_field: str) -> Callable[[msgspec.Raw], RecordKey]:
    """How the key and version of a TIMS document are read."""

    def read_key(record: msgspec.Raw) -> RecordKey:
        document = _document.decode(record)
        return RecordKey(getattr(document, id_field) or "", document.ModifiedAt)

    return read_key


def _merge(table: sa.Table, source: sa.Table, columns: Mapping[str, str]) -> Merge:
    """Copies a batch's newest documents into `table`; `columns`: name -> SQL over `payload`."""
    names = ", ".join(columns)
    changed = ", ".join(f"{name} = excluded.{name}" for name in (*columns, "payload", "version"))
    statement = sa.text(
        NEWEST.format(table=source.fullname)
        + f"""
INSERT INTO {table.fullname} (id, {names}, payload, version)
SELECT key, {", ".join(columns.values())}, payload, version FROM newest
ON CONFLICT (id) DO UPDATE SET {changed} WHERE {table.fullname}.version <= excluded.version
"""
    )

    def merge(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
        connection.execute(statement, given(batch_id, keys))

    return merge


def _text(**fields: str) -> dict[str, str]:
    return {name: f"payload->>'{path}'" for name, path in fields.items()}


def _typed(kind: str, **fields: str) -> dict[str, str]:
    return {name: f"(payload->>'{path}')::{kind}" for name, path in fields.items()}


_REFERENCE = _text(external_reference="ExternalReference", source="Source")
_STATUS = _text(status="Status", posting_mode="PostingMode")


def _resource(path: str, table: sa.Table, document: str, id_field: str, merge: Merge) -> Resource:
    return Resource("tims", path, table, read_key_of(id_field), document, merge=merge, ids=(id_field,), **_TIMING)


ACCOUNTS = _resource(
    "gl/accounts",
    raw_accounts,
    "Account",
    "AccountCode",
    _merge(ref_account, raw_accounts, {**_text(name="Name", type="Type"), **_typed("boolean", blocked="Blocked")}),
)
PERIODS = _resource(
    "gl/periods",
    raw_periods,
    "Period",
    "Period",
    _merge(
        ref_period,
        raw_periods,
        {**_typed("date", start_date="StartDate", end_date="EndDate"), **_text(status="Status")},
    ),
)
SALES_ORDERS = _resource(
    "sales-orders",
    raw_sales_orders,
    "SalesOrder",
    "SalesOrderID",
    _merge(
        ref_sales_order,
        raw_sales_orders,
        {
            **_text(
                external_order_id="ExternalOrderID",
                source="Source",
                channel="Channel",
                currency_code="CurrencyCode",
                status="OrderStatus",
            )
        },
    ),
)
SHIPMENTS = _resource(
    "shipments",
    raw_shipments,
    "Shipment",
    "ShipmentID",
    _merge(
        ref_shipment,
        raw_shipments,
        {
            **_REFERENCE,
            **_text(sales_order_id="SalesOrderID", posting_mode="PostingMode"),
            **_typed("date", posting_date="PostingDate"),
        },
    ),
)
INVOICES = _resource(
    "ar/invoices",
    raw_invoices,
    "Invoice",
    "InvoiceID",
    _merge(
        ref_invoice,
        raw_invoices,
        {
            **_REFERENCE,
            **_STATUS,
            **_text(sales_order_id="SalesOrderID", shipment_id="ShipmentID", currency_code="CurrencyCode"),
            **_typed("date", posting_date="PostingDate"),
            **_typed("numeric", total="Total", balance="Balance"),
        },
    ),
)
CREDIT_MEMOS = _resource(
    "ar/credit-memos",
    raw_credit_memos,
    "CreditMemo",
    "CreditMemoID",
    _merge(
        ref_credit_memo,
        raw_credit_memos,
        {
            **_REFERENCE,
            **_STATUS,
            **_text(sales_order_id="SalesOrderID", invoice_id="InvoiceID", currency_code="CurrencyCode"),
            **_typed("date", posting_date="PostingDate"),
            **_typed("numeric", total="Total", balance="Balance"),
        },
    ),
)
ADJUSTMENTS = _resource(
    "inventory/adjustments",
    raw_adjustments,
    "Adjustment",
    "AdjustmentID",
    _merge(
        ref_adjustment,
        raw_adjustments,
        {
            **_REFERENCE,
            **_STATUS,
            **_text(sku="SKU", location_id="LocationID", reason_code="ReasonCode"),
            **_typed("bigint", quantity_delta="QuantityDelta"),
            **_typed("numeric", unit_cost="UnitCost"),
            **_typed("date", posting_date="PostingDate"),
        },
    ),
)
PAYMENTS = _resource(
    "ar/payments",
    raw_payments,
    "Payment",
    "PaymentID",
    _merge(
        ref_payment,
        raw_payments,
        {
            **_REFERENCE,
            **_STATUS,
            **_text(currency_code="CurrencyCode"),
            **_typed("date", posting_date="PostingDate"),
            **_typed("numeric", amount="Amount", unapplied_amount="UnappliedAmount"),
        },
    ),
)

_merge_entry_heads = _merge(
    ref_gl_entry,
    raw_entries,
    {
        **_REFERENCE,
        **_text(currency_code="CurrencyCode", period="Period", status="Status", reversal_of="ReversalOf"),
        **_typed("date", posting_date="PostingDate", original_event_date="OriginalEventDate"),
        "document_type": "payload#>>'{SourceDocument,Type}'",
        "document_id": "payload#>>'{SourceDocument,ID}'",
    },
)

# Lines of an entry never change: posted means final.
_ENTRY_LINES = (
    NEWEST.format(table=raw_entries.fullname)
    + """
INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit, channel, sku, order_id, memo)
SELECT key, (l->>'LineNo')::int, l->>'AccountCode', (l->>'Debit')::numeric, (l->>'Credit')::numeric,
       l#>>'{Dimensions,Channel}', l#>>'{Dimensions,SKU}', l#>>'{Dimensions,Order}', l->>'Memo'
FROM newest CROSS JOIN LATERAL jsonb_array_elements(payload->'Lines') AS l
ON CONFLICT (entry_id, line_no) DO NOTHING
"""
)


def _merge_entries(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    _merge_entry_heads(connection, batch_id, keys)
    connection.execute(sa.text(_ENTRY_LINES), given(batch_id, keys))


ENTRIES = _resource("gl/entries", raw_entries, "Entry", "EntryID", _merge_entries)

_copy_company = _merge(ref_company, raw_company, _text(time_zone="TimeZone", base_currency="BaseCurrency"))


class UnknownTimeZone(ValueError):
    """By the company's zone every document is dated."""


def _merge_company(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    zones = sa.text(NEWEST.format(table=raw_company.fullname) + "SELECT payload->>'TimeZone' FROM newest")
    for zone in connection.scalars(zones, given(batch_id, keys)):
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, TypeError, OSError):
            raise UnknownTimeZone from None
    _copy_company(connection, batch_id, keys)


COMPANY = Resource(
    "tims", "company", raw_company, lambda record: RecordKey("company", "2000-01-01T00:00:00Z"), "Company",
    merge=_merge_company,
    single=True, **_TIMING,
)  # fmt: skip
