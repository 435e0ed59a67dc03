"""The prices flow, on both systems over HTTP and a real Postgres: what the rule says is what the channel asks."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from crossdock import cli, flows
from crossdock.errors import ConfigError
from crossdock.steps.extract import extract
from crossdock.steps.load import load
from crossdock.steps.run_batches import run_batches
from crossdock.store import approvals, deliveries
from integration.builders import forward, persist, send, states
from integration.environment import Environment, own_config

CENT, PENNY = Decimal("0.01"), Decimal("0.0001")
EUR = Decimal("0.85470085")
UK, DE = 641, 642
pytestmark = pytest.mark.slow


# ---- the rule, once more -------------------------------------------------------------------------------------------


def expected(item: dict[str, Any], folder: Path, site: int | None = None) -> dict[str, Decimal | None]:
    """What an item costs, worked out from the files in another way: Decimals, one item at a time."""
    output = yaml.safe_load((folder / "prices.yaml").read_text())
    terms = dict(output["defaults"])
    for pattern, words in output["categories"].items():
        if fnmatchcase(item["Category"] or "", pattern):
            terms |= words
            break
    rate = Decimal(1)
    if site:
        terms |= {"charm": [], "charm_from": 0} | output["sites"][site]
        rate = EUR
    rows = csv.DictReader(
        line for line in (folder / "lookups" / "price_rules.csv").read_text().splitlines() if not line.startswith("#")
    )
    own = next((row for row in rows if row["sku"] == item["SKU"] and not row["site"]), {})
    cost, list_price = Decimal(item["Cost"]) / rate, Decimal(item["ListPrice"]) / rate
    margin = Decimal(own.get("margin") or str(terms["margin"])) / 100
    floor = list_price * Decimal(own.get("map") or str(terms["map"])) / 100
    if Decimal(item["MinMarginPercent"] or 0):
        floor = max(floor, cost / (1 - Decimal(item["MinMarginPercent"]) / 100))
    if own.get("floor"):
        floor = max(floor, Decimal(own["floor"]) / rate)
    floor = floor.quantize(CENT, ROUND_CEILING)
    price = (cost / (1 - margin) if cost else list_price).quantize(CENT, ROUND_CEILING)
    price = max(price, floor)
    if own.get("price"):
        price = (Decimal(own["price"]) / rate).quantize(CENT, ROUND_CEILING)
    elif terms["charm"] and price >= Decimal(str(terms["charm_from"])):
        endings = [Decimal(str(ending)).quantize(CENT) for ending in terms["charm"]]
        while price % 1 not in endings:
            price += CENT
    retail = list_price.quantize(CENT, ROUND_HALF_UP)
    return {"Price": price, "MinPrice": floor or None, "RetailPrice": retail if retail > price else None}


def at_the_channel(environment: Environment, *skus: str) -> dict[str, dict[str, Any]]:
    """The prices that the channel has, by SKU."""
    with environment.runtime() as runtime:
        decoder = msgspec.json.Decoder(float_hook=Decimal)
        pages = runtime.channel_advisor.pages("prices", **({"sku": list(skus)} if skus else {}))
        rows = [decoder.decode(record) for page in pages for record in page.records]
    return {row["SKU"]: row for row in rows}


def listing(environment: Environment, number: int) -> dict[str, Any]:
    with environment.runtime() as runtime:
        return runtime.channel_advisor.call("GET", f"/v2/listings/{number}")


def money(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)


def differences(environment: Environment, folder: Path) -> list[str]:
    """Where the channel does not ask what the rule says. Independent of Crossdock's own records."""
    there, found = at_the_channel(environment), []
    for item in environment.in_tims("inventory/items"):
        if item["Status"] == "Blocked" or not item["ChannelEligible"]:
            continue
        for name in (item["SKU"].upper(), *(alternate.upper() for alternate in item["AlternateSKUs"])):
            for sku in (sku for sku in there if sku.upper() == name):
                wanted = expected(item, folder)
                is_ = {field: money(there[sku][field]) for field in wanted}
                if is_ != wanted:
                    found.append(f"{sku}: {is_} instead of {wanted}")
    return found


