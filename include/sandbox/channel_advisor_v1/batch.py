"""`$batch`: several requests in one, each with its own outcome.

In: multipart/mixed of whole requests. Out: 200 with an answer for each part, as JSON or as multipart. Never: a part
that is not counted against the limits; an alias such as `Products(5)/Images('x')` or an Export, which no batch takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Face, Path
from sandbox.channel_advisor_v1.products import LISTS
from sandbox.kernel import limits
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.system import Call

MOST = 100  # parts
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_START = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1")


@dataclass(frozen=True)
class Part:
    """One request of a batch. `id`: its Content-ID, else its place."""

    id: str
    method: str
    url: str
    headers: dict[str, str]
    body: bytes


def add(face: Face) -> None:
    face.whole["POST", "$batch"] = partial(perform, face)


def perform(face: Face, call: Call, path: Path) -> Answer:
    found = _BOUNDARY.search(call.headers.get("content-type", ""))
    if not call.headers.get("content-type", "").lower().startswith("multipart/mixed") or not found:
        message = "The batch request must have a 'multipart/mixed' content type with a boundary."
        raise Refusal(415, "unsupported_media_type", message)
    parts = list(read(call.body, found.group(1)))
    if not parts:
        raise bad("The batch holds no request.")
    if len(parts) > MOST:
        raise bad(f"The batch holds {len(parts)} requests; at most {MOST} are allowed.")
    answers = [(part, _answer(face, call, part, index)) for index, part in enumerate(parts)]
    if "application/json" in call.headers.get("accept", ""):
        return Answer(200, {"responses": [_json(part, answer) for part, answer in answers]})
    return _multipart(answers)


# ---- reading ----
def read(body: bytes, boundary: str) -> Iterator[Part]:
    """The parts of a body; line breaks are CRLF. Refusal 400."""
    text = body.decode("utf-8", "replace")
    sections = re.split(rf"(?:^|\r\n)--{re.escape(boundary)}(--)?[ \t]*(?:\r\n|$)", text)
    if len(sections) < 3 or "--" not in sections[1::2]:
        raise bad("The batch cannot be read: its boundary does not end it, or its lines do not end with CRLF.")
    for index, section in enumerate(sections[2:-1:2], start=1):
        yield _part(section, index)


def _part(section: str, index: int) -> Part:
    outer, _, rest = section.partition("\r\n\r\n")
    described = _headers(outer)
    if described.get("content-type", "").partition(";")[0].strip().lower() != "application/http":
        raise bad(f"Part {index} of the batch is no application/http.")
    start, _, inner = rest.partition("\r\n")
    found = _START.fullmatch(start.strip())
    if not found:
        raise bad(f"Part {index} of the batch has no request line: '{start[:80]}'.")
    fields, _, body = inner.partition("\r\n\r\n") if not inner.startswith("\r\n") else ("", "", inner[2:])
    return Part(described.get("content-id", str(index)), found[1], found[2], _headers(fields), body.strip().encode())


def _headers(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\r\n") if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


# ---- a part ----
def _answer(face: Face, call: Call, part: Part, index: int) -> Answer:
    """The answer to one part; what goes wrong stays within it."""
    try:
        try:
            call.count()
        except limits.Exceeded:
            raise Refusal(429, "rate_limited", "") from None
        broken = call.plan.broken(index)
        failure = Refusal(call.plan.broken_status, "internal", "")
        if broken == "before":
            raise failure
        if (refusal := call.plan.refusal) and part.method != "GET":
            raise Refusal(*refusal, "Refused on purpose.")
        answer = face.answer(_inner(face, call, part))
        if broken:
            raise failure
        return answer
    except Refusal as refusal:
        return face.refuse(refusal)


def _inner(face: Face, call: Call, part: Part) -> Call:
    """The part as a call of its own. Refusal for what no batch takes."""
    split = urlsplit(part.url)
    raw_path = split.path if split.path.startswith("/v1/") else f"/v1/{split.path.lstrip('/')}"
    path = Path(raw_path)
    route = face.route(part.method, raw_path)
    if route.scopes and call.access.scopes.isdisjoint(route.scopes):
        raise Refusal(403, "insufficient_scope", "")
    name = path.rest[0][0] if path.rest else ""
    if name == "Export" or path.text.startswith("$batch"):
        raise bad(f"{path.text} cannot be part of a batch.")
    if name in LISTS and path.key_text is not None:
        message = f"No HTTP resource was found that matches the request URI '{part.url}'."
        raise Refusal(404, "not_found", message)
    return replace(
        call, method=part.method, headers=part.headers, body=part.body, raw_path=raw_path, raw_query=split.query
    )


# ---- answering ----
def _json(part: Part, answer: Answer) -> dict[str, Any]:
    made: dict[str, Any] = {"id": part.id, "status": answer.status, "headers": dict(answer.headers)}
    if answer.body is not None:
        is_text = isinstance(answer.body, str) and answer.media != "application/json"
        made["body"] = answer.body if is_text else msgspec.Raw(answer.bytes())
    return made


def _multipart(answers: list[tuple[Part, Answer]]) -> Answer:
    boundary = "batchresponse_7c1d5f1e"
    lines = []
    for part, answer in answers:
        lines += [f"--{boundary}", "Content-Type: application/http", "Content-Transfer-Encoding: binary"]
        lines += [f"Content-ID: {part.id}", "", f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        body = answer.bytes().decode()
        if body:
            lines.append(f"Content-Type: {answer.media}; charset=utf-8")
        lines += [*(f"{name}: {value}" for name, value in answer.headers.items()), "", body]
    text = "\r\n".join([*lines, f"--{boundary}--", ""])
    return Answer(
        200, text.encode(), media="multipart/mixed", headers={"Content-Type": f"multipart/mixed; boundary={boundary}"}
    )
