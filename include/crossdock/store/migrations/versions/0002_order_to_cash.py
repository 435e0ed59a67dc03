"""Order to cash: documents of TIMS for look-ups, staged documents of the new flows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# The loader works every table; the reader sees no personal data: neither payloads nor raw records.
GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT USAGE ON SCHEMA ref TO crossdock_reader;
    GRANT SELECT ON ops.alert,
      ops.batch,
      ops.circuit,
      ops.control,
      ops.delivery,
      ops.link,
      ops.rate_lease,
      ops.watermark,
      ops.webhook_event,
      ref.account_name,
      ref.gl_entry_line,
      ref.item,
      ref.item_code,
      ref.settlement,
      ref.settlement_line,
      stage.channel_shipment,
      stage.channel_shipment_line,
      stage.credit_memo,
      stage.invoice,
      stage.invoice_line,
      stage.payment,
      stage.payment_application,
      stage.posting,
      stage.posting_line,
      stage.sales_order_line,
      stage.settlement,
      stage.settlement_line,
      stage.stock_adjustment TO crossdock_reader;
  END IF;
END $$
"""

# lz4 halves the cost of storing payloads, where the server was built with it.
COMPRESSION = """
DO $$
DECLARE raw_table regclass;
BEGIN
  IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
    FOR raw_table IN SELECT oid FROM pg_class WHERE relnamespace = 'raw'::regnamespace AND relkind = 'r' LOOP
      EXECUTE format('ALTER TABLE %s ALTER COLUMN payload SET COMPRESSION lz4', raw_table);
    END LOOP;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "control",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Close, or watch, that ran it"),
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM, the last month that it looks at"),
        sa.Column("control", sa.Text(), nullable=False, comment="Name in config/controls"),
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="Currency, account, entry or settlement that it is about"
        ),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("actual", sa.Text(), nullable=False),
        sa.Column(
            "difference",
            sa.Numeric(precision=19, scale=4),
            nullable=True,
            comment="actual - expected, where they are amounts",
        ),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column(
            "documents",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Documents to blame",
        ),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control")),
        schema="ops",
        comment="One thing that a control looked at, expected and actual",
    )
    op.create_index(op.f("ix_control_run_id"), "control", ["run_id"], unique=False, schema="ops")
    op.create_table(
        "invoices",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_invoices")),
        schema="raw",
        comment="One version of one TIMS shipment, as the flow invoices read it",
    )
    op.create_index(op.f("ix_invoices_batch_id"), "invoices", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "ledger_adjustments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_ledger_adjustments")),
        schema="raw",
        comment="One version of one TIMS stock adjustment, as the ledger read it",
    )
    op.create_index(
        op.f("ix_ledger_adjustments_batch_id"), "ledger_adjustments", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "ledger_captures",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_ledger_captures")),
        schema="raw",
        comment="One version of one prepaid order, as the ledger read it",
    )
    op.create_index(op.f("ix_ledger_captures_batch_id"), "ledger_captures", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "ledger_credit_memos",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_ledger_credit_memos")),
        schema="raw",
        comment="One version of one TIMS credit memo, as the ledger read it",
    )
    op.create_index(
        op.f("ix_ledger_credit_memos_batch_id"), "ledger_credit_memos", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "ledger_invoices",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_ledger_invoices")),
        schema="raw",
        comment="One version of one TIMS invoice, as the ledger read it",
    )
    op.create_index(op.f("ix_ledger_invoices_batch_id"), "ledger_invoices", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "ledger_payments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_ledger_payments")),
        schema="raw",
        comment="One version of one TIMS payment, as the ledger read it",
    )
    op.create_index(op.f("ix_ledger_payments_batch_id"), "ledger_payments", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "ledger_settlements",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_ledger_settlements")),
        schema="raw",
        comment="One version of one settlement line, as the ledger read it",
    )
    op.create_index(
        op.f("ix_ledger_settlements_batch_id"), "ledger_settlements", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "payments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_payments")),
        schema="raw",
        comment="One version of one order's part of one settlement",
    )
    op.create_index(op.f("ix_payments_batch_id"), "payments", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "payouts",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_payouts")),
        schema="raw",
        comment="One version of one settlement file, in our own shape",
    )
    op.create_index(op.f("ix_payouts_batch_id"), "payouts", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "returns",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_returns")),
        schema="raw",
        comment="One version of one Channel Advisor return",
    )
    op.create_index(op.f("ix_returns_batch_id"), "returns", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "shipments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_shipments")),
        schema="raw",
        comment="One version of one TIMS shipment, as the flow shipments read it",
    )
    op.create_index(op.f("ix_shipments_batch_id"), "shipments", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "stock_adjustments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_stock_adjustments")),
        schema="raw",
        comment="One version of one stock movement from a file",
    )
    op.create_index(
        op.f("ix_stock_adjustments_batch_id"), "stock_adjustments", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "tims_accounts",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_accounts")),
        schema="raw",
        comment="One version of one TIMS account",
    )
    op.create_index(op.f("ix_tims_accounts_batch_id"), "tims_accounts", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_adjustments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_adjustments")),
        schema="raw",
        comment="One version of one TIMS stock adjustment",
    )
    op.create_index(op.f("ix_tims_adjustments_batch_id"), "tims_adjustments", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_company",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_company")),
        schema="raw",
        comment="One version of TIMS's company",
    )
    op.create_index(op.f("ix_tims_company_batch_id"), "tims_company", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_credit_memos",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_credit_memos")),
        schema="raw",
        comment="One version of one TIMS credit memo",
    )
    op.create_index(
        op.f("ix_tims_credit_memos_batch_id"), "tims_credit_memos", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "tims_entries",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_entries")),
        schema="raw",
        comment="One version of one TIMS journal entry",
    )
    op.create_index(op.f("ix_tims_entries_batch_id"), "tims_entries", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_invoices",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_invoices")),
        schema="raw",
        comment="One version of one TIMS invoice",
    )
    op.create_index(op.f("ix_tims_invoices_batch_id"), "tims_invoices", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_payments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_payments")),
        schema="raw",
        comment="One version of one TIMS payment",
    )
    op.create_index(op.f("ix_tims_payments_batch_id"), "tims_payments", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_periods",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_periods")),
        schema="raw",
        comment="One version of one TIMS posting period",
    )
    op.create_index(op.f("ix_tims_periods_batch_id"), "tims_periods", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "tims_sales_orders",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_sales_orders")),
        schema="raw",
        comment="One version of one TIMS sales order",
    )
    op.create_index(
        op.f("ix_tims_sales_orders_batch_id"), "tims_sales_orders", ["batch_id"], unique=False, schema="raw"
    )
    op.create_table(
        "tims_shipments",
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
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_tims_shipments")),
        schema="raw",
        comment="One version of one TIMS shipment",
    )
    op.create_index(op.f("ix_tims_shipments_batch_id"), "tims_shipments", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "account",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        schema="ref",
        comment="One account of TIMS's chart",
    )
    op.create_table(
        "account_name",
        sa.Column("name", sa.Text(), nullable=False, comment="Name in config/accounts.yaml"),
        sa.Column("code", sa.Text(), nullable=False, comment="A code that it may take"),
        sa.PrimaryKeyConstraint("name", "code", name=op.f("pk_account_name")),
        schema="ref",
        comment="One account by the name that the posting table has for it; written anew before controls run",
    )
    op.create_index(op.f("ix_account_name_code"), "account_name", ["code"], unique=False, schema="ref")
    op.create_table(
        "adjustment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("quantity_delta", sa.BigInteger(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("unit_cost", sa.Numeric(precision=19, scale=4), nullable=False, comment="In the base currency"),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("posting_mode", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjustment")),
        schema="ref",
        comment="One TIMS stock adjustment, newest version",
    )
    op.create_index(
        op.f("ix_adjustment_external_reference"), "adjustment", ["external_reference"], unique=False, schema="ref"
    )
    op.create_table(
        "company",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("base_currency", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_company")),
        schema="ref",
        comment="The company: its time zone and base currency; one row",
    )
    op.create_table(
        "credit_memo",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("sales_order_id", sa.Text(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("total", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("balance", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("posting_mode", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_memo")),
        schema="ref",
        comment="One TIMS credit memo, newest version",
    )
    op.create_index(
        op.f("ix_credit_memo_external_reference"), "credit_memo", ["external_reference"], unique=False, schema="ref"
    )
    op.create_index(op.f("ix_credit_memo_invoice_id"), "credit_memo", ["invoice_id"], unique=False, schema="ref")
    op.create_index(
        op.f("ix_credit_memo_sales_order_id"), "credit_memo", ["sales_order_id"], unique=False, schema="ref"
    )
    op.create_table(
        "gl_entry",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("original_event_date", sa.Date(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("document_type", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reversal_of", sa.Text(), nullable=True),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gl_entry")),
        schema="ref",
        comment="One TIMS journal entry, newest version",
    )
    op.create_index(op.f("ix_gl_entry_document_id"), "gl_entry", ["document_id"], unique=False, schema="ref")
    op.create_index(
        op.f("ix_gl_entry_external_reference"), "gl_entry", ["external_reference"], unique=False, schema="ref"
    )
    op.create_table(
        "gl_entry_line",
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("account_code", sa.Text(), nullable=False),
        sa.Column("debit", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("credit", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("memo", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", "line_no", name=op.f("pk_gl_entry_line")),
        schema="ref",
        comment="One line of a journal entry; amounts in the currency of its entry",
    )
    op.create_index(
        op.f("ix_gl_entry_line_account_code"), "gl_entry_line", ["account_code"], unique=False, schema="ref"
    )
    op.create_table(
        "invoice",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sales_order_id", sa.Text(), nullable=False),
        sa.Column("shipment_id", sa.Text(), nullable=True),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("total", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("balance", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("posting_mode", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
        schema="ref",
        comment="One TIMS invoice, newest version",
    )
    op.create_index(
        op.f("ix_invoice_external_reference"), "invoice", ["external_reference"], unique=False, schema="ref"
    )
    op.create_index(op.f("ix_invoice_sales_order_id"), "invoice", ["sales_order_id"], unique=False, schema="ref")
    op.create_index(op.f("ix_invoice_shipment_id"), "invoice", ["shipment_id"], unique=False, schema="ref")
    op.create_table(
        "payment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("unapplied_amount", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("posting_mode", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
        schema="ref",
        comment="One TIMS payment, newest version",
    )
    op.create_index(
        op.f("ix_payment_external_reference"), "payment", ["external_reference"], unique=False, schema="ref"
    )
    op.create_table(
        "period",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_period")),
        schema="ref",
        comment="One posting period of TIMS",
    )
    op.create_table(
        "sales_order",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_order_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales_order")),
        schema="ref",
        comment="One TIMS sales order, newest version; personal data in the payload",
    )
    op.create_index(
        op.f("ix_sales_order_external_order_id"), "sales_order", ["external_order_id"], unique=False, schema="ref"
    )
    op.create_table(
        "settlement",
        sa.Column("source", sa.Text(), nullable=False, comment="Name in config/payouts.yaml"),
        sa.Column("settlement_id", sa.Text(), nullable=False, comment="The marketplace's number"),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False, comment="Its file, in done/ of the source's folder"),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column(
            "start_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Start of the period; null where the format has none",
        ),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=True, comment="End of the period, not part of it"),
        sa.Column("deposit_at", sa.DateTime(timezone=True), nullable=True, comment="When the bank should have it"),
        sa.Column(
            "total",
            sa.Numeric(precision=19, scale=4),
            nullable=False,
            comment="What it pays; the sum of its lines, to the cent",
        ),
        sa.Column(
            "content_hash",
            sa.Text(),
            nullable=False,
            comment="Of all that the file says: the same settlement again is known",
        ),
        sa.Column("booked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "settlement_id", name=op.f("pk_settlement")),
        schema="ref",
        comment="One settlement of a marketplace that was found whole",
    )
    op.create_index(op.f("ix_settlement_booked_at"), "settlement", ["booked_at"], unique=False, schema="ref")
    op.create_table(
        "settlement_line",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("settlement_id", sa.Text(), nullable=False),
        sa.Column(
            "line_no",
            sa.Text(),
            nullable=False,
            comment="Row of the file; of several amounts in a row also the column: 17.2",
        ),
        sa.Column("position", sa.Integer(), nullable=False, comment="Order in the file, from 0"),
        sa.Column("kind", sa.Text(), nullable=False, comment="By config/lookups/settlement_kinds.csv"),
        sa.Column("transaction_type", sa.Text(), nullable=True),
        sa.Column("amount_type", sa.Text(), nullable=True),
        sa.Column("amount_description", sa.Text(), nullable=True),
        sa.Column("order_ref", sa.Text(), nullable=True, comment="The marketplace's order number"),
        sa.Column("merchant_order_ref", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=19, scale=4), nullable=False, comment="Signed; above 0 is for us"),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False, comment="When the marketplace posted it"),
        sa.Column(
            "sales_order_id",
            sa.Text(),
            nullable=True,
            comment="Order in TIMS, where it was known when the line was booked",
        ),
        sa.Column("former_kind", sa.Text(), nullable=True, comment="What it was before the lookup was corrected"),
        sa.Column(
            "booked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Also when its kind was changed",
        ),
        sa.PrimaryKeyConstraint("source", "settlement_id", "line_no", name=op.f("pk_settlement_line")),
        schema="ref",
        comment="One amount of a settlement",
    )
    op.create_index(op.f("ix_settlement_line_booked_at"), "settlement_line", ["booked_at"], unique=False, schema="ref")
    op.create_index(op.f("ix_settlement_line_order_ref"), "settlement_line", ["order_ref"], unique=False, schema="ref")
    op.create_index(op.f("ix_settlement_line_posted_at"), "settlement_line", ["posted_at"], unique=False, schema="ref")
    op.create_table(
        "shipment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sales_order_id", sa.Text(), nullable=False),
        sa.Column("posting_mode", sa.Text(), nullable=False),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The document as TIMS gives it"
        ),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shipment")),
        schema="ref",
        comment="One TIMS shipment, newest version",
    )
    op.create_index(op.f("ix_shipment_sales_order_id"), "shipment", ["sales_order_id"], unique=False, schema="ref")
    op.create_table(
        "channel_shipment",
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
        sa.Column("ChannelAdvisorOrderID", sa.BigInteger(), nullable=True),
        sa.Column(
            "SellerFulfillmentID",
            sa.Text(),
            nullable=True,
            comment="Digits of the ShipmentID; the channel's key for it within the order",
        ),
        sa.Column("ShippedDate", sa.Text(), nullable=True, comment="RFC 3339, UTC"),
        sa.Column("Carrier", sa.Text(), nullable=True),
        sa.Column("ServiceClass", sa.Text(), nullable=True),
        sa.Column("TrackingNumber", sa.Text(), nullable=True),
        sa.Column("sales_order_id", sa.Text(), nullable=True, comment="SalesOrderID in TIMS"),
        sa.Column(
            "parcel",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Units that left, by ExternalLineID; null where it does not count for the channel",
        ),
        sa.Column(
            "order_version",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Version of the sales order that was looked at; null: it was not there",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_channel_shipment")),
        schema="stage",
        comment="One shipment as Channel Advisor should be told of it; the key is TIMS's ShipmentID",
    )
    op.create_index(
        op.f("ix_channel_shipment_ChannelAdvisorOrderID"),
        "channel_shipment",
        ["ChannelAdvisorOrderID"],
        unique=False,
        schema="stage",
    )
    op.create_index(
        op.f("ix_channel_shipment_batch_id"), "channel_shipment", ["batch_id"], unique=False, schema="stage"
    )
    op.create_index(
        op.f("ix_channel_shipment_sales_order_id"), "channel_shipment", ["sales_order_id"], unique=False, schema="stage"
    )
    op.create_table(
        "channel_shipment_line",
        sa.Column("key", sa.Text(), nullable=False, comment="ShipmentID"),
        sa.Column("position", sa.Integer(), nullable=False, comment="From 0, as sent"),
        sa.Column("OrderItemID", sa.BigInteger(), nullable=False, comment="Line at Channel Advisor"),
        sa.Column("SKU", sa.Text(), nullable=True, comment="What was sold: the kit's own SKU, not its parts'"),
        sa.Column("Quantity", sa.BigInteger(), nullable=False, comment="Units as sold; a kit counts 1"),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_channel_shipment_line")),
        schema="stage",
        comment="Units of one line sold that a shipment reports",
    )
    op.create_table(
        "credit_memo",
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
        sa.Column("status", sa.Text(), nullable=True, comment="Status of the return at the channel"),
        sa.Column("order_key", sa.Text(), nullable=True, comment="ChannelAdvisorOrderID"),
        sa.Column("sales_order_id", sa.Text(), nullable=True),
        sa.Column("CurrencyCode", sa.Text(), nullable=True),
        sa.Column("Reason", sa.Text(), nullable=True),
        sa.Column("CreditDate", sa.Text(), nullable=True, comment="Day of the refund in the company's time zone"),
        sa.Column("PostingDate", sa.Text(), nullable=True, comment="The same, or the first open day after it"),
        sa.Column("Memo", sa.Text(), nullable=True),
        sa.Column(
            "refund_total", sa.Numeric(precision=19, scale=4), nullable=True, comment="What the channel gives back"
        ),
        sa.Column(
            "uncredited",
            sa.Numeric(precision=19, scale=4),
            nullable=True,
            comment="Tax that the marketplace gives back with nothing else to credit",
        ),
        sa.Column(
            "parents",
            sa.Text(),
            nullable=True,
            comment="Of a waiting one: what of its order was known; anything new wakes it",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_credit_memo")),
        schema="stage",
        comment="One return; its lines are those of the credit memos and stock adjustments that it becomes",
    )
    op.create_index(op.f("ix_credit_memo_batch_id"), "credit_memo", ["batch_id"], unique=False, schema="stage")
    op.create_index(op.f("ix_credit_memo_order_key"), "credit_memo", ["order_key"], unique=False, schema="stage")
    op.create_table(
        "credit_memo_line",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the return"),
        sa.Column("position", sa.Integer(), nullable=False, comment="From 0"),
        sa.Column("entity", sa.Text(), nullable=False, comment="credit_memo or stock_adjustment"),
        sa.Column("document", sa.Text(), nullable=False, comment="ExternalReference of the document it belongs to"),
        sa.Column(
            "OrderItem",
            sa.Text(),
            nullable=True,
            comment="Line at Channel Advisor; null where it is the document's own amounts",
        ),
        sa.Column("order_line", sa.BigInteger(), nullable=True, comment="Line of the sales order"),
        sa.Column("InvoiceID", sa.Text(), nullable=True),
        sa.Column("InvoiceLineNo", sa.BigInteger(), nullable=True, comment="Null: the credit memo's own amounts"),
        sa.Column("Quantity", sa.BigInteger(), nullable=True),
        sa.Column("Amount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("DiscountAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxRemittedBy", sa.Text(), nullable=True),
        sa.Column("ShippingAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingDiscountAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingTaxAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("GiftWrapAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("SubTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("DiscountTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("MarketplaceRemittedTax", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("Total", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingTaxRemittedBy", sa.Text(), nullable=True),
        sa.Column("ShipmentID", sa.Text(), nullable=True, comment="Of an adjustment: the shipment whose cost it takes"),
        sa.Column("SKU", sa.Text(), nullable=True),
        sa.Column("LocationID", sa.Text(), nullable=True),
        sa.Column("QuantityDelta", sa.BigInteger(), nullable=True),
        sa.Column("ReasonCode", sa.Text(), nullable=True),
        sa.Column("UnitCost", sa.Numeric(precision=19, scale=4), nullable=True, comment="In the base currency"),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_credit_memo_line")),
        schema="stage",
        comment="One line of a credit memo, its own amounts, or one stock adjustment of a return",
    )
    op.create_index(
        op.f("ix_credit_memo_line_document"), "credit_memo_line", ["document"], unique=False, schema="stage"
    )
    op.create_table(
        "invoice",
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
        sa.Column("ExternalReference", sa.Text(), nullable=True),
        sa.Column("Source", sa.Text(), nullable=True),
        sa.Column("SalesOrderID", sa.Text(), nullable=True),
        sa.Column("ShipmentID", sa.Text(), nullable=True),
        sa.Column("InvoiceDate", sa.Text(), nullable=True),
        sa.Column("PostingDate", sa.Text(), nullable=True),
        sa.Column("CurrencyCode", sa.Text(), nullable=True),
        sa.Column("ShippingTaxRemittedBy", sa.Text(), nullable=True),
        sa.Column("PricesIncludeTax", sa.Boolean(), nullable=True),
        sa.Column("ShippingAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingDiscountAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("ShippingTaxAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("GiftWrapAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("SubTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("DiscountTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxTotal", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("MarketplaceRemittedTax", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("Total", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column(
            "order_version",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Version of the sales order that was looked at; null: it was not there",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_invoice")),
        schema="stage",
        comment="One invoice as TIMS should hold it; the key is the ShipmentID",
    )
    op.create_index(op.f("ix_invoice_SalesOrderID"), "invoice", ["SalesOrderID"], unique=False, schema="stage")
    op.create_index(op.f("ix_invoice_batch_id"), "invoice", ["batch_id"], unique=False, schema="stage")
    op.create_table(
        "invoice_line",
        sa.Column("key", sa.Text(), nullable=False, comment="ShipmentID"),
        sa.Column("position", sa.Integer(), nullable=False, comment="From 0, as sent"),
        sa.Column("SalesOrderLineNo", sa.BigInteger(), nullable=True),
        sa.Column("SKU", sa.Text(), nullable=True),
        sa.Column("Quantity", sa.BigInteger(), nullable=True),
        sa.Column("UnitPrice", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("DiscountAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("TaxRemittedBy", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_invoice_line")),
        schema="stage",
        comment="One line of an invoice as TIMS should hold it",
    )
    op.create_table(
        "payment",
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
            comment="Why it matches nothing",
        ),
        sa.Column("ExternalReference", sa.Text(), nullable=True),
        sa.Column("Source", sa.Text(), nullable=True),
        sa.Column("Method", sa.Text(), nullable=True),
        sa.Column("PaymentDate", sa.Text(), nullable=True),
        sa.Column("PostingDate", sa.Text(), nullable=True),
        sa.Column("CurrencyCode", sa.Text(), nullable=True),
        sa.Column("ExchangeRate", sa.Text(), nullable=True),
        sa.Column("BankAccountCode", sa.Text(), nullable=True),
        sa.Column("Amount", sa.Numeric(precision=19, scale=4), nullable=True, comment="Sum of its applications"),
        sa.Column("sales_order_id", sa.Text(), nullable=True, comment="Order that it pays for"),
        sa.Column("settlement_source", sa.Text(), nullable=True),
        sa.Column("settlement_id", sa.Text(), nullable=True),
        sa.Column("order_ref", sa.Text(), nullable=True, comment="The marketplace's order number"),
        sa.Column("merchant_order_ref", sa.Text(), nullable=True),
        sa.Column(
            "settled", sa.Numeric(precision=19, scale=4), nullable=True, comment="What the settlement says of the order"
        ),
        sa.Column(
            "rounding",
            sa.Numeric(precision=19, scale=4),
            nullable=True,
            comment="Amount less what was settled, within tolerance; above 0 is our loss",
        ),
        sa.Column("original_date", sa.Text(), nullable=True, comment="Value date, where its period was closed"),
        sa.Column(
            "documents_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Newest version of the order's documents that was looked at",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_payment")),
        schema="stage",
        comment="One order's part of one settlement as a TIMS payment",
    )
    op.create_index(op.f("ix_payment_batch_id"), "payment", ["batch_id"], unique=False, schema="stage")
    op.create_index(op.f("ix_payment_sales_order_id"), "payment", ["sales_order_id"], unique=False, schema="stage")
    op.create_table(
        "payment_application",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the payment"),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("InvoiceID", sa.Text(), nullable=True),
        sa.Column("CreditMemoID", sa.Text(), nullable=True),
        sa.Column(
            "Amount",
            sa.Numeric(precision=19, scale=4),
            nullable=True,
            comment="Above 0 for an invoice, below 0 for a credit memo",
        ),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_payment_application")),
        schema="stage",
        comment="One invoice or credit memo that a payment is applied to",
    )
    op.create_table(
        "posting",
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
            comment="Why it cannot be posted",
        ),
        sa.Column("DocumentType", sa.Text(), nullable=True, comment="SourceDocument of its entries"),
        sa.Column("DocumentID", sa.Text(), nullable=True),
        sa.Column("sales_order_id", sa.Text(), nullable=True, comment="Order that it waits for, or belongs to"),
        sa.Column("shipment_id", sa.Text(), nullable=True, comment="Shipment that it waits for, or belongs to"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_posting")),
        schema="stage",
        comment="One posted document, and the journal entries that it should have",
    )
    op.create_index(op.f("ix_posting_batch_id"), "posting", ["batch_id"], unique=False, schema="stage")
    op.create_table(
        "posting_line",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the document"),
        sa.Column("position", sa.Integer(), nullable=False, comment="From 0; lines of one entry stand together"),
        sa.Column("EntryKey", sa.Text(), nullable=False, comment="ExternalReference of its entry, as first posted"),
        sa.Column("Event", sa.Text(), nullable=False, comment="Event of config/posting.yaml"),
        sa.Column("PostingDate", sa.Text(), nullable=True),
        sa.Column("OriginalEventDate", sa.Text(), nullable=True, comment="Day of the event where PostingDate is later"),
        sa.Column("CurrencyCode", sa.Text(), nullable=True),
        sa.Column("Description", sa.Text(), nullable=True),
        sa.Column("Account", sa.Text(), nullable=False, comment="Name in config/accounts.yaml"),
        sa.Column("AccountCode", sa.Text(), nullable=True),
        sa.Column("Debit", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("Credit", sa.Numeric(precision=19, scale=4), nullable=False),
        sa.Column("Channel", sa.Text(), nullable=True),
        sa.Column("SKU", sa.Text(), nullable=True),
        sa.Column("Order", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_posting_line")),
        schema="stage",
        comment="One line of a journal entry as TIMS should hold it",
    )
    op.create_index(op.f("ix_posting_line_EntryKey"), "posting_line", ["EntryKey"], unique=False, schema="stage")
    op.create_table(
        "settlement",
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
            comment="Why it cannot be read",
        ),
        sa.Column("Source", sa.Text(), nullable=True),
        sa.Column("File", sa.Text(), nullable=True),
        sa.Column("FileModifiedAt", sa.Text(), nullable=True),
        sa.Column("Format", sa.Text(), nullable=True),
        sa.Column("Channel", sa.Text(), nullable=True),
        sa.Column("SettlementID", sa.Text(), nullable=True),
        sa.Column("StartDate", sa.Text(), nullable=True),
        sa.Column("EndDate", sa.Text(), nullable=True),
        sa.Column("DepositDate", sa.Text(), nullable=True),
        sa.Column("CurrencyCode", sa.Text(), nullable=True),
        sa.Column("TotalAmount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settlement")),
        schema="stage",
        comment="One settlement on its way into the books",
    )
    op.create_index(op.f("ix_settlement_batch_id"), "settlement", ["batch_id"], unique=False, schema="stage")
    op.create_table(
        "settlement_line",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the settlement's file"),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("LineNo", sa.Text(), nullable=True),
        sa.Column("TransactionType", sa.Text(), nullable=True),
        sa.Column("AmountType", sa.Text(), nullable=True),
        sa.Column("AmountDescription", sa.Text(), nullable=True),
        sa.Column("OrderRef", sa.Text(), nullable=True),
        sa.Column("MerchantOrderRef", sa.Text(), nullable=True),
        sa.Column("SKU", sa.Text(), nullable=True),
        sa.Column("PostedAt", sa.Text(), nullable=True),
        sa.Column("Kind", sa.Text(), nullable=True),
        sa.Column("Amount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_settlement_line")),
        schema="stage",
        comment="One line of a settlement on its way into the books",
    )
    op.create_table(
        "stock_adjustment",
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
        sa.Column("ExternalReference", sa.Text(), nullable=True),
        sa.Column("Source", sa.Text(), nullable=True),
        sa.Column("SKU", sa.Text(), nullable=True),
        sa.Column("LocationID", sa.Text(), nullable=True),
        sa.Column("ReasonCode", sa.Text(), nullable=True),
        sa.Column("Memo", sa.Text(), nullable=True),
        sa.Column("QuantityDelta", sa.BigInteger(), nullable=True),
        sa.Column("PostingDate", sa.Text(), nullable=True),
        sa.Column(
            "OriginalEventDate", sa.Text(), nullable=True, comment="Day of the movement where its period is closed"
        ),
        sa.Column("File", sa.Text(), nullable=True, comment="File of the inbox that names it"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stock_adjustment")),
        schema="stage",
        comment="One stock adjustment as TIMS should hold it",
    )
    op.create_index(
        op.f("ix_stock_adjustment_batch_id"), "stock_adjustment", ["batch_id"], unique=False, schema="stage"
    )
    op.execute(GRANTS)
    op.execute(COMPRESSION)


def downgrade() -> None:
    op.drop_index(op.f("ix_stock_adjustment_batch_id"), table_name="stock_adjustment", schema="stage")
    op.drop_table("stock_adjustment", schema="stage")
    op.drop_table("settlement_line", schema="stage")
    op.drop_index(op.f("ix_settlement_batch_id"), table_name="settlement", schema="stage")
    op.drop_table("settlement", schema="stage")
    op.drop_index(op.f("ix_posting_line_EntryKey"), table_name="posting_line", schema="stage")
    op.drop_table("posting_line", schema="stage")
    op.drop_index(op.f("ix_posting_batch_id"), table_name="posting", schema="stage")
    op.drop_table("posting", schema="stage")
    op.drop_table("payment_application", schema="stage")
    op.drop_index(op.f("ix_payment_sales_order_id"), table_name="payment", schema="stage")
    op.drop_index(op.f("ix_payment_batch_id"), table_name="payment", schema="stage")
    op.drop_table("payment", schema="stage")
    op.drop_table("invoice_line", schema="stage")
    op.drop_index(op.f("ix_invoice_batch_id"), table_name="invoice", schema="stage")
    op.drop_index(op.f("ix_invoice_SalesOrderID"), table_name="invoice", schema="stage")
    op.drop_table("invoice", schema="stage")
    op.drop_index(op.f("ix_credit_memo_line_document"), table_name="credit_memo_line", schema="stage")
    op.drop_table("credit_memo_line", schema="stage")
    op.drop_index(op.f("ix_credit_memo_order_key"), table_name="credit_memo", schema="stage")
    op.drop_index(op.f("ix_credit_memo_batch_id"), table_name="credit_memo", schema="stage")
    op.drop_table("credit_memo", schema="stage")
    op.drop_table("channel_shipment_line", schema="stage")
    op.drop_index(op.f("ix_channel_shipment_sales_order_id"), table_name="channel_shipment", schema="stage")
    op.drop_index(op.f("ix_channel_shipment_batch_id"), table_name="channel_shipment", schema="stage")
    op.drop_index(op.f("ix_channel_shipment_ChannelAdvisorOrderID"), table_name="channel_shipment", schema="stage")
    op.drop_table("channel_shipment", schema="stage")
    op.drop_index(op.f("ix_shipment_sales_order_id"), table_name="shipment", schema="ref")
    op.drop_table("shipment", schema="ref")
    op.drop_index(op.f("ix_settlement_line_posted_at"), table_name="settlement_line", schema="ref")
    op.drop_index(op.f("ix_settlement_line_order_ref"), table_name="settlement_line", schema="ref")
    op.drop_index(op.f("ix_settlement_line_booked_at"), table_name="settlement_line", schema="ref")
    op.drop_table("settlement_line", schema="ref")
    op.drop_index(op.f("ix_settlement_booked_at"), table_name="settlement", schema="ref")
    op.drop_table("settlement", schema="ref")
    op.drop_index(op.f("ix_sales_order_external_order_id"), table_name="sales_order", schema="ref")
    op.drop_table("sales_order", schema="ref")
    op.drop_table("period", schema="ref")
    op.drop_index(op.f("ix_payment_external_reference"), table_name="payment", schema="ref")
    op.drop_table("payment", schema="ref")
    op.drop_index(op.f("ix_invoice_shipment_id"), table_name="invoice", schema="ref")
    op.drop_index(op.f("ix_invoice_sales_order_id"), table_name="invoice", schema="ref")
    op.drop_index(op.f("ix_invoice_external_reference"), table_name="invoice", schema="ref")
    op.drop_table("invoice", schema="ref")
    op.drop_index(op.f("ix_gl_entry_line_account_code"), table_name="gl_entry_line", schema="ref")
    op.drop_table("gl_entry_line", schema="ref")
    op.drop_index(op.f("ix_gl_entry_external_reference"), table_name="gl_entry", schema="ref")
    op.drop_index(op.f("ix_gl_entry_document_id"), table_name="gl_entry", schema="ref")
    op.drop_table("gl_entry", schema="ref")
    op.drop_index(op.f("ix_credit_memo_sales_order_id"), table_name="credit_memo", schema="ref")
    op.drop_index(op.f("ix_credit_memo_invoice_id"), table_name="credit_memo", schema="ref")
    op.drop_index(op.f("ix_credit_memo_external_reference"), table_name="credit_memo", schema="ref")
    op.drop_table("credit_memo", schema="ref")
    op.drop_table("company", schema="ref")
    op.drop_index(op.f("ix_adjustment_external_reference"), table_name="adjustment", schema="ref")
    op.drop_table("adjustment", schema="ref")
    op.drop_index(op.f("ix_account_name_code"), table_name="account_name", schema="ref")
    op.drop_table("account_name", schema="ref")
    op.drop_table("account", schema="ref")
    op.drop_index(op.f("ix_tims_shipments_batch_id"), table_name="tims_shipments", schema="raw")
    op.drop_table("tims_shipments", schema="raw")
    op.drop_index(op.f("ix_tims_sales_orders_batch_id"), table_name="tims_sales_orders", schema="raw")
    op.drop_table("tims_sales_orders", schema="raw")
    op.drop_index(op.f("ix_tims_periods_batch_id"), table_name="tims_periods", schema="raw")
    op.drop_table("tims_periods", schema="raw")
    op.drop_index(op.f("ix_tims_payments_batch_id"), table_name="tims_payments", schema="raw")
    op.drop_table("tims_payments", schema="raw")
    op.drop_index(op.f("ix_tims_invoices_batch_id"), table_name="tims_invoices", schema="raw")
    op.drop_table("tims_invoices", schema="raw")
    op.drop_index(op.f("ix_tims_entries_batch_id"), table_name="tims_entries", schema="raw")
    op.drop_table("tims_entries", schema="raw")
    op.drop_index(op.f("ix_tims_credit_memos_batch_id"), table_name="tims_credit_memos", schema="raw")
    op.drop_table("tims_credit_memos", schema="raw")
    op.drop_index(op.f("ix_tims_company_batch_id"), table_name="tims_company", schema="raw")
    op.drop_table("tims_company", schema="raw")
    op.drop_index(op.f("ix_tims_adjustments_batch_id"), table_name="tims_adjustments", schema="raw")
    op.drop_table("tims_adjustments", schema="raw")
    op.drop_index(op.f("ix_tims_accounts_batch_id"), table_name="tims_accounts", schema="raw")
    op.drop_table("tims_accounts", schema="raw")
    op.drop_index(op.f("ix_stock_adjustments_batch_id"), table_name="stock_adjustments", schema="raw")
    op.drop_table("stock_adjustments", schema="raw")
    op.drop_index(op.f("ix_shipments_batch_id"), table_name="shipments", schema="raw")
    op.drop_table("shipments", schema="raw")
    op.drop_index(op.f("ix_returns_batch_id"), table_name="returns", schema="raw")
    op.drop_table("returns", schema="raw")
    op.drop_index(op.f("ix_payouts_batch_id"), table_name="payouts", schema="raw")
    op.drop_table("payouts", schema="raw")
    op.drop_index(op.f("ix_payments_batch_id"), table_name="payments", schema="raw")
    op.drop_table("payments", schema="raw")
    op.drop_index(op.f("ix_ledger_settlements_batch_id"), table_name="ledger_settlements", schema="raw")
    op.drop_table("ledger_settlements", schema="raw")
    op.drop_index(op.f("ix_ledger_payments_batch_id"), table_name="ledger_payments", schema="raw")
    op.drop_table("ledger_payments", schema="raw")
    op.drop_index(op.f("ix_ledger_invoices_batch_id"), table_name="ledger_invoices", schema="raw")
    op.drop_table("ledger_invoices", schema="raw")
    op.drop_index(op.f("ix_ledger_credit_memos_batch_id"), table_name="ledger_credit_memos", schema="raw")
    op.drop_table("ledger_credit_memos", schema="raw")
    op.drop_index(op.f("ix_ledger_captures_batch_id"), table_name="ledger_captures", schema="raw")
    op.drop_table("ledger_captures", schema="raw")
    op.drop_index(op.f("ix_ledger_adjustments_batch_id"), table_name="ledger_adjustments", schema="raw")
    op.drop_table("ledger_adjustments", schema="raw")
    op.drop_index(op.f("ix_invoices_batch_id"), table_name="invoices", schema="raw")
    op.drop_table("invoices", schema="raw")
    op.drop_index(op.f("ix_control_run_id"), table_name="control", schema="ops")
    op.drop_table("control", schema="ops")
