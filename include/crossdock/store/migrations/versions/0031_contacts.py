"""The buyers who have a contact are found by indexes, however many customers and orders there are."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

BUYER = sa.text("""hashtextextended(coalesce(customer_id, customer_key, lower("ShippingAddress.Name")), 0)""")


def upgrade() -> None:
    op.create_index(
        "ix_customer_key_phone", "customer_key", [sa.text("split_part(value, '|', 1)"), "customer_id"], schema="ref",
        postgresql_where=sa.text("kind = 'phone_postal'"),
    )  # fmt: skip
    op.create_index("ix_buyer_email", "buyer", [sa.text('lower("Email")'), BUYER], schema="stage")
    op.create_index("ix_buyer_phone", "buyer", ["Phone", BUYER], schema="stage")


def downgrade() -> None:
    op.drop_index("ix_buyer_phone", "buyer", schema="stage")
    op.drop_index("ix_buyer_email", "buyer", schema="stage")
    op.drop_index("ix_customer_key_phone", "customer_key", schema="ref")
