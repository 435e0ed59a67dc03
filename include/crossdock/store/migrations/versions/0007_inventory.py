"""Inventory: quantities as read, what the channel should offer, what it was found to offer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    ("stage", "channel_quantity_line"),
    ("stage", "channel_quantity"),
    ("ref", "channel_level"),
    ("raw", "inventory"),
    ("ops", "accuracy"),
)

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.accuracy, ref.channel_level, stage.channel_quantity, stage.channel_quantity_line
      TO crossdock_reader;
  END IF;
END $$
"""

# lz4 halves the cost of storing payloads, where the server was built with it.
COMPRESSION = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
    ALTER TABLE raw.inventory ALTER COLUMN payload SET COMPRESSION lz4;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "accuracy",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("compared", sa.BigInteger(), nullable=False, comment="Records that should be equal on both sides"),
        sa.Column("equal", sa.BigInteger(), nullable=False, comment="Of them, those that are"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accuracy")),
        schema="ops",
        comment="One full compare, before it repaired anything",
    )
    op.create_table(
        "inventory",
        sa.Column("key", sa.Text(), nullable=False, comment="Id of the record in its system"),
        sa.Column(
            "version", sa.DateTime(timezone=True), nullable=False, comment="Its last change there, cut to microseconds"
        ),
        sa.Column(
            "hash", sa.Text(), nullable=False, comment="SHA-256 of the bytes received; the same hash makes no work"
        ),
        sa.Column(
            "payload", postgresql.JSONB(), nullable=False, comment="The record as received; personal data, ages out"
        ),
        sa.Column(
            "altered",
            sa.Text(),
            nullable=True,
            comment="What had to be taken out before it could be stored, e.g. U+0000",
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="Batch that works it"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_inventory")),
        schema="raw",
        comment="One version of the quantities of one TIMS SKU",
    )
    op.create_index(op.f("ix_inventory_batch_id"), "inventory", ["batch_id"], unique=False, schema="raw")
    op.create_table(
        "channel_level",
        sa.Column("sku", sa.Text(), nullable=False, comment="Product as Channel Advisor stores it"),
        sa.Column("center_id", sa.Integer(), nullable=False),
        sa.Column("available", sa.BigInteger(), nullable=False, comment="Units that may be sold"),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False, comment="When the level last changed there"),
        sa.PrimaryKeyConstraint("sku", "center_id", name=op.f("pk_channel_level")),
        schema="ref",
        comment="One stock level of Channel Advisor, as the last full compare found it",
    )
    op.create_table(
        "channel_quantity",
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
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Rules it broke in transform",
        ),
        sa.Column("row_version", sa.BigInteger(), nullable=True, comment="RowVersion of the quantities in TIMS"),
        sa.Column(
            "available",
            sa.BigInteger(),
            nullable=True,
            comment="Units free at our own locations; below 0 when more is promised",
        ),
        sa.Column(
            "in_flight",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Units of orders read that TIMS does not hold; of a kit, kits that they cost",
        ),
        sa.Column(
            "parts_in_flight",
            postgresql.JSONB(),
            nullable=True,
            comment="Of a kit that the channel sells as one item: the same by part",
        ),
        sa.Column("buffer", sa.BigInteger(), nullable=True),
        sa.Column("cap", sa.BigInteger(), nullable=True, comment="Empty: no limit"),
        sa.Column("share_percent", sa.BigInteger(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=True, comment="Units offered, over all centers"),
        sa.Column(
            "listings",
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="[{ListingID, Quantity}] where a site has terms of its own; null follows the stock",
        ),
        sa.Column(
            "item_state",
            sa.Text(),
            nullable=True,
            comment="sellable, or why the item is not: blocked, not_eligible, unknown",
        ),
        sa.Column(
            "terms",
            sa.Text(),
            nullable=True,
            comment="What of the configuration bore on it; the same text, the same terms",
        ),
        sa.Column("config", sa.Text(), nullable=True, comment="Version of the configuration that was looked at"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_channel_quantity")),
        schema="stage",
        comment="What the channel should offer of one TIMS SKU",
    )
    op.create_index(
        op.f("ix_channel_quantity_batch_id"), "channel_quantity", ["batch_id"], unique=False, schema="stage"
    )
    op.create_index(op.f("ix_channel_quantity_config"), "channel_quantity", ["config"], unique=False, schema="stage")
    op.create_index(
        "ix_channel_quantity_in_flight",
        "channel_quantity",
        ["key"],
        unique=False,
        schema="stage",
        postgresql_where=sa.text("in_flight <> 0"),
    )
    op.create_index(
        "ix_channel_quantity_kits",
        "channel_quantity",
        ["key"],
        unique=False,
        schema="stage",
        postgresql_where=sa.text("parts_in_flight IS NOT NULL"),
    )
    op.create_index(
        "ix_channel_quantity_open",
        "channel_quantity",
        ["key"],
        unique=False,
        schema="stage",
        postgresql_where=sa.text("state IN ('staged', 'ready', 'waiting')"),
    )
    op.create_table(
        "channel_quantity_line",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="From 0"),
        sa.Column("SKU", sa.Text(), nullable=True, comment="Product as Channel Advisor stores it"),
        sa.Column("DistributionCenterID", sa.BigInteger(), nullable=True),
        sa.Column("Quantity", sa.BigInteger(), nullable=True),
        sa.Column("UpdateType", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_channel_quantity_line")),
        schema="stage",
        comment="Units of one product to offer in one distribution center",
    )
    op.create_index(op.f("ix_link_entity_created_at"), "link", ["entity", "created_at"], unique=False, schema="ops")
    op.create_index(
        "ix_sales_order_open",
        "sales_order",
        ["key"],
        unique=False,
        schema="stage",
        postgresql_where=sa.text("state IN ('staged', 'ready', 'waiting', 'dead')"),
    )
    op.execute(GRANTS)
    op.execute(COMPRESSION)


def downgrade() -> None:
    op.drop_index("ix_sales_order_open", table_name="sales_order", schema="stage")
    op.drop_index(op.f("ix_link_entity_created_at"), table_name="link", schema="ops")
    for schema, name in TABLES:
        op.drop_table(name, schema=schema)
