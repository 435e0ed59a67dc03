"""The shipments flow, on both systems over HTTP and a real Postgres: what TIMS sends, the channel hears of once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crossdock import flows
from crossdock.services import configuration
from crossdock.services.people import Person, Role
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from integration.builders import (
    ITEM,
    KIT,
    KIT_PARTS,
    OTHER,
    at_the_channel,
    forward,
    line,
    order,
    persist,
    place,
    sales_order,
    send,
    ship,
    states,
    units,
)
from integration.environment import Environment

STAGE = "stage.channel_shipment"


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    forward(long_lived_environment, long_lived_environment.now + timedelta(days=1, hours=10))
    return long_lived_environment


@pytest.fixture(scope="module")
def waiting(shop: Environment) -> Iterator[str]:
    """Orders of three units of one item, one for each test that wants no other."""
    keys = [place(shop, line(quantity=3)) for _ in range(15)]
    shop.sync()
    return iter(keys)


def status(environment: Environment, key: str) -> str:
    with environment.runtime() as runtime:
        return runtime.channel_advisor.call("GET", f"/v2/orders/{key}")["OrderStatus"]


@pytest.mark.slow
def test_a_shipment_is_told_with_carrier_and_tracking_and_the_orders_status_follows(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    number = ship(shop, key, {1: 3})
    counts = shop.sync(flow="shipments")
    assert (counts.read, counts.delivered) == (1, 1)
    (sent,) = at_the_channel(shop, key)
    assert (sent["SellerFulfillmentID"], sent["Carrier"], sent["ServiceClass"], sent["TrackingNumber"]) == (
        number.removeprefix("SH-"), "Royal Mail", "Tracked 48", "GB123",
    )  # fmt: skip
    assert units([sent]) == [{ITEM: 3}]
    assert status(shop, key) == "Shipped"
    again = shop.sync(flow="shipments", kind="key", keys=[number])
    assert (again.read, again.unchanged) == (1, 1)
    assert len(at_the_channel(shop, key)) == 1


@pytest.mark.slow
def test_parts_of_an_order_are_told_one_by_one(shop: Environment):
    key = order(shop, line(quantity=3), line(OTHER, 2))
    ship(shop, key, {1: 1, 2: 2})
    shop.sync(flow="shipments")
    assert status(shop, key) == "PartiallyShipped"
    ship(shop, key, {1: 2}, TrackingNumber=None)
    shop.sync(flow="shipments")
    assert status(shop, key) == "Shipped"
    assert units(at_the_channel(shop, key)) == [{ITEM: 1, OTHER: 2}, {ITEM: 2}]


@pytest.mark.slow
def test_the_parts_of_a_kit_fold_back_to_the_kit_over_several_parcels(shop: Environment):
    key = order(shop, line(KIT, 2, "30.0000"), line(OTHER, 1))
    parts = {each["SKU"]: each["LineNo"] for each in sales_order(shop, key)["LineItems"]}
    first, *others = KIT_PARTS
    one = ship(shop, key, {parts[first]: KIT_PARTS[first] * 2})
    shop.sync(flow="shipments")
    assert (states(shop, STAGE, [one]), at_the_channel(shop, key)) == (["left_out"], [])
    ship(shop, key, {**{parts[sku]: KIT_PARTS[sku] for sku in others}, parts[OTHER]: 1})
    ship(shop, key, {parts[sku]: KIT_PARTS[sku] for sku in others})
    shop.sync(flow="shipments")
    assert units(at_the_channel(shop, key)) == [{KIT: 1, OTHER: 1}, {KIT: 1}]
    assert status(shop, key) == "Shipped"


@pytest.mark.slow
def test_an_unknown_carrier_is_a_dead_letter_with_the_nearest_and_goes_through_when_mended(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    number = ship(shop, key, {1: 1}, Carrier="Royal Male")
    shop.sync(flow="shipments")
    (letter,) = [row for row in shop.letters().values() if row.key == number]
    assert [reason["rule"] for reason in letter.reasons] == ["unknown_carrier"]
    assert "Royal Mail / Tracked 48" in letter.reasons[0]["says"]
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        dead_letters.edit(connection, letter.id, {**letter.payload, "Carrier": "Royal Mail"}, who="clerk")
    counts = shop.sync(flow="shipments", kind="replay", keys=[number])
    assert counts.delivered == 1
    assert [each["Carrier"] for each in at_the_channel(shop, key)] == ["Royal Mail"]


@pytest.mark.slow
def test_a_carrier_that_is_published_lets_the_parcels_go_that_wait_for_it_and_the_batch_knows_the_version(
    shop: Environment, waiting: Iterator[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    name, analyst = "lookups/carriers.csv", Person("anna", frozenset({Role.ANALYST}))
    keys = [next(waiting) for _ in range(3)]
    numbers = [ship(shop, key, {1: 1}, Carrier="Pony Express") for key in keys[:2]]
    shop.sync(flow="shipments")
    assert {shop.letters()[number].reasons[0]["rule"] for number in numbers} == {"unknown_carrier"}
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        text = f"{configuration.text(connection, name)}Pony Express,Tracked 48,Royal Mail,Tracked 48\n"
        proposal = configuration.propose(connection, analyst, {name: text}, "Two parcels wait for the pony")
        version = configuration.publish(connection, analyst, proposal.number)
    counts = shop.sync(flow="shipments", kind="replay", keys=numbers)
    assert counts.delivered == 2
    assert [each["Carrier"] for key in keys[:2] for each in at_the_channel(shop, key)] == ["Royal Mail"] * 2
    assert last_version(shop) == version.number
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        back = configuration.rollback(connection, analyst, configuration.SHIPPED)
    late = ship(shop, keys[2], {1: 1}, Carrier="Pony Express")
    shop.sync(flow="shipments")
    assert shop.letters()[late].reasons[0]["rule"] == "unknown_carrier"
    assert last_version(shop) == back.number
    assert [len(at_the_channel(shop, key)) for key in keys] == [1, 1, 0]  # what was delivered stays


def last_version(shop: Environment) -> int:
    (row,) = shop.query("SELECT config_version FROM ops.batch WHERE flow = 'shipments' ORDER BY id DESC LIMIT 1")
    return row.config_version


@pytest.mark.slow
def test_what_is_wrong_with_one_shipment_is_not_said_of_another_of_the_same_batch(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    reported = ship(shop, key, {1: 1})
    shop.sync(flow="shipments")
    wrong, right = ship(shop, key, {1: 1}, Carrier="Pigeon Post"), ship(shop, key, {1: 1})
    counts = shop.sync(flow="shipments", kind="key", keys=[reported, wrong, right])
    assert (counts.unchanged, counts.dead, counts.delivered) == (1, 1, 1)
    (reason,) = shop.letters()[wrong].reasons
    assert "Pigeon Post" in reason["says"]


@pytest.mark.slow
def test_tracking_corrected_after_the_report_changes_nothing_there_and_is_noticed(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    number = ship(shop, key, {1: 1})
    shop.sync(flow="shipments")
    send(shop, "tims", "shipment_correction", {"ShipmentID": number, "TrackingNumber": "GB999"})
    counts = shop.sync(flow="shipments")
    assert (counts.unchanged, counts.delivered) == (1, 0)
    assert [each["TrackingNumber"] for each in at_the_channel(shop, key)] == ["GB123"]
    assert [a.key for a in shop.query("SELECT key FROM ops.alert WHERE kind = 'shipment_corrected'")] == [number]


@pytest.mark.slow
def test_a_shipment_waits_for_its_sales_order_and_wakes_when_it_has_been_read(
    shop: Environment, waiting: Iterator[str]
):
    key = next(waiting)
    number = ship(shop, key, {1: 1})
    with shop.runtime() as runtime:
        ids = extract(runtime, flows.get("shipments"))
        with runtime.engine.begin() as connection:  # as if the order had been read a moment before it was made
            connection.exec_driver_sql(f"DELETE FROM ref.sales_order WHERE external_order_id = '{key}'")
            connection.exec_driver_sql(f"DELETE FROM raw.tims_sales_orders WHERE payload->>'ExternalOrderID' = '{key}'")
        counts = run_batches(runtime, flows.get("shipments"), ids)
    assert (counts.waiting, states(shop, STAGE, [number])) == (1, ["waiting"])
    send(shop, "tims", "item", {**shop.in_tims("inventory/items")[0]})  # time passes
    with shop.runtime() as runtime:
        page = next(runtime.tims.pages("sales-orders", ExternalOrderID=key))
        assert page.records
    shop.query("UPDATE ops.watermark SET position = position - interval '1 day' "
               "WHERE resource = 'tims.sales-orders' RETURNING 1")  # fmt: skip
    counts = shop.sync(flow="shipments")
    assert counts.delivered == 1
    assert len(at_the_channel(shop, key)) == 1


@pytest.mark.slow
def test_a_shipment_that_the_channel_made_is_left_out(shop: Environment, waiting: Iterator[str]):
    key = next(waiting)
    number = ship(shop, key, {1: 1}, Source="ChannelAdvisor")
    counts = shop.sync(flow="shipments")
    assert (counts.skipped, states(shop, STAGE, [number])) == (1, ["left_out"])
    assert at_the_channel(shop, key) == []


@pytest.mark.slow
def test_what_the_channel_refuses_is_a_dead_letter_in_its_words(shop: Environment, waiting: Iterator[str]):
    key = next(waiting)
    with shop.runtime() as runtime:
        runtime.channel_advisor.update_order(key, {"OrderStatus": "OnHold"})
    number = ship(shop, key, {1: 1})
    shop.sync(flow="shipments")
    (reason,) = shop.letters()[number].reasons
    assert reason["rule"] == "order_not_shippable"
    assert "Channel Advisor refuses it" in reason["says"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("error_after", {"times": 6}),
        ("cut_body", {"times": 2}),
        ("bulk_partial", {"times": 1, "every": 2, "effect": True}),
    ],
)  # fmt: skip
def test_a_fault_that_passes_reports_every_shipment_once(
    shop: Environment, waiting: Iterator[str], kind: str, rule: dict
):
    key = next(waiting)
    for _ in range(3):
        ship(shop, key, {1: 1})
    shop.fault("channel_advisor", kind, path="createShipments", **rule)
    persist(shop, "shipments", f"{kind}:{key}")
    shop.clear_faults()
    assert units(at_the_channel(shop, key)) == [{ITEM: 1}] * 3
    assert shop.query("SELECT 1 FROM ops.delivery WHERE outcome IN ('sent', 'unknown')") == []
    assert shop.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []
