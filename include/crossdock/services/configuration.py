"""Configuration that people change: proposals, versions in force, going back, and exchange with a checked-out tree.

In: a connection within a transaction, the person, texts of files by path (`lookups/carriers.csv`). Out: versions, and
what differs between them. Never: a version that breaks the contracts; a file that says who may do what; somebody's
change written over unseen.

A change is proposed, then published:

    version = propose(connection, person, {"lookups/carriers.csv": text}, "The drone carrier", parent=seen)
    version = publish(connection, person, version.number)   # `waits_for` names files that need a second person

`draft` reads all settings from a tree that nobody has proposed yet, for what would change:

    with draft(connection, {"prices.yaml": text}) as made:
        ...  # made.problems; everything here uses the draft

All workers use what is in force with their next task (`crossdock.store.versions`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from crossdock import settings
from crossdock.config import tree
from crossdock.config.tree import Tree
from crossdock.errors import ConfigError, storable
from crossdock.services.people import Person, Right
from crossdock.store import audit, versions
from crossdock.store.tables import ops_audit
from crossdock.store.tables import ops_config_file as file_table
from crossdock.store.tables import ops_config_version as table
from crossdock.store.versions import SHIPPED, Current, File, Problem, in_force

__all__ = [
    "SHIPPED", "Change", "Conflict", "Draft", "DraftRefused", "FileInfo", "Problem", "Status", "Version", "check",
    "conflicts", "consent", "diff", "draft", "export_tree", "files", "hashes", "import_tree", "in_force", "last_of",
    "log", "may_consent", "propose", "proposed", "publish", "refuse_overlap", "rollback", "show", "status", "text",
    "withdraw",
]  # fmt: skip

MOST = 200  # versions of one page of the log
MESSAGE_LENGTH = 2_000
SHOWN = 20  # problems in one error
Shown = Mapping[str, Any]  # a preview's number and what it counted
Files = Mapping[str, str | bytes | None]  # by path; None: as shipped again, or gone where none is shipped


@dataclass(frozen=True)
class Version:
    """One version. `state`: proposed, withdrawn, in force or superseded, as it is beside the shipped files here."""

    number: int
    parent: int  # SHIPPED: made from the shipped files
    author: str
    at: datetime
    message: str
    state: str
    files: tuple[str, ...]  # that it changes, against what was in force before it
    waits_for: tuple[str, ...] = ()  # of a proposal: files that a second person must agree to
    consent_by: str | None = None
    consent_at: datetime | None = None
    in_force_at: datetime | None = None
    conflict: bool = False  # a deploy brought shipped files that it could not be merged with; the older texts stay
    base: str = ""  # hash of the shipped files that it stands on


@dataclass(frozen=True)
class Change:
    """One file in two versions. None: there is no such file. `diff`: as `diff -u` prints it."""

    path: str
    before: str | None
    after: str | None
    diff: str


@dataclass(frozen=True)
class FileInfo:
    """One file of what is in force."""

    path: str
    size: int  # bytes
    replaced: bool  # not as shipped
    refused: str  # why it comes with the code only; "" = it may be changed
    consent: bool  # a second person must agree to a change


@dataclass(frozen=True)
class Conflict:
    """A file whose shipped text has changed under a published one. `clean`: the two go together, and other files or
    the checks are why they were not merged. `both`: the two, between marks where they do not go together."""

    path: str
    reason: str
    ours: str | None
    shipped_before: str | None
    shipped_now: str | None
    both: str
    clean: bool


@dataclass(frozen=True)
class Status:
    """What is in force here, what waits, and what a deploy has left to decide. `problems`: of merged files."""

    number: int  # SHIPPED: nothing is published
    version: Version | None
    base: str  # hash of the shipped files
    replaced: tuple[str, ...]
    proposals: tuple[Version, ...]
    conflicts: tuple[Conflict, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Draft:
    """A tree that is not published. `files`: what it changes, against what is in force; `before`, `after`: the hashes
    of all that is in force, and of the draft."""

    files: tuple[str, ...]
    problems: tuple[Problem, ...]
    before: str = ""
    after: str = ""


class DraftRefused(ConfigError):
    """A draft that the checks refuse. `problems`: what and where; nothing was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        shown = [f"{one}" for one in problems[:SHOWN]]
        more = [f"And {len(problems) - SHOWN} more."] if len(problems) > SHOWN else []
        super().__init__("\n".join([*shown, *more]), do="Correct this; nothing was published.")
        self.problems = tuple(problems)


