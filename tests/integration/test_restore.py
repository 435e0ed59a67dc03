"""The database is lost in mid-month and is a day old then, or a new and empty one: both systems have all that was done
since, and resyncing the flows does nothing of it a second time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock.steps.extract import Window
from crossdock.store import database
from crossdock.watch.reconcile import reconcile
from integration.builders import ITEM, KIT, OTHER, forward, line, place, send
from integration.bustle import ALL
from integration.environment import Environment, found_environment, fresh_database
from integration.test_order_to_cash import Market

OFFERS = ("prices", "catalog", "inventory")
BEN = {"CustomerID": "buyer-ben", "FirstName": "Ben", "LastName": "Cook", "Email": "ben@example.com", "Phone": None,
       "Company": None}  # fmt: skip
Line = tuple[str, int, Decimal, Decimal, Decimal, Decimal]


@pytest.fixture(scope="module")
def market(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Market]:
    offers = config / "stock_offers.yaml"  # an order that TIMS has counts as held at once, also by a link that is new
    offers.write_text(offers.read_text().replace("margin_seconds: 60", "margin_seconds: 0"))
    with found_environment(postgres_url, "restore", tmp_path_factory.mktemp("environment"), skus=ALL) as environment:
        environment.inbox = tmp_path_factory.mktemp("inbox")
        forward(environment, environment.now + timedelta(days=1, hours=10))
        yield Market(environment)


def goods(sku: str, units: int, price: str, less: str = "0.00", tax: str = "0.00", post: str = "0.00") -> Line:
    return sku, units, Decimal(price), Decimal(less), Decimal(tax), Decimal(post)


def first_day(market: Market) -> None:
    """A parcel of a part, kits, an order that is held, a payout."""
    market.order([goods(ITEM, 4, "12.3333", "0.50", "1.23", "3.50"), goods(OTHER, 3, "3.3333")], "Seller")
    market.order([goods(KIT, 2, "30.0000", tax="2.00")], "Seller")
    place(market.environment, line(OTHER, 1), PaymentStatus="Submitted", CustomerInfo=BEN)
    parts, kits = market.orders
    market.send(parts, 1)
    market.send(kits, 9)
    market.rest()
    market.pay_out(1, 45)
    for flow in ("payouts", "payments"):
        market.run(flow)


def second_day(market: Market) -> None:
    """New orders, more of the old one, a return, what the channel ships itself, units cancelled, files."""
    parts, *_ = before = list(market.orders)
    market.order([goods(ITEM, 5, "9.9900", tax="4.00")], "Marketplace")
    market.order([goods(ITEM, 2, "7.7700"), goods(OTHER, 3, "1.0000")], "Seller")
    whole, left = (key for key in market.orders if key not in before)
    theirs = place(market.environment, line(OTHER, 3, "5.0000"), OrderStatus="PartiallyShipped")
    send(market.environment, "channel_advisor", "shipment", {
        "ChannelAdvisorOrderID": int(theirs), "SellerFulfillmentID": "ours-by-hand",
        "ShippedDate": market.environment.now.isoformat().replace("+00:00", "Z"), "Carrier": "Royal Mail",
        "ServiceClass": "Tracked 48", "TrackingNumber": "GB777",
        "Items": [{"OrderItemID": int(theirs) * 100 + 1, "SKU": OTHER, "Quantity": 1}],
    })  # fmt: skip
    market.cancel(left, 1, 2)
    market.send(parts, 2)
    market.send(whole, 9)
    market.rest()
    market.give_back(whole, 0, 2, "whole")
    market.run("returns")
    market.pay_out(0, 30)
    write_off(market.environment)
    market.rest()
    for flow in OFFERS:
        market.run(flow)


def write_off(environment: Environment) -> None:
    """A file of the warehouse: two units that broke."""
    assert environment.inbox
    path = environment.inbox / "stock" / "warehouse" / f"{environment.now:%Y%m%dT%H%M}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "Reference,OccurredAt,SKU,LocationID,Quantity,Reason,Memo\n"
        f"{path.stem},{environment.now:%d/%m/%Y},{ITEM},MAIN,-2,Damaged,wet\n"
    )
    os.utime(path, (1_300_000_000, 1_300_000_000))  # nobody writes to it any more


def held(market: Market) -> dict[str, Any]:
    """What both systems hold, of every kind of document."""
    environment = market.environment
    customers, entries = environment.in_tims("customers"), environment.in_tims("gl/entries")
    kinds = ("product", "price", "listing", "inventory", "shipment", "return")
    at_the_channel = {kind: environment.channel_advisor.documents(kind) for kind in kinds}
    sent = sorted((one["ExternalReference"], one["Source"]) for one in environment.in_tims("shipments"))
    return market.posted() | {
        "customers": len(customers), "references": sorted(one["ExternalReference"] for one in entries), "sent": sent,
        **{kind: len(rows) for kind, rows in at_the_channel.items()},
        "asked": {row["SKU"]: row["Price"] for row in at_the_channel["price"]},
    }  # fmt: skip


def resync(market: Market) -> None:
    """What the runbook says: files of done/ once more, then every flow."""
    environment = market.environment
    forward(environment, environment.now + timedelta(seconds=10))
    window = Window(environment.now - timedelta(days=60), environment.now)
    environment.sync()
    for flow in ("stock_adjustments", "payouts"):
        environment.sync(window, flow=flow, kind="backfill")
    market.rest()
    for flow in OFFERS:
        market.run(flow)
    market.rest()


def wrong(market: Market) -> list[str]:
    """What is not as it should be: dead letters, differences of both systems, controls, unexplained differences."""
    forward(market.environment, market.environment.now + timedelta(minutes=1))
    found = [f"{key}: {letter.reasons}" for key, letter in market.environment.letters().items()]
    found += market.differences()
    found += [f"{one.name} {one.subject}: {one.actual} is not {one.expected}" for one in market.failed_controls()]
    with market.environment.runtime() as runtime:
        outcome = reconcile(runtime)
    return found + [f"unexplained: {name} {counts.causes}" for name, counts in outcome.counts.items()
                    if counts.causes.get("unexplained")]  # fmt: skip


@contextmanager
def instead(environment: Environment, url: str) -> Iterator[None]:
    """The environment's database is another one."""
    before, environment.database_url = environment.database_url, url
    try:
        yield
    finally:
        environment.database_url = before


