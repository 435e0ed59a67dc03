"""Whether a credit memo's prices include tax, as those of its invoice do."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "credit_memo_line",
        sa.Column("PricesIncludeTax", sa.Boolean(), nullable=True, comment="As on the invoice"),
        schema="stage",
    )


def downgrade() -> None:
    op.drop_column("credit_memo_line", "PricesIncludeTax", schema="stage")
