"""The catalogue flow, on both systems over HTTP and a real Postgres: what TIMS says of its products is on the channel.

One environment for the whole file: its first test brings the whole catalogue to the channel while things fail, the
others live on in it with items of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from crossdock import cli, flows
from crossdock.errors import OutcomeUnknown, RecordRejected
from crossdock.services import mappings
from crossdock.services.mappings import Change
from crossdock.services.people import on_this_machine
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from crossdock.store.batches import Counts
from integration.builders import forward, persist, send
from integration.environment import Environment, found_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test brings 2,600 products to the channel
EBAY = 870
LISTED = "Toys"
_numbers = count(1)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


# ---- the environment -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Environment]:
    with found_environment(postgres_url, "m_catalog", tmp_path_factory.mktemp("environment")) as environment:
        for number in range(40):
            item(environment, f"FIRST-{number:02}", Attributes={"Number": str(number)})
        for kind, rule in FAULTS.items():
            environment.fault("channel_advisor", kind, **rule)
        persist(environment, "catalog", "first", tries=12)
        environment.clear_faults()
        yield environment


FAULTS: dict[str, dict[str, Any]] = {
    "rate_limited": {"path": "/v2/*", "probability": 0.02, "times": 5, "seconds": 1},
    "error_after": {"path": "/v2/products*", "probability": 0.02, "times": 30, "seed": 1},
    "cut_body": {"path": "/v2/products*", "probability": 0.02, "times": 30, "seed": 2},
    "bulk_partial": {"path": "/v2/products", "method": "POST", "every": 4, "times": 2, "effect": True},
}


def item(environment: Environment, sku: str = "", **more: Any) -> str:
    """An item of TIMS as it is from now on; its SKU."""
    sku = sku or f"NEW-{next(_numbers)}"
    send(environment, "tims", "item", {
        "SKU": sku, "AlternateSKUs": [], "Title": f"Title of {sku}", "Description": None, "Brand": "Hearth",
        "Category": "Gifts", "GTIN": None, "Type": "Inventory", "KitComponents": [], "Cost": "2.50",
        "ListPrice": "5.00", "CurrencyCode": "GBP", "MinMarginPercent": None, "TaxCategory": "standard",
        "WeightKg": "0.250", "Images": [], "Attributes": {}, "Status": "Active", "ChannelEligible": True, **more,
    })  # fmt: skip
    return sku


def stock(environment: Environment, sku: str, units: int) -> None:
    send(environment, "tims", "quantity", {"SKU": sku, "Locations": [
        {"LocationID": "MAIN", "OnHand": units, "Incoming": 0}]})  # fmt: skip


def sync(environment: Environment, **more: Any) -> Counts:
    return environment.sync(flow="catalog", **more)


def read(environment: Environment) -> list[int]:
    with environment.runtime() as runtime:
        return extract(runtime, flows.get("catalog"))


def work(environment: Environment, ids: list[int]) -> None:
    with environment.runtime() as runtime:
        run_batches(runtime, flows.get("catalog"), ids)


def replay(environment: Environment, key: str) -> Counts:
    return environment.sync(flow="catalog", kind="replay", keys=[key])


def product(environment: Environment, sku: str) -> dict[str, Any]:
    with environment.runtime() as runtime:
        return _decode(runtime.channel_advisor.record("products", sku))


def everything(environment: Environment, resource: str) -> list[dict[str, Any]]:
    with environment.runtime() as runtime:
        rows = {}
        for page in runtime.channel_advisor.pages(resource):
            for record in page.records:
                row = _decode(record)
                rows[row.get("ListingID") or row["SKU"]] = row
        return list(rows.values())


def listings(environment: Environment, sku: str) -> list[dict[str, Any]]:
    with environment.runtime() as runtime:
        return runtime.channel_advisor.of_skus("listings", [sku])


def change(environment: Environment, sku: str, **fields: Any) -> None:
    """What somebody does to a product at the channel."""
    with environment.runtime() as runtime:
        runtime.channel_advisor.update_product(sku, fields)
    forward(environment, environment.now + timedelta(minutes=6))


def priced(environment: Environment, sku: str) -> None:
    with environment.runtime() as runtime:
        (one,) = runtime.channel_advisor.write_prices([{"SKU": sku, "Price": 5, "Currency": "GBP"}])
    assert one.error is None
    forward(environment, environment.now + timedelta(minutes=6))


def state(environment: Environment, key: str) -> tuple[str, str | None]:
    (row,) = environment.query(f"SELECT state, reason FROM stage.product WHERE key = '{key}'")
    return row.state, row.reason


def rules(environment: Environment, key: str) -> list[str]:
    letter = environment.letters().get(key)
    return [reason["rule"] for reason in letter.reasons] if letter else []


def deliveries(environment: Environment) -> int:
    return int(
        environment.query("SELECT coalesce(sum(attempts), 0) AS n FROM ops.delivery WHERE flow = 'catalog'")[0].n
    )


def quiet(environment: Environment) -> None:
    """Nothing is left to do, and doing it sends nothing."""
    sync(environment)
    before = deliveries(environment)
    sync(environment)
    assert deliveries(environment) == before
    assert (
        environment.query("SELECT 1 FROM ops.delivery WHERE flow = 'catalog' AND outcome IN ('sent', 'unknown')") == []
    )


# ---- the whole catalogue -------------------------------------------------------------------------------------------


def as_told(one: dict[str, Any], kit: bool) -> dict[str, Any]:
    """The fields that are TIMS's, as a product should have them; worked out here and nowhere else."""
    gtin = one["GTIN"] or ""
    pounds = one["WeightKg"] and (Decimal(one["WeightKg"]) / Decimal("0.45359237"))
    named = one["Attributes"] | ({"Category": one["Category"]} if one["Category"] else {})
    return {
        "Title": one["Title"], "Description": one["Description"], "Brand": one["Brand"],
        "UPC": gtin if len(gtin) == 12 else None, "EAN": gtin if len(gtin) == 13 else None,
        "Cost": Decimal(one["Cost"]),
        "Weight": pounds and pounds.quantize(Decimal("0.0001"), ROUND_HALF_UP),
        "IsBlocked": not one["ChannelEligible"] or one["Status"] == "Blocked",
        "Attributes": named,
        "Images": {f"ITEMIMAGEURL{n}": url for n, url in enumerate(one["Images"], 1)},
        "BundleComponents": {part["SKU"].lower(): part["Quantity"] for part in one["KitComponents"]} if kit else {},
    }  # fmt: skip


