"""Leases of flows of many single requests are told apart: together they may take only a part of each minute."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "rate_lease",
        sa.Column("bulk", sa.Boolean(), nullable=False, server_default="false", comment="By a flow of many requests"),
        schema="ops",
    )


def downgrade() -> None:
    op.drop_column("rate_lease", "bulk", schema="ops")
