"""Every table, in one place. `docs/TABLES.md` is generated from the comments here.

Schemas: `raw` (records as received), `ref` (the reference data of TIMS, typed for look-ups), `stage` (target documents
on their way), `ops` (what was done, what is left to do).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from crossdock.store.registry import Moment, Money, metadata, stage_columns, stage_lines, stage_table

NOW = func.now()
BY_PREFIX = "text_pattern_ops"  # an index that finds a text by its beginning too, whatever the database's language
BY_PARTS = "ref.gin_trgm_ops"  # the same of any part, of three letters or more


def _raw(name: str, comment: str) -> Table:
    """Makes the raw table of a list: one row is one version of one record, as received. `ops.work` has the queues that
    it is work of."""
    return Table(
        name,
        metadata,
        Column("key", Text, nullable=False, comment="Id of the record in its system"),
        Column("version", Moment, nullable=False, comment="Its last change there, cut to microseconds"),
        Column("hash", Text, nullable=False, comment="SHA-256 of the bytes received, or of what counts of them"),
        Column("payload", JSONB, nullable=False, comment="The record as received; personal data, ages out"),
        Column("altered", Text, comment="What had to be taken out before it could be stored, e.g. U+0000"),
        Column("received_at", Moment, nullable=False, server_default=NOW),
        Column("received", LargeBinary, comment="What a dialect made the payload of, as received; zlib; personal data"),
        PrimaryKeyConstraint("key", "hash"),
        schema="raw",
        comment=comment,
    )


raw_orders = _raw("channel_advisor_orders", "One version of one Channel Advisor order")
Index("ix_channel_advisor_orders_order_id", raw_orders.c.payload["OrderID"].astext)
raw_returns = _raw("channel_advisor_returns", "One version of one Channel Advisor return")
raw_products = _raw("channel_advisor_products", "One version of one Channel Advisor product")
raw_listings = _raw("channel_advisor_listings", "One version of one Channel Advisor listing")
raw_centers = _raw("channel_advisor_centers", "One version of one distribution center of Channel Advisor")
raw_sites = _raw("channel_advisor_sites", "One version of one site of Channel Advisor")

raw_items = _raw("tims_items", "One version of one TIMS item")
raw_quantities = _raw("tims_quantities", "One version of the quantities of one TIMS SKU")
raw_customers = _raw("tims_customers", "One version of one TIMS customer")
raw_company = _raw("tims_company", "One version of TIMS's company")
raw_accounts = _raw("tims_accounts", "One version of one TIMS account")
raw_periods = _raw("tims_periods", "One version of one TIMS posting period")
raw_sales_orders = _raw("tims_sales_orders", "One version of one TIMS sales order")
raw_shipments = _raw("tims_shipments", "One version of one TIMS shipment")
raw_invoices = _raw("tims_invoices", "One version of one TIMS invoice")
raw_credit_memos = _raw("tims_credit_memos", "One version of one TIMS credit memo")
raw_adjustments = _raw("tims_adjustments", "One version of one TIMS stock adjustment")
raw_payments = _raw("tims_payments", "One version of one TIMS payment")
raw_entries = _raw("tims_entries", "One version of one TIMS journal entry")

raw_settlements = _raw("inbox_settlements", "One version of one settlement file, in our own shape")
raw_movements = _raw("inbox_stock", "One version of one stock movement from a file")
raw_settlement_orders = _raw("settlement_ledger_orders", "One version of one order's part of one settlement")
raw_settlement_lines = _raw("settlement_ledger_lines", "One version of one line of a settlement")

# ---- ref: the reference data, typed for look-ups; the newest version only ----------------------------------------

ref_item = Table(
    "item",
    metadata,
    Column("sku", Text, primary_key=True, comment="SKU as TIMS spells it"),
    Column("status", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("kit_components", JSONB, nullable=False, comment="[{SKU, Quantity}] of a kit, else []"),
    Column("cost", Money, nullable=False),
    Column("list_price", Money, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("category", Text, comment='Path, parts separated by " > "'),
    Column("min_margin_percent", Numeric(19, 4), comment="Least margin allowed, percent of the selling price"),
    Column("channel_eligible", Boolean, nullable=False, server_default=false(), comment="May be sold on channels"),
    Column("version", Moment, nullable=False),
    schema="ref",
    comment="One TIMS item, newest version",
)

ref_item_code = Table(
    "item_code",
    metadata,
    Column("code", Text, nullable=False, comment="SKU or AlternateSKU as spelt in TIMS"),
    Column("folded", Text, nullable=False, comment="The code in lower case, blanks trimmed"),
    Column("kind", Text, nullable=False, comment="sku or alternate"),
    Column("sku", Text, nullable=False),
    PrimaryKeyConstraint("code", "sku"),
    Index(None, "folded", postgresql_ops={"folded": BY_PREFIX}),
    Index(None, "sku"),
    schema="ref",
    comment="One code by which an item may be named",
)

# Products and listings of the channel as last read. A row that was deleted there stays until a full compare.

ref_channel_product = Table(
    "channel_product",
    metadata,
    Column("sku", Text, primary_key=True, comment="SKU as Channel Advisor stores it; it compares without case"),
    Column("folded", Text, nullable=False, index=True, comment="The SKU in lower case, blanks trimmed"),
    Column("product_id", BigInteger, nullable=False),
    Column("type", Text, nullable=False, comment="Item, Child, Bundle or Parent; the last two have no stock"),
    Column("payload", JSONB, nullable=False, comment="The product as Channel Advisor gives it"),
    Column("version", Moment, nullable=False),
    schema="ref",
    comment="One Channel Advisor product, newest version",
)

ref_channel_listing = Table(
    "channel_listing",
    metadata,
    Column("listing_id", BigInteger, primary_key=True),
    Column("sku", Text, nullable=False, comment="Product as Channel Advisor stores it"),
    Column("site_id", Integer, nullable=False),
    Column("status", Text, nullable=False, comment="Draft, Active, Paused, Ended or Error"),
    Column("quantity", BigInteger, comment="Units on offer on the site; empty: follows the stock"),
    Column("price", Money, comment="Price on the site; empty: follows the product's price"),
    Column("currency_code", Text, nullable=False, comment="Currency of the site"),
    Column("payload", JSONB, nullable=False, comment="The listing as Channel Advisor gives it"),
    Column("version", Moment, nullable=False),
    Index(None, "sku"),
    schema="ref",
    comment="One Channel Advisor listing, newest version",
)

ref_channel_center = Table(
    "channel_center",
    metadata,
    Column("center_id", Integer, primary_key=True),
    Column("code", Text, nullable=False, comment="Short name, never changes"),
    Column("is_external", Boolean, nullable=False, comment="Its stock is kept by a marketplace and never written"),
    Column("is_deleted", Boolean, nullable=False),
    Column("version", Moment, nullable=False),
    schema="ref",
    comment="One distribution center of Channel Advisor, newest version",
)

ref_channel_site = Table(
    "channel_site",
    metadata,
    Column("site_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Moment, nullable=False),
    schema="ref",
    comment="One site of Channel Advisor, newest version",
)

# The channel's prices as last read, or as it accepted them from us. A full compare replaces all rows.
ref_channel_price = Table(
    "channel_price",
    metadata,
    Column("sku", Text, primary_key=True, comment="Product as Channel Advisor stores it"),
    Column("price", Money, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("min_price", Money),
    Column("max_price", Money),
    Column("retail_price", Money),
    Column("promotion_id", Text, comment="Empty: no promotional price"),
    Column("promotion_price", Money),
    Column("promotion_start", Moment, comment="First moment"),
    Column("promotion_end", Moment, comment="End, not part of it"),
    Column("version", Moment, comment="Its last change there; empty: it is what we sent"),
    schema="ref",
    comment="One price as Channel Advisor holds it",
)

ref_channel_level = Table(
    "channel_level",
    metadata,
    Column("sku", Text, nullable=False, comment="Product as Channel Advisor stores it"),
    Column("center_id", Integer, nullable=False),
    Column("available", BigInteger, nullable=False, comment="Units that may be sold"),
    Column("version", Moment, nullable=False, comment="When the level last changed there"),
    PrimaryKeyConstraint("sku", "center_id"),
    schema="ref",
    comment="One stock level of Channel Advisor, as the last full compare found it",
)

ref_customer = Table(
    "customer",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("name", Text, nullable=False, comment="Personal data"),
    Column("version", Moment, nullable=False),
    schema="ref",
    comment="One TIMS customer, newest version",
)

ref_customer_key = Table(
    "customer_key",
    metadata,
    Column("kind", Text, nullable=False, comment="external, email, phone_postal or name_address"),
    Column("value", Text, nullable=False, comment="Normalised by rules/customers.py; personal data"),
    Column("customer_id", Text, nullable=False),
    PrimaryKeyConstraint("kind", "value", "customer_id"),
    Index(None, "customer_id"),
    Index("ix_customer_key_phone", text("split_part(value, '|', 1)"), "customer_id",
          postgresql_where=text("kind = 'phone_postal'")),
    schema="ref",
    comment="One way to recognise a TIMS customer",
)  # fmt: skip


def _document(name: str, comment: str, *columns: Column | Index) -> Table:
    """Makes the table of a kind of document of TIMS: columns for look-ups, and the whole document as TIMS gives it."""
    return Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),
        *columns,
        Column("payload", JSONB, nullable=False, comment="The document as TIMS gives it"),
        Column("version", Moment, nullable=False),
        schema="ref",
        comment=comment,
    )


ref_company = _document(
    "company",
    "The company: its time zone and base currency; one row",
    Column("time_zone", Text, nullable=False),
    Column("base_currency", Text, nullable=False),
)

ref_account = _document(
    "account",
    "One account of TIMS's chart",
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("blocked", Boolean, nullable=False),
)

ref_account_name = Table(
    "account_name",
    metadata,
    Column("name", Text, nullable=False, comment="Name in config/accounts.yaml"),
    Column("code", Text, nullable=False, comment="A code that it may take"),
    PrimaryKeyConstraint("name", "code"),
    Index(None, "code"),
    schema="ref",
    comment="One account by the name that the posting table has for it; written anew before controls run",
)

ref_period = _document(
    "period",
    "One posting period of TIMS",
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("status", Text, nullable=False),
)

ref_sales_order = _document(
    "sales_order",
    "One TIMS sales order, newest version; personal data in the payload",
    Column("external_order_id", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("channel", Text),
    Column("currency_code", Text, nullable=False),
    Column("status", Text, nullable=False),
)

Index("ix_sales_order_customer_id", ref_sales_order.c.payload["CustomerID"].astext)

ref_shipment = _document(
    "shipment",
    "One TIMS shipment, newest version",
    Column("external_reference", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sales_order_id", Text, nullable=False, index=True),
    Column("posting_mode", Text, nullable=False),
    Column("posting_date", Date, nullable=False),
)

Index("ix_shipment_tracking_number", ref_shipment.c.payload["TrackingNumber"].astext)

ref_invoice = _document(
    "invoice",
    "One TIMS invoice, newest version",
    Column("external_reference", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("sales_order_id", Text, nullable=False, index=True),
    Column("shipment_id", Text, index=True),
    Column("currency_code", Text, nullable=False),
    Column("posting_date", Date, nullable=False),
    Column("total", Money, nullable=False),
    Column("balance", Money, nullable=False),
    Column("status", Text, nullable=False),
    Column("posting_mode", Text, nullable=False),
)

ref_credit_memo = _document(
    "credit_memo",
    "One TIMS credit memo, newest version",
    Column("external_reference", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("invoice_id", Text, nullable=False, index=True),
    Column("sales_order_id", Text, nullable=False, index=True),
    Column("currency_code", Text, nullable=False),
    Column("posting_date", Date, nullable=False),
    Column("total", Money, nullable=False),
    Column("balance", Money, nullable=False),
    Column("status", Text, nullable=False),
    Column("posting_mode", Text, nullable=False),
)

ref_adjustment = _document(
    "adjustment",
    "One TIMS stock adjustment, newest version",
    Column("external_reference", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("location_id", Text, nullable=False),
    Column("quantity_delta", BigInteger, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("unit_cost", Money, nullable=False, comment="In the base currency"),
    Column("posting_date", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("posting_mode", Text, nullable=False),
)

ref_payment = _document(
    "payment",
    "One TIMS payment, newest version",
    Column("external_reference", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("posting_date", Date, nullable=False),
    Column("amount", Money, nullable=False),
    Column("unapplied_amount", Money, nullable=False),
    Column("status", Text, nullable=False),
    Column("posting_mode", Text, nullable=False),
)

ref_gl_entry = _document(
    "gl_entry",
    "One TIMS journal entry, newest version",
    Column("external_reference", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("posting_date", Date, nullable=False),
    Column("original_event_date", Date),
    Column("period", Text, nullable=False),
    Column("document_type", Text, nullable=False),
    Column("document_id", Text, nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("reversal_of", Text),
    Index("ix_gl_entry_day", "posting_date", "id"),
)

Index("ix_gl_entry_description", ref_gl_entry.c.payload["Description"].astext.label("description"),
      postgresql_using="gin", postgresql_ops={"description": BY_PARTS})  # fmt: skip

ref_gl_entry_line = Table(
    "gl_entry_line",
    metadata,
    Column("entry_id", Text, nullable=False),
    Column("line_no", Integer, nullable=False),
    Column("account_code", Text, nullable=False, index=True),
    Column("debit", Money, nullable=False),
    Column("credit", Money, nullable=False),
    Column("channel", Text),
    Column("sku", Text),
    Column("order_id", Text),
    Column("memo", Text),
    PrimaryKeyConstraint("entry_id", "line_no"),
    Index("ix_gl_entry_line_order_id", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    Index("ix_gl_entry_line_memo", "memo", postgresql_using="gin", postgresql_ops={"memo": BY_PARTS}),
    schema="ref",
    comment="One line of a journal entry; amounts in the currency of its entry",
)


def _sums() -> tuple[Column, ...]:
    return (
        Column("debit", Numeric(38, 4), nullable=False),
        Column("credit", Numeric(38, 4), nullable=False),
        Column("lines", BigInteger, nullable=False),
    )


ref_ledger_day = Table(
    "ledger_day",
    metadata,
    Column("posting_date", Date, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("account_code", Text, nullable=False),
    Column("channel", Text, nullable=False, comment="Empty: lines without one"),
    *_sums(),
    PrimaryKeyConstraint("posting_date", "currency_code", "account_code", "channel"),
    schema="ref",
    comment="Sum of the lines of one day, currency, account and channel; kept by triggers",
)

ref_ledger_sku_day = Table(
    "ledger_sku_day",
    metadata,
    Column("month", Date, nullable=False, comment="First day of the month"),
    Column("channel", Text, nullable=False, comment="Empty: lines without one"),
    Column("sku", Text, nullable=False, comment="Empty: lines without one"),
    Column("currency_code", Text, nullable=False),
    Column("account_code", Text, nullable=False),
    Column("posting_date", Date, nullable=False),
    *_sums(),
    PrimaryKeyConstraint(
        "month", "channel", "sku", "currency_code", "account_code", "posting_date",
        postgresql_include=["debit", "credit"],
    ),
    schema="ref",
    comment="Sum of the lines of one day, currency, account, channel and SKU; kept by triggers",
)  # fmt: skip

# ---- ref: our settlement ledger, what marketplaces have paid -------------------------------------------------------

ref_settlement = Table(
    "settlement",
    metadata,
    Column("source", Text, nullable=False, comment="Name in config/payouts.yaml"),
    Column("settlement_id", Text, nullable=False, comment="The marketplace's number"),
    Column("channel", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("file", Text, nullable=False, comment="Its file, in done/ of the source's folder"),
    Column("currency_code", Text, nullable=False),
    Column(
        "group", Text, nullable=False, server_default="", comment="Settled apart; periods of a group follow each other"
    ),
    Column("start_at", Moment, comment="Start of the period; null where the format has none"),
    Column("end_at", Moment, comment="End of the period, not part of it"),
    Column("deposit_at", Moment, comment="When the bank should have it"),
    Column("total", Money, nullable=False, comment="What it pays; the sum of its lines, to the cent"),
    Column(
        "content_hash", Text, nullable=False, comment="Of all that the file says: the same settlement again is known"
    ),
    Column("booked_at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("source", "settlement_id"),
    Index(None, "booked_at"),
    Index(None, "settlement_id"),
    schema="ref",
    comment="One settlement of a marketplace that was found whole",
)

ref_settlement_line = Table(
    "settlement_line",
    metadata,
    Column("source", Text, nullable=False),
    Column("settlement_id", Text, nullable=False),
    Column(
        "line_no", Text, nullable=False, comment="Row of the file; of several amounts in a row also the column: 17.2"
    ),
    Column("position", Integer, nullable=False, comment="Order in the file, from 0"),
    Column("kind", Text, nullable=False, comment="By config/lookups/settlement_kinds.csv"),
    Column("transaction_type", Text),
    Column("amount_type", Text),
    Column("amount_description", Text),
    Column("order_ref", Text, comment="The marketplace's order number"),
    Column("merchant_order_ref", Text),
    Column("sku", Text),
    Column("amount", Money, nullable=False, comment="Signed; above 0 is for us"),
    Column("currency_code", Text, nullable=False),
    Column("posted_at", Moment, nullable=False, comment="When the marketplace posted it"),
    Column("sales_order_id", Text, comment="Order in TIMS, where it was known when the line was booked"),
    Column("former_kind", Text, comment="What it was before the lookup was corrected"),
    Column("booked_at", Moment, nullable=False, server_default=NOW, comment="Also when its kind was changed"),
    PrimaryKeyConstraint("source", "settlement_id", "line_no"),
    Index(None, "source", "settlement_id", "position"),
    Index(None, "order_ref"),
    Index(None, "booked_at"),
    Index("ix_settlement_line_unknown", "source", "settlement_id", postgresql_where=text("kind = 'unknown'")),
    Index(None, "posted_at"),
    schema="ref",
    comment="One amount of a settlement",
)

# ---- stage: one row is one target document; the business key is the primary key ------------------------------------

ADDRESS = ("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode", "CountryCode")

stage_customer = Table(
    "customer",
    metadata,
    *stage_columns(),
    Column("customer_id", Text, comment="CustomerID once known"),
    Column("document", JSONB, nullable=False, comment="CustomerCreate of the TIMS contract; personal data"),
    schema="stage",
    comment="One customer to create in TIMS",
)

# Who the buyer of an order is, as far as it is known, in 8 bytes: a name may be longer than an index takes.
_BUYER = """hashtextextended(coalesce(customer_id, customer_key, lower("ShippingAddress.Name")), 0)"""

stage_buyer = Table(
    "buyer",
    metadata,
    Column("key", Text, primary_key=True, comment="Key of the order"),
    Column("version", Text, nullable=False, comment="UpdatedDate of the order, in a form that sorts"),
    Column("state", Text, nullable=False, server_default=text("'staged'"),
           comment="staged, or done: the TIMS customer was brought to it, or stayed as it is"),
    Column("customer_id", Text, index=True, comment="CustomerID once known"),
    Column("customer_key", Text, comment="Row of stage.customer, where the order's customer was new"),
    Column("site", Text, nullable=False, comment="profile:site; a relay address is of use there only"),
    Column("OrderDate", Text, nullable=False, comment="RFC 3339, UTC, microseconds"),
    Column("Email", Text, comment="Personal data, as all that follows; null: the order does not say"),
    Column("Phone", Text),
    *(Column(f"BillingAddress.{part}", Text) for part in ADDRESS),
    *(Column(f"ShippingAddress.{part}", Text) for part in ADDRESS),
    Index("ix_buyer_staged", "key", postgresql_where=text("state = 'staged'")),
    Index("ix_buyer_email", text('lower("Email")'), text(_BUYER)),
    Index("ix_buyer_phone", "Phone", text(_BUYER)),
    schema="stage",
    comment="What one order says of its buyer",
)  # fmt: skip


stage_sales_order = stage_table(
    "sales_order",
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'"), comment="What was mended or left out"),
    Column("customer_key", Text, comment="Row of stage.customer that must exist first; null when CustomerID is known"),
    Column("OrderDate", Text, comment="RFC 3339, UTC, microseconds"),
    Column("cancelled", Boolean, nullable=False, server_default=text("false"), comment="Cancelled as a whole"),
    Column("record_shipments", Boolean, nullable=False, server_default=text("false"),
           comment="Shipped by the channel or before its first read: its shipments are recorded in TIMS"),
    Column("rounding_difference", Money, comment="Explained by 4-decimal unit prices alone"),
    Column("location_id", Text, comment="Stock location of the site, for recorded shipments"),
    Column("held_by", Text, comment="Of an order on hold: channel, or crossdock where a rule holds it"),
    Column("own_location_id", Text, comment="Of a mixed order: where our own parcels leave from; null for any other"),
    Column("marketplace_order_id", Text, comment="The marketplace's own number; settlements name it"),
    Index(None, "marketplace_order_id", postgresql_ops={"marketplace_order_id": BY_PREFIX}),
    Index("ix_sales_order_open", "key",
          postgresql_where=text("state IN ('staged', 'ready', 'waiting', 'would_be', 'dead')")),
    mapping="sales_order",
    comment="One sales order as TIMS should hold it",
)  # fmt: skip

stage_sales_order_line = stage_lines(
    "sales_order_line",
    Column("OrderItemID", Text, comment="Line at Channel Advisor that it comes from"),
    Column("quantity_cancelled", BigInteger, nullable=False, server_default=text("0"), comment="Units to be cancelled"),
    Column(
        "quantity_shipped", BigInteger, nullable=False, server_default=text("0"), comment="Units the channel shipped"
    ),
    Column("units_per_kit", BigInteger, nullable=False, server_default=text("1"), comment="Of this part in one kit"),
    Index("ix_sales_order_line_sku", "SKU", text("length(key)"), "key"),
    mapping="sales_order",
    key="Key of the order",
    comment="One line of a sales order as TIMS should hold it",
)

# ---- stage: shipments and invoices ---------------------------------------------------------------------------------

stage_channel_shipment = stage_table(
    "channel_shipment",
    Column("ChannelAdvisorOrderID", BigInteger, index=True),
    Column("SellerFulfillmentID", Text, comment="Digits of the ShipmentID; the channel's key for it within the order"),
    Column("ShippedDate", Text, comment="RFC 3339, UTC"),
    Column("sales_order_id", Text, index=True, comment="SalesOrderID in TIMS"),
    Column("parcel", JSONB, comment="Units that left, by ExternalLineID; null where it does not count for the channel"),
    Column("order_version", Moment, comment="Version of the sales order that was looked at; null: it was not there"),
    mapping="shipment",
    comment="One shipment as Channel Advisor should be told of it; the key is TIMS's ShipmentID",
)

stage_channel_shipment_line = stage_lines(
    "channel_shipment_line",
    Column("OrderItemID", BigInteger, nullable=False, comment="Line at Channel Advisor"),
    Column("SKU", Text, comment="What was sold: the kit's own SKU, not its parts'"),
    Column("Quantity", BigInteger, nullable=False, comment="Units as sold; a kit counts 1"),
    mapping="shipment",
    key="ShipmentID",
    comment="Units of one line sold that a shipment reports",
)


stage_invoice = stage_table(
    "invoice",
    Column("SalesOrderID", Text, index=True),
    Column("order_version", Moment, comment="Version of the sales order that was looked at; null: it was not there"),
    mapping="invoice",
    comment="One invoice as TIMS should hold it; the key is the ShipmentID",
)

stage_invoice_line = stage_lines(
    "invoice_line",
    mapping="invoice",
    key="ShipmentID",
    comment="One line of an invoice as TIMS should hold it",
)

# ---- stage: settlements and payments -------------------------------------------------------------------------------

SETTLEMENT_TEXT = (
    "Source", "File", "FileModifiedAt", "Format", "Channel", "SettlementID", "SettlementGroup", "StartDate",
    "EndDate", "DepositDate", "CurrencyCode",
)  # fmt: skip
SETTLEMENT_LINE_TEXT = (
    "LineNo", "TransactionType", "AmountType", "AmountDescription", "OrderRef", "MerchantOrderRef", "SKU", "PostedAt",
    "Kind",
)  # fmt: skip

stage_settlement = Table(
    "settlement",
    metadata,
    *stage_columns(),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'"), comment="Why it cannot be read"),
    *(Column(name, Text) for name in SETTLEMENT_TEXT),
    Column("TotalAmount", Money),
    schema="stage",
    comment="One settlement on its way into the books",
)

stage_settlement_line = Table(
    "settlement_line",
    metadata,
    Column("key", Text, nullable=False, comment="Key of the settlement's file"),
    Column("position", Integer, nullable=False),
    *(Column(name, Text) for name in SETTLEMENT_LINE_TEXT),
    Column("Amount", Money),
    PrimaryKeyConstraint("key", "position"),
    schema="stage",
    comment="One line of a settlement on its way into the books",
)


stage_payment = stage_table(
    "payment",
    Column("Amount", Money, comment="Sum of its applications"),
    Column("sales_order_id", Text, index=True, comment="Order that it pays for"),
    Column("settlement_source", Text),
    Column("settlement_id", Text),
    Column("order_ref", Text, comment="The marketplace's order number"),
    Column("merchant_order_ref", Text),
    Column("settled", Money, comment="What the settlement says of the order"),
    Column("rounding", Money, comment="Amount less what was settled, within tolerance; above 0 is our loss"),
    Column("refund_rounding", Money, comment="Settled beyond its credit memos, and posted to Rounding with them"),
    Column("original_date", Text, comment="Value date, where its period was closed"),
    Column("documents_at", Moment, comment="Newest version of the order's documents that was looked at"),
    mapping="payment",
    problems="Why it matches nothing",
    comment="One order's part of one settlement as a TIMS payment",
)

stage_payment_application = stage_lines(
    "payment_application",
    Column("Amount", Money, comment="Above 0 for an invoice, below 0 for a credit memo"),
    mapping="payment",
    key="Key of the payment",
    position=None,
    comment="One invoice or credit memo that a payment is applied to",
)

# ---- stage: journal entries, and what the controls found -----------------------------------------------------------

stage_posting = Table(
    "posting",
    metadata,
    *stage_columns(),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'"), comment="Why it cannot be posted"),
    Column("DocumentType", Text, comment="SourceDocument of its entries"),
    Column("DocumentID", Text),
    Column("sales_order_id", Text, comment="Order that it waits for, or belongs to"),
    Column("shipment_id", Text, comment="Shipment that it waits for, or belongs to"),
    schema="stage",
    comment="One posted document, and the journal entries that it should have",
)

stage_posting_line = Table(
    "posting_line",
    metadata,
    Column("key", Text, nullable=False, comment="Key of the document"),
    Column("position", Integer, nullable=False, comment="From 0; lines of one entry stand together"),
    Column("EntryKey", Text, nullable=False, comment="ExternalReference of its entry, as first posted"),
    Column("Event", Text, nullable=False, comment="Event of config/posting.yaml"),
    Column("PostingDate", Text),
    Column("OriginalEventDate", Text, comment="Day of the event where PostingDate is later"),
    Column("CurrencyCode", Text),
    Column("Description", Text),
    Column("Account", Text, nullable=False, comment="Name in config/accounts.yaml"),
    Column("AccountCode", Text),
    Column("Debit", Money, nullable=False),
    Column("Credit", Money, nullable=False),
    Column("Channel", Text),
    Column("SKU", Text),
    Column("Order", Text),
    PrimaryKeyConstraint("key", "position"),
    Index(None, "EntryKey"),
    schema="stage",
    comment="One line of a journal entry as TIMS should hold it",
)

ops_control = Table(
    "control",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("run_id", Text, nullable=False, index=True, comment="Close, or watch, that ran it"),
    Column("period", Text, nullable=False, comment="YYYY-MM, the last month that it looks at"),
    Column("control", Text, nullable=False, comment="Name in config/controls"),
    Column("subject", Text, nullable=False, comment="Currency, account, entry or settlement that it is about"),
    Column("expected", Text, nullable=False),
    Column("actual", Text, nullable=False),
    Column("difference", Money, comment="actual - expected, where they are amounts"),
    Column("holds", Boolean, nullable=False),
    Column("documents", JSONB, nullable=False, server_default=text("'[]'"), comment="Documents to blame"),
    Column("at", Moment, nullable=False, server_default=NOW, comment="The same for all that one close has found"),
    Column("message", Text, nullable=False, server_default="", comment="What must be true"),
    Column("do", Text, nullable=False, server_default="", comment="What to do where it is not"),
    Index(None, "period", "id"),
    schema="ops",
    comment="One thing that a control looked at, expected and actual",
)

ops_closing = Table(
    "closing",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("period", Text, nullable=False, comment="YYYY-MM"),
    Column("run_id", Text, nullable=False, comment="Airflow run or command that does it"),
    Column("asked_at", Moment, nullable=False, server_default=NOW),
    Column("asked_by", Text, comment="Person who asked in the console; empty: a timetable or a command"),
    Column("finished_at", Moment, comment="Empty: it runs, or it ended before it could look"),
    Column("controls", Integer, nullable=False, server_default="0", comment="Results of controls"),
    Column("failed", Integer, nullable=False, server_default="0", comment="Those that do not hold"),
    Column("figures", Text, comment="Digest of the month's books as they were looked at"),
    Column("items", Text, comment="Digest of the items that were open"),
    Index(None, "period", "id"),
    Index(None, "run_id", "period", unique=True),
    schema="ops",
    comment="One close of a month: what was looked at, and when",
)

ops_open_item = Table(
    "open_item",
    metadata,
    Column("period", Text, nullable=False, comment="YYYY-MM"),
    Column("position", Integer, nullable=False, comment="From 0: by kind and currency, the oldest first"),
    Column("kind", Text, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("document", Text, nullable=False, comment="Invoice, order, settlement, ... that is open"),
    Column("days", Integer, nullable=False, comment="Age on the last day of the period"),
    Column("age", Text, nullable=False, comment="The same as a span: 0-30, ..."),
    Column("amount", Money, nullable=False),
    Column("party", Text, nullable=False, server_default="", comment="Channel that owes it"),
    Column(
        "order_id",
        Text,
        nullable=False,
        server_default="",
        comment="Number of its order at the channel or the marketplace",
    ),
    PrimaryKeyConstraint("period", "position"),
    Index(None, "period", "amount", "position"),
    Index(None, "period", "days", "position"),
    schema="ops",
    comment="One open item at the end of a month, as its last close found it",
)

ops_closing_step = Table(
    "closing_step",
    metadata,
    Column("period", Text, nullable=False, comment="YYYY-MM"),
    Column("step", Text, nullable=False, comment="payouts, controls, open_items, exported or closed"),
    Column("who", Text, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("note", Text, nullable=False, server_default=""),
    Column("although", Text, nullable=False, server_default="", comment="What spoke against it, as it was shown"),
    Column("figures", Text, comment="Digest of the month's books then: with other books the tick counts no more"),
    Column("newest", Moment, comment="Version of the newest entry then"),
    PrimaryKeyConstraint("period", "step"),
    schema="ops",
    comment="One step of a month's closing checklist that somebody has ticked",
)

# ---- stage: returns and stock adjustments --------------------------------------------------------------------------

CREDIT_AMOUNTS = (
    "ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount", "SubTotal", "DiscountTotal",
    "TaxTotal", "MarketplaceRemittedTax", "Total",
)  # fmt: skip

stage_credit_memo = Table(
    "credit_memo",
    metadata,
    *stage_columns(),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'"), comment="Rules it broke in transform"),
    Column("status", Text, comment="Status of the return at the channel"),
    Column("order_key", Text, index=True, comment="ChannelAdvisorOrderID"),
    Column("sales_order_id", Text),
    Column("CurrencyCode", Text),
    Column("Reason", Text),
    Column("CreditDate", Text, comment="Day of the refund in the company's time zone"),
    Column("PostingDate", Text, comment="The same, or the first open day after it"),
    Column("Memo", Text),
    Column("refund_total", Money, comment="What the channel gives back"),
    Column("uncredited", Money, comment="Tax that the marketplace gives back with nothing else to credit"),
    Column("parents", Text, comment="Of a waiting one: what of its order was known; anything new wakes it"),
    schema="stage",
    comment="One return; its lines are those of the credit memos and stock adjustments that it becomes",
)

stage_credit_memo_line = Table(
    "credit_memo_line",
    metadata,
    Column("key", Text, nullable=False, comment="Key of the return"),
    Column("position", Integer, nullable=False, comment="From 0"),
    Column("entity", Text, nullable=False, comment="credit_memo or stock_adjustment"),
    Column("document", Text, nullable=False, index=True, comment="ExternalReference of the document it belongs to"),
    Column("OrderItem", Text, comment="Line at Channel Advisor; null where it is the document's own amounts"),
    Column("order_line", BigInteger, comment="Line of the sales order"),
    Column("InvoiceID", Text),
    Column("InvoiceLineNo", BigInteger, comment="Null: the credit memo's own amounts"),
    Column("Quantity", BigInteger),
    *(Column(name, Money) for name in ("Amount", "DiscountAmount", "TaxAmount")),
    Column("TaxRemittedBy", Text),
    *(Column(name, Money) for name in CREDIT_AMOUNTS),
    Column("ShippingTaxRemittedBy", Text),
    Column("RoundingAmount", Money, comment="Refunded beyond Total, for nothing else was left to credit"),
    Column("PricesIncludeTax", Boolean, comment="As on the invoice"),
    Column("ShipmentID", Text, comment="Of an adjustment: the shipment whose cost it takes"),
    Column("SKU", Text),
    Column("LocationID", Text),
    Column("QuantityDelta", BigInteger),
    Column("ReasonCode", Text),
    Column("UnitCost", Money, comment="In the base currency"),
    PrimaryKeyConstraint("key", "position"),
    schema="stage",
    comment="One line of a credit memo, its own amounts, or one stock adjustment of a return",
)

stage_stock_adjustment = stage_table(
    "stock_adjustment",
    Column("OriginalEventDate", Text, comment="Day of the movement where its period is closed"),
    Column("File", Text, comment="File of the inbox that names it"),
    mapping="stock_adjustment",
    comment="One stock adjustment as TIMS should hold it",
)

# ---- prices: the price that the channel should have, and a person's decisions --------------------------------------


stage_price = stage_table(
    "price",
    Column("rules", Text, comment="Fingerprint of the configuration that made it; another one makes it anew"),
    Column("next_at", Moment, index=True, comment="When its price changes by the clock: a promotion, a rate"),
    Column("seen", JSONB, nullable=False, server_default=text("'[]'"),
           comment="Products and listings of the channel that were looked at; a new one makes it anew"),
    mapping="price",
    comment="One item's price as Channel Advisor should have it; the key is TIMS's SKU",
)  # fmt: skip

stage_price_line = Table(
    "price_line",
    metadata,
    Column("key", Text, nullable=False, comment="TIMS's SKU"),
    Column("position", Integer, nullable=False),
    Column("sku", Text, nullable=False, comment="Product as Channel Advisor stores it"),
    Column("listing_id", BigInteger, comment="Empty: the product's own price, else the price of this listing"),
    Column("site_id", BigInteger, nullable=False, comment="Site of the listing; 0: the product's own price"),
    Column("Price", Money, comment="Of a listing, empty: it follows the product's price"),
    Column("Currency", Text, nullable=False),
    Column("cost", Money, nullable=False, comment="Cost of one unit in this currency"),
    Column("promotion_id", Text, comment="Promotion that is told, or that makes the price of a listing now"),
    Column("content_hash", Text, nullable=False, comment="Hash of what is told; the same hash needs no call"),
    PrimaryKeyConstraint("key", "position"),
    Index(None, "sku"),
    schema="stage",
    comment="One place that an item's price goes to: a product, or a listing with a price of its own",
)

ops_approval = Table(
    "approval",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("key", Text, nullable=False, comment="TIMS's SKU"),
    Column("target", Text, nullable=False, comment="Product, or number of the listing, at the channel"),
    Column("site_id", BigInteger, nullable=False, comment="0: the product's own price"),
    Column("from_price", Money, comment="At the channel when it was asked; empty: it had none"),
    Column("to_price", Money, nullable=False),
    Column("promotion_price", Money, comment="Where it is the promotional price that is asked for"),
    Column("cost", Money, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="open", comment="open, approved, refused or withdrawn"),
    Column("asked_at", Moment, nullable=False, server_default=NOW),
    Column("decided_at", Moment),
    Column("decided_by", Text),
    Column("note", Text, comment="Why, in that person's words"),
    Column("used_at", Moment, comment="When an approved price was sent"),
    Column(
        "config_version",
        BigInteger,
        comment="Version of the configuration that it comes from; 0: the shipped files; empty: not kept yet",
    ),
    Index("uq_approval_open", "flow", "key", "target", unique=True, postgresql_where=text("state = 'open'")),
    Index(None, "flow", "key", "target"),
    Index("ix_approval_state", "flow", "state", "id"),
    Index("ix_approval_unused", "flow", "key", postgresql_where=text("state = 'approved' AND used_at IS NULL")),
    schema="ops",
    comment="One change that a person decides on, asked once",
)

# ---- stage: inventory ----------------------------------------------------------------------------------------------

stage_channel_quantity = Table(
    "channel_quantity",
    metadata,
    *stage_columns(),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'"), comment="Rules it broke in transform"),
    Column("row_version", BigInteger, comment="RowVersion of the quantities in TIMS"),
    Column("available", BigInteger, comment="Units free at our own locations; below 0 when more is promised"),
    Column("in_flight", BigInteger, nullable=False, server_default="0",
           comment="Units of orders read that TIMS does not hold; of a kit, kits that they cost"),
    Column("orders_in_flight", Text, comment="Fingerprint of the orders whose these units are"),
    Column("parts_in_flight", JSONB,
           comment="Of a kit that the channel sells as one item: {part: [units, fingerprint of their orders]}"),
    Column("buffer", BigInteger),
    Column("cap", BigInteger, comment="Empty: no limit"),
    Column("share_percent", BigInteger),
    Column("quantity", BigInteger, comment="Units offered, over all centers"),
    Column("listings", JSONB, nullable=False, server_default=text("'[]'"),
           comment="[{ListingID, Quantity}] where a site has terms of its own; null follows the stock"),
    Column("item_state", Text, comment="sellable, or why the item is not: blocked, not_eligible, unknown"),
    Column("terms", Text, comment="What of the configuration bore on it; the same text, the same terms"),
    Column("config", Text, index=True, comment="Version of the configuration that was looked at"),
    Index("ix_channel_quantity_open", "key", postgresql_where=text("state IN ('staged', 'ready', 'waiting')")),
    Index("ix_channel_quantity_in_flight", "key", postgresql_where=text("in_flight <> 0")),
    Index("ix_channel_quantity_kits", "key", postgresql_where=text("parts_in_flight IS NOT NULL")),
    schema="stage",
    comment="What the channel should offer of one TIMS SKU",
)  # fmt: skip

stage_channel_quantity_line = stage_lines(
    "channel_quantity_line",
    Column("SKU", Text, comment="Product as Channel Advisor stores it"),
    mapping="inventory",
    key=None,
    position="From 0",
    comment="Units of one product to offer in one distribution center",
)

# ---- stage: the catalogue ------------------------------------------------------------------------------------------


stage_product = stage_table(
    "product",
    Column("Cost", Money, comment="In the profile's currency; empty: TIMS keeps another one, so it is not sent"),
    Column("Weight", Numeric(19, 4), comment="Pounds"),
    Column("listings", JSONB, comment="[{SiteID, Status, Category, Title}], one of each site that catalog.yaml names"),
    Column("products_seen", Moment, comment="Newest version of its products that was looked at; null: there was none"),
    Column("listings_seen", Moment, comment="Newest version of their listings that was looked at"),
    Column("rules", Text, comment="Hash of the configuration that made it"),
    mapping="product",
    comment="One TIMS item as its products at Channel Advisor should be; parts of a kit by their SKU in TIMS",
)

# ---- ops: runs, deliveries, and open work --------------------------------------------------------------------------

ops_batch = Table(
    "batch",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="scheduled, sweep, compare, backfill, key, event or replay"),
    Column("run_id", Text, nullable=False, server_default="", comment="Airflow run or command that made it"),
    Column("window_start", Moment),
    Column("window_end", Moment),
    Column("step", Text, nullable=False, comment="Last step done: extract, transform, check, load, confirm"),
    Column("read", Integer, nullable=False, server_default="0"),
    Column("already_stored", Integer, nullable=False, server_default="0", comment="Known by hash; part of unchanged"),
    Column("unchanged", Integer, nullable=False, server_default="0", comment="Known by hash, or document as delivered"),
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("waiting", Integer, nullable=False, server_default="0"),
    Column("would_be", Integer, nullable=False, server_default="0", comment="Made but for the last write; not sent"),
    Column("dead", Integer, nullable=False, server_default="0"),
    Column("skipped", Integer, nullable=False, server_default="0"),
    Column("superseded", Integer, nullable=False, server_default="0", comment="A newer version took over"),
    Column("in_flight", Integer, nullable=False, server_default="0"),
    Column("seconds", JSONB, nullable=False, server_default=text("'{}'"), comment="Wall seconds by step"),
    Column("stopped", Boolean, nullable=False, server_default=text("false"),
           comment="Check has stopped it: too many of its records break a rule"),
    Column("config_version", BigInteger,
           comment="Version of the configuration that its last step used; empty: the shipped files"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("touched_at", Moment, nullable=False, server_default=NOW),
    Column("finished_at", Moment),
    CheckConstraint(
        "read = unchanged + delivered + waiting + would_be + dead + skipped + superseded + in_flight", name="adds_up"
    ),
    Index(None, "flow", "finished_at"),
    Index("ix_batch_open", "flow", postgresql_where=text("finished_at IS NULL")),
    Index(None, "finished_at"),
    schema="ops",
    comment="One extract window of one flow (at most 2,000 records), with the counts that must add up",
)  # fmt: skip

ops_would_be = Table(
    "would_be",
    metadata,
    Column("flow", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False, comment="Names the effect, as its delivery would"),
    Column("entity", Text, nullable=False, comment="Kind of document, as in ops.link"),
    Column("operation", Text, nullable=False, comment="create, update, ..."),
    Column("key", Text, nullable=False, comment="Key of the source record, as in ops.link"),
    Column("row", Text, nullable=False, comment="Key of the stage row that it comes from"),
    Column("system", Text, nullable=False, comment="Connection that it would go to"),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False, comment="Below the base URL, without the query"),
    Column("body", Text, comment="As it would be sent; personal data, ages out"),
    Column("document", JSONB, comment="A new document by our contract; personal data, ages out"),
    Column("after", JSONB, nullable=False, server_default=text("'[]'"),
           comment="What would be made before it, each as {entity, key}"),
    Column("content_hash", Text),
    Column("batch_id", BigInteger, nullable=False, index=True),
    Column("run_id", Text, nullable=False, server_default="", comment="Airflow run or command that would have sent it"),
    Column("config_version", BigInteger, comment="Version of the configuration; empty: the shipped files"),
    Column("later", Text, comment="What has come of the record later that does not change this; empty: nothing"),
    Column("first_at", Moment, nullable=False, server_default=NOW, comment="When it would first have been sent"),
    Column("at", Moment, nullable=False, server_default=NOW, comment="When it would have been sent last"),
    PrimaryKeyConstraint("flow", "idempotency_key"),
    Index(None, "flow", "row"),
    Index(None, "entity", "key"),
    schema="ops",
    comment="One request that was not sent, for its flow is in shadow mode: the newest of each effect",
)  # fmt: skip

ops_admitted = Table(
    "admitted",
    metadata,
    Column("flow", Text, nullable=False),
    Column("key", Text, nullable=False, comment="Key of the stage row"),
    Column("at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("flow", "key"),
    schema="ops",
    comment="One record that was sent under the cap of a launch; the cap counts these",
)

ops_shadow_day = Table(
    "shadow_day",
    metadata,
    Column("flow", Text, nullable=False),
    Column("day", Date, nullable=False, comment="Business day of the documents"),
    Column("would_make", Integer, nullable=False, comment="Documents that we would have made"),
    Column("same", Integer, nullable=False, comment="Those that people have made as we would"),
    Column("differ", Integer, nullable=False, comment="Those that people have made otherwise"),
    Column("only_ours", Integer, nullable=False, comment="Those that nobody has made"),
    Column("only_theirs", Integer, nullable=False, comment="What people have made and we would not"),
    Column(
        "overtaken",
        Integer,
        nullable=False,
        server_default="0",
        comment="Those that nobody has made, and need not: something has come later",
    ),
    Column("later", JSONB, nullable=False, server_default=text("'{}'"), comment="What has come later, of how many"),
    Column(
        "fields", JSONB, nullable=False, server_default=text("'{}'"), comment="How many documents differ in a field"
    ),
    Column("run_id", Text, nullable=False, server_default="", comment="Airflow run or command that compared"),
    Column("at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("flow", "day"),
    schema="ops",
    comment="One day of a flow in shadow mode, against what people have entered by hand",
)

ops_shadow_record = Table(
    "shadow_record",
    metadata,
    Column("flow", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("name", Text, nullable=False, comment="Our key, or the id of a document that only they have"),
    Column("key", Text, comment="Key of the source record; empty: only they have it"),
    Column("their_id", Text, comment="Id of the document that people have made; empty: only we have it"),
    Column("verdict", Text, nullable=False, comment="same, differs, only_ours, only_theirs or overtaken"),
    Column("later", Text, comment="What has come of the record later; empty: nothing"),
    Column("matched_by", Text, comment="By what the two are one: reference, or what is alike"),
    Column("differences", JSONB, nullable=False, server_default=text("'[]'"),
           comment="What differs, as {field, ours, theirs}; personal data without their values"),
    PrimaryKeyConstraint("flow", "day", "name"),
    Index(None, "flow", "key"),
    schema="ops",
    comment="One document of such a day",
)  # fmt: skip

ops_work = Table(
    "work",
    metadata,
    Column("queue", Text, nullable=False, comment="Flow, or the list of what is only looked up, e.g. tims.customers"),
    Column("key", Text, nullable=False, comment="Id of the record in its list"),
    Column("hash", Text, nullable=False, comment="Hash of its version there"),
    Column("batch_id", BigInteger, comment="Batch that works it or has worked it; empty: none has taken it yet"),
    Column("queued_at", Moment, nullable=False, server_default=NOW, comment="When it became work, last"),
    PrimaryKeyConstraint("queue", "key", "hash"),
    Index(None, "batch_id"),
    Index("ix_work_waiting", "queue", "queued_at", postgresql_where=text("batch_id IS NULL")),
    schema="ops",
    comment="One version of one record as the work of one flow; a version that has no row here is new to it",
)

ops_watermark = Table(
    "watermark",
    metadata,
    Column("flow", Text, nullable=False),
    Column("resource", Text, nullable=False, comment="system and resource, e.g. channel_advisor.orders"),
    Column("position", Moment, nullable=False, comment="Read up to here, by the source's clock"),
    Column("newest_version", Moment, comment="Newest change seen"),
    Column("longest_gap_seconds", BigInteger, nullable=False, server_default="0",
           comment="Longest time without a change so far"),
    Column("read_at", Moment, nullable=False, server_default=NOW, comment="When the last read ended"),
    PrimaryKeyConstraint("flow", "resource"),
    schema="ops",
    comment="How far a resource has been read",
)  # fmt: skip

ops_gate_result = Table(
    "gate_result",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("gate", Text, nullable=False, comment="connect or map"),
    Column("subject", Text, nullable=False, comment="The system"),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("by", Text, nullable=False, comment="Login of whoever ran it"),
    Column("red", Integer, nullable=False, comment="Checks that are red or wait for a person"),
    Column("checks", JSONB, nullable=False, comment="Each check with its state and sentences; no personal data"),
    Index(None, "gate", "subject", "id"),
    schema="ops",
    comment="What a gate on the way to a real account has found, the last few runs of each",
)

ops_gate_decision = Table(
    "gate_decision",
    metadata,
    Column("gate", Text, nullable=False, comment="map"),
    Column("name", Text, nullable=False, comment="Name of the finding"),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("by", Text, nullable=False, comment="Login of whoever decided"),
    Column("why", Text, nullable=False, comment="Why it stays as it is"),
    PrimaryKeyConstraint("gate", "name"),
    schema="ops",
    comment="What people have decided about the findings of a gate",
)

ops_bookmark = Table(
    "bookmark",
    metadata,
    Column("flow", Text, nullable=False),
    Column("resource", Text, nullable=False, comment="system and resource, e.g. channel_advisor.orders"),
    Column("window", Text, nullable=False, comment="Kind of read, and its start and end where it has them"),
    Column("position", Moment, nullable=False, comment="Stored up to here, by the source's clock"),
    Column("reached_at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("flow", "resource", "window"),
    schema="ops",
    comment="How far a read has come that has not ended",
)

ops_delivery = Table(
    "delivery",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("entity", Text, nullable=False, comment="customer, sales_order, sales_order_line, shipment, ..."),
    Column(
        "operation", Text, nullable=False, comment="create, update, cancel, cancel_line, hold, release, ship, confirm"
    ),
    Column("key", Text, nullable=False, comment="Business key: key of the source record"),
    Column("content_hash", Text),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("attempts", Integer, nullable=False, server_default="1"),
    Column(
        "outcome", Text, nullable=False, server_default="sent",
        comment="sent, confirmed, rejected, unknown, or superseded: written over since",
    ),
    Column("status", Integer, comment="HTTP status"),
    Column("response_id", Text, comment="Id given by the target"),
    Column("error", Text, comment="Refusal in words, without personal data"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("sent_at", Moment, nullable=False, server_default=NOW, comment="When it was sent last"),
    Column("unsure_at", Moment,
           comment="When it was sent last without an answer, or with one that came after another had taken over"),
    Column("done_at", Moment),
    Index(None, "entity", "key"),
    Index("ix_delivery_open", "flow", postgresql_where=text("outcome IN ('sent', 'unknown')")),
    Index("ix_delivery_done", "flow", "done_at", postgresql_where=text("outcome = 'confirmed'")),
    Index("ix_delivery_unsure", "flow", postgresql_where=text("unsure_at IS NOT NULL")),
    schema="ops",
    comment="One intended effect on a target, written before the call",
)  # fmt: skip

ops_lease = Table(
    "lease",
    metadata,
    Column("flow", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, comment="Only grows; whoever has a smaller one writes nothing more"),
    Column("holder", Text, nullable=False, comment="Machine and process"),
    Column("taken_at", Moment, nullable=False, server_default=NOW),
    schema="ops",
    comment="Who may write for a flow",
)

ops_link = Table(
    "link",
    metadata,
    Column("entity", Text, nullable=False, comment="sales_order, customer, shipment"),
    Column("source_key", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("other_key", Text, comment="The marketplace's own number, where there is one"),
    Column("content_hash", Text, comment="Document last delivered"),
    Column("version", Moment, comment="Source version last delivered"),
    Column("confirmed_at", Moment, comment="Set once the source was told"),
    Column("held_by", Text,
           comment="Who has put it on hold, or ended it: channel, crossdock or person; the last one stays"),
    Column("hold_sent_at", Moment, comment="When a person's hold was sent to the channel: its OnHold is that one"),
    Column(
        "record_shipments", Boolean, nullable=False, server_default=text("false"), comment="As on stage.sales_order"
    ),
    Column("batch_id", BigInteger, comment="Batch that made or last changed it"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("entity", "source_key"),
    Index(None, "entity", "target_id"),
    Index(None, "entity", "other_key"),
    Index(None, "entity", "created_at"),
    schema="ops",
    comment="Their id and our key, both ways",
)  # fmt: skip

ops_customer_change = Table(
    "customer_change",
    metadata,
    Column("customer_id", Text, nullable=False),
    Column("field", Text, nullable=False, comment="Email, Phone, BillingAddress or ShippingAddresses"),
    Column("order_key", Text, nullable=False, comment="Order that says it"),
    Column("ordered_at", Moment, nullable=False, comment="OrderDate of that order"),
    Column("outcome", Text, nullable=False,
           comment="sent (its answer is not known yet), changed, kept (a person set it later) or refused"),
    Column("row_version", BigInteger, comment="RowVersion of the customer that our change made"),
    Column("modified_at", Moment, comment="ModifiedAt of that version"),
    Column("error", Text, comment="Refusal by its codes, without personal data"),
    Column("batch_id", BigInteger, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("old_value", JSONB, comment="What TIMS held; personal data, emptied when the customer is erased"),
    Column("new_value", JSONB, comment="What was sent, or what the order says; personal data as well"),
    PrimaryKeyConstraint("customer_id", "field", "order_key"),
    schema="ops",
    comment="What one order meant for one field of one TIMS customer",
)  # fmt: skip

# The names by which both contracts and our own call the amount of a whole document.
_STATED = (
    "coalesce(payload ->> 'TotalPrice', payload ->> 'RefundTotal', payload ->> 'TotalAmount', payload ->> 'Amount')"
)
_STATED_AMOUNT = f"CASE WHEN {_STATED} ~ '^-?[0-9]{{1,13}}([.][0-9]{{1,18}})?$' THEN {_STATED}::numeric END"
_STATED_CURRENCY = "left(coalesce(payload ->> 'Currency', payload ->> 'CurrencyCode'), 3)"

ops_dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("step", Text, nullable=False, comment="Step that refused it"),
    Column("reasons", JSONB, nullable=False, comment="[{field, rule, value, says, do, line}]"),
    Column("payload", JSONB, nullable=False, comment="The source record; personal data"),
    Column("edited_payload", JSONB, comment="What a person made of it"),
    Column("edited_from", JSONB, comment="The payload as it was when it was edited"),
    Column("version", Moment, nullable=False),
    Column("state", Text, nullable=False, server_default="open", comment="open, edited, replayed, resolved, dismissed"),
    Column("times", Integer, nullable=False, server_default="1", comment="How often it was refused"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    Column("changed_by", Text, comment="Who edited, replayed or dismissed it"),
    Column("note", Text, comment="Why, in that person's words"),
    Column("rule", Text, Computed("reasons -> 0 ->> 'rule'", persisted=True), comment="The first rule that it breaks"),
    Column("amount", Money, Computed(_STATED_AMOUNT, persisted=True), comment="What the record says it is worth"),
    Column("currency_code", Text, Computed(_STATED_CURRENCY, persisted=True), comment="Currency of the amount"),
    Column("assigned_to", Text, comment="Who works on it"),
    Column("replay_asked_at", Moment, comment="A person has asked for a replay that no run has ended yet"),
    Column("first_batch_id", BigInteger, comment="Batch in which it was refused first; null: not known any more"),
    Column("refused_at", Moment, server_default=NOW, comment="When it was refused last; null: not known any more"),
    Index("ix_dead_letter_desk", "flow", "rule", "created_at", "id",
          postgresql_where=text("state IN ('open', 'edited')")),
    Index("uq_dead_letter_open", "flow", "key", unique=True, postgresql_where=text("state IN ('open', 'edited')")),
    Index(None, "flow", "state"),
    Index("ix_dead_letter_closed", "state", "updated_at", "id",
          postgresql_where=text("state IN ('replayed', 'resolved', 'dismissed')")),
    Index("ix_dead_letter_mended", "updated_at", "id",
          postgresql_where=text("state = 'replayed' AND edited_payload IS NOT NULL")),
    Index(None, "key"),
    Index(None, "created_at"),
    schema="ops",
    comment="One refused record, with every reason",
)  # fmt: skip

ops_check_result = Table(
    "check_result",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("batch_id", BigInteger, nullable=False, index=True),
    Column("suite", Text, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("result", JSONB, nullable=False, comment="Great Expectations' validation result"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    schema="ops",
    comment="One run of a suite over a batch",
)

ops_alert = Table(
    "alert",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, comment="The same kind and key within the window is the same alert"),
    Column("severity", Text, nullable=False, comment="alert (act now) or notice"),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False, comment="What happened and what to do; no personal data"),
    Column("flow", Text),
    Column("times", Integer, nullable=False, server_default="1"),
    Column("first_at", Moment, nullable=False, server_default=NOW),
    Column("last_at", Moment, nullable=False, server_default=NOW),
    Column("sent_at", Moment, comment="When it left by the configured channels, last"),
    Column("acknowledged_at", Moment, comment="When a person has taken note of it"),
    Column("acknowledged_by", Text, comment="Who that was"),
    Index(None, "kind", "key", "last_at"),
    Index("ix_alert_open", "last_at", postgresql_where=text("acknowledged_at IS NULL")),
    Index("ix_alert_noted", "acknowledged_at", "id", postgresql_where=text("acknowledged_at IS NOT NULL")),
    schema="ops",
    comment="One alert, repeats counted",
)

ops_silence = Table(
    "silence",
    metadata,
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, comment="Of the alerts that are not sent meanwhile"),
    Column("until", Moment, nullable=False, comment="Its end; what has come up until then or comes after it is sent"),
    Column("reason", Text, nullable=False, comment="Why, in the person's words"),
    Column("silenced_by", Text, nullable=False, comment="Who has asked for it"),
    Column("silenced_at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("kind", "key"),
    schema="ops",
    comment="Alerts of one kind and key that a person does not want to hear of for a while",
)

ops_subscription = Table(
    "subscription",
    metadata,
    Column("system", Text, nullable=False),
    Column("subscription_id", Text, nullable=False, comment="As the system gave it"),
    Column("fingerprint", Text, nullable=False, comment="Of the secret it was made with; tells nothing of the secret"),
    Column("since", Moment, comment="When it was made, by the system's clock; empty: it shows none"),
    Column("made_at", Moment, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("system", "subscription_id"),
    schema="ops",
    comment="One subscription to a system's events that was made here, and with which secret",
)
ops_webhook_event = Table(
    "webhook_event",
    metadata,
    Column("system", Text, nullable=False),
    Column("event_id", Text, nullable=False, comment="As the system gave it; a repeated delivery has the same"),
    Column("flow", Text, nullable=False, comment="Flow that reads the record; empty: none does"),
    Column("event_type", Text, nullable=False),
    Column("key", Text, nullable=False, comment="Record that it is about, as the flow's source names it"),
    Column("profile", BigInteger, comment="Profile of Channel Advisor"),
    Column("occurred_at", Moment, comment="When it happened, by the system's clock"),
    Column("received_at", Moment, nullable=False, server_default=NOW),
    Column("taken_at", Moment, comment="When the run took it; empty: none has, or not known"),
    Column("worked_at", Moment, comment="When the record was read for it; empty: not yet"),
    Column("run_id", Text, nullable=False, server_default="", comment="Airflow run or command that worked it last"),
    Column("times", Integer, nullable=False, server_default="0", comment="How often it was worked"),
    PrimaryKeyConstraint("system", "event_id", "flow"),
    Index("ix_webhook_event_open", "flow", "received_at", postgresql_where=text("worked_at IS NULL")),
    Index("ix_webhook_event_received_at", "received_at"),
    Index("ix_webhook_event_system_received_at", "system", "received_at"),
    Index("ix_webhook_event_flow_received_at", "flow", "received_at"),
    Index("ix_webhook_event_key", "key"),
    schema="ops",
    comment="One notice received, for one flow: which record to read now",
)

ops_accuracy = Table(
    "accuracy",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("compared", BigInteger, nullable=False, comment="Records that should be equal on both sides"),
    Column("equal", BigInteger, nullable=False, comment="Of them, those that are"),
    schema="ops",
    comment="One full compare, before it repaired anything",
)

ops_audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    Column("address", Text, nullable=False,
           server_default=text("coalesce(current_setting('crossdock.address', true), '')"),
           comment="Network address of the person's browser; empty: a shell on the machine"),
    Index(None, "subject"),
    Index(None, "at", "id"),
    Index(None, "who", "id"),
    Index(None, "action", "id"),
    schema="ops",
    comment="One thing a person did; rows are added only",
)  # fmt: skip

# ---- ops: configuration that people change -----------------------------------------------------------------------

VERSION_STATES = ("proposed", "withdrawn", "in_force", "superseded", "merged", "conflict")

ops_config_text = Table(
    "config_text",
    metadata,
    Column("hash", Text, primary_key=True, comment="SHA-256 of the text in UTF-8"),
    Column("content", Text, nullable=False),
    schema="ops",
    comment="One text of a configuration file, kept once however many versions have it",
)

ops_config_version = Table(
    "config_version",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("parent", BigInteger, ForeignKey("ops.config_version.id"),
           comment="The version that it was made from; empty: the shipped files"),
    Column("author", Text, nullable=False, comment="Who proposed it; crossdock: a merge with new shipped files"),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("message", Text, nullable=False, comment="What it changes and why"),
    Column("base", Text, nullable=False, comment="Hash of the shipped files that it stands on"),
    Column("tree", Text, nullable=False, comment="Hash of all files, the shipped ones and its own"),
    Column("state", Text, nullable=False, comment=", ".join(VERSION_STATES)),
    Column("consent_by", Text, comment="The second person"),
    Column("consent_at", Moment),
    Column("in_force_at", Moment, comment="When it came into force; empty: it has not been"),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'"),
           comment="Of a conflict: what the checks found in the merged files, [{path, line, text}]"),
    CheckConstraint(f"state IN ({', '.join(map(repr, VERSION_STATES))})", name="state"),
    Index("uq_config_version_in_force", "state", unique=True, postgresql_where=text("state = 'in_force'")),
    Index("uq_config_version_merge", "parent", "base", unique=True,
          postgresql_where=text("state IN ('merged', 'conflict')")),
    schema="ops",
    comment="One version of the configuration: the shipped files, and the texts that replace some of them",
)  # fmt: skip

ops_config_file = Table(
    "config_file",
    metadata,
    Column("version", BigInteger, ForeignKey("ops.config_version.id"), nullable=False),
    Column("path", Text, nullable=False, comment="Below include/config, e.g. lookups/carriers.csv"),
    Column("text", Text, ForeignKey("ops.config_text.hash"), comment="Its text; empty: the file is taken away"),
    Column("base", Text, ForeignKey("ops.config_text.hash"),
           comment="Shipped text that it replaces; empty: none. Not of the version's base: a conflict"),
    Column("replaces", Text, ForeignKey("ops.config_text.hash"),
           comment="The text that was in force before; the same one: it was taken over"),
    PrimaryKeyConstraint("version", "path"),
    schema="ops",
    comment="One file of one version of the configuration that is not as shipped",
)  # fmt: skip

ops_config_preview = Table(
    "config_preview",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("who", Text, nullable=False),
    Column("before", Text, nullable=False, comment="Hash of all that was in force"),
    Column("after", Text, nullable=False, comment="Hash of the same with the draft in it"),
    Column("changes", BigInteger, nullable=False, comment="Prices, quantities, entries, documents that would change"),
    Column("looked", BigInteger, nullable=False, comment="Of so many"),
    Column("large", Boolean, nullable=False, comment="Publishing it takes a second confirmation"),
    Column("rest", JSONB, nullable=False, server_default=text("'{}'"), comment="What is not compared yet"),
    schema="ops",
    comment="What somebody was shown of a draft's effects; publishing it takes this",
)

ops_circuit = Table(
    "circuit",
    metadata,
    Column("system", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("opened_at", Moment),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    schema="ops",
    comment="One system's circuit breaker, shared by all processes",
)

ops_missing_ability = Table(
    "missing_ability",
    metadata,
    Column("system", Text, primary_key=True),
    Column("ability", Text, primary_key=True, comment="listings, promotions, ..."),
    Column("message", Text, nullable=False, comment="What is switched off for it, in a sentence"),
    schema="ops",
    comment="What the API of a system cannot do: the parts of flows that need it are switched off",
)

ops_remote_job = Table(
    "remote_job",
    metadata,
    Column("system", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="What was asked for: kind of job, profile, columns, filter"),
    Column("token", Text, nullable=False, comment="By which the system knows the job"),
    Column("began", Moment, nullable=False, comment="The system's own clock when the job was asked for"),
    Column("asked_at", Moment, nullable=False, server_default=NOW),
    schema="ops",
    comment="One job that a system works on for us, so that another process can go on waiting for it",
)

ops_rate_lease = Table(
    "rate_lease",
    metadata,
    Column("system", Text, nullable=False),
    Column("at", Moment, nullable=False, comment="When the requests were leased; in the future: a pause until then"),
    Column("tokens", Integer, nullable=False, comment="Requests leased; 0 is a pause"),
    Column("bulk", Boolean, nullable=False, server_default=false(), comment="By a flow of many requests"),
    Index(None, "system", "at"),
    schema="ops",
    comment="One lease of one system's rate budget, shared by all processes; a minute old, it is forgotten",
)

# ---- ops: reconciliation -------------------------------------------------------------------------------------------

ops_reading = Table(
    "reading",
    metadata,
    Column("id", BigInteger, Identity(), nullable=False, comment="Of several rows of one part the larger is newer"),
    Column("subject", Text, nullable=False, comment="Subject of the reconciliation"),
    Column("side", Text, nullable=False, comment="channel_advisor, tims or names (another name of a key)"),
    Column("key", Text, nullable=False),
    Column("part", Text, nullable=False, comment="Record of several that make up a key; of a name the name itself"),
    Column("alias", Boolean, nullable=False, comment="The key is a name that rows of the side names translate"),
    Column("facts", JSONB, nullable=False, comment="What must be equal; of personal data a digest"),
    Column("version", Moment, nullable=False, comment="Last change of the record in its system"),
    Column("cause", Text, comment="What explains that the other side lacks the key"),
    Column("why", Text, comment="The same in words"),
    Index(None, "subject", "side", "key"),
    schema="ops",
    prefixes=["UNLOGGED"],
    comment="What one record says about one key, read afresh; empty but while a reconciliation runs",
)

ops_reconcile_run = Table(
    "reconcile_run",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("run_id", Text, nullable=False, comment="Airflow run or command that made it"),
    Column("started_at", Moment, nullable=False, server_default=NOW),
    Column("finished_at", Moment, comment="Null: it runs, or it died"),
    Column("counts", JSONB, nullable=False, server_default=text("'{}'"),
           comment="By subject: keys on each side, compared, equal, differences by cause, seconds"),
    Column("unexplained", Integer, nullable=False, server_default="0", comment="Keys that nothing explains"),
    Column("report", Text, comment="The page of the run, HTML"),
    schema="ops",
    comment="One comparison of both systems",
)  # fmt: skip

ops_reconcile_difference = Table(
    "reconcile_difference",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("run", BigInteger, nullable=False, comment="ops.reconcile_run"),
    Column("subject", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("field", Text, nullable=False, comment="Fact that differs; empty where one side lacks the key"),
    Column("missing", Text, nullable=False, comment="Side that lacks the key: channel_advisor or tims; else empty"),
    Column("channel_advisor", Text, comment="Value there; null for personal data"),
    Column("tims", Text, comment="Value there; null for personal data"),
    Column("channel_advisor_version", Moment, comment="Last change of the record there"),
    Column("tims_version", Moment, comment="Last change of the record there"),
    Column(
        "cause", Text, nullable=False, comment="unexplained, dead letter, waiting, in flight, changed since, by rule"
    ),
    Column("why", Text, comment="The cause in words"),
    Column("since", Moment, nullable=False, server_default=NOW, comment="First run that saw this difference"),
    Index(None, "run", "subject", "key", "field", unique=True),
    schema="ops",
    comment="One fact in which both systems differ, in one run",
)

ops_product = Table(
    "product",
    metadata,
    Column("product_sku", Text, primary_key=True, comment="SKU as Channel Advisor stores it"),
    Column("sku", Text, nullable=False, index=True, comment="Item of TIMS"),
    Column("delivered", JSONB, nullable=False, comment="What we own of it, as it was when both sides last agreed; the "
           "names of attributes that we have ever owned stay"),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    schema="ops",
    comment="One product of the channel that the flow catalog keeps",
)  # fmt: skip

ops_conflict = Table(
    "conflict",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("key", Text, nullable=False, comment="Key of the source record"),
    Column("target_key", Text, nullable=False, comment="The document that was changed there, e.g. the product's SKU"),
    Column("field", Text, nullable=False),
    Column("theirs", JSONB, nullable=False, comment="What stood there"),
    Column("ours", JSONB, nullable=False, comment="What the owner of the field says"),
    Column("seen_at", Moment, nullable=False, server_default=NOW),
    Column("resolved", Text, comment="How it ended; empty: not yet"),
    Column("resolved_at", Moment),
    Index("uq_conflict_open", "flow", "target_key", "field", unique=True, postgresql_where=text("resolved IS NULL")),
    Index(None, "seen_at"),
    schema="ops",
    comment="One field that both sides have changed: whose value won, and the other one",
)

ops_orphan = Table(
    "orphan",
    metadata,
    Column("product_sku", Text, primary_key=True, comment="SKU as Channel Advisor stores it"),
    Column("nearest", JSONB, nullable=False, comment="SKUs of TIMS that are spelt most like it"),
    Column("first_seen", Moment, nullable=False, server_default=NOW),
    schema="ops",
    comment="One product of the channel that is no item of TIMS",
)
