"""Which failure becomes which error: one table for both systems.

In: a status, or an exception of the HTTP library.
Out: the row of the table, and the typed error with its two sentences.
Never: a decision elsewhere; a URL's query, a header or a body in a sentence.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from crossdock.errors import AuthError, BadResponse, ConfigError, CrossdockError, RateLimited, RecordRejected, Transient
from crossdock.systems.connections import Connection

NAMES = {"channel_advisor": "Channel Advisor", "tims": "TIMS"}


@dataclass(frozen=True)
class Failure:
    """One row. `again`: the HTTP layer tries again. `maybe_done`: a write may have taken effect all the same."""

    error: type[CrossdockError]
    origin: str  # "ours", "network", "system", "record"
    again: bool
    maybe_done: bool
    message: str  # {system} {host} {what} {status} {detail}
    do: str  # {variable}


TABLE: dict[str, Failure] = {
    # nothing was sent
    "dns": Failure(
        Transient, "network", True, False,
        "{system} cannot be reached: the name of {host} is not known.",
        "Check the host in {variable} and this machine's name resolution.",
    ),
    "refused": Failure(
        Transient, "network", True, False,
        "{system} cannot be reached: {host} refuses connections.",
        "Check that it runs, and the host and port in {variable}.",
    ),
    "unreachable": Failure(
        Transient, "network", True, False,
        "{system} cannot be reached: no connection to {host}.",
        "Check the network and the host in {variable}.",
    ),
    "connect_timeout": Failure(
        Transient, "network", True, False,
        "{system} cannot be reached: {host} did not take the connection in time.",
        "Check the network and the host in {variable}; connect_seconds in its extra sets the time-out.",
    ),
    "proxy": Failure(
        Transient, "network", True, False,
        "{system} cannot be reached: the proxy on the way to {host} failed ({detail}).",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    "proxy_login": Failure(
        ConfigError, "ours", False, False,
        "{system} cannot be reached: the proxy on the way to {host} wants a login (407).",
        "Put user and password into HTTPS_PROXY (http://user:password@proxy:port), or name the host in NO_PROXY.",
    ),
    "tls": Failure(
        ConfigError, "ours", False, False,
        "{system} at {host} has no TLS certificate that this machine trusts: {detail}.",
        "Check the host in {variable}; for a private certificate authority set ca_bundle in its extra to the file.",
    ),
    "tls_plain": Failure(
        ConfigError, "ours", False, False,
        "{host} does not speak TLS, but {system} is addressed by https.",
        "Check the scheme and the port of the host in {variable}.",
    ),
    "tls_terms": Failure(
        ConfigError, "ours", False, False,
        "{system} at {host} and this machine agree on no encryption: {detail}.",
        "Ask the operator of {host} which TLS it speaks (Crossdock: 1.2 and newer), and whether it asks clients for a "
        "certificate (Crossdock has none).",
    ),
    "request": Failure(
        ConfigError, "ours", False, False,
        "The request {what} to {system} cannot be sent: {detail}.",
        "Check the host in {variable} and the arguments of the call.",
    ),
    # sent, and no whole answer
    "read_timeout": Failure(
        Transient, "system", True, True,
        "{system} did not finish its answer to {what} in time.",
        "Nothing to do if it passes; read_seconds in the extra of {variable} sets the time-out.",
    ),
    "cut": Failure(
        Transient, "network", True, True,
        "{system} cut the connection during {what}.",
        "Nothing to do if it passes; else ask the operator of {host}.",
    ),
    "garbled": Failure(
        Transient, "system", True, True,
        "{system} answered {what} with bytes that cannot be read ({detail}).",
        "Check that {host} is the API, with scheme and port of the host in {variable}; else tell its operator.",
    ),
    # a whole answer
    "not_contract": Failure(
        BadResponse, "system", True, True,
        "{system} answered {what} against its contract: {detail}.",
        "Check that {host} is the API (the host in {variable}); else tell its operator.",
    ),
    "too_large": Failure(
        BadResponse, "system", False, True,
        "{system} answered {what} with more than {detail} bytes, decompressed; it was not read to its end.",
        "Check that {host} is the API; if its answers are really so large, raise answer_bytes in "
        "include/config/intake.yaml.",
    ),
    "loop": Failure(
        BadResponse, "system", False, False,
        "{system} went astray while listing {what}: {detail}.",
        "Start the window again; if it comes back, tell the operator of {host}.",
    ),
    "3xx": Failure(
        BadResponse, "system", False, False,
        "{system} answered {what} with a redirect ({status}), and redirects are not followed.",
        "Put the final address of the API as host into {variable}.",
    ),
    "401": Failure(
        AuthError, "ours", False, False,
        "{system} does not accept a fresh token for {what}.",
        "Check the rights of the login in {variable}: the operation may need a scope that it lacks.",
    ),
    "403": Failure(
        AuthError, "ours", False, False,
        "{system} forbids {what} to this login.",
        "Give the login of {variable} the missing scope.",
    ),
    "408": Failure(
        Transient, "system", True, True,
        "{system} ran out of time in {what} (408).",
        "Nothing to do if it passes; else ask the operator of {host}.",
    ),
    "429": Failure(
        RateLimited, "system", True, False,
        "{system} has had too many requests ({what}).",
        "Nothing to do if it passes; else lower requests_per_minute or at_once in systems.yaml.",
    ),
    "4xx": Failure(
        RecordRejected, "record", False, False,
        "{system} refused {what}: {status}{detail}.",
        "See the reasons; correct the record or the mapping, then replay it.",
    ),
    "5xx": Failure(
        Transient, "system", True, True,
        "{system} failed in {what} ({status}).",
        "Nothing to do if it passes; else ask the operator of {host}.",
    ),
    "busy": Failure(
        Transient, "system", True, True,
        "{system} is still at work on the first request of {what}.",
        "Nothing to do: it is asked again with the same key.",
    ),
    # the token endpoint
    "invalid_client": Failure(
        AuthError, "ours", False, False,
        "{system} at {host} does not know this login or its password.",
        "Correct login and password in {variable}.",
    ),
    "invalid_grant": Failure(
        AuthError, "ours", False, False,
        "{system} at {host} does not accept the refresh token: unknown, expired or revoked.",
        "Put a new one as refresh_token into the extra of {variable}.",
    ),
    "token_refused": Failure(
        AuthError, "ours", False, False,
        "{system} at {host} refuses to give a token ({status}).",
        "Check login, password and refresh_token in {variable}.",
    ),
}  # fmt: skip


def by_status(status: int) -> str:
    """The row of a status that is no success."""
    return str(status) if str(status) in TABLE else f"{status // 100}xx" if 300 <= status < 600 else "not_contract"


# From the most particular to the most general: the first class that matches decides.
_BY_EXCEPTION: tuple[tuple[type[BaseException], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "dns"),
    (requests.exceptions.ConnectTimeout, "connect_timeout"),
    (requests.exceptions.ReadTimeout, "read_timeout"),
    (urllib3.exceptions.ReadTimeoutError, "read_timeout"),
    (TimeoutError, "read_timeout"),
    (requests.exceptions.ProxyError, "proxy"),
    (ssl.SSLCertVerificationError, "tls"),
    (ConnectionRefusedError, "refused"),
    (urllib3.exceptions.NewConnectionError, "unreachable"),
    (requests.exceptions.InvalidProxyURL, "proxy"),
    (requests.exceptions.InvalidURL, "request"),
    (requests.exceptions.InvalidSchema, "request"),
    (requests.exceptions.InvalidHeader, "request"),
    (urllib3.exceptions.DecodeError, "garbled"),
    (requests.exceptions.RequestException, "cut"),
    (urllib3.exceptions.HTTPError, "cut"),
)
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")  # as http.client writes a proxy's refusal
_TLS_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
_TLS_TERMS = re.compile(
    "UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|NO_PROTOCOLS|HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED|BAD_CERTIFICATE|"
    "UNKNOWN_CA|NO_SHARED_CIPHER|UNRECOGNIZED_NAME|INSUFFICIENT_SECURITY"
)


def by_exception(exception: BaseException) -> str:
    """The row of an exception of requests, urllib3 or the socket; the causes inside it count too."""
    causes = list(_causes(exception))
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", "") in _TLS_PLAIN:
            return "tls_plain"
        if isinstance(cause, ssl.SSLError) and _is_about_terms(cause):
            return "tls_terms"
        if isinstance(cause, OSError) and (refused := _TUNNEL.search(str(cause))):
            return "proxy_login" if refused[1] == "407" else "proxy"
        if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, ConnectionError):
            return "garbled"
        if isinstance(cause, TimeoutError) and "handshake" in str(cause):
            return "connect_timeout"
    for kind, row in _BY_EXCEPTION:
        if any(isinstance(cause, kind) for cause in causes):
            return row
    return "cut"


def _is_about_terms(error: ssl.SSLError) -> bool:
    """Whether both sides could not agree; neither an untrusted certificate nor a connection that broke."""
    if isinstance(error, ssl.SSLCertVerificationError | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return bool(_TLS_TERMS.search(getattr(error, "reason", None) or ""))


def detail_of(exception: BaseException) -> str:
    """The one fact of an exception that is safe to tell: why a certificate was refused, what a proxy answered, else its
    class."""
    for cause in _causes(exception):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message).rstrip(".")
        if isinstance(cause, ssl.SSLError) and _is_about_terms(cause):
            return str(cause.reason).lower().replace("_", " ")
        if isinstance(cause, OSError) and (refused := _TUNNEL.search(str(cause))):
            return f"it answers {refused[1]}"
        if isinstance(cause, urllib3.exceptions.DecodeError):
            return "it cannot be decompressed"
        if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, ConnectionError):
            return "it is no HTTP"
    return type(exception).__name__


def _causes(exception: BaseException) -> Iterator[BaseException]:
    """The exception and everything it wraps: cause, context, urllib3's reason and wrapped arguments."""
    seen: set[int] = set()
    waiting: list[Any] = [exception]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args]


def make(
    row: str, connection: Connection, what: str = "", *, status: int = 0, detail: str = "", **more: Any
) -> CrossdockError:
    """The error of a row. `what` is method and path without query; `more` goes to the error's own fields."""
    failure = TABLE[row]
    facts = {
        "system": NAMES.get(connection.name, connection.name),
        "host": connection.host,
        "variable": connection.variable,
        "what": what,
        "status": status,
        "detail": detail,
    }
    if failure.error is RecordRejected:
        more["status"] = status
    error = failure.error(
        failure.message.format(**facts), do=failure.do.format(**facts), system=connection.name, **more
    )
    error.failure, error.what = row, what
    return error
