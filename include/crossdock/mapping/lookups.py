"""Reads lookup tables: CSV files in which an analyst translates codes.

In: `include/config/lookups/<name>.csv`: a header row, then one row per code; lines that begin with # are remarks.
The first column is the key, or the first few together. Out: a `Lookup`, kept until its file changes. Never: two answers
for one key, a guess.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from crossdock.config.suggest import nearest
from crossdock.errors import ConfigError
from crossdock.settings import config_dir

BESIDE = " / "  # between the parts of a key of several columns


@dataclass(frozen=True)
class Lookup:
    """One table. `rows` maps a key to its row, {column: text}; "" in a cell is the empty text. The parts of a key of
    several columns are joined by BESIDE. `lines`: where each key stands in the file."""

    name: str
    path: Path
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]
    lines: dict[str, int]

    def values(self, keys: pd.Series, column: str | None = None) -> pd.Series:
        """The value of each key in `column` (None = the second one); missing for a missing or unknown key."""
        wanted = column or self.columns[1]
        codes, distinct = pd.factorize(keys)
        found = pd.array([self.rows.get(str(key), {}).get(wanted) for key in distinct], dtype="str")
        return pd.Series(found.take(codes, allow_fill=True), index=keys.index, dtype="str")

    def missed(self, keys: pd.Series) -> pd.Series:
        """bool per row: a key is given and the table does not have it."""
        codes, distinct = pd.factorize(keys)
        unknown = pd.array([str(key) not in self.rows for key in distinct] + [False], dtype="bool")
        return pd.Series(unknown.take(codes), index=keys.index, dtype="bool")


def read(name: str, folder: Path | None = None, *, keys: int = 1) -> Lookup:
    """The table `name`, whose first `keys` columns are its key; read again only when its file has changed. Raises
    ConfigError in one sentence with the line."""
    path = (folder or config_dir() / "lookups") / f"{name}.csv"
    try:
        return _read(path, path.stat().st_mtime_ns, keys)
    except FileNotFoundError:
        near = nearest(name, names(path.parent))
        raise ConfigError(
            f"There is no lookup {name!r} in {path.parent}.", do=f"Did you mean {near!r}?" if near else "Add the file."
        ) from None


def names(folder: Path | None = None) -> list[str]:
    """The names of all lookups."""
    return sorted(one.stem for one in (folder or config_dir() / "lookups").glob("*.csv"))


@lru_cache(maxsize=64)
def _read(path: Path, _changed: int, keys: int) -> Lookup:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8.", do="Save it as UTF-8.") from None
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not numbered:
        raise ConfigError(f"{path} is empty.", do="Its first row names its columns; the first column is the key.")
    header, *rest = [(n, [cell.strip() for cell in next(csv.reader([line]))]) for n, line in numbered]
    columns = tuple(header[1])
    if len(columns) < 2 or len(set(columns)) < len(columns) or not all(columns):
        raise ConfigError(f"{path}:{header[0]}: the header {','.join(columns)!r} does not name two or more columns.")
    rows: dict[str, dict[str, str]] = {}
    places: dict[str, int] = {}
    for number, cells in rest:
        if len(cells) != len(columns):
            raise ConfigError(
                f"{path}:{number}: {len(cells)} values for {len(columns)} columns.", do="Put quotes around commas."
            )
        key = BESIDE.join(cells[:keys])
        if key in rows:
            raise ConfigError(f"{path}:{number}: {key!r} stands here a second time.", do="Remove one of the rows.")
        rows[key], places[key] = dict(zip(columns, cells, strict=True)), number
    return Lookup(path.stem, path, columns, rows, places)
