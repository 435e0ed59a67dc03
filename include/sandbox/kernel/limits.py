"""Requests per minute (sliding) and at once, per key.

In: a key (client or profile). Out: a slot, or how long to wait. Never: the sandbox clock; limits run in real time, and
a refused request does not count.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

_WINDOW = 60.0


@dataclass(frozen=True)
class Standing:
    """What a key has left: for the X-RateLimit headers."""

    limit: int
    remaining: int
    reset: int  # seconds until the limit is whole again


class Exceeded(Exception):
    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.reason, self.retry_after = reason, retry_after


class Limiter:
    """`enter` takes a slot and counts the request, `leave` gives the slot back. Thread safe."""

    def __init__(self, per_minute: int, at_once: int) -> None:
        self.per_minute, self.at_once = per_minute, at_once
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = defaultdict(deque)
        self._running: dict[str, int] = defaultdict(int)

    def _recent(self, key: str, now: float) -> deque[float]:
        times = self._times[key]
        while times and times[0] <= now - _WINDOW:
            times.popleft()
        return times

    def enter(self, slot: str, keys: Sequence[str], *, at_once: bool = True) -> None:
        """One request of `slot` (at once) that counts against every one of `keys` (per minute). Raises Exceeded."""
        now = time.monotonic()
        with self._lock:
            if at_once and self._running[slot] >= self.at_once:
                raise Exceeded(f"{self.at_once} requests are running at once.", 1)
            for key in keys:
                times = self._recent(key, now)
                if len(times) >= self.per_minute:
                    wait = math.ceil(times[-self.per_minute] + _WINDOW - now)
                    raise Exceeded(f"{self.per_minute} requests per minute are used up.", max(1, wait))
            for key in keys:
                self._times[key].append(now)
            self._running[slot] += at_once

    def count(self, keys: Sequence[str]) -> None:
        """One more request of one that has its slot already: a part of a batch. Raises Exceeded."""
        self.enter("", keys, at_once=False)

    def leave(self, slot: str) -> None:
        with self._lock:
            self._running[slot] -= 1

    def standing(self, keys: Sequence[str]) -> Standing:
        """The standing of the key with the least left."""
        now = time.monotonic()
        with self._lock:
            times = max((self._recent(key, now) for key in keys), key=len, default=deque())
            reset = math.ceil(times[-1] + _WINDOW - now) if times else 0
            return Standing(self.per_minute, max(0, self.per_minute - len(times)), reset)

    def clear(self) -> None:
        with self._lock:
            self._times.clear()
