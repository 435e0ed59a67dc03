"""Shapes of values, in which no value can be read: what may leave the house, and what is compared when rows cannot be.

In: texts. Out: masks such as `A+`, `9+-9+`, `A+9+`; kinds of length. Never: a letter or a digit of a value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

MOST = 12  # characters of a mask; what is longer has no shape worth a word
_RUNS = re.compile(r"[^\W\d_]+|\d+|\s+|_|[^\w\s]", re.DOTALL)
_KEPT = frozenset("-.:/@+,#")  # punctuation that makes a shape; all other is "?"


@lru_cache(maxsize=16384)
def mask(value: str) -> str:
    """Runs of letters become A, runs of digits 9, blanks one blank; their lengths are not told."""
    made = []
    for run in _RUNS.findall(value[:200]):
        sign = "A" if run[0].isalpha() else "9" if run[0].isdigit() else " " if run[0].isspace() else None
        made.append(sign or (run if run in _KEPT else "?"))
    text = "".join(made)
    return text if len(text) <= MOST else text[:MOST] + "…"


def shapes(values: Iterable[str], most: int = 3, at_least: int = 5) -> list[str]:
    """The commonest masks of a column. One that fewer than `at_least` values have might be one person's: it is left
    out."""
    counts = Counter(map(mask, values))
    return [shape for shape, count in counts.most_common(most) if count >= at_least]
