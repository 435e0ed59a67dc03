"""Both systems are compared again and again while the world moves and all flows run: no comparison may cry wolf,
and every second one must find what was planted for it, a difference in each subject.

`make agree` does 200 comparisons and prints what they came to.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossdock.comparison.subject import UNEXPLAINED
from crossdock.watch.reconcile import reconcile
from integration.builders import forward, line, order, sales_order, send, ship
from integration.bustle import ALL, MONEY, OFFERS, QUIET, World, altered, bustle
from integration.environment import Environment, found_environment

COMPARISONS = int(os.environ.get("COMPARISONS", "4"))
Plant = tuple[str, Any]  # a list, and what is done to its records


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path, config: Path) -> Iterator[Environment]:
    """A few goods, all of them on offer."""
    with found_environment(postgres_url, "agree", tmp_path, skus=ALL) as environment:
        environment.part = 10**9
        environment.tick("2011-01-05")
        for flow in ("prices", "catalog", "inventory"):
            environment.sync(flow=flow)
        yield environment


def quiet_order(environment: Environment) -> str:
    """An order that is through: sent, invoiced, given back; nobody touches it any more."""
    buyer = {"CustomerID": "buyer-quiet", "FirstName": "Una", "LastName": "Still", "Email": "una@example.com",
             "Phone": None, "Company": None}  # fmt: skip
    key = order(environment, line(QUIET[0], 2, "12.5000"), line(QUIET[1], 1, "3.3333"), CustomerInfo=buyer)
    ship(environment, key, {each["LineNo"]: each["Quantity"] for each in sales_order(environment, key)["LineItems"]})
    for flow in ("shipments", "orders", "invoices"):
        environment.sync(flow=flow)
    refund = {"OrderItemID": int(key) * 100 + 1, "SKU": QUIET[0], "Quantity": 1, "RefundAmount": 12.5, "TaxRefund": 0,
              "ShippingRefund": 0, "Restock": True, "Condition": "Sellable"}  # fmt: skip
    send(environment, "channel_advisor", "return", {
        "ReturnID": 8_000_001, "ChannelAdvisorOrderID": int(key), "Status": "Refunded", "Currency": "GBP",
        "Reason": "CustomerReturnedItem", "Items": [refund], "RefundTotal": 12.5,
        "RefundDate": environment.now.isoformat().replace("+00:00", "Z"),
    })  # fmt: skip
    for flow in ("returns", "orders", "inventory", "returns", *MONEY, *OFFERS):
        forward(environment, environment.now + timedelta(minutes=1))
        environment.sync(flow=flow)
    news = {
        flow: counts for flow in (*MONEY, *OFFERS) if (counts := environment.sync(flow=flow)).read > counts.unchanged
    }
    assert news == {}, "a run that reads it once more has it in its hands"
    return key


def plants(environment: Environment, key: str) -> dict[tuple[str, str, str], Plant]:
    """For each subject a change behind our back that nothing explains, by the difference it must make."""
    sale = sales_order(environment, key)
    number, customer, item = sale["SalesOrderID"], sale["CustomerID"], f"line {key}01"
    sku = QUIET[1]

    def of(name: str, value: Any, **changes: Any) -> Any:
        return lambda row: row | changes if str(row[name]) == value else row

    def one_more(row: dict[str, Any]) -> dict[str, Any]:
        lines = [{**each, "Quantity": each["Quantity"] + (each["ExternalLineID"] == f"{key}01")}
                 for each in row["LineItems"]]  # fmt: skip
        return row | {"LineItems": lines} if row["SalesOrderID"] == number else row

    def more_on_offer(row: dict[str, Any]) -> dict[str, Any]:
        more = row["SKU"] == sku and row["DistributionCenterID"] == 4
        return row | {"AvailableQuantity": row["AvailableQuantity"] + 5} if more else row

    (report,) = [row.n for row in environment.query(
        f'SELECT "SellerFulfillmentID" AS n FROM stage.channel_shipment WHERE "ChannelAdvisorOrderID" = {key}'
    )]  # fmt: skip
    hidden = lambda row: None if str(row["ChannelAdvisorOrderID"]) == key else row  # noqa: E731
    return {
        ("orders", key, item): ("sales-orders", one_more),
        ("order_totals", key, "total"): ("sales-orders", of("SalesOrderID", number, TotalAmount="1.00")),
        ("payments", key, "payment"): ("sales-orders", of("SalesOrderID", number, PaymentStatus="Unpaid")),
        ("customers", key, "e-mail"): ("customers", of("CustomerID", customer, Email="other@example.com")),
        ("shipments", f"{key}:{report}", ""): ("shipping", hidden),
        ("invoices", key, "worth"): ("ar/invoices", of("SalesOrderID", number, Total="1.00")),
        ("returns", "8000001", "refund"): ("ar/credit-memos", of("SalesOrderID", number, Total="12.49")),
        ("quantities", sku, "quantity"): ("inventory", more_on_offer),
        ("products", sku, "title"): ("products", of("SKU", sku, Title="Another")),
        ("prices", sku, "price"): ("prices", of("SKU", sku, Price=Decimal("0.01"))),
    }


def unexplained(environment: Environment) -> tuple[set[tuple[str, str, str]], dict[str, int]]:
    """What one comparison of all subjects could not explain, and what it found by cause."""
    with environment.runtime() as runtime:
        outcome = reconcile(runtime)
    causes: Counter[str] = Counter()
    for counts in outcome.counts.values():
        causes.update(counts.causes)
    rows = environment.query(
        f"SELECT subject, key, field FROM ops.reconcile_difference WHERE run = {outcome.id} AND cause = '{UNEXPLAINED}'"
    )
    return {(row.subject, row.key, row.field) for row in rows}, dict(causes)


@pytest.mark.slow
def test_while_all_flows_run_no_comparison_cries_wolf_and_each_finds_what_was_planted(environment: Environment) -> None:
    planted = plants(environment, quiet_order(environment))
    assert {subject for subject, _, _ in planted} == {"orders", "order_totals", "payments", "customers", "shipments",
        "invoices", "returns", "quantities", "products", "prices"}  # fmt: skip
    assert unexplained(environment)[0] == set(), "at rest"
    false, missed = [], []
    with bustle(environment, World(environment, 1)) as runs:
        for n in range(1, COMPARISONS + 1):
            there = planted if n % 2 == 0 else {}
            with ExitStack() as behind_our_back:
                for path, change in there.values():
                    behind_our_back.enter_context(altered(path, change))
                found, causes = unexplained(environment)
            false += [(n, each) for each in sorted(found - there.keys())]
            missed += [(n, each) for each in sorted(there.keys() - found)]
            print(f"\nAGREE {n}: {causes}", *(each for each in (*false, *missed) if each[0] == n), end="")
    alarms = len({n for n, _ in false})
    print(
        f"\nAGREE {COMPARISONS} comparisons, {alarms} with a false alarm, {len(missed)} plants missed; runs {runs}",
        end="",
    )
    assert (false, missed) == ([], [])
    assert min(runs.values()) > 0
