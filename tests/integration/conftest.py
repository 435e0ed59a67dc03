"""Fixtures of the tests with real servers and a real database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.environment import Environment, found_environment, own_config, unhurried


@pytest.fixture(scope="module", autouse=True)
def _unhurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with unhurried(tmp_path_factory.mktemp("unhurried")):
        yield


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Environment]:
    """Both systems and a database, fresh for one test."""
    name = "t_" + re.sub(r"\W+", "_", request.node.name.lower())[:50]
    with found_environment(postgres_url, name, tmp_path) as environment:
        yield environment


@pytest.fixture(scope="module")
def long_lived_environment(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Environment]:
    """Both systems and a database for a whole module: each test has days of its own, one after another.
    Every fifth order takes place, about ten a day."""
    name = "m_" + re.sub(r"\W+", "_", request.module.__name__.lower())[-50:]
    with found_environment(postgres_url, name, tmp_path_factory.mktemp("environment")) as environment:
        environment.part = 5
        yield environment


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration of the module's own, for tests that change it."""
    folder = own_config(tmp_path_factory.mktemp("config") / "config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_CONFIG_DIR", str(folder))
        yield folder
