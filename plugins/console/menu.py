"""The menu: the pages that say their TITLE, PATH and PLACE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Entry:
    """One page in the menu. `path`: below the console's root."""

    title: str
    path: str
    place: int


def entries(pages: Iterable[ModuleType]) -> tuple[Entry, ...]:
    """The pages that stand in the menu, in their order."""
    found = (Entry(page.TITLE, page.PATH, page.PLACE) for page in pages if hasattr(page, "TITLE"))
    return tuple(sorted(found, key=lambda entry: entry.place))
