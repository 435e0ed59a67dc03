"""TIMS as it is found: the client of an installation that speaks otherwise than the contract.

In: documents of the contract, an adaptation. Out: documents of the contract. What the installation lacks is made up
for: without bulk, documents are posted one by one, as many at once as the limits allow; without an idempotency header,
by one writer a key, who searches by its reference before each try; without ETag, a document is read again before it is
changed. Never: a second document under one reference; a second try of an action that nothing can tell from the first.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from crossdock.errors import (
    ConfigError,
    CrossdockError,
    OutcomeUnknown,
    RecordRejected,
    Refusal,
    Request,
    Transient,
)
from crossdock.keys import idempotency, segment
from crossdock.pool import Pool
from crossdock.store import database
from crossdock.systems import paging, scan, times, writes
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Malformed, Refused, basic
from crossdock.systems.paging import Page, Split
from crossdock.systems.subscriptions import Subscription
from crossdock.systems.tims import contract
from crossdock.systems.tims.adaptation import FILE, Adaptation, Login
from crossdock.systems.tims.client import Operation, Result, Tims, encode, path_of
from crossdock.systems.tims.contract import Reference
from crossdock.systems.tims.numbered import Numbered, Row, split_of
from crossdock.systems.tims.translation import Translation, dig

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(float_hook=Decimal)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_names_here = threading.Condition()
_held_here: set[str] = set()


@dataclass(frozen=True)
class Call:
    """One operation at this installation."""

    operation: contract.Operation
    method: str
    path: str


def headers_of(connection: Connection, login: Login) -> dict[str, str]:
    """The headers that carry a login that never changes: basic, or a key."""
    return {login.header: connection.secret} if login.kind == "api_key" else dict(basic(connection))


class Adapted(Tims):
    """As `Tims`; `engine`: the database whose locks all writers share."""

    no_subscriptions = f"This TIMS is adapted by {FILE}, which knows no webhooks: polling brings its changes."

    def __init__(
        self, connection: Connection, adaptation: Adaptation, *, engine: sa.Engine | None = None, **shared: Any
    ) -> None:
        self.adaptation = adaptation
        self.translation = Translation(adaptation)
        self._engine = engine
        self._can = adaptation.abilities
        self._values_at_once = adaptation.lists.many_values
        super().__init__(connection, **shared)

    def _login(self) -> dict[str, Any]:
        login = self.adaptation.login
        if login.kind != "client_credentials":
            return {"credentials": headers_of(self.connection, login)}
        return {"token_form": {"grant_type": "client_credentials"}, "token_path": login.token_path}

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
        lists, forms = self.adaptation.lists, self.translation.forms
        call = self._call("GET", resource)
        query, kept = self._filters(call, filters)
        size = min(limit, lists.most)
        until = before and forms.moment_of(forms.ceiling(before))
        query |= {self._parameter(call, "ModifiedBefore"): until, self._parameter(call, "Limit"): size, **lists.always}

        def ask(start: datetime | None, place: Any) -> tuple[list[Row], Split]:
            low = start and forms.moment_of(forms.floor(start))
            window = {self._parameter(call, "ModifiedSince"): low, self._parameter(call, "Cursor"): place}
            read = paging.patient(self._listed, self.limits.tries)
            listed = self._http.request(call.method, call.path, read, query=query | window)
            rows = [self._row(call, raw) for raw in listed.records]
            return [row for row in rows if before is None or row.modified is None or row.modified < before], listed

        def by_cursor(place: str | None) -> Split:
            rows, listed = ask(since, place)
            return split_of(rows, listed.server_time, listed.next)

        def by_number(start: datetime | None, number: int) -> tuple[list[Row], datetime]:
            place = lists.first + number if lists.paging == "page" else number * size
            rows, listed = ask(start, place)
            moments = [row.modified for row in rows if row.modified is not None]
            if moments != sorted(moments):
                raise paging.endless_list(self.connection, call.path, "its rows are not sorted by their last change")
            return rows, listed.server_time

        fetch = by_cursor if lists.paging == "cursor" else Numbered(by_number, since, size).fetch
        for page in paging.follow(fetch, self.connection, call.path, self.limits):
            yield _only(page, kept) if kept else page

    def _listed(self, answer: Answer, *, lenient: bool) -> Split:
        lists = self.adaptation.lists
        try:
            shell = dict(paging.decode(answer, _raw)) if not lenient else scan.members(answer.content)
            found = _below(shell, lists.rows)
            rows = [msgspec.Raw(one) for one in scan.parts(found)] if lenient else _rows.decode(found)
            following = _any.decode(_below(shell, lists.next)) if lists.paging == "cursor" else None
            stated = _any.decode(_below(shell, lists.server_time)) if lists.server_time else None
        except (KeyError, ValueError, msgspec.MsgspecError):
            raise Malformed("a part of the list is missing or of another type") from None
        clock = self.translation.forms.read_moment(stated) if stated is not None else _date(answer)
        return Split(rows, paging.server_time(str(clock)), None if following is None else str(following))

    def _row(self, call: Call, raw: msgspec.Raw) -> Row:
        """A row by the contract. One that is no JSON stays as it is: whoever reads it refuses it by name."""
        try:
            document = self.translation.shape(call.operation.gives).to_contract(_any.decode(raw))
            modified = times.read(document["ModifiedAt"])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Row(raw, bytes(raw), str(bytes(raw)), None)
        except (KeyError, ValueError, TypeError):
            return Row(msgspec.Raw(_encode(document)), bytes(raw), str(bytes(raw)), None)
        name = "|".join(str(document.get(one)) for one in (call.operation.key, "ModifiedAt", "RowVersion"))
        return Row(msgspec.Raw(_encode(self.translation.dated(document))), bytes(raw), name, modified)

    def address(self, path: str) -> str:
        return self._call("GET", path).path

    def record(self, resource: str, key: str) -> bytes:
        return self.document(f"{resource}/{segment(key)}")

    def document(self, path: str) -> bytes:
        return _encode(self.get(path))

    def get(self, path: str, **query: Any) -> Any:
        call = self._call("GET", path)
        parameters, _ = self._filters(call, query)
        return self._http.request(call.method, call.path, self._gives(call), query=parameters)

    def read(self, path: str) -> tuple[dict[str, Any], str]:
        call = self._call("GET", path)

        def read(answer: Answer) -> tuple[dict[str, Any], str]:
            document = self._gives(call)(answer)
            given = answer.headers.get("ETag") if self._can.etag else None
            return document, given or f'"{document.get("RowVersion")}"'

        return self._http.request(call.method, call.path, read)

    def find(self, resource: str, **filters: Any) -> list[dict[str, Any]]:
        for name in ("ExternalReference", "ExternalOrderID", "ExternalID"):
            if name in filters and not self._can.external_references:
                raise self._lacks(
                    f"Documents of {resource} cannot be found by {name}: this TIMS keeps no external references.",
                    contract.find("POST", resource),
                )
        return super().find(resource, **filters)

    def subscriptions(self) -> list[Subscription]:
        return []

    # writing

    def subscribe(self, url: str, types: Iterable[str], secret: str) -> Subscription:
        raise ConfigError(self.no_subscriptions, system=self.connection.name)

    def post(self, path: str, body: dict[str, Any] | bytes, *, key: str, etag: str | None = None) -> Result:
        self._require_permission("POST", path, body, key)
        prepared = self._prepare(Operation("1", path, key, body))
        if isinstance(prepared, Result):
            return prepared
        if etag and not self._can.etag:
            self._compare(path.rpartition("/")[0], etag)
        headers = {"If-Match": etag} if etag and self._can.etag else {}
        with self._one_writer([prepared]):
            return self._send(prepared, self._existing([prepared]), headers)

    def bulk(self, operations: list[Operation]) -> list[Result]:
        self._require_permission("POST", "bulk", _together(operations), "bulk")
        if self._can.bulk:
            return self._bulk_here(operations)
        prepared = [self._prepare(one) for one in operations]
        sent = [one for one in prepared if not isinstance(one, Result)]
        with self._one_writer(sent):
            existing = self._existing(sent)
            answers = self._send_all(sent, existing)
        results = [one if isinstance(one, Result) else answers[one.sent.id] for one in prepared]
        failed = next((one.error for one in results if one.error is not None and not one.status), None)
        if failed is not None and not any(one.status for one in results):
            raise failed
        return results

    def _bulk_here(self, operations: list[Operation]) -> list[Result]:
        """In bulks of the contract's form, with the bodies and paths of this installation."""
        prepared = [self._prepare(one) for one in operations]
        calls = {one.sent.id: one for one in prepared if not isinstance(one, Result)}
        translated = [
            Operation(id, one.call.path.removeprefix(self.adaptation.base), one.sent.key, one.body)
            for id, one in calls.items()
        ]
        answers = dict(zip(calls, super().bulk(translated), strict=True))
        results = []
        for one in prepared:
            if isinstance(one, Result):
                results.append(one)
                continue
            answer = answers[one.sent.id]
            shape = self.translation.shape(one.call.operation.gives)
            body = answer.body if answer.error is not None else self.translation.dated(shape.to_contract(answer.body))
            if isinstance(answer.error, RecordRejected):
                self._name(one.call, answer.error)
            results.append(Result(answer.status, body, answer.headers, answer.error))
        return results

    def _bulk_path(self) -> str:
        return self._call("POST", "bulk").path

    def _send_all(self, sent: Sequence[Prepared], existing: Mapping[str, dict[str, Any]]) -> dict[str, Result]:
        """As many at once as the limits allow; those of one record in their order. An error that is not of one
        document ends it: what is left gets it as its own."""
        groups: dict[str, list[Prepared]] = defaultdict(list)
        for one in sent:
            groups[one.record].append(one)
        broken: list[CrossdockError] = []

        def send(group: list[Prepared]) -> list[tuple[str, Result]]:
            done = []
            for one in group:
                try:
                    result = Result(0, error=broken[0]) if broken else self._send(one, existing, {})
                except CrossdockError as error:
                    if not isinstance(error, Transient):
                        broken.append(error)
                    result = Result(0, error=error)
                done.append((one.sent.id, result))
            return done

        with Pool(self.limits.at_once, "tims") as pool:
            return dict(pair for pairs in pool.map(send, groups.values()) for pair in pairs)

    def _prepare(self, sent: Operation) -> Prepared | Result:
        """What is sent of an operation; its result where the document cannot be written here. ConfigError where it
        cannot be sent safely."""
        call = self._call("POST", sent.path)
        body = _any.decode(sent.body) if isinstance(sent.body, bytes) else sent.body
        reference = contract.reference_of(call.operation, body)
        if reference is not None and not self._can.idempotency_header and not self._can.external_references:
            raise self._lacks(
                f"{call.operation.id} cannot be done once for ever: this TIMS has neither an idempotency header nor "
                "external references, so that a lost answer could make a second document.",
                (call.operation, {}),
            )
        try:
            written = self.translation.shape(call.operation.takes).to_here(body)
        except RecordRejected as refused:
            return Result(refused.status, error=refused)
        return Prepared(sent, call, _encode(written), None if self._can.idempotency_header else reference)

    def _send(self, one: Prepared, existing: Mapping[str, dict[str, Any]], headers: Mapping[str, str]) -> Result:
        """Sends a document. Without an idempotency header it is sent again only where a search has not found it and
        nothing of the last try is under way any more."""
        if one.name in existing:
            return _duplicate(one, existing[one.name])
        safe = bool(self._can.idempotency_header)
        if safe:
            headers = {**headers, self._can.idempotency_header: idempotency(one.sent.key)}
        for tries_left in reversed(range(self.limits.tries)):
            try:
                return self._http.request(
                    one.call.method, one.call.path, self._result(one.call), body=one.body, headers=headers,
                    repeatable=safe,
                )  # fmt: skip
            except RecordRejected as refused:
                self._name(one.call, refused)
                return Result(refused.status, refused.body or None, error=refused)
            except OutcomeUnknown as lost:
                if safe or one.reference is None:
                    raise
                found = self._existing([one])
                if one.name in found:
                    return Result(201, found[one.name])
                if not lost.answered or not tries_left:
                    raise
        raise AssertionError("unreachable")

    def _change(self, method: str, path: str, body: dict[str, Any] | bytes, etag: str, kind: str) -> dict[str, Any]:
        del kind  # of JSON, which each installation takes
        self._require_permission(method, path, body, None)
        call = self._call(method, path)
        document = _any.decode(body) if isinstance(body, bytes) else body
        written = _encode(self.translation.shape(call.operation.takes).to_here(document))
        headers = {"If-Match": etag} if self._can.etag else {}
        with ExitStack() if self._can.etag else self._held([path]):
            if not self._can.etag:
                self._compare(path, etag)
            try:
                return self._http.request(
                    call.method, call.path, self._gives(call), body=written, headers=headers, repeatable=False
                )
            except RecordRejected as refused:
                self._name(call, refused)
                raise

    def _compare(self, path: str, etag: str) -> None:
        """Reads a document again before it is changed. Raises RecordRejected(code="STALE_VERSION") where it is not the
        one that was read. What somebody changes between this read and the change is overwritten."""
        _, now = self.read(path)
        if now != etag:
            raise RecordRejected(
                f"{path} has changed since it was read: it was {etag}, it is {now}.",
                status=412,
                code="STALE_VERSION",
                refusals=[Refusal("", "STALE_VERSION", "it has changed since it was read")],
                do="Read it again and decide anew.",
                system=self.connection.name,
            )

    # references

    def _existing(self, sent: Sequence[Prepared]) -> dict[str, dict[str, Any]]:
        """Of documents without an idempotency header those that TIMS has, by the name of their reference."""
        lists: dict[tuple[str, str, str], list[Reference]] = defaultdict(list)
        for one in sent:
            if one.reference is not None:
                lists[one.reference.list.path, one.reference.filter, one.reference.source].append(one.reference)
        found: dict[str, dict[str, Any]] = {}
        for (path, name, source), references in lists.items():
            rows = self.find(path, **{name: [one.value for one in references], "Source": source})
            for reference in references:
                mine = (row for row in rows if reference.is_of(row))
                if (row := next(mine, None)) is not None:
                    found[reference.name] = row
        return found

    @contextmanager
    def _one_writer(self, sent: Sequence[Prepared]) -> Iterator[None]:
        """While documents are searched and posted, nobody else does so with their references."""
        names = [one.name for one in sent if one.reference is not None]
        with self._held(names) if names else ExitStack():
            yield

    def _held(self, names: Sequence[str]) -> AbstractContextManager[None]:
        shared = [f"tims:{name}" for name in names]
        return database.locks(self._engine, shared) if self._engine is not None else _here(shared)

    # names

    def _call(self, method: str, path: str) -> Call:
        """The operation of a path of the contract here. ConfigError where there is none."""
        found = contract.find(method, path)
        if found is None:
            raise ConfigError(
                f"The contract of TIMS has no {method} {path}.", do="Correct the call.", system=self.connection.name
            )
        operation, given = found
        way, route = self.adaptation.route(operation)
        if not way:
            raise self._lacks(f"This TIMS has no {operation.id}.", found)
        for place, text in given.items():
            route = route.replace(f"{{{place}}}", text)
        return Call(operation, way, route)

    def _lacks(self, what: str, found: tuple[contract.Operation, Any] | None) -> ConfigError:
        flow = found[0].flow if found else ""
        return ConfigError(
            f"{what} {f'The flow {flow} is off.' if flow else ''}".strip(),
            do=f"Let TIMS's operator add it and say so in include/config/{FILE}; until then pause what needs it.",
            system=self.connection.name,
        )

    def _parameter(self, call: Call, name: str) -> str:
        found = self.adaptation.parameter(name)
        if not found:
            raise self._lacks(f"{call.operation.id} has no parameter {name} at this TIMS.", (call.operation, {}))
        return found

    def _filters(self, call: Call, filters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The query of filters; and a `Source` that this TIMS cannot be asked for, which is compared with each row."""
        query, kept = {}, {}
        for name, value in filters.items():
            if name == "Source" and not self.adaptation.parameter(name):
                kept[name] = value
            elif value is not None:
                query[self._parameter(call, name)] = self.translation.parameter(name, value)
        return query, kept

    def _gives(self, call: Call) -> Callable[[Answer], Any]:
        """Reads the document of an answer, by the contract."""
        shape = self.translation.shape(call.operation.gives)
        dated = self.translation.dated
        return lambda answer: dated(shape.to_contract(paging.decode(answer, _any))) if answer.content else None

    def _result(self, call: Call) -> Callable[[Answer], Result]:
        gives = self._gives(call)
        return lambda answer: Result(answer.status, gives(answer), answer.headers)

    def _problem(self, body: Any) -> Refused:
        spoken = self.adaptation.errors

        def code(value: Any) -> str:
            return spoken.codes.get(str(value), "" if value is None else str(value))

        existing, listed = dig(body, spoken.existing), dig(body, spoken.fields)
        refusals = [
            Refusal(
                str(dig(one, spoken.field) or ""),
                code(dig(one, spoken.field_code)),
                str(dig(one, spoken.field_text) or ""),
            )
            for one in (listed if isinstance(listed, list) else ())
        ]
        whole = code(dig(body, spoken.code))
        refusals = refusals or [Refusal("", whole, str(dig(body, spoken.text) or ""))]
        return Refused(whole, refusals, None if existing is None else str(existing), body)

    def _name(self, call: Call, refused: RecordRejected) -> None:
        """Gives the fields of a refusal the contract's names."""
        shape = self.translation.shape(call.operation.takes)
        refused.refusals = [
            Refusal(shape.pointer(one.field) if one.field else "", one.code, one.message) for one in refused.refusals
        ]

    def _require_permission(self, method: str, path: str, body: Any, key: str | None) -> None:
        """Raises WriteRefused, with what the contract would have sent, where nothing may be written."""
        content = body if isinstance(body, bytes) else encode(body)
        writes.require(self.connection.name, Request(method, path_of(path), content, key and idempotency(key)))


@dataclass(frozen=True)
class Prepared:
    """One document as it is sent. `reference`: what it is searched by, None where that is not needed."""

    sent: Operation
    call: Call
    body: bytes
    reference: Reference | None

    @property
    def name(self) -> str:
        return self.reference.name if self.reference is not None else self.sent.key

    @property
    def record(self) -> str:
        """What it is done to: an action belongs to its document, a new document to itself."""
        before, place, _ = self.call.operation.path.partition("{")
        if not place:
            return self.sent.id
        return "/".join(path_of(self.sent.path).split("/")[: path_of(before).count("/") + 2])


def _duplicate(one: Prepared, document: dict[str, Any]) -> Result:
    """The refusal of a document that is there already, as the contract has it."""
    assert one.reference is not None
    existing = str(document.get(one.reference.id_field) or "")
    field = f"/{one.reference.filter}"
    refused = RecordRejected(
        f"TIMS has a document under this reference already: {existing}.",
        status=409,
        code="DUPLICATE_EXTERNAL_REFERENCE",
        refusals=[Refusal(field, "DUPLICATE_EXTERNAL_REFERENCE", f"exists as {existing}")],
        existing_id=existing,
        do="Nothing to do: it is taken as it is.",
        system=contract.SYSTEM,
    )
    return Result(409, error=refused)


def _together(operations: Sequence[Operation]) -> dict[str, Any]:
    """The bulk that the contract would have had for these operations."""
    return {
        "Operations": [
            {
                "OperationID": one.id, "Method": "POST", "Path": one.path, "IdempotencyKey": idempotency(one.key),
                "Body": msgspec.Raw(one.body) if isinstance(one.body, bytes) else one.body,
            }
            for one in operations
        ]
    }  # fmt: skip


def _below(members: Mapping[str, Any], path: str) -> Any:
    """The JSON at a path with points. KeyError where there is none."""
    first, *rest = path.split(".")
    found = members[first]
    for step in rest:
        found = _raw.decode(found)[step]
    return found


def _only(page: Page, kept: Mapping[str, Any]) -> Page:
    """A page's rows that have the given values."""
    documents = [_any.decode(raw) for raw in page.records]
    mine = [all(one.get(name) in (value, None) for name, value in kept.items()) for one in documents]
    records = [raw for raw, is_mine in zip(page.records, mine, strict=True) if is_mine]
    received = [one for one, is_mine in zip(page.received or (), mine, strict=True) if is_mine]
    return Page(records, page.server_time, page.number, received)


def _date(answer: Answer) -> str:
    """The Date header as a moment. Malformed where there is none."""
    try:
        return times.write(parsedate_to_datetime(answer.headers.get("Date", "")))
    except (TypeError, ValueError):
        raise Malformed("it has no Date") from None


@contextmanager
def _here(names: Sequence[str]) -> Iterator[None]:
    """Holds names among the threads of this process: of a client without a database."""
    wanted = set(names)
    with _names_here:
        _names_here.wait_for(lambda: not wanted & _held_here)
        _held_here.update(wanted)
    try:
        yield
    finally:
        with _names_here:
            _held_here.difference_update(wanted)
            _names_here.notify_all()
