"""Reconciliation: what was read, runs, differences."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


# The loader empties ops.reading in one go. The reader sees results, not what was read.
GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ops.reading, ops.reconcile_run, ops.reconcile_difference
      TO crossdock_loader;
    GRANT TRUNCATE ON ops.reading TO crossdock_loader;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA ops TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.reconcile_run, ops.reconcile_difference TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "reading",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=False),
            nullable=False,
            comment="Of several rows of one part the larger is newer",
        ),
        sa.Column("subject", sa.Text(), nullable=False, comment="Subject of the reconciliation"),
        sa.Column("side", sa.Text(), nullable=False, comment="channel_advisor, tims or names (another name of a key)"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "part",
            sa.Text(),
            nullable=False,
            comment="Record of several that make up a key; of a name the name itself",
        ),
        sa.Column(
            "alias",
            sa.Boolean(),
            nullable=False,
            comment="The key is a name that rows of the side names translate",
        ),
        sa.Column(
            "facts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What must be equal; of personal data a digest",
        ),
        sa.Column(
            "version",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Last change of the record in its system",
        ),
        sa.Column("cause", sa.Text(), nullable=True, comment="What explains that the other side lacks the key"),
        sa.Column("why", sa.Text(), nullable=True, comment="The same in words"),
        schema="ops",
        prefixes=["UNLOGGED"],
        comment="What one record says about one key, read afresh; empty but while a reconciliation runs",
    )
    op.create_index(
        op.f("ix_reading_subject_side_key"), "reading", ["subject", "side", "key"], unique=False, schema="ops"
    )
    op.create_table(
        "reconcile_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Airflow run or command that made it"),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="Null: it runs, or it died"),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="By subject: keys on each side, compared, equal, differences by cause, seconds",
        ),
        sa.Column(
            "unexplained", sa.Integer(), server_default="0", nullable=False, comment="Keys that nothing explains"
        ),
        sa.Column("report", sa.Text(), nullable=True, comment="The page of the run, HTML"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconcile_run")),
        schema="ops",
        comment="One comparison of both systems",
    )
    op.create_table(
        "reconcile_difference",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=False, comment="ops.reconcile_run"),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False, comment="Fact that differs; empty where one side lacks the key"),
        sa.Column(
            "missing",
            sa.Text(),
            nullable=False,
            comment="Side that lacks the key: channel_advisor or tims; else empty",
        ),
        sa.Column("channel_advisor", sa.Text(), nullable=True, comment="Value there; null for personal data"),
        sa.Column("tims", sa.Text(), nullable=True, comment="Value there; null for personal data"),
        sa.Column(
            "channel_advisor_version",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Last change of the record there",
        ),
        sa.Column("tims_version", sa.DateTime(timezone=True), nullable=True, comment="Last change of the record there"),
        sa.Column(
            "cause",
            sa.Text(),
            nullable=False,
            comment="unexplained, dead letter, waiting, in flight, changed since, by rule",
        ),
        sa.Column("why", sa.Text(), nullable=True, comment="The cause in words"),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="First run that saw this difference",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconcile_difference")),
        schema="ops",
        comment="One fact in which both systems differ, in one run",
    )
    op.create_index(
        op.f("ix_reconcile_difference_run_subject_key_field"),
        "reconcile_difference",
        ["run", "subject", "key", "field"],
        unique=True,
        schema="ops",
    )
    op.execute(GRANTS)


def downgrade() -> None:
    op.drop_index(
        op.f("ix_reconcile_difference_run_subject_key_field"), table_name="reconcile_difference", schema="ops"
    )
    op.drop_table("reconcile_difference", schema="ops")
    op.drop_table("reconcile_run", schema="ops")
    op.drop_index(op.f("ix_reading_subject_side_key"), table_name="reading", schema="ops")
    op.drop_table("reading", schema="ops")
