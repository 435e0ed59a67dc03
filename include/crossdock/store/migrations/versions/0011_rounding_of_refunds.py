"""A refund may be above its credit memos by what the marketplace has rounded: both keep it as an amount of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ROUNDING = sa.Column(
    "RoundingAmount", sa.Numeric(19, 4), comment="Refunded beyond Total, for nothing else was left to credit"
)
OF_PAYMENT = sa.Column(
    "refund_rounding", sa.Numeric(19, 4), comment="Settled beyond its credit memos, and posted to Rounding with them"
)


def upgrade() -> None:
    op.add_column("credit_memo_line", ROUNDING, schema="stage")
    op.add_column("payment", OF_PAYMENT, schema="stage")


def downgrade() -> None:
    op.drop_column("payment", "refund_rounding", schema="stage")
    op.drop_column("credit_memo_line", "RoundingAmount", schema="stage")
