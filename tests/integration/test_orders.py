"""The orders flow, its promises one by one, on both systems over HTTP and a real Postgres."""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import Decimal

import msgspec
import pytest

from crossdock.errors import BatchStopped, ConfigError
from crossdock.steps.check import check
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import STEPS, run_batches
from crossdock.steps.transform import transform
from crossdock.store import dead_letters
from integration.environment import ORDERS, Environment, moment

DAYS = [f"2011-01-{day:02}" for day in (6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29)] + ["2011-02-03"]


@pytest.fixture(scope="module")
def january(long_lived_environment: Environment) -> Environment:
    """A month of trade, every fifth order of it, synchronised every few days."""
    for day in DAYS:
        long_lived_environment.tick(day)
        long_lived_environment.sync()
    return long_lived_environment


def at_the_channel(environment: Environment) -> dict[str, dict]:
    with environment.runtime() as runtime:
        found = {}
        for page in runtime.channel_advisor.pages("orders", since=None, before=None):
            for record in page.records:
                key = str(msgspec.json.decode(record)["ChannelAdvisorOrderID"])
                found[key] = msgspec.json.decode(runtime.channel_advisor.record("orders", key))
        return found


@pytest.mark.slow
def test_tims_holds_exactly_the_loadable_orders_each_once_to_the_cent(january: Environment):
    assert january.differences(DAYS) == []


@pytest.mark.slow
def test_changes_after_import_have_reached_the_sales_orders(january: Environment):
    channel, letters = at_the_channel(january), january.letters()
    compared = 0
    for order in january.in_tims():
        source = channel[order["ExternalOrderID"]]
        if order["ExternalOrderID"] in letters:
            continue
        compared += 1
        paid = {"Cleared": "Paid", "Deposited": "Paid"}.get(source["PaymentStatus"], "Unpaid")
        assert order["PaymentStatus"] == paid
        cancelled = {str(line["OrderItemID"]): line["QuantityCancelled"] for line in source["OrderItems"]}
        for line in order["LineItems"]:
            if ":" not in line["ExternalLineID"] and source["OrderStatus"] != "Cancelled":
                assert line["QuantityCancelled"] == cancelled[line["ExternalLineID"]], order["ExternalOrderID"]
        if source["OrderStatus"] == "Cancelled":
            assert order["OrderStatus"] == "Cancelled"
    assert compared > 100


@pytest.mark.slow
def test_every_loaded_order_is_marked_as_exported_with_its_number_and_no_other(january: Environment):
    numbers = {order["ExternalOrderID"]: order["SalesOrderID"] for order in january.in_tims()}
    for key, order in at_the_channel(january).items():
        assert order["Exported"] is (key in numbers)
        assert order["SellerOrderID"] == numbers.get(key)


@pytest.mark.slow
def test_an_order_that_was_shipped_before_its_first_read_has_its_shipments_in_tims_once(january: Environment):
    recorded = january.in_tims("shipments")
    assert recorded, "the sample has such orders"
    references = [shipment["ExternalReference"] for shipment in recorded]
    assert len(references) == len(set(references))
    with january.runtime() as runtime:
        for shipment in recorded:
            if shipment["ExternalReference"].startswith("order-"):
                continue
            (page,) = runtime.channel_advisor.pages(
                "shipping", since=None, before=None, channelAdvisorOrderId=shipment["ExternalOrderID"]
            )
            sources = {str(s["ShipmentID"]): s for s in map(msgspec.json.decode, page.records)}
            source = sources[shipment["ExternalReference"]]
            assert moment(shipment["ShippedAt"].rstrip("Z")) == moment(source["ShippedDate"].rstrip("Z"))
            assert sum(line["Quantity"] for line in shipment["Lines"]) > 0


@pytest.mark.slow
def test_the_counts_of_every_batch_add_up_and_none_is_unfinished(january: Environment):
    rows = january.query("SELECT * FROM ops.batch")
    assert rows
    for row in rows:
        parts = (row.unchanged, row.delivered, row.waiting, row.dead, row.skipped, row.superseded, row.in_flight)
        assert row.read == sum(parts)
        assert row.finished_at is not None


def whole_reads(environment: Environment) -> int:
    return environment.channel_advisor.call("GET", "requests").get("GET /v2/orders/{ChannelAdvisorOrderID}", 0)


def a_day_of_orders(environment: Environment) -> list[int]:
    """The batches of a day's first read; some of its orders are too long for a list."""
    environment.tick("2011-01-05")
    with environment.runtime() as runtime:
        ids = extract(runtime, ORDERS)
    assert whole_reads(environment) > 0
    return ids


@pytest.mark.slow
def test_the_mark_and_number_that_a_run_writes_to_orders_make_no_work_for_the_next_run(environment: Environment):
    ids = a_day_of_orders(environment)
    with environment.runtime() as runtime:
        assert run_batches(runtime, ORDERS, ids).delivered > 10
        environment.channel_advisor.call("DELETE", "requests")
        assert extract(runtime, ORDERS) == []
    assert whole_reads(environment) == 0


