"""The inbox: files that marketplaces and warehouses deposit, read like a list of a system.

In: a folder, local or in any object store (whatever has pathlib's methods). Out: one page of JSON records per file, the
file's own moment in each. Never: a file that is still being written; a file changed or deleted; the target of a link.
What has been taken moves to `done/` beside it, by `finish`, and only what is byte for byte what was read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from crossdock import settings
from crossdock.errors import ConfigError, RecordRejected
from crossdock.keys import file_name
from crossdock.settings import run_dir
from crossdock.systems.paging import Page

DONE = "done"
WORKING = "working"  # files that are being moved; after a crash it is read like the inbox itself
UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")
SETTLE = timedelta(seconds=5)  # a younger file that ends in the middle of a line is still being written


_OUTDONE = re.compile(r"\.([0-9]{8}T[0-9]{6}|[0-9a-f]{16})(\.[^.]*)?$")  # in done/: another one had its name before


@dataclass(frozen=True)
class File:
    """One file of one source, as found. `refused`: rule, sentence and advice where it may not be opened."""

    source: str
    name: str
    data: bytes
    modified: datetime
    refused: tuple[str, str, str] | None = None

    @property
    def digest(self) -> str:
        """The digest of the bytes that were read: only a file that still has it moves to `done/`."""
        return digest(self.data)


def digest(data: bytes) -> str:
    """128 bits of SHA-256."""
    return sha256(data).hexdigest()[:32]


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

    def finish(self, path: str, source: str, name: str, read: str) -> None:
        """Moves a file to `done/` if its bytes are those that were `read`, by their digest. One that was replaced
        meanwhile stays, to be read; one that has been moved already stays there."""
        place = self._place(_list(path), source)
        try:
            name = file_name(name)
        except ValueError as wrong:
            raise ConfigError(f"{wrong}: no file of the source {source} is moved.", do="Correct the payload.") from None
        here = place / name
        if not isinstance(here, Path):
            self._copy_to_done(here, place / DONE, read)
            return
        working = place / WORKING / read[:16] / name  # nobody can replace it from here on
        working.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # a claim of a run that died first
            if not working.exists() and _is_file(here):
                here.rename(working)
            if working.exists():
                self._to_done(working, here, place / DONE, read)
        for folder in (working.parent, working.parent.parent):
            with suppress(OSError):  # not empty
                folder.rmdir()

    def done(self, path: str, since: datetime) -> Iterator[File]:
        """The files in `done/` that were moved there, or written, since then."""
        files = _list(path)
        for source in sorted(files.folders()):
            for each in _entries(self._place(files, source) / DONE):
                found = each.lstat() if isinstance(each, Path) else each.stat()
                moment = max(found.st_mtime, getattr(found, "st_ctime", 0))  # 0: this store gives no time
                if (not moment or moment >= since.timestamp()) and (file := self._file(source, each)):
                    yield file

    def lying(self, path: str) -> Iterator[File]:
        """The files in the inbox."""
        return self._files(_list(path), done=False)

    def keys(self, path: str, file: File) -> list[str]:
        """The keys of the records that the file holds."""
        files = _list(path)
        return [files.key(record) for record in files.read(file)]

    def _to_done(self, working: Path, here: Path, done: Path, read: str) -> None:
        """Moves a claimed file to `done/`, or back to its place where it is not the one that was read."""
        if digest(working.read_bytes()) == read:
            done.mkdir(exist_ok=True)
            working.rename(_free(done, working.name, read))
            return
        with suppress(OSError):  # a third file has the name by now: this one is read from where it is
            os.link(working, here)  # unlike a rename, never over another file
            working.unlink()

    def _copy_to_done(self, here: Any, done: Any, read: str) -> None:
        """The same in an object store, which cannot move: what was read is written to `done/`, then taken away, unless
        it has been replaced at this very moment."""
        if not here.exists():
            return
        before, data = _version(here), here.read_bytes()
        if digest(data) != read:
            return
        done.mkdir(parents=True, exist_ok=True)
        _free(done, here.name, read).write_bytes(data)
        if _version(here) == before:
            here.unlink()

    def _place(self, files: FileList, source: str) -> Any:
        folders = files.folders()
        if source not in folders:
            raise ConfigError(f"No configuration names the source {source!r}.", do=f"Known are: {', '.join(folders)}.")
        place = self.root / folders[source]
        if isinstance(place, Path):
            below = [p for p in (place, *place.parents) if p.is_relative_to(self.root) and p != self.root]
            for each in (*below, place / DONE, place / WORKING):
                if each.is_symlink() or (each.exists() and not each.is_dir()):
                    raise ConfigError(
                        f"{each} of the inbox is {'a link' if each.is_symlink() else 'no folder'}.",
                        do="Crossdock follows no links in its inbox: make it a folder of its own. Nothing was read.",
                    )
        return place

    def _files(self, files: FileList, *, done: bool, source: str = "", name: str = "") -> Iterator[File]:
        for each in sorted(files.folders()):
            if source and each != source:
                continue
            place = self._place(files, each)
            left = [folder for folder in _entries(place / WORKING) if folder.is_dir() and not folder.is_symlink()]
            for where in (*left, place, place / DONE) if done else (*left, place):
                for path in _entries(where):
                    own = where == place and path.name in (DONE, WORKING)
                    if not own and name in ("", path.name) and (file := self._file(each, path)):
                        yield file

    def _file(self, source: str, path: Any) -> File | None:
        """The file, unless it is hidden or still being written. What is no file is one that says why it is refused."""
        if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED):
            return None
        if not isinstance(path, Path):
            return self._object(source, path)
        name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
        found = path.lstat()
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        try:
            if found.st_size > settings.intake().file_bytes:
                return _too_large(source, name, found.st_size, modified)
            if name != path.name:
                raise _NotAFile("a file whose name is no UTF-8")
            data = _read(path)
        except FileNotFoundError:  # it has gone meanwhile
            return None
        except _NotAFile as refused:
            do = "Take it out of the inbox and put the file itself there, then dismiss this."
            return File(source, name, b"", modified, ("not_a_file", f"{name} is {refused}; it was not opened.", do))
        return self._settled(File(source, self._name(path), data, modified))

    def _object(self, source: str, path: Any) -> File | None:
        if not path.is_file():
            return None
        found = path.stat()
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        if found.st_size > settings.intake().file_bytes:
            return _too_large(source, self._name(path), found.st_size, modified)
        return self._settled(File(source, self._name(path), path.read_bytes(), modified))

    def _settled(self, file: File) -> File | None:
        """The file; None while somebody still writes to it."""
        return None if self._now() - file.modified < SETTLE and not file.data.endswith(b"\n") else file

    def _name(self, path: Any) -> str:
        """The name under which it was deposited."""
        return _OUTDONE.sub(r"\2", path.name) if path.parent.name == DONE else path.name


class _NotAFile(Exception):
    """What is in the place of a file."""


def _read(path: Path) -> bytes:
    """The bytes of a regular file. A link or pipe that has taken its place is not opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:  # ELOOP of a link, ENXIO of a socket
        raise _NotAFile(_kind(path.lstat().st_mode) or f"unreadable ({error.strerror})") from error
    if kind := _kind(os.fstat(handle).st_mode):
        os.close(handle)
        raise _NotAFile(kind)
    with os.fdopen(handle, "rb") as file:
        return file.read()


