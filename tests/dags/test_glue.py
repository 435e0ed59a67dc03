"""The glue between the library and Airflow: errors as retries, connections as clients, runs as windows, notes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath, RetryAction
from sqlalchemy.orm.exc import DetachedInstanceError

from airflow_home import PROJECT
from crossdock.errors import (
    AuthError,
    BadResponse,
    BatchStopped,
    CircuitOpen,
    ConfigError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    Transient,
)
from crossdock.steps.extract import Window
from crossdock.systems.connections import Connection as Library
from crossdock.systems.connections import as_json, parse
from crossdock.systems.inbox import DONE, Inbox
from crossdock_airflow import connections, plugin, preload, provider
from crossdock_airflow.hooks import ChannelAdvisorHook, TimsHook
from crossdock_airflow.retry import LONGEST_PAUSE, TypedErrors
from crossdock_airflow.tasks import PERIOD, RUN_PARAMS, SUBJECTS, window_of

NO_PARAMS = {"from": None, "to": None, "by": "window", "keys": None, "replay": None, "reprocess": False}


# ---- retries ---------------------------------------------------------------------------------------------------------


def decide(error: BaseException, try_number: int = 1) -> Any:
    return TypedErrors().evaluate(error, try_number, 4)


@pytest.mark.parametrize(
    "error", [ConfigError("x"), AuthError("x"), BatchStopped("x"), RecordRejected("x", status=422)], ids=repr
)
def test_what_a_person_must_mend_is_not_tried_again(error: Exception) -> None:
    assert decide(error).action is RetryAction.FAIL


def test_an_answer_against_the_contract_has_one_more_chance() -> None:
    assert decide(BadResponse("x"), 1).action is RetryAction.RETRY
    assert decide(BadResponse("x"), 2).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [RateLimited("x", retry_after=200), CircuitOpen("x", retry_after=200)], ids=repr)
def test_the_pause_is_at_least_what_the_system_asks_for(error: Transient) -> None:
    assert decide(error).action is RetryAction.RETRY
    assert decide(error).retry_delay == timedelta(seconds=200)


@pytest.mark.parametrize("error", [Transient("x"), OutcomeUnknown("x"), RateLimited("x")], ids=repr)
def test_pauses_grow_with_every_try_up_to_a_limit(error: Transient) -> None:
    pauses = [decide(error, number).retry_delay for number in range(1, 12)]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < pauses[-1] == LONGEST_PAUSE


def test_an_error_that_is_none_of_ours_takes_the_usual_way() -> None:
    assert decide(ValueError("x")).action is RetryAction.DEFAULT


# ---- windows ---------------------------------------------------------------------------------------------------------


def run_of(kind: str) -> Any:
    return SimpleNamespace(
        run_type=kind,
        data_interval_start=datetime(2011, 1, 4, tzinfo=UTC),
        data_interval_end=datetime(2011, 1, 4, 0, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize("kind", ["scheduled", "manual", "asset_triggered"])
def test_the_library_decides_the_window_of_an_ordinary_run(kind: str) -> None:
    assert window_of(run_of(kind), NO_PARAMS) == ("scheduled", Window())


def test_a_backfill_reads_its_data_interval_and_is_no_scheduled_read() -> None:
    run = run_of("backfill")
    assert window_of(run, NO_PARAMS) == ("backfill", Window(run.data_interval_start, run.data_interval_end))


def test_a_backfill_of_the_sweep_reads_its_data_interval_too() -> None:
    run = run_of("backfill")
    assert window_of(run, NO_PARAMS, "sweep")[1] == Window(run.data_interval_start, run.data_interval_end)


def test_a_window_that_a_person_names_never_moves_the_watermark() -> None:
    kind, window = window_of(
        run_of("manual"), {**NO_PARAMS, "from": "2011-01-04T00:00:00Z", "to": "2011-01-05T00:00:00+01:00"}
    )
    assert kind == "backfill"
    assert window == Window(datetime(2011, 1, 4, tzinfo=UTC), datetime(2011, 1, 4, 23, tzinfo=UTC))


def test_a_window_that_ends_before_it_starts_is_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="not before its end"):
        window_of(run_of("manual"), {**NO_PARAMS, "from": "2011-01-05T00:00:00Z", "to": "2011-01-04T00:00:00Z"})


def test_a_window_is_cut_at_midnight_and_its_days_are_the_window() -> None:
    start, end = datetime(2011, 1, 30, 6, tzinfo=UTC), datetime(2011, 2, 2, tzinfo=UTC)
    days = Window(start, end).days()
    assert [(day.start.day, day.start.hour, day.end.day) for day in days] == [(30, 6, 31), (31, 0, 1), (1, 0, 2)]
    assert (days[0].start, days[-1].end) == (start, end)
    assert [day.end for day in days[:-1]] == [day.start for day in days[1:]]
    with pytest.raises(ConfigError, match="start and an end"):
        Window(start).days()


def test_nothing_that_may_be_asked_by_hand_is_marked_as_required() -> None:
    for name, param in {**RUN_PARAMS, "subjects": SUBJECTS, "period": PERIOD}.items():
        assert name == "by" or "null" in param.schema["type"], name
        param.resolve(param.value if name == "by" else None)


def test_keys_win_over_a_window() -> None:
    assert window_of(run_of("manual"), {**NO_PARAMS, "keys": ["1"], "from": "2011-01-04T00:00:00Z"})[0] == "key"


def test_the_nightly_sweep_leaves_its_window_to_the_library() -> None:
    assert window_of(run_of("scheduled"), NO_PARAMS, "sweep") == ("sweep", Window())


# ---- connections -----------------------------------------------------------------------------------------------------


def test_airflow_offers_a_connection_type_for_each_system() -> None:
    from airflow.providers_manager import ProvidersManager

    hooks = {name: info for name, info in ProvidersManager().hooks.items() if name in ("channel_advisor", "tims")}
    assert {name: info.hook_name for name, info in hooks.items() if info} == {
        "channel_advisor": "Channel Advisor",
        "tims": "TIMS",
    }
    assert [kind["connection-type"] for kind in provider.get_provider_info()["connection-types"]] == list(hooks)


@pytest.mark.parametrize("hook", [ChannelAdvisorHook, TimsHook])
def test_a_connection_that_leads_nowhere_fails_its_test_in_a_sentence(
    hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"api": "v2", "refresh_token": "r", "connect_seconds": 0.2}
    monkeypatch.setenv(
        f"AIRFLOW_CONN_{hook.conn_type.upper()}",
        json.dumps(
            {"conn_type": "http", "host": "http://127.0.0.1:9", "login": "a", "password": "hidden!", "extra": extra}
        ),
    )
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    ok, words = hook().test_connection()
    assert not ok
    assert "127.0.0.1:9" in words
    assert "hidden!" not in words


def test_plain_http_to_another_machine_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_TIMS",
        json.dumps({"conn_type": "tims", "host": "http://tims.example.com", "login": "a", "password": "hidden!"}),
    )
    ok, words = TimsHook().test_connection()
    assert (ok, "https" in words) == (False, True)


ODD = (
    "a:b@c/d?e#f&g=h",
    "'one' \"two\"",
    "$HOME `id` \\n \\",
    "per%cent %20 +",
    "Grüße 日本 🦉",
    "{}[],;|<>",
    " ends ",
    "a\nb",
)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("system", ["channel_advisor", "tims"])
def test_a_printed_connection_is_read_back_by_airflow_exactly_as_json_and_as_uri(system: str, odd: str) -> None:
    from airflow.models import Connection

    extra = {"refresh_token": odd, "profile_id": [1, 2], "api": "v1"} if system == "channel_advisor" else {}
    made = Library(system, "https://api.example.com:8443/base", odd, odd, extra)
    kept = Connection.from_json(as_json(made), conn_id=system)  # noqa: AIR311
    assert (kept.login, kept.password, kept.extra_dejson) == (odd, odd, extra)
    for text in (as_json(made), kept.as_json(), kept.get_uri()):
        again = parse(system, text)
        assert (again.base_url, again.login, again.secret, again.extra) == (made.base_url, odd, odd, extra)
        assert Connection(conn_id=system, uri=text).password == odd if "://" in text[:20] else True  # noqa: AIR311


@pytest.mark.parametrize("name", ["crossdock", "tims"])
def test_a_connection_that_airflow_does_not_have_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"AIRFLOW_CONN_{name.upper()}", raising=False)
    with pytest.raises(ConfigError, match=f"no connection {name}"):
        connections.database_url() if name == "crossdock" else connections.connection(name)


# ---- notes -----------------------------------------------------------------------------------------------------------


class Run:
    """A run as the scheduler hands it over; `breaks`: what of it cannot be read, as of one whose session is closed."""

    def __init__(self, breaks: str = "") -> None:
        self.breaks, self.written = breaks, None

    def __getattr__(self, name: str) -> Any:
        if name == self.breaks:
            raise DetachedInstanceError(name)
        return {"dag_id": "orders", "run_id": "scheduled__1", "note": None}[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "note" and self.breaks == "set":
            raise DetachedInstanceError(name)
        object.__setattr__(self, "written" if name == "note" else name, value)


@pytest.mark.parametrize("hook", [plugin.on_dag_run_success, plugin.on_dag_run_failed])
@pytest.mark.parametrize("breaks", ["dag_id", "run_id", "note", "set"])
def test_a_run_that_cannot_be_read_or_written_is_left_without_a_note(
    breaks: str, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugin.NOTES, "orders", lambda *_: "read 1")
    run = Run(breaks)
    hook(dag_run=run, msg="")
    assert run.written is None


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(1), PermissionError("403"), ConfigError("x")], ids=repr)
def test_what_goes_wrong_with_a_note_does_not_reach_the_scheduler(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(*_: str) -> str:
        raise error

    monkeypatch.setitem(plugin.NOTES, "orders", note)
    run = Run()
    plugin.on_dag_run_success(dag_run=run, msg="")  # type: ignore[arg-type]
    assert run.written is None


def test_a_note_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for_ever = threading.Event()
    monkeypatch.setitem(plugin.NOTES, "orders", lambda *_: str(for_ever.wait()))
    monkeypatch.setattr(plugin, "PATIENCE", 0.05)
    run = Run()
    plugin.on_dag_run_success(dag_run=run, msg="")  # type: ignore[arg-type]
    assert run.written is None
    for_ever.set()


def test_a_note_is_asked_for_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugin.NOTES, "orders", lambda *_: threading.current_thread().name)
    run = Run()
    plugin.on_dag_run_success(dag_run=run, msg="")  # type: ignore[arg-type]
    assert run.written == "Records: crossdock-note"


# ---- preload and plugins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("executor", "arguments", "loads"),
    [
        ("LocalExecutor", ["scheduler", "--skip-serve-logs"], True),
        ("CeleryExecutor", ["scheduler"], False),
        ("KubernetesExecutor", ["scheduler"], False),
        ("CeleryExecutor,LocalExecutor", ["scheduler"], True),
        ("CeleryExecutor", ["celery", "worker"], True),
        ("LocalExecutor", ["api-server"], False),
        ("CeleryExecutor", ["dag-processor"], False),
        ("LocalExecutor", ["triggerer"], False),
        ("LocalExecutor", ["db", "migrate"], False),
    ],
)
def test_only_processes_that_run_tasks_import_what_tasks_need(
    executor: str, arguments: list[str], loads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(preload, "load", lambda: loaded.append(True))
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    assert preload.when_tasks_start_here(arguments) is loads
    assert bool(loaded) is loads


def test_everything_that_is_to_be_imported_ahead_exists() -> None:
    code = "from crossdock_airflow import preload; import logging; logging.basicConfig(); preload.load()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT / "plugins", capture_output=True, text=True, check=True
    )
    assert "not loaded ahead" not in done.stderr + done.stdout


def test_airflow_takes_two_plugins_from_the_plugins_folder_and_runs_no_other_file_of_it() -> None:
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    assert errors == {}
    ours = [plugin.name for plugin in plugins if plugin.source and "$PLUGINS_FOLDER" in str(plugin.source)]
    assert sorted(ours) == ["crossdock", "crossdock_console"]
    assert "standalone" not in sys.modules


# ---- the inbox -------------------------------------------------------------------------------------------------------


def test_an_object_of_airflows_own_kind_moves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(number: int) -> bytes:
        return (
            "Reference,OccurredAt,SKU,LocationID,Quantity,Reason\n"
            f"W-{number},2011-01-{number:02d},22423,MAIN,-1,Broken\n"
        ).encode()

    def read() -> list[dict[str, Any]]:
        return [json.loads(bytes(one)) for page in inbox.pages("stock") for one in page.records]

    def finish(record: dict[str, Any]) -> None:
        inbox.finish("stock", record["Source"], record["File"], record["FileDigest"])

    monkeypatch.setenv("CROSSDOCK_INBOX", f"file://{tmp_path}")
    root = connections.inbox()
    assert isinstance(root, ObjectStoragePath)
    inbox = Inbox(root)
    folder = tmp_path / "stock" / "warehouse"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_bytes(rows(1))
    (first,) = read()
    (folder / "a.csv").write_bytes(rows(2))
    finish(first)
    (second,) = read()
    assert second["Reference"] == "W-2"
    finish(second)
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [(path.parent, path.read_bytes()) for path in held] == [(folder / DONE, rows(2))]


# ---- the wall --------------------------------------------------------------------------------------------------------


def test_the_library_and_the_sandbox_work_where_airflow_is_not_installed() -> None:
    code = """
import pkgutil, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "airflow":
            raise ImportError("there is no airflow here")
sys.meta_path.insert(0, Wall())
import crossdock, sandbox
names = [m.name for p in (crossdock, sandbox) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    if ".migrations" not in name and not name.endswith("__main__"):
        __import__(name)
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 30
