"""The container deployment, as far as files can tell: valid, complete, closed to the outside, one set of pins."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE = PROJECT / "docker-compose.yaml"
AIRFLOW = {"airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def settings(path: Path) -> dict[str, str]:
    """NAME=value lines, also those that are commented out."""
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def test_the_compose_file_fulfils_the_compose_specification() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_itself_accepts_the_file_with_the_example_settings(tmp_path: Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed here")
    filled = {name: value or "secret" for name, value in settings(PROJECT / ".env.example").items()}
    env_file = tmp_path / "env"
    env_file.write_text("\n".join(f"{name}={value}" for name, value in filled.items()))
    done = subprocess.run(
        ["docker", "compose", "--env-file", env_file, "-f", COMPOSE, "--profile", "sandbox", "config", "--quiet"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_setting_that_compose_asks_for_is_in_the_example(services: dict[str, Any]) -> None:
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE.read_text()))
    optional = {"CROSSDOCK_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE"}
    assert asked - optional == set(settings(PROJECT / ".env.example"))


def test_the_example_holds_no_secret_but_the_sandbox_s() -> None:
    given = settings(PROJECT / ".env.example")
    assert [name for name in given if re.search("PASSWORD|SECRET|KEY", name) and given[name]] == []
    assert all("sandbox" in given[name] for name in ("AIRFLOW_CONN_CHANNEL_ADVISOR", "AIRFLOW_CONN_TIMS"))


def test_all_processes_of_airflow_are_there_and_share_one_environment(services: dict[str, Any]) -> None:
    assert AIRFLOW | {"airflow-init", "postgres", "redis", "sandbox"} <= set(services)
    common = services["airflow-apiserver"]["environment"]
    for name in AIRFLOW | {"airflow-init"}:
        assert common.items() <= services[name]["environment"].items(), name


def test_no_process_starts_before_both_databases_are_migrated(services: dict[str, Any]) -> None:
    script = services["airflow-init"]["command"][1]
    assert services["airflow-init"]["environment"]["_AIRFLOW_DB_MIGRATE"] == "true"
    assert "crossdock db migrate" in script
    assert "pools import /opt/airflow/include/config/pools.json" in script
    for name in AIRFLOW:
        assert services[name]["depends_on"]["airflow-init"] == {"condition": "service_completed_successfully"}, name


def test_only_the_web_ui_is_published_and_only_to_this_machine(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"airflow-apiserver": ["127.0.0.1:${PORT:-8080}:8080"]}


def test_every_lasting_process_says_whether_it_is_healthy_and_is_restarted(services: dict[str, Any]) -> None:
    for name in AIRFLOW | {"postgres", "redis"}:
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
