"""Fixtures of the tests within Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_home import PROJECT

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture(scope="session", autouse=True)
def _tests_do_not_give_way() -> None:
    """A task that is run within the tests would leave their process behind all others."""
    from crossdock_airflow import tasks

    tasks.BEHIND = 0


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
