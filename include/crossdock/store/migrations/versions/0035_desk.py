"""The desk lists closed letters, the overview noted alerts, an item its orders: each by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_dead_letter_closed", "dead_letter", ["state", "updated_at", "id"], schema="ops",
        postgresql_where=sa.text("state IN ('replayed', 'resolved', 'dismissed')"),
    )  # fmt: skip
    op.create_index(
        "ix_dead_letter_mended", "dead_letter", ["updated_at", "id"], schema="ops",
        postgresql_where=sa.text("state = 'replayed' AND edited_payload IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_alert_noted", "alert", ["acknowledged_at", "id"], schema="ops",
        postgresql_where=sa.text("acknowledged_at IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_sales_order_line_sku", "sales_order_line", ["SKU", sa.text("length(key)"), "key"], schema="stage"
    )


def downgrade() -> None:
    op.drop_index("ix_sales_order_line_sku", "sales_order_line", schema="stage")
    op.drop_index("ix_alert_noted", "alert", schema="ops")
    op.drop_index("ix_dead_letter_mended", "dead_letter", schema="ops")
    op.drop_index("ix_dead_letter_closed", "dead_letter", schema="ops")
