"""Keeps access tokens, valid for 3600 seconds of passed time, as clients count it: a leap of the clock ends none.
Tokens survive a restart.

In: a client that proved itself. Out: an opaque token, and later whose it is. Never: a secret in a log.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from sandbox.kernel.clock import SECOND, Clock
from sandbox.kernel.store import Store

LIFETIME = 3600


@dataclass(frozen=True)
class Access:
    """Whose token it is and what it may do."""

    client: str
    scopes: frozenset[str] = frozenset()
    profiles: tuple[int, ...] = ()
    token: str = field(default="", repr=False)


class Tokens:
    """Tokens that were given and still live."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._tokens: dict[str, tuple[int, Access]] = {}
        with store.read() as tx:
            for row in tx.page("_token", limit=-1):
                d = row.doc
                access = Access(d["client"], frozenset(d["scopes"]), tuple(d["profiles"]), str(row.id))
                self._tokens[access.token] = (d["expires"], access)

    def give(self, client: str, scopes: Sequence[str] = (), profiles: Sequence[int] = ()) -> Access:
        now = self._clock.passed()
        expires = now + LIFETIME * SECOND
        access = Access(client, frozenset(scopes), tuple(profiles), secrets.token_urlsafe(24))
        doc = {"client": client, "scopes": sorted(scopes), "profiles": list(profiles), "expires": expires}
        with self._store.write() as tx:
            tx.delete_before("_token", now - 2 * LIFETIME * SECOND)
            tx.put("_token", access.token, doc, modified=now)
        self._tokens = {t: existing for t, existing in self._tokens.items() if existing[0] > now} | {
            access.token: (expires, access)
        }
        return access

    def read(self, authorization: str) -> Access | None:
        """Whose `Authorization: Bearer ...` it is; None when missing, unknown or expired."""
        scheme, _, token = authorization.partition(" ")
        expires, access = self._tokens.get(token.strip(), (0, None))
        return access if scheme.lower() == "bearer" and expires > self._clock.passed() else None

    def expire(self, token: str | None = None) -> int:
        """Kill one token, or all. Answers how many died."""
        dead = [t for t in self._tokens if token in (None, t)]
        with self._store.write() as tx:
            for each in dead:
                tx.delete("_token", each)
        self._tokens = {t: existing for t, existing in self._tokens.items() if t not in dead}
        return len(dead)


def basic(authorization: str) -> tuple[str, str] | None:
    """Client and secret of `Authorization: Basic ...` (form-encoded inside, RFC 6749); None for another thing."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (unquote_plus(client), unquote_plus(secret)) if colon else None
