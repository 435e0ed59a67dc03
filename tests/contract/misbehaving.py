"""A small HTTP server that sends what a test scripts, down to the bytes."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What to send."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    wait: float = 0.0
    cut_at: int | None = None  # bytes of the body, then the connection is reset
    drip: float = 0.0  # seconds between two bytes
    no_answer: bool = False  # closes without an answer
    no_date: bool = False  # no Date header


def ok(document: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(document).encode(), headers)


def html(status: int = 502) -> Reply:
    return Reply(status, b"<html><body><h1>502 Bad Gateway</h1></body></html>", kind="text/html")


Answerer = Reply | Callable[[Request], Reply]


class Server:
    """Answers each path from its own script, then from its last or default answer; remembers every request."""

    def __init__(self) -> None:
        self.scripts: dict[str, deque[Answerer]] = defaultdict(deque)
        self.always: dict[str, Answerer] = {"/oauth2/token": self._token}
        self.requests: list[Request] = []
        self.tokens = 0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def script(self, path: str, *answers: Answerer) -> None:
        """These answers first, in order."""
        self.scripts[path].extend(answers)

    def default(self, path: str, answer: Answerer) -> None:
        self.always[path] = answer

    def requests_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    @property
    def counts(self) -> Counter[str]:
        return Counter(request.path for request in self.requests)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _token(self, _: Request) -> Reply:
        self.tokens += 1
        return ok({"access_token": f"token-{self.tokens}", "token_type": "bearer", "expires_in": 3600})

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            script = self.scripts[request.path]
            answer = script.popleft() if script else self.always.get(request.path, Reply(404, b"{}"))
        return answer(request) if callable(answer) else answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 0

            def handle_any(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, url.path, parse_qs(url.query), headers, body)
                with server._lock:
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                try:
                    self.send(server._answer(request))
                finally:
                    with server._lock:
                        server.at_once -= 1

            def send(self, reply: Reply) -> None:
                time.sleep(reply.wait)
                if reply.no_answer:
                    self.close_connection = True
                    return
                if "Date" in reply.headers or reply.no_date:
                    self.send_response_only(reply.status)
                else:
                    self.send_response(reply.status)
                headers = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body)), **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.cut_at is not None:
                    self.wfile.write(reply.body[: reply.cut_at])
                    linger = struct.pack("ii", 1, 0)  # RST instead of FIN
                    time.sleep(0.02)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    self.close_connection = True
                elif reply.drip:
                    for byte in reply.body:
                        self.wfile.write(bytes([byte]))
                        time.sleep(reply.drip)
                elif reply.status != 204:
                    self.wfile.write(reply.body)

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
