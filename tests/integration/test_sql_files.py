"""Every `.sql` file is a statement that the migrated database can prepare: a column that is renamed is found here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from crossdock.comparison.subject import CHANNEL_ADVISOR, TIMS
from crossdock.steps.records import UNKNOWN
from crossdock.store import database, sql
from crossdock.watch.reconcile import compare
from crossdock.watch.reconcile.subjects import SUBJECTS

PROJECT = Path(__file__).resolve().parents[2]
INCLUDE = PROJECT / "include"
CONTROLS = INCLUDE / "config" / "controls"
FILES = sorted([*INCLUDE.rglob("*.sql"), *(PROJECT / "plugins").rglob("*.sql")])
# What statements are told by the code that runs them, or make for one another.
GIVEN = (
    "CREATE TEMP TABLE found (LIKE ops.reconcile_difference)",
    "CREATE TEMP TABLE flying (sku text, units bigint, order_fingerprint text)",
)


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[sa.Connection]:
    made = database.engine(postgres_url, role=None)
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
        server.exec_driver_sql("DROP DATABASE IF EXISTS sql_files")
        server.exec_driver_sql("CREATE DATABASE sql_files")
    made.dispose()
    url = sa.make_url(postgres_url).set(database="sql_files").render_as_string(hide_password=False)
    database.migrate(url)
    made = database.engine(url)
    with made.connect() as connection:
        for statement in GIVEN:
            connection.exec_driver_sql(statement)
        connection.commit()
        yield connection
    made.dispose()


def numbered(text: str) -> str:
    """The statement with numbered parameters, whose types the database finds."""
    return str(sa.text(text).compile(dialect=postgresql.dialect(paramstyle="numeric_dollar")))


def prepare(connection: sa.Connection, text: str, types: str = "") -> None:
    with connection.begin_nested() as attempt:
        connection.exec_driver_sql(f"PREPARE one {types} AS {text}", execution_options={"no_parameters": True})
        attempt.rollback()
    connection.exec_driver_sql("DEALLOCATE ALL")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_the_database_can_prepare_it(connection: sa.Connection, path: Path) -> None:
    text = path.read_text("utf-8")
    if CONTROLS in path.parents:
        prepare(connection, text.replace(":period_end", "$1"), "(date)")
    else:
        prepare(connection, numbered(text))


def test_a_renamed_column_is_found(connection: sa.Connection) -> None:
    text = resources.files("crossdock.systems").joinpath("budget_lease.sql").read_text("utf-8")
    with pytest.raises(sa.exc.ProgrammingError, match="tokens_leased"):
        prepare(connection, numbered(text.replace("tokens", "tokens_leased")))
    connection.rollback()


def test_a_statement_is_read_from_its_package() -> None:
    found = sql.statement("crossdock.systems", "budget_wait")
    assert set(found._bindparams) == {"system", "span"}
    assert found is sql.statement("crossdock.systems", "budget_wait")
    with pytest.raises(FileNotFoundError):
        sql.statement("crossdock.systems", "no_such")


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_explanation_can_be_asked(connection: sa.Connection, name: str) -> None:
    counts = compare.compare(connection, SUBJECTS[name], 1, None, dict.fromkeys((CHANNEL_ADVISOR, TIMS), UNKNOWN))
    assert counts == compare.Counts()
    assert not compare.is_moving(connection, SUBJECTS[name], 1)
    compare.doubt(connection, SUBJECTS[name], 1)
    connection.rollback()
