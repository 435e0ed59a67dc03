"""The older installation as a system of the sandbox: another face before the books of `sandbox.tims`.

In: requests in its words, with login and password in each. Out: answers in its words; lists by page numbers; refusals
by numbers. Never: a field that it does not know; a bulk, a kept answer of an earlier request, a version to compare
with; a refusal of a second document under one reference: it takes what it is sent.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from sandbox.kernel import clock
from sandbox.kernel.contract import Contract, Finding, Operation, Parameter, Routes
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.oauth import Access, Tokens, basic
from sandbox.kernel.store import Id, Transaction, decode
from sandbox.kernel.system import Page
from sandbox.tims.call import Call
from sandbox.tims.problems import Error
from sandbox.tims.server import HANDLERS, Tims
from sandbox.tims_legacy.forms import DAY, FLAG, MOMENT, ORDER_STATE, Form, WrongForm
from sandbox.tims_legacy.words import BASE, WAYS, Face, Way

LOGIN, PASSWORD = "crossdock", "legacy-secret"
MOST_ROWS = 200
_FILTER_FORMS: Mapping[str, Form] = {
    "OrderStatus": ORDER_STATE, "ChannelEligible": FLAG, "Date": DAY, "AsOf": DAY,
}  # fmt: skip
# The number of each refusal; the books' word for it is nowhere in an answer.
NUMBERS = {
    "MALFORMED_BODY": 1001, "INVALID_PARAMETER": 1002, "UNSUPPORTED_MEDIA_TYPE": 1003, "METHOD_NOT_ALLOWED": 1004,
    "INVALID_TOKEN": 1101, "RATE_LIMITED": 1200, "INTERNAL_ERROR": 1900, "UNAVAILABLE": 1901, "NOT_FOUND": 2001,
    "NOT_STOCKED": 2002, "INVALID_STATE": 3001, "QTY_BELOW_SHIPPED": 3002, "VALIDATION_FAILED": 4000,
    "MISSING_FIELD": 4001, "UNKNOWN_FIELD": 4002, "FIELD_TOO_LONG": 4003, "INVALID_TYPE": 4004,
    "INVALID_FORMAT": 4005, "INVALID_VALUE": 4006, "INVALID_QUANTITY": 4007, "INVALID_AMOUNT": 4008,
    "INVALID_COUNTRY": 4009, "INVALID_CURRENCY": 4010, "PAYLOAD_TOO_LARGE": 4011, "UNKNOWN_SKU": 4101,
    "ITEM_BLOCKED": 4102, "UNKNOWN_CUSTOMER": 4103, "CUSTOMER_INACTIVE": 4104, "UNKNOWN_REFERENCE": 4105,
    "DUPLICATE_EXTERNAL_LINE_ID": 4106, "TOTAL_MISMATCH": 4201, "CURRENCY_MISMATCH": 4202, "OVER_SHIPPED": 4203,
    "OVER_CANCELLED": 4204, "OVER_INVOICED": 4205, "OVER_CREDITED": 4206, "OVERAPPLIED": 4207, "UNBALANCED": 4301,
    "UNKNOWN_ACCOUNT": 4302, "ACCOUNT_BLOCKED": 4303, "PERIOD_CLOSED": 4304, "KIT_QUANTITY_COMPUTED": 4401,
}  # fmt: skip
_OTHER = 9999
_KERNEL = {
    "invalid_token": "INVALID_TOKEN", "rate_limited": "RATE_LIMITED", "too_large": "PAYLOAD_TOO_LARGE",
    "not_found": "NOT_FOUND", "method_not_allowed": "METHOD_NOT_ALLOWED", "internal": "INTERNAL_ERROR",
    "unsupported_media_type": "UNSUPPORTED_MEDIA_TYPE", "malformed_body": "MALFORMED_BODY",
    "invalid_parameter": "INVALID_PARAMETER",
}  # fmt: skip
_OWN_STATUS = (401, 403, 404, 405, 413, 415, 429)  # all other refusals are 400
_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}


class LegacyTims(Tims):
    """The same state, rules and controls; another API."""

    per_minute = 3000
    at_once = 12

    def logins(self) -> Logins:
        return Logins(self.store, self.clock)

    # ---- what the kernel asks ----
    def routes(self) -> Routes:
        return Routes([_operation(name, way, self.contract) for name, way in WAYS.items()])

    def token(self, authorization: str, form: dict[str, str]) -> Answer:
        return self.refuse(Refusal(404, "not_found", "There are no tokens here."))

    def decode(self, body: bytes) -> Any:
        return decode(body) if body.strip() else None

    def refuse(self, refusal: Refusal) -> Answer:
        code = _KERNEL.get(refusal.code, refusal.code)
        code = "UNAVAILABLE" if refusal.status == 503 else code
        status = refusal.status if refusal.status in _OWN_STATUS or refusal.status >= 500 else 400
        hints = [
            {
                "field": _spoken(each.pointer),
                "no": NUMBERS.get(each.code if isinstance(each, Error) else code, _OTHER),
                "text": each.message[:500],
            }
            for each in refusal.findings
        ]
        error: dict[str, Any] = {"no": NUMBERS.get(code, _OTHER), "text": refusal.message[:500], "hints": hints}
        return Answer(status, {"error": error}, dict(refusal.headers))

    def perform(self, request: Request) -> Answer:
        way = WAYS[request.operation.id]
        inner = replace(
            request,
            operation=self.contract.operations[request.operation.id],
            headers={},
            query=_of_contract(request.query, way),
        )
        if way.method == "GET":
            self._allocate()
            with self.store.read() as tx:
                answer = self._call(way, tx, replace(inner, now=self.clock.now()))
        else:
            body = read(way.takes, request.body)
            with self.store.write() as tx:
                answer = self._call(way, Unguarded(tx), replace(inner, body=body))
            self._pending = True
        return self._shown(answer, way, inner)

    def page(self, request: Request, tx: Transaction, kind: str, where: Mapping[str, Sequence[Any]]) -> Page:
        """A page by its number: oldest change first where that is asked for, otherwise the newest document first."""
        query = request.query
        size, end = query["per_page"], query["page"] * query["per_page"]
        since, before = (None if query.get(name) is None else clock.parse(query[name]) for name in _WINDOW.values())
        in_order = query.get("sort") == "changed"
        rows = tx.page(kind, limit=end if in_order else -1, since=since, before=before, where=where)
        if not in_order:
            rows.sort(key=lambda row: str(row.id), reverse=True)
        found = rows[end - size : end]
        listed: list[Id] = [row.id for row in found]
        return Page(found, None, (kind, listed))

    def _call(self, way: Way, tx: Any, request: Request) -> Answer:
        try:
            return HANDLERS[request.operation.id](Call(self, tx, request))
        except Refusal as refusal:
            refusal.findings = [_renamed(each, way.takes) for each in refusal.findings]
            raise

    def _shown(self, answer: Answer, way: Way, request: Request) -> Answer:
        body = decode(bytes(answer.body)) if isinstance(answer.body, msgspec.Raw) else answer.body
        if not way.is_list:
            return Answer(answer.status, show(way.gives, body))
        rows = [decode(bytes(each)) if isinstance(each, msgspec.Raw) else each for each in body["Items"]]
        shown = {
            "rows": [show(way.gives, each) for each in rows],
            "paging": {"page": request.query["page"], "per_page": request.query["per_page"]},
            "at": MOMENT.show(body["ServerTime"]),
        }
        return Answer(answer.status, shown, listed=answer.listed)


class Logins(Tokens):
    """Login and password in each request, in the place of tokens: none is ever given."""

    def read(self, authorization: str) -> Access | None:
        """Who sends a request; None for another login."""
        given = ":".join(basic(authorization) or ())
        return Access(LOGIN) if hmac.compare_digest(given.encode(), f"{LOGIN}:{PASSWORD}".encode()) else None

    def expire(self, token: str | None = None) -> int:
        """Nothing that could end."""
        del token
        return 0


class Unguarded:
    """A transaction in which no reference is taken: a second document under one is a second document."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def owner(self, scope: str, key: str) -> Id | None:
        """Nobody has it."""
        del scope, key
        return None


