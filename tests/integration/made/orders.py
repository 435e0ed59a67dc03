"""How a record of the flow orders is made."""

from integration.battery import Made
from integration.builders import line, place

MADE = {"orders": Made(lambda shop: place(shop.environment, line()))}
