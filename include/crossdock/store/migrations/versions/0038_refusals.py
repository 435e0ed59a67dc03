"""A dead letter keeps in which batch its record was refused first, and when it was refused last. Of those that were
refused more than once before, neither is known."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "dead_letter",
        sa.Column(
            "first_batch_id", sa.BigInteger(), comment="Batch in which it was refused first; null: not known any more"
        ),
        schema="ops",
    )
    op.add_column(
        "dead_letter",
        sa.Column(
            "refused_at", sa.DateTime(timezone=True), comment="When it was refused last; null: not known any more"
        ),
        schema="ops",
    )
    op.execute("UPDATE ops.dead_letter SET first_batch_id = batch_id, refused_at = created_at WHERE times = 1")
    op.alter_column("dead_letter", "refused_at", server_default=sa.text("now()"), schema="ops")


def downgrade() -> None:
    op.drop_column("dead_letter", "refused_at", schema="ops")
    op.drop_column("dead_letter", "first_batch_id", schema="ops")
