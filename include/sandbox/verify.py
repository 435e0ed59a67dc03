"""Verifies that both sides agree: reads both systems over HTTP and compares them with the world.

In: the world, the moments at which the pipeline read, both systems' clients, the open dead letters.
Out: a report: every order's fate, amounts per currency on both sides, and each disagreement in words.
Never: a read of the pipeline's records of what it delivered; they are what is verified.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.systems.channel_advisor import ChannelAdvisor
from crossdock.systems.tims import Tims
from sandbox.expectations import Expectation, tims_total
from sandbox.world import World

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass
class Amounts:
    """The amounts of one currency: the channel's, the same with every line rounded as TIMS does, and TIMS's."""

    channel_advisor: Decimal = Decimal(0)
    rounded: Decimal = Decimal(0)
    tims: Decimal = Decimal(0)


@dataclass
class Report:
    """What was found. Both sides agree when `disagreements` is empty."""

    orders: int = 0  # in Channel Advisor
    verdicts: Counter[str] = field(default_factory=Counter)  # the expected verdicts
    sales_orders: int = 0
    exported: int = 0
    customers_created: int = 0
    customers_matched: int = 0  # seeded ones that have orders now
    dead_letters: Counter[str] = field(default_factory=Counter)  # by true rule; an order may have several
    dead: int = 0
    amounts: dict[str, Amounts] = field(default_factory=dict)  # by currency
    disagreements: list[str] = field(default_factory=list)


def verify(
    world: World,
    reads: Sequence[datetime],
    channel_advisor: ChannelAdvisor,
    tims: Tims,
    dead_letters: Mapping[int, frozenset[str]],
    held: Iterable[dict[str, Any]],
) -> Report:
    """Reads both systems whole. `dead_letters`: the rules of each open one, by ChannelAdvisorOrderID. `held`: the
    orders as the sandbox of Channel Advisor holds them, whole: reading long orders one by one would use up requests
    that the runs need."""
    expected = world.expectations(end=reads[-1], reads=reads)
    orders = {int(order["ChannelAdvisorOrderID"]): order for order in held}
    marked = {
        order["ChannelAdvisorOrderID"]
        for order in _all(channel_advisor.pages("orders", exported="true", **_EVERYTHING))
    }
    sales: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for sale in _all(tims.pages("sales-orders", **_EVERYTHING)):
        sales[int(sale["ExternalOrderID"])].append(sale)

    report = Report(orders=len(orders), sales_orders=sum(map(len, sales.values())), exported=len(marked))
    report.disagreements += [
        f"order {key} is in Channel Advisor, but not of this world" for key in orders - expected.keys()
    ]
    for key, expectation in sorted(expected.items()):
        report.verdicts[expectation.verdict] += 1
        report.disagreements += [
            f"order {key}: {what}"
            for what in _differences(
                expectation, sales.get(key, []), dead_letters.get(key), key in marked, key in orders
            )
        ]
        if expectation.verdict == "dead":
            report.dead += 1
            report.dead_letters.update(expectation.rules)
    report.disagreements += [
        f"TIMS holds a sales order for {key}, which no channel has" for key in sales - expected.keys()
    ]
    report.amounts = _amounts(expected, orders, sales)
    for currency, amounts in report.amounts.items():
        if amounts.rounded != amounts.tims:
            report.disagreements.append(f"{currency}: {amounts.rounded} in Channel Advisor, {amounts.tims} in TIMS")
    seeded = {customer["CustomerID"] for customer in world.customers()}
    present = {customer["CustomerID"] for customer in _all(tims.pages("customers", **_EVERYTHING))}
    used = {sale["CustomerID"] for found in sales.values() for sale in found}
    report.customers_created = len(present - seeded)
    report.customers_matched = len(used & seeded)
    return report


_EVERYTHING: dict[str, Any] = {"since": None, "before": None}


def _all(pages: Iterable[Any]) -> Iterable[dict[str, Any]]:
    for page in pages:
        for record in page.records:
            yield _decode(record)


def _differences(
    expectation: Expectation, found: list[dict[str, Any]], rules: frozenset[str] | None, marked: bool, present: bool
) -> list[str]:
    """The disagreements about one order."""
    if not present:
        return ["is not in Channel Advisor"]
    if expectation.verdict != "loadable":
        wrong = [f"is in TIMS, although it {_WORDS[expectation.verdict]}"] if found else []
        if expectation.verdict == "dead" and rules is None:
            wrong.append(f"has no dead letter; the reasons are {', '.join(sorted(expectation.rules))}")
        elif expectation.verdict == "dead" and not expectation.rules <= (rules or frozenset()):
            wrong.append(
                f"died of {', '.join(sorted(rules or []))}; the reasons are {', '.join(sorted(expectation.rules))}"
            )
        elif expectation.verdict != "dead" and rules is not None:
            wrong.append(f"has a dead letter ({', '.join(sorted(rules))}), although it {_WORDS[expectation.verdict]}")
        return wrong
    if not found:
        why = f"; its dead letter says {', '.join(sorted(rules))}" if rules else ""
        return [f"is not in TIMS, although it can be loaded{why}"]
    wrong = [f"is in TIMS {len(found)} times"] if len(found) > 1 else []
    sale = found[0]
    total = Decimal(sale["TotalAmount"])
    if total != expectation.total:
        wrong.append(f"has the total {total} in TIMS, not {expectation.total}")
    if sale["CurrencyCode"] != expectation.currency:
        wrong.append(f"is in {sale['CurrencyCode']} in TIMS, not in {expectation.currency}")
    if len(sale["LineItems"]) != expectation.lines:
        wrong.append(f"has {len(sale['LineItems'])} lines in TIMS, not {expectation.lines}")
    if not marked:
        wrong.append("is in TIMS and does not carry the exported mark")
    return wrong


_WORDS = {
    "dead": "cannot be loaded",
    "waits": "waits for its payment",
    "left_out": "was cancelled before it was loaded",
    "unseen": "came after the last read",
}


def _amounts(
    expected: Mapping[int, Expectation], orders: Mapping[int, dict[str, Any]], sales: Mapping[int, list[dict[str, Any]]]
) -> dict[str, Amounts]:
    """Per currency, the loadable orders of Channel Advisor beside all sales orders of TIMS."""
    found: dict[str, Amounts] = defaultdict(Amounts)
    for key, expectation in expected.items():
        if expectation.verdict == "loadable" and key in orders:
            amounts = found[orders[key]["Currency"]]
            amounts.channel_advisor += orders[key]["TotalPrice"]
            amounts.rounded += tims_total(orders[key])
    for sale in (sale for group in sales.values() for sale in group):
        found[sale["CurrencyCode"]].tims += Decimal(sale["TotalAmount"])
    return dict(sorted(found.items()))
