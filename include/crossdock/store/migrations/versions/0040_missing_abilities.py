"""What the API of a system cannot do, noted by the flows and shown on the pages."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

READERS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.missing_ability TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "missing_ability",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("ability", sa.Text(), nullable=False, comment="listings, promotions, ..."),
        sa.Column("message", sa.Text(), nullable=False, comment="What is switched off for it, in a sentence"),
        sa.PrimaryKeyConstraint("system", "ability", name="pk_missing_ability"),
        schema="ops",
        comment="What the API of a system cannot do: the parts of flows that need it are switched off",
    )
    op.execute(READERS)


def downgrade() -> None:
    op.drop_table("missing_ability", schema="ops")
