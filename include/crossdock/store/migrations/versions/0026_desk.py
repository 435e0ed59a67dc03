"""Dead letters as the desk shows them: by the first rule, who works on each, whether a replay is under way."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

AMOUNT = """
CASE WHEN coalesce(payload ->> 'TotalPrice', payload ->> 'RefundTotal', payload ->> 'TotalAmount', payload ->> 'Amount')
  ~ '^-?[0-9]{1,13}([.][0-9]{1,18})?$'
THEN coalesce(payload ->> 'TotalPrice', payload ->> 'RefundTotal', payload ->> 'TotalAmount', payload ->> 'Amount')::numeric
END
"""
CURRENCY = "left(coalesce(payload ->> 'Currency', payload ->> 'CurrencyCode'), 3)"


def upgrade() -> None:
    op.add_column(
        "dead_letter",
        sa.Column("rule", sa.Text(), sa.Computed("reasons -> 0 ->> 'rule'", persisted=True),
                  comment="The first rule that it breaks"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "dead_letter",
        sa.Column("amount", sa.Numeric(19, 4), sa.Computed(AMOUNT, persisted=True),
                  comment="What the record says it is worth"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "dead_letter",
        sa.Column("currency_code", sa.Text(), sa.Computed(CURRENCY, persisted=True), comment="Currency of the amount"),
        schema="ops",
    )
    op.add_column("dead_letter", sa.Column("assigned_to", sa.Text(), comment="Who works on it"), schema="ops")
    op.add_column(
        "dead_letter",
        sa.Column("replay_asked_at", sa.DateTime(timezone=True),
                  comment="A person has asked for a replay that no run has ended yet"),
        schema="ops",
    )  # fmt: skip
    op.create_index(
        "ix_dead_letter_desk", "dead_letter", ["flow", "rule", "created_at", "id"], schema="ops",
        postgresql_where=sa.text("state IN ('open', 'edited')"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_dead_letter_desk", "dead_letter", schema="ops")
    op.drop_column("dead_letter", "replay_asked_at", schema="ops")
    op.drop_column("dead_letter", "assigned_to", schema="ops")
    op.drop_column("dead_letter", "currency_code", schema="ops")
    op.drop_column("dead_letter", "amount", schema="ops")
    op.drop_column("dead_letter", "rule", schema="ops")
