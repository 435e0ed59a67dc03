"""One raw table for each list, whoever reads it; whose work a version is stands in `ops.work`.

What several flows kept of one list becomes one row. A batch has the same versions as before, so one that is in the
middle of its steps goes on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# raw table of the list: (its name so far, the queue of its rows), the first of them is kept as it is
LISTS = {
    "channel_advisor_orders": [("channel_advisor_orders", "orders")],
    "channel_advisor_returns": [("returns", "returns")],
    "channel_advisor_products": [("channel_advisor_products", "channel_advisor.products")],
    "channel_advisor_listings": [("channel_advisor_listings", "channel_advisor.listings")],
    "channel_advisor_centers": [("channel_advisor_centers", "channel_advisor.distribution-centers")],
    "channel_advisor_sites": [("channel_advisor_sites", "channel_advisor.sites")],
    "tims_items": [("tims_items", "tims.inventory/items"), ("catalog", "catalog"), ("prices", "prices")],
    "tims_quantities": [("inventory", "inventory")],
    "tims_customers": [("tims_customers", "tims.customers")],
    "tims_company": [("tims_company", "tims.company")],
    "tims_accounts": [("tims_accounts", "tims.gl/accounts")],
    "tims_periods": [("tims_periods", "tims.gl/periods")],
    "tims_sales_orders": [("tims_sales_orders", "tims.sales-orders"), ("ledger_captures", "ledger_captures")],
    "tims_shipments": [
        ("tims_shipments", "tims.shipments"), ("shipments", "shipments"), ("invoices", "invoices"),
    ],
    "tims_invoices": [("tims_invoices", "tims.ar/invoices"), ("ledger_invoices", "ledger_invoices")],
    "tims_credit_memos": [
        ("tims_credit_memos", "tims.ar/credit-memos"), ("ledger_credit_memos", "ledger_credit_memos"),
    ],
    "tims_adjustments": [
        ("tims_adjustments", "tims.inventory/adjustments"), ("ledger_adjustments", "ledger_adjustments"),
    ],
    "tims_payments": [("tims_payments", "tims.ar/payments"), ("ledger_payments", "ledger_payments")],
    "tims_entries": [("tims_entries", "tims.gl/entries")],
    "inbox_settlements": [("payouts", "payouts")],
    "inbox_stock": [("stock_adjustments", "stock_adjustments")],
    "settlement_ledger_orders": [("payments", "payments")],
    "settlement_ledger_lines": [("ledger_settlements", "ledger_settlements")],
}  # fmt: skip

COMMENTS = {
    "channel_advisor_returns": "One version of one Channel Advisor return",
    "tims_quantities": "One version of the quantities of one TIMS SKU",
    "inbox_settlements": "One version of one settlement file, in our own shape",
    "inbox_stock": "One version of one stock movement from a file",
    "settlement_ledger_orders": "One version of one order's part of one settlement",
    "settlement_ledger_lines": "One version of one line of a settlement",
}
HASH = "SHA-256 of the bytes received, or of what counts of them"

GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ops.work TO crossdock_loader;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ops.work TO crossdock_reader;
  END IF;
END $$
"""

