"""Tests overselling: buyers on many sites take the last units of a few SKUs, while orders and inventory run and fail.

In: an environment, a seed, a way of telling the channel what there is. Out: what was sold beyond what there was. Buyers
see what the channel offers and take no more than that; some orders are dead letters, some wait, some are read and then
the run dies. Never: a moment that is not drawn from the seed.
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
from integration import stock_oracle
from integration.builders import ADDRESS, line, place
from integration.environment import ORDERS, Environment
from integration.stock_oracle import MAIN

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
SendQuantities = Callable[[Environment], bool]  # writes quantities to the channel; whether it went through


@dataclass
class Tally:
    """The results of the run."""

    orders: int = 0
    sold: dict[str, int] = field(default_factory=dict)
    runs: int = 0  # of orders and inventory
    failed: int = 0
    broken: list[str] = field(default_factory=list)  # broken promises

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
    """A configuration in which a run gives up quickly: this test has many that fail."""
    stock_oracle.configure(patch, folder)
    file = folder / "config" / "systems.yaml"
    systems = yaml.safe_load(file.read_text())
    quick = {"tries": 2, "first_pause_seconds": 0.05, "longest_pause_seconds": 0.1, "failures_to_open": 1_000}
    file.write_text(yaml.safe_dump({name: {**limits, **quick} for name, limits in systems.items()}))


def open_shop(environment: Environment) -> None:
    """Each SKU has its few units, all of them our own; the channel offers nothing yet."""
    quantities = {row["SKU"]: row for row in stock_oracle.listed(environment, "tims", "inventory/quantities")}
    for sku in SKUS:
        for place_ in quantities[sku]["Locations"]:
            wanted = STOCK if place_["LocationID"] == "MAIN" else 0
            if wanted != place_["Available"]:
                stock_oracle.adjust(environment, sku, wanted - place_["Available"], place_["LocationID"])
    environment.sync()


def run_oversell(
    environment: Environment, seed: int, rounds: int, send: SendQuantities, promise: Callable[[Environment], list[str]]
) -> Tally:
    """The whole run; `promise` is checked after every successful write of quantities."""
    dice, tally, numbers = random.Random(seed), Tally(sold=dict.fromkeys(SKUS, 0)), count(1)
    assert send(environment)
    for _ in range(rounds):
        for _ in range(BUYERS):
            _buy(environment, dice, tally)
        for _ in range(2):
            what = dice.choice(("orders", "orders", "half", "tell", "tell"))
            if dice.random() < 0.5:
                system, rule = dice.choice(FAULTS["tell" if what == "tell" else "orders"])
                environment.fault(system, **rule)
            name = f"oversell-{next(numbers)}"
            through = send(environment) if what == "tell" else _orders(environment, name, half=what == "half")
            environment.clear_faults()
            tally.runs, tally.failed = tally.runs + 1, tally.failed + (not through)
            if what == "tell" and through:
                tally.broken += promise(environment)
    return tally


def _buy(environment: Environment, dice: random.Random, tally: Tally) -> None:
    """A buyer takes what they want if it is on offer; this changes only the stock, not the later draws."""
    sku, units = dice.choice(SKUS), dice.randint(1, 3)
    site, name = dice.choice(SITES)
    fate = dice.random()
    if (stock_oracle.level(environment, sku) or 0) < units:
        return
    more: dict = {"SiteID": site, "SiteName": name}
    if fate < 0.2:
        more |= {"ShippingAddress": NOWHERE}
    elif fate < 0.4:
        more |= {"OrderStatus": "Pending", "PaymentStatus": "NotYetSubmitted"}
    place(environment, line(sku, units), **more)
    tally.orders += 1
    tally.sold[sku] += units


def _orders(environment: Environment, name: str, *, half: bool) -> bool:
    """A run of orders; half of one is what a killed worker leaves."""
    try:
        if half:
            with environment.runtime() as runtime:
                extract(runtime, ORDERS, run_id=name)
        else:
            environment.sync(run_id=name)
    except Transient:
        return False
    return True


# ---- two ways of writing -------------------------------------------------------------------------------------------


def ours() -> SendQuantities:
    """The inventory flow."""
    names = count(1)

    def send(environment: Environment) -> bool:
        try:
            environment.sync(flow="inventory", run_id=f"inventory-{next(names)}")
        except Transient:
            return False
        return True

    return send


def copy(environment: Environment) -> bool:
    """Writes TIMS's quantity as it is, like a plain job."""
    try:
        with environment.runtime() as runtime:
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


def nothing_twice(environment: Environment) -> list[str]:
    """Where the channel offers more than TIMS has free, less the orders that have been read and TIMS does not hold."""
    read = {row.key for row in environment.query("SELECT DISTINCT key FROM raw.channel_advisor_orders")}
    held = {order["ExternalOrderID"] for order in stock_oracle.listed(environment, "tims", "sales-orders")}
    open_ = dict.fromkeys(SKUS, 0)
    for order in stock_oracle.listed(environment, "channel_advisor", "orders"):
        number = str(order["ChannelAdvisorOrderID"])
        for each in order["OrderItems"] if number in read and number not in held else ():
            open_[each["SKU"]] += each["Quantity"]
    found = []
    for sku in SKUS:
        most, offered = (
            max(0, stock_oracle.free(environment, sku) - open_[sku]),
            stock_oracle.level(environment, sku) or 0,
        )
        if offered > most:
            found.append(f"{sku}: {offered} on offer, {most} are there")
    return found
