"""The catalogue's rules: what an item is as a product, whose a field is, what is to be done about a listing."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.mapping.converters import CONVERTERS
from crossdock.rules import catalogue
from crossdock.rules.catalogue import Catalog, Extras, Step
from examples import examples

FIELDS = ("Title", "Attributes", "Images", "BundleComponents")
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
ATTRIBUTES = st.dictionaries(NAMES, NAMES, max_size=5)


def pounds(text: str) -> int:
    return int(CONVERTERS["kilograms to pounds"](pd.Series([text], dtype="str"))[0])


@given(st.decimals(0, 999_999, places=3))
@examples(200)
def test_a_weight_is_the_exact_pounds_rounded_half_up_to_four_places(kilograms: Decimal):
    exact = kilograms / Decimal("0.45359237")
    assert pounds(str(kilograms)) == int(exact.quantize(Decimal("0.0001"), ROUND_HALF_UP) * 10_000)


@pytest.mark.parametrize("text", ["", "heavy", "NaN", "Infinity", "1e99"])
def test_what_is_no_weight_is_missing(text: str):
    assert CONVERTERS["kilograms to pounds"](pd.Series([text], dtype="str")).isna().all()


@pytest.mark.parametrize(
    ("gtin", "upc", "ean"),
    [
        ("012345678905", "012345678905", None),
        ("4006381333931", None, "4006381333931"),
        ("04006381333931", None, "4006381333931"),
        ("00012345678905", "012345678905", None),
        ("14006381333938", None, None),  # a case of several
        ("96385074", None, None),
        (None, None, None),
    ],
)
def test_a_gtin_goes_where_its_length_belongs(gtin: str | None, upc: str | None, ean: str | None):
    codes = catalogue.trade_codes(pd.DataFrame({"GTIN": pd.Series([gtin], dtype="str")}))
    assert [None if value != value else value for value in codes.iloc[0][["UPC", "EAN"]]] == [upc, ean]


@given(st.text("0123456789", min_size=7, max_size=13))
@examples(200)
def test_of_the_ten_last_digits_one_is_right(body: str):
    right = [digit for digit in "0123456789" if catalogue.check_digit(body + digit)]
    assert len(right) == 1


@pytest.mark.parametrize("code", ["4006381333931", "012345678905", "96385074", "10012345678902"])
def test_known_codes_have_the_right_check_digit(code: str):
    assert catalogue.check_digit(code)


@pytest.mark.parametrize(
    ("kind", "status", "eligible", "expected"),
    [
        ("Inventory", "Active", True, ("Item", False)),
        ("Kit", "Active", True, ("Bundle", False)),
        ("Service", "Discontinued", True, ("Item", False)),
        ("Inventory", "Blocked", True, ("Item", True)),
        ("Inventory", "Active", False, ("Item", True)),
        ("Inventory", "Active", None, ("Item", True)),
    ],
)
def test_what_may_not_be_sold_is_kept_off_the_channels(kind: str, status: str, eligible: Any, expected: tuple):
    header = pd.DataFrame(
        {"Type": [kind], "Status": [status], "ChannelEligible": pd.Series([eligible], dtype="boolean")}
    )
    assert tuple(catalogue.kinds(header).iloc[0]) == expected


def test_a_cost_in_another_currency_is_not_sent():
    header = pd.DataFrame({"Cost": ["2.5000", "2.50", "0.00"], "CurrencyCode": ["GBP", "USD", "GBP"]}, dtype="str")
    assert catalogue.profile_cost(header, Catalog("GBP")).tolist() == [25_000, pd.NA, 0]


def test_images_are_placed_in_order_each_address_once():
    (placed,) = catalogue.images([Extras(Images=["https://a", "https://b", "https://a"])])
    assert placed == [
        {"PlacementName": "ITEMIMAGEURL1", "Url": "https://a"}, {"PlacementName": "ITEMIMAGEURL2", "Url": "https://b"}
    ]  # fmt: skip


def test_the_category_is_an_attribute_unless_tims_has_one_of_that_name():
    extras = [Extras(Attributes={"Size": "L"}), Extras(Attributes={"Category": "Own"}), Extras()]
    made = catalogue.attributes(extras, pd.Series(["Toys", "Toys", None], dtype="str"), Catalog("GBP", "Category"))
    assert [{one["Name"]: one["Value"] for one in each} for each in made] == [
        {"Category": "Toys", "Size": "L"}, {"Category": "Own"}, {}
    ]  # fmt: skip


def test_a_part_that_a_kit_names_twice_stands_once_with_all_its_units():
    kit = Extras(KitComponents=[{"SKU": "A", "Quantity": 1}, {"SKU": "B", "Quantity": 2}, {"SKU": "A", "Quantity": 3}])
    assert catalogue.parts([kit]) == [[{"SKU": "A", "Quantity": 4}, {"SKU": "B", "Quantity": 2}]]


# ---- comparing -----------------------------------------------------------------------------------------------------


def named(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in values.items()]


def sent(wanted: dict[str, Any], there: dict[str, Any], delivered: dict[str, Any] | None) -> dict[str, Any]:
    """What is sent, as `load` puts it together."""
    values, theirs = catalogue.flat(wanted, FIELDS), catalogue.flat(there, FIELDS)
    names = catalogue.owned(FIELDS, values, theirs, delivered or ())
    return catalogue.changes(catalogue.differences(names, values, theirs), names, values, there)


@given(ours=ATTRIBUTES, before=ATTRIBUTES, there=ATTRIBUTES)
@examples(300)
def test_attributes_are_ours_and_those_that_never_were(ours: dict, before: dict, there: dict):
    delivered = {f"Attributes.{name}": value for name, value in before.items()}
    product = {"Attributes": named(there)}
    change = sent({"Attributes": named(ours)}, product, delivered)
    after = {one["Name"]: one["Value"] for one in (product | change)["Attributes"]}
    assert after == {name: value for name, value in there.items() if name not in before} | ours
    assert sent({"Attributes": named(ours)}, product | change, delivered) == {}


def test_images_in_our_places_are_ours_and_others_stay():
    swatch = {"PlacementName": "SWATCH", "Url": "https://s"}
    there = {"Images": [{"PlacementName": "ITEMIMAGEURL2", "Url": "https://old"}, swatch]}
    wanted = {"Images": [{"PlacementName": "ITEMIMAGEURL1", "Url": "https://new"}]}
    change = sent(wanted, there, None)
    assert change == {"Images": [{"PlacementName": "ITEMIMAGEURL1", "Url": "https://new"}, swatch]}
    assert sent(wanted, there | change, None) == {}


def test_the_parts_of_a_bundle_are_the_same_whatever_their_order_and_case():
    wanted = {"BundleComponents": [{"SKU": "A", "Quantity": 1}, {"SKU": "B", "Quantity": 2}]}
    assert sent(wanted, {"BundleComponents": [{"SKU": "b", "Quantity": 2}, {"SKU": "a", "Quantity": 1}]}, None) == {}
    assert sent(wanted, {"BundleComponents": [{"SKU": "A", "Quantity": 1}]}, None) == wanted


@pytest.mark.parametrize(
    ("delivered", "there", "wanted", "expected"),
    [
        (None, "Theirs", "Ours", []),  # never delivered
        ({"Title": "Ours"}, "Theirs", "Ours", ["Title"]),
        ({"Title": "Old"}, "Old", "Ours", []),  # only TIMS has changed it
        ({"Title": "Old"}, "Theirs", "Ours", ["Title"]),  # both have
        ({"Title": "Old"}, "Ours", "Ours", []),  # both to the same
        ({"Title": "Ours"}, None, "Ours", ["Title"]),
        ({"Title": None}, "", None, ["Title"]),  # None and "" are two values
    ],
)
def test_a_conflict_is_what_the_channel_has_changed_and_we_had_delivered(
    delivered: dict | None, there: str | None, wanted: str | None, expected: list[str]
):
    different = catalogue.differences(["Title"], {"Title": wanted}, {"Title": there})
    assert catalogue.conflicts(different, {"Title": there}, delivered) == expected


# ---- listings ------------------------------------------------------------------------------------------------------

WANTED = {"SiteID": 870, "Status": "Active", "Category": "Toys", "Title": None}


def held(status: str, number: int = 7, **more: Any) -> dict[str, Any]:
    return {"ListingID": number, "Status": status, "Category": "Toys", "Title": None, "Price": None, **more}


def steps(status: str, *there: dict[str, Any], ours: dict | None = None, **facts: Any) -> list[Step]:
    existing = {"retry": False, "reopen": False, "priced": True, "units": None} | facts
    return catalogue.listing_steps(WANTED | {"Status": status}, there, ours, **existing)


def short(found: list[Step]) -> list[tuple]:
    return [(one.action, one.listing_id, dict(one.changes).get("Status")) for one in found]


OURS, BY_US = {"listing_id": 7, "ended": False}, {"listing_id": 7, "ended": True}


@pytest.mark.parametrize(
    ("status", "there", "facts", "expected"),
    [
        ("Active", [], {}, [("create", None, None)]),
        ("Active", [], {"priced": False}, [("wait", None, None)]),
        ("Active", [held("Draft")], {}, [("update", 7, "Active")]),
        ("Active", [held("Draft")], {"priced": False}, [("wait", 7, None)]),
        ("Active", [held("Draft", Price=5)], {"priced": False}, [("update", 7, "Active")]),
        ("Active", [held("Active")], {}, []),
        ("Active", [held("Active", Category="Old")], {}, [("update", 7, None)]),
        ("Active", [held("Paused")], {}, [("update", 7, "Active")]),
        ("Active", [held("Error")], {}, [("dead", 7, None)]),
        ("Active", [held("Error")], {"retry": True}, [("update", 7, "Active")]),
        ("Active", [held("Ended")], {}, [("create", None, None)]),  # somebody's, of old
        ("Active", [held("Ended")], {"ours": OURS}, [("dead", 7, None)]),
        ("Active", [held("Ended")], {"ours": OURS, "retry": True}, [("dead", 7, None)]),
        ("Active", [held("Ended")], {"ours": OURS, "reopen": True}, [("create", None, None)]),
        ("Active", [held("Ended")], {"ours": BY_US}, [("create", None, None)]),
        ("Active", [held("Ended", 6), held("Active")], {"ours": OURS}, []),
        ("Paused", [held("Active")], {}, [("update", 7, "Paused")]),
        ("Paused", [held("Draft")], {}, []),
        ("Ended", [held("Active"), held("Ended", 9)], {}, [("update", 7, "Ended")]),
        ("Ended", [held("Error"), held("Draft", 8)], {}, [("update", 7, "Ended"), ("update", 8, "Ended")]),
        ("Unlisted", [held("Active")], {}, []),
        ("Unlisted", [held("Active")], {"ours": OURS}, [("update", 7, "Ended")]),
        ("SellOff", [held("Active")], {"units": 1}, []),
        ("SellOff", [held("Active")], {"units": 0}, [("update", 7, "Ended")]),
        ("SellOff", [], {"units": 0}, []),
    ],
)  # fmt: skip
def test_what_is_done_about_a_listing(status: str, there: list[dict], facts: dict, expected: list[tuple]):
    assert short(steps(status, *there, **facts)) == expected


def test_categories_are_listed_by_pattern_whatever_the_case():
    names = pd.Series(["Home > Lighting", "home > decoration", "Toys", None, "Toys > Wood"], dtype="str")
    assert catalogue.listed(names, ["Home > *", "TOYS"]).tolist() == [True, True, True, False, False]


def test_a_mistake_in_the_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "catalog.yaml").write_text("profile_currency: GBP\nsites: {870: {lists: [Toys]}}\n")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="lists"):
        catalogue.load()
