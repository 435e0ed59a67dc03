"""How a record of the flow returns is made."""

from integration.battery import Made, Shop


def given_back(shop: Shop) -> None:
    key = shop.sold("shipments", "invoices")
    shop.give_back(key, 0, 1, "whole")


MADE = {"returns": Made(given_back, parent="ref.sales_order")}
