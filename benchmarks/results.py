"""Keeps each measurement as it comes, and shows all as one table.

In: the numbers of each part; what went wrong in it. Out: a file of JSON lines, a table for the terminal, the same in
Markdown. Never: a number lost because another part failed; a part left out without a word.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

COLUMNS = ("", "ours", "beside it", "", "ratio", "aim")


class Missing(LookupError):
    """Nothing of that name was measured."""


class Unfit(RuntimeError):
    """A part has reported something that is not a measurement."""


@dataclass
class Measured:
    """Every number of every round by name, every failure by part."""

    book: Path
    say: Callable[[str], None] = lambda _: None
    facts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, result: dict[str, Any]) -> None:
        """Keeps the numbers of one measurement."""
        if untold := [key for key, value in result.items() if value is None]:
            raise Unfit(f"{name} has told no {', '.join(untold)}")
        for key, value in result.items():
            self.values[f"{name}.{key}"].append(float(value))
        self._keep({"measured": name, **result})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Runs one part: its failure is noted, and the others go on."""
        self.say(name)
        try:
            yield
        except Exception as error:
            self.failures[name] = reason(error)
            self._keep({"failed": name, "why": str(error)})
            self.say(f"FAILED {name}: {self.failures[name]}")

    def _keep(self, line: dict[str, Any]) -> None:
        self.book.parent.mkdir(parents=True, exist_ok=True)
        with self.book.open("a") as file:
            file.write(json.dumps({"at": time.strftime("%H:%M:%S"), **line}) + "\n")

    def __getitem__(self, name: str) -> float:
        if name not in self.values:
            raise Missing(name)
        return statistics.median(self.values[name])

    def last(self, name: str) -> float:
        """The newest number of a part that reports sums so far."""
        if name not in self.values:
            raise Missing(name)
        return self.values[name][-1]

    def __contains__(self, name: str) -> bool:
        return name in self.values


def reason(error: Exception) -> str:
    """One line for the table; the whole is in the file."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {error.timeout:.0f} s"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1].strip() if lines else type(error).__name__)[:160]


@dataclass
class Grid:
    """The table, row by row. A ratio is how many times as fast ours is."""

    rows: list[tuple[str, str, str, str, str, str]] = field(default_factory=list)

    def row(self, name: str, ours: str, other: str = "", theirs: str = "", ratio: str = "", aim: str = "") -> None:
        self.rows.append((name, ours, other, theirs, ratio, aim))

    def speeds(self, name: str, unit: str, count: float, ours: float, others: list[tuple[str, float, str]]) -> None:
        """`count` a second, ours and beside it."""
        for number, (other, theirs, aim) in enumerate(others):
            self.row("" if number else name, "" if number else f"{count / ours:,.0f} {unit}", other,
                     f"{count / theirs:,.0f} {unit}", f"{theirs / ours:.2f}", aim)  # fmt: skip

    @contextmanager
    def group(self, name: str) -> Iterator[None]:
        """Adds the rows of one subject, and a row that names what was not measured."""
        try:
            yield
        except (Missing, KeyError):
            self.row(name, "not measured")

    def failures(self, found: Measured) -> None:
        """A row for each part that failed."""
        for name, why in found.failures.items():
            self.row(f"FAILED: {name}", why)

    def table(self, title: str) -> Table:
        """For the terminal."""
        made = Table(title=title, title_justify="left")
        for name, justify in zip(COLUMNS, ("left", "right", "left", "right", "right", "left"), strict=True):
            made.add_column(name, justify=justify)  # type: ignore[arg-type]
        for row in self.rows:
            made.add_row(*row[:5], _coloured(row[5]))
        return made

    def markdown(self) -> str:
        """For a page."""
        header = f"| {' | '.join(COLUMNS)} |\n|---|--:|---|--:|--:|---|\n"
        return header + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in self.rows)


def _coloured(aim: str) -> str:
    for word, colour in (("met", "green"), ("missed", "red")):
        if aim.endswith(f" {word}"):
            return f"{aim.removesuffix(word)}[{colour}]{word}[/{colour}]"
    return aim


def mark(met: bool, aim: str) -> str:
    """The aim, and whether it was met."""
    return f"{aim} {'met' if met else 'missed'}"
