"""The catalogue on its way to the channel: items as products, what was delivered of them, conflicts, orphans."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON raw.catalog, stage.product, ops.product, ops.conflict, ops.orphan
      TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON stage.product, ops.product, ops.conflict, ops.orphan TO crossdock_reader;
  END IF;
END $$
"""

# lz4 halves the cost of storing payloads, where the server was built with it.
COMPRESSION = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
    ALTER TABLE raw.catalog ALTER COLUMN payload SET COMPRESSION lz4;
  END IF;
END $$
"""

STATES = "staged, ready, waiting, dead, left_out, delivered, unchanged"
TEXT = ("SKU", "ProductType", "Title", "Description", "Brand", "UPC", "EAN")
HELD = ("We put it on hold: we may release it", "We put it on hold, or ended it: we may release it, or make another")
LISTS = ("Attributes", "Images", "BundleComponents")


def upgrade() -> None:
    moment, jsonb = sa.DateTime(timezone=True), postgresql.JSONB()
    now = sa.text("now()")
    op.create_table(
        "catalog",
        sa.Column("key", sa.Text(), nullable=False, comment="Id of the record in its system"),
        sa.Column("version", moment, nullable=False, comment="Its last change there, cut to microseconds"),
        sa.Column(
            "hash", sa.Text(), nullable=False, comment="SHA-256 of the bytes received; the same hash makes no work"
        ),
        sa.Column("payload", jsonb, nullable=False, comment="The record as received; personal data, ages out"),
        sa.Column("altered", sa.Text(), comment="What had to be taken out before it could be stored, e.g. U+0000"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="Batch that works it"),
        sa.Column("received_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("key", "hash", name=op.f("pk_catalog")),
        schema="raw",
        comment="One version of one TIMS item, as the flow catalog read it",
    )
    op.create_index(op.f("ix_catalog_batch_id"), "catalog", ["batch_id"], schema="raw")
    op.create_table(
        "product",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("version", moment, nullable=False, comment="Version of the source record"),
        sa.Column("state", sa.Text(), nullable=False, comment=STATES),
        sa.Column("reason", sa.Text(), comment="Why it waits or is left out"),
        sa.Column("content_hash", sa.Text(), comment="Hash of the target document; the same hash needs no call"),
        sa.Column("problems", jsonb, server_default=sa.text("'[]'"), nullable=False,
                  comment="Rules it broke in transform"),
        *(sa.Column(name, sa.Text()) for name in TEXT),
        sa.Column("Cost", sa.Numeric(19, 4),
                  comment="In the profile's currency; empty: TIMS keeps another one, so it is not sent"),
        sa.Column("Weight", sa.Numeric(19, 4), comment="Pounds"),
        sa.Column("IsBlocked", sa.Boolean()),
        *(sa.Column(name, jsonb) for name in LISTS),
        sa.Column("listings", jsonb,
                  comment="[{SiteID, Status, Category, Title}], one of each site that catalog.yaml names"),
        sa.Column("products_seen", moment,
                  comment="Newest version of its products that was looked at; null: there was none"),
        sa.Column("listings_seen", moment, comment="Newest version of their listings that was looked at"),
        sa.Column("rules", sa.Text(), comment="Hash of the configuration that made it"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_product")),
        schema="stage",
        comment="One TIMS item as its products at Channel Advisor should be; parts of a kit by their SKU in TIMS",
    )  # fmt: skip
    op.create_index(op.f("ix_product_batch_id"), "product", ["batch_id"], schema="stage")
    op.create_table(
        "product",
        sa.Column("product_sku", sa.Text(), nullable=False, comment="SKU as Channel Advisor stores it"),
        sa.Column("sku", sa.Text(), nullable=False, comment="Item of TIMS"),
        sa.Column("delivered", jsonb, nullable=False, comment="What we own of it, as it was when both sides last "
                  "agreed; the names of attributes that we have ever owned stay"),
        sa.Column("updated_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("product_sku", name=op.f("pk_product")),
        schema="ops",
        comment="One product of the channel that the flow catalog keeps",
    )  # fmt: skip
    op.create_index(op.f("ix_product_sku"), "product", ["sku"], schema="ops")
    op.create_table(
        "conflict",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record"),
        sa.Column("target_key", sa.Text(), nullable=False,
                  comment="The document that was changed there, e.g. the product's SKU"),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("theirs", jsonb, nullable=False, comment="What stood there"),
        sa.Column("ours", jsonb, nullable=False, comment="What the owner of the field says"),
        sa.Column("seen_at", moment, server_default=now, nullable=False),
        sa.Column("resolved", sa.Text(), comment="How it ended; empty: not yet"),
        sa.Column("resolved_at", moment),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict")),
        schema="ops",
        comment="One field that both sides have changed: whose value won, and the other one",
    )  # fmt: skip
    op.create_index(
        "uq_conflict_open", "conflict", ["flow", "target_key", "field"], unique=True, schema="ops",
        postgresql_where=sa.text("resolved IS NULL"),
    )  # fmt: skip
    op.create_index(op.f("ix_conflict_seen_at"), "conflict", ["seen_at"], schema="ops")
    op.create_table(
        "orphan",
        sa.Column("product_sku", sa.Text(), nullable=False, comment="SKU as Channel Advisor stores it"),
        sa.Column("nearest", jsonb, nullable=False, comment="SKUs of TIMS that are spelt most like it"),
        sa.Column("first_seen", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("product_sku", name=op.f("pk_orphan")),
        schema="ops",
        comment="One product of the channel that is no item of TIMS",
    )
    op.alter_column("link", "held", comment=HELD[1], existing_comment=HELD[0], schema="ops")
    op.execute(GRANTS)
    op.execute(COMPRESSION)


def downgrade() -> None:
    for schema, name in (("ops", "orphan"), ("ops", "conflict"), ("ops", "product"), ("stage", "product"),
                         ("raw", "catalog")):  # fmt: skip
        op.drop_table(name, schema=schema)
