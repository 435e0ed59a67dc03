"""Versions of the configuration that people publish, and which of them worked a batch."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ops.config_version, ops.config_file TO crossdock_loader;
    GRANT SELECT, INSERT ON ops.config_text TO crossdock_loader;
    REVOKE UPDATE, DELETE ON ops.config_text FROM crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.config_text, ops.config_version, ops.config_file TO crossdock_reader;
  END IF;
END $$
"""
STATES = "'proposed', 'withdrawn', 'in_force', 'superseded', 'merged', 'conflict'"


def upgrade() -> None:
    op.create_table(
        "config_text",
        sa.Column("hash", sa.Text(), nullable=False, comment="SHA-256 of the text in UTF-8"),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_config_text")),
        schema="ops",
        comment="One text of a configuration file, kept once however many versions have it",
    )
    op.create_table(
        "config_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column(
            "parent", sa.BigInteger(), sa.ForeignKey("ops.config_version.id"),
            comment="The version that it was made from; empty: the shipped files",
        ),
        sa.Column(
            "author", sa.Text(), nullable=False, comment="Who proposed it; crossdock: a merge with new shipped files"
        ),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("message", sa.Text(), nullable=False, comment="What it changes and why"),
        sa.Column("base", sa.Text(), nullable=False, comment="Hash of the shipped files that it stands on"),
        sa.Column("tree", sa.Text(), nullable=False, comment="Hash of all files, the shipped ones and its own"),
        sa.Column("state", sa.Text(), nullable=False, comment=STATES.replace("'", "")),
        sa.Column("consent_by", sa.Text(), comment="The second person"),
        sa.Column("consent_at", sa.DateTime(timezone=True)),
        sa.Column(
            "in_force_at", sa.DateTime(timezone=True), comment="When it came into force; empty: it has not been"
        ),
        sa.Column(
            "problems", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False,
            comment="Of a conflict: what the checks found in the merged files, [{path, line, text}]",
        ),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_config_version_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_version")),
        schema="ops",
        comment="One version of the configuration: the shipped files, and the texts that replace some of them",
    )  # fmt: skip
    op.create_index(
        "uq_config_version_in_force", "config_version", ["state"], unique=True, schema="ops",
        postgresql_where=sa.text("state = 'in_force'"),
    )  # fmt: skip
    op.create_index(
        "uq_config_version_merge", "config_version", ["parent", "base"], unique=True, schema="ops",
        postgresql_where=sa.text("state IN ('merged', 'conflict')"),
    )  # fmt: skip
    text = "ops.config_text.hash"
    op.create_table(
        "config_file",
        sa.Column("version", sa.BigInteger(), sa.ForeignKey("ops.config_version.id"), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="Below include/config, e.g. lookups/carriers.csv"),
        sa.Column("text", sa.Text(), sa.ForeignKey(text), comment="Its text; empty: the file is taken away"),
        sa.Column(
            "base", sa.Text(), sa.ForeignKey(text),
            comment="Shipped text that it replaces; empty: none. Not of the version's base: a conflict",
        ),
        sa.Column(
            "replaces", sa.Text(), sa.ForeignKey(text),
            comment="The text that was in force before; the same one: it was taken over",
        ),
        sa.PrimaryKeyConstraint("version", "path", name=op.f("pk_config_file")),
        schema="ops",
        comment="One file of one version of the configuration that is not as shipped",
    )  # fmt: skip
    op.add_column(
        "batch",
        sa.Column(
            "config_version", sa.BigInteger(),
            comment="Version of the configuration that its last step used; empty: the shipped files",
        ),
        schema="ops",
    )  # fmt: skip
    op.execute(GRANTS)


def downgrade() -> None:
    op.drop_column("batch", "config_version", schema="ops")
    for table in ("config_file", "config_version", "config_text"):
        op.drop_table(table, schema="ops")
