"""The inbox: files that marketplaces and warehouses deposit, read like a list of a system.

In: a folder, local or in any object store (whatever has pathlib's methods). Out: one page of JSON records per file, the
file's own moment in each. Never: a file that is still being written; a file changed or deleted. What has been taken
moves to `done/` beside it, by `finish`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from crossdock.errors import ConfigError, RecordRejected
from crossdock.settings import run_dir
from crossdock.systems.paging import Page

DONE = "done"
UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")
SETTLE = timedelta(seconds=5)  # a file younger than this that ends in the middle of a line is still being written


@dataclass(frozen=True)
class File:
    """One file of one source, as found."""

    source: str
    name: str
    data: bytes
    modified: datetime


@dataclass(frozen=True)
class FileList:
    """One list of the inbox: where its files are, and how one of them becomes records (JSON objects as bytes)."""

    folders: Callable[[], Mapping[str, str]]  # source -> folder below the inbox
    read: Callable[[File], Iterator[bytes]]
    key: Callable[[bytes], str]  # of a record
    happened: Callable[[bytes], datetime]  # when what the record tells took place: decides a backfill's window


# path of a list -> module with its FILES
LISTS = {"settlements": "crossdock.systems.settlements", "stock": "crossdock.systems.stock_files"}


def folder() -> Any:
    """CROSSDOCK_INBOX as a path object: a folder, or a URL of an object store; without it, `inbox` of this machine."""
    text = os.environ.get("CROSSDOCK_INBOX", "")
    if "://" not in text:
        return Path(text) if text else run_dir() / "inbox"
    from upath import UPath

    return UPath(text)


class Inbox:
    """One inbox. `now` is the clock, for tests."""

    def __init__(self, root: Any, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.root = root
        self._now = now

    def server_time(self) -> datetime:
        return self._now()

    def pages(self, path: str, *, since: datetime | None = None, before: datetime | None = None) -> Iterator[Page]:
        """One page per file, sorted by source and name; at least one page.

        What lies in the inbox is read whatever its age, for a file may be deposited long after it was written. A window
        with an end (a backfill) takes instead the records that took place in it, also of files that are in `done/`.
        """
        files = _list(path)
        moment = self._now()
        found = False
        for number, file in enumerate(self._files(files, done=before is not None), 1):
            records = [msgspec.Raw(record) for record in files.read(file)]
            if before is not None:
                records = [
                    one
                    for one in records
                    if files.happened(bytes(one)) < before and (not since or since <= files.happened(bytes(one)))
                ]
            found = True
            yield Page(records, moment, number)
        if not found:
            yield Page([], moment, 1)

    def record(self, path: str, key: str) -> bytes:
        """The record of that key, from the inbox or from `done/`. Raises RecordRejected (404) where there is none."""
        files = _list(path)
        source, _, name = key.partition("/")
        likely = list(self._files(files, done=True, source=source, name=name))
        for file in likely or self._files(files, done=True, source=source):
            for record in files.read(file):
                if files.key(record) == key:
                    return record
        raise RecordRejected(f"No file of the inbox holds {key}.", 404, "NOT_FOUND", system="inbox")

    def finish(self, path: str, source: str, name: str) -> None:
        """Moves a file to `done/`; one that has been moved already stays there."""
        place = self._place(_list(path), source)
        here, there = place / name, place / DONE / name
        if not here.exists():
            return
        there.parent.mkdir(parents=True, exist_ok=True)
        if there.exists():  # another file had this name before
            there = there.parent / f"{there.stem}.{self._now():%Y%m%dT%H%M%S}{there.suffix}"
        here.rename(there)

    def _place(self, files: FileList, source: str) -> Any:
        folders = files.folders()
        if source not in folders:
            raise ConfigError(f"No configuration names the source {source!r}.", do=f"Known are: {', '.join(folders)}.")
        return self.root / folders[source]

    def _files(self, files: FileList, *, done: bool, source: str = "", name: str = "") -> Iterator[File]:
        for each in sorted(files.folders()):
            if source and each != source:
                continue
            place = self._place(files, each)
            for where in (place, place / DONE) if done else (place,):
                if not where.exists():
                    continue
                for path in sorted(where.iterdir(), key=lambda path: path.name):
                    if (name in ("", path.name)) and (file := self._file(each, path)):
                        yield file

    def _file(self, source: str, path: Any) -> File | None:
        """The file, unless it is none, hidden, or still being written."""
        if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED) or not path.is_file():
            return None
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        data = path.read_bytes()
        if self._now() - modified < SETTLE and not data.endswith(b"\n"):
            return None
        return File(source, path.name, data, modified)


@cache
def _list(path: str) -> FileList:
    if path not in LISTS:
        raise ConfigError(f"The inbox has no list {path!r}.", do=f"It has: {', '.join(LISTS)}.")
    return import_module(LISTS[path]).FILES
