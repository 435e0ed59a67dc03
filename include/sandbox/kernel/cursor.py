"""Opaque places in a list, bound to their query.

In: the last row of a page and the query. Out: a short text for the client, and the place again. Never: state; a cursor
carries all it needs, with a check sum, and dies 24 hours after it was given.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from sandbox.kernel.clock import DAY
from sandbox.kernel.store import Id

_LIFE = DAY


class DeadCursor(Exception):
    """The cursor is not one of ours, belongs to another query or is too old."""


def _seal(parts: list[Any], query: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode([parts, dict(query)], order="sorted"), digest_size=9).digest()


def make(place: tuple[int, Id], query: Mapping[str, Any], now: int) -> str:
    """A cursor as text. `query`: all that it is bound to (operation, filters), without cursor and page size."""
    parts = [*place, now]
    return base64.urlsafe_b64encode(_seal(parts, query) + msgspec.json.encode(parts)).rstrip(b"=").decode()


def read(text: str, query: Mapping[str, Any], now: int) -> tuple[int, Id]:
    """The place behind which the next page begins. DeadCursor when it is foreign, altered or older than 24 hours."""
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        modified, id, given = parts = msgspec.json.decode(raw[9:])
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        raise DeadCursor from error
    if raw[:9] != _seal(parts, query) or now - given > _LIFE:
        raise DeadCursor
    return modified, id
