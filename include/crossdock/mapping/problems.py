"""Collects the errors of rows in a frame that every step uses.

In: rows, a rule, a value, two sentences. Out: a frame with one row per finding. Never: more than 200 characters of a
value; a finding that does not say what a person should do.

| column | type | meaning |
|---|---|---|
| _row | int64 | position of the document's head row |
| line | str | external id of the line, "" for the head |
| field | str | path of the field |
| rule | str | the rule's code, snake case |
| value | str | the offending value, cut at 200 characters |
| says | str | what is wrong |
| do | str | what a person should do |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ("_row", "line", "field", "rule", "value", "says", "do")
LONGEST_VALUE = 200


def empty() -> pd.DataFrame:
    """The frame without findings. Made once, for every rule uses it, and making it costs more than a rule on a small
    batch."""
    return _nothing().copy(deep=False)


@cache
def _nothing() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="int64" if name == "_row" else "str") for name in COLUMNS})


def make(
    rows: Sequence[int] | np.ndarray | pd.Series,
    *,
    field: Any,
    rule: Any,
    value: Any = "",
    message: Any,
    do: Any,
    line: Any = "",
) -> pd.DataFrame:
    """One finding per row of `rows`. What is given besides is one text, or one per row.

    `message` and `do` may hold `{value}`, `{field}` and `{line}`, which are filled in.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if not len(rows):
        return empty()
    fields, values, lines = (_texts(part, len(rows)) for part in (field, value, line))
    values = [_truncate(text) for text in values]
    rules, sentences, advice = (_texts(part, len(rows)) for part in (rule, message, do))
    return pd.DataFrame(
        {
            "_row": rows,
            "line": pd.Series(lines, dtype="str"),
            "field": pd.Series(fields, dtype="str"),
            "rule": pd.Series(rules, dtype="str"),
            "value": pd.Series(values, dtype="str"),
            "says": pd.Series(_filled(sentences, fields, values, lines), dtype="str"),
            "do": pd.Series(_filled(advice, fields, values, lines), dtype="str"),
        },
        copy=False,
    )


def concat(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All findings in one frame, sorted by document; the order within a document stays."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return empty()
    return pd.concat(filled, ignore_index=True).sort_values("_row", kind="stable", ignore_index=True)


def by_row(found: pd.DataFrame, columns: Sequence[str] = COLUMNS[1:]) -> dict[int, list[dict[str, Any]]]:
    """{head row: [{column: value}]} of the rows that have a finding, in the frame's order."""
    texts: dict[int, list[dict[str, Any]]] = {}
    values = zip(*(found[name].tolist() for name in columns), strict=True)
    for row, each in zip(found["_row"].tolist(), values, strict=True):
        texts.setdefault(row, []).append(dict(zip(columns, each, strict=True)))
    return texts


def _texts(given: Any, count: int) -> list[str]:
    if isinstance(given, str) or not isinstance(
        given, (list, tuple, np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)
    ):
        return ["" if given is None else str(given)] * count
    return ["" if text is None or text is pd.NA or text != text else str(text) for text in given]


def _truncate(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _filled(sentences: list[str], fields: list[str], values: list[str], lines: list[str]) -> list[str]:
    """Fills in the placeholders by plain replacement, for a value may have braces of its own."""
    return [
        sentence.replace("{field}", field).replace("{line}", line).replace("{value}", value)
        if "{" in sentence
        else sentence
        for sentence, field, value, line in zip(sentences, fields, values, lines, strict=True)
    ]
