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
from typing import TypeVar

F = TypeVar("F", bound=Callable)


@dataclass(frozen=True)
class NamedRule:
    """A rule as a mapping sees it. `writes` are the columns that it adds to the frames, `says` what its docstring's
    first paragraph says before `Returns`."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    says: str
    module: str


_RULES: dict[str, NamedRule] = {}


def rule(name: str, *, reads: Sequence[str], writes: Sequence[str]) -> Callable[[F], F]:
    """Registers a function under `name`. `reads`: source paths; `writes`: the columns that it adds to the frames,
    lines' columns by their name alone. The function itself stays as it is."""

    def register(function: F) -> F:
        says = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).partition(" Returns ")[0]
        held = _RULES.get(name)
        if held and held.module != function.__module__:
            raise ValueError(f"two rules are named {name!r}: in {held.module} and in {function.__module__}")
        _RULES[name] = NamedRule(name, tuple(reads), tuple(writes), says, function.__module__)
        return function

    return register


@functools.cache
def _import_all() -> None:
    import crossdock.rules

    for module in pkgutil.iter_modules(crossdock.rules.__path__):
        importlib.import_module(f"crossdock.rules.{module.name}")


def named_rules() -> dict[str, NamedRule]:
    """All rules of `crossdock.rules`, by name."""
    _import_all()
    return dict(_RULES)
