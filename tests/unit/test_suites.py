"""The checks: a sound order passes, each rule names the row that breaks it, and nothing personal is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossdock.errors import ConfigError
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.steps import suites

NOW = datetime(2011, 1, 10, tzinfo=UTC)
HEAD: dict[str, tuple[Any, str]] = {
    "ExternalOrderID": ("1001", "str"),
    "Source": ("ChannelAdvisor", "str"),
    "CustomerID": ("C-1", "str"),
    "OrderDate": ("2011-01-04T10:00:00.123456Z", "str"),
    "CurrencyCode": ("GBP", "str"),
    "Channel": ("Amazon UK", "str"),
    "PricesIncludeTax": (False, "boolean"),
    "ShippingMethod": ("Standard", "str"),
    **{
        f"ShippingAddress.{part}": (value, "str")
        for part, value in [
            ("Name", "Ada Miller"), ("Company", None), ("Line1", "12 Elm St"), ("Line2", None), ("City", "Leeds"),
            ("Region", None), ("PostalCode", "LS1 4AP"), ("CountryCode", "GB"),
        ]
    },
    **{
        f"BillingAddress.{part}": (None, "str")
        for part in ("Name", "Company", "Line1", "Line2", "City", "Region", "PostalCode", "CountryCode")
    },
    "ShippingAmount": (80_000, "Int64"),
    "ShippingDiscountAmount": (0, "Int64"),
    "ShippingTaxAmount": (6_000, "Int64"),
    "ShippingTaxRemittedBy": ("Marketplace", "str"),
    "GiftWrapAmount": (0, "Int64"),
    "DiscountTotal": (100_000, "Int64"),
    "TaxTotal": (73_500, "Int64"),
    "TotalAmount": (1_053_500, "Int64"),
    "PaymentStatus": ("Paid", "str"),
    "Notes": (None, "str"),
    "OrderStatus": ("Open", "str"),
    "customer_status": ("Active", "str"),
}  # fmt: skip
ITEM: dict[str, tuple[Any, str]] = {
    "ExternalLineID": ("55012", "str"),
    "SKU": ("LAMP-OAK-01", "str"),
    "Quantity": (2, "Int64"),
    "Price": (500_000, "Int64"),
    "DiscountAmount": (100_000, "Int64"),
    "TaxAmount": (67_500, "Int64"),
    "TaxRemittedBy": ("Marketplace", "str"),
    "KitParentSKU": (None, "str"),
    "item_status": ("Active", "str"),
}


def orders(
    count: int = 3, header: dict[str, Any] | None = None, item: dict[str, Any] | None = None, lines: int = 1
) -> Frames:
    """`count` sound orders; order 1 gets the changes, as does its first line. Of several lines all but the first are
    free."""
    heads = pd.DataFrame({name: pd.Series([value] * count, dtype=kind) for name, (value, kind) in HEAD.items()})
    heads["ExternalOrderID"] = pd.Series([str(1000 + number) for number in range(count)], dtype="str")
    items = pd.DataFrame({name: pd.Series([value] * count * lines, dtype=kind) for name, (value, kind) in ITEM.items()})
    items.insert(0, LINE, [number % lines for number in range(count * lines)])
    items.insert(0, ROW, [number // lines for number in range(count * lines)])
    items["ExternalLineID"] = pd.Series([str(n) for n in range(count * lines)], dtype="str")
    items.loc[items[LINE] > 0, ["Price", "DiscountAmount", "TaxAmount"]] = 0
    change(heads, 1, header or {})
    change(items, lines, item or {})
    return Frames(heads, items)


def change(frame: pd.DataFrame, row: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        frame.loc[row, name] = value


def run(frames: Frames) -> pd.DataFrame:
    return suites.run("sales_order", frames, now=NOW)[0]


def judged(cases: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> pd.DataFrame:
    """All cases in one batch: order 2n + 1 gets the changes of case n, a sound order stands on either side of it."""
    frames = orders(2 * len(cases) + 1)
    for number, (header, item) in enumerate(cases):
        change(frames.header, 2 * number + 1, header)
        change(frames.lines, 2 * number + 1, item)
    return run(frames)


def test_a_verdict_names_the_problems_that_a_run_names():
    frames = orders(2 * len(BROKEN) + 1)
    for number, (header, item, *_) in enumerate(BROKEN):
        change(frames.header, 2 * number + 1, header)
        change(frames.lines, 2 * number + 1, item)
    found = run(frames)
    assert found["_row"].nunique() == len(BROKEN)
    pd.testing.assert_frame_equal(suites.judge("sales_order", frames, now=NOW), found)


def test_the_shipped_suite_has_nothing_wrong_with_it():
    assert [
        str(one) for name in suites.names() for one in suites.check(suites.folder_of_checks() / f"{name}.yaml")
    ] == []


def test_sound_orders_pass_and_the_result_says_so():
    problems, result = suites.run("sales_order", orders(), now=NOW)
    assert problems["says"].tolist() == []
    assert result["success"]
    assert (result["rows"], result["rejected"]) == (3, 0)
    assert result["head"]["statistics"]["evaluated_expectations"] >= 15
    assert all(one["result"]["element_count"] == 3 for one in result["head"]["results"])


BROKEN = [
    # the contract, head
    ({"CurrencyCode": None}, {}, "missing_field", "CurrencyCode", ""),
    ({"BillingAddress.Name": "Ada", "BillingAddress.Line1": "1 Elm St", "BillingAddress.CountryCode": "GB"}, {},
     "missing_field", "BillingAddress.City", ""),
    ({"Channel": "x" * 41}, {}, "text_too_long", "Channel", "x" * 41),
    ({"ShippingAddress.PostalCode": "1" * 13}, {}, "text_too_long", "ShippingAddress.PostalCode", "1" * 13),
    ({"ShippingMethod": ""}, {}, "out_of_range", "ShippingMethod", ""),
    ({"PaymentStatus": "Barter"}, {}, "unknown_code", "PaymentStatus", "Barter"),
    ({"OrderStatus": "Closed"}, {}, "unknown_code", "OrderStatus", "Closed"),
    ({"OrderDate": "2011-01-04 10:00"}, {}, "wrong_form", "OrderDate", "2011-01-04 10:00"),
    ({"GiftWrapAmount": -10_000, "TotalAmount": 1_043_500}, {}, "out_of_range", "GiftWrapAmount", "-1.00"),
    ({"ShippingAmount": 10**17}, {}, "out_of_range", "ShippingAmount", "10000000000000.00"),
    # the contract, lines
    ({}, {"SKU": None, "item_status": "Active"}, "missing_field", "SKU", ""),
    ({}, {"SKU": "S" * 61}, "text_too_long", "SKU", "S" * 61),
    ({}, {"TaxRemittedBy": "Nobody"}, "unknown_code", "TaxRemittedBy", "Nobody"),
    ({"TotalAmount": 53_500}, {"Quantity": 0, "DiscountAmount": 0}, "out_of_range", "Quantity", "0"),
    ({}, {"TaxAmount": -67_500}, "out_of_range", "TaxAmount", "-6.75"),
    # totals
    ({"DiscountTotal": 100_100, "TotalAmount": 1_053_400}, {}, "discount_mismatch", "DiscountTotal", "0.01"),
    ({"TaxTotal": 73_400, "TotalAmount": 1_053_400}, {}, "tax_mismatch", "TaxTotal", "-0.01"),
    ({"TotalAmount": 1_053_400}, {}, "total_mismatch", "TotalAmount", "-0.01"),
    ({"TotalAmount": 2 * 10**17}, {}, "total_mismatch", "TotalAmount", "1799999999894.65"),
    ({"ShippingDiscountAmount": 90_000, "DiscountTotal": 190_000, "TotalAmount": 963_500}, {},
     "shipping_discount_too_high", "ShippingDiscountAmount", "9.00"),
    ({"DiscountTotal": 1_100_000, "TotalAmount": 53_500}, {"DiscountAmount": 1_100_000}, "discount_too_high",
     "DiscountAmount", "110.00"),
    # dates and codes
    ({"OrderDate": "1999-12-31T23:59:59Z"}, {}, "date_too_early", "OrderDate", "1999-12-31T23:59:59Z"),
    ({"OrderDate": "2011-01-11T01:00:00Z"}, {}, "date_in_future", "OrderDate", "2011-01-11T01:00:00Z"),
    ({"CurrencyCode": "QQQ"}, {}, "unknown_currency", "CurrencyCode", "QQQ"),
    ({"ShippingAddress.CountryCode": "QQ"}, {}, "unknown_country", "ShippingAddress.CountryCode", "QQ"),
    # what TIMS knows
    ({"customer_status": None}, {}, "unknown_customer", "CustomerID", "C-1"),
    ({"customer_status": "Inactive"}, {}, "inactive_customer", "CustomerID", "C-1"),
    ({}, {"item_status": None}, "unknown_sku", "SKU", "LAMP-OAK-01"),
    ({}, {"item_status": "Blocked"}, "blocked_item", "SKU", "LAMP-OAK-01"),
]  # fmt: skip


@pytest.fixture(scope="module")
def broken() -> pd.DataFrame:
    return judged([(header, item) for header, item, *_ in BROKEN])


@pytest.mark.parametrize("case", range(len(BROKEN)), ids=[f"{one[2]} {one[3]} {i}" for i, one in enumerate(BROKEN)])
def test_each_rule_names_the_row_the_field_and_the_value(broken: pd.DataFrame, case: int):
    _, item, rule, field, value = BROKEN[case]
    row = 2 * case + 1
    mine = broken[(broken["rule"] == rule) & (broken[ROW] == row)]
    assert mine[[ROW, "field", "value"]].values.tolist() == [[row, field, value]]
    assert mine["line"].tolist() == [str(row) if item and rule not in ("total_mismatch",) else ""]
    assert "{" not in mine["says"].iloc[0] + mine["do"].iloc[0]
    assert len(mine["do"].iloc[0]) > 20


def test_a_broken_order_makes_no_sound_one_beside_it_a_problem(broken: pd.DataFrame):
    assert set(broken[ROW]) == {2 * case + 1 for case in range(len(BROKEN))}


def test_what_is_allowed_at_the_edge_passes():
    headers: list[dict[str, Any]] = [
        {"customer_status": "new", "CustomerID": None},
        {"OrderDate": "2011-01-10T23:59:59Z"},
        {"OrderDate": "2000-01-01T00:00:00Z"},
        {"Notes": ""},
        {"ShippingAmount": 0, "TotalAmount": 973_500},
        {"PricesIncludeTax": True, "TotalAmount": 980_000},
        {"BillingAddress.Name": "Ada", "BillingAddress.Line1": "1 Elm St", "BillingAddress.City": "Leeds",
         "BillingAddress.CountryCode": "FR"},
        {"Channel": "é" * 40},
    ]  # fmt: skip
    assert judged([(header, {}) for header in headers])["says"].tolist() == []


def test_lines_that_are_allowed_at_the_edge_pass():
    items: list[dict[str, Any]] = [{"item_status": "Discontinued"}, {"SKU": "S" * 60}, {"KitParentSKU": "KIT"}]
    assert judged([({}, item) for item in items])["says"].tolist() == []


def test_unit_prices_of_four_places_round_once_per_line_half_away_from_zero():
    frames = orders(item={"Quantity": 3, "Price": 3_335, "DiscountAmount": 0, "TaxAmount": 0})  # 1.0005 -> 1.00
    frames.header.loc[1, ["DiscountTotal", "TaxTotal", "TotalAmount"]] = [0, 6_000, 80_000 + 6_000 + 10_000]
    assert run(frames)["says"].tolist() == []
    frames.lines.loc[1, "Price"] = 3_350  # 1.005 -> 1.01
    assert run(frames)["value"].tolist() == ["-0.01"]


def test_an_order_may_have_500_lines_and_no_more_and_no_less_than_one():
    assert run(orders(count=2, lines=500))["says"].tolist() == []
    assert run(orders(count=2, lines=501))["rule"].tolist() == ["too_many_lines"] * 2
    frames = orders()
    frames.lines = frames.lines[frames.lines[ROW] != 1].reset_index(drop=True)
    assert "no_lines" in run(frames)["rule"].tolist()


def test_keys_that_stand_twice_are_told_for_each_of_them():
    frames = orders(lines=2)
    frames.header.loc[2, "ExternalOrderID"] = "1001"
    frames.lines.loc[3, "ExternalLineID"] = "2"
    problems = run(frames)
    assert problems[problems["rule"] == "duplicate_order"][ROW].tolist() == [1, 2]
    assert problems[problems["rule"] == "duplicate_line"][[ROW, "line"]].values.tolist() == [[1, "2"], [1, "2"]]


def test_the_same_line_id_in_two_orders_is_no_duplicate():
    frames = orders()
    frames.lines["ExternalLineID"] = pd.Series(["1"] * 3, dtype="str")
    assert run(frames)["says"].tolist() == []


def test_all_reasons_of_a_row_come_together():
    problems = run(orders(header={"Channel": None, "CurrencyCode": "QQQ", "PaymentStatus": "x"}, item={"SKU": ""}))
    assert set(problems["rule"]) == {"missing_field", "unknown_currency", "unknown_code", "out_of_range"}


def test_amounts_beyond_what_int64_can_add_are_refused_and_never_wrap_around():
    problems = run(orders(item={"Quantity": 9_999_999, "Price": 10**17 - 1}))
    assert "total_mismatch" in problems["rule"].tolist()
    assert set(problems[ROW]) == {1}


def test_a_batch_without_orders_passes():
    problems, result = suites.run("sales_order", orders().keep([False] * 3), now=NOW)
    assert len(problems) == 0
    assert result["success"]


def test_a_kept_result_is_json_and_names_keys_but_no_values():
    frames = orders(header={"ShippingAddress.Name": "Zaphod Beeblebrox " * 4, "ShippingAddress.City": None})
    problems, result = suites.run("sales_order", frames, now=NOW)
    assert "Zaphod" in problems["value"].iloc[-1] + problems["value"].iloc[0]
    text = json.dumps(result)
    assert "Zaphod" not in text
    assert '"1001"' in text
    assert not result["success"]
    assert result["rejected"] == 1


def test_a_column_that_the_flow_should_add_is_asked_for_by_name():
    frames = orders()
    del frames.lines["item_status"]
    with pytest.raises(ConfigError, match="looks at the lines column 'item_status', which is not there"):
        suites.run("sales_order", frames, now=NOW)


def test_a_rule_that_cannot_be_run_stops_with_its_line_and_never_passes(tmp_path: Path):
    path = Path(shutil.copy(suites.folder_of_checks() / "sales_order.yaml", tmp_path))
    path.write_text(path.read_text("utf-8").replace("column: order_year", "column: Channel"), "utf-8")
    with pytest.raises(ConfigError, match=r"sales_order.yaml:\d+: the rule date_too_early could not be run: ."):
        suites.run("sales_order", orders(), now=NOW, folder=tmp_path)


# ---- the file --------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("column: line_count", "column: line_cout", "no column is called 'line_cout'; did you mean 'line_count'?"),
    ("shows: OrderDate", "shows: OrderDay", "no column is called 'OrderDay'; did you mean 'OrderDate'?"),
    (
        "value_set: currencies",
        "value_set: currency",
        "no set of codes is called 'currency'; did you mean 'currencies'?",
    ),
    ("expect: column_values_to_not_be_null", "expect: column_values_to_be_there", "there is no expectation"),
    ("min_value: 2000", "minimum: 2000", "column_values_to_be_between does not take this"),
    ("except: [CustomerID]", "except: [CustomerId]", "SalesOrderCreate has no field 'CustomerId'; did you mean"),
    ("target: LineItems", "target: Lines", "SalesOrderCreate has no list 'Lines'; did you mean 'LineItems'?"),
    ("target: tims SalesOrderCreate", "target: tims SalesOrder2", "has no schema 'SalesOrder2'"),
    ("    rule: no_lines\n", "", "this rule does not say its `rule`"),
    ("rule: no_lines", "rule: too_many_lines", "the rule 'too_many_lines' stands here a second time"),
    ("contract:\n", "contrct:\n", "a suite has no word 'contrct'; did you mean 'contract'?"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=[one[1] or one[0] for one in MISTAKES])
def test_each_mistake_in_a_checks_file_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str):
    path = Path(shutil.copy(suites.folder_of_checks() / "sales_order.yaml", tmp_path))
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    found = suites.check(path)
    assert any(message in one.message and one.line >= 1 for one in found), [str(one) for one in found]


def test_a_mistake_behind_one_of_another_kind_keeps_its_own_line(tmp_path: Path):
    path = Path(shutil.copy(suites.folder_of_checks() / "sales_order.yaml", tmp_path))
    text = path.read_text("utf-8").replace("    rule: no_lines\n", "", 1)
    text = text.replace("shows: OrderDate", "shows: OrderDay", 1)
    path.write_text(text, "utf-8")
    found = {one.message.partition(";")[0]: one.line for one in suites.check(path)}
    assert "this rule does not say its `rule`" in found
    assert found["no column is called 'OrderDay'"] == text[: text.index("shows: OrderDay")].count("\n") + 1


def test_a_wrong_suite_is_refused_before_it_judges_anything(tmp_path: Path):
    path = Path(shutil.copy(suites.folder_of_checks() / "sales_order.yaml", tmp_path))
    path.write_text(path.read_text("utf-8").replace("column: line_count", "column: line_cout"), "utf-8")
    with pytest.raises(ConfigError, match=r"sales_order.yaml:\d+: no column is called 'line_cout'"):
        suites.run("sales_order", orders(), folder=tmp_path)


# ---- Data Docs -------------------------------------------------------------------------------------------------------


def test_data_docs_of_kept_results_are_a_site_with_a_page_for_each(tmp_path: Path):
    kept = []
    for number, header in enumerate([{}, {"Channel": "x" * 41}]):
        result = suites.run("sales_order", orders(header=header), now=NOW)[1]
        kept.append(json.loads(json.dumps({**result, "batch": f"batch {number}", "at": NOW.isoformat()})))
    index = suites.build_data_docs(kept, tmp_path / "docs")
    assert index == tmp_path / "docs" / "index.html"
    assert "sales_order.head" in index.read_text("utf-8")
    pages = sorted((tmp_path / "docs" / "validations").rglob("*.html"))
    assert len(pages) == 4
    failed = next(page for page in pages if "batch 1" in str(page) and "head" in page.name).read_text("utf-8")
    assert "is longer than TIMS takes" in failed
    assert "1001" in failed
    assert "xxxxx" not in failed
