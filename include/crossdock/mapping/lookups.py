"""Reads lookup tables: CSV files in which an analyst translates codes.

In: `include/config/lookups/<name>.csv`: a header row, then one row per code; lines that begin with # are remarks.
The first column is the key, or the first few together. Out: a `Lookup`, kept until its file changes. Never: two answers
for one key, a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from crossdock import config
from crossdock.config import BESIDE, Struct, nearest
from crossdock.errors import ConfigError
from crossdock.settings import config_dir

__all__ = ["BESIDE", "Lookup", "names", "read"]


@dataclass(frozen=True)
class Lookup:
    """One table. `rows` maps a key to its row, {column: text}; "" in a cell is the empty text. The parts of a key of
    several columns are joined by BESIDE."""

    name: str
    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, dict[str, str]]

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


def read(name: str, folder: Path | None = None, *, keys: int = 1, row: type[Struct] | None = None) -> Lookup:
    """The table `name`, whose first `keys` columns are its key; read again only when its file has changed. `row`: what
    its rows must be. Raises ConfigError with everything that is wrong, each with its line."""
    path = (folder or config_dir() / "lookups") / f"{name}.csv"
    if not path.exists():
        near = nearest(name, names(path.parent))
        raise ConfigError(
            f"There is no lookup {name!r} in {path.parent}.", do=f"Did you mean {near!r}?" if near else "Add the file."
        )
    if row is not None:
        config.load_csv(path, row, keys=keys)
    return _lookup(config.load_csv(path, dict, keys=keys))


@lru_cache(maxsize=256)
def _lookup(table: config.Table[dict[str, str]]) -> Lookup:
    return Lookup(table.path.stem, table.path, table.columns, table.rows)


def names(folder: Path | None = None) -> list[str]:
    """The names of all lookups."""
    return sorted(one.stem for one in (folder or config_dir() / "lookups").glob("*.csv"))
