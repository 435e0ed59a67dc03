"""How a record of the flow invoices is made."""

from integration.battery import Made

MADE = {"invoices": Made(lambda shop: shop.sold(), parent="ref.sales_order")}
