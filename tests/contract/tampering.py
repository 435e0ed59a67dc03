"""A server before a sandbox server that hands requests on, and changes answers as a test says: to the faults that an
account can have and the sandbox has not."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests

from contract.misbehaving import Reply, Request, Server

Answerer = Callable[[Request, Callable[[], Reply]], Reply]
KEPT = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "Date", "Location", "WWW-Authenticate", "ETag")


@dataclass
class Rule:
    """What becomes of the requests whose method and path it names. `times`: None for all of them."""

    path: re.Pattern[str]
    answer: Answerer
    method: str = ""
    times: int | None = None
    hits: int = field(default=0, init=False)

    def meets(self, request: Request) -> bool:
        return (
            self.method in ("", request.method)
            and bool(self.path.fullmatch(request.path))
            and (self.times is None or self.hits < self.times)
        )


class Tampered(Server):
    """Between a client and a sandbox server. `certificate`: speaks TLS with it."""

    def __init__(self, upstream: str, certificate: Path | None = None) -> None:
        self.upstream = upstream.rstrip("/")
        self.rules: list[Rule] = []
        self.every: Callable[[Reply], Reply] = lambda reply: reply
        self._there = requests.Session()
        self._there.trust_env = False
        super().__init__()
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
            self.url = f"https://localhost:{self._server.server_port}"

    def tamper(self, path: str, answer: Reply | Answerer, method: str = "", times: int | None = None) -> None:
        """`path`: a pattern of the whole path; `answer`: what is sent, or a function of the request and of what the
        sandbox server would send. The first rule that fits counts."""
        given = answer if callable(answer) else lambda _, __: answer
        self.rules.append(Rule(re.compile(path), given, method, times))

    def forget(self) -> None:
        self.rules, self.requests, self.every = [], [], lambda reply: reply

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
        rule = next((one for one in self.rules if one.meets(request)), None)
        if rule is None:
            return self.every(self._forward(request))
        rule.hits += 1
        return self.every(rule.answer(request, lambda: self._forward(request)))

    def _forward(self, request: Request) -> Reply:
        query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        answer = self._there.request(
            request.method, f"{self.upstream}{request.path}{query}", headers=headers, data=request.body or None,
            allow_redirects=False, timeout=30,
        )  # fmt: skip
        body = answer.content.replace(self.upstream.encode(), self.url.encode())
        kept = {name: answer.headers[name] for name in KEPT if name in answer.headers}
        return Reply(answer.status_code, body, kept, answer.headers.get("Content-Type", ""))


def changed(change: Callable[[Any], Any]) -> Answerer:
    """The answer of the sandbox server with its JSON changed."""

    def answer(_: Request, forward: Callable[[], Reply]) -> Reply:
        reply = forward()
        reply.body = json.dumps(change(json.loads(reply.body))).encode()
        return reply

    return answer
