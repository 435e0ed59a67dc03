"""How a record of the flow stock_adjustments is made."""

from datetime import timedelta

from integration.battery import Made, Shop
from integration.builders import forward
from integration.test_restore import write_off


def broken(shop: Shop) -> None:
    forward(shop.environment, shop.environment.now + timedelta(minutes=1))  # a file's name has the minute
    write_off(shop.environment)


MADE = {"stock_adjustments": Made(broken, backfills=False)}
