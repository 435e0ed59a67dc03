"""How records of the flows of the ledger are made: documents that other flows have posted."""

from integration.battery import Made, Shop
from integration.builders import line, place
from integration.made.payments import settled
from integration.made.returns import given_back
from integration.made.stock_adjustments import broken

WEB_SHOP = 587


def credited(shop: Shop) -> None:
    given_back(shop)
    shop.run("returns")


def adjusted(shop: Shop) -> None:
    broken(shop)
    shop.run("stock_adjustments")


def rounded(shop: Shop) -> None:
    """A payment that is a cent off: only such a one posts an entry."""
    shop.sold("shipments", "invoices")
    shop.pay_out(1, 30)
    shop.run("payouts")
    shop.run("payments")


def captured(shop: Shop) -> None:
    """An order of our own shop, whose buyers pay first."""
    place(shop.environment, line(), SiteID=WEB_SHOP)
    shop.run("orders")
    shop.environment.in_tims("sales-orders")  # which TIMS allocates now


MADE = {
    "ledger_invoices": Made(lambda shop: shop.sold("shipments", "invoices"), parent="ref.sales_order"),
    "ledger_credit_memos": Made(credited, parent="ref.sales_order"),
    "ledger_adjustments": Made(adjusted),
    "ledger_settlements": Made(settled),
    "ledger_payments": Made(rounded),
    "ledger_captures": Made(captured, waits="test_ledger.py"),
}
