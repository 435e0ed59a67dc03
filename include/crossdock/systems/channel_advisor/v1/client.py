"""What every call to the API v1 has in common: login, profiles, refusals, the primitive requests.

In: a connection. Out: decoded answers with exact decimals, whole lists of a few rows.
Never: a refusal in the guise of a success; a code where v1 gives none: its refusals are a status and one text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO, Self, TypeVar

import msgspec

from crossdock.errors import ConfigError, CrossdockError, RecordRejected, Refusal
from crossdock.systems import paging
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.channel_advisor.protocol import Jobs
from crossdock.systems.channel_advisor.v1 import facts, odata
from crossdock.systems.channel_advisor.v1.abilities import ABILITIES
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Http, Refused, is_allowed
from crossdock.systems.limits import Limits
from crossdock.systems.limits import of as limits_of

API = "/v1"
T = TypeVar("T")


class Client:
    """Requests to one account by v1; thread safe for as many threads as may call at once."""

    api = "v1"
    can = ABILITIES
    jobs: Jobs | None = None

    def __init__(
        self,
        connection: Connection,
        *,
        budget: Budget | None = None,
        breaker: Breaker | None = None,
        limits: Limits | None = None,
    ) -> None:
        refresh_token = str(connection.extra.get("refresh_token") or "")
        if not refresh_token:
            raise ConfigError(
                "The connection channel_advisor has no refresh_token in its extra.",
                do=f'Add "extra": {{"refresh_token": "..."}} to {connection.variable}.',
                system=connection.name,
            )
        self.connection = connection
        self.limits = limits or limits_of(connection)
        self.profiles = profiles_of(connection)
        self._http = Http(
            connection,
            self.limits,
            token_form={"grant_type": "refresh_token", "refresh_token": refresh_token},
            read_refusal=refused,
            budget=budget,
            breaker=breaker,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the pooled connections."""
        self._http.close()

    def facts(self) -> list[str]:
        """What is not certain of the API, as it is on this account: sentences for people."""
        chosen = odata.some(f"ProfileID eq {profile}" for profile in self.profiles)
        return list(facts.facts(self.get, chosen or None))

    def may_mark_exported(self) -> bool:
        """Whether the login has the right to set exported marks; nothing is marked, for no order has the number 0."""
        path = f"{API}/Orders(0)/Export"
        return is_allowed(lambda: self._http.request("POST", path, _document, repeatable=True, changes=False))

    def server_time(self, resource: str = "orders") -> datetime:
        """The clock of the server, by the cheapest list; tests address, login and rights on the way."""
        query = {"$top": 1, "$select": "ID"}
        return next(odata.pages(self._http, f"{API}/Sites", query, self.connection, self.limits)).server_time

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """One resource, decoded: `get("/Orders(7)", {"$expand": "Items"})`. RecordRejected(status=404) when there is
        none."""
        return self.call("GET", path, query=query)

    def post(
        self, path: str, body: Any = None, query: Mapping[str, Any] | None = None, *, repeatable: bool = False
    ) -> Any:
        """One action or new entity; None where the answer has no body. One that is not repeatable and loses its answer
        raises OutcomeUnknown at once."""
        return self.call("POST", path, body, query, repeatable=repeatable)

    def patch(self, path: str, body: Any) -> Any:
        """Sets the given properties of an entity; None where the answer has no body. Idempotent."""
        return self.call("PATCH", path, body, repeatable=True)

    def rows(self, path: str, query: Mapping[str, Any] | None = None) -> list[Any]:
        """All rows of a short list, decoded, by its nextLink to the end. BadResponse for a list without end."""
        pages = odata.pages(self._http, API + path, query or {}, self.connection, self.limits)
        return [decode(raw) for page in pages for raw in page.records]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        *,
        repeatable: bool = True,
        headers: Mapping[str, str] | None = None,
        changes: bool | None = None,
    ) -> Any:
        """Any operation: `path` below /v1 ("/Products(7)/UpdateQuantity"); `body` a document, or bytes as they are.
        Gives the decoded answer with exact decimals, None where one to a change has no body.

        `repeatable`: sending it twice does no more than once. `changes`: as `Http.request` has it."""
        payload = None if body is None else body if isinstance(body, bytes) else encode(body)
        read = _entity if method == "GET" else _document
        return self.request(
            method, path, read, query=query, body=payload, headers=headers, repeatable=repeatable, changes=changes
        )

    def request(self, method: str, path: str, read: Callable[[Answer], T], **more: Any) -> T:
        """Any request below /v1 whose answer `read` reads; `more` as `Http.request` takes it."""
        return self._http.request(method, API + path, read, **more)

    def download(self, url: str, file: BinaryIO) -> None:
        """Writes a file that v1 names by its whole address into `file`. Another server than v1's gets no login."""
        self._http.download(url, file)

    def refusal(self, answer: Answer, what: str) -> CrossdockError:
        """The error of an answer that is no success, as of a part of a batch."""
        return self._http.refusal(answer.status, answer.headers, refused(answer), what).error

    def rejected(self, field: str, code: str, message: str, status: int = 422) -> RecordRejected:
        """A refusal of our own, of what v1 cannot do or has not: v1 gives no codes, and the flows go by them."""
        refusals = [Refusal(field, code, message)]
        return RecordRejected(message, status, code, refusals, system=self.connection.name)

    def rate_limited(self, wait: float | None) -> None:
        """Pauses all processes: a part of a batch was one request too many. `wait`: the seconds that it asks for."""
        self._http.rate_limited(wait)


def profiles_of(connection: Connection) -> tuple[int, ...]:
    """The chosen profiles of a connection: `profile_id` in its extra, one or a list. () for all that the token covers,
    which must then be one. ConfigError for what is no number."""
    given = connection.extra.get("profile_id")
    listed = given if isinstance(given, list) else [] if given in (None, "") else [given]
    try:
        return tuple(dict.fromkeys(int(str(one)) for one in listed))
    except ValueError:
        raise ConfigError(
            f"The connection {connection.name} names a profile that is no number.",
            do=f"Set profile_id in the extra of {connection.variable} to a profile's number, or to a list of them.",
            system=connection.name,
        ) from None


_any = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
decode = _any.decode
encode = _encoder.encode


def refused(answer: Answer) -> Refused:
    """The shapes of an error body: {"error": {"code": "", "message"}}, {"Message"}, {"error": "invalid_grant"}, plain
    text, or nothing. The one text stands in `refusals` without a field, for v1 names none."""
    try:
        body = _any.decode(answer.content)
    except msgspec.DecodeError:
        text = answer.content[:500].decode("utf-8", "replace").strip()
        return Refused(refusals=[Refusal("", "", text)] if text and "<" not in text[:1] else [])
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    if isinstance(error, str):
        return Refused(code=error, body=body)
    code = str(error.get("code") or "") if isinstance(error, dict) else ""
    message = str((error.get("message") if isinstance(error, dict) else body.get("Message")) or "")
    return Refused(code, [Refusal("", code, message)] if message else [], body=body)


def _document(answer: Answer) -> Any:
    """The JSON of an answer; None where it has no body."""
    return None if answer.status == 204 or not answer.content else _entity(answer)


def _entity(answer: Answer) -> Any:
    """The JSON of an answer that must have a body. TokenRefused or Malformed for a refusal in its place."""
    odata.not_denied(answer)
    document = paging.decode(answer, _any)
    if isinstance(document, dict):
        odata.not_refused(*(msgspec.Raw(encode(document[name])) for name in ("error", "Message") if name in document))
    return document
