"""Keeps a single machine going: starts again what has ended, and reports outside Airflow that all is well.

In: commands, a way to look after Postgres, a way to ask for health. Out: running processes; `.run/parts.json` (what
each does), `.run/heartbeat` (written only while all is well: its age is the silence), and a request a minute to
CROSSDOCK_HEARTBEAT_URL while all is well, so that a dead-man's service notices when none comes.
Never: imports airflow; gives up; prints the URL, which is a secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

URL = "CROSSDOCK_HEARTBEAT_URL"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; twice as long each time
STEADY = 60.0  # seconds of life after which the next pause is the first one again
LOOK_EVERY = 0.3
BEAT_EVERY, PING_EVERY = 10.0, 60.0


@dataclass
class Pauses:
    """The pause before the next start; it doubles while starts fail."""

    pause: float = FIRST_PAUSE
    started: float = 0.0
    due: float = 0.0  # of the next start

    def ended(self, now: float) -> None:
        self.pause = FIRST_PAUSE if not self.started or now - self.started > STEADY else self.pause * 2
        self.pause = min(self.pause, LONGEST_PAUSE)
        self.due = now + self.pause


class Part:
    """A process that is kept running. It leads a process group of its own, so that its children can be ended too.
    `environment`: all that it has; absent: that of this process."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.command, self.log, self.environment = name, list(command), log, environment
        self.child: subprocess.Popen | None = None
        self.pauses = Pauses()
        self.restarts = -1
        self.status = "is not started yet"

    def inspect(self, now: float) -> None:
        """Notes when the process has ended, and starts it again after its pause."""
        if self.child and (code := self.child.poll()) is not None:
            self.signal(signal.SIGTERM)  # its children, one of which may hold a server's port
            self.pauses.ended(now)
            self.status = f"ended with code {code} at {_clock()}; it starts again {self.pauses.pause:.0f} s later"
            _say(f"{self.name} {self.status}")
            self.left, self.child = self.child, None
        elif self.child is None and now >= self.pauses.due:
            if self.restarts >= 0:
                self._end_what_is_left()
            self._start(now)

    def _start(self, now: float) -> None:
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | self._mode(), 0o600), "ab") as output:
            self.child = subprocess.Popen(  # noqa: S603
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                process_group=0,
            )  # fmt: skip
        self.restarts += 1
        self.pauses.started = now
        self.status = f"runs since {_clock()}" + (f", started again {self.restarts} times" if self.restarts else "")

    def _mode(self) -> int:
        return os.O_TRUNC if self.restarts < 0 else os.O_APPEND  # why it ended stays to be read

    def _end_what_is_left(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.left.pid, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group."""
        if self.child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    @property
    def runs(self) -> bool:
        return self.child is not None and self.child.poll() is None


@dataclass
class Database:
    """Postgres, which is no child of ours: `alive` says whether its process lives, `start` starts it."""

    alive: Callable[[], bool]
    start: Callable[[], Any]
    status: str = "is not looked at yet"

    def __post_init__(self) -> None:
        self.pauses = Pauses()
        self._gone = False
        self.restarts = 0

    def inspect(self, now: float) -> bool:
        """True while Postgres lives. Nothing else is started without it: it would only end."""
        if self.alive():
            if self._gone or not self.pauses.started:
                self._gone, self.pauses.started = False, now
                self.status = f"runs since {_clock()}" + (f", started {self.restarts} times" if self.restarts else "")
            return True
        if not self._gone:
            self._gone = True
            self.pauses.ended(now)
            self.status = f"ended at {_clock()}; it starts again {self.pauses.pause:.0f} s later"
            _say(f"postgres {self.status}")
        elif now >= self.pauses.due:
            try:
                self.start()
                self.restarts += 1
            except Exception as error:  # any error: the next round tries again
                self.pauses.started = now
                self.pauses.ended(now)
                self.status = f"does not start: {error}"
                _say(f"postgres {self.status}")
        return False


def run(
    parts: Sequence[Part], database: Database, *, healthy: Callable[[], bool], folder: Path, patience: float
) -> int:
    """Looks after everything until SIGTERM or SIGINT comes; then ends it all within `patience` seconds."""
    stop = threading.Event()

    def stopping(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, stopping)
    signal.signal(signal.SIGINT, stopping)
    pulse = threading.Thread(target=beat, args=(stop, healthy, folder / "heartbeat", os.environ.get(URL)), daemon=True)
    pulse.start()
    reported: dict[str, Any] = {}
    while not stop.is_set():
        now = time.monotonic()
        if database.inspect(now):
            for part in parts:
                part.inspect(now)
        else:
            for part in parts:
                if part.child and part.child.poll() is not None:
                    part.inspect(now)
        if (view := _view(parts, database)) != reported:
            reported = view
            write(folder / "parts.json", json.dumps(reported, indent=1))
        stop.wait(LOOK_EVERY)
    for part in parts:
        part.signal(signal.SIGTERM)
    until = time.monotonic() + patience
    while time.monotonic() < until and any(part.runs for part in parts):
        time.sleep(0.1)
    forget(folder)
    return 0


def forget(folder: Path) -> None:
    """Deletes the report of parts that run no more."""
    for name in ("parts.json", "heartbeat"):
        (folder / name).unlink(missing_ok=True)


def beat(stop: threading.Event, healthy: Callable[[], bool], path: Path, url: str | None) -> None:
    """Notes every ten seconds that all is well, if it is, and tells the dead-man's service once a minute."""
    pinged = float("-inf")
    while not stop.is_set():
        try:
            if healthy():
                write(path, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
                if url and time.monotonic() - pinged >= PING_EVERY:
                    pinged = time.monotonic()
                    ping(url)
        except Exception as error:  # the beat goes on after any error
            _say(f"heartbeat: {type(error).__name__}")
        stop.wait(BEAT_EVERY)


def ping(url: str) -> bool:
    """Sends one request; whether it was taken. A failure is logged with the host only."""
    host = "the service"
    try:
        host = urlsplit(url).hostname or host
        if urlsplit(url).scheme not in ("http", "https"):
            _say(f"heartbeat: {URL} is no http or https URL; nobody is told.")
            return False
        urlopen(Request(url, headers={"User-Agent": "crossdock"}), timeout=10).close()  # noqa: S310
    except (OSError, ValueError) as error:  # a URLError is an OSError
        _say(f"heartbeat: {host} did not take it ({type(error).__name__}).")
        return False
    return True


def write(path: Path, text: str) -> None:
    """Writes a file in one step, so that nobody reads half of it."""
    draft = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def parts_of(folder: Path) -> Mapping[str, Any]:
    """The supervisor's last report of each part; empty where none runs."""
    try:
        return json.loads((folder / "parts.json").read_text())
    except (OSError, ValueError):
        return {}


def _view(parts: Sequence[Part], database: Database) -> dict[str, Any]:
    postgres = {"runs": not database._gone, "said": database.status}
    return {"postgres": postgres} | {part.name: {"runs": part.runs, "said": part.status} for part in parts}


def _clock() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}"


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", flush=True)
