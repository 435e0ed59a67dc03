"""The compose file's services as the image would run them.

In: docker-compose.yaml, settings as of `.env`. Out: which programs each command and health check runs, by the rules of
the image's entrypoint: `bash` and `python` as they are, anything else as a command of `airflow`. Never: Docker.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
COMPOSE = PROJECT / "docker-compose.yaml"
EXAMPLE = PROJECT / ".env.example"

# What is on the PATH of each image.
AIRFLOW_IMAGE = ("airflow", "crossdock", "celery", "python", "curl", "mkdir", "chown")
PROGRAMS = {
    "postgres": ("postgres", "pg_isready", "psql"),
    "redis": ("redis-server", "redis-cli"),
}
ENTRYPOINT = """#!/bin/bash
# As the image's entrypoint: https://airflow.apache.org/docs/docker-stack/entrypoint.html
set -euo pipefail
if [[ -n "${_AIRFLOW_DB_MIGRATE:-}" ]]; then airflow db migrate || true; fi
if [[ -n "${_AIRFLOW_WWW_USER_CREATE:-}" ]]; then
  airflow users create --username "$_AIRFLOW_WWW_USER_USERNAME" --firstname Airflow --lastname Admin \\
    --email airflowadmin@example.com --role Admin --password "$_AIRFLOW_WWW_USER_PASSWORD" || true
fi
case "${1:-}" in
  bash) shift; exec /bin/bash "$@" ;;
  python) shift; exec python "$@" ;;
  airflow) shift ;;
esac
exec airflow "$@"
"""
RECORDER = """#!/bin/bash
printf '%s\\0' "${0##*/}" "$@" >> "$RECORDED"
printf '\\1\\0' >> "$RECORDED"
"""


def settings(path: Path = EXAMPLE) -> dict[str, str]:
    """NAME=value lines, also those that are commented out."""
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def filled(**given: str) -> dict[str, str]:
    """The example settings with every secret filled in."""
    return {name: value or "secret" for name, value in settings().items()} | given


def services(values: dict[str, str]) -> dict[str, Any]:
    """The services with their variables filled in as compose does it."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, _, otherwise = match[1].partition(":-")
        return values.get(name.partition(":?")[0]) or otherwise

    def fill(node: Any) -> Any:
        if isinstance(node, str):
            return re.sub(r"\$\$|\$\{([^}]*)\}", value, node)
        if isinstance(node, dict):
            return {name: fill(each) for name, each in node.items()}
        return [fill(each) for each in node] if isinstance(node, list) else node

    return fill(yaml.safe_load(COMPOSE.read_text())["services"])


def words(command: str | list[str] | None) -> list[str]:
    """A command as compose takes it: a list as it is, a text split as a shell would."""
    return shlex.split(command) if isinstance(command, str) else list(command or ())


def command_line(service: dict[str, Any], entrypoint: str) -> list[str]:
    """What the container runs. The image of Postgres and of Redis run what they are given."""
    own = words(service.get("entrypoint"))
    before = own or ([entrypoint] if "x-airflow" in service or "build" in service else [])
    return [*before, *words(service.get("command"))]


def health_check(service: dict[str, Any]) -> list[str]:
    """What the container runs now and then. The entrypoint has no part in it."""
    how, *rest = service["healthcheck"]["test"]
    return ["/bin/sh", "-c", rest[0]] if how == "CMD-SHELL" else rest


def place_entrypoint(folder: Path) -> Path:
    """The entrypoint as a file of `folder`."""
    path = folder / "entrypoint"
    path.write_text(ENTRYPOINT)
    path.chmod(0o755)
    return path


def executed(
    command: list[str], environment: dict[str, Any], folder: Path, programs: tuple[str, ...] = AIRFLOW_IMAGE
) -> list[list[str]]:
    """The programs that `command` runs, each with its arguments, nothing of them really run. Raises AssertionError
    where one is not in the image."""
    record, found = folder / "record", folder / "bin"
    record.write_bytes(b"")
    found.mkdir(exist_ok=True)
    for name in programs:
        (found / name).write_text(RECORDER)
        (found / name).chmod(0o755)
    if not Path(command[0]).is_absolute():
        assert command[0] in programs, f"{command[0]} is not in the image"
    own = {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        [str(found / command[0]) if command[0] in programs else command[0], *command[1:]],
        env=own | {"PATH": str(found), "RECORDED": str(record)}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(command)} ends with {done.returncode}: {done.stderr}"
    runs = os.fsdecode(record.read_bytes()).split("\0\1\0")[:-1]
    return [run.split("\0") for run in runs]