@pytest.mark.slow
def test_an_order_that_is_changed_between_its_read_and_its_mark_is_worked_again(environment: Environment):
    ids = a_day_of_orders(environment)
    with environment.runtime() as runtime:
        for name in ("transform", "check", "load"):
            for batch_id in ids:
                STEPS[name](runtime, ORDERS, batch_id)
        there = {order["ExternalOrderID"] for order in environment.in_tims()}
        may_hold = {
            key: len(order["OrderItems"])
            for key, order in at_the_channel(environment).items()
            if key in there and order["OrderStatus"] in ("New", "Processing")
        }
        held = [min(may_hold, key=may_hold.__getitem__), max(may_hold, key=may_hold.__getitem__)]
        assert may_hold[held[0]] < 20 < may_hold[held[1]]
        for key in held:
            runtime.channel_advisor.update_order(key, {"OrderStatus": "OnHold"})
        for batch_id in ids:
            STEPS["confirm"](runtime, ORDERS, batch_id)
        (again,) = extract(runtime, ORDERS)
        worked = environment.query(f"SELECT key FROM ops.work WHERE batch_id = {again}")
        assert {key for (key,) in worked} == set(held)
        assert run_batches(runtime, ORDERS, [again]).delivered == len(held)
    assert {order["OrderStatus"] for order in environment.in_tims() if order["ExternalOrderID"] in held} == {"OnHold"}
    assert environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


@pytest.mark.slow
def test_a_run_that_finds_nothing_new_makes_one_request_per_resource_and_no_other_work(january: Environment):
    january.sync()
    later = january.now + timedelta(hours=2)
    january.tick(later)
    january.sync()
    for control in (january.channel_advisor, january.tims_control):
        control.call("DELETE", "requests")
    with january.runtime() as runtime:
        assert extract(runtime, ORDERS) == []
    counted = {
        name: sum(count for path, count in control.call("GET", "requests").items() if path.startswith("GET"))
        for name, control in (("channel_advisor", january.channel_advisor), ("tims", january.tims_control))
    }
    assert counted == {"channel_advisor": 1, "tims": 2}  # orders; items and customers


@pytest.mark.slow
def test_a_backfill_of_a_past_interval_changes_nothing_and_never_moves_the_watermark(january: Environment):
    before = january.query("SELECT resource, position FROM ops.watermark WHERE flow = 'orders'")
    orders = {o["SalesOrderID"]: o["RowVersion"] for o in january.in_tims()}
    counts = january.sync(Window(moment("2011-01-05"), moment("2011-01-09")), kind="backfill")
    assert counts.read == counts.unchanged + counts.dead + counts.skipped + counts.waiting
    again = january.sync(Window(moment("2011-01-05"), moment("2011-01-09")), kind="backfill", reprocess=True)
    assert again.delivered == 0
    assert january.query("SELECT resource, position FROM ops.watermark WHERE flow = 'orders'") == before
    assert {o["SalesOrderID"]: o["RowVersion"] for o in january.in_tims()} == orders


@pytest.mark.slow
def test_an_edited_dead_letter_is_delivered_once_by_replay_and_keeps_its_edit(january: Environment):
    letters = january.letters().values()
    letter = next(row for row in letters if [r["rule"] for r in row.reasons] == ["code_rejected"])
    payload = dict(letter.payload)
    lines = [line for line in payload["OrderItems"] if line["OrderItemID"] != int(letter.reasons[0]["line"])]
    gone = next(line for line in payload["OrderItems"] if line not in lines)
    payload["OrderItems"], payload["OrderItemCount"] = lines, len(lines)
    net = Decimal(gone["UnitPrice"]) * gone["Quantity"] + Decimal(gone.get("TaxAmount") or 0)
    payload["TotalPrice"] = Decimal(payload["TotalPrice"]) - net
    if payload.get("TotalTaxPrice"):
        payload["TotalTaxPrice"] = Decimal(payload["TotalTaxPrice"]) - Decimal(gone.get("TaxAmount") or 0)
    with january.runtime() as runtime:
        with runtime.engine.begin() as connection:
            dead_letters.edit(connection, letter.id, payload, who="clerk")
        for _ in range(2):
            run_batches(runtime, ORDERS, extract(runtime, ORDERS, kind="replay", keys=[letter.key]))
        with runtime.engine.begin() as connection:
            after = dead_letters.find(connection, str(letter.id))
    assert after.state == "replayed", after.reasons
    (order,) = [o for o in january.in_tims() if o["ExternalOrderID"] == letter.key]
    of_lines = {line["ExternalLineID"].partition(":")[0] for line in order["LineItems"]}  # a kit is several
    assert of_lines == {str(line["OrderItemID"]) for line in lines}


