"""Runs the sandbox: its two processes, and how far they know the world's events.

In: `up`, `down`, `seed`, `tick` (from the command line or from a test). Out: running servers, a moved clock.
Never: a process that it did not start; an event sent twice, or so late that an up-to-date reader misses it.

State: `.run/sandbox-<system>.pid`, `.run/logs/sandbox-<system>.log`, `.run/sandbox/world.json` (which data, how far).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from crossdock.settings import run_dir
from sandbox import actors
from sandbox import world as worlds
from sandbox.control import SYSTEMS, Control, SandboxError, controls, moment, port
from sandbox.transactions import BadData
from sandbox.world import CHANNEL_ADVISOR, TIMS, Event, World

START_SECONDS, STOP_SECONDS = 40.0, 10.0
AHEAD = timedelta(seconds=5)  # events are dated a little ahead, so that no reader has passed them
CONTRACT, LEGACY = FLAVOURS = ("contract", "legacy")  # of TIMS: as the contract has it, and as an older installation
MODULES = {  # what `python -m` runs, by flavour
    CHANNEL_ADVISOR: {CONTRACT: "sandbox.channel_advisor_v1"},
    TIMS: {CONTRACT: "sandbox.tims", LEGACY: "sandbox.tims_legacy"},
}
Progress = Callable[[str, float], None]  # (what is being done, share done)


# ---- processes ----


def pid_file(system: str) -> Path:
    return run_dir() / f"sandbox-{system}.pid"


def log_file(system: str) -> Path:
    return run_dir() / "logs" / f"sandbox-{system}.log"


def running(system: str) -> psutil.Process | None:
    """The server that `up` started here, if it lives; a number that another program took over since does not count."""
    try:
        process = psutil.Process(int(pid_file(system).read_text()))
        ours = set(process.cmdline()) & set(MODULES[system].values())
        return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def flavour_of(system: str) -> str | None:
    """As what the server that runs here speaks; None where none runs."""
    process = running(system)
    words = process.cmdline() if process else []
    return next((flavour for flavour, module in MODULES[system].items() if module in words), None)


def up(flavour: str = CONTRACT) -> dict[str, str]:
    """Start what does not run yet and wait until both are healthy. Returns "started" or "runs" by system. `flavour`: as
    what TIMS speaks.

    Raises SandboxError when a port is taken, a server does not come up, or TIMS runs in another flavour; what this call
    started is stopped again."""
    done: dict[str, str] = {}
    if (speaks := flavour_of(TIMS)) not in (None, flavour):
        raise SandboxError(f"The tims sandbox runs in the flavour {speaks}.", do="Stop it: `crossdock sandbox down`.")
    refuse_taken_ports()
    started = []
    try:
        for system in SYSTEMS:
            done[system] = "runs" if running(system) else "started"
            if done[system] == "started":
                _start(system, MODULES[system].get(flavour, MODULES[system][CONTRACT]))
                started.append(system)
        for system in SYSTEMS:
            _wait(system)
    except SandboxError:
        for system in started:
            _stop(system)
        raise
    return done


def refuse_taken_ports() -> None:
    """Raises SandboxError when another program has the port of a system that does not run here."""
    for system in SYSTEMS:
        if running(system) is None:
            _refuse_taken_port(system)


def _refuse_taken_port(system: str) -> None:
    number = port(system)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            other = "a sandbox of another installation" if Control.of(system).is_healthy() else "another program"
            variable = "CROSSDOCK_CA_PORT" if system == CHANNEL_ADVISOR else "CROSSDOCK_TIMS_PORT"
            raise SandboxError(
                f"Port {number} for the {system} sandbox is taken by {other}.",
                do=f"Stop it, or set {variable} to a free port (and the connection's URL with it).",
            ) from error


def _start(system: str, module: str) -> None:
    log = log_file(system)
    log.parent.mkdir(parents=True, exist_ok=True)
    (run_dir() / "sandbox").mkdir(parents=True, exist_ok=True)
    package = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
            [
                sys.executable,
                "-m",
                module,
                "--port",
                str(port(system)),
                "--data",
                str(run_dir() / "sandbox"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path},
        )
    pid_file(system).write_text(str(process.pid))


def _wait(system: str) -> None:
    control, until = Control.of(system), time.monotonic() + START_SECONDS
    while not control.is_healthy():
        if running(system) is None or time.monotonic() > until:
            words = _last_words(log_file(system))
            raise SandboxError(f"The {system} sandbox does not start: {words}", do=f"See {log_file(system)}.")
        time.sleep(0.1)


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return "it left no log."
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing.")


def down() -> dict[str, str]:
    """Stop both. Returns "stopped" or "was not running" by system."""
    return {system: "stopped" if _stop(system) else "was not running" for system in SYSTEMS}


def _stop(system: str) -> bool:
    process = running(system)
    if process is None:
        pid_file(system).unlink(missing_ok=True)
        return False
    _signal(process, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait(STOP_SECONDS)
    pid_file(system).unlink(missing_ok=True)
    return True


def _signal(process: psutil.Process, number: int) -> None:
    """To the server's whole process group, which `up` made for it."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


