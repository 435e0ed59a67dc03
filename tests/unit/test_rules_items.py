"""What a code on a line is, and what becomes of kits."""

from __future__ import annotations

import pytest

from crossdock.mapping.frames import CENT, SCALE
from crossdock.rules.money import round_cents
from rules_examples import ITEMS, line, order, reasons, reference_data, run, sentence


def sold(code: str, **changes):
    return run(order(OrderItems=[line(SKU=code, **changes)]))


@pytest.mark.parametrize(
    ("code", "sku"),
    [
        ("MUG", "MUG"),
        ("mug", "MUG"),
        ("LMP-1", "LAMP"),
        ("lmp-1", "LAMP"),
        ("twin", "twin"),
        ("TWIN", "TWIN"),
        ("gift_0001_20", "GIFT-VOUCHER"),
        ("GIFT_0001_5", "GIFT-VOUCHER"),
    ],
)
def test_a_code_is_found_as_sku_then_alternate_then_without_case(code, sku):
    result = sold(code)
    assert reasons(result) == []
    assert list(result.lines["SKU"]) == [sku]
    assert list(result.lines["SourceSKU"]) == [code]


def test_an_exact_sku_comes_before_an_alternate_of_another_item():
    items = [*ITEMS, {"SKU": "CUP", "AlternateSKUs": ["MUG"]}]
    result = run(order(OrderItems=[line(SKU="MUG")]), tims=reference_data(items=items))
    assert list(result.lines["SKU"]) == ["MUG"]


def test_an_unknown_code_names_the_nearest():
    result = sold("LAMPE")
    assert reasons(result) == ["unknown_sku"]
    assert "LAMP" in sentence(result, "unknown_sku")
    assert result.problems["line"][0] == "501"


def test_an_unknown_code_is_named_on_each_of_its_lines():
    result = run(order(OrderItems=[line(1, SKU="QQQQQQQQ"), line(2), line(3, SKU="QQQQQQQQ")], TotalPrice="30.00"))
    assert list(result.problems["line"]) == ["501", "503"]


def test_a_code_of_two_items_names_both():
    assert "TWIN, twin" in sentence(sold("Twin"), "ambiguous_sku")


@pytest.mark.parametrize(("code", "reason"), [("M", "Manual"), ("m", "Manual"), ("BANK CHARGES", "bank")])
def test_a_refused_code_says_the_reason_of_the_list(code, reason):
    result = sold(code)
    assert reasons(result) == ["code_rejected"]
    assert reason in sentence(result, "code_rejected")


def test_an_ignored_code_is_left_out_where_it_costs_nothing_and_refused_where_it_costs():
    free = run(order(OrderItems=[line(1), line(2, SKU="PADS", UnitPrice="0")]))
    assert (reasons(free), list(free.lines["ExternalLineID"])) == ([], ["501"])
    taxed = [line(1), line(2, SKU="PADS", UnitPrice="0", TaxAmount="1")]
    assert reasons(run(order(OrderItems=taxed, TotalTaxPrice="1", TotalPrice="11"))) == ["code_rejected"]


def test_an_order_of_nothing_but_postage_has_no_lines():
    assert reasons(sold("POST")) == ["no_lines"]


def test_a_voucher_whose_item_tims_does_not_have_is_unknown():
    items = [i for i in ITEMS if i["SKU"] != "GIFT-VOUCHER"]
    result = run(order(OrderItems=[line(SKU="gift_0001_20")]), tims=reference_data(items=items))
    assert reasons(result) == ["unknown_sku"]
    assert "gift_0001_20" in sentence(result, "unknown_sku")


def test_a_kit_is_parted_into_its_components_and_keeps_its_money_and_its_name():
    lines = [line(1), line(2, SKU="set", Quantity=3, UnitPrice="11.11", TaxAmount="1.00", QuantityCancelled=1)]
    result = run(order(OrderItems=lines, TotalTaxPrice="1.00", TotalPrice="44.33"))
    target = result.lines
    assert reasons(result) == []
    assert list(target["ExternalLineID"]) == ["501", "502:MUG", "502:LAMP"]
    assert list(target["_line"]) == [0, 1, 2]
    assert list(target["OrderItemID"]) == [501, 502, 502]
    assert list(target["SKU"]) == ["MUG", "MUG", "LAMP"]
    assert target["KitParentSKU"].fillna("").tolist() == ["", "SET", "SET"]
    assert list(target["Quantity"]) == [2, 6, 3]
    assert list(target["QuantityCancelled"]) == [0, 2, 1]
    paid = round_cents((target["Quantity"] * target["Price"]).to_numpy()) * CENT - target["DiscountAmount"].to_numpy()
    # 33.33 by list price times units, 8 : 50, largest remainder
    assert paid.tolist() == [10 * SCALE, 4_6000, 28_7300]
    assert target["TaxAmount"].tolist() == [0, 1400, 8600]


def test_components_without_list_price_are_weighed_by_units():
    items = [{"SKU": "A"}, {"SKU": "B"}, {"SKU": "KIT", "Type": "Kit", "KitComponents": [("A", 3), ("B", 1)]}]
    result = run(
        order(OrderItems=[line(SKU="KIT", Quantity=1, UnitPrice="8.00")], TotalPrice="8.00"),
        tims=reference_data(items=items),
    )
    assert (result.lines["Quantity"] * result.lines["Price"]).tolist() == [6 * SCALE, 2 * SCALE]


def test_a_component_named_twice_is_one_line():
    items = [{"SKU": "A", "ListPrice": 1}, {"SKU": "KIT", "Type": "Kit", "KitComponents": [("A", 1), ("A", 2)]}]
    result = run(order(OrderItems=[line(SKU="KIT")]), tims=reference_data(items=items))
    assert (list(result.lines["ExternalLineID"]), list(result.lines["Quantity"])) == (["501:A"], [6])


def test_a_kit_without_components_is_one_line():
    result = run(order(OrderItems=[line(SKU="KIT")]), tims=reference_data(items=[{"SKU": "KIT", "Type": "Kit"}]))
    assert (reasons(result), list(result.lines["ExternalLineID"])) == ([], ["501"])


def test_a_kit_with_a_blocked_or_unknown_component_is_refused():
    result = sold("BADSET")
    assert reasons(result) == ["item_blocked"]
    assert "STOP (part of the kit BADSET)" in sentence(result, "item_blocked")
    broken = reference_data(items=[{"SKU": "KIT", "Type": "Kit", "KitComponents": [("GONE", 1)]}])
    assert reasons(run(order(OrderItems=[line(SKU="KIT")]), tims=broken)) == ["unknown_sku"]


def test_a_line_id_that_grows_too_long_with_its_component_is_refused():
    long = "C" * 60
    items = [{"SKU": long, "ListPrice": 1}, {"SKU": "KIT", "Type": "Kit", "KitComponents": [(long, 1)]}]
    assert reasons(run(order(OrderItems=[line(SKU="KIT")]), tims=reference_data(items=items))) == ["text_too_long"]


def test_the_unsold_list_of_a_kit_that_counts_more_than_500_lines_is_too_many():
    lines = [line(n, SKU="SET", Quantity=1, UnitPrice="1.00") for n in range(251)]
    assert reasons(run(order(OrderItems=lines, TotalPrice="251.00"))) == ["too_many_lines"]
