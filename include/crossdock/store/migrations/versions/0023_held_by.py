"""Who has put a sales order on hold, in place of whether we have.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_SETTER = """
UPDATE ops.link l SET held_by = CASE
  WHEN l.entity <> 'sales_order' THEN 'crossdock'
  WHEN EXISTS (SELECT FROM stage.sales_order s WHERE s.key = l.source_key AND s.own_location_id IS NOT NULL)
    THEN 'crossdock'
  ELSE 'channel' END
WHERE l.held
"""


def upgrade() -> None:
    op.add_column(
        "link",
        sa.Column("held_by", sa.Text,
                  comment="Who has put it on hold, or ended it: channel, crossdock or person; the last one stays"),
        schema="ops",
    )  # fmt: skip
    op.add_column(
        "link",
        sa.Column("hold_sent_at", sa.DateTime(timezone=True),
                  comment="When a person's hold was sent to the channel: its OnHold is that one"),
        schema="ops",
    )  # fmt: skip
    op.execute(_SETTER)
    op.drop_column("link", "held", schema="ops")
    op.add_column(
        "sales_order",
        sa.Column("held_by", sa.Text, comment="Of an order on hold: channel, or crossdock where a rule holds it"),
        schema="stage",
    )


def downgrade() -> None:
    op.drop_column("sales_order", "held_by", schema="stage")
    op.add_column(
        "link",
        sa.Column("held", sa.Boolean, nullable=False, server_default=sa.text("false"),
                  comment="We put it on hold, or ended it: we may release it, or make another"),
        schema="ops",
    )  # fmt: skip
    op.execute("UPDATE ops.link SET held = true WHERE held_by IN ('channel', 'crossdock')")
    op.drop_column("link", "hold_sent_at", schema="ops")
    op.drop_column("link", "held_by", schema="ops")
