"""Idempotency: the answer of a POST is kept 24 hours under its client's key and given again.

In: client, key, payload. Out: the stored answer, or a refusal when the key is at work or belongs to another payload.
Never: an answer kept outside the transaction of its effect, or one that was no success.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from sandbox.kernel.clock import DAY
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.store import Transaction

_KIND = "_replay"
_KEPT = ("ETag", "Location")
_canonical = msgspec.json.Encoder(order="sorted", decimal_format="number")


def fingerprint(method: str, path: str, body: Any) -> str:
    """Method, path and body compared as data: member order and white space do not count."""
    payload = _canonical.encode([method, path, body])
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


class Replays:
    def __init__(self) -> None:
        self._running: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self, client: str, key: str) -> Iterator[None]:
        """Only one request of a key at a time; the others are refused."""
        name = (client, key)
        with self._lock:
            if name in self._running:
                text = "The first request with this Idempotency-Key still runs."
                raise Refusal(409, "IDEMPOTENCY_IN_PROGRESS", text, headers={"Retry-After": "1"})
            self._running.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(name)

    def stored(self, tx: Transaction, client: str, key: str, print: str, now: int) -> Answer | None:
        """The answer kept under a key; Refusal when it belongs to another payload."""
        row = tx.get(_KIND, f"{client}/{key}")
        if row is None or now - row.modified > DAY:
            return None
        if row.doc["print"] != print:
            raise Refusal(422, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key belongs to another payload.")
        return Answer(row.doc["status"], row.doc["body"], row.doc["headers"] | {"Idempotency-Replayed": "true"})

    def keep(self, tx: Transaction, client: str, key: str, print: str, answer: Answer, now: int) -> None:
        headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        doc = {"print": print, "status": answer.status, "headers": headers, "body": answer.body}
        tx.delete_before(_KIND, now - DAY)
        tx.put(_KIND, f"{client}/{key}", doc, modified=now)