# ---- looking -------------------------------------------------------------------------------------------------------


def log(connection: sa.Connection, *, after: int | None = None, most: int = 50) -> tuple[Version, ...]:
    """Versions, the newest first. `after`: the last number of the page before."""
    wanted = _select().order_by(table.c.id.desc()).limit(min(max(most, 0), MOST))
    return _versions(connection, wanted if after is None else wanted.where(table.c.id < after))


def show(connection: sa.Connection, number: int) -> Version:
    """One version. Raises ConfigError where there is none."""
    found = _versions(connection, _select().where(table.c.id == number))
    if not found:
        raise ConfigError(f"There is no version {number}.", do="`crossdock config log` lists all.")
    return found[0]


def last_of(connection: sa.Connection, path: str) -> Version | None:
    """The version in force, or once in force, that has changed a file last; None where none has."""
    mine = sa.exists().where(
        file_table.c.version == table.c.id, file_table.c.path == path,
        file_table.c.text.is_distinct_from(file_table.c.replaces),
    )  # fmt: skip
    wanted = _select().where(mine, table.c.in_force_at.is_not(None)).order_by(table.c.id.desc()).limit(1)
    return next(iter(_versions(connection, wanted)), None)


def diff(connection: sa.Connection, number: int, against: int | None = None) -> tuple[Change, ...]:
    """The files in which a version differs from what it was made from, or from any other version. SHIPPED stands for
    the files that are shipped here."""
    if against is None and number != SHIPPED:
        show(connection, number)
        rows = versions.files_of(connection, number)
        pairs = {path: (one.replaces, one.text) for path, one in rows.items() if one.replaces != one.text}
        found = versions.texts(connection, [hash for pair in pairs.values() for hash in pair])
        return tuple(
            _change(path, found.get(before or ""), found.get(after or ""), number)
            for path, (before, after) in pairs.items()
        )
    before, after = _Whole(connection, against or SHIPPED), _Whole(connection, number)
    paths = sorted({*before.files, *after.files} | ({*before.shipped} ^ {*after.shipped}))
    pairs = {path: (before.text(path, after), after.text(path, before)) for path in paths}
    return tuple(_change(path, *pair, number, against or SHIPPED) for path, pair in pairs.items() if pair[0] != pair[1])


def files(connection: sa.Connection) -> tuple[FileInfo, ...]:
    """Every file of what is in force, by path."""
    now = versions.current(connection)
    return tuple(
        FileInfo(
            path,
            len(content),
            path in now.files and not now.files[path].as_shipped,
            tree.refused(path, now.tree.files) or "",
            _needs_consent(path),
        )
        for path, content in sorted(now.tree.files.items())
    )


def text(connection: sa.Connection, path: str, number: int | None = None) -> str | None:
    """A file's text as it is in force, or in a version; None where there is no such file."""
    if number is not None:
        return _Whole(connection, number).text(path)
    content = versions.current(connection).tree.files.get(path)
    return None if content is None else content.decode("utf-8", "replace")


def status(connection: sa.Connection) -> Status:
    """What is in force, and what is left to do."""
    now = versions.current(connection)
    waiting = _versions(connection, _select().where(table.c.state == "proposed").order_by(table.c.id))
    problems = connection.scalar(sa.select(table.c.problems).where(table.c.id == now.number)) or ()
    return Status(
        now.number,
        show(connection, now.number) if now.number else None,
        now.base.hash,
        tuple(path for path, one in now.files.items() if not one.as_shipped),
        waiting,
        _conflicts(connection, now),
        tuple(Problem(**one) for one in problems),
    )


def conflicts(connection: sa.Connection) -> tuple[Conflict, ...]:
    """The files in force whose shipped text has changed meanwhile and was not merged. Publishing a text for one of them
    resolves it."""
    return _conflicts(connection, versions.current(connection))


