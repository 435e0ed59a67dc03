"""Fixtures of the tests with real servers and a real database."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdock.settings import config_dir
from integration.town import Town, found_town, unhurried


@pytest.fixture(scope="module", autouse=True)
def _unhurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with unhurried(tmp_path_factory.mktemp("unhurried")):
        yield


@pytest.fixture
def town(postgres_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    """Both systems and a database, fresh for one test."""
    name = "t_" + re.sub(r"\W+", "_", request.node.name.lower())[:50]
    with found_town(postgres_url, name, tmp_path) as town:
        yield town


@pytest.fixture(scope="module")
def long_lived_town(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Town]:
    """Both systems and a database for a whole module: each test lives through days of its own, one after another.
    Every fifth order takes place, about ten a day."""
    name = "m_" + re.sub(r"\W+", "_", request.module.__name__.lower())[-50:]
    with found_town(postgres_url, name, tmp_path_factory.mktemp("town")) as town:
        town.part = 5
        yield town


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration of our own, in which a request that fails is soon sent again."""
    folder = tmp_path_factory.mktemp("config") / "config"
    shutil.copytree(config_dir(), folder)
    systems = folder / "systems.yaml"
    systems.write_text(systems.read_text().replace("first_pause_seconds: 0.5", "first_pause_seconds: 0.02"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_CONFIG_DIR", str(folder))
        yield folder
