"""Prices: what the channel should ask, what it asks, and the changes that a person decides on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA raw, ref, stage, ops TO crossdock_loader;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA ops TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ref.channel_price, stage.price, stage.price_line TO crossdock_reader;
    GRANT SELECT (id, flow, key, target, site_id, from_price, to_price, promotion_price, cost, currency_code, why,
                  state, asked_at, decided_at, used_at) ON ops.approval TO crossdock_reader;
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


def raw_table(name: str, comment: str) -> None:
    """A table of records as received (tables.py, `_raw`)."""
    op.create_table(
        name,
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
        sa.Column("altered", sa.Text(), comment="What had to be taken out before it could be stored, e.g. U+0000"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="Batch that works it"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "hash", name=op.f(f"pk_{name}")),
        schema="raw",
        comment=comment,
    )
    op.create_index(op.f(f"ix_{name}_batch_id"), name, ["batch_id"], schema="raw")


def upgrade() -> None:
    raw_table("prices", "One version of one TIMS item, as the flow prices read it")
    op.create_table(
        "channel_price",
        sa.Column("sku", sa.Text(), nullable=False, comment="Product as Channel Advisor stores it"),
        sa.Column("price", sa.Numeric(19, 4), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("min_price", sa.Numeric(19, 4)),
        sa.Column("max_price", sa.Numeric(19, 4)),
        sa.Column("retail_price", sa.Numeric(19, 4)),
        sa.Column("promotion_id", sa.Text(), comment="Empty: no promotional price"),
        sa.Column("promotion_price", sa.Numeric(19, 4)),
        sa.Column("promotion_start", sa.DateTime(timezone=True), comment="First moment"),
        sa.Column("promotion_end", sa.DateTime(timezone=True), comment="End, not part of it"),
        sa.Column("version", sa.DateTime(timezone=True), comment="Its last change there; empty: it is what we sent"),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_channel_price")),
        schema="ref",
        comment="One price as Channel Advisor holds it",
    )
    op.create_table(
        "price",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False, comment="Version of the source record"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="staged, ready, waiting, dead, left_out, delivered, unchanged"
        ),
        sa.Column("reason", sa.Text(), comment="Why it waits or is left out"),
        sa.Column("content_hash", sa.Text(), comment="Hash of the target document; the same hash needs no call"),
        sa.Column(
            "problems",
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Rules it broke in transform",
        ),
        sa.Column("SKU", sa.Text()),
        sa.Column("Currency", sa.Text()),
        sa.Column("Promotion.PromotionID", sa.Text()),
        sa.Column("Promotion.StartDate", sa.Text()),
        sa.Column("Promotion.EndDate", sa.Text()),
        sa.Column("Price", sa.Numeric(19, 4)),
        sa.Column("MinPrice", sa.Numeric(19, 4)),
        sa.Column("MaxPrice", sa.Numeric(19, 4)),
        sa.Column("RetailPrice", sa.Numeric(19, 4)),
        sa.Column("Promotion.Price", sa.Numeric(19, 4)),
        sa.Column(
            "rules", sa.Text(), comment="Fingerprint of the configuration that made it; another one makes it anew"
        ),
        sa.Column(
            "next_at", sa.DateTime(timezone=True), comment="When its price changes by the clock: a promotion, a rate"
        ),
        sa.Column(
            "seen",
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Products and listings of the channel that were looked at; a new one makes it anew",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_price")),
        schema="stage",
        comment="One item's price as Channel Advisor should have it; the key is TIMS's SKU",
    )
    op.create_index(op.f("ix_price_batch_id"), "price", ["batch_id"], schema="stage")
    op.create_index(op.f("ix_price_next_at"), "price", ["next_at"], schema="stage")
    op.create_table(
        "price_line",
        sa.Column("key", sa.Text(), nullable=False, comment="TIMS's SKU"),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False, comment="Product as Channel Advisor stores it"),
        sa.Column(
            "listing_id", sa.BigInteger(), comment="Empty: the product's own price, else the price of this listing"
        ),
        sa.Column(
            "site_id", sa.BigInteger(), nullable=False, comment="Site of the listing; 0: the product's own price"
        ),
        sa.Column("Price", sa.Numeric(19, 4), comment="Of a listing, empty: it follows the product's price"),
        sa.Column("Currency", sa.Text(), nullable=False),
        sa.Column("cost", sa.Numeric(19, 4), nullable=False, comment="Cost of one unit in this currency"),
        sa.Column(
            "promotion_id", sa.Text(), comment="Promotion that is told, or that makes the price of a listing now"
        ),
        sa.Column(
            "content_hash", sa.Text(), nullable=False, comment="Hash of what is told; the same hash needs no call"
        ),
        sa.PrimaryKeyConstraint("key", "position", name=op.f("pk_price_line")),
        schema="stage",
        comment="One place that an item's price goes to: a product, or a listing with a price of its own",
    )
    op.create_index(op.f("ix_price_line_sku"), "price_line", ["sku"], schema="stage")
    op.create_table(
        "approval",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="TIMS's SKU"),
        sa.Column("target", sa.Text(), nullable=False, comment="Product, or number of the listing, at the channel"),
        sa.Column("site_id", sa.BigInteger(), nullable=False, comment="0: the product's own price"),
        sa.Column("from_price", sa.Numeric(19, 4), comment="At the channel when it was asked; empty: it had none"),
        sa.Column("to_price", sa.Numeric(19, 4), nullable=False),
        sa.Column("promotion_price", sa.Numeric(19, 4), comment="Where it is the promotional price that is asked for"),
        sa.Column("cost", sa.Numeric(19, 4), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column(
            "state", sa.Text(), server_default="open", nullable=False, comment="open, approved, refused or withdrawn"
        ),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.Text()),
        sa.Column("note", sa.Text(), comment="Why, in that person's words"),
        sa.Column("used_at", sa.DateTime(timezone=True), comment="When an approved price was sent"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        schema="ops",
        comment="One change that a person decides on, asked once",
    )
    op.create_index(op.f("ix_approval_flow_key_target"), "approval", ["flow", "key", "target"], schema="ops")
    op.create_index(
        "ix_approval_unused",
        "approval",
        ["flow", "key"],
        schema="ops",
        postgresql_where=sa.text("state = 'approved' AND used_at IS NULL"),
    )
    op.create_index(
        "uq_approval_open",
        "approval",
        ["flow", "key", "target"],
        unique=True,
        schema="ops",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.execute(GRANTS)
    op.execute(COMPRESSION)


def downgrade() -> None:
    op.drop_table("approval", schema="ops")
    op.drop_table("price_line", schema="stage")
    op.drop_table("price", schema="stage")
    op.drop_table("channel_price", schema="ref")
    op.drop_table("prices", schema="raw")