@pytest.mark.slow
def test_a_dead_letter_whose_cause_is_mended_in_tims_goes_through_by_replay(january: Environment):
    letter = next(row for row in january.letters().values() if {r["rule"] for r in row.reasons} == {"unknown_sku"})
    skus = {r["value"] for r in letter.reasons}
    at = (january.now + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    (like,) = [item for item in january.in_tims("inventory/items") if item["SKU"] == "22423"]
    new = [{"id": f"item-{sku}", "at": at, "system": "tims", "kind": "item",
            "document": {**like, "SKU": sku, "AlternateSKUs": [], "GTIN": None}} for sku in skus]  # fmt: skip
    january.tims_control.apply(new)
    january.tick(january.now + timedelta(hours=2))
    january.sync(kind="replay", keys=[letter.key])
    assert letter.key not in january.letters()
    assert [o["ExternalOrderID"] for o in january.in_tims()].count(letter.key) == 1


@pytest.mark.slow
def test_one_record_is_synchronised_by_its_id_and_an_unknown_id_is_said(january: Environment):
    key = january.in_tims()[0]["ExternalOrderID"]
    counts = january.sync(kind="key", keys=[key])
    assert (counts.read, counts.unchanged) == (1, 1)
    with pytest.raises(ConfigError, match="no record 999"):
        january.sync(kind="key", keys=["999"])


@pytest.mark.slow
def test_a_dismissed_dead_letter_is_out_of_the_list_with_who_and_why(january: Environment):
    letter = next(iter(january.letters().values()))
    with january.runtime() as runtime, runtime.engine.begin() as connection:
        dead_letters.dismiss(connection, letter.id, who="clerk", note="test order")
    assert letter.key not in january.letters()
    (row,) = january.query(f"SELECT * FROM ops.dead_letter WHERE id = {letter.id}")
    assert (row.state, row.changed_by, row.note) == ("dismissed", "clerk", "test order")
    assert january.query(f"SELECT who, action FROM ops.audit WHERE subject = '{letter.id}'") == [
        ("clerk", "dead-letter dismiss")
    ]


@pytest.mark.slow
def test_a_batch_over_its_reject_threshold_stops_before_loading_until_a_person_lets_it_go(
    environment: Environment, monkeypatch
):
    from crossdock import settings

    strict = msgspec.structs.replace(settings.flow("orders"), reject_at_least=1, reject_share=0.0)
    monkeypatch.setattr(settings, "flow", lambda name: strict)
    environment.tick("2011-01-05")
    with environment.runtime() as runtime:
        (batch_id,) = extract(runtime, ORDERS)
        transform(runtime, ORDERS, batch_id)
        with pytest.raises(BatchStopped) as stopped:
            check(runtime, ORDERS, batch_id)
        assert "batch" in stopped.value.message
        assert "--accept-rejects" in stopped.value.do
        assert environment.letters() == {}
        assert [a.kind for a in environment.query("SELECT * FROM ops.alert WHERE kind = 'batch_stopped'")] == [
            "batch_stopped"
        ]
        assert environment.in_tims() == []
        check(runtime, ORDERS, batch_id, accept_rejects=True)
        run_batches(runtime, ORDERS, [])
    assert environment.letters() != {}


@pytest.mark.slow
def test_a_step_out_of_turn_is_refused_and_loses_nothing(environment: Environment):
    environment.tick("2011-01-05")
    with environment.runtime() as runtime:
        (batch_id,) = extract(runtime, ORDERS)
        with pytest.raises(ConfigError, match="not ready for check"):
            check(runtime, ORDERS, batch_id)
        run_batches(runtime, ORDERS, [batch_id])
    assert environment.differences() == []


@pytest.mark.slow
def test_an_older_version_after_a_newer_one_is_ignored(environment: Environment):
    environment.tick("2011-01-06")
    with environment.runtime() as runtime:
        early = extract(runtime, ORDERS)
        keys = [r.key for r in environment.query("SELECT DISTINCT key FROM raw.channel_advisor_orders")][:3]
        for number, key in enumerate(keys):  # the buyers change their orders before the first batch has gone on
            environment.channel_advisor.apply([
                {"id": f"late-{number}", "at": "2011-01-06T00:10:00Z", "system": "channel_advisor",
                 "kind": "order_change", "document": {"ChannelAdvisorOrderID": int(key),
                 "changes": {"SpecialInstructions": "ring twice"}}}])  # fmt: skip
        environment.tick("2011-01-07")
        run_batches(runtime, ORDERS, extract(runtime, ORDERS))
        counts = run_batches(runtime, ORDERS, early)  # the old batch comes late
    assert counts.superseded >= 3
    notes = {o["ExternalOrderID"]: o["Notes"] for o in environment.in_tims()}
    for key in keys:
        assert key not in notes or notes[key].endswith("ring twice")


@pytest.mark.slow
def test_two_runs_of_the_flow_at_once_load_every_order_once(environment: Environment):
    import threading

    environment.tick("2011-01-07")
    errors: list[BaseException] = []

    def run() -> None:
        try:
            environment.sync()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert environment.differences() == []


def test_a_window_that_ends_before_it_starts_is_refused_in_words():
    with pytest.raises(ConfigError, match="not before its end"):
        Window(moment("2011-01-05").astimezone(UTC), moment("2011-01-04"))