def as_there(one: dict[str, Any]) -> dict[str, Any]:
    values = {name: one.get(name) for name in ("Title", "Description", "Brand", "UPC", "EAN", "Cost", "Weight")}
    return values | {
        "IsBlocked": one["IsBlocked"],
        "Attributes": {each["Name"]: each["Value"] for each in one["Attributes"]},
        "Images": {each["PlacementName"]: each["Url"] for each in one["Images"]},
        "BundleComponents": {each["SKU"].lower(): each["Quantity"] for each in one["BundleComponents"]},
    }


def meant(product_sku: str, items: dict[str, dict], alternates: dict[str, str], folded: dict[str, set]) -> set[str]:
    """Which items a product of the channel may be."""
    if product_sku in items:
        return {product_sku}
    return {alternates[product_sku]} if product_sku in alternates else folded.get(product_sku.lower(), set())


def test_after_a_run_through_faults_every_product_says_what_tims_says(shop: Environment):
    items = {one["SKU"]: one for one in shop.in_tims("inventory/items")}
    alternates = {code: sku for sku, one in items.items() for code in one["AlternateSKUs"]}
    folded: dict[str, set[str]] = {}
    for sku, one in items.items():
        for code in (sku, *one["AlternateSKUs"]):
            folded.setdefault(code.lower(), set()).add(sku)
    found: dict[int, int] = {}
    for there in everything(shop, "products"):
        names = meant(there["SKU"], items, alternates, folded)
        found[len(names)] = found.get(len(names), 0) + 1
        if len(names) == 1:
            one = items[names.pop()]
            reported = as_told(one, kit=there["ProductType"] == "Bundle")
            assert as_there(there) == reported, there["SKU"]
            del items[one["SKU"]]
    roles = shop.world.catalogue.roles
    assert found[1] > 2_500
    assert found[0] == sum(role == "missing" for role in roles.values()) > 10
    assert found[2] == sum(role == "ambiguous" for role in roles.values()) > 0
    # What has no product is the voucher, and what a product could be as well as another.
    left = {sku for sku in items if len(folded[sku.lower()]) == 1}
    assert left == {"GIFT-VOUCHER"}
    ambiguous = set(items) - left
    assert {key for key in shop.letters() if key in ambiguous} == ambiguous
    assert all(rules(shop, key) == ["ambiguous_product"] for key in ambiguous)
    before = {row["SKU"]: row["UpdatedDate"] for row in everything(shop, "products")}
    quiet(shop)
    assert {row["SKU"]: row["UpdatedDate"] for row in everything(shop, "products")} == before


