"""Shadow mode: every flow that is found does everything but write, as the systems themselves see it; what it would have
sent is kept, and goes once the flow is live.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from crossdock import flows
from crossdock.cli.app import app
from crossdock.errors import ConfigError, NotAllowed, OutcomeUnknown
from crossdock.rules.returns import WAITS
from crossdock.rules.statuses import HELD_BACK
from crossdock.services import configuration, go_live, people, readiness, shadow
from crossdock.steps import held, modes
from crossdock.steps.load import documents, launching
from crossdock.store import database
from crossdock.store.batches import Counts
from crossdock.systems import writes
from integration.battery import Shop, made, opened
from integration.builders import ADDRESS, ITEM, forward, line, place, send
from integration.test_restore import write_off
from sandbox.actors import clerk
from sandbox.actors.actor_context import ActorContext
from sandbox.control import SYSTEMS

pytestmark = pytest.mark.slow
OWN_BOOK = "settlement_ledger"  # target of the flow that writes to no system


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(postgres_url, tmp_path_factory, "shadow") as found:
        yield found


def put(flow: str, **settings: Any) -> None:
    """Writes settings of a flow into flows.yaml; without any, those it had go."""
    file = Path(os.environ["CROSSDOCK_CONFIG_DIR"]) / "flows.yaml"
    whole = yaml.safe_load(file.read_text())
    own = {
        name: value for name, value in (whole.get(flow) or {}).items() if name not in ("mode", "from", "first_day_cap")
    }
    whole[flow] = own | {name.rstrip("_"): value for name, value in settings.items()}
    file.write_text(yaml.safe_dump(whole))


@pytest.fixture
def shadowed(request: pytest.FixtureRequest) -> Iterator[str]:
    """A flow, in shadow mode until the test ends."""
    yield request.param
    put(request.param)


def run(shop: Shop, flow: str, **more: Any) -> Counts:
    """What is new for a flow, with nobody's permission to write but the flow's own."""
    forward(shop.environment, shop.environment.now + timedelta(seconds=10))
    with writes.permitted(writes.nobody):
        return shop.environment.sync(flow=flow, **more)


def requests(shop: Shop) -> dict[str, dict[str, int]]:
    """Requests by system, method and path, as the servers have counted them since the last time."""
    counted = {system: shop.control(system).call("GET", "requests") for system in SYSTEMS}
    for system in SYSTEMS:
        shop.control(system).call("DELETE", "requests")
    return counted


def would_be(shop: Shop, flow: str) -> list[Any]:
    return shop.environment.query(f"SELECT * FROM ops.would_be WHERE flow = '{flow}' ORDER BY first_at, key")


@pytest.mark.parametrize("shadowed", flows.all_flows(), indirect=True)
def test_a_load_in_shadow_mode_makes_no_request_but_reads_and_tokens(shop: Shop, shadowed: str) -> None:
    flow = flows.get(shadowed)
    way = made(shop, shadowed)
    way.make(shop)
    put(shadowed, mode="shadow")
    before = shop.counts()
    delivered_before = shop.environment.query(f"SELECT count(*) AS n FROM ops.delivery WHERE flow = '{shadowed}'")
    requests(shop)
    counts = run(shop, shadowed)
    for counted in requests(shop).values():
        assert [what for what in counted if not what.startswith("GET ") and what != "POST /oauth2/token"] == []
    if flow.target == OWN_BOOK:  # it writes to our own book, and to no system
        assert counts.delivered >= 1
        return
    assert shop.counts() == before
    assert (counts.delivered, counts.dead, counts.in_flight) == (0, 0, 0), shop.why(shadowed)
    assert counts.would_be >= 1, shop.why(shadowed)
    rows = would_be(shop, shadowed)
    assert len(rows) >= counts.would_be
    assert all(row.method in ("POST", "PUT", "PATCH") and row.path.startswith("/") and row.body for row in rows)
    assert delivered_before == shop.environment.query(
        f"SELECT count(*) AS n FROM ops.delivery WHERE flow = '{shadowed}'"
    )

    again = run(shop, shadowed)  # what would be made is not worked again and again
    assert (again.read - again.unchanged, len(would_be(shop, shadowed))) == (0, len(rows))

    put(shadowed)
    live = run(shop, shadowed)
    assert live.delivered >= counts.would_be, shop.why(shadowed)
    assert would_be(shop, shadowed) == []
    assert run(shop, shadowed).delivered == 0


# ---- the month by hand, launch and back ----------------------------------------------------------------------------


def person() -> Any:
    return people.on_this_machine("ada")


def change(shop: Shop, act: Any, *more: Any, **values: Any) -> Any:
    """An action of a person, in a transaction of its own."""
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        people.begin(connection, person())
        return act(connection, person(), *more, **values)


@pytest.fixture
def launched(shop: Shop) -> Iterator[Shop]:
    """The flow orders in shadow mode by the configuration in force; all of it live again afterwards."""
    run(shop, "orders")
    change(shop, go_live.to_shadow, "orders")
    yield shop
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        people.begin(connection, person())
        configuration.rollback(connection, person(), 0, "As shipped")
    run(shop, "orders")


def orders_of(shop: Shop, *numbers: str) -> dict[str, list[dict[str, Any]]]:
    """TIMS's orders of these sales, whoever has entered them."""
    with shop.environment.runtime() as runtime:
        found = runtime.tims.find("sales-orders", ExternalOrderID=list(numbers))
    return {number: [one for one in found if one["ExternalOrderID"] == number] for number in numbers}


