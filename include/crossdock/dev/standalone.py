"""Airflow on one machine: api-server, scheduler, dag-processor and triggerer as one group of processes; the receiver of
events beside them, where a system's signing secret is there.

In: the run folder (`.run`), a port, connections and signing secrets from the environment. Out: a running Airflow on
loopback, its logs in `.run/logs`, its state in the embedded Postgres.
Never: imports airflow (it only starts it), leaves a process behind, prints a password anywhere but on its own
command `password`; a secret of Airflow or a connection to a system in the receiver's environment.

    python -m crossdock.dev.standalone up|down|status|password [--port 8080]
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import sqlalchemy as sa

from crossdock.dev import local, supervisor
from crossdock.errors import ConfigError
from crossdock.receiver import sources
from crossdock.settings import PROJECT, run_dir

COMPONENTS = {  # the log servers would listen on all interfaces, and all logs lie on this machine anyway
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
DEFAULT_PORT = 8080
HEALTHY = "healthy"
PARTS = {  # our name of a part: its name in Airflow's answer about health
    "database": "metadatabase",
    "scheduler": "scheduler",
    "dag-processor": "dag_processor",
    "triggerer": "triggerer",
}
RECEIVER = "receiver"
RECEIVER_PORT = "CROSSDOCK_RECEIVER_PORT"  # where another port than the usual one is wanted
USER = "admin"
UP_SECONDS = 180
DOWN_SECONDS = 25

Say = Callable[[str], None]


# ---- where things are ------------------------------------------------------------------------------------------------


def home() -> Path:
    return run_dir().resolve() / "airflow"


def logs() -> Path:
    return run_dir().resolve() / "logs"


def _state_file() -> Path:
    return run_dir().resolve() / "airflow.json"


def _kept_secret(name: str, make: Callable[[], str]) -> str:
    """A secret of this installation, made once, readable by its owner only."""
    path = home() / "secrets" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make())
    return path.read_text()


def _token() -> str:
    return secrets.token_urlsafe(64)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def password() -> str:
    """The password of the user `admin` of this installation."""
    passwords = _kept_secret("passwords.json", lambda: json.dumps({USER: secrets.token_urlsafe(12)}))
    return json.loads(passwords)[USER]


def webhook_secret() -> str:
    """A signing secret of this installation, for subscriptions to the sandbox's events."""
    return _kept_secret("webhook_secret", lambda: secrets.token_hex(32))


def environment(port: int) -> dict[str, str]:
    """The environment of every Airflow process of this installation. Connections set by the caller win."""
    password()
    database = local.database_url("airflow").replace("postgresql://", "postgresql+psycopg2://", 1)
    paths = [str(PROJECT / "include"), str(PROJECT / "plugins")]
    settings = {
        "AIRFLOW_HOME": str(home()),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "6",  # two of them work events all the time
        "AIRFLOW__CORE__MP_START_METHOD": "fork",  # a task is a fork of the scheduler, with its imports
        "AIRFLOW__CORE__FERNET_KEY": _kept_secret("fernet_key", _fernet_key),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home() / "secrets" / "passwords.json"),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": _kept_secret("api_secret", _token),
        "AIRFLOW__API_AUTH__JWT_SECRET": _kept_secret("jwt_secret", _token),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        # Reading all DAG files again and again costs a tenth of a core: once a minute is enough.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
        "PYTHONPATH": os.pathsep.join(paths + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]),
        "CROSSDOCK_RUN_DIR": str(run_dir().resolve()),
        "GX_ANALYTICS_ENABLED": "false",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS
        "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1", "localhost"])),
    }
    defaults = {"AIRFLOW_CONN_CROSSDOCK": local.database_url("crossdock")}
    return {**defaults, **os.environ, **settings}


def airflow_command() -> list[str]:
    """The `airflow` beside this Python."""
    return [sys.executable, "-m", "airflow"]


def receiver_port() -> int | None:
    """The port that the receiver of events takes; None where no system's signing secret is there: then it is not
    started. Raises ConfigError."""
    if not sources.signing():
        return None
    text = os.environ.get(RECEIVER_PORT) or str(sources.PORT)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"{RECEIVER_PORT} is {text!r}, which is no port.", do="Give it a number up to 65535.")
    return int(text)


def receiver(port: int) -> supervisor.Part:
    """The receiver, with what it needs of this process's environment and no more: other machines may reach it."""
    names = ("PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH", "CROSSDOCK_RUN_DIR", "AIRFLOW_CONN_CROSSDOCK")
    command = [sys.executable, "-c", "from crossdock.cli import main; main()", "receive", "--port", str(port)]
    environment = {name: os.environ[name] for name in names if name in os.environ} | sources.signing()
    return supervisor.Part(RECEIVER, command, logs() / f"{RECEIVER}.log", environment)