def test_products_that_are_no_item_are_kept_with_the_nearest_items(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    rows = shop.query("SELECT product_sku, nearest FROM ops.orphan")
    missing = {code for code, role in shop.world.catalogue.roles.items() if role == "missing"}
    assert {row.product_sku.upper() for row in rows} == missing
    assert all(row.nearest for row in rows)
    assert len(shop.query("SELECT 1 FROM ops.alert WHERE kind = 'catalog_orphans'")) == 1
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", shop.database_url)
    reported = CliRunner().invoke(cli.app, ["catalog", "orphans", "--json"])
    assert {row["product_sku"] for row in msgspec.json.decode(reported.stdout)} == {row.product_sku for row in rows}
    item(shop, rows[0].product_sku)
    sync(shop)
    assert len(shop.query("SELECT 1 FROM ops.orphan")) == len(rows) - 1
    assert product(shop, rows[0].product_sku)["Brand"] == "Hearth"


# ---- products ------------------------------------------------------------------------------------------------------


def test_only_what_may_be_sold_is_created_and_once(shop: Environment):
    new, kept = item(shop), item(shop, ChannelEligible=False)
    old = item(shop, Status="Discontinued")
    counts = sync(shop)
    assert (counts.delivered, counts.skipped) == (1, 2)
    assert product(shop, new)["ProductType"] == "Item"
    for sku in (kept, old):
        with pytest.raises(RecordRejected, match="UnknownSku"):
            product(shop, sku)
    quiet(shop)
    (link,) = shop.query(f"SELECT target_id FROM ops.link WHERE entity = 'channel_product' AND source_key = '{new}'")
    assert link.target_id == str(product(shop, new)["ProductID"])


def test_only_the_fields_that_differ_are_sent_and_what_is_the_channels_stays(shop: Environment):
    sku = item(shop, Attributes={"Colour": "Oak", "Size": "L"}, Images=["https://img.example.com/a.jpg"])
    sync(shop)
    own = [{"Name": "Season", "Value": "Spring"}]
    swatch = {"PlacementName": "SWATCH", "Url": "https://img.example.com/swatch.jpg"}
    there = product(shop, sku)
    change(shop, sku, Condition="NEW", ShortDescription="Ours alone", Height=3,
           Attributes=[*there["Attributes"], *own], Images=[*there["Images"], swatch])  # fmt: skip
    quiet(shop)
    item(shop, sku, Attributes={"Colour": "Ash"}, Images=["https://img.example.com/b.jpg"], Brand=None)
    sync(shop)
    there = product(shop, sku)
    assert there["Attributes"] == [{"Name": "Category", "Value": "Gifts"}, {"Name": "Colour", "Value": "Ash"}, *own]
    assert there["Images"] == [
        {"PlacementName": "ITEMIMAGEURL1", "Url": "https://img.example.com/b.jpg"}, swatch
    ]  # fmt: skip
    assert (there["Condition"], there["ShortDescription"], there["Height"]) == ("NEW", "Ours alone", 3)
    assert there["Brand"] is None
    quiet(shop)


def test_the_cost_of_another_currency_is_not_sent(shop: Environment):
    sku = item(shop, CurrencyCode="USD")
    sync(shop)
    assert product(shop, sku)["Cost"] is None
    change(shop, sku, Cost=Decimal("9.9900"))
    quiet(shop)
    assert product(shop, sku)["Cost"] == Decimal("9.99")


def test_a_product_keeps_the_spelling_it_has_and_its_odd_sku_is_no_trouble_in_a_path(shop: Environment):
    with shop.runtime() as runtime:
        runtime.channel_advisor.create_products([{"SKU": "odd/sku #1 Ä", "Title": "Old"}])
    sku = item(shop, "ODD/SKU #1 ä")
    sync(shop)
    there = product(shop, sku)
    assert (there["SKU"], there["Title"]) == ("odd/sku #1 Ä", "Title of ODD/SKU #1 ä")


def test_an_item_that_is_sold_under_two_names_has_two_products(shop: Environment):
    sku = item(shop, AlternateSKUs=["AMZ-TWO-NAMES"])
    with shop.runtime() as runtime:
        runtime.channel_advisor.create_products([{"SKU": "AMZ-TWO-NAMES", "Title": "Old"}])
    sync(shop)
    with pytest.raises(RecordRejected, match="UnknownSku"):
        product(shop, sku)
    with shop.runtime() as runtime:
        runtime.channel_advisor.create_products([{"SKU": sku, "Title": "By hand"}])
    forward(shop, shop.now + timedelta(minutes=6))
    sync(shop)
    assert {product(shop, name)["Title"] for name in (sku, "AMZ-TWO-NAMES")} == {f"Title of {sku}"}
    quiet(shop)


def test_two_items_that_only_case_tells_apart_never_share_a_product(shop: Environment):
    one, other = item(shop, "CaseTwin"), item(shop, "CASETWIN", Title="The other one")
    sync(shop)
    held = [sku for sku in (one, other) if rules(shop, sku) == ["duplicate_sku"]]
    assert len(held) == 1
    (first,) = {one, other} - set(held)
    assert product(shop, "casetwin")["SKU"] == first
    quiet(shop)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"GTIN": "4006381333932"}, "wrong_check_digit"),
        ({"Title": " "}, "no_title"),
        ({"Images": ["ftp://img.example.com/a.jpg"]}, "image_address"),
        ({"Title": " ", "Category": LISTED}, "no_title"),
    ],
)
def test_an_item_that_no_site_would_take_is_a_dead_letter_until_tims_mends_it(
    shop: Environment, wrong: dict[str, Any], rule: str
):
    sku = item(shop, **wrong)
    sync(shop)
    assert rules(shop, sku) == [rule]
    item(shop, sku, Category=wrong.get("Category", "Gifts"))
    sync(shop)
    assert rules(shop, sku) == []
    assert product(shop, sku)["Title"] == f"Title of {sku}"