def state_of(shop: Shop, number: str) -> tuple[str, str]:
    ((state, reason),) = shop.environment.query(f"SELECT state, reason FROM stage.sales_order WHERE key = '{number}'")
    return state, reason


def enter(shop: Shop, since: Any, mistakes: dict[int, str]) -> Any:
    environment = shop.environment
    controls = {"channel_advisor": environment.channel_advisor, "tims": environment.tims_control}
    context = ActorContext(environment.world, controls, since, environment.now, Path("nowhere"))
    return clerk.act(context, mistakes)


def report(shop: Shop, day: Any, flow: str = "orders") -> tuple[Any, dict[str, Any]]:
    with shop.environment.runtime() as runtime:
        shadow.refresh(runtime)
        with runtime.engine.begin() as connection:
            (compared,) = shadow.compare(connection, [day], flow=flow)
            records = shadow.records(
                connection, day, flow, verdicts=("same", "differs", "only_ours", "only_theirs", "overtaken")
            )
    return compared, {one.key or one.their_id or "": one for one in records}


def test_a_day_by_hand_is_compared_and_each_planted_mistake_found_and_a_launch_makes_nothing_twice(
    launched: Shop,
) -> None:
    shop, since = launched, launched.environment.now
    goods = line(TaxAmount="2.00", ShippingAmount="3.00", ShippingTaxAmount="0.60")
    street = [{**ADDRESS, "Name": f"Buyer {n}", "PostalCode": f"LS{n} 4AP"} for n in range(10)]
    numbers = [place(shop.environment, goods, ShippingAddress=address) for address in street]
    counts = run(shop, "orders")
    assert (counts.would_be, counts.delivered) == (10, 0)

    wrong = [clerk.SHIPPING_TAX, clerk.PRICE, clerk.POSTCODE, clerk.NO_REFERENCE, clerk.FORGOTTEN]
    planted = {int(number): mistake for number, mistake in zip(numbers, wrong, strict=False)}
    assert enter(shop, since, planted) == {"orders entered": 9, "orders forgotten": 1}
    compared, records = report(shop, shop.environment.now.date())
    assert (compared.would_make, compared.same, compared.differ, compared.only_ours, compared.only_theirs) == (
        10, 6, 3, 1, 0
    )  # fmt: skip
    assert {number: [one.field for one in records[number].differences] for number in numbers[:5]} == {
        numbers[0]: ["ShippingTaxAmount", "TaxTotal", "TotalAmount"],
        numbers[1]: ["TotalAmount", "LineItems[22423].Price"],
        numbers[2]: ["ShippingAddress.PostalCode"], numbers[3]: [], numbers[4]: [],
    }  # fmt: skip
    assert records[numbers[3]].matched_by == "buyer, date and amount"
    assert compared.sentence.startswith(f"We would have made 10 orders on {compared.day}: 6 as you did, 3 differ in ")
    (alert,) = shop.environment.query("SELECT title FROM ops.alert WHERE kind = 'shadow_differs'")
    assert str(compared.day) in alert.title

    before = shop.counts()
    change(shop, go_live.launch, "orders", compared.day)
    assert run(shop, "orders").delivered == 1
    assert [state_of(shop, number)[0] for number in numbers] == [*["unchanged"] * 4, "delivered", *["unchanged"] * 5]
    made = orders_of(shop, *numbers)
    assert [len(made[number]) for number in numbers] == [
        1,
        1,
        1,
        0,
        *[1] * 6,
    ]  # the fourth has no number, and is linked
    assert made[numbers[4]][0]["Source"] == "ChannelAdvisor"
    assert {made[number][0]["Source"] for number in numbers[5:]} == {"Manual"}
    assert sum((shop.counts() - before).values()) == 1  # the forgotten order
    assert would_be(shop, "orders") == []
    assert run(shop, "orders").delivered == 0


