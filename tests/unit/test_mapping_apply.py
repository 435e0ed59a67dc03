"""Running a table on frames: values, and problems for what cannot be turned."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crossdock.errors import ConfigError
from crossdock.mapping import language, lookups, problems
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.frames import LINE, ROW, Frames, count_by_header, scaled, sum_by_header, written

TABLE = """
mapping: a small order
source: channel_advisor Order
target: tims SalesOrderCreate
fields:
{fields}
children:
  target: LineItems
  from: OrderItems
  key: ExternalLineID
  fields:
    - {{target: ExternalLineID, from: OrderItemID, convert: to text}}
    - {{target: SKU, from: SKU, convert: trim}}
    - {{target: Quantity, from: Quantity}}
    - {{target: Price, from: UnitPrice}}
    - {{target: TaxAmount, from: TaxAmount, default: "0.00"}}
    - {{target: TaxRemittedBy, from: head.TaxRemittedBy}}
"""


def mapping(folder: Path, *fields: str) -> language.Mapping:
    """A mapping with these fields; required ones may be absent, for it is not checked."""
    (folder / "mappings").mkdir(exist_ok=True)
    path = folder / "mappings" / "small.yaml"
    path.write_text(TABLE.format(fields="\n".join(f"  - {{{one}}}" for one in fields)), "utf-8")
    return language.read(path)


def text(*values: str | None) -> pd.Series:
    return pd.Series(list(values), dtype="str")


def whole(*values: int | None) -> pd.Series:
    return pd.Series(list(values), dtype="Int64")


def frames(**header: pd.Series) -> Frames:
    """Two documents, the second with two lines."""
    header.setdefault("TaxRemittedBy", text("Seller", "Marketplace"))
    lines = pd.DataFrame(
        {
            ROW: pd.Series([0, 1, 1], dtype="int64"),
            LINE: pd.Series([0, 0, 1], dtype="int64"),
            "OrderItemID": whole(7, 8, 9),
            "SKU": text(" A ", "B", "C"),
            "Quantity": whole(1, 2, 3),
            "UnitPrice": whole(12_345, 10_000, 0),
            "TaxAmount": whole(None, 100, 0),
        }
    )
    return Frames(pd.DataFrame(header), lines)


def test_lines_are_turned_in_their_order_with_values_of_their_document(tmp_path: Path):
    made, found = mapping(tmp_path, "target: Notes, from: SellerOrderID").turn(frames(SellerOrderID=text("x", None)))
    assert made.lines["ExternalLineID"].tolist() == ["7", "8", "9"]
    assert made.lines["SKU"].tolist() == ["A", "B", "C"]
    assert made.lines["TaxRemittedBy"].tolist() == ["Seller", "Marketplace", "Marketplace"]
    assert made.lines[[ROW, LINE]].values.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert list(made.lines.columns)[2:] == ["ExternalLineID", "SKU", "Quantity", "Price", "TaxAmount", "TaxRemittedBy"]
    assert len(found) == 0


def test_a_default_stands_in_for_what_is_missing_and_never_for_zero_or_empty(tmp_path: Path):
    table = mapping(
        tmp_path,
        'target: ShippingAmount, from: TotalShippingPrice, default: "4.99"',
        "target: Notes, from: A, default: x",
    )
    made, _ = table.turn(frames(TotalShippingPrice=whole(None, 0), A=text(None, "")))
    assert made.header["ShippingAmount"].tolist() == [49_900, 0]
    assert made.header["Notes"].tolist() == ["x", ""]
    assert made.lines["TaxAmount"].tolist() == [0, 100, 0]


def test_the_first_given_of_several_sources_counts_and_empty_text_is_given(tmp_path: Path):
    table = mapping(tmp_path, "target: Notes, from: [A, B]")
    made, _ = table.turn(frames(A=text(None, ""), B=text("b", "b")))
    assert made.header["Notes"].tolist() == ["b", ""]


def test_constants_have_the_type_of_their_target(tmp_path: Path):
    table = mapping(
        tmp_path, "target: Source, constant: X", 'target: GiftWrapAmount, constant: "1.50"',
        "target: PricesIncludeTax, constant: no",
    )  # fmt: skip
    made, _ = table.turn(frames())
    assert made.header["Source"].tolist() == ["X", "X"]
    assert made.header["GiftWrapAmount"].tolist() == [15_000, 15_000]
    assert made.header["PricesIncludeTax"].tolist() == [False, False]
    assert [str(kind) for kind in made.header.dtypes] == ["str", "Int64", "boolean"]


def test_a_required_value_that_is_missing_is_a_problem_that_names_the_source(tmp_path: Path):
    table = mapping(tmp_path, "target: CurrencyCode, from: Currency", "target: CustomerID, from: C, required: later")
    _, found = table.turn(frames(Currency=text("GBP", None), C=text(None, None)))
    assert found[[ROW, "field", "rule", "says"]].values.tolist() == [
        [1, "Currency", "missing_field", "Currency is missing; TIMS needs it as CurrencyCode."]
    ]


def test_a_line_without_its_required_value_is_named_by_its_id(tmp_path: Path):
    given = frames()
    given.lines["SKU"] = text("A", None, "C")
    _, found = mapping(tmp_path).turn(given)
    assert found[[ROW, "line", "field", "rule"]].values.tolist() == [[1, "8", "OrderItems.SKU", "missing_field"]]


def test_an_optional_object_must_be_whole_once_a_part_of_it_is_given(tmp_path: Path):
    table = mapping(
        tmp_path, "target: BillingAddress.City, from: BillingAddress.City",
        "target: BillingAddress.Line2, from: BillingAddress.Line2",
    )  # fmt: skip
    given = frames(**{"BillingAddress.City": text(None, None), "BillingAddress.Line2": text(None, "floor 2")})
    _, found = table.turn(given)
    assert found[[ROW, "field"]].values.tolist() == [[1, "BillingAddress.City"]]


def test_a_code_that_the_lookup_does_not_know_is_a_problem_and_no_second_one(tmp_path: Path):
    (tmp_path / "lookups").mkdir()
    (tmp_path / "lookups" / "pay.csv").write_text("from,to\nCleared,Paid\n,Unpaid\n", "utf-8")
    table = mapping(tmp_path, "target: PaymentStatus, from: PaymentStatus, lookup: pay")
    made, found = table.turn(frames(PaymentStatus=text("Cleared", "Barter")))
    assert made.header["PaymentStatus"].isna().tolist() == [False, True]
    assert found[[ROW, "field", "rule", "value"]].values.tolist() == [[1, "PaymentStatus", "not_in_lookup", "Barter"]]
    assert found["says"].iloc[0] == 'PaymentStatus is "Barter", which the table pay does not know.'
    made, found = table.turn(frames(PaymentStatus=text("", None)))
    assert made.header["PaymentStatus"].tolist()[0] == "Unpaid"
    assert found["rule"].tolist() == ["missing_field"]


def test_a_missing_code_gets_the_default_only_where_the_table_says_so(tmp_path: Path):
    (tmp_path / "lookups").mkdir()
    (tmp_path / "lookups" / "pay.csv").write_text("from,to\nCleared,Paid\n", "utf-8")
    table = mapping(
        tmp_path, "target: PaymentStatus, from: PaymentStatus, lookup: pay, missing: default, default: Unpaid"
    )
    made, found = table.turn(frames(PaymentStatus=text("Cleared", "Barter")))
    assert made.header["PaymentStatus"].tolist() == ["Paid", "Unpaid"]
    assert len(found) == 0


def test_a_third_decimal_of_an_amount_is_a_problem_and_a_unit_price_may_have_four(tmp_path: Path):
    table = mapping(tmp_path, "target: TotalAmount, from: TotalPrice")
    made, found = table.turn(frames(TotalPrice=whole(12_000_000, 129_950)))
    assert found[[ROW, "rule", "value"]].values.tolist() == [[1, "third_decimal", "12.995"]]
    assert made.lines["Price"].iloc[0] == 12_345


def test_what_the_rules_have_explained_is_not_told_again(tmp_path: Path):
    table = mapping(
        tmp_path, "target: ShippingAddress.CountryCode, from: ShipTo.CountryCode, rule: harmonise_addresses"
    )
    given = frames(**{"ShipTo.CountryCode": text(None, None)})
    output = problems.make([1], field="ShippingAddress.Country", rule="country_unknown", message="Narnia", do="Add it.")
    _, found = table.turn(given, explained=output)
    assert found[ROW].tolist() == [0]


def test_a_column_that_a_rule_should_have_added_is_asked_for_by_name(tmp_path: Path):
    table = mapping(tmp_path, "target: Notes, from: Notes, rule: order_document")
    with pytest.raises(ConfigError, match="'Notes', which is not there: the rule order_document has not"):
        table.turn(frames())


def test_a_column_of_another_type_is_refused_and_never_turned_in_silence(tmp_path: Path):
    table = mapping(tmp_path, "target: TotalAmount, from: TotalPrice")
    with pytest.raises(ConfigError, match="TotalAmount is Int64, but what arrives is a column of float64"):
        table.turn(frames(TotalPrice=pd.Series([1.5, 2.0])))


def test_empty_frames_give_empty_frames_with_all_columns(tmp_path: Path):
    given = frames(TotalPrice=whole(1, 2))
    empty = given.keep([False, False])
    made, found = mapping(tmp_path, "target: TotalAmount, from: TotalPrice").turn(empty)
    assert list(made.header.columns) == ["TotalAmount"]
    assert len(made.lines) == len(found) == 0


# ---- converters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "argument", "given", "wanted"),
    [
        ("to text", None, whole(0, 42, None), ["0", "42", None]),
        ("to whole number", None, text("0", "-7", "", "x", "9" * 30, None), [0, -7, None, None, None, None]),
        ("to amount", None, text("0", "12.99", "1e2", "1.00001", "", "x", "NaN", None),
         [0, 129_900, 1_000_000, None, None, None, None, None]),
        ("to amount", None, whole(0, 3, None), [0, 30_000, None]),
        ("trim", None, text("", "  ", " a b ", None), ["", "", "a b", None]),
        ("upper case", None, text("", "straße", None), ["", "STRASSE", None]),
        ("lower case", None, text("", "ÀB", None), ["", "àb", None]),
        ("empty to null", None, text("", " ", None), [None, " ", None]),
        ("null to zero", None, whole(0, 5, None), [0, 5, 0]),
        ("shorten to", 8, text("", "12345678", "one two three", "unbroken!", None),
         ["", "12345678", "one two…", "unbroke…", None]),
        ("begin with", "CA-", text("", "1", None), ["CA-", "CA-1", None]),
        ("to microseconds", None, text("2011-01-04T10:00:00.9999999Z", "2011-01-04T10:00:00Z", None),
         ["2011-01-04T10:00:00.999999Z", "2011-01-04T10:00:00Z", None]),
        ("to date in", "Europe/London", text("2011-06-30T23:30:00Z", "2011-01-31T23:59:59.9999999Z", "soon", None),
         ["2011-07-01", "2011-01-31", None, None]),
        ("round to cents", None, whole(12_349, 12_350, 12_351, -12_350, 0, None),
         [12_300, 12_400, 12_400, -12_400, 0, None]),
        ("turn sign", None, whole(5, 0, -5, None), [-5, 0, 5, None]),
    ],
)  # fmt: skip
def test_each_converter_keeps_its_word_on_null_zero_and_empty(
    name: str, argument: object, given: pd.Series, wanted: list
):
    made = CONVERTERS[name](given, argument)
    assert [None if value is pd.NA or value != value else value for value in made.tolist()] == wanted
    assert made.index.equals(given.index)


def test_every_converter_says_what_it_does_with_null():
    assert [name for name, one in CONVERTERS.items() if "ull " not in one.docstring] == []


def test_a_value_that_a_converter_cannot_read_is_a_problem(tmp_path: Path):
    table = mapping(tmp_path, "target: TotalAmount, from: A, convert: to amount")
    _, found = table.turn(frames(A=text("12.99", "twelve")))
    assert found[[ROW, "rule", "value"]].values.tolist() == [[1, "cannot_convert", "twelve"]]


# ---- frames and lookups --------------------------------------------------------------------------------------------


def test_sums_and_counts_by_document_leave_empty_ones_at_zero():
    given = Frames(pd.DataFrame(index=range(4)), pd.DataFrame({ROW: [0, 0, 2], LINE: [0, 1, 0]}))
    assert sum_by_header(given, whole(1, None, 5)).tolist() == [1, 0, 5, 0]
    assert count_by_header(given).tolist() == [2, 0, 1, 0]


def test_kept_documents_are_numbered_anew_with_their_lines():
    kept = frames(A=text("a", "b")).keep([False, True])
    assert kept.header["A"].tolist() == ["b"]
    assert kept.lines[[ROW, "SKU"]].values.tolist() == [[0, "B"], [0, "C"]]


@pytest.mark.parametrize(
    ("amount", "words"), [(0, "0.00"), (129_900, "12.99"), (129_950, "12.995"), (-1, "-0.0001"), (100, "0.01")]
)
def test_amounts_are_written_with_two_to_four_places_and_read_back(amount: int, words: str):
    assert written(amount) == words
    assert scaled(words) == amount


def test_a_lookup_is_read_again_when_its_file_changes(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("# remark\nfrom,to\na,1\n", "utf-8")
    assert lookups.read("t", tmp_path).values(text("a", "b", None)).tolist()[0] == "1"
    path.write_text("from,to\na,2\nb,\n", "utf-8")
    values = lookups.read("t", tmp_path).values(text("a", "b", None, "c"))
    assert values.isna().tolist() == [False, False, True, True]
    assert values.tolist()[:2] == ["2", ""]


def test_a_value_in_a_problem_is_cut_and_its_braces_are_left_alone():
    found = problems.make([3], field="F", rule="r", value="{do}" + "x" * 300, message="{field}: {value}", do="{line}?")
    assert len(found["value"].iloc[0]) == problems.LONGEST_VALUE
    assert found["says"].iloc[0].startswith("F: {do}xxx")
    assert list(found.columns) == list(problems.COLUMNS)
    assert problems.concat([problems.empty(), found])["_row"].tolist() == [3]
