"""Airflow for tests: a home of its own, nothing of the machine's, prepared before anything imports airflow."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

PROJECT = Path(__file__).resolve().parents[2]
HOME = tempfile.mkdtemp(prefix="airflow-")
for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))]:
    del os.environ[name]
os.environ.update(
    AIRFLOW_HOME=HOME,
    AIRFLOW__CORE__DAGS_FOLDER=str(PROJECT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(PROJECT / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="false",
    AIRFLOW__CORE__UNIT_TEST_MODE="false",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
)

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture(scope="session")
def bag() -> DagBag:
    """All DAG files, read."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(PROJECT / "dags"))


@pytest.fixture(scope="session")
def metadata() -> None:
    """A migrated metadata database."""
    from airflow.utils import db

    db.initdb()
