"""How a record of the flow inventory is made."""

from integration import stock_oracle
from integration.battery import Made
from integration.builders import OTHER

MADE = {"inventory": Made(lambda shop: stock_oracle.adjust(shop.environment, OTHER, 1), waits="test_inventory.py")}
