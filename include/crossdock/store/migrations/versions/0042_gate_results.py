"""What the gates on the way to a real account have found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, DELETE ON ops.gate_result TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.gate_result TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "gate_result",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False, comment="connect or map"),
        sa.Column("subject", sa.Text(), nullable=False, comment="The system"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("by", sa.Text(), nullable=False, comment="Login of whoever ran it"),
        sa.Column("red", sa.Integer(), nullable=False, comment="Checks that are red or wait for a person"),
        sa.Column("checks", JSONB(), nullable=False,
                  comment="Each check with its state and sentences; no personal data"),
        sa.PrimaryKeyConstraint("id", name="pk_gate_result"),
        schema="ops",
        comment="What a gate on the way to a real account has found, the last few runs of each",
    )  # fmt: skip
    op.create_index("ix_gate_result_gate_subject_id", "gate_result", ["gate", "subject", "id"], schema="ops")
    op.execute(GRANTS)


def downgrade() -> None:
    op.drop_table("gate_result", schema="ops")
