"""Writes events down: those that come while one statement is at work go together with the next.

In: events, from a loop of asyncio. Out: rows that are committed. Never: "written" before the commit; more waiting rows
than a limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.errors import CrossdockError
from crossdock.store import webhook_events
from crossdock.store.faults import typed_errors
from crossdock.store.webhook_events import Event

MOST_WAITING = 5_000  # events
AT_ONCE = 500  # deliveries of one statement
ANSWER_SECONDS = 4.0  # senders wait 5 s
HEALTH_SECONDS = 2.0  # for so long a look at the database is good
LOG_SECONDS = 10.0  # an outage is logged once in this time
log = logging.getLogger(__name__)


class Full(Exception):
    """As many events wait as may."""


class NotWritten(Exception):
    """The database has not confirmed them in time. They may be there all the same."""


class Journal:
    """One writer, for all deliveries of this process."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._waiting: list[tuple[Sequence[Event], asyncio.Future[bool]]] = []
        self._size = 0
        self._writer: asyncio.Task[None] | None = None
        self._health = (0.0, False)
        self._health_lock = asyncio.Lock()
        self._logged_at = -LOG_SECONDS

    async def add(self, events: Sequence[Event]) -> None:
        """Returns once they are committed. Raises Full, NotWritten."""
        if self._size + len(events) > MOST_WAITING:
            raise Full
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((events, written))
        self._size += len(events)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        done, _ = await asyncio.wait((written,), timeout=ANSWER_SECONDS)
        if not done or not written.result():
            raise NotWritten

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            events = [event for several, _ in group for event in several]
            is_written = False
            try:
                is_written = await asyncio.to_thread(self._write, events)
            finally:  # else they would be waited for, and take room, for ever
                self._size -= len(events)
                for _, written in group:
                    written.set_result(is_written)

    def _write(self, events: Sequence[Event]) -> bool:
        try:
            with typed_errors(), self._engine.begin() as connection:
                webhook_events.add(connection, events)
        except Exception as error:
            if time.monotonic() - self._logged_at >= LOG_SECONDS:
                # A fault of the program may have a value of an event in its text.
                words = error if isinstance(error, CrossdockError) else type(error).__name__
                log.error("%d events could not be written, and are not confirmed: %s", len(events), words)
                self._logged_at = time.monotonic()
            return False
        return True

    async def is_healthy(self) -> bool:
        """Whether the database answers. Looked at now and then, however often it is asked."""
        async with self._health_lock:
            at, answer = self._health
            if time.monotonic() - at > HEALTH_SECONDS:
                answer = await asyncio.to_thread(self._answers)
                self._health = (time.monotonic(), answer)
            return answer

    def _answers(self) -> bool:
        try:
            with typed_errors(), self._engine.connect() as connection:
                connection.execute(sa.select(1))
        except CrossdockError:
            return False
        return True
