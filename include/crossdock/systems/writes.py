"""Whether what is at work may change anything at a system: asked by the HTTP layer before each request that does.

In: a permission, given by whoever knows the flow at work and its mode. Out: nothing, or WriteRefused. Never: a write
where nobody has given one; a permission in a thread that `crossdock.pool.Pool` has not started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from crossdock.errors import Request, WriteRefused

# Why nothing may be written now, as a sentence; None where it may.
Permission = Callable[[], str | None]


def nobody() -> str:
    """The permission where none was given."""
    return "No live flow is at work, and only a live flow may write."


_permission: ContextVar[Permission] = ContextVar("writes", default=nobody)


@contextmanager
def permitted(permission: Permission) -> Iterator[None]:
    """Within the block, in this thread and in what it starts in a `Pool`, `permission` is asked before each write."""
    token = _permission.set(permission)
    try:
        yield
    finally:
        _permission.reset(token)


def none() -> str:
    """The permission of what only reads."""
    return "This step only reads."


def always() -> None:
    """The permission of those who speak to a system that serves nobody else, such as tests with a sandbox."""


def require(system: str, request: Request) -> None:
    """Raises WriteRefused with the request, where it may not be sent."""
    why = _permission.get()()
    if why is not None:
        raise WriteRefused(
            f"{request.method} {request.path} would change something at {system}, and was not sent. {why}",
            do="`crossdock status` shows the modes of the flows; a person makes a flow live with `crossdock launch`.",
            system=system,
            request=request,
        )
