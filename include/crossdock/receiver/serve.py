"""Runs the receiver until it is stopped.

In: the database's URL, an address to listen on. Out: a server. Never: an address that other machines reach without a
word about whose deliveries are let in.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence

import uvicorn

from crossdock.errors import ConfigError
from crossdock.receiver import sources
from crossdock.receiver.app import Receiver
from crossdock.receiver.journal import Journal
from crossdock.receiver.sources import OpenSource, Settings
from crossdock.store import database, webhook_events
from crossdock.store.faults import typed_errors
from crossdock.systems.connections import is_loopback

STOP_SECONDS = 6  # for what is being written
HEADER_BYTES = 16_384  # of one request, with its line
ANYBODY = "0.0.0.0/0"


def serve(url: str, host: str, port: int, ready: Callable[[str, Sequence[OpenSource]], None]) -> None:
    """Serves until SIGINT or SIGTERM; `ready` is called with the address and the open sources once it listens. `port` 0
    takes a free one.

    Raises ConfigError for what a person must mend (no secret, a port in use, tables or rights that are missing),
    Transient where the database does not answer."""
    settings = sources.load()
    found = sources.open_sources(settings)
    _refuse_open_doors(host, settings, found)
    engine = database.engine(url, role=webhook_events.RECEIVER_ROLE)
    try:
        with typed_errors(), engine.connect() as connection:
            webhook_events.require(connection)
        with listening(host, port) as listener:
            server = uvicorn.Server(config_of(Receiver(found, Journal(engine), settings), settings))
            ready(f"http://{host}:{listener.getsockname()[1]}", found)
            server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has ended as it should, and says how
        pass
    finally:
        engine.dispose()


def config_of(app: Receiver, settings: Settings) -> uvicorn.Config:
    """No access log, for a path or query may hold what somebody should not have sent; nor a line for each request that
    is no HTTP. h11 reads HTTP: it bounds what a header may take, and refuses what two readers may understand in two
    ways."""
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=30,
        backlog=2048,
        ws="none",
        http="h11",
        h11_max_incomplete_event_size=HEADER_BYTES,
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. ConfigError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "another program listens there" if is_taken else getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"Port {port} of {host} cannot be used: {why}.", do="Stop that program, or name another --port."
        ) from None
    return listener


def _refuse_open_doors(host: str, settings: Settings, found: Sequence[OpenSource]) -> None:
    """Where other machines reach it, each source says from where its deliveries come."""
    anywhere = [source.name for source in found if not source.rules.addresses]
    if anywhere and not is_loopback(host):
        raise ConfigError(
            f"Other machines reach {host}, and receiver.yaml names no addresses of {', '.join(anywhere)}.",
            do=f"Name the networks that the deliveries come from under `addresses`, or {ANYBODY} if there are none to "
            "name.",
        )
