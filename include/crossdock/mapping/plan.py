"""Orders the rules of one table by what they read and write, and runs them.

In: the rules that a table names; frames of source documents; the flow's context. Out: the frames with the rules'
columns, problems, warnings. Never: a column that a rule reads or writes undeclared.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crossdock.errors import ConfigError
from crossdock.mapping.frames import LINE, PARENT, ROW, Frames
from crossdock.mapping.problems import concat, empty
from crossdock.mapping.registry import EVERYTHING, LINES, LISTS, MADE, REFUSED, Columns, NamedRule
from crossdock.mapping.watch import RuleSeen, Seen


@dataclass
class Prepared:
    """Frames with the columns of the rules. Problems and warnings point at the source's rows; `origin` has the source
    row of each head where one record has become several documents, and `records` the heads before that."""

    frames: Frames
    problems: pd.DataFrame = field(default_factory=empty)
    warnings: pd.DataFrame = field(default_factory=empty)
    origin: np.ndarray | None = None
    records: pd.DataFrame | None = None

    def of_source(self, found: pd.DataFrame) -> pd.DataFrame:
        """Moves findings from heads to the source's rows."""
        return found if self.origin is None else found.assign(**{ROW: self.origin[found[ROW].to_numpy()]})

    def of_documents(self, found: pd.DataFrame) -> pd.DataFrame:
        """Moves findings from the source's rows to each head made from them."""
        if self.origin is None:
            return found
        heads = pd.DataFrame({ROW: self.origin, "_head": np.arange(len(self.origin))})
        each = found.merge(heads, on=ROW).drop(columns=ROW).rename(columns={"_head": ROW})
        return each[list(found.columns)]


@dataclass(frozen=True)
class Plan:
    """Rules in their order. `circle`: rules that wait for one another; a plan with a circle is never run."""

    rules: tuple[NamedRule, ...]
    circle: tuple[NamedRule, ...] = ()

    def run(self, frames: Frames, context: Any, seen: Seen | None = None) -> Prepared:
        made = Prepared(frames)
        heads, lines = _Part.of(frames.header), _Part.of(frames.lines)
        target = None if frames.made is None else _Part.of(frames.made)
        found: list[pd.DataFrame] = []
        warned: list[pd.DataFrame] = []
        for rule in self.rules:
            visible = _seen(rule, heads, lines, target, found, frames.lists)
            columns = rule.function(visible, context)
            _verify(rule, columns)
            if seen is not None:
                seen.rules.append(RuleSeen(rule.name, visible, columns.header, columns.lines, columns.made))
            found.append(made.of_source(columns.problems))
            warned.append(made.of_source(columns.warnings))
            if columns.origin is not None:
                made.records = heads.frame() if made.records is None else made.records
                heads = _Part.of(heads.frame().take(columns.origin).reset_index(drop=True))
                made.origin = columns.origin if made.origin is None else made.origin[columns.origin]
            heads.take_in(columns.header)
            lines.take_in(columns.lines)
            if target is not None and columns.made is not None and ROW not in columns.made:
                target.take_in(columns.made)
            elif columns.made is not None:
                target = _Part.of(columns.made)
        made.frames = Frames(heads.frame(), lines.frame(), None if target is None else target.frame(), frames.lists)
        made.problems, made.warnings = concat(found), concat(warned)
        return made

    def sources_of(self, columns: Sequence[str]) -> set[str]:
        """The columns, and all columns that they are computed from."""
        found, waiting = set(columns), list(columns)
        while waiting:
            column = waiting.pop()
            for rule in self.rules:
                more = set(rule.reads) - found if column in rule.writes else set()
                found |= more
                waiting += more
        return found


def in_order(rules: Sequence[NamedRule]) -> Plan:
    """Orders the rules, each after those whose columns it reads; otherwise they keep the given order."""
    before = {rule.name: _before(rule, rules) for rule in rules}
    for rule in rules:
        if REFUSED in rule.reads:  # after every rule that does not need what it writes
            before[rule.name] |= {one.name for one in rules} - _after(rule.name, before) - {rule.name}
    place = {rule.name: number for number, rule in enumerate(rules)}
    followers: dict[str, list[str]] = {rule.name: [] for rule in rules}
    for name, earlier in before.items():
        for one in earlier:
            followers[one].append(name)
    left = {name: len(earlier) for name, earlier in before.items()}
    ready = [place[name] for name, count in left.items() if not count]
    heapq.heapify(ready)
    order: list[NamedRule] = []
    while ready:
        rule = rules[heapq.heappop(ready)]
        order.append(rule)
        for name in followers[rule.name]:
            left[name] -= 1
            if not left[name]:
                heapq.heappush(ready, place[name])
    return Plan(tuple(order), _circle({name: before[name] for name, count in left.items() if count}, rules))


