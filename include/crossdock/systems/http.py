"""One HTTP layer for every system.

In: method, path, query, body, and how to read the answer.
Out: what was read, or one typed error with its two sentences.
Never: a request without time-out, budget and token; a followed redirect; a blind second try of a write that is not
idempotent; a write that nobody has permitted (`systems.writes`); a header, a query or a body in a log or a message.

An attempt is: token, circuit, place in the budget, send, read, classify. Attempts are repeated by tenacity where the
table of failures says so. A refused token is renewed once within an attempt.
"""

from __future__ import annotations

import base64
import email.utils
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from crossdock import settings
from crossdock.errors import (
    AuthError,
    CrossdockError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    Refusal,
    Request,
    Transient,
    WriteRefused,
)
from crossdock.systems import failures, redaction, writes
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.connections import Connection, is_loopback, refuse_other_machines
from crossdock.systems.limits import Limits

log = logging.getLogger(__name__)
T = TypeVar("T")

CHUNK = 1 << 20
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path, not a secret
TOKEN_MARGIN = 60.0  # seconds before its end that a token is renewed
TOKEN_REFUSED_SECONDS = 10.0  # how long refused credentials are not tried again


def _without_query(record: logging.LogRecord) -> bool:
    """urllib3 logs whole URLs at debug level, and a query may ask for a person's e-mail."""
    if isinstance(record.args, tuple):
        record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
    return True


logging.getLogger("urllib3.connectionpool").addFilter(_without_query)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a status of success."""

    status: int
    headers: Mapping[str, str]  # names compared without case
    content: bytes

    @property
    def is_json(self) -> bool:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")


class Malformed(Exception):
    """An answer that breaks the contract; the text says how, without its content."""


class TokenRefused(Exception):
    """The answer refuses the token, with 401 or in the guise of a success."""


@dataclass(frozen=True)
class Refused:
    """What a system says in a refusal. Becomes a RecordRejected."""

    code: str = ""
    refusals: list[Refusal] = field(default_factory=list)
    existing_id: str | None = None
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def spoken(self) -> str:
        """Code and refused fields for a sentence; never the messages, which may repeat a person's data."""
        fields = [f"{one.field} {one.code}".strip() for one in self.refusals if one.field][:5]
        return (f" {self.code}" if self.code else "") + (f" ({', '.join(fields)})" if fields else "")


class AttemptFailed(Exception):
    """Inside this layer: one attempt failed; `failure` is its row, `error` what the caller gets if it was the last."""

    def __init__(self, row: str, error: CrossdockError, retry_after: float | None = None, *, status: int = 0) -> None:
        super().__init__(row)
        self.failure, self.error, self.retry_after = failures.TABLE[row], error, retry_after
        # A gateway answers while the system behind it is still at work.
        self.answered = status not in (0, 408, 502, 503, 504)


