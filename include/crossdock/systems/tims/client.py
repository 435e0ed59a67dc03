"""TIMS's API, as the contract has it.

In: a connection. Out: pages of raw records, documents with their ETag, and one `Result` for every document posted.
Never: a POST without Idempotency-Key; a bulk above 100 operations or 5 MiB; a PATCH without the version that was read.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from crossdock.errors import ConfigError, CrossdockError, RecordRejected, Refusal
from crossdock.keys import idempotency, segment
from crossdock.systems import failures, paging, subscriptions, times
from crossdock.systems.breaker import Breaker
from crossdock.systems.budget import Budget
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Http, Refused, ended
from crossdock.systems.limits import Limits
from crossdock.systems.limits import of as limits_of
from crossdock.systems.paging import Page, Split
from crossdock.systems.subscriptions import Subscription
from crossdock.systems.tims.contract import API

SUBSCRIPTIONS = "webhooks/subscriptions"
MOST_OPERATIONS = 100
MOST_BYTES = 5 * 1024 * 1024
MOST_VALUES = 100  # of a repeatable filter
LONGEST_QUERY = 6_000  # characters of repeated values; proxies take about 8,000


@dataclass(frozen=True, slots=True)
class Operation:
    """One POST inside a bulk. `key` names its effect, as in a single POST; its Idempotency-Key is made of it."""

    id: str  # at most 60 characters, unique in the call
    path: str  # below /api/v1, "/sales-orders"
    key: str
    body: bytes | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one document. `status` 0: not decided, see `error`."""

    status: int
    body: dict[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: CrossdockError | None = (
        None  # RecordRejected: refused for good; Transient: to be sent again with the same key
    )

    @property
    def replayed(self) -> bool:
        """The answer is the stored one of an earlier request with this key."""
        return any(name.lower() == "idempotency-replayed" for name in self.headers)

    def document(self) -> dict[str, Any]:
        """The stored document. Raises `error` where there is none."""
        if self.error is not None:
            raise self.error
        return self.body or {}


class Tims:
    """One client; thread safe for as many threads as may call at once. Close it, or use it as a context manager."""

    no_subscriptions = ""  # why there are no events to subscribe to, as a sentence
    _values_at_once = MOST_VALUES

    def __init__(
        self,
        connection: Connection,
        *,
        budget: Budget | None = None,
        breaker: Breaker | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.connection = connection
        self.limits = limits or limits_of(connection)
        self._http = Http(
            connection,
            self.limits,
            **self._login(),
            read_refusal=self._read_refusal,
            budget=budget,
            breaker=breaker,
        )

    def __enter__(self) -> Tims:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the pooled connections."""
        self._http.close()

    def _login(self) -> dict[str, Any]:
        """How a request proves who sends it, as `Http` takes it."""
        return {"token_form": {"grant_type": "client_credentials"}}

    def _read_refusal(self, answer: Answer) -> Refused:
        try:
            return self._problem(_document_decoder.decode(answer.content))
        except msgspec.MsgspecError:
            return Refused()

    def _problem(self, body: dict[str, Any]) -> Refused:
        """What a refusal says."""
        return _read_problem(body)

    def _bulk_path(self) -> str:
        return f"{API}/bulk"

    # reading

    def pages(
        self,
        resource: str,
        *,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int = 500,
        **filters: Any,
    ) -> Iterator[Page]:
        """The list `/api/v1/<resource>` modified in [since, before), page by page.

        Rows show up to 2 s after their ModifiedAt: end windows that long before ServerTime. A row that changes
        meanwhile may come twice: keep the larger RowVersion.
        """
        path = path_of(resource)
        query = {
            "ModifiedSince": since and times.write(since),
            "ModifiedBefore": before and times.write(before),
            "Limit": limit,
        }

        def fetch(cursor: str | None) -> Split:
            read = paging.patient(_page, self.limits.tries)
            return self._http.request("GET", path, read, query=query | filters | {"Cursor": cursor})

        return paging.follow(fetch, self.connection, path, self.limits)

    def address(self, path: str) -> str:
        """Where a list or document of the contract is read here, below the base URL."""
        return path_of(path)

    def record(self, resource: str, key: str) -> bytes:
        """The JSON of one record as received. RecordRejected(status=404) when there is none."""
        return self._http.request("GET", f"{path_of(resource)}/{segment(key)}", _whole_record)

    def document(self, path: str) -> bytes:
        """The JSON of the one document at a path, e.g. `company`, as received."""
        return self._http.request("GET", path_of(path), _whole_record)

    def get(self, path: str, **query: Any) -> Any:
        """Any GET, decoded with exact decimals."""
        return self._http.request("GET", path_of(path), _document, query=query)

    def read(self, path: str) -> tuple[dict[str, Any], str]:
        """A document and the ETag that PATCH and PUT need."""
        return self._http.request("GET", path_of(path), _with_etag)

    def find(self, resource: str, **filters: Any) -> list[dict[str, Any]]:
        """All rows that match, decoded. One filter may be a list of any length, asked in parts; rows may come twice."""
        many = [name for name, value in filters.items() if isinstance(value, (list, tuple, set, frozenset))]
        if len(many) > 1:
            raise ConfigError(
                f"Only one filter of {resource} can be a list: {', '.join(many)}.", system=self.connection.name
            )
        most = self._values_at_once
        parts = [filters] if not many else [filters | {many[0]: part} for part in _parts(filters[many[0]], most)]
        return [_any.decode(raw) for part in parts for page in self.pages(resource, **part) for raw in page.records]

    def company(self) -> dict[str, Any]:
        """Name, time zone, currency and fiscal year; also tests address and login."""
        return self.get("company")

    def server_time(self, resource: str = "customers") -> datetime:
        """The system's own clock, by the cheapest list call."""
        return next(self.pages(resource, limit=1)).server_time

    # writing

    def post(self, path: str, body: dict[str, Any] | bytes, *, key: str, etag: str | None = None) -> Result:
        """Posts one document or action under the Idempotency-Key that `key` makes: any text that names the effect.

        A refusal of the record is in `Result.error`; everything else is raised. A lost answer is asked for again with
        the same key, and raises OutcomeUnknown when it stays lost.
        """
        headers = {"Idempotency-Key": idempotency(key)} | ({"If-Match": etag} if etag else {})
        try:
            return self._http.request("POST", path_of(path), _result, body=_payload(body), headers=headers)
        except RecordRejected as refused:
            return Result(refused.status, refused.body or None, error=refused)

    def patch(self, path: str, body: dict[str, Any] | bytes, *, etag: str) -> dict[str, Any]:
        """Changes a document that was read as `etag`. RecordRejected(code="STALE_VERSION") when it changed since.

        A lost answer is not asked for again here, for the second try would meet its own new version: OutcomeUnknown,
        read the document and compare.
        """
        return self._change("PATCH", path, body, etag, "application/merge-patch+json")

    def put(self, path: str, body: dict[str, Any] | bytes, *, etag: str) -> dict[str, Any]:
        """Sets a counted quantity; otherwise as `patch`."""
        return self._change("PUT", path, body, etag, "application/json")

    def bulk(self, operations: list[Operation]) -> list[Result]:
        """Posts many documents, in bulks within both limits, in the order given. One result for each, in that order.

        A refused document is RecordRejected in its result, one that may be sent again with its key a Transient. When
        a bulk as a whole fails, the first one raises; a later one ends the call, and its operations and those after it
        get the error as theirs, so that what was decided before is not lost.
        """
        results: list[Result] = []
        for bulk in _split(operations):
            if isinstance(bulk, Result):
                results.append(bulk)
                continue
            try:
                results += self._bulk(bulk)
            except CrossdockError as error:
                if not any(result.status for result in results):
                    raise
                results += [Result(0, error=error)] * (len(operations) - len(results))
                break
        return results

    def subscriptions(self) -> list[Subscription]:
        """The subscriptions to events that this client has."""
        return [self._subscription(row, f"GET {path_of(SUBSCRIPTIONS)}") for row in self.find(SUBSCRIPTIONS)]

    def subscribe(self, url: str, types: Iterable[str], secret: str) -> Subscription:
        """Subscribes to events. RecordRejected for what TIMS refuses; a lost answer is OutcomeUnknown, and the list
        shows what became of it."""
        sent = {"TargetURL": url, "EventTypes": sorted(types), "Secret": secret}
        made = self.post(SUBSCRIPTIONS, sent, key=f"subscription:{secrets.token_hex(16)}").document()
        return self._subscription(made, f"POST {path_of(SUBSCRIPTIONS)}")

    def unsubscribe(self, id: str) -> None:
        """Ends a subscription; what waits to be delivered is dropped. One that is gone already is ended."""
        path = path_of(f"{SUBSCRIPTIONS}/{segment(id)}")
        ended(lambda: self._http.request("DELETE", path, lambda answer: None))

    def _subscription(self, row: Any, what: str) -> Subscription:
        try:
            return subscriptions.read(
                row, id="SubscriptionID", url="TargetURL", types="EventTypes", made_at="CreatedAt"
            )
        except (LookupError, TypeError, ValueError):
            raise failures.make("not_contract", self.connection, what, detail="no subscription") from None

    def _bulk(self, bulk: Bulk) -> list[Result]:
        def read(answer: Answer) -> list[Result]:
            answered = paging.decode(answer, _bulk_answer).Results
            if [one.OperationID for one in answered] != bulk.ids:
                raise paging.Malformed("its results are not those of the operations")
            return [self._one(one, path) for one, path in zip(answered, bulk.paths, strict=True)]

        try:
            return self._http.request(
                "POST", self._bulk_path(), read, body=bulk.body, headers={"Idempotency-Key": bulk.key}
            )
        except RecordRejected as refused:
            raise failures.make(
                "not_contract",
                self.connection,
                f"POST {self._bulk_path()}",
                detail=f"it refuses the bulk as a whole, {refused.status} {refused.code}",
            ) from None

    def _one(self, one: BulkResult, path: str) -> Result:
        """The result of one operation, with the error that a single POST would have had."""
        if one.Status < 400:
            return Result(one.Status, one.Body, one.Headers)
        lost = self._http.refusal(one.Status, one.Headers, self._problem(one.Body or {}), f"POST {path_of(path)}")
        return Result(one.Status, one.Body, one.Headers, lost.error)

    def _change(self, method: str, path: str, body: dict[str, Any] | bytes, etag: str, kind: str) -> dict[str, Any]:
        headers = {"If-Match": etag, "Content-Type": kind}
        return self._http.request(
            method, path_of(path), _document, body=_payload(body), headers=headers, repeatable=False
        )


class Envelope(msgspec.Struct):
    """A page."""

    Items: list[msgspec.Raw]
    NextCursor: str | None
    ServerTime: str


class BulkResult(msgspec.Struct):
    """One operation's answer."""

    OperationID: str
    Status: int
    Headers: dict[str, str]
    Body: dict[str, Any] | None


class BulkAnswer(msgspec.Struct):
    """The answer to a bulk."""

    Results: list[BulkResult]


@dataclass(frozen=True, slots=True)
class Bulk:
    """One bulk as sent."""

    body: bytes
    key: str
    ids: list[str]
    paths: list[str]


_envelope = msgspec.json.Decoder(Envelope)
_bulk_answer = msgspec.json.Decoder(BulkAnswer, float_hook=Decimal)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_document_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_any = msgspec.json.Decoder(float_hook=Decimal)
encode = msgspec.json.Encoder().encode  # Decimal becomes a string, as TIMS wants money


def _split(operations: list[Operation]) -> Iterator[Bulk | Result]:
    """Bulks of at most 100 operations and 5 MiB, in order; an operation that no bulk can hold is refused here."""
    if len({operation.id for operation in operations}) != len(operations):
        raise ConfigError("Two operations of a bulk have one id.", do="Give every operation its own.", system="tims")
    waiting: list[tuple[Operation, bytes]] = []
    size = 0
    for operation in operations:
        encoded = encode(
            {
                "OperationID": operation.id,
                "Method": "POST",
                "Path": path_of(operation.path).removeprefix(API),
                "IdempotencyKey": idempotency(operation.key),
                "Body": msgspec.Raw(_payload(operation.body)),
            }
        )
        too_large = len(encoded) + len(_HEAD) + len(_TAIL) > MOST_BYTES
        if waiting and (too_large or len(waiting) == MOST_OPERATIONS or size + len(encoded) + 1 > MOST_BYTES):
            yield _bulk(waiting)
            waiting, size = [], 0
        if too_large:
            yield Result(413, error=_too_large(operation))
            continue
        size += len(encoded) + 1 if waiting else len(encoded) + len(_HEAD) + len(_TAIL)
        waiting.append((operation, encoded))
    if waiting:
        yield _bulk(waiting)


_HEAD, _TAIL = b'{"Operations":[', b"]}"


def _bulk(waiting: list[tuple[Operation, bytes]]) -> Bulk:
    """The key names this content and this call: a bulk sent again later must run, not replay what failed in it."""
    body = _HEAD + b",".join(encoded for _, encoded in waiting) + _TAIL
    key = f"bulk:{hashlib.sha256(body).hexdigest()[:32]}:{secrets.token_hex(8)}"
    return Bulk(body, key, [operation.id for operation, _ in waiting], [operation.path for operation, _ in waiting])


def _too_large(operation: Operation) -> RecordRejected:
    return RecordRejected(
        f"The document for {path_of(operation.path)} is larger than the 5 MiB that TIMS takes.",
        status=413,
        code="PAYLOAD_TOO_LARGE",
        refusals=[Refusal("", "PAYLOAD_TOO_LARGE", "larger than 5 MiB")],
        do="Split the document or shorten it.",
        system="tims",
    )


def _parts(values: Any, most: int) -> Iterator[list[Any]]:
    """Parts of at most so many values that fit into a URL."""
    part: list[Any] = []
    length = 0
    for value in values:
        one = len(quote(str(value), safe="")) + 20
        if part and (len(part) == most or length + one > LONGEST_QUERY):
            yield part
            part, length = [], 0
        part.append(value)
        length += one
    if part:
        yield part


def path_of(path: str) -> str:
    """`customers`, `/customers` and `/api/v1/customers` are the same."""
    return f"{API}/{path.removeprefix(API).strip('/')}"


def _payload(body: dict[str, Any] | bytes) -> bytes:
    return body if isinstance(body, bytes) else encode(body)


def _page(answer: Answer, *, lenient: bool) -> Split:
    page = paging.decode_page(answer, _envelope, "Items", lenient=lenient)
    return Split(page.Items, paging.server_time(page.ServerTime), page.NextCursor)


def _whole_record(answer: Answer) -> bytes:
    paging.decode(answer, _object)
    return answer.content


def _document(answer: Answer) -> Any:
    return paging.decode(answer, _any) if answer.content else None


def _with_etag(answer: Answer) -> tuple[dict[str, Any], str]:
    document = paging.decode(answer, _document_decoder)
    return document, answer.headers.get("ETag") or f'"{document.get("RowVersion")}"'


def _result(answer: Answer) -> Result:
    body = paging.decode(answer, _document_decoder) if answer.content else None
    return Result(answer.status, body, answer.headers)


def _read_problem(problem: dict[str, Any]) -> Refused:
    """An RFC 9457 problem of the contract."""
    code, existing = str(problem.get("code") or ""), problem.get("ExistingID")
    errors = problem.get("errors")
    refusals = [
        Refusal(str(one.get("pointer", "")), str(one.get("code", "")), str(one.get("message", "")))
        for one in (errors if isinstance(errors, list) else ())
        if isinstance(one, dict)
    ]
    refusals = refusals or [Refusal("", code, str(problem.get("detail") or ""))]
    return Refused(code, refusals, None if existing is None else str(existing), problem)
