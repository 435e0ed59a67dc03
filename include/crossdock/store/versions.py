"""Versions of the configuration: which one is in force, its files on this machine, and merges with new shipped files.

In: the database and the shipped files. Out: a folder with the whole tree, which `settings.using` takes. Never: two
answers for the same shipped files; a merge in force that the checks refuse; the text of a file in a log.

A version is the shipped files (its `base`) with some of them replaced. One version is in force. Where a machine has
other shipped files than that version was made on, what is in force there is the version's merge with them: one row per
version and base. So two releases beside each other, as while one replaces the other, each have a merge of their own.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock import settings
from crossdock.config import tree
from crossdock.config.tree import Tree
from crossdock.errors import CrossdockError, Transient
from crossdock.store import alerts, audit, database
from crossdock.store.faults import typed_errors
from crossdock.store.tables import ops_config_file as file_table
from crossdock.store.tables import ops_config_text as text_table
from crossdock.store.tables import ops_config_version as table

log = logging.getLogger(__name__)

# module and name of what looks at a whole tree; the room above is not imported by name
CHECK = ("crossdock.watch.configuration", "check")
MERGED_BY = "crossdock"
ALERT = "configuration_conflict"
UNUSED_SECONDS = 3 * 86_400  # after which the folder of a tree is removed
DRAFT_SECONDS = 3_600  # the same of a draft, and of what a killed process has left
DRAFT = "draft-"  # begins the name of a draft's folder
LOCK_SECONDS = 120  # how long a merge or a publication of somebody else is waited for
SHIPPED = 0  # number that stands for the shipped files alone


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a draft. `path` "" and `line` 0: not of one file."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.path else self.text


@dataclass(frozen=True)
class File:
    """One file of a version, each text by its hash: its own (None: taken away), the shipped one that it replaces, and
    the one that was in force before."""

    text: str | None
    base: str | None
    replaces: str | None

    @property
    def as_shipped(self) -> bool:
        return self.text == self.base


@dataclass(frozen=True)
class Current:
    """What is in force beside these shipped files. `number`: SHIPPED where no version is."""

    base: Tree
    number: int = SHIPPED
    state: str = ""
    files: Mapping[str, File] = field(default_factory=dict)
    tree: Tree = field(default_factory=lambda: Tree({}))

    def hash_of(self, path: str) -> str | None:
        return self.tree.hashes.get(path)


# ---- what a task works with ----------------------------------------------------------------------------------------


@contextmanager
def in_force(engine: sa.Engine) -> Iterator[int]:
    """Reads all settings from the version in force until the block ends; its number. One query, if nothing is new.

    A draft that is in use stays so; an older version that an outer block uses does not."""
    used = settings.root()
    if used and used.version is None:
        yield SHIPPED
        return
    with typed_errors():
        number, folder = _resolved(engine)
    if number == SHIPPED and used is None:
        yield number
        return
    with settings.using(folder, number):
        yield number


def _resolved(engine: sa.Engine) -> tuple[int, Path]:
    """The version in force and the folder with its tree."""
    base = tree.read(settings.base_dir())
    with engine.connect() as connection:
        version = _published(connection, base)
    if version is None:
        return SHIPPED, settings.base_dir()
    if version.unmerged:
        with engine.begin() as connection:
            version = _merge(connection, base)
    if version.tree == version.base or version.tree == base.hash:  # nothing is replaced
        return version.id, settings.base_dir()
    there = folder_of(version.tree)
    if _used(there):
        return version.id, there
    with engine.connect() as connection:
        return version.id, materialise(base.replaced(_contents(connection, _files(connection, version.id))))


def _published(connection: sa.Connection, base: Tree) -> Any:
    """The version in force beside these shipped files: its id, state, base and tree. `unmerged`: it stands on other
    ones, and nobody has merged it with these. None where no version is in force."""
    version, merge = table.alias("version"), table.alias("merge")
    other = sa.and_(version.c.base != base.hash, version.c.base != version.c.tree)
    return connection.execute(
        sa.select(
            sa.func.coalesce(merge.c.id, version.c.id).label("id"),
            sa.func.coalesce(merge.c.state, version.c.state).label("state"),
            sa.func.coalesce(merge.c.base, version.c.base).label("base"),
            sa.func.coalesce(merge.c.tree, version.c.tree).label("tree"),
            sa.and_(other, merge.c.id.is_(None)).label("unmerged"),
            version.c.id.label("version"),
        )
        .select_from(
            version.outerjoin(
                merge,
                sa.and_(
                    other,
                    merge.c.parent == version.c.id,
                    merge.c.base == base.hash,
                    merge.c.state.in_(("merged", "conflict")),
                ),
            )
        )
        .where(version.c.state == "in_force")
    ).one_or_none()


def current_number(connection: sa.Connection) -> int:
    """The number of the version in force beside the shipped files of this machine; SHIPPED where there is none."""
    version = _published(connection, tree.read(settings.base_dir()))
    return version.id if version else SHIPPED


def current(connection: sa.Connection) -> Current:
    """What is in force beside the shipped files of this machine, with its files. Merges where nobody has done so."""
    base = tree.read(settings.base_dir())
    version = _published(connection, base)
    if version is None:
        return Current(base, tree=base)
    if version.unmerged:
        version = _merge(connection, base)
    files = _files(connection, version.id)
    return Current(base, version.id, version.state, files, base.replaced(_contents(connection, files)))


# ---- folders -------------------------------------------------------------------------------------------------------


def folder_of(hash: str, *, draft: bool = False) -> Path:
    """Where a tree with this hash stands on this machine. One of a draft is kept for an hour only."""
    return _folder() / f"{DRAFT if draft else ''}{hash[:40]}"


def _folder() -> Path:
    """The cache: below the run folder, or in the temporary one where that may not be written to."""
    made = settings.run_dir() / "config"
    try:
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(made, os.W_OK | os.X_OK):
            return made
    except OSError:
        pass
    made = Path(tempfile.gettempdir()) / f"crossdock-config-{os.getuid()}"
    made.mkdir(mode=0o700, exist_ok=True)
    if made.is_symlink() or made.stat().st_uid != os.getuid():
        raise CrossdockError(f"{made} belongs to somebody else.", do="Remove it, or set CROSSDOCK_RUN_DIR.")
    return made


def materialise(whole: Tree, *, draft: bool = False) -> Path:
    """The folder with this tree: made once, whichever process comes first. Raises Transient where the disk is full."""
    there = folder_of(whole.hash, draft=draft)
    if _used(there):
        return there
    try:
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=there.parent))
        try:
            whole.write(made)
            with suppress(OSError):  # another process was faster, with the same files
                made.rename(there)
            if not there.is_dir():
                raise OSError(f"{there} was not made")
        finally:
            shutil.rmtree(made, ignore_errors=True)
        _tidy(there.parent)
    except OSError as error:
        raise Transient(
            f"The configuration in force cannot be written to {there.parent}: {error.strerror or error}.",
            do="Make room on this machine's disk, or set CROSSDOCK_RUN_DIR to a folder that may be written to.",
        ) from error
    return there


def _used(folder: Path) -> bool:
    """Whether the folder is there; it is kept for a while from now on."""
    try:
        os.utime(folder)
    except OSError:
        return False
    return True


def _tidy(folder: Path) -> None:
    """Removes trees that nobody has used for days, and what a killed process has left."""
    for one in folder.iterdir():
        with suppress(OSError):
            most = DRAFT_SECONDS if one.name.startswith((".", DRAFT)) else UNUSED_SECONDS
            if time.time() - one.stat().st_mtime > most:
                # At once, so that nobody finds a part of a tree; what a killed process leaves goes the next time.
                gone = one.rename(folder / f".gone-{one.name}") if not one.name.startswith(".") else one
                shutil.rmtree(gone, ignore_errors=True)


# ---- checking ------------------------------------------------------------------------------------------------------


def problems_of(whole: Tree) -> list[Problem]:
    """Everything that the checks find in a tree, by file and line."""
    folder = materialise(whole, draft=True)
    module, name = CHECK
    check = getattr(importlib.import_module(module), name)
    with settings.using(folder):
        try:
            found = check()
        except Exception as error:  # a text that no check was prepared for is refused as well
            log.warning("A check broke off: %s", type(error).__name__, exc_info=True)
            found = [f"A check broke off with {type(error).__name__}; the log says where."]
    return [problem(text.replace(f"{folder}/", "").replace(str(folder), "the configuration")) for text in found]


def problem(text: str) -> Problem:
    """A sentence that begins with a file and its line, in parts."""
    place = re.match(r"([\w./-]+\.\w+):(\d+): ", text)
    if place:
        return Problem(place[1], int(place[2]), text[place.end() :])
    named = re.match(r"([\w./-]+\.\w+) ", text)
    return Problem(named[1] if named else "", 0 if not named else 1, text)


# ---- rows ----------------------------------------------------------------------------------------------------------


def lock(connection: sa.Connection) -> None:
    """Waits until this transaction is the only one that changes what is in force."""
    connection.execute(sa.select(sa.func.set_config("lock_timeout", f"{LOCK_SECONDS}s", True)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(database.key_of("configuration"))))


def files_of(connection: sa.Connection, number: int) -> dict[str, File]:
    """The files of a version that are not as shipped, and those that were not before it."""
    return _files(connection, number)


def _files(connection: sa.Connection, number: int) -> dict[str, File]:
    rows = connection.execute(
        sa.select(file_table.c.path, file_table.c.text, file_table.c.base, file_table.c.replaces)
        .where(file_table.c.version == number)
        .order_by(file_table.c.path)
    )
    return {row.path: File(row.text, row.base, row.replaces) for row in rows}


def texts(connection: sa.Connection, hashes: Iterable[str | None]) -> dict[str, str]:
    """Texts by their hash."""
    wanted = sorted({one for one in hashes if one})
    rows = connection.execute(
        sa.select(text_table.c.hash, text_table.c.content).where(
            text_table.c.hash == sa.any_(sa.bindparam("hashes", wanted, type_=sa.ARRAY(sa.Text)))
        )
    )
    return {row.hash: row.content for row in rows}


def _contents(connection: sa.Connection, files: Mapping[str, File]) -> dict[str, bytes | None]:
    """What the files of a version put in the place of shipped ones. One as shipped is whatever is shipped now."""
    found = texts(connection, [one.text for one in files.values()])
    return {
        path: None if one.text is None else found[one.text].encode()
        for path, one in files.items()
        if not one.as_shipped
    }


def add(
    connection: sa.Connection,
    *,
    parent: int,
    author: str,
    message: str,
    state: str,
    whole: Tree,
    base: Tree,
    files: Mapping[str, File],
    contents: Mapping[str, bytes],
    problems: list[Problem] | None = None,
) -> int:
    """A new version; its number. `contents`: by hash, all that `files` name and the database may not have yet."""
    number = connection.execute(
        sa.insert(table)
        .values(
            parent=parent or None,
            author=author,
            message=message,
            state=state,
            base=base.hash,
            tree=whole.hash,
            problems=[asdict(one) for one in problems or ()],
            in_force_at=None if state == "proposed" else sa.func.now(),
        )
        .returning(table.c.id)
    ).scalar_one()
    put_files(connection, number, files, contents)
    return number


def put_files(connection: sa.Connection, number: int, files: Mapping[str, File], contents: Mapping[str, bytes]) -> None:
    """The files of a version, in the place of those that it had."""
    if contents:
        connection.execute(
            insert(text_table).on_conflict_do_nothing(),
            [{"hash": hash, "content": content.decode()} for hash, content in contents.items()],
        )
    connection.execute(sa.delete(file_table).where(file_table.c.version == number))
    if files:
        connection.execute(
            sa.insert(file_table), [{"version": number, "path": path, **asdict(one)} for path, one in files.items()]
        )


def put_in_force(connection: sa.Connection, number: int) -> None:
    """Makes a version the one in force; the one before is superseded. Needs the lock."""
    connection.execute(sa.update(table).where(table.c.state == "in_force").values(state="superseded"))
    connection.execute(sa.update(table).where(table.c.id == number).values(state="in_force", in_force_at=sa.func.now()))


# ---- merges with new shipped files ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rebased:
    """The files of a version beside other shipped files. `conflicts`: path -> why it cannot be merged by itself."""

    files: Mapping[str, File]
    contents: Mapping[str, bytes]  # by hash
    conflicts: Mapping[str, str]


def rebase(files: Mapping[str, File], found: Mapping[str, str], base: Tree) -> Rebased:
    """Merges each file of a version with the shipped text that stands in its place now. `found`: texts by hash."""
    made: dict[str, File] = {}
    contents: dict[str, bytes] = {}
    conflicts: dict[str, str] = {}
    for path, one in files.items():
        now = base.hashes.get(path)
        if one.as_shipped:
            continue
        if now == one.base:
            made[path] = File(one.text, one.base, one.text)
        elif one.text == now:  # the change has been shipped
            continue
        elif now is None:
            conflicts[path] = "no file of this name is shipped any more"
        elif one.base is None or one.text is None:
            conflicts[path] = "a file of this name is shipped now"
        else:
            try:
                together = tree.merge(found[one.base], base.files[path].decode(), found[one.text])
            except UnicodeDecodeError:
                conflicts[path] = "the shipped file is not UTF-8"
                continue
            if together.conflict:
                conflicts[path] = "the version and the new shipped file change the same lines"
                continue
            content = together.text.encode()
            hash = tree.digest(content)
            contents |= {hash: content, now: base.files[path]}
            made[path] = File(hash, now, one.text)
    return Rebased(made, contents, conflicts)


def as_they_are(files: Mapping[str, File]) -> dict[str, File]:
    """The files of a version beside other shipped files, not merged: what they replace stays the older text."""
    return {path: File(one.text, one.base, one.text) for path, one in files.items() if not one.as_shipped}


def _merge(connection: sa.Connection, base: Tree) -> sa.Row:
    """Merges the version in force with these shipped files, unless somebody has; what is in force beside them now."""
    lock(connection)
    if (version := _published(connection, base)).unmerged:  # there is one for good, once there is one
        _merge_with(connection, version, base)
    return _published(connection, base)


def _merge_with(connection: sa.Connection, version: Any, base: Tree) -> None:
    files = _files(connection, version.version)
    found = texts(connection, [hash for one in files.values() for hash in (one.text, one.base)])
    done = rebase(files, found, base)
    kept = as_they_are(files)
    problems: list[Problem] = []
    if not done.conflicts:
        contents = {tree.digest(text.encode()): text.encode() for text in found.values()} | dict(done.contents)
        whole = base.replaced({path: contents[one.text] if one.text else None for path, one in done.files.items()})
        problems = problems_of(whole)
    if done.conflicts or problems:
        whole = base.replaced({path: found[one.text].encode() if one.text else None for path, one in kept.items()})
        _conflict(connection, version.version, base, whole, kept, done.conflicts, problems)
        return
    message = f"Version {version.version} merged with the shipped files {base.hash[:12]}"
    number = add(
        connection, parent=version.version, author=MERGED_BY, message=message, state="merged",
        whole=whole, base=base, files=done.files, contents=done.contents,
    )  # fmt: skip
    audit.record(connection, MERGED_BY, "configuration merge", f"version {number}", {"files": sorted(done.files)})
    log.info("%s: version %d", message, number)


def _conflict(
    connection: sa.Connection,
    version: int,
    base: Tree,
    whole: Tree,
    files: Mapping[str, File],
    conflicts: Mapping[str, str],
    problems: list[Problem],
) -> None:
    """Keeps the files of the version as they are, and says so."""
    named = sorted(conflicts) or sorted({one.path for one in problems if one.path}) or sorted(files)
    message = f"Version {version} cannot be merged with the shipped files {base.hash[:12]}: {', '.join(named)}"
    number = add(
        connection, parent=version, author=MERGED_BY, message=message, state="conflict",
        whole=whole, base=base, files=files, contents={}, problems=problems,
    )  # fmt: skip
    why = [f"{path}: {reason}." for path, reason in conflicts.items()] or [f"{one}" for one in problems[:10]]
    alerts.raise_alert(
        connection,
        kind=ALERT,
        key=f"{version} {base.hash[:12]}",
        title=message,
        body="\n".join([
            *why,
            f"The files of version {version} stay in force as they are. Look at `crossdock config status`, decide what "
            "each file shall be, and publish it.",
        ]),
    )  # fmt: skip
    audit.record(connection, MERGED_BY, "configuration conflict", f"version {number}", {"files": named})
