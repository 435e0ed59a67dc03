"""What the channel holds: products, listings, distribution centers, sites; what prices and products need of items."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RAW = {
    "channel_advisor_products": "One version of one Channel Advisor product",
    "channel_advisor_listings": "One version of one Channel Advisor listing",
    "channel_advisor_centers": "One version of one distribution center of Channel Advisor",
    "channel_advisor_sites": "One version of one site of Channel Advisor",
}
REF = ("channel_product", "channel_listing", "channel_center", "channel_site")

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA raw, ref TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ref.channel_product, ref.channel_listing, ref.channel_center, ref.channel_site TO crossdock_reader;
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
    for name, comment in RAW.items():
        raw_table(name, comment)
    payload = postgresql.JSONB()
    version = ("version", sa.DateTime(timezone=True))
    op.create_table(
        "channel_product",
        sa.Column(
            "sku", sa.Text(), nullable=False, comment="SKU as Channel Advisor stores it; it compares without case"
        ),
        sa.Column("folded", sa.Text(), nullable=False, comment="The SKU in lower case, blanks trimmed"),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "type", sa.Text(), nullable=False, comment="Item, Child, Bundle or Parent; the last two have no stock"
        ),
        sa.Column("payload", payload, nullable=False, comment="The product as Channel Advisor gives it"),
        sa.Column(*version, nullable=False),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_channel_product")),
        schema="ref",
        comment="One Channel Advisor product, newest version",
    )
    op.create_index(op.f("ix_channel_product_folded"), "channel_product", ["folded"], schema="ref")
    op.create_table(
        "channel_listing",
        sa.Column("listing_id", sa.BigInteger(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False, comment="Product as Channel Advisor stores it"),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="Draft, Active, Paused, Ended or Error"),
        sa.Column("quantity", sa.BigInteger(), comment="Units on offer on the site; empty: follows the stock"),
        sa.Column("price", sa.Numeric(19, 4), comment="Price on the site; empty: follows the product's price"),
        sa.Column("currency_code", sa.Text(), nullable=False, comment="Currency of the site"),
        sa.Column("payload", payload, nullable=False, comment="The listing as Channel Advisor gives it"),
        sa.Column(*version, nullable=False),
        sa.PrimaryKeyConstraint("listing_id", name=op.f("pk_channel_listing")),
        schema="ref",
        comment="One Channel Advisor listing, newest version",
    )
    op.create_index(op.f("ix_channel_listing_sku"), "channel_listing", ["sku"], schema="ref")
    op.create_table(
        "channel_center",
        sa.Column("center_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False, comment="Short name, never changes"),
        sa.Column(
            "is_external", sa.Boolean(), nullable=False, comment="Its stock is kept by a marketplace and never written"
        ),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column(*version, nullable=False),
        sa.PrimaryKeyConstraint("center_id", name=op.f("pk_channel_center")),
        schema="ref",
        comment="One distribution center of Channel Advisor, newest version",
    )
    op.create_table(
        "channel_site",
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(*version, nullable=False),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_channel_site")),
        schema="ref",
        comment="One site of Channel Advisor, newest version",
    )
    for column in (
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("category", sa.Text(), comment='Path, parts separated by " > "'),
        sa.Column(
            "min_margin_percent", sa.Numeric(19, 4), comment="Least margin allowed, percent of the selling price"
        ),
        sa.Column(
            "channel_eligible", sa.Boolean(), server_default=sa.false(), nullable=False,
            comment="May be sold on channels",
        ),
    ):  # fmt: skip
        op.add_column("item", column, schema="ref")
    kinds = ("scheduled, sweep, backfill, key or replay", "scheduled, sweep, compare, backfill, key or replay")
    op.alter_column("batch", "kind", comment=kinds[1], existing_comment=kinds[0], schema="ops")
    # Items that were read before have these columns from their newest version.
    op.execute("""
        UPDATE ref.item i SET title = coalesce(r.payload->>'Title', ''), category = r.payload->>'Category',
          min_margin_percent = (r.payload->>'MinMarginPercent')::numeric,
          channel_eligible = coalesce((r.payload->>'ChannelEligible')::boolean, false)
        FROM (SELECT DISTINCT ON (key) key, payload FROM raw.tims_items ORDER BY key, version DESC, received_at DESC) r
        WHERE r.key = i.sku
    """)
    op.execute(GRANTS)
    op.execute(COMPRESSION)


def downgrade() -> None:
    for name in ("channel_eligible", "min_margin_percent", "category", "title"):
        op.drop_column("item", name, schema="ref")
    for name in REF:
        op.drop_table(name, schema="ref")
    for name in RAW:
        op.drop_table(name, schema="raw")
