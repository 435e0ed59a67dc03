"""Keeps both systems busy: buyers, warehouse and staff act, and every flow runs, while both systems are compared.

In: an environment, a seed. Out: threads that play the world and run the flows until they are stopped.
Never: a change that no flow has to carry, so whatever differs has a cause.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

from crossdock.flows import all_flows
from crossdock.systems import writes
from crossdock.watch.reconcile import read
from integration import stock_oracle
from integration.builders import ADDRESS, KIT, KIT_PARTS, line, place, send, ship
from integration.environment import Environment
from sandbox.control import SYSTEMS

SKUS = ("22423", "84946", "85099B", "22720", "22457", "85123A", "47566", "20725")
GOODS = (*SKUS, KIT)
QUIET = ("22386", "22960")  # nobody buys them while the bustle goes on
ALL = frozenset((*GOODS, *KIT_PARTS, *QUIET))
NOWHERE = ADDRESS | {"Country": "Atlantis"}
MONEY = tuple(  # without the flows of files, and the ledger, which is not compared
    flow.name
    for flow in all_flows().values()
    if not flow.offers and flow.source.system in SYSTEMS and not flow.name.startswith("ledger_")
)
OFFERS = tuple(flow.name for flow in all_flows().values() if flow.offers)
_returns = count(8_100_000)


class World:
    """What people do, one thing after another, drawn from a seed."""

    def __init__(self, environment: Environment, seed: int) -> None:
        self.environment, self.dice = environment, random.Random(seed)
        self.open: dict[str, str] = {}  # orders that have not shipped, by what they wait for
        self.gone: list[str] = []
        self.done: dict[str, int] = {}

    def act(self) -> None:
        actions = (self.buy, self.buy, self.buy, self.pay, self.cancel, self.send, self.send, self.give_back,
                   self.count_stock, self.change_item)  # fmt: skip
        action = self.dice.choice(actions)
        if action():
            self.done[action.__name__] = self.done.get(action.__name__, 0) + 1

    def buy(self) -> bool:
        lines = [line(self.dice.choice(GOODS), self.dice.randint(1, 3), "12.5000")]
        if self.dice.random() < 0.4:
            lines.append(line(self.dice.choice(SKUS), self.dice.randint(1, 2), "3.3333"))
        number, mail, fate = self.dice.randint(1, 30), self.dice.randint(1, 3), self.dice.random()
        more: dict[str, Any] = {}
        waits = "parcel"
        if fate < 0.1:
            more, waits = {"ShippingAddress": NOWHERE}, "clerk"
        elif fate < 0.2:
            more, waits = {"OrderStatus": "Pending", "PaymentStatus": "NotYetSubmitted"}, "payment"
        elif fate < 0.3:
            more, waits = {"PaymentStatus": "Submitted"}, "payment"
        buyer = {"CustomerID": f"buyer-{number}", "FirstName": "Bo", "LastName": f"Number{number}",
                 "Email": f"bo{number}.{mail}@example.com", "Phone": None, "Company": None}  # fmt: skip
        self.open[place(self.environment, *lines, CustomerInfo=buyer, **more)] = waits
        return True

    def _one(self, waits: str) -> str | None:
        found = [key for key, what in self.open.items() if what == waits]
        return self.dice.choice(found) if found else None

    def pay(self) -> bool:
        key = self._one("payment")
        if key:
            changes = {"PaymentStatus": "Cleared", "OrderStatus": "New"}
            send(
                self.environment,
                "channel_advisor",
                "order_change",
                {"ChannelAdvisorOrderID": int(key), "changes": changes},
            )
            self.open[key] = "parcel"
        return bool(key)

    def cancel(self) -> bool:
        key = self._one(self.dice.choice(("payment", "parcel", "clerk"))) if self.dice.random() < 0.6 else None
        if key:
            stock_oracle.cancel(self.environment, key)
            del self.open[key]
        return bool(key)

    def send(self) -> bool:
        """A parcel of a sales order, whole or half of it; two parcels at most."""
        key = self._one("parcel") or self._one("rest")
        if not key:
            return False
        with self.environment.runtime() as runtime:
            found = runtime.tims.find("sales-orders", ExternalOrderID=[key], Source="ChannelAdvisor")
        if not found or found[0]["OrderStatus"] not in ("Open", "Allocated", "PartiallyFulfilled"):
            return False
        left = {each["LineNo"]: each["Quantity"] - each["QuantityCancelled"] - each["QuantityShipped"]
                for each in found[0]["LineItems"]}  # fmt: skip
        whole = self.open[key] == "rest" or self.dice.random() < 0.7
        units = {number: units if whole else (units + 1) // 2 for number, units in left.items() if units}
        if not units:
            return False
        ship(self.environment, key, units)
        if units == {number: each for number, each in left.items() if each}:
            del self.open[key]
            self.gone.append(key)
        else:
            self.open[key] = "rest"
        return True

    def give_back(self) -> bool:
        """A return of one unit of an order that the channel knows to have left."""
        if not self.gone:
            return False
        key = self.dice.choice(self.gone)
        with self.environment.runtime() as runtime:
            order = runtime.channel_advisor.call("GET", f"/v2/orders/{key}")
        first = order["OrderItems"][0]
        if order["OrderStatus"] != "Shipped" or first["QuantityReturned"]:
            return False
        self.gone.remove(key)
        refund = {"OrderItemID": first["OrderItemID"], "SKU": first["SKU"], "Quantity": 1, "RefundAmount": 12.5,
                  "TaxRefund": 0, "ShippingRefund": 0, "Restock": True, "Condition": "Sellable"}  # fmt: skip
        send(self.environment, "channel_advisor", "return", {
            "ReturnID": next(_returns), "ChannelAdvisorOrderID": int(key), "Status": "Refunded", "Currency": "GBP",
            "Reason": "CustomerReturnedItem", "Items": [refund], "RefundTotal": 12.5,
            "RefundDate": self.environment.now.isoformat().replace("+00:00", "Z"),
        })  # fmt: skip
        return True

    def count_stock(self) -> bool:
        stock_oracle.adjust(self.environment, self.dice.choice(SKUS), self.dice.choice((-3, -1, 2, 5)))
        return True

    def change_item(self) -> bool:
        sku = self.dice.choice(SKUS)
        change: dict[str, Any] = self.dice.choice((
            {"Title": f"A thing of many names, {self.dice.randint(1, 99)}"},
            {"Description": f"As good as {self.dice.randint(1, 99)} others."},
        ))  # fmt: skip
        stock_oracle.item(self.environment, sku, **change)
        return True


@contextmanager
def bustle(environment: Environment, world: World) -> Iterator[dict[str, int]]:
    """The world moves and all flows run, each again as soon as it has ended; the number of runs by flow."""
    stop, runs, broken = threading.Event(), dict.fromkeys((*MONEY, *OFFERS), 0), []

    def over_and_over(what: Callable[[], None], pause: float) -> None:
        try:
            with writes.permitted(writes.always):
                while not stop.is_set():
                    what()
                    stop.wait(pause)
        except Exception as error:
            broken.append(error)
            raise

    def flows(names: Sequence[str]) -> Callable[[], None]:
        def once() -> None:
            for name in names:
                if not stop.is_set():
                    environment.sync(flow=name, run_id=f"{name}-{runs[name]}")
                    runs[name] += 1

        return once

    threads = [
        threading.Thread(target=over_and_over, args=(world.act, 0.15), name="world"),
        threading.Thread(target=over_and_over, args=(flows(MONEY), 0.3), name="money"),
        threading.Thread(target=over_and_over, args=(flows(OFFERS), 0.3), name="offers"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield runs
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
        assert not broken, broken


def altered(path: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Any:
    """Changes the records in the lists of one path, as if somebody else had; None leaves the record out."""
    whole = read._pages

    def pages(runtime: Any, source: Any, since: Any) -> Iterator[list[dict[str, Any]]]:
        for records in whole(runtime, source, since):
            reported = [change(record) for record in records] if source.path == path else records
            yield [record for record in reported if record is not None]

    return patch.object(read, "_pages", pages)