# The indexes come after the rows: so a big database is copied in one go.
QUEUED = """
INSERT INTO ops.work (queue, key, hash, batch_id, queued_at)
SELECT '{queue}', key, hash, batch_id, received_at FROM raw.{table}
"""
# Of two that have the same version, the row that came first stays.
MERGED = """
INSERT INTO raw.{table} AS kept (key, version, hash, payload, altered, received_at)
SELECT key, version, hash, payload, altered, received_at FROM raw.{other}
ON CONFLICT (key, hash) DO UPDATE SET received_at = excluded.received_at
WHERE excluded.received_at < kept.received_at
"""


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "work",
        sa.Column(
            "queue", sa.Text(), nullable=False,
            comment="Flow, or the list of what is only looked up, e.g. tims.customers",
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="Id of the record in its list"),
        sa.Column("hash", sa.Text(), nullable=False, comment="Hash of its version there"),
        sa.Column(
            "batch_id", sa.BigInteger(), comment="Batch that works it or has worked it; empty: none has taken it yet"
        ),
        sa.Column(
            "queued_at", moment, server_default=sa.text("now()"), nullable=False, comment="When it became work, last"
        ),
        schema="ops",
        comment="One version of one record as the work of one flow; a version that has no row here is new to it",
    )  # fmt: skip
    for table, sources in LISTS.items():
        for name, queue in sources:
            op.execute(QUEUED.format(table=name, queue=queue))
        first, *others = (name for name, _ in sources)
        op.drop_column(first, "batch_id", schema="raw")
        if first != table:
            op.execute(f"ALTER TABLE raw.{first} RENAME CONSTRAINT pk_{first} TO pk_{table}")
            op.rename_table(first, table, schema="raw")
            op.execute(f"COMMENT ON TABLE raw.{table} IS '{COMMENTS[table].replace(chr(39), 2 * chr(39))}'")
        op.execute(f"COMMENT ON COLUMN raw.{table}.hash IS '{HASH}'")
        for other in others:
            op.execute(MERGED.format(table=table, other=other))
            op.drop_table(other, schema="raw")
    op.create_primary_key("pk_work", "work", ["queue", "key", "hash"], schema="ops")
    op.create_index("ix_work_batch_id", "work", ["batch_id"], schema="ops")
    op.create_index(
        "ix_work_waiting", "work", ["queue", "queued_at"], schema="ops",
        postgresql_where=sa.text("batch_id IS NULL"),
    )  # fmt: skip
    op.execute("ANALYZE ops.work")
    op.execute(GRANTS)
    # Up to where a flow has looked at what came in is no read of that list.
    op.execute(
        "UPDATE ops.watermark SET resource = 'prices.products' "
        "WHERE flow = 'prices' AND resource = 'channel_advisor.products'"
    )


def downgrade() -> None:
    # Whoever has not taken what others have read for it reads its list once more.
    op.execute(
        "DELETE FROM ops.watermark m WHERE EXISTS (SELECT FROM ops.work w WHERE w.batch_id IS NULL "
        "AND w.queue = CASE m.flow WHEN 'reference' THEN m.resource ELSE m.flow END)"
    )
    op.execute(
        "UPDATE ops.watermark SET resource = 'channel_advisor.products' "
        "WHERE flow = 'prices' AND resource = 'prices.products'"
    )
    for table, sources in LISTS.items():
        (first, queue), *others = sources
        for name, other in others:
            op.execute(f"CREATE TABLE raw.{name} (LIKE raw.{table} INCLUDING DEFAULTS INCLUDING COMMENTS)")
            _split(table, name, other)
        if first != table:
            op.execute(f"ALTER TABLE raw.{table} RENAME CONSTRAINT pk_{table} TO pk_{first}")
            op.rename_table(table, first, schema="raw")
        op.execute(f"ALTER TABLE raw.{first} ADD COLUMN batch_id bigint")
        op.execute(
            f"UPDATE raw.{first} r SET batch_id = w.batch_id, received_at = w.queued_at FROM ops.work w "
            f"WHERE w.queue = '{queue}' AND w.key = r.key AND w.hash = r.hash"
        )
        _finish(first)
    op.drop_table("work", schema="ops")


def _split(table: str, name: str, queue: str) -> None:
    op.execute(f"ALTER TABLE raw.{name} ADD COLUMN batch_id bigint")
    op.execute(
        f"INSERT INTO raw.{name} (key, version, hash, payload, altered, received_at, batch_id) "
        "SELECT r.key, r.version, r.hash, r.payload, r.altered, w.queued_at, w.batch_id "
        f"FROM ops.work w JOIN raw.{table} r USING (key, hash) WHERE w.queue = '{queue}'"
    )
    op.create_primary_key(f"pk_{name}", name, ["key", "hash"], schema="raw")
    _finish(name)
    op.execute(
        f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_loader') THEN "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON raw.{name} TO crossdock_loader; END IF; END $$"
    )


def _finish(name: str) -> None:
    op.execute(f"DELETE FROM raw.{name} WHERE batch_id IS NULL")
    op.alter_column(name, "batch_id", nullable=False, comment="Batch that works it", schema="raw")
    op.create_index(f"ix_{name}_batch_id", name, ["batch_id"], schema="raw")
