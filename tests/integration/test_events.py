"""Events become work: what waits in `ops.webhook_event` is read and taken to its target, on both systems over HTTP and
a real Postgres."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import Transient
from crossdock.flow import Flow
from crossdock.runtime import Runtime
from crossdock.steps import events
from crossdock.store import webhook_events
from crossdock.store.batches import Counts
from crossdock.store.webhook_events import Event
from integration.builders import line, place
from integration.environment import Environment

_numbers = count(1)
RUN = "test-events"


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    """An environment in which nothing happens but what a test does, read once."""
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-05")
    long_lived_environment.sync()
    return long_lived_environment


def ring(shop: Environment, *keys: str, flow: str = "orders", system: str = "channel_advisor") -> None:
    """Events as the receiver keeps them, a row for each key."""
    given = [Event(system, f"evt-{next(_numbers)}", flow, "OrderCreated", key) for key in keys]
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        assert webhook_events.add(connection, given) == len(keys)


def work(shop: Environment, seconds: float = 0.0) -> events.Worked:
    done = events.Worked()
    with shop.runtime() as runtime:
        events.work(runtime, flows.all_flows(), done, seconds=seconds, run_id=RUN)
    return done


def in_tims(shop: Environment) -> list[str]:
    return [order["ExternalOrderID"] for order in shop.in_tims()]


def waiting(shop: Environment) -> int:
    return shop.query("SELECT count(*) AS n FROM ops.webhook_event WHERE worked_at IS NULL")[0].n


@pytest.fixture(autouse=True)
def _nothing_waits(shop: Environment) -> Iterator[None]:
    yield
    shop.clear_faults()
    shop.query("UPDATE ops.webhook_event SET worked_at = now() WHERE worked_at IS NULL RETURNING 1")


def test_an_event_brings_its_order_to_tims_and_polling_finds_nothing_left(shop: Environment):
    key = place(shop, line())
    ring(shop, key)
    done = work(shop)
    assert (done.events, done.counts["orders"].delivered) == (1, 1)
    assert in_tims(shop).count(key) == 1
    shop.tick(shop.now + timedelta(minutes=10))
    assert shop.sync().delivered == 0
    assert in_tims(shop).count(key) == 1


def test_events_of_one_record_that_wait_together_read_it_once(shop: Environment):
    key = place(shop, line())
    ring(shop, key, key, key)
    done = work(shop)
    assert (done.events, done.counts["orders"].read) == (3, 1)
    assert waiting(shop) == 0


def test_an_event_that_comes_again_later_makes_no_work(shop: Environment):
    key = place(shop, line())
    ring(shop, key)
    work(shop)
    ring(shop, key)
    done = work(shop)
    assert (done.events, done.counts["orders"].delivered) == (1, 0)
    assert in_tims(shop).count(key) == 1


def test_an_event_of_a_record_that_is_not_there_stops_no_other(shop: Environment):
    key = place(shop, line())
    ring(shop, "999999999", "no number at all", key)
    done = work(shop)
    assert (done.events, done.counts["orders"].delivered) == (3, 1)
    assert waiting(shop) == 0


def test_in_a_storm_the_list_is_read_in_place_of_each_record(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "MANY", 3)
    keys = [place(shop, line()) for _ in range(4)]
    shop.tick(shop.now + timedelta(minutes=5))
    ring(shop, *keys * 5)
    done = work(shop)
    assert done.events == 20
    assert done.counts["orders"].delivered == 4
    kinds = shop.query(f"SELECT kind FROM ops.batch WHERE run_id = '{RUN}' ORDER BY id DESC LIMIT 1")
    assert [one.kind for one in kinds] == ["scheduled"]


def test_a_flow_whose_system_is_down_is_tried_again_and_nothing_is_lost(shop: Environment):
    key = place(shop, line())
    shop.fault("tims", "error_before")
    ring(shop, key)
    with pytest.raises(Transient):
        work(shop)
    assert waiting(shop) == 1
    shop.clear_faults()
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.circuit"))
    done = work(shop)
    assert done.counts["orders"].delivered == 1
    assert waiting(shop) == 0
    assert in_tims(shop).count(key) == 1


def test_a_worker_that_waits_is_woken_by_an_event(shop: Environment):
    key = place(shop, line())
    with shop.runtime() as runtime:
        worker = threading.Thread(
            target=lambda: events.work(runtime, flows.all_flows(), events.Worked(), seconds=20.0, run_id=RUN)
        )
        worker.start()
        time.sleep(2.0)
        ring(shop, key)
        until = time.monotonic() + 15.0
        while waiting(shop) and time.monotonic() < until:
            time.sleep(0.1)
        worker.join()
    assert in_tims(shop).count(key) == 1


def test_the_newest_worker_takes_over_and_the_one_before_it_ends(shop: Environment):
    keys = [place(shop, line()) for _ in range(2)]
    with shop.runtime() as first, shop.runtime() as second:
        before, after = events.Worked(), events.Worked()
        old = threading.Thread(target=lambda: events.work(first, flows.all_flows(), before, seconds=60.0, run_id=RUN))
        new = threading.Thread(target=lambda: events.work(second, flows.all_flows(), after, seconds=5.0, run_id="next"))
        old.start()
        ring(shop, keys[0])
        until = time.monotonic() + 30.0
        while not before.events and time.monotonic() < until:
            time.sleep(0.05)
        new.start()
        old.join(30.0)
        assert not old.is_alive()
        ring(shop, keys[1])
        new.join(60.0)
    assert (before.events, after.events) == (1, 1)
    assert [in_tims(shop).count(key) for key in keys] == [1, 1]
    assert waiting(shop) == 0


def test_a_fault_in_one_flow_holds_up_no_other_and_loses_nothing(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    real = events.one_pass

    def broken(runtime: Runtime, flow: Flow, **more: Any) -> tuple[int, Counts]:
        if flow.name == "shipments":
            raise KeyError("a fault of the program")
        return real(runtime, flow, **more)

    key = place(shop, line())
    ring(shop, "1", flow="shipments", system="tims")
    ring(shop, key)
    monkeypatch.setattr(events, "one_pass", broken)
    with pytest.raises(KeyError):
        work(shop)
    assert in_tims(shop).count(key) == 1
    assert waiting(shop) == 1


def test_the_first_flow_has_every_second_pass_and_the_others_take_turns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "ECHOES", 0.0)
    turns, order = events._Turns(flows.all_flows()), []
    for _ in range(8):
        name = turns.next(["orders", "shipments", "inventory"])
        assert name
        order.append(name)
        turns.note(name, None)
    assert order == ["orders", "shipments", "orders", "inventory"] * 2


def test_a_flow_whose_events_are_mostly_echoes_pauses_between_its_passes():
    turns = events._Turns(flows.all_flows())
    assert turns.next(["inventory"]) == "inventory"
    turns.note("inventory", None)
    turns.note("orders", None)
    assert turns.next(["inventory"]) is None
    assert turns.next(["orders", "inventory"]) == "orders"
    assert 0.0 < turns.pause(["inventory"]) <= events.ECHOES
    turns.note("inventory", None, seconds=4.0)
    assert events.ECHOES < turns.pause(["inventory"]) <= 4.0 * events.REST