# ---- a shop --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration of the tests' own."""
    made = tmp_path_factory.mktemp("config") / "config"
    own_config(made)
    path = made / "lookups" / "promotions.csv"
    path.write_text("".join(line for line in path.open() if not line.startswith("VALENTINE")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_CONFIG_DIR", str(made))
        yield made


FAULTS = (
    ("rate_limited", {"path": "updatePrices", "times": 1}),
    ("error_after", {"path": "updatePrices", "times": 1, "after": 1}),
    ("cut_body", {"path": "updatePrices", "times": 1, "after": 2}),
    ("bulk_partial", {"path": "updatePrices", "times": 2, "every": 5, "effect": True}),
    ("bulk_partial", {"path": "updatePrices", "times": 1, "every": 7, "after": 3}),
    ("error_before", {"path": "listPrices", "times": 2, "after": 3}),
)


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment, folder: Path) -> Environment:
    """An environment whose whole catalogue has been priced, with the channel failing on the way."""
    environment = long_lived_environment
    for kind, rule in FAULTS:
        environment.fault("channel_advisor", kind, **rule)
    persist(environment, "prices", "first", tries=8)
    rules = environment.channel_advisor.call("GET", "faults")["rules"]
    assert all(rule["hits"] for rule in rules), rules
    environment.clear_faults()
    forward(environment, environment.now + timedelta(hours=1))
    return environment


@pytest.fixture
def skus(shop: Environment) -> Iterator[str]:
    """Items that no test has used: plain ones, spelt alike on both sides, with a price of 5.00 or more."""
    plain = (
        item["SKU"] for item in shop.in_tims("inventory/items")
        if item["SKU"] not in USED and item["Status"] == "Active" and item["Type"] == "Inventory"
        and not item["AlternateSKUs"] and Decimal(item["ListPrice"]) >= 5
        and shop.world.catalogue.spellings.get(item["SKU"]) == item["SKU"] and item["SKU"] not in ("22423", "84946")
    )  # fmt: skip

    def take() -> Iterator[str]:
        for sku in plain:
            USED.add(sku)
            yield sku

    return take()


USED: set[str] = set()


def item(environment: Environment, sku: str) -> dict[str, Any]:
    with environment.runtime() as runtime:
        return msgspec.json.decode(runtime.tims.record("inventory/items", sku))


def change(environment: Environment, sku: str, **fields: Any) -> dict[str, Any]:
    """Changes an item in TIMS; the item afterwards."""
    document = {
        name: value for name, value in item(environment, sku).items() if name not in ("RowVersion", "ModifiedAt")
    }
    send(environment, "tims", "item", document | fields)
    return item(environment, sku)


def times(cost: str, factor: str) -> str:
    return str((Decimal(cost) * Decimal(factor)).quantize(PENNY))


def sent(environment: Environment, *keys: str) -> Counter:
    """How often what was sent, by (key at the channel, operation)."""
    rows = environment.query("SELECT key, operation FROM ops.delivery WHERE flow = 'prices' AND outcome = 'confirmed'")
    return Counter((row.key, row.operation) for row in rows if row.key in keys)


def questions(environment: Environment, sku: str) -> list[tuple[str, Decimal]]:
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        return [(row.state, row.to_price) for row in approvals.listed(connection, "prices", None) if row.key == sku]


def decide(environment: Environment, sku: str, *, approved: bool) -> None:
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        ids = [row.id for row in approvals.listed(connection, "prices") if row.key == sku]
        assert approvals.decide(connection, "prices", ids, approved=approved, who="clerk", note="as agreed") == ids


# ---- the whole catalogue -------------------------------------------------------------------------------------------


def test_over_the_whole_catalogue_every_price_is_what_the_rule_says_although_the_channel_failed(
    shop: Environment, folder: Path
) -> None:
    assert differences(shop, folder) == []
    assert len(at_the_channel(shop)) > 2_400
    assert shop.query("SELECT 1 FROM ops.delivery WHERE flow = 'prices' AND outcome IN ('sent', 'unknown')") == []
    assert shop.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []
    assert shop.query("SELECT 1 FROM ops.approval") == []  # first prices wait only below cost


def test_running_again_sends_nothing(shop: Environment) -> None:
    before = shop.query("SELECT count(*) AS n, sum(attempts) AS tries FROM ops.delivery")
    assert shop.sync(flow="prices").delivered == 0
    assert shop.sync(flow="prices", kind="compare").delivered == 0
    assert shop.sync(flow="prices", kind="backfill", reprocess=True).delivered == 0
    assert shop.query("SELECT count(*) AS n, sum(attempts) AS tries FROM ops.delivery") == before


def test_what_has_no_price_of_its_own_on_the_channel_says_why(shop: Environment) -> None:
    rows = shop.query("SELECT state, reason, count(*) AS n FROM stage.price WHERE reason IS NOT NULL GROUP BY 1, 2")
    reasons = {(row.state, row.reason): row.n for row in rows}
    roles = Counter(shop.world.catalogue.roles.values())
    assert reasons["left_out", "TIMS has blocked the item."] == roles["blocked"]
    assert reasons["waiting", "Channel Advisor has no product of this item yet."] == 1  # the voucher
    assert reasons["left_out", "The item has no cost and no list price."] > 10
    letters = {key: row.reasons for key, row in shop.letters().items() if row.flow == "prices"}
    assert len(letters) == 2 * roles["ambiguous"]
    assert all("could be any of these items" in each[0]["says"] for each in letters.values())
    assert {each[0]["rule"] for each in letters.values()} == {"ambiguous_sku"}


def test_kits_discontinued_items_and_alternate_names_have_their_prices(shop: Environment, folder: Path) -> None:
    there, roles = at_the_channel(shop), shop.world.catalogue.roles
    spelt = shop.world.catalogue.spellings
    items = {one["SKU"]: one for one in shop.in_tims("inventory/items")}
    for role, name in (("kit", "{}"), ("discontinued", "{}"), ("alternate", "TG-{}")):
        of_role = [
            code for code, each in roles.items()
            if each == role and spelt[code] in there and name.format(code) in items
        ]  # fmt: skip
        assert of_role
        for code in of_role:
            wanted = expected(items[name.format(code)], folder)["Price"]
            assert Decimal(there[spelt[code]]["Price"]) == wanted


def test_a_changed_cost_sends_that_price_alone(shop: Environment, folder: Path, skus: Iterator[str]) -> None:
    sku = next(skus)
    after = change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.2"))
    counts = shop.sync(flow="prices")
    assert (counts.read, counts.delivered) == (1, 1)
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == expected(after, folder)["Price"]
    after = change(shop, sku, Description="Another text, the same price.")
    counts = shop.sync(flow="prices")
    assert (counts.read, counts.unchanged) == (1, 1)


def test_an_item_waits_for_its_product_and_is_priced_when_there_is_one(shop: Environment) -> None:
    assert states(shop, "stage.price", ["GIFT-VOUCHER"]) == ["waiting"]
    send(shop, "channel_advisor", "product", {
        "ProfileID": 12345678, "SKU": "gift-voucher", "ProductID": 4711, "ProductType": "Item", "Title": "Voucher",
        "CreatedDate": "2010-10-01T00:00:00Z",
    })  # fmt: skip
    assert shop.sync(flow="prices").delivered == 1
    assert Decimal(at_the_channel(shop, "gift-voucher")["gift-voucher"]["Price"]) == 10


def test_what_the_channel_refuses_is_a_dead_letter_in_its_words(shop: Environment, skus: Iterator[str]) -> None:
    sku = next(skus)
    with shop.runtime() as runtime:
        runtime.channel_advisor.call("DELETE", f"/v2/products/{sku}")
    change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.2"))
    shop.sync(flow="prices")
    (reason,) = shop.letters()[sku].reasons
    assert reason["rule"] == "unknown_sku"
    assert "Channel Advisor refuses it" in reason["says"]


# ---- a person decides ----------------------------------------------------------------------------------------------


def test_a_large_change_waits_is_asked_once_and_goes_when_it_is_approved(
    shop: Environment, folder: Path, skus: Any
) -> None:
    sku = next(skus)
    before = Decimal(at_the_channel(shop, sku)[sku]["Price"])
    after = change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.6"))
    wanted = expected(after, folder)["Price"]
    assert shop.sync(flow="prices").waiting == 1
    (row,) = shop.query(f"SELECT * FROM ops.approval WHERE key = '{sku}'")
    assert (row.from_price, row.to_price, row.currency_code, row.state) == (before, wanted, "GBP", "open")
    assert "% above" in row.why
    shop.sync(flow="prices")
    shop.sync(flow="prices", kind="key", keys=[sku])
    assert questions(shop, sku) == [("open", wanted)]
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == before
    decide(shop, sku, approved=True)
    assert shop.sync(flow="prices").delivered == 1
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == wanted
    assert shop.sync(flow="prices").delivered == 0
    assert sent(shop, sku)[sku, "update"] == 2


def test_an_approval_holds_for_that_price_only(shop: Environment, folder: Path, skus: Any) -> None:
    sku = next(skus)
    cost = item(shop, sku)["Cost"]
    first = expected(change(shop, sku, Cost=times(cost, "1.6")), folder)["Price"]
    shop.sync(flow="prices")
    decide(shop, sku, approved=True)
    second = expected(change(shop, sku, Cost=times(cost, "1.9")), folder)["Price"]
    assert shop.sync(flow="prices").waiting == 1
    assert questions(shop, sku) == [("approved", first), ("open", second)]
    third = expected(change(shop, sku, Cost=times(cost, "2.2")), folder)["Price"]
    shop.sync(flow="prices")
    assert questions(shop, sku) == [("approved", first), ("withdrawn", second), ("open", third)]
    change(shop, sku, Cost=cost)
    shop.sync(flow="prices")
    assert [state for state, _ in questions(shop, sku)] == ["approved", "withdrawn", "withdrawn"]
    assert sent(shop, sku)[sku, "update"] == 1


def test_a_refused_price_is_not_sent_until_the_rule_makes_another_one(
    shop: Environment, folder: Path, skus: Any
) -> None:
    sku = next(skus)
    before = Decimal(at_the_channel(shop, sku)[sku]["Price"])
    cost = item(shop, sku)["Cost"]
    change(shop, sku, Cost=times(cost, "1.6"))
    shop.sync(flow="prices")
    decide(shop, sku, approved=False)
    for kind in ("scheduled", "compare"):
        shop.sync(flow="prices", kind=kind)
    counts = shop.sync(flow="prices", kind="key", keys=[sku])
    assert counts.waiting == 1
    (row,) = shop.query(f"SELECT reason FROM stage.price WHERE key = '{sku}'")
    assert "clerk refused it: as agreed" in row.reason
    assert [state for state, _ in questions(shop, sku)] == ["refused"]
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == before
    after = change(shop, sku, Cost=times(cost, "1.2"))
    assert shop.sync(flow="prices").delivered == 1
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == expected(after, folder)["Price"]


def test_a_price_below_cost_waits_whatever_the_channel_has(shop: Environment, folder: Path, skus: Any) -> None:
    sku = next(skus)
    cost = Decimal(change(shop, sku, MinMarginPercent=None, ListPrice="0.50")["Cost"])
    shop.sync(flow="prices")
    loss = (cost * Decimal("0.9")).quantize(CENT)
    write(folder, "price_rules", f"{sku},,{loss},,,,,Clearance")
    shop.sync(flow="prices")
    assert states(shop, "stage.price", [sku]) == ["waiting"]
    (row,) = shop.query(f"SELECT why, to_price FROM ops.approval WHERE key = '{sku}' AND state = 'open'")
    assert row.to_price == loss
    assert "is below the cost" in row.why
    decide(shop, sku, approved=True)
    shop.sync(flow="prices")
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == loss


def test_the_price_that_somebody_made_at_the_channel_is_what_a_change_is_measured_by(
    shop: Environment, skus: Any
) -> None:
    sku = next(skus)
    before = Decimal(at_the_channel(shop, sku)[sku]["Price"])
    send(shop, "channel_advisor", "price", {"SKU": sku, "Price": before * 3})
    change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.1"))
    shop.sync(flow="prices")
    (row,) = shop.query(f"SELECT from_price, why FROM ops.approval WHERE key = '{sku}'")
    assert row.from_price == before * 3
    assert "% below" in row.why
    decide(shop, sku, approved=True)
    shop.sync(flow="prices")


def test_the_command_line_lists_approves_and_refuses(
    shop: Environment, skus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", shop.database_url)

    def crossdock(*words: str) -> Any:
        done = CliRunner().invoke(cli.app, ["prices", *words, "--json"], catch_exceptions=True)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return msgspec.json.decode(done.stdout)

    good, bad = next(skus), next(skus)
    for sku in (good, bad):
        change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.7"))
    shop.sync(flow="prices")
    number = {row["key"]: row["id"] for row in crossdock("approvals")}
    assert set(number) == {good, bad}
    assert crossdock("approve", str(number[good]), "--note", "so be it") == {"approved": [number[good]]}
    with pytest.raises(ConfigError, match="reason"):
        crossdock("refuse", "--all")
    with pytest.raises(ConfigError, match="which changes"):
        crossdock("approve")
    with pytest.raises(ConfigError, match="no question 999999"):
        crossdock("approve", "999999")
    assert crossdock("refuse", "--all", "--why", "too dear") == {"refused": [number[bad]]}
    assert crossdock("approve", str(number[bad])) == {"approved": []}
    assert shop.sync(flow="prices").delivered == 1
    output = {row["key"]: (row["state"], row["note"]) for row in crossdock("approvals", "--state", "all")}
    assert (output[good], output[bad]) == (("approved", "so be it"), ("refused", "too dear"))
    audit = {row.subject: row.action for row in shop.query("SELECT subject, action FROM ops.audit")}
    assert (audit[str(number[good])], audit[str(number[bad])]) == ("prices approved", "prices refused")


# ---- the clock -----------------------------------------------------------------------------------------------------


def write(folder: Path, lookup: str, row: str) -> None:
    """Adds a row to a lookup."""
    path = folder / "lookups" / f"{lookup}.csv"
    path.write_text(path.read_text() + row + "\n")


def offer_listing(environment: Environment, sku: str, site: int, number: int, **more: Any) -> None:
    send(environment, "channel_advisor", "listing", {
        "ListingID": number, "SKU": sku, "SiteID": site, "Status": "Paused",
        "CreatedDate": environment.now.isoformat().replace("+00:00", "Z"), **more,
    })  # fmt: skip


def test_a_promotion_is_told_ahead_once_changed_once_and_ended_once(shop: Environment, folder: Path, skus: Any) -> None:
    sku = next(skus)
    start = (shop.now + timedelta(hours=30)).replace(minute=0, second=0, tzinfo=None)
    end = start + timedelta(hours=5)
    write(folder, "promotions", f"LIFE,{sku},,,10,{start.isoformat()},{end.isoformat()},,")
    for _ in range(3):
        shop.sync(flow="prices")
    reported = at_the_channel(shop, sku)[sku]["Promotion"]
    price = Decimal(at_the_channel(shop, sku)[sku]["Price"])
    assert reported == {
        "PromotionID": "LIFE", "Price": (price * Decimal("0.9")).quantize(CENT, ROUND_CEILING),
        "StartDate": f"{start.isoformat()}Z", "EndDate": f"{end.isoformat()}Z",
    }  # fmt: skip
    assert sent(shop, sku) == {(sku, "update"): 1, (sku, "start_promotion"): 1}
    path = folder / "lookups" / "promotions.csv"
    path.write_text(path.read_text().replace(f"LIFE,{sku},,,10", f"LIFE,{sku},,,20"))
    for _ in range(2):
        shop.sync(flow="prices")
    assert sent(shop, sku)[sku, "start_promotion"] == 2
    for hours in (29, 31, 33, 34, 36, 40):  # the channel starts it by the clock
        forward(shop, datetime.combine(start.date(), start.time(), shop.now.tzinfo) + timedelta(hours=hours - 30))
        shop.sync(flow="prices")
    assert at_the_channel(shop, sku)[sku]["Promotion"] is None
    assert sent(shop, sku) == {(sku, "update"): 1, (sku, "start_promotion"): 2, (sku, "end_promotion"): 1}


def test_a_promotion_that_is_withdrawn_is_ended_once(shop: Environment, folder: Path, skus: Any) -> None:
    sku = next(skus)
    day = (shop.now + timedelta(days=20)).date()
    path = folder / "lookups" / "promotions.csv"
    before = path.read_text()
    write(folder, "promotions", f"GONE,{sku},,,10,{day},{day + timedelta(days=1)},,")
    shop.sync(flow="prices")
    path.write_text(before)
    for _ in range(2):
        shop.sync(flow="prices")
    assert at_the_channel(shop, sku)[sku]["Promotion"] is None
    assert sent(shop, sku) == {(sku, "update"): 1, (sku, "start_promotion"): 1, (sku, "end_promotion"): 1}


def test_a_promotion_that_is_not_below_the_price_is_a_dead_letter_with_both_numbers(
    shop: Environment, folder: Path, skus: Any
) -> None:
    sku = next(skus)
    price = Decimal(at_the_channel(shop, sku)[sku]["Price"])
    day = (shop.now + timedelta(days=20)).date()
    write(folder, "promotions", f"HIGH,{sku},,{price},,{day},{day + timedelta(days=1)},,")
    shop.sync(flow="prices")
    (reason,) = shop.letters()[sku].reasons
    assert (reason["rule"], reason["says"]) == (
        "promotion_not_below_price", f"The promotion HIGH asks {price:.2f}, not below the price {price:.2f} GBP.",
    )  # fmt: skip
    path = folder / "lookups" / "promotions.csv"
    path.write_text(path.read_text().replace(f"HIGH,{sku},,{price},,", f"HIGH,{sku},,{price - CENT},,"))
    assert shop.sync(flow="prices").delivered == 1
    assert sku not in shop.letters()


def test_a_listing_gets_a_promotions_price_at_its_start_and_loses_it_at_its_end_once_each(
    shop: Environment, folder: Path, skus: Any
) -> None:
    """A site without prices of its own: the listing follows the product's price before and after."""
    sku, number = next(skus), 991_001
    offer_listing(shop, sku, UK, number)
    start = (shop.now + timedelta(hours=3)).replace(minute=30, second=0, microsecond=0)
    end = start + timedelta(hours=4)
    write(folder, "promotions", f"SITE,{sku},,,15,{start:%Y-%m-%dT%H:%M},{end:%Y-%m-%dT%H:%M},{UK},")
    shop.sync(flow="prices")
    assert listing(shop, number)["Price"] is None
    price = Decimal(at_the_channel(shop, sku)[sku]["Price"])
    offered = (price * Decimal("0.85")).quantize(CENT, ROUND_CEILING)
    seen = []
    for minutes in (-20, 10, 70, 130, 230, 241, 300, 400):
        forward(shop, start + timedelta(minutes=minutes))
        shop.sync(flow="prices")
        seen.append(money(listing(shop, number)["Price"]))
    assert seen == [None, offered, offered, offered, offered, None, None, None]
    assert sent(shop, str(number)) == {(str(number), "start_promotion"): 1, (str(number), "end_promotion"): 1}
    assert at_the_channel(shop, sku)[sku]["Promotion"] is None
    assert questions(shop, sku) == []


def test_a_site_in_another_currency_has_prices_of_its_own_until_no_rule_applies_any_more(
    shop: Environment, folder: Path, skus: Any
) -> None:
    sku, number = next(skus), 991_002
    offer_listing(shop, sku, DE, number)
    assert shop.sync(flow="prices").delivered == 1
    wanted = expected(item(shop, sku), folder, DE)["Price"]
    assert (money(listing(shop, number)["Price"]), listing(shop, number)["Currency"]) == (wanted, "EUR")
    after = change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.1"))
    shop.sync(flow="prices")
    assert money(listing(shop, number)["Price"]) == expected(after, folder, DE)["Price"]
    assert sent(shop, str(number)) == {(str(number), "update"): 2}
    path = folder / "prices.yaml"
    text = path.read_text()
    path.write_text(text.replace("  642:\n", "  699:\n"))
    shop.sync(flow="prices")
    assert listing(shop, number)["Price"] is None
    path.write_text(text)
    shop.sync(flow="prices")
    assert money(listing(shop, number)["Price"]) == expected(after, folder, DE)["Price"]


def test_a_listing_in_another_currency_than_its_site_by_the_configuration_is_a_dead_letter(
    shop: Environment, skus: Any
) -> None:
    sku = next(skus)
    offer_listing(shop, sku, DE, 991_003, Currency="USD")
    assert shop.sync(flow="prices").dead == 1
    (reason,) = shop.letters()[sku].reasons
    assert (reason["rule"], reason["line"]) == ("wrong_currency", "site 642")


# ---- the compare, and what goes wrong ------------------------------------------------------------------------------


def test_the_compare_puts_right_what_was_changed_at_the_channel(shop: Environment, folder: Path, skus: Any) -> None:
    dear, bounded, listed, lost = (next(skus) for _ in range(4))
    offer_listing(shop, listed, DE, 991_004)
    shop.sync(flow="prices")
    before = at_the_channel(shop, dear, bounded, lost)
    wanted = listing(shop, 991_004)["Price"]
    send(shop, "channel_advisor", "price", {"SKU": dear, "Price": Decimal(before[dear]["Price"]) * 5})
    send(shop, "channel_advisor", "price", {"SKU": bounded, "MinPrice": None})
    send(shop, "channel_advisor", "listing_change", {"ListingID": 991_004, "changes": {"Price": Decimal("1.0000")}})
    send(shop, "channel_advisor", "price", {"SKU": lost, "Price": Decimal("0.0100")})
    assert shop.sync(flow="prices").delivered == 0
    assert shop.sync(flow="prices", kind="compare").delivered == 4
    after = at_the_channel(shop, dear, bounded, lost)
    assert [row | {"UpdatedDate": None} for row in after.values()] == [
        row | {"UpdatedDate": None} for row in before.values()
    ]
    assert listing(shop, 991_004)["Price"] == wanted
    assert questions(shop, dear) == []
    assert shop.sync(flow="prices", kind="compare").delivered == 0


def test_a_crash_after_the_channel_has_taken_prices_sends_them_no_second_time(
    shop: Environment, folder: Path, skus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [next(skus) for _ in range(3)]
    for sku in some:
        change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.1"))
    puts: list[int] = []
    flow = flows.get("prices")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with shop.runtime() as runtime:
        write_prices = runtime.channel_advisor.write_prices
        monkeypatch.setattr(
            runtime.channel_advisor, "write_prices", lambda prices: (puts.append(len(prices)), write_prices(prices))[1]
        )
        ids = extract(runtime, flow)
        with monkeypatch.context() as patch:
            patch.setattr(deliveries, "end", crash)
            with pytest.raises(KeyboardInterrupt):
                run_batches(runtime, flow, ids)
        for batch_id in ids:
            load(runtime, flow, batch_id)
    assert puts == [3]
    assert states(shop, "stage.price", some) == ["delivered"] * 3
    assert shop.query("SELECT 1 FROM ops.delivery WHERE flow = 'prices' AND outcome IN ('sent', 'unknown')") == []


def test_a_currency_that_is_not_the_profiles_stops_the_run_before_anything_is_sent(
    shop: Environment, folder: Path, skus: Any
) -> None:
    sku = next(skus)
    change(shop, sku, Cost=times(item(shop, sku)["Cost"], "1.1"))
    path = folder / "prices.yaml"
    text = path.read_text()
    path.write_text(text.replace("currency: GBP ", "currency: EUR "))
    before = shop.query("SELECT count(*) AS n FROM ops.delivery")
    with pytest.raises(ConfigError, match="currency is EUR, but the profile's prices at Channel Advisor are in GBP"):
        shop.sync(flow="prices", kind="key", keys=[sku])
    assert shop.query("SELECT count(*) AS n FROM ops.delivery") == before
    path.write_text(text)
    shop.query("UPDATE ops.batch SET touched_at = now() - interval '1 hour' WHERE finished_at IS NULL RETURNING 1")
    shop.sync(flow="prices")
    assert Decimal(at_the_channel(shop, sku)[sku]["Price"]) == expected(item(shop, sku), folder)["Price"]


def test_a_broken_file_stops_a_run_before_it_has_read_anything(shop: Environment, folder: Path) -> None:
    path = folder / "lookups" / "promotions.csv"
    text = path.read_text()
    path.write_text(text + "X,,Bags,,10,2011-02-30,2011-03-01,,\n")
    before = shop.query("SELECT max(id) AS last FROM ops.batch")
    with pytest.raises(ConfigError, match=r"promotions\.csv:[0-9]+: start is '2011-02-30'"):
        shop.sync(flow="prices")
    assert shop.query("SELECT max(id) AS last FROM ops.batch") == before
    path.write_text(text)


def test_in_the_end_every_price_is_what_the_rule_says(shop: Environment, folder: Path) -> None:
    """But for what was refused, or could be two items."""
    open_ = {row.key for row in shop.query("SELECT key FROM stage.price WHERE state IN ('waiting', 'dead')")}
    found = [each for each in differences(shop, folder) if each.partition(":")[0] not in open_]
    assert found == []
