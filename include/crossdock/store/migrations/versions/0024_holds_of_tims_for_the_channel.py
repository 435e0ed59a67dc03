"""Holds of TIMS for the channel."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hold",
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record"),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.DateTime(timezone=True), nullable=False, comment="Version of the source record"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="staged, ready, waiting, dead, left_out, delivered, unchanged"
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it waits or is left out"),
        sa.Column(
            "content_hash", sa.Text(), nullable=True, comment="Hash of the target document; the same hash needs no call"
        ),
        sa.Column(
            "problems",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Rules it broke in transform",
        ),
        sa.Column("OrderStatus", sa.Text(), nullable=True),
        sa.Column("target_key", sa.Text(), nullable=True, comment="ChannelAdvisorOrderID"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_hold")),
        schema="stage",
        comment="One sales order of TIMS as the channel should know its status; the key is its SalesOrderID",
    )
    op.create_index(op.f("ix_hold_batch_id"), "hold", ["batch_id"], unique=False, schema="stage")
    op.create_index(op.f("ix_hold_target_key"), "hold", ["target_key"], unique=False, schema="stage")
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN GRANT SELECT ON stage.hold TO crossdock_reader; END IF; END $$"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_hold_target_key"), table_name="hold", schema="stage")
    op.drop_index(op.f("ix_hold_batch_id"), table_name="hold", schema="stage")
    op.drop_table("hold", schema="stage")
