"""A system of the sandbox: what both have in common, and a method for everything on which they differ.

In: requests that the kernel has let through. Out: answers in the shape of the contract, pages of lists.
Never: HTTP; the way of a request is in `app`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from sandbox.kernel import contract, cursor, limits
from sandbox.kernel.clock import Clock, parse
from sandbox.kernel.faults import Faults, Plan
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.oauth import Access, Tokens
from sandbox.kernel.store import Id, Row, Store, Terms, Transaction, decode
from sandbox.kernel.webhooks import Events, Webhooks

Handler = Callable[..., Answer]


@dataclass(frozen=True)
class Call:
    """A request to a face, read but for its query and body."""

    method: str
    access: Access
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    now: int  # ticks of the sandbox clock
    raw_path: str
    raw_query: str
    base_url: str
    plan: Plan
    count: Callable[[], None] = lambda: None  # counts a part of a batch as a request; limits.Exceeded


@dataclass(frozen=True)
class Route:
    """What a request to a face means: `name` is counted and met by faults; `scopes`: any one of them is enough."""

    name: str
    id: str | None = None
    scopes: tuple[str, ...] = ()
    is_open: bool = False  # needs no token
    max_body: int | None = None  # bytes; None: as the system says


class Face(Protocol):
    """Another dialect of a system: paths of its own over the same state."""

    cursor: str  # name of the query's part that says where a page begins

    def owns(self, raw_path: str) -> bool:
        """Whether a path is this face's."""

    def route(self, method: str, raw_path: str) -> Route: ...

    def perform(self, call: Call) -> Answer:
        """Called in a thread. Refusal for what is refused."""

    def refuse(self, refusal: Refusal) -> Answer:
        """A refusal in this dialect's shape."""


@dataclass(frozen=True)
class Page:
    """A page of a list: its rows and the cursor of the next one (None: the last page)."""

    rows: list[Row]
    next: str | None
    listed: tuple[str, list[Id]]


class System:
    """One system of the sandbox. A subclass says what is its own; `handlers` serve its operations by operationId.

    An operation of the contract without a handler is answered like a path that is not in the contract.
    """

    name: ClassVar[str]  # of the contract file
    terms: ClassVar[Mapping[str, Terms]] = {}
    per_minute: ClassVar[int]
    at_once: ClassVar[int]
    max_body: ClassVar[int] = 5 * 1024 * 1024
    any_case_query: ClassVar[bool] = False
    paging: ClassVar[tuple[str, str, str, str]]  # names of since, before, limit, cursor
    events: ClassVar[Events]

    def __init__(self, folder: Path, *, per_minute: int | None = None, at_once: int | None = None) -> None:
        self.store = Store(folder / f"{self.name}.db", self.terms)
        self.contract = contract.load(self.name)
        self.clock = Clock(self.store)
        self.tokens = self.logins()
        self.limiter = limits.Limiter(per_minute or self.per_minute, at_once or self.at_once)
        self.faults = Faults()
        self.handlers: dict[str, Handler] = {}
        self.faces: list[Face] = []
        self.webhooks = Webhooks(self, self.events)

    def close(self) -> None:
        """Stops its thread and closes its store."""
        self.webhooks.close()
        self.store.close()

    # ---- what a system says ----
    def logins(self) -> Tokens:
        """By what it recognises who sends a request."""
        return Tokens(self.store, self.clock)

    def refuse(self, refusal: Refusal) -> Answer:
        """A refusal in the contract's shape."""
        raise NotImplementedError

    def token(self, authorization: str, form: dict[str, str]) -> Answer:
        """The token endpoint; `form` holds the decoded fields."""
        raise NotImplementedError

    def decode(self, body: bytes) -> Any:
        """The data of a JSON body; msgspec.DecodeError when it is not JSON."""
        return decode(body)

    def perform(self, request: Request) -> Answer:
        """Run the handler. Called in a thread; checks of the body belong here."""
        return self.handlers[request.operation.id](request)

    def apply(self, tx: Transaction, event: dict[str, Any], at: int) -> None:
        """Take in one event of the world. ValueError in a sentence when it cannot be taken."""
        raise NotImplementedError

    def touch(self, tx: Transaction, kind: str, id: Id, at: int) -> None:
        """Change a row in nothing but its modification stamp (the fault shift_rows)."""
        raise NotImplementedError

    def missing_scopes(self, access: Access, operation: contract.Operation) -> set[str]:
        """The scopes that a token lacks for an operation."""
        return set(operation.scopes) - access.scopes

    def limit_keys(self, access: Access) -> list[str]:
        """What a request counts against per minute."""
        return [access.client]

    def limit_headers(self, standing: limits.Standing) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(standing.limit),
            "X-RateLimit-Remaining": str(standing.remaining),
            "X-RateLimit-Reset": str(standing.reset),
        }

    def is_closed(self, raw_path: str) -> bool:
        """Whether a path is turned off."""
        return False

    def controls(self) -> dict[str, Callable[[Any], Any]]:
        """Controls of this system's own, by method and path below `/_sandbox/`."""
        return {}

    def moved(self) -> None:
        """The clock was set, or the world was applied."""

    def forget(self) -> None:
        """The store was emptied: put in what is always there."""

    def act(self, operations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What people do at the system's own screens: by its rules, but not through its API. One result each."""
        raise ValueError(f"Nobody works at the screens of {self.name}.")

    # ---- what both share ----
    def page(self, request: Request, tx: Transaction, kind: str, where: Mapping[str, Sequence[Any]]) -> Page:
        """The page of a list that a request asks for. Refusal invalid_cursor."""
        since, before, size, place = (request.query.get(name) for name in self.paging)
        most = int(size or 0)
        bound = {k: v for k, v in request.query.items() if k not in self.paging[2:]} | {"": request.operation.id}
        after = None
        if place is not None:
            try:
                after = cursor.read(place, bound, request.now)
            except cursor.DeadCursor:
                raise Refusal(
                    400, "invalid_cursor", "The cursor is not of this query, or older than 24 hours."
                ) from None
        rows = tx.page(
            kind,
            limit=most + 1,
            since=None if since is None else parse(since),
            before=None if before is None else parse(before),
            after=after,
            where=where,
        )
        ids, rows = [row.id for row in rows], rows[:most]
        more = len(ids) > most
        token = cursor.make((rows[-1].modified, rows[-1].id), bound, request.now) if more else None
        return Page(rows, token, (kind, ids))

    def routes(self) -> contract.Routes:
        return contract.Routes([op for op in self.contract.operations.values() if op.id in self.handlers])


def raw(row: Row) -> msgspec.Raw:
    """A stored document as it is, without reading and writing it again."""
    return msgspec.Raw(row.raw)