def check(connection: sa.Connection, changed: Files) -> tuple[Problem, ...]:
    """What is wrong with a draft, by file and line; () where it could be published. Nothing is written."""
    return _draft(versions.current(connection), changed).problems


@contextmanager
def draft(connection: sa.Connection, changed: Files) -> Iterator[Draft]:
    """Reads all settings from a draft until the block ends: what is in force with these files in it. A draft with
    `problems` can be used as far as its files can be read."""
    now = versions.current(connection)
    made = _draft(now, changed)
    with settings.using(versions.materialise(made.whole, draft=True)):
        yield Draft(tuple(made.changes), made.problems, now.tree.hash, made.whole.hash)


def proposed(connection: sa.Connection, number: int) -> dict[str, str | None]:
    """What a proposal would change of what is in force, as texts by path. Raises ConfigError where it is none."""
    _proposal(connection, number)
    found = _changes(connection, versions.current(connection), number)
    return {path: None if content is None else content.decode() for path, content in found.items()}


def hashes(connection: sa.Connection, number: int) -> tuple[str, str]:
    """Of all that is in force, and of the same with a proposal in it."""
    now = versions.current(connection)
    _proposal(connection, number)
    return now.tree.hash, now.tree.replaced(_changes(connection, now, number)).hash


def refuse_overlap(connection: sa.Connection, paths: Sequence[str], parent: int | None) -> None:
    """Raises ConfigError where one of these files has been changed since the version that a person has seen."""
    now = versions.current(connection)
    if parent is not None and parent != now.number:
        seen = _Whole(connection, parent)
        _refuse_overlap(connection, now, [path for path in paths if seen.hash(path) != now.hash_of(path)])


# ---- changing ------------------------------------------------------------------------------------------------------


def propose(
    connection: sa.Connection, person: Person, changed: Files, message: str, *, parent: int | None = None
) -> Version:
    """A new version of what is in force with these files in it, which is not in force yet.

    `parent`: the version that the person has seen (`status().number`); where one of these files has been changed since
    then, the person is told. Raises DraftRefused with everything that the checks find, ConfigError where nothing would
    change, NotAllowed."""
    person.require(Right.PUBLISH)
    message = _message(message)
    now = versions.current(connection)
    refuse_overlap(connection, list(changed), parent)
    made = _draft(now, changed)
    if made.problems:
        raise DraftRefused(made.problems)
    if not made.changes:
        raise ConfigError("This changes nothing: all files are as they are in force.", do="Nothing was proposed.")
    number = _add(connection, now, made, person.name, message)
    _record(connection, person, "propose", number, files=sorted(made.changes), message=message)
    return show(connection, number)


def publish(connection: sa.Connection, person: Person, number: int, shown: Shown | None = None) -> Version:
    """Brings a proposal into force, with the next task of every worker. Where a file of it needs a second person's
    consent it stays a proposal, and `waits_for` names the file.

    What has come into force since it was proposed stays, unless both change the same file: then the person is told.
    `shown`: what the person was shown of its effects; it stands in the audit log."""
    person.require(Right.PUBLISH)
    versions.lock(connection)
    _proposal(connection, number)
    version = show(connection, number)
    if version.waits_for:
        return version
    return _bring_into_force(connection, person, version, "publish", shown)


def put_in_force(connection: sa.Connection, person: Person, changed: Files, message: str) -> Version:
    """Brings a change into force at once that follows from a decision of another kind: whether a flow is live. It asks
    for no right and nobody's consent; the caller has asked. Raises DraftRefused for what is wrong with these files;
    what is wrong elsewhere keeps nobody from it."""
    versions.lock(connection)
    made = _draft(now := versions.current(connection), changed)
    if own := [one for one in made.problems if one.path in ("", *changed)]:
        raise DraftRefused(own)
    if not made.changes:
        raise ConfigError("This changes nothing: all files are as they are in force.", do="Nothing was published.")
    number = _add(connection, now, made, person.name, _message(message))
    versions.put_in_force(connection, number)
    _record(connection, person, "publish", number, files=sorted(made.changes), author=person.name)
    return show(connection, number)


