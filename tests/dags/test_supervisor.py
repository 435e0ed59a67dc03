"""The supervisor: real processes that are killed, a database that goes, a silence that is noticed outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from crossdock.dev import standalone, supervisor
from crossdock.dev.supervisor import Database, Pauses
from crossdock.errors import ConfigError
from integration.environment import fresh_database
from integration.receivers import SECRET, deliver, event, ids

WAIT = 30.0
SCRIPT = """
import os, sys
from pathlib import Path
from crossdock.dev import standalone, supervisor
from crossdock.dev.supervisor import Database, Part
supervisor.FIRST_PAUSE, supervisor.LOOK_EVERY, supervisor.BEAT_EVERY = 0.2, 0.05, 0.05
folder = Path(sys.argv[1])
gone = folder / "database-is-gone"
told = zip(sys.argv[2::2], sys.argv[3::2])
parts = [Part(name, [sys.executable, "-c", code], folder / f"{name}.log") for name, code in told]
supervisor.run(
    parts, Database(lambda: not gone.exists(), gone.unlink),
    healthy=lambda: all(part.runs for part in parts) and not (folder / "ill").exists(), folder=folder, patience=5,
)
"""
SLEEP = "import time; time.sleep(600)"


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


class Supervised:
    def __init__(self, folder: Path, *parts: str, **environment: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), *parts],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
            stdout=(folder / "said.log").open("wb"), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def parts(self) -> dict[str, dict]:
        return dict(supervisor.parts_of(self.folder))

    def all_run(self) -> bool:
        return bool(self.parts()) and all(part["runs"] for part in self.parts().values())

    def child(self, count: int = 1) -> psutil.Process:
        (one,) = psutil.Process(self.process.pid).children()
        return one

    def stop(self) -> None:
        session = self.process.pid
        self.process.terminate()
        assert self.process.wait(WAIT) == 0
        until(lambda: not _living(session))


def _living(session: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone meanwhile
            if process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == session:
                found.append(process.pid)
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def begin(*parts: str, **environment: str) -> Supervised:
        made.append(Supervised(tmp_path, *parts, **environment))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def test_what_is_killed_starts_again_and_is_told_meanwhile(start: Callable[..., Supervised], tmp_path: Path) -> None:
    one = start("scheduler", SLEEP)
    until(one.all_run)
    first = one.child()
    first.send_signal(signal.SIGKILL)
    until(lambda: not one.parts()["scheduler"]["runs"])
    assert "ended with code -9" in one.parts()["scheduler"]["said"]
    until(one.all_run)
    assert one.child().pid != first.pid
    assert "started again 1 times" in one.parts()["scheduler"]["said"]
    assert stat.S_IMODE((tmp_path / "parts.json").stat().st_mode) == 0o600


def test_a_port_that_a_killed_part_has_left_to_its_child_is_free_for_the_next(start: Callable[..., Supervised]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = (  # a child inherits the port, and outlives its parent's kill
        f"import os, socket, time; s = socket.create_server(('127.0.0.1', {port})); os.fork(); time.sleep(600)"
    )
    one = start("api-server", server)
    until(lambda: one.all_run() and one.child().children())
    one.child().send_signal(signal.SIGKILL)
    until(lambda: "started again" in one.parts()["api-server"]["said"])
    until(lambda: one.child().children())
    assert one.parts()["api-server"]["said"].endswith("started again 1 times")  # the second did not find it taken


def test_a_database_that_ends_is_started_and_the_others_after_it(
    start: Callable[..., Supervised], tmp_path: Path
) -> None:
    needy = f"import os, sys, time\nwhile not os.path.exists({str(tmp_path / 'database-is-gone')!r}): time.sleep(.01)"
    one = start("dag-processor", needy)
    until(one.all_run)
    (tmp_path / "database-is-gone").touch()
    until(lambda: not one.parts()["postgres"]["runs"])
    until(lambda: "started again" in one.parts()["dag-processor"]["said"] and one.all_run())
    assert "started 1 times" in one.parts()["postgres"]["said"]


def test_pauses_grow_to_a_minute_and_begin_anew_after_a_steady_life() -> None:
    pauses, now, waited = Pauses(), 0.0, []
    for _ in range(9):
        pauses.started = now = now + 1
        pauses.ended(now)
        waited.append(pauses.pause)
    assert waited == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    pauses.ended(pauses.started + supervisor.STEADY + 1)
    assert pauses.pause == supervisor.FIRST_PAUSE


def test_a_database_that_does_not_start_is_tried_again_with_pauses() -> None:
    tries: list[int] = []

    def start() -> None:
        tries.append(1)
        raise OSError("no room")

    database = Database(lambda: False, start)
    for second in range(120):
        assert not database.inspect(float(second))
    assert 4 <= len(tries) <= 8
    assert "no room" in database.status


@pytest.fixture
def service() -> Iterator[tuple[str, list[str]]]:
    """A dead-man's service: its URL, and the requests that have come."""
    came: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.path)
            self.send_response(503 if "busy" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", came
    server.shutdown()
    server.server_close()


def test_the_heart_beats_while_all_is_well_and_is_silent_when_it_is_not(
    start: Callable[..., Supervised], tmp_path: Path, service: tuple[str, list[str]]
) -> None:
    url, came = service
    one = start("scheduler", SLEEP, CROSSDOCK_HEARTBEAT_URL=f"{url}/secret-word", no_proxy="127.0.0.1")
    beat = tmp_path / "heartbeat"
    until(beat.exists)
    until(lambda: came == ["/secret-word"])
    (tmp_path / "ill").touch()
    time.sleep(0.3)
    beat.unlink()
    time.sleep(0.5)
    assert not beat.exists()  # silence
    (tmp_path / "ill").unlink()
    until(beat.exists)
    assert len(came) == 1  # once a minute
    assert "secret-word" not in (tmp_path / "said.log").read_text()
    assert json.loads((one.folder / "parts.json").read_text())


def test_a_service_that_fails_harms_nothing_and_its_url_is_not_printed(
    service: tuple[str, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert supervisor.ping(f"{service[0]}/token-1")
    for url in (f"{service[0]}/busy/token-2", "http://127.0.0.1:1/token-3", "file:///etc/token-4", "http://[token-5"):
        assert not supervisor.ping(url)
    status = capsys.readouterr().out
    assert status.count("\n") == 4
    assert "token" not in status


@pytest.fixture
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The session of a supervisor that was killed with -9; its part lives on."""
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"
    killed = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    until(lambda: len(_living(killed.pid)) == 2)
    killed.kill()
    killed.wait()
    yield killed.pid
    for pid in _living(killed.pid):
        os.kill(pid, signal.SIGKILL)


def _remember(folder: Path, session: int, boot: float) -> None:
    (folder / "airflow.json").write_text(json.dumps({"session": session, "port": 1, "boot": boot}))


def test_what_a_killed_supervisor_has_left_is_named_and_ended(left_behind: int, tmp_path: Path) -> None:
    _remember(tmp_path, left_behind, psutil.boot_time())
    assert standalone.status()["supervisor"] == "was killed; `up` starts it again"
    status: list[str] = []
    standalone.down(status.append)
    assert status == ["Airflow stopped."]
    assert _living(left_behind) == []
    assert not (tmp_path / "airflow.json").exists()


def test_a_number_of_before_the_machine_started_is_no_process_of_ours(left_behind: int, tmp_path: Path) -> None:
    _remember(tmp_path, left_behind, psutil.boot_time() - 86_400)
    assert standalone.status() == {"airflow": "not running"}
    status: list[str] = []
    standalone.down(status.append)
    assert status == ["Airflow was not running."]
    assert len(_living(left_behind)) == 1  # another program's by now
    assert not (tmp_path / "airflow.json").exists()


# ---- the receiver of events ------------------------------------------------------------------------------------------

WITH_RECEIVER = """
import sys
from pathlib import Path
from crossdock.dev import standalone, supervisor
supervisor.FIRST_PAUSE, supervisor.LOOK_EVERY = 0.2, 0.05
supervisor.run(
    [standalone.receiver(standalone.receiver_port())], supervisor.Database(lambda: True, lambda: None),
    healthy=lambda: True, folder=Path(sys.argv[1]), patience=8,
)
"""


@pytest.fixture
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "CROSSDOCK_WEBHOOK_SECRET"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv(standalone.RECEIVER_PORT, str(port))
    return port


@pytest.mark.usefixtures("no_secrets")
def test_without_a_signing_secret_there_is_no_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    assert standalone.receiver_port() is None
    monkeypatch.setenv("CROSSDOCK_WEBHOOK_SECRET_TIMS", SECRET)
    assert standalone.receiver_port() == 8090
    monkeypatch.setenv(standalone.RECEIVER_PORT, "many")
    with pytest.raises(ConfigError, match="no port"):
        standalone.receiver_port()


@pytest.mark.usefixtures("no_secrets")
def test_a_secret_in_a_connection_starts_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"webhook_secret": SECRET, "webhook_secret_previous": SECRET[::-1]}
    connection = {"conn_type": "tims", "host": "http://127.0.0.1:1", "login": "l", "password": "p", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_TIMS", json.dumps(connection))
    given = standalone.receiver(1).environment or {}
    assert {name: value for name, value in given.items() if "SECRET" in name} == {
        "CROSSDOCK_WEBHOOK_SECRET_TIMS": SECRET, "CROSSDOCK_WEBHOOK_SECRET_TIMS_PREVIOUS": SECRET[::-1],
    }  # fmt: skip
    assert "AIRFLOW_CONN_TIMS" not in given


@pytest.mark.usefixtures("no_secrets")
def test_a_port_of_the_receiver_that_is_taken_stops_the_start_before_anything_runs(
    free_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("CROSSDOCK_WEBHOOK_SECRET_TIMS", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        airflow = probe.getsockname()[1]
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(ConfigError) as error:
        standalone.up(airflow, lambda _: None)
    assert f"Port {free_port}, which the receiver of events needs, is taken" in str(error.value)
    assert standalone.RECEIVER_PORT in str(error.value.do)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_secrets")
def test_the_receiver_is_a_part_that_is_started_again_and_holds_no_secret_but_its_own(
    free_port: int, postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    with fresh_database(postgres_url, "supervised") as url:
        foreign = {
            "AIRFLOW__CORE__FERNET_KEY": "of-airflow",
            "AIRFLOW_CONN_ELSEWHERE": "http://l:of-a-system@127.0.0.1",
        }
        one = subprocess.Popen(
            [sys.executable, "-c", WITH_RECEIVER, str(tmp_path)], start_new_session=True,
            env=os.environ | foreign | {
                "PYTHONPATH": os.pathsep.join(sys.path), "AIRFLOW_CONN_CROSSDOCK": url,
                "CROSSDOCK_RUN_DIR": str(tmp_path), "CROSSDOCK_WEBHOOK_SECRET_CHANNEL_ADVISOR": SECRET,
            },
        )  # fmt: skip
        try:
            until(lambda: standalone.receiver_health(free_port) == standalone.HEALTHY)
            assert deliver(f"http://127.0.0.1:{free_port}", event("evt_1")) == 202
            (child,) = psutil.Process(one.pid).children()
            own = child.environ()
            assert own["CROSSDOCK_WEBHOOK_SECRET_CHANNEL_ADVISOR"] == SECRET
            assert not any("of-airflow" in value or "of-a-system" in value for value in own.values())
            child.kill()
            until(lambda: "started again 1 times" in supervisor.parts_of(tmp_path)[standalone.RECEIVER]["said"])
            until(lambda: standalone.receiver_health(free_port) == standalone.HEALTHY)
            assert deliver(f"http://127.0.0.1:{free_port}", event("evt_2")) == 202
            assert ids(url) == ["evt_1", "evt_2"]
        finally:
            one.terminate()
            assert one.wait(WAIT) == 0
    until(lambda: not _living(one.pid))
    assert standalone.receiver_health(free_port) == "does not answer"
