"""The way of a request, the same for both systems.

In: HTTP (ASGI). Out: what the system answers, or what a fault makes of it. Never: a rule of one system; `System` has a
method for everything on which they differ.

Order: faults, token, scope, limits and body size, path and method, media type, parameters and JSON, then
`System.perform` in a thread. A handler is `handler(request: Request) -> Answer`; it refuses by raising `Refusal`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import anyio
import anyio.to_thread
import msgspec

from sandbox.kernel import contract, limits
from sandbox.kernel.contract import Operation
from sandbox.kernel.controls import Controls
from sandbox.kernel.faults import REFUSED, Plan
from sandbox.kernel.http import Answer, Incoming, Refusal, Request
from sandbox.kernel.oauth import Access
from sandbox.kernel.store import Id
from sandbox.kernel.system import Call, Face, Route, System

TOKEN_PATH = "/oauth2/token"  # noqa: S105 a path, not a secret
log = logging.getLogger("sandbox")


class App:
    """The ASGI app of one system."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.routes = system.routes()
        self.requests: dict[str, int] = {}
        self.controls = Controls(system, self.requests, self.thread)
        self._threads: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        incoming = _incoming(scope, receive)
        try:
            if incoming.raw_path.startswith("/_sandbox/"):
                await _send(send, await self.controls.answer(incoming))
            else:
                with ExitStack() as stack:
                    answer, plan = await self._exchange(incoming, stack)
                    await _send_through(send, answer, plan)
        except ConnectionError:
            return  # the client is gone

    async def _exchange(self, incoming: Incoming, stack: ExitStack) -> tuple[Answer, Plan]:
        """The answer, and the faults still to be applied to it. `stack` holds the slot until the answer is sent."""
        face = next((face for face in self.system.faces if face.owns(incoming.raw_path)), None)
        if face is not None and not self.system.is_closed(incoming.raw_path):
            return await self._face(face, incoming, stack)
        parts = contract.segments(incoming.raw_path)
        operation, values, offered = self.routes.find(incoming.method, parts)
        is_token = incoming.raw_path == TOKEN_PATH
        template = operation.path if operation else TOKEN_PATH if is_token else "(no such path)"
        count = f"{incoming.method} {template}"
        self.requests[count] = self.requests.get(count, 0) + 1
        name = operation.id if operation else "createToken" if is_token else None
        plan = self.system.faults.plan(incoming.method, incoming.raw_path, name)
        keys: list[str] = []
        try:
            if early := _early(plan, is_token, self.system.refuse):
                return early, plan
            if self.system.is_closed(incoming.raw_path):
                raise Refusal(404, "not_found", f"{incoming.raw_path[:200]} is turned off.")
            if is_token:
                answer = await self._token(incoming, keys)
            else:
                answer = await self._operation(incoming, operation, values, offered, plan, keys, stack)
        except Refusal as refusal:
            answer = self.system.refuse(refusal)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s failed", incoming.method, template)
            answer = self.system.refuse(Refusal(500, "internal", "The sandbox has a fault; see its log."))
        for header, value in self.system.limit_headers(self.system.limiter.standing(keys)).items():
            answer.headers.setdefault(header, value)
        return await self._late(incoming, answer, plan, self.system.refuse, self.system.paging[3]), plan

    async def _face(self, face: Face, incoming: Incoming, stack: ExitStack) -> tuple[Answer, Plan]:
        """As `_exchange`, of a face."""
        route = face.route(incoming.method, incoming.raw_path)
        self.requests[route.name] = self.requests.get(route.name, 0) + 1
        plan = self.system.faults.plan(incoming.method, incoming.raw_path, route.id)
        try:
            if early := _early(plan, False, face.refuse):
                return early, plan
            answer = await self._through(face, route, incoming, plan, stack)
        except Refusal as refusal:
            answer = face.refuse(refusal)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s failed", route.name)
            answer = face.refuse(Refusal(500, "internal", "The sandbox has a fault; see its log."))
        return await self._late(incoming, answer, plan, face.refuse, face.cursor), plan

    async def _through(self, face: Face, route: Route, incoming: Incoming, plan: Plan, stack: ExitStack) -> Answer:
        system, access, count = self.system, Access("", token=""), None
        if not route.is_open:
            access = self._access(_authorization(incoming), plan)
            if route.scopes and access.scopes.isdisjoint(route.scopes):
                raise Refusal(403, "insufficient_scope", f"The token lacks the scope {route.scopes[0]}.")
            keys = system.limit_keys(access)
            self._enter(access, keys, stack)
            count = partial(system.limiter.count, keys)
        body = await incoming.body(route.max_body or system.max_body)
        if slow := plan.get("slow"):
            await asyncio.sleep(float(slow.options.get("seconds", 2)))
        call = Call(
            incoming.method, access, incoming.headers, body, system.clock.now(), incoming.raw_path,
            incoming.raw_query, incoming.base_url, plan, count or (lambda: None),
        )  # fmt: skip
        return await self.thread(face.perform, call)

    def _access(self, authorization: str, plan: Plan) -> Access:
        """Whose token it is. Refusal invalid_token."""
        if plan.get("expire_token"):
            self.system.tokens.expire(authorization.partition(" ")[2].strip() or "-")
        access = self.system.tokens.read(authorization)
        if access is None:
            raise Refusal(401, "invalid_token", "The token is missing, unknown or expired.")
        return access

    def _enter(self, access: Access, keys: list[str], stack: ExitStack) -> None:
        """Take a slot until the answer is sent. Refusal rate_limited."""
        try:
            self.system.limiter.enter(access.client, keys)
        except limits.Exceeded as over:
            raise Refusal(429, "rate_limited", over.reason, headers={"Retry-After": str(over.retry_after)}) from None
        stack.callback(self.system.limiter.leave, access.client)

    async def _token(self, incoming: Incoming, keys: list[str]) -> Answer:
        if incoming.method != "POST":
            raise Refusal(405, "method_not_allowed", "Tokens are got by POST.", headers={"Allow": "POST"})
        body = await incoming.body(64 * 1024)
        form = _form(incoming.headers.get("content-type", ""), body)
        return await self.thread(self.system.token, incoming.headers.get("authorization", ""), form)

    async def _operation(
        self,
        incoming: Incoming,
        operation: Operation | None,
        values: dict[str, str],
        offered: list[str],
        plan: Plan,
        keys: list[str],
        stack: ExitStack,
    ) -> Answer:
        system = self.system
        access = self._access(incoming.headers.get("authorization", ""), plan)
        if operation and (lacking := system.missing_scopes(access, operation)):
            missing = " ".join(sorted(lacking))
            raise Refusal(403, "insufficient_scope", f"The token lacks the scope {missing}.", scope=missing)
        keys += system.limit_keys(access)
        self._enter(access, keys, stack)
        body = await incoming.body(system.max_body)
        if operation is None:
            if offered:
                allow = {"Allow": ", ".join(offered)}
                raise Refusal(405, "method_not_allowed", f"{incoming.method} is not offered here.", headers=allow)
            raise Refusal(404, "not_found", f"There is no path {unquote(incoming.raw_path)[:200]}.")
        if slow := plan.get("slow"):
            await asyncio.sleep(float(slow.options.get("seconds", 2)))
        request = Request(
            operation, access, {}, {}, incoming.headers, None, system.clock.now(), incoming.raw_path,
            incoming.raw_query, incoming.base_url, plan=plan,
        )  # fmt: skip
        return await self.thread(read_and_perform, system, request, values, body)

    async def _late(
        self, incoming: Incoming, answer: Answer, plan: Plan, refuse: Callable[[Refusal], Answer], cursor: str
    ) -> Answer:
        """The answer after its effect has happened, changed by faults."""
        if hang := plan.get("hang_after"):
            await incoming.gone(float(hang.options.get("seconds", 120)))
            raise ConnectionError
        if fault := plan.get("error_after"):
            status = int(fault.options.get("status", 500))
            return refuse(Refusal(status, "internal", "An error has occurred."))
        if plan.get("repeat_cursor"):
            answer = _repeated(answer, incoming, cursor)
        if (shift := plan.get("shift_rows")) and answer.listed:
            await self.thread(self._shift, *answer.listed, int(shift.options.get("rows", 2)))
        return answer

    def _shift(self, kind: str, ids: list[Id], rows: int) -> None:
        with self.system.store.write() as tx:
            for id in ids[-rows:]:
                self.system.touch(tx, kind, id, self.system.clock.now())

    async def thread(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(40)
        return await anyio.to_thread.run_sync(partial(function, *args), limiter=self._threads)


def read_and_perform(system: System, request: Request, values: dict[str, str], body: bytes) -> Answer:
    """Media type, parameters and JSON, then the system's own work."""
    operation = request.operation
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if operation.bodies and media not in operation.bodies:
        raise Refusal(415, "unsupported_media_type", f"Send {' or '.join(operation.bodies)}, not {media or 'nothing'}.")
    path = contract.read_path(operation, values)
    if path is None:
        raise Refusal(404, "not_found", f"There is no {unquote(request.raw_path)[:200]}.")
    query, wrong = contract.read_query(operation, request.raw_query, any_case=system.any_case_query)
    if wrong:
        raise Refusal(400, "invalid_parameter", wrong[0].message, findings=wrong)
    data = None
    if body.strip() or operation.bodies:
        try:
            data = system.decode(body)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Refusal(400, "malformed_body", f"The body is not JSON: {str(error)[:200]}") from None
    if (refusal := request.plan.refusal) and operation.method != "GET" and not _is_bulk(data):
        raise Refusal(*refusal, REFUSED)
    return system.perform(replace(request, path=path, query=query, body=data))


def _is_bulk(body: Any) -> bool:
    """Whether a body is only a list of items, each with its own result."""
    return isinstance(body, dict) and len(body) == 1 and isinstance(next(iter(body.values())), list)


# ---- faults ----
DENIED = "Authorization has been denied for this request."
_DENIED_SHAPES: dict[str, Answer] = {
    "error": Answer(200, {"error": {"code": "", "message": DENIED}}),
    "message": Answer(200, {"Message": DENIED}),
    "text": Answer(200, DENIED, media="text/plain"),
}
_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in to go on.</form></body></html>"
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def _early(plan: Plan, is_token: bool, refuse: Callable[[Refusal], Answer]) -> Answer | None:
    """The answer of a fault that keeps the request from the system."""
    if limited := plan.get("rate_limited"):
        wait = {"Retry-After": str(limited.options.get("seconds", 1))}
        return refuse(Refusal(429, "rate_limited", "Too many requests.", headers=wait))
    if plan.get("rate_limited_bare"):
        return refuse(Refusal(429, "rate_limited", "Too many requests."))
    if fault := plan.get("error_before"):
        status = int(fault.options.get("status", 500))
        return refuse(Refusal(status, "internal", "An error has occurred."))
    if plan.get("bad_gateway_html"):
        return Answer(502, _HTML, media="text/html")
    if denied := plan.get("denied_200"):
        shapes = list(_DENIED_SHAPES)
        shape = denied.options.get("shape") or shapes[(denied.hits - 1) % len(shapes)]
        return replace(_DENIED_SHAPES[shape], headers={})
    if is_token and plan.get("token_plain_400"):
        return Answer(400, "Bad Request", media="text/plain")
    if is_token and plan.get("grant_expired"):
        return Answer(400, {"error": "invalid_grant"})
    if page := plan.get("web_page"):
        return Answer(int(page.options.get("status", 200)), _PAGE, media="text/html")
    if plan.get("not_found"):
        return refuse(Refusal(404, "not_found", "There is no such path."))
    return None


def _repeated(answer: Answer, incoming: Incoming, name: str) -> Answer:
    """The answer with the cursor that was sent as the next one; a first page stays as it is."""
    sent = next((v for k, v in parse_qsl(incoming.raw_query) if k.lower() == name.lower()), None)
    if sent is None or not isinstance(answer.body, dict):
        return answer
    if "@odata.context" in answer.body:
        url = f"{incoming.base_url}{incoming.raw_path}?{incoming.raw_query}"
        return replace(answer, body=answer.body | {"@odata.nextLink": url})
    if "NextCursor" in answer.body:
        return replace(answer, body=answer.body | {"NextCursor": sent})
    url = f"{incoming.base_url}{incoming.raw_path}?{incoming.raw_query}"
    return replace(answer, body=answer.body | {"nextLink": url})


# ---- ASGI ----
def _incoming(scope: dict[str, Any], receive: Any) -> Incoming:
    headers: dict[str, str] = {}
    for key, value in scope["headers"]:
        name = key.decode("latin-1")
        headers[name] = f"{headers[name]}, {value.decode('latin-1')}" if name in headers else value.decode("latin-1")
    raw_path = scope.get("raw_path") or scope["path"].encode()
    host = headers.get("host") or "{}:{}".format(*(scope.get("server") or ("localhost", 80)))
    client = scope.get("client") or ("", 0)
    return Incoming(
        scope["method"],
        raw_path.decode("latin-1").partition("?")[0],
        scope["query_string"].decode("latin-1"),
        headers,
        f"{scope.get('scheme', 'http')}://{host}",
        client[0],
        receive,
    )


def _authorization(incoming: Incoming) -> str:
    """The header, else what `?access_token=` says."""
    for name, value in parse_qsl(incoming.raw_query):
        if name.lower() == "access_token":
            return f"Bearer {value}"
    return incoming.headers.get("authorization", "")


def _form(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refusal(415, "unsupported_media_type", "Send application/x-www-form-urlencoded.", token=True)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Refusal(400, "malformed_body", "The form cannot be read.", token=True) from None
    if len(dict(pairs)) != len(pairs):
        raise Refusal(400, "malformed_body", "A field is given twice.", token=True)
    return dict(pairs)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _header(answer: Answer, length: int) -> dict[str, Any]:
    headers = {"content-length": str(length), **{k.lower(): v for k, v in answer.headers.items()}}
    if answer.body is not None:
        media = answer.media if "json" in answer.media else f"{answer.media}; charset=utf-8"
        headers.setdefault("content-type", media)
    headers.setdefault("date", formatdate(usegmt=True))
    headers.setdefault("x-request-id", secrets.token_hex(5))
    encoded = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": encoded}


async def _send(send: Any, answer: Answer) -> None:
    body = answer.bytes()
    await send(_header(answer, len(body)))
    await send({"type": "http.response.body", "body": body})


async def _send_through(send: Any, answer: Answer, plan: Plan) -> None:
    """Send an answer, or the part of it that a fault lets through."""
    if off := plan.get("clock_off"):
        given = answer.headers.get("Date")
        moment = parsedate_to_datetime(given).timestamp() if given else time.time()
        moment += 60 * float(off.options.get("minutes", 7))
        answer = replace(answer, headers=answer.headers | {"Date": formatdate(moment, usegmt=True)})
    body = answer.bytes()
    half = body[: max(1, len(body) // 2)]
    if plan.get("cut_body") and body:
        await send(_header(answer, len(body)))
        await send({"type": "http.response.body", "body": half, "more_body": True})
        return  # the server closes a connection whose answer is not whole
    if plan.get("truncated_json") and body:
        body = half
    await send(_header(answer, len(body)))
    await send({"type": "http.response.body", "body": body})
