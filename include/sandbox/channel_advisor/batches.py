"""Answers batches: one result per item, in request order, whether the items succeeded or not.

In: a body with a list. Out: 207 with BatchResult; 400 when there is no list, 413 when it is too long. Never: an item
that stops another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import Refused, field_error, field_errors
from sandbox.kernel.faults import REFUSED
from sandbox.kernel.http import Answer, Refusal, Request

if TYPE_CHECKING:
    from sandbox.kernel.system import System

FAILED: Document = {"Status": 500, "Errors": [field_error("", "InternalError", "An error has occurred.")]}


def answer(
    system: System,
    request: Request,
    name: str,
    schema: str,
    echo: Callable[[Document], Document],
    apply: Callable[[Document], tuple[int, Document]],
) -> Answer:
    """Apply each item of the list `name`. `apply` answers (status, fields of the result), or raises Refused or Conflict
    before it has written anything; `echo` gives the keys that every result repeats."""
    results: list[Document] = []
    for index, sent in enumerate(items(request, name)):
        keys = {"Index": index} | echo(sent if isinstance(sent, dict) else {})
        broken = request.plan.broken(index)
        if refusal := request.plan.refusal:
            status, code = refusal
            refused: Document = {"Status": status, "Errors": [field_error("", code, REFUSED)]}
            results.append(keys | refused)
            continue
        outcome = FAILED if broken == "before" else _outcome(system, schema, sent, apply)
        results.append(keys | (FAILED if broken else outcome))
    return Answer(207, {"Results": results})


def _outcome(system: System, schema: str, sent: Any, apply: Callable[[Document], tuple[int, Document]]) -> Document:
    """The result of one item."""
    try:
        errors = field_errors(system.contract.findings(schema, sent, closed=True))
        if errors:
            raise Refused(errors)
        status, more = apply(sent)
    except Refused as refused:
        return {"Status": refused.status, "Errors": refused.errors}
    except Conflict as conflict:
        return {"Status": 409, "Errors": [field_error("", conflict.code, conflict.message)]}
    return {"Status": status} | more


def items(request: Request, name: str) -> list[Any]:
    """The list of the batch. Refusal 400 without one, 413 with too many items."""
    body = request.body
    most = next(iter(request.operation.bodies.values()))["properties"][name]["maxItems"]
    if not isinstance(body, dict) or not isinstance(body.get(name), list) or not body[name]:
        raise Refusal(400, "InvalidRequest", f"Send an object with {name}: a list of 1 to {most} items.")
    if unknown := sorted(set(body) - {name}):
        raise Refusal(400, "UnknownField", f"{unknown[0]} is not in the contract.")
    if len(body[name]) > most:
        raise Refusal(413, "BatchTooLarge", f"At most {most} items.")
    return body[name]
