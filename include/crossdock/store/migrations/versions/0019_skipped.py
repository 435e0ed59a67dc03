"""A batch counts the records that are passed over as `skipped`."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("batch", "left_out", new_column_name="skipped", schema="ops")


def downgrade() -> None:
    op.alter_column("batch", "skipped", new_column_name="left_out", schema="ops")
