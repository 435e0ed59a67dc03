"""Of a mixed order, where our own parcels leave from."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "sales_order",
        sa.Column(
            "own_location_id",
            sa.Text(),
            comment="Of a mixed order: where our own parcels leave from; null for any other",
        ),
        schema="stage",
    )


def downgrade() -> None:
    op.drop_column("sales_order", "own_location_id", schema="stage")
