"""The overview on a real Postgres: every number is the count of the records behind it; alerts, silences, batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock import flows
from crossdock.errors import BatchStopped, ConfigError, NotAllowed
from crossdock.services import letters, overview, worth
from crossdock.services.overview import Lane, Overview
from crossdock.services.people import Person, Role, on_this_machine
from crossdock.steps.run_batches import STEPS
from crossdock.store import alerts, batches, database
from crossdock.store.tables import (
    ops_alert,
    ops_audit,
    ops_batch,
    ops_circuit,
    ops_dead_letter,
    ops_delivery,
    ops_rate_lease,
    ops_silence,
    ops_watermark,
    ops_work,
    raw_orders,
    stage_sales_order,
)
from crossdock.systems import limits
from integration.builders import line, place
from integration.environment import Environment, fresh_database

CLERK = Person("ada", frozenset({Role.CLERK}), "192.0.2.7")
VIEWER = Person("bob", frozenset({Role.VIEWER}))
HOUR = timedelta(hours=1)
TEXT = "<script>alert(1)</script> \u202egnp.exe \U0001f9ff"


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "overview") as url:
        made = database.engine(url)
        yield made
        made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is rolled back: each test begins with an empty database."""
    with engine.connect() as opened, opened.begin() as transaction:
        yield opened
        transaction.rollback()


def now() -> datetime:
    return datetime.now(UTC)


def lane(found: Overview, name: str = "orders") -> Lane:
    return next(one for one in found.lanes if one.flow == name)


def batch(connection: sa.Connection, **values: object) -> int:
    made = {"flow": "orders", "kind": "scheduled", "step": "confirm", "read": 0, **values}
    return int(connection.scalar(sa.insert(ops_batch).values(made).returning(ops_batch.c.id)) or 0)


def staged(connection: sa.Connection, key: str, batch_id: int, state: str, **values: object) -> None:
    row = {"key": key, "batch_id": batch_id, "version": now() - HOUR, "state": state, **values}
    connection.execute(sa.insert(stage_sales_order).values(row))


def letter(connection: sa.Connection, key: str, ago: timedelta = timedelta(), **values: object) -> None:
    row = {
        "flow": "orders", "entity": "sales_order", "key": key, "batch_id": 1, "step": "check", "version": now(),
        "reasons": [{"rule": "unknown_sku", "says": TEXT}], "created_at": now() - ago,
        "payload": {"TotalPrice": "12.50", "Currency": "GBP"}, **values,
    }  # fmt: skip
    connection.execute(sa.insert(ops_dead_letter).values(row))


