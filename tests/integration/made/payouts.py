"""How a record of the flow payouts is made."""

from integration.battery import Made, Shop


def paid_out(shop: Shop) -> None:
    shop.sold("shipments", "invoices")
    shop.pay_out(0, 30)


MADE = {"payouts": Made(paid_out, refusable=False)}
