"""What new orders say of their buyers reaches TIMS's customers once, over HTTP and on a real Postgres."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from rich.console import Console
from typer.testing import CliRunner

from crossdock import cli
from crossdock.errors import RecordRejected, Transient
from crossdock.flows.orders import customers as orders_customers
from crossdock.steps.check import check
from crossdock.steps.extract import Window, extract
from crossdock.steps.load import load
from crossdock.steps.run_batches import run_batches
from crossdock.steps.transform import transform
from crossdock.store import database
from crossdock.systems.tims import Tims
from integration.builders import ADDRESS, forward, line, order, place, sales_order
from integration.environment import ORDERS, Environment

PATCH, READ = "updateCustomer", "getCustomer"
_numbers = count(1)


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    forward(long_lived_environment, long_lived_environment.now + timedelta(days=1, hours=10))
    return long_lived_environment


@pytest.fixture
def buyer(shop: Environment) -> dict[str, Any]:
    """CustomerInfo of a buyer of the web shop whom no other test knows."""
    name = f"buyer{next(_numbers)}"
    shop.clear_faults()
    return {"CustomerID": name, "FirstName": "Ada", "LastName": name, "Email": f"{name}@example.com",
            "Phone": phone(), "Company": None}  # fmt: skip


def phone() -> str:
    """A number that nobody has yet."""
    return f"+44207946{next(_numbers):04}"


def ask(who: dict[str, Any], street: str = "12 Elm Street", **more: Any) -> dict[str, Any]:
    """What an order of this buyer is placed with."""
    address = {**ADDRESS, "Name": who["LastName"], "Line1": f"{street} {who['LastName']}"}
    return {"SiteID": 587, "SiteName": "Web Shop", "CustomerInfo": who, "ShippingAddress": address, **more}


def customer(environment: Environment, key: str) -> dict[str, Any]:
    """The customer of an order, as TIMS has it."""
    with environment.runtime() as runtime:
        return runtime.tims.read(f"/customers/{sales_order(environment, key)['CustomerID']}")[0]


def type_in(environment: Environment, key: str, **fields: Any) -> None:
    """A person changes the customer of an order in TIMS."""
    with environment.runtime() as runtime:
        path = f"/customers/{sales_order(environment, key)['CustomerID']}"
        runtime.tims.patch(path, fields, etag=runtime.tims.read(path)[1])
    forward(environment, environment.now + timedelta(minutes=5))


def changes(environment: Environment, key: str) -> list[tuple[str, str]]:
    """(field, outcome) that an order has on record."""
    return [
        (row.field, row.outcome)
        for row in environment.query(
            f"SELECT field, outcome FROM ops.customer_change WHERE order_key = '{key}' ORDER BY field"
        )
    ]


def calls(environment: Environment) -> dict[str, int]:
    """Requests about single customers since the last count."""
    counted = environment.tims_control.call("GET", "requests")
    environment.tims_control.call("DELETE", "requests")
    return {path: count for path, count in counted.items() if "customers/" in path or PATCH in path or READ in path}


@pytest.mark.slow
def test_a_changed_e_mail_phone_and_address_reach_the_customer_once_and_are_on_record(shop: Environment, buyer):
    other = phone()
    first = order(shop, line(), **ask(buyer))
    before = customer(shop, first)
    changed = {**buyer, "Email": "new." + buyer["Email"], "Phone": other}
    bill = {**ADDRESS, "Line1": "1 Bank Street"}
    key = order(shop, line(), **ask(changed, "9 Oak Road", BillingAddress=bill))
    after = customer(shop, key)
    assert after["CustomerID"] == before["CustomerID"]
    assert (after["Email"], after["Phone"]) == (changed["Email"], other)
    assert after["BillingAddress"]["Line1"] == "1 Bank Street"
    assert [a["Line1"].partition(" buyer")[0] for a in after["ShippingAddresses"]] == ["9 Oak Road", "12 Elm Street"]
    assert {n: after[n] for n in ("Name", "ExternalIDs")} == {n: before[n] for n in ("Name", "ExternalIDs")}
    assert after["RowVersion"] == before["RowVersion"] + 1
    fields = ("BillingAddress", "Email", "Phone", "ShippingAddresses")
    assert changes(shop, key) == [(field, "changed") for field in fields]
    assert changes(shop, first) == []
    (delivery,) = shop.query(f"SELECT * FROM ops.delivery WHERE entity = 'customer' AND key = '{after['CustomerID']}'")
    assert (delivery.operation, delivery.outcome, delivery.attempts) == ("update", "confirmed", 1)
    assert delivery.idempotency_key == f"customer:{after['CustomerID']}:update:{key}"


@pytest.mark.slow
def test_an_order_that_says_the_same_makes_no_request_and_reading_again_sends_nothing(shop: Environment, buyer):
    other = phone()
    order(shop, line(), **ask(buyer))
    changed = order(shop, line(), **ask({**buyer, "Phone": other}))
    shop.sync()  # takes in the echo
    calls(shop)
    same = order(shop, line(), **ask({**buyer, "Phone": other, "Email": buyer["Email"].upper()}))
    assert calls(shop) == {}
    version = customer(shop, same)["RowVersion"]
    assert sum(calls(shop).values()) == 1, "such requests are seen"
    shop.sync(kind="replay", keys=[changed, same])
    shop.sync(Window(shop.now - timedelta(days=1), shop.now), kind="backfill", reprocess=True)
    assert calls(shop) == {}
    assert customer(shop, same)["RowVersion"] == version
    assert changes(shop, same) == []


@pytest.mark.slow
def test_what_a_person_typed_later_survives_an_order_that_was_placed_before(shop: Environment, buyer):
    other = phone()
    first = order(shop, line(), **ask(buyer))
    late = place(shop, line(), **ask({**buyer, "Email": "late." + buyer["Email"], "Phone": other}))
    forward(shop, shop.now + timedelta(minutes=5))
    type_in(shop, first, Email="typed." + buyer["Email"])
    shop.sync()
    after = customer(shop, late)
    assert (after["Email"], after["Phone"]) == ("typed." + buyer["Email"], other)
    assert changes(shop, late) == [("Email", "kept"), ("Phone", "changed")]
    newer = order(shop, line(), **ask({**buyer, "Email": "newer." + buyer["Email"], "Phone": None}))
    after = customer(shop, newer)
    assert (after["Email"], after["Phone"]) == ("newer." + buyer["Email"], other)


@pytest.mark.slow
def test_an_older_order_that_arrives_late_changes_nothing(shop: Environment, buyer):
    other = phone()
    order(shop, line(), **ask(buyer))
    newest = order(shop, line(), **ask({**buyer, "Phone": other}))
    version = customer(shop, newest)["RowVersion"]
    old = (shop.now - timedelta(hours=3)).isoformat().replace("+00:00", "Z")
    late = order(shop, line(), **ask({**buyer, "Phone": phone()}, "3 Old Lane", OrderDate=old))
    after = customer(shop, late)
    assert (after["RowVersion"], after["Phone"]) == (version, other)
    assert changes(shop, late) == []


@pytest.mark.slow
def test_of_several_orders_in_one_batch_the_newest_counts_also_for_a_customer_that_they_make(shop: Environment, buyer):
    phones = [phone() for _ in range(4)]
    keys = [place(shop, line(), **ask({**buyer, "Phone": each})) for each in phones]
    keys.append(place(shop, line(), **ask({**buyer, "Phone": None})))
    shop.sync()
    assert not set(keys) & shop.letters().keys()
    after = customer(shop, keys[0])
    assert (after["Phone"], after["RowVersion"]) == (phones[-1], 2)
    assert {customer(shop, key)["CustomerID"] for key in keys} == {after["CustomerID"]}
    assert [changes(shop, key) for key in keys] == [[], [], [], [("Phone", "changed")], []]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["error_after", "cut_body", "error_before"])
def test_a_lost_answer_is_asked_for_and_the_change_is_ours(shop: Environment, buyer, kind: str):
    other = phone()
    first = order(shop, line(), **ask(buyer))
    version = customer(shop, first)["RowVersion"]
    shop.fault("tims", kind, path=PATCH, times=1)
    key = order(shop, line(), **ask({**buyer, "Phone": other}))
    after = customer(shop, key)
    assert (after["Phone"], after["RowVersion"]) == (other, version + 1)
    assert changes(shop, key) == [("Phone", "changed")]
    open_ones = "SELECT 1 FROM ops.delivery WHERE entity = 'customer' AND outcome IN ('sent', 'unknown')"
    assert shop.query(open_ones) == []


@pytest.mark.slow
def test_a_change_whose_answer_is_lost_with_the_process_is_found_by_the_next_run(shop: Environment, buyer):
    other = phone()
    order(shop, line(), **ask(buyer))
    key = place(shop, line(), **ask({**buyer, "Phone": other}))
    shop.fault("tims", "error_after", path=PATCH, times=1)
    shop.fault("tims", "error_before", path=READ)
    with pytest.raises(Transient):
        shop.sync(run_id=f"lost:{key}")
    assert changes(shop, key) == [("Phone", "sent")]
    shop.clear_faults()
    assert sales_order(shop, key), "the order itself does not wait for its buyer"
    shop.sync(run_id=f"lost:{key}")
    assert changes(shop, key) == [("Phone", "changed")]
    version = customer(shop, key)["RowVersion"]
    old = (shop.now - timedelta(hours=3)).isoformat().replace("+00:00", "Z")
    late = order(shop, line(), **ask({**buyer, "Phone": phone()}, OrderDate=old))
    assert (customer(shop, late)["RowVersion"], changes(shop, late)) == (version, [])


@pytest.mark.slow
def test_a_customer_that_somebody_changes_in_between_is_decided_anew(shop: Environment, buyer, monkeypatch):
    other = phone()
    first = order(shop, line(), **ask(buyer))
    key = place(shop, line(), **ask({**buyer, "Phone": other, "Email": "new." + buyer["Email"]}))
    forward(shop, shop.now + timedelta(minutes=5))
    record, done = orders_customers._record, []

    def and_a_person(*args: Any, **more: Any) -> None:
        record(*args, **more)
        if args[3] == "sent" and not done:
            done.append(True)
            type_in(shop, first, Email="typed." + buyer["Email"])

    monkeypatch.setattr(orders_customers, "_record", and_a_person)
    shop.sync()
    after = customer(shop, key)
    assert done
    assert (after["Email"], after["Phone"]) == ("typed." + buyer["Email"], other)
    assert changes(shop, key) == [("Email", "kept"), ("Phone", "changed")]


@pytest.mark.slow
def test_an_order_whose_personal_data_have_vanished_overwrites_nothing(shop: Environment, buyer):
    key = order(shop, line(), **ask(buyer))
    before = customer(shop, key)
    gone = {"ChannelAdvisorOrderID": int(key), "changes": {
        "UserDataPresent": False, "ShippingAddress": None, "BillingAddress": None,
        "CustomerInfo": dict.fromkeys(buyer)}}  # fmt: skip
    at = (shop.now + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    shop.channel_advisor.apply(
        [{"id": f"gone-{key}", "at": at, "system": "channel_advisor", "kind": "order_change", "document": gone}]
    )
    forward(shop, shop.now + timedelta(minutes=5))
    calls(shop)
    assert shop.sync().read
    assert calls(shop) == {}
    assert customer(shop, key) == before


@pytest.mark.slow
def test_a_change_that_tims_refuses_leaves_the_order_delivered_and_is_told(shop: Environment, buyer, monkeypatch):
    other = phone()
    order(shop, line(), **ask(buyer))
    decide = orders_customers.decide

    def broken(*args: Any) -> Any:
        return [
            orders_customers.replace(each, value="no number") if each.field == "Phone" else each
            for each in decide(*args)
        ]  # fmt: skip

    monkeypatch.setattr(orders_customers, "decide", broken)
    key = order(shop, line(), **ask({**buyer, "Phone": other, "Email": "new." + buyer["Email"]}))
    after = customer(shop, key)
    assert (after["Email"], after["Phone"]) == ("new." + buyer["Email"], buyer["Phone"])
    assert changes(shop, key) == [("Email", "changed"), ("Phone", "refused")]
    (alert,) = shop.query("SELECT * FROM ops.alert WHERE kind = 'customer_change_refused'")
    assert key in alert.body
    assert not {buyer["LastName"], other, "no number"} & set(alert.body.split())


@pytest.mark.slow
def test_a_customer_that_is_gone_stops_no_order(shop: Environment, buyer, monkeypatch):
    order(shop, line(), **ask(buyer))
    read = Tims.read

    def gone(self: Tims, path: str, *_: Any, **more: Any) -> Any:
        if more or path.startswith("/customers/"):
            raise RecordRejected("There is no such customer.", 404, "NOT_FOUND")
        return read(self, path)

    monkeypatch.setattr(Tims, "read", gone)
    monkeypatch.setattr(Tims, "patch", gone)
    key = order(shop, line(), **ask({**buyer, "Phone": phone()}))
    assert changes(shop, key) == [("Phone", "refused")]
    assert shop.query(f"SELECT state FROM stage.buyer WHERE key = '{key}'") == [("done",)]


@pytest.mark.slow
def test_a_batch_that_is_worked_before_our_last_change_was_read_asks_tims(shop: Environment, buyer):
    order(shop, line(), **ask(buyer))
    shop.sync()
    place(shop, line(), **ask({**buyer, "Phone": phone()}))
    with shop.runtime() as runtime:
        first = extract(runtime, ORDERS)
        key = place(shop, line(), **ask(buyer))  # back to the number that was read last
        second = extract(runtime, ORDERS)
        run_batches(runtime, ORDERS, first)
        run_batches(runtime, ORDERS, second)
    assert customer(shop, key)["Phone"] == buyer["Phone"]
    assert changes(shop, key) == [("Phone", "changed")]


@pytest.mark.slow
def test_a_change_costs_one_request(shop: Environment, buyer):
    order(shop, line(), **ask(buyer))
    shop.sync()
    calls(shop)
    order(shop, line(), **ask({**buyer, "Phone": phone()}))
    assert sum(calls(shop).values()) == 1


@pytest.mark.slow
def test_an_erased_customer_leaves_no_value_behind(shop: Environment, buyer):
    other = phone()
    first = order(shop, line(), **ask(buyer))
    key = order(shop, line(), **ask({**buyer, "Phone": other}))
    with shop.runtime() as runtime:
        orders = [sales_order(shop, each)["SalesOrderID"] for each in (first, key)]
        for each in orders:
            runtime.tims.post(f"/sales-orders/{each}/cancel", {"Reason": "Other"}, key=f"c-{each}").document()
        number = customer(shop, key)["CustomerID"]
        case = {"RequestReference": "DSR-1"}
        runtime.tims.post(f"/customers/{number}/erase", case, key=f"erase-{number}").document()
    forward(shop, shop.now + timedelta(minutes=5))
    shop.sync()
    (row,) = shop.query(f"SELECT * FROM ops.customer_change WHERE customer_id = '{number}'")
    assert (row.field, row.outcome, row.old_value, row.new_value) == ("Phone", "changed", None, None)
    assert shop.query(f"SELECT 1 FROM stage.buyer WHERE customer_id = '{number}'") == []


@pytest.mark.slow
def test_a_clearing_of_the_transform_between_load_and_change_loses_nothing(shop: Environment, buyer):
    other = phone()
    order(shop, line(), **ask(buyer))
    key = place(shop, line(), **ask({**buyer, "Phone": other}))
    shop.fault("tims", "error_before", path=PATCH)
    shop.fault("tims", "error_before", path=READ)
    with shop.runtime() as runtime:
        (batch_id,) = extract(runtime, ORDERS)
        transform(runtime, ORDERS, batch_id)
        check(runtime, ORDERS, batch_id)
        with pytest.raises(Transient):
            load(runtime, ORDERS, batch_id)
        shop.clear_faults()
        run_batches(runtime, ORDERS, [batch_id])
    assert customer(shop, key)["Phone"] == other


@pytest.mark.slow
def test_the_command_line_lists_changes_and_shows_values_of_one_customer_only(shop: Environment, buyer, monkeypatch):
    order(shop, line(), **ask(buyer))
    key = order(shop, line(), **ask({**buyer, "Phone": (new := phone())}, "5 New Road"))
    number = customer(shop, key)["CustomerID"]
    monkeypatch.setattr(cli.context, "runtime", shop.runtime)
    monkeypatch.setattr(cli, "out", Console(width=400))

    def output(*words: str) -> str:
        result = CliRunner().invoke(cli.app, ["customers", "changes", *words], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    everything, mine = output(), output("--customer", number)
    assert number in everything
    assert key in everything
    assert new not in everything
    assert "5 New Road" not in everything
    assert new in mine
    assert "5 New Road" in mine
    rows = msgspec.json.decode(output("--customer", number, "--json"))
    assert {row["field"]: row["outcome"] for row in rows} == {"Phone": "changed", "ShippingAddresses": "changed"}
    assert [row["new_value"] for row in rows if row["field"] == "Phone"] == [new]
    assert not any("new_value" in row for row in msgspec.json.decode(output("--json")))


def test_the_reader_sees_what_was_changed_but_no_value(shop: Environment):
    reader = database.engine(shop.database_url, role="crossdock_reader")
    with reader.connect() as connection:
        connection.exec_driver_sql("SELECT customer_id, field, order_key, outcome, at FROM ops.customer_change")
        connection.exec_driver_sql("SELECT key, state FROM stage.buyer")
        for query in ("SELECT new_value FROM ops.customer_change", 'SELECT "Email" FROM stage.buyer'):
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                connection.exec_driver_sql(query)
            connection.rollback()
    reader.dispose()
