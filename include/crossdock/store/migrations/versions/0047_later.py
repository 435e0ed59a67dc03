"""What has come later of records that would have been made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

CONTENT = {"body": "As it would be sent; personal data", "document": "A new document by our contract; personal data"}
VERDICT = "same, differs, only_ours or only_theirs"


def _comments(more: str, verdict: str) -> None:
    for column, words in CONTENT.items():
        op.execute(f"COMMENT ON COLUMN ops.would_be.{column} IS '{words}{more}'")
    op.execute(f"COMMENT ON COLUMN ops.shadow_record.verdict IS '{verdict}'")


def upgrade() -> None:
    op.add_column(
        "would_be",
        sa.Column("later", sa.Text(),
                  comment="What has come of the record later that does not change this; empty: nothing"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "shadow_record",
        sa.Column("later", sa.Text(), comment="What has come of the record later; empty: nothing"),
        schema="ops",
    )
    op.add_column(
        "shadow_day",
        sa.Column("overtaken", sa.Integer(), server_default="0", nullable=False,
                  comment="Those that nobody has made, and need not: something has come later"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "shadow_day",
        sa.Column("later", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False,
                  comment="What has come later, of how many"),
        schema="ops",
    )  # fmt: skip
    _comments(", ages out", "same, differs, only_ours, only_theirs or overtaken")


def downgrade() -> None:
    for column in ("later", "overtaken"):
        op.drop_column("shadow_day", column, schema="ops")
    op.drop_column("shadow_record", "later", schema="ops")
    op.drop_column("would_be", "later", schema="ops")
    _comments("", VERDICT)
