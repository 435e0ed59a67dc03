"""Proves a delivery and reads it: who signed it, how old it is, which record it is about.

In: headers and the raw body. Out: rows for `ops.webhook_event`, or the status of a refusal. Never: a value of the body
in a reason; a body parsed before its signature is proved.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from crossdock.receiver.sources import OpenSource
from crossdock.store.webhook_events import Event
from crossdock.systems import times

_ID = re.compile(r"[\x21-\x7e]{1,100}")
_TYPE = re.compile(r"[A-Za-z0-9._-]{1,60}")
_RECORD = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_MOST = 2**63 - 1

Header = tuple[bytes, bytes]  # as ASGI has it: the name in lower case


class Refused(Exception):
    """A delivery that is not taken. `reason`: a word for the log, the same for all such deliveries."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def read(source: OpenSource, headers: Sequence[Header], body: bytes, *, now: float, age_seconds: int) -> list[Event]:
    """The events of a delivery, one for each flow that reads the record. Raises Refused.

    `now`: Unix seconds; a delivery that was signed more than `age_seconds` before or after it is not taken."""
    rules = source.rules
    signature, timestamp = (_only(headers, name) for name in (rules.signature.header, rules.signature.timestamp))
    if not source.is_signed(signature, timestamp, body):
        raise Refused(401, "signature")
    if rules.signature.timestamp and not _is_recent(timestamp, now, age_seconds):
        raise Refused(401, "age")
    if _only(headers, "content-type").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "content type")
    try:
        sent = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, "not JSON") from None
    if not isinstance(sent, dict):
        raise Refused(400, "no object")
    id = _text(sent, rules.fields.id, _ID) or hashlib.sha256(body).hexdigest()
    kind = _text(sent, rules.fields.type, _TYPE)
    for name, value in ((rules.headers.id, id), (rules.headers.type, kind)):
        if name and _only(headers, name) != value:
            raise Refused(400, "headers of another event")
    key = _record(sent, rules.fields.record)
    profile, at = _profile(sent, rules.fields.profile), _moment(sent, rules.fields.at)
    flows = rules.events.get(kind, ()) or ("",)
    return [Event(rules.system, id, flow, kind, key, profile, at) for flow in flows]


def _only(headers: Sequence[Header], name: str) -> str:
    """The value of a header; "" where it is missing, or there twice."""
    wanted = name.lower().encode()
    found = [value for each, value in headers if each == wanted] if name else []
    return found[0].decode("latin-1") if len(found) == 1 else ""


def _is_recent(timestamp: str, now: float, age_seconds: int) -> bool:
    return bool(_SECONDS.fullmatch(timestamp)) and abs(now - int(timestamp)) <= age_seconds


def _text(sent: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    """The text of a field; "" where the source has no such field."""
    if not name:
        return ""
    value = sent.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise Refused(400, "a field of another form")
    return value


def _record(sent: Mapping[str, Any], name: str) -> str:
    value = sent.get(name)
    if type(value) is int and 0 <= value <= _MOST:  # REST v1 has numbers
        return str(value)
    return _text(sent, name, _RECORD)


def _profile(sent: Mapping[str, Any], name: str) -> int | None:
    value = sent.get(name) if name else None
    if name and (type(value) is not int or not 0 <= value <= _MOST):
        raise Refused(400, "a field of another form")
    return value


def _moment(sent: Mapping[str, Any], name: str) -> datetime | None:
    if not name:
        return None
    value = sent.get(name)
    try:
        return times.read(value).astimezone(UTC) if isinstance(value, str) else _wrong()
    except ValueError:
        raise Refused(400, "a field of another form") from None


def _wrong() -> datetime:
    raise ValueError