# ---- up --------------------------------------------------------------------------------------------------------------


def up(port: int, say: Say) -> None:
    """Starts Airflow and waits until it is healthy. Already up on this port: nothing to do.

    Raises ConfigError with the reason otherwise.
    """
    state = _state()
    if state and (members := _members(state)):
        if state["session"] not in members:
            say("Airflow: what a killed supervisor has left behind is ended first")
            down(lambda _: None)
        elif state["port"] == port:
            if receiver_port() and not state.get("receiver"):
                say("The receiver of events is no part of what runs: stop it and start it again with the secrets.")
            if _healthy(port):
                say(f"Airflow is already up on port {port}.")
                return
            say("Airflow: its supervisor is starting again what has ended")
            _wait_until_healthy(lambda: state["session"] in _members(state), port, say)
            return
        else:
            raise ConfigError(
                f"This installation's Airflow already runs, on port {state['port']}.", do="`make down` stops it."
            )
    require_free_port(port, "Airflow", "PORT")
    if events_port := receiver_port():
        require_free_port(events_port, "the receiver of events", RECEIVER_PORT)
    local.keep_private()
    local.start()
    env = environment(port)
    logs().mkdir(parents=True, exist_ok=True)
    migrated = _migrate(env, say)
    say("Airflow: starting api-server, scheduler, dag-processor and triggerer")
    if events_port:
        say(f"Receiver of events: starting on http://127.0.0.1:{events_port}")
    with (logs() / "airflow.log").open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "crossdock.dev.standalone", "supervise"],
            env=env, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    running = {"session": started.pid, "port": port, "receiver": events_port, "boot": _boot_time()}
    _state_file().write_text(json.dumps(running))
    try:
        if not migrated:
            run_airflow(env, "pools", "import", str(PROJECT / "include" / "config" / "pools.json"))
            _mark_migrated()
        _wait_until_healthy(lambda: started.poll() is None, port, say)
    except BaseException:
        down(lambda _: None)
        raise


def require_free_port(port: int, what: str, setting: str) -> None:
    """Raises ConfigError when something already listens on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"Port {port}, which {what} needs, is taken by another program.",
                do=f"Stop that program, or choose another port: {setting}={port + 1000} make demo.",
            ) from error


def _mark() -> str:
    return f"airflow {version('apache-airflow')}"


def _migrate(env: dict[str, str], say: Say) -> bool:
    """Brings the metadata database to this Airflow's schema; True when it was there already."""
    database = sa.table("pg_database", sa.column("oid"), sa.column("datname"))
    with _metadata() as connection:
        mark = connection.scalar(
            sa.select(sa.func.shobj_description(database.c.oid, "pg_database")).where(database.c.datname == "airflow")
        )
    if mark == _mark():
        return True
    say("Airflow: making its database (about ten seconds, once)")
    run_airflow(env, "db", "migrate")
    return False


def _mark_migrated() -> None:
    """Notes in the database itself that it is ready: a stamp file would outlive it."""
    with _metadata() as connection:
        connection.execute(sa.text(f"COMMENT ON DATABASE airflow IS '{_mark()}'"))