def consent(connection: sa.Connection, person: Person, number: int, shown: Shown | None = None) -> Version:
    """A second person agrees to a proposal, which comes into force. Raises ConfigError for its own author."""
    person.require(Right.PUBLISH)
    versions.lock(connection)
    version = may_consent(connection, person, number)
    connection.execute(
        sa.update(table).where(table.c.id == number).values(consent_by=person.name, consent_at=sa.func.now())
    )
    return _bring_into_force(connection, person, version, "consent", shown)


def may_consent(connection: sa.Connection, person: Person, number: int) -> Version:
    """The proposal. Raises ConfigError where it needs nobody's consent, or not this person's."""
    person.require(Right.PUBLISH)
    proposal = _proposal(connection, number)
    version = show(connection, number)
    if not version.waits_for:
        raise ConfigError(f"Version {number} needs nobody's consent.", do="Publish it.")
    if proposal.author.strip().casefold() == person.name.strip().casefold():
        raise ConfigError(
            f"Version {number} is {person.name}'s own: {', '.join(version.waits_for)} needs a second person's consent.",
            do="Ask somebody else who may publish configuration.",
        )
    return version


def withdraw(connection: sa.Connection, person: Person, number: int) -> Version:
    """Takes a proposal back: it can no longer be published."""
    person.require(Right.PUBLISH)
    versions.lock(connection)
    _proposal(connection, number)
    connection.execute(sa.update(table).where(table.c.id == number).values(state="withdrawn"))
    _record(connection, person, "withdraw", number)
    return show(connection, number)


def rollback(connection: sa.Connection, person: Person, number: int, message: str = "") -> Version:
    """A new version that equals an earlier one, or the shipped files (SHIPPED), in force with the next task. It needs
    nobody's consent: what it brings back has been in force. Nothing that was delivered changes."""
    person.require(Right.PUBLISH)
    versions.lock(connection)
    now = versions.current(connection)
    kept: Mapping[str, File] = {}
    contents: dict[str, bytes] = {}
    if number != SHIPPED:
        show(connection, number)
        held = connection.execute(sa.select(table.c.in_force_at).where(table.c.id == number)).scalar_one()
        if held is None:
            raise ConfigError(f"Version {number} has never been in force.", do="Publish it, or go back to another one.")
        rows = versions.files_of(connection, number)
        found = versions.texts(connection, [hash for one in rows.values() for hash in (one.text, one.base)])
        done = versions.rebase(rows, found, now.base)
        if done.conflicts:
            named = "; ".join(f"{path}: {why}" for path, why in done.conflicts.items())
            raise ConfigError(
                f"Version {number} was made on other shipped files, and cannot be put on these: {named}.",
                do=f"Look at `crossdock config show {number}`, and publish what is still right of it.",
            )
        kept = done.files
        contents = {tree.digest(one.encode()): one.encode() for one in found.values()} | dict(done.contents)
    wanted = {path: contents[one.text] if one.text else None for path, one in kept.items()}
    whole = now.base.replaced(wanted)
    if whole.hash == now.tree.hash:
        raise ConfigError("This changes nothing: all files are as they are in force.", do="Nothing was published.")
    if problems := versions.problems_of(whole):
        raise DraftRefused(problems)
    target = "the shipped files" if number == SHIPPED else f"version {number}"
    changes = {
        path: whole.files.get(path)
        for path in sorted({*now.tree.files, *whole.files})
        if whole.files.get(path) != now.tree.files.get(path)
    }
    made = _Made(changes, whole, ())
    added = _add(connection, now, made, person.name, _message(message or f"Back to {target}"))
    versions.put_in_force(connection, added)
    _record(connection, person, "rollback", added, files=sorted(changes), to=number)
    return show(connection, added)


# ---- exchange with a checked-out tree ------------------------------------------------------------------------------


