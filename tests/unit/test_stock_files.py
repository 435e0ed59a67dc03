"""Files of stock movements become records, each by its source's own number; what cannot be read says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pandas as pd
import pytest

from crossdock.errors import ConfigError
from crossdock.mapping import language
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.rules.movements import NOTHING, MovementContext, read_reasons, reason_codes
from crossdock.systems import stock_files
from crossdock.systems.inbox import File
from rules_examples import reference_data

MODIFIED = datetime(2011, 1, 10, tzinfo=UTC)
CSV = "Reference,OccurredAt,SKU,LocationID,Quantity,Reason,Memo\n"
LEDGER = (
    "Date\tFNSKU\tASIN\tMSKU\tTitle\tEvent Type\tReference ID\tQuantity\tFulfillment Center\tDisposition\tReason\t"
    "Country\n"
)


def records(text: str, source: str = "warehouse", name: str = "a.csv") -> list[dict[str, Any]]:
    return [msgspec.json.decode(one) for one in stock_files.read(File(source, name, text.encode(), MODIFIED))]


def event(kind: str, quantity: int, reason: str = "M", disposition: str = "SELLABLE", sku: str = "MUG") -> str:
    cells = ("05/01/2011", "X1", "B1", sku, "A mug", kind, "4711", str(quantity), "LTN1", disposition, reason, "GB")
    return "\t".join(cells) + "\n"


def test_a_row_of_our_own_file_is_one_movement_with_the_day_in_the_zone_of_its_source():
    (record,) = records(CSV + 'W-1,05/07/2011 09:30,MUG,MAIN,"-1,200",Damaged,"wet, all of it"\n')
    assert record == {
        "Source": "warehouse", "Reference": "W-1", "File": "a.csv", "FileModifiedAt": "2011-01-10T00:00:00Z",
        "OccurredAt": "2011-07-05T08:30:00Z", "SKU": "MUG", "LocationID": "MAIN", "Quantity": -1200,
        "Reason": "Damaged", "Memo": "wet, all of it", "FileDigest": record["FileDigest"],
    }  # fmt: skip
    assert stock_files.key(msgspec.json.encode(record)) == "warehouse/W-1"


def test_a_reference_that_stands_twice_is_refused_both_times_and_a_bad_date_once():
    row = ",05/07/2011,MUG,MAIN,-1,Damaged,\n"
    found = records(CSV + "W-1" + row + "W-1" + row + "W-2,someday,MUG,MAIN,-1,Damaged,\n" + row)
    assert [one.get("RefusedFor") for one in found] == [
        "ambiguous_reference", "ambiguous_reference", "unreadable_date", "ambiguous_reference",
    ]  # fmt: skip


def test_a_quantity_that_is_no_number_stays_as_it_is_written():
    assert records(CSV + "W-1,05/07/2011,MUG,MAIN,few,Damaged,\n")[0]["Quantity"] == "few"


def test_a_file_without_its_columns_is_one_refused_record_that_names_the_file():
    (record,) = records("Ref;Day\n1;2\n")
    assert record["Reference"] == "file:a.csv"
    assert record["RefusedFor"]
    assert record["RefusedSays"]


def test_of_the_ledger_adjustments_of_sellable_units_count_and_sales_and_returns_do_not():
    text = LEDGER + event("Adjustments", -2) + event("Shipments", -1, "") + event("CustomerReturns", 1, "")
    found = records(text + event("Adjustments", 2, "E", "WAREHOUSE_DAMAGED"), "amazon_uk", "ledger.txt")
    assert [(one["SKU"], one["Quantity"], one["Reason"], one["LocationID"]) for one in found] == [
        ("MUG", -2, "M", "MARKETPLACE"),
    ]  # fmt: skip
    assert found[0]["OccurredAt"] == "2011-01-05T12:00:00Z"  # a day alone is its noon


def test_the_same_ledger_row_has_the_same_number_in_every_file_and_identical_rows_have_two():
    twice = event("Adjustments", -1) * 2
    first = [one["Reference"] for one in records(LEDGER + twice, "amazon_uk", "one.txt")]
    again = [one["Reference"] for one in records(LEDGER + event("Adjustments", 3, "F") + twice, "amazon_uk", "two.txt")]
    assert len(set(first)) == 2
    assert again[1:] == first


def saved(text: str, delimiter: str, quotes: str, end: str, encoding: str) -> bytes:
    """A tab separated text as a program has saved it."""

    def cell(value: str, *, header: bool) -> str:
        every = quotes == "all" or (quotes == "cells" and not header)
        return f'"{value}"' if every or (delimiter != "\t" and delimiter in value) else value

    rows = [line.split("\t") for line in text.splitlines()]
    lines = [delimiter.join(cell(value, header=not n) for value in row) for n, row in enumerate(rows)]
    return (end.join(lines) + end).encode(encoding)


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("quotes", ["none", "all", "cells"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_alike_however_a_program_has_saved_it(delimiter: str, quotes: str, end: str, encoding: str):
    moved = event("Adjustments", -2) + event("Shipments", -1, "") + event("Adjustments", 3, "F", "DEFECTIVE")
    for text, source in (
        (LEDGER + moved, "amazon_uk"),
        ((CSV + "W-1,05/07/2011,MUG,MAIN,-1,Damaged,wet\n"), "warehouse"),
    ):
        tabbed = text if source == "amazon_uk" else text.replace(",", "\t")
        data = saved(tabbed, delimiter, quotes, end, encoding)
        found = [msgspec.json.decode(one) for one in stock_files.read(File(source, "a.csv", data, MODIFIED))]
        assert [one | {"FileDigest": ""} for one in found] == [
            one | {"FileDigest": ""} for one in records(text, source)
        ]
        assert [one["Quantity"] for one in found] == [-2 if source == "amazon_uk" else -1]


def test_a_file_in_which_nobody_knows_any_event_is_refused_and_never_a_quiet_day():
    (record,) = records(LEDGER + event("Anpassungen", -2) + event("Sendungen", -1), "amazon_de", "de.txt")
    assert (record["Reference"], record["RefusedFor"]) == ("file:de.txt", "unknown_words")
    assert "Anpassungen, Sendungen" in record["RefusedSays"]
    one_of_two = records(LEDGER + event("Adjustments", -2) + event("Sendungen", -1), "amazon_de", "de.txt")
    assert [one["Reason"] for one in one_of_two] == ["M", "Sendungen"]  # its reason is asked of the lookup
    assert records(LEDGER, "amazon_de")[0]["Reason"] == NOTHING


def test_units_of_a_disposition_that_nobody_knows_are_not_passed_over():
    (record,) = records(LEDGER + event("Adjustments", -2, disposition="VERKAUFBAR"), "amazon_uk")
    assert (record["RefusedFor"], record["Quantity"]) == ("unknown_disposition", -2)


def test_a_source_may_name_the_encoding_of_its_files_and_another_one_refuses_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path))
    (tmp_path / "stock.yaml").write_text("sources: {jp: {format: csv, zone: Asia/Tokyo, encoding: shift_jis}}")
    text = CSV + "W-1,2011-07-05,MUG,MAIN,-1,Damaged,破損\n"
    for data in (text.encode("shift_jis"), text.encode("utf-8-sig")):
        (record,) = [msgspec.json.decode(one) for one in stock_files.read(File("jp", "a.csv", data, MODIFIED))]
        assert record["Memo"] == "破損"
    windows = text.replace("破損", "髙島屋①").encode("cp932")  # what programs mean by Shift-JIS has more signs
    (record,) = [msgspec.json.decode(one) for one in stock_files.read(File("jp", "a.csv", windows, MODIFIED))]
    assert record["Memo"] == "髙島屋①"
    (record,) = [
        msgspec.json.decode(one)
        for one in stock_files.read(File("jp", "a.csv", CSV.encode() + b"\x81\xff\n", MODIFIED))
    ]
    assert record["RefusedFor"] == "wrong_encoding"
    (tmp_path / "stock.yaml").write_text("sources: {jp: {format: csv, zone: Asia/Tokyo, encoding: shift-jiss}}")
    with pytest.raises(ConfigError, match="no encoding 'shift-jiss'"):
        stock_files.load()


def test_a_file_without_a_movement_of_ours_is_a_record_that_says_so():
    (record,) = records(LEDGER + event("Shipments", -1, ""), "amazon_uk", "quiet.txt")
    assert (record["Quantity"], record["Reason"]) == (0, NOTHING)


def movements(**columns: list[Any]) -> pd.DataFrame:
    usual: dict[str, list[Any]] = {
        "Source": ["warehouse"], "Reference": ["W-1"], "SKU": ["MUG"], "OccurredAt": ["2011-01-05T12:00:00Z"],
        "Reason": ["Damaged"], "Memo": [None],
    }  # fmt: skip
    return pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in (usual | columns).items()})


PERIODS = pd.DataFrame(
    {"id": ["2010-12", "2011-01"], "start_date": ["2010-12-01", "2011-01-01"], "status": ["Closed", "Open"]}
)


def reported(header: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    from crossdock.rules import settings

    given = header.assign(RefusedFor=pd.Series([None], dtype="str"), Quantity=pd.Series([-1], dtype="Int64"))
    context = MovementContext(reference_data(), settings.load(), "Europe/London", PERIODS, read_reasons())
    made = language.load("stock_adjustment").plan.run(
        Frames(given, pd.DataFrame({ROW: [], LINE: []}, dtype="int64")), context
    )
    return made.frames.header.iloc[0].to_dict(), made.problems["rule"].tolist()


def test_an_item_is_found_as_on_orders_and_the_movement_keeps_its_number():
    columns, found = reported(movements(SKU=[" lmp-1 "]))
    assert found == []
    assert (columns["ItemSKU"], columns["ExternalReference"]) == ("LAMP", "mov:warehouse:W-1")
    assert (columns["ReasonCode"], columns["PostingDate"]) == ("Damage", "2011-01-05")


def test_a_blocked_item_may_be_written_off_and_an_unknown_one_is_named_with_the_nearest():
    assert reported(movements(SKU=["STOP"]))[1] == []
    assert reported(movements(SKU=["MUGG"]))[1] == ["unknown_sku"]


def test_a_day_of_a_closed_period_is_posted_on_the_first_open_one_and_the_memo_keeps_it():
    columns, _ = reported(movements(OccurredAt=["2010-12-30T12:00:00Z"], Memo=["wet"]))
    assert (columns["PostingDate"], columns["OriginalEventDate"]) == ("2011-01-01", "2010-12-30")
    assert columns["Note"] == "Happened on 2010-12-30. wet"


@pytest.mark.parametrize("moment", ["yesterday", ""])
def test_a_moment_that_is_none_is_a_problem_of_its_record_alone(moment: str):
    assert reported(movements(OccurredAt=[moment]))[1] == ["unreadable_date"]


def test_an_unknown_reason_is_a_problem_with_the_nearest_and_a_listed_one_may_be_left_out():
    codes, found = reason_codes(movements(Reason=["Damagde"]), read_reasons())
    assert codes.isna().all()
    assert found["rule"].tolist() == ["unknown_reason"]
    assert "The nearest is Damage" in found["says"].iloc[0]
    assert reason_codes(movements(Reason=["Receipts"]), read_reasons())[0].tolist() == ["-"]


@pytest.mark.parametrize(
    ("text", "quantity"),
    [("-1", -1), ("+3", 3), ("1,000", 1000), ("-12,345", -12345), ("-1.0", -1), ("\u22121", -1),
     ("1,5", "1,5"), ("1,0", "1,0"), ("-1.5", "-1.5"), ("1e3", "1e3"), ("12,34,567", "12,34,567")],
)  # fmt: skip
def test_a_quantity_is_a_whole_number_or_stays_as_it_is_written(text: str, quantity: int | str):
    (record,) = records(CSV + f'W-1,05/07/2011,MUG,MAIN,"{text}",Damaged,\n')
    assert record["Quantity"] == quantity
