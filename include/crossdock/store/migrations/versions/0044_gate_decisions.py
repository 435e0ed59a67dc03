"""What people have decided about the findings of a gate."""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ops.gate_decision TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.gate_decision TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "gate_decision",
        sa.Column("gate", sa.Text(), nullable=False, comment="map"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the finding"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("by", sa.Text(), nullable=False, comment="Login of whoever decided"),
        sa.Column("why", sa.Text(), nullable=False, comment="Why it stays as it is"),
        sa.PrimaryKeyConstraint("gate", "name", name="pk_gate_decision"),
        schema="ops",
        comment="What people have decided about the findings of a gate",
    )
    op.execute(GRANTS)


def downgrade() -> None:
    op.drop_table("gate_decision", schema="ops")
