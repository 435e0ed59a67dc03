"""CSV files that people edit are read in one way: every mistake at once, with its line and the nearest right name."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from crossdock import config
from crossdock.config import Day, Percent, SiteCell, Struct, Text
from crossdock.errors import ConfigError
from crossdock.mapping import language
from crossdock.settings import PROJECT
from crossdock.watch import configuration

SHIPPED = PROJECT / "include" / "config" / "lookups"
# A struct says what the rows of these must be; other lookups are what the mapping needs that names them.
HELD = {"taxes", "item_codes", "countries", "regions", "stock_rules", "price_rules", "promotions", "exchange_rates"}
TABLES = sorted({*configuration.TABLES, *HELD})
HEADER = "name,from,kind,rate,site,at\n"


class Row(Struct, frozen=True, kw_only=True):
    name: Text
    start: Day = msgspec.field(name="from")
    kind: Literal["large", "small"] = "small"
    rate: Percent | None = None
    site: SiteCell | None = None
    at: Annotated[datetime, Meta(tz=False, description="a moment without a zone")] | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.rate is not None and self.rate > 100:
            yield "rate", f"the rate {self.rate} is above 100"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def found(path: Path, text: str) -> list[str]:
    path.write_text(text, "utf-8")
    return [f"{one.line}: {one.message}" for one in config.read_csv(path, Row, keys=2).findings]


def test_a_cell_is_what_its_column_says_and_an_empty_one_the_default(path: Path):
    path.write_bytes(
        "\ufeff# a remark\r\n\r\nname,from,kind,rate,site,at\r\n"
        '"A, B",2011-01-31,large,12.50%,641,2011-02-01T09:00\r\n é , 2011-01-31 ,,,,\r\n'.encode()
    )
    table = config.load_csv(path, Row, keys=2)
    assert list(table.rows.values()) == [
        Row(name="A, B", start=date(2011, 1, 31), kind="large", rate=Decimal("12.50"), site=641,
            at=datetime(2011, 2, 1, 9)),
        Row(name="é", start=date(2011, 1, 31)),
    ]  # fmt: skip
    assert dict(table.lines) == {"A, B / 2011-01-31": 4, "é / 2011-01-31": 5}
    assert config.load_csv(path, Row, keys=2) is table


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_lines(path: Path):
    rows = "A,2011-01-31,big,,,\n,2011-01-31,,,,\nB,31.1.2011,,x,amazon,2011-01-01T00:00Z\nC,2011-01-31,,120,,\nD,,\n"
    path.write_text(HEADER + rows + "A,2011-01-31,,,,\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load_csv(path, Row, keys=2)
    lines = [one.removeprefix(f"{path}:") for one in caught.value.message.splitlines()]
    assert [one.partition(": ")[0] for one in lines] == ["2", "3", "4", "4", "4", "4", "5", "6", "7"]
    assert "kind is 'big'; write one of large, small" in lines[0]
    assert "name is empty; write a text" in lines[1]
    assert "from: '31.1.2011' is no day; write a day such as 2011-01-31" in lines[2]
    assert "rate is 'x'; write a percentage" in lines[3]
    assert "'amazon' is no SiteID; write the number of the site" in lines[4]
    assert "at is '2011-01-01T00:00Z'; write a moment without a zone" in lines[5]
    assert "the rate 120 is above 100" in lines[6]
    assert "3 values for 6 columns" in lines[7]
    assert "'A / 2011-01-31' stands here a second time, first in line 2; remove one of the rows" in lines[8]


def test_a_header_is_told_with_the_nearest_right_name(path: Path):
    (only,) = found(path, "# remark\nname,form,kind,rate,site,at\nA,2011-01-31,,,,\n")
    assert only == "2: the header must be name,from,kind,rate,site,at; 'form' is none; did you mean 'from'?"
    (only,) = found(path, "from,name,kind,rate,site,at\n")
    assert only == "1: the header must be name,from,kind,rate,site,at"


def test_a_value_that_is_nearly_right_is_told_what_is_right(path: Path):
    assert found(path, f"{HEADER}A,2011-01-31,larg,,,\n") == [
        "2: kind is 'larg'; did you mean 'large'? It is one of large, small"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# only remarks\n", "is empty"),
        (b"name\n\xff\n", "rows.csv:2: this is not UTF-8"),
        (None, "is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(path: Path, content: bytes | None, message: str):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        config.read_csv(path, Row)


def test_a_quote_that_is_not_closed_is_told_with_its_line(path: Path):
    (only, *_) = found(path, f'{HEADER}"A,2011-01-31,,,,\nB,2011-01-31,,,,\n')
    assert only.startswith("2: a quote is opened and not closed")


# ---- the shipped files ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(SHIPPED.parent, tmp_path / "config")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config" / "lookups"


def header_at(lines: list[str]) -> int:
    return next(number for number, one in enumerate(lines) if one.strip() and not one.startswith("#"))


def reported(name: str, line: int) -> bool:
    """Whether `crossdock check` reports it: the part that looks at the file, where it has one, else any part."""
    file = f"lookups/{name}"
    found = configuration.check_file(file) if file in configuration.parts() else configuration.check()
    return any(f"{name}:{line}: " in one for one in found)


def test_every_lookup_is_looked_at_by_a_struct_or_by_the_mapping_that_names_it():
    mappings = [language.load(name) for name in language.all_names()]
    named = {one.lookup.partition(".")[0] for table in mappings for one in table.every_field if one.lookup}
    assert {one.stem for one in SHIPPED.glob("*.csv")} <= {*TABLES, *named}


@pytest.mark.parametrize("table", TABLES)
def test_each_shipped_table_is_held_to_its_columns_and_cells(folder: Path, table: str):
    """A misspelt column, a missing cell, a row that stands twice, and a row of empty cells, each with its line."""
    name = f"{table}.csv"
    path = folder / name
    lines = path.read_text("utf-8").splitlines()
    at = header_at(lines)
    columns = next(csv.reader([lines[at]]))

    def written(*rows: str, header: str = lines[at]) -> None:
        path.write_text("\n".join([*lines[:at], header, *rows]) + "\n", "utf-8")

    written(header=lines[at].replace(columns[0], f"{columns[0]}s", 1))
    assert reported(name, at + 1)
    written("x")
    assert reported(name, at + 2)
    written("," * (len(columns) - 1))
    assert reported(name, at + 2)
    if rows := [one for one in lines[at + 1 :] if one and not one.startswith("#")]:
        written(*lines[at + 1 :], rows[0])
        assert reported(name, len(lines) + 1)


def test_the_shipped_tables_have_no_mistake(folder: Path):
    assert configuration.check() == []
