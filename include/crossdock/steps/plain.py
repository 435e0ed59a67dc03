"""What the commonest expectations refuse, said without Great Expectations, which needs some 10 ms for each.

In: the name of an expectation, its arguments, a column. Out: a bool per row, or None where only Great Expectations can
tell. Never: another answer than Great Expectations has: a test holds both against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

_BOUNDS = {"min_value", "max_value", "strict_min", "strict_max"}


def refused(expect: str, arguments: Mapping[str, Any], values: pd.Series) -> np.ndarray | None:
    """Which rows an expectation refuses; None: ask Great Expectations. A missing value is refused only by name."""
    words, test = _TESTS.get(expect, (frozenset[str](), None))
    if test is None or set(arguments) - words:
        return None
    return test(values, **arguments)


def _between(values: pd.Series, **bounds: Any) -> np.ndarray | None:
    if not pd.api.types.is_integer_dtype(values.dtype) or any(not _is_whole(one) for one in bounds.values()):
        return None
    low, high = bounds.get("min_value"), bounds.get("max_value")
    if low is None and high is None:
        return None
    wrong = np.zeros(len(values), dtype=bool)
    present = values.notna().to_numpy(dtype=bool)
    numbers = values.fillna(0).to_numpy(dtype=np.int64)
    if low is not None:
        wrong |= numbers <= low if bounds.get("strict_min") else numbers < low
    if high is not None:
        wrong |= numbers >= high if bounds.get("strict_max") else numbers > high
    return wrong & present


def _is_whole(bound: Any) -> bool:
    return bound is None or isinstance(bound, (bool, int))


def _lengths(values: pd.Series, **bounds: Any) -> np.ndarray | None:
    texts = _texts(values)
    return None if texts is None else _between(texts.str.len().astype("Int64"), **bounds)


def _in_set(values: pd.Series, value_set: Any = None) -> np.ndarray | None:
    texts = _texts(values)
    if texts is None or not value_set or not all(isinstance(one, str) for one in value_set):
        return None
    return (texts.notna() & ~texts.isin(value_set)).to_numpy(dtype=bool)


def _not_in_set(values: pd.Series, value_set: Any = None) -> np.ndarray | None:
    texts = _texts(values)
    if texts is None or not value_set or not all(isinstance(one, str) for one in value_set):
        return None
    return (texts.notna() & texts.isin(value_set)).to_numpy(dtype=bool)


def _match(values: pd.Series, regex: Any = None) -> np.ndarray | None:
    texts = _texts(values)
    if texts is None or not isinstance(regex, str):
        return None
    search = _compiled(regex).search
    return np.array([isinstance(text, str) and search(text) is None for text in texts.tolist()], dtype=bool)


_compiled = cache(re.compile)


def _null(values: pd.Series) -> np.ndarray:
    return values.notna().to_numpy(dtype=bool)


def _not_null(values: pd.Series) -> np.ndarray:
    return values.isna().to_numpy(dtype=bool)


def _texts(values: pd.Series) -> pd.Series | None:
    """The column where it is one of texts."""
    return values if isinstance(values.dtype, pd.StringDtype) else None


_TESTS: dict[str, tuple[frozenset[str], Callable[..., np.ndarray | None]]] = {
    "column_values_to_be_between": (frozenset(_BOUNDS), _between),
    "column_value_lengths_to_be_between": (frozenset(_BOUNDS), _lengths),
    "column_values_to_be_in_set": (frozenset({"value_set"}), _in_set),
    "column_values_to_not_be_in_set": (frozenset({"value_set"}), _not_in_set),
    "column_values_to_match_regex": (frozenset({"regex"}), _match),
    "column_values_to_be_null": (frozenset(), _null),
    "column_values_to_not_be_null": (frozenset(), _not_null),
}
