"""A mapping in the versions of the configuration: publishing a draft, and who changed a line when.

In: a draft's text with what it changes and why; a target field. Out: the version; the changes of the field's line.
Never: a version without its author's words; somebody else's change written over unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.mapping import editing, language
from crossdock.services import configuration, mappings, previews
from crossdock.services.people import Person, Right
from crossdock.services.previews import Seen
from crossdock.store.tables import ops_batch

PAGE = 200  # versions
MOST_PAGES = 10


@dataclass(frozen=True)
class Published:
    """What became of a draft. `in_force`: it is used by the next task; otherwise a second person must agree."""

    number: int
    message: str
    in_force: bool


@dataclass(frozen=True)
class Revision:
    """One change of a line. `before`, `after`: the line as it stood in the file. `records`: how many records batches of
    the flow have worked with it, up to the next change of the line."""

    number: int
    author: str
    at: datetime
    message: str
    before: str | None
    after: str | None
    records: int


def publish(
    connection: sa.Connection,
    person: Person,
    name: str,
    text: str,
    message: str,
    seen: Seen,
    *,
    parent: int | None = None,
) -> Published:
    """Brings a draft into force. `seen`: the trial that the person was shown; `parent`: the version in force that the
    draft was made from."""
    version = configuration.propose(connection, person, {mappings.file_of(name): text}, message, parent=parent)
    version = previews.publish(connection, person, version.number, seen)
    if version.waits_for:
        words = f"Version {version.number} waits for a second person, who must agree to {', '.join(version.waits_for)}."
        return Published(version.number, words, False)
    return Published(version.number, f"Version {version.number} is in force with the next task.", True)


def history(connection: sa.Connection, person: Person, name: str, path: str) -> tuple[Revision, ...]:
    """The changes of the line to `path` (of the target tree) that have been in force, the newest first."""
    person.require(Right.SEE)
    part, target = mappings.place(language.read(mappings.path_of(name)), path)
    found: list[Revision] = []
    until: int | None = None
    for version in _versions(connection, mappings.file_of(name)):
        for change in configuration.diff(connection, version.number):
            if change.path != mappings.file_of(name):
                continue
            before, after = (_line(text, part, target) for text in (change.before, change.after))
            if before != after:
                at = version.in_force_at or version.at
                records = _records(connection, name, version.number, until)
                found.append(Revision(version.number, version.author, at, version.message, before, after, records))
                until = version.number
    return tuple(found)


def _versions(connection: sa.Connection, path: str) -> Iterator[configuration.Version]:
    """The versions that have been in force and change a file, the newest first."""
    after: int | None = None
    for _ in range(MOST_PAGES):
        page = configuration.log(connection, after=after, most=PAGE)
        yield from (one for one in page if one.in_force_at is not None and path in one.files)
        if len(page) < PAGE:
            return
        after = page[-1].number


def _line(text: str | None, part: editing.Part, target: str) -> str | None:
    try:
        return None if text is None else editing.line_text(text, part, target)
    except ConfigError:
        return None


def _records(connection: sa.Connection, name: str, number: int, until: int | None) -> int:
    """How many records batches of the flow have worked with versions from `number` to before `until`."""
    batch = ops_batch.c
    wanted = [batch.flow == mappings.flow_using(name).name, batch.config_version >= number]
    if until is not None:
        wanted.append(batch.config_version < until)
    return (
        connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(batch.read - batch.already_stored), 0)).where(*wanted))
        or 0
    )
