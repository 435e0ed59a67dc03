"""CSV files as grids: rows with their lines, and changes of single rows that leave every other byte as it is.

In: the text of a file, changes of rows. Out: a `Grid`; the text with these changes and no other. Never: a remark lost;
a line rewritten that nobody has touched; a cell that would be read otherwise than it was written.

Rows are found as `config.tables` finds them: one a line, remarks (#) and empty lines aside.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from crossdock.errors import ConfigError

BOM = "\ufeff"
MOST_CELL = 2_000  # characters of one cell


@dataclass(frozen=True)
class Row:
    """One row, or a line that cannot be one: then its only cell is the line as it stands. `line`: from 1."""

    line: int
    cells: tuple[str, ...]
    broken: bool = False


@dataclass(frozen=True)
class Grid:
    """A file as rows. `help`: the remarks above the header, without their #."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    help: str
    header_line: int = 0


@dataclass(frozen=True)
class RowChange:
    """A change of one row. `line`: the row as it is now; 0: a new one at the end. `cells` None: the row goes."""

    line: int
    cells: tuple[str, ...] | None
    after: int = 0  # of a new row: the line of the row that it stands behind; 0: the last one


def read(text: str) -> Grid:
    """The rows of a text. What is wrong with them is the business of `config.read_csv`."""
    columns: tuple[str, ...] = ()
    rows: list[Row] = []
    help: list[str] = []
    header_line = 0
    for number, line in enumerate(_lines(text), 1):
        bare = _bare(line).lstrip(BOM) if number == 1 else _bare(line)
        if not bare.strip():
            continue
        if bare.lstrip().startswith("#"):
            if not columns:
                help.append(bare.lstrip().removeprefix("#").removeprefix(" "))
            continue
        cells = _cells(bare)
        if not columns:
            columns, header_line = cells or (bare,), number
        elif cells is None:
            rows.append(Row(number, (bare,), True))
        else:
            rows.append(Row(number, cells, len(cells) != len(columns)))
    return Grid(columns, tuple(rows), "\n".join(help), header_line)


def changed(text: str, changes: Sequence[RowChange]) -> str:
    """The text with these rows changed, added or gone. Raises ConfigError for a row that is not there, or for cells
    that a line cannot hold."""
    if not changes:
        return text
    grid = read(text)
    if not grid.columns:
        raise ConfigError("The file has no header, so it has no rows.", do="Write its text, beginning with a header.")
    present = {row.line: row for row in grid.rows}
    lines = _lines(text)
    end = _end(lines)
    by_line: dict[int, RowChange] = {}
    behind: dict[int, list[str]] = {}
    for one in changes:
        if one.line == 0:
            at = one.after or (grid.rows[-1].line if grid.rows else grid.header_line)
            if at not in present and at != grid.header_line:
                raise ConfigError(f"There is no row in line {at} to stand behind.", do="Load the page again.")
            behind.setdefault(at, []).append(written(one.cells or (), grid.columns) + end)
        elif one.line not in present or one.line in by_line:
            raise ConfigError(f"There is no row in line {one.line} to change.", do="Load the page again.")
        else:
            by_line[one.line] = one
    made: list[str] = []
    for number, line in enumerate(lines, 1):
        change = by_line.get(number)
        if change is None or (change.cells is not None and _same(change.cells, present[number])):
            made.append(line)
        elif change.cells is not None:
            made.append(written(change.cells, grid.columns) + line[len(_bare(line)) :])
        if number in behind:
            if made and number == len(lines) and made[-1] and not _ended(made[-1]):
                made[-1] += end
                behind[number][-1] = behind[number][-1].removesuffix(end)
            made += behind[number]
    return "".join(made)


def written(cells: Sequence[str], columns: Sequence[str]) -> str:
    """One row as a line, without its end. Raises ConfigError for a cell that no line can hold."""
    if len(cells) != len(columns):
        raise ConfigError(
            f"The row has {len(cells)} cells, the file has {len(columns)} columns.", do="Give a cell for each column."
        )
    clean = [cell.strip() for cell in cells]
    for name, cell in zip(columns, clean, strict=True):
        if len(cell.splitlines()) > 1 or _bare(cell) != cell:
            raise ConfigError(f"{name} has several lines.", do="Write it in one line.")
        if "\0" in cell:
            raise ConfigError(f"{name} has the character U+0000, which no file can hold.", do="Remove it.")
        if len(cell) > MOST_CELL:
            raise ConfigError(f"{name} has {len(cell):,} characters, {MOST_CELL:,} are allowed.", do="Shorten it.")
    line = _joined(clean, csv.QUOTE_MINIMAL)
    if line.lstrip().startswith(("#", BOM)) or not line.strip():  # would be a remark, or nothing
        line = _joined(clean, csv.QUOTE_ALL)
    if _cells(line) != tuple(clean):
        raise ConfigError("The row cannot be written as a line of a CSV file.", do="Remove unusual characters.")
    return line


def _joined(cells: Sequence[str], quoting: int) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="", quoting=quoting).writerow(cells)  # type: ignore[arg-type]
    return out.getvalue()


def _same(cells: Sequence[str], row: Row) -> bool:
    return tuple(cell.strip() for cell in cells) == tuple(cell.strip() for cell in row.cells)


def _cells(line: str) -> tuple[str, ...] | None:
    """The cells of a line; None where a quote is not closed."""
    try:
        (cells,) = csv.reader(io.StringIO(line), strict=True)
    except (csv.Error, ValueError):
        return None
    return tuple(cell.strip() for cell in cells)


def _lines(text: str) -> list[str]:
    """Lines with their ends, as `config.tables` tells them apart."""
    return text.splitlines(keepends=True)


def _bare(line: str) -> str:
    """A line without its end."""
    parts = line.splitlines()
    return parts[0] if parts else ""


def _ended(line: str) -> bool:
    return len(_bare(line)) < len(line)


def _end(lines: Sequence[str]) -> str:
    """How lines of the file end."""
    first = next((line for line in lines if _ended(line)), "\n")
    end = first[len(_bare(first)) :]
    return end if end in ("\n", "\r\n", "\r") else "\n"