def _before(rule: NamedRule, rules: Sequence[NamedRule]) -> set[str]:
    """The rules that run first: those that make or replace a column that this one reads. For a column that this one
    replaces, only the one that makes it."""
    earlier: set[str] = set()
    for one in rules:
        if one is rule:
            continue
        if EVERYTHING in one.writes:
            earlier.add(one.name)
        elif EVERYTHING not in rule.reads:
            shared = set(rule.reads) & set(one.writes)
            if any(not (column in rule.writes and column in one.reads) for column in shared):
                earlier.add(one.name)
    return earlier


def _after(name: str, before: Mapping[str, set[str]]) -> set[str]:
    """The rules that need what this one writes, directly or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        more = {one for one, earlier in before.items() if current in earlier} - found
        found |= more
        waiting += more
    return found


def _circle(before: Mapping[str, set[str]], rules: Sequence[NamedRule]) -> tuple[NamedRule, ...]:
    """One circle among the rules that could not be ordered; () where there is none."""
    if not before:
        return ()
    path = [next(iter(before))]
    while True:
        following = min(before[path[-1]] & before.keys())
        if following in path:
            circle = path[path.index(following) :]
            return tuple(rule for rule in rules if rule.name in circle)
        path.append(following)


# ---- one rule ------------------------------------------------------------------------------------------------------


def parted(columns: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Divides declared columns into those of the heads, the source's lines and the target's lines, by their names
    there."""
    lines = [name.removeprefix(LINES) for name in columns if name.startswith(LINES)]
    made = [name.removeprefix(MADE) for name in columns if name.startswith(MADE)]
    heads = [name for name in columns if not name.startswith((LINES, MADE, LISTS)) and name != EVERYTHING]
    return heads, lines, made


@dataclass
class _Part:
    """Heads or lines while rules add columns, held column by column: to make a frame of a few of them takes a tenth of
    the time that it takes to cut them out of a wide frame, whatever the number of rows."""

    index: pd.Index
    columns: dict[str, pd.Series]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Part:
        return cls(frame.index, {str(name): column for name, column in frame.items()})

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns, index=self.index, copy=False)

    def only(self, rule: NamedRule, names: Sequence[str]) -> pd.DataFrame:
        lacking = [name for name in names if name not in self.columns]
        if lacking:
            raise ConfigError(
                f"The rule {rule.name} needs the column {lacking[0]!r}, which is not there.",
                do="Name the rule that writes it under `rules` of the mapping; `crossdock mapping check` says which.",
            )
        return pd.DataFrame({name: self.columns[name] for name in names}, index=self.index, copy=False)

    def take_in(self, columns: pd.DataFrame | None) -> None:
        """Adds or replaces columns."""
        if columns is not None:
            self.columns.update((str(name), column) for name, column in columns.set_axis(self.index).items())


def listed(columns: Sequence[str]) -> dict[str, list[str]]:
    """The declared columns of other lists, by the path of their list."""
    found: dict[str, list[str]] = {}
    for column in columns:
        if column.startswith(LISTS):
            path, _, name = column.removeprefix(LISTS).rpartition(".")
            found.setdefault(path, []).append(name)
    return found


def _seen(
    rule: NamedRule,
    heads: _Part,
    lines: _Part,
    target: _Part | None,
    found: Sequence[pd.DataFrame],
    lists: Mapping[str, pd.DataFrame],
) -> Frames:
    """The frames with only the columns that the rule reads."""
    if EVERYTHING in rule.reads:
        return Frames(heads.frame(), lines.frame(), None if target is None else target.frame(), dict(lists))
    of_heads, of_lines, of_target = parted(rule.reads)
    if REFUSED in rule.reads:
        refused = np.zeros(len(heads.index), dtype=bool)
        for some in found:
            refused[some[ROW].to_numpy()] = True
        heads = _Part(heads.index, {**heads.columns, REFUSED: pd.Series(refused, heads.index)})
    return Frames(
        heads.only(rule, of_heads),
        lines.only(rule, [ROW, LINE, *of_lines]),
        None if target is None or not of_target else target.only(rule, [ROW, LINE, *of_target]),
        {path: lists[path][[ROW, LINE, PARENT, *names]] for path, names in listed(rule.reads).items()},
    )


def _verify(rule: NamedRule, columns: Columns) -> None:
    """Checks that the rule has written exactly the columns that it declares."""
    if EVERYTHING in rule.writes:
        return
    parts = (columns.header, columns.lines, columns.made)
    for declared, part in zip(parted(rule.writes), parts, strict=True):
        written = set() if part is None else set(part.columns) - {ROW, LINE}
        if written != set(declared):
            odd = sorted(written ^ set(declared))
            raise ConfigError(
                f"The rule {rule.name} declares other columns than it writes: {', '.join(odd)}.",
                do=f"Correct `writes` in {rule.module}, or the rule.",
            )
