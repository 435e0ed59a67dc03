"""Open items have the channel and the order that they are about, and are sorted by amount and by age."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

COLUMNS = (("party", "Channel that owes it"), ("order_id", "Number of its order at the channel or the marketplace"))


def upgrade() -> None:
    for name, comment in COLUMNS:
        op.add_column(
            "open_item", sa.Column(name, sa.Text(), nullable=False, server_default="", comment=comment), schema="ops"
        )
    for name in ("amount", "days"):
        op.create_index(f"ix_open_item_period_{name}_position", "open_item", ["period", name, "position"], schema="ops")


def downgrade() -> None:
    for name in ("days", "amount"):
        op.drop_index(f"ix_open_item_period_{name}_position", "open_item", schema="ops")
    for name, _ in reversed(COLUMNS):
        op.drop_column("open_item", name, schema="ops")
