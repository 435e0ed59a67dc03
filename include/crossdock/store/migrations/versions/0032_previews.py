"""What somebody was shown of a draft's effects before it was published; an index of lines that nobody knows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE ON ops.config_preview TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.config_preview TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "config_preview",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False, comment="Hash of all that was in force"),
        sa.Column("after", sa.Text(), nullable=False, comment="Hash of the same with the draft in it"),
        sa.Column("changes", sa.BigInteger(), nullable=False,
                  comment="Prices, quantities, entries, documents that would change"),
        sa.Column("looked", sa.BigInteger(), nullable=False, comment="Of so many"),
        sa.Column("large", sa.Boolean(), nullable=False, comment="Publishing it takes a second confirmation"),
        sa.Column("rest", JSONB(), nullable=False, server_default=sa.text("'{}'"),
                  comment="What is not compared yet"),
        sa.PrimaryKeyConstraint("id", name="pk_config_preview"),
        schema="ops",
        comment="What somebody was shown of a draft's effects; publishing it takes this",
    )  # fmt: skip
    op.execute(GRANTS)
    op.create_index(
        "ix_settlement_line_unknown", "settlement_line", ["source", "settlement_id"], schema="ref",
        postgresql_where=sa.text("kind = 'unknown'"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_settlement_line_unknown", "settlement_line", schema="ref")
    op.drop_table("config_preview", schema="ops")
