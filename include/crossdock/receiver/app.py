"""The receiver as an ASGI app: a route for each source, one for health, and nothing else.

In: HTTP. Out: 202 once an event is committed; any other status, and nothing is written. Never: a detail for whoever
asks, a part of a body in the log.

| status | when |
|---|---|
| 202 | committed now, or before |
| 400, 415 | not JSON, or not of the source's form |
| 401 | another address, a wrong signature, too old |
| 404 | any other path or method |
| 408, 413 | the body takes too long, is too large |
| 429 | too many at one time |
| 503 | the database has not confirmed it: send it again |
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from crossdock.receiver import deliveries
from crossdock.receiver.deliveries import Refused
from crossdock.receiver.journal import Full, Journal, NotWritten
from crossdock.receiver.sources import OpenSource, Settings

HEALTH = "/health"
READ_SECONDS = 5.0
LOG_SECONDS = 10.0  # refusals of one kind are logged once in this time
RETRY = ((b"retry-after", b"1"),)
Scope = MutableMapping[str, Any]
log = logging.getLogger(__name__)


class Gone(Exception):
    """The sender has hung up."""


class Receiver:
    """The ASGI app."""

    def __init__(
        self,
        sources: Iterable[OpenSource],
        journal: Journal,
        settings: Settings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sources = {source.rules.path: source for source in sources}
        self._journal, self._settings, self._now = journal, settings, now
        self._running = 0
        self._refusals: dict[tuple[str, str], tuple[int, float]] = {}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        source = self._sources.get(path) if method == "POST" else None
        if source is not None:
            try:
                await _answer(send, *await self._take(source, scope, receive))
            except Gone:
                return
        elif path == HEALTH and method in ("GET", "HEAD"):
            await _answer(send, 200 if await self._journal.is_healthy() else 503)
        else:
            await _answer(send, 404)

    async def _take(self, source: OpenSource, scope: Scope, receive: Any) -> tuple[int, Iterable[deliveries.Header]]:
        """Status and headers of the answer to a delivery."""
        address = (scope.get("client") or ("", 0))[0]
        self._running += 1
        try:
            if self._running > self._settings.at_once:
                raise Refused(429, "too many at one time")
            if not source.lets_in(address):
                raise Refused(401, "address")
            body = await self._body(scope, receive)
            events = deliveries.read(
                source, scope["headers"], body, now=self._now(), age_seconds=self._settings.age_seconds
            )
            await self._journal.add(events)
        except Refused as refused:
            self._note(source.rules.path, refused.reason, address)
            return refused.status, RETRY if refused.status == 429 else ()
        except Full:
            self._note(source.rules.path, "too many wait", address)
            return 429, RETRY
        except NotWritten:
            return 503, RETRY
        finally:
            self._running -= 1
        return 202, ()

    async def _body(self, scope: Scope, receive: Any) -> bytes:
        most = self._settings.body_bytes
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise Refused(413, "size")
        parts, size, is_whole = [], 0, False
        try:
            async with asyncio.timeout(READ_SECONDS):
                while not is_whole:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise Refused(413, "size")
                    is_whole = not message.get("more_body")
        except TimeoutError:
            raise Refused(408, "time") from None
        return b"".join(parts)

    def _note(self, path: str, reason: str, address: str) -> None:
        """Logs a refusal, those of one kind together: whoever sends many fills no disk."""
        count, before = self._refusals.get((path, reason), (0, 0.0))
        now = time.monotonic()
        if before and now - before < LOG_SECONDS:
            self._refusals[path, reason] = (count + 1, before)
            return
        log.warning("%s: %d refused: %s, the last one from %s", path, count + 1, reason, address)
        self._refusals[path, reason] = (0, now)


async def _answer(send: Any, status: int, headers: Iterable[deliveries.Header] = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]})
    await send({"type": "http.response.body", "body": b""})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
