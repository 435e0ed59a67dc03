"""How people see events, on a real Postgres: what waits, how long each leg took, no time that nobody has measured."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import ConfigError, NotAllowed
from crossdock.services import events, overview
from crossdock.services.people import Person, Role
from crossdock.steps import events as worker
from crossdock.store import database, webhook_events
from crossdock.store.tables import ops_alert, ops_batch, ops_delivery, ops_watermark, ops_webhook_event
from crossdock.store.webhook_events import Event, Filter
from crossdock.systems.inbox import Inbox
from crossdock.watch import freshness
from integration.builders import line, place
from integration.environment import Environment, fresh_database

VIEWER = Person("bob", frozenset({Role.VIEWER}))
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "event_times") as url:
        made = database.engine(url)
        yield made
        made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is rolled back: each test begins with an empty database, and one moment is its present."""
    with engine.connect() as opened, opened.begin() as transaction:
        yield opened
        transaction.rollback()


def now(connection: sa.Connection) -> datetime:
    return connection.scalars(sa.select(sa.func.now())).one()


def rung(connection: sa.Connection, id: str, ago: timedelta = MINUTE, **values: object) -> datetime:
    """An event that came so long ago, and when."""
    at = now(connection) - ago
    row = {"system": "channel_advisor", "event_id": id, "flow": "orders", "event_type": "OrderCreated", "key": id,
           "received_at": at, **values}  # fmt: skip
    connection.execute(sa.insert(ops_webhook_event).values(row))
    return at


def worked(connection: sa.Connection, id: str, ago: timedelta = MINUTE, **values: object) -> None:
    """An event with every leg: sent 0.4 s before it came, taken after 0.2, written after 0.8, confirmed after 0.1."""
    at = rung(connection, id, ago, **values)
    taken, written = at + 0.2 * SECOND, at + 1 * SECOND
    event = ops_webhook_event.c
    connection.execute(
        sa.update(ops_webhook_event)
        .where(event.event_id == id)
        .values(occurred_at=at - 0.4 * SECOND, taken_at=taken, worked_at=written + 0.2 * SECOND, times=1)
    )
    batch = sa.insert(ops_batch).values(flow="orders", kind="event", step="confirm", finished_at=written + 0.1 * SECOND)
    number = connection.scalar(batch.returning(ops_batch.c.id))
    connection.execute(
        sa.insert(ops_delivery).values(
            flow="orders", batch_id=number, entity="sales_order", operation="create", key=id, idempotency_key=f"i:{id}",
            outcome="confirmed", done_at=written,
        )
    )  # fmt: skip


