"""The first schema: raw, ref, stage, ops; the roles and what each may do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMAS = ("raw", "ref", "stage", "ops")

# The login that migrates owns everything. Work is done as the loader (rows, no DDL); people look as the reader, who
# sees no personal data: neither raw records, nor names, addresses or payloads.
ROLES = """
DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['crossdock_loader', 'crossdock_reader'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      END IF;
      EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'The login may not create the role %: create it by hand and grant it to this login.', wanted;
    END;
  END LOOP;
END $$
"""

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT USAGE ON SCHEMA raw, ref, stage, ops TO crossdock_loader;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT USAGE ON SCHEMA stage, ops TO crossdock_reader;
    GRANT SELECT ON ops.batch, ops.watermark, ops.delivery, ops.link, ops.alert, ops.webhook_event, ops.circuit,
      ops.rate_lease, stage.sales_order_line TO crossdock_reader;
    GRANT SELECT (id, flow, entity, key, batch_id, step, version, state, times, created_at, updated_at)
      ON ops.dead_letter TO crossdock_reader;
    GRANT SELECT (key, batch_id, version, state, reason, content_hash, "CustomerID", "OrderDate", "ExternalOrderID",
      "Source", "CurrencyCode", "Channel", "ShippingMethod", "PaymentStatus", "OrderStatus", "ShippingAmount",
      "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount", "DiscountTotal", "TaxTotal", "TotalAmount",
      cancelled, rounding_difference) ON stage.sales_order TO crossdock_reader;
  END IF;
END $$
"""

# lz4 halves the cost of storing payloads, where the server was built with it.
COMPRESSION = """
DO $$
DECLARE raw_table regclass;
BEGIN
  IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
    FOR raw_table IN
      SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'raw'::regnamespace AND c.relkind = 'r'
    LOOP
      EXECUTE format('ALTER TABLE %s ALTER COLUMN payload SET COMPRESSION lz4', raw_table);
    END LOOP;
  END IF;
END $$
"""


def upgrade() -> None:
    op.execute(ROLES)
    for schema in SCHEMAS:
        op.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    op.create_table(
        "alert",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "key", sa.Text(), nullable=False, comment="The same kind and key within the window is the same alert"
        ),
        sa.Column("severity", sa.Text(), nullable=False, comment="alert (act now) or notice"),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="What happened and what to do; no personal data"),
        sa.Column("flow", sa.Text(), nullable=True),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "sent_at", sa.DateTime(timezone=True), nullable=True, comment="When it left by the configured channels"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
        schema="ops",
        comment="One alert, repeats counted",
    )
    op.create_index(op.f("ix_alert_kind_key_last_at"), "alert", ["kind", "key", "last_at"], unique=False, schema="ops")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        schema="ops",
        comment="One thing a person did",
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="scheduled, sweep, backfill, key or replay"),
        sa.Column(
            "run_id", sa.Text(), server_default="", nullable=False, comment="Airflow run or command that made it"
        ),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "step", sa.Text(), nullable=False, comment="Last step done: extract, transform, check, load, confirm"
        ),
        sa.Column("read", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "known", sa.Integer(), server_default="0", nullable=False, comment="Known by hash; part of unchanged"
        ),
        sa.Column(
            "unchanged",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Known by hash, or document as delivered",
        ),
        sa.Column("delivered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dead", sa.Integer(), server_default="0", nullable=False),
        sa.Column("left_out", sa.Integer(), server_default="0", nullable=False),
        sa.Column("superseded", sa.Integer(), server_default="0", nullable=False, comment="A newer version took over"),
        sa.Column("in_flight", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "seconds",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Wall seconds by step",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "read = unchanged + delivered + waiting + dead + left_out + superseded + in_flight",
            name=op.f("ck_batch_adds_up"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        schema="ops",
        comment="One extract window of one flow (at most 2,000 records), with the counts that must add up",
    )
    op.create_index(op.f("ix_batch_flow_finished_at"), "batch", ["flow", "finished_at"], unique=False, schema="ops")
    op.create_table(
        "check_result",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column(
            "result",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Great Expectations' validation result",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_result")),
        schema="ops",
        comment="One run of a suite over a batch",
    )
    op.create_index(op.f("ix_check_result_batch_id"), "check_result", ["batch_id"], unique=False, schema="ops")
    op.create_table(
        "circuit",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("system", name=op.f("pk_circuit")),
        schema="ops",
        comment="One system's circuit breaker, shared by all processes",
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False, comment="Step that refused it"),
        sa.Column(
            "reasons",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{field, rule, value, says, do, line}]",
        ),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The source record; personal data",
        ),
        sa.Column(
            "edited_payload", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="What a person made of it"
        ),
        sa.Column(
            "edited_from",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The payload as it was when it was edited",
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "state",
            sa.Text(),
            server_default="open",
            nullable=False,
            comment="open, edited, replayed, resolved, dismissed",
        ),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False, comment="How often it was refused"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=True, comment="Who edited, replayed or dismissed it"),
        sa.Column("note", sa.Text(), nullable=True, comment="Why, in that person's words"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
        schema="ops",
        comment="One refused record, with every reason",
    )
    op.create_index(op.f("ix_dead_letter_flow_state"), "dead_letter", ["flow", "state"], unique=False, schema="ops")
    op.create_index(
        "uq_dead_letter_open",
        "dead_letter",
        ["flow", "key"],
        unique=True,
        schema="ops",
        postgresql_where=sa.text("state IN ('open', 'edited')"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "entity", sa.Text(), nullable=False, comment="customer, sales_order, sales_order_line, shipment, ..."
        ),
        sa.Column(
            "operation",
            sa.Text(),
            nullable=False,
            comment="create, update, cancel, cancel_line, hold, release, ship, confirm",
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="Business key: key of the source record"),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "outcome", sa.Text(), server_default="sent", nullable=False, comment="sent, confirmed, rejected or unknown"
        ),
        sa.Column("status", sa.Integer(), nullable=True, comment="HTTP status"),
        sa.Column("response_id", sa.Text(), nullable=True, comment="Id given by the target"),
        sa.Column("error", sa.Text(), nullable=True, comment="Refusal in words, without personal data"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_delivery_idempotency_key")),
        schema="ops",
        comment="One intended effect on a target, written before the call",
    )
    op.create_index(op.f("ix_delivery_entity_key"), "delivery", ["entity", "key"], unique=False, schema="ops")
    op.create_index(
        "ix_delivery_open",
        "delivery",
        ["flow"],
        unique=False,
        schema="ops",
        postgresql_where=sa.text("outcome IN ('sent', 'unknown')"),
    )
    op.create_table(
        "link",
        sa.Column("entity", sa.Text(), nullable=False, comment="sales_order, customer, shipment"),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("other_key", sa.Text(), nullable=True, comment="The marketplace's own number, where there is one"),
        sa.Column("content_hash", sa.Text(), nullable=True, comment="Document last delivered"),
        sa.Column("version", sa.DateTime(timezone=True), nullable=True, comment="Source version last delivered"),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True, comment="Set once the source was told"),
        sa.Column(
            "held",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="We put it on hold: we may release it",
        ),
        sa.Column(
            "record_shipments",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="As on stage.sales_order",
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=True, comment="Batch that made or last changed it"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("entity", "source_key", name=op.f("pk_link")),
        schema="ops",
        comment="Their id and our key, both ways",
    )
    op.create_index(op.f("ix_link_entity_other_key"), "link", ["entity", "other_key"], unique=False, schema="ops")
    op.create_index(op.f("ix_link_entity_target_id"), "link", ["entity", "target_id"], unique=False, schema="ops")
    op.create_table(
        "rate_lease",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the requests were leased; in the future: a pause until then",
        ),
        sa.Column("tokens", sa.Integer(), nullable=False, comment="Requests leased; 0 is a pause"),
        schema="ops",
        comment="One lease of one system's rate budget, shared by all processes; a minute old, it is forgotten",
    )
    op.create_index(op.f("ix_rate_lease_system_at"), "rate_lease", ["system", "at"], unique=False, schema="ops")
    op.create_table(
        "watermark",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False, comment="system and resource, e.g. channel_advisor.orders"),
        sa.Column(
            "position", sa.DateTime(timezone=True), nullable=False, comment="Read up to here, by the source's clock"
        ),
        sa.Column("newest_version", sa.DateTime(timezone=True), nullable=True, comment="Newest change seen"),
        sa.Column(
            "longest_gap_seconds",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Longest time without a change so far",
        ),
        sa.Column(
            "read_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the last read ended",
        ),
        sa.PrimaryKeyConstraint("flow", "resource", name=op.f("pk_watermark")),
        schema="ops",
        comment="How far a resource has been read",
    )
    op.create_table(
        "webhook_event",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("worked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("system", "event_id", name=op.f("pk_webhook_event")),
        schema="ops",
        comment="One notice received, worked at most once",
    )
    op.create_table(
        "channel_advisor_orders",
        sa.Column("key", sa.Text(), nullable=False, comment="Id of the record in its system"),
        sa.Column(
            "version", sa.DateTime(timezone=True), nullable=False, comment="Its last change there, cut to microseconds"
        ),
        sa.Column(
            "hash", sa.Text(), nullable=False, comment="SHA-256 of the bytes received; the same hash makes no work"
        ),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The record as received; personal data, ages out",
        ),
        sa.Column(
            "altered",
            sa.Text(),
            nullable=True,
            comment="What had to be taken out before it could be stored, e.g. U+0000",
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="Batch that works it"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_channel_advisor_orders")),
        schema="raw",
        comment="One version of one Channel Advisor order",
    )
    op.create_index(
        op.f("ix_channel_advisor_orders_batch_id"), "channel_advisor_orders", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "tims_customers",
        sa.Column("key", sa.Text(), nullable=False, comment="Id of the record in its system"),
        sa.Column(
            "version", sa.DateTime(timezone=True), nullable=False, comment="Its last change there, cut to microseconds"
        ),
        sa.Column(
            "hash", sa.Text(), nullable=False, comment="SHA-256 of the bytes received; the same hash makes no work"
        ),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The record as received; personal data, ages out",
        ),
        sa.Column(
            "altered",
            sa.Text(),
            nullable=True,
            comment="What had to be taken out before it could be stored, e.g. U+0000",
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="Batch that works it"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_customers")),
        schema="raw",
        comment="One version of one TIMS customer",
    )
    op.create_index(op.f("ix_tims_customers_batch_id"), "tims_customers", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_items",
        sa.Column("key", sa.Text(), nullable=False, comment="Id of the record in its system"),
        sa.Column(
            "version", sa.DateTime(timezone=True), nullable=False, comment="Its last change there, cut to microseconds"
        ),
        sa.Column(
            "hash", sa.Text(), nullable=False, comment="SHA-256 of the bytes received; the same hash makes no work"
        ),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The record as received; personal data, ages out",
        ),
        sa.Column(
            "altered",
            sa.Text(),
            nullable=True,
            comment="What had to be taken out before it could be stored, e.g. U+0000",
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="Batch that works it"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_items")),
        schema="raw",
        comment="One version of one TIMS item",
    )
    op.create_index(op.f("ix_tims_items_batch_id"), "tims_items", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "customer",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="Personal data"),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer")),
        schema="ref",
        comment="One TIMS customer, newest version",
    )
    op.create_table(
        "customer_key",
        sa.Column("kind", sa.Text(), nullable=False, comment="external, email, phone_postal or name_address"),
        sa.Column("value", sa.Text(), nullable=False, comment="Normalised by rules/customers.py; personal data"),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "value", "customer_id", name=op.f("pk_customer_key")),
        schema="ref",
        comment="One way to recognise a TIMS customer",
    )
    op.create_index(op.f("ix_customer_key_customer_id"), "customer_key", ["customer_id"], unique=False, schema="ref")
    op.create_table(
        "item",
        sa.Column("sku", sa.Text(), nullable=False, comment="SKU as TIMS spells it"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column(
            "kit_components",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{SKU, Quantity}] of a kit, else []",
        ),
        sa.Column("cost", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("list_price", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_item")),
        schema="ref",
        comment="One TIMS item, newest version",
    )
    op.create_table(
        "item_code",
        sa.Column("code", sa.Text(), nullable=False, comment="SKU or AlternateSKU as spelt in TIMS"),
        sa.Column("folded", sa.Text(), nullable=False, comment="The code in lower case, blanks trimmed"),
        sa.Column("kind", sa.Text(), nullable=False, comment="sku or alternate"),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("code", "sku", name=op.f("pk_item_code")),
        schema="ref",
        comment="One code by which an item may be named",
    )
    op.create_index(op.f("ix_item_code_folded"), "item_code", ["folded"], unique=False, schema="ref")
    op.create_index(op.f("ix_item_code_sku"), "item_code", ["sku"], unique=False, schema="ref")
    op.create_table(
        "customer",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False, comment="Version of the source record"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="staged, ready, waiting, dead, left_out, delivered, unchanged"
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it waits or is left out"),
        sa.Column(
            "content_hash", sa.Text(), nullable=True, comment="Hash of the target document; the same hash needs no call"
        ),
        sa.Column("customer_id", sa.Text(), nullable=True, comment="CustomerID once known"),
        sa.Column(
            "document",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="CustomerCreate of the TIMS contract; personal data",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_customer")),
        schema="stage",
        comment="One customer to create in TIMS",
    )
    op.create_index(op.f("ix_customer_batch_id"), "customer", ["batch_id"], unique=False, schema="stage")
    op.create_table(
        "sales_order",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False, comment="Version of the source record"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="staged, ready, waiting, dead, left_out, delivered, unchanged"
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it waits or is left out"),
        sa.Column(
            "content_hash", sa.Text(), nullable=True, comment="Hash of the target document; the same hash needs no call"
        ),
        sa.Column(
            "problems",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Rules it broke in transform",
        ),
        sa.Column(
            "warnings",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="What was mended or left out",
        ),
        sa.Column(
            "customer_key",
            sa.Text(),
            nullable=True,
            comment="Row of stage.customer that must exist first; null when CustomerID is known",
        ),
        sa.Column("CustomerID", sa.Text(), nullable=True),
        sa.Column("OrderDate", sa.Text(), nullable=True, comment="RFC 3339, UTC, microseconds"),
        sa.Column("PricesIncludeTax", sa.Boolean(), nullable=True),
        sa.Column("ExternalOrderID", sa.Text(), nullable=True),
        sa.Column("Source", sa.Text(), nullable=True),
        sa.Column("CurrencyCode", sa.Text(), nullable=True),
        sa.Column("Channel", sa.Text(), nullable=True),
        sa.Column("ShippingMethod", sa.Text(), nullable=True),
        sa.Column("ShippingTaxRemittedBy", sa.Text(), nullable=True),
        sa.Column("PaymentStatus", sa.Text(), nullable=True),
        sa.Column("Notes", sa.Text(), nullable=True),
        sa.Column("OrderStatus", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Name", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Company", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Line1", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Line2", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.City", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Region", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.PostalCode", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.CountryCode", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Name", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Company", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Line1", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Line2", sa.Text(), nullable=True),
        sa.Column("BillingAddress.City", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Region", sa.Text(), nullable=True),
        sa.Column("BillingAddress.PostalCode", sa.Text(), nullable=True),
        sa.Column("BillingAddress.CountryCode", sa.Text(), nullable=True),
        sa.Column("ShippingAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingDiscountAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingTaxAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("GiftWrapAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("DiscountTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TotalAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column(
            "cancelled", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Cancelled as a whole"
        ),
        sa.Column(
            "record_shipments",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Shipped by the channel or before its first read: its shipments are recorded in TIMS",
        ),
        sa.Column(
            "rounding_difference",
            sa.Numeric(precision=19, scale=4),
            nullable=True,
            comment="Explained by 4-decimal unit prices alone",
        ),
        sa.Column(
            "location_id", sa.Text(), nullable=True, comment="Stock location of the site, for recorded shipments"
        ),
        sa.Column(
            "marketplace_order_id",
            sa.Text(),
            nullable=True,
            comment="The marketplace's own number; settlements name it",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sales_order")),
        schema="stage",
        comment="One sales order as TIMS should hold it",
    )
    op.create_index(op.f("ix_sales_order_batch_id"), "sales_order", ["batch_id"], unique=False, schema="stage")
    op.create_table(
        "sales_order_line",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the order"),
        sa.Column("position", sa.Integer(), nullable=False, comment="From 0, as sent"),
        sa.Column("ExternalLineID", sa.Text(), nullable=True),
        sa.Column("SKU", sa.Text(), nullable=True),
        sa.Column("TaxRemittedBy", sa.Text(), nullable=True),
        sa.Column("KitParentSKU", sa.Text(), nullable=True),
        sa.Column("Quantity", sa.BigInteger(), nullable=True),
        sa.Column("Price", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("DiscountAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("OrderItemID", sa.Text(), nullable=True, comment="Line at Channel Advisor that it comes from"),
        sa.Column(
            "quantity_cancelled",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Units to be cancelled",
        ),
        sa.Column(
            "quantity_shipped",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Units the channel shipped",
        ),
        sa.Column(
            "units_per_kit",
            sa.BigInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Of this part in one kit",
        ),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_sales_order_line")),
        schema="stage",
        comment="One line of a sales order as TIMS should hold it",
    )
    op.execute(COMPRESSION)
    op.execute(GRANTS)


def downgrade() -> None:
    for schema in reversed(SCHEMAS):
        op.execute(f"DROP SCHEMA {schema} CASCADE")
