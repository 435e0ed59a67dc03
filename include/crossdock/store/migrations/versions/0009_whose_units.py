"""Whose units are in flight, not only how many: each quantity knows the orders that it was computed with."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PARTS = (
    "Of a kit that the channel sells as one item: the same by part",
    "Of a kit that the channel sells as one item: {part: [units, fingerprint of their orders]}",
)


def upgrade() -> None:
    # Quantities computed before have none: the next run works those with orders in flight once more.
    op.add_column(
        "channel_quantity",
        sa.Column("orders_in_flight", sa.Text(), comment="Fingerprint of the orders whose these units are"),
        schema="stage",
    )
    op.alter_column("channel_quantity", "parts_in_flight", comment=PARTS[1], existing_comment=PARTS[0], schema="stage")


def downgrade() -> None:
    op.alter_column("channel_quantity", "parts_in_flight", comment=PARTS[0], existing_comment=PARTS[1], schema="stage")
    op.drop_column("channel_quantity", "orders_in_flight", schema="stage")
