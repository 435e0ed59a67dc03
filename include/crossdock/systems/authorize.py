"""Gets a refresh token from Channel Advisor by a person's consent in a browser (OAuth 2.0, authorisation code).

In: the connection's host, application id and secret; the person's browser. Out: a refresh token. Never: a code without
the state that was sent along, a page that answers another machine, a secret in an address.

The browser comes back to http://127.0.0.1:PORT/callback, where a small server waits for this one visit. Where the
application's settings do not take such an address, the person copies the one on which the browser ends.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from crossdock.errors import AuthError, BadResponse, ConfigError
from crossdock.safe import safe
from crossdock.systems.connections import Connection
from crossdock.systems.limits import Limits
from crossdock.systems.probe import Probe, Unanswered

SCOPES = ("orders", "inventory")
PATH = "/callback"
WAIT_SECONDS = 300.0  # a code is good for five minutes
_DONE = b"<!DOCTYPE html><title>Crossdock</title><p>Crossdock has what it needs. You can close this page."
_STRANGE = b"<!DOCTYPE html><title>Crossdock</title><p>This visit was not asked for. Nothing was taken from it."


class _Given(msgspec.Struct):
    """The answer to a code."""

    refresh_token: str


class Consent:
    """One question to a person. `address`: to be opened in a browser. A context manager: the server that waits for the
    browser ends with it."""

    def __init__(self, connection: Connection, redirect: str | None = None, port: int = 0) -> None:
        """`redirect`: the address that the application's settings name, where no server is to wait here; `port`: of
        that server, 0 for a free one. Raises ConfigError for a port that is in use."""
        self._connection = connection
        self._state = secrets.token_urlsafe(24)
        self._visit = threading.Event()
        self._code, self._refusal = "", ""
        self._server = None if redirect else self._listen(port)
        self.redirect = redirect or f"http://127.0.0.1:{self._server.server_port if self._server else port}{PATH}"
        query = {
            "client_id": connection.login,
            "response_type": "code",
            "access_type": "offline",
            "scope": " ".join(SCOPES),
            "redirect_uri": self.redirect,
            "state": self._state,
        }
        self.address = f"{connection.base_url}/oauth2/authorize?{urlencode(query)}"

    def _listen(self, port: int) -> ThreadingHTTPServer:
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except (OSError, OverflowError) as wrong:
            raise ConfigError(
                f"Port {port} of this machine cannot be listened on: {getattr(wrong, 'strerror', None) or wrong}.",
                do="Give another one by --port (0: any that is free), and name it in the application's settings.",
                system=self._connection.name,
            ) from None

    def __enter__(self) -> Consent:
        if self._server:
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def wait(self, seconds: float = WAIT_SECONDS) -> None:
        """Waits until the browser has come back. AuthError when it does not, or comes with a refusal."""
        if not self._visit.wait(seconds):
            raise AuthError(
                f"Nobody came back from the browser within {seconds / 60:.0f} minutes.",
                do="Run the command again. If the browser showed an error of the redirect address, add "
                f"{self.redirect} to the application's settings, or use --redirect with an address that is there.",
                system=self._connection.name,
            )
        self._raise_refusal()

    def take(self, address: str) -> bool:
        """Takes the address on which a browser ended. False where it does not answer this question."""
        given = {name: values[0] for name, values in parse_qs(urlsplit(address.strip()).query).items()}
        if not secrets.compare_digest(given.get("state", "").encode(), self._state.encode()):
            return False
        self._code, self._refusal = given.get("code", ""), given.get("error", "" if given.get("code") else "no code")
        self._visit.set()
        return True

    def refresh_token(self, limits: Limits) -> str:
        """Turns the code into a refresh token. Raises AuthError or BadResponse."""
        self._raise_refusal()
        form = {"grant_type": "authorization_code", "code": self._code, "redirect_uri": self.redirect}
        with Probe(self._connection, limits) as probe:
            try:
                answer = probe.ask_token(form)
            except Unanswered as lost:
                raise lost.error from None
        if answer.status != 200:
            raise AuthError(
                f"Channel Advisor does not take the code ({answer.status}).",
                do="A code is good for five minutes and for one use: run the command again. If it comes back, compare "
                f"application id, secret and the redirect address {self.redirect} with the application's settings.",
                system=self._connection.name,
            )
        try:
            return msgspec.json.decode(answer.content, type=_Given).refresh_token
        except msgspec.MsgspecError:
            raise BadResponse(
                "Channel Advisor answered the code without a refresh token.",
                do="Make one in the developer console instead.",
                system=self._connection.name,
            ) from None

    def _raise_refusal(self) -> None:
        if self._refusal:
            raise AuthError(
                f"The browser came back with a refusal: {safe(self._refusal[:60])}.",
                do="Run the command again and let the seller's account agree."
                if self._refusal == "access_denied"
                else "Compare application id, scopes and redirect address with the application's settings, then run "
                "the command again.",
                system=self._connection.name,
            )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take: Callable[[str], bool] = self.take

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                right = urlsplit(self.path).path == PATH and take(self.path)
                body = _DONE if right else _STRANGE
                self.send_response(200 if right else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the address holds the code."""

        return Handler
