"""Unit tests are closed: no socket of any kind, unix ones included, and no database. So they stay fast and never hang.

What needs a server, a process or a database belongs to integration/, contract/ or dags/; what is about the sandbox
itself to sandbox/. `ruff.toml` beside this file refuses the imports.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Closes the sockets of each test of this folder, before its first fixture and of whatever scope that is."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("disable_socket")


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """No database here."""
    raise pytest.UsageError("A unit test has no database: move the test to tests/integration.")
