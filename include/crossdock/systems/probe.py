"""The way to a system, tried step by step, and single requests that are answered as they are.

In: a connection. Out: where its host is, which proxy is on the way, how far its clock is off, whole answers of any
status. Never: a second try, a budget, a circuit; a request that changes something: it sends GETs, and asks for tokens.
"""

from __future__ import annotations

import email.utils
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3

from crossdock.errors import CrossdockError
from crossdock.systems import failures
from crossdock.systems.connections import Connection, is_loopback, refuse_other_machines
from crossdock.systems.http import TOKEN_PATH, Answer, TooLarge, basic, read_content, session_for, with_query
from crossdock.systems.limits import Limits


class Unanswered(Exception):
    """No whole answer came. `row`: of the table of failures; `error`: its sentences; `detail`: the one fact in them."""

    def __init__(self, row: str, error: CrossdockError, detail: str) -> None:
        super().__init__(row)
        self.row, self.error, self.detail = row, error, detail


class Probe:
    """Requests to one system, one after another. A context manager."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        refuse_other_machines(connection)
        self.connection = connection
        self.clocks: list[float] = []  # seconds that the system's clock is ahead of ours, by the Date of each answer
        self.per_minute: int | None = None  # requests that it allows, by its last X-RateLimit-Limit
        self._limits = limits
        self._session = session_for(connection, limits)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def is_here(self) -> bool:
        """Whether the system is on this machine, where neither a proxy nor TLS is needed."""
        return is_loopback(urlsplit(self.connection.base_url).hostname or "")

    @property
    def proxy(self) -> str | None:
        """Host and port of the proxy on the way, without its login; None where there is none."""
        scheme = urlsplit(self.connection.base_url).scheme
        given = self._session.proxies.get(scheme) or self._session.proxies.get("all")
        return str(given).rpartition("@")[2].partition("://")[2] or str(given).rpartition("@")[2] if given else None

    @property
    def ca_bundle(self) -> str:
        """The file of certificates that is trusted in the place of the usual ones; "" where none is named."""
        return "" if isinstance(self._session.verify, bool) else str(self._session.verify)

    def addresses(self) -> list[str]:
        """The addresses that the host's name stands for. Unanswered (dns) where it stands for none."""
        url = urlsplit(self.connection.base_url)
        try:
            found = socket.getaddrinfo(url.hostname, url.port or url.scheme, type=socket.SOCK_STREAM)
        except OSError:
            raise self._unanswered("dns") from None
        return sorted({str(one[4][0]) for one in found})

    def get(
        self, path: str, credentials: Mapping[str, str] | None = None, query: Mapping[str, Any] | None = None
    ) -> Answer:
        """The answer to a GET below the base URL, of whatever status. Unanswered where none came."""
        return self._send("GET", path, query, credentials or {}, None)

    def ask_token(self, form: Mapping[str, str], path: str = TOKEN_PATH) -> Answer:
        """The answer of the token endpoint to the connection's login, of whatever status. Unanswered where none
        came."""
        headers = {**basic(self.connection), "Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", path, None, headers, urlencode(form).encode())

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        what = f"{method} {path}"
        given = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "crossdock", **headers}
        url = with_query(self.connection.base_url + path, query)
        try:
            prepared = requests.Request(method, url, headers=given, data=body).prepare()
            sent = time.time()
            response = self._session.send(
                prepared,
                timeout=(self._limits.connect_seconds, self._limits.read_seconds),
                allow_redirects=False,
                stream=True,
                verify=self._session.verify,
                proxies=self._session.proxies,
            )
            limit = response.headers.get("X-RateLimit-Limit", "")
            self.per_minute = int(limit) if limit.isdecimal() else self.per_minute
            self._heed_clock(response.headers, (sent + time.time()) / 2)
            return Answer(response.status_code, response.headers, read_content(response, self._limits.answer_seconds))
        except TooLarge:
            raise self._unanswered("too_large", what) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unanswered(failures.by_exception(error), what, failures.detail_of(error)) from None

    def _heed_clock(self, headers: Mapping[str, str], ours: float) -> None:
        """Whole seconds: a Date is half a second behind on average. A kept answer says how old it is."""
        age = headers.get("Age", "").strip()
        try:
            date = email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except (TypeError, ValueError):
            return
        self.clocks.append(date + (int(age) if age.isdecimal() else 0) + 0.5 - ours)

    def _unanswered(self, row: str, what: str = "", detail: str = "") -> Unanswered:
        return Unanswered(row, failures.make(row, self.connection, what, detail=detail), detail)
