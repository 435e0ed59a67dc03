"""How many units are offered: never more than is free, never below 0, and what an analyst has said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.mapping.checker import Checker
from crossdock.mapping.language import load
from crossdock.rules import offer_settings, offers
from crossdock.rules.offer_settings import EVERYWHERE, Offers, Terms
from crossdock.settings import config_dir
from examples import examples

UNITS = st.integers(-500, 5_000)
TERMS = st.builds(Terms, st.integers(0, 50), st.none() | st.integers(0, 3_000), st.integers(0, 100))


def offer(free: int, in_flight: int, terms: Terms) -> int:
    return int(offers.offered(np.array([free]), np.array([in_flight]), [terms])[0])


@pytest.mark.parametrize(
    ("free", "in_flight", "terms", "units"),
    [
        (10, 0, Terms(), 10),
        (10, 3, Terms(), 7),
        (10, 12, Terms(), 0),
        (-4, 0, Terms(), 0),
        (10, 1, Terms(buffer=4), 5),
        (10, 0, Terms(cap=6), 6),
        (10, 0, Terms(buffer=1, share_percent=50), 4),
        (10, 0, Terms(buffer=1, cap=3, share_percent=50), 3),
        (10, 0, Terms(cap=0), 0),
        (10, 0, Terms(share_percent=0), 0),
    ],
)
def test_buffer_then_share_then_cap(free: int, in_flight: int, terms: Terms, units: int):
    assert offer(free, in_flight, terms) == units


@examples(200)
@given(UNITS, st.integers(0, 5_000), TERMS, st.integers(0, 100))
def test_never_below_nothing_never_above_what_is_free_and_more_demand_never_offers_more(
    free: int, in_flight: int, terms: Terms, more: int
):
    units = offer(free, in_flight, terms)
    assert 0 <= units <= max(0, free - in_flight)
    assert offer(free, in_flight + more, terms) <= units
    assert offer(free - more, in_flight, terms) <= units


@examples(300)
@given(
    st.lists(st.lists(UNITS, min_size=3, max_size=3), min_size=1, max_size=5),
    st.integers(0, 100),
    st.integers(0, 2_000),
)
def test_the_parts_add_up_and_no_center_gets_more_than_it_has(rows: list[list[int]], share: int, in_flight: int):
    available = np.array(rows)
    units = offers.offered(
        available.sum(axis=1), np.full(len(rows), in_flight), [Terms(share_percent=share)] * len(rows)
    )
    parts = offers.divide(units, available)
    assert (parts.sum(axis=1) == units).all()
    assert (parts >= 0).all()
    assert (parts <= np.maximum(0, available)).all()


def test_a_center_that_has_promised_too_much_takes_from_the_others():
    available = np.array([[5, -3, 4]])
    assert offers.divide(np.array([6]), available).tolist() == [[5, 0, 1]]


@pytest.mark.parametrize(
    ("free", "in_flight", "kits"),
    [
        ({"A": 10, "B": 9}, {}, 3),
        ({"A": 10, "B": 9}, {"B": 1}, 2),
        ({"A": 2, "B": 9}, {}, 2),
        ({"A": 2, "B": 9}, {"A": 5}, 0),
        ({"A": 2}, {}, 0),
    ],
)
def test_kits_are_as_many_as_the_scarcest_part_allows(free: dict, in_flight: dict, kits: int):
    assert offers.kits(free, in_flight, {"A": 1, "B": 3}) == kits


# ---- what an analyst writes ----------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes rows of stock_rules.csv, and stock_offers.yaml when given, into a configuration of its own."""
    folder = tmp_path / "config"
    shutil.copytree(config_dir(), folder)
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(folder))

    def write(*rows: str, offers: str | None = None) -> Offers:
        table = folder / "lookups" / "stock_rules.csv"
        table.write_text("\n".join(["# a remark", "sku,site,buffer,cap,share_percent,note", *rows]) + "\n")
        if offers is not None:
            (folder / "stock_offers.yaml").write_text(offers)
        return offer_settings.load()

    return write


def test_the_most_specific_row_wins_as_a_whole(written):
    offers = written("*,,1,,,", "LAMP*,,2,9,,", "LAMP-1*,,3,,,", "lamp-10,,4,,,", "LAMP*,641,5,,,", "LAMP-10,641,6,,,")
    assert offers.of("PEN")[EVERYWHERE] == Terms(1)
    assert offers.of("LAMP-2")[EVERYWHERE] == Terms(2, 9)
    assert offers.of("Lamp-11")[EVERYWHERE] == Terms(3)
    assert offers.of("LAMP-10") == {EVERYWHERE: Terms(4), "641": Terms(6)}
    assert offers.of("LAMP-2")["641"] == Terms(5)
    assert offers.sites == {641}


def test_without_a_row_the_defaults_hold(written):
    text = "locations: {MAIN: MAIN}\ndefaults: {buffer: 2, cap: 8, share_percent: 50}\n"
    assert written(offers=text).of("X") == {EVERYWHERE: Terms(2, 8, 50)}


def test_only_what_bears_on_a_sku_changes_its_fingerprint(written):
    before = written("A,,1,,,")
    after = written("A,,1,,,", "B,,2,,,")
    assert before.digest != after.digest
    assert before.fingerprint("A") == after.fingerprint("A")
    assert before.fingerprint("B") != after.fingerprint("B")


@pytest.mark.parametrize(
    ("rows", "offers", "message"),
    [
        (["A,,-1,,,"], None, "buffer is '-1'"),
        (["A,,1.5,,,"], None, "buffer is '1.5'"),
        (["A,,,,101,"], None, "share_percent is '101'"),
        ([",,1,,,"], None, "names no sku"),
        (["A,amazon,1,,,"], None, "'amazon' is no SiteID"),
        (["A,,1,,,", "a,,2,,,"], None, "a second time"),
        (["A,,1,,"], None, "5 values for 6 columns"),
        ([], "locations: {}\n", "names no location"),
        ([], "locations: {MAIN: MAIN}\nmargin: 3\n", "no word 'margin'; did you mean 'margin_seconds'"),
        ([], "locations: {MAIN: MAIN}\nmargin_seconds: soon\n", "margin_seconds is 'soon'"),
        ([], "locations: {MAIN: MAIN}\naccuracy_percent: 120\n", "accuracy_percent is 120"),
        ([], "locations: {MAIN: MAIN}\ndefaults: {bufer: 1}\n", "no word 'bufer'; did you mean 'buffer'"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_found_before_a_run(
    written, rows: list, offers: str | None, message: str
):
    with pytest.raises(ConfigError, match="stock_") as caught:
        written(*rows, offers=offers)
    assert message in str(caught.value)
    assert caught.value.do
    (finding,) = offer_settings.check()
    assert message in finding.message


def test_the_configuration_that_is_shipped_has_no_mistake_and_the_mapping_fits():
    assert list(offer_settings.check()) == []
    assert Checker(load("inventory")).findings() == []
