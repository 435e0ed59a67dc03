"""Load in shadow mode: everything but the last request, which is kept in its place.

In: items with their effects, and the calls that would send them. Out: rows of `ops.would_be`, made of the requests that
the HTTP layer has refused. To the flow such an item is one that its target has not decided. Never: a delivery, for
nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from crossdock.errors import Request, WriteRefused
from crossdock.pool import Pool
from crossdock.steps import modes
from crossdock.steps.load.outcomes import Answer, chunked
from crossdock.store import database, leases, would_be
from crossdock.store.deliveries import Effect
from crossdock.systems import writes

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

T = TypeVar("T")
PORTION = 500  # items whose requests are kept in one transaction


class Made(Protocol):
    """What is known of an item besides its effect: the new document by our contract, the stage row that it comes from,
    and what must be there before it, as (entity, key)."""

    @property
    def body(self) -> bytes: ...
    @property
    def row(self) -> str: ...
    @property
    def after(self) -> Sequence[tuple[str, str]]: ...


@dataclass
class Shadow:
    """One load in shadow mode. `failed`: something failed that would fail in a live load, too."""

    flow: str
    batch_id: int
    run_id: str = ""
    failed: bool = False

    def row(self, effect: Effect, refused: WriteRefused, made: Made | None = None) -> dict[str, Any]:
        """The row of `ops.would_be` of an effect whose request was refused."""
        request = _single(refused.request or Request("", ""))
        return {
            "idempotency_key": effect.idempotency_key, "entity": effect.entity, "operation": effect.operation,
            "key": effect.key, "row": (made.row if made else "") or effect.key, "system": refused.system or "",
            "method": request.method, "path": request.path,
            "body": None if request.body is None else request.body.decode("utf-8", "replace"),
            "document": None if made is None else database.from_json(made.body),
            "after": [{"entity": entity, "key": key} for entity, key in made.after] if made else [],
            "content_hash": effect.content_hash, "run_id": self.run_id,
        }  # fmt: skip

    def keep(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Keeps what would have been sent. Raises LeaseLost where another worker has taken over the flow."""
        leases.require(connection, self.flow)
        would_be.keep(connection, self.flow, self.batch_id, rows)

    def each(
        self,
        runtime: Runtime,
        items: Sequence[T],
        *,
        effect: Callable[[T], Effect],
        send: Callable[[Sequence[T]], Sequence[Answer]],
        keep: Callable[[sa.Connection, Sequence[tuple[T, Answer]]], None],
        at_once: int,
        made: Callable[[T], Made] | None,
    ) -> None:
        """Has `send` make the request of each item by itself, and keeps it. The flow learns by `keep` that the item is
        not decided. An item that needs no request is what it would be in a live load."""

        def one(item: T) -> Answer:
            try:
                return send([item])[0]
            except WriteRefused as refused:
                return Answer(error=refused)

        if not items:
            return
        with Pool(min(at_once, len(items)), "shadow") as pool:
            for portion in chunked(items, PORTION):
                pairs = list(zip(portion, pool.map(one, portion), strict=True))
                refused = [(item, answer.error) for item, answer in pairs if isinstance(answer.error, WriteRefused)]
                self.failed |= any(
                    answer.error is not None and not isinstance(answer.error, WriteRefused) for _, answer in pairs
                )
                rows = [self.row(effect(item), error, made(item) if made else None) for item, error in refused]
                with runtime.engine.begin() as connection:
                    self.keep(connection, rows)
                    keep(connection, pairs)


_at_work: ContextVar[Shadow | None] = ContextVar("shadow", default=None)


def at_work() -> Shadow | None:
    """The load in shadow mode that this is part of; None: it is live."""
    return _at_work.get()


@contextmanager
def loading(flow: str, batch_id: int, run_id: str) -> Iterator[Shadow]:
    """Makes the block a load in shadow mode: nothing in it can write, whatever the flow's mode becomes meanwhile."""
    shadow = Shadow(flow, batch_id, run_id)
    token = _at_work.set(shadow)
    try:
        with writes.permitted(lambda: modes.refused(flow)):
            yield shadow
    finally:
        _at_work.reset(token)


class _Operation(msgspec.Struct):
    Method: str
    Path: str
    IdempotencyKey: str
    Body: msgspec.Raw


class _Bulk(msgspec.Struct):
    Operations: list[_Operation]


def _single(request: Request) -> Request:
    """The one operation of a bulk as the request that it stands for."""
    if not request.path.endswith("/bulk") or request.body is None:
        return request
    try:
        (one,) = msgspec.json.decode(request.body, type=_Bulk).Operations
    except (msgspec.MsgspecError, ValueError):
        return request
    return Request(one.Method, request.path.removesuffix("/bulk") + one.Path, bytes(one.Body), one.IdempotencyKey)
