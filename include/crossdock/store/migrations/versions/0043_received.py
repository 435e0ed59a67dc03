"""Raw records keep what a dialect of their system made them of, as received."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

TABLES = (
    "channel_advisor_orders", "channel_advisor_returns", "channel_advisor_products", "channel_advisor_listings",
    "channel_advisor_centers", "channel_advisor_sites", "tims_items", "tims_quantities", "tims_customers",
    "tims_company", "tims_accounts", "tims_periods", "tims_sales_orders", "tims_shipments", "tims_invoices",
    "tims_credit_memos", "tims_adjustments", "tims_payments", "tims_entries", "inbox_settlements", "inbox_stock",
    "settlement_ledger_orders", "settlement_ledger_lines",
)  # fmt: skip


def upgrade() -> None:
    for table in TABLES:
        op.add_column(
            table,
            sa.Column("received", sa.LargeBinary(),
                      comment="What a dialect made the payload of, as received; zlib; personal data"),
            schema="raw",
        )  # fmt: skip


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "received", schema="raw")
