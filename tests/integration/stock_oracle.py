"""Reads the stock of both sides: what TIMS has free, what the channel offers, and what it should offer by the rule.
This is computed from both systems alone, without Crossdock's code; of its records, only dismissals by a person
count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from crossdock.store import dead_letters
from integration.builders import forward, send
from integration.environment import Environment, own_config

_numbers = count(1)
OWN = ("MAIN", "WEST")  # TIMS's locations that the center MAIN offers
MAIN, FBA = 4, 9
WITHOUT_STOCK = ("Bundle", "Parent")


def configure(patch: pytest.MonkeyPatch, folder: Path, rules: Iterable[str] = (), **offers: Any) -> None:
    """A configuration of its own for a test: `rules` are rows of stock_rules.csv, `offers` values of
    stock_offers.yaml. An order that TIMS has just taken counts as held, if nothing else is said."""
    made = folder / "config"
    if not made.exists():
        own_config(made)
    file, table = made / "stock_offers.yaml", made / "lookups" / "stock_rules.csv"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "margin_seconds": 0, **offers}))
    table.write_text("\n".join(["sku,site,buffer,cap,share_percent,note", *rules]) + "\n")
    patch.setenv("CROSSDOCK_CONFIG_DIR", str(made))


def listed(environment: Environment, system: str, resource: str) -> list[dict[str, Any]]:
    with environment.runtime() as runtime:
        pages = runtime.system(system).pages(resource, since=None, before=None)
        return [msgspec.json.decode(row) for page in pages for row in page.records]


def levels(environment: Environment) -> dict[tuple[str, int], int]:
    """What the channel offers, by product and center."""
    rows = listed(environment, "channel_advisor", "inventory")
    return {(row["SKU"], row["DistributionCenterID"]): row["AvailableQuantity"] for row in rows}


def level(environment: Environment, sku: str, center: int = MAIN) -> int | None:
    with environment.runtime() as runtime:
        rows = runtime.channel_advisor.call("GET", "/v2/inventory", query={"sku": sku})["value"]
    return next((row["AvailableQuantity"] for row in rows if row["DistributionCenterID"] == center), None)


def free(environment: Environment, sku: str) -> int:
    """What TIMS has free at our own locations."""
    with environment.runtime() as runtime:
        quantity = runtime.tims.get(f"inventory/items/{sku}/quantity")
    return sum(place["Available"] for place in quantity["Locations"] if place["LocationID"] in OWN)


class Oracle:
    """The rule, applied to both systems' own data."""

    def __init__(self, environment: Environment) -> None:
        self.items = {item["SKU"]: item for item in listed(environment, "tims", "inventory/items")}
        self.quantities = {row["SKU"]: row for row in listed(environment, "tims", "inventory/quantities")}
        self.products = {row["SKU"]: row for row in listed(environment, "channel_advisor", "products")}
        self.orders = {str(o["ChannelAdvisorOrderID"]): o for o in listed(environment, "channel_advisor", "orders")}
        self.held = {order["ExternalOrderID"] for order in listed(environment, "tims", "sales-orders")}
        dismissed = environment.query("SELECT key FROM ops.dead_letter WHERE flow = 'orders' AND state = 'dismissed'")
        self.given_up = {each.key for each in dismissed}  # a person's decision, which no system holds

    def item_of(self, code: str) -> list[str]:
        code = code.strip()
        if code in self.items:
            return [code]
        alternates = [sku for sku, item in self.items.items() if code in item["AlternateSKUs"]]
        caseless = [
            sku for sku, item in self.items.items()
            if code.lower() in {name.strip().lower() for name in (sku, *item["AlternateSKUs"])}
        ]  # fmt: skip
        return alternates or caseless

    def free(self, sku: str) -> int:
        locations = self.quantities.get(sku, {"Locations": []})["Locations"]
        return sum(place["Available"] for place in locations if place["LocationID"] in OWN)

    def in_flight(self) -> dict[str, int]:
        """Units of channel orders that TIMS does not hold, by item."""
        units: dict[str, int] = {}
        for number, order in self.orders.items():
            external = order["DistributionCenterTypeRollup"] == "ExternallyManaged"
            if number in self.held | self.given_up or external or order["OrderStatus"] == "Cancelled":
                continue
            for line in order["OrderItems"]:
                count = line["Quantity"] - (line["QuantityCancelled"] or 0)
                for sku in self.item_of(line["SKU"]):
                    parts = {part["SKU"]: part["Quantity"] for part in self.items[sku]["KitComponents"]} or {sku: 1}
                    for part, each in parts.items():
                        units[part] = units.get(part, 0) + count * each
        return units

    def offers(self) -> dict[tuple[str, int], int]:
        """{(product, center): units} of every product whose stock is ours to write."""
        flying, made = self.in_flight(), {}
        for name, product in self.products.items():
            found = self.item_of(name)
            if product["ProductType"] in WITHOUT_STOCK or len(found) != 1 or found[0] not in self.quantities:
                continue
            made[name, MAIN] = self.offer(found[0], flying)
        return made

    def offer(self, sku: str, flying: Mapping[str, int]) -> int:
        item = self.items[sku]
        if item["Status"] == "Blocked" or not item["ChannelEligible"]:
            return 0
        if item["KitComponents"]:
            kits = min(
                max(0, self.free(part["SKU"]) - flying.get(part["SKU"], 0)) // part["Quantity"]
                for part in item["KitComponents"]
            )
            return min(max(0, self.free(sku)), kits)
        return max(0, self.free(sku) - flying.get(sku, 0))


