"""Servers in front of the sandbox that tell of it what a test wants: foreign data on a real system."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from contract.misbehaving import Reply, Request, Server
from crossdock.systems import scan
from integration.town import Town

Spoil = Callable[[str, list[bytes]], list[bytes]]  # (path, rows of a page) -> the rows that are told
ROWS = {"channel_advisor": "value", "tims": "Items"}
LEFT_OUT = ("content-length", "transfer-encoding", "content-encoding", "connection", "content-type")


class Front(Server):
    """Hands everything on to `behind`, and the rows of its lists through `spoil`."""

    def __init__(self, system: str, behind: str) -> None:
        super().__init__()
        self.rows, self.behind = ROWS[system], behind
        self.spoil: Spoil | None = None
        self.clock = ""  # the server's time, where it says another one than it has
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
        told = {name: value for name, value in answer.headers.items() if name.lower() not in LEFT_OUT}
        return Reply(answer.status_code, body, told, kind)

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
def fronted(town: Town) -> Iterator[dict[str, Front]]:
    """The town's systems, from now on behind a front each."""
    straight = dict(town.connections)
    fronts = {system: Front(system, one.base_url) for system, one in straight.items()}
    for system, one in straight.items():
        town.connections[system] = dataclasses.replace(one, base_url=fronts[system].url)
    try:
        yield fronts
    finally:
        town.connections.update(straight)
        for front in fronts.values():
            front.close()
