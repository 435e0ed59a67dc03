"""What the pages of money, approvals and the audit log need: closes and their open items, the checklist, indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_audit_at_id", "audit", ["at", "id"], "ops"),
    ("ix_audit_who_id", "audit", ["who", "id"], "ops"),
    ("ix_audit_action_id", "audit", ["action", "id"], "ops"),
    ("ix_approval_state", "approval", ["flow", "state", "id"], "ops"),
    ("ix_control_period_id", "control", ["period", "id"], "ops"),
    ("ix_gl_entry_day", "gl_entry", ["posting_date", "id"], "ref"),
    ("ix_settlement_line_source_settlement_id_position", "settlement_line", ["source", "settlement_id", "position"],
     "ref"),
)  # fmt: skip


READERS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.closing, ops.open_item, ops.closing_step TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    now = sa.text("now()")
    op.add_column("control", sa.Column("message", sa.Text(), nullable=False, server_default="",
                                       comment="What must be true"), schema="ops")  # fmt: skip
    op.add_column("control", sa.Column("do", sa.Text(), nullable=False, server_default="",
                                       comment="What to do where it is not"), schema="ops")  # fmt: skip
    op.alter_column("control", "at", comment="The same for all that one close has found", schema="ops")
    op.create_table(
        "closing",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Airflow run or command that does it"),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("asked_by", sa.Text(), comment="Person who asked in the console; empty: a timetable or a command"),
        sa.Column("finished_at", sa.DateTime(timezone=True),
                  comment="Empty: it runs, or it ended before it could look"),
        sa.Column("controls", sa.Integer(), nullable=False, server_default="0", comment="Results of controls"),
        sa.Column("failed", sa.Integer(), nullable=False, server_default="0", comment="Those that do not hold"),
        sa.PrimaryKeyConstraint("id", name="pk_closing"),
        schema="ops",
        comment="One close of a month: what was looked at, and when",
    )  # fmt: skip
    op.create_index("ix_closing_period_id", "closing", ["period", "id"], schema="ops")
    op.create_index("ix_closing_run_id_period", "closing", ["run_id", "period"], unique=True, schema="ops")
    op.create_table(
        "open_item",
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM"),
        sa.Column("position", sa.Integer(), nullable=False,
                  comment="From 0: by kind and currency, the oldest first"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False,
                  comment="Invoice, order, settlement, ... that is open"),
        sa.Column("days", sa.Integer(), nullable=False, comment="Age on the last day of the period"),
        sa.Column("age", sa.Text(), nullable=False, comment="The same as a span: 0-30, ..."),
        sa.Column("amount", sa.Numeric(19, 4), nullable=False),
        sa.PrimaryKeyConstraint("period", "position", name="pk_open_item"),
        schema="ops",
        comment="One open item at the end of a month, as its last close found it",
    )  # fmt: skip
    op.create_table(
        "closing_step",
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM"),
        sa.Column("step", sa.Text(), nullable=False, comment="payouts, controls, open_items, exported or closed"),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("period", "step", name="pk_closing_step"),
        schema="ops",
        comment="One step of a month's closing checklist that somebody has ticked",
    )
    op.execute(READERS)
    # The closes of before, by what their controls have found.
    op.execute(
        "INSERT INTO ops.closing (period, run_id, asked_at, finished_at, controls, failed) "
        "SELECT period, run_id, max(at), max(at), count(*), count(*) FILTER (WHERE NOT holds) FROM ops.control "
        "GROUP BY period, run_id ORDER BY max(id)"
    )
    for name, table, columns, schema in INDEXES:
        op.create_index(name, table, columns, schema=schema)


def downgrade() -> None:
    for name, table, _, schema in reversed(INDEXES):
        op.drop_index(name, table, schema=schema)
    for table in ("closing_step", "open_item", "closing"):
        op.drop_table(table, schema="ops")
    op.alter_column("control", "at", comment=None, schema="ops")
    op.drop_column("control", "do", schema="ops")
    op.drop_column("control", "message", schema="ops")