# ---- the world ----


@dataclass(frozen=True)
class WorldState:
    """How far the servers know the world's events, and how far its actors have acted: `data` is the file (None: the
    shipped January)."""

    data: str | None
    until: datetime
    acted: datetime


def _world_file() -> Path:
    return run_dir() / "sandbox" / "world.json"


def world_state() -> WorldState:
    try:
        reported = json.loads(_world_file().read_text())
        return WorldState(reported["data"], moment(reported["until"]), moment(reported["acted"]))
    except (OSError, ValueError, KeyError) as error:
        raise SandboxError("The sandbox has no world yet.", do="Run `crossdock sandbox seed`.") from error


def _remember(state: WorldState) -> None:
    file = _world_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    until, acted = worlds.text(state.until), worlds.text(state.acted)
    draft.write_text(json.dumps({"data": state.data, "until": until, "acted": acted}))
    draft.replace(file)


def inbox() -> Path:
    """The folder that marketplaces and the warehouse put their files into."""
    given = os.environ.get("CROSSDOCK_INBOX")
    return Path(given) if given else run_dir() / "inbox"


@lru_cache(maxsize=1)
def load_world(data: str | None) -> World:
    try:
        return worlds.load(data)
    except BadData as error:
        raise SandboxError(str(error), do="Name a file of the Online Retail data set, .csv or .csv.gz.") from error


def seed(data: str | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Empty both systems and this run folder's inbox, give the systems their reference data and set their clocks to
    just before the first day."""
    data = str(Path(data).resolve()) if data else None
    world, parts = load_world(data), controls()
    for control in parts.values():
        control.call("POST", "reset")
        control.set_clock(world.start)
    _world_file().unlink(missing_ok=True)
    shutil.rmtree(run_dir() / "inbox", ignore_errors=True)
    counts: Counter[str] = Counter()
    reference_events = list(world.reference_events())
    for number, (system, control) in enumerate(parts.items()):
        mine = [event for event in reference_events if event.system == system]
        if progress:
            progress(f"reference data of {system}", number / len(parts))
        control.apply(event.as_dict() for event in mine)
        counts.update(event.kind for event in mine)
    for control in parts.values():
        control.set_clock(world.start)
    _remember(WorldState(data, world.start, world.start))
    return {"now": worlds.text(world.start), "told": dict(counts), "orders_to_come": world.order_count}


def tick(to: datetime | None = None, by: timedelta | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Let the world go on to a moment (or by a duration, or to the end of the data): tell both systems what happened
    until then, set their clocks, and let everybody in it act (warehouse, buyers, marketplaces).

    Events that were due before now happen now, in their order: readers look for changes after their watermark, so
    nothing may appear in the past."""
    state, parts = world_state(), controls()
    world = load_world(state.data)
    now = max(control.now() for control in parts.values())
    base = max(now, state.until)
    end = to or (base + by if by else world.last + worlds.LONGEST)
    if end < now:
        raise SandboxError(
            f"The sandbox's clock is at {worlds.text(now)} already; it does not go back to {worlds.text(end)}.",
            do="Name a later moment, or start anew with `crossdock sandbox seed`.",
        )
    counts: Counter[str] = Counter()
    share = _share(state.until, end)
    for batch in _batches(world.events(state.until, end)):
        soon = max(control.now() for control in parts.values()) + AHEAD
        for system, control in parts.items():
            control.apply(event.as_dict(max(event.at, soon)) for event in batch if event.system == system)
        counts.update(event.kind for event in batch)
        _remember(WorldState(state.data, batch[-1].at, state.acted))
        if progress:
            progress(f"until {batch[-1].at:%d %b %Y %H:%M}", share(batch[-1].at))
    latest = max(end, *(control.now() for control in parts.values()))
    if counts:
        latest = max(latest, max(control.now() for control in parts.values()) + AHEAD)
    for control in parts.values():
        control.set_clock(latest)
    _remember(WorldState(state.data, end, state.acted))
    if progress:
        progress("what people do", 1.0)
    done = actors.act(world, parts, state.acted, end, inbox())
    if done:
        latest = max(control.now() for control in parts.values()) + AHEAD
        for control in parts.values():
            control.set_clock(latest)
    _remember(WorldState(state.data, end, end))
    return {"from": worlds.text(state.until), "now": worlds.text(latest), "told": dict(counts), "done": done}


def _batches(events: Iterator[Event], size: int = 200) -> Iterator[list[Event]]:
    """Batches of events in their order; those of one moment stay in one batch."""
    batch: list[Event] = []
    for event in events:
        if len(batch) >= size and event.at != batch[-1].at:
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch


def _share(start: datetime, end: datetime) -> Callable[[datetime], float]:
    whole = max((end - start).total_seconds(), 1.0)
    return lambda at: (at - start).total_seconds() / whole
