"""Lists that are paged by numbers, read so that no row is passed over while rows change.

In: how to ask for one page. Out: pages of rows. Never: a page of a number that rows may have moved away from meanwhile.

A row that changes moves to the end of its list, and all rows behind it move up by one: the first row of the next page
is then on the page that was read before. So the next page is asked for by time: from the last change that was read on,
its first page; rows that were given out already are left out. Only rows of one and the same moment are read by number:
then the page before is read once more, and where it is not as it was, the moment is read again from its first page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from crossdock.systems.paging import Split


@dataclass(frozen=True, slots=True)
class Row:
    """One row: by the contract, as received, what tells it from others and its own other versions, and when it changed
    last as the installation says it (None where that cannot be read)."""

    record: msgspec.Raw
    received: bytes
    name: str
    modified: datetime | None


# Asks for a page of the rows that have changed from a moment on (None: of all): number from 0 -> rows, server's time.
Ask = Callable[[datetime | None, int], tuple[list[Row], datetime]]


class Numbered:
    """One list, read once. `fetch` is what `paging.follow` calls."""

    def __init__(self, ask: Ask, since: datetime | None, size: int) -> None:
        self._ask, self._size = ask, size
        self._low, self._page = since, 0
        self._given: set[str] = set()  # rows of the moment `_low`
        self._before: list[str] = []  # the page before, as it was read
        self._places = 0

    def fetch(self, place: str | None) -> Split:
        """The next page, without rows that were given out already."""
        del place  # it is kept here
        rows, clock = self._ask(self._low, self._page)
        moved = self._page > 0 and [row.name for row in self._ask(self._low, self._page - 1)[0]] != self._before
        self._before = [row.name for row in rows]
        moments = [row.modified for row in rows if row.modified is not None]
        new = [row for row in rows if row.name not in self._given]
        self._given.update(self._before)
        last = moments[-1] if moments else self._low
        full = len(rows) >= self._size
        if moved:
            self._page = 0
        elif full and last == self._low:
            self._page += 1
        elif full:
            self._low, self._page = last, 0
            self._given = {row.name for row in rows if row.modified == last}
        else:
            return split_of(new, clock, None)
        self._places += 1
        return split_of(new, clock, str(self._places))


def split_of(rows: list[Row], clock: datetime, following: str | None) -> Split:
    """A page of these rows."""
    return Split([row.record for row in rows], clock, following, [row.received for row in rows])
