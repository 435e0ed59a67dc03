"""The ledger is searched by a part of a text through an index, where the server has the extension pg_trgm and lets the
owner of the database make it. Without it the search reads the lines of the month."""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

INDEXES = """
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA ref;
  CREATE INDEX ix_gl_entry_description ON ref.gl_entry USING gin ((payload ->> 'Description') ref.gin_trgm_ops);
  CREATE INDEX ix_gl_entry_line_memo ON ref.gl_entry_line USING gin (memo ref.gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'No index for texts of the ledger: %', SQLERRM;
END
$$
"""


def upgrade() -> None:
    op.execute(INDEXES)


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ref.ix_gl_entry_line_memo")
    op.execute("DROP INDEX IF EXISTS ref.ix_gl_entry_description")
    op.execute("DROP EXTENSION IF EXISTS pg_trgm")
