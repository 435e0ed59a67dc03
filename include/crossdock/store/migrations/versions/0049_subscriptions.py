"""Subscriptions to the systems' events: which were made here, and with which secret."""

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "subscription",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False, comment="As the system gave it"),
        sa.Column("fingerprint", sa.Text(), nullable=False,
                  comment="Of the secret it was made with; tells nothing of the secret"),
        sa.Column("since", moment, comment="When it was made, by the system's clock; empty: it shows none"),
        sa.Column("made_at", moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("system", "subscription_id", name="pk_subscription"),
        schema="ops",
        comment="One subscription to a system's events that was made here, and with which secret",
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("subscription", schema="ops")
