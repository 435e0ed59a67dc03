"""An account of the API v1 whose authorisation covers several profiles: orders of all that are chosen, and a product in
each; what was received is kept and shown; what could not be taken is read again.

The same SKU stands in two profiles that sell in one currency, and in a third one that sells in another: that one's
orders are taken, its products are left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossdock.services import personal, records
from crossdock.services.people import on_this_machine
from crossdock.store.jobs import Jobs
from crossdock.systems.channel_advisor import V1
from crossdock.watch.reconcile import reconcile
from integration.builders import forward, line, persist, place, sales_order
from integration.environment import Environment, found_environment
from sandbox.channel_advisor.account import MAIN_PROFILE, SECOND_PROFILE, SISTER_PROFILE

SKU, OTHER = "22423", "84946"
SISTER = f"{SISTER_PROFILE}:{SKU}"
pytestmark = pytest.mark.slow


def of_profile(number: int) -> dict[str, Any]:
    """The extra of a connection that sees one profile alone, as another client of the account would."""
    return {"api": "v1", "refresh_token": "sandbox-refresh-all-profiles", "profile_id": number}


def there(shop: Environment, profile: int, sku: str = SKU) -> dict[str, Any]:
    """What a profile holds of a SKU: its product, its price and the units on offer."""
    connection = dataclasses.replace(shop.connections["channel_advisor"], extra=of_profile(profile))
    with V1(connection) as client:
        found = {name: client.of_skus(name, [sku]) for name in ("products", "prices", "inventory")}
    (product,) = found["products"]
    return {
        "title": product["Title"],
        "price": [row["Price"] for row in found["prices"]],
        "units": sum(row["AvailableQuantity"] for row in found["inventory"]),
    }


def create(shop: Environment, profile: int) -> None:
    connection = dataclasses.replace(shop.connections["channel_advisor"], extra=of_profile(profile))
    with V1(connection) as client:
        (made,) = client.create_products([{"SKU": SKU, "ProductType": "Item", "Title": "made by hand"}])
    assert made.error is None


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Environment]:
    """A shop of two items; catalogue, prices and quantities are at the channel."""
    folder = tmp_path_factory.mktemp("environment")
    with found_environment(postgres_url, "profiles", folder, frozenset({SKU, OTHER}), "v1") as environment:
        connection = environment.connections["channel_advisor"]
        chosen = {"profile_id": [MAIN_PROFILE, SISTER_PROFILE, SECOND_PROFILE]}
        more = {**connection.extra, "refresh_token": "sandbox-refresh-all-profiles", **chosen}
        environment.connections["channel_advisor"] = dataclasses.replace(connection, extra=more)
        for profile in (SISTER_PROFILE, SECOND_PROFILE):
            create(environment, profile)
        for flow in ("catalog", "prices", "inventory"):
            persist(environment, flow, f"first-{flow}")
            forward(environment, environment.now + timedelta(minutes=2))
        yield environment


def test_a_sku_in_two_profiles_is_two_products_that_are_both_kept(shop: Environment) -> None:
    own, sister, foreign = (there(shop, each) for each in (MAIN_PROFILE, SISTER_PROFILE, SECOND_PROFILE))
    assert own == sister
    assert own["title"] != "made by hand"
    assert own["price"]
    assert own["units"] > 0
    assert foreign == {"title": "made by hand", "price": [], "units": 0}
    held = shop.query("SELECT sku, folded, payload->>'ProfileID' AS profile FROM ref.channel_product ORDER BY sku")
    assert [tuple(row) for row in held if row.folded == SKU] == [
        (SISTER, SKU, str(SISTER_PROFILE)),
        (SKU, SKU, str(MAIN_PROFILE)),
    ]


def test_what_somebody_changes_in_the_other_profile_is_set_back(shop: Environment) -> None:
    before = there(shop, SISTER_PROFILE)
    connection = dataclasses.replace(shop.connections["channel_advisor"], extra=of_profile(SISTER_PROFILE))
    with V1(connection) as client:
        client.update_product(SKU, {"Title": "changed by hand"})
        client.write_prices([{"SKU": SKU, "Price": Decimal("1.0000"), "Currency": "GBP"}])
        level = {"SKU": SKU, "DistributionCenterID": 0, "Quantity": 1, "UpdateType": "Absolute"}
        level["DistributionCenterID"] = client.of_skus("inventory", [SKU])[0]["DistributionCenterID"]
        client.write_quantities([level])
    assert there(shop, SISTER_PROFILE) != before
    assert there(shop, MAIN_PROFILE) == before
    forward(shop, shop.now + timedelta(minutes=10))
    for flow in ("catalog", "prices", "inventory"):
        persist(shop, flow, f"compare-{flow}", kind="compare")
        forward(shop, shop.now + timedelta(minutes=2))
    assert there(shop, SISTER_PROFILE) == there(shop, MAIN_PROFILE) == before


def test_orders_of_all_chosen_profiles_are_taken(shop: Environment) -> None:
    own = place(shop, line(SKU, 2))
    sister = place(shop, line(SKU, 3), ProfileID=SISTER_PROFILE)
    foreign = place(shop, line(SKU, 4), ProfileID=SECOND_PROFILE, Currency="USD")
    forward(shop, shop.now + timedelta(minutes=5))
    shop.sync()
    assert shop.letters() == {}
    orders = [sales_order(shop, key) for key in (own, sister, foreign)]
    assert [order["LineItems"][0]["Quantity"] for order in orders] == [2, 3, 4]
    assert len({order["CustomerID"] for order in orders[:2]}) >= 1


def test_what_an_order_was_made_of_is_kept_and_shown_also_of_one_that_is_read_by_its_key(shop: Environment) -> None:
    key = place(shop, line(OTHER))
    persist(shop, "orders", "by its key", kind="key", keys=[key])
    assert key not in shop.letters()
    versions = shop.query(
        f"SELECT hash, received FROM raw.channel_advisor_orders WHERE key = '{key}' ORDER BY received_at"
    )
    assert len(versions) > 1  # also the one with our own SellerOrderID
    assert all(row.received for row in versions)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        masked = records.version(connection, on_this_machine("ada"), "orders", key, versions[-1].hash)
        whole = records.version(connection, on_this_machine("ada"), "orders", key, versions[-1].hash, whole=True)
    values = {part.path: part.value for part in masked.received}
    assert (values["ID"], values["Items[0].Sku"], values["Currency"]) == (key, OTHER, "GBP")
    assert (values["ShippingAddressLine1"], values["BuyerUserId"]) == (personal.MASK, personal.MASK)
    assert {part.path: part.value for part in whole.received}["ShippingAddressLine1"] == "12 Elm Street"


def test_an_order_that_no_table_fitted_is_read_again_by_the_replay_of_its_letter(
    shop: Environment, config: Path
) -> None:
    path = config / "lookups" / "channel_advisor_v1_status.csv"
    whole = path.read_text()
    row = "Completed|CompletedAndVisited|CompletedOffline,*,Unshipped,*,New,Unshipped\n"
    assert row in whole
    path.write_text(whole.replace(row, ""))
    try:
        keys = [place(shop, line(OTHER)) for _ in range(2)]
        forward(shop, shop.now + timedelta(minutes=5))
        shop.sync()
        (reason,) = shop.letters()[keys[0]].reasons
        assert reason["rule"] == "unknown_status"
        assert "channel_advisor_v1_status.csv" in reason["says"]
        shop.sync(kind="replay", keys=keys)  # nobody has mended the table yet
        assert set(keys) <= set(shop.letters())
    finally:
        path.write_text(whole)
    shop.sync(kind="replay", keys=keys)
    assert not set(keys) & set(shop.letters())
    assert [sales_order(shop, key)["LineItems"][0]["Quantity"] for key in keys] == [1, 1]


def test_a_job_is_kept_for_all_processes_until_its_result_is_read(shop: Environment) -> None:
    began, hour = datetime(2011, 1, 3, 20, tzinfo=UTC), timedelta(hours=1)
    with shop.runtime() as one, shop.runtime() as other:
        first, second = Jobs(one.engine, "channel_advisor"), Jobs(other.engine, "channel_advisor")
        first.keep("export", "T-1", began)
        first.keep("export", "T-2", began)
        assert second.find("export", hour) == ("T-2", began)
        assert second.find("export", timedelta(0)) is None
        assert second.find("another", hour) is None
        first.forget("export", "T-1")  # of an earlier job of this name
        assert second.find("export", hour) == ("T-2", began)
        second.forget("export", "T-2")
        assert first.find("export", hour) is None


def test_both_systems_agree_on_the_products_of_all_profiles(shop: Environment) -> None:
    for flow in ("orders", "inventory"):
        persist(shop, flow, f"last-{flow}")
    with shop.runtime() as runtime:
        assert reconcile(runtime, ["prices", "products", "quantities"]).unexplained == 0