def keys(connection: sa.Connection, state: str) -> list[str]:
    """The keys behind a number, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = overview.records_behind(connection, VIEWER, "orders", state, after=after, limit=2)
        found += [row.key for row in page.rows]
        after = page.after
        if after is None:
            return found


def test_an_empty_database_is_well(connection: sa.Connection) -> None:
    found = overview.overview(connection, VIEWER)
    assert found.well
    assert [one.flow for one in found.lanes] == list(flows.all_flows())
    assert {one.circuit for one in found.systems} == {"closed"}
    assert lane(found).read_at is None
    assert found.held_dead == found.held_waiting == {}
    for state in overview.LIST_STATES:
        assert keys(connection, state) == []


def test_lanes_go_where_the_dags_say() -> None:
    for name, dag in (("orders", "tims"), ("returns", "tims"), ("invoices", "tims"), ("payments", "tims"),
                      ("shipments", "channel_advisor"), ("holds", "channel_advisor"), ("prices", "channel_advisor"),
                      ("inventory", "channel_advisor"), ("catalog", "channel_advisor")):  # fmt: skip
        assert flows.get(name).target == dag


def test_every_number_counts_the_records_that_it_leads_to(connection: sa.Connection) -> None:
    done = batch(connection, read=4, delivered=3, waiting=1, finished_at=now() - 2 * HOUR)
    for number in range(3):
        staged(connection, f"d{number}", done, "delivered")
    staged(connection, "w1", done, "waiting", reason="customer", TotalAmount=Decimal("7.25"), CurrencyCode="GBP")
    older = batch(connection, read=1, delivered=1, finished_at=now() - 30 * HOUR)
    staged(connection, "old", older, "delivered")
    at_work = batch(connection, read=3, in_flight=3, step="transform")
    staged(connection, "f1", at_work, "staged")
    staged(connection, "f2", at_work, "ready")
    for key in ("f1", "f2", "f3"):  # the third is not transformed yet
        connection.execute(sa.insert(ops_work).values(queue="orders", key=key, hash=key, batch_id=at_work))
    letter(connection, "x1")
    letter(connection, "x2", 25 * HOUR, payload={"TotalPrice": "1", "Currency": "EUR"})
    letter(connection, "x3", 26 * HOUR, state="dismissed")
    letter(connection, "x5", 60 * HOUR, state="replayed", updated_at=now() - 25 * HOUR)
    letter(connection, "x4", 60 * HOUR)
    found = lane(overview.overview(connection, VIEWER))
    assert (found.delivered, found.waiting, found.in_flight, found.dead) == (3, 1, 3, 3)
    assert found.hours[-3:] == (3, 0, 0)
    assert len(found.hours) == 24
    assert sorted(keys(connection, "delivered")) == ["d0", "d1", "d2"]
    assert keys(connection, "waiting") == ["w1"]
    assert keys(connection, "in_flight") == ["f1", "f2", "f3"]
    assert sorted(keys(connection, "dead")) == ["x1", "x2", "x4"]
    assert (found.dead_new, found.dead_closed) == (1, 1)
    assert keys(connection, "dead_new") == ["x1"]
    assert keys(connection, "dead_closed") == ["x3"]
    assert found.held_dead == {"EUR": Decimal("1.00"), "GBP": Decimal("25.00")}
    assert found.held_waiting == {"GBP": Decimal("7.25")}
    assert not overview.overview(connection, VIEWER).well


def test_a_late_read_is_seen_and_a_late_source_clock_is_not_taken_for_it(connection: sa.Connection) -> None:
    mark = {"flow": "orders", "resource": "channel_advisor.orders", "position": now() - timedelta(days=900)}
    connection.execute(sa.insert(ops_watermark).values(**mark, read_at=now() - timedelta(minutes=29)))
    assert not lane(overview.overview(connection, VIEWER)).stale
    connection.execute(sa.update(ops_watermark).values(read_at=now() - timedelta(minutes=31)))
    found = overview.overview(connection, VIEWER)
    assert [one.flow for one in found.stale] == ["orders"]


def test_the_time_from_the_event_to_the_document(connection: sa.Connection) -> None:
    """Of 20 orders, each took a second longer than the one before; the clock of the source is ours."""
    mark = {"flow": "orders", "resource": "channel_advisor.orders", "position": now()}
    connection.execute(sa.insert(ops_watermark).values(**mark))
    done, end = batch(connection, read=20, delivered=20, finished_at=now()), now()
    for number in range(1, 21):
        key = str(number)
        staged(connection, key, done, "delivered", version=end - timedelta(seconds=number))
        connection.execute(
            sa.insert(ops_delivery).values(
                flow="orders", batch_id=done, entity="sales_order", operation="create", key=key, idempotency_key=key,
                outcome="confirmed", done_at=end,
            )
        )  # fmt: skip
    found = lane(overview.overview(connection, VIEWER))
    assert found.usual_seconds == pytest.approx(10.5)
    assert found.slow_seconds == pytest.approx(19.05)
    assert (found.measured, found.since_read) == (20, False)


def test_systems_say_their_budget_and_their_circuit(connection: sa.Connection) -> None:
    for ago, tokens in ((5, 20), (30, 12), (90, 500), (-20, 0)):
        moment = now() - timedelta(seconds=ago)
        connection.execute(sa.insert(ops_rate_lease).values(system="tims", at=moment, tokens=tokens))
    connection.execute(sa.insert(ops_circuit).values(system="tims", state="open", failures=10, opened_at=now()))
    channel, tims = overview.overview(connection, VIEWER).systems
    assert (tims.used, tims.per_minute, tims.circuit, tims.failures) == (
        32,
        limits.load("tims").requests_per_minute,
        "open",
        10,
    )
    assert tims.paused_until is not None
    assert (channel.used, channel.circuit, channel.paused_until) == (0, "closed", None)


AMOUNTS = st.lists(
    st.tuples(
        st.sampled_from(["orders", "returns", "payouts"]), st.sampled_from(["unknown_sku", "country_unknown"]),
        st.decimals(min_value=-10**6, max_value=10**6, places=4), st.sampled_from(["GBP", "EUR", "JPY", "KWD", "XYZ"]),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(AMOUNTS)
def test_overview_and_desk_agree_on_the_money_to_the_cent(
    connection: sa.Connection, amounts: list[tuple[str, str, Decimal, str]]
) -> None:
    """Both say what the rows of the desk add up to: each is rounded to its currency's smallest unit."""
    with connection.begin_nested() as savepoint:
        for number, (flow, rule, amount, currency) in enumerate(amounts):
            letter(connection, f"m{number}", flow=flow, reasons=[{"rule": rule}],
                   payload={"TotalPrice": str(amount), "Currency": currency})  # fmt: skip
        page = overview.overview(connection, VIEWER)
        groups = letters.groups(connection, VIEWER)
        rows = letters.letters(connection, VIEWER, limit=500).rows
        savepoint.rollback()
    summed = worth.added({row.currency_code or "": row.amount} for row in rows if row.amount is not None)
    assert page.held_dead == worth.added(group.worth for group in groups) == summed
    assert page.held_dead == worth.added(lane.held_dead for lane in page.lanes)
    for currency, total in summed.items():
        assert -int(total.as_tuple().exponent) == {"JPY": 0, "KWD": 3}.get(currency, 2)


