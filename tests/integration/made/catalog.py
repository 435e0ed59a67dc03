"""How a record of the flow catalog is made."""

from integration.battery import Made
from integration.test_catalog import item

MADE = {"catalog": Made(lambda shop: item(shop.environment), waits="test_catalog.py")}