def copied(url: str, name: str) -> str:
    """A copy of the database as it is now."""
    source = sa.make_url(url)
    admin = database.engine(source.set(database="postgres").render_as_string(hide_password=False), role=None)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {source.database}")
    admin.dispose()
    return source.set(database=name).render_as_string(hide_password=False)


@dataclass(frozen=True)
class Loss:
    """The moment at which the database is lost."""

    market: Market
    yesterday: str  # a copy of the database, a day old
    before: dict[str, Any]  # what both systems held


@pytest.fixture(scope="module")
def loss(market: Market) -> Loss:
    environment = market.environment
    first_day(market)
    environment.disconnect()
    yesterday = copied(environment.database_url, "yesterday")
    forward(environment, environment.now + timedelta(hours=20))
    second_day(market)
    assert wrong(market) == []
    before = held(market)
    assert len(before["sent"]) == 5
    return Loss(market, yesterday, before)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("age", ["a day", "new and empty"])
def test_a_database_that_is_restored_or_new_doubles_nothing_in_either_system(loss: Loss, postgres_url: str, age: str):
    market = loss.market
    with (
        fresh_database(postgres_url, "anew") as empty,
        instead(market.environment, loss.yesterday if age == "a day" else empty),
    ):
        resync(market)
        assert wrong(market) == []
        assert held(market) == loss.before