def export_tree(connection: sa.Connection, person: Person, folder: Path, *, only_replaced: bool = False) -> list[str]:
    """Writes the files of what is in force to a folder, to be committed: those that differ from what is there.
    `only_replaced`: of these, the ones that are not as shipped. Returns their paths."""
    person.require(Right.SEE)
    now = versions.current(connection)
    written = []
    for path, content in sorted(now.tree.files.items()):
        if only_replaced and (path not in now.files or now.files[path].as_shipped):
            continue
        if _write(folder, path, content):
            written.append(path)
    _record(connection, person, "export", now.number, files=written)
    return written


def import_tree(
    connection: sa.Connection, person: Person, folder: Path, message: str, *, parent: int | None = None
) -> Version:
    """Proposes what differs in a checked-out tree from what is in force; other line ends alone are no difference.
    `folder`: the configuration, or the project that has it in `include/config`."""
    person.require(Right.PUBLISH)
    nested = folder / "include" / "config"
    root = nested if nested.is_dir() else folder
    now = versions.current(connection)
    given = _read_tree(root)
    missing = [path for path in now.base.files if path not in given]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ConfigError(
            f"{root} is not a whole configuration: it lacks {shown}.",
            do="Name a folder with all files, such as include/config of a checkout; a shipped file cannot be removed.",
        )
    gone = [path for path in now.tree.files if path not in given]
    changed: dict[str, str | bytes | None] = {
        path: content for path, content in given.items() if not _same_lines(content, now.tree.files.get(path))
    }
    return propose(connection, person, {**changed, **dict.fromkeys(gone)}, message, parent=parent)


def _same_lines(content: bytes, other: bytes | None) -> bool:
    return other is not None and (content == other or tree.bare(content) == tree.bare(other))


def _read_tree(root: Path) -> dict[str, bytes]:
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder.", do="Name one with the configuration's files.")
    found = {}
    for path in tree.paths(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not path.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{path} is a link to another place.", do="Put the file itself there.")
        try:
            size = path.stat().st_size
            if size > tree.MOST_BYTES:
                raise DraftRefused([Problem(name, 0, f"it has {size:,} bytes, {tree.MOST_BYTES:,} are allowed")])
            found[name] = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror or type(error).__name__}.", do="Make it readable."
            ) from None
    return found


def _write(folder: Path, path: str, content: bytes) -> bool:
    """Writes a file, whole or not at all; False where it is there already."""
    target = folder / path
    for one in (target, *target.parents):
        if one == folder:
            break
        if one.is_symlink():
            raise ConfigError(f"{one} is a link to another place.", do="Remove it, or name another folder.")
    try:
        if target.is_file() and target.read_bytes() == content:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
            Path(temporary).replace(target)
        finally:
            with suppress(OSError):
                Path(temporary).unlink()
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror or type(error).__name__}.",
            do="Name a folder that this user may write to.",
        ) from error
    return True


# ---- parts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    """A draft. `changes`: by path, what it puts in the place of what is in force; None: gone."""

    changes: dict[str, bytes | None]
    whole: Tree
    problems: tuple[Problem, ...]


def _draft(now: Current, changed: Files) -> _Made:
    """What is in force with these files in it, held against the checks. Files that cannot be taken are problems, and
    are not in it."""
    valid = {*now.base.files, *now.tree.files}
    changes: dict[str, bytes | None] = {}
    problems: list[Problem] = []
    for path, given in changed.items():
        if why := tree.refused(path, valid):
            problems.append(Problem("", 0, why))
            continue
        try:
            content = now.base.files.get(path) if given is None else _bytes(path, given)
        except ValueError as error:
            problems.append(versions.problem(str(error)))
            continue
        if content != now.tree.files.get(path):
            changes[path] = content
    whole = now.tree.replaced(changes)
    if changes and not problems:
        problems = versions.problems_of(whole)
    return _Made(changes, whole, tuple(problems))


def _bytes(path: str, given: str | bytes) -> bytes:
    return tree.text(path, given) if isinstance(given, str) else tree.validated(path, given)


