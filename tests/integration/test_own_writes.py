"""What we write ourselves to a record that is also read: it makes no work, and is nobody's wish. Over HTTP, on both
systems and a real Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import RecordRejected
from crossdock.flows.orders import holds
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import STEPS, run_batches
from crossdock.steps.write_back import Change, write_back
from crossdock.store import database, deliveries, raw
from integration.environment import Environment
from integration.test_returns import Shop

ORDERS, RETURNS = flows.get("orders"), flows.get("returns")


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Shop:
    """An environment in which nothing happens but what a test does."""
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-05")
    return Shop(long_lived_environment)


def later(shop: Shop) -> None:
    shop.environment.tick(shop.environment.now + timedelta(seconds=5))


def work(shop: Shop, flow: str = "orders") -> list[int]:
    """The batches of the next read."""
    later(shop)
    with shop.environment.runtime() as runtime:
        return extract(runtime, flows.get(flow))


def worked(shop: Shop, flow: str = "orders") -> Any:
    later(shop)
    return shop.environment.sync(flow=flow)


def status(shop: Shop, key: int) -> str:
    """Of the order in TIMS."""
    with shop.environment.runtime() as runtime:
        (order,) = runtime.tims.find("sales-orders", ExternalOrderID=str(key))
    return order["OrderStatus"]


def in_tims(shop: Shop, key: int, action: str) -> None:
    """What a person does there: hold or release."""
    with shop.environment.runtime() as runtime:
        (order,) = runtime.tims.find("sales-orders", ExternalOrderID=str(key))
        body = {"Reason": "The buyer called"} if action == "hold" else {}
        name = f"{action}:{order['SalesOrderID']}:{order['RowVersion']}"
        runtime.tims.post(f"/sales-orders/{order['SalesOrderID']}/{action}", body, key=name).document()


def at_the_channel(shop: Shop, key: int, **changes: Any) -> None:
    """What somebody changes there."""
    later(shop)
    with shop.environment.runtime() as runtime:
        runtime.channel_advisor.update_order(str(key), changes)


def of_the_link(shop: Shop, key: int) -> str | None:
    ((by,),) = shop.environment.query(
        f"SELECT held_by FROM ops.link WHERE entity = 'sales_order' AND source_key = '{key}'"
    )
    return by


def send(shop: Shop, key: int, order_status: str, foreign: Mapping[str, Any] = {}) -> None:
    """Another flow's write to the channel's order; `foreign`: what somebody changes at the same moment."""
    refused: dict[str, RecordRejected] = {}

    def write(runtime: Any) -> bytes:
        if foreign:
            runtime.channel_advisor.update_order(str(key), dict(foreign))
        return runtime.channel_advisor.update_order(str(key), {"OrderStatus": order_status})

    def keep(_: sa.Connection, written: Sequence[str], others: Mapping[str, RecordRejected]) -> None:
        refused.update(others)

    later(shop)
    with shop.environment.runtime() as runtime:
        change = Change(str(key), {"OrderStatus": order_status}, partial(write, runtime))
        write_back(runtime, (ORDERS,), 0, [change], keep)
    assert not refused


# ---- echoes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_mark_of_orders_and_the_decision_of_returns_make_no_work(shop: Shop):
    shop.sold()
    assert work(shop) == []
    key = shop.give_back()
    assert worked(shop, "returns").delivered == 1
    assert shop.at_the_channel(key)["Status"] == "Refunded"
    assert work(shop, "returns") == []
    assert shop.environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


@pytest.mark.slow
def test_a_return_that_somebody_changes_beside_the_decision_is_worked(shop: Shop):
    shop.sold()
    key = shop.give_back()
    later(shop)
    with shop.environment.runtime() as runtime:
        (batch,) = extract(runtime, RETURNS)
        for name in ("transform", "check", "load"):
            STEPS[name](runtime, RETURNS, batch)
    (item,) = shop.at_the_channel(key)["Items"]
    shop.change(key, Items=[{**item, "RefundAmount": item["RefundAmount"] + 1}])
    with shop.environment.runtime() as runtime:
        STEPS["confirm"](runtime, RETURNS, batch)
    assert shop.at_the_channel(key)["Status"] == "Refunded"
    assert len(ids := work(shop, "returns")) == 1
    with shop.environment.runtime() as runtime:
        assert run_batches(runtime, RETURNS, ids).dead == 1  # what was posted is another one now
    assert shop.reasons(key)


@pytest.mark.slow
def test_a_second_writer_of_an_order_makes_no_work_either(shop: Shop):
    key = shop.sell()
    worked(shop)
    send(shop, key, "OnHold")
    assert work(shop) == []
    send(shop, key, "Processing")
    assert work(shop) == []
    assert status(shop, key) in ("Open", "Allocated")


@pytest.mark.slow
def test_what_somebody_changes_beside_a_second_writer_is_worked(shop: Shop):
    key = shop.sell()
    worked(shop)
    send(shop, key, "OnHold", foreign={"SpecialInstructions": "ring twice"})
    assert worked(shop).delivered == 1
    assert shop.in_tims()["Notes"].endswith("ring twice")


@pytest.mark.slow
def test_a_crash_between_write_and_remembering_costs_a_look_and_no_write(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    key = shop.sell()
    later(shop)
    with shop.environment.runtime() as runtime:
        ids = extract(runtime, ORDERS)
        with monkeypatch.context() as patch:
            patch.setattr(raw, "remember", die)
            with pytest.raises(KeyboardInterrupt):
                run_batches(runtime, ORDERS, ids)
    number = shop.in_tims()["SalesOrderID"]
    counts = worked(shop)
    assert (counts.delivered, counts.dead) == (0, 0)
    assert work(shop) == []
    with shop.environment.runtime() as runtime:
        order = msgspec.json.decode(runtime.channel_advisor.record("orders", str(key)))
    assert (order["Exported"], order["SellerOrderID"]) == (True, number)
    assert shop.environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


# ---- holds ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_channels_hold_is_released_by_the_channel(shop: Shop):
    key = shop.sell()
    worked(shop)
    at_the_channel(shop, key, OrderStatus="OnHold")
    worked(shop)
    assert (status(shop, key), of_the_link(shop, key)) == ("OnHold", "channel")
    at_the_channel(shop, key, OrderStatus="Processing")
    worked(shop)
    assert (status(shop, key) != "OnHold", of_the_link(shop, key)) == (True, None)


@pytest.mark.slow
def test_a_persons_hold_outlasts_the_channels(shop: Shop):
    key = shop.sell()
    worked(shop)
    in_tims(shop, key, "hold")
    at_the_channel(shop, key, OrderStatus="OnHold")
    worked(shop)
    assert of_the_link(shop, key) == "person"
    at_the_channel(shop, key, OrderStatus="Processing")
    worked(shop)
    assert (status(shop, key), of_the_link(shop, key)) == ("OnHold", "person")
    in_tims(shop, key, "release")
    at_the_channel(shop, key, OrderStatus="OnHold")
    worked(shop)
    assert (status(shop, key), of_the_link(shop, key)) == ("OnHold", "channel")


@pytest.mark.slow
def test_a_persons_hold_that_the_channel_was_told_does_not_come_back(shop: Shop):
    key = shop.sell()
    worked(shop)
    in_tims(shop, key, "hold")
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        holds.send(connection, [str(key)])
    send(shop, key, "OnHold")
    assert work(shop) == []
    at_the_channel(shop, key, SpecialInstructions="ring twice")
    worked(shop)
    assert (status(shop, key), of_the_link(shop, key)) == ("OnHold", "person")
    in_tims(shop, key, "release")  # and before the channel hears of it, somebody changes the order there once more
    at_the_channel(shop, key, SpecialInstructions="ring three times")
    worked(shop)
    assert status(shop, key) != "OnHold", "its OnHold there is the hold that the person has just released"
    send(shop, key, "Processing")
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        holds.end(connection, [str(key)])
    assert work(shop) == []
    at_the_channel(shop, key, OrderStatus="OnHold")  # this one is the channel's own
    worked(shop)
    assert (status(shop, key), of_the_link(shop, key)) == ("OnHold", "channel")


@pytest.mark.slow
def test_a_crash_between_a_hold_and_its_link_does_not_make_it_a_persons(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    key = shop.sell()
    worked(shop)
    at_the_channel(shop, key, OrderStatus="OnHold")
    ids = work(shop)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with shop.environment.runtime() as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(deliveries, "link", die)
            with pytest.raises(KeyboardInterrupt):
                run_batches(runtime, ORDERS, ids)
        assert (status(shop, key), of_the_link(shop, key)) == ("OnHold", None)
        run_batches(runtime, ORDERS, ids)
    assert of_the_link(shop, key) == "channel"
    at_the_channel(shop, key, OrderStatus="Processing")
    worked(shop)
    assert status(shop, key) != "OnHold"


def test_who_set_a_hold_is_kept_over_the_migration(postgres_url: str):
    url = sa.make_url(postgres_url)
    admin = database.engine(postgres_url, role=None).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE held_before")
    older = url.set(database="held_before").render_as_string(hide_password=False)
    try:
        database.migrate(older, "0022")
        engine = database.engine(older, role=None)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO ops.link (entity, source_key, target_id, held) VALUES ('sales_order', '1', 'SO-1', true), "
                "('sales_order', '2', 'SO-2', false), ('sales_order', '3', 'SO-3', true), "
                "('channel_listing', 'A@1', '7', true)"
            )
            connection.exec_driver_sql(
                "INSERT INTO stage.sales_order (key, batch_id, version, state, content_hash, own_location_id) "
                "VALUES ('3', 1, now(), 'delivered', 'x', 'MAIN')"
            )
        database.migrate(older)
        with engine.begin() as connection:
            rows = connection.exec_driver_sql("SELECT source_key, held_by FROM ops.link ORDER BY source_key")
            assert rows.fetchall() == [("1", "channel"), ("2", None), ("3", "crossdock"), ("A@1", "crossdock")]
        engine.dispose()
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE held_before WITH (FORCE)")
        admin.dispose()
