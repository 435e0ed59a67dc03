"""Threads that read the settings of whoever started them.

In: calls. Out: their futures. Never: the settings of another root (`crossdock.settings.using`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """A pool of threads, each call of which sees the context variables that hold where it is submitted."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        seen = copy_context()
        return super().submit(lambda: seen.run(fn, *args, **kwargs))