# ---- alerts --------------------------------------------------------------------------------------------------------


def raised(connection: sa.Connection, key: str = "orders") -> int:
    alerts.raise_alert(connection, kind="stale", key=key, title=TEXT, body="nothing has been read", flow="orders")
    return int(connection.scalar(sa.select(sa.func.max(ops_alert.c.id)).where(ops_alert.c.key == key)) or 0)


def silenced(connection: sa.Connection) -> list[overview.Alert]:
    return [one for group in overview.overview(connection, VIEWER).silenced for one in group.alerts]


def unsent(connection: sa.Connection) -> list[int]:
    return [row.id for row in alerts.unsent(connection)]


def test_an_alert_that_somebody_has_noted_is_not_open_and_its_next_one_is(connection: sa.Connection) -> None:
    number = raised(connection)
    overview.acknowledge(connection, CLERK, number)
    raised(connection)  # within the window: the same alert goes on
    assert overview.overview(connection, VIEWER).alerts == ()
    connection.execute(sa.update(ops_alert).values(last_at=now() - 5 * HOUR))
    again = raised(connection)
    assert [one.id for one in overview.overview(connection, VIEWER).alerts] == [again]
    row = connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id.desc()).limit(1)).one()
    assert (row.who, row.action, row.subject) == ("ada", "alert acknowledge", str(number))


def test_alerts_of_one_kind_and_key_are_one(connection: sa.Connection) -> None:
    first = raised(connection)
    connection.execute(sa.update(ops_alert).values(first_at=now() - 9 * HOUR, last_at=now() - 8 * HOUR, times=3))
    again = raised(connection)
    other = raised(connection, "returns")
    connection.execute(sa.update(ops_alert).where(ops_alert.c.id == other).values(last_at=now() - HOUR))
    found = overview.overview(connection, VIEWER).alerts
    assert [(one.id, one.times) for one in found] == [(again, 4), (other, 1)]
    assert found[0].first_at < now() - 8 * HOUR
    assert found[0].last_at > now() - HOUR
    overview.acknowledge(connection, CLERK, again)
    assert [one.id for one in overview.overview(connection, VIEWER).alerts] == [other]
    (noted,) = overview.noted(connection, VIEWER)
    assert (noted.times, noted.noted_by) == (4, "ada")
    assert overview.overview(connection, VIEWER).noted == 1
    overview.take_back(connection, CLERK, noted.id)
    assert [one.id for one in overview.overview(connection, VIEWER).alerts] == [again, other]
    assert overview.noted(connection, VIEWER) == []
    with pytest.raises(ConfigError, match="open already"):
        overview.take_back(connection, CLERK, first)
    row = connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id.desc()).limit(1)).one()
    assert (row.who, row.action, row.detail["note"]) == ("ada", "alert take back", "ada had taken note of it")


