"""Bodies of writes, held to the model.

In: bytes of a request. Out: documents whose names and types the model has. Refusal 400 or 415. Never: a name that is
let through because nobody reads it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sandbox.channel_advisor.values import exact, whole
from sandbox.channel_advisor_v1 import schema
from sandbox.channel_advisor_v1.schema import Entity
from sandbox.kernel.http import Refusal
from sandbox.kernel.store import decode
from sandbox.kernel.system import Call

Document = dict[str, Any]


def bad(message: str) -> Refusal:
    return Refusal(400, "", message)


def read(call: Call) -> Document:
    """The JSON object of a body; empty without one."""
    if not call.body.strip():
        return {}
    media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        message = f"The request entity's media type '{media or 'none'}' is not supported for this resource."
        raise Refusal(415, "unsupported_media_type", message)
    try:
        sent = whole(decode(call.body))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise bad(f"The body is no JSON: {str(error)[:200]}") from None
    if not isinstance(sent, dict):
        raise bad("The body is no JSON object.")
    return sent


def of(entity: Entity, sent: Document) -> Document:
    """The document with amounts of 4 decimals. Refusal when the model does not have it so."""
    wrong = schema.findings(entity, sent, sent=True, whole=False)
    if wrong:
        raise bad(f"The request is invalid. {wrong[0]}")
    made = {}
    for name, value in sent.items():
        prop = entity.properties[name.lower()]
        try:
            made[name] = exact(value) if prop.kind == "Decimal" and value is not None else value
        except ValueError as error:
            raise bad(f"The request is invalid. {name}: {error}") from None
    return made


def wrapped(call: Call, kind: str) -> Document:
    """`{"Value": {...}}` of a complex type."""
    sent = read(call)
    if set(sent) != {"Value"} or not isinstance(sent["Value"], dict):
        raise bad('The request is invalid. The body of this action is {"Value": {...}}.')
    return of(schema.complexes()[kind], sent["Value"])
