"""The inbox: what is finished is read, what was read moves to done/, and nothing else is ever opened or moved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from crossdock.errors import ConfigError
from crossdock.systems import inbox as inboxes
from crossdock.systems.inbox import DONE, WORKING, Inbox, digest

FOLDER = "stock/warehouse"
HEAD = b"Reference,OccurredAt,SKU,LocationID,Quantity,Reason\n"


def rows(*numbers: int) -> bytes:
    return HEAD + b"".join(b"W-%d,2011-01-%02d,22423,MAIN,-1,Broken\n" % (n, n) for n in numbers)


def moment(day: int) -> datetime:
    return datetime(2011, 1, day, tzinfo=UTC)


@pytest.fixture(params=["folder", "objects"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Inbox:
    """On this machine, and in an object store."""
    root = tmp_path if request.param == "folder" else UPath(f"memory://{uuid4()}")
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    return Inbox(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir(parents=True)
    return tmp_path / FOLDER


def read(inbox: Inbox, **window: datetime) -> list[dict[str, Any]]:
    return [msgspec.json.decode(one) for page in inbox.pages("stock", **window) for one in page.records]


def references(inbox: Inbox, **window: datetime) -> list[str]:
    return [record["Reference"] for record in read(inbox, **window)]


def finish(inbox: Inbox, record: dict[str, Any]) -> None:
    inbox.finish("stock", record["Source"], record["File"], record["FileDigest"])


def lying(inbox: Inbox) -> dict[str, list[bytes]]:
    """All that lies in the inbox, whole, by where it lies."""
    found: dict[str, list[bytes]] = {}

    def collect(place: Any, where: str) -> None:
        if place.exists():
            for each in sorted(place.iterdir(), key=lambda path: path.name):
                if each.is_dir():
                    collect(each, where or each.name)
                else:
                    found.setdefault(where, []).append(each.read_bytes())

    collect(inbox.root / FOLDER, "")
    return found


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_it_gives_what_is_finished_and_keeps_what_was_taken(inbox: Inbox) -> None:
    place = inbox.root / FOLDER
    for name in ("b.csv.part", "c.tmp", ".hidden"):
        (place / name).write_bytes(rows(9))
    (place / "a.csv").write_bytes(rows(1))
    assert references(inbox) == ["W-1"]
    (record,) = read(inbox)
    for _ in range(2):
        finish(inbox, record)
    assert references(inbox) == []
    assert lying(inbox)[DONE] == [rows(1)]
    assert msgspec.json.decode(inbox.record("stock", "warehouse/W-1"))["File"] == "a.csv"


def test_a_file_that_ends_in_the_middle_of_a_line_is_given_when_nobody_writes_to_it_any_more(folder: Path) -> None:
    (folder / "growing.csv").write_bytes(rows(2)[:-1])
    assert references(Inbox(folder.parents[1])) == []
    assert references(Inbox(folder.parents[1], lambda: datetime(2100, 1, 1, tzinfo=UTC))) == ["W-2"]


def test_a_backfill_takes_what_took_place_in_its_window_also_of_files_that_are_done(inbox: Inbox) -> None:
    (inbox.root / FOLDER / "a.csv").write_bytes(rows(1, 8))
    finish(inbox, read(inbox)[0])
    assert references(inbox, since=moment(1), before=moment(5)) == ["W-1"]
    assert references(inbox, since=moment(7), before=moment(9)) == ["W-8"]


# ---- moving ----------------------------------------------------------------------------------------------------------


def test_files_of_one_name_all_stay_in_done_and_are_known_by_that_name(inbox: Inbox) -> None:
    for number in (1, 2, 3, 1):
        (inbox.root / FOLDER / "a.csv").write_bytes(rows(number))
        finish(inbox, read(inbox)[0])
    assert sorted(set(lying(inbox)[DONE])) == [rows(1), rows(2), rows(3)]
    again = read(inbox, since=moment(1), before=moment(9))
    assert {(one["Reference"], one["File"]) for one in again} == {(f"W-{n}", "a.csv") for n in (1, 2, 3)}


def test_a_file_that_was_replaced_after_it_was_read_stays_and_is_read(inbox: Inbox) -> None:
    place = inbox.root / FOLDER / "a.csv"
    place.write_bytes(rows(1))
    (first,) = read(inbox)
    place.write_bytes(rows(2))
    finish(inbox, first)
    assert lying(inbox) == {"": [rows(2)]}
    (second,) = read(inbox)
    finish(inbox, second)
    assert (second["Reference"], lying(inbox)) == ("W-2", {DONE: [rows(2)]})


def test_a_file_that_comes_while_another_of_its_name_is_being_moved_is_not_overwritten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox(folder.parents[1])
    (folder / "a.csv").write_bytes(rows(1))
    (first,) = read(inbox)
    (folder / "a.csv").write_bytes(rows(2))  # replaced after it was read
    whole = inboxes.digest

    def meanwhile(data: bytes) -> str:
        (folder / "a.csv").write_bytes(rows(3))  # and once more, while the second one is looked at
        return whole(data)

    monkeypatch.setattr(inboxes, "digest", meanwhile)
    inbox.finish("stock", "warehouse", "a.csv", first["FileDigest"])
    monkeypatch.undo()
    assert sorted(references(inbox)) == ["W-2", "W-3"]
    for record in read(inbox):
        finish(inbox, record)
    assert sorted(references(inbox, since=moment(1), before=moment(9))) == ["W-2", "W-3"]


def test_what_a_run_was_moving_when_it_was_killed_is_read_and_moved_by_the_next(folder: Path) -> None:
    inbox = Inbox(folder.parents[1])
    data = rows(1)
    working = folder / WORKING / digest(data)[:16]
    working.mkdir(parents=True)
    (working / "a.csv").write_bytes(data)
    assert references(inbox) == ["W-1"]
    finish(inbox, read(inbox)[0])
    assert lying(inbox) == {DONE: [data]}
    assert not (folder / WORKING).exists()


@given(st.lists(st.sampled_from(["put 1", "put 2", "put 3", "read", "finish", "die"]), max_size=14))
def test_whatever_comes_between_no_bytes_are_lost_and_done_holds_only_what_was_read(steps: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        inbox, place = Inbox(Path(name)), Path(name) / FOLDER
        place.mkdir(parents=True)
        existing: list[dict[str, Any]] = []
        given_in: set[bytes] = set()
        for step in steps:
            if step.startswith("put"):
                if (place / "a.csv").exists():
                    given_in.discard((place / "a.csv").read_bytes())  # whoever replaces it wants it gone
                given_in.add(rows(int(step[-1])))
                (place / "a.csv").write_bytes(rows(int(step[-1])))
            elif step == "read":
                existing = read(inbox)
            elif step == "die" and existing and (place / "a.csv").exists():  # between the two renames
                working = place / WORKING / existing[0]["FileDigest"][:16]
                working.mkdir(parents=True, exist_ok=True)
                if not (working / "a.csv").exists():
                    (place / "a.csv").rename(working / "a.csv")
            elif step == "finish":
                for record in existing:
                    finish(inbox, record)
                assert set(lying(inbox).get(DONE, [])) <= {rows(n) for n in (1, 2, 3)}
        held = {data for found in lying(inbox).values() for data in found}
        assert given_in <= held
        reread = {record["FileDigest"] for record in read(inbox)}
        undone = {digest(data) for where, found in lying(inbox).items() if where != DONE for data in found}
        assert undone == reread


# ---- what is no file -------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "secret.csv"
    path.write_bytes(rows(7))
    yield path
    assert path.read_bytes() == rows(7)


def refused(folder: Path) -> dict[str, Any]:
    (record,) = read(Inbox(folder.parents[1]))
    assert record["RefusedFor"] == "not_a_file"
    assert record["RefusedDo"]
    return record


def test_a_link_is_refused_by_name_and_not_followed(folder: Path, secret: Path) -> None:
    (folder / "a.csv").symlink_to(secret)
    assert "a.csv is a link" in refused(folder)["RefusedSays"]
    (folder / "a.csv").unlink()
    (folder / "a.csv").symlink_to("gone")
    assert "a link" in refused(folder)["RefusedSays"]


def test_a_pipe_and_a_folder_are_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "a.csv")
    assert "a pipe" in refused(folder)["RefusedSays"]
    (folder / "a.csv").unlink()
    (folder / "a.csv").mkdir()
    assert "a folder" in refused(folder)["RefusedSays"]


def test_a_device_is_refused(folder: Path) -> None:
    try:
        os.mknod(folder / "a.csv", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root makes devices")
    assert "a device" in refused(folder)["RefusedSays"]


def test_a_name_that_is_no_text_is_refused_and_stops_nothing(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.csv")).write_bytes(rows(1))
    (folder / "b.csv").write_bytes(rows(2))
    found = read(Inbox(folder.parents[1]))
    assert [one.get("RefusedFor", one["Reference"]) for one in found] == ["W-2", "not_a_file"] or [
        one.get("RefusedFor", one["Reference"]) for one in found
    ] == ["not_a_file", "W-2"]


@pytest.mark.parametrize("which", ["stock", FOLDER, f"{FOLDER}/{DONE}", f"{FOLDER}/{WORKING}"])
def test_a_folder_of_the_inbox_that_is_a_link_stops_the_flow_before_anything_is_read(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, which: str
) -> None:
    other = tmp_path_factory.mktemp("other")
    link = tmp_path / which
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(other)
    inbox = Inbox(tmp_path)
    for ask in (lambda: read(inbox), lambda: inbox.finish("stock", "warehouse", "a.csv", "0" * 32)):
        with pytest.raises(ConfigError, match="is a link") as caught:
            ask()
        assert caught.value.do
    assert list(other.iterdir()) == []


def test_a_link_that_takes_the_place_of_a_file_that_was_read_is_not_moved(folder: Path, secret: Path) -> None:
    inbox = Inbox(folder.parents[1])
    (folder / "a.csv").write_bytes(rows(7))
    (record,) = read(inbox)
    (folder / "a.csv").unlink()
    (folder / "a.csv").symlink_to(secret)  # even one whose target holds the same
    finish(inbox, record)
    assert (folder / "a.csv").is_symlink()
    assert not (folder / DONE).exists()
