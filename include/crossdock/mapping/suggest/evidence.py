"""How far the values of a source field, as they are or turned, are those that the target holds for the same records.

In: two columns of a sample, row by row. Out: agreement, and what of it is more than chance. Never: a value in what is
said in words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import eq
from typing import Any
from zlib import crc32

import pandas as pd

from crossdock.mapping.contracts import Field
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.suggest.masks import mask

Chain = tuple[tuple[str, Any], ...]  # converters with their arguments, in order

TABLE_VALUES = 60  # distinct values that a table may have that nobody has written yet


@dataclass(frozen=True)
class Agreement:
    """`rows`: in which both sides have a value; `equal`: of them, those that agree; `given`: rows in which the target
    has one; `alone`: rows in which only the source has one. `chance`: the share that would agree if the rows were
    shuffled."""

    rows: int
    equal: int
    given: int
    chance: float
    alone: int = 0

    @property
    def share(self) -> float:
        return self.equal / self.rows if self.rows else 0.0

    @property
    def covered(self) -> float:
        """How much of what the target has, the source has too."""
        return self.rows / self.given if self.given else 0.0

    @property
    def beyond_chance(self) -> float:
        """0: as chance has it, 1: always equal."""
        return max(0.0, (self.share - self.chance) / (1 - self.chance)) if self.chance < 1 else 0.0

    @property
    def telling(self) -> float:
        """How much the rows tell, from 0 to 1: few rows, or a value that nearly all rows have, tell little."""
        return 1 - math.exp(-self.rows * (1 - self.chance) / 4)

    @property
    def weight(self) -> float:
        """The evidence for: agreement beyond chance, of rows that tell something, of most of what the target has."""
        alone = self.alone / (self.alone + self.rows) if self.rows else 0.0
        return self.beyond_chance * self.telling * math.sqrt(self.covered) * (1 - 0.3 * alone)

    @property
    def against(self) -> float:
        """The evidence against: rows that differ, where that cannot be chance."""
        return (1 - self.share) * (1 - math.exp(-self.rows / 5))


@dataclass(frozen=True)
class Way:
    """One way from a source column to the target: converters, or a lookup (`name` or `name.column`), or a table that
    nobody has written yet. `loosely`: values that differ in writing only count too; `within`: the source's value is a
    part of the target's."""

    agreement: Agreement
    convert: Chain = ()
    lookup: str | None = None
    table: Mapping[str, str] | None = None
    loosely: bool = False
    within: bool = False


def agreement(source: Sequence[str | None], target: Sequence[str | None]) -> Agreement:
    """Compares two columns of texts (None: not given)."""
    both = [(one, other) for one, other in zip(source, target, strict=True) if one is not None and other is not None]
    given, alone = _given(target), _given(source) - len(both)
    if not both:
        return Agreement(0, 0, given, 0.0, alone)
    left, right = zip(*both, strict=True)
    counts, others = Counter(left), Counter(right)
    chance = sum(counts[value] * others[value] for value in counts.keys() & others.keys()) / len(both) ** 2
    return Agreement(len(both), sum(map(eq, left, right)), given, chance, alone)


def _given(values: Sequence[str | None]) -> int:
    return len(values) - values.count(None)


def parts(source: Sequence[str | None], target: Sequence[str | None]) -> Agreement:
    """The same, of source values that stand within the target's, or the target's within them. By chance: within the
    next record's."""
    both = [
        (s, t)
        for s, t in zip(source, target, strict=True)
        if s is not None and t is not None and min(len(s), len(t)) > 3
    ]
    given = _given(target)
    if not both:
        return Agreement(0, 0, given, 0.0)
    others = [t for _, t in both[1:]] + [both[0][1]]
    chance = sum(s in other or other in s for (s, _), other in zip(both, others, strict=True)) / len(both)
    return Agreement(len(both), sum(s in t or t in s for s, t in both), given, chance)


def written(values: pd.Series) -> list[str | None]:
    """A column as texts that are equal where the values are; None where nothing is given."""
    missing = values.isna().to_numpy(dtype=bool).tolist()
    return [None if gone else _text(value) for value, gone in zip(values.tolist(), missing, strict=True)]


def _text(value: Any) -> str:
    text = str(value)
    # Moments are equal however many zeros follow.
    return text[:-1].rstrip("0").rstrip(".") + "Z" if len(text) > 20 and text[10] == "T" and text[-1] == "Z" else text


def loose(texts: Sequence[str | None]) -> list[str | None]:
    """Texts without what differs in writing only: case, blanks, punctuation; of phone numbers the last nine digits."""
    return [None if text is None else _loose(text) for text in texts]


@lru_cache(maxsize=65536)
def _loose(text: str) -> str:
    kept = "".join(sign for sign in text.casefold() if sign.isalnum())
    digits = "".join(sign for sign in kept if sign.isdigit())
    return digits[-9:] if len(digits) >= 9 and len(digits) >= len(kept) - 4 else kept