# ---- requests ----
_WINDOW = {"changed_from": "ModifiedSince", "changed_to": "ModifiedBefore"}


def _operation(name: str, way: Way, own_contract: Contract) -> Operation:
    own = own_contract.operations[name]
    parameters = [one for one in own.parameters if one.place == "path"]
    for here, there in way.filters.items():
        of_contract = own.takes(there)
        assert of_contract is not None
        schema = {"type": "array", "items": _TEXT, "maxItems": 50} if of_contract.many else _TEXT
        parameters.append(Parameter(here, "query", of_contract.required, schema))
    if way.is_list:
        most = {"type": "integer", "minimum": 1}
        parameters += [Parameter(each, "query", False, _TEXT) for each in _WINDOW]
        parameters.append(Parameter("page", "query", False, {**most, "default": 1}))
        parameters.append(Parameter("per_page", "query", False, {**most, "maximum": MOST_ROWS, "default": 50}))
        parameters.append(Parameter("sort", "query", False, {"enum": ["changed"]}))
    path = BASE + way.path
    bodies: dict[str, dict[str, Any]] = {"application/json": {}} if way.method == "POST" else {}
    return Operation(name, way.method, path, tuple(parameters), bodies, "", (), tuple(path.strip("/").split("/")))


def _of_contract(query: Mapping[str, Any], way: Way) -> dict[str, Any]:
    """A query in the names and forms of the books. Raises Refusal for a value of another form."""
    made: dict[str, Any] = {}
    for name, value in query.items():
        there = _WINDOW.get(name) or way.filters.get(name, name)
        form = MOMENT if name in _WINDOW else _FILTER_FORMS.get(there)
        try:
            made[there] = _each(value, form.read) if form else value
        except WrongForm as wrong:
            raise Refusal(400, "INVALID_PARAMETER", f"{name}: {wrong}.") from None
    return made


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return [change(one) for one in value] if isinstance(value, list) else change(value)


