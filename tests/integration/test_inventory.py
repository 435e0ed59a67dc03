"""The inventory flow, on both systems over HTTP and a real Postgres: the channel offers what is there, less what is
promised."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossdock import cli
from crossdock.flows import inventory
from crossdock.flows.orders import in_flight as orders_in_flight
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from integration import stock_oracle
from integration.builders import ADDRESS, KIT, KIT_PARTS, forward, line, persist, place
from integration.environment import ORDERS, Environment
from integration.stock_oracle import FBA, MAIN

NOWHERE = ADDRESS | {"Country": "Atlantis"}
PAIR = ("22423", "84946")  # plain items, each a product of the same name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offers")


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment, folder: Path) -> Iterator[Environment]:
    with pytest.MonkeyPatch.context() as patch:
        stock_oracle.configure(patch, folder)
        long_lived_environment.tick(long_lived_environment.now + timedelta(days=2, hours=12))
        long_lived_environment.sync()
        long_lived_environment.sync(flow="inventory")
        yield long_lived_environment


def role(environment: Environment, name: str) -> str:
    """A code that plays a role in the world, in capitals; of the first that has a quantity in TIMS."""
    return next(code for code, part in environment.world.catalogue.roles.items() if part == name)


def spelling(environment: Environment, code: str) -> str:
    return environment.world.catalogue.spellings[code]


def both(environment: Environment) -> None:
    environment.sync()
    environment.sync(flow="inventory")


@pytest.mark.slow
def test_over_the_whole_catalogue_the_channel_offers_what_the_rule_says(shop: Environment):
    assert len(stock_oracle.Oracle(shop).offers()) > 2_000
    assert stock_oracle.differences(shop) == []


@pytest.mark.slow
def test_a_run_with_nothing_new_works_nothing_and_sends_nothing(shop: Environment):
    shop.sync(flow="inventory")
    stock_oracle.requests(shop)
    for _ in range(2):
        assert shop.sync(flow="inventory").read == 0
    assert stock_oracle.requests(shop) == 0


@pytest.mark.slow
def test_each_kind_of_sku_does_the_documented_thing(shop: Environment):
    blocked, kit, recased, alternate, missing, ambiguous, discontinued = (
        role(shop, name) for name in ("blocked", "kit", "recased", "alternate", "missing", "ambiguous", "discontinued")
    )
    there = stock_oracle.levels(shop)
    assert there[spelling(shop, blocked), MAIN] == 0
    assert (spelling(shop, kit), MAIN) not in there
    assert "bundle" in stock_oracle.row(shop, kit).reason
    assert there[spelling(shop, recased), MAIN] == stock_oracle.free(shop, recased.lower())
    assert there[spelling(shop, alternate), MAIN] == stock_oracle.free(shop, f"TG-{alternate}")
    assert there[spelling(shop, discontinued), MAIN] == stock_oracle.free(shop, discontinued) > 0
    written = "SELECT 1 FROM stage.channel_quantity_line WHERE \"SKU\" = '%s'"
    assert shop.query(written % spelling(shop, missing)) == []
    letters = shop.letters()
    for sku in (ambiguous.lower(), ambiguous.capitalize()):
        (reason,) = letters[sku].reasons
        assert reason["rule"] == "ambiguous_sku"
        assert ambiguous.lower() in reason["says"]
        assert ambiguous.capitalize() in reason["says"]
    assert not any(center == FBA for _, center in there)


@pytest.mark.slow
def test_units_of_a_dead_letter_are_held_back_until_a_person_dismisses_it(shop: Environment):
    sku = PAIR[0]
    free = stock_oracle.free(shop, sku)
    key = place(shop, line(sku, 3), ShippingAddress=NOWHERE)
    both(shop)
    assert key in shop.letters()
    assert stock_oracle.level(shop, sku) == free - 3
    assert stock_oracle.row(shop, sku).in_flight == 3
    stock_oracle.dismiss(shop, key)
    counts = shop.sync(flow="inventory")
    assert (counts.read, counts.delivered) == (1, 1)
    assert stock_oracle.level(shop, sku) == free


@pytest.mark.slow
def test_units_of_orders_that_wait_or_are_only_read_are_held_back_and_counted_once_when_tims_has_them(
    shop: Environment,
):
    sku = PAIR[1]
    free = stock_oracle.free(shop, sku)
    pending = place(shop, line(sku, 2), OrderStatus="Pending", PaymentStatus="NotYetSubmitted", ShippingAddress=None)
    both(shop)
    assert stock_oracle.level(shop, sku) == free - 2
    place(shop, line(sku, 4))
    with shop.runtime() as runtime:
        extract(runtime, ORDERS, run_id="half")  # and dies
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, sku) == free - 6
    shop.sync(run_id="half")
    assert stock_oracle.free(shop, sku) == free - 4
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, sku) == free - 6
    stock_oracle.cancel(shop, pending)
    both(shop)
    assert stock_oracle.level(shop, sku) == free - 4


@pytest.mark.slow
def test_an_order_that_tims_took_a_moment_ago_is_held_back_twice_at_most_until_the_next_run(
    shop: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    sku = PAIR[0]
    free = stock_oracle.free(shop, sku)
    stock_oracle.configure(monkeypatch, folder, margin_seconds=3600)
    place(shop, line(sku, 2))
    both(shop)
    twice = stock_oracle.level(shop, sku)
    stock_oracle.configure(monkeypatch, folder)
    shop.sync(flow="inventory")
    assert twice <= free - 4
    assert stock_oracle.level(shop, sku) == stock_oracle.free(shop, sku) == free - 2
    assert stock_oracle.differences(shop) == []


@pytest.mark.slow
def test_an_order_in_the_place_of_another_with_as_many_units_makes_the_quantity_be_written_again(shop: Environment):
    sku = PAIR[0]
    leaves = place(shop, line(sku), ShippingAddress=NOWHERE)
    both(shop)
    level = stock_oracle.level(shop, sku)
    stock_oracle.dismiss(shop, leaves)
    comes = place(shop, line(sku), ShippingAddress=NOWHERE)
    assert stock_oracle.level(shop, sku) == level - 1  # the channel takes it off what is less by the other one already
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, sku) == level
    assert stock_oracle.differences(shop) == []
    shop.sync()
    stock_oracle.requests(shop)
    assert shop.sync(flow="inventory").read == 0
    assert stock_oracle.requests(shop) == 0
    stock_oracle.dismiss(shop, comes)
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, sku) == level + 1


@pytest.mark.slow
def test_an_order_in_the_place_of_one_that_tims_took_makes_the_quantity_be_written_again(
    shop: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    sku = "TAKEN-7"
    stock_oracle.product(shop, sku)
    stock_oracle.item(shop, sku)
    stock_oracle.adjust(shop, sku, 12)
    both(shop)
    stock_oracle.configure(monkeypatch, folder, margin_seconds=3600)
    place(shop, line(sku, 2))
    both(shop)
    assert stock_oracle.level(shop, sku) == 8  # TIMS has 10, and the order counts once more
    stock_oracle.configure(monkeypatch, folder)
    place(shop, line(sku, 2))
    shop.sync(flow="inventory")
    assert (stock_oracle.free(shop, sku), stock_oracle.level(shop, sku)) == (10, 8)
    assert shop.sync(flow="inventory").read == 0


@pytest.mark.slow
def test_a_capped_quantity_is_written_again_when_an_order_has_taken_units_off_it(
    shop: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    sku = PAIR[1]
    stock_oracle.configure(monkeypatch, folder, rules=[f"{sku},,,5,,few"])
    both(shop)
    assert stock_oracle.level(shop, sku) == 5 < stock_oracle.free(shop, sku) - 10
    key = place(shop, line(sku, 2), ShippingAddress=NOWHERE)
    both(shop)
    assert stock_oracle.level(shop, sku) == 5
    assert shop.sync(flow="inventory").read == 0
    stock_oracle.dismiss(shop, key)
    stock_oracle.configure(monkeypatch, folder)
    shop.sync(flow="inventory")


@pytest.mark.slow
def test_what_is_cancelled_or_shipped_by_a_marketplace_is_not_held_back_and_parts_of_kits_are(shop: Environment):
    sku = PAIR[0]
    both(shop)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        moment = connection.exec_driver_sql("SELECT now()").scalar()
        before = orders_in_flight.in_flight_units(connection, moment).units
    bad = {"ShippingAddress": NOWHERE}
    place(shop, line(sku, 5) | {"QuantityCancelled": 4}, **bad)
    place(shop, line(sku, 7), OrderStatus="Cancelled", **bad)
    place(shop, line(sku, 9), DistributionCenterTypeRollup="ExternallyManaged", **bad)
    place(shop, line(KIT, 2), **bad)
    place(shop, line("no such code", 2), **bad)
    shop.sync()
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        after = orders_in_flight.in_flight_units(connection, moment).units
    more = {part: 2 * units for part, units in KIT_PARTS.items()} | {sku: 1}
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == more
    shop.sync(flow="inventory")
    assert stock_oracle.differences(shop) == []


@pytest.mark.slow
def test_a_kit_that_the_channel_sells_as_one_item_is_as_many_as_its_parts_allow(shop: Environment):
    first, second = PAIR
    stock_oracle.item(
        shop, "SET-1", Type="Kit", KitComponents=[{"SKU": first, "Quantity": 2}, {"SKU": second, "Quantity": 1}]
    )
    stock_oracle.product(shop, "SET-1")
    both(shop)
    assert stock_oracle.level(shop, "SET-1") == stock_oracle.Oracle(shop).offers()["SET-1", MAIN] > 0
    kits = stock_oracle.level(shop, "SET-1")
    letter = place(shop, line(first, 2 * kits - 2), ShippingAddress=NOWHERE)
    both(shop)
    assert stock_oracle.level(shop, "SET-1") == stock_oracle.Oracle(shop).offers()["SET-1", MAIN] < kits
    stock_oracle.dismiss(shop, letter)
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, "SET-1") == kits


@pytest.mark.slow
def test_an_order_of_a_kit_in_the_place_of_another_makes_the_kits_be_written_again(shop: Environment):
    kit = "SET-7"
    stock_oracle.item(shop, kit, Type="Kit", KitComponents=[{"SKU": sku, "Quantity": 1} for sku in PAIR])
    stock_oracle.product(shop, kit)
    leaves = place(shop, line(kit), ShippingAddress=NOWHERE)
    both(shop)
    kits = stock_oracle.level(shop, kit)
    stock_oracle.dismiss(shop, leaves)
    comes = place(shop, line(kit), ShippingAddress=NOWHERE)
    assert stock_oracle.level(shop, kit) == kits - 1
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, kit) == kits
    shop.sync()
    assert shop.sync(flow="inventory").read == 0
    assert stock_oracle.differences(shop) == []
    stock_oracle.dismiss(shop, comes)


@pytest.mark.slow
def test_an_item_waits_for_its_product_and_goes_when_it_appears(shop: Environment):
    stock_oracle.item(shop, "NEW-7")
    stock_oracle.adjust(shop, "NEW-7", 12)
    stock_oracle.item(shop, "HIDDEN-7", ChannelEligible=False)
    stock_oracle.adjust(shop, "HIDDEN-7", 3)
    shop.sync(flow="inventory")
    assert (stock_oracle.row(shop, "NEW-7").state, stock_oracle.row(shop, "HIDDEN-7").state) == ("waiting", "left_out")
    assert shop.sync(flow="inventory").read == 0
    stock_oracle.product(shop, "new-7")
    stock_oracle.product(shop, "hidden-7")
    shop.sync(flow="inventory")
    assert (stock_oracle.level(shop, "new-7"), stock_oracle.level(shop, "hidden-7")) == (12, 0)
    assert ("new-7", MAIN) in stock_oracle.levels(shop)
    stock_oracle.item(shop, "NEW-7", AlternateSKUs=["SECOND-7"])
    stock_oracle.product(shop, "SECOND-7")
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, "SECOND-7") == 12


@pytest.mark.slow
def test_an_item_that_is_blocked_later_is_offered_no_more_and_comes_back(shop: Environment):
    sku = "85099B"
    free = stock_oracle.free(shop, sku)
    assert stock_oracle.level(shop, sku) == free > 0
    stock_oracle.item(shop, sku, Status="Blocked")
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, sku) == 0
    stock_oracle.item(shop, sku, Status="Active")
    shop.sync(flow="inventory")
    assert stock_oracle.level(shop, sku) == free


@pytest.mark.slow
def test_buffers_caps_and_shares_reach_the_skus_that_they_concern_and_no_others(
    shop: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = PAIR
    both(shop)
    before = {sku: stock_oracle.level(shop, sku) for sku in PAIR}
    stock_oracle.configure(monkeypatch, folder, rules=[f"{first},,5,,50,half", "84946*,,,7,,few"])
    counts = shop.sync(flow="inventory")
    assert counts.read == counts.delivered <= 4  # 84946* may be more than one
    assert stock_oracle.level(shop, first) == max(0, before[first] - 5) // 2
    assert stock_oracle.level(shop, second) == min(before[second], 7)
    stock_oracle.configure(monkeypatch, folder)
    shop.sync(flow="inventory")
    assert {sku: stock_oracle.level(shop, sku) for sku in PAIR} == before
    assert shop.sync(flow="inventory").read == 0


@pytest.mark.slow
def test_a_site_with_terms_of_its_own_shows_its_part_and_follows_the_stock_again_without(
    shop: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    sku = PAIR[0]
    with shop.runtime() as runtime:
        number = runtime.channel_advisor.create_listing({"SKU": sku, "SiteID": 641})["ListingID"]
        other = runtime.channel_advisor.create_listing({"SKU": sku, "SiteID": 870, "Quantity": 4})["ListingID"]
    forward(shop, shop.now + timedelta(minutes=2))

    def shown(listing: int) -> int | None:
        with shop.runtime() as runtime:
            return runtime.channel_advisor.call("GET", f"/v2/listings/{listing}")["Quantity"]

    stock_oracle.configure(monkeypatch, folder, rules=[f"{sku},641,2,10,50,"])
    shop.sync(flow="inventory")
    assert shown(number) == min(10, (stock_oracle.level(shop, sku) - 2) // 2)
    assert shown(other) == 4  # what a person has set on a site that nobody names
    forward(shop, shop.now + timedelta(minutes=10))
    assert shop.sync(flow="inventory").read == 0
    stock_oracle.configure(monkeypatch, folder)
    shop.sync(flow="inventory")
    assert (shown(number), shown(other)) == (None, 4)


@pytest.mark.slow
def test_a_figure_that_came_back_to_its_old_value_is_sent_again(shop: Environment):
    sku = PAIR[1]
    shop.sync(flow="inventory")
    stock_oracle.adjust(shop, sku, 3)
    stock_oracle.adjust(shop, sku, -3)
    counts = shop.sync(flow="inventory")
    assert counts.delivered >= 1
    assert stock_oracle.row(shop, sku).state == "delivered"
    assert shop.sync(flow="inventory", kind="key", keys=[sku]).delivered == 1


FAULTS = [
    ("channel_advisor", "rate_limited", {"path": "updateInventory", "times": 2}),
    ("channel_advisor", "error_before", {"path": "updateInventory", "times": 6}),
    ("channel_advisor", "error_after", {"path": "updateInventory", "times": 6}),
    ("channel_advisor", "cut_body", {"path": "updateInventory", "times": 2}),
    ("channel_advisor", "bulk_partial", {"path": "updateInventory", "times": 2, "every": 3}),
    ("channel_advisor", "bulk_partial", {"path": "updateInventory", "times": 1, "every": 2, "effect": True}),
    ("channel_advisor", "denied_200", {"path": "updateInventory", "times": 1}),
    ("tims", "truncated_json", {"path": "listQuantities", "times": 1}),
    ("tims", "error_before", {"path": "listQuantities", "times": 2}),
    ("tims", "shift_rows", {"path": "listQuantities", "times": 2}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("system", "kind", "rule"), FAULTS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_fault_that_passes_leaves_no_quantity_behind(shop: Environment, system: str, kind: str, rule: dict):
    shop.tick(shop.now + timedelta(hours=9))
    shop.sync()
    shop.fault(system, kind, **rule)
    persist(shop, "inventory", f"{kind}:{shop.now}")
    shop.clear_faults()
    shop.sync(flow="inventory", run_id=f"{kind}:{shop.now}")
    assert stock_oracle.differences(shop) == []
    assert shop.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL AND flow = 'inventory'") == []


@pytest.mark.slow
def test_a_quantity_that_the_channel_refuses_is_a_dead_letter_in_its_words_and_stops_no_other(shop: Environment):
    stock_oracle.product(shop, "GONE-1")
    stock_oracle.item(shop, "GONE-1")
    stock_oracle.adjust(shop, "GONE-1", 5)
    shop.sync(flow="inventory")
    with shop.runtime() as runtime:
        runtime.channel_advisor.call("DELETE", "/v2/products/GONE-1")
    stock_oracle.adjust(shop, "GONE-1", 5)
    stock_oracle.adjust(shop, PAIR[0], 1)
    shop.sync(flow="inventory")
    (reason,) = shop.letters()["GONE-1"].reasons
    assert reason["rule"] == "unknown_sku"
    assert "GONE-1" in reason["says"]
    assert stock_oracle.row(shop, PAIR[0]).state == "delivered"
    outcome = shop.query("SELECT outcome FROM ops.delivery WHERE key = 'GONE-1' ORDER BY id DESC LIMIT 1")
    assert outcome[0].outcome == "rejected"


@pytest.mark.slow
def test_a_full_compare_reports_how_much_was_right_and_repairs_the_rest(shop: Environment):
    both(shop)
    shop.sync(flow="inventory", kind="compare")
    (clean,) = shop.query("SELECT compared, equal FROM ops.accuracy ORDER BY id DESC LIMIT 1")
    assert clean.compared == clean.equal > 2_000
    assert shop.query("SELECT 1 FROM ops.alert WHERE kind = 'inventory_accuracy'") == []
    right = {sku: stock_oracle.level(shop, sku) for sku in PAIR}
    with shop.runtime() as runtime:
        wrong = [{"SKU": sku, "DistributionCenterID": MAIN, "UpdateType": "Absolute"} for sku in PAIR]
        runtime.channel_advisor.write_quantities([wrong[0] | {"Quantity": 9_999}, wrong[1] | {"Quantity": 0}])
    # The second is below ours. As long as the orders have not been read since, one of them may have taken the units.
    forward(shop, shop.now + timedelta(minutes=1))
    # What lost answers of the tests before may have written has landed: nothing is sent again for them.
    by = "interval '11 minutes'"
    shop.query(f"UPDATE ops.delivery SET sent_at = sent_at - {by}, unsure_at = unsure_at - {by} RETURNING 1")
    stock_oracle.requests(shop)
    with shop.runtime() as runtime:
        blind = dataclasses.replace(inventory.INVENTORY, prefetch=())
        counts = run_batches(runtime, blind, extract(runtime, blind, kind="compare"))
    assert (counts.delivered, stock_oracle.requests(shop)) == (1, 1)
    assert {sku: stock_oracle.level(shop, sku) for sku in PAIR} == {PAIR[0]: right[PAIR[0]], PAIR[1]: 0}
    shop.sync(flow="inventory", kind="compare")  # reads the orders first
    (found,) = shop.query("SELECT compared, equal FROM ops.accuracy ORDER BY id DESC LIMIT 1")
    assert found.compared - found.equal == 1
    assert {sku: stock_oracle.level(shop, sku) for sku in PAIR} == right
    assert stock_oracle.differences(shop) == []


@pytest.mark.slow
def test_orders_are_read_before_quantities_are_written_and_worked_by_their_own_next_run(shop: Environment):
    sku = PAIR[1]
    both(shop)
    free = stock_oracle.free(shop, sku)
    key = place(shop, line(sku, 3))
    shop.sync(flow="inventory")
    assert (stock_oracle.free(shop, sku), stock_oracle.level(shop, sku)) == (free, free - 3)
    assert shop.sync().delivered == 1
    assert shop.query(f"SELECT 1 FROM ops.link WHERE entity = 'sales_order' AND source_key = '{key}'")
    shop.sync(flow="inventory")
    assert (stock_oracle.free(shop, sku), stock_oracle.level(shop, sku)) == (free - 3, free - 3)


@pytest.mark.slow
def test_an_accuracy_below_the_limit_alerts(shop: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch):
    stock_oracle.configure(monkeypatch, folder, accuracy_percent=100)
    with shop.runtime() as runtime:
        runtime.channel_advisor.write_quantities(
            [{"SKU": PAIR[0], "DistributionCenterID": MAIN, "UpdateType": "Absolute", "Quantity": 9_999}]
        )
    shop.sync(flow="inventory", kind="compare")
    (alert,) = shop.query("SELECT title FROM ops.alert WHERE kind = 'inventory_accuracy'")
    assert "equal" in alert.title


@pytest.mark.slow
def test_the_command_prints_how_much_was_right(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli.context, "runtime", shop.runtime)
    output = CliRunner().invoke(cli.app, ["sync", "inventory", "--compare"], catch_exceptions=False).output
    assert re.search(r"Before the repair: 100\.00 % equal \(2,\d{3} of 2,\d{3}\)", output)
    output = CliRunner().invoke(cli.app, ["sync", "inventory", "--compare", "--json"], catch_exceptions=False).output
    reported = json.loads(output[output.index("{") :])
    assert reported["compared"] == reported["equal"] > 2_000


def test_the_same_figures_make_no_work_whatever_moment_they_were_read_at() -> None:
    row = b'{"SKU":"A","Locations":[{"LocationID":"MAIN","Available":%d}],"AsOf":"%s","RowVersion":%d,"ModifiedAt":"M"}'
    same, later, other, version = (
        inventory.read_key(row % values).same
        for values in ((1, b"10:00", 7), (1, b"11:00", 7), (2, b"10:00", 7), (1, b"10:00", 8))
    )
    assert same == later
    assert len({same, other, version}) == 3