def _rows(now: Current, made: _Made) -> tuple[dict[str, File], dict[str, bytes]]:
    """The files of a version made of what is in force, and all texts that they name, by hash."""
    rows = {path: File(one.text, one.base, one.text) for path, one in now.files.items() if not one.as_shipped}
    contents: dict[str, bytes] = {}

    def kept(content: bytes | None) -> str | None:
        try:
            content = None if content is None else tree.validated("", content)
        except ValueError:  # a shipped file that is no text: there is nothing to merge with
            return None
        if content is None:
            return None
        contents[tree.digest(content)] = content
        return tree.digest(content)

    for path, content in made.changes.items():
        rows[path] = File(kept(content), kept(now.base.files.get(path)), kept(now.tree.files.get(path)))
    return rows, contents


def _add(connection: sa.Connection, now: Current, made: _Made, author: str, message: str) -> int:
    rows, contents = _rows(now, made)
    return versions.add(
        connection, parent=now.number, author=author, message=message, state="proposed",
        whole=made.whole, base=now.base, files=rows, contents=contents,
    )  # fmt: skip


def _proposal(connection: sa.Connection, number: int) -> sa.Row:
    """A proposal's row. Raises ConfigError where it is none any more."""
    show(connection, number)
    row = connection.execute(sa.select(table).where(table.c.id == number).with_for_update()).one()
    if row.state != "proposed":
        words = "was withdrawn" if row.state == "withdrawn" else "is no proposal any more: it has been published"
        raise ConfigError(f"Version {number} {words}.", do="`crossdock config log` lists all versions.")
    return row


def _bring_into_force(
    connection: sa.Connection, person: Person, version: Version, action: str, shown: Shown | None
) -> Version:
    """Puts a proposal on what is in force now, checks the whole, and makes it the version in force."""
    now = versions.current(connection)
    changes = _changes(connection, now, version.number)
    if not changes:
        raise ConfigError(
            f"Version {version.number} changes nothing any more: its files are in force.", do="Withdraw it."
        )
    made = _Made(changes, now.tree.replaced(changes), ())
    if problems := versions.problems_of(made.whole):
        raise DraftRefused(problems)
    versions.put_files(connection, version.number, *_rows(now, made))
    connection.execute(
        sa.update(table)
        .where(table.c.id == version.number)
        .values(parent=now.number or None, base=now.base.hash, tree=made.whole.hash)
    )
    versions.put_in_force(connection, version.number)
    _record(connection, person, action, version.number, files=sorted(changes), author=version.author, **(shown or {}))
    return show(connection, version.number)


def _changes(connection: sa.Connection, now: Current, number: int) -> dict[str, bytes | None]:
    """What a proposal puts in the place of what is in force now. Raises ConfigError where somebody else has changed the
    same files meanwhile."""
    rows = versions.files_of(connection, number)
    changed = {path: one for path, one in rows.items() if one.text != one.replaces}
    found = versions.texts(connection, [one.text for one in changed.values()])
    _refuse_overlap(
        connection, now,
        [path for path, one in changed.items() if now.hash_of(path) not in (one.replaces, one.text)],
    )  # fmt: skip
    changes = {
        path: now.base.files.get(path) if one.as_shipped else None if one.text is None else found[one.text].encode()
        for path, one in changed.items()
    }
    return {path: content for path, content in changes.items() if content != now.tree.files.get(path)}


def _refuse_overlap(connection: sa.Connection, now: Current, overlapping: Sequence[str]) -> None:
    """Raises ConfigError where somebody else has changed the same files meanwhile."""
    if not overlapping:
        return
    latest = show(connection, now.number) if now.number else None
    who = f"version {latest.number} of {latest.author}" if latest else "a return to the shipped files"
    raise ConfigError(
        f"{', '.join(sorted(overlapping))} has been changed meanwhile: {who} is in force.",
        do="Look at what it changes, bring your change into the present text, and propose that. Nothing was published.",
    )


def _needs_consent(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in settings.console().consent)


def _message(message: str) -> str:
    clean = storable(message).strip()
    if not clean:
        raise ConfigError("A version needs a message.", do="Say in a sentence what changes and why.")
    if len(clean) > MESSAGE_LENGTH:
        raise ConfigError(
            f"The message has {len(clean):,} characters, {MESSAGE_LENGTH:,} are allowed.", do="Shorten it."
        )
    return clean