@contextlib.contextmanager
def _metadata() -> Iterator[sa.Connection]:
    engine = sa.create_engine(local.database_url("airflow"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def run_airflow(env: dict[str, str], *arguments: str) -> None:
    """One `airflow` command. Raises ConfigError with the end of what it said when it fails."""
    done = subprocess.run(  # noqa: S603
        [*airflow_command(), *arguments], env=env, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigError(
            f"`airflow {' '.join(arguments)}` failed:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        )


def _wait_until_healthy(alive: Callable[[], bool], port: int, say: Say) -> None:
    until = time.monotonic() + UP_SECONDS
    while not _healthy(port):
        if not alive():
            raise ConfigError("Airflow ended while starting.\n" + _last_lines(), do=f"The whole logs: {logs()}.")
        if time.monotonic() > until:
            raise ConfigError(
                f"Airflow is not healthy after {UP_SECONDS} s.\n" + _last_lines(), do=f"The whole logs: {logs()}."
            )
        time.sleep(0.3)
    with contextlib.suppress(OSError):  # the first request builds the API that tasks speak to: not in a task's time
        urlopen(f"http://127.0.0.1:{port}/execution/health", timeout=60).close()
    say(f"Airflow: up on http://127.0.0.1:{port}")


def health(port: int) -> dict[str, str]:
    """What Airflow says of each of its parts: `healthy`, or what is wrong."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=10) as answer:
            reported = json.load(answer)
    except (URLError, OSError, ValueError):
        return {"api-server": "does not answer"}
    found = {"api-server": HEALTHY}
    for name, part in PARTS.items():
        state = reported.get(part) or {}
        beat = state.get(f"latest_{part}_heartbeat")
        seen = f"; last heard of at {beat:.19} UTC" if beat else ""
        found[name] = HEALTHY if state.get("status") == HEALTHY else f"{state.get('status') or 'not there'}{seen}"
    return found


def receiver_health(port: int) -> str:
    """How the receiver of events is: `healthy`, or what is wrong."""
    try:
        urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except HTTPError:
        return "its database does not answer"
    except (OSError, ValueError):
        return "does not answer"
    return HEALTHY


def _healthy(port: int) -> bool:
    """Whether all four components report themselves healthy."""
    return all(state == HEALTHY for state in health(port).values())


def _last_lines(count: int = 8) -> str:
    """The last lines of each log that is not empty."""
    found = []
    for name in ("airflow", *COMPONENTS):
        path = logs() / f"{name}.log"
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                found += [f"{name}: {line.rstrip()}" for line in deque(file, count)]
    return "\n".join(found)


# ---- the group of processes ------------------------------------------------------------------------------------------


def supervise() -> int:
    """Runs the components, and starts again what ends, Postgres too, until a signal comes. Leader of the session."""
    parts = [
        supervisor.Part(name, [*airflow_command(), name, *options], logs() / f"{name}.log")
        for name, options in COMPONENTS.items()
    ]
    if events_port := receiver_port():
        parts.append(receiver(events_port))
    port = int(os.environ["AIRFLOW__API__PORT"])

    def healthy() -> bool:
        found = [*health(port).values(), *([receiver_health(events_port)] if events_port else [])]
        return all(state == HEALTHY for state in found) and local.is_running()

    return supervisor.run(
        parts,
        supervisor.Database(local.is_alive, local.start),
        healthy=healthy,
        folder=run_dir().resolve(),
        patience=DOWN_SECONDS - 10,
    )


def down(say: Say) -> None:
    """Ends every process of the group, by SIGTERM and then by SIGKILL. Does nothing where none runs."""
    state = _state()
    members = _members(state) if state else []
    if not members:
        _state_file().unlink(missing_ok=True)
        say("Airflow was not running.")
        return
    assert state is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(state["session"], signal.SIGTERM)
    until = time.monotonic() + DOWN_SECONDS
    while (members := _members(state)) and time.monotonic() < until:
        if state["session"] not in members:  # the supervisor has given up waiting, or was killed
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            until = min(until, time.monotonic() + 5)
        time.sleep(0.2)
    for pid in _members(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while _members(state):
        time.sleep(0.05)
    _state_file().unlink(missing_ok=True)
    supervisor.forget(run_dir().resolve())
    say("Airflow stopped.")


def status() -> dict[str, str]:
    """What each part of the installation does now: `healthy`, or what is wrong with it."""
    state = _state()
    if state is None or not (members := _members(state)):
        return {"airflow": "not running"}
    found = {"supervisor": HEALTHY if state["session"] in members else "was killed; `up` starts it again"}
    found |= health(state["port"])
    if events_port := state.get("receiver"):
        found[RECEIVER] = receiver_health(events_port)
    if found["supervisor"] == HEALTHY:  # the supervisor knows that a part has ended before a heartbeat is missed
        for name, part in supervisor.parts_of(run_dir().resolve()).items():
            if not part["runs"]:
                found[name] = part["said"]
    return found


def is_running() -> bool:
    """Whether any process of the group lives."""
    state = _state()
    return state is not None and bool(_members(state))


def _state() -> dict | None:
    try:
        state = json.loads(_state_file().read_text())
    except (OSError, ValueError):
        return None
    return state if abs(state.get("boot", 0) - _boot_time()) < 60 else None  # a process id of before the last boot


def _boot_time() -> float:
    import psutil

    return psutil.boot_time()


def _members(state: dict) -> list[int]:
    """The living processes of the session, tasks in mid-work included."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == state["session"] and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m crossdock.dev.standalone")
    parser.add_argument("action", choices=("up", "down", "status", "password", "supervise"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or DEFAULT_PORT))
    options = parser.parse_args(arguments)
    say: Say = lambda text: print(text, flush=True)  # noqa: E731
    try:
        if options.action == "up":
            up(options.port, say)
        elif options.action == "down":
            down(say)
        elif options.action == "password":
            say(password())
        elif options.action == "supervise":
            return supervise()
        else:
            found = status()
            for name, what in found.items():
                say(f"{name}: {what}")
            return 0 if all(what == HEALTHY for what in found.values()) else 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