def test_a_silence_stands_in_its_list_also_when_its_alert_was_noted(connection: sa.Connection) -> None:
    number = raised(connection)
    overview.silence(connection, CLERK, number, "known", hours=1)
    overview.acknowledge(connection, CLERK, number)
    assert [one.id for one in silenced(connection)] == [number]
    overview.end_silence(connection, CLERK, number)
    assert overview.overview(connection, VIEWER).silenced == ()


def many(connection: sa.Connection, count: int, kind: str = "payment_failed") -> int:
    """Alerts of one kind about so many orders; the number of the newest."""
    for n in range(count):
        alerts.raise_alert(
            connection, kind=kind, key=f"order {n}", title=f"Order {n}: payment failed", flow="orders",
            body="The payment failed; the order is held. Ask the buyer for another payment, or cancel the order on the "
            "channel.", severity="notice",
        )  # fmt: skip
    return int(connection.scalar(sa.select(sa.func.max(ops_alert.c.id))) or 0)


def deeds(connection: sa.Connection) -> list[sa.Row]:
    return list(connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id)))


def test_alerts_of_one_kind_are_a_group_that_is_noted_at_once(connection: sa.Connection) -> None:
    newest = many(connection, 60)
    alone = raised(connection)
    found = overview.overview(connection, VIEWER)
    assert [(one.kind, one.count, len(one.alerts)) for one in found.groups] == [
        ("stale", 1, 1), ("payment_failed", 60, overview.SHOWN_ALERTS),
    ]  # fmt: skip
    assert found.groups[1].title == "Payment failed"
    assert found.groups[1].newest == newest
    assert found.open_alerts == 61
    late = many(connection, 61)  # the first 60 go on, one is new
    before = len(deeds(connection))
    assert overview.acknowledge_all(connection, CLERK, "payment_failed", newest) == 60
    (deed,) = deeds(connection)[before:]
    assert (deed.who, deed.action, deed.subject) == ("ada", "alerts acknowledge", "60 alerts “Payment failed”")
    assert sorted(one.id for one in overview.overview(connection, VIEWER).alerts) == [alone, late]
    (noted,) = overview.noted(connection, VIEWER)
    assert (noted.together, overview.overview(connection, VIEWER).noted) == (60, 60)
    overview.take_back(connection, CLERK, noted.id)
    assert overview.overview(connection, VIEWER).open_alerts == 62


def test_a_group_is_silenced_at_once_and_what_is_new_is_told_of(connection: sa.Connection) -> None:
    newest = many(connection, 12)
    before = len(deeds(connection))
    count, until = overview.silence_all(connection, CLERK, "payment_failed", newest, "the bank is down", hours=4)
    (deed,) = deeds(connection)[before:]
    assert (count, deed.action, deed.detail["note"]) == (12, "alerts silence", "the bank is down")
    assert unsent(connection) == []
    found = overview.overview(connection, VIEWER)
    assert found.groups == ()
    assert [(one.title, one.until, len(one.alerts)) for one in found.silenced] == [("Payment failed", until, 12)]
    new = many(connection, 13)
    assert unsent(connection) == [new]
    overview.end_silence(connection, CLERK, *(one.id for one in silenced(connection)))
    assert len(unsent(connection)) == 13
    assert deeds(connection)[-1].subject == "12 alerts “Payment failed”"


