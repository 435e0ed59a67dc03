"""Servers in front of the sandbox that change its answers as a test wants: foreign data on a real system."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from hypothesis import strategies as st

from contract.misbehaving import Reply, Request, Server
from crossdock.systems import scan
from integration.environment import Environment

Spoil = Callable[[str, list[bytes]], list[bytes]]  # (path, rows of a page) -> the rows to answer
ROWS = {"channel_advisor": "value", "tims": "Items"}
LEFT_OUT = ("content-length", "transfer-encoding", "content-encoding", "connection", "content-type")


class Front(Server):
    """Forwards everything to `behind`, and changes the rows of its lists by `spoil`."""

    def __init__(self, system: str, behind: str) -> None:
        super().__init__()
        self.rows, self.behind = ROWS[system], behind
        self.spoil: Spoil | None = None
        self.clock = ""  # a false server time; "" for the true one
        self.session = requests.Session()
        self.always.clear()

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        answer = self.session.request(
            request.method, self.behind + request.path, params=request.query, data=request.body, headers=headers
        )
        body = answer.content
        if (self.spoil or self.clock) and request.method == "GET" and answer.ok:
            body = self._spoilt(request.path, body)
        kind = answer.headers.get("Content-Type", "")
        reported = {name: value for name, value in answer.headers.items() if name.lower() not in LEFT_OUT}
        return Reply(answer.status_code, body, reported, kind)

    def _spoilt(self, path: str, body: bytes) -> bytes:
        members = scan.members(body)
        for name in ("serverTime", "ServerTime"):
            if self.clock and name in members:
                members[name] = f'"{self.clock}"'.encode()
        spoil = self.spoil or (lambda _, rows: rows)
        if self.rows not in members:
            return b"".join(spoil(path + "#one", [body]))
        members[self.rows] = b"[" + b",".join(spoil(path, scan.parts(members[self.rows]))) + b"]"
        return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in members.items()) + b"}"


@contextmanager
def fronted(environment: Environment) -> Iterator[dict[str, Front]]:
    """Puts a front before each of the environment's systems."""
    straight = dict(environment.connections)
    fronts = {system: Front(system, one.base_url) for system, one in straight.items()}
    for system, one in straight.items():
        environment.connections[system] = dataclasses.replace(one, base_url=fronts[system].url)
    try:
        yield fronts
    finally:
        environment.connections.update(straight)
        for front in fronts.values():
            front.close()


# ---- spoilt records ------------------------------------------------------------------------------------------------

DEEP = b"[" * 20_000 + b"]" * 20_000
LONG = "S" * 12_000


def few(rows: list[bytes], names: Sequence[str]) -> list[bytes]:
    """The items of these names and some others: a small catalogue."""
    skus = [json.loads(row).get("SKU") or "" for row in rows]
    return [row for row, sku in zip(rows, skus, strict=True) if sku in names or sku[3:4] == "3"]


def changed(**fields: Any) -> Callable[[bytes], bytes]:
    """A record with other values; `...` takes a field out."""

    def change(record: bytes) -> bytes:
        document = json.loads(record) | fields
        return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()

    return change


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.floats(allow_nan=False),
    st.sampled_from(["9999-12-31T23:59:59Z", "2099-01-01T00:00:00Z"]),
    st.text(max_size=8), st.just(LONG), st.just([]), st.just([None]), st.just({}), st.just([{"a": None}]), st.just(...),
    st.sampled_from(["-1", "1e9", "0001-01-01T00:00:00Z", "yesterday", "NaN", "P%1", "';--"]),
)  # fmt: skip


def paths(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every path in a document, without that of the whole."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in members:
        yield (*path, name)
        yield from paths(inner, (*path, name))


def spoilt(record: bytes, data: st.DataObject) -> bytes:
    document = json.loads(record)
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(st.sampled_from(sorted(paths(document), key=str)))
        inner = document
        for name in where[:-1]:
            inner = inner[name]
        junk = data.draw(JUNK)
        if junk is ...:
            del inner[where[-1]]
        else:
            inner[where[-1]] = junk
        if not document:
            break
    return json.dumps(document).encode()