# ---- kits ----------------------------------------------------------------------------------------------------------


def parts(*skus: str) -> dict[str, Any]:
    return {"Type": "Kit", "KitComponents": [{"SKU": sku, "Quantity": n} for n, sku in enumerate(skus, 1)]}


def test_a_kit_is_created_after_its_parts_in_the_same_run(shop: Environment):
    one, two = item(shop), item(shop)
    kit = item(shop, "A-KIT-FIRST-BY-NAME", **parts(one, two))
    assert sync(shop).delivered == 3
    there = product(shop, kit)
    assert there["ProductType"] == "Bundle"
    assert there["BundleComponents"] == [{"SKU": one, "Quantity": 1}, {"SKU": two, "Quantity": 2}]
    item(shop, kit, **parts(two))
    sync(shop)
    assert product(shop, kit)["BundleComponents"] == [{"SKU": two, "Quantity": 1}]
    quiet(shop)


def test_a_kit_waits_for_a_part_that_was_refused(shop: Environment):
    part = item(shop, GTIN="4006381333932")
    kit = item(shop, **parts(part))
    sync(shop)
    assert state(shop, kit) == ("waiting", f"The channel does not have these parts of the kit yet: {part}.")
    quiet(shop)
    item(shop, part, GTIN="4006381333931")
    sync(shop)
    sync(shop)
    assert product(shop, kit)["BundleComponents"] == [{"SKU": part, "Quantity": 1}]
    assert state(shop, kit)[0] in ("delivered", "unchanged")
    more = item(shop, GTIN="4006381333932")
    item(shop, kit, Title="With more", **parts(part, more))
    sync(shop)
    there = product(shop, kit)
    assert (there["Title"], len(there["BundleComponents"]), state(shop, kit)[0]) == ("With more", 1, "waiting")
    item(shop, more)
    sync(shop)
    sync(shop)
    assert len(product(shop, kit)["BundleComponents"]) == 2