def test_a_group_that_is_not_open_any_more_is_refused_in_words(connection: sa.Connection) -> None:
    newest = many(connection, 2)
    for kind, number in (("payment_failed", newest - 2), ("no_such_kind", newest), (TEXT, newest)):
        with pytest.raises(ConfigError, match="is open any more"):
            overview.acknowledge_all(connection, CLERK, kind, number)
        with pytest.raises(ConfigError, match="is open any more"):
            overview.silence_all(connection, CLERK, kind, number, "why", hours=1)
    with pytest.raises(ConfigError, match="reason"):
        overview.silence_all(connection, CLERK, "payment_failed", newest, " ", hours=1)


def test_a_system_says_what_was_asked_of_it(connection: sa.Connection) -> None:
    done = batch(connection)
    connection.execute(
        sa.insert(ops_delivery).values(
            flow="orders", batch_id=done, entity="sales_order", operation="create", key="1", idempotency_key="1",
            outcome="confirmed", status=201, done_at=now(),
        )
    )  # fmt: skip
    connection.execute(sa.insert(ops_rate_lease).values(system="tims", at=now() - timedelta(seconds=90), tokens=7))
    found = overview.calls(connection, VIEWER, "tims")
    assert [(one.title, one.what, one.key, one.status) for one in found.calls] == [
        ("Orders", "create sales order", "1", 201)
    ]
    assert dict(found.minutes)[1] == 7
    assert overview.calls(connection, VIEWER, "channel_advisor").calls == ()
    connection.execute(
        sa.insert(ops_delivery).values(
            flow="orders", batch_id=done, entity="customer", operation="create", key="1:2:buyer-ada",
            idempotency_key="2", outcome="confirmed", status=201, response_id="C-1", done_at=now(),
        )
    )  # fmt: skip
    found = overview.calls(connection, VIEWER, "tims")
    assert "C-1" in [one.key for one in found.calls]
    assert "buyer-ada" not in str(found)
    with pytest.raises(ConfigError, match="no system"):
        overview.calls(connection, VIEWER, TEXT)


def test_a_silence_holds_messages_back_and_they_come_back_afterwards(connection: sa.Connection) -> None:
    number, other = raised(connection), raised(connection, "returns")
    overview.silence(connection, CLERK, number, "the channel is in maintenance", hours=1)
    assert unsent(connection) == [other]
    found = overview.overview(connection, VIEWER)
    assert [one.id for one in found.alerts] == [other]
    assert [(one.id, one.silence_reason, one.silenced_by) for one in silenced(connection)] == [
        (number, "the channel is in maintenance", "ada")
    ]
    connection.execute(sa.update(ops_silence).values(until=now() - HOUR / 60))
    assert sorted(unsent(connection)) == [number, other]
    assert len(overview.overview(connection, VIEWER).alerts) == 2


def test_an_alert_that_was_sent_before_its_silence_is_sent_again_if_it_goes_on_after_it(
    connection: sa.Connection,
) -> None:
    number = raised(connection)
    connection.execute(sa.update(ops_alert).values(sent_at=now() - 3 * HOUR, last_at=now() - 2 * HOUR))
    overview.silence(connection, CLERK, number, "known", hours=1)
    connection.execute(sa.update(ops_silence).values(until=now() - HOUR))
    assert unsent(connection) == [], "it has not come up since"
    connection.execute(sa.update(ops_alert).values(last_at=now()))
    assert unsent(connection) == [number]
    alerts.mark_sent(connection, [number])
    assert unsent(connection) == []


def test_a_silence_can_be_ended_and_must_have_a_reason_and_an_end(connection: sa.Connection) -> None:
    number = raised(connection)
    with pytest.raises(ConfigError, match="reason"):
        overview.silence(connection, CLERK, number, "  ", hours=1)
    with pytest.raises(ConfigError, match="501 characters"):
        overview.silence(connection, CLERK, number, "x" * 501, hours=1)
    for hours in (0, -1, 24 * 31, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="hours"):
            overview.silence(connection, CLERK, number, "why", hours=hours)
    with pytest.raises(ConfigError, match="not silenced"):
        overview.end_silence(connection, CLERK, number)
    overview.silence(connection, CLERK, number, "why", hours=1)
    overview.end_silence(connection, CLERK, number)
    assert unsent(connection) == [number]


