"""Who may write for a flow, and which values may have been written over by an older one."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ops.lease TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.lease TO crossdock_reader;
  END IF;
END $$
"""
OUTCOMES = (
    "sent, confirmed, rejected or unknown",
    "sent, confirmed, rejected, unknown, or superseded: written over since",
)
UNSURE = "When it was sent last without an answer, or with one that came after another had taken over"


def upgrade() -> None:
    moment, now = sa.DateTime(timezone=True), sa.text("now()")
    op.create_table(
        "lease",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column(
            "number",
            sa.BigInteger(),
            nullable=False,
            comment="Only grows; whoever has a smaller one writes nothing more",
        ),
        sa.Column("holder", sa.Text(), nullable=False, comment="Machine and process"),
        sa.Column("taken_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("flow", name=op.f("pk_lease")),
        schema="ops",
        comment="Who may write for a flow",
    )
    # Calls that are open now are asked about, or told again, as if they had been sent at this moment.
    op.add_column(
        "delivery",
        sa.Column("sent_at", moment, server_default=now, nullable=False, comment="When it was sent last"),
        schema="ops",
    )
    op.add_column("delivery", sa.Column("unsure_at", moment, comment=UNSURE), schema="ops")
    op.create_index(
        "ix_delivery_unsure", "delivery", ["flow"], schema="ops", postgresql_where=sa.text("unsure_at IS NOT NULL")
    )
    op.alter_column("delivery", "outcome", comment=OUTCOMES[1], existing_comment=OUTCOMES[0], schema="ops")
    op.execute(GRANTS)


def downgrade() -> None:
    op.alter_column("delivery", "outcome", comment=OUTCOMES[0], existing_comment=OUTCOMES[1], schema="ops")
    op.drop_index("ix_delivery_unsure", table_name="delivery", schema="ops")
    op.drop_column("delivery", "unsure_at", schema="ops")
    op.drop_column("delivery", "sent_at", schema="ops")
    op.drop_table("lease", schema="ops")
