"""When a run took an event, and indexes by which a million of them are looked through."""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

TABLE, OPEN = "webhook_event", sa.text("worked_at IS NULL")


def upgrade() -> None:
    op.add_column(
        TABLE,
        sa.Column(
            "taken_at", sa.DateTime(timezone=True), comment="When the run took it; empty: none has, or not known"
        ),
        schema="ops",
    )
    op.drop_index("ix_webhook_event_open", TABLE, schema="ops")
    op.create_index("ix_webhook_event_open", TABLE, ["flow", "received_at"], schema="ops", postgresql_where=OPEN)
    op.create_index("ix_webhook_event_system_received_at", TABLE, ["system", "received_at"], schema="ops")
    op.create_index("ix_webhook_event_flow_received_at", TABLE, ["flow", "received_at"], schema="ops")
    op.create_index("ix_webhook_event_key", TABLE, ["key"], schema="ops")


def downgrade() -> None:
    for name in ("key", "flow_received_at", "system_received_at", "open"):
        op.drop_index(f"ix_webhook_event_{name}", TABLE, schema="ops")
    op.create_index("ix_webhook_event_open", TABLE, ["flow", "key"], schema="ops", postgresql_where=OPEN)
    op.drop_column(TABLE, "taken_at", schema="ops")