def test_a_viewer_changes_nothing(connection: sa.Connection) -> None:
    number = raised(connection)
    for change in (
        lambda: overview.acknowledge(connection, VIEWER, number),
        lambda: overview.take_back(connection, VIEWER, number),
        lambda: overview.silence(connection, VIEWER, number, "why", hours=1),
        lambda: overview.end_silence(connection, VIEWER, number),
        lambda: overview.acknowledge_all(connection, VIEWER, "stale", number),
        lambda: overview.silence_all(connection, VIEWER, "stale", number, "why", hours=1),
        lambda: overview.stopped_batch(connection, VIEWER, 1),
        lambda: overview.accepted_rejects(connection, VIEWER, 1),
    ):
        with pytest.raises(NotAllowed):
            change()
    with pytest.raises(NotAllowed):
        overview.overview(connection, Person("nobody", frozenset()))


@pytest.mark.parametrize("after", ["x", "1", "~", "9" * 30 + "~a", "-1~a"])
def test_a_place_that_is_none_is_refused_in_words(connection: sa.Connection, after: str) -> None:
    with pytest.raises(ConfigError, match="no place"):
        overview.records_behind(connection, VIEWER, "orders", "delivered", after=after)
    with pytest.raises(ConfigError, match="no list"):
        overview.records_behind(connection, VIEWER, "orders", TEXT)
    with pytest.raises(ConfigError, match="no flow"):
        overview.records_behind(connection, VIEWER, TEXT, "dead")


# ---- a stopped batch -----------------------------------------------------------------------------------------------


def test_a_stopped_batch_goes_on_with_the_rest(long_lived_environment: Environment) -> None:
    environment = long_lived_environment
    environment.tick("2011-01-06")
    environment.sync()
    bad = [place(environment, line("NO-SUCH-ITEM")) for _ in range(30)]
    good = place(environment, line())
    environment.tick("2011-01-07")
    with pytest.raises(BatchStopped):
        environment.sync(run_id="cli:one")
    admin = on_this_machine("root")
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        (found,) = overview.stopped_batches(connection)
        assert found.records >= 31
        assert "unknown_sku" in found.message
        assert overview.stopped_batch(connection, admin, found.id) == found
        assert batches.stopped(connection, "orders", [found.id, 10**9]) == [found.id]
        assert batches.stopped(connection, "returns", [found.id]) == []
    with environment.runtime() as runtime:
        for name, step in STEPS.items():
            more = {"accept_rejects": True} if name == "check" else {}
            step(runtime, flows.get("orders"), found.id, run_id="cli:two", **more)
        with runtime.engine.begin() as connection:
            assert overview.stopped_batches(connection) == ()
            with pytest.raises(ConfigError, match="not stopped any more"):
                overview.stopped_batch(connection, admin, found.id)
    assert set(bad) <= set(environment.letters())
    assert good in {order["ExternalOrderID"] for order in environment.in_tims()}


def test_indexes_find_what_is_counted(connection: sa.Connection) -> None:
    """No statement of the page has to read one of the large tables whole: where one must, it does so even if told not
    to."""
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    seen: list[str] = []
    tables = (ops_dead_letter, ops_delivery, ops_batch, stage_sales_order, raw_orders)

    def explain(_: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            with connection.connection.cursor() as other:
                other.execute(f"EXPLAIN {statement}", parameters)
                seen.extend(row[0] for row in other.fetchall())

    sa.event.listen(connection, "before_cursor_execute", explain)
    try:
        overview.overview(connection, VIEWER)
    finally:
        sa.event.remove(connection, "before_cursor_execute", explain)
    assert len(seen) > 50
    for table in tables:
        assert not [each for each in seen if f"Seq Scan on {table.name} " in each]
