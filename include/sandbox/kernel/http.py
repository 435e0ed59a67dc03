"""A request and an answer, between the server and the systems.

In: HTTP as bytes. Out: typed requests for handlers, answers as bytes. Never: a status that hides a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.kernel.contract import Operation
from sandbox.kernel.faults import Plan
from sandbox.kernel.oauth import Access
from sandbox.kernel.store import Id, encode


@dataclass
class Answer:
    """One answer. `body`: plain data (written as JSON), text or bytes (sent as they are), None (no body)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    media: str = "application/json"
    listed: tuple[str, list[Id]] | None = None  # kind and ids of a list's page and the row behind it, for shift_rows

    def bytes(self) -> bytes:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return (
            self.body.encode() if isinstance(self.body, str) and self.media != "application/json" else encode(self.body)
        )


class Refusal(Exception):
    """A request that is refused. The kernel raises `code`s of its own, each system writes them in its own shape:
    invalid_token, insufficient_scope, rate_limited, too_large, not_found, method_not_allowed, unsupported_media_type,
    malformed_body, invalid_parameter, invalid_cursor, internal. A system raises its contract's codes."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        findings: Sequence[Any] = (),
        headers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.findings, self.headers, self.facts = list(findings), dict(headers or {}), facts


@dataclass
class Request:
    """What a handler gets. `query` and `path` are typed and keyed by the contract's names."""

    operation: Operation
    access: Access
    path: dict[str, Any]
    query: dict[str, Any]
    headers: Mapping[str, str]  # lower-case names
    body: Any
    now: int  # ticks of the sandbox clock
    raw_path: str = ""  # as sent, percent-encoded
    raw_query: str = ""
    base_url: str = ""  # scheme://host of the request
    plan: Plan = field(default_factory=Plan)


@dataclass
class Incoming:
    """A request before anything is known about it."""

    method: str
    raw_path: str
    raw_query: str
    headers: dict[str, str]
    base_url: str
    client_host: str
    receive: Callable[[], Awaitable[Any]] = field(repr=False)

    async def gone(self, seconds: float) -> None:
        """Wait until the client hangs up, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await self.receive())["type"] != "http.disconnect":
                    pass

    async def body(self, most: int) -> bytes:
        """All of the body; Refusal too_large above `most` bytes."""
        parts, size = [], 0
        if int(self.headers.get("content-length") or 0) > most:
            raise Refusal(413, "too_large", f"The body is larger than {most} bytes.")
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise Refusal(413, "too_large", f"The body is larger than {most} bytes.")
            if not message.get("more_body"):
                return b"".join(parts)