def changed(shop: Shop, number: str, **changes: Any) -> None:
    document = {"ChannelAdvisorOrderID": int(number), "changes": changes}
    send(shop.environment, "channel_advisor", "order_change", document, dirty=True)


def test_an_order_stays_as_it_would_be_made_whatever_the_channel_does_later_and_a_launch_sends_none_of_it_blindly(
    launched: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, since = launched, launched.environment.now
    numbers = [place(shop.environment, line(TaxAmount="2.00", ShippingAmount="3.00")) for _ in range(4)]
    cancelled, erased, grown, spoilt = numbers
    assert run(shop, "orders").would_be == 4
    before = {row.key: row for row in would_be(shop, "orders") if row.entity == "sales_order"}
    changed(shop, cancelled, OrderStatus="Cancelled")
    send(shop.environment, "channel_advisor", "forget", {"ChannelAdvisorOrderID": int(erased)})
    changed(shop, grown, SpecialInstructions="Ring twice")
    changed(shop, spoilt, Currency="ZZZ")

    counts = run(shop, "orders")
    assert (counts.would_be, counts.dead, counts.skipped, counts.delivered) == (3, 1, 0, 0)
    assert [letter.key for letter in shop.letters("orders")] == [spoilt]
    after = {row.key: row for row in would_be(shop, "orders") if row.entity == "sales_order"}
    assert {number: (after[number].later, after[number].document == before[number].document) for number in numbers} == {
        cancelled: ("the channel has cancelled it", True),
        erased: ("the channel has removed its buyer's data", True),
        grown: (None, False),
        spoilt: (launching.REFUSED_LATER, True),
    }
    assert state_of(shop, cancelled) == (
        "would_be", held.STAYS.format(flow="orders", later="the channel has cancelled it")
    )  # fmt: skip
    again = run(shop, "orders", keys=[cancelled, erased], reprocess=True)  # it is the same when it is read again
    assert (again.would_be, again.dead) == (2, 0)

    assert enter(shop, since, {int(spoilt): clerk.FORGOTTEN})["orders entered"] == 1
    compared, records = report(shop, shop.environment.now.date())
    assert (compared.would_make, compared.same, compared.overtaken, compared.only_ours) == (4, 1, 2, 1)
    assert "2 overtaken before anybody entered them" in compared.sentence
    assert "the channel has cancelled it (1)" in compared.sentence
    assert {number: records[number].verdict for number in numbers} == {
        cancelled: "overtaken", erased: "overtaken", grown: "same", spoilt: "only_ours"
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", shop.environment.database_url)
    words = " ".join(CliRunner().invoke(app, ["status"]).output.split())
    assert "the channel has cancelled it (1), the channel has removed its buyer's data (1)" in words

    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        seen = readiness.preview(connection, person(), "orders", compared.day, None)
    assert (seen.records, seen.stay, seen.go) == (3, 2, 1)
    change(shop, go_live.launch, "orders", compared.day)
    live = run(shop, "orders")
    assert (live.delivered, live.skipped, live.dead) == (0, 1, 1)  # the one that a person has entered is linked
    assert [len(one) for one in orders_of(shop, *numbers).values()] == [0, 0, 1, 0]
    assert state_of(shop, cancelled)[0] == "left_out"
    (letter,) = [one for one in shop.letters("orders") if one.key == erased]
    assert {reason["rule"] for reason in letter.reasons} == {"personal_data_gone"}
    assert {row.row for row in would_be(shop, "orders")} == {spoilt}
    changed(shop, spoilt, Currency="GBP")
    assert run(shop, "orders").delivered == 1
    assert would_be(shop, "orders") == []


def test_a_launch_with_a_cap_stops_at_the_cap_until_a_person_releases_it(launched: Shop) -> None:
    shop = launched
    numbers = [place(shop.environment, line(TaxAmount="2.00")) for _ in range(5)]
    assert run(shop, "orders").would_be == 5
    change(shop, go_live.launch, "orders", shop.environment.now.date(), 2)
    counts = run(shop, "orders")
    assert (counts.delivered, counts.would_be) == (2, 0)
    more = [place(shop.environment, line(TaxAmount="2.00")) for _ in range(2)]
    held = run(shop, "orders")
    assert (held.delivered, held.would_be) == (0, 2)
    assert state_of(shop, more[0]) == ("would_be", launching.OVER_CAP.format(flow="orders", cap=2))
    assert sum(map(len, orders_of(shop, *numbers, *more).values())) == 2
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        mode = go_live.mode_of(connection, "orders")
    assert (mode.waits, mode.sent, mode.held) == (True, 2, 5)
    change(shop, go_live.release, "orders")
    assert run(shop, "orders").delivered == 5
    assert set(map(len, orders_of(shop, *numbers, *more).values())) == {1}


def test_what_the_cap_has_let_go_counts_for_good(launched: Shop) -> None:
    """Also where a later version of its record needs nothing to be sent."""
    shop = launched
    numbers = [place(shop.environment, line(TaxAmount="2.00")) for _ in range(4)]
    assert run(shop, "orders").would_be == 4
    change(shop, go_live.launch, "orders", shop.environment.now.date(), 2)
    assert run(shop, "orders").delivered == 2
    (alert,) = shop.environment.query(
        "SELECT title FROM ops.alert WHERE kind = 'launch_cap' ORDER BY last_at DESC LIMIT 1"
    )
    assert "the first 2 records" in alert.title
    for number in numbers[:2]:
        changed(shop, number, Flag="BlueFlag")
    counts = run(shop, "orders")
    assert counts.unchanged >= 2
    assert counts.delivered == 0
    assert run(shop, "orders", keys=numbers[:2], reprocess=True).delivered == 0
    assert run(shop, "orders").delivered == 0
    assert sum(map(len, orders_of(shop, *numbers).values())) == 2
    change(shop, go_live.release, "orders")
    assert run(shop, "orders").delivered == 2
    (noted,) = shop.environment.query(
        "SELECT detail FROM ops.audit WHERE action = 'go-live release' ORDER BY id DESC LIMIT 1"
    )
    assert noted.detail["sent"] == 2


def test_the_cap_lets_the_oldest_go_first_also_within_a_day(launched: Shop) -> None:
    shop = launched
    day = shop.environment.now.date()
    late, early = (place(shop.environment, line(), OrderDate=f"{day}T{hour}:00:00Z") for hour in ("23", "01"))
    assert run(shop, "orders").would_be == 2
    change(shop, go_live.launch, "orders", day, 1)
    assert run(shop, "orders").delivered == 1
    assert {number: len(one) for number, one in orders_of(shop, late, early).items()} == {late: 0, early: 1}


def test_what_is_from_before_the_first_day_is_not_made(launched: Shop) -> None:
    shop = launched
    old = place(shop.environment, line(TaxAmount="2.00"), OrderDate="2011-01-02T10:00:00Z")
    new = place(shop.environment, line(TaxAmount="2.00"))
    change(shop, go_live.launch, "orders", shop.environment.now.date())
    assert run(shop, "orders").delivered == 1
    state, reason = state_of(shop, old)
    assert (state, "2011-01-02" in reason) == ("would_be", True)
    assert [len(one) for one in orders_of(shop, old, new).values()] == [0, 1]
    assert run(shop, "orders").read == 0  # and it is not worked again and again
    change(shop, go_live.launch, "orders", date(2011, 1, 1))
    assert run(shop, "orders").delivered == 1


def test_back_to_shadow_mode_stops_a_load_that_is_running(launched: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person puts the flow back while its load sends one order after the other."""
    shop = launched
    change(shop, go_live.launch, "orders", shop.environment.now.date())
    numbers = [place(shop.environment, line(TaxAmount="2.00")) for _ in range(4)]
    monkeypatch.setattr(documents, "BULK", 1)
    monkeypatch.setattr(documents, "AT_ONCE", 1)
    monkeypatch.setattr(modes, "FRESH_SECONDS", 0.0)
    sent = documents._post

    def then_back(*given: Any) -> Any:
        answers = sent(*given)
        monkeypatch.setattr(documents, "_post", sent)
        change(shop, go_live.to_shadow, "orders")
        return answers

    monkeypatch.setattr(documents, "_post", then_back)
    with pytest.raises(OutcomeUnknown):
        run(shop, "orders", run_id="stopped")
    assert sum(map(len, orders_of(shop, *numbers).values())) == 1
    assert shop.environment.query("SELECT 1 FROM ops.delivery WHERE outcome IN ('sent', 'unknown')") == []
    counts = run(shop, "orders", run_id="stopped")
    assert (counts.would_be, counts.dead) == (3, 0)
    change(shop, go_live.launch, "orders", shop.environment.now.date())
    run(shop, "orders")
    assert set(map(len, orders_of(shop, *numbers).values())) == {1}


def test_code_that_forgets_about_modes_is_refused_and_its_rows_are_kept(
    launched: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that calls the client itself, without the engine's way of sending."""
    shop = launched
    number = place(shop.environment, line(TaxAmount="2.00"))

    def forgetful(runtime: Any, flow: Any, batch_id: int) -> None:
        runtime.tims.post("/sales-orders", {"ExternalOrderID": number}, key=number)

    changed = replace(flows.get("orders"), load=forgetful)
    monkeypatch.setattr(flows, "get", lambda name: changed)
    requests(shop)
    assert run(shop, "orders").would_be == 1
    assert [what for what in requests(shop)["tims"] if not what.startswith("GET ")] in ([], ["POST /oauth2/token"])
    assert state_of(shop, number)[0] == "would_be"


def test_only_who_may_publish_changes_a_mode_and_it_is_on_record(launched: Shop) -> None:
    shop = launched
    clerks = people.Person("bob", frozenset({people.Role.CLERK}))
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        with pytest.raises(NotAllowed):
            go_live.launch(connection, clerks, "orders", date(2026, 12, 1))
        with pytest.raises(ConfigError, match="changes nothing"):
            go_live.to_shadow(connection, person(), "orders")
        with pytest.raises(ConfigError, match="own book"):
            go_live.to_shadow(connection, person(), "payouts")
    change(shop, go_live.launch, "orders", date(2026, 12, 1), 20)
    rows = shop.environment.query("SELECT who, action, subject, detail FROM ops.audit ORDER BY id DESC LIMIT 1")
    assert [tuple(row) for row in rows] == [("ada", "go-live launch", "orders", {"from": "2026-12-01", "cap": 20})]
    assert go_live.badge(()) == ""


def test_the_commands_launch_release_go_back_and_say_so(launched: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = launched
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", shop.environment.database_url)

    def command(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, (words, result.output, result.exception)
        return " ".join(result.output.split())

    assert "Shadow mode: Orders. Nothing of this is written" in command("status")
    assert isinstance(CliRunner().invoke(app, ["launch", "orders"]).exception, ConfigError)
    launch = ("launch", "orders", "--from", "2011-01-01", "--cap", "2")
    reasonless = CliRunner().invoke(app, launch).exception
    assert isinstance(reasonless, ConfigError)
    assert "--because" in str(reasonless)
    assert "at most 2 records at first" in command(*launch, "--because", "a test")
    assert "Live from 2011-01-01, 0 of the first 2 records sent" in command("status")
    assert "Release of orders" in command("launch", "orders", "--release")
    assert "Shadow mode for orders" in command("shadow", "orders")
    assert "Shadow mode for orders, " in command("shadow", "all")
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        modes_now = go_live.all_modes(connection)
        assert go_live.badge(go_live.in_shadow()).startswith("Shadow mode: all flows.")
    assert {one.flow for one in modes_now if not one.shadow} == {"payouts"}


# ---- what belongs to orders that would be made -----------------------------------------------------------------------


def test_shipments_of_the_channel_would_be_recorded_once_their_order_is_made(launched: Shop) -> None:
    shop = launched
    number = place(shop.environment, {**line(TaxAmount="2.00"), "QuantityShipped": 1}, OrderStatus="Shipped")
    assert run(shop, "orders").would_be == 1
    rows = {row.entity: row for row in would_be(shop, "orders")}
    assert rows["shipment"].after == [{"entity": "sales_order", "key": number}]
    assert rows["shipment"].document["Lines"] == [{"SalesOrderLineNo": 1, "Quantity": 1}]
    assert rows["shipment"].path.endswith(f"/sales-orders/new-{number}/shipments")

    change(shop, go_live.launch, "orders", shop.environment.now.date())
    assert run(shop, "orders").delivered == 1
    ((made,),) = orders_of(shop, number).values()
    (recorded,) = [one for one in shop.environment.in_tims("shipments") if one["SalesOrderID"] == made["SalesOrderID"]]
    assert recorded["ExternalReference"] == rows["shipment"].document["ExternalReference"]
    assert [(one["SalesOrderLineNo"], one["Quantity"]) for one in recorded["Lines"]] == [(1, 1)]
    assert would_be(shop, "orders") == []


def parcel(shop: Shop, order: dict[str, Any]) -> None:
    """A person sends all units of an order."""
    body = {
        "ExternalReference": f"by hand {order['SalesOrderID']}", "Source": "warehouse", "LocationID": "MAIN",
        "ShippedAt": shop.environment.now.isoformat().replace("+00:00", "Z"),
        "Lines": [{"SalesOrderLineNo": one["LineNo"], "Quantity": one["Quantity"]} for one in order["LineItems"]],
    }  # fmt: skip
    with shop.environment.runtime() as runtime:
        path = f"/sales-orders/{order['SalesOrderID']}/shipments"
        assert runtime.tims.post(path, body, key=body["ExternalReference"]).status == 201
    forward(shop.environment, shop.environment.now + timedelta(minutes=5))


def type_in(shop: Shop, invoice: dict[str, Any], **more: str) -> None:
    """A person types an invoice into TIMS."""
    own = {name: value for name, value in invoice.items() if name not in ("ExternalReference", "Source")}
    send(shop.environment, "tims", "invoice", own | more)


def test_invoices_of_orders_that_people_have_entered_are_compared_and_none_is_sent(launched: Shop) -> None:
    shop, since = launched, launched.environment.now
    run(shop, "invoices")
    change(shop, go_live.to_shadow, "invoices")
    goods = line(TaxAmount="2.00", ShippingAmount="3.00", ShippingTaxAmount="0.60")
    numbers = [place(shop.environment, goods) for _ in range(3)]
    assert run(shop, "orders").would_be == 3
    assert enter(shop, since, {})["orders entered"] == 3
    for (order,) in orders_of(shop, *numbers).values():
        parcel(shop, order)
    counts = run(shop, "invoices")
    assert (counts.would_be, counts.dead, counts.delivered) == (3, 0, 0), shop.why("invoices")
    rows = {row.after[0]["key"]: row for row in would_be(shop, "invoices")}
    assert {number: row.after for number, row in rows.items()} == {
        number: [{"entity": "sales_order", "key": number}] for number in numbers
    }
    ours = {number: database.from_json(row.body) for number, row in rows.items()}
    type_in(shop, ours[numbers[0]])
    type_in(shop, ours[numbers[1]], ShippingTaxAmount="0.00", TaxTotal="2.00", Total="15.00")

    again = run(
        shop, "invoices", keys=[row.row for row in rows.values()], reprocess=True
    )  # theirs does not stand in our way
    assert (again.would_be, again.dead, again.skipped) == (3, 0, 0)
    compared, records = report(shop, date.fromisoformat(ours[numbers[0]]["InvoiceDate"]), "invoices")
    assert (compared.would_make, compared.same, compared.differ, compared.only_ours, compared.only_theirs) == (
        3, 1, 1, 1, 0
    )  # fmt: skip
    assert {records[rows[number].row].verdict for number in numbers} == {"same", "differs", "only_ours"}
    assert [one.field for one in records[rows[numbers[1]].row].differences] == [
        "ShippingTaxAmount",
        "TaxTotal",
        "Total",
    ]

    posted = len(shop.environment.in_tims("ar/invoices"))
    with shop.environment.runtime() as runtime, runtime.engine.begin() as connection:
        seen = readiness.preview(connection, person(), "invoices", shop.environment.now.date(), None)
    assert (seen.records, seen.stay, seen.go) == (3, 3, 0)
    change(shop, go_live.launch, "invoices", date(2010, 1, 1))
    live = run(shop, "invoices")
    assert (live.delivered, live.skipped, live.dead) == (0, 3, 0)
    assert len(shop.environment.in_tims("ar/invoices")) == posted
    assert would_be(shop, "invoices") == []


def test_a_return_and_a_payment_wait_for_their_order_which_would_be_made_and_say_so(launched: Shop) -> None:
    shop = launched
    number = place(shop.environment, line(TaxAmount="2.00"))
    assert run(shop, "orders").would_be == 1
    send(shop.environment, "channel_advisor", "return", {
        "ReturnID": 8_900_001, "ChannelAdvisorOrderID": int(number), "Status": "Received", "Currency": "GBP",
        "Reason": "CustomerReturnedItem",
        "Items": [{"OrderItemID": int(number) * 100 + 1, "SKU": ITEM, "Quantity": 1, "RefundAmount": Decimal("10.00"),
                   "TaxRefund": Decimal("2.00"), "ShippingRefund": Decimal(0), "Restock": True,
                   "Condition": "Sellable"}],
    }, dirty=True)  # fmt: skip
    counts = run(shop, "returns")
    assert (counts.waiting, counts.dead) == (1, 0), shop.why("returns")
    assert reason_of(shop) == WAITS["held back"]
    shop._deposit([("Order", f"T-{number}", "ItemPrice", "Principal", Decimal("12.00"))])
    assert run(shop, "payouts").delivered == 1
    counts = run(shop, "payments")
    assert (counts.waiting, counts.dead) == (1, 0), shop.why("payments")
    ((waits,),) = shop.environment.query(f"SELECT reason FROM stage.payment WHERE order_ref = 'T-{number}'")
    assert waits.startswith(HELD_BACK)
    change(shop, go_live.launch, "orders", shop.environment.now.date())
    assert run(shop, "orders").delivered == 1
    assert run(shop, "returns").waiting == 1
    assert reason_of(shop) == WAITS["invoice"]


def reason_of(shop: Shop) -> str:
    ((reason,),) = shop.environment.query("SELECT reason FROM stage.credit_memo WHERE key = '8900001'")
    return reason


def test_adjustments_of_stock_are_compared_and_what_only_people_know_of_is_not_told(launched: Shop) -> None:
    shop = launched
    run(shop, "stock_adjustments")
    change(shop, go_live.to_shadow, "stock_adjustments")
    forward(shop.environment, shop.environment.now + timedelta(minutes=1))
    write_off(shop.environment)
    assert run(shop, "stock_adjustments").would_be == 1
    (row,) = would_be(shop, "stock_adjustments")
    body = database.from_json(row.body)
    own = {name: body[name] for name in ("SKU", "LocationID", "QuantityDelta", "ReasonCode", "PostingDate")}
    send(shop.environment, "tims", "adjustment", own)
    send(shop.environment, "tims", "adjustment", own | {"QuantityDelta": -7})
    compared, records = report(shop, date.fromisoformat(own["PostingDate"]), "stock_adjustments")
    assert (compared.would_make, compared.same, compared.only_theirs) == (1, 1, 0)
    assert records[row.key].matched_by == "item, location, units and date"
