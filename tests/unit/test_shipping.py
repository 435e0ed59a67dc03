"""What the channel is told of a shipment: its key, its carrier, and units as they were sold."""

from __future__ import annotations

from itertools import permutations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.mapping import lookups
from crossdock.mapping.checker import Checker
from crossdock.mapping.language import load
from crossdock.rules.shipping import Sold, carriers, fold, fulfillment_ids
from examples import examples

KIT = {"7:LAMP": Sold(7, 1, "SET"), "7:BULB": Sold(7, 3, "SET"), "8": Sold(8, 1, "CUP")}


def services(*pairs: tuple[str | None, str | None]) -> tuple[list, list]:
    header = pd.DataFrame(pairs, columns=["Carrier", "ServiceLevel"], dtype="str")
    found, problems = carriers(header, lookups.read("carriers", keys=2))
    return found.fillna("").to_numpy().tolist(), problems["says"].tolist()


def test_the_key_of_a_shipment_is_the_digits_of_its_id():
    assert fulfillment_ids(pd.Series(["SH-70012", "2011/7/3"], dtype="str")).tolist() == ["70012", "201173"]


def test_an_id_without_digits_gets_a_number_that_is_its_own_and_stays():
    first = fulfillment_ids(pd.Series(["ALPHA", "BETA"], dtype="str")).tolist()
    assert first == fulfillment_ids(pd.Series(["ALPHA", "BETA"], dtype="str")).tolist()
    assert len(set(first)) == 2
    assert all(key.isascii() and key.isdigit() for key in first)


def test_a_carrier_is_found_whatever_its_case_and_blanks():
    assert services(("royal  mail", " TRACKED 48 "), (None, None)) == (
        [["Royal Mail", "Tracked 48"], ["Other", "Standard"]],
        [],
    )


def test_an_unknown_carrier_is_a_problem_that_names_the_nearest_and_is_never_guessed():
    found, message = services(("Royal Mial", "Tracked 48"), ("UPS", "Ground"))
    assert found == [["", ""], ["UPS", "Ground"]]
    assert message == [
        '"Royal Mial / Tracked 48" (carrier / service) is not in config/lookups/carriers.csv. '
        'The nearest there is "Royal Mail / Tracked 48".'
    ]


def test_every_carrier_of_the_lookup_names_both_columns_of_the_channel():
    rows = lookups.read("carriers", keys=2).rows.values()
    assert all(row["carrier"] and row["service_class"] for row in rows)


def test_a_kit_counts_when_its_last_part_has_left():
    assert fold({"7:LAMP": 2, "8": 1}, [], {}, KIT) == {8: 1}
    assert fold({"7:BULB": 5}, [{"7:LAMP": 2, "8": 1}], {8: 1}, KIT) == {7: 1}
    assert fold({"7:BULB": 1}, [{"7:LAMP": 2, "8": 1}, {"7:BULB": 5}], {8: 1, 7: 1}, KIT) == {7: 1}


def test_parts_beyond_whole_kits_tell_nothing():
    assert fold({"7:BULB": 2}, [{"7:LAMP": 1, "7:BULB": 3}], {7: 1}, KIT) == {}


@examples(60)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(KIT)), st.integers(1, 7), min_size=1), min_size=1, max_size=4))
def test_whatever_the_order_of_the_parcels_the_channel_hears_of_every_whole_kit_and_no_other(parcels):
    total = {line: sum(parcel.get(line, 0) for parcel in parcels) for line in KIT}
    whole = {7: min(total["7:LAMP"], total["7:BULB"] // 3), 8: total["8"]}
    for order in permutations(range(len(parcels))):
        reported: dict[int, int] = {}
        for place, number in enumerate(order):
            new = fold(parcels[number], [parcels[n] for n in order[:place]], reported, KIT)
            assert all(units > 0 for units in new.values())
            reported = {item: reported.get(item, 0) + new.get(item, 0) for item in {*reported, *new}}
        assert {item: reported.get(item, 0) for item in whole} == whole


@pytest.mark.parametrize("name", ["shipment"])
def test_the_mapping_fits_both_contracts(name: str):
    assert Checker(load(name)).findings() == []