def read(face: Face, body: Any) -> Any:
    """A body in the names and forms of the books. Raises Refusal with all fields that are unknown or of another
    form."""
    errors: list[Error] = []
    made = _read(face, body, "", errors)
    if errors:
        raise Refusal(400, errors[0].code, f"{len(errors)} fields are wrong.", findings=errors)
    return made


def _read(face: Face, value: Any, place: str, errors: list[Error]) -> Any:
    if isinstance(value, list):
        return [_read(face, one, f"{place}/{n}", errors) for n, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, given in value.items():
        at = f"{place}/{name}"
        if name not in face.fields:
            errors.append(Error(at, "UNKNOWN_FIELD", "There is no such field."))
            continue
        own, form = face.fields[name]
        if given is None:
            made[own] = None
        elif isinstance(form, Face):
            made[own] = _read(form, given, at, errors)
        else:
            try:
                made[own] = form.read(given)
            except WrongForm as wrong:
                errors.append(Error(at, "INVALID_FORMAT", str(wrong)))
    return made


# ---- answers ----
def show(face: Face, value: Any) -> Any:
    """A document of the books in the words of this installation. All that the books have it has a word for."""
    if isinstance(value, list):
        return [show(face, one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, (own, form) in face.fields.items():
        if own not in value:
            continue
        found = value[own]
        if isinstance(form, Face):
            made[name] = show(form, found)
        else:
            made[name] = None if found is None else form.show(found)
    if nameless := value.keys() - {own for own, _ in face.fields.values()}:
        raise ValueError(f"the older installation has no word for {', '.join(sorted(nameless))}")
    return made


def _renamed(finding: Error | Finding, face: Face) -> Error | Finding:
    """An error about a field of the books, about the field here."""
    steps: list[str] = []
    form: Form | Face = face
    for step in finding.pointer.strip("/").split("/"):
        names = {own: (name, below) for name, (own, below) in form.fields.items()} if isinstance(form, Face) else {}
        if step.isdigit() or step not in names:
            steps.append(step)
        else:
            name, form = names[step]
            steps.append(name)
    return replace(finding, pointer="".join(f"/{step}" for step in steps if step))


def _spoken(pointer: str) -> str:
    """A field as this installation names it: positions[0].article."""
    return re.sub(r"/(\d+)", r"[\1]", pointer).replace("/", ".").lstrip(".")
