"""What the channel holds, as the flows that write to it look it up."""

from __future__ import annotations

from datetime import timedelta

from crossdock.errors import RecordRejected
from crossdock.reference import channel, tims
from crossdock.steps.extract import refresh_reference
from integration.builders import forward, send
from integration.environment import Environment

PROFILE = 12345678


def product(environment: Environment, sku: str, kind: str = "Item") -> None:
    send(environment, "channel_advisor", "product", {
        "ProfileID": PROFILE, "SKU": sku, "ProductID": abs(hash(sku)) % 10**8, "ProductType": kind, "Title": sku,
        "CreatedDate": "2010-10-01T00:00:00Z",
    })  # fmt: skip


def test_products_are_taken_for_items_by_the_rule_that_orders_are_read_by(environment: Environment) -> None:
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        for resource in (
            tims.ITEMS,
            channel.PRODUCTS,
            channel.CENTERS,
            channel.SITES,
        ):
            refresh_reference(runtime, resource)
        roles = environment.world.catalogue.roles
        spelt = environment.world.catalogue.spellings
        ambiguous = next(code for code, role in roles.items() if role == "ambiguous")
        (row,) = channel.products_of(connection, [ambiguous.lower()])
        assert (row.product_sku, row.items) == (spelt[ambiguous], sorted([ambiguous.lower(), ambiguous.capitalize()]))
        alternate = next(code for code, role in roles.items() if role == "alternate")
        (row,) = channel.products_of(connection, [f"TG-{alternate}"])
        assert (row.product_sku, row.items) == (spelt[alternate], [f"TG-{alternate}"])


def test_only_what_has_changed_at_the_channel_is_read_again_and_takes_the_place_of_the_old(
    environment: Environment,
) -> None:
    product(environment, "NEW-1")
    with environment.runtime() as runtime:
        refresh_reference(runtime, channel.PRODUCTS)
        forward(environment, environment.now + timedelta(hours=1))
        runtime.channel_advisor.update_product("new-1", {"Brand": "Hearth"})
        refresh_reference(runtime, channel.PRODUCTS)
    rows = environment.query("SELECT sku, payload->>'Brand' AS brand FROM ref.channel_product WHERE folded = 'new-1'")
    assert [(row.sku, row.brand) for row in rows] == [("NEW-1", "Hearth")]


def test_each_item_of_a_batch_has_its_own_outcome(environment: Environment) -> None:
    with environment.runtime() as runtime:
        good, unknown, twice = runtime.channel_advisor.create_products(
            [{"SKU": "A-1", "Title": "One"}, {"SKU": "B-1"}, {"SKU": "a-1", "Title": "One again"}]
        )
        assert (good.status, good.error) == (201, None)
        assert isinstance(unknown.error, RecordRejected)
        assert unknown.error.refusals[0].field == "Title"
        assert isinstance(twice.error, RecordRejected)
        assert twice.error.code == "DuplicateSku"
        level = {"SKU": "a-1", "DistributionCenterID": 4, "Quantity": 3, "UpdateType": "Absolute"}
        fine, external = runtime.channel_advisor.write_quantities([level, level | {"DistributionCenterID": 9}])
        assert fine.result["AvailableQuantity"] == 3
        assert isinstance(external.error, RecordRejected)
        assert external.error.code == "ExternallyManaged"
        (price,) = runtime.channel_advisor.write_prices([{"SKU": "A-1", "Price": 5, "Currency": "GBP"}])
        assert price.error is None, price.error
