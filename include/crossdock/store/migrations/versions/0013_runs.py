"""A batch that check has stopped says so: only a person, or time, lets another run try it again."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STOPPED = "Check has stopped it: too many of its records break a rule"


def upgrade() -> None:
    op.add_column(
        "batch",
        sa.Column("stopped", sa.Boolean(), nullable=False, server_default="false", comment=STOPPED),
        schema="ops",
    )


def downgrade() -> None:
    op.drop_column("batch", "stopped", schema="ops")
