"""A tick of the closing checklist keeps the books that it was made on, and what spoke against it."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

CLOSING = (
    ("figures", "Digest of the month's books as they were looked at"),
    ("items", "Digest of the items that were open"),
)


def upgrade() -> None:
    for name, comment in CLOSING:
        op.add_column("closing", sa.Column(name, sa.Text(), comment=comment), schema="ops")
    op.add_column(
        "closing_step",
        sa.Column("although", sa.Text(), nullable=False, server_default="",
                  comment="What spoke against it, as it was shown"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "closing_step",
        sa.Column("figures", sa.Text(),
                  comment="Digest of the month's books then: with other books the tick counts no more"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "closing_step",
        sa.Column("newest", sa.DateTime(timezone=True), comment="Version of the newest entry then"),
        schema="ops",
    )


def downgrade() -> None:
    for name in ("newest", "figures", "although"):
        op.drop_column("closing_step", name, schema="ops")
    for name, _ in reversed(CLOSING):
        op.drop_column("closing", name, schema="ops")
