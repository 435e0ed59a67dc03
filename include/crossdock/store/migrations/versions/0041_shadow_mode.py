"""Shadow mode: what would have been sent, and the records that the cap of a launch has let go."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

STAGES = (
    "customer", "sales_order", "channel_shipment", "invoice", "settlement", "payment", "posting", "credit_memo",
    "stock_adjustment", "price", "channel_quantity", "product", "hold",
)  # fmt: skip
STATES = {
    "was": "staged, ready, waiting, dead, left_out, delivered, unchanged",
    "is": "staged, ready, waiting, would_be, dead, left_out, delivered, unchanged",
}
REASON = {"was": "Why it waits or is left out", "is": "Why it waits, is left out, or is not made yet"}
NOT_MADE = {"was": "state = 'waiting'", "is": "state IN ('waiting', 'would_be')"}
OPEN = {
    "was": "state IN ('staged', 'ready', 'waiting', 'dead')",
    "is": "state IN ('staged', 'ready', 'waiting', 'would_be', 'dead')",
}
ADDS_UP = {
    "was": "read = unchanged + delivered + waiting + dead + skipped + superseded + in_flight",
    "is": "read = unchanged + delivered + waiting + would_be + dead + skipped + superseded + in_flight",
}


def _stages(now: str) -> None:
    """Comments and partial indexes of the stage tables."""
    for name in STAGES:
        for column, words in (("state", STATES), ("reason", REASON)):
            op.execute(f"COMMENT ON COLUMN stage.{name}.{column} IS '{words[now]}'")
        op.drop_index(f"ix_{name}_key", table_name=name, schema="stage")
        op.create_index(f"ix_{name}_key", name, ["key"], schema="stage", postgresql_where=sa.text(NOT_MADE[now]))
    op.drop_index("ix_sales_order_open", table_name="sales_order", schema="stage")
    op.create_index("ix_sales_order_open", "sales_order", ["key"], schema="stage", postgresql_where=sa.text(OPEN[now]))
    op.drop_constraint("adds_up", "batch", schema="ops", type_="check")


def upgrade() -> None:
    _stages("is")
    op.add_column(
        "batch",
        sa.Column("would_be", sa.Integer(), server_default="0", nullable=False,
                  comment="Made but for the last write; not sent"),
        schema="ops",
    )  # fmt: skip
    op.create_check_constraint("adds_up", "batch", ADDS_UP["is"], schema="ops")
    op.create_table(
        "would_be",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False, comment="Names the effect, as its delivery would"),
        sa.Column("entity", sa.Text(), nullable=False, comment="Kind of document, as in ops.link"),
        sa.Column("operation", sa.Text(), nullable=False, comment="create, update, ..."),
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the source record, as in ops.link"),
        sa.Column("row", sa.Text(), nullable=False, comment="Key of the stage row that it comes from"),
        sa.Column("system", sa.Text(), nullable=False, comment="Connection that it would go to"),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="Below the base URL, without the query"),
        sa.Column("body", sa.Text(), comment="As it would be sent; personal data"),
        sa.Column("document", postgresql.JSONB(), comment="A new document by our contract; personal data"),
        sa.Column("after", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False,
                  comment="What would be made before it, each as {entity, key}"),
        sa.Column("content_hash", sa.Text()),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), server_default="", nullable=False,
                  comment="Airflow run or command that would have sent it"),
        sa.Column("config_version", sa.BigInteger(),
                  comment="Version of the configuration; empty: the shipped files"),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False,
                  comment="When it would first have been sent"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False,
                  comment="When it would have been sent last"),
        sa.PrimaryKeyConstraint("flow", "idempotency_key", name="pk_would_be"),
        schema="ops",
        comment="One request that was not sent, for its flow is in shadow mode: the newest of each effect",
    )  # fmt: skip
    for columns in (["batch_id"], ["flow", "row"], ["entity", "key"]):
        op.create_index(f"ix_would_be_{'_'.join(columns)}", "would_be", columns, schema="ops")
    op.create_table(
        "admitted",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="Key of the stage row"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "key", name="pk_admitted"),
        schema="ops",
        comment="One record that was sent under the cap of a launch; the cap counts these",
    )


def downgrade() -> None:
    op.drop_table("admitted", schema="ops")
    op.drop_table("would_be", schema="ops")
    _stages("was")
    for name in STAGES:
        op.execute(f"UPDATE stage.{name} SET state = 'waiting' WHERE state = 'would_be'")
    op.execute("UPDATE ops.batch SET waiting = waiting + would_be")
    op.drop_column("batch", "would_be", schema="ops")
    op.create_check_constraint("adds_up", "batch", ADDS_UP["was"], schema="ops")