_KINDS = {
    stat.S_IFLNK: "a link to another file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _kind(mode: int) -> str:
    """The kind of a path; "" for a regular file."""
    return _KINDS.get(stat.S_IFMT(mode), "")


def _is_file(path: Path) -> bool:
    """Whether a regular file lies there, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _entries(folder: Any) -> list[Any]:
    """The entries of a folder by name; none where there is no folder."""
    return sorted(folder.iterdir(), key=lambda path: path.name) if folder.exists() else []


def _free(done: Any, name: str, read: str) -> Any:
    """The file's place in `done/`: its name, with its digest where another file has the name."""
    there = done / name
    return done / f"{there.stem}.{read[:16]}{there.suffix}" if there.exists() else there


def _version(path: Any) -> tuple:
    """The mark by which an object differs from the one that replaces it."""
    found = path.stat()  # its time and ETag, as far as this store gives them
    return tuple(
        sorted(
            (str(name), str(value))
            for name, value in dict(found.as_info() if hasattr(found, "as_info") else found).items()
        )
    )


def _too_large(source: str, name: str, size: int, modified: datetime) -> File:
    message = f"{name} has {size:,} bytes, {settings.intake().file_bytes:,} are allowed; it was not opened."
    do = "Split it, or raise file_bytes in include/config/intake.yaml."
    return File(source, name, b"", modified, ("too_large", message, do))


@cache
def _list(path: str) -> FileList:
    if path not in LISTS:
        raise ConfigError(f"The inbox has no list {path!r}.", do=f"It has: {', '.join(LISTS)}.")
    return import_module(LISTS[path]).FILES
