"""The price rule and promotions by the clock, held against a second, slow way of saying the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.rules import price_settings, pricing
from crossdock.rules.price_settings import PriceSettings, Promotion, SkuRule, Terms
from crossdock.rules.pricing import Clock
from crossdock.settings import PROJECT

LONDON = ZoneInfo("Europe/London")
NOW = datetime(2011, 1, 10, 12, tzinfo=UTC)
CONFIG = PROJECT / "include" / "config"
PLAIN = Terms()


def settings(
    terms: Terms = PLAIN, *, rules: Any = None, promotions: Iterable[Promotion] = (), sites: Any = None, **more: Any
) -> PriceSettings:
    return PriceSettings(
        file=Path("prices.yaml"), currency="GBP", default=terms, sites=sites or {}, rules=rules or {},
        promotions=tuple(promotions), rates={"EUR": ((date(2011, 1, 1), 85_470_085),),
                                             "JPY": ((date(2011, 1, 1), 769_231),)}, **more,
    )  # fmt: skip


def item(
    cost: int = 50_000, list_price: int = 0, margin: int | None = None, sku: str = "A", category: str = "Bags"
) -> Any:
    return pd.DataFrame(
        {
            "SKU": pd.Series([sku], dtype="str"),
            "Category": pd.Series([category], dtype="str"),
            "Cost": pd.Series([cost], dtype="Int64"),
            "ListPrice": pd.Series([list_price], dtype="Int64"),
            "MinMargin": pd.Series([margin], dtype="Int64"),
        }
    )


def spot(currency: str = "GBP", site: int = 0, own: bool = True) -> pd.DataFrame:
    return pd.DataFrame({"row": [0], "site": [site], "currency": pd.Series([currency], dtype="str"), "own": [own]})


def clock(now: datetime = NOW, zone: ZoneInfo = LONDON) -> Clock:
    return Clock(now, zone, "GBP")


def plain(value: Any) -> Any:
    """What stands in a frame, as Python has it."""
    return None if pd.isna(value) else value.item() if hasattr(value, "item") else value


def price(items: pd.DataFrame, how: PriceSettings, where: pd.DataFrame | None = None, now: datetime = NOW) -> dict:
    where = spot() if where is None else where
    row = pricing.prices(items, where, how, clock(now)).iloc[0]
    return {name: plain(value) for name, value in row.items()}


# ---- ordinary prices -----------------------------------------------------------------------------------------------

RATES = {"GBP": Fraction(1), "EUR": Fraction(85_470_085, 10**8), "JPY": Fraction(769_231, 10**8)}
CHARMS = {
    "GBP": [(), (9_900,), (4_500, 9_500), (90_000,), (49_900, 99_900)],
    "EUR": [(), (9_900,), (5_000, 9_000)],
    "JPY": [(), (800_000, 980_000), (90_000,)],
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Terms, int, int, int | None]:
    currency = draw(st.sampled_from(sorted(RATES)))
    unit = price_settings.unit(currency)
    terms = Terms(
        margin=draw(st.integers(-5_000, 9_000)), map=draw(st.integers(0, 10_000)),
        step=unit * draw(st.sampled_from([1, 1, 5, 10])), rounding=draw(st.sampled_from(price_settings.ROUNDINGS)),
        charm=draw(st.sampled_from(CHARMS[currency])), charm_from=draw(st.sampled_from([0, 40_000, 3_000_000])),
    )  # fmt: skip
    cost = draw(st.integers(1, 10**7) | st.integers(1, 10**13))
    return currency, terms, cost, draw(st.integers(0, 10**7)), draw(st.none() | st.integers(1, 9_500))


@given(cases())
def test_a_price_holds_floor_margin_ending_and_the_currencys_decimals(case: tuple) -> None:
    currency, terms, cost, list_price, least_margin = case
    how = settings(terms, sites={1: (currency, {}, ())})
    made = price(item(cost, list_price, least_margin), how, spot(currency, 1))
    assert made["rule"] is None
    amount, there = made["Price"], RATES[currency]
    floor = Fraction(list_price) / there * terms.map / 10_000
    if least_margin:
        floor = max(floor, Fraction(cost) / there * 10_000 / (10_000 - least_margin))
        assert Fraction(amount) - Fraction(cost) / there >= Fraction(amount * least_margin, 10_000)
    assert amount >= floor
    assert amount >= (made["MinPrice"] or 0) >= floor
    assert (made["MinPrice"] or 0) < floor + price_settings.unit(currency)
    assert amount % price_settings.unit(currency) == 0
    ended = any(amount % pricing.period(ending) == ending for ending in terms.charm)
    assert ended or not terms.charm or amount < max(terms.charm_from, 1) + 10 * terms.step
    if not ended:
        assert amount % terms.step == 0
    wanted = Fraction(cost) / there * 10_000 / (10_000 - terms.margin)
    if terms.rounding == "up":
        assert amount >= wanted
    if not terms.charm:  # one step from what it should be, or at the floor
        assert abs(amount - max(wanted, floor)) <= terms.step
    assert made["cost"] - 1 < Fraction(cost) / there <= made["cost"]


@given(st.integers(1, 10**9), st.sampled_from([each for those in CHARMS.values() for each in those if each]))
def test_the_next_ending_is_the_nearest_one_on_its_side(amount: int, endings: tuple[int, ...]) -> None:
    def ends(value: int) -> bool:
        return any(value % pricing.period(one) == one for one in endings)

    step = 100
    higher, lower = pricing.ending_from(amount, endings), pricing.ending_to(amount, endings)
    assert ends(higher)
    assert higher >= amount
    assert lower <= amount < lower + max(pricing.period(one) for one in endings)
    assert not any(ends(value) for value in range(pricing.up(amount, step), min(higher, amount + 200 * step), step))


@pytest.mark.parametrize(
    ("cost", "terms", "expected"),
    [
        (50_000, Terms(margin=5_000), "10.00"),
        (33_333, Terms(margin=5_000), "6.67"),
        (33_333, Terms(margin=5_000, rounding="down"), "6.66"),
        (47_400, Terms(margin=5_000, charm=(9_500, 9_900)), "9.95"),
        (49_600, Terms(margin=5_000, charm=(9_500, 9_900)), "9.95"),
        (49_800, Terms(margin=5_000, charm=(9_500, 9_900)), "9.99"),
        (50_100, Terms(margin=5_000, charm=(9_500, 9_900)), "10.95"),
        (1_000, Terms(margin=5_000, charm=(9_900,), charm_from=50_000), "0.20"),
        (50_000, Terms(margin=-2_500), "4.00"),
    ],
)
def test_prices_as_a_person_would_work_them_out(cost: int, terms: Terms, expected: str) -> None:
    assert pricing.written(price(item(cost), settings(terms))["Price"]) == expected


def test_an_item_without_cost_is_sold_at_its_list_price() -> None:
    assert price(item(0, 100_000), settings(Terms(margin=4_800)))["Price"] == 100_000


def test_yen_have_no_decimals_and_dinars_three() -> None:
    how = settings(Terms(step=10_000), sites={9: ("JPY", {"step": 10_000}, ())})
    assert price(item(50_001), how, spot("JPY", 9))["Price"] == 6_510_000  # 651 yen
    assert [price_settings.unit(code) for code in ("JPY", "GBP", "KWD")] == [10_000, 100, 10]


def test_a_currency_without_a_rate_has_no_price() -> None:
    how = settings(sites={9: ("USD", {}, ())})
    assert price(item(), how, spot("USD", 9))["rule"] == "no_rate"
    early = datetime(2010, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert price(item(), settings(), spot("EUR", 9), now=early)["rule"] == "no_rate"


def test_what_is_decided_for_one_item_wins() -> None:
    rules = {
        ("A", None): SkuRule(margin=2_000, floor=70_000, cap=80_000),
        ("A", 5): SkuRule(price=71_700),
        ("B", None): SkuRule(price=29_500),
    }
    how = settings(Terms(margin=5_000, charm=(9_900,)), rules=rules, sites={5: ("GBP", {}, ())})
    assert price(item(50_000), how) | {"says": None} == {
        "Price": 79_900, "MinPrice": 70_000, "MaxPrice": 80_000, "RetailPrice": None, "cost": 50_000, "rule": None,
        "says": None,
    }  # fmt: skip
    assert price(item(50_000), how, spot(site=5))["Price"] == 71_700
    assert price(item(10_000, sku="B"), how)["Price"] == 29_500
    assert price(item(10_000, sku="B"), how, spot("EUR", 6))["Price"] == 34_600


def test_bounds_that_exclude_each_other_say_so_with_both_numbers() -> None:
    made = price(item(50_000, margin=5_000), settings(rules={("A", None): SkuRule(cap=90_000)}))
    assert (made["rule"], made["says"]) == (
        "floor_above_cap", "The floor 10.00 is above the highest price 9.00 GBP.",
    )  # fmt: skip
    made = price(item(50_000, margin=5_000), settings(rules={("A", None): SkuRule(price=90_000)}))
    assert (made["rule"], made["says"]) == ("fixed_below_floor", "The fixed price 9.00 is below the floor 10.00 GBP.")


def test_a_cap_takes_a_price_down_to_the_next_ending_below_it() -> None:
    how = settings(Terms(margin=5_000, charm=(9_900,)), rules={("A", None): SkuRule(cap=95_000)})
    assert price(item(50_000), how)["Price"] == 89_900


def test_the_list_price_is_shown_beside_a_lower_price_only() -> None:
    assert price(item(50_000, 123_400), settings(Terms(margin=5_000)))["RetailPrice"] == 123_400
    assert price(item(50_000, 99_900), settings(Terms(margin=5_000)))["RetailPrice"] is None


# ---- promotions ----------------------------------------------------------------------------------------------------


def offer(name: str, start: datetime, end: datetime, *, percent: int | None = 1_000, **more: Any) -> Promotion:
    given = {"sku": "*", "category": "*", "price": None, "sites": frozenset()}
    return Promotion(**{"name": name, "percent": percent, "start": start, "end": end, **given, **more})


def promoted(how: PriceSettings, now: datetime, where: pd.DataFrame | None = None, zone: ZoneInfo = LONDON) -> dict:
    where = spot() if where is None else where
    ordinary = pricing.prices(item(), where, how, clock(now, zone))
    row = pricing.promotions(item(), where, ordinary, how, clock(now, zone)).iloc[0]
    return {name: plain(value) for name, value in row.items()}


def test_a_promotion_is_told_before_it_starts_and_is_gone_with_its_end() -> None:
    how = settings(Terms(margin=5_000), promotions=[offer("S", datetime(2011, 2, 1), datetime(2011, 2, 15))])
    before = promoted(how, NOW)
    assert (before["promotion"], before["promotion_price"], before["start"], before["end"], before["active"]) == (
        "S", 90_000, "2011-02-01T00:00:00Z", "2011-02-15T00:00:00Z", False,
    )  # fmt: skip
    assert before["next_at"] == "2011-02-01T00:00:00Z"
    start, end = datetime(2011, 2, 1, tzinfo=UTC), datetime(2011, 2, 15, tzinfo=UTC)
    assert not promoted(how, start - timedelta(microseconds=1))["active"]
    assert promoted(how, start)["active"]
    assert promoted(how, end - timedelta(microseconds=1))["active"]
    assert promoted(how, end)["promotion"] is None
    assert promoted(how, end)["next_at"] is None


def test_of_promotions_that_overlap_the_lowest_price_wins() -> None:
    how = settings(
        Terms(margin=5_000),
        promotions=[
            offer("LONG", datetime(2011, 1, 1), datetime(2011, 2, 1)),
            offer("DAY", datetime(2011, 1, 20), datetime(2011, 1, 21), percent=2_000),
        ],
    )
    names = [promoted(how, datetime(2011, 1, day, 12, tzinfo=UTC))["promotion"] for day in (10, 20, 21)]
    assert names == ["LONG", "DAY", "LONG"]


def test_a_promotion_that_the_channel_would_refuse_names_both_numbers_or_is_skipped() -> None:
    one = offer("S", datetime(2011, 1, 1), datetime(2011, 2, 1), percent=None, price=120_000)
    how = settings(Terms(margin=5_000), promotions=[one])
    assert promoted(how, NOW)["says"] == "The promotion S asks 12.00, not below the price 10.00 GBP."
    low = settings(
        Terms(margin=5_000), promotions=[replace(one, price=70_000)], rules={("A", None): SkuRule(floor=80_000)}
    )
    assert promoted(low, NOW)["says"] == "The promotion S asks 7.00, below the lowest price 8.00 GBP."
    assert promoted(replace(low, refused="skip"), NOW)["promotion"] is None


def test_a_promotion_of_some_sites_leaves_the_others_alone() -> None:
    one = offer("S", datetime(2011, 1, 1), datetime(2011, 2, 1), sites=frozenset({641}))
    how = settings(Terms(margin=5_000), promotions=[one])
    assert promoted(how, NOW)["promotion"] is None
    assert promoted(how, NOW, spot(site=641, own=False))["promotion_price"] == 90_000
    assert [each.site for each in how.places()] == [0, 641]


ZONES = ["Europe/London", "America/New_York", "Australia/Lord_Howe"]
WALL = st.datetimes(datetime(2011, 3, 20), datetime(2011, 4, 5)) | st.datetimes(
    datetime(2011, 10, 25), datetime(2011, 11, 3)
)


@given(WALL, st.integers(1, 400), st.lists(st.integers(1, 300), min_size=1, max_size=40), st.sampled_from(ZONES))
def test_whenever_it_is_looked_at_a_promotion_starts_once_and_ends_once(
    start: datetime, hours: int, gaps: list[int], name: str
) -> None:
    """Over the nights in which clocks are put forward and back, runs at any times: one stretch, of the true moments."""
    zone = ZoneInfo(name)
    end = start + timedelta(hours=hours)
    how = settings(Terms(margin=5_000), promotions=[offer("S", start, end)])
    first, last = (edge.replace(tzinfo=zone).astimezone(UTC) for edge in (start, end))
    at = first - timedelta(hours=gaps[0])
    reported = []
    for gap in gaps:
        now = promoted(how, at, zone=zone)
        assert now["active"] == (first <= at < last)
        reported.append((now["promotion"], now["start"], now["end"], now["active"]))
        edges = [edge for edge in (first, last) if edge > at]
        assert now["next_at"] == (pricing.moment(edges[0]) if edges and first < last else None)
        at += timedelta(minutes=gap * 7)
    changes = [(a, b) for a, b in pairwise(reported) if a != b]
    assert len(changes) <= 2


# ---- what waits for a person ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amounts", "more", "waits"),
    [
        ((130_000, None, 50_000, 100_000), {}, False),
        ((130_100, None, 50_000, 100_000), {}, True),
        ((70_000, None, 50_000, 100_000), {}, False),
        ((69_900, None, 50_000, 100_000), {}, True),
        ((500_000, None, 50_000, None), {}, False),  # a first price
        ((49_900, None, 50_000, None), {}, True),  # below cost
        ((100_000, 49_900, 50_000, 100_000), {}, True),
        ((60_000, None, 50_000, 100_000), {"own_move": True}, False),
    ],
)
def test_a_large_change_or_a_loss_waits_for_a_person(amounts: tuple, more: dict, waits: bool) -> None:
    assert bool(pricing.question(*amounts, 3_000, **more)) is waits


# ---- the files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(CONFIG, tmp_path / "config")
    return tmp_path / "config"


def test_the_files_of_the_project_are_right() -> None:
    assert price_settings.check() == []


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("price_rules", "X1,,1.005,,,,,", "price is '1.005', which is no amount of GBP above 0"),
        ("price_rules", "X1,,,,,,,", "the row says nothing of X1"),
        ("price_rules", "X1,abc,1.00,,,,,", "'abc' is no number of a site"),
        ("price_rules", "X1,,1.00,20,,,,", "a fixed price has no margin"),
        ("price_rules", "X1,,,,5.00,4.00,,", "the floor 5.00 is above the cap 4.00"),
        ("promotions", "P,X1,Bags,,10,2011-01-01,2011-01-02,,", "of a SKU or of a category"),
        ("promotions", "P,X1,,2.00,10,2011-01-01,2011-01-02,,", "a price or a percentage off"),
        ("promotions", "P,X1,,,10,2011-01-02,2011-01-02,,", "is not after the start"),
        ("promotions", "P,X1,,,10,1.2.2011,2011-01-02,,", "write a day or a moment without a zone"),
        ("promotions", "P,X1,,,10,2011-01-01T00:00Z,2011-01-02,,", "write a day or a moment without a zone"),
        ("exchange_rates", "CHF,2011-01-01,0,nobody", "must be above 0"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_what_is_wrong(folder: Path, name: str, row: str, message: str) -> None:
    path = folder / "lookups" / f"{name}.csv"
    path.write_text(path.read_text() + row + "\n")
    (finding, *_) = price_settings.check(folder)
    assert (finding.file, finding.line) == (path, len(path.read_text().splitlines()))
    assert message in finding.message
    with pytest.raises(ConfigError, match=r"csv:[0-9]+: "):
        price_settings.load(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("margin: 48", "margin: 480", "it must be a number from -100 to 99"),
        ("currency: GBP", "currency: pounds", "it must be a code such as GBP"),
        ("refused: dead_letter", "refused: dead", "did you mean 'dead_letter'"),
        ("charm_from: 4.00", "charm_fron: 4.00", "has no word 'charm_fron'"),
        ("charm: [0.45, 0.95]", "charm: [0.455]", "no amount of GBP above 0"),
    ],
)
def test_a_bad_word_of_prices_yaml_is_named_with_its_line(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "prices.yaml"
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    (finding, *_) = price_settings.check(folder)
    assert text.splitlines()[finding.line - 1].split("#")[0].strip() == old
    assert message in finding.message


def test_remarks_do_not_change_the_fingerprint_and_prices_do(folder: Path) -> None:
    before = price_settings.load(folder).fingerprint
    path = folder / "lookups" / "price_rules.csv"
    path.write_text("# a remark\n" + path.read_text().replace("Cakestand: sells", "It sells"))
    assert price_settings.load(folder).fingerprint == before
    path.write_text(path.read_text().replace(",50,", ",51,"))
    assert price_settings.load(folder).fingerprint != before
