"""The writing half of the v1 client: the contract's writes as actions and properties of v1.

In: contract documents. Out: one outcome for each.
Never: a write without an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossdock.systems.channel_advisor.protocol import Item, Reported, Written
from crossdock.systems.channel_advisor.v1.client import Client
from crossdock.systems.channel_advisor.v1.unwritten import not_spoken


class Writing(Client):
    """What each call does is in `protocol.ChannelAdvisor`."""

    def mark_exported(self, order_id: str) -> None:
        raise not_spoken(self.connection, "the exported mark")

    def update_order(self, order_id: str, changes: dict[str, Any]) -> bytes:
        raise not_spoken(self.connection, "changes of orders")

    def resolve_return(self, return_id: str, decision: str) -> bytes:
        raise not_spoken(self.connection, "decisions on returns")

    def report_shipments(self, shipments: Sequence[Item]) -> list[Reported]:
        raise not_spoken(self.connection, "shipments")

    def write_quantities(self, updates: Sequence[Item]) -> list[Written]:
        raise not_spoken(self.connection, "quantities")

    def write_prices(self, prices: Sequence[Item]) -> list[Written]:
        raise not_spoken(self.connection, "prices")

    def create_products(self, products: Sequence[Item]) -> list[Written]:
        raise not_spoken(self.connection, "new products")

    def update_product(self, sku: str, changes: dict[str, Any]) -> dict[str, Any]:
        raise not_spoken(self.connection, "changes of products")

    def create_listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        raise not_spoken(self.connection, "listings")

    def update_listing(self, listing_id: int, changes: dict[str, Any]) -> dict[str, Any]:
        raise not_spoken(self.connection, "listings")