def said_to_change(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """How much the preview of each version counted when it came into force, in words."""
    log = ops_audit.c
    rows = connection.execute(
        sa.select(log.subject, log.detail)
        .where(
            log.action.in_(("configuration publish", "configuration consent")),
            log.subject.in_([f"version {number}" for number in numbers]),
        )
        .order_by(log.id)
    )
    return {
        int(row.subject.removeprefix("version ")): f"{row.detail['would change']:,} of {row.detail['of']:,}"
        for row in rows
        if "would change" in row.detail
    }


def _record(connection: sa.Connection, person: Person, action: str, number: int, **detail: Any) -> None:
    audit.record(connection, person.name, f"configuration {action}", f"version {number}", detail)


def _select() -> sa.Select:
    changed = (
        sa.select(sa.func.array_agg(aggregate_order_by(file_table.c.path, file_table.c.path)))
        .where(file_table.c.version == table.c.id, file_table.c.text.is_distinct_from(file_table.c.replaces))
        .scalar_subquery()
    )
    return sa.select(table, changed.label("files"))


def _versions(connection: sa.Connection, wanted: sa.Select) -> tuple[Version, ...]:
    rows = connection.execute(wanted).all()
    current = versions.current_number(connection) if rows else SHIPPED
    return tuple(_version(row, current) for row in rows)


def _version(row: sa.Row, current: int) -> Version:
    changed = tuple(row.files or ())
    state = (
        "in force" if row.id == current else "superseded" if row.state not in ("proposed", "withdrawn") else row.state
    )
    waits = tuple(path for path in changed if _needs_consent(path)) if row.state == "proposed" else ()
    return Version(
        row.id, row.parent or SHIPPED, row.author, row.at, row.message, state, changed, waits, row.consent_by,
        row.consent_at, row.in_force_at, row.state == "conflict", row.base,
    )  # fmt: skip


def _conflicts(connection: sa.Connection, now: Current) -> tuple[Conflict, ...]:
    left = {
        path: one
        for path, one in now.files.items()
        if not one.as_shipped and one.base != now.base.hashes.get(path) and one.text != now.base.hashes.get(path)
    }
    found = versions.texts(connection, [hash for one in left.values() for hash in (one.text, one.base)])
    done = versions.rebase(left, found, now.base)
    made = []
    for path, one in left.items():
        shipped = now.base.files.get(path)
        before, ours = found.get(one.base or ""), found.get(one.text or "")
        after = None if shipped is None else shipped.decode("utf-8", "replace")
        together = tree.merge(before or "", after or "", ours or "")
        reason = done.conflicts.get(path) or "it goes together, but not with the other files or the checks"
        made.append(Conflict(path, reason, ours, before, after, together.text, path not in done.conflicts))
    return tuple(made)


class _Whole:
    """All files of one version, as far as they are known: its own, and the shipped ones that it stands on."""

    def __init__(self, connection: sa.Connection, number: int) -> None:
        base = tree.read(settings.base_dir())
        self.files: dict[str, File] = {}
        self.base = base.hash
        if number != SHIPPED:
            self.base = show(connection, number).base
            self.files = versions.files_of(connection, number)
        self.texts = versions.texts(connection, [hash for one in self.files.values() for hash in (one.text, one.base)])
        self.shipped = base.files

    def text(self, path: str, other: _Whole | None = None) -> str | None:
        """The file's text. `other`: a version that may know the shipped text of the time."""
        if path in self.files:
            return self.texts.get(self.files[path].text or "")
        if other and path in other.files and other.base == self.base:
            return other.texts.get(other.files[path].base or "")
        content = self.shipped.get(path)
        return None if content is None else content.decode("utf-8", "replace")

    def hash(self, path: str) -> str | None:
        if path in self.files:
            return self.files[path].text
        content = self.shipped.get(path)
        return None if content is None else tree.digest(content)


def _change(path: str, before: str | None, after: str | None, number: int, against: int | None = None) -> Change:
    names = ("before" if against is None else _name(against), _name(number))
    return Change(path, before, after, tree.difference(path, before, after, names))


def _name(number: int) -> str:
    return "shipped" if number == SHIPPED else f"version-{number}"
