"""The same records as both systems have them, as columns.

In: documents of the source, each beside the target's document of the same record. Out: a `Sample`: columns by path,
lines of both sides that belong together in the same rows. Never: a float; a document that cannot be read stops none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.frames import SCALE

# Of the lines of a record the first few are looked at, so that many records have a say; of the source's more, for they
# may stand in another order.
LINES, SOURCE_LINES, MOST_LINES = 3, 10, 300
_LARGEST = 2**62


@dataclass(frozen=True)
class Lines:
    """Lines of one list of each side that belong together, row by row. `row`: the record of each."""

    source: Mapping[str, pd.Series]
    target: Mapping[str, pd.Series]
    row: np.ndarray


@dataclass(frozen=True)
class Sample:
    """Row i of each column is of the same record on both sides. The columns of a field are made when asked for."""

    source_document: Document
    target_document: Document
    sources: tuple[Mapping[str, Any], ...] = ()
    targets: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def source(self) -> dict[str, pd.Series]:
        """The columns of the source's heads."""
        return _heads(self.sources, self.source_document)

    @cached_property
    def target(self) -> dict[str, pd.Series]:
        """The columns of the target's heads; of a list's first entry as `Addresses[0].City`."""
        columns = _heads(self.targets, self.target_document)
        for path, one in self.target_document.fields.items():
            if one.items:
                firsts = [next(iter(_list(document, path)), {}) for document in self.targets]
                columns |= {f"{path}[0].{name}": c for name, c in _heads(firsts, one.items).items()}
        return columns

    def lines(self, source_list: str, target_list: str) -> Lines:
        """Lines of the two lists, brought together."""
        kept: dict[tuple[str, str], Lines] = self.__dict__.setdefault("_lines", {})
        if (source_list, target_list) not in kept:
            kept[source_list, target_list] = _together(self, source_list, target_list)
        return kept[source_list, target_list]

    def target_lines(self, target_list: str) -> tuple[np.ndarray, dict[str, pd.Series]]:
        """Lines of the target's list, each with its record."""
        kept: dict[str, tuple[np.ndarray, dict[str, pd.Series]]] = self.__dict__.setdefault("_target_lines", {})
        if target_list not in kept:
            kept[target_list] = _flat(self.targets, target_list, entries(self.target_document, target_list), LINES)
        return kept[target_list]


def lists(document: Document) -> list[str]:
    """The lists of objects of a document that are not within another one."""
    return [path for path, one in document.fields.items() if one.items]


def entries(document: Document, path: str) -> Document:
    """The document of one entry of a list of objects."""
    items = document.fields[path].items
    assert items is not None
    return items


def _heads(documents: Sequence[Mapping[str, Any]], document: Document) -> dict[str, pd.Series]:
    columns = {}
    for path, field in document.leaves.items():
        names = path.split(".")
        columns[path] = column([_at(one, names) for one in documents], field)
    return columns


def _at(document: Any, names: Sequence[str]) -> Any:
    for name in names:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _list(document: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    found = _at(document, path.split("."))
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def column(values: Sequence[Any], field: Field) -> pd.Series:
    """Values as a frame has them (crossdock.mapping.frames); what is of another type is missing."""
    if field.money:
        return pd.Series(pd.array([_scaled(value) for value in values], dtype="Int64"))
    if field.type == "integer":
        whole = [value if isinstance(value, int) and not isinstance(value, bool) else _whole(value) for value in values]
        return pd.Series(pd.array(whole, dtype="Int64"))
    if field.type == "boolean":
        return pd.Series(pd.array([v if isinstance(v, bool) else None for v in values], dtype="boolean"))
    return pd.Series(pd.array([v if isinstance(v, str) and v else None for v in values], dtype="str"))


def _scaled(value: Any) -> int | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        units = Decimal(str(value)) * SCALE
        return int(units) if units == units.to_integral_value() and abs(units) < _LARGEST else None
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _whole(value: Any) -> int | None:
    try:
        return int(value) if isinstance(value, Decimal) and value == int(value) and abs(value) < _LARGEST else None
    except (InvalidOperation, ValueError, OverflowError):
        return None


# ---- lines -----------------------------------------------------------------------------------------------------------


def _flat(
    documents: Sequence[Mapping[str, Any]], path: str, items: Document, most: int
) -> tuple[np.ndarray, dict[str, pd.Series]]:
    """The first `most` lines of each record, and the record of each."""
    rows: list[int] = []
    found: list[Mapping[str, Any]] = []
    for row, document in enumerate(documents):
        some = _list(document, path)[:most]
        rows += [row] * len(some)
        found += some
        if len(found) >= MOST_LINES * most // LINES:
            break
    return np.array(rows, dtype=np.int64), _heads(found, items)


def _together(sample: Sample, source_list: str, target_list: str) -> Lines:
    """Lines of one record belong together by the fields that tell lines apart on both sides and agree most; where there
    are none, by their place, if both lists are of one length."""
    rows, columns = _flat(sample.sources, source_list, entries(sample.source_document, source_list), SOURCE_LINES)
    other_rows, others = sample.target_lines(target_list)
    left, right = _by_keys(rows, columns, other_rows, others)
    if len(left) < 0.3 * min(len(rows), len(other_rows)):
        lengths = [len(_list(one, source_list)) for one in sample.sources]
        other_lengths = [len(_list(one, target_list)) for one in sample.targets]
        same = np.array([one == other for one, other in zip(lengths, other_lengths, strict=True)], dtype=bool)
        left, right = _by_place(rows, other_rows, same)
    return Lines(
        {path: one.take(left).reset_index(drop=True) for path, one in columns.items()},
        {path: one.take(right).reset_index(drop=True) for path, one in others.items()},
        rows[left],
    )


def _by_keys(
    rows: np.ndarray, columns: Mapping[str, pd.Series], other_rows: np.ndarray, others: Mapping[str, pd.Series]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions on both sides of the lines that the best pair of fields brings together."""
    best: tuple[int, list[tuple[int, int]]] = (0, [])
    keys = [_keys(rows, one) for one in columns.values()]
    other_keys = [_keys(other_rows, one) for one in others.values()]
    for given in keys:
        for other in other_keys:
            shared = given.keys() & other.keys()
            # A key is worth more the more values it has: 1, 2, 3 agree by chance.
            worth = len(shared) + len({value for _, value in shared})
            if worth > best[0]:
                best = worth, sorted((given[key], other[key]) for key in shared)
    pairs = np.array(best[1], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _by_place(rows: np.ndarray, other_rows: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first lines of each record whose lists are of one length (`same`)."""
    at = {key: number for number, key in enumerate(_numbered(rows))}
    pairs = [
        (at[key], number) for number, key in enumerate(_numbered(other_rows)) if key in at and same[key[0]]
    ]  # fmt: skip
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _numbered(rows: np.ndarray) -> list[tuple[int, int]]:
    """Each line's record, and its place there."""
    seen: Counter[int] = Counter()
    made = []
    for row in rows.tolist():
        made.append((row, seen[row]))
        seen[row] += 1
    return made


def _keys(rows: np.ndarray, values: pd.Series) -> dict[tuple[int, str], int]:
    """Position by record and value, of values that stand once in their record."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return {}
    seen: dict[tuple[int, str], int] = {}
    twice: set[tuple[int, str]] = set()
    for at, (row, value) in enumerate(zip(rows.tolist(), values.tolist(), strict=True)):
        if value is None or value is pd.NA or value != value:
            continue
        key = (row, str(value))
        if key in seen:
            twice.add(key)
        seen[key] = at
    return {key: at for key, at in seen.items() if key not in twice}
