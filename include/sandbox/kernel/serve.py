"""Run one system on this machine.

In: a system, a port. Out: a server until Ctrl-C or SIGTERM. Never: another address than loopback unless it is named.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import typer
import uvicorn

from sandbox.kernel.app import App
from sandbox.kernel.system import System


def server_config(system: System, log_level: str = "critical") -> uvicorn.Config:
    """The `Date` of an answer is the app's: a dialect may give the sandbox's clock there."""
    return uvicorn.Config(
        App(system),
        log_level=log_level,
        access_log=False,
        date_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
    )


def serve(system: System, port: int, host: str = "127.0.0.1") -> int:
    """Serve until stopped; 0 at a stop that was asked for, 1 with a sentence on stderr when the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        print(f"Port {port} of {host} cannot be used: {why}. Stop it, or choose another --port.", file=sys.stderr)
        return 1
    config = server_config(system)
    print(
        f"{system.name} sandbox on http://{host}:{listener.getsockname()[1]}, data in {system.store.path}", flush=True
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return 0
    finally:
        system.close()
    return 0


def main(build: Callable[..., System], default_port: int) -> None:
    """`python -m sandbox.<system> --port --data --host --per-minute`."""

    def run(
        port: int = typer.Option(default_port, help="Port to listen on; 0 takes a free one."),
        data: Path = typer.Option(Path(".run/sandbox"), help="Folder of the state."),  # noqa: B008
        host: str = typer.Option("127.0.0.1", help="Address to listen on; the controls answer loopback only."),
        per_minute: int = typer.Option(0, help="Requests a minute that are let through; 0: as the contract says."),
    ) -> None:
        raise typer.Exit(serve(build(data, per_minute=per_minute or None), port, host))

    typer.run(run)
