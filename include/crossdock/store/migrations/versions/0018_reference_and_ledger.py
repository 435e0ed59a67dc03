"""What is only looked up goes by the flow `reference`, our own records by the system `settlement_ledger`."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

FLOWS = ("batch", "watermark", "bookmark", "dead_letter", "alert")
RESOURCES = ("watermark", "bookmark")


def _rename(flow: tuple[str, str], system: tuple[str, str]) -> None:
    for table in FLOWS:
        op.execute(f"UPDATE ops.{table} SET flow = '{flow[1]}' WHERE flow = '{flow[0]}'")
    for table in RESOURCES:
        op.execute(
            f"UPDATE ops.{table} SET resource = '{system[1]}' || substr(resource, {len(system[0]) + 1}) "
            f"WHERE resource LIKE '{system[0]}.%'"
        )


def upgrade() -> None:
    _rename(("masters", "reference"), ("books", "settlement_ledger"))


def downgrade() -> None:
    _rename(("reference", "masters"), ("settlement_ledger", "books"))
