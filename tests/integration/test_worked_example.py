"""The worked example of the accounting, to the cent, both halves: 2 x 50.00, 10.00 seller discount, 8.00 shipping, 7.35
tax remitted by the marketplace, unit cost 22.00, commission 14.70; then one unit refunded in full and restocked."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contract.tims_calls import adjustment, credit, invoice, payment
from crossdock.close import close
from integration.desk import Desk, found_desk


@pytest.fixture
def desk(postgres_url: str, tmp_path: Path) -> Iterator[Desk]:
    with found_desk(postgres_url, "worked_example", tmp_path / "tims") as desk:
        yield desk


def sold(desk: Desk, **tax: str) -> dict[str, Any]:
    shipment = desk.tims.shipped(ShippingTaxRemittedBy="Marketplace")
    return desk.tims.made("/ar/invoices", invoice(shipment, **tax))


def test_the_worked_example_is_in_the_ledger_to_the_cent(desk: Desk):
    made = sold(desk)
    order = {"order_ref": "114-1", "sales_order_id": made["SalesOrderID"]}
    desk.book("77", "83.30", ("principal", "100.00"), ("promotion", "-10.00"), ("shipping", "8.00"), ("tax", "7.35"),
              ("marketplace_tax", "-7.35"), ("commission", "-14.70"), **order)  # fmt: skip
    paid = payment("98.00", ("InvoiceID", made["InvoiceID"], "98.00"), ExternalReference="pay:amazon_us:77:114-1")
    desk.tims.made("/ar/payments", paid)
    desk.post_all()
    first_half = {
        f"sale:{made['InvoiceID']}": ["debit Clearing 98.00", "debit Promotions 10.00", "credit Revenue 100.00",
                                      "credit ShippingRevenue 8.00"],
        f"cogs:{made['InvoiceID']}": ["debit COGS 44.00", "credit Inventory 44.00"],
        "fee:amazon_us:77:6": ["credit Clearing 14.70", "debit Commission 14.70"],
        "transfer:amazon_us:77": ["debit Bank 83.30", "credit Clearing 83.30"],
    }  # fmt: skip
    assert desk.ledger() == first_half
    assert desk.balances() == {
        "Bank": Decimal("83.30"), "Commission": Decimal("14.70"), "Promotions": Decimal("10.00"),
        "Revenue": Decimal("-100.00"), "ShippingRevenue": Decimal("-8.00"), "COGS": Decimal("44.00"),
        "Inventory": Decimal("-44.00"),
    }, "Clearing ends at 0"  # fmt: skip

    back = desk.tims.made("/ar/credit-memos", credit(made))
    desk.tims.made("/inventory/adjustments", adjustment(1, ReasonCode="ReturnRestock", UnitCost="22.0000"))
    desk.book("78", "-39.60", ("refund_principal", "-50.00"), ("refund_promotion", "5.00"), ("refund_tax", "-3.38"),
              ("refund_marketplace_tax", "3.38"), ("refund_commission", "6.75"),
              ("refund_commission", "-1.35"), start_at="2011-01-10T00:00:00Z", end_at="2011-01-17T00:00:00Z",
              **order)  # fmt: skip
    refund = ("CreditMemoID", back["CreditMemoID"], "-45.00")
    desk.tims.made("/ar/payments", payment("-45.00", refund, ExternalReference="pay:amazon_us:78:114-1"))
    desk.post_all()
    second_half = {key: lines for key, lines in desk.ledger().items() if key not in first_half}
    assert sorted(second_half.values()) == sorted([
        ["debit Returns 50.00", "credit Promotions 5.00", "credit Clearing 45.00"],
        ["debit Clearing 6.75", "credit Commission 6.75"],
        ["credit Clearing 1.35", "debit Commission 1.35"],
        ["debit Inventory 22.00", "credit COGS 22.00"],
    ])  # fmt: skip
    assert desk.balances()["Clearing"] == Decimal("-39.60"), "the negative settlement is carried into the next one"
    desk.tims.advance(10)
    with desk.runtime() as runtime:
        closing = close(runtime, "2011-01", wait=0)
    assert [(one.name, one.subject, one.documents) for one in closing.failed] == []
    assert closing.open_items == []


def test_where_the_seller_remits_the_tax_it_is_a_liability(desk: Desk):
    tax = {"TaxAmount": "6.75", "TaxRemittedBy": "Seller"}
    one = {"SalesOrderLineNo": 1, "SKU": "LAMP", "Quantity": 2, "UnitPrice": "50.00", "DiscountAmount": "10.00"} | tax
    made = sold(desk, Lines=[one], ShippingTaxRemittedBy="Seller", MarketplaceRemittedTax="0.00", Total="105.35")
    desk.post("invoices")
    assert desk.ledger()[f"sale:{made['InvoiceID']}"] == [
        "debit Clearing 105.35", "debit Promotions 10.00", "credit Revenue 100.00", "credit ShippingRevenue 8.00",
        "credit SalesTax 7.35",
    ]  # fmt: skip