# ---- converters ------------------------------------------------------------------------------------------------------


def chains(source: str, target: Field, zones: Sequence[str] = ()) -> Iterator[Chain]:
    """Converters by which a type becomes the target's, the shortest first. `source`, as of `source_kind`."""
    needed = kind(target)
    if fits(source, needed):
        yield ()
    for name, one in CONVERTERS.items():
        if (
            name in _LEFT_OUT
            or not any(fits(source, taken) for taken in one.takes)
            or not fits(one.gives or source, needed)
        ):
            continue
        if name == "to date in":
            yield from (((name, zone),) for zone in zones)
        elif name == "shorten to":
            if target.max_length:
                yield ((name, target.max_length),)
        else:
            yield ((name, None),)


_LEFT_OUT = ("begin with", "empty to null", "null to zero")  # the first is found in the values; the others change none


def kind(field: Field) -> str:
    return "number" if field.money else field.type


def fits(given: str, needed: str) -> bool:
    return given == needed or (needed == "text" and given in ("moment", "date"))


def convert(values: pd.Series, chain: Chain) -> pd.Series:
    for name, argument in chain:
        values = CONVERTERS[name](values, argument)
    return values


def start(source: Sequence[str | None], target: Sequence[str | None]) -> str:
    """The text that stands before the source's value in nearly every target value; "" if there is none."""
    both = [(s, t) for s, t in zip(source, target, strict=True) if s is not None and t is not None]
    starts = [t[: -len(s)] for s, t in both if len(t) > len(s) >= 2 and t.endswith(s)]
    if len(both) < 3 or len(starts) < 0.9 * len(both):
        return ""
    most = max(set(starts), key=starts.count)
    return most if starts.count(most) >= 0.9 * len(both) else ""


# ---- lookups ---------------------------------------------------------------------------------------------------------


def looked_up(source: Sequence[str | None], table: Lookup, column: str) -> list[str | None]:
    return [None if value is None else table.rows.get(value, {}).get(column) or None for value in source]


def lookups_for(
    source: Sequence[str | None], codes: Sequence[str], tables: Mapping[str, Lookup]
) -> Iterator[tuple[str, Lookup]]:
    """The tables that know most of what the source has, or may have by contract."""
    distinct = {value for value in source if value is not None} or set(codes)
    if not 0 < len(distinct) <= 500:
        return
    for name, table in tables.items():
        if len(table.columns) > 1 and sum(value in table.rows for value in distinct) >= 0.5 * len(distinct):
            yield name, table


def code_fit(codes: Sequence[str], target: Field, table: Lookup | None, column: str = "") -> float:
    """By the contracts alone: the share of the source's codes that become codes of the target."""
    if not codes or not target.codes:
        return 0.0
    turned = codes if table is None else [table.rows.get(code, {}).get(column) for code in codes]
    return sum(code in target.codes for code in turned) / len(codes)


def table_between(
    source: Sequence[str | None], target: Sequence[str | None]
) -> tuple[dict[str, str], Agreement] | None:
    """The table that turns the source's few values into the target's, if one value always becomes the same one. Its
    agreement is what it says of rows that it was not made of."""
    both = [(s, t) for s, t in zip(source, target, strict=True) if s is not None and t is not None]
    distinct = {s for s, _ in both}
    if not 2 <= len(distinct) <= min(TABLE_VALUES, len(both) // 4) or len({t for _, t in both}) < 2:
        return None
    made, equal, seen = {}, 0, 0
    halves = [[pair for at, pair in enumerate(both) if crc32(b"%d" % at) & 1 == half] for half in (0, 1)]
    for half in (0, 1):
        learnt = _modes(halves[half])
        others = [(s, t) for s, t in halves[1 - half] if s in learnt]
        seen += len(others)
        equal += sum(learnt[s] == t for s, t in others)
    made = _modes(both)
    chance = Counter(t for _, t in both).most_common(1)[0][1] / len(both)  # always the commonest
    given = _given(target)
    return made, Agreement(seen, equal, max(given, seen), chance)


def _modes(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    counts: dict[str, dict[str, int]] = {}
    for source, target in pairs:
        held = counts.setdefault(source, {})
        held[target] = held.get(target, 0) + 1
    return {source: max(held, key=lambda one: (held[one], one)) for source, held in counts.items()}


# ---- shapes ----------------------------------------------------------------------------------------------------------


def shape_likeness(source: Sequence[str | None], target: Sequence[str | None]) -> float:
    """How alike the shapes of two columns are, rows aside: the overlap of the distributions of masks."""
    some, others = _shapes(source), _shapes(target)
    return sum(min(share, others.get(shape, 0.0)) for shape, share in some.items())


def _shapes(values: Sequence[str | None]) -> dict[str, float]:
    given = Counter(mask(value) for value in values if value is not None)
    return {shape: count / given.total() for shape, count in given.items()}
