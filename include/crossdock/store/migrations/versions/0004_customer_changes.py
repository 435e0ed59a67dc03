"""Customers: what orders say of their buyers, and what became of it in TIMS."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# The loader works every table; the reader sees what was changed and when, but no value: those are personal data.
GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON stage.buyer, ops.customer_change TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT (customer_id, field, order_key, ordered_at, outcome, row_version, modified_at, error, batch_id, at)
      ON ops.customer_change TO crossdock_reader;
    GRANT SELECT (key, version, state, customer_id, site, "OrderDate") ON stage.buyer TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "buyer",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the order"),
        sa.Column("version", sa.Text(), nullable=False, comment="UpdatedDate of the order, in a form that sorts"),
        sa.Column(
            "state",
            sa.Text(),
            server_default=sa.text("'staged'"),
            nullable=False,
            comment="staged, or done: the TIMS customer was brought to it, or stayed as it is",
        ),
        sa.Column("customer_id", sa.Text(), nullable=True, comment="CustomerID once known"),
        sa.Column(
            "customer_key",
            sa.Text(),
            nullable=True,
            comment="Row of stage.customer, where the order's customer was new",
        ),
        sa.Column("site", sa.Text(), nullable=False, comment="profile:site; a relay address is of use there only"),
        sa.Column("OrderDate", sa.Text(), nullable=False, comment="RFC 3339, UTC, microseconds"),
        sa.Column(
            "Email",
            sa.Text(),
            nullable=True,
            comment="Personal data, as all that follows; null: the order does not say",
        ),
        sa.Column("Phone", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Name", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Company", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Line1", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Line2", sa.Text(), nullable=True),
        sa.Column("BillingAddress.City", sa.Text(), nullable=True),
        sa.Column("BillingAddress.Region", sa.Text(), nullable=True),
        sa.Column("BillingAddress.PostalCode", sa.Text(), nullable=True),
        sa.Column("BillingAddress.CountryCode", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Name", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Company", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Line1", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Line2", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.City", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.Region", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.PostalCode", sa.Text(), nullable=True),
        sa.Column("ShippingAddress.CountryCode", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_buyer")),
        schema="stage",
        comment="What one order says of its buyer",
    )
    op.create_index(op.f("ix_buyer_customer_id"), "buyer", ["customer_id"], unique=False, schema="stage")
    op.create_index(
        "ix_buyer_staged",
        "buyer",
        ["key"],
        unique=False,
        schema="stage",
        postgresql_where=sa.text("state = 'staged'"),
    )
    op.create_table(
        "customer_change",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False, comment="Email, Phone, BillingAddress or ShippingAddresses"),
        sa.Column("order_key", sa.Text(), nullable=False, comment="Order that says it"),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False, comment="OrderDate of that order"),
        sa.Column(
            "outcome",
            sa.Text(),
            nullable=False,
            comment="sent (its answer is not known yet), changed, kept (a person set it later) or refused",
        ),
        sa.Column(
            "row_version", sa.BigInteger(), nullable=True, comment="RowVersion of the customer that our change made"
        ),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True, comment="ModifiedAt of that version"),
        sa.Column("error", sa.Text(), nullable=True, comment="Refusal by its codes, without personal data"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "old_value",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What TIMS held; personal data, emptied when the customer is erased",
        ),
        sa.Column(
            "new_value",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What was sent, or what the order says; personal data as well",
        ),
        sa.PrimaryKeyConstraint("customer_id", "field", "order_key", name=op.f("pk_customer_change")),
        schema="ops",
        comment="What one order meant for one field of one TIMS customer",
    )
    op.execute(GRANTS)


def downgrade() -> None:
    op.drop_table("customer_change", schema="ops")
    op.drop_index("ix_buyer_staged", table_name="buyer", schema="stage")
    op.drop_index(op.f("ix_buyer_customer_id"), table_name="buyer", schema="stage")
    op.drop_table("buyer", schema="stage")
