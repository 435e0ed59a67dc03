"""Up to 100 POSTs in one request, one after another, each in its own transaction.

In: a bulk request. Out: one result per operation, in their order. Never: an operation that stops another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from sandbox.kernel import contract
from sandbox.kernel.clock import Clock
from sandbox.kernel.contract import Operation, Routes
from sandbox.kernel.faults import REFUSED
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.oauth import Access
from sandbox.kernel.store import Store
from sandbox.tims.problems import Errors
from sandbox.tims.replays import Replays, fingerprint

_MOST = 100
_HEADERS = ("ETag", "Location", "Retry-After", "Idempotency-Replayed")


class System(Protocol):
    """What a bulk asks of the system whose operations it runs."""

    clock: Clock
    store: Store
    replays: Replays
    post_routes: Routes

    def need_scopes(self, access: Access, operation: Operation) -> None: ...

    def key(self, request: Request) -> str: ...

    def write(self, request: Request, key: str | None) -> Answer: ...

    def refuse(self, refusal: Refusal) -> Answer: ...


def run(system: System, request: Request, key: str) -> Answer:
    operations = request.body.get("Operations") if isinstance(request.body, dict) else None
    if isinstance(operations, list) and len(operations) > _MOST:
        raise Refusal(413, "TOO_MANY_OPERATIONS", f"{len(operations)} operations; at most {_MOST}.")
    client, print_ = request.access.client, fingerprint("POST", request.raw_path, request.body)
    with system.replays.at_work(client, key):
        with system.store.read() as tx:
            stored = system.replays.stored(tx, client, key, print_, request.now)
        if stored:
            return stored
        _check(request)
        results = [result(system, request, n, each) for n, each in enumerate(request.body["Operations"])]
        answer = Answer(207, {"Results": results})
        with system.store.write() as tx:
            system.replays.keep(tx, client, key, print_, answer, request.now)
        return answer


def _check(request: Request) -> None:
    errors = Errors()
    errors.take(contract.findings(request.operation.body, request.body), frozenset({"Operations", "Body"}))
    operations = request.body.get("Operations") if isinstance(request.body, dict) else None
    seen: set[str] = set()
    for n, each in enumerate(operations if isinstance(operations, list) else []):
        id, path = (each.get("OperationID"), each.get("Path")) if isinstance(each, dict) else (None, None)
        if isinstance(id, str) and id in seen:
            errors.add(f"/Operations/{n}/OperationID", "INVALID_VALUE", "Another operation has this OperationID.")
        if isinstance(id, str):
            seen.add(id)
        if path == "/bulk":
            errors.add(f"/Operations/{n}/Path", "INVALID_VALUE", "A bulk cannot hold a bulk.")
    errors.refuse()


def result(system: System, request: Request, number: int, sent: dict[str, Any]) -> dict[str, Any]:
    """The result of one operation, refusals too."""
    try:
        if refusal := request.plan.refusal:
            raise Refusal(*refusal, REFUSED)
        broken = request.plan.broken(number)
        if broken == "before":
            raise Refusal(500, "internal", "An error has occurred.")
        answer = _one(system, request, sent)
        if broken == "after":
            raise Refusal(500, "internal", "An error has occurred.")
    except Refusal as refusal:
        answer = system.refuse(refusal)
    headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
    return {"OperationID": sent["OperationID"], "Status": answer.status, "Headers": headers, "Body": answer.body}


def _one(system: System, request: Request, sent: dict[str, Any]) -> Answer:
    """One operation, checked as if it came alone."""
    raw_path = "/api/v1" + sent["Path"]
    operation, values, offered = system.post_routes.find("POST", contract.segments(raw_path))
    if operation is None:
        code, status = ("method_not_allowed", 405) if offered else ("not_found", 404)
        raise Refusal(status, code, f"There is no POST {sent['Path'][:200]}.")
    system.need_scopes(request.access, operation)
    path = contract.read_path(operation, values)
    if path is None:
        raise Refusal(404, "not_found", f"There is no {sent['Path'][:200]}.")
    headers = {"idempotency-key": sent["IdempotencyKey"]}
    alone = replace(
        request, operation=operation, path=path, query={}, headers=headers, body=sent["Body"], raw_path=raw_path,
        raw_query="", now=system.clock.now(),
    )  # fmt: skip
    return system.write(alone, system.key(alone))
