"""How a record of the flow payments is made."""

from integration.battery import Made, Shop
from integration.made.payouts import paid_out


def settled(shop: Shop) -> None:
    paid_out(shop)
    shop.run("payouts")


MADE = {"payments": Made(settled, waits="test_payouts.py")}
