"""A rush: buyers on many sites take the last units of a few SKUs, while runs of orders and inventory run and fail.

In: a town, a seed, a way of telling the channel what there is. Out: what was sold beyond what there was. Buyers see
what the channel offers and take no more than that; some orders are dead letters, some wait, some are read and then the
run dies. Never: a moment that is not drawn from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import yaml

from crossdock.errors import Transient
from crossdock.steps.extract import extract
from integration import shelf
from integration.shelf import MAIN
from integration.town import ORDERS, Town
from integration.trade import ADDRESS, line, place

SKUS = ("22423", "84946", "85099B", "22720", "22457")
STOCK = 14  # units of each at the start
BUYERS = 9  # a round
SITES = ((587, "Checkout Direct"), (640, "Amazon Seller Central - US"), (641, "Amazon Seller Central - UK"),
         (642, "Amazon Seller Central - DE"), (870, "eBay Fixed Price UK"))  # fmt: skip
NOWHERE = ADDRESS | {"Country": "Atlantis"}
FAULTS = {
    "tell": [
        ("channel_advisor", {"kind": "rate_limited_bare", "path": "updateInventory", "times": 1}),
        ("channel_advisor", {"kind": "error_after", "path": "updateInventory", "times": 3}),
        ("channel_advisor", {"kind": "error_before", "path": "updateInventory", "times": 3}),
        ("channel_advisor", {"kind": "bulk_partial", "path": "updateInventory", "times": 1, "every": 2}),
        ("tims", {"kind": "cut_body", "path": "listQuantities", "times": 3}),
    ],
    "orders": [
        ("channel_advisor", {"kind": "cut_body", "path": "listOrders", "times": 3}),
        ("channel_advisor", {"kind": "rate_limited_bare", "path": "listOrders", "times": 1}),
        ("tims", {"kind": "error_after", "path": "bulk", "times": 3}),
        ("tims", {"kind": "error_before", "path": "bulk", "times": 3}),
        ("tims", {"kind": "bulk_partial", "path": "bulk", "times": 1, "every": 2}),
    ],
}
Tell = Callable[[Town], bool]  # writes quantities to the channel; whether it went through


@dataclass
class Told:
    """What a rush came to."""

    orders: int = 0
    sold: dict[str, int] = field(default_factory=dict)
    runs: int = 0  # of orders and inventory
    failed: int = 0
    broken: list[str] = field(default_factory=list)  # promises that did not hold

    def __str__(self) -> str:
        return (
            f"{self.orders} orders of {sum(self.sold.values())} units, {STOCK * len(SKUS)} in stock, "
            f"{self.oversold} oversold; {self.runs} runs, {self.failed} failed"
        )

    @property
    def oversold(self) -> int:
        """Units sold that were not there."""
        return sum(max(0, units - STOCK) for units in self.sold.values())


def prepared(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """A configuration in which a run gives up quickly: a rush has many that fail."""
    shelf.configured(patch, folder)
    file = folder / "config" / "systems.yaml"
    systems = yaml.safe_load(file.read_text())
    quick = {"tries": 2, "first_pause_seconds": 0.05, "longest_pause_seconds": 0.1, "failures_to_open": 1_000}
    file.write_text(yaml.safe_dump({name: {**limits, **quick} for name, limits in systems.items()}))


def open_shop(town: Town) -> None:
    """Each SKU has its few units, all of them our own; the channel offers nothing yet."""
    quantities = {row["SKU"]: row for row in shelf.listed(town, "tims", "inventory/quantities")}
    for sku in SKUS:
        for place_ in quantities[sku]["Locations"]:
            wanted = STOCK if place_["LocationID"] == "MAIN" else 0
            if wanted != place_["Available"]:
                shelf.adjust(town, sku, wanted - place_["Available"], place_["LocationID"])
    town.sync()


def rush(town: Town, seed: int, rounds: int, tell: Tell, promise: Callable[[Town], list[str]]) -> Told:
    """The whole rush; `promise` is asked after every telling that went through."""
    dice, told, numbers = random.Random(seed), Told(sold=dict.fromkeys(SKUS, 0)), count(1)
    assert tell(town)
    for _ in range(rounds):
        for _ in range(BUYERS):
            _buy(town, dice, told)
        for _ in range(2):
            what = dice.choice(("orders", "orders", "half", "tell", "tell"))
            if dice.random() < 0.5:
                system, rule = dice.choice(FAULTS["tell" if what == "tell" else "orders"])
                town.fault(system, **rule)
            name = f"rush-{next(numbers)}"
            through = tell(town) if what == "tell" else _orders(town, name, half=what == "half")
            town.clear_faults()
            told.runs, told.failed = told.runs + 1, told.failed + (not through)
            if what == "tell" and through:
                told.broken += promise(town)
    return told


def _buy(town: Town, dice: random.Random, told: Told) -> None:
    """A buyer takes what he wants if it is on offer; nothing depends on whether he does but the shelf itself."""
    sku, units = dice.choice(SKUS), dice.randint(1, 3)
    site, name = dice.choice(SITES)
    fate = dice.random()
    if (shelf.level(town, sku) or 0) < units:
        return
    more: dict = {"SiteID": site, "SiteName": name}
    if fate < 0.2:
        more |= {"ShippingAddress": NOWHERE}
    elif fate < 0.4:
        more |= {"OrderStatus": "Pending", "PaymentStatus": "NotYetSubmitted"}
    place(town, line(sku, units), **more)
    told.orders += 1
    told.sold[sku] += units


def _orders(town: Town, name: str, *, half: bool) -> bool:
    """A run of orders; half of one is what a killed worker leaves."""
    try:
        if half:
            with town.runtime() as runtime:
                extract(runtime, ORDERS, run_id=name)
        else:
            town.sync(run_id=name)
    except Transient:
        return False
    return True


# ---- two ways of telling -------------------------------------------------------------------------------------------


def ours() -> Tell:
    """The inventory flow."""
    names = count(1)

    def tell(town: Town) -> bool:
        try:
            town.sync(flow="inventory", run_id=f"inventory-{next(names)}")
        except Transient:
            return False
        return True

    return tell


def copy(town: Town) -> bool:
    """What a plain job does: TIMS's quantity, as it is."""
    try:
        with town.runtime() as runtime:
            rows = runtime.tims.find("inventory/quantities", SKU=list(SKUS))
            updates = [
                {"SKU": row["SKU"], "DistributionCenterID": MAIN, "Quantity": row["TotalAvailable"],
                 "UpdateType": "Absolute"}
                for row in rows
            ]  # fmt: skip
            return all(one.error is None for one in runtime.channel_advisor.write_quantities(updates))
    except Transient:
        return False


# ---- what is promised ----------------------------------------------------------------------------------------------


def nothing_twice(town: Town) -> list[str]:
    """Where the channel offers more than TIMS has free, less the orders that have been read and TIMS does not hold."""
    read = {row.key for row in town.query("SELECT DISTINCT key FROM raw.channel_advisor_orders")}
    held = {order["ExternalOrderID"] for order in shelf.listed(town, "tims", "sales-orders")}
    open_ = dict.fromkeys(SKUS, 0)
    for order in shelf.listed(town, "channel_advisor", "orders"):
        number = str(order["ChannelAdvisorOrderID"])
        for each in order["OrderItems"] if number in read and number not in held else ():
            open_[each["SKU"]] += each["Quantity"]
    found = []
    for sku in SKUS:
        most, offered = max(0, shelf.free(town, sku) - open_[sku]), shelf.level(town, sku) or 0
        if offered > most:
            found.append(f"{sku}: {offered} on offer, {most} are there")
    return found
