"""Rows of a CSV file are changed as its text: what nobody has touched stays, byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock import config
from crossdock.config import grid
from crossdock.config.grid import RowChange
from crossdock.errors import ConfigError
from crossdock.settings import base_dir

LOOKUPS = sorted((base_dir() / "lookups").glob("*.csv"))
COLUMNS = ("a", "b", "c")
# What a cell may hold; the reader takes blanks around it away, and every line break ends a row.
CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12).map(
    lambda text: " ".join(text.split())
)
ROWS = st.tuples(CELLS, CELLS, CELLS)
ENDS = st.sampled_from(["\n", "\r\n"])


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[int]]:
    """A file with remarks, empty lines and rows written in all ways, and the lines of its rows."""
    end = draw(ENDS)
    lines = [*draw(st.lists(st.sampled_from(["# a remark", "", "  #,odd"]), max_size=3)), "a,b,c"]
    rows = []
    for cells in draw(st.lists(ROWS, max_size=8)):
        lines += draw(st.lists(st.sampled_from(["# between", "", "   "]), max_size=2))
        written = grid.written(cells, COLUMNS)
        lines.append(draw(st.sampled_from([written, '"x", y,  z', "x,y,z   "])))
        rows.append(len(lines))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return draw(st.sampled_from(["", grid.BOM])) + text, rows


@given(files(), st.data())
def test_only_touched_lines_change(file: tuple[str, list[int]], data: st.DataObject) -> None:
    text, rows = file
    before = grid.read(text)
    assert [row.line for row in before.rows] == rows
    touched = data.draw(st.lists(st.sampled_from(rows), unique=True)) if rows else []
    changes = [RowChange(line, data.draw(st.one_of(st.none(), ROWS))) for line in touched]
    added = data.draw(st.lists(ROWS, max_size=3))
    after = grid.changed(text, [*changes, *(RowChange(0, cells) for cells in added)])
    gone = {one.line: one.cells for one in changes}
    expected = [
        tuple(cells) if (cells := gone.get(row.line, row.cells)) is not None else None
        for row in before.rows
    ]  # fmt: skip
    assert [row.cells for row in grid.read(after).rows] == [one for one in expected if one is not None] + added
    if not added:
        kept = [line for n, line in enumerate(text.splitlines(keepends=True), 1) if n not in gone]
        left = after.splitlines(keepends=True)
        changed = {n for n, cells in gone.items() if cells is not None}
        assert len(left) == len(kept) + len(changed)
        assert [line for line in left if line in kept] == [one for one in left if one in kept]
        assert not set(kept) - set(left)


@given(files())
def test_a_file_that_nobody_changes_stays_as_it_is(file: tuple[str, list[int]]) -> None:
    text, _ = file
    same = [RowChange(row.line, row.cells) for row in grid.read(text).rows]
    assert grid.changed(text, same) == text


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_what_is_written_is_what_is_read(rows: list[tuple[str, str, str]]) -> None:
    text = grid.changed("a,b,c\n", [RowChange(0, cells) for cells in rows])
    assert [row.cells for row in grid.read(text).rows] == rows


@pytest.mark.parametrize("path", LOOKUPS, ids=lambda path: path.stem)
def test_the_grid_of_every_lookup_is_what_runs_read(path: Path) -> None:
    text = path.read_bytes().decode()
    shown = grid.read(text)
    table = config.read_csv(path, dict, keys=min(4, len(shown.columns)))
    assert shown.columns == table.columns
    assert [dict(zip(shown.columns, row.cells, strict=True)) for row in shown.rows] == list(table.rows.values())
    assert [row.line for row in shown.rows] == list(table.lines.values())
    assert grid.changed(text, [RowChange(row.line, row.cells) for row in shown.rows]) == text


def test_a_row_is_added_behind_the_one_that_is_named() -> None:
    text = "a,b\r\n1,2\r\n# of three\r\n3,4"
    assert grid.changed(text, [RowChange(0, ("x", "y"), after=2)]) == "a,b\r\n1,2\r\nx,y\r\n# of three\r\n3,4"
    assert grid.changed(text, [RowChange(0, ("x", "y"))]) == "a,b\r\n1,2\r\n# of three\r\n3,4\r\nx,y"
    assert grid.changed("a,b", [RowChange(0, ("x", "y"))]) == "a,b\nx,y"


def test_a_row_that_looks_like_a_remark_stays_a_row() -> None:
    text = grid.changed("a,b\n", [RowChange(0, ("#1", "x")), RowChange(0, ("", "#"))])
    assert [row.cells for row in grid.read(text).rows] == [("#1", "x"), ("", "#")]


@pytest.mark.parametrize("cell", ["two\nlines", "a\u2028b", "a\x0bb", "nul\0", "x" * 2_001])
def test_a_cell_that_no_line_can_hold_is_refused(cell: str) -> None:
    with pytest.raises(ConfigError, match="b has"):
        grid.changed("a,b\n", [RowChange(0, ("1", cell))])


@pytest.mark.parametrize("change", [RowChange(1, ("x", "y")), RowChange(9, None), RowChange(0, ("x", "y"), 9)])
def test_a_row_that_is_not_there_is_refused(change: RowChange) -> None:
    with pytest.raises(ConfigError, match="no row in line"):
        grid.changed("a,b\n1,2\n", [change])


def test_a_broken_row_is_shown_and_can_be_mended() -> None:
    text = 'a,b\n1,2\n"open,3\n1,2,3\n'
    assert [(row.cells, row.broken) for row in grid.read(text).rows] == [
        (("1", "2"), False), (('"open,3',), True), (("1", "2", "3"), True),
    ]  # fmt: skip
    mended = grid.changed(text, [RowChange(3, ("open", "3")), RowChange(4, None)])
    assert mended == "a,b\n1,2\nopen,3\n"


def test_five_thousand_rows_are_quick() -> None:
    text = "# remarks\na,b,c\n" + "".join(f"{n},x,y\n" for n in range(5_000))
    changes = [RowChange(n, (str(n), "changed", "z")) for n in range(3, 5_003)]
    assert len(grid.read(grid.changed(text, changes)).rows) == 5_000
