"""Named rules: what a mapping table cannot say is a function in `crossdock/rules/`, and the table names it.

In: functions marked with `@rule`. Out: their names, what they read and write, and their first line, for checking
and documentation. Never: runs a rule; the flow calls them, in its own order, before the table.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TypeVar

from crossdock.errors import ConfigError

F = TypeVar("F", bound=Callable)
PACKAGES = "crossdock.rules"  # entry points


@dataclass(frozen=True)
class NamedRule:
    """A rule as a mapping sees it. `writes` are the columns that it adds to the frames, `docstring` what its
    docstring's first paragraph says before `Returns`."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    docstring: str
    module: str


_RULES: dict[str, NamedRule] = {}


def rule(name: str, *, reads: Sequence[str], writes: Sequence[str]) -> Callable[[F], F]:
    """Registers a function under `name`. `reads`: source paths; `writes`: the columns that it adds to the frames,
    lines' columns by their name alone. The function itself stays as it is."""

    def register(function: F) -> F:
        docstring = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).partition(" Returns ")[0]
        held = _RULES.get(name)
        if held and held.module != function.__module__:
            raise ValueError(f"two rules are named {name!r}: in {held.module} and in {function.__module__}")
        _RULES[name] = NamedRule(name, tuple(reads), tuple(writes), docstring, function.__module__)
        return function

    return register


@functools.cache
def _import_all() -> None:
    """Imports every module of the packages that an entry point names as rules: this room knows none of them."""
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