def differences(environment: Environment) -> list[str]:
    """Where the channel does not offer what it should; [] is good."""
    there = levels(environment)
    return [
        f"{sku} at {center}: {there.get((sku, center))} instead of {units}"
        for (sku, center), units in Oracle(environment).offers().items()
        if there.get((sku, center)) != units
    ]


def requests(environment: Environment, forget: bool = True) -> int:
    """PUTs of quantities since the last time."""
    output = environment.channel_advisor.call("GET", "requests")
    if forget:
        environment.channel_advisor.call("DELETE", "requests")
    return sum(count for name, count in output.items() if name.startswith("PUT") and "inventory" in name)


def adjust(environment: Environment, sku: str, units: int, location: str = "MAIN") -> None:
    """Stock comes or goes in TIMS."""
    reference = f"ADJ-{next(_numbers)}"
    body = {"ExternalReference": reference, "Source": "test", "SKU": sku, "LocationID": location,
            "QuantityDelta": units, "ReasonCode": "Found" if units > 0 else "Damage"}  # fmt: skip
    with environment.runtime() as runtime:
        result = runtime.tims.post("inventory/adjustments", body, key=reference)
    assert result.status == 201, result.error
    forward(environment, environment.now + timedelta(minutes=2))


def item(environment: Environment, sku: str, **more: Any) -> None:
    """An item of TIMS as it is now; a new one is made like any other."""
    existing = next((each for each in listed(environment, "tims", "inventory/items") if each["SKU"] == sku), None)
    like = existing or {**environment.world.catalogue.items[0], "SKU": sku, "AlternateSKUs": [], "GTIN": None}
    stamps = ("CreatedAt", "ModifiedAt", "RowVersion")
    send(environment, "tims", "item", {name: value for name, value in like.items() if name not in stamps} | more)


def product(environment: Environment, sku: str, kind: str = "Item") -> None:
    """A product of the channel."""
    with environment.runtime() as runtime:
        (made,) = runtime.channel_advisor.create_products([{"SKU": sku, "Title": sku, "ProductType": kind}])
    assert made.status == 201, made.error
    forward(environment, environment.now + timedelta(minutes=2))


def dismiss(environment: Environment, key: str) -> None:
    """A person decides that an order need not be delivered."""
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        dead_letters.dismiss(connection, dead_letters.find(connection, key).id, who="clerk", note="never sent")


def cancel(environment: Environment, key: str) -> None:
    """The order is cancelled at the channel."""
    with environment.runtime() as runtime:
        runtime.channel_advisor.update_order(key, {"OrderStatus": "Cancelled"})
    forward(environment, environment.now + timedelta(minutes=2))


def row(environment: Environment, sku: str) -> Any:
    """The staged row of a SKU."""
    (found,) = environment.query(f"SELECT * FROM stage.channel_quantity WHERE key = '{sku}'")
    return found
