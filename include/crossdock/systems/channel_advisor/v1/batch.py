"""Several requests in one: `$batch`, where each part has its own outcome, and each counts in the budget.

In: requests whose repeat does no more than the first. Out: the outcome of each, in their order.
Never: an Export or a Ship in a batch; a part taken for done because the whole was answered with 200.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from requests.structures import CaseInsensitiveDict

from crossdock.errors import ConfigError, CrossdockError, RateLimited, RecordRejected, Transient
from crossdock.systems import failures, paging
from crossdock.systems.channel_advisor.v1 import odata
from crossdock.systems.channel_advisor.v1.client import API, Client, encode
from crossdock.systems.connections import Connection
from crossdock.systems.http import Answer, Malformed

MOST_PARTS = 100  # of one batch, as the documents of the API recommend
SHRINK = 0.7  # of the parts of a batch that was too much
NOT_NOW = (401, 406)  # of a part: under load the server answers so, and takes the same part a moment later


@dataclass(frozen=True, slots=True)
class Part:
    """One request. `path` below /v1; no alias such as Products(7)/Images('x'), which works in no batch."""

    method: str
    path: str
    body: Any

    @property
    def what(self) -> str:
        return f"{self.method} {API}{self.path}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a part: its status, and why it was not done."""

    status: int
    error: CrossdockError | None = None  # RecordRejected: refused; Transient: to be sent again as it is


class Reply(msgspec.Struct):
    """One response in the answer to a batch."""

    id: str | int
    status: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    headers: dict[str, Any] | None = None


class Replies(msgspec.Struct):
    """The answer to a batch."""

    responses: list[Reply]


_replies = msgspec.json.Decoder(Replies)


def parts_of(connection: Connection, requests_per_minute: int, bulk_share: float) -> int:
    """The most parts of a batch: `batch_parts` in the connection's extra, else as many as the API recommends; fewer
    where the budget is small, so that a batch leaves room for others. 1: no batches. ConfigError for what is no
    number of parts."""
    try:
        most = int(connection.extra.get("batch_parts", MOST_PARTS))
    except (TypeError, ValueError):
        most = 0
    if not 1 <= most <= MOST_PARTS:
        raise ConfigError(
            f"The connection {connection.name} names a batch of no number of parts.",
            do=f"Set batch_parts in the extra of {connection.variable} to 1 (no batches) to {MOST_PARTS}.",
            system=connection.name,
        )
    return max(min(most, int(requests_per_minute * bulk_share / 15)), 1)


def send(client: Client, parts: Sequence[Part], size: int) -> list[Outcome]:
    """Sends all parts, up to `size` in a batch, and once more those that failed in a way that passes, as often as the
    limits allow; the outcome of each in their order."""
    limits, outcomes = client.limits, dict[int, Outcome]()
    pending, pause = list(range(len(parts))), limits.first_pause_seconds
    for tries_left in reversed(range(limits.tries)):
        again: list[int] = []
        for start in range(0, len(pending), size):
            portion = pending[start : start + size]
            for position, outcome in zip(portion, _sent(client, [parts[at] for at in portion]), strict=True):
                outcomes[position] = outcome
                if isinstance(outcome.error, Transient):
                    again.append(position)
        pending = again
        if not pending or not tries_left:
            break
        size = max(int(size * SHRINK), 1)
        time.sleep(min(pause, limits.longest_pause_seconds))
        pause *= 2
    return [outcomes[position] for position in range(len(parts))]


def _sent(client: Client, parts: Sequence[Part]) -> list[Outcome]:
    """One request with these parts; a single one goes by itself."""
    try:
        if len(parts) == 1:
            client.call(parts[0].method, parts[0].path, parts[0].body, repeatable=True)
            return [Outcome(204)]
        return _batch(client, parts)
    except RecordRejected as error:
        if len(parts) > 1:  # the batch itself was refused, so nothing of it was done
            return [outcome for part in parts for outcome in _sent(client, [part])]
        return [Outcome(error.status, error)]
    except Transient as error:
        return [Outcome(503, error) for _ in parts]


def _batch(client: Client, parts: Sequence[Part]) -> list[Outcome]:
    boundary = f"batch_{uuid.uuid4().hex}"
    text = b"".join(
        b"--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: %d\r\n\r\n"
        b"%s %s HTTP/1.1\r\nContent-Type: application/json\r\n\r\n%s\r\n"
        % (boundary.encode(), number, part.method.encode(), _url(client, part), encode(part.body))
        for number, part in enumerate(parts, start=1)
    )
    replies = client.request(
        "POST",
        "/$batch",
        lambda answer: _read(answer, len(parts)),
        body=text + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/mixed; boundary={boundary}"},
        repeatable=True,
        cost=len(parts) + 1,
    )
    return [_outcome(client, part, replies[number]) for number, part in enumerate(parts, start=1)]


def _url(client: Client, part: Part) -> bytes:
    return f"{client.connection.base_url}{API}{part.path}".encode()


def _read(answer: Answer, count: int) -> dict[int, Reply]:
    """The replies by the number of their part. Malformed where not each part has one."""
    odata.not_denied(answer)
    replies = paging.decode(answer, _replies).responses
    by_number = {int(reply.id): reply for reply in replies if str(reply.id).isdecimal()}
    if sorted(by_number) != list(range(1, count + 1)):
        raise Malformed("its responses are not those of the parts")
    return by_number


def _outcome(client: Client, part: Part, reply: Reply) -> Outcome:
    headers = CaseInsensitiveDict({name: str(value) for name, value in (reply.headers or {}).items()})
    answer = Answer(reply.status, headers, _content(reply.body))
    denied = reply.status < 300 and odata.DENIED in answer.content[:500]
    if reply.status < 300 and not denied:
        return Outcome(reply.status)
    if denied or reply.status in NOT_NOW:
        return Outcome(503, failures.make("5xx", client.connection, part.what, status=reply.status))
    error = client.refusal(answer, part.what)
    if isinstance(error, RateLimited):
        client.rate_limited(error.retry_after)
    return Outcome(reply.status, error)


def _content(body: msgspec.Raw) -> bytes:
    """The body of a part as a request of its own would have had it: a text stands in quotes here."""
    raw = bytes(body)
    if raw == b"null":
        return b""
    return msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
