"""A column for every field that a mapping may fill."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hold", sa.Column("SellerOrderID", sa.Text(), nullable=True), schema="stage")
    op.add_column("hold", sa.Column("SpecialInstructions", sa.Text(), nullable=True), schema="stage")
    op.add_column("invoice", sa.Column("DueDate", sa.Text(), nullable=True), schema="stage")
    op.add_column("product", sa.Column("ShortDescription", sa.Text(), nullable=True), schema="stage")
    op.add_column("product", sa.Column("Manufacturer", sa.Text(), nullable=True), schema="stage")
    op.add_column("product", sa.Column("MPN", sa.Text(), nullable=True), schema="stage")
    op.add_column("product", sa.Column("Condition", sa.Text(), nullable=True), schema="stage")
    op.add_column("product", sa.Column("Height", sa.Numeric(precision=19, scale=4), nullable=True), schema="stage")
    op.add_column("product", sa.Column("Length", sa.Numeric(precision=19, scale=4), nullable=True), schema="stage")
    op.add_column("product", sa.Column("Width", sa.Numeric(precision=19, scale=4), nullable=True), schema="stage")
    op.add_column("product", sa.Column("ParentSku", sa.Text(), nullable=True), schema="stage")
    op.add_column(
        "stock_adjustment", sa.Column("UnitCost", sa.Numeric(precision=19, scale=4), nullable=True), schema="stage"
    )


def downgrade() -> None:
    op.drop_column("stock_adjustment", "UnitCost", schema="stage")
    op.drop_column("product", "ParentSku", schema="stage")
    op.drop_column("product", "Width", schema="stage")
    op.drop_column("product", "Length", schema="stage")
    op.drop_column("product", "Height", schema="stage")
    op.drop_column("product", "Condition", schema="stage")
    op.drop_column("product", "MPN", schema="stage")
    op.drop_column("product", "Manufacturer", schema="stage")
    op.drop_column("product", "ShortDescription", schema="stage")
    op.drop_column("invoice", "DueDate", schema="stage")
    op.drop_column("hold", "SpecialInstructions", schema="stage")
    op.drop_column("hold", "SellerOrderID", schema="stage")