class Http:
    """Requests to one system, for up to `limits.at_once` threads."""

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        *,
        token_form: Mapping[str, str] | None = None,
        token_path: str = TOKEN_PATH,
        credentials: Mapping[str, str] | None = None,
        read_refusal: Callable[[Answer], Refused],
        budget: Budget | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """`token_form`: what a token is asked for with, at `token_path`. None where a request has `credentials`,
        headers that never change, in its place."""
        refuse_other_machines(connection)
        self.connection, self.limits = connection, limits
        self._read_refusal = read_refusal
        self._budget = budget or Budget(connection.name, limits=limits)
        self._breaker = breaker or Breaker(connection.name, limits=limits)
        self._too_many = TooMany(limits)
        self._session = session_for(connection, limits)
        self._credentials = dict(credentials or {})
        self._tokens = Tokens(lambda: self._ask_token(token_path, token_form)) if token_form is not None else None
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(limits.tries),
            wait=self._pause,
            retry=tenacity.retry_if_exception(_is_again),
            before_sleep=self._log_retry,
            reraise=True,
        )

    def close(self) -> None:
        """Closes the pooled connections and gives the budget's places back."""
        self._session.close()
        self._budget.close()

    def request(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], T],
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        changes: bool | None = None,
        cost: int = 1,
    ) -> T:
        """Sends one request and reads its answer with `read`, which raises Malformed or TokenRefused for a bad one.

        `path` is below the base URL, or a whole URL on the same origin. `repeatable`: sending it twice does no more
        than once; otherwise a lost answer raises OutcomeUnknown at once. `changes`: whether it changes something at the
        system; None: every method but GET does. A POST that only reads says False. `cost`: how many requests it counts
        as. Raises WriteRefused where it changes something and nothing may be written (`systems.writes`), else what the
        table of failures says.
        """
        what = f"{method} {urlsplit(path).path}"
        for name, value in (headers or {}).items():
            if not (value.isascii() and value.isprintable()):
                raise failures.make("request", self.connection, what, detail=f"its {name} is not printable ASCII")
        if "://" in path and origin(path) != origin(self.connection.base_url):  # it would get the login
            raise failures.make("request", self.connection, what, detail="its address is another server")
        url = with_query(path if "://" in path else self.connection.base_url + path, query)
        writing = method not in ("GET", "POST") or (method == "POST" if changes is None else changes)
        send = PreparedRequest(method, url, what, dict(headers or {}), body, changes=writing, cost=cost)
        self._require_permission(send)
        return self._repeat(lambda: self._attempt(send, read), writes=writing, repeatable=repeatable)

    def download(self, url: str, file: BinaryIO) -> None:
        """Writes the body of a GET into `file`, of up to `answer_bytes` of intake.yaml. Another server than the API's
        gets no login. Raises what the table of failures says, ConfigError for an address in the clear."""
        parts = urlsplit(url)
        own = url.startswith(f"{self.connection.base_url}/")
        what = f"GET {parts.path}"
        if not own and parts.scheme != "https":
            raise failures.make("request", self.connection, what, detail="its address is another server, without TLS")
        send = PreparedRequest("GET", url, what, {"Accept": "*/*"}, None, into=file)

        def attempt() -> None:
            if own:
                return self._attempt(send, _nothing)
            try:
                return self._exchange(send, _nothing, {})
            except TokenRefused:
                raise self._lost("401", what) from None

        self._repeat(attempt, writes=False, repeatable=True)

    def _require_permission(self, send: PreparedRequest) -> None:
        """Raises WriteRefused for a request that changes something where nothing may be written."""
        if send.changes:
            path = send.url.removeprefix(self.connection.base_url).partition("?")[0]
            writes.require(
                self.connection.name, Request(send.method, path, send.body, send.headers.get("Idempotency-Key"))
            )

    def _repeat(self, attempt: Callable[[], T], *, writes: bool, repeatable: bool) -> T:
        """Tries until it is known what happened, or the tries are used up."""
        maybe_done = False

        def once() -> T:
            nonlocal maybe_done
            try:
                return attempt()
            except AttemptFailed as lost:
                maybe_done |= writes and lost.failure.maybe_done
                if maybe_done and not repeatable:
                    raise _unknown(lost.error, answered=lost.answered) from None
                raise

        try:
            return self._retrying(once)
        except AttemptFailed as lost:
            inconclusive = lost.failure.error is not RecordRejected and lost.failure.error is not AuthError
            raise (_unknown(lost.error) if maybe_done and inconclusive else lost.error) from None
        except WriteRefused as error:  # the flow was put into shadow mode between two tries
            raise (_unknown(error) if maybe_done else error) from None
        except Transient as error:  # the circuit, the budget or a token came in between
            raise (_unknown(error) if maybe_done and not isinstance(error, OutcomeUnknown) else error) from None

    def _attempt(self, send: PreparedRequest, read: Callable[[Answer], T]) -> T:
        if self._tokens is None:
            try:
                return self._exchange(send, read, self._credentials)
            except TokenRefused:
                raise self._lost("invalid_client", send.what) from None
        token = self._tokens.get()
        try:
            return self._exchange(send, read, _bearer(token))
        except TokenRefused:
            self._tokens.refused(token)
        token = self._tokens.get()
        try:
            return self._exchange(send, read, _bearer(token))
        except TokenRefused:
            raise self._lost("401", send.what) from None

    def _exchange(self, send: PreparedRequest, read: Callable[[Answer], T], credentials: Mapping[str, str]) -> T:
        """One request and its answer. Lost or TokenRefused; the circuit learns what became of it."""
        self._breaker.before()
        try:
            with self._budget.slot(cost=send.cost):
                self._require_permission(send)  # once more: it may have waited here for a minute
                answer = self._send(send, credentials)
            result = self._classify(answer, send.what, read)
        except AttemptFailed as lost:
            if lost.failure.error is Transient:
                self._breaker.failed()
            else:
                self._breaker.succeeded()
            raise
        except TokenRefused:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        return result

    def _send(self, send: PreparedRequest, credentials: Mapping[str, str]) -> Answer:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "crossdock",
            **send.headers,
            **credentials,
        }
        if send.body is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            prepared = requests.Request(send.method, send.url, headers=headers, data=send.body).prepare()
            prepared.url = send.url  # as it was given: a cursor is opaque
            response = self._session.send(
                prepared,
                timeout=(self.limits.connect_seconds, self.limits.read_seconds),
                allow_redirects=False,
                stream=True,
                verify=self._session.verify,
                proxies=self._session.proxies,
            )
            content = read_content(response, self.limits.answer_seconds, send.into if response.ok else None)
            return Answer(response.status_code, response.headers, content)
        except TooLarge:
            raise self._lost("too_large", send.what, detail=f"{settings.intake().answer_bytes:,}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            row = failures.by_exception(error)
            raise self._lost(row, send.what, detail=failures.detail_of(error)) from None

    def _classify(self, answer: Answer, what: str, read: Callable[[Answer], T]) -> T:
        self._heed(answer)
        if answer.status < 300:
            self._too_many.over()
            try:
                return read(answer)
            except Malformed as malformed:
                raise self._lost("not_contract", what, detail=str(malformed), status=answer.status) from None
        if answer.status == 401:
            raise TokenRefused
        lost = self.refusal(answer.status, answer.headers, self._read_refusal(answer), what)
        if isinstance(lost.error, RateLimited):
            lost.retry_after = lost.error.retry_after = self.rate_limited(lost.retry_after)
        raise lost

    def rate_limited(self, wait: float | None = None) -> float:
        """Pauses all processes, for the system has had too many requests. `wait`: what it asks for; None where it names
        no time. The seconds of the pause."""
        wait = self._too_many.pause() if wait is None else wait
        if wait:
            self._budget.paused(wait)
        return wait

    def refusal(self, status: int, headers: Mapping[str, str], refused: Refused, what: str) -> AttemptFailed:
        """The row and the error of a status that is no success; also used for the operations of a bulk."""
        row = "busy" if refused.code == "IDEMPOTENCY_IN_PROGRESS" else failures.by_status(status)
        wait = retry_after(headers, self.limits.longest_pause_seconds)
        kind = failures.TABLE[row].error
        more: dict[str, Any] = {}
        if kind is RateLimited:
            more = {"retry_after": wait}
        elif kind is RecordRejected:
            more = {
                "code": refused.code,
                "refusals": refused.refusals,
                "existing_id": refused.existing_id,
                "body": refused.body,
            }
        return self._lost(row, what, wait=wait, status=status, detail=refused.spoken, **more)

    def _lost(self, row: str, what: str, *, wait: float | None = None, **facts: Any) -> AttemptFailed:
        status = int(facts.get("status") or 0)
        return AttemptFailed(row, failures.make(row, self.connection, what, **facts), wait, status=status)

    def _heed(self, answer: Answer) -> None:
        """Lets the shared budget follow what the system says about it."""
        left = _whole(answer.headers.get("X-RateLimit-Remaining"))
        if left is not None:
            self._budget.remaining(left, _whole(answer.headers.get("X-RateLimit-Limit")))

    def _ask_token(self, path: str, form: Mapping[str, str]) -> tuple[str, float]:
        """A fresh token and its life in seconds. AuthError for refused credentials."""
        send = PreparedRequest(
            "POST",
            f"{self.connection.base_url}{path}",
            f"POST {path}",
            {"Content-Type": "application/x-www-form-urlencoded"},
            urlencode(form).encode(),
        )
        login = basic(self.connection)
        return self._repeat(lambda: self._token_attempt(send, login), writes=False, repeatable=True)

    def _token_attempt(self, send: PreparedRequest, login: Mapping[str, str]) -> tuple[str, float]:
        try:
            return self._exchange(send, _read_token, login)
        except TokenRefused:
            raise self._lost("invalid_client", send.what, status=401) from None
        except AttemptFailed as lost:
            if not isinstance(lost.error, RecordRejected):
                raise
            row = lost.error.code if lost.error.code in ("invalid_client", "invalid_grant") else "token_refused"
            raise self._lost(row, send.what, status=lost.error.status) from None

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds to the next try: what the system asked for, else growing with jitter; at most the longest pause."""
        error = state.outcome.exception() if state.outcome else None
        requested = error.retry_after if isinstance(error, AttemptFailed) else None
        first, longest = self.limits.first_pause_seconds, self.limits.longest_pause_seconds
        growing = tenacity.wait_exponential_jitter(multiplier=first, max=longest, jitter=first)
        return min(max(requested or 0.0, growing(state)), longest)

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0
        message = redaction.clean(error.error.message if isinstance(error, AttemptFailed) else str(error))
        log.warning("%s Try %d of %d in %.1f s.", message, state.attempt_number + 1, self.limits.tries, pause)


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """One request, without its authorization."""

    method: str
    url: str
    what: str  # method and path, for messages
    headers: dict[str, str]
    body: bytes | None
    changes: bool = False  # something at the system; the request for a token does not
    cost: int = 1  # requests that it counts as
    into: BinaryIO | None = None  # where the body of a success goes


class TooMany:
    """The pauses after refusals with 429 that name no time: four times the first pause of the limits, then three times
    as long each, until a request gets through. All that are refused within one pause share it."""

    def __init__(self, limits: Limits) -> None:
        self._first, self._longest = 4 * limits.first_pause_seconds, limits.longest_pause_seconds
        self._lock = threading.Lock()
        self._last, self._until = 0.0, 0.0

    def pause(self) -> float:
        """The seconds to wait from now on."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._last = min(self._last * 3 or self._first, self._longest)
                self._until = now + self._last
            return self._until - now

    def over(self) -> None:
        """A request got through."""
        self._last = 0.0


class Tokens:
    """The bearer token of one client. Many threads may ask; one renews, the others wait for it."""

    def __init__(self, ask: Callable[[], tuple[str, float]]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._token, self._until = "", 0.0
        self._refusal: tuple[float, AuthError] | None = None

    def get(self) -> str:
        """A token that lives for a while yet. An AuthError is kept for a while: no second try of refused logins."""
        token = self._token
        if token and time.monotonic() < self._until:
            return token
        with self._lock:
            if self._token and time.monotonic() < self._until:
                return self._token
            if self._refusal and time.monotonic() < self._refusal[0]:
                raise self._refusal[1]
            requested = time.monotonic()
            try:
                self._token, life = self._ask()
            except AuthError as refusal:
                self._refusal = (time.monotonic() + TOKEN_REFUSED_SECONDS, refusal)
                raise
            self._until = requested + life - min(TOKEN_MARGIN, life / 2)
            return self._token

    def refused(self, token: str) -> None:
        """The system did not take this token: the next `get` asks for another, unless someone has done so already."""
        with self._lock:
            if self._token == token:
                self._token = ""


def origin(url: str) -> tuple[str, str, int | None, bool]:
    """Scheme, host, port, and whether somebody else's login is in it."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", "", None, True)
    return (parts.scheme, (parts.hostname or "").lower(), port, "@" in parts.netloc)


def basic(connection: Connection) -> dict[str, str]:
    """The header of a login by name and password."""
    login = base64.b64encode(f"{connection.login}:{connection.secret}".encode()).decode()
    return {"Authorization": f"Basic {login}"}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def is_allowed(request: Callable[[], object]) -> bool:
    """Whether the login may do what a request asks: a refusal of the record itself (404) comes after that of the right
    (401, 403). Raises what else comes in between."""
    try:
        request()
    except RecordRejected:
        return True
    except AuthError as refused:
        if refused.failure not in ("401", "403"):
            raise
        return False
    return True


def ended(delete: Callable[[], object]) -> None:
    """Deletes something at a system; what is gone already is deleted. Raises what else the request raises."""
    try:
        delete()
    except RecordRejected as refused:
        if refused.status != 404:
            raise


def retry_after(headers: Mapping[str, str], longest: float) -> float | None:
    """Retry-After in seconds, 0 to `longest`, from seconds or an HTTP date (against the answer's Date); else None."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(text).timestamp()
        except (TypeError, ValueError):
            return None
        try:
            now = email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except (TypeError, ValueError):
            now = time.time()
        seconds = then - now
    return min(max(seconds, 0.0), longest) if seconds == seconds else None


def _is_again(error: BaseException) -> bool:
    return isinstance(error, AttemptFailed) and error.failure.again


def _unknown(error: CrossdockError, *, answered: bool = False) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{error.message} Whether the write took effect is not known.",
        do="It is asked for before it is sent again; the same idempotency key makes that safe.",
        answered=answered,
        system=error.system,
    )


def session_for(connection: Connection, limits: Limits) -> requests.Session:
    """The pooled connections to a system, by the proxy and the certificates of this machine and of the connection."""
    session = requests.Session()
    session.trust_env = False  # a .netrc must not replace our authorization
    here = is_loopback(urlsplit(connection.base_url).hostname or "")
    session.proxies = {} if here else get_environ_proxies(connection.base_url)  # none between a machine and itself
    session.verify = connection.extra.get("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.mount(connection.base_url, HTTPAdapter(pool_connections=1, pool_maxsize=limits.at_once, max_retries=0))
    return session


class TooLarge(Exception):
    """An answer that is larger, decompressed, than answer_bytes of intake.yaml allows."""


def read_content(response: requests.Response, longest: float, into: BinaryIO | None = None) -> bytes:
    """The whole body, or nothing where it goes into a file. TimeoutError when it drips for longer than `longest`
    seconds, TooLarge when there is no end."""
    until, most = time.monotonic() + longest, settings.intake().answer_bytes
    whole = io.BytesIO()
    body = whole if into is None else into
    body.seek(0)  # an earlier try may have left a part
    body.truncate()
    size = 0
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        body.write(chunk)
        size += len(chunk)
        if size > most:
            response.close()
            raise TooLarge
        if time.monotonic() > until:
            response.close()
            raise TimeoutError
    return whole.getvalue()


def with_query(url: str, query: Mapping[str, Any] | None) -> str:
    """Query values of None are left out, lists are repeated, booleans written as JSON writes them."""
    pairs = [
        (name, {True: "true", False: "false"}.get(item, item) if isinstance(item, bool) else item)
        for name, value in (query or {}).items()
        for item in (value if isinstance(value, (list, tuple, set, frozenset)) else [value])
        if item is not None
    ]
    return f"{url}?{urlencode(pairs)}" if pairs else url


class Token(msgspec.Struct):
    """The answer of both systems' token endpoints."""

    access_token: str
    expires_in: float


def _nothing(answer: Answer) -> None:
    """Reads no answer: its body is in a file."""


def _read_token(answer: Answer) -> tuple[str, float]:
    try:
        token = msgspec.json.decode(answer.content, type=Token, strict=False)  # a number in quotes is that number
    except msgspec.MsgspecError:
        raise Malformed("the token cannot be read") from None
    return token.access_token, token.expires_in


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
