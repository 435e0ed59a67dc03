"""For values that a lookup does not know: the known ones that are most like them.

In: values that records have brought, with their counts; the table. Out: each value with its nearest keys. Never: a row
that is added; a neighbour where nothing resembles the value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rapidfuzz import fuzz, process, utils

from crossdock.mapping.lookups import BESIDE, Lookup

AT_LEAST = 60  # of 100
REMARKS = frozenset({"note", "reason", "effect", "source"})  # columns for people: the nearest row's say nothing here
WILD = ("*", "?", "[")
APART = " / "  # between the parts of a key of several columns, as people see it


@dataclass(frozen=True)
class Neighbour:
    """A key of the table, how like the value it is (0 to 1), and what the table has for it. `cells`: the row that says
    of the value what the table says of the key."""

    key: str
    likeness: float
    row: Mapping[str, str]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """A value that the table does not know. `records`: how many brought it; `nearest`: the nearest key first."""

    value: str
    records: int
    nearest: tuple[Neighbour, ...]


def missing(values: Mapping[str, int], table: Lookup, most: int = 3, remarks: Collection[str] = ()) -> list[Missing]:
    """The values that the table does not know, those of most records first; a number is like no other. `remarks`:
    columns for people, which say nothing of another value."""
    shown = {key.replace(BESIDE, APART): row for key, row in table.rows.items()}
    unknown = [value for value in values if value not in table.rows and value not in shown]
    keys = [key for key in shown if not any(sign in key for sign in WILD)]
    made = [
        Missing(
            value,
            values[value],
            tuple(
                Neighbour(key, round(score / 100, 3), shown[key], _cells(value, key, shown[key], table, remarks))
                for key, score, _ in process.extract(
                    value,
                    [] if value.lstrip("-").isdecimal() else keys,
                    scorer=fuzz.WRatio,
                    processor=utils.default_process,
                    score_cutoff=AT_LEAST,
                    limit=most,
                )
            ),
        )
        for value in unknown
    ]
    return sorted(made, key=lambda one: (-one.records, one.value))


def _cells(value: str, key: str, row: Mapping[str, str], table: Lookup, remarks: Collection[str]) -> tuple[str, ...]:
    """The row of the key, with the value in the key's place."""
    own = value.replace(BESIDE, APART).split(APART)
    keys = table.columns[: len(key.split(APART))]
    given = dict(zip(keys, own, strict=False))
    return tuple(
        given.get(name, "") if name in keys else "" if name in remarks else row[name] for name in table.columns
    )
