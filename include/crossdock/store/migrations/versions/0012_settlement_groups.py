"""An account may settle groups of its orders apart: the periods of each group follow each other."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

GROUP = sa.Column(
    "group",
    sa.Text,
    nullable=False,
    server_default="",
    comment="Settled apart; periods of a group follow each other",
)


def upgrade() -> None:
    op.add_column("settlement", sa.Column("SettlementGroup", sa.Text), schema="stage")
    op.add_column("settlement", GROUP, schema="ref")


def downgrade() -> None:
    op.drop_column("settlement", "group", schema="ref")
    op.drop_column("settlement", "SettlementGroup", schema="stage")
