"""How a record of the flow prices is made."""

from decimal import Decimal

from integration import stock_oracle
from integration.battery import Made, Shop
from integration.builders import OTHER


def dearer(shop: Shop) -> None:
    """Raises the cost by 12 %, which no person has to approve."""
    (now,) = [one for one in shop.environment.in_tims("inventory/items") if one["SKU"] == OTHER]
    stock_oracle.item(shop.environment, OTHER, Cost=f"{Decimal(now['Cost']) * Decimal('1.12'):.2f}")


MADE = {"prices": Made(dearer, waits="test_prices.py")}
