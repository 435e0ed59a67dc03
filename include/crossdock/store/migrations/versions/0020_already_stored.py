"""A batch counts the records whose bytes were stored before as `already_stored`."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("batch", "known", new_column_name="already_stored", schema="ops")


def downgrade() -> None:
    op.alter_column("batch", "already_stored", new_column_name="known", schema="ops")
