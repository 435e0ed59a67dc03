"""Signed deliveries at a steady pace, by a client that costs next to nothing.

In: a receiver's URL, a secret, how many a second. Out: the status and the seconds of each. Never: a delivery held back
because the one before has not been answered; its time counts from the moment at which it was due.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS = 64
PATH = "/hooks/channel-advisor"
NO_ANSWER = 0


@dataclass(frozen=True)
class Answer:
    """`status`: 0 where the connection broke off."""

    status: int
    seconds: float


def deliver(url: str, secret: str, count: int, per_second: float) -> list[Answer]:
    """Delivers `count` events of orders and waits for the answers."""
    return asyncio.run(_deliver(url, secret, count, per_second))


async def _deliver(url: str, secret: str, count: int, per_second: float) -> list[Answer]:
    at = urlsplit(url)
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(_Connection(at.hostname or "", at.port or 80))
    begun = time.perf_counter()

    async def one(number: int) -> Answer:
        due = begun + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        try:
            status = await connection.post(_event(number, secret))
        finally:
            free.put_nowait(connection)
        return Answer(status, time.perf_counter() - due)

    answers = await asyncio.gather(*(one(number) for number in range(count)))
    while not free.empty():
        free.get_nowait().close()
    return answers


def _event(number: int, secret: str) -> bytes:
    """A whole request."""
    id, kind, stamp = f"evt_paced_{number:08}", "OrderCreated", str(int(time.time()))
    body = json.dumps(
        {"EventID": id, "EventType": kind, "ProfileID": 12345678, "ResourceID": str(number),
         "ResourceURL": f"http://127.0.0.1/v2/orders/{number}", "OccurredAt": "2011-01-04T10:00:00Z"}
    ).encode()  # fmt: skip
    signed = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    header = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-CA-Event-ID: {id}\r\n"
        f"X-CA-Event-Type: {kind}\r\nX-CA-Timestamp: {stamp}\r\nX-CA-Signature: sha256={signed}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return header.encode() + body


class _Connection:
    """One that is opened when it is used first, and again after it broke off."""

    def __init__(self, host: str, port: int) -> None:
        self._at = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: bytes) -> int:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._at)
            reader, writer = self._streams
            writer.write(request)
            header = await reader.readuntil(b"\r\n\r\n")  # the receiver's answers have no body
            return int(header.split(b" ", 2)[1])
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return NO_ANSWER

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
