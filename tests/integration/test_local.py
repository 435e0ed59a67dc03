"""The embedded Postgres: it outlives who started it, starts again after a kill, and says why when it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from crossdock.dev import local
from crossdock.errors import ConfigError

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder. Not pytest's own, whose path may be too long for a socket and is closed to Postgres' user."""
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("CROSSDOCK_RUN_DIR", name)
        yield Path(name)
        local.stop()


def databases() -> set[str]:
    engine = sa.create_engine(local.database_url("postgres"))
    with engine.connect() as connection:
        found = set(connection.scalars(sa.text("SELECT datname FROM pg_database")))
    engine.dispose()
    return found


def test_it_outlives_the_process_that_started_it_and_holds_both_databases(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "crossdock.dev.local", "start"], check=True, capture_output=True)
    assert local.is_running()
    assert {"airflow", "crossdock"} <= databases()


def test_it_starts_stops_and_starts_again_in_one_process_and_twice_is_once(folder: Path) -> None:
    for _ in range(2):
        assert local.start() == local.start() == local.database_url("crossdock")
        assert local.is_running()
        assert local.stop() is True
        assert local.stop() is False
        assert not local.is_running()


def test_it_starts_again_after_it_was_killed_and_its_number_belongs_to_another_program(folder: Path) -> None:
    local.start()
    marker = local.data_dir() / "postmaster.pid"
    lines = marker.read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)
    while local.is_running():
        pass
    marker.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    local.start()
    assert local.is_running()


@pytest.mark.parametrize("stage", ["while its data are made", "before its databases are made"])
def test_a_first_start_that_was_broken_off_begins_anew_and_leaves_no_server(folder: Path, stage: str) -> None:
    """Ctrl-C ends the whole group of processes, a kill only ours: neither may spoil the folder for good."""
    start = [sys.executable, "-m", "crossdock.dev.local", "start"]
    process = subprocess.Popen(start, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sign = "PG_VERSION" if stage == "while its data are made" else local.SOCKET
    until = time.monotonic() + 60
    while not (local.data_dir() / sign).exists():
        assert process.poll() is None
        assert time.monotonic() < until
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    local.start()
    assert {"airflow", "crossdock"} <= databases()
    servers = [p for p in psutil.process_iter() if "-D" in _words(p) and str(local.data_dir()) in _words(p)]
    assert len(servers) == 1
    assert not (folder / "pg.first-start").exists()


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def test_it_starts_after_its_whole_machine_went_whatever_its_number_names_by_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.start()
    other = int((local.data_dir() / "postmaster.pid").read_text().splitlines()[0])
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as mine:
        Path(mine).chmod(0o755)
        monkeypatch.setenv("CROSSDOCK_RUN_DIR", mine)
        for text in (f"{other}\n{local.data_dir()}\n", ""):  # of another Postgres; the disk lost it
            local.start()
            marker = local.data_dir() / "postmaster.pid"
            lines = marker.read_text().splitlines()
            os.kill(int(lines[0]), signal.SIGKILL)
            while local.is_running():
                pass
            marker.write_text(text and text + "\n".join(lines[2:]) + "\n")
            assert not local.is_alive()
            local.start()
            assert {"airflow", "crossdock"} <= databases()
        local.stop()
    assert psutil.pid_exists(other)
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(folder))
    assert local.is_running()


def test_only_its_owner_reaches_it(folder: Path) -> None:
    local.start()
    assert stat.S_IMODE(local.data_dir().stat().st_mode) == 0o700
    assert stat.S_IMODE((local.data_dir() / local.SOCKET).stat().st_mode) == 0o700


def test_what_goes_away_while_the_folder_is_closed_stops_no_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox empties its inbox while Airflow starts beside it."""
    (folder / "inbox" / "stock" / "done").mkdir(parents=True)
    stays = folder / "other" / "file"
    stays.parent.mkdir()
    stays.touch(0o644)
    close = local._close

    def emptied(place: Path) -> None:
        close(place)
        if place.name == "inbox":
            shutil.rmtree(place)

    monkeypatch.setattr(local, "_close", emptied)
    local.keep_private()
    assert stat.S_IMODE(stays.stat().st_mode) == 0o600
    assert not (folder / "inbox").exists()


def test_a_path_that_is_too_long_for_a_socket_works_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(folder / ("long" * 30)))
    local.start()
    assert {"airflow", "crossdock"} <= databases()
    local.stop()


def test_data_of_another_version_is_refused_and_left_as_it_is(folder: Path) -> None:
    local.data_dir().mkdir()
    (local.data_dir() / "PG_VERSION").write_text("14\n")
    with pytest.raises(ConfigError, match="was written by Postgres 14"):
        local.start()
    assert [path.name for path in local.data_dir().iterdir()] == ["PG_VERSION"]


def test_a_folder_that_is_something_else_is_refused_and_left_as_it_is(folder: Path) -> None:
    local.data_dir().mkdir()
    (local.data_dir() / "letters.txt").write_text("mine")
    with pytest.raises(ConfigError, match="neither empty nor the data of a Postgres server"):
        local.start()
    assert [path.name for path in local.data_dir().iterdir()] == ["letters.txt"]


def test_broken_data_end_in_the_servers_own_words(folder: Path) -> None:
    local.start()
    local.stop()
    shutil.rmtree(local.data_dir() / "global")
    with pytest.raises(ConfigError, match=r"cannot start: postgres: could not find the database system"):
        local.start()


def test_without_a_server_the_url_says_how_to_get_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="AIRFLOW_CONN_CROSSDOCK is not set"):
        local.database_url("crossdock")


def test_what_lies_in_the_run_folder_is_its_owners_only(folder: Path) -> None:
    (folder / "logs").mkdir(mode=0o755)
    (folder / "logs" / "old.log").write_text("an older start has left it open")
    (folder / "logs" / "old.log").chmod(0o644)
    before = os.umask(0o022)
    try:
        local.start()
        (folder / "new").write_text("made after it")
    finally:
        os.umask(before)
    others = [path for path in folder.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert others == []
    passage = 0o711 if os.geteuid() == 0 else 0o700  # Postgres' own user passes through, and sees nothing
    assert stat.S_IMODE(folder.stat().st_mode) == passage