def test_a_kit_that_is_an_item_at_the_channel_stays_one(shop: Environment):
    part, kit = item(shop), f"NEW-{next(_numbers)}"
    with shop.runtime() as runtime:
        runtime.channel_advisor.create_products([{"SKU": kit, "Title": "Old"}])
    item(shop, kit, **parts(part))
    sync(shop)
    there = product(shop, kit)
    assert (there["ProductType"], there["Title"], there["BundleComponents"]) == ("Item", f"Title of {kit}", [])
    quiet(shop)


# ---- conflicts -----------------------------------------------------------------------------------------------------


def test_what_somebody_changed_at_the_channel_is_set_back_and_kept(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    sku = item(shop, Attributes={"Colour": "Oak"})
    sync(shop)
    there = product(shop, sku)
    spoilt = [one | {"Value": "Pink"} if one["Name"] == "Colour" else one for one in there["Attributes"]]
    change(shop, sku, Title="Best lamp ever!!", Attributes=spoilt, Condition="Used")
    sync(shop)
    now = product(shop, sku)
    assert (now["Title"], now["Condition"]) == (f"Title of {sku}", "Used")
    assert now["Attributes"] == there["Attributes"]
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", shop.database_url)
    reported = msgspec.json.decode(CliRunner().invoke(cli.app, ["catalog", "conflicts", "--json"]).stdout)
    mine = {row["field"]: (row["theirs"], row["ours"], row["resolved"]) for row in reported if row["key"] == sku}
    assert mine == {
        "Title": ("Best lamp ever!!", f"Title of {sku}", "TIMS's value was sent"),
        "Attributes.Colour": ("Pink", "Oak", "TIMS's value was sent"),
    }
    assert len(shop.query(f"SELECT 1 FROM ops.alert WHERE kind = 'product_conflict' AND key = '{sku}'")) == 1
    quiet(shop)


def test_a_change_in_tims_is_no_conflict(shop: Environment):
    sku = item(shop)
    sync(shop)
    item(shop, sku, Title="New in TIMS")
    sync(shop)
    assert shop.query(f"SELECT 1 FROM ops.conflict WHERE key = '{sku}'") == []


def test_stock_and_price_move_a_products_date_and_make_no_work(shop: Environment):
    sku = item(shop)
    sync(shop)
    priced(shop, sku)
    assert sync(shop).read == 0


# ---- what goes, and what is found only by looking at everything ---------------------------------------------------


def test_a_product_that_was_deleted_there_is_found_by_the_full_compare_and_made_anew(shop: Environment):
    sku = item(shop)
    sync(shop)
    with shop.runtime() as runtime:
        runtime.channel_advisor.call("DELETE", f"/v2/products/{sku}")
    forward(shop, shop.now + timedelta(minutes=6))
    sync(shop)
    with pytest.raises(RecordRejected, match="UnknownSku"):
        product(shop, sku)
    assert sync(shop, kind="compare").delivered == 1
    assert product(shop, sku)["Title"] == f"Title of {sku}"
    assert sync(shop, kind="compare").delivered == 0
    quiet(shop)


def test_the_full_compare_repairs_what_differs_however_old(shop: Environment):
    sku = item(shop)
    sync(shop)
    change(shop, sku, Brand="Somebody")
    shop.query(f"UPDATE stage.product SET products_seen = 'infinity' WHERE key = '{sku}' RETURNING 1")
    sync(shop)
    assert product(shop, sku)["Brand"] == "Somebody"
    sync(shop, kind="compare")
    assert product(shop, sku)["Brand"] == "Hearth"
    assert len(shop.query(f"SELECT 1 FROM ops.conflict WHERE key = '{sku}'")) == 1


def test_what_may_not_be_sold_any_more_is_blocked_and_its_listings_end(shop: Environment):
    sku = on_sale(shop)
    item(shop, sku, Category=LISTED, ChannelEligible=False, GTIN="4006381333932")  # whatever else is wrong with it
    sync(shop)
    assert product(shop, sku)["IsBlocked"] is True
    assert [one["Status"] for one in listings(shop, sku)] == ["Ended"]
    item(shop, sku, Category=LISTED)
    sync(shop)
    assert product(shop, sku)["IsBlocked"] is False
    assert sorted(one["Status"] for one in listings(shop, sku)) == ["Active", "Ended"]
    quiet(shop)


def test_what_is_discontinued_sells_off(shop: Environment):
    sku = on_sale(shop)
    stock(shop, sku, 3)
    item(shop, sku, Category=LISTED, Status="Discontinued")
    sync(shop)
    assert (product(shop, sku)["IsBlocked"], listings(shop, sku)[0]["Status"]) == (False, "Active")
    stock(shop, sku, 0)
    sync(shop)
    assert (product(shop, sku)["IsBlocked"], listings(shop, sku)[0]["Status"]) == (False, "Ended")
    quiet(shop)


# ---- listings ------------------------------------------------------------------------------------------------------


def on_sale(environment: Environment, **more: Any) -> str:
    """A new item with a price and an active listing."""
    sku = item(environment, Category=LISTED, **more)
    sync(environment)
    priced(environment, sku)
    sync(environment)
    forward(environment, environment.now + timedelta(minutes=6))
    assert [one["Status"] for one in listings(environment, sku)] == ["Active"]
    return sku


def on_the_site(environment: Environment, sku: str, **changes: Any) -> None:
    """What the marketplace, or somebody at the channel, makes of a product's newest listing."""
    number = max(one["ListingID"] for one in listings(environment, sku))
    send(environment, "channel_advisor", "listing_change", {"ListingID": number, "changes": changes})
    forward(environment, environment.now + timedelta(minutes=6))


def test_an_item_is_listed_once_it_has_a_price_under_the_sites_category(shop: Environment):
    sku = item(shop, Category=LISTED, Title="Very long words " * 10)
    sync(shop)
    assert listings(shop, sku) == []
    assert state(shop, sku) == ("waiting", f"It is not listed on site {EBAY} yet: its product has no price yet.")
    assert sync(shop).read == 0
    priced(shop, sku)
    sync(shop)
    forward(shop, shop.now + timedelta(minutes=6))
    (listing,) = listings(shop, sku)
    assert (listing["SiteID"], listing["Status"]) == (EBAY, "Active")
    assert listing["SiteListingID"] is not None
    assert listing["Category"] == "Toys & Games/Traditional & Wooden Toys"
    assert len(listing["Title"]) <= 80
    assert (listing["Price"], listing["Quantity"]) == (None, None)
    quiet(shop)


def test_an_item_of_another_category_is_not_listed_and_what_others_list_stays(shop: Environment):
    sku = item(shop)
    sync(shop)
    with shop.runtime() as runtime:
        by_hand = runtime.channel_advisor.create_listing({"SKU": sku, "SiteID": EBAY})
        elsewhere = runtime.channel_advisor.create_listing({"SKU": sku, "SiteID": 641})
    forward(shop, shop.now + timedelta(minutes=6))
    item(shop, sku, Title="Changed")
    sync(shop)
    assert {one["ListingID"]: one["Status"] for one in listings(shop, sku)} == {
        by_hand["ListingID"]: "Draft", elsewhere["ListingID"]: "Draft"
    }  # fmt: skip


def test_a_listing_of_a_category_that_is_not_listed_any_more_ends(shop: Environment):
    sku = on_sale(shop)
    item(shop, sku, Category="Gifts")
    sync(shop)
    assert [one["Status"] for one in listings(shop, sku)] == ["Ended"]


def test_price_and_quantity_of_a_listing_are_left_alone_and_a_paused_one_is_opened(shop: Environment):
    sku = on_sale(shop)
    with shop.runtime() as runtime:
        number = listings(shop, sku)[0]["ListingID"]
        runtime.channel_advisor.update_listing(number, {"Price": 7, "Quantity": 2, "Status": "Paused"})
    forward(shop, shop.now + timedelta(minutes=6))
    sync(shop)
    (listing,) = listings(shop, sku)
    assert (listing["Status"], listing["Price"], listing["Quantity"]) == ("Active", Decimal(7), 2)


REFUSAL = {"Field": "Category", "Code": "LeafOnly", "Message": "Category must be a leaf."}


def test_a_site_that_refuses_a_listing_is_a_dead_letter_in_its_words_until_the_item_changes(shop: Environment):
    sku = on_sale(shop)
    on_the_site(shop, sku, Status="Error", Errors=[REFUSAL])
    sync(shop)
    (reason,) = shop.letters()[sku].reasons
    assert (reason["field"], reason["rule"], reason["value"]) == ("Category", "listing_error", "LeafOnly")
    assert "Category must be a leaf." in reason["says"]
    quiet(shop)
    assert rules(shop, sku) == ["listing_error"]
    item(shop, sku, Category=LISTED, Title="Another title")
    sync(shop)
    assert listings(shop, sku)[0]["Status"] == "Active"
    assert rules(shop, sku) == []
    quiet(shop)


def test_a_refused_listing_is_tried_again_by_replay_or_mended_at_the_channel(shop: Environment):
    one, other = on_sale(shop), on_sale(shop)
    for sku in (one, other):
        on_the_site(shop, sku, Status="Error", Errors=[REFUSAL])
    sync(shop)
    assert rules(shop, one) == rules(shop, other) == ["listing_error"]
    assert replay(shop, one).delivered == 1
    assert listings(shop, one)[0]["Status"] == "Active"
    with shop.runtime() as runtime:
        runtime.channel_advisor.update_listing(listings(shop, other)[0]["ListingID"], {"Status": "Active"})
    forward(shop, shop.now + timedelta(minutes=6))
    sync(shop)
    assert rules(shop, one) == rules(shop, other) == []


def test_a_listing_that_a_person_has_ended_is_listed_anew_only_if_a_person_asks(shop: Environment):
    one, other = on_sale(shop), on_sale(shop)
    for sku in (one, other):
        on_the_site(shop, sku, Status="Ended")
    sync(shop)
    assert rules(shop, one) == rules(shop, other) == ["listing_ended_on_channel"]
    quiet(shop)
    replay(shop, one)
    assert sorted(each["Status"] for each in listings(shop, one)) == ["Active", "Ended"]
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        letter = dead_letters.find(connection, other)
        dead_letters.dismiss(connection, letter.id, who="tester", note="Sold out for good")
    item(shop, other, Category=LISTED, Title="Changed")
    sync(shop)
    assert rules(shop, other) == []
    assert [each["Status"] for each in listings(shop, other)] == ["Ended"]
    assert product(shop, other)["Title"] == "Changed"


def test_a_change_of_the_configuration_reaches_what_has_not_changed(shop: Environment, config: Path):
    sku = item(shop, Category="Garden > Gnomes")
    sync(shop)
    priced(shop, sku)
    file, lookup = config / "catalog.yaml", config / "lookups" / "listing_categories.csv"
    before = file.read_text(), lookup.read_text()
    try:
        file.write_text(before[0].replace(", Toys]", ', Toys, "garden > *"]'))
        sync(shop)
        assert rules(shop, sku) == ["not_in_lookup"]
        lookup.write_text(before[1] + "870,Garden > Gnomes,Garden/Ornaments\n")
        sync(shop)
        assert rules(shop, sku) == []
        assert [(one["Status"], one["Category"]) for one in listings(shop, sku)] == [("Active", "Garden/Ornaments")]
    finally:
        file.write_text(before[0])
        lookup.write_text(before[1])
    sync(shop)
    assert [one["Status"] for one in listings(shop, sku)] == ["Ended"]
    quiet(shop)


def test_a_field_that_nobody_sends_is_mapped_and_sent_without_a_migration(shop: Environment, config: Path):
    file, ann = config / "mappings" / "product.yaml", on_this_machine("ann")
    before = text = file.read_text()
    for path, source in (("ShortDescription", "Title"), ("Manufacturer", "Brand"), ("MPN", "SKU")):
        text = mappings.changed(ann, "product", text, Change("draw", path, source=source)).text
    for path, constant in (("Condition", "NEW"), ("Height", "3"), ("Width", "2.5")):
        text = mappings.changed(
            on_this_machine("ann"), "product", text, Change("draw", path, words={"constant": constant})
        ).text
    assert mappings.canvas(ann, "product", text).findings == ()
    old = item(shop)
    sync(shop)
    try:
        file.write_text(text)
        new = item(shop)
        item(shop, old, Title="Another title")
        sync(shop)
        for sku in (new, old):
            there = product(shop, sku)
            assert (there["ShortDescription"], there["Manufacturer"], there["MPN"]) == (
                there["Title"], there["Brand"], sku,
            )  # fmt: skip
            assert (there["Condition"], there["Height"], there["Width"]) == ("NEW", 3, Decimal("2.5"))
        quiet(shop)
    finally:
        file.write_text(before)


# ---- what happens between the read and the write ------------------------------------------------------------------


def test_what_is_changed_between_the_read_and_the_write_is_found_by_the_next_run(shop: Environment):
    sku = item(shop)
    sync(shop)
    item(shop, sku, Title="New in TIMS")
    ids = read(shop)
    change(shop, sku, Brand="Somebody")
    work(shop, ids)
    assert (product(shop, sku)["Title"], product(shop, sku)["Brand"]) == ("New in TIMS", "Somebody")
    sync(shop)
    assert product(shop, sku)["Brand"] == "Hearth"
    assert [row.field for row in shop.query(f"SELECT field FROM ops.conflict WHERE key = '{sku}'")] == ["Brand"]
    quiet(shop)


def test_a_product_that_is_deleted_between_the_read_and_the_write_is_made_anew(shop: Environment):
    sku = item(shop)
    sync(shop)
    item(shop, sku, Title="New in TIMS")
    ids = read(shop)
    with shop.runtime() as runtime:
        runtime.channel_advisor.call("DELETE", f"/v2/products/{sku}")
    with pytest.raises(OutcomeUnknown):
        work(shop, ids)
    work(shop, ids)
    assert product(shop, sku)["Title"] == "New in TIMS"
    quiet(shop)


def test_a_listing_that_a_person_ends_between_the_read_and_the_write_stays_ended(shop: Environment):
    sku = on_sale(shop)
    on_the_site(shop, sku, Status="Paused")
    ids = read(shop)
    on_the_site(shop, sku, Status="Ended")
    with pytest.raises(OutcomeUnknown):
        work(shop, ids)
    work(shop, ids)
    assert rules(shop, sku) == ["listing_ended_on_channel"]
    quiet(shop)


# ---- answers that are lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/products", "/v2/products/*", "/v2/listings", "/v2/listings/*"])
@pytest.mark.parametrize("kind", ["error_after", "cut_body"])
def test_a_lost_answer_is_settled_and_nothing_is_done_twice(shop: Environment, path: str, kind: str):
    changed = item(shop)
    sync(shop)
    new = item(shop, Category=LISTED)
    with shop.runtime() as runtime:
        runtime.channel_advisor.create_products([{"SKU": new, "Title": "By hand"}])
    priced(shop, new)
    fresh = item(shop)
    item(shop, changed, Title="Changed")
    for method in ("POST", "PUT"):
        shop.fault("channel_advisor", kind, path=path, method=method, times=6)
    persist(shop, "catalog", f"lost:{path}:{kind}", tries=6)
    shop.clear_faults()
    forward(shop, shop.now + timedelta(minutes=6))
    assert product(shop, changed)["Title"] == "Changed"
    assert product(shop, fresh)["Title"] == f"Title of {fresh}"
    assert [one["Status"] for one in listings(shop, new)] == ["Active"]
    quiet(shop)
