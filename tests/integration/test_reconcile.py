"""Reconciliation over both systems as servers: a day in step is explained, what is done behind our back is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from crossdock import cli
from crossdock.comparison.subject import DEAD, IN_FLIGHT, UNEXPLAINED, WAITING
from crossdock.errors import ConfigError, Transient
from crossdock.flows.orders import customers as orders_customers
from crossdock.store import database
from crossdock.watch.reconcile import Outcome, read, reconcile, results, run, subjects
from integration.builders import ITEM, KIT, KIT_PARTS, OTHER, forward, line, order, place, sales_order, send, ship
from integration.bustle import altered
from integration.environment import Environment, found_environment

pytestmark = pytest.mark.slow

CASH = ("orders", "order_totals", "payments", "customers", "shipments", "invoices", "returns")
FLOWS = ("orders", "shipments", "orders", "invoices", "returns")


@pytest.fixture(scope="module")
def environment(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A day of trade in step: every second order of the world, and orders made here that are sent and sent back."""
    with found_environment(postgres_url, "reconcile", tmp_path_factory.mktemp("environment")) as environment:
        environment.part = 2
        environment.tick("2011-01-06")
        sync(environment)
        yield environment


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs beside these comparisons, so nothing has to be waited for."""
    monkeypatch.setattr(run, "PAUSE", 0.0)
    monkeypatch.setattr(run, "JUST_NOW", timedelta(0))


def sync(environment: Environment, flows: tuple[str, ...] = FLOWS) -> None:
    for flow in flows:
        forward(environment, environment.now + timedelta(seconds=30))
        environment.sync(flow=flow)
    forward(environment, environment.now + timedelta(minutes=1))


def run_reconcile(environment: Environment, *names: str) -> Outcome:
    with environment.runtime() as runtime:
        return reconcile(runtime, names)


def found(environment: Environment, outcome: Outcome) -> dict[tuple[str, str, str], sa.Row]:
    """What differs, by subject, key and field."""
    rows = environment.query(f"SELECT * FROM ops.reconcile_difference WHERE run = {outcome.id}")
    return {(row.subject, row.key, row.field): row for row in rows}


def unexplained(
    environment: Environment, outcome: Outcome
) -> dict[tuple[str, str, str], tuple[str | None, str | None]]:
    differences = found(environment, outcome).items()
    return {place: (row.channel_advisor, row.tims) for place, row in differences if row.cause == UNEXPLAINED}


def sent(environment: Environment, *lines: dict[str, Any], **more: Any) -> str:
    """An order whose units have all left, told and invoiced."""
    key = order(environment, *(lines or (line(quantity=2, price="12.5000"), line(OTHER, price="3.3333"))), **more)
    ship(environment, key, {each["LineNo"]: each["Quantity"] for each in sales_order(environment, key)["LineItems"]})
    sync(environment)
    return key


def give_back(environment: Environment, key: str, number: int) -> None:
    item = int(key) * 100 + 1
    refund = {"OrderItemID": item, "SKU": ITEM, "Quantity": 1, "RefundAmount": 12.5, "TaxRefund": 0,
              "ShippingRefund": 0, "Restock": True, "Condition": "Sellable"}  # fmt: skip
    send(environment, "channel_advisor", "return", {
        "ReturnID": number, "ChannelAdvisorOrderID": int(key), "Status": "Refunded", "Currency": "GBP",
        "Reason": "CustomerReturnedItem", "Items": [refund], "RefundTotal": 12.5,
        "RefundDate": environment.now.isoformat().replace("+00:00", "Z"),
    })  # fmt: skip


# ---- in step ---------------------------------------------------------------------------------------------------------


def test_after_a_day_in_step_everything_is_equal_or_explained(environment: Environment) -> None:
    key = sent(
        environment, line(quantity=2, price="12.5000", TaxAmount="1.2300"), line(KIT, 3), line(OTHER, 7, "0.1234")
    )
    give_back(environment, key, 7_100_001)
    sync(environment)
    outcome = run_reconcile(environment, *CASH)
    assert unexplained(environment, outcome) == {}
    counts = outcome.counts
    assert counts["orders"].channel_advisor == counts["orders"].equal + counts["orders"].differences > 20
    assert counts["orders"].causes[DEAD] == len(environment.letters()) > 0
    assert counts["order_totals"].equal == counts["order_totals"].compared == counts["orders"].tims
    assert counts["shipments"].equal >= 1
    assert counts["invoices"].equal >= 1
    assert counts["returns"].equal == 1
    assert environment.query("SELECT count(*) AS n FROM ops.reading")[0].n == 0, "what was read is forgotten"


def test_a_dead_letter_is_the_cause_of_the_missing_order_and_one_that_waits_of_its_own(
    environment: Environment,
) -> None:
    dead = place(environment, line("NO-SUCH-SKU"))
    pending = place(environment, line(), OrderStatus="Pending", PaymentStatus="NotYetSubmitted")
    cancelled = place(environment, line(QuantityCancelled=1) | {"QuantityCancelled": 1}, OrderStatus="Cancelled")
    sync(environment)
    differences = found(environment, run_reconcile(environment, "orders"))
    causes = {key: differences["orders", key, ""] for key in (dead, pending, cancelled)}
    assert {key: row.missing for key, row in causes.items()} == dict.fromkeys(causes, "tims")
    assert causes[dead].cause == DEAD
    assert causes[dead].why.startswith("dead letter ")
    assert causes[pending].cause == WAITING
    assert (causes[cancelled].cause, causes[cancelled].why) == ("by rule", "cancelled before it was loaded")


def test_what_no_flow_has_read_yet_is_in_flight(environment: Environment) -> None:
    key = place(environment, line())
    forward(environment, environment.now + timedelta(minutes=1))
    row = found(environment, run_reconcile(environment, "orders"))["orders", key, ""]
    assert (row.cause, row.missing) == (IN_FLIGHT, "tims")
    sync(environment)
    assert ("orders", key, "") not in found(environment, run_reconcile(environment, "orders"))


def test_a_parcel_that_the_channel_has_not_heard_of_is_in_flight_in_every_subject(environment: Environment) -> None:
    key = order(environment, line())
    ship(environment, key, {1: 1})
    rows = [
        row for place, row in found(environment, run_reconcile(environment, *CASH)).items() if place[1].startswith(key)
    ]
    assert {row.subject for row in rows} == {"orders", "shipments"}
    assert {row.cause for row in rows} == {IN_FLIGHT}
    sync(environment)
    assert [place for place in found(environment, run_reconcile(environment, *CASH)) if place[1].startswith(key)] == []


def test_a_record_that_changes_while_it_is_read_is_read_again_and_judged_as_it_is_then(
    environment: Environment,
) -> None:
    key = order(environment, line())
    whole = read.read

    def changed(*given: Any, since: Any = None) -> None:
        whole(*given, since=since)
        if since is None:  # between the two reads
            send(environment, "channel_advisor", "order_change",
                 {"ChannelAdvisorOrderID": int(key), "changes": {"OrderStatus": "OnHold"}})  # fmt: skip

    with patch("crossdock.watch.reconcile.run.read", changed):
        row = found(environment, run_reconcile(environment, "orders"))["orders", key, "status"]
    assert (row.channel_advisor, row.tims, row.cause) == ("on hold", "open", IN_FLIGHT)
    sync(environment)
    assert unexplained(environment, run_reconcile(environment, "orders")) == {}


# ---- behind our back -------------------------------------------------------------------------------------------------


def patch_sale(environment: Environment, key: str, **changes: Any) -> None:
    with environment.runtime() as runtime:
        path = f"/sales-orders/{sales_order(environment, key)['SalesOrderID']}"
        _, etag = runtime.tims.read(path)
        runtime.tims.patch(path, changes, etag=etag)
    forward(environment, environment.now + timedelta(minutes=1))


def test_a_sales_order_changed_behind_our_back_is_found_and_each_fact_is_named(environment: Environment) -> None:
    key = order(environment, line(quantity=2, price="12.5000"), line(OTHER, 3, "1.0000"))
    sync(environment)
    sale = sales_order(environment, key)
    one = [each for each in sale["LineItems"] if each["SKU"] == ITEM]
    writable = ("LineNo", "ExternalLineID", "SKU", "Quantity", "Price", "DiscountAmount", "TaxAmount", "TaxRemittedBy")
    lines = [{name: each[name] for name in writable if name != "LineNo"} for each in one]
    patch_sale(environment, key, LineItems=lines, TotalAmount="25.00", PaymentStatus="Unpaid")
    outcome = run_reconcile(environment, *CASH)
    assert unexplained(environment, outcome) == {
        ("orders", key, f"line {key}02"): ("3", None),
        ("order_totals", key, "total"): ("28.00", "25.00"),
        ("payments", key, "payment"): ("Paid", "Unpaid"),
    }
    assert outcome.unexplained == 3
    alerts = environment.query("SELECT key, title, body FROM ops.alert WHERE kind = 'unexplained' ORDER BY key")
    assert [alert.key for alert in alerts] == ["order_totals", "orders", "payments"]
    assert all(key in alert.body for alert in alerts)
    patch_sale(environment, key, PaymentStatus="Paid", TotalAmount="28.00", LineItems=[
        {name: each[name] for name in writable if name != "LineNo"} for each in sale["LineItems"]
    ])  # fmt: skip
    assert unexplained(environment, run_reconcile(environment, *CASH)) == {}


def test_the_age_of_a_difference_is_that_of_the_run_that_saw_it_first(environment: Environment) -> None:
    key = order(environment, line())
    sync(environment)
    patch_sale(environment, key, PaymentStatus="Unpaid")
    first = found(environment, run_reconcile(environment, "payments"))["payments", key, "payment"]
    environment.query("UPDATE ops.reconcile_difference SET since = since - interval '3 days' RETURNING 1")
    assert run_reconcile(environment, "orders").unexplained == 0, "a run that does not look at the subject in between"
    again = found(environment, run_reconcile(environment, "payments"))["payments", key, "payment"]
    assert again.run > first.run
    assert again.since == first.since - timedelta(days=3)
    patch_sale(environment, key, PaymentStatus="Paid")
    assert unexplained(environment, run_reconcile(environment, "payments")) == {}
    patch_sale(environment, key, PaymentStatus="Unpaid")
    anew = found(environment, run_reconcile(environment, "payments"))["payments", key, "payment"]
    assert anew.since > first.since, "what was mended and comes back is a new difference"
    patch_sale(environment, key, PaymentStatus="Paid")


def test_a_report_of_a_parcel_that_is_gone_from_the_channel_is_found(environment: Environment) -> None:
    key = sent(environment)
    with altered("shipping", lambda row: None if str(row["ChannelAdvisorOrderID"]) == key else row):
        left = unexplained(environment, run_reconcile(environment, "shipments"))
    ((subject, name, field),) = left
    assert (subject, name.partition(":")[0], field) == ("shipments", key, "")
    assert unexplained(environment, run_reconcile(environment, "shipments")) == {}


def test_an_invoice_and_a_credit_memo_that_are_gone_or_wrong_are_found(environment: Environment) -> None:
    key = sent(environment)
    give_back(environment, key, 7_200_001)
    sync(environment)
    sync(environment)  # what the flows have made themselves has been read, too
    number = sales_order(environment, key)["SalesOrderID"]
    with altered("ar/invoices", lambda row: None if row["SalesOrderID"] == number else row):
        assert unexplained(environment, run_reconcile(environment, "invoices")) == {
            ("invoices", key, "worth"): ("28.33", None)
        }
    with altered("ar/credit-memos", lambda row: None if row["SalesOrderID"] == number else row):
        assert set(unexplained(environment, run_reconcile(environment, "returns"))) == {("returns", "7200001", "")}
    with altered("ar/credit-memos", lambda row: row | {"Total": "12.49"} if row["SalesOrderID"] == number else row):
        assert unexplained(environment, run_reconcile(environment, "returns")) == {
            ("returns", "7200001", "refund"): ("12.50", "12.49")
        }


def test_contact_details_that_a_person_set_after_the_order_are_by_rule_and_no_detail_is_shown(
    environment: Environment,
) -> None:
    buyer = {"CustomerID": "buyer-zoe", "FirstName": "Zoe", "LastName": "Adler", "Email": "zoe.adler@example.com",
             "Phone": "020 7946 0123", "Company": None}  # fmt: skip
    key = order(environment, line(), CustomerInfo=buyer)
    sync(environment)
    assert ("customers", key, "e-mail") not in found(environment, run_reconcile(environment, "customers"))
    with environment.runtime() as runtime:
        path = f"/customers/{sales_order(environment, key)['CustomerID']}"
        customer, etag = runtime.tims.read(path)
        assert customer["Email"] == "zoe.adler@example.com"
        runtime.tims.patch(path, {"Email": "someone.else@example.com"}, etag=etag)
    forward(environment, environment.now + timedelta(minutes=1))
    outcome = run_reconcile(environment, "customers")
    row = found(environment, outcome)["customers", key, "e-mail"]
    assert (row.cause, row.channel_advisor, row.tims) == ("by rule", None, None)
    assert row.why.startswith("a person changed the customer in TIMS")
    with environment.runtime() as runtime, runtime.engine.connect() as connection:
        page = results.page(connection, outcome.id)
    assert page
    assert "personal data is not shown" in page
    for word in ("zoe", "adler", "7946", "someone.else", "@example"):
        assert word not in page.lower()


def test_a_buyers_new_details_that_never_reached_tims_are_found(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = {"CustomerID": "buyer-ivo", "FirstName": "Ivo", "LastName": "Lang", "Email": "ivo@example.com",
             "Phone": None, "Company": None}  # fmt: skip
    order(environment, line(), CustomerInfo=buyer)
    later = order(environment, line(), CustomerInfo=buyer | {"Email": "ivo.lang@example.com"})
    sync(environment)
    assert ("customers", later, "e-mail") not in found(environment, run_reconcile(environment, "customers"))
    monkeypatch.setattr(orders_customers, "bring", lambda *_: None)
    last = order(environment, line(), CustomerInfo=buyer | {"Email": "ivo@lang.example"})
    sync(environment)
    assert found(environment, run_reconcile(environment, "customers"))["customers", last, "e-mail"].cause == "in flight"
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stage.buyer SET state = 'done'")  # as if it had been carried
    assert found(environment, run_reconcile(environment, "customers"))["customers", last, "e-mail"].cause == UNEXPLAINED


# ---- catalogue -------------------------------------------------------------------------------------------------------


def test_quantities_products_and_prices_are_compared_by_sku_without_case(environment: Environment) -> None:
    outcome = run_reconcile(environment, "quantities", "products", "prices")
    rows = found(environment, outcome)
    quantity = rows["quantities", OTHER, "quantity"]
    with environment.runtime() as runtime:
        levels = [json.loads(bytes(row)) for page in runtime.channel_advisor.pages("inventory", sku=OTHER)
                  for row in page.records]  # fmt: skip
        held = runtime.tims.get(f"/inventory/items/{OTHER}/quantity")
    ours = sum(place["Available"] for place in held["Locations"] if place["LocationID"] != "MARKETPLACE")
    assert quantity.channel_advisor == str(sum(each["AvailableQuantity"] for each in levels
                                               if each["DistributionCenterID"] == 4))  # fmt: skip
    assert quantity.tims == str(ours)
    assert ("products", OTHER, "title") not in rows
    assert rows["products", OTHER, "weight"].channel_advisor == ""
    missing = {row.missing for place, row in rows.items() if place[0] == "products" and place[2] == ""}
    assert missing == {"channel_advisor", "tims"}
    alternate = [row for row in rows.values() if (row.why or "").startswith("the channel has it as")]
    assert alternate
    assert {row.cause for row in alternate} == {"by rule"}


def test_units_of_an_order_that_nobody_has_read_explain_as_many_and_no_more(
    environment: Environment,
) -> None:
    forward(environment, environment.now + timedelta(minutes=1))
    environment.sync()
    # TIMS took all orders longer ago than the margin of inventory: of none of them the units are still held back.
    earlier = "created_at = created_at - interval '2 minutes'"
    environment.query(f"UPDATE ops.link SET {earlier} WHERE entity = 'sales_order' RETURNING 1")
    environment.sync(flow="inventory")
    parts = [{"SKU": sku, "Quantity": 2 * units} for sku, units in KIT_PARTS.items()]
    place(environment, line(KIT, 2) | {"BundleComponents": parts}, line(OTHER, 3))
    rows = found(environment, run_reconcile(environment, "quantities"))
    taken = {sku.lower(): rows["quantities", sku.lower(), "quantity"] for sku in (*KIT_PARTS, OTHER)}
    assert {row.cause for row in taken.values()} == {IN_FLIGHT}
    assert {sku: int(row.tims) - int(row.channel_advisor) for sku, row in taken.items()} == {
        **{sku: 2 * units for sku, units in KIT_PARTS.items()}, OTHER: 3,
    }  # fmt: skip
    more = altered("inventory", lambda row: row | {"AvailableQuantity": row["AvailableQuantity"] - 1})
    with more:
        rows = found(environment, run_reconcile(environment, "quantities"))
    assert rows["quantities", OTHER, "quantity"].cause == UNEXPLAINED
    sync(environment)
    environment.sync(flow="inventory")


def test_an_expectation_takes_the_place_of_what_tims_says(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    with altered("inventory", lambda row: row | {"AvailableQuantity": row["AvailableQuantity"] - 1}):
        plain = found(environment, run_reconcile(environment, "quantities"))["quantities", OTHER, "quantity"]
        expected = f"SELECT lower('{OTHER}') AS key, jsonb_build_object('quantity', {plain.channel_advisor}) AS facts"
        changed = replace(subjects.SUBJECTS["quantities"], expected=sa.text(expected))
        monkeypatch.setitem(subjects.SUBJECTS, "quantities", changed)
        rows = found(environment, run_reconcile(environment, "quantities"))
    assert ("quantities", OTHER, "quantity") not in rows
    assert ("quantities", ITEM, "quantity") in rows


# ---- command ---------------------------------------------------------------------------------------------------------


def test_the_command_prints_counts_writes_the_report_and_tells_by_its_exit_code(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli.context, "runtime", environment.runtime)

    def sent_to(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, ["reconcile", *words])
        return result.exit_code, result.stdout

    code, output = sent_to("--subject", "orders", "--report", str(tmp_path / "page.html"))
    assert code == 0, output
    assert "Every difference is explained." in output
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    key = order(environment, line())
    sync(environment)
    patch_sale(environment, key, PaymentStatus="Unpaid")
    code, output = sent_to("--subject", "payments")
    assert code == 7
    assert f"{key} payment: Paid in Channel Advisor, Unpaid in TIMS. Unexplained" in " ".join(output.split())
    assert "crossdock sync orders --key" in output
    code, output = sent_to("--subject", "payments", "--json")
    reported = json.loads(output)
    assert (code, reported["unexplained"]) == (7, 1)
    assert [(one["key"], one["cause"]) for one in reported["differences"] if one["cause"] == UNEXPLAINED] == [
        (key, UNEXPLAINED)
    ]
    patch_sale(environment, key, PaymentStatus="Paid")


def test_a_subject_that_there_is_not_is_told_with_the_nearest_one(environment: Environment) -> None:
    with pytest.raises(ConfigError, match="no subject 'order_total'") as error:
        run_reconcile(environment, "order_total")
    assert "order_totals" in error.value.do


def test_two_runs_are_never_at_it_together(environment: Environment) -> None:
    with (
        environment.runtime() as runtime,
        database.lock(runtime.engine, "reconcile"),
        pytest.raises(Transient, match="Another run"),
    ):
        reconcile(runtime, ["orders"], wait=0.1)


def test_a_run_that_dies_leaves_nothing_behind_and_is_no_run_for_the_next(environment: Environment) -> None:
    with patch("crossdock.watch.reconcile.run.compare", side_effect=RuntimeError), pytest.raises(RuntimeError):
        run_reconcile(environment, "orders")
    assert environment.query("SELECT count(*) AS n FROM ops.reading")[0].n == 0
    with environment.runtime() as runtime, runtime.engine.connect() as connection:
        ids = [run["id"] for run in results.runs(connection)]
    died = environment.query("SELECT id FROM ops.reconcile_run WHERE finished_at IS NULL ORDER BY id DESC")[0].id
    assert died not in ids
