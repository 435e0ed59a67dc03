"""A change that waits for a person keeps the version of the configuration that it comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "approval",
        sa.Column("config_version", sa.BigInteger(),
                  comment="Version of the configuration that it comes from; 0: the shipped files; empty: not kept yet"),
        schema="ops",
    )  # fmt: skip


def downgrade() -> None:
    op.drop_column("approval", "config_version", schema="ops")
