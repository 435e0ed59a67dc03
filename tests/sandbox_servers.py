"""Sandbox servers in processes of their own, forked from one that has imported both systems: a test that starts two of
them does not wait for two interpreters."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

from sandbox.channel_advisor_v1.server import ChannelAdvisor
from sandbox.kernel.serve import serve
from sandbox.kernel.system import System
from sandbox.tims.server import Tims
from sandbox.tims_legacy.server import LegacyTims

SERVERS: dict[str, type[System]] = {"channel_advisor": ChannelAdvisor, "tims": Tims, "tims_legacy": LegacyTims}
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["sandbox_template"])


@cache
def _template() -> None:
    """Starts the process that servers are forked from. It finds modules where this one does: before Python 3.13 it
    would look for them on its own path alone, and fork servers that have to import everything themselves."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class _Reported(io.TextIOBase):
    """What a server prints, for the process that started it."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def write(self, text: str) -> int:
        self.pipe.send(text)
        return len(text)


def _serve(pipe: Connection, system: str, folder: Path, per_minute: int) -> None:
    os.setsid()  # Ctrl-C is the test's
    with redirect_stdout(_Reported(pipe)):
        serve(SERVERS[system](folder, per_minute=per_minute), 0)


@contextmanager
def serving(system: str, folder: Path, per_minute: int) -> Iterator[str]:
    """A server on a free port, with its state in `folder`; its first line, which names its URL."""
    _template()
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_serve, args=(there, system, folder, per_minute), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join(10)
        here.close()
