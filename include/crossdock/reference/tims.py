"""The reference data of TIMS: what flows look up, read beside their sources and kept in `ref`.

In: lists of TIMS (items, customers, and the documents that other documents refer to). Out: one row of `ref` for each
record, the newest version. It is no flow: nothing is delivered, and a batch ends when it is merged. Some lists are
sources of flows, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Merge, RecordKey, Resource
from crossdock.reference.merging import fields, given, merging, newest, upsert
from crossdock.rules import customers, settings
from crossdock.store import database, raw, sql
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
    ref_customer,
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
    """A document of order to cash, with the fields that may be its id."""

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

_ITEMS = sql.statement(__package__, "items")

_newest_customers = newest(raw_customers)
_CUSTOMERS = upsert(
    ref_customer,
    _newest_customers,
    {
        "customer_id": _newest_customers.c.key,
        **fields(_newest_customers, ref_customer, {"status": "Status", "name": "Name"}),
    },
).returning(ref_customer.c.customer_id)


def _merge_customers(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    """Copies customers, and the keys by which rules/customers.py matches them."""
    merged_keys = connection.scalars(_CUSTOMERS, given(batch_id, keys)).all()
    wanted = set(merged_keys)
    documents = [payload for _, _, payload in raw.documents(connection, raw_customers, batch_id, sorted(wanted))]
    connection.execute(sa.delete(ref_customer_key).where(ref_customer_key.c.customer_id.in_(wanted)))
    add_customer_keys(connection, documents)
    _forget(connection, [each["CustomerID"] for each in documents if each["Status"] == "Erased"])


def _forget(connection: sa.Connection, erased: list[str]) -> None:
    """Deletes buyer data of customers that TIMS has erased. The record that something was changed stays."""
    if not erased:
        return
    connection.execute(sa.delete(stage_buyer).where(stage_buyer.c.customer_id.in_(erased)))
    connection.execute(
        sa.update(ops_customer_change)
        .where(ops_customer_change.c.customer_id.in_(erased))
        .values(old_value=sa.null(), new_value=sa.null())
    )


def add_customer_keys(connection: sa.Connection, documents: list[dict]) -> None:
    """Adds the keys by which TIMS's customers (documents by the contract's Customer) are matched."""
    keys: pd.DataFrame = customers.keys_of(documents, settings.load())
    frame = keys.rename(columns={"CustomerID": "customer_id"}).drop_duplicates()
    database.copy_in(connection, ref_customer_key, frame[["kind", "value", "customer_id"]])


ITEMS = Resource(
    "tims", "inventory/items", raw_items,
    lambda record: RecordKey((item := _item.decode(record)).SKU, item.ModifiedAt), "Item",
    merge=merging(_ITEMS), ids=("SKU",), **_TIMING,
)  # fmt: skip

CUSTOMERS = Resource(
    "tims", "customers", raw_customers,
    lambda record: RecordKey((customer := _customer.decode(record)).CustomerID, customer.ModifiedAt), "Customer",
    merge=_merge_customers, ids=("CustomerID",), **_TIMING,
)  # fmt: skip


# ---- the documents that others refer to ----------------------------------------------------------------------------


def read_key_of(id_field: str) -> Callable[[msgspec.Raw], RecordKey]:
    """Makes the reader of the key and version of a TIMS document."""

    def read_key(record: msgspec.Raw) -> RecordKey:
        document = _document.decode(record)
        return RecordKey(getattr(document, id_field) or "", document.ModifiedAt)

    return read_key


def _merge(table: sa.Table, source: sa.Table, /, **paths: str) -> Merge:
    """Copies a batch's newest documents into `table`; `paths`: the path of each of its columns in the document."""
    rows = newest(source)
    values = {"id": rows.c.key, **fields(rows, table, paths), "payload": rows.c.payload}
    return merging(upsert(table, rows, values))


_REFERENCE = {"external_reference": "ExternalReference", "source": "Source"}
_STATUS = {"status": "Status", "posting_mode": "PostingMode"}


def _resource(path: str, table: sa.Table, document: str, id_field: str, merge: Merge) -> Resource:
    return Resource("tims", path, table, read_key_of(id_field), document, merge=merge, ids=(id_field,), **_TIMING)


ACCOUNTS = _resource(
    "gl/accounts",
    raw_accounts,
    "Account",
    "AccountCode",
    _merge(ref_account, raw_accounts, name="Name", type="Type", blocked="Blocked"),
)
PERIODS = _resource(
    "gl/periods",
    raw_periods,
    "Period",
    "Period",
    _merge(ref_period, raw_periods, start_date="StartDate", end_date="EndDate", status="Status"),
)
SALES_ORDERS = _resource(
    "sales-orders",
    raw_sales_orders,
    "SalesOrder",
    "SalesOrderID",
    _merge(
        ref_sales_order,
        raw_sales_orders,
        external_order_id="ExternalOrderID",
        source="Source",
        channel="Channel",
        currency_code="CurrencyCode",
        status="OrderStatus",
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
        sales_order_id="SalesOrderID",
        posting_mode="PostingMode",
        posting_date="PostingDate",
        **_REFERENCE,
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
        sales_order_id="SalesOrderID",
        shipment_id="ShipmentID",
        currency_code="CurrencyCode",
        posting_date="PostingDate",
        total="Total",
        balance="Balance",
        **_REFERENCE,
        **_STATUS,
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
        sales_order_id="SalesOrderID",
        invoice_id="InvoiceID",
        currency_code="CurrencyCode",
        posting_date="PostingDate",
        total="Total",
        balance="Balance",
        **_REFERENCE,
        **_STATUS,
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
        sku="SKU",
        location_id="LocationID",
        reason_code="ReasonCode",
        quantity_delta="QuantityDelta",
        unit_cost="UnitCost",
        posting_date="PostingDate",
        **_REFERENCE,
        **_STATUS,
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
        currency_code="CurrencyCode",
        posting_date="PostingDate",
        amount="Amount",
        unapplied_amount="UnappliedAmount",
        **_REFERENCE,
        **_STATUS,
    ),
)

_merge_entry_heads = _merge(
    ref_gl_entry,
    raw_entries,
    currency_code="CurrencyCode",
    period="Period",
    status="Status",
    reversal_of="ReversalOf",
    posting_date="PostingDate",
    original_event_date="OriginalEventDate",
    document_type="SourceDocument.Type",
    document_id="SourceDocument.ID",
    **_REFERENCE,
)

_ENTRY_LINES = sql.statement(__package__, "entry_lines")


def _merge_entries(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    _merge_entry_heads(connection, batch_id, keys)
    connection.execute(_ENTRY_LINES, given(batch_id, keys))


ENTRIES = _resource("gl/entries", raw_entries, "Entry", "EntryID", _merge_entries)

_copy_company = _merge(ref_company, raw_company, time_zone="TimeZone", base_currency="BaseCurrency")


class UnknownTimeZone(ValueError):
    """The company's time zone is unknown: no document can be dated."""


def _merge_company(connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None:
    zone_of = newest(raw_company).c.payload["TimeZone"].astext
    for zone in connection.scalars(sa.select(zone_of), given(batch_id, keys)):
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
