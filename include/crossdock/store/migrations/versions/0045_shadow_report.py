"""The daily comparison of shadow mode."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment, nothing = sa.DateTime(timezone=True), sa.text("'{}'")
    op.create_table(
        "shadow_day",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="Business day of the documents"),
        sa.Column("would_make", sa.Integer(), nullable=False, comment="Documents that we would have made"),
        sa.Column("same", sa.Integer(), nullable=False, comment="Those that people have made as we would"),
        sa.Column("differ", sa.Integer(), nullable=False, comment="Those that people have made otherwise"),
        sa.Column("only_ours", sa.Integer(), nullable=False, comment="Those that nobody has made"),
        sa.Column("only_theirs", sa.Integer(), nullable=False, comment="What people have made and we would not"),
        sa.Column("fields", postgresql.JSONB(), server_default=nothing, nullable=False,
                  comment="How many documents differ in a field"),
        sa.Column("run_id", sa.Text(), server_default="", nullable=False,
                  comment="Airflow run or command that compared"),
        sa.Column("at", moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "day", name="pk_shadow_day"),
        schema="ops",
        comment="One day of a flow in shadow mode, against what people have entered by hand",
    )  # fmt: skip
    op.create_table(
        "shadow_record",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="Our key, or the id of a document that only they have"),
        sa.Column("key", sa.Text(), comment="Key of the source record; empty: only they have it"),
        sa.Column("their_id", sa.Text(),
                  comment="Id of the document that people have made; empty: only we have it"),
        sa.Column("verdict", sa.Text(), nullable=False, comment="same, differs, only_ours or only_theirs"),
        sa.Column("matched_by", sa.Text(), comment="By what the two are one: reference, or what is alike"),
        sa.Column("differences", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False,
                  comment="What differs, as {field, ours, theirs}; personal data without their values"),
        sa.PrimaryKeyConstraint("flow", "day", "name", name="pk_shadow_record"),
        schema="ops",
        comment="One document of such a day",
    )  # fmt: skip
    op.create_index("ix_shadow_record_flow_key", "shadow_record", ["flow", "key"], schema="ops")


def downgrade() -> None:
    op.drop_table("shadow_record", schema="ops")
    op.drop_table("shadow_day", schema="ops")
