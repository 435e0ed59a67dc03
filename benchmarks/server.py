"""A server that costs next to nothing: it answers both systems' paths from memory.

In: a folder of pages (data.py). Out: lists of orders, by the facade and by the API v1, and reference data, tokens, a
207 with as many results as a bulk has operations, a customer as it was changed, an empty answer for everything else.
Never: looks at what it is sent, beyond counting.

The first part of a path is a set of words that say how the rest is answered, "/all.reference.slow/v2/orders":
`all`, `some` (the first 2,000 orders), `tick` (43 new ones) or none of these: which orders there are;
`reference`: TIMS has items and customers; `stock...`: a large catalogue (stock.py); `slow`: every answer takes 20 ms;
`keep`: bodies of bulks and of quantities are written to a folder.
`/_requests` gives the number of requests since its last call, without those for tokens.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import re
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks import stock

SOME = 20  # pages
SLOW_SECONDS = 0.020
TOKEN = json.dumps({"access_token": "none", "token_type": "Bearer", "expires_in": 36_000}).encode()


class Server(ThreadingHTTPServer):
    """The pages in memory, and what was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pages: Path, keep: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keep = keep
        self.time = json.loads((pages / "facts.json").read_text())["server_time"]
        self.pages = {
            kind: [path.read_bytes() for path in sorted(pages.glob(f"{kind}-*.json"))]
            for kind in ("orders", "tick", "items", "customers")
        }
        v1 = sorted(pages.glob("v1-*.json"))
        self.firsts = [int(path.stem.partition("-")[2]) for path in v1]  # the first ID of each page
        self.v1 = [path.read_bytes() for path in v1]
        self.requested: Counter[str] = Counter()
        self.ids = itertools.count(1)
        self.lock = threading.Lock()

    def rows(self, what: str, words: set[str]) -> list[bytes]:
        """The pages of a list."""
        if what == "orders":
            if "tick" in words:
                return self.pages["tick"]
            return self.pages["orders"][: None if "all" in words else SOME if "some" in words else 0]
        return self.pages[what] if "reference" in words else []


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        _, first, *rest = self.path.split("?")[0].split("/")
        path, words = "/".join(rest), set(first.split("."))
        if path == "oauth2/token":
            return self._send(200, TOKEN)
        if first == "_requests":
            with self.server.lock:
                requested, self.server.requested = self.server.requested, Counter()
            return self._send(200, json.dumps(requested).encode())
        with self.server.lock:
            self.server.requested[re.sub(r"/\d+", "/{id}", path)] += 1
        if "slow" in words:
            time.sleep(SLOW_SECONDS)
        if path == "api/v1/bulk":
            return self._bulk(body, words)
        if self.command == "PATCH" and path.startswith("api/v1/customers/"):
            stamps = {"RowVersion": 2, "ModifiedAt": self.server.time}
            return self._send(200, json.dumps(json.loads(body) | stamps).encode())
        if self.command == "PUT" and path == "v2/inventory":
            return self._quantities(body, words)
        if self.command != "GET":
            return self._send(200, b"{}")
        return self._list(first, path, words)

    def _list(self, first: str, path: str, words: set[str]) -> None:
        """One page: `/v2/orders`, `/v2/orders/<page>`, and TIMS's lists by `Cursor`."""
        system, *names = path.removeprefix("api/").split("/")
        if path.startswith("v1/"):  # TIMS's begin with api/
            return self._by_key(names[0], words)
        if system == "v2":
            number = int(names[1]) if len(names) > 1 else 0
            rows, more = self._rows(names[0], number, words)
            link = f"http://{self.headers['Host']}/{first}/v2/{names[0]}/{number + 1}" if more else ""
            after = f'],"serverTime":"{self.server.time}"' + (f',"nextLink":"{link}"}}' if more else "}")
            return self._send(200, b'{"value":[', rows, after.encode())
        cursor = re.search(r"Cursor=(\d+)", self.path)
        number = int(cursor[1]) if cursor else 0
        rows, more = self._rows(names[-1], number, words)
        link = f'"{number + 1}"' if more else "null"
        after = f'],"ServerTime":"{self.server.time}","NextCursor":{link}}}'
        return self._send(200, b'{"Items":[', rows, after.encode())

    def _by_key(self, name: str, words: set[str]) -> None:
        """A page of the API v1: orders behind an ID, `$filter=ID gt <ID>`; nothing of all other lists."""
        behind = re.search(r"ID(?:\+|%20)gt(?:\+|%20)(\d+)", self.path)
        number = bisect.bisect_right(self.server.firsts, int(behind[1]) if behind else 0)
        there = name == "Orders" and "all" in words and number < len(self.server.v1)
        more = there and number + 1 < len(self.server.v1)
        link = f'],"@odata.nextLink":"http://{self.headers["Host"]}/next"}}' if more else "]}"
        self._send(200, b'{"value":[', self.server.v1[number] if there else b"", link.encode())

    def _rows(self, name: str, number: int, words: set[str]) -> tuple[bytes, bool]:
        """The rows of a page, and whether there are more."""
        if any(word.startswith("stock") for word in words):
            return stock.page(name, number, words)
        pages = self.server.rows(name, words)
        return (pages[number] if pages else b""), number + 1 < len(pages)

    def _quantities(self, body: bytes, words: set[str]) -> None:
        """Answers that every quantity is taken."""
        if "keep" in words:
            (self.server.keep / f"quantities-{next(self.server.ids):06d}.json").write_bytes(body)
        self._send(207, stock.written(body))

    def _bulk(self, body: bytes, words: set[str]) -> None:
        """Answers that every operation is done, with new ids, operations numbered from 0 as our client does."""
        if "keep" in words:
            number = next(self.server.ids)
            (self.server.keep / f"bulk-{number:06d}.json").write_bytes(body)
        result = '{"OperationID":"%d","Status":201,"Headers":{},"Body":{"SalesOrderID":"%s","CustomerID":"%s"}}'
        first = next(self.server.ids)
        results = [result % (n, f"SO-{first}-{n}", f"CU-{first}-{n}") for n in range(body.count(b'{"OperationID":'))]
        self._send(207, f'{{"Results":[{",".join(results)}]}}'.encode())

    def _send(self, status: int, *parts: bytes) -> None:
        header = (
            f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nDate: {formatdate(usegmt=True)}\r\n"
            f"Content-Length: {sum(map(len, parts))}\r\n\r\n"
        )
        self.connection.sendall(header.encode() + parts[0])
        for part in parts[1:]:
            self.connection.sendall(part)


def main() -> None:
    """Serves until its input ends: the process that started it is then gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    options = parser.parse_args()
    server = Server(options.pages, options.keep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
