"""A read that breaks off goes on where it was."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ops.bookmark TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.bookmark TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "bookmark",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False, comment="system and resource, e.g. channel_advisor.orders"),
        sa.Column("window", sa.Text(), nullable=False, comment="Kind of read, and its start and end where it has them"),
        sa.Column("position", moment, nullable=False, comment="Stored up to here, by the source's clock"),
        sa.Column("reached_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("flow", "resource", "window", name=op.f("pk_bookmark")),
        schema="ops",
        comment="How far a read has come that has not ended",
    )
    op.execute(GRANTS)


def downgrade() -> None:
    op.drop_table("bookmark", schema="ops")
