"""What the overview shows and what people search by is found by indexes; alerts can be acknowledged and silenced."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

STAGES = (
    "customer", "sales_order", "channel_shipment", "invoice", "settlement", "payment", "posting", "credit_memo",
    "stock_adjustment", "price", "channel_quantity", "product", "hold",
)  # fmt: skip
BY_PREFIX = "text_pattern_ops"
READERS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.silence TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "silence",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="Of the alerts that are not sent meanwhile"),
        sa.Column("until", moment, nullable=False,
                  comment="Its end; what has come up until then or comes after it is sent"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why, in the person's words"),
        sa.Column("silenced_by", sa.Text(), nullable=False, comment="Who has asked for it"),
        sa.Column("silenced_at", moment, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_silence"),
        schema="ops",
        comment="Alerts of one kind and key that a person does not want to hear of for a while",
    )  # fmt: skip
    op.execute(READERS)
    op.add_column(
        "alert", sa.Column("acknowledged_at", moment, comment="When a person has taken note of it"), schema="ops"
    )
    op.add_column("alert", sa.Column("acknowledged_by", sa.Text(), comment="Who that was"), schema="ops")
    op.alter_column(
        "alert", "sent_at", existing_type=moment, comment="When it left by the configured channels, last",
        existing_comment="When it left by the configured channels", schema="ops",
    )  # fmt: skip
    op.create_index(
        "ix_alert_open", "alert", ["last_at"], schema="ops", postgresql_where=sa.text("acknowledged_at IS NULL")
    )
    for name in STAGES:
        op.create_index(f"ix_{name}_key", name, ["key"], schema="stage", postgresql_where=sa.text("state = 'waiting'"))
    op.create_index("ix_batch_open", "batch", ["flow"], schema="ops", postgresql_where=sa.text("finished_at IS NULL"))
    op.create_index("ix_batch_finished_at", "batch", ["finished_at"], schema="ops")
    op.create_index(
        "ix_delivery_done", "delivery", ["flow", "done_at"], schema="ops",
        postgresql_where=sa.text("outcome = 'confirmed'"),
    )  # fmt: skip
    op.create_index("ix_dead_letter_key", "dead_letter", ["key"], schema="ops")
    op.create_index("ix_dead_letter_created_at", "dead_letter", ["created_at"], schema="ops")
    op.create_index(
        "ix_sales_order_marketplace_order_id", "sales_order", ["marketplace_order_id"], schema="stage",
        postgresql_ops={"marketplace_order_id": BY_PREFIX},
    )  # fmt: skip
    op.drop_index("ix_item_code_folded", "item_code", schema="ref")
    op.create_index("ix_item_code_folded", "item_code", ["folded"], schema="ref", postgresql_ops={"folded": BY_PREFIX})
    op.create_index("ix_settlement_settlement_id", "settlement", ["settlement_id"], schema="ref")
    for schema, table, name, field in EXPRESSIONS:
        op.create_index(f"ix_{table}_{name}", table, [sa.text(f"(payload ->> '{field}')")], schema=schema)


EXPRESSIONS = (
    ("raw", "channel_advisor_orders", "order_id", "OrderID"),
    ("ref", "sales_order", "customer_id", "CustomerID"),
    ("ref", "shipment", "tracking_number", "TrackingNumber"),
)


def downgrade() -> None:
    for schema, table, name, _ in EXPRESSIONS:
        op.drop_index(f"ix_{table}_{name}", table, schema=schema)
    op.drop_index("ix_settlement_settlement_id", "settlement", schema="ref")
    op.drop_index("ix_item_code_folded", "item_code", schema="ref")
    op.create_index("ix_item_code_folded", "item_code", ["folded"], schema="ref")
    op.drop_index("ix_sales_order_marketplace_order_id", "sales_order", schema="stage")
    op.drop_index("ix_dead_letter_created_at", "dead_letter", schema="ops")
    op.drop_index("ix_dead_letter_key", "dead_letter", schema="ops")
    op.drop_index("ix_delivery_done", "delivery", schema="ops")
    op.drop_index("ix_batch_finished_at", "batch", schema="ops")
    op.drop_index("ix_batch_open", "batch", schema="ops")
    for name in STAGES:
        op.drop_index(f"ix_{name}_key", name, schema="stage")
    op.drop_index("ix_alert_open", "alert", schema="ops")
    op.drop_column("alert", "acknowledged_by", schema="ops")
    op.drop_column("alert", "acknowledged_at", schema="ops")
    op.drop_table("silence", schema="ops")
