"""Registers named rules: functions in `crossdock/rules/` that do what a mapping table cannot express; the table names
them.

In: functions marked with `@rule`. Out: their names, what they read and write, and their first line, for running,
checking and documentation. Never: runs a rule; the table's plan does.

A rule is `f(frames, context) -> Columns`. It sees the columns that it declares and no other:

| declared | is |
|---|---|
| `Currency` | a column of the heads |
| `lines.SKU` | a column of the source's lines |
| `made.SKU` | a column of the target's lines, which a rule has made of the source's |
| `lists.Items.Promotions.Amount` | a column of another list of the source, where the flow reads its lists |
| `refused` | which heads have a problem so far; a rule that reads it runs after all rules that do not need it |
| `*` | every column of the source; a rule that writes it runs before all others |

A rule that reads a column that it also writes replaces it: it runs before all others that read it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from crossdock.errors import ConfigError
from crossdock.mapping.problems import empty

F = TypeVar("F", bound=Callable)
PACKAGES = "crossdock.rules"  # entry points

KEY = "key"  # the record's key, which every flow gives beside the source's columns
LINES, MADE, LISTS = "lines.", "made.", "lists."
REFUSED = "refused"
EVERYTHING = "*"


@dataclass
class Columns:
    """The result of a rule: columns in the order of the frames' rows. `made` has `_row` and `_line` where it is whole
    new lines. `origin`: the source row of each head, where one record becomes several documents."""

    header: pd.DataFrame | None = None
    lines: pd.DataFrame | None = None
    made: pd.DataFrame | None = None
    problems: pd.DataFrame = field(default_factory=empty)
    warnings: pd.DataFrame = field(default_factory=empty)
    origin: np.ndarray | None = None


@dataclass(frozen=True)
class NamedRule:
    """A rule as a mapping sees it. `docstring` is the first paragraph of its docstring before `Returns`; `file` and
    `line` are its place; `context` is the type that it takes, "" where it takes none."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    docstring: str
    module: str
    function: Callable[..., Any] = field(compare=False, repr=False)
    file: Path = Path()
    line: int = 0
    context: str = ""


_RULES: dict[str, NamedRule] = {}


def rule(name: str, *, reads: Sequence[str], writes: Sequence[str]) -> Callable[[F], F]:
    """Registers a function under `name`, with the columns that it reads and writes. The function itself is
    unchanged."""

    def register(function: F) -> F:
        docstring = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).partition(" Returns ")[0]
        held = _RULES.get(name)
        if held and held.module != function.__module__:
            raise ValueError(f"two rules are named {name!r}: in {held.module} and in {function.__module__}")
        code = function.__code__
        wanted = str(function.__annotations__.get("context", "object"))
        _RULES[name] = NamedRule(
            name,
            tuple(dict.fromkeys(reads)),
            tuple(dict.fromkeys(writes)),
            docstring,
            function.__module__,
            function,
            Path(code.co_filename),
            code.co_firstlineno,
            "" if wanted == "object" else wanted.rpartition(".")[2],
        )
        return function

    return register


@functools.cache
def _import_all() -> None:
    """Imports every module of the packages that entry points name as rules: this room does not import them by name."""
    packages = entry_points(group=PACKAGES)
    if not packages:
        raise ConfigError("No rules are installed.", do="Run `make setup`, or `pip install -e .` in the project.")
    for package in packages:
        for module in pkgutil.iter_modules(package.load().__path__):
            importlib.import_module(f"{package.value}.{module.name}")


def named_rules() -> dict[str, NamedRule]:
    """All rules of the installed packages, by name."""
    _import_all()
    return dict(_RULES)
