"""The audit log knows from where a person came, and can only grow."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

APPEND_ONLY = """
CREATE FUNCTION ops.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'Rows of %.% are added only.', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.audit
  FOR EACH STATEMENT EXECUTE FUNCTION ops.refuse_change();
"""
REVOKED = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    REVOKE UPDATE, DELETE ON ops.audit FROM crossdock_loader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.add_column(
        "audit",
        sa.Column(
            "address", sa.Text(), nullable=False,
            server_default=sa.text("coalesce(current_setting('crossdock.address', true), '')"),
            comment="Network address of the person's browser; empty: a shell on the machine",
        ),
        schema="ops",
    )  # fmt: skip
    op.create_index("ix_audit_subject", "audit", ["subject"], schema="ops")
    op.create_table_comment("audit", "One thing a person did; rows are added only", schema="ops")
    op.execute(APPEND_ONLY)
    op.execute(REVOKED)


def downgrade() -> None:
    op.execute("DROP TRIGGER append_only ON ops.audit")
    op.execute("DROP FUNCTION ops.refuse_change()")
    op.create_table_comment("audit", "One thing a person did", schema="ops")
    op.drop_index("ix_audit_subject", "audit", schema="ops")
    op.drop_column("audit", "address", schema="ops")
