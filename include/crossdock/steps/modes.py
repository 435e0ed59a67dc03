"""The mode of a flow, and what it allows: to write, to write from a day on, so many records at first, or nothing.

In: flows.yaml as it is in force now, not when the task began. Out: the mode; a permission for the HTTP layer that looks
again all the time. Never: a write of a flow that a person has put into shadow mode a second ago.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa

from crossdock import settings
from crossdock.store import versions

FRESH_SECONDS = 0.5  # how old a permission may be


@dataclass(frozen=True, slots=True)
class Mode:
    """How a flow runs. `since`: the first day that it makes anything of; `cap`: how many records until a person
    releases it."""

    shadow: bool = False
    since: date | None = None
    cap: int | None = None


def of(flow: str) -> Mode:
    """By the settings in use. Raises ConfigError."""
    own = settings.flow(flow)
    return Mode(own.mode == "shadow", own.live_from, own.first_day_cap)


def now(engine: sa.Engine, flow: str) -> Mode:
    """By the version of the configuration that is in force now; within a draft, by the draft. Raises ConfigError."""
    with versions.in_force(engine):
        return of(flow)


def refused(flow: str) -> str:
    """Why a flow in shadow mode may not write, as a sentence."""
    return f"The flow {flow} is in shadow mode."


class WhileLive:
    """The permission of a live flow: it ends as soon as the flow is put into shadow mode. Many threads may ask."""

    def __init__(self, engine: sa.Engine, flow: str) -> None:
        self._engine, self._flow = engine, flow
        self._lock, self._until, self._shadow = threading.Lock(), 0.0, True

    def __call__(self) -> str | None:
        with self._lock:
            if time.monotonic() >= self._until:
                self._shadow = now(self._engine, self._flow).shadow
                self._until = time.monotonic() + FRESH_SECONDS
        return refused(self._flow) if self._shadow else None
