"""Jobs that a system works on for us."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "remote_job",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False,
                  comment="What was asked for: kind of job, profile, columns, filter"),
        sa.Column("token", sa.Text(), nullable=False, comment="By which the system knows the job"),
        sa.Column("began", moment, nullable=False, comment="The system's own clock when the job was asked for"),
        sa.Column("asked_at", moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("system", "name", name="pk_remote_job"),
        schema="ops",
        comment="One job that a system works on for us, so that another process can go on waiting for it",
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("remote_job", schema="ops")