def listed(connection: sa.Connection, *, limit: int = 50, **wanted: str) -> list[str]:
    """The ids of all events of a filter, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = events.listed(connection, VIEWER, Filter(**wanted), after=after, limit=limit)
        found += [row.event_id for row in page.rows]
        after = page.after
        if after is None:
            return found


# ---- the panel ----
def test_where_no_event_has_come_events_are_off_and_nothing_is_wrong(connection: sa.Connection) -> None:
    found = overview.overview(connection, VIEWER)
    assert not found.events.are_on
    assert found.events.flows == ()
    assert found.well


def test_each_leg_of_the_last_hour_is_measured(connection: sa.Connection) -> None:
    for number in range(3):
        worked(connection, f"evt_{number}", number * MINUTE)
    worked(connection, "evt_old", 2 * HOUR)
    (orders,) = events.panel(connection, VIEWER).flows
    assert (orders.flow, orders.target, orders.received, orders.waiting, orders.since) == ("orders", "tims", 3, 0, None)
    legs = {name: (round(leg.usual_seconds, 3), round(leg.slow_seconds, 3), leg.measured)
            for name, leg in orders.legs.items()}  # fmt: skip
    assert legs == {
        "sent": (0.4, 0.4, 3), "taken": (0.2, 0.2, 3), "written": (0.8, 0.8, 3), "confirmed": (0.1, 0.1, 3),
        "whole": (1.0, 1.0, 3),
    }  # fmt: skip
    assert tuple(legs) == events.LEGS


def test_what_waits_is_counted_by_flow_with_its_age(connection: sa.Connection) -> None:
    rung(connection, "evt_1", 7 * MINUTE)
    oldest = rung(connection, "evt_2", 3 * HOUR)
    rung(connection, "evt_3", HOUR / 2, system="tims", flow="shipments")
    rung(connection, "evt_4", system="tims", flow="", worked_at=now(connection))
    found = events.panel(connection, VIEWER)
    assert {one.flow: (one.waiting, one.received) for one in found.flows} == {"orders": (2, 1), "shipments": (1, 1)}
    orders = next(one for one in found.flows if one.flow == "orders")
    assert (orders.since, orders.age_seconds) == (oldest, 3 * 3600)
    assert orders.legs == {}
    assert [(one.system, one.last_at) for one in found.senders] == [
        ("channel_advisor", now(connection) - 7 * MINUTE), ("tims", now(connection) - MINUTE),
    ]  # fmt: skip


def test_the_clock_of_a_source_that_is_not_ours_is_no_delay(connection: sa.Connection) -> None:
    worked(connection, "evt_1")
    long_ago = now(connection) - 5000 * DAY
    connection.execute(sa.update(ops_webhook_event).values(occurred_at=long_ago))
    connection.execute(
        sa.insert(ops_watermark).values(flow="orders", resource="channel_advisor.orders", position=long_ago)
    )
    (orders,) = events.panel(connection, VIEWER).flows
    assert orders.other_clock
    assert set(orders.legs) == set(events.LEGS) - {"sent"}
    (row,) = events.listed(connection, VIEWER, Filter()).rows
    assert (row.other_clock, row.occurred_at, "sent" in row.legs) == (True, long_ago, False)


def test_a_delivery_that_another_run_made_is_no_time_of_the_event(connection: sa.Connection) -> None:
    worked(connection, "evt_1")
    connection.execute(sa.update(ops_delivery).values(done_at=ops_delivery.c.done_at - HOUR))
    (row,) = events.listed(connection, VIEWER, Filter()).rows
    assert set(row.legs) == {"sent", "taken"}


# ---- event by event ----
def test_every_event_is_listed_once_the_newest_first_also_where_many_came_at_one_moment(
    connection: sa.Connection,
) -> None:
    for number in range(7):
        rung(connection, f"evt_{number}", (number // 3) * MINUTE)
    rung(connection, "evt_0", 0 * MINUTE, flow="returns")  # one event for two flows
    rung(connection, "a~b~c", 0 * MINUTE, system="tims", flow="holds")
    for limit in (1, 2, 5, 50):
        found = listed(connection, limit=limit)
        assert sorted(found) == sorted([*(f"evt_{number}" for number in range(7)), "evt_0", "a~b~c"])
        assert found[-1] == "evt_6"


def test_a_filter_shows_what_it_says(connection: sa.Connection) -> None:
    rung(connection, "evt_waits", key="4711")
    rung(connection, "evt_taken", taken_at=now(connection), times=1)
    worked(connection, "evt_done")
    rung(connection, "evt_tims", system="tims", flow="holds", key="4711")
    rung(connection, "evt_unread", flow="", worked_at=now(connection))
    assert set(listed(connection, state="waiting")) == {"evt_waits", "evt_taken", "evt_tims"}
    assert listed(connection, state="worked") == ["evt_done"]
    assert listed(connection, state="unread") == ["evt_unread"]
    assert listed(connection, system="tims") == ["evt_tims"]
    assert listed(connection, flow="holds") == ["evt_tims"]
    assert set(listed(connection, text="4711")) == {"evt_waits", "evt_tims"}
    assert listed(connection, text="4711", flow="orders") == ["evt_waits"]
    assert listed(connection, text="evt_taken") == ["evt_taken"]
    assert listed(connection, text="nothing") == []
    states = {row.event_id: row.state for row in events.listed(connection, VIEWER, Filter()).rows}
    assert states == {"evt_waits": "waiting", "evt_taken": "taken", "evt_done": "worked", "evt_tims": "waiting",
                      "evt_unread": "unread"}  # fmt: skip


@pytest.mark.parametrize("after", ["", "x", "~~~", "2011-01-01~a~b", "x~a~b~c"])
def test_a_place_that_there_is_not_is_refused_in_words(connection: sa.Connection, after: str) -> None:
    with pytest.raises(ConfigError, match="no place in the list"):
        events.listed(connection, VIEWER, Filter(), after=after)


def test_a_state_that_there_is_not_and_a_person_without_a_role_are_refused(connection: sa.Connection) -> None:
    with pytest.raises(ConfigError, match="There is no state 'taken'"):
        events.listed(connection, VIEWER, Filter(state="taken"))
    eve = Person("eve", frozenset())
    with pytest.raises(NotAllowed):
        events.panel(connection, eve)
    with pytest.raises(NotAllowed):
        events.listed(connection, eve, Filter())


def test_real_events_have_every_leg_of_the_way_to_tims(long_lived_environment: Environment) -> None:
    shop = long_lived_environment
    shop.part = 10**9
    shop.tick("2011-01-05")
    shop.sync()
    key = place(shop, line())
    with shop.runtime() as runtime:
        with runtime.engine.begin() as opened:
            then = datetime(2011, 1, 5, tzinfo=UTC)
            webhook_events.add(opened, [Event("channel_advisor", "evt_real", "orders", "OrderCreated", key, 1, then)])
        worker.work(runtime, flows.all_flows(), worker.Worked(), seconds=0.0, run_id="test")
        with runtime.engine.begin() as opened:
            (row,) = events.listed(opened, VIEWER, Filter(text="evt_real")).rows
    assert (row.state, row.key, row.times) == ("worked", key, 1)
    assert set(row.legs) == {"taken", "written", "confirmed", "whole"}, "the sandbox lives in 2011"
    assert all(0 <= seconds < 60 for seconds in row.legs.values())


# ---- the watch ----
def alarms(engine: sa.Engine) -> list[freshness.Finding]:
    found = freshness.watch(engine, flows.all_flows(), Inbox(Path("nowhere")))
    return [finding for finding in found if finding.kind == "events_wait"]


@pytest.fixture
def rings(engine: sa.Engine) -> Iterator[sa.Engine]:
    """For what is committed."""
    yield engine
    with engine.begin() as opened:
        for table in (ops_webhook_event, ops_alert):
            opened.execute(sa.delete(table))


def ring(engine: sa.Engine, *given: tuple[str, timedelta, dict[str, object]]) -> None:
    with engine.begin() as opened:
        for id, ago, values in given:
            rung(opened, id, ago, **values)


def test_events_that_wait_too_long_are_an_alert_that_names_flow_count_and_age(rings: sa.Engine) -> None:
    ring(rings, ("evt_1", 12 * MINUTE, {}), ("evt_2", MINUTE, {}), ("evt_3", MINUTE, {"flow": "returns"}))
    (alarm,) = alarms(rings)
    assert (alarm.key, alarm.flow) == ("orders", "orders")
    assert alarm.title == "Orders: 2 events wait, the oldest for 12 min"
    assert "No run has taken them." in alarm.body
    assert "the DAG events: is it paused" in alarm.body
    with rings.begin() as opened:
        assert opened.scalar(sa.select(sa.func.count()).select_from(ops_alert)) == 1


def test_an_alert_says_whether_a_run_has_tried(rings: sa.Engine) -> None:
    ring(rings, ("evt_1", 12 * MINUTE, {"times": 4, "flow": "a_flow_of_yesterday"}))
    (alarm,) = alarms(rings)
    assert alarm.title == "a_flow_of_yesterday: an event waits for 12 min"
    assert "4 times at most" in alarm.body


def test_events_that_are_off_or_worked_or_young_are_no_alert(rings: sa.Engine) -> None:
    assert alarms(rings) == []
    ring(rings, ("evt_1", 4 * MINUTE, {}), ("evt_2", 30 * MINUTE, {"worked_at": datetime.now(UTC)}))
    assert alarms(rings) == []
    with rings.begin() as opened:
        opened.execute(sa.delete(ops_webhook_event))
    ring(rings, ("evt_left", 2 * HOUR, {}))  # nothing has come since: events were turned off
    assert alarms(rings) == []
