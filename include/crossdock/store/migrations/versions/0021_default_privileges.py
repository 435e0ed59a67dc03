"""The loader may work on tables that are made from now on, without a grant of their own."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# For what the login makes that migrates, in our schemas only. What people may read is said table by table, for a new
# one may hold personal data.
PRIVILEGES = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    ALTER DEFAULT PRIVILEGES IN SCHEMA raw, ref, stage, ops
      {verb} SELECT, INSERT, UPDATE, DELETE ON TABLES {to} crossdock_loader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA raw, ref, stage, ops {verb} USAGE ON SEQUENCES {to} crossdock_loader;
  END IF;
END $$
"""


def upgrade() -> None:
    op.execute(PRIVILEGES.format(verb="GRANT", to="TO"))


def downgrade() -> None:
    op.execute(PRIVILEGES.format(verb="REVOKE", to="FROM"))
