"""Events: a notice for each flow that reads its record, and a role that may add them and nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

# The receiver is the one part that other machines reach: it may neither read nor change what is there.
ROLE = """
DO $$
BEGIN
  BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_receiver') THEN
      CREATE ROLE crossdock_receiver NOLOGIN;
    END IF;
    GRANT crossdock_receiver TO CURRENT_USER;
  EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
      RAISE NOTICE 'The login may not create the role crossdock_receiver: create it by hand and grant it to this login.';
  END;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_receiver') THEN
    GRANT USAGE ON SCHEMA ops TO crossdock_receiver;
    GRANT INSERT ON ops.webhook_event TO crossdock_receiver;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.webhook_event TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.drop_table("webhook_event", schema="ops")  # nothing ever wrote to it
    op.create_table(
        "webhook_event",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False,
                  comment="As the system gave it; a repeated delivery has the same"),
        sa.Column("flow", sa.Text(), nullable=False, comment="Flow that reads the record; empty: none does"),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="Record that it is about, as the flow's source names it"),
        sa.Column("profile", sa.BigInteger(), comment="Profile of Channel Advisor"),
        sa.Column("occurred_at", moment, comment="When it happened, by the system's clock"),
        sa.Column("received_at", moment, server_default=sa.func.now(), nullable=False),
        sa.Column("worked_at", moment, comment="When the record was read for it; empty: not yet"),
        sa.Column("run_id", sa.Text(), server_default="", nullable=False,
                  comment="Airflow run or command that worked it last"),
        sa.Column("times", sa.Integer(), server_default="0", nullable=False, comment="How often it was worked"),
        sa.PrimaryKeyConstraint("system", "event_id", "flow", name="pk_webhook_event"),
        schema="ops",
        comment="One notice received, for one flow: which record to read now",
    )  # fmt: skip
    op.create_index("ix_webhook_event_open", "webhook_event", ["flow", "key"], schema="ops",
                    postgresql_where=sa.text("worked_at IS NULL"))  # fmt: skip
    op.create_index("ix_webhook_event_received_at", "webhook_event", ["received_at"], schema="ops")
    op.alter_column("batch", "kind", schema="ops",
                    comment="scheduled, sweep, compare, backfill, key, event or replay")  # fmt: skip
    op.execute(ROLE)


def downgrade() -> None:
    op.drop_table("webhook_event", schema="ops")
    op.create_table(
        "webhook_event",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("worked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("system", "event_id", name="pk_webhook_event"),
        schema="ops",
        comment="One notice received, worked at most once",
    )
