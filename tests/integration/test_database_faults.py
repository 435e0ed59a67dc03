"""A database that is away, full, closed or cut: a typed error of two sentences; then nothing is lost or doubled."""

from __future__ import annotations

import io
import logging
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from crossdock import cli
from crossdock.dev import local
from crossdock.errors import BatchStopped, ConfigError, CrossdockError, Transient
from crossdock.runtime import Runtime
from crossdock.steps.extract import Window
from crossdock.store import database, faults
from integration.environment import Environment, fresh_database, moment

CONSTRAINT = "customers_key"


@pytest.fixture(scope="module")
def url(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "faults") as made:
        yield made


@pytest.fixture(scope="module")
def admin(postgres_url: str) -> Iterator[sa.Connection]:
    """Who looks after the server."""
    engine = database.engine(postgres_url, role=None)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
    engine.dispose()


def changed(url: str, **parts: Any) -> str:
    return sa.make_url(url).set(**parts).render_as_string(hide_password=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_two_sentences(error: CrossdockError) -> bool:
    """What happened, and what to do: each a sentence of one line that ends as one."""
    return all("\n" not in text and text.endswith(".") and len(text) > 20 for text in (error.message, error.do))


def ask(url: str, work: Callable[[Runtime], Any] = lambda runtime: runtime.engine) -> CrossdockError:
    """The error with which `work` ends."""
    with pytest.raises(CrossdockError) as caught, Runtime(url) as runtime:
        work(runtime)
    assert is_two_sentences(caught.value), caught.value
    return caught.value


def run(statement: str) -> Callable[[Runtime], Any]:
    def work(runtime: Runtime) -> None:
        with runtime.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    return work


# ---- the way to the server -------------------------------------------------------------------------------------------


def test_a_wrong_port_is_told_with_the_setting_to_correct(url: str) -> None:
    error = ask("postgresql://x@127.0.0.1:1/x")
    assert type(error) is Transient
    assert "does not answer" in error.message
    assert "AIRFLOW_CONN_CROSSDOCK" in error.do


def test_a_port_of_another_program_a_wrong_option_and_an_address_that_is_none_are_a_matter_of_configuration() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(2):  # libpq tries once more without encryption
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        port = other.getsockname()[1]
        assert type(ask(f"postgresql://x@127.0.0.1:{port}/x")) is ConfigError
    assert type(ask("postgresql://x@127.0.0.1:1/x?sslmoder=require")) is ConfigError
    assert type(ask("postgresql://x@127.0.0.1:1/x?sslmode=perhaps")) is ConfigError
    for nonsense in ("postgresql://x@127.0.0.1:port/x", "nothing at all", "postgresql://x@[::1/x"):
        assert type(ask(nonsense)) is ConfigError


def test_a_missing_database_and_an_unknown_login_are_a_matter_of_configuration(url: str) -> None:
    assert "not on that server" in ask(changed(url, database="nowhere")).message
    error = ask(changed(url, username="nobody_of_this_name"))
    assert type(error) is ConfigError
    assert "refuses the login" in error.message


def test_a_database_without_tables_says_to_migrate(postgres_url: str) -> None:
    error = ask(changed(postgres_url, database="template1"))
    assert type(error) is ConfigError
    assert "crossdock db migrate" in error.do


def test_no_connection_left_passes(url: str, admin: sa.Connection) -> None:
    admin.exec_driver_sql("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    admin.exec_driver_sql("GRANT crossdock_loader TO crowded")
    error = ask(changed(url, username="crowded"))
    assert type(error) is Transient
    assert "takes no more connections" in error.message


def test_the_command_line_says_two_sentences_and_no_traceback(
    url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for words in (["status"], ["db", "migrate"], ["sync", "orders"], ["watch"]):
        for place, code, kind in (
            ("postgresql://x:secret-word@127.0.0.1:1/x", 4, "Transient"),
            (changed(url, database="nowhere"), 2, "ConfigError"),
        ):
            monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", place)
            monkeypatch.setattr(sys, "argv", ["crossdock", *words])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            out, output = capfd.readouterr()
            assert (ended.value.code, out) == (code, "")
            assert output.startswith(f"{kind}: The Crossdock database")
            assert len(output.splitlines()) == 2
            assert "Traceback" not in output
            assert "secret-word" not in output


# ---- what the server says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("53100", Transient), ("53200", Transient), ("53300", Transient), ("53400", Transient),
        ("57P01", Transient), ("57P02", Transient), ("57P03", Transient), ("57014", Transient), ("57P05", Transient),
        ("08006", Transient), ("08P01", Transient), ("40001", Transient), ("40P01", Transient), ("55P03", Transient),
        ("25006", Transient), ("25P03", Transient), ("58030", Transient), ("58P01", Transient), ("XX000", Transient),
        ("XX001", Transient), ("28000", ConfigError), ("28P01", ConfigError), ("3D000", ConfigError),
        ("42501", ConfigError), ("42P01", ConfigError), ("42703", ConfigError), ("3F000", ConfigError),
        ("23505", CrossdockError), ("22003", CrossdockError), ("42601", CrossdockError),
    ],
)  # fmt: skip
def test_every_state_of_the_server_has_its_kind(url: str, code: str, kind: type[CrossdockError]) -> None:
    error = ask(url, run(f"DO $$ BEGIN RAISE EXCEPTION 'it is so' USING ERRCODE = '{code}'; END $$"))
    assert type(error) is kind
    assert "half" not in str(error)


def test_a_full_disk_passes_and_says_to_make_room(url: str, admin: sa.Connection) -> None:
    admin.exec_driver_sql("CREATE ROLE writer LOGIN SUPERUSER")
    error = ask(changed(url, username="writer"), run("RESET ROLE; COPY (SELECT 1) TO '/dev/full'"))
    assert type(error) is Transient
    assert "No space left" in error.message
    assert "disk" in error.do


def test_a_read_only_server_is_told(url: str, admin: sa.Connection) -> None:
    name = sa.make_url(url).database
    admin.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        error = ask(url, run("UPDATE ops.watermark SET read_at = now()"))
    finally:
        admin.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert type(error) is Transient
    assert "takes no changes" in error.message


def test_a_fault_of_the_program_names_what_it_is_about_and_no_value(url: str) -> None:
    error = ask(
        url,
        run(
            f"CREATE TEMP TABLE c (mail text CONSTRAINT {CONSTRAINT} UNIQUE); "
            "INSERT INTO c VALUES ('a@example.com'), ('a@example.com')"
        ),
    )
    assert type(error) is CrossdockError
    assert CONSTRAINT in error.message
    assert "example.com" not in str(error)
    assert "12.x" not in str(ask(url, run("SELECT '12.x'::numeric")))


# ---- cut in the middle -----------------------------------------------------------------------------------------------

OTHERS = """SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = %(name)s AND pid <> pg_backend_pid()"""


def told_as_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says as an error, such as a pool's traceback."""
    return [f"{one.name}: {one.getMessage()}" for one in caplog.records if one.levelno >= logging.ERROR]


@contextmanager
def cut_before(postgres_url: str, url: str, number: int) -> Iterator[list[int]]:
    """Ends all sessions of a database just before the `number`-th statement of anyone; how many statements there were
    until then."""
    admin = database.engine(postgres_url, role=None)
    name = sa.make_url(url).database
    seen = [0]

    def observe(_connection: Any, _cursor: Any, _statement: str, *_: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            raw = admin.raw_connection()
            with raw.cursor() as cursor:
                cursor.execute(OTHERS, {"name": name})
            raw.close()

    sa.event.listen(sa.Engine, "before_cursor_execute", observe)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", observe)
        admin.dispose()


@pytest.mark.slow
def test_a_database_that_cuts_all_sessions_at_any_moment_of_a_sync_loses_and_doubles_nothing(
    environment: Environment, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    reads = ["2011-01-05"]
    environment.tick(reads[0])
    ends: list[CrossdockError] = []
    reached = 0
    day = Window(moment("2011-01-04"), moment(reads[0]))
    for number in (
        320,
        240,
        180,
        135,
        100,
        80,
        68,
        58,
        50,
        43,
        36,
        30,
        25,
        21,
        16,
        12,
        7,
        3,
    ):  # the last first: work is left for each
        with cut_before(postgres_url, environment.database_url, number) as seen:
            try:
                environment.sync(day, kind="backfill", reprocess=True, run_id="one")
            except Transient as error:
                ends.append(error)
        reached += seen[0] >= number
    assert reached >= 12
    assert len(ends) >= 8
    assert [str(error) for error in ends if not is_two_sentences(error)] == []
    assert told_as_errors(caplog) == []
    environment.sync(run_id="one")
    assert environment.differences(reads) == []
    assert environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []


def test_a_copy_that_is_cut_passes_and_leaves_no_traceback_in_the_log(
    url: str, admin: sa.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    def end(connection: sa.Connection) -> None:
        pid = connection.connection.dbapi_connection.info.backend_pid
        admin.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    def copy(runtime: Runtime) -> None:
        with runtime.engine.begin() as connection:
            cursor = connection.connection.cursor()
            end(connection)
            cursor.copy_expert("COPY (SELECT 1) TO STDOUT", io.BytesIO())

    def commit(runtime: Runtime) -> None:
        with runtime.engine.begin() as connection:
            connection.execute(sa.text("SELECT 1"))
            end(connection)

    for work in (copy, commit):
        assert type(ask(url, work)) is Transient
    assert told_as_errors(caplog) == []


def test_an_unlock_hides_no_error(url: str, admin: sa.Connection) -> None:
    def work(stopped: bool) -> str:
        with Runtime(url) as runtime, database.lock(runtime.engine, "extract:orders"):
            admin.exec_driver_sql(OTHERS, {"name": sa.make_url(url).database})
            if stopped:
                raise BatchStopped("four of five records break a rule")
        return "done"

    with pytest.raises(BatchStopped, match="four of five"):
        work(stopped=True)
    assert work(stopped=False) == "done"  # what was done is done; the lock has gone with its session


# ---- a server of our own ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server that a test may stop: its Crossdock database, migrated."""
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CROSSDOCK_RUN_DIR", name)
            made = local.start()
            database.migrate(made)
            yield made
            local.stop()


@pytest.mark.slow
def test_a_restart_in_the_middle_passes_and_a_wrong_password_does_not(own_server: str) -> None:
    def restart(runtime: Runtime) -> None:
        with runtime.engine.begin() as connection:
            connection.execute(sa.text("SELECT 1"))
            local.stop()
            connection.execute(sa.text("SELECT 2"))

    assert type(ask(own_server, restart)) is Transient
    assert "does not answer" in ask(own_server).message
    local.start()
    owner = database.engine(own_server, role=None)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE ROLE guarded LOGIN PASSWORD 'right-one'")
        rules = Path(connection.scalar(sa.text("SHOW hba_file")))
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    owner.dispose()
    error = ask(changed(own_server, username="guarded", password="wrong-one"))
    assert type(error) is ConfigError
    assert "refuses the login" in error.message
    assert "wrong-one" not in str(error)


def test_a_task_is_tried_again_after_a_fault_that_passes() -> None:
    from airflow.sdk import RetryAction

    from crossdock_airflow.retry import TypedErrors

    typed = faults.typed(psycopg2.InterfaceError("connection already closed"))
    decision = TypedErrors().evaluate(typed, 1, 4)
    assert (type(typed), decision.action) == (Transient, RetryAction.RETRY)


def test_the_character_nul_is_refused_in_words(url: str) -> None:
    engine = database.engine(url)
    with pytest.raises(ConfigError, match="character NUL"), faults.typed_errors(), engine.connect() as connection:
        connection.execute(sa.text("SELECT :value"), {"value": "a\x00b"})
    engine.dispose()
