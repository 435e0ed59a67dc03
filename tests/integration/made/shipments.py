"""How a record of the flow shipments is made."""

from integration.battery import Made

MADE = {"shipments": Made(lambda shop: shop.sold(), parent="ref.sales_order")}
