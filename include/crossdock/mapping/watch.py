"""Watches mappings at work: each value on its way from the source through converter and lookup to the target, and what
rules read and write.

In: the frames that a mapping runs on, within `watching`. Out: one `Seen` per run of a mapping. Never: a change of what
is watched; a cost where nobody watches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import pandas as pd

from crossdock.mapping.frames import Frames

SOURCE, CONVERT, LOOKUP, DEFAULT, CONSTANT, TARGET = "source", "convert", "lookup", "default", "constant", "target"


@dataclass(frozen=True)
class Station:
    """One station of a field's values. `name`: of the converter, the lookup, the source path."""

    target: str
    of_lines: bool
    kind: str
    name: str
    values: pd.Series


@dataclass(frozen=True)
class RuleSeen:
    """What a rule read and wrote; the columns are named as the rule declares them."""

    name: str
    read: Frames
    header: pd.DataFrame | None
    lines: pd.DataFrame | None
    made: pd.DataFrame | None


@dataclass
class Seen:
    """One run of a mapping, by its name. `source` has a head for each target document, with the rules' columns."""

    mapping: str
    stations: list[Station] = field(default_factory=list)
    rules: list[RuleSeen] = field(default_factory=list)
    source: Frames | None = None
    target: Frames | None = None

    @property
    def has_records(self) -> bool:
        return self.source is not None and len(self.source.header) > 0


_WATCHER: ContextVar[list[Seen] | None] = ContextVar("mapping_watcher", default=None)


@contextmanager
def watching() -> Iterator[list[Seen]]:
    """Collects what the mappings do within the block, in the order in which they run."""
    seen: list[Seen] = []
    token = _WATCHER.set(seen)
    try:
        yield seen
    finally:
        _WATCHER.reset(token)


def begin(mapping: str) -> Seen | None:
    """A new run of a mapping, if somebody watches."""
    watcher = _WATCHER.get()
    if watcher is None:
        return None
    watcher.append(Seen(mapping))
    return watcher[-1]
