"""An API that cannot do everything: what needs the rest is switched off with a sentence, and nothing else changes.

Such APIs are v1, and the facade with the abilities of v1, which refuses what v1 cannot do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from crossdock import cli
from crossdock.services import overview
from crossdock.services.people import on_this_machine
from crossdock.systems import channel_advisor
from crossdock.systems.channel_advisor import Facade
from crossdock.systems.channel_advisor.v1.abilities import ABILITIES
from crossdock.watch.reconcile import reconcile
from integration.builders import forward, persist
from integration.environment import Environment, found_environment

CENT = Decimal("0.01")
SKU = "22423"
pytestmark = pytest.mark.slow


class Lesser(Facade):
    """The facade without listings and promotional prices."""

    can = ABILITIES

    def pages(self, resource: str, **more: Any) -> Any:
        assert resource != "listings"
        return super().pages(resource, **more)

    def write_prices(self, prices: Sequence[Any]) -> list[Any]:
        for one in prices:
            assert not msgspec.json.decode(one).get("Promotion")
        return super().write_prices(prices)

    def create_listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(listing)

    def update_listing(self, listing_id: int, changes: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(changes)


@pytest.fixture(scope="module", params=["lesser", "v1"])
def shop(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, config: Path, request: pytest.FixtureRequest
) -> Iterator[Environment]:
    """A shop of a few items whose account has such an API; its catalogue, prices and quantities are at the channel."""
    goods = frozenset({SKU, "84946", "85123A", "22086", "20725"})
    with (
        pytest.MonkeyPatch.context() as patch,
        found_environment(
            postgres_url, f"abilities_{request.param}", tmp_path_factory.mktemp("environment"), goods
        ) as environment,
    ):
        patch.setitem(channel_advisor.DIALECTS, "lesser", Lesser)
        there = environment.connections["channel_advisor"]
        more = {**there.extra, "api": request.param}
        environment.connections["channel_advisor"] = dataclasses.replace(there, extra=more)
        for flow in ("catalog", "prices", "inventory"):
            persist(environment, flow, f"first-{flow}")
            forward(environment, environment.now + timedelta(minutes=2))
        promotions = config / "lookups" / "promotions.csv"
        before = promotions.read_text()
        yield environment
        promotions.write_text(before)


def price(environment: Environment) -> Decimal:
    with environment.runtime() as runtime:
        (row,) = runtime.channel_advisor.of_skus("prices", [SKU])
    assert row.get("Promotion") is None
    return row["Price"]


def moves(environment: Environment) -> list[str]:
    rows = environment.query(
        f"SELECT operation FROM ops.delivery WHERE flow = 'prices' AND outcome = 'confirmed' AND key = '{SKU}' "
        "ORDER BY id"
    )
    return [row.operation for row in rows]


def test_a_promotion_is_the_products_price_from_its_start_to_its_end_and_each_is_sent_once(
    shop: Environment, config: Path
) -> None:
    regular = price(shop)
    start = (shop.now + timedelta(hours=3)).replace(minute=30, second=0, microsecond=0)
    path = config / "lookups" / "promotions.csv"
    row = f"SALE,{SKU},,,15,{start:%Y-%m-%dT%H:%M},{start + timedelta(hours=4):%Y-%m-%dT%H:%M},,\n"
    path.write_text(path.read_text() + row)
    before, offered = moves(shop), (regular * Decimal("0.85")).quantize(CENT, ROUND_CEILING)
    seen = []
    for minutes in (-60, -20, 10, 70, 230, 241, 300):
        forward(shop, start + timedelta(minutes=minutes))
        shop.sync(flow="prices")
        seen.append(price(shop))
    assert seen == [regular, regular, offered, offered, offered, regular, regular]
    assert moves(shop)[len(before) :] == ["start_promotion", "end_promotion"]
    assert shop.query("SELECT count(*) AS n FROM ops.approval")[0].n == 0


def test_a_promotion_that_somebody_ends_at_the_channel_is_put_back_by_the_compare(
    shop: Environment, config: Path
) -> None:
    regular = price(shop)
    path = config / "lookups" / "promotions.csv"
    until = shop.now + timedelta(days=2)
    path.write_text(path.read_text() + f"LONG,{SKU},,,20,{shop.now:%Y-%m-%dT%H:%M},{until:%Y-%m-%dT%H:%M},,\n")
    shop.sync(flow="prices")
    offered = (regular * Decimal("0.8")).quantize(CENT, ROUND_CEILING)
    assert price(shop) == offered
    tampered = msgspec.Raw(msgspec.json.encode({"SKU": SKU, "Price": float(regular), "Currency": "GBP"}))
    with shop.runtime() as runtime:
        assert runtime.channel_advisor.write_prices([tampered])[0].error is None
    forward(shop, shop.now + timedelta(minutes=2))
    with shop.runtime() as runtime:
        assert reconcile(runtime, ["prices"]).unexplained == 1
    shop.sync(flow="prices", kind="compare")
    assert price(shop) == offered
    with shop.runtime() as runtime:
        assert reconcile(runtime, ["prices", "products", "quantities"]).unexplained == 0
    assert shop.query("SELECT count(*) AS n FROM ops.approval")[0].n == 0


def test_listings_are_neither_read_nor_written_and_a_notice_gives_the_reason(shop: Environment) -> None:
    shop.sync(flow="catalog", kind="compare")
    assert shop.query("SELECT count(*) AS n FROM ref.channel_listing")[0].n == 0
    assert shop.query("SELECT count(*) AS n FROM stage.product WHERE state = 'dead'")[0].n == 0
    (notice,) = shop.query("SELECT body, severity FROM ops.alert WHERE kind = 'listings_switched_off'")
    assert notice.severity == "notice"
    assert notice.body.startswith(ABILITIES.why_not("listings"))


def test_the_status_and_the_overview_name_what_is_switched_off(
    shop: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.context, "runtime", shop.runtime)
    result = CliRunner().invoke(cli.app, ["status", "--json"])
    assert result.exit_code == 0, result.output
    off = msgspec.json.decode(result.stdout)["switched_off"]
    assert {one["ability"]: one["message"] for one in off} == dict(ABILITIES.missing)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        person = on_this_machine("clerk")
        system = next(one for one in overview.overview(connection, person).systems if one.name == "channel_advisor")
    assert sorted(system.switched_off) == sorted(message for _, message in ABILITIES.missing)


def test_an_account_that_gets_the_whole_api_has_everything_switched_on_by_its_next_run(shop: Environment) -> None:
    there = shop.connections["channel_advisor"]
    shop.connections["channel_advisor"] = dataclasses.replace(there, extra={**there.extra, "api": "v2"})
    forward(shop, shop.now + timedelta(minutes=2))
    shop.sync(flow="prices")
    assert shop.query("SELECT count(*) AS n FROM ops.missing_ability")[0].n == 0
    (row,) = shop.query(f"SELECT \"Promotion.PromotionID\" AS name FROM stage.price WHERE key = '{SKU}'")
    assert row.name == "LONG"
